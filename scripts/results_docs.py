"""Put the results of a `pushpull reproduce` run into docs/results/index.md.

    python scripts/results_docs.py RUN --report docs/results/index.md --folder docs/results

Tables go between the marks of the report; results.json, the csv files, drawings and the scores that
they are made of into the folder.
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

from pushpull.report.figures import (
    draw_beyond,
    draw_embeddings,
    draw_figure3,
    draw_figure4,
    draw_map,
)


def findings(results: Mapping[str, Any]) -> list[str]:
    """The paper's statements, one by one."""
    lines = [
        "| the paper says | its numbers | ours | decided by (95 %) | reproduced |",
        "|---|---|---|---|---|",
    ]
    for f in results["findings"]:
        low, high = (100 * end for end in f["interval"])
        against = f", against {100 * f['threshold']:g}" if f["threshold"] else ""
        lines.append(
            f"| {f['claim']} | {f['paper']} | {f['ours']} | {f['decided_by']}: {low:.1f} to "
            f"{high:.1f}{against} | **{f['reproduced']}** |"
        )
    return lines


def table(results: Mapping[str, Any]) -> list[str]:
    """Table 1: all frames with interval, then those that all models get right, then the paper's."""
    found = results["table1"]
    columns = ["clean", *found["attacks"], "worst"]
    lines = [
        "| row | loss | trained against | seeds | " + " | ".join(columns) + " |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for row in found["rows"]:
        cells = [row["row"], row["loss"], row["training"], str(row["seeds"])]
        for name in columns:
            kinds = row["columns"].get(name)
            if kinds is None or kinds["all"]["average_precision"] is None:
                cells.append("-")
                continue
            text = _said(kinds["all"])
            right = kinds["right"]["average_precision"]
            if name != "clean" and right is not None:
                text += f"; {100 * right:.1f}"
            if name in row["paper"]:
                text += f" ({100 * row['paper'][name]:.4g})"
            cells.append(text)
        lines.append("| " + " | ".join(cells) + " |")
    subset = found["subset"]
    lines += [
        "",
        f"All {subset['of_frames']} frames of {subset['of_tracks']} tracks, with 95 % interval; "
        f"after the semicolon the {subset['frames']} frames that all {subset['models']} models "
        "that have learnt get right when nothing is attacked. In brackets: the paper, on AVA. "
        f"Chance: {100 * found['chance']['all']:.1f}.",
    ]
    return lines


def weights(results: Mapping[str, Any]) -> list[str]:
    """The map of AVIL's weights."""
    lines = [
        "| l1 | l4 | seeds | learnt | clean | PGD | PGD, of right | suite | suite, of right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in results["map"]["cells"]:
        left = [
            "-" if c[name] is None else _said(c[name])
            for name in ("clean", "pgd", "pgd_right", "suite", "suite_right")
        ]
        best = " (best on validation)" if [c["l1"], c["l4"]] == results["map"]["best"] else ""
        lines.append(
            f"| {c['l1']:g} | {c['l4']:g}{best} | {c['seeds']} | {'yes' if c['learnt'] else 'no'} "
            f"| {' | '.join(left)} |"
        )
    return lines


def relations(results: Mapping[str, Any]) -> list[str]:
    """How embeddings lie against what is left, over the map."""
    lines = ["| what with what | cells | rank correlation | 95 % |", "|---|---|---|---|"]
    return lines + [
        f"| {name} | {one['cells']} | {one['value']:.2f} | {one['interval'][0]:.2f} to "
        f"{one['interval'][1]:.2f} |"
        for name, one in results["map"]["geometry"].items()
    ]


def _said(cell: Mapping[str, Any]) -> str:
    low, high = (100 * end for end in cell["interval"])
    return f"{100 * cell['average_precision']:.1f} [{low:.1f}, {high:.1f}]"


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
        "minutes of stage time on shared machines, of two cores and of sixteen with a GPU "
        f"(done.json of each stage has its versions); {versions}.",
    ]


PARTS = {
    "findings": (findings, "findings"),
    "table": (table, "table1"),
    "map": (weights, "map"),
    "relations": (relations, "map"),
    "audits": (audits, "audits"),
    "norms": (norms, "norms"),
    "made": (made, "stages"),
}
"""Sections of the page: how each is written, and what of the results it needs."""

FIGURES = {
    "figure3": [("figure3", draw_figure3), ("beyond", draw_beyond)],
    "figure4": [("figure4", draw_figure4)],
    "map": [("map", draw_map)],
}
LEFT = (
    "done.json", "scores.npz", "geometry.json", "norms.json", "training.json", "stats.json",
    "audit/audit.json",
)  # fmt: skip
"""Files of stages that are kept with the results: enough to make them again without training."""


def main() -> None:
    """Write tables and drawings; keep what the results are made of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    results = json.loads((asked.run / "results.json").read_text())
    text = asked.report.read_text()
    for name, (lines_of, part) in PARTS.items():
        if results.get(part):
            mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
            lines = "\n".join(lines_of(results)) + "\n"
            text = mark.sub(lambda m, lines=lines: m[1] + lines + m[2], text)
    asked.report.write_text(text)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in ("results.json", "table1.csv", "figure3.csv", "map.csv"):
        if (asked.run / name).is_file():
            shutil.copy(asked.run / name, asked.folder / name)
    for part, drawings in FIGURES.items():
        for name, draw in drawings if part in results else []:
            draw(results[part]).savefig(asked.folder / f"{name}.png", dpi=90)
    stages = {s["name"]: s["key"] for s in results["stages"]}
    arrays = {}
    for row in ("A", "D3"):
        name = f"embeddings-{row}"
        if name in stages:
            path = asked.run / "stages" / f"{name}-{stages[name]}" / "embeddings.npz"
            if path.is_file():
                with np.load(path) as file:
                    arrays[row] = dict(file)
    if arrays:
        draw_embeddings(arrays).savefig(asked.folder / "embeddings.png", dpi=90)
    keep(asked.run / "stages", asked.folder / "stages")


def keep(stages: Path, to: Path) -> None:
    """Copy what small files of the stages there are; weights and data are left."""
    for folder in sorted(path for path in stages.iterdir() if path.is_dir()):
        trained = (folder / "model.safetensors").is_file() or (folder / "data").is_dir()
        for name in LEFT:
            # A training without its weights is not done, and would be done again if asked for.
            if (folder / name).is_file() and not (trained and name == "done.json"):
                (to / folder.name / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / name, to / folder.name / name)


if __name__ == "__main__":
    main()
