"""Steps for transfer: momentum, gradients of neighbours, inputs seen resized, shifted and softer.

An adversary that fits one detector's gradient closely moves another little. So the gradient is that
of inputs which are changed a little each time, corrected by what its neighbourhood says, and
accumulated over the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.attacks.gradient import accumulated
from pushpull.attacks.search import Search, at_least_one
from pushpull.attacks.space import Deltas, Points
from pushpull.attacks.threat import Region
from pushpull.errors import ConfigError
from pushpull.schema import Batch

__all__ = ["diversified", "vmi_di"]

VIDEO_FRAME_SAMPLES = 640
"""Of 40 ms, in which shifts of sound are measured."""


def vmi_di(
    search: Search,
    generator: torch.Generator,
    *,
    steps: int = 10,
    alpha: Mapping[str, float] | None = None,
    decay: float = 1.0,
    neighbours: int = 5,
    beta: float = 1.5,
    diversity: float = 0.1,
    probability: float = 0.5,
) -> None:
    """Momentum with variance tuning and input diversity: VMI-DI-FGSM.

    Every step but the last takes 1 + `neighbours` gradients, and each a look at the point itself,
    without which none could be the best. Modalities have their own momentum and variance.

    Source: variance tuning of Wang and He, CVPR 2021 (20 neighbours there), on the momentum of Dong
    et al., CVPR 2018, with the input diversity of Xie et al., CVPR 2019.

    Args:
        search: What is attacked.
        generator: Source of neighbours and changes.
        steps: Steps along the accumulated gradient.
        alpha: Length of a step of each modality; eps / steps by default.
        decay: Share of the accumulated gradient that is kept.
        neighbours: Points around, whose mean gradient corrects that of the next step; 0 leaves
            momentum with input diversity.
        beta: How far around, in budgets.
        diversity: How much inputs are changed, see `diversified`; 0 leaves variance tuning.
        probability: How likely a clip is changed at each look.

    Raises:
        ConfigError: If a count or share cannot be.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch = Batch.from_clips([clip])
        >>> found = attack(build("light_asd"), batch, "vmi-di", eps=5, steps=2, neighbours=1)
        >>> found.backwards, len(found.curve), float(found.linf["visual"]) <= 0.5
        (3, 3, True)
    """
    at_least_one("steps", steps)
    if neighbours != int(neighbours) or neighbours < 0:
        raise ConfigError(f"neighbours is {neighbours}; expected a whole number, 0 or more")
    for name, share in (("diversity", diversity), ("probability", probability)):
        if not 0 <= share <= 1:
            raise ConfigError(f"{name} is {share}; expected a share, 0 to 1")
    if not beta >= 0:
        raise ConfigError(f"beta is {beta}; expected a number of budgets, 0 or more")
    if alpha is None:
        alpha = {name: region.ball.eps / steps for name, region in search.regions.items()}
    seen = partial(
        diversified,
        generator=generator,
        modalities=tuple(search.regions),
        diversity=diversity,
        probability=probability,
    )
    deltas, momentum, variance = search.start, Deltas(), Deltas()
    for step in range(steps):
        search.loss(deltas)
        gradients = search.probe(_around(search.regions, deltas), seen)
        tuned = {k: g + variance[k] if k in variance else g for k, g in gradients.items()}
        momentum = accumulated(search, momentum, tuned, decay)
        if neighbours and step + 1 < steps:
            mean = {k: torch.zeros_like(g) for k, g in gradients.items()}
            for _ in range(neighbours):
                shifts = {k: r.start(generator).mul_(beta) for k, r in search.regions.items()}
                points = _around(search.regions, {k: deltas[k] + d for k, d in shifts.items()})
                for name, gradient in search.probe(points, seen).items():
                    mean[name].add_(gradient, alpha=1 / neighbours)
            variance = {name: mean[name] - gradient for name, gradient in gradients.items()}
        for name, region in search.regions.items():
            moved = region.direction(momentum[name]).mul_(alpha[name])
            deltas[name] = region.project(moved.add_(deltas[name]))
    search.loss(deltas)


def diversified(
    batch: Batch,
    *,
    generator: torch.Generator,
    modalities: tuple[str, ...] = ("audio", "visual"),
    diversity: float = 0.1,
    probability: float = 0.5,
) -> Batch:
    """The batch with some clips seen smaller and elsewhere, and heard softer and sooner or later.

    All faces of a clip are shrunk by the same random share and put somewhere in the picture, its
    edges repeated around. The sound is made softer by a random share and shifted by up to
    `diversity` of a video frame of 40 ms. Differentiable; padding stays as it is, and no value
    leaves the range of the clip and 0.

    Source: Xie et al., CVPR 2019, for pictures.

    Args:
        batch: Clips.
        generator: Source of the changes, on the CPU.
        modalities: Inputs that are changed, "audio" and "visual".
        diversity: The largest share, 0 to 1.
        probability: How likely a clip is changed.

    Examples:
        >>> from pushpull.attacks.variance import diversified
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch, draws = Batch.from_clips([clip]), torch.Generator().manual_seed(0)
        >>> seen = diversified(batch, generator=draws, modalities=("visual",), probability=1.0)
        >>> torch.equal(seen.faces, batch.faces), torch.equal(seen.waveform, batch.waveform)
        (False, True)
    """
    if not diversity or not probability:
        return batch
    draws = torch.rand(6, len(batch.faces), generator=generator, dtype=torch.float64)
    chosen, size, x, y, gain, shift = draws.to(batch.faces.device)
    chosen = chosen < probability
    changed = {}
    if "visual" in modalities:
        moved = _shrunk(batch.faces, 1 - diversity * size, 2 * x - 1, 2 * y - 1)
        changed["faces"] = torch.where(chosen[:, None, None, None], moved, batch.faces)
    if "audio" in modalities:
        samples = (diversity * VIDEO_FRAME_SAMPLES * (2 * shift - 1)).round().long()
        heard = _shifted(batch, samples) * (1 - diversity * gain).to(batch.waveform)[:, None]
        chosen_samples = chosen[:, None] & batch.audio_mask
        changed["waveform"] = torch.where(chosen_samples, heard, batch.waveform)
    return replace(batch, **changed)


def _around(regions: Mapping[str, Region], deltas: Deltas) -> Points:
    """Points that may be outside the budget, inside the valid range."""
    return {
        name: (region.clean + deltas[name]).clamp_(region.ball.low, region.ball.high)
        for name, region in regions.items()
    }


def _shrunk(faces: Tensor, size: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Each clip's faces (B, T, H, W) at a share of their size (B,), at -1 (left, top) to 1 (B,)."""
    zero = torch.zeros_like(size)
    # Where a pixel of the result comes from, in a picture from -1 to 1.
    rows = [[1 / size, zero, x * (1 - 1 / size)], [zero, 1 / size, y * (1 - 1 / size)]]
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1).to(faces)
    grid = F.affine_grid(theta, [len(faces), 1, *faces.shape[2:]], align_corners=False)
    return F.grid_sample(faces, grid, padding_mode="border", align_corners=False)


def _shifted(batch: Batch, samples: Tensor) -> Tensor:
    """Each clip's waveform (B, S) later by so many samples (B,), silent where nothing is known."""
    size = batch.waveform.shape[1]
    source = torch.arange(size, device=samples.device) - samples[:, None]
    known = (source >= 0) & (source < batch.n_samples[:, None])
    return batch.waveform.gather(1, source.clamp(0, size - 1)).masked_fill(~known, 0.0)
