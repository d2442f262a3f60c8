"""Scores: the average precision of AVA-ActiveSpeaker, as shares 0..1.

The torchmetrics metric is loaded when it is asked for, so that scoring csv files does not wait for
torch.
"""

from typing import TYPE_CHECKING, Any

from pushpull.schema.bootstrap import (
    bootstrap_difference,
    bootstrap_draws,
    bootstrap_precision,
    bootstrap_share,
    drawn_over,
)
from pushpull.schema.precision import PrecisionRange, average_precision, precision_range

if TYPE_CHECKING:
    from pushpull.metrics.torch_metric import AVAAveragePrecision

__all__ = [
    "AVAAveragePrecision",
    "PrecisionRange",
    "average_precision",
    "bootstrap_difference",
    "bootstrap_draws",
    "bootstrap_precision",
    "bootstrap_share",
    "drawn_over",
    "precision_range",
]


def __getattr__(name: str) -> Any:
    """Load the torch metric (PEP 562)."""
    if name != "AVAAveragePrecision":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pushpull.metrics.torch_metric import AVAAveragePrecision

    return AVAAveragePrecision
