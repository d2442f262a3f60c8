"""What training minimises: CE_all and Push-Pull's audio-visual interaction loss (AVIL).

Over the K valid frames i of a batch with labels y_i, and the embeddings e_a, e_v before fusion,
c_{m,y} is the mean of e_m over the frames of class y (silent 0, speaking 1), for m in {a, v}:

    L1 = cos(c_{a,1}, c_{a,0}) + cos(c_{v,1}, c_{v,0})                   minimised: classes apart
    L2 = mean_i cos(e_{a,i}, c_{a,y_i}) + mean_i cos(e_{v,i}, c_{v,y_i}) maximised: compact
    L3 = cos(c_{a,1}, c_{v,1}) + cos(c_{a,0}, c_{v,0})                   maximised: modalities agree
    L4 = mean_i d(e_{a,i}, e_{v,i})                                     minimised: pairs together

    total = CE_all + w1 L1 - w2 L2 - w3 L3 + w4 L4

d is the Euclidean distance, its square, or 1 - cos. The paper does not say whether embeddings
have unit length, nor when the terms begin; both are settings. L3 can be read otherwise: the figure
of the paper draws it as a distance between the centres that grows, so that reading takes 1 - cos
for each cos above, still maximised. Where one class is not in the batch, L1 is 0 and L3 has its
other half.

In training over several processes means and centres are those of the whole batch.

Source: Push-Pull (SLT 2022), section 4 of the poster; equations as read there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.errors import ConfigError, UnknownName
from pushpull.losses.classification import cross_entropy_all, margin
from pushpull.runtime.parallel import sum_over_processes
from pushpull.schema import Output

__all__ = ["DISTANCES", "EMBEDDINGS", "L3_READINGS", "Avil", "interaction_terms", "training_loss"]


def _euclidean(a: Tensor, b: Tensor) -> Tensor:
    # The square root has no gradient at 0, which equal embeddings would meet.
    return (a - b).square().sum(-1).clamp(min=torch.finfo(a.dtype).tiny).sqrt()


def _wide(e: Tensor) -> Tensor:
    """Embeddings as float32, or float64 if they are."""
    return e if e.dtype == torch.float64 else e.float()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "euclidean": _euclidean,
    "squared": lambda a, b: (a - b).square().sum(-1),
    "cosine": lambda a, b: 1 - F.cosine_similarity(a, b, dim=-1),
}
"""Distances of L4, by name."""

L3_READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "similarity": lambda cosine: cosine,
    "distance": lambda cosine: 1 - cosine,
}
"""What L3 adds up for each class, of the cosine between the centres of both modalities."""

EMBEDDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "raw": lambda e: e,
    "unit": lambda e: F.normalize(e, dim=-1),
}
"""What the terms act on, by name: embeddings as they are, or scaled to length 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Avil:
    """Weights and readings of the four terms; 0 leaves a term out.

    Attributes:
        l1: Weight of L1.
        l2: Weight of L2.
        l3: Weight of L3.
        l4: Weight of L4.
        l3_reading: "similarity" or "distance".
        l4_distance: "euclidean", "squared" or "cosine".
        embeddings: "raw" or "unit".
        start_epochs: Epochs of training before the terms begin.
        ramp_epochs: Epochs over which their weights then rise evenly; 0 for at once.

    Examples:
        >>> from pushpull.losses import Avil
        >>> Avil(l1=0.1, l2=0.1).signed
        {'l1': 0.1, 'l2': -0.1}
    """

    l1: float = 0.0
    l2: float = 0.0
    l3: float = 0.0
    l4: float = 0.0
    l3_reading: str = "similarity"
    l4_distance: str = "euclidean"
    embeddings: str = "raw"
    start_epochs: int = 0
    ramp_epochs: int = 0

    def __post_init__(self) -> None:
        for name in ("l1", "l2", "l3", "l4"):
            weight = getattr(self, name)
            if not (0 <= weight < float("inf")):
                raise ConfigError(
                    f"the weight of {name} is {weight}; expected a finite number of at least 0 "
                    "(its direction is part of the loss)"
                )
        if self.l3_reading not in L3_READINGS:
            raise UnknownName("reading of L3", self.l3_reading, L3_READINGS)
        if self.l4_distance not in DISTANCES:
            raise UnknownName("distance of L4", self.l4_distance, DISTANCES)
        if self.embeddings not in EMBEDDINGS:
            raise UnknownName("embeddings", self.embeddings, EMBEDDINGS)
        for name in ("start_epochs", "ramp_epochs"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 0")

    @property
    def signed(self) -> dict[str, float]:
        """Factor of each term that is not left out, in what is minimised."""
        factors = {"l1": self.l1, "l2": -self.l2, "l3": -self.l3, "l4": self.l4}
        return {name: factor for name, factor in factors.items() if factor}

    def at(self, epoch: int) -> Avil:
        """The weights of an epoch (1 for the first), without the schedule.

        Examples:
            >>> from pushpull.losses import Avil
            >>> avil = Avil(l4=1.0, start_epochs=2, ramp_epochs=4)
            >>> [avil.at(epoch).l4 for epoch in (1, 2, 3, 4, 6, 9)]
            [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]
        """
        since = epoch - self.start_epochs
        share = min(max(since, 0) / max(self.ramp_epochs, 1), 1.0)
        weights = {name: share * getattr(self, name) for name in ("l1", "l2", "l3", "l4")}
        return replace(self, **weights, start_epochs=0, ramp_epochs=0)


def training_loss(output: Output, labels: Tensor, avil: Avil) -> dict[str, Tensor]:
    """The total to minimise and everything it is made of, over the valid frames of the batch.

    Args:
        output: Of a detector on a batch; labels and values of padded frames do not matter.
        labels: (B, T), 1 where speaking.
        avil: Weights of the interaction terms.

    Returns:
        Scalars by name: "total", "ce_all", those of "l1" to "l4" that count (before weights and
        signs), and without gradient "norm_a", "norm_v" (mean lengths of the embeddings: L4 alone
        can be met by shrinking them) and "margin" (mean log-odds on the right side).

    Raises:
        ConfigError: If a term counts and the model gives no embeddings.

    Examples:
        >>> from pushpull.losses import Avil, training_loss
        >>> from pushpull.models import build
        >>> output = build("light_asd")(torch.randn(1, 2560) / 10, 255 * torch.rand(1, 4, 112, 112))
        >>> terms = training_loss(output, torch.tensor([[0, 0, 1, 1]]), Avil(l1=0.1, l4=0.01))
        >>> terms["total"].backward()
        >>> sorted(terms)
        ['ce_all', 'l1', 'l4', 'margin', 'norm_a', 'norm_v', 'total']
    """
    mask = output.mask
    frames = sum_over_processes(mask.sum().to(torch.float64))

    def mean(values: Tensor) -> Tensor:
        total = values.masked_fill(~mask, 0.0).sum()
        return sum_over_processes(total) / frames.to(total.dtype)

    terms = {"ce_all": mean(cross_entropy_all(output, labels))}
    total = terms["ce_all"]
    factors = avil.signed
    if factors:
        found = interaction_terms(output, labels, avil)
        for name, factor in factors.items():
            terms[name] = found[name]
            total = total + factor * found[name]
    with torch.no_grad():
        for name, e in (("norm_a", output.e_a), ("norm_v", output.e_v)):
            if e is not None:
                terms[name] = mean(_wide(e).norm(dim=-1))
        terms["margin"] = mean(margin(output.logits, labels))
    return {"total": total, **terms}


def interaction_terms(output: Output, labels: Tensor, avil: Avil) -> dict[str, Tensor]:
    """L1 to L4 of a batch, those with a weight, before weights and signs.

    Raises:
        ConfigError: If the model gives no embeddings.

    Examples:
        >>> from pushpull.losses import Avil, interaction_terms
        >>> from pushpull.schema import Output
        >>> one = torch.ones(1, 2, 8)
        >>> mask = torch.tensor([[True, True]])
        >>> output = Output(logits=torch.zeros(1, 2, 2), mask=mask, e_a=one, e_v=3 * one)
        >>> avil = Avil(l1=1.0, l4=1.0, l4_distance="squared")
        >>> interaction_terms(output, torch.tensor([[0, 1]]), avil)
        {'l1': tensor(2.), 'l4': tensor(32.)}
    """
    if output.e_a is None or output.e_v is None:
        raise ConfigError("the model gives no embeddings e_a and e_v, which AVIL acts on")
    y = labels[output.mask]
    taken = EMBEDDINGS[avil.embeddings]
    e_a, e_v = (taken(_wide(e[output.mask])) for e in (output.e_a, output.e_v))
    members = F.one_hot(y, 2).to(e_a.dtype)
    counts = sum_over_processes(members.sum(0))
    centres_a, centres_v = (
        sum_over_processes(members.T @ e) / counts.clamp(min=1)[:, None] for e in (e_a, e_v)
    )
    there = (counts > 0).to(e_a.dtype)
    both = there.prod()
    frames = counts.sum()

    def mean(values: Tensor) -> Tensor:
        return sum_over_processes(values.sum()) / frames

    def cos(a: Tensor, b: Tensor) -> Tensor:
        return F.cosine_similarity(a, b, dim=-1)

    terms = {}
    if avil.l1:
        terms["l1"] = both * (cos(*centres_a) + cos(*centres_v))
    if avil.l2:
        terms["l2"] = mean(cos(e_a, centres_a[y]) + cos(e_v, centres_v[y]))
    if avil.l3:
        reading = L3_READINGS[avil.l3_reading]
        terms["l3"] = (there * reading(cos(centres_a, centres_v))).sum()
    if avil.l4:
        terms["l4"] = mean(DISTANCES[avil.l4_distance](e_a, e_v))
    return terms
