"""Tests for masking by comparing attacks: what the gradient should find and does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from pushpull.auditing import thresholds
from pushpull.auditing.findings import MASKING, STRENGTH, NotRun, Outcome
from pushpull.auditing.runs import AttackRuns, Run
from pushpull.auditing.strength import pgd
from pushpull.losses import log_odds
from pushpull.schema import worst_by_track

__all__ = [
    "adaptive",
    "budgets",
    "losses",
    "noise",
    "one_step",
    "randomness",
    "square",
    "transferred",
]


def randomness(runs: AttackRuns) -> Outcome:
    """Evaluates a batch five times; averages over randomness if there is any.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["randomness"])
        >>> [finding] = audit.findings
        >>> finding.verdict, finding.explanation
        ('pass', 'scores are the same at every evaluation')
    """

    def make() -> dict[str, Any]:
        batch = next(iter(runs.batches()))[1]
        scores = [log_odds(runs.output(batch).logits)[batch.mask] for _ in range(5)]
        spread = float(scores[0].std().clamp(min=1e-12))
        return {"change": max(float((s - scores[0]).abs().max()) for s in scores) / spread}

    change = runs.cached("randomness", {}, make)["change"]
    figures: dict[str, float | None] = {"change between evaluations, spreads": change}
    if change <= thresholds.RANDOM:
        return Outcome(flag=False, figures=figures, text="scores are the same at every evaluation")
    averaged = pgd(runs, "averaged", runs.config.loss_steps, copies=runs.config.copies)
    left = runs.precision(averaged.score)
    figures["averaged over randomness, average precision"] = left
    return Outcome(
        flag=True,
        figures=figures,
        text=f"scores change by {change:.2g} of their spread from one evaluation to the next; with "
        f"gradients averaged over {runs.config.copies} evaluations "
        f"{100 * left:.1f} mAP is left",
    )


def one_step(runs: AttackRuns) -> Outcome:
    r"""Compares one step of the whole budget with many.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["one-step"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        FGSM, average precision
        PGD of 2 steps, average precision
    """
    one = runs.run("fgsm", "fgsm", objective=runs.claim.objective)
    most = pgd(runs, f"pgd-{runs.config.steps[-1]}", runs.config.steps[-1])
    gap = runs.precision(most.score) - runs.precision(one.score)
    return Outcome(
        flag=gap > thresholds.STEPS_GAP and runs.surely_below(one.score, most.score),
        figures={
            "FGSM, average precision": runs.precision(one.score),
            f"PGD of {runs.config.steps[-1]} steps, average precision": runs.precision(most.score),
        },
        text=f"many steps leave {-100 * gap:+.1f} mAP beside what one step leaves",
    )


def budgets(runs: AttackRuns) -> Outcome:
    r"""Sweeps the budget up to the whole valid range.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, steps=(1, 2), eps_factors=(0.5, 1.0), eps_steps=2)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["budgets"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        left by the whole range, accuracy
        left by the whole range, average precision
        largest rise with the budget, average precision
    """
    config = runs.config
    factors: list[float | None] = [*config.eps_factors, None]
    names = [f"{f:g}" if f is not None else "range" for f in factors]
    sweep = {
        name: runs.run(
            f"eps-{name}", "bim", objective=runs.claim.objective, factor=factor,
            steps=config.eps_steps, step=thresholds.STEP / config.eps_steps,
        ).score
        for name, factor in zip(names, factors, strict=True)
    }  # fmt: skip
    # A larger ball holds the smaller one's adversaries, so what is found in one counts in the next.
    left = worst_by_track([runs.clean, *sweep.values()])
    rises = [
        runs.precision(b) - runs.precision(a)
        for a, b in pairwise(list(sweep.values())[:-1])
        if runs.precision(b) - runs.precision(a) > thresholds.RISE and runs.surely_below(a, b)
    ]
    accuracy = left.accuracy
    assert accuracy is not None  # noqa: S101
    what = f"an attack of the whole valid range leaves {100 * accuracy:.1f} % of frames right"
    if rises:
        what += f"; a larger budget leaves up to {100 * max(rises):.1f} mAP more than a smaller one"
    return Outcome(
        flag=accuracy > thresholds.CHANCE or bool(rises),
        figures={
            "left by the whole range, accuracy": accuracy,
            "left by the whole range, average precision": runs.precision(left),
            "largest rise with the budget, average precision": max(rises, default=0.0),
        },
        text=what,
        data={
            "factors": names,
            "average_precision": [runs.precision(scores) for scores in sweep.values()],
            "clean": runs.precision(runs.clean),
            "accuracy": [scores.accuracy for scores in sweep.values()],
        },
    )


def losses(runs: AttackRuns) -> Outcome:
    r"""Swaps the loss, all else equal.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), temperatures=(100.0,))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["losses"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        claim's loss (all), average precision
        av, average precision
        margin, average precision
        ce@100, average precision
        head_a, average precision
        head_v, average precision
    """
    known = runs.known().clean
    names = ["av", "margin", *(f"ce@{t:g}" for t in runs.config.temperatures)]
    # The streams' own heads do not decide, so they are tried but not compared.
    heads = {"head_a": known.logits_a, "head_v": known.logits_v}
    return _swapped(runs, [*names, *(n for n, h in heads.items() if h is not None)], names)


def adaptive(runs: AttackRuns) -> Outcome:
    r"""Attacks the embeddings in place of the loss, all else equal.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), lambdas=(1.0,))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["adaptive"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        claim's loss (all), average precision
        feature, average precision
        cosine, average precision
        away, average precision
        avil, average precision
        fused, average precision
        mixed@1, average precision
    """
    known = runs.known()
    if known.centres is None:
        raise NotRun("the model gives no embeddings e_a and e_v")
    names = ["feature", "cosine", "away", "avil"]
    names += ["fused"] if known.fused_centres is not None else []
    names += [f"mixed@{weight:g}" for weight in runs.config.lambdas]
    return _swapped(runs, names, names)


def square(runs: AttackRuns) -> Outcome:
    r"""Compares random search on scores with attacks by gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), square_queries=5)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["square"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        square, average precision
        worst case of gradient attacks, average precision
        frames that only it turns over, share
    """
    run = runs.run("square", "square", objective="margin", steps=runs.config.square_queries)
    return _black_box(runs, "Square", [run])


def transferred(runs: AttackRuns) -> Outcome:
    r"""Compares other detectors' adversaries with attacks by gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> others, tests = {"spec": pp.load("synthetic-spec")}, ["transfer"]
        >>> detector = pp.load("synthetic-a")
        >>> audit = examine(detector, clips, config=small, surrogates=others, tests=tests)
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        from-spec, average precision
        worst case of gradient attacks, average precision
        frames that only it turns over, share
    """
    if not runs.surrogates:
        raise NotRun("no surrogate was given (--surrogate)")
    n = runs.config.loss_steps
    made = [
        runs.run(
            f"from-{name}",
            "pgd",
            objective="margin",
            surrogate=name,
            steps=n,
            step=thresholds.STEP / n,
        )
        for name in runs.surrogates
    ]
    return _black_box(runs, "transfer", made)


def noise(runs: AttackRuns) -> Outcome:
    r"""Compares random corners of the ball with attacks by gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), noise_draws=2)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["noise"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        noise, average precision
        worst case of gradient attacks, average precision
        frames that only it turns over, share
    """
    run = runs.run("noise", "noise", objective="margin", steps=runs.config.noise_draws)
    found = _black_box(runs, "noise", [run])
    drop = runs.precision(runs.clean) - runs.precision(run.score)
    more = f"; noise takes {100 * drop:.1f} mAP" + (
        " of a clean detector" if drop > thresholds.NOISE_DROP else ""
    )
    return replace(found, text=found.text + more)


def _swapped(runs: AttackRuns, names: list[str], deciding: list[str]) -> Outcome:
    """Other objectives at the cost of the claim's: how far they go beyond it."""
    n = runs.config.loss_steps
    base = pgd(runs, "loss-claim", n)
    swapped = {name: pgd(runs, f"loss-{name}", n, objective=name) for name in names}
    left = {name: runs.precision(run.score) for name, run in swapped.items()}
    best = min(deciding, key=lambda name: left[name])
    gap = runs.precision(base.score) - left[best]
    sure = runs.surely_below(swapped[best].score, base.score)
    return Outcome(
        flag=gap > thresholds.LOSS_GAP and sure,
        sign=MASKING if gap > thresholds.HIDDEN_GAP else STRENGTH,
        figures={
            f"claim's loss ({runs.claim.objective}), average precision": runs.precision(base.score),
            **{f"{name}, average precision": value for name, value in left.items()},
        },
        text=f"with as many steps, '{best}' leaves {100 * gap:+.1f} mAP less than the claim's loss"
        + (
            ""
            if sure or gap <= thresholds.LOSS_GAP
            else ", which the tracks are too few to tell from chance"
        ),
        data={
            "losses": [runs.claim.objective, *names],
            "average_precision": [runs.precision(base.score), *left.values()],
        },
    )


def _black_box(runs: AttackRuns, what: str, made: list[Run]) -> Outcome:
    """Attacks without the detector's gradients must not find what those with them do not."""
    white = runs.worst_of("gradient")
    best = min(made, key=lambda run: runs.precision(run.score))
    reference = runs.precision(white)
    gap = reference - runs.precision(best.score)
    fooled = float(np.mean((best.score.margin <= 0) & (white.margin > 0)))
    return Outcome(
        flag=gap > thresholds.BLACK_BOX_GAP,
        figures={
            **{f"{run.name}, average precision": runs.precision(run.score) for run in made},
            "worst case of gradient attacks, average precision": reference,
            "frames that only it turns over, share": fooled,
        },
        text=f"{what} leaves {-100 * gap:+.1f} mAP beside all attacks by gradient",
    )
