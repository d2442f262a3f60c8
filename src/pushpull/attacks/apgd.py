"""APGD: gradient steps that start long and are halved where they stop paying.

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, algorithm 1 and section 3. Their DLR loss needs three classes;
here the objective is cross-entropy or the margin.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushpull.attacks.search import Search, at_least_one
from pushpull.attacks.space import Deltas

__all__ = ["apgd"]

MOMENTUM = 0.75


def apgd(
    search: Search,
    generator: torch.Generator,
    *,
    steps: int = 100,
    rho: float = 0.75,
    random_start: bool = True,
    n_restarts: int = 1,
) -> None:
    """Steps of 2 eps with momentum; at checkpoints a group that is stuck halves its step.

    Both modalities of a group share their halvings, each with steps in units of its own budget.

    Args:
        search: What is attacked.
        generator: Source of random starts.
        steps: Gradients taken from each start.
        rho: Share of steps since the last checkpoint that must have raised the loss.
        random_start: Start anywhere in the region, not at the clean point.
        n_restarts: Starts.

    Raises:
        ConfigError: If a count is not positive.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch = Batch.from_clips([clip])
        >>> attacked = attack(build("light_asd"), batch, "apgd", eps=5, steps=3)
        >>> attacked.curve.shape  # the random start and where each step led
        torch.Size([4, 1])
    """
    at_least_one("steps", steps)
    at_least_one("n_restarts", n_restarts)
    for _ in range(n_restarts):
        deltas = search.random_start(generator) if random_start else search.start
        _climb(search, deltas, steps, rho)


def _climb(search: Search, deltas: Deltas, steps: int, rho: float) -> None:
    loss, gradients = search.gradient(deltas)
    previous = deltas
    best, best_loss, best_gradients = deltas, loss, gradients
    length = torch.full_like(loss, 2.0)
    rises = torch.zeros_like(loss)
    length_then, best_then, checked = length, best_loss, 0
    checkpoints = _checkpoints(steps)
    for i in range(1, steps + 1):
        momentum = MOMENTUM if i > 1 else 1.0
        deltas, previous = _step(search, deltas, previous, gradients, length, momentum), deltas
        loss_before = loss
        if i == steps:
            search.loss(deltas)
            return
        loss, gradients = search.gradient(deltas)
        rises += loss > loss_before
        better = loss > best_loss
        best = search.pick(better, deltas, best)
        best_gradients = search.pick(better, gradients, best_gradients)
        best_loss = torch.where(better, loss, best_loss)
        if i in checkpoints:
            stalled = (length == length_then) & (best_loss == best_then)
            stuck = (rises < rho * (i - checked)) | stalled
            length_then, best_then, checked = length, best_loss, i
            length = torch.where(stuck, length / 2, length)
            deltas = search.pick(stuck, best, deltas)
            gradients = search.pick(stuck, best_gradients, gradients)
            loss = torch.where(stuck, best_loss, loss)
            rises = torch.zeros_like(rises)


def _step(
    search: Search,
    deltas: Deltas,
    previous: Deltas,
    gradients: Deltas,
    length: Tensor,
    momentum: float,
) -> Deltas:
    moved = {}
    for name, region in search.regions.items():
        delta = deltas[name]
        step = region.direction(gradients[name]) * search.per_row(name, length * region.ball.eps)
        target = region.project(delta + step)
        moved[name] = region.project(
            delta + momentum * (target - delta) + (1 - momentum) * (delta - previous[name])
        )
    return moved


def _checkpoints(steps: int) -> set[int]:
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(share * steps) for share in shares[1:]}
