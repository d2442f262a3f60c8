"""A Light-ASD hardened for real video, and how hard it is: people apart, beside the published one.

    python scripts/harden_real.py CLIPS --out OUT [--report docs/measurements/hardened.md]

CLIPS is as for `real_clips.py`. Learnt from: clips whose licence allows it and whose labels are no
model's, by the configuration `light-asd-hardened`. Measured on: people that neither training nor
validation has seen, among them clips for research only, which serve for nothing else. OUT holds
both sets, the run and what was measured; a stopped run goes on where it was. With `--weights` what
was trained elsewhere, on the same set, is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_clips import replace_section
from safetensors import safe_open

from pushpull.attacks import attack
from pushpull.auditing import AuditClips, choose_clips
from pushpull.data import SPLITS, open_tracks
from pushpull.data.talkset import Source, TalksetConfig, split_people, write_talkset
from pushpull.evaluation import score_tracks
from pushpull.losses import log_odds
from pushpull.metrics import bootstrap_draws
from pushpull.models.detector import Detector
from pushpull.models.weights import resolve_detector, weights_file
from pushpull.runtime.files import sha256_of
from pushpull.runtime.kept import Store
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions
from pushpull.schema import FrameScores
from pushpull.training import read_config, train

CONFIG = "light-asd-hardened"
PUBLISHED = "light-asd-ava"
OTHER = "lr-asd-ava"
FREE = ("MIT", "Apache", "BSD", "CC-BY")
"""Beginnings of licences of clips that may be learnt from."""
MODELS = "MODEL"
"""How the ground of a label begins that a model gave: such clips serve for nothing here."""
EPS = (1.0, 2.0, 5.0)
DRAWS = 1000


def main() -> None:
    """Make both sets, train, measure, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--changes", nargs="*", default=[], help="of the configuration")
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--attack", default="suite-fast", help="what robustness is measured with")
    parser.add_argument("--tracks", type=int, default=16)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--eps", type=float, nargs="+", default=list(EPS))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--section", default="hardened", help="of the report, and its json")
    args = parser.parse_args()
    keep_freed_memory()
    people = write_sets(args.clips, args.out)
    hardened = dict(pair.split("=", 1) for pair in args.weights) or trained(args)
    asked = {"attack": args.attack, "tracks": args.tracks, "frames": args.frames, "eps": args.eps}
    found = {
        "people": people,
        "settings": asked,
        "versions": versions(),
        "made": {name: made(Path(file)) for name, file in hardened.items()},
        "detectors": {
            name: measured(source, args, args.out / "measured" / name)
            for name, source in {"published": PUBLISHED, **hardened}.items()
        },
    }
    text = "\n".join(report(found)) + "\n"
    for of in found["detectors"].values():
        for scores in ("score", "speaking", "person"):
            del of["clean"][scores]
    record = json.dumps(found, indent=1) + "\n"
    (args.out / "hardened.json").write_text(record)
    print(text)
    if args.report:
        replace_section(args.report, text, args.section)
        args.report.with_name(f"{args.section}.json").write_text(record)


def trained(args: argparse.Namespace) -> dict[str, str]:
    """A run by the configuration."""
    out = args.out / "run"
    changes = [f'data.root="{args.out / "learn"}"', f'run.out="{out}"', *args.changes]
    done = train(read_config(CONFIG, changes), resume=True, progress=_tell)
    return {"hardened": str(done.best)}


def made(weights: Path) -> dict[str, Any]:
    """How weights of a run were trained: its settings but for places, and the epoch kept."""
    config = json.loads((weights.parent / "config.json").read_text())["config"]
    config["data"].pop("root"), config["run"].pop("out")
    with safe_open(weights, "pt") as file:
        noted = json.loads((file.metadata() or {}).get("pushpull", "{}"))
    return {"config": config, "epoch": noted.get("metadata", {}).get("epoch")}


def write_sets(clips: Path, out: Path) -> dict[str, list[str]]:
    """Sets to learn from and to measure on; people of each, and of whom clips were left out."""
    listed = json.loads((clips / "index.json").read_text())
    known = [
        clip
        for clip in listed
        if not clip["label_basis"].startswith(MODELS)
        and clip["faces"] == 1
        and clip["speaking"].startswith(("yes", "no"))
    ]
    config = TalksetConfig(face_finder="yunet")
    free = [clip for clip in known if clip["licence"].startswith(FREE)]
    split_of = split_people(sorted({clip["person"] for clip in free}), config)
    seen = {person for person, split in split_of.items() if split != "test"}
    unseen = [clip for clip in known if clip["person"] not in seen]
    failures: list[str] = []
    for name, chosen in (("learn", free), ("measure", unseen)):
        sources = [
            Source(
                path=clips / clip["file"],
                person=clip["person"],
                speaks=clip["speaking"].startswith("yes"),
            )
            for clip in chosen
        ]
        write_talkset(
            sources,
            out / name,
            config,
            progress=_tell,
            failed=lambda source, why: failures.append(source.path.name),
        )
    return {
        "train": sorted(p for p, s in split_of.items() if s == "train"),
        "val": sorted(p for p, s in split_of.items() if s == "val"),
        "measured": sorted({clip["person"] for clip in unseen}),
        "left_out": sorted(failures),
    }


def measured(source: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One detector on people whom nobody has learnt from; what the same decided is kept."""
    detector = resolve_detector(source, device="cpu")
    other = resolve_detector(OTHER, device="cpu")
    root = args.out / "measure"
    decides = {
        "weights": sha256_of(weights_file(source)),
        "other": sha256_of(weights_file(OTHER)),
        "data": sha256_of(root / "dataset.json"),
    }
    store = Store(folder, decides)
    found: dict[str, Any] = {"clean": store.get("clean", {}, lambda: clean(detector, root))}
    clips = chosen(root, args.tracks, args.frames)
    asked = {"attack": args.attack, "tracks": args.tracks, "frames": args.frames}
    for eps in args.eps:
        found[f"{eps:g}"] = store.get(
            "attacked",
            {**asked, "eps": eps},
            lambda eps=eps: attacked(detector, other, clips, args.attack, eps),
        )
    return found


def clean(detector: Detector, root: Path) -> dict[str, Any]:
    """Average precision and accuracy over all of the set, people drawn again."""
    rows = [
        row
        for split in SPLITS
        for row in score_tracks(detector, open_tracks(root, split), batch_frames=500)
    ]
    scores = FrameScores.of_tracks([r.scores.score for r in rows], [r.scores.truth for r in rows])
    people = np.array([r.info.person or r.info.track_id for r in rows])[scores.track]
    interval = scores.interval(groups=people)
    return {
        "tracks": scores.tracks,
        "frames": len(scores),
        "people": len(set(people.tolist())),
        "average_precision": scores.average_precision,
        "interval": None if interval is None else list(interval),
        "accuracy": scores.accuracy,
        "score": scores.score.tolist(),
        "speaking": scores.truth.tolist(),
        "person": people.tolist(),
    }


def chosen(root: Path, tracks: int, frames: int) -> list[AuditClips]:
    """Windows of tracks of each split, half of them mostly speaking."""
    count = -(-tracks // len(SPLITS))
    return [choose_clips(open_tracks(root, s), count=count, frames=frames) for s in SPLITS]


def attacked(
    detector: Detector, other: Detector, parts: list[AuditClips], name: str, eps: float
) -> dict[str, Any]:
    """What an attack leaves, in accuracy and average precision; what it leaves of another model."""
    before, left, carried, of_other = [], [], [], []
    batches = [batch for part in parts for batch in part.batches]
    for k, batch in enumerate(batches):
        found = attack(detector, batch, name, eps=eps, seed=k)
        with torch.no_grad():
            for kept, model, inputs in (
                (before, detector, found.clean),
                (carried, other, found.batch),
                (of_other, other, found.clean),
            ):
                kept.append(log_odds(model(**inputs.inputs).logits)[batch.mask])
        left.append(found.score[batch.mask])
        print(f"eps {eps:g}: batch {k + 1}/{len(batches)}", flush=True)
    scores = {
        kind: torch.cat(of).double().numpy()
        for kind, of in (
            ("clean", before), ("attacked", left), ("carried", carried), ("other", of_other),
        )
    }  # fmt: skip
    speaking = np.concatenate([part.speaking for part in parts])
    # Every part counts its tracks from 0.
    first = np.cumsum([0, *(len(part.names) for part in parts)])
    track = np.concatenate([part.track + k for part, k in zip(parts, first, strict=False)])
    drawn = bootstrap_draws(scores, speaking, track, draws=DRAWS)
    result: dict[str, Any] = {"tracks": int(first[-1]), "frames": len(speaking)}
    for kind, score in scores.items():
        of = FrameScores(score=score, speaking=speaking, track=track)
        result[kind] = {
            "average_precision": of.average_precision,
            "interval": np.quantile(drawn[kind], [0.025, 0.975]).tolist(),
            "accuracy": of.accuracy,
        }
    return result


def report(found: Mapping[str, Any]) -> list[str]:
    """The tables."""
    detectors, people = found["detectors"], found["people"]
    settings = found["settings"]
    budgets = settings["eps"]
    one = detectors["published"]["clean"]
    some = detectors["published"][f"{budgets[0]:g}"]
    lines = [
        f"Learnt from {len(people['train'])} people ({', '.join(people['train'])}), chosen on "
        f"{len(people['val'])} ({', '.join(people['val'])}), measured on {one['people']} others: "
        f"{one['tracks']} tracks, {one['frames']} frames as they are; under `{settings['attack']}` "
        f"{some['tracks']} tracks cut to {settings['frames']} frames. Intervals of 95 % over "
        "people, under attack over tracks.",
        "",
        "| detector | clean mAP | accuracy | "
        + " | ".join(f"eps_av {eps:g}: mAP, accuracy" for eps in budgets)
        + " |",
        "|---|---|---|" + "---|" * len(budgets),
    ]
    for name, of in detectors.items():
        cells = [_said(of["clean"]), f"{100 * of['clean']['accuracy']:.1f}"]
        for eps in budgets:
            left = of[f"{eps:g}"]["attacked"]
            cells.append(f"{_said(left)}, {100 * left['accuracy']:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, of in detectors.items():
        if name != "published":
            mean, low, high = _difference(of["clean"], one)
            said = f"{mean:+.1f} mAP [{low:+.1f}, {high:+.1f}]"
            lines += ["", f"Clean, {name} less published: {said}, paired over people."]
    lines += [
        "",
        f"What adversaries of each leave of `{OTHER}`, mAP:",
        "",
        "| made on | none | " + " | ".join(f"eps_av {eps:g}" for eps in budgets) + " |",
        "|---|---|" + "---|" * len(budgets),
    ]
    for name, of in detectors.items():
        left = [_said(of[f"{eps:g}"]["carried"]) for eps in budgets]
        lines.append(f"| {name} | {_said(some['other'])} | {' | '.join(left)} |")
    return lines


def _difference(ours: Mapping[str, Any], others: Mapping[str, Any]) -> tuple[float, float, float]:
    """Difference in average precision, with its interval over people, in percent."""
    of = np.unique(ours["person"], return_inverse=True)[1]
    drawn = bootstrap_draws(
        {"ours": ours["score"], "others": others["score"]}, ours["speaking"], of, draws=DRAWS
    )
    low, high = np.quantile(100 * (drawn["ours"] - drawn["others"]), [0.025, 0.975])
    mean = 100 * (ours["average_precision"] - others["average_precision"])
    return mean, float(low), float(high)


def _said(cell: Mapping[str, Any]) -> str:
    low, high = cell["interval"]
    return f"{100 * cell['average_precision']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _tell(stage: str, done: int, total: int | None) -> None:
    print(f"\r{stage} {done}/{total}   ", end="", flush=True)


if __name__ == "__main__":
    main()
