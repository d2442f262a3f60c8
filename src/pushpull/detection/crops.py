"""All faces of a video, cut out and put on the time grids that detectors see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.detection.clips import ClipGrid, Crop, crop_tracks, unbroken
from pushpull.detection.pipeline import Footage, counted
from pushpull.errors import MediaError
from pushpull.media import Frame, read_frames
from pushpull.media.audio import MOST_HOLES_S
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import FACE_SIZE, GRID, SAMPLE_RATE_HZ, Clip, Track

__all__ = ["VideoClips", "gathered", "read_clips"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoClips(Footage):
    """A video with its faces as a detector sees them.

    Its sound is on the grid of int16, and long enough for all tracks.

    Attributes:
        window: Which part of a face is shown.
        grids: Time grid of each track.
        faces: Crops of each track's own frames (N, 112, 112) uint8.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> clips.span(0), clips.clip(0).faces.shape
        ((0, 6400), torch.Size([10, 112, 112]))
    """

    window: Crop
    grids: tuple[ClipGrid, ...]
    faces: tuple[NDArray[np.uint8], ...]

    def subset(self, places: Sequence[int]) -> VideoClips:
        """The same video with the faces at some places only."""
        return replace(
            self,
            tracks=tuple(self.tracks[i] for i in places),
            grids=tuple(self.grids[i] for i in places),
            faces=tuple(self.faces[i] for i in places),
        )

    def span(self, track: int) -> tuple[int, int]:
        """First and last sample + 1 that a track hears."""
        return _span(self.tracks[track], self.grids[track], self)

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
    """Crops of each track's own frames (N, 112, 112), cut out of a video in one pass.

    Examples:
        >>> from pushpull.detection import gathered
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.media import Frame
        >>> from pushpull.schema import Track
        >>> picture = np.zeros((120, 160, 3), np.uint8)
        >>> frames = [Frame.from_rgb(i, i / 25, picture) for i in range(3)]
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.array([1, 2]),
        ...     timestamps_s=np.array([0.04, 0.08]),
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 2),
        ...     detected=np.array([True, True]),
        ... )
        >>> [faces.shape for faces in gathered(frames, [track], CROPS["ava"])]
        [(2, 112, 112)]
    """
    faces = tuple(np.empty((len(track), FACE_SIZE, FACE_SIZE), np.uint8) for track in tracks)
    index = {track.track_id: i for i, track in enumerate(tracks)}
    for track_id, frame, face in crop_tracks(frames, tracks, window):
        i = index[track_id]
        faces[i][frame - int(tracks[i].frames[0])] = face
    return faces


def read_clips(footage: Footage, window: Crop, progress: Progress = no_progress) -> VideoClips:
    """Cut all faces out of a video.

    The sound is rounded to int16, so that what is measured later is the attack and not rounding.

    Raises:
        MediaError: If faces are seen hours after the sound has ended.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["demo"])
        >>> clips.faces[0].shape, clips.grids[0].fps
        ((10, 112, 112), 25.0)
    """
    parts = [part for track in footage.tracks for part in unbroken(track)]
    free = count(max((track.track_id for track in footage.tracks), default=-1) + 1)
    known: set[int] = set()
    tracks = []
    for track, _ in parts:
        # What follows a hole is a face of its own here: nobody can hear or see over it.
        tracks.append(replace(track, track_id=next(free)) if track.track_id in known else track)
        known.add(track.track_id)
    grids = tuple(grid for _, grid in parts)
    frames = read_frames(footage.path, part=footage.part, on_damage=lambda line: None)
    faces = gathered(counted(frames, "crops", footage.n_frames, progress), tracks, window)
    pairs = zip(tracks, grids, strict=True)
    end = max((_span(track, grid, footage)[1] for track, grid in pairs), default=0)
    missing = max(0, end - len(footage.waveform))
    if missing > MOST_HOLES_S * SAMPLE_RATE_HZ:
        # Not by what a file states of its times: each picture may come an hour after the other.
        raise MediaError(
            f"{footage.path}: faces are seen up to {missing / SAMPLE_RATE_HZ / 3600:.1f} hours "
            f"after the sound has ended; expected at most {MOST_HOLES_S / 3600:g}; do a part: --end"
        )
    step = GRID["audio"]
    rounded = np.clip(np.round(footage.waveform / step) * step, -1.0, 1.0 - step)
    kept: dict[str, Any] = {field.name: getattr(footage, field.name) for field in fields(Footage)}
    kept["tracks"] = tuple(tracks)
    kept["waveform"] = np.pad(rounded, (0, missing)).astype(np.float32)
    return VideoClips(**kept, window=window, grids=grids, faces=faces)


def _span(track: Track, grid: ClipGrid, footage: Footage) -> tuple[int, int]:
    start_s = float(track.timestamps_s[0]) - footage.part.start_s
    stop_s = start_s + len(grid.frame_of_grid) / grid.fps
    return round(start_s * SAMPLE_RATE_HZ), round(stop_s * SAMPLE_RATE_HZ)
