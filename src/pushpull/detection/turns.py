"""One face with its scores, and the turns that they amount to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.schema import Track

__all__ = ["ScoredTrack", "Turn", "turns_of"]

SMOOTHING_S = 0.2
SHORTEST_TURN_S = 0.2
LONGEST_PAUSE_S = 0.3


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
        scores: Log-odds of speaking (N,) float64; above 0 the face speaks.

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

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of speaking per frame (N,), the softmax of the model's two logits."""
        exact: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * self.scores))
        return exact

    @property
    def speaking(self) -> NDArray[np.bool_]:
        """True per frame (N,) where the score is above 0."""
        flags: NDArray[np.bool_] = self.scores > 0
        return flags

    @property
    def turns(self) -> list[Turn]:
        """Speech turns: smoothed scores above 0, short pauses bridged, short bursts dropped."""
        return turns_of(self.track.timestamps_s, self.scores)


def turns_of(timestamps_s: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Turn]:
    """Turns of one face from its scores.

    Scores are averaged over 0.2 s; pauses up to 0.3 s inside a turn belong to it, turns below
    0.2 s are dropped. A turn ends when its last frame is over.

    Args:
        timestamps_s: Start of each frame (N,), increasing.
        scores: Log-odds per frame (N,).

    Examples:
        >>> from pushpull.detection import turns_of
        >>> turns_of(np.arange(10) / 25, np.array([2.0] * 7 + [-3.0] * 3))
        [Turn(start_s=0.0, end_s=0.24)]
    """
    n = len(scores)
    frame_s = float(np.median(np.diff(timestamps_s))) if n > 1 else 0.04
    half = round(SMOOTHING_S / frame_s) // 2
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    low, high = np.maximum(np.arange(n) - half, 0), np.minimum(np.arange(n) + half + 1, n)
    smooth = (sums[high] - sums[low]) / (high - low)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], smooth > 0, [0]]).astype(int)))
    ends_s = np.append(timestamps_s[1:], timestamps_s[-1] + frame_s)
    turns: list[Turn] = []
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        start_s, end_s = float(timestamps_s[first]), float(ends_s[stop - 1])
        if turns and start_s - turns[-1].end_s <= LONGEST_PAUSE_S:
            turns[-1] = Turn(turns[-1].start_s, end_s)
        else:
            turns.append(Turn(start_s, end_s))
    return [t for t in turns if t.end_s - t.start_s >= SHORTEST_TURN_S - 1e-9]
