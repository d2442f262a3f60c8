"""What an attacker who knows the defence maximises, beside the detector's own losses.

Each is called with the class centres of the clean frames and the clean output of the batch, and
makes an objective of a goal. All are judged by the margin, since none says by itself what becomes
of the score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.errors import ConfigError
from pushpull.losses import (
    Centres,
    Goal,
    Objective,
    ObjectiveBuilder,
    build_objective,
    class_centres,
    cross_entropy,
    cross_entropy_all,
    margin,
)
from pushpull.schema import Output

__all__ = ["EXTRA", "Known", "objective_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What such an attacker has measured beforehand.

    Attributes:
        clean: Output of the detector on the clean batch.
        centres: Of the embeddings before fusion, over all clean frames.
        fused_centres: Of those after cross-attention, where the model has them.

    Examples:
        >>> from pushpull.auditing.objectives import Known
        >>> from pushpull.schema import Output
        >>> output = Output(logits=torch.zeros(1, 2, 2), mask=torch.ones(1, 2, dtype=torch.bool))
        >>> Known(clean=output, centres=None, fused_centres=None).centres is None
        True
    """

    clean: Output
    centres: Centres | None
    fused_centres: Centres | None


PerFrame = Callable[[Output, Goal], Tensor]


def objective_of(name: str, known: Callable[[], Known]) -> str | ObjectiveBuilder:
    """The objective of that name: one of `EXTRA`, else one that `attack` knows.

    The part behind `@` is a number for the objective, as in `ce@100`.

    Examples:
        >>> from pushpull.auditing.objectives import Known, objective_of
        >>> from pushpull.losses import Goal, build_objective
        >>> from pushpull.schema import Output
        >>> output = Output(logits=torch.tensor([[[0.0, 200.0]]]), mask=torch.tensor([[True]]))
        >>> known = Known(clean=output, centres=None, fused_centres=None)
        >>> chosen = objective_of("ce@100", lambda: known)
        >>> objective = build_objective(chosen, Goal(labels=torch.tensor([[1]])))
        >>> objective.ascend(output)  # of logits a hundred times smaller
        tensor([[0.1269]])
    """
    kind, _, number = name.partition("@")
    if kind not in EXTRA:
        return name
    return partial(_judged_by_margin, EXTRA[kind](known(), float(number or 1)))


def _judged_by_margin(per_frame: PerFrame, goal: Goal) -> Objective:
    return Objective(
        lambda output: per_frame(output, goal), lambda output: margin(output.logits, goal.reached)
    )


def _tempered(known: Known, temperature: float) -> PerFrame:
    """Cross-entropy of logits divided by a temperature, which a scale cannot saturate."""
    return lambda output, goal: _ce(output.logits / temperature, goal)


def _head(name: str, known: Known, _: float) -> PerFrame:
    """The cross-entropy of one stream's head."""
    if getattr(known.clean, name) is None:
        raise ConfigError(f"the model has no head {name}")
    return lambda output, goal: _ce(getattr(output, name), goal)


def _towards(known: Known, _: float) -> PerFrame:
    """Cosine of each embedding with the opposite class's centre, less that with its own."""
    centres = _needed(known.centres)

    def nearness(output: Output, goal: Goal) -> Tensor:
        pairs = ((output.e_a, centres.audio), (output.e_v, centres.visual))
        return torch.stack([_cosine_gain(e, c, goal.reached) for e, c in pairs]).sum(0)

    return nearness


def _fused(known: Known, _: float) -> PerFrame:
    """The same after cross-attention."""
    centres = known.fused_centres
    if centres is None:
        raise ConfigError("the model gives no embeddings after cross-attention")

    def nearness(output: Output, goal: Goal) -> Tensor:
        pairs = ((output.z_a, centres.audio), (output.z_v, centres.visual))
        return torch.stack([_cosine_gain(z, c, goal.reached) for z, c in pairs]).sum(0)

    return nearness


def _away(known: Known, _: float) -> PerFrame:
    """Squared distance of both embeddings from where they are, in shares of their length."""
    _needed(known.centres)

    def distance(output: Output, goal: Goal) -> Tensor:
        total = torch.zeros_like(output.logits[..., 0])
        for now, then in ((output.e_a, known.clean.e_a), (output.e_v, known.clean.e_v)):
            assert now is not None  # noqa: S101
            assert then is not None  # noqa: S101
            length = then.square().sum(-1).clamp(min=torch.finfo(then.dtype).tiny)
            total = total + (now - then).square().sum(-1) / length
        return total

    return distance


def _avil(known: Known, _: float) -> PerFrame:
    """Push-Pull's own interaction loss, as what a frame adds to it with the centres held still.

    Classes together (L1, L2 against the opposite centre), modalities of a frame apart (L4).
    """
    nearness = _towards(known, 1.0)

    def loss(output: Output, goal: Goal) -> Tensor:
        assert output.e_a is not None  # noqa: S101
        assert output.e_v is not None  # noqa: S101
        apart = 1 - F.cosine_similarity(output.e_a.float(), output.e_v.float(), dim=-1)
        return nearness(output, goal) + apart

    return loss


def _mixed(known: Known, weight: float) -> PerFrame:
    """The training loss and, `weight` times, the way to the opposite class's centre."""
    centres = _needed(known.centres)

    def loss(output: Output, goal: Goal) -> Tensor:
        sign = -1.0 if goal.targeted else 1.0
        feature = build_objective("feature", replace(goal, centres=centres))
        return sign * cross_entropy_all(output, goal.labels) + weight * feature.ascend(output)

    return loss


EXTRA: dict[str, Callable[[Known, float], PerFrame]] = {
    "ce": _tempered,
    "head_a": partial(_head, "logits_a"),
    "head_v": partial(_head, "logits_v"),
    "cosine": _towards,
    "fused": _fused,
    "away": _away,
    "avil": _avil,
    "mixed": _mixed,
}
"""Objectives of the audit by name."""


def fused_centres(output: Output, labels: Tensor) -> Centres | None:
    """Class centres after cross-attention; None where the model has none."""
    if output.z_a is None or output.z_v is None:
        return None
    return class_centres(replace(output, e_a=output.z_a, e_v=output.z_v), labels)


def _ce(logits: Tensor, goal: Goal) -> Tensor:
    loss = cross_entropy(logits, goal.labels)
    return -loss if goal.targeted else loss


def _cosine_gain(e: Tensor | None, centres: Tensor, reached: Tensor) -> Tensor:
    assert e is not None  # noqa: S101
    e = e if e.dtype == torch.float64 else e.float()
    to, own = (F.cosine_similarity(e, centres[of], dim=-1) for of in (reached, 1 - reached))
    return to - own


def _needed(centres: Centres | None) -> Centres:
    if centres is None:
        raise ConfigError("the model gives no embeddings e_a and e_v")
    return centres
