"""Commands on data: synth, ava, talkset, stats, verify."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pushpull.cli.console import complain, note, progress_bar, say
from pushpull.cli.options import (
    VIDEO_SUFFIXES,
    CropChoice,
    FaceFinderChoice,
    FaceFinderOption,
    JsonFlag,
)
from pushpull.runtime.records import as_json_text

__all__ = ["ava", "ava_download", "ava_synthetic", "stats", "synth", "talkset", "verify", "video"]


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    tracks: Annotated[int, typer.Option(help="Tracks of train, val and test together.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    min_frames: Annotated[int, typer.Option(help="Shortest track.")] = 25,
    max_frames: Annotated[int, typer.Option(help="Longest track.")] = 100,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
) -> None:
    """Make a synthetic data set of talking faces; what is there already is kept."""
    import os

    from pushpull.data import SynthConfig, write_synth

    config = SynthConfig(tracks=tracks, seed=seed, min_frames=min_frames, max_frames=max_frames)
    with progress_bar(out.name) as report:
        write_synth(
            out,
            config,
            workers=workers or os.cpu_count() or 1,
            progress=lambda done, total: report("tracks", done, total),
        )
    say(f"{out}: " + ", ".join(f"{split} {count}" for split, count in config.counts.items()))


def video(
    out: Annotated[Path, typer.Argument(metavar="VIDEO", help="File to write, such as talk.mp4.")],
    seconds: Annotated[float, typer.Option(help="Length.")] = 10.0,
    people: Annotated[int, typer.Option(min=1, max=2, help="One, or two by turns.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the people, voices and room.")] = 0,
    truth: Annotated[
        Path | None, typer.Option(help="Also write who speaks when, as an AVA csv.")
    ] = None,
) -> None:
    """Make a video of synthetic people who talk, to try things on."""
    from pushpull.runtime.files import output_dir, written_whole
    from pushpull.synthetic import demo_video, one_face_video, write_scene_truth

    output_dir(out.parent)
    with written_whole(out) as temporary:
        make = demo_video if people == 2 else one_face_video
        scene = make(temporary, seed=seed, duration_s=seconds)
    say(str(out))
    if truth is not None:
        write_scene_truth(truth, scene, out.stem)
        say(str(truth))


def talkset(
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of talking heads.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    people: Annotated[
        Path | None,
        typer.Option(
            help="Csv with the columns file, person and, if wanted, speaks (yes, no); by default "
            "each subfolder is a person, or each video of a flat folder."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of splits, shifts and other sounds.")] = 0,
    held_out: Annotated[float, typer.Option(help="Share of people in val and in test.")] = 0.2,
    negatives: Annotated[int, typer.Option(help="Clips that do not speak, per clip.")] = 2,
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    crop: Annotated[CropChoice, typer.Option(help="Part of the face.")] = CropChoice.ava,
) -> None:
    """Make a data set of talking-head clips: with their own sound, none, another's, or shifted.

    A clip that cannot be used is reported, the others are done, and the exit code is 1.
    """
    from pushpull.data.talkset import TalksetConfig, read_sources, sources_in, write_talkset

    if not clips.is_dir():
        raise typer.BadParameter(f"{clips} is no folder", param_hint="CLIPS")
    config = TalksetConfig(
        seed=seed,
        held_out=held_out,
        negatives=negatives,
        face_finder=face_finder.value,
        crop="ava" if crop is CropChoice.auto else crop.value,
    )
    sources = sources_in(clips, VIDEO_SUFFIXES) if people is None else read_sources(people, clips)
    failures: list[str] = []
    with progress_bar(out.name) as report:
        counts = write_talkset(
            sources,
            out,
            config,
            progress=report,
            failed=lambda source, why: failures.append(why),
        )
    say(f"{out}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    for why in failures:
        complain(why)
    if failures:
        note(f"{len(failures)} of {len(sources)} clips could not be used")
        raise typer.Exit(1)


def ava(
    source: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder with AVA's annotations and videos.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set.")],
    workers: Annotated[int, typer.Option(help="Processes, a video each.")] = 2,
    cluster: Annotated[
        str | None,
        typer.Option(help="Ray cluster to work on: its address, or auto for the one running here."),
    ] = None,
) -> None:
    """Make a data set of AVA-ActiveSpeaker; exit code 1 if tracks are missing."""
    from pushpull.data.ava import find_sources, prepare

    with progress_bar(out.name) as report:
        found = prepare(
            find_sources(source), out, workers=workers, cluster=cluster, progress=report
        )
    for split, count in found.tracks.items():
        done, total = found.videos[split]
        say(f"{out}: {split} {count} tracks of {done} of {total} videos")
    for problem in found.problems:
        (complain if problem.lost else note)(f"{problem.where}: {problem.what}")
    if not found.whole:
        note(f"what is missing stands in {out / 'ava.json'}; run again when it is there")
        raise typer.Exit(1)


def ava_download(
    names: Annotated[
        Path, typer.Argument(metavar="LIST", help="File names, one a line, as AVA publishes them.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.")],
    url: Annotated[str | None, typer.Option(help="Where they are; AVA's by default.")] = None,
) -> None:
    """Fetch the files of a list, with resume and checksums; exit code 1 if one is missing."""
    from pushpull.data.ava.download import AVA_URL, download_list, read_list

    with progress_bar(folder.name) as report:
        found = download_list(read_list(names), folder, url=url or AVA_URL, progress=report)
    missing = [f for f in found if not f.done]
    for failed in missing:
        complain(f"{failed.name}: {failed.what}")
    say(f"{folder}: {len(found) - len(missing)} of {len(found)} files")
    if missing:
        raise typer.Exit(1)


def ava_synthetic(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for videos and csv files.")],
    videos: Annotated[int, typer.Option(help="How many.")] = 4,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    duration: Annotated[float, typer.Option(help="Seconds of each.")] = 8.0,
) -> None:
    """Write synthetic videos with csv files as AVA's users have them, to try `data ava` on."""
    from pushpull.data.ava import write_synthetic_ava

    with progress_bar(out.name) as report:
        made = write_synthetic_ava(
            out,
            videos=videos,
            seed=seed,
            duration_s=duration,
            progress=lambda done, total: report("videos", done, total),
        )
    say(f"{out}: {len(made)} videos, {sum(len(v.entities) for v in made)} entities")


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
    as_json: JsonFlag = False,
) -> None:
    """Summarise a data set, or check and summarise AVA-ActiveSpeaker annotation files."""
    from dataclasses import asdict

    from pushpull.annotations import summarise
    from pushpull.data import is_dataset

    if is_dataset(source):
        dataset_stats(source, plot, as_json)
        return
    result = asdict(summarise(source))
    if as_json:
        say(as_json_text(result, kind="annotation-stats"))
        return
    for name, value in result.items():
        if name == "problems":
            for problem in value:
                say(f"problem: {problem['count']} {problem['what']}, first {problem['example']}")
        elif isinstance(value, dict):
            say(f"{name}: " + ", ".join(f"{k} {v}" for k, v in value.items()))
        elif isinstance(value, (tuple, list)):
            low, *quartiles, high = value
            say(f"{name}: min {low}, quartiles {' '.join(map(str, quartiles))}, max {high}")
        else:
            say(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")


def verify(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a data set.")],
    as_json: JsonFlag = False,
) -> None:
    """Read every track of a data set and name what is broken; exit code 1 if anything is."""
    from pushpull.data import faults, open_tracks, splits_of

    found: list[dict[str, str]] = []
    count = 0
    with progress_bar(source.name) as report:
        for split in splits_of(source):
            tracks = open_tracks(source, split)
            count += len(tracks)
            watch = partial(report, split)
            for fault in faults(tracks, progress=watch):
                found.append({"split": split, "track": fault.track_id, "what": fault.what})
    if as_json:
        say(as_json_text({"tracks": count, "faults": found}, kind="faults"))
    else:
        for fault_row in found:
            say(f"{fault_row['split']} {fault_row['track']}: {fault_row['what']}")
        say(f"{count} tracks read, {len(found)} faults")
    if found:
        raise typer.Exit(1)


def dataset_stats(source: Path, plot: Path | None, as_json: bool) -> None:
    """Print the numbers of each split, and draw them."""
    from pushpull.data import describe, draw_stats, open_tracks, splits_of

    splits = {split: open_tracks(source, split) for split in splits_of(source)}
    with progress_bar(source.name) as report:
        stats = {
            split: describe(tracks, progress=partial(report, split))
            for split, tracks in splits.items()
        }
    if plot is not None:
        draw_stats(stats, splits, plot)
    if as_json:
        say(as_json_text({"splits": stats}, kind="dataset-stats"))
        return
    for split, row in stats.items():
        say(
            f"{split}: {row.tracks} tracks, {row.frames} frames, {row.duration_s / 60:.1f} min, "
            f"{100 * row.speaking:.1f} % speaking; lengths {' '.join(map(str, row.lengths))} "
            "(shortest, quartiles, longest)"
        )
        for name, counts in (("fps", row.fps), ("cases", row.cases)):
            if counts:
                say(f"  {name}: " + ", ".join(f"{k} {v}" for k, v in counts.items()))
