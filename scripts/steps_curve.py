"""What single attacks leave by their steps: a curve for each, with intervals.

    python scripts/steps_curve.py SYNTHETIC [--detectors NAME ...] [--tracks 8] [--frames 20]
        [--record docs/measurements/steps.json] [--report docs/measurements/steps.md]
        [--picture docs/images/steps.png]

SYNTHETIC is a data set of `pushpull data synth`. Each point is a run by itself, as an attack's
steps are shorter the more of them there are. Some seven minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import pushpull as pp
from pushpull.attacks import attack
from pushpull.attacks.registry import options_of
from pushpull.auditing import AuditClips, choose_clips
from pushpull.data import open_tracks
from pushpull.metrics import bootstrap_share
from pushpull.models.detector import Detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions

EPS_AV = 5.0
DRAWS = 2000
GRADIENTS = (1, 2, 5, 10, 20, 50, 100)
QUERIES = (50, 200, 1000, 2000)
CURVES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "bim": ("bim", {}, GRADIENTS),
    "mim": ("mim", {}, GRADIENTS),
    "pgd": ("pgd", {}, GRADIENTS),
    "pgd, decayed": ("pgd", {"schedule": "decayed"}, GRADIENTS),
    "apgd": ("apgd", {}, GRADIENTS),
    "square": ("square", {}, QUERIES),
}
"""Attack, settings and steps of each curve."""


def main() -> None:
    """Run all, then write the record, the page and the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("synthetic", type=Path)
    parser.add_argument("--detectors", nargs="+", default=["synthetic-a", "synthetic-b3"])
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--most", type=int, default=max(QUERIES), help="Leave out longer runs.")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    clips = choose_clips(open_tracks(args.synthetic, "test"), count=args.tracks, frames=args.frames)
    rows: dict[str, dict[str, Any]] = {}
    for name in args.detectors:
        detector = pp.load(name, device="cpu")
        rows[name] = {"clean": measured(clips, clean(detector, clips))}
        for curve, (method, settings, counts) in CURVES.items():
            start = time.process_time()
            rows[name][curve] = {
                "points": [
                    {"steps": n, **run(detector, clips, method, {**settings, "steps": n})}
                    for n in counts
                    if n <= args.most
                ],
                "cpu_s": round(time.process_time() - start),
            }
            print(name, curve, rows[name][curve], file=sys.stderr, flush=True)
    result = {
        "settings": {
            "eps_av": EPS_AV, "tracks": len(clips.names), "frames": args.frames, "seed": 0,
            "draws": DRAWS, "clips": clips.identity,
            "defaults": {m: options_of(m)["steps"] for m, _, _ in CURVES.values()},
        },
        "versions": versions(),
        "rows": rows,
    }  # fmt: skip
    text = "\n".join(report(result)) + "\n"
    print(text)
    if args.record:
        args.record.write_text(json.dumps(result, indent=1) + "\n")
    if args.report:
        args.report.write_text(text)
    if args.picture:
        draw(result, args.picture)


def clean(detector: Detector, clips: AuditClips) -> Any:
    """Scores of the clips as they are."""
    with torch.no_grad():
        scores = [detector(**batch.as_float().inputs).score for batch in clips.batches]
    return clips.scores(clips.flat(scores))


def run(
    detector: Detector, clips: AuditClips, method: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """What one attack leaves."""
    found = [
        attack(detector, batch.as_float(), method, eps=EPS_AV, seed=k, **settings)
        for k, batch in enumerate(clips.batches)
    ]
    return measured(clips, clips.scores(clips.flat([one.score for one in found])))


def measured(clips: AuditClips, scores: Any) -> dict[str, Any]:
    """Frames that are right with their interval over tracks, and average precision with its own."""
    return {
        "right": float(scores.right.mean()),
        "interval": list(bootstrap_share(scores.right, clips.group, draws=DRAWS)),
        "average_precision": scores.average_precision,
        "average_precision_interval": list(scores.interval(draws=DRAWS, groups=clips.group)),
    }


def report(result: dict[str, Any]) -> Iterator[str]:
    """The page of the measurement."""
    asked = result["settings"]
    yield "# Single attacks by their steps"
    yield ""
    yield (
        f"`scripts/steps_curve.py`: frames still right in percent, and in brackets the 95 % "
        f"interval over tracks, at eps_av {asked['eps_av']:g}, both inputs; "
        f"{asked['tracks']} tracks of {asked['frames']} frames of the demo's synthetic set (clips "
        f"{asked['clips'][:12]}), seed {asked['seed']}; "
        f"torch {result['versions']['torch']}. "
        "*Default*: what the attack takes where nothing is said."
    )
    yield ""
    yield "![Frames right against steps, for each attack](../images/steps.png)"
    for name, curves in result["rows"].items():
        yield ""
        yield f"## {name}"
        yield ""
        yield f"As they are: {cell(curves['clean'])}."
        for unit, names in (
            ("steps", [n for n in CURVES if n != "square"]),
            ("queries", ["square"]),
        ):
            counts = [point["steps"] for point in curves[names[0]]["points"]]
            yield ""
            yield f"| attack | default | {' | '.join(map(str, counts))} {unit} | CPU s |"
            yield "|---" * (len(counts) + 3) + "|"
            for curve in names:
                default = asked["defaults"][CURVES[curve][0]]
                cells = " | ".join(cell(point) for point in curves[curve]["points"])
                yield f"| {curve} | {default} | {cells} | {curves[curve]['cpu_s']} |"


def cell(of: dict[str, Any]) -> str:
    """A share in percent with its interval."""
    low, high = (f"{100 * end:.0f}" for end in of["interval"])
    return f"{100 * of['right']:.1f} ({low} to {high})"


def draw(result: dict[str, Any], path: Path) -> None:
    """Curves of all attacks, one panel a detector."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = result["rows"]
    figure = Figure(figsize=(5 * len(rows), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for axes, (name, curves) in zip(panels, rows.items(), strict=True):
        for curve in CURVES:
            points = curves[curve]["points"]
            steps = [point["steps"] for point in points]
            axes.plot(steps, [100 * point["right"] for point in points], "o-", label=curve)
            low, high = ([100 * point["interval"][end] for point in points] for end in (0, 1))
            axes.fill_between(steps, low, high, alpha=0.06)
        axes.axhline(100 * curves["clean"]["right"], color="grey", lw=0.8)
        axes.set(title=name, xscale="log", xlabel="steps, or queries of square", ylim=(0, 103))
    panels[0].set_ylabel("frames right, %")
    panels[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
