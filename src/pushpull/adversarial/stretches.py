"""A video cut into what an attack works on: stretches of faces that hear each other's sound.

Faces that are on screen at the same time hear one sound, so an attacker has one waveform for all of
them. Tracks that share no sample do not depend on each other and are attacked apart, which keeps
batches small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks import Soundtracks
from pushpull.clips import ClipGrid, Crop, clip_grid, crop_tracks
from pushpull.detection import Footage, Progress, counted
from pushpull.errors import ConfigError
from pushpull.media import Frame, read_frames
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Batch, Clip, Track
from pushpull.threat import GRID

__all__ = ["Stretch", "VideoClips", "gathered", "read_clips", "stretches_of"]

MOST_FRAMES = 6000
"""Faces of one stretch, padding included: an attack keeps a dozen float32 copies, 600 kB each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoClips:
    """All faces of a video as a detector sees them.

    Attributes:
        footage: The video, its sound and tracks.
        window: Which part of a face is shown.
        grids: Time grid of each track.
        faces: Crops of each track's own frames (N, 112, 112) uint8.
        waveform: Sound of the whole video (S,) float32 on the grid of int16, long enough for all
            tracks.
    """

    footage: Footage
    window: Crop
    grids: tuple[ClipGrid, ...]
    faces: tuple[NDArray[np.uint8], ...]
    waveform: NDArray[np.float32]

    def span(self, track: int) -> tuple[int, int]:
        """First and last sample + 1 that a track hears."""
        return _span(self.footage.tracks[track], self.grids[track])

    def clip(self, track: int) -> Clip:
        """One track for a detector."""
        start, stop = self.span(track)
        grid = self.grids[track]
        return Clip(
            waveform=torch.from_numpy(self.waveform[start:stop]),
            faces=torch.from_numpy(self.faces[track][grid.frame_of_grid]),
            fps=grid.fps,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """Tracks that hear each other's sound.

    Attributes:
        tracks: Their positions in the video's list.
        first_sample: Where the sound of the stretch begins in the video's.
        batch: One clip for each track.
        sound: Which part of the stretch's sound each clip hears.
    """

    tracks: tuple[int, ...]
    first_sample: int
    batch: Batch
    sound: Soundtracks

    def labelled(self, speaking: Sequence[NDArray[np.int64]]) -> Stretch:
        """The stretch with the labels (T,) of the video's tracks on their grids."""
        labels = torch.zeros(self.batch.faces.shape[:2], dtype=torch.int64)
        for row, track in enumerate(self.tracks):
            labels[row, : len(speaking[track])] = torch.from_numpy(speaking[track])
        return replace(self, batch=replace(self.batch, speaking=labels))

    def rows(self, values: Tensor) -> list[NDArray[np.float64]]:
        """Valid values of each clip (T,) of (B, T)."""
        lengths = self.batch.n_frames.tolist()
        return [v[:n].double().cpu().numpy() for v, n in zip(values, lengths, strict=True)]


def gathered(
    frames: Iterable[Frame], tracks: Sequence[Track], window: Crop
) -> tuple[NDArray[np.uint8], ...]:
    """Crops of each track's own frames (N, 112, 112), cut out of a video in one pass."""
    faces = tuple(np.empty((len(track), FACE_SIZE, FACE_SIZE), np.uint8) for track in tracks)
    index = {track.track_id: i for i, track in enumerate(tracks)}
    for track_id, frame, face in crop_tracks(frames, tracks, window):
        i = index[track_id]
        faces[i][frame - int(tracks[i].frames[0])] = face
    return faces


def read_clips(
    footage: Footage, window: Crop, progress: Progress = lambda stage, done, total: None
) -> VideoClips:
    """Cut all faces out of a video.

    The sound is rounded to int16, so that what is measured later is the attack and not rounding.
    """
    tracks = footage.tracks
    frames = read_frames(footage.path, on_damage=lambda line: None)
    faces = gathered(counted(frames, "crops", footage.info, progress), tracks, window)
    grids = tuple(clip_grid(track.timestamps_s) for track in tracks)
    end = max(_span(track, grid)[1] for track, grid in zip(tracks, grids, strict=True))
    step = GRID["audio"]
    rounded = np.clip(np.round(footage.waveform / step) * step, -1.0, 1.0 - step)
    missing = max(0, end - len(rounded))
    return VideoClips(
        footage=footage,
        window=window,
        grids=grids,
        faces=faces,
        waveform=np.pad(rounded, (0, missing)).astype(np.float32),
    )


def stretches_of(clips: VideoClips) -> list[Stretch]:
    """The stretches of a video in time order, without labels.

    Raises:
        ConfigError: If a stretch is too long to be attacked at once.
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
    return [_stretch(clips, sorted(group)) for group in groups]


def _span(track: Track, grid: ClipGrid) -> tuple[int, int]:
    start_s = float(track.timestamps_s[0])
    stop_s = start_s + len(grid.frame_of_grid) / grid.fps
    return round(start_s * SAMPLE_RATE_HZ), round(stop_s * SAMPLE_RATE_HZ)


def _stretch(clips: VideoClips, group: list[int]) -> Stretch:
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
    return Stretch(tracks=tuple(group), first_sample=first, batch=batch, sound=sound)
