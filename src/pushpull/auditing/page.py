"""An audit's record as one HTML page that needs no other file: the verdict first, tables last."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pushpull.auditing.plots import FIGURES, PICTURED
from pushpull.report.rendering import csv_text, encoded, picture, rendered
from pushpull.report.tables import percent

__all__ = ["audit_page", "figures_of", "finding_rows", "opening", "pictures_of"]

Record = Mapping[str, Any]

RATES = ("accuracy", "average precision", "share", "share of right frames")
"""What the name of a figure ends in that is a share, 0..1."""

LABEL, LINE, GAP = 115, 15, 4
"""Width and height of a label on the scale, and how far it is from its line."""

WIDTHS = {"wide-only": 640, "only-narrow": 320}
"""Of the scale on the first screen, on wide screens and on phones."""

SENTENCES = {
    "masked": "Masked: its gradient misleads attacks, so what they leave is no evidence.",
    "broken": "Broken at this budget",
    "overstated": "Overstated",
    "holds": "Holds",
    "inconclusive": "Inconclusive: what was run does not decide.",
}
"""How the verdict begins; those without a full stop go on with why."""


def audit_page(record: Record, pictures: Sequence[Mapping[str, str]] | None = None) -> str:
    """The page: verdict, for whom it holds, what was changed and is left; pictures; tables.

    Args:
        record: `Audit.as_dict()`.
        pictures: What `pictures_of` makes of it, where that has been made.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.auditing.page import audit_page
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> found = examine(pp.load("synthetic-a"), clips, config=small, tests=["margins"])
        >>> "Inconclusive: what was run does not decide." in audit_page(found.as_dict())
        True
    """
    return rendered(
        "pushpull.auditing",
        "audit.html",
        {"percent": lambda share: percent(share).removesuffix(" %"), "figures": figures_of},
        r=record,
        s=record["standing"],
        o=opening(record),
        pictures=list(pictures_of(record) if pictures is None else pictures),
        json=encoded(json.dumps(record, indent=1)),
        csv=encoded(csv_text(finding_rows(record))),
    )


def opening(record: Record) -> dict[str, Any]:
    """What the page says in words and in which order, so that it can be tested.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.auditing.page import opening
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> found = examine(pp.load("synthetic-a"), clips, config=small, tests=["margins"])
        >>> opening(found.as_dict())["changed"][0]
        'Sound: every sample by at most 0.0005 of full scale (-66 dB).'
    """
    s, why = record["standing"], list(record["verdict"]["why"])
    sentence = SENTENCES[record["verdict"]["word"]]
    if not sentence.endswith("."):
        sentence, why = f"{sentence}: {why[0]}.", why[1:]
    low, high = s["worst_interval"]
    tests = record["tests"]
    over = f"{s['drawn']} {s['interval_over']}" if s["drawn"] else s["interval_over"]
    deciding = [f for f in tests if f["verdict"] != "reported"]
    order = {"flag": 0, "not run": 1, "pass": 2}
    interval = f"{100 * low:.1f} to {100 * high:.1f}"
    return {
        "sentence": sentence,
        "points": why,
        "interval": interval,
        "over": over,
        "claimed": percent(s["claimed"]) + ("" if _stated(record) else ", as measured here"),
        "scales": [_scale(s, width, name) for name, width in WIDTHS.items()],
        "drawn": f"Scale from 0 to 100 mAP: chance {percent(s['chance'])}, what is left "
        f"{percent(s['worst'])} ({interval}), claimed {percent(s['claimed'])}, clean "
        f"{percent(s['clean'])}",
        "holds_for": list(_holds_for(record, over)),
        "changed": list(_changed(record)),
        "by_construction": list(_by_construction(record)),
        "deciding": sorted(deciding, key=lambda f: order[f["verdict"]]),
        "measured": [f for f in tests if f["verdict"] == "reported"],
        "flagged": sum(f["verdict"] == "flag" for f in tests),
        "runs": sorted(record["runs"], key=lambda run: float(run["average_precision"])),
    }


def figures_of(finding: Mapping[str, Any]) -> str:
    """The figures of a test for people: what its name says is a share, in percent.

    Examples:
        >>> from pushpull.auditing.page import figures_of
        >>> figures_of({"figures": {"clean, accuracy": 0.5, "jaggedness": 0.123456, "x": None}})
        'clean, accuracy: 50.0 %; jaggedness: 0.1235; x: none'
    """
    return "; ".join(f"{name}: {_figure(name, v)}" for name, v in finding["figures"].items())


COLUMNS = ("test", "verdict", "sign", "figure", "value", "threshold", "reference")


def finding_rows(record: Record) -> Iterator[Sequence[Any]]:
    """A line for each figure of each test, below a header.

    Examples:
        >>> from pushpull.auditing.page import finding_rows
        >>> next(finding_rows({"tests": []}))[:3]
        ('test', 'verdict', 'sign')
    """
    yield COLUMNS
    for finding in record["tests"]:
        said = [finding[name] for name in ("test", "verdict", "sign")]
        behind = [finding["threshold"], finding["reference"]]
        for name, value in finding["figures"].items() or [("", "")]:
            yield [*said, name, value, *behind]


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "none"
    return percent(value) if name.endswith(RATES) else f"{value:.4g}"


def _stated(record: Record) -> bool:
    """Whether somebody stated a figure: else the claim is what its attack leaves here."""
    claim = next((run for run in record["runs"] if run["name"] == "claim"), None)
    return claim is None or claim["average_precision"] != record["standing"]["claimed"]


def _holds_for(record: Record, over: str) -> Iterator[str]:
    clips, data = record["clips"], record["data"]
    origin = f" of {data['name']} ({data['split']})" if data else ""
    yield (
        f"For this detector, on {clips['tracks']} tracks{origin}: {clips['frames']} frames, "
        f"{100 * clips['speaking']:.0f} % speaking, none left out."
    )
    yield f"Intervals are over {over}. Of other data, larger budgets and people nothing is said."
    if record["config"]["suite"].endswith("-fast"):
        yield "A fast audit: it can refute a claim, and cannot show that one holds."


def _changed(record: Record) -> Iterator[str]:
    eps = record["budget"]
    loud = 20 * math.log10(eps["audio"])
    yield f"Sound: every sample by at most {eps['audio']:g} of full scale ({loud:.0f} dB)."
    yield f"Faces: every pixel by at most {eps['visual']:g} of 255 grey levels."
    rounded = "rounded to 8 bits and int16, average precision"
    for finding in record["tests"]:
        if finding["figures"].get(rounded) is not None:
            yield (
                "Written to files, where these hold whole grey levels, the claim's adversaries "
                f"leave {percent(finding['figures'][rounded])}."
            )


def _by_construction(record: Record) -> Iterator[str]:
    s = record["standing"]
    yield (
        f"Chance, {percent(s['chance'])}, is the share of frames that speak, and no ranking has a "
        "lower mAP: what is left cannot fall below it."
    )
    yield (
        f"The worst of all attacks for each frame by itself leaves {percent(s['bound'])}: it is "
        "never above any one attack, and no single adversary need attain it."
    )
    if not _stated(record):
        yield "No figure was stated: the claim is what its attack leaves on these tracks."
    for finding in record["tests"]:
        if finding["test"] == "unit-test" and finding["verdict"] != "not run":
            yield "Planted adversaries exist; how many of them are found is a finding."
        if finding["test"] == "budget" and finding["verdict"] == "reported":
            yield "Adversaries made here are measured again, and none leaves the budget."


def _scale(s: Mapping[str, Any], width: int, name: str) -> dict[str, Any]:
    """Places on a line from 0 to 100 mAP."""
    span = width - 40

    def x(share: float) -> float:
        return round(20 + span * share, 1)

    below = (("chance", s["chance"]), ("clean", s["clean"]))
    above = (("left", s["worst"]), ("claimed", s["claimed"]))
    return {
        "class": name, "width": width, "start": x(0), "end": x(1), "chance": x(s["chance"]),
        "clean": x(s["clean"]), "worst": x(s["worst"]), "low": x(s["worst_interval"][0]),
        "high": x(s["worst_interval"][1]),
        "marks": [*_marks(above, x, width, 32, (38, 52)), *_marks(below, x, width, 82, (52, 66))],
    }  # fmt: skip


def _marks(
    named: Sequence[tuple[str, float]], x: Any, width: int, y: int, tick: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """Two labels, that of the smaller value on the left; over each other where there is no room."""
    low, high = sorted(named, key=lambda one: one[1])
    left = "end" if x(low[1]) > LABEL else "start"
    right = "start" if width - x(high[1]) > LABEL else "end"
    crowded = left == right and x(high[1]) - x(low[1]) < LABEL
    away = (LINE if y > tick[0] else -LINE) if crowded else 0
    for (text, share), anchor, more in ((low, left, away), (high, right, 0)):
        yield {
            "x": x(share),
            "at": x(share) + (-GAP if anchor == "end" else GAP),
            "y": y + more,
            "tick": tick,
            "anchor": anchor,
            "text": f"{text} {100 * share:.1f}",
        }


def pictures_of(record: Record) -> Iterator[dict[str, str]]:
    """The drawings of an audit for a page, as `pushpull.report.rendering.picture` makes them.

    Examples:
        >>> from pushpull.auditing.page import pictures_of
        >>> list(pictures_of({"tests": [], "runs": [], "standing": {}}))
        []
    """
    for name, draw in FIGURES.items():
        figure = draw(record)
        if figure is None:
            continue
        pictured = PICTURED[name]
        yield picture(
            figure,
            name=name,
            alt=pictured.alt(record),
            caption=pictured.caption,
            rows=pictured.rows(record),
        )
