"""Tests of the claim's measurement: are its adversaries valid, and its attack's best?"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from pushpull.attacks import attack
from pushpull.attacks.search import held_still
from pushpull.attacks.space import CropSpace
from pushpull.attacks.threat import Threat
from pushpull.auditing import thresholds
from pushpull.auditing.findings import NotRun, Outcome
from pushpull.auditing.planted import plant
from pushpull.auditing.runs import AttackRuns
from pushpull.auditing.settings import WHOLE_SUITES
from pushpull.errors import GradientError
from pushpull.evaluation import Perturb
from pushpull.losses import log_odds
from pushpull.models.detector import Detector
from pushpull.schema import Batch

__all__ = ["best_iterate", "budget", "full_run", "quantised", "unit_test"]


def budget(runs: AttackRuns) -> Outcome:
    """Re-measures the change of every element of what the claim scored.

    What this package's attacks return keeps to the budget, so only adversaries of the claim's own
    can be flagged.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["budget"])
        >>> [finding] = audit.findings
        >>> finding.verdict, finding.explanation
        ('reported', 'changes reach 1 of the budget, in float64, on what is scored')
    """
    run = runs.claimed()
    figures = {f"{name} change, budgets": value for name, value in run.reach.items()}
    most = max(run.reach.values(), default=0.0)
    text = run.outside or f"changes reach {most:.6g} of the budget, in float64, on what is scored"
    theirs = runs.claim.perturb is not None
    return Outcome(flag=bool(run.outside) if theirs else None, figures=figures, text=text)


def full_run(runs: AttackRuns) -> Outcome:
    """Compares the claim's adversaries with those of the same attack, run here to its end.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["full-run"])
        >>> [finding] = audit.findings
        >>> print(finding.explanation)
        the audit runs the claim's attack itself, to its end, with the best iterate kept
    """
    theirs, ours = runs.claimed(), runs.reference()
    if runs.claim.perturb is None:
        return Outcome(
            flag=None,
            figures={"claim's attack, average precision": runs.precision(ours.score)},
            text="the audit runs the claim's attack itself, to its end, with the best iterate kept",
        )
    gap = runs.precision(theirs.score) - runs.precision(ours.score)
    deep = [float(np.median(run.score.margin)) for run in (theirs, ours)]
    return Outcome(
        flag=not theirs.outside and gap > thresholds.KEPT_GAP,
        figures={
            "claim's adversaries, average precision": runs.precision(theirs.score),
            "the same attack here, average precision": runs.precision(ours.score),
            "claim's adversaries, accuracy": theirs.score.accuracy,
            "the same attack here, accuracy": ours.score.accuracy,
        },
        text=f"run to its end with the best iterate kept, the attack leaves {100 * gap:.1f} mAP "
        f"less; median margin {deep[1]:.2f} in place of {deep[0]:.2f}",
    )


def best_iterate(runs: AttackRuns) -> Outcome:
    r"""Scores the last iterate beside the best by loss, which is the one used.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["best-iterate"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        reported
        last iterate above best, average precision
        clips with a worse last, share
    """
    run = runs.reference()
    if run.last is None or run.error:
        raise NotRun("no iterate was found")
    gap = runs.precision(run.last) - runs.precision(run.score)
    return Outcome(
        flag=None,
        figures={
            "last iterate above best, average precision": gap,
            "clips with a worse last, share": run.last_worse,
        },
        text=f"the last iterate leaves {100 * gap:+.2f} mAP against the best, which is what is "
        f"used; it is worse for {100 * run.last_worse:.0f} % of clips",
    )


def quantised(runs: AttackRuns) -> Outcome:
    r"""Scores adversaries as floats, rounded to files, and searched for among those.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["quantised"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        reported
        as floats, average precision
        rounded to 8 bits and int16, average precision
        searched among those, average precision
    """
    run = runs.claimed()
    assert run.rounded is not None  # noqa: S101
    grid = runs.run(
        "quantised",
        "pgd",
        objective=runs.claim.objective,
        quantise=True,
        steps=runs.config.loss_steps,
        step=thresholds.STEP / runs.config.loss_steps,
    )
    same = bool(np.array_equal(run.score.score, run.rounded.score))
    gap = runs.precision(run.rounded) - runs.precision(runs.reference().score)
    theirs = runs.claim.perturb is not None
    return Outcome(
        flag=same and gap > thresholds.LOSS_GAP if theirs else None,
        figures={
            "as floats, average precision": runs.precision(run.score),
            "rounded to 8 bits and int16, average precision": runs.precision(run.rounded),
            "searched among those, average precision": runs.precision(grid.score),
        },
        text="what is left as floats, when written to lossless files, and when searched among what "
        "such files hold"
        + ("; 8 bits hold no change of faces at this budget" if runs.eps["visual"] < 1 else "")
        + ("; the claim measured rounded adversaries" if same else ""),
    )


TOGETHER = partial(CropSpace, apart=False)
"""A planted detector is one of a whole batch."""


def unit_test(runs: AttackRuns) -> Outcome:
    r"""Puts the claim's attack, and a whole suite, on detectors with a known adversary.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, steps=(1, 2), suite="suite-1-fast")
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["unit-test"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        flag
        planted adversaries found by the claim's attack, share
        planted adversaries found by the suite, share
    """
    claim = runs.claim

    def share_found(of: Perturb) -> dict[str, Any]:
        seed = runs.config.seed
        planted = plant(runs.detector, runs.probes(), Threat.of(runs.eps), seed)
        if planted is None:
            return {"found": 0, "frames": 0}
        detector, labelled, counts = planted
        try:
            made = of(detector, labelled, seed)
        except GradientError:
            made = labelled
        with torch.no_grad(), held_still(detector):
            score = log_odds(detector(**made.inputs).logits)
        return {"found": int((score[counts] > 0).sum()), "frames": int(counts.sum())}

    def theirs(detector: Detector, batch: Batch, seed: int) -> Batch:
        if claim.perturb is not None:
            return claim.perturb(detector, batch, seed)
        settings = {"objective": claim.objective, **claim.settings}
        found = attack(
            detector, batch, claim.attack, eps=runs.eps, seed=seed, space=TOGETHER, **settings
        )
        return found.batch

    def by_suite(detector: Detector, batch: Batch, seed: int) -> Batch:
        version = runs.config.suite
        found = attack(
            detector, batch, "suite", seed=seed, eps=runs.eps, version=version, space=TOGETHER
        )
        return found.batch

    common = {"eps": runs.eps, "seed": runs.config.seed, "clips": runs.config.probe_clips}
    asked = [claim.attack, claim.objective, dict(claim.settings)]
    got = runs.cached(
        "unit-test", {"claim": asked, **common}, lambda: share_found(theirs),
        keep=claim.perturb is None,
    )  # fmt: skip
    if not got["frames"]:
        raise NotRun("a random change of the whole budget moves nothing: nothing to plant")
    share, of_suite = got["found"] / got["frames"], None
    text = f"of {got['frames']} planted adversaries the claim's attack finds {100 * share:.1f} %"
    # What the suite finds is evidence for a claim that holds, which a fast one cannot show.
    if runs.config.suite in WHOLE_SUITES:
        suite = runs.cached(
            "unit-test-suite", {"suite": runs.config.suite, **common}, lambda: share_found(by_suite)
        )
        of_suite = suite["found"] / suite["frames"]
        text += f", {runs.config.suite} {100 * of_suite:.1f} %"
    return Outcome(
        flag=share < thresholds.FOUND,
        figures={
            "planted adversaries found by the claim's attack, share": share,
            "planted adversaries found by the suite, share": of_suite,
        },
        text=text,
        data={"suite": of_suite},
    )
