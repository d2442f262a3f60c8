"""How far a score may be chance: tracks drawn again, since frames of one track are not independent.

Source: Efron and Tibshirani 1993, percentile intervals of the cluster bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pushpull.errors import ShapeError

__all__ = [
    "bootstrap_difference",
    "bootstrap_draws",
    "bootstrap_precision",
    "bootstrap_share",
    "drawn_over",
]


def bootstrap_precision(
    scores: ArrayLike,
    speaking: ArrayLike,
    track: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the average precision, a share, over tracks drawn with replacement.

    Args:
        scores: (N,), higher means speaking.
        speaking: (N,) bool.
        track: Number of each row's track (N,), from 0.
        draws: How often tracks are drawn; draws without a speaking row are left out.
        level: Share of draws inside the interval.
        seed: Of the draws.

    Raises:
        ShapeError: If the lengths differ, or no draw has a speaking row.

    Examples:
        >>> from pushpull.metrics import bootstrap_precision
        >>> scores, speaking = [2.0, 1.0, 1.5, 0.5], [True, False, False, True]
        >>> bootstrap_precision(scores, speaking, track=[0, 0, 1, 1], draws=100)
        (0.5, 1.0)
    """
    return _interval(_drawn(scores, speaking, track, draws, seed), level)


def bootstrap_difference(
    scores: ArrayLike,
    others: ArrayLike,
    speaking: ArrayLike,
    track: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of how far the average precision of `scores` is above that of `others`, in shares.

    Both are measured on the same draws, so what makes tracks easy or hard cancels out.

    Args and errors as `bootstrap_precision`.

    Examples:
        >>> from pushpull.metrics import bootstrap_difference
        >>> clean, attacked = [2.0, -1.0, 1.5, -0.5], [-2.0, -1.0, -1.5, -0.5]
        >>> bootstrap_difference(clean, attacked, [1, 0, 1, 0], track=[0, 0, 1, 1], draws=100)
        (0.5, 0.5)
    """
    both = (_drawn(one, speaking, track, draws, seed) for one in (scores, others))
    return _interval(np.subtract(*both), level)


def bootstrap_share(
    values: ArrayLike,
    track: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the mean of values over frames, over tracks drawn with replacement.

    Args:
        values: (N,), such as which frames are right.
        track: Number of each frame's track (N,), from 0.
        draws: How often tracks are drawn.
        level: Share of draws inside the interval.
        seed: Of the draws.

    Raises:
        ShapeError: If the lengths differ, or there is no frame.

    Examples:
        >>> from pushpull.metrics import bootstrap_share
        >>> bootstrap_share([True, True, False, False], track=[0, 0, 1, 1], draws=100)
        (0.0, 1.0)
    """
    x, of = np.asarray(values, np.float64), np.asarray(track, np.int64)
    if x.ndim != 1 or x.shape != of.shape or not len(x):
        raise ShapeError(f"values is {x.shape}, track {of.shape}; expected (N,) each, N > 0")
    numbers, of = np.unique(of, return_inverse=True)
    n = len(numbers)
    sums, sizes = np.bincount(of, x), np.bincount(of)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws)
    return _interval((times @ sums) / (times @ sizes), level)


def bootstrap_draws(
    scores: Mapping[str, ArrayLike],
    speaking: ArrayLike,
    track: ArrayLike,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Average precision of several scores, and `chance`, on the same draws of tracks (D,).

    Chance is the share of speaking frames in a draw. What is compared is so on the same tracks.

    Args:
        scores: By name, each (N,).
        speaking: (N,) bool.
        track: Number of each row's track (N,), from 0.
        draws: How often tracks are drawn; draws without a speaking row are left out.
        seed: Of the draws.

    Raises:
        ShapeError: If the lengths differ, or no draw has a speaking row.

    Examples:
        >>> from pushpull.metrics import bootstrap_draws
        >>> scores = {"clean": [2.0, -1.0, 1.5, -0.5], "attacked": [-2.0, -1.0, -1.5, -0.5]}
        >>> found = bootstrap_draws(scores, [1, 0, 1, 0], track=[0, 0, 1, 1], draws=100)
        >>> {name: float(of.mean()) for name, of in found.items()}
        {'clean': 1.0, 'attacked': 0.5, 'chance': 0.5}
    """
    y, of = np.asarray(speaking, bool), np.unique(track, return_inverse=True)[1]
    found = {name: _drawn(one, y, of, draws, seed) for name, one in scores.items()}
    shares = [times[y].sum() / times.sum() for times in _times(of, draws, seed) if times[y].any()]
    return {**found, "chance": np.array(shares)}


def drawn_over(people: Sequence[str], videos: Sequence[str]) -> str:
    """What intervals are over: "people" or "videos" with several tracks each, else "tracks".

    Tracks of one person, or of one video, are not independent.

    Args:
        people: Who is seen in each track; "" where that is not known.
        videos: Video that each track is from, likewise.

    Examples:
        >>> from pushpull.metrics import drawn_over
        >>> drawn_over(["ann", "ann", "bob"], ["v1", "v2", "v3"])
        'people'
        >>> drawn_over(["", "", ""], ["v1", "v2", "v3"])
        'tracks'
    """
    for unit, names in (("people", people), ("videos", videos)):
        if all(names) and 1 < len(set(names)) < len(names):
            return unit
    return "tracks"


def _times(track: NDArray[np.int64], draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each row counts in each draw (N,)."""
    n = int(track.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(rng.integers(n, size=n), minlength=n)[track]


def _drawn(
    scores: ArrayLike, speaking: ArrayLike, track: ArrayLike, draws: int, seed: int
) -> NDArray[np.float64]:
    """Average precision of each draw that has a speaking row."""
    s, y = np.asarray(scores, np.float64), np.asarray(speaking, bool)
    of = np.asarray(track, np.int64)
    if s.ndim != 1 or s.shape != y.shape or s.shape != of.shape:
        raise ShapeError(
            f"scores is {s.shape}, speaking {y.shape}, track {of.shape}; expected (N,) each"
        )
    # Numbers with gaps, as of tracks some of which were left out, are no tracks without rows.
    of = np.unique(of, return_inverse=True)[1]
    order = np.argsort(-s, kind="stable")
    found = []
    for times in _times(of, draws, seed):
        value = _weighted(y[order], times[order])
        if value is not None:
            found.append(value)
    if not found:
        raise ShapeError(f"none of {len(s)} rows is positive; average precision needs one")
    return np.array(found)


def _interval(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _weighted(speaking: NDArray[np.bool_], times: NDArray[np.int64]) -> float | None:
    """AVA's average precision of rows from the highest score on, each as often as it says."""
    hits = np.where(speaking, times, 0)
    total = int(hits.sum())
    if not total:
        return None
    precision = np.cumsum(hits) / np.maximum(np.cumsum(times), 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hits).sum() / total)
