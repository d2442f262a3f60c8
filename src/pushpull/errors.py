"""The errors a user can meet, as one small tree.

PushPullError
├── MediaError         a video or audio file that cannot be read or written
├── AnnotationError    a csv of labels or predictions that cannot be used
├── DatasetError       a data set that is missing, unfinished or damaged
├── ShapeError         a tensor of the wrong shape, type or range (also a ValueError)
├── ConfigError        a setting that cannot be (also a ValueError)
│   └── UnknownName    a name that no table holds
├── CheckpointError    weights that cannot be loaded
├── BudgetError        an adversary outside its budget, range or valid part
├── GradientError      a gradient that is not there or not finite
└── OutputError        a result that cannot be written

BudgetWarning is for a budget too small to hold any adversary: no error, but no robustness either.

Every message says what was got, what was expected, where (path, line, field) and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AnnotationError",
    "BudgetError",
    "BudgetWarning",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "GradientError",
    "MediaError",
    "OutputError",
    "PushPullError",
    "ShapeError",
    "UnknownName",
]


class PushPullError(Exception):
    """Base of every error that this package raises on purpose."""


class MediaError(PushPullError):
    """A video or audio file cannot be read or written."""


class AnnotationError(PushPullError):
    """A csv of labels or predictions cannot be used."""


class DatasetError(PushPullError):
    """A data set is missing, unfinished or damaged."""


class ShapeError(PushPullError, ValueError):
    """A tensor has the wrong shape, type or range."""


class ConfigError(PushPullError, ValueError):
    """A setting cannot be."""


class UnknownName(ConfigError):
    """A name is in no table."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} '{name}': choose one of {', '.join(sorted(known))}")


class CheckpointError(PushPullError):
    """Weights cannot be loaded."""


class BudgetError(PushPullError):
    """An adversary lies outside its budget, its valid range or its clip."""


class BudgetWarning(UserWarning):
    """A budget is smaller than what the input can be changed by."""


class GradientError(PushPullError):
    """A gradient does not exist or is not finite."""


class OutputError(PushPullError):
    """A result cannot be written."""
