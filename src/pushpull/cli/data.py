"""Commands on data: synth, video, talkset, ava, ava-download, ava-synthetic, stats, verify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from pushpull.cli.console import Console, complain
from pushpull.cli.options import (
    VIDEO_SUFFIXES,
    CropChoice,
    CropOption,
    DataArgument,
    EngineChoice,
    EngineOption,
    FaceFinderChoice,
    FaceFinderOption,
    JsonFlag,
    OutOption,
    OverwriteFlag,
    QuietFlag,
    RayAddressOption,
    SeedOption,
    WorkersOption,
)
from pushpull.runtime.records import read_json

__all__ = ["ava", "ava_download", "ava_synthetic", "stats", "synth", "talkset", "verify", "video"]

SecondsOption = Annotated[float, typer.Option("--seconds", help="Length of a video.")]


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    tracks: Annotated[int, typer.Option(help="Tracks of train, val and test together.")] = 1000,
    seed: SeedOption = 0,
    min_frames: Annotated[int, typer.Option(help="Shortest track.")] = 25,
    max_frames: Annotated[int, typer.Option(help="Longest track.")] = 100,
    workers: WorkersOption = 0,
    engine: EngineOption = EngineChoice.local,
    ray_address: RayAddressOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make a synthetic data set of talking faces.

    What is there already is kept.
    """
    from pushpull.data import SynthConfig, write_synth

    console = Console(as_json=as_json, quiet=quiet)
    config = SynthConfig(tracks=tracks, seed=seed, min_frames=min_frames, max_frames=max_frames)
    with console.progress(out.name) as report:
        write_synth(
            out,
            config,
            overwrite=overwrite,
            workers=workers,
            engine=engine.value,
            address=ray_address,
            progress=report,
        )
    record = {"data": out, "tracks": config.counts}
    console.result(record, kind="synth", lines=[counts_line(out, config.counts)])


def video(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write, such as talk.mp4.")],
    seconds: SecondsOption = 10.0,
    people: Annotated[int, typer.Option(min=1, max=2, help="One, or two by turns.")] = 2,
    seed: SeedOption = 0,
    truth: Annotated[
        Path | None, typer.Option(help="Also write who speaks when, as an AVA csv.")
    ] = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make a video of synthetic people who talk."""
    from pushpull.runtime.files import readable, without_links
    from pushpull.runtime.outputs import Origin, Outputs
    from pushpull.synthetic import demo_video, one_face_video, write_scene_truth

    console = Console(as_json=as_json, quiet=quiet)
    if truth is not None and without_links(truth) == without_links(out):
        raise typer.BadParameter(
            f"is {readable(str(out))}, which the video takes", param_hint="--truth"
        )
    made = {"seconds": seconds, "people": people, "seed": seed}
    origin = Origin(command="data video", settings=made)
    places = {
        path: Outputs(folder=path.parent, origin=origin, overwrite=overwrite)
        for path in (out, truth)
        if path is not None
    }
    for path, outputs in places.items():
        outputs.check([path.name])
    with places[out].writing([out.name]) as paths:
        make = demo_video if people == 2 else one_face_video
        scene = make(paths[out.name], seed=seed, duration_s=seconds)
    if truth is not None:
        with places[truth].writing([truth.name]) as paths:
            write_scene_truth(paths[truth.name], scene, readable(out.stem))
    lines = [str(path) for path in (out, truth) if path is not None]
    console.result({"video": out, "truth": truth}, kind="synthetic-video", lines=lines)


def talkset(
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of talking heads.")],
    out: OutOption,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Csv with the columns file, person and, if wanted, speaks (yes, no); by default "
            "each subfolder is a person, or each video of a flat folder."
        ),
    ] = None,
    seed: SeedOption = 0,
    held_out: Annotated[float, typer.Option(help="Share of people in val and in test.")] = 0.2,
    negatives: Annotated[int, typer.Option(help="Clips that do not speak, per clip.")] = 2,
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    crop: CropOption = CropChoice.ava,
    workers: WorkersOption = 1,
    engine: EngineOption = EngineChoice.local,
    ray_address: RayAddressOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make a data set of talking-head clips.

    Each comes with its own sound, with none, with another's, or with its own at another time. A
    clip that cannot be used is reported, the others are done, and the exit code is 1.
    """
    from pushpull.data.talkset import TalksetConfig, read_sources, sources_in, write_talkset
    from pushpull.runtime.files import readable

    console = Console(as_json=as_json, quiet=quiet)
    config = TalksetConfig(
        seed=seed,
        held_out=held_out,
        negatives=negatives,
        face_finder=face_finder.value,
        crop="ava" if crop is CropChoice.auto else crop.value,
    )
    sources = sources_in(clips, VIDEO_SUFFIXES) if table is None else read_sources(table, clips)
    failures: dict[str, str] = {}
    with console.progress(out.name) as report:
        counts = write_talkset(
            sources,
            out,
            config,
            overwrite=overwrite,
            workers=workers,
            engine=engine.value,
            address=ray_address,
            progress=report,
            failed=lambda source, why: failures.update({readable(str(source.path)): why}),
        )
    for why in failures.values():
        complain(why)
    record = {"data": out, "tracks": counts, "clips": len(sources), "failures": failures}
    console.result(record, kind="talkset", lines=[counts_line(out, counts)])
    if failures:
        console.note(f"{len(failures)} of {len(sources)} clips could not be used")
        raise typer.Exit(1)


def ava(
    source: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder with AVA's annotations and videos.")
    ],
    out: OutOption,
    workers: WorkersOption = 2,
    engine: EngineOption = EngineChoice.local,
    ray_address: RayAddressOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make a data set of AVA-ActiveSpeaker.

    What is done already is kept; the exit code is 1 if tracks are missing.
    """
    from pushpull.data.ava import find_sources, prepare

    console = Console(as_json=as_json, quiet=quiet)
    with console.progress(out.name) as report:
        found = prepare(
            find_sources(source),
            out,
            overwrite=overwrite,
            workers=workers,
            engine=engine.value,
            address=ray_address,
            progress=report,
        )
    for problem in found.problems:
        (complain if problem.lost else console.note)(f"{problem.where}: {problem.what}")
    lines = []
    for split, count in found.tracks.items():
        done, total = found.videos[split]
        lines.append(f"{out}: {split} {count} tracks of {done} of {total} videos")
    console.result(read_json(out / "ava.json", kind="ava"), kind="ava", lines=lines)
    if not found.whole:
        console.note(f"what is missing stands in {out / 'ava.json'}; run again when it is there")
        raise typer.Exit(1)


def ava_download(
    names: Annotated[
        Path, typer.Argument(metavar="LIST", help="File names, one a line, as AVA publishes them.")
    ],
    out: OutOption,
    url: Annotated[str | None, typer.Option(help="Where they are; AVA's by default.")] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Fetch the files of a list, with resume and checksums.

    The exit code is 1 if one is missing.
    """
    from pushpull.data.ava.download import AVA_URL, download_list, read_list

    console = Console(as_json=as_json, quiet=quiet)
    with console.progress(out.name) as report:
        found = download_list(read_list(names), out, url=url or AVA_URL, progress=report)
    missing = {f.name: f.what for f in found if not f.done}
    for name, what in missing.items():
        complain(f"{name}: {what}")
    here = [f.name for f in found if f.done]
    record = {"folder": out, "here": here, "missing": missing}
    line = f"{out}: {len(here)} of {len(found)} files"
    console.result(record, kind="download", lines=[line])
    if missing:
        raise typer.Exit(1)


def ava_synthetic(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for videos and csv files.")],
    videos: Annotated[int, typer.Option(help="How many.")] = 4,
    seconds: SecondsOption = 8.0,
    seed: SeedOption = 0,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make synthetic videos and csv files to try `data ava` on."""
    from pushpull.data.ava import write_synthetic_ava

    console = Console(as_json=as_json, quiet=quiet)
    with console.progress(out.name) as report:
        made = write_synthetic_ava(
            out,
            overwrite=overwrite,
            videos=videos,
            seed=seed,
            duration_s=seconds,
            progress=lambda done, total: report("videos", done, total),
        )
    entities = {video.video_id: len(video.entities) for video in made}
    line = f"{out}: {len(made)} videos, {sum(entities.values())} entities"
    console.result({"folder": out, "entities": entities}, kind="synthetic-ava", lines=[line])


def stats(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="Data set, or AVA csv file, folder of them, or tar archive."
        ),
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw balance, lengths and rates of a data set.")
    ] = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Summarise a data set, or annotation files of AVA."""
    from dataclasses import asdict

    from pushpull.annotations import summarise
    from pushpull.data import is_dataset

    console = Console(as_json=as_json, quiet=quiet)
    if is_dataset(source):
        dataset_stats(source, plot, console, overwrite=overwrite)
        return
    if plot is not None:
        raise typer.BadParameter(f"{source} is no data set: only one is drawn", param_hint="--plot")
    found = asdict(summarise(source))
    console.result(found, kind="annotation-stats", lines=annotation_lines(found))


def verify(source: DataArgument, as_json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """Read every track of a data set and name what is broken.

    The exit code is 1 if anything is.
    """
    from pushpull.data import PackedTracks, faults, open_tracks, splits_of

    console = Console(as_json=as_json, quiet=quiet)
    found: list[dict[str, str]] = []
    count = 0
    with console.progress(source.name) as report:
        for split in splits_of(source):
            tracks = open_tracks(source, split)
            count += len(tracks)
            watch = partial(report, split)
            if isinstance(tracks, PackedTracks):
                for path, what in tracks.damaged().items():
                    found.append({"split": split, "track": path.name, "what": what})
                if not tracks.has_checksums:
                    console.note(
                        f"{split}: was made without checksums; values that changed and can still "
                        "be read are not told"
                    )
            for fault in faults(tracks, progress=watch):
                found.append({"split": split, "track": fault.track_id, "what": fault.what})
    lines = [f"{fault['split']} {fault['track']}: {fault['what']}" for fault in found]
    lines.append(f"{count} tracks read, {len(found)} faults")
    console.result({"tracks": count, "faults": found}, kind="faults", lines=lines)
    if found:
        raise typer.Exit(1)


def dataset_stats(source: Path, plot: Path | None, console: Console, *, overwrite: bool) -> None:
    """Print the numbers of each split, and draw them."""
    from pushpull.data import describe, draw_stats, open_tracks, splits_of

    splits = {split: open_tracks(source, split) for split in splits_of(source)}
    with console.progress(source.name) as report:
        stats = {
            split: describe(tracks, progress=partial(report, split))
            for split, tracks in splits.items()
        }
    if plot is not None:
        draw_stats(stats, splits, plot, overwrite=overwrite)
    lines = []
    for split, row in stats.items():
        lines.append(
            f"{split}: {row.tracks} tracks, {row.frames} frames, {row.duration_s / 60:.1f} min, "
            f"{100 * row.speaking:.1f} % speaking; lengths {' '.join(map(str, row.lengths))} "
            "(shortest, quartiles, longest)"
        )
        for name, counts in (("fps", row.fps), ("cases", row.cases)):
            if counts:
                lines.append(f"  {name}: " + ", ".join(f"{k} {v}" for k, v in counts.items()))
    console.result({"splits": stats}, kind="dataset-stats", lines=lines)


def annotation_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `stats` says about annotation files."""
    for name, value in found.items():
        if name == "problems":
            for problem in value:
                yield f"problem: {problem['count']} {problem['what']}, first {problem['example']}"
        elif isinstance(value, dict):
            yield f"{name}: " + ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, (tuple, list)):
            low, *quartiles, high = value
            yield f"{name}: min {low}, quartiles {' '.join(map(str, quartiles))}, max {high}"
        else:
            yield f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}"


def counts_line(root: Path, counts: Mapping[str, int]) -> str:
    """How many tracks a data set has.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.cli.data import counts_line
        >>> counts_line(Path("heads"), {"train": 8, "test": 2})
        'heads: train 8, test 2'
    """
    return f"{root}: " + ", ".join(f"{split} {count}" for split, count in counts.items())
