"""Commands on videos: detect, attack, demo, app."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pushpull.cli.console import Console, complain, decibels, reason_of
from pushpull.cli.options import (
    AttackOption,
    AudioTrackOption,
    CropChoice,
    CropOption,
    DetectorOption,
    DeviceChoice,
    DeviceOption,
    EndOption,
    EpsOption,
    FaceFinderChoice,
    FaceFinderOption,
    JsonFlag,
    ModalityChoice,
    ModalityOption,
    NormChoice,
    NormOption,
    ObjectiveOption,
    OutOption,
    OverwriteFlag,
    QuietFlag,
    SeedOption,
    SpaceChoice,
    StartOption,
    StepsOption,
    SurrogateOption,
    SurviveChoice,
    TargetChoice,
    VideoFlag,
    VideosArgument,
    WorkersOption,
    attack_settings,
    names_of,
    part_of,
    videos_in,
)
from pushpull.report.tables import percent
from pushpull.runtime.records import read_json

if TYPE_CHECKING:
    from pushpull.cli.demo import DemoResult

__all__ = ["attack", "demo", "detect", "web_app"]


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
        str, typer.Option(help="What faces are called in the transcript, such as 0=Ada,1=Bob.")
    ] = "",
    reframe: Annotated[
        str, typer.Option(help="Also write a video of this shape, such as 9:16, of who speaks.")
    ] = "",
    video: VideoFlag = True,
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
    """Find every face and say for each frame whether it is speaking.

    Writes NAME.mp4, .csv, .labels.csv, .json, .rttm, .srt and .vtt for each video, and with
    --transcript .words.json, .words.srt and .words.vtt, with --reframe .reframed.mp4. A video that
    cannot be done is reported, the others are done all the same, and the exit code is 1.
    """
    from pushpull.detection import TurnRules, origin_of, output_files, read_transcript
    from pushpull.detection import detect as detect_video
    from pushpull.detection.reframe import aspect_of
    from pushpull.detection.results import reframed_outputs, spoken_outputs, word_files
    from pushpull.models.weights import resolve_detector
    from pushpull.runtime.files import output_dir, readable
    from pushpull.runtime.outputs import Outputs, output_names

    console = Console(as_json=as_json, quiet=quiet)
    videos = videos_in(sources)
    stems = output_names(videos, also=[".labels", ".words", ".reframed"])
    called = names_of(names)
    aspect = aspect_of(reframe) if reframe else None
    if transcript is not None:
        if len(videos) != 1:
            raise typer.BadParameter("is of one video; give one", param_hint="--transcript")
        # What cannot be read is said before minutes of work.
        read_transcript(transcript)
    part = part_of(start, end)
    rules = TurnRules(
        threshold=threshold,
        hysteresis=hysteresis,
        shortest_s=shortest_turn,
        longest_pause_s=longest_pause,
    )
    model = resolve_detector(detector, device=device.value)
    asked: dict[str, Any] = {
        "face_finder": face_finder.value,
        "boxes": boxes,
        "crop": crop.value,
        "part": part,
        "audio_track": audio_track,
        "rules": rules,
    }
    inputs = [*videos, *(path for path in (boxes, transcript) if path is not None)]
    for path, name in zip(videos, stems, strict=True):
        # What may not be replaced is said before hours of work.
        planned = Outputs(
            folder=out,
            origin=origin_of(path, model, name=name, **asked),
            inputs=tuple(inputs),
            overwrite=overwrite,
        )
        planned.check(output_files(name, video=video).values())
        if transcript is not None:
            spoken_outputs(planned, transcript, called).check(word_files(name).values())
        if aspect is not None:
            reframed_outputs(planned, aspect).check([f"{name}.reframed.mp4"])
    output_dir(out)
    records: list[dict[str, Any]] = []
    failed = 0
    for path, name in zip(videos, stems, strict=True):
        try:
            with console.progress(name) as report:
                result = detect_video(
                    path, model, name=name, **asked, allow_silent=allow_silent, progress=report
                )
                began = time.perf_counter()
                outputs = result.save(
                    out,
                    video=video,
                    overwrite=overwrite,
                    inputs=inputs,
                    transcript=transcript,
                    names=called,
                    reframe=aspect,
                    progress=report,
                )
                outputs_s = round(time.perf_counter() - began, 3)
        except Exception as e:  # one file never ends a batch, whatever is wrong with it
            failed += 1
            why = reason_of(e, path)
            complain(why)
            records.append({"video": readable(str(path)), "error": readable(why)})
            continue
        record = result.as_dict(frames=False) | {"outputs": {k: str(p) for k, p in outputs.items()}}
        record["seconds"]["outputs"] = outputs_s
        records.append(record)
        console.say(*summary_lines(record))
        for remark in record["notes"]:
            console.note(f"{path}: {remark}")
    console.result({"videos": records}, kind="detections")
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
    target: Annotated[
        TargetChoice, typer.Option(help="Class that all frames are to be taken for.")
    ] = TargetChoice.none,
    surrogate: SurrogateOption = None,
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
    crf: Annotated[int, typer.Option(help="Quality of H.264, 0 (best) to 51.")] = 23,
    out: OutOption = Path("pushpull-attack"),
    seed: SeedOption = 0,
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    crop: CropOption = CropChoice.auto,
    device: DeviceOption = DeviceChoice.auto,
    start: StartOption = 0.0,
    end: EndOption = None,
    audio_track: AudioTrackOption = None,
    video: VideoFlag = True,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Change a video so that the detector errs about who speaks.

    Writes OUT/NAME/ with results.json, the adversarial sound and faces, and the clean and the
    adversarial video side by side.
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
    )
    names = output_names(videos)
    part = part_of(start, end)
    inputs = [*videos, *([] if labels is None else [labels])]
    model = resolve_detector(detector, device=device.value)
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
    for path, name in zip(videos, names, strict=True):
        # What may not be replaced is said before hours of work.
        Outputs(
            folder=out / name,
            origin=attack_origin(path, model, asked, name=name, **how),
            inputs=tuple(inputs),
            overwrite=overwrite,
        ).check(SURE)
    output_dir(out)
    records: list[dict[str, Any]] = []
    failed = 0
    for path, name in zip(videos, names, strict=True):
        try:
            with console.progress(name) as report:
                result = attack_video(path, model, asked, name=name, **how, progress=report)
                outputs = result.save(
                    out,
                    video=video,
                    detector=model,
                    overwrite=overwrite,
                    inputs=inputs,
                    progress=report,
                )
                written = outputs["results.json"]
        except Exception as e:  # one file never ends a batch, whatever is wrong with it
            failed += 1
            why = reason_of(e, path)
            complain(why)
            records.append({"video": readable(str(path)), "error": readable(why)})
            continue
        record = read_json(written, kind="video-attack")
        records.append(record)
        console.say(*attack_lines(record, written))
        for remark in record["notes"]:
            console.note(f"{path}: {remark}")
    console.result({"videos": records}, kind="video-attacks")
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
    """Make a video of two talking people and detect who speaks in it."""
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
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Open the web app: detect, attack, ABX listening tests, reports.

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
        face_finder=face_finder.value,
    )
    serve(config, opened=lambda url: console.result({"url": url}, kind="app", lines=[url]))


def summary_lines(record: dict[str, Any]) -> Iterator[str]:
    """The short form of one result for people."""
    seconds = record["seconds"]
    yield (
        f"{record['video']}: {len(record['tracks'])} faces in {record['duration_s']:.1f} s of video"
        f", done in {sum(seconds.values()):.1f} s"
    )
    settings = record["settings"]
    yield f"  faces found by {settings['face_finder']} ({settings['face_finder_reason']})"
    for track in record["tracks"]:
        yield (
            f"  {track['track_id']}: {track['start_s']:.2f}-{track['end_s']:.2f} s, speaking "
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
        f"{len(record['tracks'])} faces, {clean['frames']} frames, in "
        f"{sum(record['seconds'].values()):.1f} s"
    )
    for when, rates in (("before:", clean), ("after: ", found)):
        ap = percent(rates["average_precision"])
        yield f"  right {when} {percent(rates['accuracy'])} of frames, AP {ap}"
    if clean["accuracy"] < 1:
        yield f"  after, of frames that were right: {percent(found['accuracy_of_right'])}"
    yield (
        f"  change: sound up to {delta['audio_linf']:.2g} ({decibels(delta['snr_db'])} SNR), faces "
        f"up to {delta['visual_linf']:.3g} grey levels ({decibels(delta['psnr_db'])} PSNR, SSIM "
        f"{delta['ssim']:.4f})"
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
