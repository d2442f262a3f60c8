"""Which label a face of a video has at each of its frames: the truth that is attacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.annotations import read_table
from pushpull.detection.face_finders import overlap
from pushpull.errors import AnnotationError
from pushpull.media import VideoInfo
from pushpull.models.detector import Detector
from pushpull.schema import Track
from pushpull.video_attacks.segments import Segment

__all__ = ["labelled", "labels_from_csv", "labels_from_tracks"]

LEAST_OVERLAP = 0.3
"""Of a box and a labelled one, intersection over union."""

FARTHEST_S = 0.1
"""From a frame to the labelled time that is taken for it."""


def labelled(
    segments: Sequence[Segment], detector: Detector, labels: Path | None = None
) -> list[Segment]:
    """The segments with the labels of a csv, or by default with what the detector decides.

    Raises:
        AnnotationError: If the labels do not fit the faces.
    """
    if labels is None:
        return [_labelled(segment, _decisions(segment, detector)) for segment in segments]
    tracks = [track for segment in segments for track in segment.clips.tracks]
    found = iter(labels_from_csv(labels, tracks, segments[0].clips.info))
    return [
        _labelled(segment, [next(found)[grid.frame_of_grid] for grid in segment.clips.grids])
        for segment in segments
    ]


def labels_from_csv(
    path: Path, tracks: Sequence[Track], info: VideoInfo
) -> list[NDArray[np.int64]]:
    """Labels (N,) of each track, from the row at the nearest time whose box overlaps most.

    Args:
        path: AVA csv of this video: times in seconds of its own clock, boxes relative to it.
        tracks: Faces.
        info: Of the video.

    Raises:
        AnnotationError: If the csv is not one, or has no row for some frame of a face.
    """
    table = read_table(path)
    size = np.array([info.width, info.height] * 2, float)
    times_s, which = np.unique(table.timestamps_s, return_inverse=True)
    order = np.argsort(which, kind="stable")
    first = np.searchsorted(which[order], np.arange(len(times_s) + 1))
    found = []
    for track in tracks:
        labels = np.full(len(track), -1, np.int64)
        nearest = _nearest(times_s, track.timestamps_s)
        for t, (at, box) in enumerate(zip(nearest, track.boxes, strict=True)):
            if abs(times_s[at] - track.timestamps_s[t]) > FARTHEST_S:
                continue
            rows = order[first[at] : first[at + 1]]
            ratios = overlap(box, table.boxes[rows] * size)
            if ratios.max() >= LEAST_OVERLAP:
                labels[t] = table.speaking[rows[ratios.argmax()]]
        missing = np.flatnonzero(labels < 0)
        if len(missing):
            t = int(missing[0])
            corners = ", ".join(f"{v:.3f}" for v in track.boxes[t] / size)
            raise AnnotationError(
                f"{path}: {len(missing)} of {len(track)} frames of face {track.track_id} have no "
                f"label, the first at {track.timestamps_s[t]:.2f} s with box {corners}; expected "
                f"a row within {FARTHEST_S} s whose box overlaps by {LEAST_OVERLAP:.0%} or more "
                f"(the csv has {len(table)} rows from {times_s[0]:.2f} to {times_s[-1]:.2f} s); "
                "the csv that `pushpull detect` writes has the rows to label"
            )
        found.append(labels)
    return found


def labels_from_tracks(
    track: Track, known: Sequence[Track], labels: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Labels (N,) of a face found anew in the same frames; -1 where no known face is."""
    found = np.full(len(track), -1, np.int64)
    best = np.full(len(track), LEAST_OVERLAP)
    for other, values in zip(known, labels, strict=True):
        low = max(int(track.frames[0]), int(other.frames[0]))
        high = min(int(track.frames[-1]), int(other.frames[-1]))
        for frame in range(low, high + 1):
            t, u = frame - int(track.frames[0]), frame - int(other.frames[0])
            ratio = float(overlap(track.boxes[t], other.boxes[u : u + 1])[0])
            if ratio > best[t]:
                best[t], found[t] = ratio, values[u]
    return found


def _labelled(segment: Segment, labels: Sequence[NDArray[np.int64]]) -> Segment:
    """The segment with the labels (T,) of its faces on their grids."""
    speaking = torch.zeros(segment.batch.faces.shape[:2], dtype=torch.int64)
    for row, values in zip(speaking, labels, strict=True):
        row[: len(values)] = torch.from_numpy(values)
    return replace(segment, batch=replace(segment.batch, speaking=speaking))


def _decisions(segment: Segment, detector: Detector) -> list[NDArray[np.int64]]:
    with torch.inference_mode():
        output = detector(**segment.batch.to(detector.device).inputs)
    return [(score > 0).astype(np.int64) for score in segment.rows(output.score)]


def _nearest(times_s: NDArray[np.float64], wanted_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest of some rising times for each wanted one."""
    after = np.clip(np.searchsorted(times_s, wanted_s), 1, max(1, len(times_s) - 1))
    before = after - 1
    after = np.minimum(after, len(times_s) - 1)
    nearer = wanted_s - times_s[before] <= times_s[after] - wanted_s
    index: NDArray[np.int64] = np.where(nearer, before, after)
    return index
