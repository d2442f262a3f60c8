"""Steps along the gradient: one loop, of which FGSM, BIM, MIM and PGD are settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from pushpull.attacks.search import Search, at_least_one
from pushpull.attacks.space import Deltas
from pushpull.errors import ConfigError, UnknownName

__all__ = ["SCHEDULES", "accumulated", "ascend", "climb", "fgsm"]

SCHEDULES: dict[str, Callable[[int], tuple[float, list[float]]]] = {
    "constant": lambda steps: (1 / steps, [1.0] * steps),
    "decayed": lambda steps: (0.5, [1 - i / steps for i in range(steps)]),
    "settling": lambda steps: (0.05, [1 - i / steps for i in range(steps)]),
}
"""Length of the first step in budgets, where none is given, and of each in first ones."""


def ascend(
    search: Search,
    generator: torch.Generator,
    *,
    steps: int = 5,
    alpha: Mapping[str, float] | None = None,
    decay: float = 0.0,
    random_start: bool = False,
    n_restarts: int = 1,
    schedule: str = "constant",
    draws: int = 1,
    radius: float = 0.0,
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
        schedule: "constant", or "decayed" to let steps shrink linearly to none: long ones cross the
            ball, short ones settle. `alpha` is the first; eps / 2 by default then. "settling" is
            the same from eps / 20, for what is near a good point.
        draws: Points around each iterate over which gradients are averaged; 1 takes the iterate's.
        radius: Of the ball that these points are drawn from, in budgets.

    Raises:
        UnknownName: If there is no such schedule.
        ConfigError: If a count is not positive, starts would all be the same, or draws have no
            radius.

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
    for _ in range(n_restarts):
        climb(
            search,
            search.random_start(generator) if random_start else search.start,
            generator,
            steps=steps, alpha=alpha, decay=decay, schedule=schedule, draws=draws, radius=radius,
        )  # fmt: skip


def climb(
    search: Search,
    deltas: Deltas,
    generator: torch.Generator,
    *,
    steps: int,
    alpha: Mapping[str, float] | None = None,
    decay: float = 0.0,
    schedule: str = "constant",
    draws: int = 1,
    radius: float = 0.0,
) -> None:
    """`ascend` from a given change; the settings are the same.

    Raises:
        UnknownName: As `ascend`.
        ConfigError: As `ascend`.

    Examples:
        >>> from pushpull.attacks.gradient import climb
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
        ...     climb(search, search.start, torch.Generator(), steps=2, schedule="decayed")
        >>> search.forwards, search.backwards
        (3, 2)
    """
    if schedule not in SCHEDULES:
        raise UnknownName("schedule", schedule, SCHEDULES)
    at_least_one("draws", draws)
    if (draws > 1) != (radius > 0):
        raise ConfigError(
            f"draws is {draws} with radius={radius:g}; expected several draws of a radius above 0, "
            "or one of none"
        )
    first, shares = SCHEDULES[schedule](steps)
    if alpha is None:
        alpha = {name: first * region.ball.eps for name, region in search.regions.items()}
    deltas = dict(deltas)
    momentum: Deltas = {}
    for share in shares:
        if draws > 1:
            _, gradients = search.gradient_around(
                deltas, radius=radius, draws=draws, generator=generator
            )
        else:
            _, gradients = search.gradient(deltas)
        if decay:
            momentum = accumulated(search, momentum, gradients, decay)
            gradients = momentum
        for name, region in search.regions.items():
            step = region.direction(gradients[name]).mul_(share * alpha[name])
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
