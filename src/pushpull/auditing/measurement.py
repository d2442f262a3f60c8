"""Tests of the claim's measurement: are its adversaries valid, and its attack's best?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pushpull.attacks import attack
from pushpull.attacks.search import held_still
from pushpull.attacks.threat import Threat
from pushpull.auditing import thresholds
from pushpull.auditing.findings import NotRun, Outcome
from pushpull.auditing.planted import plant
from pushpull.auditing.runs import Bench
from pushpull.errors import GradientError
from pushpull.losses import log_odds

__all__ = ["best_iterate", "budget", "full_run", "quantised", "unit_test"]


def budget(bench: Bench) -> Outcome:
    """Re-measures the change of every element of what the claim scored."""
    run = bench.claimed()
    figures = {f"{name} change, budgets": value for name, value in run.reach.items()}
    most = max(run.reach.values(), default=0.0)
    text = run.outside or f"changes reach {most:.6g} of the budget, in float64, on what is scored"
    return Outcome(flag=bool(run.outside), figures=figures, text=text)


def full_run(bench: Bench) -> Outcome:
    """Compares the claim's adversaries with those of the same attack, run here to its end."""
    if bench.claim.perturb is None:
        raise NotRun("the audit makes the claim's adversaries itself: there is nothing to compare")
    theirs, ours = bench.claimed(), bench.reference()
    gap = bench.map(theirs.score) - bench.map(ours.score)
    deep = [float(np.median(bench.lowered(run.score))) for run in (theirs, ours)]
    return Outcome(
        flag=not theirs.outside and gap > thresholds.KEPT_GAP,
        figures={
            "claim's adversaries, mAP %": bench.map(theirs.score),
            "the same attack here, mAP %": bench.map(ours.score),
            "claim's adversaries, accuracy %": bench.measured(theirs.score).accuracy,
            "the same attack here, accuracy %": bench.measured(ours.score).accuracy,
        },
        text=f"run to its end with the best iterate kept, the attack leaves {gap:.1f} mAP less; "
        f"median margin {deep[1]:.2f} in place of {deep[0]:.2f}",
    )


def best_iterate(bench: Bench) -> Outcome:
    """Scores the last iterate beside the best by loss, which is the one used."""
    run = bench.reference()
    if run.last is None or run.error:
        raise NotRun("no iterate was found")
    gap = bench.map(run.last) - bench.map(run.score)
    return Outcome(
        flag=False,
        figures={"last iterate above best, mAP": gap, "clips with a worse last": run.last_worse},
        text=f"the last iterate leaves {gap:+.2f} mAP against the best, which is what is used; it "
        f"is worse for {100 * run.last_worse:.0f} % of clips",
    )


def quantised(bench: Bench) -> Outcome:
    """Scores adversaries as floats, rounded to files, and searched for among those."""
    run = bench.claimed()
    grid = bench.run(
        "quantised",
        "pgd",
        objective=bench.claim.objective,
        quantise=True,
        steps=bench.config.loss_steps,
        step=thresholds.STEP / bench.config.loss_steps,
    )
    same = bool(np.array_equal(run.score, run.rounded))
    gap = bench.map(run.rounded) - bench.map(bench.reference().score)
    return Outcome(
        flag=same and bench.claim.perturb is not None and gap > thresholds.LOSS_GAP,
        figures={
            "as floats, mAP %": bench.map(run.score),
            "rounded to 8 bits and int16, mAP %": bench.map(run.rounded),
            "searched among those, mAP %": bench.map(grid.score),
        },
        text="what is left as floats, when written to lossless files, and when searched among what "
        "such files hold"
        + ("; 8 bits hold no change of faces at this budget" if bench.eps["visual"] < 1 else "")
        + ("; the claim measured rounded adversaries" if same else ""),
    )


def unit_test(bench: Bench) -> Outcome:
    """Puts the claim's attack on detectors in which an adversary is known to exist."""
    claim = bench.claim

    def make() -> dict[str, Any]:
        found = frames = 0
        for k, batch in bench.batches():
            planted = plant(bench.detector, batch, Threat.of(bench.eps), bench.config.seed + k)
            if planted is None:
                continue
            detector, labelled, counts = planted
            try:
                if claim.perturb is not None:
                    made = claim.perturb(detector, labelled, bench.config.seed + k)
                else:
                    settings = {"objective": claim.objective, **claim.settings}
                    made = attack(
                        detector, labelled, claim.attack, eps=bench.eps,
                        seed=bench.config.seed + k, **settings,
                    ).batch  # fmt: skip
            except GradientError:
                made = labelled
            with torch.no_grad(), held_still(detector):
                score = log_odds(detector(**made.inputs).logits)
            found += int((score[counts] > 0).sum())
            frames += int(counts.sum())
        return {"found": found, "frames": frames}

    depends = {
        "claim": [claim.attack, claim.objective, dict(claim.settings)],
        "eps": bench.eps,
        "seed": bench.config.seed,
    }
    got = bench.cached("unit-test", depends, make, keep=claim.perturb is None)
    if not got["frames"]:
        raise NotRun("a random change of the whole budget moves no embedding: nothing to plant")
    share = got["found"] / got["frames"]
    return Outcome(
        flag=share < thresholds.FOUND,
        figures={"planted adversaries found, %": 100 * share},
        text=f"the claim's attack finds {100 * share:.1f} % of {got['frames']} planted adversaries",
    )
