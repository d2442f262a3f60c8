"""Published weights on real clips: Figure 3 and the audit, for docs/measurements/real-clips.md.

    python scripts/real_anchor.py SET --out OUT [--tracks 4] [--report docs/measurements/...md]

SET is the talking-head set that `real_talkset.py` made. For each detector: the curves of Figure 3
(methods, modalities, and adversaries of the other detector as the black box), mAP and accuracy over
the frames that it got right, and `pushpull audit --fast`. Stages are kept in OUT: a stopped run
goes on where it was. With --audits nothing but the audits is run, and their lines in the report are
written anew.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from real_clips import replace_section

from pushpull.auditing import FAST
from pushpull.models.weights import weights_file
from pushpull.reproduce.jobs import audit_row, score
from pushpull.reproduce.plan import identity
from pushpull.reproduce.summary import DRAWS, read_scores
from pushpull.runtime.files import sha256_of
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.stages import Stage, run_stages

PAIR = ("light-asd-ava", "lr-asd-ava")
EPS = (1.0, 5.0, 20.0)
STEPS = 5
SPLIT = "test"
CURVES: dict[str, dict[str, Any]] = {
    "PGD": {"attack": "pgd"},
    "BIM": {"attack": "bim"},
    "MIM": {"attack": "mim"},
    "PGD, sound alone": {"attack": "pgd", "modality": "audio"},
    "PGD, faces alone": {"attack": "pgd", "modality": "visual"},
    "PGD on the other detector": {"attack": "pgd"},
}
TRANSFER = "PGD on the other detector"


def main() -> None:
    """Attack, audit, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tracks", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--audits", action="store_true")
    args = parser.parse_args()
    keep_freed_memory()
    clean, attacked, audits = stages_of(args.set, args.tracks)
    if args.audits:
        run_stages([*audits.values()], args.out, workers=args.workers, progress=show)
        anew(args.report, {name: read(stage, args.out) for name, stage in audits.items()})
        return
    everything = [*clean.values(), *attacked.values(), *audits.values()]
    run_stages(everything, args.out, workers=args.workers, progress=show)
    results = {name: summary(name, clean, attacked, args.out) for name in PAIR}
    audited = {name: read(stage, args.out) for name, stage in audits.items()}
    text = "\n".join(lines(results, audited)) + "\n"
    record = {
        name: results[name] | {key: audited[name][key] for key in ("verdict", "standing")}
        for name in PAIR
    }
    (args.out / "results.json").write_text(json.dumps(record, indent=1))
    print(text)
    if args.picture:
        draw(results).savefig(args.picture, dpi=100)
    if args.report:
        replace_section(args.report, text, "anchor")


def stages_of(
    root: Path, count: int
) -> tuple[dict[str, Stage], dict[Any, Stage], dict[str, Stage]]:
    """Clean scores by detector, attacked ones by (detector, curve, eps), audits by detector."""
    data = identity(root)
    of = {name: {"weights": name, "sha256": sha256_of(weights_file(name))} for name in PAIR}
    unhashed = {"root": str(root), "device": "cpu"}
    subset = {
        "data": data, "split": SPLIT, "tracks": count, "balanced": True, "seed": 0,
        "batch_frames": 250,
    }  # fmt: skip
    clean, attacked, audits = {}, {}, {}
    for name, other in zip(PAIR, PAIR[::-1], strict=True):
        settings = subset | {"model": of[name]}
        clean[name] = Stage(
            name=f"{name}-clean", job=score, settings=settings | {"attack": None}, unhashed=unhashed
        )
        for curve, attack in CURVES.items():
            for eps in EPS:
                more = {"surrogate": of[other]} if curve == TRANSFER else {}
                label = curve.replace(",", "").replace(" ", "-").lower()
                attacked[name, curve, eps] = Stage(
                    name=f"{name}-{label}-{eps:g}",
                    job=score,
                    settings=settings | more | {"attack": attack | {"eps": eps, "steps": STEPS}},
                    unhashed=unhashed,
                )
        audits[name] = Stage(
            name=f"{name}-audit",
            job=audit_row,
            settings={
                "data": data, "model": of[name], "from-other": of[other], "split": SPLIT,
                "eps": 5.0, "how": asdict(replace(FAST, tracks=count)),
                "surrogates": ["from-other"],
            },
            unhashed=unhashed,
        )  # fmt: skip
    return clean, attacked, audits


def summary(
    name: str, clean: dict[str, Stage], attacked: dict[Any, Stage], root: Path
) -> dict[str, Any]:
    """mAP, interval and accuracy of every curve over the frames that were right."""
    scores = read_scores(clean[name], root)
    right = scores.right
    curves: dict[str, list[dict[str, Any]]] = {curve: [] for curve in CURVES}
    for curve in CURVES:
        for eps in EPS:
            found = read_scores(attacked[name, curve, eps], root).subset(right)
            curves[curve].append({"eps": eps, **found.as_dict(draws=DRAWS)})
    return {
        "frames": int(right.sum()),
        "of_frames": len(right),
        "clean": scores.average_precision,
        "chance": scores.subset(right).speaking_share,
        "curves": curves,
    }


def lines(results: dict[str, Any], audits: dict[str, Any]) -> list[str]:
    """Tables and verdicts."""
    found: list[str] = []
    for name, result in results.items():
        audit = audits[name]
        found += [
            f"**{name}**: {result['frames']} of {result['of_frames']} frames right, mAP of all "
            f"{100 * result['clean']:.1f}; below, mAP over the frames that were right (chance "
            f"{100 * result['chance']:.1f}), and the share of them that stays right.",
            "",
            "| attack | " + " | ".join(f"eps_av {eps:g}" for eps in EPS) + " |",
            "|---" * (1 + len(EPS)) + "|",
        ]
        for curve, points in result["curves"].items():
            cells = [
                f"{100 * p['average_precision']:.1f} / {100 * p['accuracy']:.0f} %" for p in points
            ]
            found.append(f"| {curve} | " + " | ".join(cells) + " |")
        found += ["", audit_line(audit), ""]
    return found[:-1]


def audit_line(audit: dict[str, Any]) -> str:
    """What an audit says."""
    flagged = [t["test"] for t in audit["tests"] if t["verdict"] == "flag"]
    return (
        f"Audit (`--fast`, {audit['clips']['tracks']} tracks, {audit['clips']['frames']} "
        f"frames): {audit['verdict']['sentence']}. Flagged: {', '.join(flagged) or 'nothing'}."
    )


def read(stage: Stage, out: Path) -> dict[str, Any]:
    """The record of an audit."""
    return dict(json.loads((stage.folder(out) / "audit" / "audit.json").read_text()))


def anew(report: Path | None, audits: dict[str, dict[str, Any]]) -> None:
    """Print the audits; write their lines into the report."""
    for name, audit in audits.items():
        print(name, audit_line(audit))
        if report:
            # The detector's table, then the line of its audit.
            mark = re.compile(rf"(^\*\*{name}\*\*: .*?\n)Audit \(.*?$", re.DOTALL | re.MULTILINE)
            line = audit_line(audit)
            text, n = mark.subn(lambda found, line=line: found[1] + line, report.read_text())
            if n != 1:
                raise SystemExit(f"{report}: {n} audits of {name}; expected one")
            report.write_text(text)


def draw(results: dict[str, Any]) -> Figure:
    """Every curve over the budget, one panel a detector."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, (name, result) in zip(figure.subplots(1, 2, sharey=True), results.items(), strict=True):
        for curve, points in result["curves"].items():
            left = [100 * p["average_precision"] for p in points]
            ax.plot([p["eps"] for p in points], left, "o-", label=curve)
        ax.axhline(100 * result["chance"], color="grey", linestyle=":", label="chance")
        ax.set(xscale="log", xlabel="eps_av (log scale)", ylabel="mAP (%)", ylim=(0, 104))
        ax.set_title(f"{name}, real clips")
    figure.axes[0].legend(fontsize=8)
    return figure


def show(doing: str, done: int, total: int | None) -> None:
    """One line of progress."""
    print(f"{done}/{total} {doing}", flush=True)


if __name__ == "__main__":
    main()
