"""Commands on videos: detect, attack, demo, app."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pushpull.cli.console import Console, complain, counted, decibels
from pushpull.cli.options import (
    AttackOption,
    AudioTrackOption,
    BypassOption,
    CrfOption,
    CropChoice,
    CropOption,
    DetectorOption,
    DeviceChoice,
    DeviceOption,
    EndOption,
    EngineChoice,
    EngineOption,
    EpsOption,
    FaceFinderChoice,
    FaceFinderOption,
    GoalChoice,
    JsonFlag,
    ModalityChoice,
    ModalityOption,
    NormChoice,
    NormOption,
    ObjectiveOption,
    OutOption,
    OverwriteFlag,
    PrecisionChoice,
    PrecisionOption,
    QuietFlag,
    RayAddressOption,
    SeedOption,
    SpaceChoice,
    StartOption,
    StepsOption,
    SurrogateOption,
    SurviveChoice,
    TargetChoice,
    TargetOption,
    VideoChoice,
    VideoOption,
    VideosArgument,
    WorkersOption,
    attack_settings,
    names_of,
    part_of,
    videos_in,
)
from pushpull.errors import foreseen
from pushpull.report.tables import percent
from pushpull.runtime.records import read_json

if TYPE_CHECKING:
    from pushpull.cli.demo import DemoResult
    from pushpull.detection import Word

__all__ = ["attack", "demo", "detect", "hide_faces", "web_app"]


def detect(
    sources: VideosArgument,
    detector: DetectorOption = "light-asd-ava",
    out: OutOption = Path("pushpull-out"),
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Faces to score instead of looking for them: csv in AVA's columns, or a json of "
            "this command."
        ),
    ] = None,
    crop: CropOption = CropChoice.auto,
    precision: PrecisionOption = PrecisionChoice.float32,
    device: DeviceOption = DeviceChoice.auto,
    start: StartOption = 0.0,
    end: EndOption = None,
    audio_track: AudioTrackOption = None,
    threshold: Annotated[
        float, typer.Option(help="Probability above which a frame speaks, between 0 and 1.")
    ] = 0.5,
    hysteresis: Annotated[
        float,
        typer.Option(help="A turn goes on until the probability is this much below --threshold."),
    ] = 0.0,
    shortest_turn: Annotated[float, typer.Option(help="Seconds; shorter turns are dropped.")] = 0.2,
    longest_pause: Annotated[
        float, typer.Option(help="Seconds; up to this a pause belongs to its turn.")
    ] = 0.3,
    transcript: Annotated[
        Path | None,
        typer.Option(
            help="Json of Whisper or WhisperX, or a srt, of the one video: every word gets the "
            "face that says it."
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(
            help="What faces (or persons) are called in the transcript, such as 0=Ada,1=Bob."
        ),
    ] = "",
    identities: Annotated[
        bool,
        typer.Option(
            "--identities", help="Tell which tracks are the same person, over cuts and returns."
        ),
    ] = False,
    reframe: Annotated[
        str, typer.Option(help="Also write a video of this shape, such as 9:16, of who speaks.")
    ] = "",
    video: VideoOption = VideoChoice.fast,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Also write NAME.parquet, for tools that read many.")
    ] = False,
    workers: WorkersOption = 1,
    engine: EngineOption = EngineChoice.local,
    ray_address: RayAddressOption = None,
    allow_silent: Annotated[
        bool,
        typer.Option(
            "--allow-silent", help="Score a video whose sound is silent instead of refusing."
        ),
    ] = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Find every face and say for each frame whether it speaks.

    Writes NAME.mp4, .csv, .labels.csv, .json, .rttm, .srt and .vtt for each video, with --parquet
    .parquet, with --transcript .words.json, .words.srt and .words.vtt, with --reframe
    .reframed.mp4. A video that cannot be done is reported, the others are done all the same, and
    the exit code is 1. One that is done already is not done again: run the same command again to
    go on.
    """
    from pushpull.detection import Saving, TurnRules, detect_many, read_transcript
    from pushpull.detection.reframe import aspect_of
    from pushpull.runtime.files import readable

    console = Console(as_json=as_json, quiet=quiet)
    videos = videos_in(sources)
    words: list[Word] = []
    if transcript is not None:
        if len(videos) != 1:
            raise typer.BadParameter("is of one video; give one", param_hint="--transcript")
        # What cannot be read is said before minutes of work.
        words = read_transcript(transcript)
    saving = Saving(
        video=video.value,
        parquet=parquet,
        overwrite=overwrite,
        transcript=transcript,
        names=names_of(names),
        reframe=aspect_of(reframe) if reframe else None,
    )
    asked: dict[str, Any] = {
        "face_finder": face_finder.value,
        "boxes": boxes,
        "crop": crop.value,
        "precision": precision.value,
        "part": part_of(start, end),
        "audio_track": audio_track,
        "rules": TurnRules(
            threshold=threshold,
            hysteresis=hysteresis,
            shortest_s=shortest_turn,
            longest_pause_s=longest_pause,
        ),
        "identities": identities,
        "allow_silent": allow_silent,
    }
    records: list[tuple[int, dict[str, Any]]] = []
    with console.progress(out.name) as report:
        for done in detect_many(
            videos,
            out,
            detector,
            saving=saving,
            inputs=[path for path in (boxes, transcript) if path is not None],
            workers=workers,
            engine=engine.value,
            address=ray_address,
            device=device.value,
            progress=report,
            **asked,
        ):
            place = videos.index(done.path)
            if done.record is None:
                complain(done.error)
                why = readable(str(done.error))
                records.append((place, {"video": readable(str(done.path)), "error": why}))
                continue
            records.append((place, done.record))
            console.say(*summary_lines(done.record, kept=done.kept))
            for remark in done.record["notes"]:
                console.note(f"{done.path}: {remark}")
            late = sum(word.start_s >= done.record["duration_s"] for word in words)
            if late:
                console.note(
                    f"{transcript}: {late} of {len(words)} words are said after the end of "
                    f"{done.path} at {done.record['duration_s']:.2f} s; is it of this video?"
                )
    failed = sum("error" in record for _, record in records)
    ordered = [record for _, record in sorted(records, key=itemgetter(0))]
    console.result({"videos": ordered}, kind="detections")
    if failed:
        console.note(f"{failed} of {len(videos)} videos failed")
        raise typer.Exit(1)


def attack(
    sources: VideosArgument,
    detector: DetectorOption = "light-asd-ava",
    attack: AttackOption = "pgd",
    eps: EpsOption = "5",
    steps: StepsOption = None,
    modality: ModalityOption = ModalityChoice.both,
    norm: NormOption = NormChoice.linf,
    objective: ObjectiveOption = "all",
    target: TargetOption = TargetChoice.none,
    surrogate: SurrogateOption = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Another detector to attack in the same way; may be repeated."),
    ] = None,
    bypass: BypassOption = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="AVA csv of the truth; the detector's own decisions by default."),
    ] = None,
    space: Annotated[SpaceChoice, typer.Option(help="What is moved.")] = SpaceChoice.crop,
    quantise: Annotated[
        bool, typer.Option("--quantise", help="Search among 8-bit pixels and int16 samples too.")
    ] = False,
    survive: Annotated[
        SurviveChoice, typer.Option(help="Search through H.264 and AAC too.")
    ] = SurviveChoice.nothing,
    crf: CrfOption = 23,
    out: OutOption = Path("pushpull-attack"),
    seed: SeedOption = 0,
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    crop: CropOption = CropChoice.auto,
    device: DeviceOption = DeviceChoice.auto,
    start: StartOption = 0.0,
    end: EndOption = None,
    audio_track: AudioTrackOption = None,
    video: VideoOption = VideoChoice.none,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Change a video so that the detector errs about who speaks.

    Writes OUT/NAME/ with results.json and the adversarial sound and faces, and with --video fast
    or full the clean and the adversarial video side by side. With --beside, OUT/DETECTOR/NAME/ for
    each detector, and one table of what is left of each.
    """
    from pushpull.models.weights import resolve_detector
    from pushpull.runtime.files import output_dir, readable
    from pushpull.runtime.outputs import Outputs, output_names
    from pushpull.video_attacks import SURE, attack_origin, attack_video

    console = Console(as_json=as_json, quiet=quiet)
    videos = videos_in(sources)
    asked = attack_settings(
        attack,
        eps,
        steps,
        modality=modality.value,
        norm=norm.value,
        objective=objective,
        targeted=False if target is TargetChoice.none else target.value,
        quantise=quantise,
        seed=seed,
        bypass=tuple(bypass or ()),
    )
    names = output_names(videos)
    part = part_of(start, end)
    inputs = [*videos, *([] if labels is None else [labels])]
    detectors = [detector, *(beside or ())]
    folders = [out]
    if beside:
        folders = [out / name for name in output_names([Path(one) for one in detectors])]
    models = [resolve_detector(one, device=device.value) for one in detectors]
    other = None if surrogate is None else resolve_detector(surrogate, device=device.value)
    how: dict[str, Any] = {
        "surrogate": other,
        "labels": labels,
        "space": space.value,
        "survive": survive is SurviveChoice.codec,
        "crf": crf,
        "face_finder": face_finder.value,
        "crop": crop.value,
        "part": part,
        "audio_track": audio_track,
    }
    jobs = [
        (folder, model, path, name)
        for path, name in zip(videos, names, strict=True)
        for folder, model in zip(folders, models, strict=True)
    ]
    for folder, model, path, name in jobs:
        # What may not be replaced is said before hours of work.
        Outputs(
            folder=folder / name,
            origin=attack_origin(path, model, asked, name=name, **how),
            inputs=tuple(inputs),
            overwrite=overwrite,
        ).check(SURE)
    output_dir(out)
    records: list[dict[str, Any]] = []
    failed: set[Path] = set()
    left: list[tuple[str, dict[str, Any]]] = []
    for folder, model, path, name in jobs:
        try:
            with console.progress(name) as report:
                result = attack_video(path, model, asked, name=name, **how, progress=report)
                outputs = result.save(
                    folder,
                    video=video.value,
                    detector=model,
                    overwrite=overwrite,
                    inputs=inputs,
                    progress=report,
                )
                written = outputs["results.json"]
        except Exception as e:  # one file never ends a batch, whatever is wrong with it
            failed.add(path)
            why = str(foreseen(e, path))
            complain(why)
            records.append({"video": readable(str(path)), "error": readable(why)})
            continue
        record = read_json(written, kind="video-attack")
        records.append(record)
        left.append((folder.name, record))
        console.say(*attack_lines(record, written))
        for remark in record["notes"]:
            console.note(f"{path}: {remark}")
    if beside:
        console.say(*beside_lines(left))
    console.result({"videos": records}, kind="video-attacks")
    if failed:
        console.note(f"{len(failed)} of {len(videos)} videos failed")
        raise typer.Exit(1)


def hide_faces(
    sources: VideosArgument,
    levels: Annotated[
        int, typer.Option(help="Grey levels by which the luma of a pixel may change.")
    ] = 8,
    steps: StepsOption = None,
    goal: Annotated[GoalChoice, typer.Option(help="What is wanted of faces.")] = GoalChoice.hide,
    crf: CrfOption = 23,
    out: OutOption = Path("pushpull-hidden"),
    seed: SeedOption = 0,
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    start: StartOption = 0.0,
    end: EndOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Change a video so that its faces are not found any more.

    Writes OUT/NAME/ with hidden.mkv (lossless), hidden.mp4 (H.264) and results.json, which says
    what a face finder still finds in both.
    """
    from pushpull.runtime.files import output_dir, readable
    from pushpull.runtime.outputs import Outputs, output_names
    from pushpull.video_attacks import HIDDEN_FILES, hiding_origin
    from pushpull.video_attacks import hide_faces as hide

    console = Console(as_json=as_json, quiet=quiet)
    videos = videos_in(sources)
    how: dict[str, Any] = {
        "levels": levels,
        **({} if steps is None else {"steps": steps}),
        "goal": goal.value,
        "crf": crf,
        "face_finder": face_finder.value,
        "part": part_of(start, end),
        "seed": seed,
    }
    named = list(zip(videos, output_names(videos), strict=True))
    for path, name in named:
        # What may not be replaced is said before minutes of work.
        origin = hiding_origin(path, name=name, **how)
        inputs = tuple(videos)
        Outputs(folder=out / name, origin=origin, inputs=inputs, overwrite=overwrite).check(
            HIDDEN_FILES
        )
    output_dir(out)
    records: list[dict[str, Any]] = []
    failed = 0
    for path, name in named:
        try:
            with console.progress(name) as report:
                result = hide(path, out, name=name, **how, overwrite=overwrite, progress=report)
        except Exception as e:  # one file never ends a batch, whatever is wrong with it
            failed += 1
            why = str(foreseen(e, path))
            complain(why)
            records.append({"video": readable(str(path)), "error": readable(why)})
            continue
        record = read_json(result.outputs["results.json"], kind="face-hiding")
        records.append(record)
        console.say(*hidden_lines(record))
    console.result({"videos": records}, kind="face-hidings")
    if failed:
        console.note(f"{failed} of {len(videos)} videos failed")
        raise typer.Exit(1)


def demo(
    out: OutOption = Path("pushpull-demo"),
    seed: SeedOption = 0,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make a video of two people and detect who speaks in it."""
    from pushpull.cli.demo import run_demo

    console = Console(as_json=as_json, quiet=quiet)
    with console.progress("demo") as report:
        result = run_demo(out, seed=seed, overwrite=overwrite, say=console.note, progress=report)
    record = {
        "detector": result.detector.card.name,
        "people": [person.as_dict() for person in result.people],
        "outputs": result.outputs,
    }
    console.result(record, kind="demo", lines=demo_lines(result))


def web_app(
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.")] = 7860,
    detector: DetectorOption = "light-asd-ava",
    runs: Annotated[
        Path, typer.Option(help="Folder whose reports and attacks can be looked at.")
    ] = Path(),
    out: OutOption = Path("pushpull-app"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    workers: WorkersOption = 1,
    memory_gib: Annotated[float, typer.Option(min=0.5, help="Memory of one job.")] = 4.0,
    upload_mib: Annotated[int, typer.Option(min=1, help="Largest upload.")] = 200,
    longest_s: Annotated[float, typer.Option(min=1, help="Longest video.")] = 60.0,
    job_minutes: Annotated[float, typer.Option(min=0.01, help="Longest time of a job.")] = 60.0,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs of one visitor at a time.")] = 4,
    waiting: Annotated[int, typer.Option(min=1, help="Jobs of all that may wait.")] = 20,
    visitor_gib: Annotated[float, typer.Option(min=0.1, help="Disk of one visitor.")] = 2.0,
    disk_gib: Annotated[float, typer.Option(min=0.1, help="Disk of all visitors.")] = 20.0,
    keep_h: Annotated[
        float, typer.Option(min=0, help="Hours after a visit until what was left is removed.")
    ] = 24.0,
    lines: Annotated[int, typer.Option(min=1, help="Connections of one address at a time.")] = 64,
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Open the web app: detect, live, attack, listen, reports.

    Says its address once it is open, and runs until it is stopped.
    """
    from pushpull.app import AppConfig, serve
    from pushpull.runtime.workers import workers_of

    console = Console(as_json=as_json, quiet=quiet)

    config = AppConfig(
        host=host,
        port=port,
        detector=detector,
        runs=runs,
        results=out,
        workers=workers_of(workers),
        memory_bytes=int(memory_gib * 2**30),
        upload_bytes=upload_mib * 2**20,
        longest_s=longest_s,
        job_limit_s=60 * job_minutes,
        jobs=jobs,
        waiting=waiting,
        session_bytes=int(visitor_gib * 2**30),
        disk_bytes=int(disk_gib * 2**30),
        keep_s=3600 * keep_h,
        lines=lines,
        face_finder=face_finder.value,
    )
    serve(config, opened=lambda url: console.result({"url": url}, kind="app", lines=[url]))


def summary_lines(record: dict[str, Any], *, kept: bool = False) -> Iterator[str]:
    """The short form of one result for people."""
    when = "was done already" if kept else f"done in {sum(record['seconds'].values()):.1f} s"
    start_s, end_s = record["part_s"] or (0.0, None)
    length_s = min(end_s or math.inf, record["duration_s"]) - start_s
    faces = counted(len(record["tracks"]), "face")
    yield f"{record['video']}: {faces} in {length_s:.1f} s of video, {when}"
    settings = record["settings"]
    yield f"  faces found by {settings['face_finder']} ({settings['face_finder_reason']})"
    for track in record["tracks"]:
        who = f", person {track['person']}" if "person" in track else ""
        yield (
            f"  {track['track_id']}{who}: {track['start_s']:.2f}-{track['end_s']:.2f} s, speaking "
            f"{100 * track['speaking_share']:.0f} % of frames, mean score {track['mean_score']:.2f}"
        )
    for path in record["outputs"].values():
        yield f"  {path}"


def attack_lines(record: dict[str, Any], path: Path) -> Iterator[str]:
    """The short form of one attack for people."""
    clean, found, delta = record["clean"], record["adversarial"], record["delta"]
    settings = record["settings"]
    against = "" if settings["surrogate"] is None else f" made on {settings['surrogate']}"
    yield (
        f"{record['video']}: {settings['attack']}{against} on {settings['detector']}, "
        f"{counted(len(record['tracks']), 'face')}, {clean['frames']} frames, in "
        f"{sum(record['seconds'].values()):.1f} s"
    )
    for when, rates in (("before:", clean), ("after: ", found)):
        ap = percent(rates["average_precision"])
        yield f"  right {when} {percent(rates['accuracy'])} of frames, AP {ap}"
    if clean["accuracy"] < 1:
        yield f"  after, of frames that were right: {percent(found['accuracy_of_right'])}"
    snr, psnr = decibels(delta["snr_db"], "SNR"), decibels(delta["psnr_db"], "PSNR")
    yield (
        f"  change: sound up to {delta['audio_linf']:.2g} ({snr}), faces up to "
        f"{delta['visual_linf']:.3g} grey levels ({psnr}, SSIM {delta['ssim']:.4f})"
    )
    ways = [way for way in record["survival"][0] if way != "input"]
    yield "  right in % of frames " + "".join(f"{way:>24}" for way in ways)
    for row in record["survival"]:
        cells = "".join(f"{percent(row[way]['accuracy']):>24}" for way in ways)
        yield f"    {row['input']:<19}{cells}"
    for name, again in record.get("redetect", {}).items():
        yield (
            f"  {name} detected again from nothing: right in {percent(again['accuracy'])} of "
            f"{again['frames_found']} frames found (of {again['frames_expected']})"
        )
    yield f"  {path}"


def beside_lines(left: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """What the same attack leaves of each detector, video by video."""
    names = list(dict.fromkeys(name for name, _ in left))
    cells = {
        (record["name"], name): ", ".join(
            percent(record[when]["accuracy"]) for when in ("clean", "adversarial")
        )
        for name, record in left
    }
    yield f"  {'right before, after':<26}" + "".join(f"{name[:20]:>22}" for name in names)
    for video in dict.fromkeys(record["name"] for _, record in left):
        row = "".join(f"{cells.get((video, name), '-'):>22}" for name in names)
        yield f"    {video[:24]:<24}{row}"


def hidden_lines(record: dict[str, Any]) -> Iterator[str]:
    """The short form of one video with hidden faces for people."""
    clean, change = record["clean"], record["change"]
    faces = counted(clean["faces"], "face")
    yield f"{record['settings']['video']}: {faces}, {clean['frames']} frames of them"
    for way in ("lossless", "h264"):
        found = record[way]
        elsewhere = found["frames_elsewhere"]
        beside = f", and {elsewhere} frames where there is none" if elsewhere else ""
        yield (
            f"  found in the {way} file: {counted(found['faces'], 'face')}, "
            f"{percent(found['share'])} of these frames{beside}"
        )
    quality = "" if change["psnr_db"] is None else f", PSNR under them {change['psnr_db']:.1f} dB"
    yield (
        f"  change: up to {change['linf']} grey levels of luma in {percent(change['pixels'])} of "
        f"the pixels{quality}"
    )
    for path in record["outputs"].values():
        yield f"  {path}"


def demo_lines(result: DemoResult) -> Iterator[str]:
    """What the demo says of each person, and where its files are."""
    for person in result.people:
        scores = person.scores
        yield (
            f"person {person.person + 1}: found in {len(scores)} frames, speaks in "
            f"{percent(scores.speaking_share)}, AP {percent(scores.average_precision)}, right in "
            f"{percent(scores.accuracy)} of frames"
        )
    for path in result.outputs.values():
        yield str(path)
