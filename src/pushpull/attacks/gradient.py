"""Steps along the gradient: one loop, of which FGSM, BIM, MIM and PGD are settings."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pushpull.attacks.search import Search, at_least_one
from pushpull.attacks.space import Deltas
from pushpull.errors import ConfigError

__all__ = ["accumulated", "ascend", "fgsm"]


def ascend(
    search: Search,
    generator: torch.Generator,
    *,
    steps: int = 5,
    alpha: Mapping[str, float] | None = None,
    decay: float = 0.0,
    random_start: bool = False,
    n_restarts: int = 1,
) -> None:
    """Step `alpha` along the gradient's direction in the norm, and back into the region.

    Args:
        search: What is attacked.
        generator: Source of random starts.
        steps: Gradients taken from each start.
        alpha: Length of a step of each modality; eps / steps by default, as Push-Pull's authors
            took (their published adversaries have moved 1, 3 or 5 steps of eps / 5).
        decay: Share of the accumulated gradient that is kept (Dong et al., CVPR 2018: 1). What is
            accumulated is divided by its L1 norm first, for each row of each modality.
        random_start: Start anywhere in the region, not at the clean point (Madry et al., ICLR
            2018).
        n_restarts: Starts.

    Raises:
        ConfigError: If a count is not positive, or starts would all be the same.

    Examples:
        >>> from pushpull.attacks.gradient import ascend
        >>> from pushpull.attacks.search import Search, held_still
        >>> from pushpull.attacks.space import CropSpace
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.losses import Goal, build_objective
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch, detector = Batch.from_clips([clip]), build("light_asd")
        >>> objective = build_objective("margin", Goal(labels=batch.speaking))
        >>> with held_still(detector):
        ...     search = Search(detector, CropSpace(batch, Threat.of(5)), objective)
        ...     ascend(search, torch.Generator(), steps=2)
        >>> bool(search.best_loss > search.curve[0].sum()), len(search.curve)
        (False, 3)
    """
    at_least_one("steps", steps)
    at_least_one("n_restarts", n_restarts)
    if n_restarts > 1 and not random_start:
        raise ConfigError(f"n_restarts is {n_restarts} with random_start=False: all starts are one")
    if alpha is None:
        alpha = {name: region.ball.eps / steps for name, region in search.regions.items()}
    for _ in range(n_restarts):
        deltas = search.random_start(generator) if random_start else search.start
        momentum: Deltas = {}
        for _ in range(steps):
            _, gradients = search.gradient(deltas)
            if decay:
                momentum = accumulated(search, momentum, gradients, decay)
                gradients = momentum
            for name, region in search.regions.items():
                step = region.direction(gradients[name]).mul_(alpha[name])
                deltas[name] = region.project(step.add_(deltas[name]))
            # Each is as large as all faces, and would live through the next evaluation.
            del gradients, step
        search.loss(deltas)


def fgsm(search: Search, generator: torch.Generator) -> None:
    """One step of the whole budget (Goodfellow et al., ICLR 2015).

    Args:
        search: What is attacked.
        generator: Not used.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch = Batch.from_clips([clip])
        >>> attacked = attack(build("light_asd"), batch, "fgsm", eps=5)
        >>> attacked.backwards, float(attacked.linf["visual"]) <= 0.5
        (1, True)
    """
    ascend(search, generator, steps=1)


def accumulated(search: Search, momentum: Deltas, gradients: Deltas, decay: float) -> Deltas:
    """Gradients over their L1 norms, row by row, added to a share of those before.

    Source: Dong et al., CVPR 2018, equation 6.

    Args:
        search: What is attacked.
        momentum: What was accumulated so far; empty at first.
        gradients: The newest.
        decay: Share of `momentum` that is kept.

    Examples:
        >>> from pushpull.attacks.gradient import accumulated
        >>> from pushpull.attacks.search import Search
        >>> from pushpull.attacks.space import CropSpace
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.losses import Goal, build_objective
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> space = CropSpace(Batch.from_clips([clip]), Threat.of(5, modality="audio"))
        >>> objective = build_objective("margin", Goal(labels=torch.ones(1, 1)))
        >>> search = Search(build("light_asd"), space, objective)
        >>> ones = {"audio": torch.ones(1, 640)}
        >>> float(accumulated(search, ones, ones, decay=1.0)["audio"].sum())
        641.0
    """
    kept = {}
    for name, region in search.regions.items():
        gradient = region.valid(gradients[name])
        norms = gradient.flatten(1).abs().sum(1)
        norms = norms.where(norms > 0, 1.0).view(-1, *[1] * (gradient.dim() - 1))
        kept[name] = gradient / norms
        if name in momentum:
            kept[name].add_(momentum[name], alpha=decay)
    return kept
