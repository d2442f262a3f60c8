"""AVA's average precision as a torchmetrics metric, which merges over processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from pushpull.errors import ShapeError
from pushpull.schema.precision import as_flags, average_precision

__all__ = ["AVAAveragePrecision"]


class AVAAveragePrecision(Metric):
    """AVA's average precision over all frames seen, a share 0..1; see `average_precision`.

    Tied scores keep the order in which they came; over processes, that of the ranks.

    Examples:
        >>> from pushpull.metrics import AVAAveragePrecision
        >>> metric = AVAAveragePrecision()
        >>> metric.update(torch.tensor([2.0, 1.0, -0.5]), torch.tensor([1, 0, 1]))
        >>> float(metric.compute())
        0.833
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    scores: list[Tensor]
    speaking: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # A process that saw no frame takes part in the merge with an empty tensor of the metric's
        # type, and a gather needs one type everywhere: so both states are float64.
        self.set_dtype(torch.float64)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("speaking", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, speaking: Tensor, mask: Tensor | None = None) -> None:
        """Add frames.

        Args:
            scores: Any shape, such as (B, T).
            speaking: The same shape, 1 or true on speaking frames.
            mask: The same shape, true on the frames that count; all by default.

        Raises:
            ShapeError: If the shapes differ.
        """
        if not (torch.is_tensor(scores) and torch.is_tensor(speaking)):
            raise ShapeError(
                f"scores is a {type(scores).__name__}, speaking a {type(speaking).__name__}; "
                "expected tensors"
            )
        if scores.shape != speaking.shape or (mask is not None and mask.shape != scores.shape):
            raise ShapeError(
                f"scores is {tuple(scores.shape)}, speaking {tuple(speaking.shape)}, mask "
                f"{None if mask is None else tuple(mask.shape)}; expected one shape"
            )
        keep = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.bool()
        labels = torch.from_numpy(as_flags(speaking.detach()[keep].cpu().numpy()))
        self.scores.append(scores.detach()[keep].double())
        self.speaking.append(labels.to(scores.device).double())

    def compute(self) -> Tensor:
        """The average precision, float64.

        Raises:
            ShapeError: If no frame was speaking, or a score is NaN.
        """
        if len(self.scores) == 0:
            raise ShapeError("no frames were given; average precision needs a speaking one")
        scores, speaking = dim_zero_cat(self.scores), dim_zero_cat(self.speaking)
        value = average_precision(scores.cpu().numpy(), speaking.cpu().numpy())
        return torch.tensor(value, dtype=torch.float64, device=scores.device)
