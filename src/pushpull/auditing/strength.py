"""Tests of strength: does the claim's attack find what there is to be found?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pushpull.auditing import thresholds
from pushpull.auditing.findings import Outcome
from pushpull.auditing.runs import AttackRuns, Run
from pushpull.schema import worst_adversaries

__all__ = ["directions", "margins", "modalities", "pgd", "restarts", "steps", "suite"]


def pgd(runs: AttackRuns, name: str, steps: int, **settings: Any) -> Run:
    """PGD with steps that can cross the ball, the claim's objective by default.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, Claim
        >>> from pushpull.auditing.runs import AttackRuns
        >>> from pushpull.runtime.kept import Store
        >>> from pushpull.auditing.strength import pgd
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> runs = AttackRuns(
        ...     pp.load("synthetic-a"),
        ...     clips,
        ...     eps=5,
        ...     claim=Claim(),
        ...     config=AuditConfig(draws=20),
        ...     store=Store(None, {}),
        ... )
        >>> pgd(runs, "pgd-2", 2).backwards
        2
    """
    settings = {"objective": runs.claim.objective, **settings}
    return runs.run(name, "pgd", steps=steps, step=thresholds.STEP / steps, **settings)


def steps(runs: AttackRuns) -> Outcome:
    r"""PGD with more and more steps that can cross the ball.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["steps"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        claim's attack, average precision
        lowest of the sweep, average precision
        last increase of steps takes, average precision
    """
    base = runs.reference()
    sweep = {n: pgd(runs, f"pgd-{n}", n) for n in runs.config.steps}
    left = {n: runs.precision(run.score) for n, run in sweep.items()}
    best = min(left, key=lambda n: left[n])
    gap = runs.precision(base.score) - left[best]
    counts = list(left)
    change = left[counts[-2]] - left[counts[-1]] if len(counts) > 1 else None
    return Outcome(
        flag=gap > thresholds.STEPS_GAP,
        figures={
            "claim's attack, average precision": runs.precision(base.score),
            "lowest of the sweep, average precision": left[best],
            "last increase of steps takes, average precision": change,
        },
        text=f"PGD with {best} steps leaves {100 * gap:+.1f} mAP less than the claim's attack",
        data={
            "steps": counts,
            "found": [runs.rates(run.score) for run in sweep.values()],
            "claim": runs.precision(base.score),
        },
    )


def restarts(runs: AttackRuns) -> Outcome:
    r"""PGD from more and more random starts, the worst for each track.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), restarts=2, restart_steps=1)
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["restarts"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        one start, average precision
        best of 2, average precision
        last doubling takes, average precision
    """
    config = runs.config
    scores = [
        # The first is the start that other tests take too.
        pgd(runs, f"restart-{i}", config.restart_steps, seed=100 + i if i else 0).score
        for i in range(config.restarts)
    ]
    counts = [2**i for i in range(int(math.log2(config.restarts)) + 1)]
    left = [runs.precision(worst_adversaries([runs.clean, *scores[:n]])) for n in counts]
    change = left[-2] - left[-1]
    return Outcome(
        flag=change > thresholds.STEPS_GAP,
        figures={
            "one start, average precision": left[0],
            f"best of {counts[-1]}, average precision": left[-1],
            "last doubling takes, average precision": change,
        },
        text=f"{counts[-1]} starts in place of {counts[-2]} take {100 * change:.2f} mAP",
        data={"restarts": counts, "average_precision": left},
    )


def suite(runs: AttackRuns) -> Outcome:
    r"""The standard attack, and each of its members.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2), suite="suite-1-fast")
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["suite"])
        >>> [finding] = audit.findings
        >>> print(*list(finding.figures)[:3], sep="\n")
        claim's attack, average precision
        suite-1-fast, average precision
        pgd-ce, average precision
    """
    whole = runs.suite()
    members = {
        name.removeprefix("suite "): runs.precision(run.score)
        for name, run in runs.by_name.items()
        if name.startswith("suite ")
    }
    claim, left = runs.precision(runs.reference().score), runs.precision(whole.score)
    gap, sure = claim - left, runs.surely_below(whole.score, runs.reference().score)
    return Outcome(
        flag=gap > thresholds.STEPS_GAP and sure,
        figures={
            "claim's attack, average precision": claim,
            f"{runs.config.suite}, average precision": left,
            **{f"{name}, average precision": value for name, value in members.items()},
        },
        text=f"{runs.config.suite} leaves {100 * gap:+.1f} mAP less than the claim's attack",
        data={"members": list(members), "average_precision": list(members.values())},
    )


def modalities(runs: AttackRuns) -> Outcome:
    r"""PGD on sound alone, on faces alone and on both.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["modalities"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        audio, average precision
        visual, average precision
        both, average precision
    """
    n = runs.config.loss_steps
    left = {
        name: runs.precision(pgd(runs, f"pgd-{name}", n, modality=name).score)
        for name in ("audio", "visual")
    }
    joint = runs.precision(pgd(runs, "loss-claim", n).score)
    gap = joint - min(left.values())
    return Outcome(
        flag=gap > thresholds.JOINT_GAP,
        figures={
            "audio, average precision": left["audio"],
            "visual, average precision": left["visual"],
            "both, average precision": joint,
        },
        text=f"the joint attack leaves {100 * gap:+.1f} mAP beside the stronger single one",
    )


def directions(runs: AttackRuns) -> Outcome:
    r"""PGD aimed at one class, then at the other.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["directions"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        flag
        speaking taken for silent, share of right frames
        silent taken for speaking, share of right frames
    """
    n, truth = runs.config.loss_steps, runs.clips.speaking
    shares = {}
    for target, of in (("silent", truth), ("speaking", ~truth)):
        score = pgd(runs, f"to-{target}", n, targeted=target).score
        before = runs.clean.right & of
        shares[target] = float((before & ~score.right).sum() / max(before.sum(), 1))
    low, high = thresholds.HIDDEN_DIRECTION
    return Outcome(
        flag=min(shares.values()) < low and max(shares.values()) > high,
        figures={
            "speaking taken for silent, share of right frames": shares["silent"],
            "silent taken for speaking, share of right frames": shares["speaking"],
        },
        text="share of right frames that an attack aimed at one class turns over, for each class",
    )


def margins(runs: AttackRuns) -> Outcome:
    r"""Quantiles of clean margins.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> audit = examine(pp.load("synthetic-a"), clips, config=small, tests=["margins"])
        >>> [finding] = audit.findings
        >>> print(finding.verdict, *finding.figures, sep="\n")
        pass
        1 % quantile of margins, log-odds
        50 % quantile of margins, log-odds
        99 % quantile of margins, log-odds
    """
    values = runs.clean.margin
    quantiles = {q: float(np.quantile(values, q / 100)) for q in (1, 50, 99)}
    return Outcome(
        flag=quantiles[99] >= thresholds.MARGIN_99,
        figures={f"{q} % quantile of margins, log-odds": v for q, v in quantiles.items()},
        text=f"99 % of clean margins are below {quantiles[99]:.1f}; cross-entropy through a "
        "softmax is flat from 17 in float32 and from 8 in half precision",
        data={"margins": np.quantile(values, np.linspace(0, 1, 101)).tolist()},
    )
