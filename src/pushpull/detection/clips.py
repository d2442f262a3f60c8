"""From tracks to what a detector sees: grey crops of 112 x 112 and a constant time grid.

Two conventions say which part of the picture around a box becomes the crop (`CROPS`):
`ava` is the whole box, as the crops of AVA-ActiveSpeaker that detectors are trained on; `demo` is
the lower face, as the published demo cuts it from its own boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.turns import LONGEST_PICTURE_S, frame_lengths_s
from pushpull.media import Frame
from pushpull.schema import FACE_SIZE, Track

__all__ = [
    "CROPS",
    "ClipGrid",
    "Crop",
    "clip_grid",
    "crop_faces",
    "crop_tracks",
    "unbroken",
]

PADDING = 110
"""Grey level beyond the picture, the published demo's."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A window relative to a box.

    Attributes:
        name: Name in `CROPS`.
        square: Whether lengths are in halves of the longer side, else of each side.
        left: Window edges from the box centre, in those halves.
        top: As left.
        right: As left.
        bottom: As left.

    Examples:
        >>> from pushpull.detection.clips import CROPS
        >>> box = np.array([[100.0, 100.0, 160.0, 180.0]])
        >>> CROPS["ava"].windows(box), CROPS["demo"].windows(box)
        (array([[100., 100., 160., 180.]]), array([[102., 128., 158., 184.]]))
    """

    name: str
    square: bool
    left: float
    top: float
    right: float
    bottom: float

    def windows(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Windows (N, 4) of boxes (N, 4), both x1, y1, x2, y2 in pixels."""
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        half = (boxes[:, 2:] - boxes[:, :2]) / 2
        if self.square:
            half = np.repeat(half.max(1, keepdims=True), 2, 1)
        low = centre + half * np.array([self.left, self.top])
        high = centre + half * np.array([self.right, self.bottom])
        return np.concatenate([low, high], 1)


CROPS = {
    crop.name: crop
    for crop in (
        Crop("ava", square=False, left=-1, top=-1, right=1, bottom=1),
        # The demo cuts a window of 1.4 half sizes, 0.4 lower, and keeps the middle of it.
        Crop("demo", square=True, left=-0.7, top=-0.3, right=0.7, bottom=1.1),
    )
}


def crop_faces(
    image: NDArray[np.uint8], boxes: NDArray[np.float64], crop: Crop
) -> NDArray[np.uint8]:
    """Crops (N, 112, 112) uint8 of a grey picture (H, W) around boxes (N, 4) in its pixels.

    Windows larger than the crop are averaged over pixels, smaller ones interpolated linearly.

    Examples:
        >>> from pushpull.detection.clips import CROPS, crop_faces
        >>> picture = np.zeros((120, 160), np.uint8)
        >>> crop_faces(picture, np.array([[40.0, 20.0, 90.0, 85.0]]), CROPS["ava"]).shape
        (1, 112, 112)
    """
    import cv2

    faces = np.empty((len(boxes), FACE_SIZE, FACE_SIZE), np.uint8)
    for i, (x1, y1, x2, y2) in enumerate(crop.windows(boxes)):
        shrink = max(1, int(np.ceil(max(x2 - x1, y2 - y1) / FACE_SIZE)))
        # Sampled `shrink` times finer, then averaged: no aliasing, and sub-pixel positions kept.
        pixels = FACE_SIZE * shrink
        step_x, step_y = (x2 - x1) / pixels, (y2 - y1) / pixels
        affine = np.array([[step_x, 0, x1 + step_x / 2 - 0.5], [0, step_y, y1 + step_y / 2 - 0.5]])
        fine = cv2.warpAffine(
            image,
            affine,
            (pixels, pixels),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=PADDING,
        )
        faces[i] = (
            fine
            if shrink == 1
            else cv2.resize(fine, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)
        )
    return faces


def crop_tracks(
    frames: Iterable[Frame], tracks: Sequence[Track], crop: Crop
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Cut all tracks out of a video in one pass: (track_id, frame, face (112, 112)) in time order.

    Args:
        frames: The video from its first frame.
        tracks: Faces to cut out.
        crop: Which part of the box.

    Examples:
        >>> from pushpull.detection.clips import CROPS, crop_tracks
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
        >>> [(number, frame) for number, frame, face in crop_tracks(frames, [track], CROPS["ava"])]
        [(0, 1), (0, 2)]
    """
    by_frame: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
    for track in tracks:
        for frame, box in zip(track.frames.tolist(), track.boxes, strict=True):
            by_frame.setdefault(frame, []).append((track.track_id, box))
    last = max(by_frame, default=-1)
    for frame in frames:
        if frame.index > last:
            return
        here = by_frame.get(frame.index)
        if here:
            faces = crop_faces(frame.gray(), np.array([box for _, box in here]), crop)
            for (track_id, _), face in zip(here, faces, strict=True):
                yield track_id, frame.index, face


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipGrid:
    """The constant frame rate at which a detector sees a track.

    Attributes:
        fps: Frames per second of the grid.
        frame_of_grid: For each grid frame the track frame that it shows (T,), never falling.
        grid_of_frame: For each track frame the grid frame whose score it takes (N,).

    Examples:
        >>> from pushpull.detection.clips import clip_grid
        >>> grid = clip_grid(np.arange(4) / 60)  # too fast for the detectors
        >>> grid.fps, grid.frame_of_grid, grid.grid_of_frame
        (25.0, array([0, 2]), array([0, 0, 1, 1]))
    """

    fps: float
    frame_of_grid: NDArray[np.int64]
    grid_of_frame: NDArray[np.int64]


JITTER = 0.25
"""Frames may be off a constant rate by this part of a frame and still count as constant."""
USUAL_FPS = (12.0, 32.0)
MODEL_FPS = 25.0


def clip_grid(timestamps_s: NDArray[np.float64], frame_s: float = 1 / MODEL_FPS) -> ClipGrid:
    """The grid for a track's timestamps (N,), rising, without holes of more than a second.

    A constant rate between 12 and 32 frames a second is kept: each frame is a grid frame, and the
    audio front end is told the rate, as the published models take AVA. Anything else, variable
    rates and those far from what the models were trained on, is shown at 25 frames a second, each
    grid frame the nearest real one.

    Args:
        timestamps_s: Start of each frame (N,).
        frame_s: How long a frame lasts that has no other beside it.

    Examples:
        >>> from pushpull.detection.clips import clip_grid
        >>> clip_grid(np.arange(3) / 29.97).fps
        29.97
        >>> clip_grid(np.array([0.0, 0.04, 0.2])).frame_of_grid  # a frame that stands still
        array([0, 1, 1, 1, 2, 2, 2, 2])
    """
    n = len(timestamps_s)
    if n == 1:
        length = max(1, round(frame_s * MODEL_FPS))
        return ClipGrid(
            fps=MODEL_FPS, frame_of_grid=np.zeros(length, int), grid_of_frame=np.zeros(1, int)
        )
    times_s = timestamps_s - timestamps_s[0]
    fps = float((n - 1) / times_s[-1])
    drift = np.abs(times_s * fps - np.arange(n)).max()
    if drift <= JITTER and USUAL_FPS[0] <= fps <= USUAL_FPS[1]:
        every = np.arange(n)
        return ClipGrid(fps=fps, frame_of_grid=every, grid_of_frame=every)
    grid_s = np.arange(max(1, round((times_s[-1] + 1 / fps) * MODEL_FPS))) / MODEL_FPS
    middle_s = (times_s[1:] + times_s[:-1]) / 2
    return ClipGrid(
        fps=MODEL_FPS,
        frame_of_grid=np.searchsorted(middle_s, grid_s),
        grid_of_frame=np.minimum(np.rint(times_s * MODEL_FPS).astype(np.int64), len(grid_s) - 1),
    )


def unbroken(track: Track) -> list[tuple[Track, ClipGrid]]:
    """A track cut where the recording has a hole of more than a second, each part with its grid.

    A picture before a hole is not shown to a detector as if it stood still all the time.

    Examples:
        >>> from pushpull.detection.clips import unbroken
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.arange(4),
        ...     timestamps_s=np.array([0.0, 0.04, 3.0, 3.04]),
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 4),
        ...     detected=np.ones(4, bool),
        ... )
        >>> [(part.timestamps_s.tolist(), grid.fps) for part, grid in unbroken(track)]
        [([0.0, 0.04], 25.0), ([3.0, 3.04], 25.0)]
    """
    lengths_s = frame_lengths_s(track.timestamps_s)
    holes = np.flatnonzero(np.diff(track.timestamps_s) > LONGEST_PICTURE_S) + 1
    parts = []
    for first, stop in pairwise([0, *holes.tolist(), len(track)]):
        here = slice(first, stop)
        part = replace(
            track,
            frames=track.frames[here],
            timestamps_s=track.timestamps_s[here],
            boxes=track.boxes[here],
            detected=track.detected[here],
        )
        parts.append((part, clip_grid(part.timestamps_s, float(lengths_s[first]))))
    return parts
