"""One face with its scores, and the turns that they amount to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import ConfigError
from pushpull.schema import Track

__all__ = [
    "DEFAULT_RULES",
    "LONGEST_PICTURE_S",
    "ScoredTrack",
    "Turn",
    "TurnRules",
    "frame_lengths_s",
    "turns_of",
]

LONGEST_HOLE = 4.0
LONGEST_HOLE_S = 0.3
"""A picture stands as long as so many usual ones, or so long; after it there is a hole."""

LONGEST_PICTURE_S = 1.0
"""No picture says anything of more: neither one before a hole, nor one of a series of slides."""

ONE_FRAME_S = 0.04

SHORTEST_AGREEMENT_S = 0.5
LEAST_SHIFTS = 4
"""Of a turn and of other times to try, for lips and voice to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRules:
    """How scores become decisions and turns.

    Attributes:
        threshold: Probability above which a frame speaks.
        hysteresis: A turn that has begun goes on until the probability is this much below the
            threshold.
        shortest_s: Shorter turns are dropped.
        longest_pause_s: Pauses up to this inside a turn belong to it.
        smoothing_s: Scores are averaged over this for turns; decisions of single frames are not.

    Raises:
        ConfigError: If a number is out of range.

    Examples:
        >>> from pushpull.detection import TurnRules
        >>> TurnRules(threshold=0.7).threshold
        0.7
    """

    threshold: float = 0.5
    hysteresis: float = 0.0
    shortest_s: float = 0.2
    longest_pause_s: float = 0.3
    smoothing_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold is {self.threshold:g}; expected more than 0, less than 1")
        if not 0 <= self.hysteresis < self.threshold:
            raise ConfigError(
                f"hysteresis is {self.hysteresis:g}; expected 0 or more, less than the threshold "
                f"({self.threshold:g})"
            )
        for name in ("shortest_s", "longest_pause_s", "smoothing_s"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} is {value:g}; expected a number of seconds, 0 or more")

    @property
    def begins(self) -> float:
        """Log-odds above which a face speaks."""
        return math.log(self.threshold / (1 - self.threshold))

    @property
    def goes_on(self) -> float:
        """Log-odds above which a face that speaks goes on."""
        low = self.threshold - self.hysteresis
        return math.log(low / (1 - low))


DEFAULT_RULES = TurnRules()


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch in which one face speaks, in seconds of the video.

    Examples:
        >>> from pushpull.detection import Turn
        >>> Turn(0.4, 2.0).end_s
        2.0
    """

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredTrack:
    """One face with a score for every frame.

    Attributes:
        track: The face: frames, timestamps, boxes.
        scores: Log-odds of speaking (N,) float64.
        elsewhen: The same with the sound moved by each of `pushpull.models.shifts.SHIFTS_S`
            (K, N), NaN where that was not done; None where the detector cannot.
        rules: What a decision and a turn are.
        person: Number of the person, where that was asked for: one person may have many tracks.

    Examples:
        >>> from pushpull.detection import ScoredTrack
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.arange(10),
        ...     timestamps_s=np.arange(10) / 25,
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 10),
        ...     detected=np.ones(10, bool),
        ... )
        >>> scored = ScoredTrack(track=track, scores=np.array([2.0] * 7 + [-3.0] * 3))
        >>> float(scored.probabilities[0]), int(scored.speaking.sum())
        (0.88, 7)
        >>> scored.turns
        [Turn(start_s=0.0, end_s=0.24)]
    """

    track: Track
    scores: NDArray[np.float64]
    elsewhen: NDArray[np.float32] | None = None
    rules: TurnRules = DEFAULT_RULES
    person: int | None = None

    @property
    def speaker(self) -> int:
        """Number of the person where it is known, of the track otherwise."""
        return self.track.track_id if self.person is None else self.person

    @property
    def called(self) -> str:
        """What the speaker is called: `face 3`, or `person 1`."""
        return f"{'face' if self.person is None else 'person'} {self.speaker}"

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of speaking per frame (N,), the softmax of the model's two logits."""
        exact: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * self.scores))
        return exact

    @property
    def speaking(self) -> NDArray[np.bool_]:
        """True per frame (N,) where the probability is above the threshold."""
        flags: NDArray[np.bool_] = self.scores > self.rules.begins
        return flags

    @property
    def turns(self) -> list[Turn]:
        """Speech turns by the rules: short pauses bridged, short bursts dropped."""
        return turns_of(self.track.timestamps_s, self.scores, self.rules)

    def agreement(self, turn: Turn) -> float | None:
        """How much better lips and voice of a turn fit now than at any other time near it.

        The mean score of the turn's frames less the best of those with the sound moved: log-odds,
        above 0 where no other time fits as well. A voice from elsewhere fits now by chance only, so
        it is mostly below; a decision may be sure and the agreement low. None for turns of less
        than half a second, and where too few other times could be tried.

        Examples:
            >>> from pushpull.detection import ScoredTrack, Turn
            >>> from pushpull.schema import Track
            >>> track = Track(
            ...     track_id=0,
            ...     frames=np.arange(50),
            ...     timestamps_s=np.arange(50) / 25,
            ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 50),
            ...     detected=np.ones(50, bool),
            ... )
            >>> elsewhen = np.array([[0.5], [-1.0], [1.5], [-2.0]]).repeat(50, axis=1)
            >>> scored = ScoredTrack(track=track, scores=np.full(50, 2.0), elsewhen=elsewhen)
            >>> scored.agreement(Turn(0.4, 1.6))
            0.5
        """
        times_s = self.track.timestamps_s
        here = (times_s >= turn.start_s - 1e-9) & (times_s < turn.end_s - 1e-9)
        if self.elsewhen is None or turn.end_s - turn.start_s < SHORTEST_AGREEMENT_S:
            return None
        others = self.elsewhen[:, here]
        others = others[np.isfinite(others).all(1)]
        if len(others) < LEAST_SHIFTS:
            return None
        return float(self.scores[here].mean() - others.mean(1).max())


def frame_lengths_s(timestamps_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """How long each frame is shown (N,) seconds; before a hole in the recording, as long as usual.

    Args:
        timestamps_s: Start of each frame (N,), increasing.

    Examples:
        >>> from pushpull.detection import frame_lengths_s
        >>> frame_lengths_s(np.array([0.0, 0.04, 0.08, 3.0, 3.04]))
        array([0.04, 0.04, 0.04, 0.04, 0.04])
    """
    steps = np.diff(timestamps_s)
    usual_s = float(np.median(steps)) if len(steps) else ONE_FRAME_S
    is_hole = steps > max(LONGEST_HOLE * usual_s, LONGEST_HOLE_S)
    lengths_s = np.append(np.where(is_hole, usual_s, steps), usual_s)
    capped: NDArray[np.float64] = np.minimum(lengths_s, LONGEST_PICTURE_S)
    return capped


def turns_of(
    timestamps_s: NDArray[np.float64],
    scores: NDArray[np.float64],
    rules: TurnRules = DEFAULT_RULES,
) -> list[Turn]:
    """Turns of one face from its scores.

    Scores are averaged over 0.2 s; pauses up to 0.3 s inside a turn belong to it, turns below
    0.2 s are dropped. A turn ends when its last frame is over; over a hole in the recording nobody
    speaks.

    Args:
        timestamps_s: Start of each frame (N,), increasing.
        scores: Log-odds per frame (N,).
        rules: These numbers, and the threshold.

    Examples:
        >>> from pushpull.detection import turns_of
        >>> turns_of(np.arange(10) / 25, np.array([2.0] * 7 + [-3.0] * 3))
        [Turn(start_s=0.0, end_s=0.24)]
    """
    lengths_s = frame_lengths_s(timestamps_s)
    ends_s = timestamps_s + lengths_s
    # The next frame's own start where there is no hole, to the last bit.
    follows = np.isclose(ends_s[:-1], timestamps_s[1:], rtol=0, atol=1e-9)
    ends_s[:-1][follows] = timestamps_s[1:][follows]
    smooth = np.concatenate(
        [
            averaged(part, round(rules.smoothing_s / float(lengths_s[-1])) // 2)
            for part in np.split(scores, np.flatnonzero(~follows) + 1)
        ]
    )
    speaks = with_hysteresis(smooth, rules.begins, rules.goes_on)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], speaks, [0]]).astype(int)))
    runs = zip(edges[::2], edges[1::2], strict=True)
    turns: list[Turn] = []
    for first, stop in parted(runs, follows):
        start_s, end_s = float(timestamps_s[first]), float(ends_s[stop - 1])
        if turns and start_s - turns[-1].end_s <= rules.longest_pause_s:
            turns[-1] = Turn(turns[-1].start_s, end_s)
        else:
            turns.append(Turn(start_s, end_s))
    return [t for t in turns if t.end_s - t.start_s >= rules.shortest_s - 1e-9]


def averaged(scores: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Means of each score (N,) and up to `half` neighbours on both sides."""
    n = len(scores)
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    low, high = np.maximum(np.arange(n) - half, 0), np.minimum(np.arange(n) + half + 1, n)
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means


def with_hysteresis(
    scores: NDArray[np.float64], begins: float, goes_on: float
) -> NDArray[np.bool_]:
    """Where scores (N,) are above `begins`, and from there as long as above `goes_on`."""
    above = scores > begins
    # Frames that decide by themselves; those between have the state of the last one that does.
    decided = above | (scores <= goes_on)
    last = np.maximum.accumulate(np.where(decided, np.arange(len(scores)), -1))
    flags: NDArray[np.bool_] = (last >= 0) & above[last]
    return flags


def parted(
    runs: Iterable[tuple[int, int]], follows: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Runs of frames (first, last + 1), cut where a frame does not follow the one before."""
    for first, stop in runs:
        holes = first + 1 + np.flatnonzero(~follows[first : stop - 1])
        yield from pairwise([first, *holes.tolist(), stop])
