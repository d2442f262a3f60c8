"""Tests of strength: does the claim's attack find what there is to be found?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pushpull.auditing import thresholds
from pushpull.auditing.findings import Outcome
from pushpull.auditing.runs import Bench, Run

__all__ = ["apgd", "directions", "margins", "modalities", "pgd", "restarts", "steps"]


def pgd(bench: Bench, name: str, steps: int, **settings: Any) -> Run:
    """PGD with steps that can cross the ball, the claim's objective by default."""
    settings = {"objective": bench.claim.objective, **settings}
    return bench.run(name, "pgd", steps=steps, step=thresholds.STEP / steps, **settings)


def steps(bench: Bench) -> Outcome:
    """PGD with more and more steps that can cross the ball."""
    base = bench.reference()
    runs = {n: pgd(bench, f"pgd-{n}", n) for n in bench.config.steps}
    maps = {n: bench.map(run.score) for n, run in runs.items()}
    best = min(maps, key=lambda n: maps[n])
    gap = bench.map(base.score) - maps[best]
    counts = list(maps)
    change = maps[counts[-2]] - maps[counts[-1]] if len(counts) > 1 else None
    return Outcome(
        flag=gap > thresholds.STEPS_GAP,
        figures={
            "claim's attack, mAP %": bench.map(base.score),
            "lowest of the sweep, mAP %": maps[best],
            "last increase of steps takes, mAP": change,
        },
        text=f"PGD with {best} steps leaves {gap:+.1f} mAP less than the claim's attack",
        data={
            "steps": counts,
            "found": [bench.measured(run.score).as_dict() for run in runs.values()],
            "claim": bench.map(base.score),
        },
    )


def restarts(bench: Bench) -> Outcome:
    """PGD from more and more random starts, the worst for each track."""
    config = bench.config
    runs = [
        pgd(bench, f"restart-{i}", config.restart_steps, seed=100 + i)
        for i in range(config.restarts)
    ]
    counts = [2**i for i in range(int(math.log2(config.restarts)) + 1)]
    maps = [bench.map(bench.worst_by_track([run.score for run in runs[:n]])) for n in counts]
    change = maps[-2] - maps[-1]
    return Outcome(
        flag=change > thresholds.STEPS_GAP,
        figures={
            "one start, mAP %": maps[0],
            f"best of {counts[-1]}, mAP %": maps[-1],
            "last doubling takes, mAP": change,
        },
        text=f"{counts[-1]} starts in place of {counts[-2]} take {change:.2f} mAP",
        data={"restarts": counts, "map": maps},
    )


def apgd(bench: Bench) -> Outcome:
    """APGD with the cross-entropy and the margin."""
    runs = {
        name: bench.run(f"apgd-{name}", "apgd", objective=name, steps=bench.config.apgd_steps)
        for name in ("all", "margin")
    }
    most = pgd(bench, f"pgd-{bench.config.steps[-1]}", bench.config.steps[-1])
    maps = {name: bench.map(run.score) for name, run in runs.items()}
    claim = bench.map(bench.reference().score)
    gap = claim - min(maps.values())
    return Outcome(
        flag=gap > thresholds.STEPS_GAP,
        figures={
            "APGD-CE, mAP %": maps["all"],
            "APGD-margin, mAP %": maps["margin"],
            "longest PGD, mAP %": bench.map(most.score),
            "claim's attack, mAP %": claim,
        },
        text=f"APGD leaves {gap:+.1f} mAP less than the claim's attack",
    )


def modalities(bench: Bench) -> Outcome:
    """PGD on sound alone, on faces alone and on both."""
    n = bench.config.loss_steps
    maps = {
        name: bench.map(pgd(bench, f"pgd-{name}", n, modality=name).score)
        for name in ("audio", "visual")
    }
    joint = bench.map(pgd(bench, "loss-claim", n).score)
    gap = joint - min(maps.values())
    return Outcome(
        flag=gap > thresholds.JOINT_GAP,
        figures={
            "audio, mAP %": maps["audio"],
            "visual, mAP %": maps["visual"],
            "both, mAP %": joint,
        },
        text=f"the joint attack leaves {gap:+.1f} mAP beside the stronger single one",
    )


def directions(bench: Bench) -> Outcome:
    """PGD aimed at one class, then at the other."""
    n, truth = bench.config.loss_steps, bench.victims.speaking
    shares = {}
    for target, of in (("silent", truth), ("speaking", ~truth)):
        score = pgd(bench, f"to-{target}", n, targeted=target).score
        before = (bench.clean > 0) == truth
        flipped = ((score > 0) != truth) & before & of
        shares[target] = float(flipped.sum() / max((before & of).sum(), 1))
    low, high = thresholds.HIDDEN_DIRECTION
    return Outcome(
        flag=min(shares.values()) < low and max(shares.values()) > high,
        figures={
            "speaking taken for silent, % of right frames": 100 * shares["silent"],
            "silent taken for speaking, % of right frames": 100 * shares["speaking"],
        },
        text="share of right frames that an attack aimed at one class turns over, for each class",
    )


def margins(bench: Bench) -> Outcome:
    """Quantiles of clean margins."""
    values = bench.lowered(bench.clean)
    quantiles = {q: float(np.quantile(values, q / 100)) for q in (1, 50, 99)}
    return Outcome(
        flag=quantiles[99] >= thresholds.MARGIN_99,
        figures={f"{q} % quantile of margins, log-odds": v for q, v in quantiles.items()},
        text=f"99 % of clean margins are below {quantiles[99]:.1f}; cross-entropy through a "
        "softmax is flat from 17 in float32 and from 8 in half precision",
        data={"margins": np.quantile(values, np.linspace(0, 1, 101)).tolist()},
    )
