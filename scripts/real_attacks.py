"""Attack published weights on real clips: tables and a plot for docs/measurements/real-clips.md.

    python scripts/real_attacks.py CLIPS --out OUT [--part 1/2] [--report docs/measurements/...md]

CLIPS is as for `real_clips.py`. For each person the first clip in which they speak and the first in
which they are silent are attacked, 30 frames from the middle of the longest track: every method,
modality and budget on each of the two detectors, scored on both. Results are kept per clip in OUT,
so a stopped run goes on where it was, and parts may run side by side. The report is written from
what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_clips import replace_section

from pushpull.attacks import attack
from pushpull.detection import find_faces, read_clips
from pushpull.detection.clips import CROPS
from pushpull.errors import MediaError, PushPullError
from pushpull.metrics import average_precision
from pushpull.models.weights import resolve_detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.schema import Batch, Clip

WEIGHTS = ("light-asd-ava", "lr-asd-ava")
FRAMES = 30
METHODS = ("bim", "mim", "pgd")
MODALITIES = ("audio", "visual", "both")
EPS_AV = (1, 2, 3, 5)
# Beyond Push-Pull's range, and with a stronger search, for the joint attack only.
FURTHER = (("pgd", 10, 5), ("pgd", 20, 5), ("apgd", 5, 100))
LONG_STEPS = 100
EVERY_LONG = 3
"""Attacks of so many steps are run on every third clip."""


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="1/1", help="I/N: every N-th clip from the I-th")
    parser.add_argument("--face-finder", default="yunet", choices=["dlib", "yunet"])
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    chosen = one_of_each(json.loads((args.clips / "index.json").read_text()))
    models = {name: resolve_detector(name, device="cpu") for name in WEIGHTS}
    part, parts = (int(n) for n in args.part.split("/"))
    rows = []
    for i, clip in enumerate(chosen):
        plan = (clip["sha256"], FRAMES, METHODS, MODALITIES, EPS_AV, FURTHER, args.face_finder)
        cached = args.out / f"{hashlib.sha256(repr(plan).encode()).hexdigest()[:16]}.json"
        if not cached.exists() and i % parts == part - 1:
            start = time.perf_counter()
            record = measure(
                args.clips / clip["file"], clip, args.face_finder, models, long=i % EVERY_LONG == 0
            )
            cached.write_text(json.dumps(record))
            spent_s = time.perf_counter() - start
            print(f"{i + 1}/{len(chosen)} {clip['file']}: {spent_s:.0f} s", file=sys.stderr)
        if cached.exists():
            rows.append(json.loads(cached.read_text()))
    if not rows:
        raise SystemExit("nothing is measured yet")
    text = report(rows, len(chosen))
    print(text)
    if args.report:
        replace_section(args.report, text, "attacked")
        plot(rows, args.report.parents[1] / "images" / "real-attacks.png")


def one_of_each(index: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first clip of each person speaking, and of each being silent."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for clip in index:
        kind = clip["speaking"][:2]
        if kind in ("ye", "no"):
            found.setdefault((str(clip["person"]), kind), clip)
    return list(found.values())


def middle(path: Path, clip: dict[str, Any], face_finder: str, crop: str) -> Clip:
    """30 frames of the longest track, all labelled as the clip is."""
    footage = find_faces(path, face_finder=face_finder)
    clips = read_clips(footage, CROPS[crop])
    whole = clips.clip(int(np.argmax([len(track) for track in footage.tracks])))
    n = min(FRAMES, len(whole.faces))
    first = (len(whole.faces) - n) // 2
    start, stop = (round(16_000 * frame / whole.fps) for frame in (first, first + n))
    return Clip(
        waveform=whole.waveform[start:stop],
        faces=whole.faces[first : first + n],
        fps=whole.fps,
        speaking=torch.full((n,), int(clip["speaking"].startswith("yes"))),
    )


def measure(
    path: Path, clip: dict[str, Any], face_finder: str, models: dict[str, Any], *, long: bool
) -> Any:
    """Scores of both detectors, clean and under every attack made on either."""
    record: dict[str, Any] = {"file": clip["file"], "speaking": clip["speaking"], "scores": {}}
    crop = next(iter(models.values())).crop
    try:
        batch = Batch.from_clips([middle(path, clip, face_finder, crop)])
    except MediaError as e:
        return record | {"error": str(e)}
    record["clean"] = {name: scores(model, batch) for name, model in models.items()}
    plans = [(m, eps, mod, {"steps": 5}) for m in METHODS for eps in EPS_AV for mod in MODALITIES]
    plans += [
        (m, eps, "both", {"steps": steps})
        for m, eps, steps in FURTHER
        if long or steps < LONG_STEPS
    ]
    for source, model in models.items():
        for method, eps, modality, settings in plans:
            found = attack(model, batch, method, eps=float(eps), modality=modality, **settings)
            record["scores"][f"{source}/{method}/{modality}/{eps}"] = {
                name: scores(target, found.batch) for name, target in models.items()
            }
    return record


def scores(loaded: Any, batch: Batch) -> list[float]:
    """Log-odds of each frame."""
    with torch.inference_mode():
        found: list[float] = loaded(**batch.inputs).score[0].double().numpy().round(4)
    return list(map(float, found))


def judged(rows: list[dict[str, Any]], source: str, target: str, plan: str) -> tuple[float, float]:
    """Accuracy and AP in percent on the frames that the clean target gets right."""
    found, labels = [], []
    for row in rows:
        clean = np.array(row["clean"][target])
        speaking = row["speaking"].startswith("yes")
        after = clean if plan == "clean" else np.array(row["scores"][f"{source}/{plan}"][target])
        right = (clean > 0) == speaking
        found.append(after[right])
        labels.append(np.full(int(right.sum()), speaking))
    s, y = np.concatenate(found), np.concatenate(labels)
    return 100 * float(((s > 0) == y).mean()), 100 * average_precision(s, y)


def report(rows: list[dict[str, Any]], wanted: int) -> str:
    """Markdown tables."""
    rows = [row for row in rows if "error" not in row]
    long_rows = [row for row in rows if any("apgd" in key for key in row["scores"])]
    frames = {name: sum(len(row["clean"][name]) for row in rows) for name in WEIGHTS}
    lines = [
        f"{len(rows)} of {wanted} clips, {FRAMES} frames from the middle of each; "
        "accuracy / AP in percent, on the frames that the clean detector gets right ("
        + ", ".join(
            f"{name}: {sum(right(row, name) for row in rows)} of {frames[name]}" for name in WEIGHTS
        )
        + ").",
    ]
    for source in WEIGHTS:
        for target in WEIGHTS:
            title = "white box" if source == target else f"made on {source}"
            lines += ["", f"### {target}, {title}", ""]
            lines += ["| method | modality | " + " | ".join(f"eps_av {e}" for e in EPS_AV) + " |"]
            lines += ["|---|---|" + "---|" * len(EPS_AV)]
            for method in METHODS:
                for modality in MODALITIES:
                    cells = [
                        cell(judged(rows, source, target, f"{method}/{modality}/{e}"))
                        for e in EPS_AV
                    ]
                    lines.append(f"| {method} | {modality} | " + " | ".join(cells) + " |")
            beyond = "; ".join(
                f"{method} at eps_av {eps}: "
                + cell(judged(rows, source, target, f"{method}/both/{eps}"))
                for method, eps, steps in FURTHER
                if steps < LONG_STEPS
            )
            lines += ["", f"Joint, beyond Push-Pull's budgets: {beyond}."]
            if long_rows:
                pair = " against ".join(
                    f"{cell(judged(long_rows, source, target, plan))} with {words}"
                    for plan, words in (
                        ("apgd/both/5", f"{LONG_STEPS} steps of APGD"),
                        ("pgd/both/5", "5 steps of PGD"),
                    )
                )
                lines += [f"Joint at eps_av 5 on {len(long_rows)} of the clips: {pair}."]
    return "\n".join(lines) + "\n"


def right(row: dict[str, Any], name: str) -> int:
    """Frames that the clean detector gets right."""
    return int(((np.array(row["clean"][name]) > 0) == row["speaking"].startswith("yes")).sum())


def cell(values: tuple[float, float]) -> str:
    """Accuracy / AP."""
    return f"{values[0]:.1f} / {values[1]:.1f}"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against the budget: each modality in its colour, transfer dashed."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows = [row for row in rows if "error" not in row]
    figure, axes = plt.subplots(1, len(WEIGHTS), figsize=(9, 3.6), sharey=True)
    for axis, target in zip(axes, WEIGHTS, strict=True):
        for modality, colour in zip(MODALITIES, ("#0072b2", "#d55e00", "#009e73"), strict=True):
            for source in WEIGHTS:
                white = source == target
                values = [judged(rows, source, target, "clean")[0]]
                values += [judged(rows, source, target, f"pgd/{modality}/{e}")[0] for e in EPS_AV]
                label = modality if white else f"{modality}, transfer"
                style = "-o" if white else "--"
                axis.plot((0, *EPS_AV), values, style, color=colour, label=label, markersize=4)
        axis.set(xlabel="eps_av", title=target, ylim=(0, 102))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("frames still right [%], PGD")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    try:
        main()
    except PushPullError as e:
        raise SystemExit(f"error: {e}") from e
