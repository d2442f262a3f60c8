"""All faces of a video, cut out and put on the time grids that detectors see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.detection.clips import ClipGrid, Crop, clip_grid, crop_tracks
from pushpull.detection.pipeline import Footage, counted
from pushpull.media import Frame, read_frames
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import FACE_SIZE, GRID, SAMPLE_RATE_HZ, Clip, Track

__all__ = ["VideoClips", "gathered", "read_clips"]


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


def read_clips(footage: Footage, window: Crop, progress: Progress = no_progress) -> VideoClips:
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


def _span(track: Track, grid: ClipGrid) -> tuple[int, int]:
    start_s = float(track.timestamps_s[0])
    stop_s = start_s + len(grid.frame_of_grid) / grid.fps
    return round(start_s * SAMPLE_RATE_HZ), round(stop_s * SAMPLE_RATE_HZ)
