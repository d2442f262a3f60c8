"""How a training run learnt, epoch by epoch: a table for docs/measurements/training.md.

    python scripts/learning_curve.py RUN [--report docs/measurements/training.md]

RUN is the folder of a run of `pushpull train`.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from statistics import mean

from real_clips import replace_section


def main() -> None:
    """Read the logs, print the table, write it into the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    text = "\n".join(lines(args.run)) + "\n"
    print(text)
    if args.report:
        replace_section(args.report, text, "learning-curve")


def rows(path: Path) -> list[dict[str, float]]:
    """A csv file of numbers."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def lines(run: Path) -> list[str]:
    """What was learnt from what, and the table; an epoch's steps share its learning rate."""
    made = json.loads((run / "config.json").read_text())
    config, optim = made["config"], made["config"]["optim"]
    steps, epochs = rows(run / "steps.csv"), rows(run / "epochs.csv")
    found = [
        f"{config['model']['name']}, options {config['model']['options'] or 'none'}, Adam with "
        f"{optim['lr']:g} x {optim['decay']:g} an epoch, batches of "
        f"{config['data']['batch_frames']} frames, {config['run']['precision']}, seed "
        f"{config['run']['seed']}; data: {made['data']['made']}; "
        f"torch {made['versions']['torch']}.",
        "",
        "| epoch | steps | mean training loss | validation mAP, % |",
        "|---|---|---|---|",
    ]
    for row in epochs:
        rate = optim["lr"] * optim["decay"] ** (row["epoch"] - 1)
        losses = [s["total"] for s in steps if abs(s["lr"] / rate - 1) < 1e-6]
        ap = 100 * row["val_average_precision"]
        found.append(f"| {row['epoch']:.0f} | {len(losses)} | {mean(losses):.3f} | {ap:.1f} |")
    return found


if __name__ == "__main__":
    main()
