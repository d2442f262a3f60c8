"""One run of an attack: it asks for losses and gradients, the run counts and keeps the best.

Attacks work on changes (deltas); the run places them in their regions, asks the detector about the
points where they lead, and remembers the best of those for each group of clips, by the sum of the
losses of their valid frames. A point kept because decisions flipped would leave scores, and so the
average precision, better than they need be. Frames of one clip cannot be chosen from different
points: a perturbation is one object over the whole clip. The worst case per frame over several
attacks is for evaluation to take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushpull.attacks.space import CropSpace, Deltas, Points, Space
from pushpull.errors import ConfigError, GradientError
from pushpull.losses import Goal, Objective, ObjectiveBuilder, build_objective, log_odds
from pushpull.models.detector import Detector, in_eval_mode
from pushpull.schema import SAMPLE_RATE_HZ, Batch, Output

__all__ = ["Search", "at_least_one", "held_still", "is_random"]


Embeddings = dict[str, Tensor]
EMBEDDED = {"audio": "e_a", "visual": "e_v"}
"""What a detector calls the embeddings of a modality."""


class Seen(NamedTuple):
    """What one evaluation says of each frame (B, T)."""

    mask: Tensor
    score: Tensor
    judged: Tensor
    aimed: Tensor


class Search:
    """A detector, a space and an objective; what was tried, and the best of it.

    An attack of one modality computes the embeddings of the other once and keeps them: in eval mode
    that is exact. An attack of several parts may climb other objectives (`aiming`); what is kept is
    the best by the search's own.

    Args:
        detector: What is attacked.
        space: What is moved.
        objective: What is climbed, and by what the best is kept.
        watch: Called with the number of evaluations after each.
        goal: What the attack is after, for objectives by name.
        kept_by: What makes the objective of the goal, for a search of some of the clips.
        surrogates: Other detectors, by name, for attacks that transfer.
        draws: Evaluations of a random detector over which gradients are averaged.
        keep: Called when a part of an attack has ended, to keep what is known.

    Attributes:
        members: What each part of an attack of several did.
        member_scores: Scores (B, T) of the best that each of them found by itself.
        rows: Which clips of another search these are, where it is a part of one.
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
        *,
        goal: Goal | None = None,
        kept_by: str | ObjectiveBuilder = "margin",
        surrogates: Mapping[str, Detector] | None = None,
        draws: int = 1,
        keep: Callable[[Search], None] = lambda search: None,
    ) -> None:
        self.space = space
        self.members: list[dict[str, Any]] = []
        self.member_scores: dict[str, Tensor] = {}
        self.rows: Tensor | None = None
        # The best since the part of an attack that is under way began.
        self._own_loss: Tensor | None = None
        self._own_score: Tensor | None = None
        self._keep = keep
        self.goal, self.kept_by = goal, kept_by
        self.surrogates = dict(surrogates or {})
        self._draws = draws
        self.regions = space.regions
        self.best: Points = {}
        self.best_loss: Tensor
        self.score: Tensor
        self.loss_per_clip: Tensor
        self.curve: list[Tensor] = []
        self.forwards = self.backwards = 0
        self.detector = detector
        self._objective = objective
        self._judge, self._watch = objective.judge, watch
        # Of what is not attacked; a smooth batch may show it otherwise than the exact one.
        self._kept: dict[str, Tensor] = {}
        self._kept_smooth: dict[str, Tensor] = {}
        # What came out of the last `loss`.
        self._last: Output | None = None
        groups = (space.clip_groups, *space.row_groups.values())
        self._n_groups = 1 + max(int(of.max()) for of in groups)

    @property
    def start(self) -> Deltas:
        """No change."""
        return {name: torch.zeros_like(region.clean) for name, region in self.regions.items()}

    def random_start(self, generator: torch.Generator) -> Deltas:
        """A random change in the region of each modality."""
        return {name: region.start(generator) for name, region in self.regions.items()}

    @contextmanager
    def aiming(self, objective: str | ObjectiveBuilder) -> Iterator[None]:
        """Climb another objective for a while; what is kept is the best by the search's own.

        Raises:
            ConfigError: If the search was not told what the attack is after.
        """
        if self.goal is None:
            raise ConfigError("a search without a goal can take no objective by name: give goal=")
        before, self._objective = self._objective, build_objective(objective, self.goal)
        try:
            yield
        finally:
            self._objective = before

    def loss(self, deltas: Deltas, unmoved: Embeddings | None = None) -> Tensor:
        """Loss of each group (G,), by which changes are compared.

        Args:
            deltas: Where.
            unmoved: Embeddings of modalities that are where they were when `embeddings` gave them:
                they are not encoded again.
        """
        with torch.no_grad():
            points = self._placed(deltas)
            batch = self.space.to_batch(points)
            kept = self._kept if unmoved is None else {**self._kept, **unmoved}
            outputs = [self._output(batch, points, kept) for _ in self._times]
            self._last = outputs[-1]
            return self._record(points, _mean_of([self._seen(output) for output in outputs]))

    @property
    def embeddings(self) -> Embeddings:
        """Those of each moved modality (B, T, D), as the last `loss` saw them.

        None of a random detector, of which another evaluation says something else, and of one that
        gives none.
        """
        if self._draws > 1 or self._last is None:
            return {}
        found = {EMBEDDED[name]: getattr(self._last, EMBEDDED[name]) for name in self.regions}
        return {name: x for name, x in found.items() if x is not None}

    def pick_embeddings(self, better: Tensor, new: Embeddings, old: Embeddings) -> Embeddings:
        """Those of clips in groups (G,) that are better from `new`, else from `old`."""
        if not bool(better.any()):
            return old
        of_clips = better[self.space.clip_groups]
        return {name: torch.where(_over(of_clips, x), x, old[name]) for name, x in new.items()}

    def gradient(self, deltas: Deltas) -> tuple[Tensor, Deltas]:
        """Loss of each group (G,) and the gradient of what is ascended, where the deltas lead.

        Of a random detector both are means over some evaluations.

        Raises:
            GradientError: If the objective does not depend on the input, or not finitely.
        """
        points = self._placed(deltas)
        step = self.forwards
        seen: list[Seen] = []
        gradients: Deltas = {}
        for _ in self._times:
            one, found = self._climbed(points)
            seen.append(one)
            gradients = {k: gradients[k] + g for k, g in found.items()} if gradients else found
        with torch.no_grad():
            loss = self._record(points, _mean_of(seen))
            self.backwards += 1
            for name, gradient in gradients.items():
                self._check_gradient(name, gradient, step)
        return loss, gradients

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

    def gradient_around(
        self, deltas: Deltas, *, radius: float, draws: int, generator: torch.Generator
    ) -> tuple[Tensor, Deltas]:
        """The same, averaged over random points of a smaller ball around where the deltas lead.

        A gradient that turns about within a small part of the budget says nothing of the next
        step; its average over that part does (Athalye et al., ICML 2018, of random defences). Each
        of these points lies within the budget, so each is compared with the best as well.

        Args:
            deltas: Where.
            radius: Of the smaller ball, in budgets.
            draws: Points.
            generator: Source of them.
        """
        losses, total = [], {name: torch.zeros_like(delta) for name, delta in deltas.items()}
        for _ in range(draws):
            near = {
                name: region.project(region.start(generator).mul_(radius).add_(deltas[name]))
                for name, region in self.regions.items()
            }
            loss, gradients = self.gradient(near)
            losses.append(loss)
            for name, gradient in gradients.items():
                total[name] += gradient
        return torch.stack(losses).mean(0), total

    def deltas_of(self, points: Points) -> Deltas:
        """The changes that lead to these points."""
        return {name: x - self.regions[name].clean for name, x in points.items()}

    def unsettled(self, settled: Tensor) -> Search | None:
        """A search of the clips (B,) that are not settled; None if there are none.

        It is this one where all are, or where clips hang together.
        """
        self._own_loss = self._own_score = None
        if bool(settled.all()):
            return None
        space = self.space
        if not bool(settled.any()) or self.goal is None:
            return self
        if not isinstance(space, CropSpace) or not space.apart:
            return self
        rows = (~settled).nonzero()[:, 0]
        goal = replace(self.goal, labels=self.goal.labels[rows])
        part = Search(
            self.detector,
            space.narrowed(rows),
            build_objective(self.kept_by, goal),
            lambda done: self._watch(self.forwards + done),
            goal=goal,
            kept_by=self.kept_by,
            surrogates=self.surrogates,
            draws=self._draws,
        )
        part.rows = rows
        # What is known of these clips, so that only what is better counts.
        part.best = {name: x[rows] for name, x in self.best.items()}
        part.best_loss, part.score = self.best_loss[rows], self.score[rows]
        part.loss_per_clip = self.loss_per_clip[rows]
        return part

    def take(self, part: Search) -> None:
        """Keep what a search of some of the clips found."""
        if part is self:
            return
        assert part.rows is not None  # noqa: S101
        rows = part.rows
        if part._own_score is not None:
            # Clips that were lost before stay as they were.
            self._own_score = self.score.index_copy(0, rows, part._own_score)
        for name, found in part.best.items():
            self.best[name] = self.best[name].index_copy(0, rows, found)
        self.best_loss = self.best_loss.index_copy(0, rows, part.best_loss)
        self.score = self.score.index_copy(0, rows, part.score)
        curve = [self.loss_per_clip.index_copy(0, rows, mean) for mean in part.curve]
        self.curve += curve
        self.loss_per_clip = self.loss_per_clip.index_copy(0, rows, part.loss_per_clip)
        self.forwards += part.forwards
        self.backwards += part.backwards

    def ended(self, member: Mapping[str, Any]) -> None:
        """Note what a part of an attack did, and keep what is known for one that goes on."""
        self.members.append(dict(member))
        if self._own_score is not None:
            self.member_scores[str(member["name"])] = self._own_score
        self._keep(self)

    def state(self) -> dict[str, Tensor]:
        """Everything that is known, as tensors."""
        best = {f"best.{name}": x for name, x in self.best.items()}
        best |= {f"member.{name}": x for name, x in self.member_scores.items()}
        rest = {
            "best_loss": self.best_loss, "score": self.score, "loss_per_clip": self.loss_per_clip,
            "curve": torch.stack(self.curve),
            "counts": torch.tensor([self.forwards, self.backwards]),
        }  # fmt: skip
        return {**best, **rest}

    def restore(self, state: Mapping[str, Tensor], members: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what `state` gave."""
        self.best = {name: state[f"best.{name}"] for name in self.regions}
        self.best_loss, self.score = state["best_loss"], state["score"]
        self.loss_per_clip, self.curve = state["loss_per_clip"], list(state["curve"])
        self.forwards, self.backwards = state["counts"].tolist()
        self.members = [dict(member) for member in members]
        self.member_scores = {
            name.removeprefix("member."): x
            for name, x in state.items()
            if name.startswith("member.")
        }

    def pick(
        self, better: Tensor, new: dict[str, Tensor], old: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The rows of `new` in groups (G,) that are better, else those of `old`."""
        # Most of a thousand queries better nothing.
        if not bool(better.any()):
            return old
        return {
            name: old[name]
            if new[name] is old[name]
            else torch.where(self._over_rows(name, better, new[name]), new[name], old[name])
            for name in new
        }

    def per_row(self, name: str, of_groups: Tensor) -> Tensor:
        """Values of groups (G,) for each row of a moved tensor, to be broadcast over it."""
        clean = self.regions[name].clean
        return self._over_rows(name, of_groups.to(clean.dtype), clean)

    def _over_rows(self, name: str, of_groups: Tensor, like: Tensor) -> Tensor:
        return _over(of_groups[self.space.row_groups[name]], like)

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
                    "the objective does not depend on the attacked input: the detector detaches "
                    "it; `square` and `noise` need no gradient"
                )
            total = ascended.masked_fill(~output.mask, 0.0).sum()
            try:
                found = torch.autograd.grad(
                    total, list(points.values()), allow_unused=True, materialize_grads=True
                )
            except RuntimeError as e:
                if isinstance(e, torch.OutOfMemoryError):
                    raise
                # As of a model of one's own that writes over what its gradient needs.
                raise GradientError(
                    f"the detector cannot be differentiated ({' '.join(str(e).split())[:200]}); "
                    "expected no operation in place on what its gradient needs"
                ) from e
        gradients = dict(zip(points, found, strict=True))
        return points, smooth is not None, output, ascended, gradients

    def _placed(self, deltas: Deltas) -> Points:
        return {name: self.regions[name].place(delta) for name, delta in deltas.items()}

    @property
    def _times(self) -> range:
        return range(self._draws)

    def _climbed(self, points: Points) -> tuple[Seen, Deltas]:
        """What one evaluation says of some points, and the gradient there."""
        points, smooth, output, ascended, gradients = self._slopes(points)
        with torch.no_grad():
            points = {k: x.detach() for k, x in points.items()}
            if smooth:
                output = self._output(self.space.to_batch(points), points, self._kept)
            return self._seen(output, None if smooth else ascended.detach()), gradients

    def _output(self, batch: Batch, points: Points, kept: dict[str, Tensor]) -> Output:
        if self._draws > 1:  # What is random is to be so each time.
            output: Output = self.detector(**batch.inputs)
            return output
        output = self.detector(**batch.inputs, **kept)
        if "audio" not in points and output.e_a is not None:
            kept["e_a"] = output.e_a.detach()
        if "visual" not in points and output.e_v is not None:
            kept["e_v"] = output.e_v.detach()
        return output

    def _seen(self, output: Output, ascended: Tensor | None = None) -> Seen:
        """What decides of an output; `ascended` where that has been computed already."""
        own = self._objective
        aimed = ascended
        if ascended is None or own.judge is not own.ascend:
            aimed = own.judge(output)
        judged = aimed if self._judge is own.judge else self._judge(output)
        assert aimed is not None  # noqa: S101
        assert judged is not None  # noqa: S101
        return Seen(output.mask, log_odds(output.logits).detach(), judged, aimed)

    def _record(self, points: Points, seen: Seen) -> Tensor:
        """Compare with the best so far; the loss of each group (G,) that is climbed."""
        clips, aimed = (
            values.masked_fill(~seen.mask, 0.0).sum(1) for values in (seen.judged, seen.aimed)
        )
        finite = clips.isfinite() & aimed.isfinite()
        if not bool(finite.all()):
            raise GradientError(
                f"the loss of {_clips(~finite)} is not finite at step {self.forwards}: "
                "the detector returned NaN or infinite logits"
            )
        self.forwards += 1
        self._watch(self.forwards)
        mean = clips / seen.mask.sum(1)
        self.curve.append(mean)
        groups = self.space.clip_groups
        loss, climbed = (
            values.new_zeros(self._n_groups).index_add(0, groups, values)
            for values in (clips, aimed)
        )
        if self._own_loss is None or self._own_score is None:
            self._own_loss, self._own_score = loss, seen.score
        else:
            own = loss > self._own_loss
            self._own_loss = torch.where(own, loss, self._own_loss)
            self._own_score = torch.where(own[groups][:, None], seen.score, self._own_score)
        if not self.best:
            self.best, self.best_loss = points, loss
            self.score, self.loss_per_clip = seen.score, mean
            return climbed
        better = loss > self.best_loss
        self.best = points if bool(better.all()) else self.pick(better, points, self.best)
        self.best_loss = torch.where(better, loss, self.best_loss)
        clips_better = better[groups]
        self.score = torch.where(clips_better[:, None], seen.score, self.score)
        self.loss_per_clip = torch.where(clips_better, mean, self.loss_per_clip)
        return climbed

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
    if not isinstance(value, Real) or not 1 <= value < math.inf or value != int(value):
        raise ConfigError(f"{name} is {value}; expected a whole number, 1 or more")


SHOWN_FRAMES = 5
"""To a detector, to find out whether it is random."""


def is_random(detector: Detector, batch: Batch) -> bool:
    """Whether a detector gives other scores when it is asked again.

    Args:
        detector: In the mode that is asked about.
        batch: Clips; the first few frames of the first are shown to it.

    Examples:
        >>> from pushpull.attacks.search import is_random
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> is_random(build("light_asd").eval(), Batch.from_clips([clip]))
        False
    """
    whole = int(batch.n_frames[0])
    try:
        return _differs(detector, batch, min(whole, SHOWN_FRAMES))
    except ConfigError:
        # A model of one's own may need more of it.
        return _differs(detector, batch, whole)


def _differs(detector: Detector, batch: Batch, frames: int) -> bool:
    samples = min(int(batch.n_samples[0]), math.ceil(frames / float(batch.fps[0]) * SAMPLE_RATE_HZ))
    one = replace(
        batch.rows(torch.zeros(1, dtype=torch.long, device=batch.faces.device)),
        waveform=batch.waveform[:1, :samples],
        faces=batch.faces[:1, :frames],
        n_samples=torch.full_like(batch.n_samples[:1], samples),
        n_frames=torch.full_like(batch.n_frames[:1], frames),
        speaking=None,
    )
    with torch.no_grad():
        first, second = (detector(**one.inputs).logits for _ in range(2))
    return not torch.equal(first, second)


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
    needing = [p for p in model.parameters() if p.requires_grad]
    recurrent = [m for m in model.modules() if isinstance(m, nn.RNNBase)]
    dropouts = [m.dropout for m in recurrent]
    try:
        with in_eval_mode(model):
            # cuDNN differentiates a recurrent layer in train mode only; without dropout the modes
            # do not differ.
            for layer in recurrent:
                layer.training, layer.dropout = True, 0.0
            for parameter in needing:
                parameter.requires_grad_(False)
            yield
    finally:
        for layer, dropout in zip(recurrent, dropouts, strict=True):
            layer.dropout = dropout
        for parameter in needing:
            parameter.requires_grad_(True)


def _mean_of(seen: list[Seen]) -> Seen:
    if len(seen) == 1:
        return seen[0]
    parts = [torch.stack([getattr(s, k) for s in seen]).mean(0) for k in Seen._fields[1:]]
    return Seen(seen[0].mask, *parts)


def _over(rows: Tensor, like: Tensor) -> Tensor:
    """Values of rows (N,), to be broadcast over `like` (N, ...)."""
    return rows.view(-1, *[1] * (like.dim() - 1))


def _clips(chosen: Tensor) -> str:
    numbers = chosen.nonzero()[:, 0].tolist()
    return f"clip {numbers[0]}" if len(numbers) == 1 else f"clips {', '.join(map(str, numbers))}"
