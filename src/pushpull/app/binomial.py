"""Counts of right answers: how likely by guessing, and how good the listener may be.

Exact, from the binomial distribution; for the few hundred trials that a person has patience for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

from pushpull.errors import ConfigError

__all__ = ["guessing_p", "interval"]

HALVINGS = 60


def guessing_p(right: int, trials: int) -> float:
    """Probability of at least so many right answers by guessing between two.

    Raises:
        ConfigError: If there cannot be so many.

    Examples:
        >>> from pushpull.app.binomial import guessing_p
        >>> guessing_p(9, 10)
        0.0107
    """
    check(right, trials)
    ways: int = sum(comb(trials, k) for k in range(right, trials + 1))
    return float(ways / 2**trials)


def interval(right: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval for the share of right answers that holds it with probability `level` at least.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 1934.

    Raises:
        ConfigError: If there cannot be so many, or the level is not between 0 and 1.

    Examples:
        >>> from pushpull.app.binomial import interval
        >>> interval(9, 10)
        (0.555, 0.997)
    """
    check(right, trials)
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; expected a number between 0 and 1")
    tail = (1 - level) / 2
    low = 0.0 if right == 0 else crossing(lambda share: at_least(right, trials, share), tail)
    high = (
        1.0
        if right == trials
        else crossing(lambda share: at_least(right + 1, trials, share), 1 - tail)
    )
    return low, high


def check(right: int, trials: int) -> None:
    """Counts must be possible."""
    if not 0 <= right <= trials or trials < 1:
        raise ConfigError(f"{right} of {trials} answers are right; expected 0 to {trials} of 1 up")


def at_least(right: int, trials: int, share: float) -> float:
    """Probability of so many right answers or more where each is right with probability `share`."""
    return sum(
        comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(right, trials + 1)
    )


def crossing(rising: Callable[[float], float], value: float) -> float:
    """Where a rising function on 0..1 takes a value."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if rising(middle) < value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
