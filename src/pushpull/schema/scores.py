"""Scores of frames with their truth: what detection, evaluation, audit and reports hand on.

A decision is a score above 0. Rates are shares, 0..1; percent is for people only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pushpull.errors import ShapeError
from pushpull.schema.bootstrap import bootstrap_precision
from pushpull.schema.precision import as_flags, average_precision

__all__ = ["FrameScores", "worst_adversaries", "worst_case"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameScores:
    """Scores of the frames of some tracks.

    Attributes:
        score: Log-odds of speaking (N,) float64.
        speaking: Truth (N,) bool; None where it is not known.
        track: Number of each frame's track (N,) int64, from 0.

    Raises:
        ShapeError: If the lengths differ, or a number is below 0.

    Examples:
        >>> from pushpull.schema import FrameScores
        >>> scores = FrameScores.of_tracks([[2.0, 1.0], [-0.5]], [[True, False], [True]])
        >>> scores.accuracy, scores.average_precision
        (0.333, 0.833)
        >>> {number: one.accuracy for number, one in scores.by_track().items()}
        {0: 0.5, 1: 0.0}
    """

    score: NDArray[np.float64]
    speaking: NDArray[np.bool_] | None = None
    track: NDArray[np.int64]

    def __post_init__(self) -> None:
        # Frozen fields are set this way; lists and other number types are welcome.
        object.__setattr__(self, "score", np.asarray(self.score, np.float64))
        object.__setattr__(self, "track", np.asarray(self.track, np.int64))
        if self.speaking is not None:
            object.__setattr__(self, "speaking", as_flags(self.speaking))
        truth = self.score.shape if self.speaking is None else self.speaking.shape
        if self.score.ndim != 1 or not self.score.shape == truth == self.track.shape:
            raise ShapeError(
                f"score is {self.score.shape}, speaking {truth}, track {self.track.shape}; "
                "expected (N,) each"
            )
        if len(self.track) and self.track.min() < 0:
            raise ShapeError(f"track {self.track.min()} is among the numbers; expected 0 or more")

    @classmethod
    def of_tracks(
        cls,
        scores: Sequence[ArrayLike],
        speaking: Sequence[ArrayLike] | None = None,
        *,
        numbers: Sequence[int] | None = None,
    ) -> FrameScores:
        """Scores given track by track.

        Args:
            scores: Log-odds (T,) of each track.
            speaking: Truth (T,) of each track, 1 or true on speaking frames; None: not known.
            numbers: Of the tracks; 0, 1, 2, ... by default.

        Raises:
            ShapeError: If the lengths differ.

        Examples:
            >>> from pushpull.schema import FrameScores
            >>> scores = FrameScores.of_tracks([[2.0, 1.0], [-0.5]], numbers=[4, 7])
            >>> scores.track, scores.speaking
            (array([4, 4, 7]), None)
        """
        rows = [np.asarray(one, np.float64) for one in scores]
        of = np.arange(len(rows)) if numbers is None else np.asarray(numbers, np.int64)
        if len(of) != len(rows):
            raise ShapeError(f"{len(rows)} tracks and {len(of)} numbers; expected as many")
        truth = None
        if speaking is not None:
            truth = _joined([as_flags(one) for one in speaking], np.bool_)
        return cls(
            score=_joined(rows, np.float64),
            speaking=truth,
            track=np.repeat(of, [len(one) for one in rows]),
        )

    @classmethod
    def concatenated(cls, parts: Sequence[FrameScores]) -> FrameScores:
        """All frames one after another, with the numbers that their tracks have.

        Raises:
            ShapeError: If some have truth and others have none.

        Examples:
            >>> from pushpull.schema import FrameScores
            >>> one = FrameScores(score=[2.0, -1.0], speaking=[True, False], track=[0, 0])
            >>> other = FrameScores(score=[-0.5], speaking=[True], track=[1])
            >>> both = FrameScores.concatenated([one, other])
            >>> len(both), both.tracks
            (3, 2)
        """
        known = [one.speaking for one in parts if one.speaking is not None]
        if known and len(known) < len(parts):
            raise ShapeError(f"{len(known)} of {len(parts)} parts have truth; expected all or none")
        return cls(
            score=_joined([one.score for one in parts], np.float64),
            speaking=_joined(known, np.bool_) if known else None,
            track=_joined([one.track for one in parts], np.int64),
        )

    def __len__(self) -> int:
        return len(self.score)

    @property
    def tracks(self) -> int:
        """How many tracks there are frames of."""
        return len(np.unique(self.track))

    @property
    def truth(self) -> NDArray[np.bool_]:
        """`speaking`, where it has to be known.

        Raises:
            ShapeError: If it is not.
        """
        if self.speaking is None:
            raise ShapeError("the scores have no truth; expected speaking (N,)")
        return self.speaking

    @property
    def right(self) -> NDArray[np.bool_]:
        """Frames (N,) that are on the side of their truth."""
        found: NDArray[np.bool_] = (self.score > 0) == self.truth
        return found

    @property
    def margin(self) -> NDArray[np.float64]:
        """How far each frame (N,) is on the side of its truth, in log-odds."""
        return np.where(self.truth, self.score, -self.score)

    @property
    def speaking_share(self) -> float | None:
        """Share of frames that speak; None without truth or frames."""
        known = self.speaking is not None and len(self) > 0
        return float(self.truth.mean()) if known else None

    @property
    def accuracy(self) -> float | None:
        """Share of frames that are right; None without truth or frames."""
        known = self.speaking is not None and len(self) > 0
        return float(self.right.mean()) if known else None

    @property
    def average_precision(self) -> float | None:
        """AVA's, see `pushpull.metrics.average_precision`; None where nothing speaks.

        Raises:
            ShapeError: If a score is NaN.
        """
        if self.speaking is None or not self.speaking.any():
            return None
        return average_precision(self.score, self.speaking)

    def interval(
        self,
        *,
        draws: int = 1000,
        level: float = 0.95,
        seed: int = 0,
        groups: ArrayLike | None = None,
    ) -> tuple[float, float] | None:
        """Interval of `average_precision` over tracks drawn again; None where nothing speaks.

        Args:
            draws: How often tracks are drawn.
            level: Share of draws inside the interval.
            seed: Of the draws.
            groups: What each frame (N,) belongs to, drawn in place of tracks: its person or video,
                as numbers or names.

        Raises:
            ShapeError: If the lengths differ, or a score is NaN.

        Examples:
            >>> from pushpull.schema import FrameScores
            >>> scores = FrameScores.of_tracks([[2.0, -1.0], [1.0, -2.0]], [[1, 0], [1, 0]])
            >>> scores.interval(draws=20)
            (1.0, 1.0)
        """
        if self.speaking is None or not self.speaking.any():
            return None
        of = self.track if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        return bootstrap_precision(
            self.score, self.speaking, of, draws=draws, level=level, seed=seed
        )

    def by_track(self) -> dict[int, FrameScores]:
        """The frames of each track, by its number, in rising order."""
        order = np.argsort(self.track, kind="stable")
        numbers, first = np.unique(self.track[order], return_index=True)
        bounds = [*first.tolist(), len(order)]
        return {
            int(number): self.subset(order[start:stop])
            for number, (start, stop) in zip(numbers, pairwise(bounds), strict=True)
        }

    def subset(self, frames: NDArray[np.bool_] | NDArray[np.int64]) -> FrameScores:
        """Some of the frames: a mask (N,) bool, or their places.

        Examples:
            >>> from pushpull.schema import FrameScores
            >>> scores = FrameScores(score=[2.0, -1.0, 0.5], track=[0, 0, 1])
            >>> scores.subset(scores.score > 0).track
            array([0, 1])
        """
        return FrameScores(
            score=self.score[frames],
            speaking=None if self.speaking is None else self.speaking[frames],
            track=self.track[frames],
        )

    def as_dict(self, *, draws: int = 0, seed: int = 0) -> dict[str, Any]:
        """Sizes and rates, as plain values for JSON; with draws, the interval too.

        Examples:
            >>> from pushpull.schema import FrameScores
            >>> FrameScores.of_tracks([[2.0, -1.0]], [[True, True]]).as_dict()
            {'tracks': 1, 'frames': 2, 'speaking': 1.0, 'accuracy': 0.5, 'average_precision': 1.0}
        """
        found: dict[str, Any] = {
            "tracks": self.tracks,
            "frames": len(self),
            "speaking": self.speaking_share,
            "accuracy": self.accuracy,
            "average_precision": self.average_precision,
        }
        if draws:
            interval = self.interval(draws=draws, seed=seed)
            found["interval"] = None if interval is None else list(interval)
        return found


def worst_case(scores: Sequence[FrameScores]) -> FrameScores:
    """The score of each frame with the lowest margin, over scores of the same frames.

    No single adversary need be so strong, so it bounds from below what several leave.

    Raises:
        ShapeError: If they are not of the same frames, or have no truth.

    Examples:
        >>> from pushpull.schema import FrameScores, worst_case
        >>> one, two = (FrameScores.of_tracks([s], [[1, 0]]) for s in ([2.0, -1.0], [1.0, -3.0]))
        >>> worst_case([one, two]).score
        array([ 1., -1.])
    """
    stacked = _stacked(scores)
    lowest = np.stack([one.margin for one in scores]).argmin(0)
    return _with_score(scores[0], np.take_along_axis(stacked, lowest[None], 0)[0])


def worst_adversaries(scores: Sequence[FrameScores]) -> FrameScores:
    """The scores of each track from where most of its frames are turned over, and most surely.

    Each is an adversary that exists. A frame that is turned over very far does not outweigh
    others: sureness is a sigmoid of the margin in units of the median one of the
    first scores.

    Raises:
        ShapeError: If they are not of the same frames, or have no truth.

    Examples:
        >>> from pushpull.schema import FrameScores, worst_adversaries
        >>> clean = FrameScores.of_tracks([[1.0, 1.0]], [[1, 1]])
        >>> far = FrameScores.of_tracks([[1.0, -9.0]], [[1, 1]])
        >>> both = FrameScores.of_tracks([[-1.0, -1.0]], [[1, 1]])
        >>> worst_adversaries([clean, far, both]).score
        array([-1., -1.])
    """
    stacked, track = _stacked(scores), scores[0].track
    scale = float(np.median(np.abs(scores[0].margin))) or 1.0
    kept = []
    for one in scores:
        value = np.clip(one.margin / scale, -50.0, 50.0)
        kept.append(np.bincount(track, 1 / (1 + np.exp(-value)) + (value > 0)))
    chosen = np.stack(kept).argmin(0)[track]
    return _with_score(scores[0], np.take_along_axis(stacked, chosen[None], 0)[0])


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _with_score(scores: FrameScores, score: NDArray[np.float64]) -> FrameScores:
    return FrameScores(score=score, speaking=scores.speaking, track=scores.track)


def _stacked(scores: Sequence[FrameScores]) -> NDArray[np.float64]:
    """Scores (K, N) of the same frames."""
    first = scores[0]
    for one in scores[1:]:
        same = np.array_equal(one.track, first.track) and np.array_equal(one.truth, first.truth)
        if not same:
            raise ShapeError(
                f"scores of {len(first)} and {len(one)} frames; expected the same frames"
            )
    return np.stack([one.score for one in scores])
