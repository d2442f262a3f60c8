"""Batches of whole tracks: of like length, measured in frames, the same on any number of processes.

Which tracks make up batch k of epoch e, and how each is augmented, follows from the seed, e and k
alone. So a run that was stopped goes on with the batch it would have had, whatever the number of
loader workers, and two processes share the very batches that one would have had to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.util import get_temp_dir

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pushpull.data.augment import augmented
from pushpull.data.records import Tracks
from pushpull.errors import ConfigError, DatasetError
from pushpull.runtime.interrupts import without_interrupts
from pushpull.schema import Batch, Clip

__all__ = ["Plan", "batches_of", "in_batches", "loader"]


def batches_of(
    n_frames: NDArray[np.int64], batch_frames: int, rng: np.random.Generator, *, share: int = 1
) -> list[NDArray[np.int64]]:
    """Track numbers of each batch of an epoch, batches in random order.

    Tracks are sorted by length, ties at random, and taken until a batch, padded to its longest
    track, would have more than `batch_frames` frames; as TalkNet does, but no track is cut.

    Args:
        n_frames: Length of each track (N,).
        batch_frames: Frames of a batch, padding counted; a longer track is a batch of its own.
        rng: Source of order.
        share: No batch has fewer tracks than this: the processes that share it. A longer batch
            than `batch_frames` may be the price.

    Raises:
        ConfigError: If there are fewer tracks than processes.

    Examples:
        >>> from pushpull.data.loading import batches_of
        >>> batches = batches_of(np.array([30, 10, 50, 20]), 60, np.random.default_rng(0))
        >>> sorted(sorted(batch.tolist()) for batch in batches)
        [[0, 3], [1], [2]]
    """
    if len(n_frames) < share:
        raise ConfigError(f"{len(n_frames)} tracks for {share} processes; use fewer processes")
    order = np.lexsort((rng.permutation(len(n_frames)), -n_frames))
    batches = []
    at = 0
    while at < len(order):
        size = max(int(batch_frames // n_frames[order[at]]), share, 1)
        if len(order) - at - size < share:
            # What is left over is too little for all processes, or nothing.
            size = len(order) - at if len(order) - at - size else size
        batches.append(order[at : at + size])
        at += size
    return [batches[i] for i in rng.permutation(len(batches))]


def in_batches(tracks: Tracks, batch_frames: int, *, limit: int = 0, seed: int = 0) -> list[Batch]:
    """All tracks of a split, or the first so many, in batches of like length, faces as bytes.

    Raises:
        DatasetError: If there is no track.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, open_tracks, write_synth
        >>> from pushpull.data.loading import in_batches
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=5, min_frames=6, max_frames=6))
        >>> tracks = open_tracks(Path("synthetic"), "train")
        >>> sorted(len(batch.faces) for batch in in_batches(tracks, 12))
        [1, 2]
    """
    lengths = tracks.n_frames[: limit or len(tracks)]
    if not len(lengths):
        raise DatasetError("the split has no tracks; expected at least one")
    members = batches_of(lengths, batch_frames, np.random.default_rng(seed))
    clips = ([tracks.clip(int(i)) for i in some] for some in members)
    return [Batch.from_clips(one, keep_bytes=True) for one in clips]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which part of an epoch a process loads.

    Attributes:
        batch_frames: Frames of a batch over all processes.
        seed: Of order and augmentation.
        epoch: From 0.
        first: Batches of the epoch that are done.
        rank: This process.
        world: Processes.
        augment: Whether tracks are changed at random.

    Examples:
        >>> from pushpull.data import Plan
        >>> Plan(batch_frames=2500, epoch=3, first=10)  # the rest of the fourth epoch
        Plan(batch_frames=2500, seed=0, epoch=3, first=10, rank=0, world=1, augment=True)
    """

    batch_frames: int
    seed: int = 0
    epoch: int = 0
    first: int = 0
    rank: int = 0
    world: int = 1
    augment: bool = True


class _Batches(Dataset[Batch]):
    """The batches of an epoch, each made when asked for."""

    def __init__(self, tracks: Tracks, plan: Plan) -> None:
        self.tracks, self.plan = tracks, plan
        rng = np.random.default_rng([plan.seed, plan.epoch])
        self.batches = batches_of(tracks.n_frames, plan.batch_frames, rng, share=plan.world)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        plan, members = self.plan, self.batches[number]
        mine = range(plan.rank, len(members), plan.world)
        clips = [self._clip(number, members, place) for place in mine]
        return Batch.from_clips(clips, keep_bytes=True)

    def _clip(self, number: int, members: NDArray[np.int64], place: int) -> Clip:
        clip = self.tracks.clip(int(members[place]))
        if not self.plan.augment:
            return clip
        rng = np.random.default_rng([self.plan.seed, self.plan.epoch, number, place])
        if len(members) == 1:
            return augmented(clip, None, rng)
        other = (place + int(rng.integers(1, len(members)))) % len(members)
        return augmented(clip, lambda: self.tracks.waveform(int(members[other])), rng)


def loader(tracks: Tracks, plan: Plan, *, workers: int = 0) -> tuple[Iterator[Batch], int]:
    """The rest of an epoch's batches, faces as bytes, and how many the whole epoch has.

    Args:
        tracks: What to load.
        plan: Which part.
        workers: Processes that load ahead; 0 loads in this one. Their number changes nothing.

    Raises:
        DatasetError: If there is no track.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import Plan, SynthConfig, loader, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=4, min_frames=6, max_frames=6))
        >>> batches, count = loader(open_tracks(Path("synthetic"), "train"), Plan(batch_frames=12))
        >>> count, [batch.faces.shape for batch in batches]
        (1, [torch.Size([2, 6, 112, 112])])
    """
    if not len(tracks):
        raise DatasetError("the split has no tracks; expected at least one")
    batches = _Batches(tracks, plan)
    rest: Sequence[int] = range(plan.first, len(batches))
    loading: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=rest,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    if not workers:
        return iter(loading), len(batches)
    # Made here, it is used by all; else each makes its own, which stays where one is killed.
    get_temp_dir()
    with without_interrupts():
        return iter(loading), len(batches)
