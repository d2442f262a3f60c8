"""What is left of attacks once they are files: a table for docs/measurements/attack-files.md.

    python scripts/real_files.py CLIPS --out OUT [--report docs/measurements/attack-files.md]

CLIPS is as for `real_clips.py`. The six shortest clips of different people are attacked on their
crops and on their pixels; scores are read back from lossless files, from H.264 and AAC, and from a
fresh detection of the written video. Results are kept in OUT, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from real_attacks import one_of_each
from real_clips import replace_section

from pushpull.errors import PushPullError
from pushpull.models.weights import resolve_detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.video_attacks import attack_video

WEIGHTS = "light-asd-ava"
CLIPS = 6
PLANS: tuple[dict[str, Any], ...] = (
    {"space": "crop", "eps": 5.0, "crf": 23},
    {"space": "crop", "eps": 20.0, "crf": 10, "survive": True},
    {"space": "crop", "eps": 20.0, "crf": 23, "survive": True},
    {"space": "crop", "eps": 60.0, "crf": 23, "survive": True},
    {"space": "frame", "eps": 20.0, "crf": 10},
    {"space": "frame", "eps": 60.0, "crf": 23, "survive": True},
)
SETTINGS = {"attack": "bim", "steps": 10, "quantise": True, "face_finder": "yunet"}


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--only-report", action="store_true", help="from what is there")
    args = parser.parse_args()
    keep_freed_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    people = one_of_each(json.loads((args.clips / "index.json").read_text()))
    chosen = sorted(people, key=lambda clip: (clip["seconds"], clip["file"]))[:CLIPS]
    loaded = resolve_detector(WEIGHTS, device="cpu")
    rows: list[list[dict[str, Any]]] = [[] for _ in PLANS]
    # Clip by clip, so that a stopped run has something of every kind.
    for clip in chosen:
        for found, plan in zip(rows, PLANS, strict=True):
            key = repr((clip["sha256"], sorted({**SETTINGS, **plan}.items())))
            cached = args.out / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
            if not cached.exists() and not args.only_report:
                cached.write_text(json.dumps(measure(args.clips / clip["file"], loaded, plan)))
                print(f"{plan} {clip['file']}", file=sys.stderr)
            if cached.exists():
                found.append(json.loads(cached.read_text()))
    text = report(rows)
    print(text)
    if args.report:
        replace_section(args.report, text, "files")


def measure(path: Path, loaded: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """One attack; in frame space also what detection makes of the written videos."""
    result = attack_video(path, loaded, **SETTINGS, **plan)
    with tempfile.TemporaryDirectory() as folder:
        outputs = result.save(folder, video=False, detector=loaded)
        record: dict[str, Any] = json.loads(outputs["results.json"].read_text())
    return record


def report(rows: list[list[dict[str, Any]]]) -> str:
    """One line for each kind of adversary: mean share of frames that are still right."""
    lines = [
        f"{WEIGHTS}, up to {CLIPS} clips of 1 to 3 s, BIM with {SETTINGS['steps']} steps; frames "
        "still taken as in the clean video, in percent, mean over clips.",
        "",
        "| space | eps_av | clips | searched | as found | lossless file | H.264 + AAC | quality | "
        "detected again: lossless | H.264 + AAC |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for plan, found in zip(PLANS, rows, strict=True):
        if not found:
            continue
        kinds = [row["input"] for row in found[0]["survival"]]
        codec = found[0]["settings"]["codec"]
        for number, kind in enumerate(kinds):
            cells = [
                mean([r["survival"][number][way]["accuracy"] for r in found])
                for way in ("as found", "lossless", codec)
            ]
            again = ["", ""]
            if "redetect" in found[0] and number == len(kinds) - 1:
                again = [
                    mean([r["redetect"][name]["accuracy"] for r in found])
                    for name in ("adversarial.mkv", "adversarial.mp4")
                ]
            lines.append(
                f"| {plan['space']} | {plan['eps']:g} | {len(found)} | {kind} | "
                + " | ".join(cells)
                + f" | crf {plan['crf']} | {again[0]} | {again[1]} |"
            )
    return "\n".join(lines) + "\n"


def mean(values: list[float | None]) -> str:
    """Mean of shares in percent; clips in which no known face was found again are left out."""
    known = [v for v in values if v is not None]
    return f"{100 * float(np.mean(known)):.1f}" if known else "no face"


if __name__ == "__main__":
    try:
        main()
    except PushPullError as e:
        raise SystemExit(f"error: {e}") from e
