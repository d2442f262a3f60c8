"""What a test of the audit says, and what all of them come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pushpull.report.tables import percent

__all__ = [
    "EVALUATION",
    "MASKING",
    "STRENGTH",
    "Finding",
    "NotRun",
    "Outcome",
    "Standing",
    "Verdict",
    "judged",
]

MASKING, STRENGTH, EVALUATION = "masking", "strength", "evaluation"

CLAIM_GAP = 0.05
"""Average precision that the worst case over all attacks may be below the claim. Ours: single
attacks may differ by 0.01 to 0.02 (the survey's limits), and their worst case per frame lies below
each."""

HALF = 0.5
"""Share of the way from chance to the clean average precision below which little is left. Ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a test found.

    Attributes:
        flag: Whether it is flagged; None where nothing it could find would be.
        figures: Numbers by name.
        text: What was found, in a sentence.
        data: For plots.
        sign: What the flag is a sign of, where that is not what the test's flags are.

    Examples:
        >>> from pushpull.auditing.findings import Outcome
        >>> Outcome(flag=False, figures={"change": 0.0}, text="scores are the same").flag
        False
    """

    flag: bool | None
    figures: Mapping[str, float | None]
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    sign: str = ""


class NotRun(Exception):
    """A test does not apply; the message says why.

    Examples:
        >>> from pushpull.auditing.findings import NotRun
        >>> raise NotRun("no surrogate was given (--surrogate)")
        Traceback (most recent call last):
            ...
        pushpull.auditing.findings.NotRun: no surrogate was given (--surrogate)
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Outcome of one test.

    Attributes:
        test: Name in `TESTS`.
        title: What is asked.
        verdict: "pass", "flag", "not run", or "reported" for a measurement that judges nothing.
        sign: What a flag is a sign of: "masking" (the gradient misleads attackers), "strength" (the
            claimed attack is too weak) or "evaluation" (the claim's measurement is wrong).
        figures: The numbers that decide, and others worth knowing, by name with units; accuracy,
            average precision and shares are 0..1.
        threshold: When it is flagged.
        reference: Where test and threshold come from.
        explanation: What was found, in a sentence.
        data: For plots.

    Examples:
        >>> from pushpull.auditing import Finding
        >>> finding = Finding(
        ...     test="randomness",
        ...     title="Are scores the same at every evaluation?",
        ...     verdict="pass",
        ...     sign="masking",
        ...     figures={"change between evaluations, spreads": 0.0},
        ...     threshold="a change of more than 0.001 of their spread",
        ...     reference="Athalye et al. 2018",
        ...     explanation="scores are the same at every evaluation",
        ... )
        >>> finding.as_dict()["verdict"]
        'pass'
    """

    test: str
    title: str
    verdict: str
    sign: str
    figures: Mapping[str, float | None]
    threshold: str
    reference: str
    explanation: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The numbers that a verdict rests on: average precision, as shares.

    Attributes:
        claimed: What is claimed.
        clean: Of the clips as they are.
        chance: Of random scores: the share of frames that speak.
        worst: Worst case per frame over all attacks.
        worst_by_track: Of the worst adversary of each track, which exists.
        strongest: Name of the attack that leaves least.
        strongest_average_precision: What it leaves.

    Examples:
        >>> from pushpull.auditing import Standing
        >>> standing = Standing(
        ...     claimed=0.7,
        ...     clean=0.95,
        ...     chance=0.45,
        ...     worst=0.5,
        ...     worst_by_track=0.55,
        ...     strongest="apgd",
        ...     strongest_average_precision=0.6,
        ... )
        >>> standing.left  # of the way from chance to clean
        0.1
    """

    claimed: float
    clean: float
    chance: float
    worst: float
    worst_by_track: float
    strongest: str
    strongest_average_precision: float

    @property
    def left(self) -> float:
        """Share of the way from chance to clean that the worst case leaves."""
        return (self.worst - self.chance) / max(self.clean - self.chance, 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The conclusion.

    Attributes:
        word: "robust", "masked" or "broken".
        reasons: Tests that decided it.
        sentence: All of it in words, with the numbers.

    Examples:
        >>> from pushpull.auditing import Verdict
        >>> Verdict(word="masked", reasons=("landscape",), sentence="masked (landscape)").word
        'masked'
    """

    word: str
    reasons: tuple[str, ...]
    sentence: str


def judged(findings: Sequence[Finding], standing: Standing) -> Verdict:
    """The verdict on a claim.

    - masked: a test whose flag is a sign of masking is flagged, so what is left under attacks by
      gradient is no evidence. Which test it was, and what the strongest attack leaves, is said.
    - broken: no sign of masking, and the claim does not hold: the worst case is more than
      `CLAIM_GAP` below it, or less than `HALF` of the way from chance to the clean one is left, or
      the claim's own evaluation is flagged.
    - robust: none of these. Flags of strength (the claim's attack was weak) are named; they count
      by what they took from the worst case.

    Tests that were not run are named in every verdict.

    Examples:
        >>> from pushpull.auditing import Standing, judged
        >>> standing = Standing(
        ...     claimed=0.7,
        ...     clean=0.95,
        ...     chance=0.45,
        ...     worst=0.5,
        ...     worst_by_track=0.55,
        ...     strongest="apgd",
        ...     strongest_average_precision=0.6,
        ... )
        >>> verdict = judged([], standing)
        >>> print(verdict.sentence)
        broken: the claim does not hold, 10 % of what the detector can do is left; claimed mAP
        70.0 %, clean 95.0 %, chance 45.0 %; strongest attack apgd leaves 60.0 %, the worst
        adversary of each track 55.0 %, the worst case per frame 50.0 %
    """
    flagged = {
        sign: tuple(f.test for f in findings if f.verdict == "flag" and f.sign == sign)
        for sign in (MASKING, STRENGTH, EVALUATION)
    }
    s = standing
    numbers = (
        f"claimed mAP {percent(s.claimed)}, clean {percent(s.clean)}, chance {percent(s.chance)}; "
        f"strongest attack {s.strongest} leaves {percent(s.strongest_average_precision)}, the "
        f"worst adversary of each track {percent(s.worst_by_track)}, the worst case per frame "
        f"{percent(s.worst)}"
    )
    falls_short = s.worst < s.claimed - CLAIM_GAP
    little = s.left < HALF
    reasons: tuple[str, ...]
    if flagged[MASKING]:
        word, reasons = "masked", flagged[MASKING]
        why = f"masked ({', '.join(reasons)})"
    elif falls_short or little or flagged[EVALUATION]:
        word, reasons = "broken", flagged[EVALUATION]
        parts = [f"the evaluation is flagged ({', '.join(reasons)})"] if reasons else []
        parts += ["the claim does not hold"] if falls_short else []
        parts += (
            [f"{100 * max(s.left, 0):.0f} % of what the detector can do is left"] if little else []
        )
        why = f"broken: {', '.join(parts)}"
    else:
        word, reasons, why = "robust", (), "robust at this budget"
    remarks = []
    if word == "masked" and flagged[EVALUATION]:
        remarks.append(f"the evaluation is flagged too ({', '.join(flagged[EVALUATION])})")
    if flagged[STRENGTH]:
        remarks.append(f"the claim's attack is weak ({', '.join(flagged[STRENGTH])})")
    missing = [f.test for f in findings if f.verdict == "not run"]
    if missing:
        remarks.append(f"not run: {', '.join(missing)}")
    return Verdict(word=word, reasons=reasons, sentence="; ".join([why, numbers, *remarks]))
