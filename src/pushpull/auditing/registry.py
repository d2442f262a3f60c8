"""The tests of the audit, each a function of the runs.

A test says whether it is flagged, or that it only reports, with the numbers that decide; what a
flag is a sign of stands in `TESTS` beside where test and threshold come from. Differences of mAP
that decide about masking have to hold in 97.5 % of draws of tracks as well, so that a small set of
tracks is no sign.

Sources: Carlini et al., "On Evaluating Adversarial Robustness", 2019 (arXiv 1902.06705); Athalye et
al., "Obfuscated Gradients", ICML 2018 (1802.00420); Tramer et al., "On Adaptive Attacks", NeurIPS
2020 (2002.08347); Croce and Hein, "AutoAttack", ICML 2020 (2003.01690) and its checks.py; Pintor et
al., "Indicators of Attack Failure", NeurIPS 2022 (2106.09947); Zimmermann et al., "Increasing
Confidence", NeurIPS 2022; Andriushchenko et al., "Square Attack", ECCV 2020 (1912.00049); Qin et
al., "Local Linearization", NeurIPS 2019 (1907.02610). Where no source gives a limit in mAP, the
constants in `thresholds` do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pushpull.auditing import masking, measurement, probes, strength, thresholds
from pushpull.auditing.findings import EVALUATION, MASKING, STRENGTH, Finding, NotRun, Outcome
from pushpull.auditing.runs import AttackRuns

__all__ = ["TESTS", "Test", "examined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test of the audit.

    Attributes:
        title: What is asked.
        sign: What a flag is a sign of.
        threshold: When it is flagged; "" for a measurement that never is.
        reference: Source.
        run: The test.

    Examples:
        >>> from pushpull.auditing import TESTS
        >>> test = TESTS["randomness"]
        >>> test.title, test.sign
        ('Are scores the same at every evaluation?', 'evaluation')
    """

    __test__ = False  # not one of pytest's

    title: str
    sign: str
    threshold: str
    reference: str
    run: Callable[[AttackRuns], Outcome]


def points(share: float) -> str:
    """A share as percent, or a difference of average precision as points of mAP."""
    return f"{100 * share:g}"


VERDICTS = {True: "flag", False: "pass", None: "reported"}

BEATEN = (
    f"more than {points(thresholds.BLACK_BOX_GAP)} mAP below the worst adversaries that the "
    "detector's own gradient finds, surely"
)


def examined(name: str, runs: AttackRuns) -> Finding:
    """The finding of one test.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, Claim
        >>> from pushpull.auditing.registry import examined
        >>> from pushpull.auditing.runs import AttackRuns
        >>> from pushpull.runtime.kept import Store
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
        >>> examined("transfer", runs).verdict
        'not run'
    """
    test = TESTS[name]
    said: dict[str, Any] = {
        "test": name, "title": test.title, "sign": test.sign, "threshold": test.threshold,
        "reference": test.reference,
    }  # fmt: skip
    try:
        found = test.run(runs)
    except NotRun as why:
        return Finding(**said, verdict="not run", figures={}, explanation=str(why))
    said["sign"] = found.sign or test.sign
    return Finding(
        **said,
        verdict=VERDICTS[found.flag],
        figures=found.figures,
        explanation=found.text,
        data=found.data,
    )


TESTS: dict[str, Test] = {
    "budget": Test(
        title="Do the claim's adversaries keep to the budget, measured on what is scored?",
        sign=EVALUATION,
        threshold="adversaries of the claim's own with any element outside the ball, the valid "
        "range or the clip",
        reference="Carlini et al. 2019; AV-Robustness-CVPR21's MIM left its ball by 11 times",
        run=measurement.budget,
    ),
    "full-run": Test(
        title="Is the claim's attack run to its end, with the best iterate kept?",
        sign=EVALUATION,
        threshold=f"adversaries of the claim's own leave more than {points(thresholds.KEPT_GAP)} "
        "mAP above those of the same attack run here",
        reference="Pintor et al. 2022 (silent success); stopping at the first success spares mAP",
        run=measurement.full_run,
    ),
    "unit-test": Test(
        title="Does the claim's attack find adversaries that are known to exist?",
        sign=STRENGTH,
        threshold=f"less than {points(thresholds.FOUND)} % of planted ones found",
        reference="Zimmermann et al. 2022",
        run=measurement.unit_test,
    ),
    "randomness": Test(
        title="Are scores the same at every evaluation?",
        sign=EVALUATION,
        threshold="",
        reference="AutoAttack check_randomized; Athalye et al. 2018 (EOT)",
        run=masking.randomness,
    ),
    "gradients": Test(
        title="Is there a gradient, at the start, at random and after five steps?",
        sign=MASKING,
        threshold="any clip without one in a modality where noise moves its scores, or any right "
        "frame whose loss has no slope",
        reference="AutoAttack check_zero_gradients; Pintor et al. 2022",
        run=probes.gradients,
    ),
    "derivatives": Test(
        title="Are gradients the slopes of the scores?",
        sign=MASKING,
        threshold=f"median relative error above {thresholds.DERIVATIVE_ERROR}",
        reference="Athalye et al. 2018 (shattered gradients)",
        run=probes.derivatives,
    ),
    "agreement": Test(
        title="Does the gradient say anything of the next step?",
        sign=MASKING,
        threshold="median cosine with gradients near by below "
        + ", ".join(f"{c:g} at {r:g}" for r, c in thresholds.AGREEMENT.items())
        + " budgets, or a step brings less than "
        + ", ".join(f"{points(g)} % at {r:g}" for r, g in thresholds.GAIN.items())
        + " budgets of what is promised; and then one step takes no more than chance, varies by "
        f"more than {points(thresholds.VARIES)} % from point to point, or along averages takes "
        f"{thresholds.AVERAGED:g} times as much",
        reference="Athalye et al. 2018 (shattered gradients)",
        run=probes.agreement,
    ),
    "margins": Test(
        title="Are margins small enough for cross-entropy attacks of others?",
        sign=STRENGTH,
        threshold=f"99 % quantile of {thresholds.MARGIN_99} or more",
        reference="Carlini et al. 2019; float32 softmax is flat from a margin of 17",
        run=strength.margins,
    ),
    "landscape": Test(
        title="Is the loss smooth, and does it rise along the gradient?",
        sign=MASKING,
        threshold=f"jaggedness above {thresholds.JAGGED}, or the gradient rises no more than noise",
        reference="Qin et al. 2019",
        run=probes.landscape,
    ),
    "suite": Test(
        title="Does the standard attack find more than the claim's?",
        sign=STRENGTH,
        threshold=f"more than {points(thresholds.STEPS_GAP)} mAP below the claim's attack, surely",
        reference="Croce and Hein 2020",
        run=strength.suite,
    ),
    "steps": Test(
        title="Do more steps find more?",
        sign=STRENGTH,
        threshold=f"more than {points(thresholds.STEPS_GAP)} mAP below the claim's attack",
        reference="Carlini et al. 2019",
        run=strength.steps,
    ),
    "one-step": Test(
        title="Are many steps at least as strong as one?",
        sign=MASKING,
        threshold=f"FGSM more than {points(thresholds.STEPS_GAP)} mAP below the longest PGD, "
        "surely",
        reference="Athalye et al. 2018",
        run=masking.one_step,
    ),
    "restarts": Test(
        title="Do more random starts find more?",
        sign=STRENGTH,
        threshold=f"the last doubling takes more than {points(thresholds.STEPS_GAP)} mAP",
        reference="Carlini et al. 2019",
        run=strength.restarts,
    ),
    "budgets": Test(
        title="Does a larger budget always break more, in the end everything?",
        sign=MASKING,
        threshold=f"mAP rises by more than {points(thresholds.RISE)} with the budget, surely, or "
        f"the whole valid range leaves more than {points(thresholds.CHANCE)} % of frames right and "
        f"other clips in place of each turn over {points(thresholds.MISSED)} % more",
        reference="Carlini et al. 2019; Athalye et al. 2018; Pintor et al. 2022",
        run=masking.budgets,
    ),
    "modalities": Test(
        title="Is the joint attack at least as strong as either alone?",
        sign=STRENGTH,
        threshold=f"more than {points(thresholds.JOINT_GAP)} mAP above the stronger single one",
        reference="Tian and Xu, CVPR 2021 (2104.02000)",
        run=strength.modalities,
    ),
    "losses": Test(
        title="Does the claim's loss hide what other losses find?",
        sign=STRENGTH,
        threshold=f"another loss more than {points(thresholds.LOSS_GAP)} mAP below at equal cost, "
        "surely",
        reference="Croce and Hein 2020; Carlini et al. 2019",
        run=masking.losses,
    ),
    "adaptive": Test(
        title="Does the claim's loss hide what attacks on embeddings find?",
        sign=STRENGTH,
        threshold=f"more than {points(thresholds.LOSS_GAP)} mAP below at equal cost, surely",
        reference="Tramer et al. 2020; Mustafa et al. 2019 fell from 32 % to 0.3 %",
        run=masking.adaptive,
    ),
    "directions": Test(
        title="Can both classes be attacked?",
        sign=STRENGTH,
        threshold="one class turned over in less than 5 % where the other is in more than 50 %",
        reference="Carlini et al. 2019",
        run=strength.directions,
    ),
    "best-iterate": Test(
        title="How often is the last iterate not the best?",
        sign=EVALUATION,
        threshold="",
        reference="Pintor et al. 2022",
        run=measurement.best_iterate,
    ),
    "quantised": Test(
        title="What is left of the adversaries in files?",
        sign=EVALUATION,
        threshold="adversaries of the claim's own were rounded, and are "
        f"{points(thresholds.LOSS_GAP)} mAP weaker than floats",
        reference="eps_v below 0.5 grey levels is erased by 8 bits",
        run=measurement.quantised,
    ),
    "averaged": Test(
        title="Are averaged gradients no stronger than its own?",
        sign=MASKING,
        threshold=BEATEN,
        reference="Athalye et al. 2018 (expectation over transformation)",
        run=masking.averaged,
    ),
    "bypass": Test(
        title="Are gradients past what stands in front no stronger than its own?",
        sign=MASKING,
        threshold=BEATEN,
        reference="Athalye et al. 2018 (BPDA)",
        run=masking.bypass,
    ),
    "noise": Test(
        title="Is random noise weaker than attacks by gradient?",
        sign=MASKING,
        threshold=BEATEN,
        reference="Carlini et al. 2019",
        run=masking.noise,
    ),
    "square": Test(
        title="Is an attack that only sees scores weaker than attacks by gradient?",
        sign=MASKING,
        threshold=BEATEN,
        reference="AutoAttack check_square_sr; Andriushchenko et al. 2020",
        run=masking.square,
    ),
    "transfer": Test(
        title="Are other detectors' adversaries weaker than its own?",
        sign=MASKING,
        threshold=BEATEN,
        reference="Carlini et al. 2019; Athalye et al. 2018",
        run=masking.transferred,
    ),
}
"""Tests by name, in the order in which they are run: what is cheap comes first, and attacks without
gradients come after those with them, which they are compared to."""
