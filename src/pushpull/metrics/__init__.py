"""Scores: the average precision of AVA-ActiveSpeaker.

`pushpull.metrics.torch_metric` holds the same as a torchmetrics metric; it is apart so that scoring
csv files does not wait for torch.
"""

from pushpull.metrics.ava import PrecisionRange, average_precision, precision_range

__all__ = ["PrecisionRange", "average_precision", "precision_range"]
