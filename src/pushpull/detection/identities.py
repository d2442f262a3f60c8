"""Which tracks are the same person: over cuts, and for those who leave and come back.

A few faces of each track are described by dlib's network (128 numbers; distances below 0.6 are
mostly of one person: Davis King, "High quality face recognition with deep metric learning", 2017).
Two tracks are as far apart as the means of their faces, less what faces of one track differ by
among themselves, so that a track of one face is judged like one of many. Tracks are put together
from the nearest on, never two that are on screen at once.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import MissingExtra
from pushpull.media import WHOLE, Part, read_frames
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import Track

__all__ = ["SAME_PERSON", "describe_track", "distance", "grouped", "identify"]

SAME_PERSON = 0.34
"""Distance of two tracks up to which they are one person; docs/measurements/identities.md has how
it was chosen."""

SPREAD = 0.055
"""Mean square of the distance of a face to the mean of its track: measured there."""

FACES = 12
"""Faces of a track that are described."""

SEEN_S = 0.2
"""So long before and after a face was found, its box is as good as then."""

SMALLEST_PX = 28.0
"""Smaller faces are not told apart."""

MODELS = "face_recognition_models"
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"

Describe = Callable[[NDArray[np.uint8], NDArray[np.float64]], NDArray[np.float64]]


def identify(
    path: Path,
    tracks: Sequence[Track],
    *,
    part: Part = WHOLE,
    n_frames: int | None = None,
    progress: Progress = no_progress,
) -> dict[int, int]:
    """The number of the person in each track, by the track's number; the first seen is 0.

    A track whose faces are all smaller than 28 px is a person of its own.

    Args:
        path: The video.
        tracks: Its faces.
        part: Which part of the video they were found in.
        n_frames: Expected number of frames, for progress.
        progress: Called with "identities", frames done and frames expected.

    Raises:
        MissingExtra: If the network is not installed (`pip install 'pushpull-asd[identities]'`).

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection.identities import identify
        >>> identify(Path("talk.mp4"), [])
        {}
    """
    if not tracks:
        return {}
    faces = _described(path, tracks, part, n_frames, progress)
    return grouped(tracks, faces)


def describe_track(path: Path, track: Track, *, part: Part = WHOLE) -> NDArray[np.float64]:
    """128 numbers for each of a few faces of a track (K, 128); near where a person is the same.

    Arguments and errors as for `identify`. None (0, 128) where every face is smaller than 28 px.

    Examples:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pushpull.detection.identities import describe_track
        >>> from pushpull.schema import Track
        >>> far = Track(
        ...     track_id=0,
        ...     frames=np.arange(5),
        ...     timestamps_s=np.arange(5) / 25,
        ...     boxes=np.array([[40.0, 20.0, 60.0, 45.0]] * 5),
        ...     detected=np.ones(5, bool),
        ... )
        >>> describe_track(Path("talk.mp4"), far).shape  # 20 pixels are too few
        (0, 128)
    """
    return _described(path, [track], part, None, no_progress)[0]


def _described(
    path: Path, tracks: Sequence[Track], part: Part, n_frames: int | None, progress: Progress
) -> list[NDArray[np.float64]]:
    wanted: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
    for number, track in enumerate(tracks):
        for i in _worth_describing(track):
            wanted.setdefault(int(track.frames[i]), []).append((number, track.boxes[i]))
    found: list[list[NDArray[np.float64]]] = [[] for _ in tracks]
    if not wanted:
        return [np.zeros((0, 128)) for _ in tracks]
    describe, last = _describer(), max(wanted)
    for frame in read_frames(path, part=part, on_damage=lambda line: None):
        if frame.index > last:
            break
        if frame.index % 10 == 0:
            progress("identities", frame.index, n_frames)
        here = wanted.get(frame.index)
        if here:
            rgb = frame.rgb()
            for number, box in here:
                found[number].append(describe(rgb, box))
    return [np.array(faces).reshape(-1, 128) for faces in found]


def grouped(
    tracks: Sequence[Track], faces: Sequence[NDArray[np.float64]], limit: float = SAME_PERSON
) -> dict[int, int]:
    """Persons by track, from descriptions of faces.

    The nearest groups are put together first, as far apart as their tracks are in the mean (average
    linkage), up to a limit.

    Args:
        tracks: The tracks.
        faces: Descriptions of each (K, D); none where it has no face that is large enough.
        limit: Distance up to which two tracks may be one person.

    Examples:
        >>> import numpy as np
        >>> from pushpull.detection.identities import grouped
        >>> from pushpull.schema import Track
        >>> def seen(number, start):
        ...     return Track(
        ...         track_id=number,
        ...         frames=np.arange(start, start + 10),
        ...         timestamps_s=np.arange(start, start + 10) / 25,
        ...         boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 10),
        ...         detected=np.ones(10, bool),
        ...     )
        >>> ada, bob = np.zeros((1, 128)), np.ones((1, 128))
        >>> grouped([seen(0, 0), seen(1, 10), seen(2, 20)], [ada, bob, ada])
        {0: 0, 1: 1, 2: 0}
        >>> grouped([seen(0, 0), seen(1, 5)], [ada, ada])  # on screen at once
        {0: 0, 1: 1}
    """
    n = len(tracks)
    apart = np.full((n, n), np.inf)
    for i in range(n):
        for j in range(i):
            if len(faces[i]) and len(faces[j]) and not _meet(tracks[i], tracks[j]):
                apart[i, j] = apart[j, i] = distance(faces[i], faces[j])
    group = list(range(n))
    while n:
        i, j = divmod(int(apart.argmin()), n)
        if apart[i, j] > limit:
            break
        of_i, of_j = group.count(i), group.count(j)
        apart[i] = apart[:, i] = (of_i * apart[i] + of_j * apart[j]) / (of_i + of_j)
        apart[j] = apart[:, j] = np.inf
        group = [i if g == j else g for g in group]
    order = sorted(range(n), key=lambda k: (tracks[k].timestamps_s[0], tracks[k].track_id))
    number = {g: person for person, g in enumerate(dict.fromkeys(group[k] for k in order))}
    return {track.track_id: number[group[k]] for k, track in enumerate(tracks)}


def _worth_describing(track: Track) -> list[int]:
    """Positions in a track: the largest face seen in each of a few equal stretches."""
    found_s = track.timestamps_s[track.detected]
    place = np.searchsorted(found_s, track.timestamps_s)
    around = found_s[np.clip([place - 1, place], 0, len(found_s) - 1)]
    seen = np.abs(around - track.timestamps_s).min(0) <= SEEN_S
    sizes = np.minimum(track.boxes[:, 2] - track.boxes[:, 0], track.boxes[:, 3] - track.boxes[:, 1])
    usable = np.flatnonzero(seen & (sizes >= SMALLEST_PX))
    if not len(usable):
        return []
    stretches = np.array_split(usable, min(FACES, len(usable)))
    return sorted({int(s[sizes[s].argmax()]) for s in stretches})


def _meet(one: Track, other: Track) -> bool:
    """Whether two tracks share frames."""
    return bool(np.isin(one.frames, other.frames, assume_unique=True).any())


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """How far two tracks are apart: the means of their faces, less the chance in these means.

    Args:
        one: Descriptions of faces of a track (K, D).
        other: The same of another.

    Examples:
        >>> import numpy as np
        >>> from pushpull.detection.identities import distance
        >>> distance(np.zeros((50, 128)), np.full((50, 128), 0.1))
        1.13
        >>> distance(np.zeros((1, 128)), np.full((1, 128), 0.02))  # by chance
        0.0
    """
    apart = float(((one.mean(0) - other.mean(0)) ** 2).sum())
    return math.sqrt(max(0.0, apart - SPREAD * (1 / len(one) + 1 / len(other))))


@lru_cache(maxsize=1)
def _describer() -> Describe:
    # Not imported: it asks for a package that newer Pythons do not have.
    spec = importlib.util.find_spec(MODELS)
    try:
        import dlib

        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"No module named '{MODELS}'", name=MODELS)
    except ModuleNotFoundError as e:
        raise MissingExtra.of("--identities", e, "identities") from e
    folder = Path(spec.submodule_search_locations[0]) / "models"
    landmarks = dlib.shape_predictor(str(folder / LANDMARKS))
    network = dlib.face_recognition_model_v1(str(folder / NETWORK))

    def describe(rgb: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        half = (box[2] - box[0] + box[3] - box[1]) / 4
        square = dlib.rectangle(*(round(v) for v in (x - half, y - half, x + half, y + half)))
        picture = np.ascontiguousarray(rgb)
        return np.array(network.compute_face_descriptor(picture, landmarks(picture, square)))

    return describe
