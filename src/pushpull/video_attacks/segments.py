"""A video cut into what an attack works on: segments of faces that hear each other's sound.

Faces that are on screen at the same time hear one sound, so an attacker has one waveform for all of
them. Tracks that share no sample do not depend on each other and are attacked apart, which keeps
batches small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks import Soundtracks
from pushpull.detection import VideoClips
from pushpull.errors import ConfigError
from pushpull.schema import Batch

__all__ = ["Segment", "segments_of"]

MOST_FRAMES = 6000
"""Faces of one segment, padding included: an attack keeps a dozen float32 copies, 600 kB each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """Tracks that hear each other's sound.

    Attributes:
        tracks: Their positions in the video's list.
        first_sample: Where the sound of the segment begins in the video's.
        batch: One clip for each track.
        sound: Which part of the segment's sound each clip hears.
    """

    tracks: tuple[int, ...]
    first_sample: int
    batch: Batch
    sound: Soundtracks

    def labelled(self, speaking: Sequence[NDArray[np.int64]]) -> Segment:
        """The segment with the labels (T,) of the video's tracks on their grids."""
        labels = torch.zeros(self.batch.faces.shape[:2], dtype=torch.int64)
        for row, track in enumerate(self.tracks):
            labels[row, : len(speaking[track])] = torch.from_numpy(speaking[track])
        return replace(self, batch=replace(self.batch, speaking=labels))

    def rows(self, values: Tensor) -> list[NDArray[np.float64]]:
        """Valid values of each clip (T,) of (B, T)."""
        lengths = self.batch.n_frames.tolist()
        return [v[:n].double().cpu().numpy() for v, n in zip(values, lengths, strict=True)]


def segments_of(clips: VideoClips) -> list[Segment]:
    """The segments of a video in time order, without labels.

    Raises:
        ConfigError: If a segment is too long to be attacked at once.
    """
    spans = [clips.span(i) for i in range(len(clips.faces))]
    groups: list[list[int]] = []
    reach = -1
    for i in sorted(range(len(spans)), key=lambda i: spans[i]):
        start, stop = spans[i]
        if groups and start < reach:
            groups[-1].append(i)
        else:
            groups.append([i])
        reach = max(reach, stop)
    return [_segment(clips, sorted(group)) for group in groups]


def _segment(clips: VideoClips, group: list[int]) -> Segment:
    longest = max(len(clips.grids[i].frame_of_grid) for i in group)
    if longest * len(group) > MOST_FRAMES:
        raise ConfigError(
            f"{clips.footage.path}: {len(group)} faces hear one sound for up to {longest} frames; "
            f"expected no more than {MOST_FRAMES} frames together, which is what memory holds; "
            "attack a part: ffmpeg -ss START -t SECONDS -i IN OUT"
        )
    spans = [clips.span(i) for i in group]
    first, last = min(start for start, _ in spans), max(stop for _, stop in spans)
    batch = Batch.from_clips([clips.clip(i) for i in group])
    starts = torch.tensor([start - first for start, _ in spans])
    sound = Soundtracks.of_one(torch.from_numpy(clips.waveform[first:last]), starts)
    return Segment(tracks=tuple(group), first_sample=first, batch=batch, sound=sound)
