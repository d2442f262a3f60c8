r"""Average precision as AVA-ActiveSpeaker defines it, and the range that ties alone allow.

Rows are ranked by descending score. With P positives, the k-th of them at rank r_k (from 1),

    AP = 1/P sum_k max_{j >= k} j / r_j,

the area under the precision-recall curve whose precision is made to fall monotonically (VOC 2010),
one point per row. AVA publishes it in percent and calls it mAP, though there is one class; here it
is a share, 0..1.

Rows with equal scores have no order of their own. The official tool leaves them to an unstable sort
(its number then depends on the numpy version and the processor); here they keep the order in which
they are given. AP falls as any r_k grows, so over all orders of tied rows it is largest with the
positives of every tied group first and smallest with them last: `low` and `high`, both attained.

Source: the official `get_ava_active_speaker_performance.py`, after ActivityNet's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pushpull.errors import ShapeError

__all__ = ["PrecisionRange", "as_flags", "average_precision", "precision_range"]


@dataclass(frozen=True, slots=True)
class PrecisionRange:
    """Average precision as shares, 0..1.

    Attributes:
        average_precision: With tied rows in the order given.
        low: Smallest value over all orders of tied rows.
        high: Largest value over all orders of tied rows.

    Examples:
        >>> from pushpull.metrics import precision_range
        >>> found = precision_range([1.0, 1.0], [True, False])
        >>> found.low, found.high
        (0.5, 1.0)
    """

    average_precision: float
    low: float
    high: float


def as_flags(speaking: ArrayLike) -> NDArray[np.bool_]:
    """Labels as booleans.

    Raises:
        ShapeError: If one is neither 0 nor 1, as AVA's three kinds by number and probabilities are.

    Examples:
        >>> from pushpull.schema.precision import as_flags
        >>> as_flags([0, 1.0, True])
        array([False,  True,  True])
        >>> as_flags([0, 2])
        Traceback (most recent call last):
            ...
        pushpull.errors.ShapeError: label 1 is 2; expected 0 or 1, where the face speaks audibly
    """
    labels = np.asarray(speaking)
    if labels.dtype != np.bool_:
        odd = np.flatnonzero((labels != 0) & (labels != 1))
        if len(odd):
            raise ShapeError(
                f"label {odd[0]} is {labels.flat[odd[0]]}; expected 0 or 1, where the face speaks "
                "audibly"
            )
    return labels.astype(bool)


def average_precision(scores: ArrayLike, speaking: ArrayLike) -> float:
    """AVA's average precision, a share 0..1; tied rows keep the order given.

    Args:
        scores: (N,), higher means speaking; infinities are allowed.
        speaking: (N,) bool, true on positives.

    Raises:
        ShapeError: If the lengths differ, a score is NaN, or nothing is positive.

    Examples:
        >>> from pushpull.metrics import average_precision
        >>> average_precision([2.0, 1.0, -0.5], [True, False, True])
        0.833
    """
    return precision_range(scores, speaking).average_precision


def precision_range(scores: ArrayLike, speaking: ArrayLike) -> PrecisionRange:
    """`average_precision`, with the smallest and largest value over all orders of tied rows.

    Args and errors as `average_precision`.

    Examples:
        >>> from pushpull.metrics import precision_range
        >>> precision_range([1.0, 1.0], [True, False])
        PrecisionRange(average_precision=1.0, low=0.5, high=1.0)
    """
    s, y = np.asarray(scores, np.float64), as_flags(speaking)
    if s.ndim != 1 or s.shape != y.shape:
        raise ShapeError(f"scores is {s.shape}, speaking {y.shape}; expected (N,) both")
    if np.isnan(s).any():
        raise ShapeError(f"score {int(np.isnan(s).argmax())} is NaN; expected numbers")
    if not y.any():
        raise ShapeError(f"none of {len(y)} rows is positive; average precision needs one")
    # The stable sort takes three times as long, and only ties need it.
    order = np.argsort(-s)
    if (s[order[1:]] == s[order[:-1]]).any():
        order = np.argsort(-s, kind="stable")
    s, y = s[order], y[order]
    ranks = np.flatnonzero(y) + 1
    # Tied groups: first row, rows and positives of the group of every positive.
    starts = np.flatnonzero(np.concatenate([[True], s[1:] != s[:-1]]))
    if len(starts) == len(s):
        exact = envelope_mean(ranks)
        return PrecisionRange(exact, exact, exact)
    sizes = np.diff(np.append(starts, len(s)))
    positives = np.add.reduceat(y.astype(np.int64), starts)
    before = np.cumsum(positives) - positives
    group = np.repeat(np.arange(len(starts)), positives)
    nth = np.arange(1, len(ranks) + 1) - before[group]
    first = starts[group] + nth
    last = first + (sizes - positives)[group]
    return PrecisionRange(envelope_mean(ranks), envelope_mean(last), envelope_mean(first))


def envelope_mean(ranks: NDArray[np.int64]) -> float:
    """Mean over positives of the largest precision at or after them."""
    precision = np.arange(1, len(ranks) + 1) / ranks
    return float(np.maximum.accumulate(precision[::-1]).mean())
