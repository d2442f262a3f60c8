"""Faces that somebody else found: boxes from a csv in AVA's columns or a json of ours, as tracks.

Each box belongs to the frame whose time is nearest. Frames between two boxes of a face take a box
between them, as long as these are not more than half a second apart; there the face ends, and goes
on as a new track.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations import AvaTable, read_table
from pushpull.annotations.table import BEYOND
from pushpull.errors import AnnotationError
from pushpull.media import WHOLE, Frame, Part
from pushpull.runtime.records import read_json
from pushpull.schema import Track

__all__ = ["GivenFace", "read_faces", "strays", "tracks_of"]

LONGEST_GAP_S = 0.5
"""Between boxes that are one track."""

FARTHEST_S = 0.1
"""A box further from every frame than this is of another video, or of another part."""

EDGE = 1e-6
"""By which boxes may reach out of the picture in shares of it, as rounding makes them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GivenFace:
    """One face as a file gives it.

    Attributes:
        name: What the file calls it.
        timestamps_s: When it is seen (N,), rising.
        boxes: Where (N, 4): x1, y1, x2, y2 in pixels of the upright picture.

    Examples:
        >>> from pushpull.detection import GivenFace
        >>> boxes = np.array([[40.0, 20.0, 90.0, 85.0]])
        >>> GivenFace(name="ada", timestamps_s=np.array([0.4]), boxes=boxes).name
        'ada'
    """

    name: str
    timestamps_s: NDArray[np.float64]
    boxes: NDArray[np.float64]


def read_faces(
    path: str | os.PathLike[str], video: str, *, width: int, height: int
) -> list[GivenFace]:
    """The faces of a file that are of one video.

    Args:
        path: Csv in AVA's columns (labels and scores are not looked at), or a json that
            `pushpull detect` wrote.
        video: Name of the video; where a csv has one video only, its name does not matter.
        width: Of the upright picture in pixels.
        height: Likewise.

    Raises:
        AnnotationError: If it cannot be read, holds another video, or boxes that are none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection import read_faces
        >>> row = "talk,{},0.1,0.2,0.4,0.8,NOT_SPEAKING,ada"
        >>> _ = Path("boxes.csv").write_text(row.format(0.0) + chr(10) + row.format(0.04) + chr(10))
        >>> [face] = read_faces("boxes.csv", "talk", width=200, height=100)
        >>> face.name, face.boxes[1]
        ('ada', array([20., 20., 80., 80.]))
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return list(_of_record(path, width, height))
    return list(_of_table(read_table(path), video, width, height))


def _of_table(table: AvaTable, video: str, width: int, height: int) -> Iterator[GivenFace]:
    of_video = table.rows_of(video)
    table.check_boxes(of_video, beyond=EDGE)
    for entity in dict.fromkeys(table.entity[of_video].tolist()):
        rows = of_video[table.entity[of_video] == entity]
        rows = rows[np.argsort(table.timestamps_s[rows], kind="stable")]
        times_s = table.timestamps_s[rows]
        twice = np.flatnonzero(np.diff(times_s) <= 0)
        if len(twice):
            raise AnnotationError(
                f"{table.source}, {table.describe(rows[twice + 1])}: a second box of this face at "
                "this time; keep one"
            )
        yield GivenFace(
            name=table.entities[entity],
            timestamps_s=times_s,
            boxes=table.boxes[rows] * [width, height, width, height],
        )


def _of_record(path: Path, width: int, height: int) -> Iterator[GivenFace]:
    advice = "give a csv in AVA's columns, or a json that `pushpull detect` wrote"
    record = read_json(path, kind="detection", error=AnnotationError, advice=advice)
    stated = (record.get("width"), record.get("height"))
    if stated != (width, height):
        raise AnnotationError(
            f"{path}: is of a picture of {stated[0]!r:.40} x {stated[1]!r:.40} pixels; "
            f"the video has {width} x {height}"
        )
    tracks = record.get("tracks")
    if not isinstance(tracks, list):
        raise AnnotationError(f"{path}: has no list of tracks; {advice}")
    for number, track in enumerate(tracks):
        where = f"{path}, track {number}"
        if not isinstance(track, Mapping):
            raise AnnotationError(f"{where}: is no object; {advice}")
        times_s, boxes = (_numbers(track, key, where) for key in ("timestamps_s", "boxes"))
        if times_s.ndim != 1 or boxes.shape != (len(times_s), 4) or not len(times_s):
            raise AnnotationError(
                f"{where}: timestamps_s is {times_s.shape}, boxes {boxes.shape}; expected (N,) and "
                "(N, 4), N > 0"
            )
        if (np.diff(times_s) <= 0).any() or (boxes[:, 2:] <= boxes[:, :2]).any():
            raise AnnotationError(f"{where}: times must rise, and no box be empty")
        size = np.array([width, height] * 2, np.float64)
        if (boxes < -BEYOND * size).any() or (boxes > (1 + BEYOND) * size).any():
            raise AnnotationError(
                f"{where}: a box is far outside the picture of {width} x {height} pixels; {advice}"
            )
        if ((boxes[:, :2] >= size[:2]) | (boxes[:, 2:] <= 0)).any(1).all():
            raise AnnotationError(
                f"{where}: no box shows any of the picture of {width} x {height} pixels; {advice}"
            )
        yield GivenFace(name=str(track.get("track_id", number)), timestamps_s=times_s, boxes=boxes)


def _numbers(track: Mapping[str, Any], key: str, where: str) -> NDArray[np.float64]:
    try:
        found = np.asarray(track.get(key), np.float64)
    except (TypeError, ValueError) as e:
        raise AnnotationError(f"{where}: {key} are no numbers ({e})") from e
    if not np.isfinite(found).all():
        raise AnnotationError(f"{where}: {key} are not all finite numbers")
    return found


def tracks_of(faces: Iterable[GivenFace], frames: Iterable[Frame]) -> list[Track]:
    """Tracks of given faces on the frames of a video.

    A face named `something:7` has the number 7, if no other has it; others take what is left.

    Args:
        faces: The faces.
        frames: All frames, in order; only their numbers and times are looked at.

    Examples:
        >>> from pushpull.detection import GivenFace, tracks_of
        >>> from pushpull.media import Frame
        >>> picture = np.zeros((100, 200, 3), np.uint8)
        >>> frames = [Frame.from_rgb(i, i / 25, picture) for i in range(10)]
        >>> boxes = np.array([[40.0, 20.0, 90.0, 85.0], [48.0, 20.0, 98.0, 85.0]])
        >>> face = GivenFace(name="ada", timestamps_s=np.array([0.08, 0.24]), boxes=boxes)
        >>> [track] = tracks_of([face], frames)
        >>> track.frames, track.boxes[:, 0], track.detected
        (array([2, 3, 4, 5, 6]), array([40., 42., 44., 46., 48.]),
        array([ True, False, False, False,  True]))
    """
    seen = [(frame.index, frame.time_s) for frame in frames]
    if not seen:
        return []
    numbers = np.array([index for index, _ in seen], np.int64)
    times_s = np.array([time_s for _, time_s in seen])
    pieces = [(face.name, piece) for face in faces for piece in _pieces(face, numbers, times_s)]
    wanted = [_number_in(name) for name, _ in pieces]
    first_of = {number: k for k, number in reversed(list(enumerate(wanted))) if number is not None}
    free = (n for n in range(len(pieces) + max(first_of, default=0) + 1) if n not in first_of)
    tracks = []
    for k, (_, piece) in enumerate(pieces):
        number = wanted[k]
        own = number is not None and first_of[number] == k
        tracks.append(Track(track_id=number if own and number is not None else next(free), **piece))
    return sorted(tracks, key=lambda track: track.track_id)


def strays(
    faces: Iterable[GivenFace], times_s: Sequence[float], part: Part = WHOLE
) -> tuple[int, int]:
    """How many boxes are too far from every frame to be of one, and how many there are.

    Of a part of a video, boxes before and after it are not counted.

    Args:
        faces: The faces.
        times_s: Of all frames, rising.
        part: What the frames are of.

    Examples:
        >>> from pushpull.detection.given_faces import GivenFace, strays
        >>> boxes = np.array([[20.0, 20.0, 80.0, 80.0]] * 3)
        >>> face = GivenFace(name="ada", timestamps_s=np.array([0.0, 0.04, 9.0]), boxes=boxes)
        >>> strays([face], [0.0, 0.04, 0.08])
        (1, 3)
    """
    shown = np.asarray(times_s, np.float64)
    n_stray = n_boxes = 0
    for face in faces:
        asked = face.timestamps_s
        if part != WHOLE:
            asked = asked[(asked >= part.start_s) & (asked < part.end_s)]
        n_boxes += len(asked)
        n_stray += len(asked)
        if len(shown):
            n_stray -= int((np.abs(shown[_nearest(shown, asked)] - asked) <= FARTHEST_S).sum())
    return n_stray, n_boxes


def _nearest(times_s: NDArray[np.float64], asked_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of the frame next to each time; the earlier of two that are as near."""
    after = np.clip(np.searchsorted(times_s, asked_s), 1, max(1, len(times_s) - 1))
    after = np.minimum(after, len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(asked_s - times_s[before] <= times_s[after] - asked_s, before, after)


def _number_in(name: str) -> int | None:
    last = name.rpartition(":")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 7 else None


def _pieces(
    face: GivenFace, numbers: NDArray[np.int64], times_s: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """A face on consecutive frames, parted at long gaps."""
    place = _nearest(times_s, face.timestamps_s)
    apart = np.abs(times_s[place] - face.timestamps_s)
    # One box a frame: the nearest, and of two as near the first.
    order = np.lexsort((np.arange(len(place)), apart, place))
    best = order[np.concatenate([[True], np.diff(place[order]) > 0])] if len(order) else order
    best = best[apart[best] <= FARTHEST_S]
    if not len(best):
        return
    place, boxes = place[best], face.boxes[best]
    gaps = (np.diff(times_s[place]) > LONGEST_GAP_S) & (np.diff(place) > 1)
    for part in np.split(np.arange(len(place)), np.flatnonzero(gaps) + 1):
        every = np.arange(place[part[0]], place[part[-1]] + 1)
        yield {
            "frames": numbers[every],
            "timestamps_s": times_s[every],
            "boxes": np.stack(
                [np.interp(times_s[every], times_s[place[part]], side) for side in boxes[part].T], 1
            ),
            "detected": np.isin(every, place[part]),
        }
