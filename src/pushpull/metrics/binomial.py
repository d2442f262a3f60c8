"""Counts of successes: how likely by guessing, and what they say of the share behind them.

Exact, from the binomial distribution.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pushpull.errors import ConfigError

__all__ = ["guessing_p", "interval", "lower_bound"]


def guessing_p(right: int, trials: int) -> float:
    """Probability of at least so many right answers by guessing between two.

    Raises:
        ConfigError: If there cannot be so many.

    Examples:
        >>> from pushpull.metrics.binomial import guessing_p
        >>> guessing_p(9, 10)
        0.0107
    """
    _check(right, trials)
    ways: int = sum(comb(trials, k) for k in range(right, trials + 1))
    return float(ways / 2**trials)


def interval(right: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval for the share of right answers that holds it with probability `level` at least.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 1934.

    Raises:
        ConfigError: If there cannot be so many, or the level is not between 0 and 1.

    Examples:
        >>> from pushpull.metrics.binomial import interval
        >>> interval(9, 10)
        (0.555, 0.997)
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; expected a number between 0 and 1")
    tail = (1 - level) / 2
    low = lower_bound(right, trials, tail)
    return float(low), 1 - float(lower_bound(trials - right, trials, tail))


def lower_bound(right: ArrayLike, trials: int, alpha: float) -> NDArray[np.float64]:
    """Bounds (...) that are above the share behind counts (...) with probability `alpha` at most.

    One-sided Clopper-Pearson: the share at which so many or more are as rare as `alpha`.

    Raises:
        ConfigError: If there cannot be so many, or alpha is not between 0 and 1.

    Examples:
        >>> from pushpull.metrics.binomial import lower_bound
        >>> lower_bound([0, 900, 1000], 1000, 0.001)
        array([0.   , 0.868, 0.993])
    """
    # Loaded when it is needed: scoring csv files does not wait for it.
    from scipy.special import betaincinv

    counts = np.asarray(right, np.int64)
    for count in (int(counts.min(initial=trials)), int(counts.max(initial=0))):
        _check(count, trials)
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha}; expected a number between 0 and 1")
    found = betaincinv(np.maximum(counts, 1), trials - counts + 1, alpha)
    bounds: NDArray[np.float64] = np.where(counts == 0, 0.0, found)
    return bounds


def _check(right: int, trials: int) -> None:
    """Counts must be possible."""
    if not 0 <= right <= trials or trials < 1:
        raise ConfigError(f"{right} of {trials} answers are right; expected 0 to {trials} of 1 up")
