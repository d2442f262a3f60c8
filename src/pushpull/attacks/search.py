"""One run of an attack: it asks for losses and gradients, the run counts and keeps the best.

Attacks work on changes (deltas); the run places them in their regions, asks the detector about the
points where they lead, and remembers the best of those for each group of clips, by the sum of the
losses of their valid frames. A point kept because decisions flipped would leave scores, and so the
average precision, better than they need be. Frames of one clip cannot be chosen from different
points: a perturbation is one object over the whole clip. The worst case per frame over several
attacks is for evaluation to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pushpull.attacks.space import Deltas, Points, Space
from pushpull.errors import ConfigError, GradientError
from pushpull.losses import Objective, log_odds
from pushpull.models.detector import Detector
from pushpull.schema import Batch, Output

__all__ = ["Search", "at_least_one", "held_still"]


class Search:
    """A detector, a space and an objective; what was tried, and the best of it.

    An attack of one modality computes the embeddings of the other once and keeps them: in eval mode
    that is exact.

    Attributes:
        best: The best point so far, row by row.
        best_loss: Its loss, the sum over the valid frames of each group (G,).
        score: Scores of the detector on it (B, T).
        loss_per_clip: Mean loss of each clip's valid frames on it (B,).
        curve: Mean loss of each clip's valid frames (B,) at each evaluation but those of `probe`.
        forwards: Evaluations, each of the whole batch.
        backwards: Those of them with a gradient.

    Examples:
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
        ...     loss, gradients = search.gradient(search.start)
        >>> list(gradients), search.forwards, search.backwards
        (['audio', 'visual'], 1, 1)
    """

    def __init__(
        self,
        detector: Detector,
        space: Space,
        objective: Objective,
        watch: Callable[[int], None] = lambda evaluations: None,
    ) -> None:
        self.space = space
        self.regions = space.regions
        self.curve: list[Tensor] = []
        self.forwards = self.backwards = 0
        self._detector, self._objective, self._watch = detector, objective, watch
        # Of what is not attacked; a smooth batch may show it otherwise than the exact one.
        self._kept: dict[str, Tensor] = {}
        self._kept_smooth: dict[str, Tensor] = {}
        groups = (space.clip_groups, *space.row_groups.values())
        self._n_groups = 1 + max(int(of.max()) for of in groups)

    @property
    def start(self) -> Deltas:
        """No change."""
        return {name: torch.zeros_like(region.clean) for name, region in self.regions.items()}

    def random_start(self, generator: torch.Generator) -> Deltas:
        """A random change in the region of each modality."""
        return {name: region.start(generator) for name, region in self.regions.items()}

    def loss(self, deltas: Deltas) -> Tensor:
        """Loss of each group (G,), by which changes are compared."""
        with torch.no_grad():
            points = self._placed(deltas)
            output = self._output(self.space.to_batch(points), points, self._kept)
            return self._record(points, output, self._objective.judge(output))

    def gradient(self, deltas: Deltas) -> tuple[Tensor, Deltas]:
        """Loss of each group (G,) and the gradient of what is ascended, where the deltas lead.

        Raises:
            GradientError: If the objective does not depend on the input, or not finitely.
        """
        points, smooth, output, ascended, found = self._slopes(self._placed(deltas))
        with torch.no_grad():
            same = self._objective.judge is self._objective.ascend
            step = self.forwards
            points = {k: x.detach() for k, x in points.items()}
            if smooth:
                output = self._output(self.space.to_batch(points), points, self._kept)
            judged = ascended.detach()
            if smooth or not same:
                judged = self._objective.judge(output)
            loss = self._record(points, output, judged)
            self.backwards += 1
            for name, gradient in found.items():
                self._check_gradient(name, gradient, step)
        return loss, found

    def probe(self, points: Points, seen: Callable[[Batch], Batch]) -> Deltas:
        """The gradient of what is ascended at any points, of which the detector sees `seen`.

        It is counted, but is no candidate for the best: points may lie outside their regions.
        `seen` must leave an input that is not attacked as it is, and be differentiable.

        Raises:
            GradientError: As `gradient`.
        """
        step = self.forwards
        *_, found = self._slopes(points, seen)
        self.forwards += 1
        self.backwards += 1
        self._watch(self.forwards)
        for name, gradient in found.items():
            self._check_gradient(name, gradient, step)
        return found

    def pick(
        self, better: Tensor, new: dict[str, Tensor], old: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The rows of `new` in groups (G,) that are better, else those of `old`."""
        return {
            name: torch.where(self._over_rows(name, better, new[name]), new[name], old[name])
            for name in new
        }

    def per_row(self, name: str, of_groups: Tensor) -> Tensor:
        """Values of groups (G,) for each row of a moved tensor, to be broadcast over it."""
        clean = self.regions[name].clean
        return self._over_rows(name, of_groups.to(clean.dtype), clean)

    def _over_rows(self, name: str, of_groups: Tensor, like: Tensor) -> Tensor:
        return of_groups[self.space.row_groups[name]].view(-1, *[1] * (like.dim() - 1))

    def _slopes(
        self, points: Points, seen: Callable[[Batch], Batch] = lambda batch: batch
    ) -> tuple[Points, bool, Output, Tensor, Deltas]:
        """Points that were differentiated, whether smoothly, what came out, and the gradients."""
        with torch.enable_grad():
            points = {k: x.detach().requires_grad_() for k, x in points.items()}
            smooth = self.space.smooth(points)
            if smooth is None:
                output = self._output(seen(self.space.to_batch(points)), points, self._kept)
            else:
                output = self._output(seen(smooth), points, self._kept_smooth)
            ascended = self._objective.ascend(output)
            if not ascended.requires_grad:
                raise GradientError(
                    "the objective does not depend on the attacked input: the detector detaches it"
                )
            total = ascended.masked_fill(~output.mask, 0.0).sum()
            found = torch.autograd.grad(
                total, list(points.values()), allow_unused=True, materialize_grads=True
            )
        gradients = dict(zip(points, found, strict=True))
        return points, smooth is not None, output, ascended, gradients

    def _placed(self, deltas: Deltas) -> Points:
        return {name: self.regions[name].place(delta) for name, delta in deltas.items()}

    def _output(self, batch: Batch, points: Points, kept: dict[str, Tensor]) -> Output:
        output: Output = self._detector(**batch.inputs, **kept)
        if "audio" not in points and output.e_a is not None:
            kept["e_a"] = output.e_a.detach()
        if "visual" not in points and output.e_v is not None:
            kept["e_v"] = output.e_v.detach()
        return output

    def _record(self, points: Points, output: Output, judged: Tensor) -> Tensor:
        """Compare with the best so far; the loss of each group (G,)."""
        clips = judged.masked_fill(~output.mask, 0.0).sum(1)
        if not bool(clips.isfinite().all()):
            raise GradientError(
                f"the loss of {_clips(~clips.isfinite())} is not finite at step {self.forwards}: "
                "the detector returned NaN or infinite logits"
            )
        self.forwards += 1
        self._watch(self.forwards)
        mean = clips / output.mask.sum(1)
        self.curve.append(mean)
        score = log_odds(output.logits).detach()
        groups = self.space.clip_groups
        loss = clips.new_zeros(self._n_groups).index_add(0, groups, clips)
        if len(self.curve) == 1:
            self.best, self.best_loss = points, loss
            self.score, self.loss_per_clip = score, mean
            return loss
        better = loss > self.best_loss
        self.best = points if bool(better.all()) else self.pick(better, points, self.best)
        self.best_loss = torch.where(better, loss, self.best_loss)
        clips_better = better[groups]
        self.score = torch.where(clips_better[:, None], score, self.score)
        self.loss_per_clip = torch.where(clips_better, mean, self.loss_per_clip)
        return loss

    def _check_gradient(self, name: str, gradient: Tensor, step: int) -> None:
        wrong = ~gradient.flatten(1).sum(1).isfinite()
        if not bool(wrong.any()):
            return
        groups = self.space.row_groups[name][wrong]
        clips = torch.isin(self.space.clip_groups, groups)
        raise GradientError(
            f"the gradient in {name} of {_clips(clips)} is not finite at step {step}: "
            "a layer divides by zero or takes the root or logarithm of zero"
        )


def at_least_one(name: str, value: int) -> None:
    """Refuse a count below 1.

    Raises:
        ConfigError: If it is, or is no whole number.

    Examples:
        >>> from pushpull.attacks.search import at_least_one
        >>> at_least_one("steps", 0)
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: steps is 0; expected a whole number, 1 or more
    """
    if value != int(value) or value < 1:
        raise ConfigError(f"{name} is {value}; expected a whole number, 1 or more")


@contextmanager
def held_still(model: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters for a while; then everything as it was, module by module.

    Examples:
        >>> from pushpull.attacks.search import held_still
        >>> from pushpull.models import build
        >>> detector = build("light_asd").train()
        >>> with held_still(detector):
        ...     print(detector.training)
        False
        >>> detector.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    needing = [p for p in model.parameters() if p.requires_grad]
    recurrent = [m for m in model.modules() if isinstance(m, nn.RNNBase)]
    dropouts = [m.dropout for m in recurrent]
    try:
        model.eval()
        # cuDNN differentiates a recurrent layer in train mode only; without dropout the modes do
        # not differ.
        for layer in recurrent:
            layer.training, layer.dropout = True, 0.0
        for parameter in needing:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for layer, dropout in zip(recurrent, dropouts, strict=True):
            layer.dropout = dropout
        for parameter in needing:
            parameter.requires_grad_(True)


def _clips(chosen: Tensor) -> str:
    numbers = chosen.nonzero()[:, 0].tolist()
    return f"clip {numbers[0]}" if len(numbers) == 1 else f"clips {', '.join(map(str, numbers))}"
