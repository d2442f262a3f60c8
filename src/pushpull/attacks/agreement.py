"""Do gradients say anything of the next step? How they agree nearby, and what a step brings.

A gradient may be exact and still useless: where a ripple far smaller than the budget is added to a
detector, its slope points anywhere, though decisions stay. So gradients are compared with those at
points drawn near by, at several shares of the budget, and what a step along a gradient brings with
what the gradient promises. Athalye et al., "Obfuscated Gradients", ICML 2018, call such gradients
shattered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushpull.attacks.search import Search, held_still
from pushpull.attacks.space import CropSpace, Deltas
from pushpull.attacks.threat import Threat
from pushpull.errors import ConfigError
from pushpull.losses import Goal, build_objective
from pushpull.models.detector import Detector
from pushpull.schema import Batch

__all__ = ["RADII", "Agreement", "Progress", "gradient_agreement", "gradient_progress"]

RADII = (0.1, 0.3, 1.0)
"""Shares of the budget at which gradients are compared and steps taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreement:
    """How far gradients can be trusted, for each modality.

    Attributes:
        radii: Shares of the budget (R,).
        cosine: Of the gradient at a clip with those at points drawn so near (R, B), mean of the
            draws; 1 where they are the same, 0 where they say nothing of each other.
        gain: What a step of that length along the gradient's signs brings, in units of what the
            gradient promises (R, B); 1 for a straight slope, 0 or less where the gradient misleads.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks import gradient_agreement
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=6)
        >>> found = gradient_agreement(pp.load("synthetic-a"), Batch.from_clips([clip]), eps=5)
        >>> found.cosine["visual"].shape, bool(found.cosine["visual"][0] > 0.8)
        (torch.Size([3, 1]), True)
    """

    radii: tuple[float, ...]
    cosine: Mapping[str, Tensor]
    gain: Mapping[str, Tensor]


def gradient_agreement(
    detector: Detector,
    batch: Batch,
    *,
    eps: float | Mapping[str, float] = 5.0,
    modality: str = "both",
    radii: Sequence[float] = RADII,
    draws: int = 2,
    seed: int = 0,
) -> Agreement:
    """Compare gradients of the margin at clips with those near by, and steps with their promise.

    A detector that is random is asked anew each time, so that gradients that change from one
    evaluation to the next disagree.

    Args:
        detector: Works in eval mode, and comes back as it was.
        batch: Labelled clips.
        eps: Push-Pull's eps_av, or a budget for each modality.
        modality: "audio", "visual" or "both".
        radii: Shares of the budget, above 0.
        draws: Points drawn at each.
        seed: Of the draws.

    Raises:
        ConfigError: If the clips have no labels, or a radius or count is not positive.
        GradientError: If there is no finite gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks import gradient_agreement
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=6)
        >>> batch = Batch.from_clips([clip])
        >>> found = gradient_agreement(pp.load("synthetic-a"), batch, eps=5, radii=[0.1])
        >>> sorted(found.gain)
        ['audio', 'visual']
    """
    if batch.speaking is None:
        raise ConfigError("the clips have no labels; expected some, since margins are of a class")
    if not radii or min(radii) <= 0 or draws < 1:
        raise ConfigError(
            f"radii is {tuple(radii)}, draws {draws}; expected shares above 0, and 1 or more"
        )
    goal = Goal(labels=batch.speaking)
    batch = batch.as_float()
    threat = Threat.of(eps, modality=modality)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad(), held_still(detector):
        space = CropSpace(batch, threat)
        search = Search(detector, space, build_objective("margin", goal), goal=goal)
        _, here = search.gradient(search.start)
        cosine: dict[str, list[Tensor]] = {name: [] for name in space.regions}
        gain: dict[str, list[Tensor]] = {name: [] for name in space.regions}
        for radius in radii:
            near = [
                search.gradient(_scaled(search.random_start(generator), radius))[1]
                for _ in range(draws)
            ]
            for name in space.regions:
                values = [_cosine(here[name], other[name]) for other in near]
                cosine[name].append(torch.stack(values).mean(0))
                gain[name].append(_gain(search, here, name, radius))
    return Agreement(
        radii=tuple(radii),
        cosine={name: torch.stack(values) for name, values in cosine.items()},
        gain={name: torch.stack(values) for name, values in gain.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Progress:
    """How far one step lowers the margin of each clip, in log-odds.

    Attributes:
        lengths: Of the step, shares of the budget (L,).
        plain: Along the signs of gradients at points very near the clip (L, D, B).
        averaged: Along those of the mean of gradients at points around it (L, B).
        random: Along random signs (L, D, B).

    Examples:
        >>> from pushpull.attacks import Progress
        >>> one = torch.ones(1, 1, 1)
        >>> Progress(lengths=(0.3,), plain=2 * one, averaged=4 * one[0], random=0 * one).averaged
        tensor([[4.]])
    """

    lengths: tuple[float, ...]
    plain: Tensor
    averaged: Tensor
    random: Tensor


def gradient_progress(
    detector: Detector,
    batch: Batch,
    *,
    eps: float | Mapping[str, float] = 5.0,
    modality: str,
    lengths: Sequence[float] = (0.1, 0.3, 1.0),
    near: float = 0.03,
    radius: float = 0.3,
    tries: int = 8,
    draws: int = 24,
    seed: int = 0,
) -> Progress:
    """What one step along a gradient brings, beside one along their average and random ones.

    Gradients that disagree may still lead somewhere: a spectrogram of near silence is rough by
    nature. Where averages lead several times as far, or gradients no farther than chance, they
    mislead.

    Args:
        detector: Works in eval mode, and comes back as it was.
        batch: Labelled clips.
        eps: Push-Pull's eps_av, or a budget for each modality.
        modality: "audio" or "visual".
        lengths: Of steps, shares of the budget.
        near: Within which single gradients are taken, a share of the budget.
        radius: Within which gradients are averaged, likewise.
        tries: Single gradients, and random directions.
        draws: Gradients that are averaged.
        seed: Of the draws.

    Raises:
        ConfigError: If the clips have no labels.
        GradientError: If there is no finite gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks import gradient_progress
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=4)
        >>> batch, detector = Batch.from_clips([clip]), pp.load("synthetic-a")
        >>> found = gradient_progress(detector, batch, modality="visual", tries=2, draws=2)
        >>> (found.averaged / found.plain.mean(1)).round(decimals=1)  # as far
        tensor([[1.],
                [1.],
                [1.]])
    """
    if batch.speaking is None:
        raise ConfigError("the clips have no labels; expected some, since margins are of a class")
    goal = Goal(labels=batch.speaking)
    batch = batch.as_float()
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad(), held_still(detector):
        space = CropSpace(batch, Threat.of(eps, modality=modality))
        search = Search(detector, space, build_objective("margin", goal), goal=goal)
        search.loss(search.start)  # What every step is compared with.

        def at(share: float) -> Deltas:
            return search.gradient(_scaled(search.random_start(generator), share))[1]

        plain = [_falls(search, at(near), lengths) for _ in range(tries)]
        total = at(radius)
        for _ in range(draws - 1):
            total = {name: total[name] + gradient for name, gradient in at(radius).items()}
        averaged = _falls(search, total, lengths)
        chance = [
            _falls(search, {k: r.noise(generator) for k, r in search.regions.items()}, lengths)
            for _ in range(tries)
        ]
    return Progress(
        lengths=tuple(lengths),
        plain=torch.stack(plain, 1),
        averaged=averaged,
        random=torch.stack(chance, 1),
    )


def _falls(search: Search, ways: Deltas, lengths: Sequence[float]) -> Tensor:
    """What steps of these lengths along the signs take off each clip's mean margin (L, B)."""
    before, falls = search.curve[0], []
    for length in lengths:
        search.loss(
            {
                name: region.project(length * region.ball.eps * region.direction(ways[name]))
                for name, region in search.regions.items()
            }
        )
        falls.append(search.curve[-1] - before)
    return torch.stack(falls)


def _scaled(deltas: Deltas, share: float) -> Deltas:
    return {name: delta * share for name, delta in deltas.items()}


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Of each row (N,); 0 where one of the two is 0."""
    a, b = (x.flatten(1).double() for x in (one, other))
    norms = a.norm(dim=1) * b.norm(dim=1)
    found: Tensor = (a * b).sum(1) / norms.where(norms > 0, 1.0)
    return found


def _gain(search: Search, gradients: Deltas, name: str, radius: float) -> Tensor:
    """What a step up and one down differ by, over what the gradient says (B,)."""
    region = search.regions[name]
    step = radius * region.ball.eps * region.direction(gradients[name])
    still = search.start
    up, down = ({**still, name: region.project(sign * step)} for sign in (1, -1))
    rise = search.loss(up) - search.loss(down)
    # As far as the valid range lets both go.
    moved = region.place(up[name]) - region.place(down[name])
    promised = (moved.double() * gradients[name].double()).flatten(1).sum(1)
    brought: Tensor = rise.double() / promised.where(promised > 0, 1.0)
    return brought
