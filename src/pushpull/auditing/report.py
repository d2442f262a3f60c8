"""An audit's record as files: JSON with everything, a table, a page to read, pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pushpull.auditing.plots import FIGURES
from pushpull.runtime.files import written_whole

__all__ = ["audit_lines", "write_report"]

COLUMNS = ("test", "verdict", "sign", "figure", "value", "threshold", "reference")


def write_report(record: Mapping[str, Any], out: Path) -> None:
    """Write audit.json, audit.csv, audit.md and the pictures that the record has data for.

    Args:
        record: `Audit.as_dict()` with weights, data and versions.
        out: Folder, which is there.

    Raises:
        OutputError: If a file cannot be written.
    """
    with written_whole(out / "audit.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    with (
        written_whole(out / "audit.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for finding in record["tests"]:
            said = [finding[name] for name in ("test", "verdict", "sign")]
            behind = [finding["threshold"], finding["reference"]]
            for name, value in finding["figures"].items() or [("", "")]:
                writer.writerow([*said, name, value, *behind])
    drawn = []
    for name, draw in FIGURES.items():
        figure = draw(record)
        if figure is None:
            continue
        with written_whole(out / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=110)
        drawn.append(f"{name}.png")
    with written_whole(out / "audit.md") as temporary:
        temporary.write_text("\n".join(_page(record, drawn)) + "\n")


def audit_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The short form for people: a line for each test, then the verdict."""
    for finding in record["tests"]:
        yield f"{finding['verdict']:8} {finding['test']:13} {finding['explanation']}"
    yield record["verdict"]["sentence"]


def _page(record: Mapping[str, Any], pictures: list[str]) -> Iterator[str]:
    victims, standing, cost = record["victims"], record["standing"], record["cost"]
    budget = ", ".join(f"{name} {value:g}" for name, value in record["budget"].items())
    yield f"# Audit of {record['detector']['name']}"
    yield ""
    yield f"**{record['verdict']['sentence']}**"
    yield ""
    yield (
        f"{victims['tracks']} tracks ({victims['mostly_speaking']} mostly speaking), "
        f"{victims['frames']} frames, {100 * victims['speaking']:.0f} % speaking, of "
        f"{record['data']['root']} ({record['data']['split']}); budget {budget}. "
        f"{100 * standing['left']:.0f} % of the way from chance to clean is left in the worst case."
    )
    yield ""
    yield "| test | verdict | what was found | flagged if | after |"
    yield "|---|---|---|---|---|"
    for f in record["tests"]:
        figures = "; ".join(f"{k}: {_number(v)}" for k, v in f["figures"].items())
        cells = [f["test"], f["verdict"], f["explanation"] + (f" ({figures})" if figures else "")]
        cells += [f"{f['threshold']} (sign of {f['sign']})", f["reference"]]
        yield "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
    yield ""
    yield "| attack | kind | mAP % (95 % interval over tracks) | accuracy % | counts |"
    yield "|---|---|---|---|---|"
    for run in record["runs"]:
        interval = f"{run['map']:.1f} ({run['low']:.1f} to {run['high']:.1f})"
        counts = "yes" if run["counts"] else run["outside"] or run["error"] or "other budget"
        yield f"| {run['name']} | {run['kind']} | {interval} | {run['accuracy']:.1f} | {counts} |"
    yield ""
    for picture in pictures:
        yield f"![{picture}]({picture})"
    yield ""
    yield (
        f"{cost['forwards']:.0f} evaluations of all victims, {cost['backwards']:.0f} of them with "
        f"a gradient; "
        f"{cost['attack_seconds']:.0f} s of attacks. Settings, seeds and versions: audit.json."
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
