"""What a data set holds, and what in it is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from pushpull.data.records import Example, Tracks
from pushpull.errors import DatasetError
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.schema import SAMPLE_RATE_HZ

__all__ = ["Fault", "SplitStats", "describe", "draw_stats", "faults"]

SOUND_TOLERANCE_S = 0.1
"""Sound and picture may differ by so much: AVA's audio clips are one frame shorter, as cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitStats:
    """A split in numbers.

    Attributes:
        tracks: How many.
        frames: Their frames.
        duration_s: Their length together.
        speaking: Share of frames that speak.
        lengths: Frames of the shortest track, of quartiles, and of the longest.
        fps: Tracks of each frame rate.
        cases: Tracks of each case, where cases are known.
        people: People, where they are known.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, describe, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=6, max_frames=6))
        >>> stats = describe(open_tracks(Path("synthetic"), "test"))
        >>> stats.lengths, stats.fps
        ((6, 6, 6, 6, 6), {'25': 1})
    """

    tracks: int
    frames: int
    duration_s: float
    speaking: float
    lengths: tuple[int, ...]
    fps: dict[str, int]
    cases: dict[str, int]
    people: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something broken in a track.

    Attributes:
        track_id: Name of the track.
        what: What is wrong with it.

    Examples:
        >>> from pushpull.data import Fault
        >>> Fault("talk:1", "the sound is silent all through").what
        'the sound is silent all through'
    """

    track_id: str
    what: str


def describe(
    tracks: Tracks, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> SplitStats:
    """A split in numbers; every track is read.

    Raises:
        DatasetError: If a track cannot be read, or there is none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, describe, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=6, max_frames=6))
        >>> stats = describe(open_tracks(Path("synthetic"), "test"))
        >>> stats.tracks, stats.frames, stats.cases
        (1, 6, {'turns': 1})
    """
    if not len(tracks):
        raise DatasetError("the split has no tracks; expected at least one")
    lengths, rates, cases = [], Counter[str](), Counter[str]()
    people = set()
    speaking, duration_s = 0, 0.0
    for i in range(len(tracks)):
        example = tracks[i]
        clip = example.clip
        lengths.append(len(clip.faces))
        rates[f"{clip.fps:g}"] += 1
        speaking += 0 if clip.speaking is None else int(clip.speaking.sum())
        duration_s += len(clip.faces) / clip.fps
        if example.case:
            cases[example.case] += 1
        if example.person:
            people.add(example.person)
        progress(i + 1, len(tracks))
    quartiles = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1], method="nearest")
    return SplitStats(
        tracks=len(lengths),
        frames=sum(lengths),
        duration_s=round(duration_s, 3),
        speaking=speaking / sum(lengths),
        lengths=tuple(int(q) for q in quartiles),
        fps=dict(sorted(rates.items())),
        cases=dict(cases.most_common()),
        people=len(people),
    )


def faults(
    tracks: Tracks, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Fault]:
    """What is broken in each track; all of them are read.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, faults, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=4, max_frames=6))
        >>> list(faults(open_tracks(Path("synthetic"), "test")))
        []
    """
    for i in range(len(tracks)):
        try:
            yield from _of_track(tracks[i])
        except (DatasetError, ValueError) as e:
            yield Fault(tracks.track_ids[i], str(e))
        progress(i + 1, len(tracks))


def _of_track(example: Example) -> Iterator[Fault]:
    clip, name = example.clip, example.track_id
    times_s = example.timestamps_s
    if not np.isfinite(times_s).all() or (np.diff(times_s) <= 0).any():
        yield Fault(name, "timestamps do not rise; sort the frames or drop doubled ones")
    picture_s, sound_s = len(clip.faces) / clip.fps, len(clip.waveform) / SAMPLE_RATE_HZ
    if abs(picture_s - sound_s) > SOUND_TOLERANCE_S:
        yield Fault(name, f"{sound_s:.2f} s of sound for {picture_s:.2f} s of faces")
    if not bool(clip.waveform.any()):
        yield Fault(name, "the sound is silent all through")
    spread = clip.faces.flatten(1).float().std(1)
    flat = int((spread == 0).sum())
    if flat:
        yield Fault(name, f"{flat} of {len(clip.faces)} faces are of one grey level")
    if len(clip.faces) > 5 and bool((clip.faces == clip.faces[:1]).all()):
        yield Fault(name, "all faces are the same picture")
    boxes = example.boxes
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        yield Fault(name, "a box has no area or holds NaN")


def draw_stats(
    stats: dict[str, SplitStats],
    tracks: dict[str, Tracks],
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
) -> None:
    """A picture of balance, lengths and frame rates of each split.

    Args:
        stats: What is drawn.
        tracks: The splits.
        path: File to write.
        overwrite: Whether a file of any other making may be replaced.

    Raises:
        OutputError: If it cannot be written or may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, describe, draw_stats, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=4, max_frames=6))
        >>> tracks = {"test": open_tracks(Path("synthetic"), "test")}
        >>> draw_stats({"test": describe(tracks["test"])}, tracks, Path("stats.png"))
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (balance, lengths, rates) = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    names = list(stats)
    balance.barh(names, [100 * stats[n].speaking for n in names])
    balance.set(xlabel="frames that speak, %", xlim=(0, 100), title="balance")
    for name in names:
        lengths.hist(tracks[name].n_frames, bins=24, histtype="step", label=name)
    lengths.set(xlabel="frames of a track", ylabel="tracks", title="lengths")
    lengths.legend()
    every = sorted({rate for s in stats.values() for rate in s.fps}, key=float)
    for k, name in enumerate(names):
        at = np.arange(len(every)) + 0.8 * k / len(names)
        counts = [stats[name].fps.get(rate, 0) for rate in every]
        rates.bar(at, counts, 0.8 / len(names), label=name, align="edge")
    rates.set_xticks(np.arange(len(every)) + 0.4, every)
    rates.set(xlabel="frames per second", ylabel="tracks", title="frame rates")
    origin = Origin(command="data stats", settings={"splits": stats})
    outputs = Outputs(folder=Path(path).parent, origin=origin, overwrite=overwrite)
    with outputs.writing([Path(path).name]) as paths:
        figure.savefig(paths[Path(path).name], dpi=110)
    plt.close(figure)
