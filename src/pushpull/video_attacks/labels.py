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
from pushpull.models.detector import Detector, in_eval_mode
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

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import Case, one_face_video
        >>> from pushpull.video_attacks import SPACES
        >>> from pushpull.video_attacks.labels import labelled
        >>> from pushpull.video_attacks.segments import segments_of
        >>> size, case = (160, 120), Case.SPEAKING
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=size, case=case)
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> segments = segments_of(clips, SPACES["crop"])
        >>> [segment] = labelled(segments, pp.load("synthetic-a"))
        >>> segments[0].batch.speaking is None, segment.batch.speaking
        (True, tensor([[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]]))
    """
    if labels is None:
        return [_by_decisions(segment, detector) for segment in segments]
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
        path: AVA csv: times in seconds of the video's own clock, boxes relative to it. It may hold
            several videos, told apart by `video_id`.
        tracks: Faces.
        info: Of the video.

    Raises:
        AnnotationError: If the csv is not one, holds other videos, boxes that are none or twice
            there, or has no row for some frame of a face.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import write_truth
        >>> from pushpull.media import VideoWriter, probe
        >>> from pushpull.schema import Track
        >>> from pushpull.video_attacks.labels import labels_from_csv
        >>> with VideoWriter("talk.mp4", width=200, height=100, fps=25) as video:
        ...     video.write(np.zeros((100, 200, 3), np.uint8))
        >>> write_truth(
        ...     Path("truth.csv"),
        ...     video_id="talk",
        ...     entity_ids=["talk:1"] * 2,
        ...     timestamps_s=np.array([0.0, 0.04]),
        ...     boxes=np.array([[0.1, 0.2, 0.4, 0.8]] * 2),
        ...     speaking=np.array([False, True]),
        ... )
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.arange(2),
        ...     timestamps_s=np.array([0.0, 0.04]),
        ...     boxes=np.array([[22.0, 20.0, 80.0, 82.0]] * 2),
        ...     detected=np.array([True, True]),
        ... )
        >>> labels_from_csv(Path("truth.csv"), [track], probe("talk.mp4"))
        [array([0, 1])]
    """
    table = read_table(path)
    of_video = table.rows_of(info.path.stem)
    table.check_boxes(of_video)
    table.check_once(of_video)
    size = np.array([info.width, info.height] * 2, float)
    times_s, which = np.unique(table.timestamps_s[of_video], return_inverse=True)
    order = np.argsort(which, kind="stable")
    first = np.searchsorted(which[order], np.arange(len(times_s) + 1))
    found = []
    for track in tracks:
        labels = np.full(len(track), -1, np.int64)
        nearest = _nearest(times_s, track.timestamps_s)
        for t, (at, box) in enumerate(zip(nearest, track.boxes, strict=True)):
            if abs(times_s[at] - track.timestamps_s[t]) > FARTHEST_S:
                continue
            rows = of_video[order[first[at] : first[at + 1]]]
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
                f"(the csv has {len(of_video)} rows from {times_s[0]:.2f} to {times_s[-1]:.2f} s); "
                "the csv that `pushpull detect` writes has the rows to label"
            )
        found.append(labels)
    return found


def labels_from_tracks(
    track: Track, known: Sequence[Track], labels: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Labels (N,) of a face found anew in the same frames; -1 where no known face is.

    Examples:
        >>> from pushpull.schema import Track
        >>> from pushpull.video_attacks.labels import labels_from_tracks
        >>> def track(frames, left):
        ...     return Track(
        ...         track_id=0,
        ...         frames=frames,
        ...         timestamps_s=frames / 25,
        ...         boxes=np.array([[left, 10.0, left + 60.0, 70.0]] * len(frames)),
        ...         detected=np.ones(len(frames), bool),
        ...     )
        >>> known = [track(np.arange(3), 10.0)]
        >>> labels_from_tracks(track(np.arange(1, 5), 14.0), known, [np.array([0, 1, 0])])
        array([ 1,  0, -1, -1])
    """
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


def _by_decisions(segment: Segment, detector: Detector) -> Segment:
    """The segment with the detector's own decisions, and the scores that they are of."""
    with torch.no_grad(), in_eval_mode(detector):
        score = detector(**segment.batch.to(detector.device).inputs).score
    decided = [(row > 0).astype(np.int64) for row in segment.rows(score)]
    return replace(_labelled(segment, decided), score=score)


def _nearest(times_s: NDArray[np.float64], wanted_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest of some rising times for each wanted one."""
    after = np.clip(np.searchsorted(times_s, wanted_s), 1, max(1, len(times_s) - 1))
    before = after - 1
    after = np.minimum(after, len(times_s) - 1)
    nearer = wanted_s - times_s[before] <= times_s[after] - wanted_s
    index: NDArray[np.int64] = np.where(nearer, before, after)
    return index
