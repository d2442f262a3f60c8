"""Sums over the processes of a training run, through which gradients flow.

The convention: every process computes the loss of the whole batch, from its own part and such sums.
The gradient of a sum is the sum of gradients, so each process has the gradient of all processes'
losses together, which is their number times too large; averaging gradients over processes, as
data-parallel training does, makes it right.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["is_parallel", "sum_over_processes"]


def is_parallel() -> bool:
    """Whether several processes share each batch.

    Examples:
        >>> from pushpull.runtime.parallel import is_parallel
        >>> is_parallel()
        False
    """
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of `x` over all processes; `x` itself where there is one.

    Examples:
        >>> from pushpull.runtime.parallel import sum_over_processes
        >>> sum_over_processes(torch.tensor(2.0))  # of one process
        tensor(2.)
    """
    if not is_parallel():
        return x
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
