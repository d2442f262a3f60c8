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
    "WORDS",
    "Finding",
    "NotRun",
    "Outcome",
    "Standing",
    "Verdict",
    "judged",
]

MASKING, STRENGTH, EVALUATION = "masking", "strength", "evaluation"

CLAIM_GAP = 0.05
"""Average precision that the worst adversaries found may leave below the claim. Ours: single
attacks may differ by 0.01 to 0.02 (the survey's limits), and the worst of many lies below each."""

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
        verdict: "pass", "flag", "not run", or "reported" for a measurement that decides nothing.
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
    """The numbers that a verdict rests on: average precision, as shares; intervals of 95 %.

    Attributes:
        claimed: What is claimed.
        clean: Of the clips as they are.
        chance: Of random scores: the share of frames that speak.
        worst: Of the worst adversary found for each track: each exists.
        worst_interval: Of that.
        bound: Worst case per frame over all attacks: no adversary need attain it.
        above: Interval of how far the claim is above the worst adversaries, on the same draws.
        beyond_half: Interval of how far these are above half of the way from chance to clean.
        strongest: Name of the single attack that leaves least.
        strongest_average_precision: What it leaves.
        strongest_cost: Its evaluations and gradients of each clip.
        missing: Evidence that a verdict of "holds" needs and that is not there.
        interval_over: What intervals are over: "people" or "videos" with several tracks each, else
            "tracks".
        drawn: How many of those there are.

    Examples:
        >>> from pushpull.auditing import Standing
        >>> standing = Standing(
        ...     claimed=0.7,
        ...     clean=0.95,
        ...     chance=0.45,
        ...     worst=0.5,
        ...     worst_interval=(0.46, 0.55),
        ...     bound=0.45,
        ...     above=(0.12, 0.28),
        ...     beyond_half=(-0.26, -0.13),
        ...     strongest="suite",
        ...     strongest_average_precision=0.5,
        ... )
        >>> standing.left  # of the way from chance to clean
        0.1
    """

    claimed: float
    clean: float
    chance: float
    worst: float
    worst_interval: tuple[float, float]
    bound: float
    above: tuple[float, float]
    beyond_half: tuple[float, float]
    strongest: str
    strongest_average_precision: float
    strongest_cost: tuple[int, int] = (0, 0)
    missing: tuple[str, ...] = ()
    interval_over: str = "tracks"
    drawn: int = 0

    @property
    def left(self) -> float:
        """Share of the way from chance to clean that the worst adversaries leave."""
        return (self.worst - self.chance) / max(self.clean - self.chance, 1e-9)

    @property
    def over(self) -> str:
        """What intervals are over, with how many there are: "12 people"."""
        return f"{self.drawn} {self.interval_over}" if self.drawn else self.interval_over


WORDS = ("masked", "broken", "overstated", "holds", "inconclusive")
"""What a verdict can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The conclusion.

    Attributes:
        word: One of `WORDS`.
        reasons: Tests that decided it.
        sentence: All of it in words, with the numbers.
        advice: What broke the detector or would, what that cost, and what to run next.
        why: What decided, or what is missing, point by point.

    Examples:
        >>> from pushpull.auditing import Verdict
        >>> Verdict(word="masked", reasons=("agreement",), sentence="masked", advice="").word
        'masked'
    """

    word: str
    reasons: tuple[str, ...]
    sentence: str
    advice: str
    why: tuple[str, ...] = ()


def judged(findings: Sequence[Finding], standing: Standing) -> Verdict:
    """The verdict on a claim: no point estimate decides, intervals do.

    These are over people or videos with several tracks each, else over tracks.

    - masked: a test whose flag is a sign of masking is flagged, so what is left under attacks by
      gradient is no evidence. Which test it was, and what the worst adversaries leave, is said.
    - broken: less than `HALF` of the way from chance to the clean average precision is left, and
      the interval excludes half.
    - overstated: the claim is more than `CLAIM_GAP` above what is left, and the interval of the
      difference excludes 0; or the claim's own evaluation is flagged.
    - holds: none of these; all evidence is there; with 97.5 % confidence the claim is no more than
      `CLAIM_GAP` above what is left, and more than half is left.
    - inconclusive: else: evidence is missing, or tracks are too few to tell.

    Flags of strength (the claim's attack was weak) are named; they count by what they took.

    Examples:
        >>> from pushpull.auditing import Standing, judged
        >>> standing = Standing(
        ...     claimed=0.7,
        ...     clean=0.95,
        ...     chance=0.45,
        ...     worst=0.5,
        ...     worst_interval=(0.46, 0.55),
        ...     bound=0.45,
        ...     above=(0.12, 0.28),
        ...     beyond_half=(-0.26, -0.13),
        ...     strongest="suite",
        ...     strongest_average_precision=0.5,
        ... )
        >>> verdict = judged([], standing)
        >>> print(verdict.sentence)
        broken: 10 % of what the detector can do is left; claimed mAP 70.0 %, clean 95.0 %,
        chance 45.0 %; the worst adversary found for each track leaves 50.0 % (46.0 to 55.0 %
        over tracks)
    """
    s = standing
    flagged = {
        sign: tuple(f.test for f in findings if f.verdict == "flag" and f.sign == sign)
        for sign in (MASKING, STRENGTH, EVALUATION)
    }
    low, high = s.worst_interval
    numbers = (
        f"claimed mAP {percent(s.claimed)}, clean {percent(s.clean)}, chance {percent(s.chance)}; "
        f"the worst adversary found for each track leaves {percent(s.worst)} "
        f"({100 * low:.1f} to {percent(high)} over {s.over})"
    )
    word, reasons, why = _ruled(flagged, s)
    remarks = []
    if word in ("masked", "broken") and flagged[EVALUATION]:
        remarks.append(f"the evaluation is flagged too ({', '.join(flagged[EVALUATION])})")
    if flagged[STRENGTH]:
        remarks.append(f"the claim's attack is weak ({', '.join(flagged[STRENGTH])})")
    absent = [f.test for f in findings if f.verdict == "not run"]
    if absent:
        remarks.append(f"not run: {', '.join(absent)}")
    return Verdict(
        word=word,
        reasons=reasons,
        sentence="; ".join([f"{word}: {'; '.join(why)}", numbers, *remarks]),
        advice=_advice(word, s),
        why=why,
    )


def _ruled(
    flagged: Mapping[str, tuple[str, ...]], s: Standing
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Word, tests that decided it, and why, point by point."""
    if flagged[MASKING]:
        tests = flagged[MASKING]
        why = f"gradients mislead attacks, so what those leave says nothing ({', '.join(tests)})"
        return "masked", tests, (why,)
    if s.beyond_half[1] < 0:
        share = f"{100 * max(s.left, 0):.0f} % of what the detector can do is left"
        return "broken", flagged[EVALUATION], (share,)
    if flagged[EVALUATION]:
        tests = flagged[EVALUATION]
        return "overstated", tests, (f"its own evaluation is flagged ({', '.join(tests)})",)
    gap = s.claimed - s.worst
    if gap > CLAIM_GAP and s.above[0] > 0:
        low, high = (f"{100 * end:.1f}" for end in s.above)
        why = f"the claim is {100 * gap:.1f} mAP ({low} to {high}) above what is left"
        return "overstated", (), (why,)
    few = []
    if s.above[1] > CLAIM_GAP:
        few.append(f"the claim may be up to {100 * s.above[1]:.1f} mAP above what is left")
    if s.beyond_half[0] <= 0:
        few.append("whether half of what the detector can do is left is within chance")
    if few:
        few[-1] += f": more {s.interval_over} would tell"
    if few or s.missing:
        return "inconclusive", (), (*few, *s.missing)
    why = (
        "at this budget, against all that was tried; the claim is at most "
        f"{100 * max(s.above[1], 0):.1f} mAP above what is left"
    )
    return "holds", (), (why,)


def _advice(word: str, s: Standing) -> str:
    """What would break it, what that costs, what to do next."""
    evaluations, gradients = s.strongest_cost
    cost = f"{evaluations} evaluations of each clip, {gradients} of them with a gradient"
    found = (
        f"The strongest single attack, {s.strongest}, leaves "
        f"{percent(s.strongest_average_precision)} for {cost}."
    )
    following = {
        "masked": "Do not rely on attacks by its gradient: attack it from other detectors "
        "(--surrogate), past the module that hides the gradient (--bypass), with averaged "
        "gradients and by scores, as the suite does; remove what hides the gradient.",
        "broken": "Take it for undefended at this budget; harden it (pushpull train) and audit "
        "again.",
        "overstated": f"State at most {percent(s.worst)} on these tracks, or what the suite leaves "
        "on more.",
        "holds": "Longer runs, more tracks, larger budgets and attacks made for this detector may "
        "still break it; state the budget and the suite's version with the claim.",
        "inconclusive": "Run the whole audit, without --fast, on more tracks, with a surrogate "
        "(--surrogate).",
    }[word]
    return f"{found} {following}"
