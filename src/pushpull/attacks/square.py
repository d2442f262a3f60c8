"""Square attack with a budget for each modality: random search, scores only.

A query changes one modality in one window of time, or of time and picture, and keeps the change
where the loss rose. Windows shrink on the published schedule.

Source: Andriushchenko et al., "Square Attack", ECCV 2020. Ours are: windows that reach over time,
one modality to a query, and noise of random bandwidth in place of a constant on the waveform, since
pre-emphasis takes a constant away. For L2, the published window-to-window exchange is replaced by
an added window, scaled back into the ball.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushpull.attacks.search import EMBEDDED, Search, at_least_one
from pushpull.attacks.threat import Region
from pushpull.errors import ConfigError

__all__ = ["square"]

# Queries of 10 000 at which the share of a changed window is halved.
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
LONGEST_HOLD = 5


def square(
    search: Search,
    generator: torch.Generator,
    *,
    steps: int = 5000,
    p_init: float = 0.8,
    n_restarts: int = 1,
) -> None:
    """Random windows, each kept for the groups whose loss it raises.

    Args:
        search: What is attacked; only its losses are asked for.
        generator: Source of all windows and signs.
        steps: Queries of each start.
        p_init: Share of the elements that the first windows cover.
        n_restarts: Starts.

    Raises:
        ConfigError: If a count is not positive or `p_init` is not in 0..1.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch = Batch.from_clips([clip])
        >>> attacked = attack(build("light_asd"), batch, "square", eps=5, steps=4)
        >>> attacked.queries, attacked.backwards
        (4, 0)
    """
    at_least_one("steps", steps)
    at_least_one("n_restarts", n_restarts)
    if not 0 < p_init <= 1:
        raise ConfigError(f"p_init is {p_init}; expected a share of the elements, above 0, up to 1")
    names = list(search.regions)
    for _ in range(n_restarts):
        deltas = {name: _stripes(region, generator) for name, region in search.regions.items()}
        loss = search.loss(deltas)
        known = search.embeddings
        for i in range(1, steps):
            share = p_init / 2 ** sum(i / steps > at / 10_000 for at in HALVED_AT)
            name = names[_integer(len(names), generator)]
            changed = _changed(search.regions[name], deltas[name], share, generator)
            tried = {**deltas, name: changed}
            # Half of the queries move the sound only: faces are not encoded for them.
            unmoved = {k: x for k, x in known.items() if k != EMBEDDED[name]}
            tried_loss = search.loss(tried, unmoved)
            better = tried_loss > loss
            known = search.pick_embeddings(better, search.embeddings, known)
            deltas = search.pick(better, tried, deltas)
            loss = torch.maximum(tried_loss, loss)


Window = tuple[slice, ...]
"""Of one row: frames or samples, and for pictures rows and columns."""


def _stripes(region: Region, generator: torch.Generator) -> Tensor:
    """A point of the full budget with one sign for each column of each frame, or each sample."""
    shape = list(region.clean.shape)
    shape[2:-1] = [1] * len(shape[2:-1])
    signs = _signs(shape, region, generator).expand_as(region.clean)
    if region.ball.norm == "linf":
        return region.to_edge(signs > 0)
    return _added(region, torch.zeros_like(region.clean), signs, 1.0)


def _changed(region: Region, delta: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`delta` with a new sign in one window of each row."""
    windows = _windows(region, share, generator)
    rows, size = region.clean.shape[:2]
    if region.clean.dim() > 2:
        signs = _signs([rows, *[1] * (region.clean.dim() - 1)], region, generator)
    else:
        hold = 2 ** _integer(LONGEST_HOLD, generator)
        signs = _signs([rows, -(-size // hold)], region, generator)
        signs = signs.repeat_interleave(hold, 1)[:, :size]
    signs = signs.expand_as(region.clean)
    if region.ball.norm == "linf":
        changed = delta.clone()
        for row, window in enumerate(windows):
            changed[row][window] = region.edge_of(row, window, signs[row][window] > 0)
        return changed
    inside = torch.zeros_like(region.clean)
    for row, window in enumerate(windows):
        inside[row][window] = signs[row][window]
    return _added(region, delta, inside, share)


def _added(region: Region, delta: Tensor, signs: Tensor, share: float) -> Tensor:
    """In an L2 ball: an addition as long as the budget, of less energy as windows shrink."""
    added = region.valid(signs)
    norms = torch.linalg.vector_norm(added.flatten(1), dim=1).clamp(min=1.0)
    length = region.ball.eps * share**0.5 / norms
    return region.project(delta + added * length.view(-1, *[1] * (delta.dim() - 1)))


def _windows(region: Region, share: float, generator: torch.Generator) -> list[Window]:
    """For each row a window that covers this share of its valid elements, at a random place."""
    shape = region.clean.shape
    side = share ** (1 / (len(shape) - 1))
    axes = []
    for axis in range(1, len(shape)):
        lengths = region.lengths.cpu() if axis == 1 else torch.full((shape[0],), shape[axis])
        sides = (side * lengths).round().clamp(min=1)
        first = (torch.rand(shape[0], generator=generator) * (lengths - sides + 1)).floor()
        ends = zip(first.long().tolist(), (first + sides).long().tolist(), strict=True)
        axes.append([slice(a, b) for a, b in ends])
    return list(zip(*axes, strict=True))


def _signs(shape: list[int], region: Region, generator: torch.Generator) -> Tensor:
    coins = torch.rand(shape, generator=generator) < 0.5
    return torch.where(coins, 1.0, -1.0).to(region.clean)


def _integer(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
