"""Tests for masking by looking at gradients and losses themselves, on a few clips."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks import attack, gradient_agreement, gradient_progress
from pushpull.attacks.agreement import RADII
from pushpull.attacks.search import Search, held_still
from pushpull.attacks.space import CropSpace, Deltas
from pushpull.attacks.threat import Threat
from pushpull.auditing import thresholds
from pushpull.auditing.findings import NotRun, Outcome
from pushpull.auditing.runs import AttackRuns
from pushpull.errors import GradientError
from pushpull.losses import Goal, build_objective, log_odds, margin
from pushpull.schema import Batch

__all__ = ["agreement", "derivatives", "gradients", "landscape"]

DRAWS = 3
"""Points at each radius with which gradients are compared."""

DIFFERENCES = (1e-4, 1e-7)
"""Steps of differences, in budgets: short enough for few kinks of max pooling to be crossed, long
enough to see that a gradient is shattered: from 1e-6 on a rounding layer is flat, as it says. Where
there is hardly any sound the logarithm of a spectrum bends too much for the first (0.11 to 0.6 for
`synthetic-spec`): the second is asked where the first does not agree."""

FINEST = 17
"""Points along an axis of a slice that looks jagged before it is taken to be. A loss that rises in
a small part of the budget looks so on a coarse grid (one of `synthetic-d3`: 1.8 on 5 points, 1.5 on
7, 1.2 on 9), a rippled one on any."""


def gradients(runs: AttackRuns) -> Outcome:
    r"""Looks for zero, missing and infinite gradients, and frames whose loss is flat.

    A detector that does not listen to a clip, or look at it, has no gradient there and hides
    nothing: one of zero counts where noise in that modality moves the scores.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), probe_clips=2)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["gradients"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        clips without gradient, audio, share
        clips without gradient, visual, share
        clips whose gradient is missing or not finite, share
        right frames without slope, share
    """

    def make() -> dict[str, Any]:
        counts = {"clips": 0, "flat_frames": 0, "right_frames": 0, "broken": 0}
        zero, untrue = ({"audio": 0, "visual": 0} for _ in range(2))
        batch = runs.probes()
        for deltas in _points(runs, batch):
            counts["clips"] += len(batch.faces)
            try:
                found = _gradient(runs, batch, deltas, runs.claim.objective)
            except GradientError:
                counts["broken"] += len(batch.faces)
                continue
            for name, gradient in found.items():
                none = (gradient.flatten(1) == 0).all(1).cpu()
                zero[name] += int(none.sum())
                if none.any():
                    untrue[name] += int((none & _moved(runs, batch, deltas, name)).sum())
            flat, right = _flat_frames(runs, batch, deltas)
            counts["flat_frames"] += flat
            counts["right_frames"] += right
        return {**counts, "zero": zero, "untrue": untrue}

    depends = _probing(runs, objective=runs.claim.objective, noise=DRAWS)
    got = runs.cached("gradients", depends, make)
    clips, right = max(got["clips"], 1), max(got["right_frames"], 1)
    figures: dict[str, float | None] = {
        f"clips without gradient, {name}, share": n / clips for name, n in got["zero"].items()
    }
    figures["clips whose gradient is missing or not finite, share"] = got["broken"] / clips
    flat = figures["right frames without slope, share"] = got["flat_frames"] / right
    zero, untrue = max(got["zero"].values()), max(got["untrue"].values())
    text = (
        f"of {got['clips']} clips at three places {got['broken']} have no finite gradient and "
        f"{zero} an all-zero one in a modality"
    )
    if zero:
        text += f", {untrue} of them where noise of the budget moves the scores all the same"
    return Outcome(
        flag=bool(untrue) or bool(got["broken"]) or flat > thresholds.FLAT_FRAMES,
        figures=figures,
        text=f"{text}; the loss of {100 * flat:.1f} % of right frames has no slope",
    )


def derivatives(runs: AttackRuns) -> Outcome:
    r"""Compares derivatives along random directions with differences, in float64.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), probe_clips=2, directions=1)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["derivatives"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        audio, median relative error
        visual, median relative error
    """

    def make() -> dict[str, Any]:
        batch = runs.clips.probes(runs.config.probe_clips)
        batch = replace(batch, waveform=batch.waveform.double(), faces=batch.faces.double())
        try:
            detector = copy.deepcopy(runs.detector).double().cpu()
        except Exception as e:  # any module may refuse to be copied
            return {"why": f"the detector cannot be copied to float64 ({e})"}
        try:
            errors = {name: _derivative_errors(runs, detector, batch, name) for name in runs.eps}
        except RuntimeError as e:  # what was not copied with it, or knows no float64
            return {"why": f"a copy of the detector does not run in float64 ({e})"}
        return {"errors": errors}

    depends = _probing(runs, directions=runs.config.directions, steps=DIFFERENCES, place="ball")
    got = runs.cached("derivatives", depends, make)
    if "why" in got:
        raise NotRun(got["why"])
    medians = {name: float(np.median(values)) for name, values in got["errors"].items()}
    return Outcome(
        flag=any(not value <= thresholds.DERIVATIVE_ERROR for value in medians.values()),
        figures={f"{name}, median relative error": value for name, value in medians.items()},
        text="derivatives along random directions against central differences in float64",
        data=got["errors"],
    )


def agreement(runs: AttackRuns) -> Outcome:
    r"""Compares gradients with those near by, and steps with what the gradient promises.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, probe_clips=2)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["agreement"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *list(finding.figures)[:3], sep="\n")
        pass
        audio, cosine at 0.1 budgets
        audio, cosine at 0.3 budgets
        audio, cosine at 1 budgets
    """

    def make() -> dict[str, Any]:
        batch = runs.probes()
        try:
            found = gradient_agreement(
                runs.detector, batch, eps=runs.eps, radii=RADII, draws=DRAWS, seed=runs.config.seed
            )
        except GradientError as e:
            return {"why": f"there is no gradient to compare: {e}"}
        of = {"cosine": found.cosine, "gain": found.gain}
        still = {n: torch.zeros_like(t) for n, t in _tensors(batch).items()}
        moves = [name for name in runs.eps if _moved(runs, batch, still, name).any()]
        return {
            kind: {name: by[name].median(1).values.tolist() for name in moves}
            for kind, by in of.items()
        }

    got = runs.cached("agreement", _probing(runs, radii=RADII, draws=DRAWS, noise=DRAWS), make)
    if "why" in got:
        raise NotRun(got["why"])
    if not got["cosine"]:
        raise NotRun("noise of the budget moves no score, in sound or in faces")
    figures: dict[str, float | None] = {}
    # What moves no score has no slope to be right about.
    low: dict[str, list[str]] = {name: [] for name in got["cosine"]}
    turning = set()
    limits = {"cosine": thresholds.AGREEMENT, "gain": thresholds.GAIN}
    for name in low:
        for kind, limit in limits.items():
            for radius, value in zip(RADII, got[kind][name], strict=True):
                figures[f"{name}, {kind} at {radius:g} budgets"] = value
                if radius in limit and not value >= limit[radius]:
                    low[name].append(f"{kind} {value:.2f} at {radius:g} budgets")
                    turning |= {name} if kind == "cosine" else set()
    misled: list[str] = []
    rough: list[str] = []
    for name in (name for name, what in low.items() if what):
        progress = _progress(runs, name)
        # Gradients that agree have to lead as far as they do so, no farther.
        what, leads = _led(progress, 2 if name in turning else 1)
        for kind in ("plain", "averaged"):
            mean = float(np.mean(progress[kind][0]))
            figures[f"{name}, margin one {kind} step takes, log-odds"] = mean
        (rough if leads else misled).append(f"{name} ({', '.join([*low[name], what])})")
    worst = min(got["cosine"], key=lambda name: got["cosine"][name][0])
    if misled:
        text = f"the gradient misleads in {'; '.join(misled)}"
    elif rough:
        text = f"the gradient is rough and leads on all the same in {'; '.join(rough)}"
    else:
        text = (
            "gradients a tenth of the budget apart agree "
            f"(cosine {got['cosine'][worst][0]:.2f} or more)"
        )
    return Outcome(flag=bool(misled), figures=figures, text=text, data=got)


def _progress(runs: AttackRuns, modality: str) -> dict[str, Any]:
    """Margin that one step takes of each probe clip, along the gradient and along averages."""

    def make() -> dict[str, Any]:
        found = gradient_progress(
            runs.detector,
            runs.probes(),
            eps={modality: runs.eps[modality]},
            modality=modality,
            seed=runs.config.seed,
        )
        return {
            "lengths": list(found.lengths),
            "plain": found.plain.tolist(),
            "averaged": found.averaged.tolist(),
            "random": found.random.tolist(),
        }

    return runs.cached(f"progress-{modality}", _probing(runs, modality=modality), make)


def _led(progress: Mapping[str, Any], lengths: int) -> tuple[str, bool]:
    """What steps bring in words, and whether gradients lead somewhere.

    They do where steps of each of the first lengths take more margin than random ones by far, much
    the same for gradients at points very near each other, and averages neither several times as
    much nor a small part. Of longer steps, where gradients turn, only this is asked: that averages
    do not lead by far where gradients do not.
    """
    said: list[tuple[str, bool]] = []
    for k, (length, plain, averaged, by_chance) in enumerate(
        zip(
            progress["lengths"], progress["plain"], progress["averaged"], progress["random"],
            strict=True,
        )
    ):  # fmt: skip
        tries, lucky = (np.array(of).mean(1) for of in (plain, by_chance))
        own, mean = float(tries.mean()), float(np.mean(averaged))
        # Of a mean of so many random ones.
        spread = float(lucky.std(ddof=1)) / len(lucky) ** 0.5
        chance = max(float(lucky.mean()), 0.0) + thresholds.LUCK * spread
        varies = float(np.std(plain, axis=0, ddof=1).mean())
        if k < lengths:
            leads = own > chance and varies <= thresholds.VARIES * own
            leads &= own / thresholds.AVERAGED <= mean <= thresholds.AVERAGED * own
        else:
            leads = lengths == 1 or mean <= max(thresholds.AVERAGED * own, chance)
        said.append(
            (
                f"a step of {length:g} budgets takes {own:.2g} +- {varies:.2g} log-odds along "
                f"gradients, {mean:.2g} along averages, {lucky.mean():.2g} along chance",
                bool(leads),
            )
        )
    return min(said, key=lambda one: one[1])[0], all(leads for _, leads in said)


def landscape(runs: AttackRuns) -> Outcome:
    r"""Evaluates the margin lost on a plane through the clean input.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), probe_clips=2, grid=3)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["landscape"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        jaggedness
        rise along the gradient, log-odds
        rise along noise, log-odds
        linearity error, share
    """

    def make() -> dict[str, Any]:
        return _slice(runs)

    depends = _probing(runs, grid=runs.config.grid, finest=FINEST)
    got = runs.cached("landscape", depends, make)
    if "why" in got:
        raise NotRun(got["why"])
    values = np.array(got["loss"])
    middle = len(values) // 2
    rise = float(values[middle, -1] - values[middle, middle])
    random_rise = float(values[[0, -1], middle].mean() - values[middle, middle])
    jagged = _jaggedness(values)
    return Outcome(
        flag=jagged > thresholds.JAGGED or rise <= max(random_rise, 0.0),
        figures={
            "jaggedness": jagged,
            "rise along the gradient, log-odds": rise,
            "rise along noise, log-odds": random_rise,
            "linearity error, share": got["linearity"],
        },
        text=f"to the edge of the budget the margin lost rises by {rise:.2f} along the gradient's "
        f"signs and by {random_rise:.2f} along random ones",
        data={"loss": got["loss"]},
    )


def _probing(runs: AttackRuns, **more: Any) -> dict[str, Any]:
    """What a measurement on the probe clips depends on."""
    config = runs.config
    return {"probe_clips": config.probe_clips, "eps": runs.eps, "seed": config.seed, **more}


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {"audio": batch.waveform, "visual": batch.faces}


def _points(runs: AttackRuns, batch: Batch) -> list[Deltas]:
    """No change, a random one, and where five steps lead."""
    space = CropSpace(batch, Threat.of(runs.eps))
    generator = torch.Generator().manual_seed(runs.config.seed)
    points = [
        {name: torch.zeros_like(r.clean) for name, r in space.regions.items()},
        {name: r.start(generator) for name, r in space.regions.items()},
    ]
    try:
        found = attack(
            runs.detector, batch, "bim", eps=runs.eps, steps=5, objective=runs.claim.objective
        )
    except GradientError:
        return points
    ends = {"audio": found.waveform - batch.waveform, "visual": found.faces - batch.faces}
    return [*points, ends]


def _gradient(runs: AttackRuns, batch: Batch, deltas: Deltas, objective: str) -> Deltas:
    """Gradient of the objective where the deltas lead."""
    assert batch.speaking is not None  # noqa: S101
    goal = Goal(labels=batch.speaking, centres=runs.known().centres)
    with held_still(runs.detector):
        search = Search(
            runs.detector, CropSpace(batch, Threat.of(runs.eps)), build_objective(objective, goal)
        )
        return search.gradient(deltas)[1]


def _moved(runs: AttackRuns, batch: Batch, deltas: Deltas, name: str) -> Tensor:
    """Clips (B,) whose scores noise of the budget in one modality moves where the deltas lead."""
    space = CropSpace(batch, Threat.of(runs.eps))
    generator = torch.Generator().manual_seed(runs.config.seed)

    def scores(at: Deltas) -> Tensor:
        placed = space.to_batch({n: r.place(at[n]) for n, r in space.regions.items()})
        return log_odds(runs.output(placed).logits).masked_fill(~placed.mask, 0.0)

    before = scores(deltas)
    spread = float(runs.clean.score.std()) or 1.0
    draws = [scores({**deltas, name: space.regions[name].noise(generator)}) for _ in range(DRAWS)]
    change = torch.stack([(draw - before).abs().flatten(1).amax(1) for draw in draws]).amax(0)
    return (change > thresholds.MOVED * spread).cpu()


def _flat_frames(runs: AttackRuns, batch: Batch, deltas: Deltas) -> tuple[int, int]:
    """Right frames on which the claim's loss has no slope in their logits, and all right frames."""
    assert batch.speaking is not None  # noqa: S101
    space = CropSpace(batch, Threat.of(runs.eps))
    moved = space.to_batch({n: r.place(deltas[n]) for n, r in space.regions.items()})
    output = runs.output(moved)
    logits = output.logits.detach().requires_grad_()
    goal = Goal(labels=batch.speaking, centres=runs.known().centres)
    value = build_objective(runs.claim.objective, goal).ascend(replace(output, logits=logits))
    right = (margin(logits, batch.speaking) > 0) & output.mask
    if not value.requires_grad:
        # An objective of embeddings, which has no slope in logits to look at.
        return 0, int(right.sum())
    (slope,) = torch.autograd.grad(value.masked_fill(~output.mask, 0.0).sum(), logits)
    return int(((slope == 0).all(-1) & right).sum()), int(right.sum())


def _derivative_errors(runs: AttackRuns, detector: Any, batch: Batch, name: str) -> list[float]:
    """Relative difference of derivative and central difference, for each direction."""
    assert batch.speaking is not None  # noqa: S101
    tensors = _tensors(batch)
    generator = torch.Generator().manual_seed(runs.config.seed)
    labels = batch.speaking

    def loss(x: Tensor) -> Tensor:
        changed = replace(batch, **{"waveform" if name == "audio" else "faces": x})
        output = detector(**changed.inputs)
        return margin(output.logits, labels).masked_fill(~output.mask, 0.0).sum()

    # Somewhere in the ball, not at the clip: flat areas of 8-bit pictures tie in max pooling, and
    # where they do there is no derivative.
    clean, eps = tensors[name].detach(), runs.eps[name] or 1.0
    away = torch.rand(clean.shape, generator=generator, dtype=torch.float64) - 0.5
    x = (clean + eps * away).requires_grad_()
    errors: list[float] = []
    with held_still(detector):
        value = loss(x)
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, x, allow_unused=True, materialize_grads=True)
        else:
            gradient = torch.zeros_like(x)
        directions = generator.get_state()
        for step in DIFFERENCES:
            if errors and np.median(errors) <= thresholds.DERIVATIVE_ERROR:
                break
            generator.set_state(directions)
            found: list[float] = []
            with torch.no_grad():
                for k in range(runs.config.directions):
                    way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
                    moved = step * eps * way
                    measured = float((loss(x + moved) - loss(x - moved)) / (2 * step * eps))
                    said = float((gradient * way).sum())
                    size = max(abs(measured), abs(said))
                    error = abs(measured - said) / size if size else 0.0
                    # Right at one of the steps is right; where nothing changes over a shorter
                    # step, the longer one has said more.
                    longer = errors[k] if errors else math.inf
                    found.append(min(error, longer) if measured or not errors else longer)
            errors = found
    return errors


def _slice(runs: AttackRuns) -> dict[str, Any]:
    """Mean margin lost on a plane: gradient signs along columns, random signs along rows."""
    batch = runs.probes()
    assert batch.speaking is not None  # noqa: S101
    labels = batch.speaking
    space = CropSpace(batch, Threat.of(runs.eps))
    zero = {name: torch.zeros_like(r.clean) for name, r in space.regions.items()}
    try:
        gradient = _gradient(runs, batch, zero, "margin")
    except GradientError as e:
        return {"why": f"there is no gradient to slice along: {e}"}
    generator = torch.Generator().manual_seed(runs.config.seed)
    ways = {}
    for name, region in space.regions.items():
        signs = torch.rand(region.clean.shape, generator=generator) < 0.5
        other = torch.where(signs, 1.0, -1.0).to(region.clean)
        ways[name] = (gradient[name].sign() * region.ball.eps, other * region.ball.eps)

    def lost(a: float, b: float) -> float:
        points = {
            name: region.place(region.project(a * ways[name][0] + b * ways[name][1]))
            for name, region in space.regions.items()
        }
        output = runs.output(space.to_batch(points))
        return float(-margin(output.logits, labels)[output.mask].mean())

    values = _surface(lost, runs.config.grid)
    middle = len(values) // 2
    predicted = sum(float((gradient[n] * ways[n][0]).sum()) for n in ways) / int(
        batch.n_frames.sum()
    )
    rise = float(values[middle, -1] - values[middle, middle])
    linearity = abs(rise - predicted) / max(abs(rise), abs(predicted), 1e-12)
    return {"loss": values.tolist(), "linearity": linearity}


def _surface(lost: Callable[[float, float], float], points: int) -> NDArray[np.float64]:
    """Values on a square of so many points a side, or more where they look jagged (N, N).

    What is between is asked for only where it decides.
    """
    values = np.full((points, points), np.nan)
    while True:
        at = np.linspace(-1, 1, len(values))
        for row, column in np.argwhere(np.isnan(values)):
            values[row, column] = lost(float(at[column]), float(at[row]))
        if not _jaggedness(values) > thresholds.JAGGED or len(values) >= FINEST:
            return values
        finer = np.full((2 * len(values) - 1,) * 2, np.nan)
        finer[::2, ::2] = values
        values = finer


def _jaggedness(values: NDArray[np.float64]) -> float:
    """Mean size of second differences along both axes, over that of first ones."""
    first = [np.abs(np.diff(values, axis=axis)).mean() for axis in (0, 1)]
    second = [np.abs(np.diff(values, 2, axis=axis)).mean() for axis in (0, 1)]
    return float(sum(second) / max(sum(first), 1e-12))
