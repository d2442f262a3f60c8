"""The tests of the audit, each a function of the bench.

A test says whether it is flagged, with the numbers that decide; what a flag is a sign of stands in
`TESTS` beside where test and threshold come from. Differences of mAP that decide about masking have
to hold in 97.5 % of draws of tracks as well, so that a small set of tracks is no sign.

Sources: Carlini et al., "On Evaluating Adversarial Robustness", 2019 (arXiv 1902.06705); Athalye et
al., "Obfuscated Gradients", ICML 2018 (1802.00420); Tramer et al., "On Adaptive Attacks", NeurIPS
2020 (2002.08347); Croce and Hein, "AutoAttack", ICML 2020 (2003.01690) and its checks.py; Pintor et
al., "Indicators of Attack Failure", NeurIPS 2022 (2106.09947); Zimmermann et al., "Increasing
Confidence", NeurIPS 2022; Andriushchenko et al., "Square Attack", ECCV 2020 (1912.00049); Qin et
al., "Local Linearization", NeurIPS 2019 (1907.02610). Where no source gives a limit in mAP, the
constants here do.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushpull.attacks import attack
from pushpull.attacks.search import Search, held_still
from pushpull.attacks.space import CropSpace, Deltas
from pushpull.audit.bench import Bench, Run
from pushpull.audit.findings import EVALUATION, MASKING, STRENGTH, Finding
from pushpull.audit.planted import plant
from pushpull.errors import GradientError
from pushpull.losses import Goal, build_objective, log_odds, margin
from pushpull.schema import Batch
from pushpull.threat import Threat

__all__ = ["TESTS", "Test", "examined"]

STEPS_GAP = 1.0
"""mAP that more steps, restarts or APGD may lower beyond the claim's attack (C19)."""
LOSS_GAP = 2.0
"""mAP that another objective may lower beyond the claim's at equal cost (CH20, T20)."""
BLACK_BOX_GAP = 0.2
"""mAP that an attack without gradients may be below those with them (as AutoAttack)."""
RISE = 0.5
"""mAP that a larger budget may leave more than a smaller one."""
JOINT_GAP = 0.5
"""mAP that a joint attack may leave above the stronger of the single ones."""
NOISE_DROP = 1.0
"""mAP that random noise may take: more is said, but a model that noise breaks is not masked."""
CHANCE = 50.0
"""Accuracy in percent that an attack of the whole valid range must not leave (two classes)."""
MARGIN_99 = 15.0
"""99 % quantile of margins, in log-odds: softmax cross-entropy in float32 is flat from 17."""
DERIVATIVE_ERROR = 0.01
"""Median relative difference of derivative and finite difference in float64."""
FLAT_FRAMES = 0.0
"""Share of right frames whose loss has no slope at all that is tolerated."""
RANDOM = 1e-4
"""Change of log-odds between evaluations, in shares of their spread (AutoAttack's check)."""
FOUND = 0.95
"""Share of frames with a planted adversary that the attack has to find."""
KEPT_GAP = 0.5
"""mAP that the iterate kept may leave above the best one, or the claim above its own attack."""
JAGGED = 1.0
"""Mean second difference over mean first difference of the loss on a slice; white noise: 1.7."""
HIDDEN_DIRECTION = (0.05, 0.5)
"""One direction hides if it succeeds on less than the first share where the other does on more than
the second."""
STEP = 2.5
"""Steps are this many budgets / steps long, so that they can cross the ball (Madry et al. 2018)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a test found.

    Attributes:
        flag: Whether it is flagged.
        figures: Numbers by name.
        text: What was found, in a sentence.
        data: For plots.
    """

    flag: bool
    figures: Mapping[str, float | None]
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


class NotRun(Exception):
    """A test does not apply; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test of the audit.

    Attributes:
        title: What is asked.
        sign: What a flag is a sign of.
        threshold: When it is flagged.
        reference: Source.
        run: The test.
    """

    __test__ = False  # not one of pytest's

    title: str
    sign: str
    threshold: str
    reference: str
    run: Callable[[Bench], Outcome]


def examined(name: str, bench: Bench) -> Finding:
    """The finding of one test."""
    test = TESTS[name]
    said: dict[str, Any] = {
        "test": name, "title": test.title, "sign": test.sign, "threshold": test.threshold,
        "reference": test.reference,
    }  # fmt: skip
    try:
        found = test.run(bench)
    except NotRun as why:
        return Finding(**said, verdict="not run", figures={}, explanation=str(why))
    return Finding(
        **said,
        verdict="flag" if found.flag else "pass",
        figures=found.figures,
        explanation=found.text,
        data=found.data,
    )


def pgd(bench: Bench, name: str, steps: int, **settings: Any) -> Run:
    """PGD with steps that can cross the ball, the claim's objective by default."""
    settings = {"objective": bench.claim.objective, **settings}
    return bench.run(name, "pgd", steps=steps, step=STEP / steps, **settings)


# The claim's measurement


def budget(bench: Bench) -> Outcome:
    run = bench.claimed()
    figures = {f"{name} change, budgets": value for name, value in run.reach.items()}
    most = max(run.reach.values(), default=0.0)
    text = run.outside or f"changes reach {most:.6g} of the budget, in float64, on what is scored"
    return Outcome(flag=bool(run.outside), figures=figures, text=text)


def full_run(bench: Bench) -> Outcome:
    if bench.claim.perturb is None:
        raise NotRun("the audit makes the claim's adversaries itself: there is nothing to compare")
    theirs, ours = bench.claimed(), bench.reference()
    gap = bench.map(theirs.score) - bench.map(ours.score)
    deep = [float(np.median(bench.lowered(run.score))) for run in (theirs, ours)]
    return Outcome(
        flag=not theirs.outside and gap > KEPT_GAP,
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
    run = bench.claimed()
    grid = bench.run(
        "quantised",
        "pgd",
        objective=bench.claim.objective,
        quantise=True,
        steps=bench.config.loss_steps,
        step=STEP / bench.config.loss_steps,
    )
    same = bool(np.array_equal(run.score, run.rounded)) and bool(max(run.reach.values(), default=0))
    gap = bench.map(run.rounded) - bench.map(bench.reference().score)
    return Outcome(
        flag=same and bench.claim.perturb is not None and gap > LOSS_GAP,
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
                        detector, labelled, claim.method, eps=bench.eps,
                        seed=bench.config.seed + k, **settings,
                    ).batch  # fmt: skip
            except GradientError:
                made = labelled
            with torch.no_grad(), held_still(detector):
                score = log_odds(detector(**made.inputs).logits)
            found += int((score[counts] > 0).sum())
            frames += int(counts.sum())
        return {"found": found, "frames": frames}

    depends = {"claim": [claim.method, claim.objective, dict(claim.settings)], "eps": bench.eps}
    got = bench.cached("unit-test", depends, make, keep=claim.perturb is None)
    if not got["frames"]:
        raise NotRun("a random change of the whole budget moves no embedding: nothing to plant")
    share = got["found"] / got["frames"]
    return Outcome(
        flag=share < FOUND,
        figures={"planted adversaries found, %": 100 * share},
        text=f"the claim's attack finds {100 * share:.1f} % of {got['frames']} planted adversaries",
    )


# Whether the claim's attack is strong enough


def steps(bench: Bench) -> Outcome:
    base = bench.reference()
    runs = {n: pgd(bench, f"pgd-{n}", n) for n in bench.config.steps}
    maps = {n: bench.map(run.score) for n, run in runs.items()}
    best = min(maps, key=lambda n: maps[n])
    gap = bench.map(base.score) - maps[best]
    counts = list(maps)
    change = maps[counts[-2]] - maps[counts[-1]] if len(counts) > 1 else None
    return Outcome(
        flag=gap > STEPS_GAP,
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


def one_step(bench: Bench) -> Outcome:
    one = bench.run("fgsm", "fgsm", objective=bench.claim.objective)
    most = pgd(bench, f"pgd-{bench.config.steps[-1]}", bench.config.steps[-1])
    gap = bench.map(most.score) - bench.map(one.score)
    return Outcome(
        flag=gap > STEPS_GAP and bench.surely_below(one.score, most.score),
        figures={
            "FGSM, mAP %": bench.map(one.score),
            f"PGD of {bench.config.steps[-1]} steps, mAP %": bench.map(most.score),
        },
        text=f"many steps leave {-gap:+.1f} mAP beside what one step leaves",
    )


def restarts(bench: Bench) -> Outcome:
    config = bench.config
    runs = [
        pgd(bench, f"restart-{i}", config.restart_steps, seed=100 + i)
        for i in range(config.restarts)
    ]
    counts = [2**i for i in range(int(math.log2(config.restarts)) + 1)]
    maps = [bench.map(bench.worst_by_track([run.score for run in runs[:n]])) for n in counts]
    change = maps[-2] - maps[-1]
    return Outcome(
        flag=change > STEPS_GAP,
        figures={
            "one start, mAP %": maps[0],
            f"best of {counts[-1]}, mAP %": maps[-1],
            "last doubling takes, mAP": change,
        },
        text=f"{counts[-1]} starts in place of {counts[-2]} take {change:.2f} mAP",
        data={"restarts": counts, "map": maps},
    )


def apgd(bench: Bench) -> Outcome:
    runs = {
        name: bench.run(f"apgd-{name}", "apgd", objective=name, steps=bench.config.apgd_steps)
        for name in ("all", "margin")
    }
    most = pgd(bench, f"pgd-{bench.config.steps[-1]}", bench.config.steps[-1])
    maps = {name: bench.map(run.score) for name, run in runs.items()}
    claim = bench.map(bench.reference().score)
    gap = claim - min(maps.values())
    return Outcome(
        flag=gap > STEPS_GAP,
        figures={
            "APGD-CE, mAP %": maps["all"],
            "APGD-margin, mAP %": maps["margin"],
            "longest PGD, mAP %": bench.map(most.score),
            "claim's attack, mAP %": claim,
        },
        text=f"APGD leaves {gap:+.1f} mAP less than the claim's attack",
    )


def modalities(bench: Bench) -> Outcome:
    n = bench.config.loss_steps
    maps = {
        name: bench.map(pgd(bench, f"pgd-{name}", n, modality=name).score)
        for name in ("audio", "visual")
    }
    joint = bench.map(pgd(bench, "loss-claim", n).score)
    gap = joint - min(maps.values())
    return Outcome(
        flag=gap > JOINT_GAP,
        figures={
            "audio, mAP %": maps["audio"],
            "visual, mAP %": maps["visual"],
            "both, mAP %": joint,
        },
        text=f"the joint attack leaves {gap:+.1f} mAP beside the stronger single one",
    )


def directions(bench: Bench) -> Outcome:
    n, truth = bench.config.loss_steps, bench.victims.speaking
    shares = {}
    for target, of in (("silent", truth), ("speaking", ~truth)):
        score = pgd(bench, f"to-{target}", n, targeted=target).score
        before = (bench.clean > 0) == truth
        flipped = ((score > 0) != truth) & before & of
        shares[target] = float(flipped.sum() / max((before & of).sum(), 1))
    low, high = HIDDEN_DIRECTION
    return Outcome(
        flag=min(shares.values()) < low and max(shares.values()) > high,
        figures={
            "speaking taken for silent, % of right frames": 100 * shares["silent"],
            "silent taken for speaking, % of right frames": 100 * shares["speaking"],
        },
        text="share of right frames that an attack aimed at one class turns over, for each class",
    )


# Whether gradients are hidden


def randomness(bench: Bench) -> Outcome:
    def make() -> dict[str, Any]:
        batch = next(iter(bench.batches()))[1]
        scores = [log_odds(bench.output(batch).logits)[batch.mask] for _ in range(5)]
        spread = float(scores[0].std().clamp(min=1e-12))
        return {"change": max(float((s - scores[0]).abs().max()) for s in scores) / spread}

    change = bench.cached("randomness", {}, make, keep=bench.claim.perturb is None)["change"]
    figures: dict[str, float | None] = {"change between evaluations, spreads": change}
    if change <= RANDOM:
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


def gradients(bench: Bench) -> Outcome:
    def make() -> dict[str, Any]:
        counts = {"clips": 0, "flat_frames": 0, "right_frames": 0, "broken": 0}
        zero = {"audio": 0, "visual": 0}
        batch = bench.victims.probes(bench.config.probe_clips)
        batch = batch.to(next(iter(bench.batches()))[1].faces.device)
        for deltas in _points(bench, batch):
            counts["clips"] += len(batch.faces)
            try:
                found = _gradient(bench, batch, deltas, bench.claim.objective)
            except GradientError:
                counts["broken"] += len(batch.faces)
                continue
            for name, gradient in found.items():
                zero[name] += int((gradient.flatten(1) == 0).all(1).sum())
            flat, right = _flat_frames(bench, batch, deltas)
            counts["flat_frames"] += flat
            counts["right_frames"] += right
        return {**counts, "zero": zero}

    depends = _probing(bench, objective=bench.claim.objective)
    got = bench.cached("gradients", depends, make)
    clips, right = max(got["clips"], 1), max(got["right_frames"], 1)
    figures: dict[str, float | None] = {
        f"clips without gradient, {name}, %": 100 * n / clips for name, n in got["zero"].items()
    }
    figures["clips whose gradient is missing or not finite, %"] = 100 * got["broken"] / clips
    figures["right frames without slope, %"] = 100 * got["flat_frames"] / right
    flat = got["flat_frames"] / right
    zero = max(got["zero"].values())
    return Outcome(
        flag=bool(zero) or bool(got["broken"]) or flat > FLAT_FRAMES,
        figures=figures,
        text=f"of {got['clips']} clips at three places {got['broken']} have no finite gradient and "
        f"{zero} an all-zero one in a modality; the loss of {100 * flat:.1f} % of right frames has "
        "no slope",
    )


def margins(bench: Bench) -> Outcome:
    values = bench.lowered(bench.clean)
    quantiles = {q: float(np.quantile(values, q / 100)) for q in (1, 50, 99)}
    return Outcome(
        flag=quantiles[99] >= MARGIN_99,
        figures={f"{q} % quantile of margins, log-odds": v for q, v in quantiles.items()},
        text=f"99 % of clean margins are below {quantiles[99]:.1f}; cross-entropy through a "
        "softmax has no gradient from 17 in float32 and from 8 in half precision",
        data={"margins": np.quantile(values, np.linspace(0, 1, 101)).tolist()},
    )


def derivatives(bench: Bench) -> Outcome:
    def make() -> dict[str, Any]:
        batch = bench.victims.probes(bench.config.probe_clips)
        batch = replace(batch, waveform=batch.waveform.double(), faces=batch.faces.double())
        try:
            detector = copy.deepcopy(bench.detector).double().cpu()
        except Exception as e:  # any module may refuse to be copied
            return {"why": f"the detector cannot be copied to float64 ({e})"}
        errors = {name: _derivative_errors(bench, detector, batch, name) for name in bench.eps}
        return {"errors": errors}

    depends = _probing(bench, directions=bench.config.directions)
    got = bench.cached("derivatives", depends, make)
    if "why" in got:
        raise NotRun(got["why"])
    medians = {name: float(np.median(values)) for name, values in got["errors"].items()}
    return Outcome(
        flag=any(not value <= DERIVATIVE_ERROR for value in medians.values()),
        figures={f"{name}, median relative error": value for name, value in medians.items()},
        text="derivatives along random directions against central differences in float64",
        data=got["errors"],
    )


def budgets(bench: Bench) -> Outcome:
    config = bench.config
    factors: list[float | None] = [*config.eps_factors, None]
    names = [f"{f:g}" if f is not None else "range" for f in factors]
    runs = {
        name: bench.run(
            f"eps-{name}", "bim", objective=bench.claim.objective, factor=factor,
            steps=config.eps_steps, step=STEP / config.eps_steps,
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
        if bench.map(b.score) - bench.map(a.score) > RISE and bench.surely_below(a.score, b.score)
    ]
    survives = left.accuracy > CHANCE
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
    known = bench.known().clean
    names = ["av", "margin", *(f"ce@{t:g}" for t in bench.config.temperatures)]
    # The streams' own heads do not decide, so they are tried but not compared.
    heads = {"head_a": known.logits_a, "head_v": known.logits_v}
    return _swapped(bench, [*names, *(n for n, h in heads.items() if h is not None)], names)


def adaptive(bench: Bench) -> Outcome:
    known = bench.known()
    if known.centres is None:
        raise NotRun("the model gives no embeddings e_a and e_v")
    names = ["feature", "cosine", "away", "avil"]
    names += ["fused"] if known.fused_centres is not None else []
    names += [f"mixed@{weight:g}" for weight in bench.config.lambdas]
    return _swapped(bench, names, names)


def square(bench: Bench) -> Outcome:
    run = bench.run("square", "square", objective="margin", steps=bench.config.square_queries)
    return _black_box(bench, "Square", [run])


def transferred(bench: Bench) -> Outcome:
    if not bench.surrogates:
        raise NotRun("no surrogate was given (--surrogate)")
    n = bench.config.loss_steps
    runs = [
        bench.run(f"from-{name}", "pgd", objective="margin", surrogate=name, steps=n, step=STEP / n)
        for name in bench.surrogates
    ]
    return _black_box(bench, "transfer", runs)


def noise(bench: Bench) -> Outcome:
    run = bench.run("noise", "noise", objective="margin", steps=bench.config.noise_draws)
    found = _black_box(bench, "noise", [run])
    drop = bench.map(bench.clean) - bench.map(run.score)
    more = f"; noise takes {drop:.1f} mAP" + (" of a clean detector" if drop > NOISE_DROP else "")
    return replace(found, text=found.text + more)


def landscape(bench: Bench) -> Outcome:
    def make() -> dict[str, Any]:
        return _slice(bench)

    depends = _probing(bench, grid=bench.config.grid)
    got = bench.cached("landscape", depends, make)
    if "why" in got:
        raise NotRun(got["why"])
    values = np.array(got["loss"])
    middle = len(values) // 2
    rise = float(values[middle, -1] - values[middle, middle])
    random_rise = float(values[[0, -1], middle].mean() - values[middle, middle])
    jagged = _jaggedness(values)
    return Outcome(
        flag=jagged > JAGGED or rise <= max(random_rise, 0.0),
        figures={
            "jaggedness": jagged,
            "rise along the gradient, log-odds": rise,
            "rise along noise, log-odds": random_rise,
            "linearity error, %": 100 * got["linearity"],
        },
        text=f"to the edge of the budget the margin lost rises by {rise:.2f} along the gradient's "
        f"signs and by {random_rise:.2f} along random ones",
        data={"loss": got["loss"]},
    )


# Helpers


def _probing(bench: Bench, **more: Any) -> dict[str, Any]:
    """What a measurement on the probe clips depends on."""
    config = bench.config
    return {"clips": config.probe_clips, "eps": bench.eps, "seed": config.seed, **more}


def _points(bench: Bench, batch: Batch) -> list[Deltas]:
    """No change, a random one, and where five steps lead."""
    space = CropSpace(batch, Threat.of(bench.eps))
    generator = torch.Generator().manual_seed(bench.config.seed)
    points = [
        {name: torch.zeros_like(r.clean) for name, r in space.regions.items()},
        {name: r.start(generator) for name, r in space.regions.items()},
    ]
    try:
        found = attack(
            bench.detector, batch, "bim", eps=bench.eps, steps=5, objective=bench.claim.objective
        )
    except GradientError:
        return points
    ends = {"audio": found.waveform - batch.waveform, "visual": found.faces - batch.faces}
    return [*points, ends]


def _gradient(bench: Bench, batch: Batch, deltas: Deltas, objective: str) -> Deltas:
    """Gradient of the objective where the deltas lead."""
    assert batch.speaking is not None  # noqa: S101
    goal = Goal(labels=batch.speaking, centres=bench.known().centres)
    with held_still(bench.detector):
        search = Search(
            bench.detector, CropSpace(batch, Threat.of(bench.eps)), build_objective(objective, goal)
        )
        return search.gradient(deltas)[1]


def _flat_frames(bench: Bench, batch: Batch, deltas: Deltas) -> tuple[int, int]:
    """Right frames on which the claim's loss has no slope in their logits, and all right frames."""
    assert batch.speaking is not None  # noqa: S101
    space = CropSpace(batch, Threat.of(bench.eps))
    moved = space.to_batch({n: r.place(deltas[n]) for n, r in space.regions.items()})
    output = bench.output(moved)
    logits = output.logits.detach().requires_grad_()
    goal = Goal(labels=batch.speaking, centres=bench.known().centres)
    value = build_objective(bench.claim.objective, goal).ascend(replace(output, logits=logits))
    right = (margin(logits, batch.speaking) > 0) & output.mask
    if not value.requires_grad:
        # An objective of embeddings, which has no slope in logits to look at.
        return 0, int(right.sum())
    (slope,) = torch.autograd.grad(value.masked_fill(~output.mask, 0.0).sum(), logits)
    return int(((slope == 0).all(-1) & right).sum()), int(right.sum())


def _derivative_errors(bench: Bench, detector: Any, batch: Batch, name: str) -> list[float]:
    """Relative difference of derivative and central difference, for each direction."""
    assert batch.speaking is not None  # noqa: S101
    tensors = {"audio": batch.waveform, "visual": batch.faces}
    generator = torch.Generator().manual_seed(bench.config.seed)
    labels = batch.speaking

    def loss(x: Tensor) -> Tensor:
        changed = replace(batch, **{"waveform" if name == "audio" else "faces": x})
        output = detector(**changed.inputs)
        return margin(output.logits, labels).masked_fill(~output.mask, 0.0).sum()

    x = tensors[name].detach().requires_grad_()
    errors: list[float] = []
    with held_still(detector):
        value = loss(x)
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, x, allow_unused=True, materialize_grads=True)
        else:
            gradient = torch.zeros_like(x)
        # Short enough for few kinks to be crossed, long enough for what float64 can tell apart.
        h = 1e-4 * (bench.eps[name] or 1.0)
        with torch.no_grad():
            for _ in range(bench.config.directions):
                way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
                ahead, behind = loss(x + h * way), loss(x - h * way)
                measured = float((ahead - behind) / (2 * h))
                said = float((gradient * way).sum())
                size = max(abs(measured), abs(said))
                errors.append(abs(measured - said) / size if size else 0.0)
    return errors


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
        flag=gap > LOSS_GAP and sure,
        figures={
            f"claim's loss ({bench.claim.objective}), mAP %": bench.map(base.score),
            **{f"{name}, mAP %": value for name, value in maps.items()},
        },
        text=f"with as many steps, '{best}' leaves {gap:+.1f} mAP less than the claim's loss"
        + ("" if sure or gap <= LOSS_GAP else ", which the tracks are too few to tell from chance"),
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
        flag=gap > BLACK_BOX_GAP,
        figures={
            **{f"{run.name}, mAP %": bench.map(run.score) for run in runs},
            "worst case of gradient attacks, mAP %": reference,
            "frames that only it turns over, %": 100 * fooled,
        },
        text=f"{what} leaves {-gap:+.1f} mAP beside all attacks by gradient",
    )


def _slice(bench: Bench) -> dict[str, Any]:
    """Mean margin lost on a plane: gradient signs along columns, random signs along rows."""
    batch = bench.victims.probes(bench.config.probe_clips)
    batch = batch.to(next(iter(bench.batches()))[1].faces.device)
    assert batch.speaking is not None  # noqa: S101
    labels = batch.speaking
    space = CropSpace(batch, Threat.of(bench.eps))
    zero = {name: torch.zeros_like(r.clean) for name, r in space.regions.items()}
    try:
        gradient = _gradient(bench, batch, zero, "margin")
    except GradientError as e:
        return {"why": f"there is no gradient to slice along: {e}"}
    generator = torch.Generator().manual_seed(bench.config.seed)
    ways = {}
    for name, region in space.regions.items():
        signs = torch.rand(region.clean.shape, generator=generator) < 0.5
        other = torch.where(signs, 1.0, -1.0).to(region.clean)
        ways[name] = (gradient[name].sign() * region.ball.eps, other * region.ball.eps)
    at = np.linspace(-1, 1, bench.config.grid)

    def lost(a: float, b: float) -> float:
        points = {
            name: region.place(region.project(a * ways[name][0] + b * ways[name][1]))
            for name, region in space.regions.items()
        }
        output = bench.output(space.to_batch(points))
        return float(-margin(output.logits, labels)[output.mask].mean())

    values = [[lost(float(a), float(b)) for a in at] for b in at]
    middle = len(at) // 2
    predicted = sum(float((gradient[n] * ways[n][0]).sum()) for n in ways) / int(
        batch.n_frames.sum()
    )
    rise = values[middle][-1] - values[middle][middle]
    linearity = abs(rise - predicted) / max(abs(rise), abs(predicted), 1e-12)
    return {"loss": values, "linearity": linearity}


def _jaggedness(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Mean size of second differences along both axes, over that of first ones."""
    first = [np.abs(np.diff(values, axis=axis)).mean() for axis in (0, 1)]
    second = [np.abs(np.diff(values, 2, axis=axis)).mean() for axis in (0, 1)]
    return float(sum(second) / max(sum(first), 1e-12))


TESTS: dict[str, Test] = {
    "budget": Test(
        title="Do the claim's adversaries keep to the budget, measured on what is scored?",
        sign=EVALUATION,
        threshold="any element outside the ball, the valid range or the clip",
        reference="Carlini et al. 2019; AV-Robustness-CVPR21's MIM left its ball by 11 times",
        run=budget,
    ),
    "full-run": Test(
        title="Is the claim's attack run to its end, with the best iterate kept?",
        sign=EVALUATION,
        threshold=f"the same attack run here leaves more than {KEPT_GAP} mAP less",
        reference="Pintor et al. 2022 (silent success); stopping at the first success spares mAP",
        run=full_run,
    ),
    "unit-test": Test(
        title="Does the claim's attack find adversaries that are known to exist?",
        sign=STRENGTH,
        threshold=f"less than {100 * FOUND:.0f} % of planted ones found",
        reference="Zimmermann et al. 2022",
        run=unit_test,
    ),
    "randomness": Test(
        title="Are scores the same at every evaluation?",
        sign=MASKING,
        threshold=f"a change of more than {RANDOM} of their spread",
        reference="AutoAttack check_randomized; Athalye et al. 2018 (EOT)",
        run=randomness,
    ),
    "gradients": Test(
        title="Is there a gradient, at the start, at random and after five steps?",
        sign=MASKING,
        threshold="any clip without one in a modality, or any right frame whose loss has no slope",
        reference="AutoAttack check_zero_gradients; Pintor et al. 2022",
        run=gradients,
    ),
    "derivatives": Test(
        title="Are gradients the slopes of the scores?",
        sign=MASKING,
        threshold=f"median relative error above {DERIVATIVE_ERROR}",
        reference="Athalye et al. 2018 (shattered gradients)",
        run=derivatives,
    ),
    "margins": Test(
        title="Are margins small enough for cross-entropy attacks of others?",
        sign=STRENGTH,
        threshold=f"99 % quantile of {MARGIN_99} or more",
        reference="Carlini et al. 2019; float32 softmax is flat from a margin of 17",
        run=margins,
    ),
    "landscape": Test(
        title="Is the loss smooth, and does it rise along the gradient?",
        sign=MASKING,
        threshold=f"jaggedness above {JAGGED}, or no more rise along the gradient than along noise",
        reference="Qin et al. 2019",
        run=landscape,
    ),
    "steps": Test(
        title="Do more steps find more?",
        sign=STRENGTH,
        threshold=f"more than {STEPS_GAP} mAP below the claim's attack",
        reference="Carlini et al. 2019",
        run=steps,
    ),
    "one-step": Test(
        title="Are many steps at least as strong as one?",
        sign=MASKING,
        threshold=f"FGSM more than {STEPS_GAP} mAP below the longest PGD, surely",
        reference="Athalye et al. 2018",
        run=one_step,
    ),
    "restarts": Test(
        title="Do more random starts find more?",
        sign=STRENGTH,
        threshold=f"the last doubling takes more than {STEPS_GAP} mAP",
        reference="Carlini et al. 2019",
        run=restarts,
    ),
    "budgets": Test(
        title="Does a larger budget always break more, in the end everything?",
        sign=MASKING,
        threshold=f"mAP rises by more than {RISE} with the budget, surely, or the whole valid "
        f"range leaves more than {CHANCE:.0f} % of frames right",
        reference="Carlini et al. 2019; Athalye et al. 2018; Pintor et al. 2022",
        run=budgets,
    ),
    "modalities": Test(
        title="Is the joint attack at least as strong as either alone?",
        sign=STRENGTH,
        threshold=f"more than {JOINT_GAP} mAP above the stronger single one",
        reference="Tian and Xu, CVPR 2021 (2104.02000)",
        run=modalities,
    ),
    "losses": Test(
        title="Does the claim's loss hide what other losses find?",
        sign=MASKING,
        threshold=f"another loss more than {LOSS_GAP} mAP below at equal cost, surely",
        reference="Croce and Hein 2020; Carlini et al. 2019",
        run=losses,
    ),
    "adaptive": Test(
        title="Does the claim's loss hide what attacks on embeddings find?",
        sign=MASKING,
        threshold=f"more than {LOSS_GAP} mAP below at equal cost, surely",
        reference="Tramer et al. 2020; Mustafa et al. 2019 fell from 32 % to 0.3 %",
        run=adaptive,
    ),
    "apgd": Test(
        title="Does an adaptive step size find more?",
        sign=STRENGTH,
        threshold=f"more than {STEPS_GAP} mAP below the claim's attack",
        reference="Croce and Hein 2020",
        run=apgd,
    ),
    "directions": Test(
        title="Can both classes be attacked?",
        sign=STRENGTH,
        threshold="one class turned over in less than 5 % where the other is in more than 50 %",
        reference="Carlini et al. 2019",
        run=directions,
    ),
    "best-iterate": Test(
        title="How often is the last iterate not the best?",
        sign=EVALUATION,
        threshold=f"more than {KEPT_GAP} mAP, were the last one used",
        reference="Pintor et al. 2022",
        run=best_iterate,
    ),
    "quantised": Test(
        title="What is left of the adversaries in files?",
        sign=EVALUATION,
        threshold=f"the claim scored rounded adversaries, {LOSS_GAP} mAP weaker than floats",
        reference="eps_v below 0.5 grey levels is erased by 8 bits",
        run=quantised,
    ),
    "noise": Test(
        title="Is random noise weaker than attacks by gradient?",
        sign=MASKING,
        threshold=f"more than {BLACK_BOX_GAP} mAP below their worst case",
        reference="Carlini et al. 2019",
        run=noise,
    ),
    "square": Test(
        title="Is an attack that only sees scores weaker than attacks by gradient?",
        sign=MASKING,
        threshold=f"more than {BLACK_BOX_GAP} mAP below their worst case",
        reference="AutoAttack check_square_sr; Andriushchenko et al. 2020",
        run=square,
    ),
    "transfer": Test(
        title="Are other detectors' adversaries weaker than its own?",
        sign=MASKING,
        threshold=f"more than {BLACK_BOX_GAP} mAP below the worst case of gradient attacks",
        reference="Carlini et al. 2019; Athalye et al. 2018",
        run=transferred,
    ),
}
"""Tests by name, in the order in which they are run: what is cheap comes first, and attacks without
gradients come after those with them, which they are compared to."""
