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

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch = Batch.from_clips([clip])
        >>> attacked = attack(build("light_asd"), batch, "noise", eps=5, steps=3)
        >>> attacked.forwards, attacked.backwards
        (3, 0)
    """
    at_least_one("steps", steps)
    for _ in range(steps):
        search.loss({name: region.noise(generator) for name, region in search.regions.items()})
