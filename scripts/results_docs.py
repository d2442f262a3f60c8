"""Put the results of a `pushpull reproduce` run into docs/results/index.md.

    python scripts/results_docs.py RUN --report docs/results/index.md --folder docs/results

Tables go between the marks of the report; results.json, the csv files and drawings into the folder.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.report.figures import draw_beyond, draw_embeddings, draw_figure3, draw_figure4


def findings(results: Mapping[str, Any]) -> list[str]:
    """The paper's statements, one by one."""
    lines = ["| the paper says | its numbers | ours | reproduced |", "|---|---|---|---|"]
    return lines + [
        f"| {f['claim']} | {f['paper']} | {f['ours']} | {'yes' if f['reproduced'] else '**no**'} |"
        for f in results["findings"]
    ]


def table(results: Mapping[str, Any]) -> list[str]:
    """Table 1: ours, the paper's in brackets."""
    found = results["table1"]
    columns = [*found["attacks"], "worst"]
    lines = [
        "| row | loss | trained against | seeds | clean | " + " | ".join(columns) + " |",
        "|---" * (5 + len(columns)) + "|",
    ]
    for row in found["rows"]:
        cells = [row["row"], row["loss"], row["training"], str(row["seeds"])]
        for name in ("clean", *columns):
            cell = row["clean"] if name == "clean" else row["columns"].get(name)
            if cell is None or cell["average_precision"] is None:
                cells.append("-")
                continue
            text = f"{100 * cell['average_precision']:.1f}"
            if cell["sd"] is not None:
                text += f" ± {100 * cell['sd']:.1f}"
            if name in row["paper"]:
                text += f" ({100 * row['paper'][name]:.4g})"
            cells.append(text)
        lines.append("| " + " | ".join(cells) + " |")
    subset = found["subset"]
    lines += [
        "",
        f"Clean: {subset['of_frames']} frames of {subset['of_tracks']} tracks. Attacks: the "
        f"{subset['frames']} frames that all {subset['models']} models get right. In brackets: the "
        "paper, on AVA.",
    ]
    return lines


def audits(results: Mapping[str, Any]) -> list[str]:
    """What the audits say."""
    lines = ["| row | verdict | tests flagged | strongest attack |", "|---|---|---|---|"]
    for row, record in results["audits"].items():
        flagged = ", ".join(t["test"] for t in record["tests"] if t["verdict"] == "flag") or "none"
        standing = record["standing"]
        lines.append(
            f"| {row} | {record['verdict']['sentence']} | {flagged} | {standing['strongest']}, "
            f"{100 * standing['strongest_average_precision']:.1f} |"
        )
    return lines


def norms(results: Mapping[str, Any]) -> list[str]:
    """Sizes of the embeddings, clean."""
    lines = [
        "| row | norm of e_a | norm of e_v | distance of pairs | margin |",
        "|---|---|---|---|---|",
    ]
    names = ("audio_norm", "visual_norm", "pair_distance", "margin")
    return lines + [
        f"| {row} | " + " | ".join(f"{kinds['clean'][n]:.2f}" for n in names) + " |"
        for row, kinds in results["norms"].items()
    ]


def made(results: Mapping[str, Any]) -> list[str]:
    """Command, versions, size."""
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    seconds = sum(s["seconds"] or 0 for s in results["stages"])
    return [
        f"Made by `{results['command']}`: {len(results['stages'])} stages, {seconds / 60:.0f} "
        f"minutes of stage time on a shared machine of two cores; {versions}.",
    ]


PARTS = {"findings": findings, "table": table, "audits": audits, "norms": norms, "made": made}


def main() -> None:
    """Write tables and drawings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    results = json.loads((asked.run / "results.json").read_text())
    text = asked.report.read_text()
    for name, lines_of in PARTS.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        lines = "\n".join(lines_of(results)) + "\n"
        text = mark.sub(lambda m, lines=lines: m[1] + lines + m[2], text)
    asked.report.write_text(text)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in ("results.json", "table1.csv", "figure3.csv"):
        shutil.copy(asked.run / name, asked.folder / name)
    draw_figure3(results["figure3"]).savefig(asked.folder / "figure3.png", dpi=90)
    draw_beyond(results["figure3"]).savefig(asked.folder / "beyond.png", dpi=90)
    draw_figure4(results["figure4"]).savefig(asked.folder / "figure4.png", dpi=90)
    stages = {s["name"]: s["key"] for s in results["stages"]}
    arrays = {}
    for row in ("A", "D3"):
        name = f"embeddings-{row}"
        with np.load(asked.run / "stages" / f"{name}-{stages[name]}" / "embeddings.npz") as file:
            arrays[row] = dict(file)
    draw_embeddings(arrays).savefig(asked.folder / "embeddings.png", dpi=90)


if __name__ == "__main__":
    main()
