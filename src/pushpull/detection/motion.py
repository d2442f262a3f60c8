"""Where followed faces should be by now, and which of the faces found there is whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.appearance import Portrait, likeness
from pushpull.detection.face_finders.finder import overlap

__all__ = ["Candidate", "Trail", "assigned", "distance"]

STEADY_S = 0.12
"""Over this time a speed is estimated: one look is off by a few percent of a face."""
DISTANCE_HEIGHTS = 0.5
DISTANCE_HEIGHTS_PER_S = 4.0
LARGEST_DISTANCE_HEIGHTS = 1.6
"""A face may be found this far from where it should be, in its own heights."""
SIZE_LOG = 0.35
SIZE_LOG_PER_S = 2.0
LARGEST_SIZE_LOG = 0.9
FAST_LOG_PER_S = 6.0
"""No face grows or shrinks faster, other than in a zoom."""
ROUNDED_S = 2e-3
"""Containers round times to a millisecond."""
LOST_S = 0.3
"""A face unseen for longer is taken back only where it also looks the same."""
SAME_LOOK = 0.45
"""Likeness from which a face may be one that was lost."""
LIKELY, LIKELY_FARTHER = 0.75, 2.0
"""Likeness from which a face may have gone farther, and by how much."""
ONE_INSIDE = 0.7
"""Share of the smaller of two boxes in the larger from which they may be of one face."""
UNASSIGNED = 2.5
"""Cost of a face that is not found again: two bad pairs are not better than a good one."""
CONTINUES = 0.8
"""Likeness from which a face is the one of the picture before, whatever else has changed."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A face found in one picture.

    Attributes:
        box: (4,) x1, y1, x2, y2 in pixels.
        score: The face finder's.
        look: What it looks like.

    Examples:
        >>> from pushpull.detection.motion import Candidate
        >>> look = np.zeros((28, 28, 3), np.uint8)
        >>> Candidate(np.array([10.0, 20.0, 60.0, 85.0]), 0.9, look).score
        0.9
    """

    box: NDArray[np.float64]
    score: float
    look: Portrait


@dataclass(slots=True, eq=False)
class Trail:
    """A face being followed: when it was seen, where, and how it moves.

    Attributes:
        frames: Numbers of the frames in which it was seen, rising.
        times_s: Their times.
        boxes: Where (4,).
        scores: The face finder's.
        look: What it looked like last, where nobody else was near.
        steady: Where it was when it last looked like itself (4,): what is half hidden is seen
            beside where it is.
        shot: Number of the shot.
        moved: About how far the pixels under it have moved since, in its own heights.
        missed: Whether the last look did not find it.

    Examples:
        >>> from pushpull.detection.motion import Candidate, Trail
        >>> trail, look = Trail(), np.zeros((28, 28, 3), np.uint8)
        >>> for i in range(3):  # it walks to the right
        ...     box = np.array([10.0, 20.0, 60.0, 85.0]) + [5 * i, 0, 5 * i, 0]
        ...     trail.add(i, i / 25, Candidate(box, 0.9, look))
        >>> trail.predicted(3 / 25).round()
        array([25., 20., 75., 85.])
    """

    frames: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    look: Portrait = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))
    steady: NDArray[np.float64] | None = None
    shot: int = 0
    moved: float = 0.0
    missed: bool = False

    def add(self, frame: int, time_s: float, seen: Candidate, *, look: bool = True) -> None:
        """Take a sighting that is later than all others; with its look or without."""
        self.frames.append(frame)
        self.times_s.append(time_s)
        self.boxes.append(seen.box)
        self.scores.append(seen.score)
        if look or likeness(self.look, seen.look) >= LIKELY:
            self.steady = seen.box
        if look:
            self.look = seen.look
        self.moved = 0.0

    def add_earlier(self, frame: int, time_s: float, seen: Candidate) -> None:
        """Take a sighting that is earlier than all others."""
        self.frames.insert(0, frame)
        self.times_s.insert(0, time_s)
        self.boxes.insert(0, seen.box)
        self.scores.insert(0, seen.score)

    def take(self, piece: Trail) -> None:
        """Take all sightings of another, none of them in a frame of this."""
        place = int(np.searchsorted(self.frames, piece.frames[0]))
        if place == len(self.frames):
            self.look, self.steady = piece.look, piece.steady
        self.frames[place:place] = piece.frames
        self.times_s[place:place] = piece.times_s
        self.boxes[place:place] = piece.boxes
        self.scores[place:place] = piece.scores
        self.moved = 0.0

    @property
    def last(self) -> NDArray[np.float64]:
        """Latest box (4,)."""
        return self.boxes[-1]

    def unseen_s(self, time_s: float) -> float:
        """How long ago the face was last seen."""
        return time_s - self.times_s[-1]

    def predicted(self, time_s: float) -> NDArray[np.float64]:
        """Box (4,) at a time after all sightings, at constant speed."""
        return extrapolated(self.times_s[::-1], self.boxes[::-1], time_s)

    def predicted_before(self, time_s: float) -> NDArray[np.float64]:
        """Box (4,) at a time before all sightings, at constant speed."""
        return extrapolated(self.times_s, self.boxes, time_s)


def extrapolated(
    times_s: Sequence[float], boxes: Sequence[NDArray[np.float64]], time_s: float
) -> NDArray[np.float64]:
    """A box beyond the first of some sightings, by the speed among the next ones."""
    box = boxes[0]
    k = 1
    while k < len(times_s) - 1 and abs(times_s[k] - times_s[0]) < STEADY_S - ROUNDED_S:
        k += 1
    if k >= len(times_s):
        return box
    span_s = times_s[0] - times_s[k]
    centre, before = (box[:2] + box[2:]) / 2, (boxes[k][:2] + boxes[k][2:]) / 2
    size, was = box[2:] - box[:2], boxes[k][2:] - boxes[k][:2]
    step_s = time_s - times_s[0]
    speed = (centre - before) / span_s
    growth = np.clip(np.log(size[1] / was[1]) / span_s, -FAST_LOG_PER_S, FAST_LOG_PER_S)
    # Sizes jitter more than places; over longer times they are not carried on.
    growth = growth * np.clip(step_s, -0.1, 0.1)
    centre = centre + speed * step_s
    half = size * np.exp(growth) / 2
    moved: NDArray[np.float64] = np.concatenate([centre - half, centre + half])
    return moved


def assigned(
    trails: Sequence[Trail], found: Sequence[Candidate], time_s: float, *, by_look: bool = False
) -> dict[int, int]:
    """Which face found is which of those followed, one to one, as cheaply as possible in all.

    Args:
        trails: Faces followed.
        found: Faces in the picture at `time_s`.
        time_s: When.
        by_look: Whether looks must agree, since the whole picture has changed.

    Returns:
        Index into `found` for the index of each trail that was found again.

    Examples:
        >>> from pushpull.detection.motion import Candidate, Trail, assigned
        >>> look, box = np.zeros((28, 28, 3), np.uint8), np.array([10.0, 20.0, 60.0, 85.0])
        >>> left, right = Trail(), Trail()
        >>> left.add(0, 0.0, Candidate(box, 0.9, look))
        >>> right.add(0, 0.0, Candidate(box + [80, 0, 80, 0], 0.9, look))
        >>> found = [Candidate(box + [k, 0, k, 0], 0.9, look) for k in (78, 3)]
        >>> assigned([left, right], found, 0.2)
        {0: 1, 1: 0}
    """
    if not trails or not found:
        return {}
    costs = np.full((len(trails), len(found)), UNASSIGNED)
    possible = np.zeros(costs.shape, bool)
    for i, trail in enumerate(trails):
        for k, seen in enumerate(found):
            cost = cost_of(trail, seen, time_s, by_look=by_look)
            if cost is not None:
                costs[i, k], possible[i, k] = cost, True
    plain = plain_pairs(costs, possible)
    if plain is not None:
        return plain
    # A third of a second to import, which most videos can do without.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    return {int(i): int(k) for i, k in zip(rows, columns, strict=True) if possible[i, k]}


def plain_pairs(costs: NDArray[np.float64], possible: NDArray[np.bool_]) -> dict[int, int] | None:
    """The cheapest pairs where each row has its own; None where something is to be weighed.

    Args:
        costs: Of each pair (N, M).
        possible: Which are pairs at all (N, M); the others all cost the same.

    Examples:
        >>> from pushpull.detection.motion import plain_pairs
        >>> costs = np.array([[0.2, 2.5], [0.4, 0.3]])
        >>> plain_pairs(costs, costs < 2.5)
        {0: 0, 1: 1}
        >>> plain_pairs(costs[:, ::-1] + np.array([[0, 0], [0, 1]]), costs[:, ::-1] < 2.5)
        {0: 1, 1: 0}
        >>> plain_pairs(np.array([[0.2, 0.3], [0.2, 0.4]]), np.ones((2, 2), bool))
    """
    if len(costs) > costs.shape[1]:
        swapped = plain_pairs(costs.T, possible.T)
        return None if swapped is None else dict(sorted((i, k) for k, i in swapped.items()))
    # All rows get a column, so nothing is cheaper than the cheapest of each.
    best = costs.argmin(1)
    rows = np.flatnonzero(possible[np.arange(len(costs)), best])
    columns = best[rows].tolist()
    left = possible.copy()
    left[rows] = False
    left[:, columns] = False
    if len(set(columns)) < len(columns) or left.any():
        return None
    return dict(zip(rows.tolist(), columns, strict=True))


def cost_of(trail: Trail, seen: Candidate, time_s: float, *, by_look: bool) -> float | None:
    """How little a face found is like one followed; None if it cannot be the same."""
    gap_s = trail.unseen_s(time_s)
    farthest = min(DISTANCE_HEIGHTS + DISTANCE_HEIGHTS_PER_S * gap_s, LARGEST_DISTANCE_HEIGHTS)
    most_grown = min(SIZE_LOG + SIZE_LOG_PER_S * gap_s, LARGEST_SIZE_LOG)
    # What shakes turns back: it may be where it was as well as where it was going.
    places = [trail.predicted(time_s), trail.last]
    if trail.steady is not None:
        places.append(trail.steady)
    box = min(places, key=lambda box: distance(box, seen.box))
    apart = distance(box, seen.box)
    if apart > LIKELY_FARTHER * farthest:
        return None
    alike = likeness(trail.look, seen.look)
    if by_look and alike < CONTINUES:
        return None
    if alike >= LIKELY:
        farthest *= LIKELY_FARTHER
    elif gap_s > LOST_S + ROUNDED_S and alike < SAME_LOOK:
        return None
    grown = abs(float(np.log((seen.box[3] - seen.box[1]) / (box[3] - box[1]))))
    # Of very large and of half faces, sizes are uncertain.
    if gap_s <= LOST_S + ROUNDED_S and alike >= SAME_LOOK and covered(box, seen.box) >= ONE_INSIDE:
        most_grown = LARGEST_SIZE_LOG
    if apart > farthest or grown > most_grown:
        return None
    common = float(overlap(box, seen.box[None])[0])
    return apart + grown + 1.5 * (1 - alike) + 0.5 * (1 - common)


def distance(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """From centre to centre of two boxes (4,), in the mean of both heights.

    Examples:
        >>> from pushpull.detection.motion import distance
        >>> distance(np.array([0.0, 0.0, 8.0, 10.0]), np.array([5.0, 0.0, 13.0, 10.0]))
        0.5
    """
    height = float(np.sqrt((box[3] - box[1]) * (other[3] - other[1])))
    return float(np.hypot(*((box[:2] + box[2:] - other[:2] - other[2:]) / 2))) / height


def covered(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Share of the smaller of two boxes (4,) that lies in the larger."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    common = np.prod(np.clip(high - low, 0, None))
    return float(common / min(np.prod(box[2:] - box[:2]), np.prod(other[2:] - other[:2])))
