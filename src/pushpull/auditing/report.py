"""An audit's record as files: JSON with everything, tables, pages to read, pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from pushpull.auditing.page import audit_page, figures_of, finding_rows, pictures_of
from pushpull.auditing.plots import PICTURED
from pushpull.report.rendering import csv_text
from pushpull.report.tables import as_markdown, percent
from pushpull.runtime.files import output_dir, written_whole
from pushpull.runtime.records import write_json

__all__ = ["audit_lines", "write_report"]

PAGES = ("audit.json", "audit.csv", "audit.md", "audit.html")
"""Files that every audit writes, whatever else."""


def write_report(record: Mapping[str, Any], out: str | PathLike[str]) -> dict[str, Path]:
    """Write audit.html, audit.json, audit.csv, audit.md, and pictures with their numbers.

    Args:
        record: `Audit.as_dict()`.
        out: Folder.

    Returns:
        Files by name.

    Raises:
        OutputError: If a file cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine, write_report
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> found = examine(pp.load("synthetic-a"), clips, config=small, tests=["randomness"])
        >>> sorted(write_report(found.as_dict(), Path()))
        ['audit.csv', 'audit.html', 'audit.json', 'audit.md']
    """
    folder = output_dir(Path(out))
    write_json(folder / "audit.json", record, kind="audit")
    _write_csv(folder / "audit.csv", finding_rows(record))
    pictures = list(pictures_of(record))
    drawn = [picture["name"] for picture in pictures]
    for picture in pictures:
        for kind, content in (("png", picture["light"]), ("csv", picture["csv"])):
            with written_whole(folder / f"{picture['name']}.{kind}") as temporary:
                temporary.write_bytes(base64.b64decode(content))
    with written_whole(folder / "audit.md") as temporary:
        temporary.write_text("\n".join(_page(record, drawn)) + "\n", encoding="utf-8")
    with written_whole(folder / "audit.html") as temporary:
        temporary.write_text(audit_page(record, pictures), encoding="utf-8")
    made = [f"{name}.{kind}" for name in drawn for kind in ("png", "csv")]
    return {name: folder / name for name in (*PAGES, *made)}


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(csv_text(rows), encoding="utf-8", newline="")


def audit_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The short form for people: a line for each test, then the verdict.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, audit_lines, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> found = examine(pp.load("synthetic-a"), clips, config=small, tests=["randomness"])
        >>> print(next(audit_lines(found.as_dict())))
        reported randomness    scores are the same at every evaluation
    """
    for finding in record["tests"]:
        yield f"{finding['verdict']:8} {finding['test']:13} {finding['explanation']}"
    yield record["verdict"]["sentence"]
    yield record["verdict"]["advice"]


def _page(record: Mapping[str, Any], pictures: list[str]) -> Iterator[str]:
    clips, standing, cost = record["clips"], record["standing"], record["cost"]
    budget = ", ".join(f"{name} {value:g}" for name, value in record["budget"].items())
    yield f"# Audit of {as_markdown(record['detector']['name'])}"
    yield ""
    yield f"**{record['verdict']['sentence']}**"
    yield ""
    yield record["verdict"]["advice"]
    yield ""
    data = record["data"]
    origin = f", of {as_markdown(data['name'])} ({as_markdown(data['split'])})" if data else ""
    yield (
        f"{clips['tracks']} tracks ({clips['mostly_speaking']} mostly speaking), "
        f"{clips['frames']} frames, {100 * clips['speaking']:.0f} % speaking{origin}; "
        f"budget {budget}. "
        f"{100 * standing['left']:.0f} % of the way from chance to clean is left by the worst "
        f"adversary found for each track. The worst of all for each frame by itself, which no one "
        f"adversary need attain, leaves {percent(standing['bound'])} mAP."
    )
    yield ""
    decides = [f for f in record["tests"] if f["verdict"] != "reported"]
    measures = [f for f in record["tests"] if f["verdict"] == "reported"]
    yield "| test | verdict | what was found | flagged if | after |"
    yield "|---|---|---|---|---|"
    for f in decides:
        limit = f"{f['threshold']} (sign of {f['sign']})"
        yield _row([f["test"], f["verdict"], _found(f), limit, f["reference"]])
    yield ""
    if measures:
        yield "Measurements, which decide nothing:"
        yield ""
        yield "| measurement | what was found | after |"
        yield "|---|---|---|"
        for f in measures:
            yield _row([f["test"], _found(f), f["reference"]])
        yield ""
    over = standing["interval_over"]
    yield f"| attack | kind | mAP % (95 % interval over {over}) | accuracy % | counts |"
    yield "|---|---|---|---|---|"
    for run in record["runs"]:
        low, high = (f"{100 * end:.1f}" for end in run["interval"])
        left, accuracy = (f"{100 * run[k]:.1f}" for k in ("average_precision", "accuracy"))
        counts = "yes" if run["counts"] else run["outside"] or run["error"] or "other budget"
        yield _row([run["name"], run["kind"], f"{left} ({low} to {high})", accuracy, counts])
    yield ""
    for picture in pictures:
        yield f"![{PICTURED[picture].alt(record)}]({picture}.png)"
    yield ""
    yield (
        f"{cost['forwards']:.0f} evaluations of all clips, {cost['backwards']:.0f} of them with "
        f"a gradient; "
        f"{cost['attack_seconds']:.0f} s of attacks. Settings, seeds and versions: audit.json."
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |"


def _found(finding: Mapping[str, Any]) -> str:
    """What a test found, with its figures."""
    figures = figures_of(finding)
    return f"{finding['explanation']} ({figures})" if figures else str(finding["explanation"])
