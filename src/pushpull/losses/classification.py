"""Losses per frame: what training minimises and attacks maximise.

Two classes make cross-entropy a function of the score alone, log(1 + exp(-m)) with the margin
m = score where the frame is speaking and -score where it is not. Computed so, in float32, its
gradient is there until m = 87; through a softmax it is exactly 0 from m = 17 (in bfloat16 from 8),
and an attack on a confident model stands still. Logits are read as float32 under autocast too.

A targeted attack has an objective of its own, to be maximised like any other: no attack has a sign
to flip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.errors import ConfigError, UnknownName
from pushpull.schema import Output

__all__ = [
    "OBJECTIVES",
    "Centres",
    "Goal",
    "Objective",
    "ObjectiveBuilder",
    "build_objective",
    "class_centres",
    "cross_entropy",
    "cross_entropy_all",
    "log_odds",
    "margin",
    "over_frames",
]

HEAD_WEIGHT = {"audio and visual": 0.4, "visual": 0.5}
"""Weight of each further head in the published training losses: TalkNet and its variants have both
(CE_av + 0.4 CE_a + 0.4 CE_v), Light-ASD and LR-ASD a visual one (CE_av + 0.5 CE_v, here at their
temperature 1)."""


def log_odds(logits: Tensor) -> Tensor:
    """Score (B, T) of logits (B, T, 2), subtracted in float32 where they are of half precision.

    Examples:
        >>> from pushpull.losses import log_odds
        >>> log_odds(torch.tensor([[[0.0, 2.0], [1.0, -1.0]]]))
        tensor([[ 2., -2.]])
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits[..., 1] - logits[..., 0]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """How far each frame is on the side of its label (B, T), in log-odds.

    Examples:
        >>> from pushpull.losses import margin
        >>> logits = torch.tensor([[[0.0, 2.0], [0.0, 2.0]]])
        >>> margin(logits, torch.tensor([[1, 0]]))
        tensor([[ 2., -2.]])
    """
    score = log_odds(logits)
    return torch.where(labels == 1, score, -score)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each frame (B, T) from logits (B, T, 2) and labels (B, T).

    Examples:
        >>> from pushpull.losses import cross_entropy
        >>> logits = torch.tensor([[[0.0, 2.0], [0.0, 2.0]]])
        >>> cross_entropy(logits, torch.tensor([[1, 0]]))
        tensor([[0.1269, 2.1269]])
    """
    return -F.logsigmoid(margin(logits, labels))


def cross_entropy_all(output: Output, labels: Tensor) -> Tensor:
    """CE_all of each frame (B, T): all heads that a model has, weighted as it was trained.

    Examples:
        >>> from pushpull.losses import cross_entropy_all
        >>> from pushpull.models import build
        >>> output = build("light_asd")(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112))
        >>> cross_entropy_all(output, torch.ones(1, 5, dtype=torch.long)).shape
        torch.Size([1, 5])
    """
    loss = cross_entropy(output.logits, labels)
    heads = [h for h in (output.logits_a, output.logits_v) if h is not None]
    weight = HEAD_WEIGHT["audio and visual" if len(heads) == 2 else "visual"]
    for head in heads:
        loss = loss + weight * cross_entropy(head, labels)
    return loss


def over_frames(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, T) over the valid frames of all clips: a training loss of losses per frame.

    Examples:
        >>> from pushpull.losses import over_frames
        >>> values = torch.tensor([[1.0, 3.0], [5.0, 100.0]])
        >>> over_frames(values, torch.tensor([[True, True], [True, False]]))
        tensor(3.)
    """
    return values.masked_fill(~mask, 0.0).sum() / mask.sum()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Centres:
    """Mean embeddings of silent and speaking frames (2, D), of each modality.

    Examples:
        >>> from pushpull.losses import Centres
        >>> centres = Centres(audio=torch.zeros(2, 128), visual=torch.ones(2, 128))
        >>> silent, speaking = centres.visual
    """

    audio: Tensor
    visual: Tensor


def class_centres(output: Output, labels: Tensor) -> Centres:
    """The mean embedding of each class over the valid frames of a batch.

    Raises:
        ConfigError: If the model gives no embeddings or one class is not in the batch.

    Examples:
        >>> from pushpull.losses import class_centres
        >>> from pushpull.models import build
        >>> output = build("light_asd")(torch.randn(1, 2560) / 10, 255 * torch.rand(1, 4, 112, 112))
        >>> centres = class_centres(output, torch.tensor([[0, 0, 1, 1]]))
        >>> centres.audio.shape
        torch.Size([2, 128])
    """
    e_a, e_v = _embeddings(output)
    frames = [(labels == label) & output.mask for label in (0, 1)]
    if not all(bool(of.any()) for of in frames):
        counts = [int(of.sum()) for of in frames]
        raise ConfigError(
            f"the batch has {counts[0]} silent and {counts[1]} speaking frames; expected both, "
            "since each class needs a centre: attack more clips at once or give centres="
        )
    audio, visual = (
        torch.stack([e[of].float().mean(0) for of in frames]).detach() for e in (e_a, e_v)
    )
    return Centres(audio=audio, visual=visual)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Goal:
    """What an attack is after.

    Attributes:
        labels: (B, T): the classes that frames are to leave, or to reach if targeted.
        targeted: Whether they are to be reached.
        centres: Of the classes; only the objective `feature` needs them.
        scale: Log-odds by which the objective `flips` measures how surely a frame is taken for a
            class: the median size of the clean ones, so that a scale of logits changes nothing.

    Examples:
        >>> from pushpull.losses import Goal
        >>> Goal(labels=torch.tensor([[1, 0]])).reached
        tensor([[0, 1]])
        >>> Goal(labels=torch.tensor([[1, 0]]), targeted=True).reached
        tensor([[1, 0]])
    """

    labels: Tensor
    targeted: bool = False
    centres: Centres | None = None
    scale: float = 1.0

    @property
    def reached(self) -> Tensor:
        """The class (B, T) that each frame is to be taken for: there are only two."""
        return self.labels if self.targeted else 1 - self.labels


PerFrame = Callable[[Output], Tensor]


@dataclass(frozen=True, slots=True)
class Objective:
    """Values per frame (B, T), greater for a better adversary.

    Attributes:
        ascend: What the gradient is taken of.
        judge: What iterates are compared by; the same unless that says nothing about the score.

    Examples:
        >>> from pushpull.losses import Goal, Objective, margin
        >>> goal = Goal(labels=torch.tensor([[1, 0]]))
        >>> def clipped(output):
        ...     return margin(output.logits, goal.reached).clamp(max=5.0)
        >>> objective = Objective(ascend=clipped, judge=clipped)
    """

    ascend: PerFrame
    judge: PerFrame


ObjectiveBuilder: TypeAlias = Callable[[Goal], Objective]
"""What makes an objective of a goal."""


def build_objective(objective: str | ObjectiveBuilder, goal: Goal) -> Objective:
    """The objective "all", "av", "margin", "feature" or "flips", or one that a builder makes.

    Raises:
        UnknownName: If there is none of that name.
        ConfigError: If the goal has no centres and the objective needs them.

    Examples:
        >>> from pushpull.losses import Goal, build_objective
        >>> from pushpull.schema import Output
        >>> output = Output(logits=torch.tensor([[[0.0, 2.0]]]), mask=torch.tensor([[True]]))
        >>> objective = build_objective("margin", Goal(labels=torch.tensor([[1]])))
        >>> objective.ascend(output)
        tensor([[-2.]])
    """
    if not isinstance(objective, str):
        return objective(goal)
    if objective not in OBJECTIVES:
        raise UnknownName("objective", objective, OBJECTIVES)
    return OBJECTIVES[objective](goal)


def _all(goal: Goal) -> Objective:
    """Training-aware: the model's training loss."""
    return _same(lambda output: _towards(goal, cross_entropy_all(output, goal.labels)))


def _av(goal: Goal) -> Objective:
    """Inference-aware: the loss of the head that decides."""
    return _same(lambda output: _towards(goal, cross_entropy(output.logits, goal.labels)))


def _margin(goal: Goal) -> Objective:
    """The logit difference, whose gradient never saturates."""
    return _same(lambda output: margin(output.logits, goal.reached))


def _feature(goal: Goal) -> Objective:
    """Embeddings of both modalities driven to the centre of the class to reach.

    The squared distance to that centre is counted in squared distances between the two centres, for
    each modality. Iterates are compared by their margin: a distance says nothing about the score.
    """
    centres = goal.centres
    if centres is None:
        raise ConfigError(
            "the objective 'feature' needs the centres of both classes: give centres="
        )
    reached = goal.reached

    def nearness(output: Output) -> Tensor:
        e_a, e_v = _embeddings(output)
        return _nearness(e_a, centres.audio, reached) + _nearness(e_v, centres.visual, reached)

    return Objective(nearness, _margin(goal).ascend)


def _flips(goal: Goal) -> Objective:
    """How many frames are taken for the class to reach, and how surely, up to a bound.

    A margin has no bound: one frame that is turned over far could outweigh ten that are not. The
    gradient is that of a sigmoid; iterates are compared by its mean with a count.
    """

    def surely(output: Output) -> Tensor:
        return torch.sigmoid(margin(output.logits, goal.reached) / goal.scale)

    def counted(output: Output) -> Tensor:
        value = margin(output.logits, goal.reached)
        return (torch.sigmoid(value / goal.scale) + (value > 0)) / 2

    return Objective(surely, counted)


OBJECTIVES: dict[str, ObjectiveBuilder] = {
    "all": _all,
    "av": _av,
    "margin": _margin,
    "feature": _feature,
    "flips": _flips,
}
"""What attacks maximise, by name."""


def _same(per_frame: PerFrame) -> Objective:
    return Objective(per_frame, per_frame)


def _towards(goal: Goal, loss: Tensor) -> Tensor:
    return -loss if goal.targeted else loss


def _nearness(e: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    e = e if e.dtype == torch.float64 else e.float()
    apart = (centres[1] - centres[0]).square().sum().clamp(min=torch.finfo(e.dtype).tiny)
    return -(e - centres[labels]).square().sum(-1) / apart


def _embeddings(output: Output) -> tuple[Tensor, Tensor]:
    if output.e_a is None or output.e_v is None:
        raise ConfigError("the model gives no embeddings e_a and e_v; choose another objective")
    return output.e_a, output.e_v
