"""A synthetic data set that anyone can make: every track from its own seed, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike

import numpy as np

from pushpull.data.records import SPLITS, Example, as_read_back
from pushpull.data.writer import DatasetWriter
from pushpull.errors import ConfigError
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.workers import run_pieces, workers_of
from pushpull.schema import Clip
from pushpull.synthetic import Case, draw_clip

__all__ = ["CASES", "SynthConfig", "synth_example", "synth_examples", "write_synth"]

CASES = {
    Case.TURNS: 0.34,
    Case.SPEAKING: 0.24,
    Case.LISTENING: 0.12,
    Case.MOVING: 0.12,
    Case.DUBBED: 0.12,
    Case.SILENT: 0.06,
}
"""How often each case occurs: two frames in five speak."""

TRACKS_PER_SHARD = 32

MOST_TRACKS, MOST_FRAMES = 10**8, 10**5
"""Of a set, and of a track: thousands of times AVA, and an hour."""

FPS = (25.0, 25.0, 25.0, 24.0, 30.0)
"""Frame rates, each as often as it stands here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthConfig:
    """What decides every byte of a synthetic data set.

    Attributes:
        tracks: Tracks of the splits train, val and test together.
        seed: Of everything.
        min_frames: Shortest track.
        max_frames: Longest track; lengths are spread evenly over the logarithm.
        held_out: Share of tracks in val, and again in test; every track has a person of its own.

    Examples:
        >>> from pushpull.data import SynthConfig
        >>> SynthConfig(tracks=100).counts
        {'train': 70, 'val': 15, 'test': 15}
    """

    tracks: int
    seed: int = 0
    min_frames: int = 25
    max_frames: int = 100
    held_out: float = 0.15

    def __post_init__(self) -> None:
        too_much = self.tracks > MOST_TRACKS or self.max_frames > MOST_FRAMES
        if too_much or self.tracks < 3 or not 1 <= self.min_frames <= self.max_frames:
            raise ConfigError(
                f"synthetic set of {self.tracks} tracks, {self.min_frames} to {self.max_frames} "
                f"frames; expected at least 3 tracks (at most {MOST_TRACKS}), and "
                f"1 <= min_frames <= max_frames <= {MOST_FRAMES}"
            )
        if not 0 < self.held_out < 0.5:
            raise ConfigError(f"held_out is {self.held_out}; expected more than 0, less than 0.5")

    @property
    def counts(self) -> dict[str, int]:
        """Tracks of each split, at least one."""
        held = max(1, min(round(self.tracks * self.held_out), (self.tracks - 1) // 2))
        return {"train": self.tracks - 2 * held, "val": held, "test": held}


def synth_example(config: SynthConfig, split: str, number: int) -> Example:
    """One track, by its split and number from 0 alone.

    Examples:
        >>> from pushpull.data import SynthConfig
        >>> from pushpull.data.synth import synth_example
        >>> example = synth_example(SynthConfig(tracks=3, min_frames=4, max_frames=8), "train", 0)
        >>> example.track_id, example.clip.faces.shape[1:]
        ('train-000000:1', torch.Size([112, 112]))
    """
    seed = np.random.SeedSequence(config.seed, spawn_key=(SPLITS.index(split), number))
    rng = np.random.default_rng(seed)
    case = list(CASES)[int(rng.choice(len(CASES), p=list(CASES.values())))]
    low, high = np.log(config.min_frames), np.log(config.max_frames)
    n_frames = round(float(np.exp(rng.uniform(low, high))))
    fps = FPS[int(rng.integers(len(FPS)))]
    drawn = draw_clip(rng, case, n_frames=n_frames, fps=fps, ambience=True)
    # Bit for bit what storage gives back.
    clip = Clip(
        waveform=as_read_back(drawn.waveform.numpy()),
        faces=drawn.faces,
        fps=fps,
        speaking=drawn.speaking,
    )
    name = f"{split}-{number:06d}"
    boxes = np.tile(np.array([0.25, 0.2, 0.75, 0.8]), (n_frames, 1))
    return Example(
        track_id=f"{name}:1", video_id=name, clip=clip, timestamps_s=np.arange(n_frames) / fps,
        boxes=boxes, person=name, case=case.value,
    )  # fmt: skip


def synth_examples(config: SynthConfig, split: str) -> Iterator[Example]:
    """All tracks of a split, rendered on the fly: the same that `write_synth` writes.

    Examples:
        >>> from pushpull.data import SynthConfig, synth_examples
        >>> config = SynthConfig(tracks=4, min_frames=4, max_frames=8)
        >>> [example.track_id for example in synth_examples(config, "train")]
        ['train-000000:1', 'train-000001:1']
    """
    return (synth_example(config, split, i) for i in range(config.counts[split]))


def write_synth(
    root: str | PathLike[str],
    config: SynthConfig,
    *,
    overwrite: bool = False,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress = no_progress,
) -> None:
    """Render a data set into a folder; shards that are there already are kept.

    Args:
        root: The folder.
        config: What to render.
        overwrite: Whether a data set made otherwise may be replaced.
        workers: Processes, 0 for as many of the cores as are worth their start; their number
            changes no byte.
        engine: "local" or "ray"; see `pushpull.runtime.workers.run_pieces`.
        address: Of the Ray cluster.
        progress: Called with "tracks", tracks done and in all.

    Raises:
        OutputError: If it cannot be written, or the folder holds what may not be replaced.
        ConfigError: If there is no such cluster.

    Examples:
        >>> from pushpull.data import SynthConfig, open_tracks, write_synth
        >>> write_synth("synthetic", SynthConfig(tracks=4, seed=1, min_frames=4, max_frames=6))
        >>> [len(open_tracks("synthetic", split)) for split in ("train", "val", "test")]
        [2, 1, 1]
    """
    writer = DatasetWriter(root, {"by": "data synth", **asdict(config)}, overwrite=overwrite)
    shards = {split: range(-(-count // TRACKS_PER_SHARD)) for split, count in config.counts.items()}
    pieces = {
        f"{split} {shard}": (writer, config, split, shard)
        for split, numbers in shards.items()
        for shard in numbers
        if not writer.has(split, shard)
    }
    total = sum(config.counts.values())
    done = total - sum(len(_numbers(config, *piece[2:])) for piece in pieces.values())
    progress("tracks", done, total)
    if workers == 0 and engine == "local":
        # To start a process takes as long as some hundred frames.
        workers = min(workers_of(0), 1 + (total - done) // TRACKS_PER_SHARD)
    for outcome in run_pieces(pieces, _render, workers=workers, engine=engine, address=address):
        done += outcome.value()
        progress("tracks", done, total)
    writer.finish(shards)


def _numbers(config: SynthConfig, split: str, shard: int) -> range:
    """The tracks of a shard."""
    first = shard * TRACKS_PER_SHARD
    return range(first, min(first + TRACKS_PER_SHARD, config.counts[split]))


def _render(
    writer: DatasetWriter, config: SynthConfig, split: str, shard: int, report: Progress
) -> int:
    numbers = _numbers(config, split, shard)
    return writer.write(split, shard, (synth_example(config, split, n) for n in numbers))
