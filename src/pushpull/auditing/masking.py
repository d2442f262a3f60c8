"""Tests for masking by comparing attacks: what the gradient should find and does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from pushpull.auditing import thresholds
from pushpull.auditing.findings import MASKING, STRENGTH, NotRun, Outcome
from pushpull.auditing.runs import Bench, Run
from pushpull.auditing.strength import pgd
from pushpull.losses import log_odds

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


def randomness(bench: Bench) -> Outcome:
    """Evaluates a batch five times; averages over randomness if there is any."""

    def make() -> dict[str, Any]:
        batch = next(iter(bench.batches()))[1]
        scores = [log_odds(bench.output(batch).logits)[batch.mask] for _ in range(5)]
        spread = float(scores[0].std().clamp(min=1e-12))
        return {"change": max(float((s - scores[0]).abs().max()) for s in scores) / spread}

    change = bench.cached("randomness", {}, make)["change"]
    figures: dict[str, float | None] = {"change between evaluations, spreads": change}
    if change <= thresholds.RANDOM:
        return Outcome(flag=False, figures=figures, text="scores are the same at every evaluation")
    averaged = pgd(bench, "averaged", bench.config.loss_steps, copies=bench.config.copies)
    figures["averaged over randomness, mAP %"] = bench.map(averaged.score)
    return Outcome(
        flag=True,
        figures=figures,
        text=f"scores change by {change:.2g} of their spread from one evaluation to the next; with "
        f"gradients averaged over {bench.config.copies} evaluations "
        f"{bench.map(averaged.score):.1f} mAP is left",
    )


def one_step(bench: Bench) -> Outcome:
    """Compares one step of the whole budget with many."""
    one = bench.run("fgsm", "fgsm", objective=bench.claim.objective)
    most = pgd(bench, f"pgd-{bench.config.steps[-1]}", bench.config.steps[-1])
    gap = bench.map(most.score) - bench.map(one.score)
    return Outcome(
        flag=gap > thresholds.STEPS_GAP and bench.surely_below(one.score, most.score),
        figures={
            "FGSM, mAP %": bench.map(one.score),
            f"PGD of {bench.config.steps[-1]} steps, mAP %": bench.map(most.score),
        },
        text=f"many steps leave {-gap:+.1f} mAP beside what one step leaves",
    )


def budgets(bench: Bench) -> Outcome:
    """Sweeps the budget up to the whole valid range."""
    config = bench.config
    factors: list[float | None] = [*config.eps_factors, None]
    names = [f"{f:g}" if f is not None else "range" for f in factors]
    runs = {
        name: bench.run(
            f"eps-{name}", "bim", objective=bench.claim.objective, factor=factor,
            steps=config.eps_steps, step=thresholds.STEP / config.eps_steps,
        )
        for name, factor in zip(names, factors, strict=True)
    }  # fmt: skip
    maps = [bench.map(run.score) for run in runs.values()]
    # A larger ball holds the smaller one's adversaries, so what is found in one counts in the next.
    nested = bench.worst_by_track([bench.clean, *(run.score for run in runs.values())])
    left = bench.measured(nested)
    rises = [
        bench.map(b.score) - bench.map(a.score)
        for a, b in pairwise(list(runs.values())[:-1])
        if bench.map(b.score) - bench.map(a.score) > thresholds.RISE
        and bench.surely_below(a.score, b.score)
    ]
    survives = left.accuracy > thresholds.CHANCE
    what = f"an attack of the whole valid range leaves {left.accuracy:.1f} % of frames right"
    if rises:
        what += f"; a larger budget leaves up to {max(rises):.1f} mAP more than a smaller one"
    return Outcome(
        flag=survives or bool(rises),
        figures={
            "accuracy left by the whole range, %": left.accuracy,
            "mAP left by the whole range, %": left.map,
            "largest rise with the budget, mAP": max(rises, default=0.0),
        },
        text=what,
        data={
            "factors": names,
            "map": maps,
            "clean": bench.map(bench.clean),
            "accuracy": [bench.measured(run.score).accuracy for run in runs.values()],
        },
    )


def losses(bench: Bench) -> Outcome:
    """Swaps the loss, all else equal."""
    known = bench.known().clean
    names = ["av", "margin", *(f"ce@{t:g}" for t in bench.config.temperatures)]
    # The streams' own heads do not decide, so they are tried but not compared.
    heads = {"head_a": known.logits_a, "head_v": known.logits_v}
    return _swapped(bench, [*names, *(n for n, h in heads.items() if h is not None)], names)


def adaptive(bench: Bench) -> Outcome:
    """Attacks the embeddings in place of the loss, all else equal."""
    known = bench.known()
    if known.centres is None:
        raise NotRun("the model gives no embeddings e_a and e_v")
    names = ["feature", "cosine", "away", "avil"]
    names += ["fused"] if known.fused_centres is not None else []
    names += [f"mixed@{weight:g}" for weight in bench.config.lambdas]
    return _swapped(bench, names, names)


def square(bench: Bench) -> Outcome:
    """Compares random search on scores with attacks by gradient."""
    run = bench.run("square", "square", objective="margin", steps=bench.config.square_queries)
    return _black_box(bench, "Square", [run])


def transferred(bench: Bench) -> Outcome:
    """Compares other detectors' adversaries with attacks by gradient."""
    if not bench.surrogates:
        raise NotRun("no surrogate was given (--surrogate)")
    n = bench.config.loss_steps
    runs = [
        bench.run(
            f"from-{name}",
            "pgd",
            objective="margin",
            surrogate=name,
            steps=n,
            step=thresholds.STEP / n,
        )
        for name in bench.surrogates
    ]
    return _black_box(bench, "transfer", runs)


def noise(bench: Bench) -> Outcome:
    """Compares random corners of the ball with attacks by gradient."""
    run = bench.run("noise", "noise", objective="margin", steps=bench.config.noise_draws)
    found = _black_box(bench, "noise", [run])
    drop = bench.map(bench.clean) - bench.map(run.score)
    more = f"; noise takes {drop:.1f} mAP" + (
        " of a clean detector" if drop > thresholds.NOISE_DROP else ""
    )
    return replace(found, text=found.text + more)


def _swapped(bench: Bench, names: list[str], deciding: list[str]) -> Outcome:
    """Other objectives at the cost of the claim's: how far they go beyond it."""
    n = bench.config.loss_steps
    runs = {name: pgd(bench, f"loss-{name}", n, objective=name) for name in names}
    base = pgd(bench, "loss-claim", n)
    maps = {name: bench.map(run.score) for name, run in runs.items()}
    best = min(deciding, key=lambda name: maps[name])
    gap = bench.map(base.score) - maps[best]
    sure = bench.surely_below(runs[best].score, base.score)
    return Outcome(
        flag=gap > thresholds.LOSS_GAP and sure,
        sign=MASKING if gap > thresholds.HIDDEN_GAP else STRENGTH,
        figures={
            f"claim's loss ({bench.claim.objective}), mAP %": bench.map(base.score),
            **{f"{name}, mAP %": value for name, value in maps.items()},
        },
        text=f"with as many steps, '{best}' leaves {gap:+.1f} mAP less than the claim's loss"
        + (
            ""
            if sure or gap <= thresholds.LOSS_GAP
            else ", which the tracks are too few to tell from chance"
        ),
        data={
            "losses": [bench.claim.objective, *names],
            "map": [bench.map(base.score), *maps.values()],
        },
    )


def _black_box(bench: Bench, what: str, runs: list[Run]) -> Outcome:
    """Attacks without the detector's gradients must not find what those with them do not."""
    white = bench.worst_of("gradient")
    best = min(runs, key=lambda run: bench.map(run.score))
    reference = bench.map(white)
    gap = reference - bench.map(best.score)
    fooled = float(np.mean((bench.lowered(best.score) <= 0) & (bench.lowered(white) > 0)))
    return Outcome(
        flag=gap > thresholds.BLACK_BOX_GAP,
        figures={
            **{f"{run.name}, mAP %": bench.map(run.score) for run in runs},
            "worst case of gradient attacks, mAP %": reference,
            "frames that only it turns over, %": 100 * fooled,
        },
        text=f"{what} leaves {-gap:+.1f} mAP beside all attacks by gradient",
    )
