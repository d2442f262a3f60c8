"""Tests for masking by comparing attacks: what the gradient should find and does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from pushpull.auditing import thresholds
from pushpull.auditing.findings import NotRun, Outcome
from pushpull.auditing.runs import AttackRuns, Run
from pushpull.auditing.settings import WHOLE_SUITES
from pushpull.auditing.strength import pgd
from pushpull.losses import log_odds
from pushpull.schema import FrameScores, worst_adversaries

__all__ = [
    "adaptive",
    "averaged",
    "budgets",
    "bypass",
    "losses",
    "noise",
    "one_step",
    "randomness",
    "square",
    "transferred",
]


def randomness(runs: AttackRuns) -> Outcome:
    """Evaluates a batch five times.

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
        ('reported', 'scores are the same at every evaluation')
    """

    def make() -> dict[str, Any]:
        batch = next(iter(runs.batches()))[1]
        scores = [log_odds(runs.output(batch).logits)[batch.mask] for _ in range(5)]
        spread = float(scores[0].std().clamp(min=1e-12))
        return {"change": max(float((s - scores[0]).abs().max()) for s in scores) / spread}

    change = runs.cached("randomness", {}, make)["change"]
    figures: dict[str, float | None] = {"change between evaluations, spreads": change}
    if change <= thresholds.RANDOM:
        return Outcome(flag=None, figures=figures, text="scores are the same at every evaluation")
    # A detector that draws lots is attacked with gradients averaged over draws, and judged on fresh
    # ones; whether they mislead is for `agreement` to say.
    return Outcome(
        flag=None,
        figures=figures,
        text=f"scores change by {change:.2g} of their spread from one evaluation to the next; "
        "attacks average over evaluations and are judged on fresh ones",
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

    A detector that calls everything silent has the silent frames right whatever it is shown. So
    where much is left, the range is searched with more steps, and other clips are put in place of
    each: what those turn over and gradients do not has been missed.

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
    left = worst_adversaries([runs.clean, *sweep.values()])
    rises = [
        runs.precision(b) - runs.precision(a)
        for a, b in pairwise(list(sweep.values())[:-1])
        if runs.precision(b) - runs.precision(a) > thresholds.RISE and runs.surely_below(a, b)
    ]
    if _accuracy(left) > thresholds.CHANCE:
        longer = runs.run(
            "eps-range-longer", "pgd", objective=runs.claim.objective, factor=None,
            schedule="decayed", steps=thresholds.LONGER * config.eps_steps,
            step=thresholds.STEP / config.eps_steps,
        )  # fmt: skip
        left = worst_adversaries([left, longer.score])
    accuracy, swapped = _accuracy(left), None
    if accuracy > thresholds.CHANCE:
        swapped = _accuracy(worst_adversaries([left, *(run.score for run in runs.swaps())]))
    missed = swapped is not None and accuracy - swapped > thresholds.MISSED
    what = f"an attack of the whole valid range leaves {100 * accuracy:.1f} % of frames right"
    if swapped is not None:
        what += f", other clips in place of each {100 * swapped:.1f} %"
    if rises:
        what += f"; a larger budget leaves up to {100 * max(rises):.1f} mAP more than a smaller one"
    return Outcome(
        flag=missed or bool(rises),
        figures={
            "left by the whole range, accuracy": accuracy,
            **({} if swapped is None else {"left by other clips as well, accuracy": swapped}),
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
    # The streams' own heads do not decide, so they are tried but not compared, and not by a fast
    # audit.
    heads = {"head_a": known.logits_a, "head_v": known.logits_v}
    tried = [n for n, h in heads.items() if h is not None]
    whole = runs.config.suite in WHOLE_SUITES
    return _swapped(runs, [*names, *tried] if whole else names, names)


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
    r"""Compares random search on scores, a member of the suite, with attacks by gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), suite="suite-1-fast")
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["square"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        suite square, average precision
        worst adversaries by gradient, average precision
        frames that only it turns over, share
    """
    return _other_way(runs, "square", f"{runs.queries} queries of Square leave")


def transferred(runs: AttackRuns) -> Outcome:
    r"""Compares other detectors' adversaries, a member of the suite, with attacks by gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), suite="suite-1-fast")
        >>> others, tests = {"spec": pp.load("synthetic-spec")}, ["transfer"]
        >>> detector = pp.load("synthetic-a")
        >>> audit = examine(detector, clips, config=small, surrogates=others, tests=tests)
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        suite transfer, average precision
        worst adversaries by gradient, average precision
        frames that only it turns over, share
    """
    if not runs.surrogates:
        raise NotRun("no surrogate was given (--surrogate)")
    return _other_way(runs, "transfer", f"adversaries of {', '.join(runs.surrogates)} leave")


def averaged(runs: AttackRuns) -> Outcome:
    r"""Compares gradients averaged over a part of the ball with those at a point.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), suite="suite-1-fast")
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["averaged"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        suite smoothed, average precision
        worst adversaries by gradient, average precision
        frames that only it turns over, share
    """
    return _other_way(runs, "smoothed", "gradients averaged over half of the budget leave")


def bypass(runs: AttackRuns) -> Outcome:
    r"""Compares gradients past modules that may ruin them with the detector's own.

    Those are the modules of the claim's `bypass`, and those without weights that stand in front.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), suite="suite-1-fast")
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["bypass"])
        >>> [finding] = audit.findings
        >>> finding.verdict, finding.explanation
        ('not run', 'nothing without weights stands in front of the detector; name one (--bypass)')
    """
    names = runs.claim.bypass
    if not names:
        if runs.member("bypass") is None:
            raise NotRun(
                "nothing without weights stands in front of the detector; name one (--bypass)"
            )
        return _other_way(runs, "bypass", "gradients past what stands in front leave")
    runs.suite()
    n = runs.config.loss_steps
    made = runs.run("bypass", "pgd", objective="margin", steps=n, schedule="decayed", bypass=names)
    return _black_box(runs, f"gradients past {', '.join(names)} leave", made)


def noise(runs: AttackRuns) -> Outcome:
    r"""Compares random corners of the ball with attacks by gradient.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, steps=(1, 2), noise_draws=2, suite="suite-1-fast")
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["noise"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        noise, average precision
        worst adversaries by gradient, average precision
        frames that only it turns over, share
    """
    run = runs.run("noise", "noise", objective="margin", steps=runs.config.noise_draws)
    found = _black_box(runs, f"the worst of {runs.config.noise_draws} draws of noise leaves", run)
    drop = runs.precision(runs.clean) - runs.precision(run.score)
    more = f"; it takes {100 * drop:.1f} mAP" + (
        " of a clean detector" if drop > thresholds.NOISE_DROP else ""
    )
    return replace(found, text=found.text + more)


def _accuracy(scores: FrameScores) -> float:
    assert scores.accuracy is not None  # noqa: S101
    return scores.accuracy


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


def _other_way(runs: AttackRuns, name: str, what: str) -> Outcome:
    run = runs.member(name)
    if run is None:
        raise NotRun(f"the suite's {name} found nothing to do")
    return _black_box(runs, what, run)


def _black_box(runs: AttackRuns, what: str, run: Run) -> Outcome:
    """Attacks that do not follow the detector's gradient must not find what those that do miss."""
    runs.suite()
    white = runs.worst_adversaries("gradient")
    reference, left = runs.precision(white), runs.precision(run.score)
    fooled = float(np.mean((run.score.margin <= 0) & (white.margin > 0)))
    sure = runs.surely_below(run.score, white)
    return Outcome(
        flag=reference - left > thresholds.BLACK_BOX_GAP and sure,
        figures={
            f"{run.name}, average precision": left,
            "worst adversaries by gradient, average precision": reference,
            "frames that only it turns over, share": fooled,
        },
        text=f"{what} {100 * (left - reference):+.1f} mAP beside the worst adversaries that the "
        "detector's own gradient finds",
    )
