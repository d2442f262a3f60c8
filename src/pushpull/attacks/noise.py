"""Random noise of the whole budget: the control that every attack has to beat."""

from __future__ import annotations

import torch

from pushpull.attacks.search import Search, at_least_one

__all__ = ["noise"]


def noise(search: Search, generator: torch.Generator, *, steps: int = 1) -> None:
    """The best of some draws: corners of an L_inf ball, points on an L2 sphere.

    Args:
        search: What is attacked; only its losses are asked for.
        generator: Source of the noise.
        steps: Draws.

    Raises:
        ConfigError: If `steps` is not positive.
    """
    at_least_one("steps", steps)
    for _ in range(steps):
        search.loss({name: region.noise(generator) for name, region in search.regions.items()})
