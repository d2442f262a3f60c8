"""One pattern for all clips, made on some people and tried on others, for docs/measurements.

    python scripts/universal.py SET --out OUT [--report docs/measurements/universal.md]
        [--picture docs/images/universal.png] [--record docs/measurements/universal.json]

SET is the talking-head set that `real_talkset.py` made. Patterns are made on its training people
and tried on those of val and test. Shipped detectors have synthetic people instead, made here.
Every pattern is kept in OUT, so a stopped run goes on where it was. A plan is
DETECTOR/MODALITY/TARGET/EPS; --plan runs only those that begin so.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from people import Someone, cell, chosen, share
from real_clips import replace_section

from pushpull.attacks.threat import Threat
from pushpull.attacks.universal import UniversalPattern, universal
from pushpull.data import SPLITS, SynthConfig, synth_examples
from pushpull.losses import log_odds
from pushpull.models.detector import Detector
from pushpull.models.weights import resolve_detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions
from pushpull.schema import Batch, FrameScores

PUBLISHED = ("light-asd-ava", "lr-asd-ava")
CASES = {
    "own": "the own voice, while it is silent",
    "silence": "nothing",
    "other": "another voice",
    "shifted": "the own voice, shifted",
}
FRAMES = 50
BATCH_CLIPS = 2
STEPS = {"audio": 200, "both": 60, "synthetic": 300}
SEED = 0
HEARD_EPS = (5.0, 20.0)
PLANS = [
    ("light-asd-ava", "audio", "silent", 20.0),
    *((name, "audio", target, eps) for name in PUBLISHED
      for target, eps in (("silent", 100.0), ("speaking", 5.0), ("speaking", 20.0))),
    *((name, "both", "silent", 20.0) for name in PUBLISHED),
    *(("synthetic-a", "both", target, eps) for target in ("silent", "speaking")
      for eps in (5.0, 20.0, 100.0)),
    *(("synthetic-d3", "both", target, 100.0) for target in ("silent", "speaking")),
]  # fmt: skip


def main() -> None:
    """Make what is missing, try it, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plan", default="")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    people = {"real": real(args.set), "synthetic": synthetic()}
    rows = []
    for plan in PLANS:
        name = "/".join(f"{part:g}" if isinstance(part, float) else part for part in plan)
        kept = args.out / (name.replace("/", "-") + ".json")
        if name.startswith(args.plan) and not kept.exists():
            makers, others = people[kind_of(plan[0])]
            start = time.perf_counter()
            row = measure(plan, makers, others, args.out)
            kept.write_text(json.dumps(row | {"seconds": time.perf_counter() - start}, indent=1))
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if kept.exists():
            rows.append(json.loads(kept.read_text()))
    heard = [by_case(name, people["real"][1], args.out) for name in PUBLISHED]
    sizes = {
        kind: [{"people": len({s.person for s in some}), "clips": len(some)} for some in pair]
        for kind, pair in people.items()
    }
    config = {"frames": FRAMES, "steps": STEPS, "batch_clips": BATCH_CLIPS, "seed": SEED}
    record = {
        "versions": versions(),
        "config": config,
        "sizes": sizes,
        "rows": rows,
        "cases": heard,
    }
    text = "\n".join(lines(record)) + "\n"
    print(text)
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
    if args.report:
        replace_section(args.report, text, "universal")
    if args.picture:
        draw(
            args.out / "light-asd-ava-both-silent-20.safetensors",
            args.out / "light-asd-ava-audio-speaking-20.safetensors",
        ).savefig(args.picture, dpi=80)


def kind_of(detector: str) -> str:
    """Which people a detector is tried on."""
    return "real" if detector in PUBLISHED else "synthetic"


def real(root: Path) -> tuple[list[Someone], list[Someone]]:
    """People to make patterns on, and others to try them on."""
    found: dict[str, list[Someone]] = {}
    for split in SPLITS:
        # Few people speak, so that more is taken of each.
        found[split] = chosen(root, split, ("own",), 4, FRAMES)
        found[split] += chosen(root, split, tuple(CASES)[1:], 1, FRAMES)
    return found["train"], [*found["val"], *found["test"]]


def synthetic() -> tuple[list[Someone], list[Someone]]:
    """The same of drawn people: each clip is somebody else."""
    config = SynthConfig(tracks=90, min_frames=FRAMES, max_frames=FRAMES, seed=7)
    found = []
    for split in ("train", "test"):
        examples = synth_examples(config, split)
        found.append(
            [
                Someone(person=f"{split}-{i}", case=e.case, clip=e.clip)
                for i, e in enumerate(examples)
            ][:30]
        )
    return found[0], found[1]


def measure(
    plan: tuple[str, str, str, float], makers: list[Someone], others: list[Someone], out: Path
) -> dict[str, Any]:
    """Make one pattern and score other people with it, with noise, and with neither."""
    name, modality, target, eps = plan
    detector = resolve_detector(name, device="cpu")
    order = np.random.default_rng(SEED).permutation(len(makers))
    parts = [order[i : i + BATCH_CLIPS] for i in range(0, len(order), BATCH_CLIPS)]
    found = universal(
        detector,
        [Batch.from_clips([makers[i].clip for i in part]) for part in parts],
        eps=eps,
        steps=STEPS["synthetic" if kind_of(name) == "synthetic" else modality],
        modality=modality,
        targeted=target,
        seed=SEED,
    )
    found.save(
        out / ("-".join(f"{p:g}" if isinstance(p, float) else p for p in plan) + ".safetensors")
    )
    control = UniversalPattern.random(Threat.of(eps, modality=modality), seed=SEED)
    # Faces are encoded once where they stay.
    kept: dict[int, torch.Tensor] | None = {} if modality == "audio" else None
    scored = {
        "clean": scores(detector, others, None, kept=kept),
        "pattern": scores(detector, others, found, kept=kept),
        "later in the loop": scores(detector, others, found, start_s=0.37, kept=kept),
        "noise": scores(detector, others, control, kept=kept),
    }
    if name in PUBLISHED:
        other = resolve_detector(PUBLISHED[1 - PUBLISHED.index(name)], device="cpu")
        kept = None if kept is None else {}
        scored |= {
            "other clean": scores(other, others, None, kept=kept),
            "other": scores(other, others, found, kept=kept),
        }
    truth = truth_of(others)
    people = [s.person for s in others for _ in range(FRAMES)]
    row: dict[str, Any] = dict(zip(("detector", "modality", "target", "eps"), plan, strict=True))
    for kind, score in scored.items():
        if kind.endswith("clean"):
            continue
        clean = scored["other clean" if kind == "other" else "clean"]
        right = (clean > 0) == (truth == 1)
        # Frames that are right and are to become wrong.
        counted = right & (truth == (1 if target == "silent" else 0))
        row[kind] = share((score > 0) != (clean > 0), counted, people) | {
            "frames": int(counted.sum())
        }
    for kind in ("clean", "pattern", "noise"):
        both = FrameScores(score=scored[kind], speaking=truth == 1, track=np.arange(len(truth)))
        row[f"mAP {kind}"] = both.average_precision
        row[f"mAP {kind} interval"] = both.interval(groups=people)
    return row


def by_case(name: str, others: list[Someone], out: Path) -> dict[str, Any]:
    """What patterns of the sound to speaking do, by what is heard in the clip; kept in OUT."""
    kept = out / f"{name}-cases.json"
    if not kept.exists():
        detector = resolve_detector(name, device="cpu")
        faces: dict[int, torch.Tensor] = {}
        clean = scores(detector, others, None, kept=faces)
        people = [s.person for s in others for _ in range(FRAMES)]
        case = np.array([s.case for s in others for _ in range(FRAMES)])
        counted = (clean <= 0) & (truth_of(others) == 0)
        row: dict[str, Any] = {"detector": name}
        for eps in HEARD_EPS:
            pattern = UniversalPattern.load(out / f"{name}-audio-speaking-{eps:g}.safetensors")
            moved = scores(detector, others, pattern, kept=faces) > 0
            row[f"{eps:g}"] = {
                one: share(moved, counted & (case == one), people)
                | {"frames": int((counted & (case == one)).sum())}
                for one in CASES
            }
        kept.write_text(json.dumps(row, indent=1))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def truth_of(some: Sequence[Someone]) -> NDArray[np.int64]:
    """Labels of all frames (N,), clip by clip."""
    return np.concatenate([s.clip.speaking.numpy() for s in some if s.clip.speaking is not None])


def scores(
    detector: Detector,
    others: Sequence[Someone],
    pattern: UniversalPattern | None,
    *,
    start_s: float = 0.0,
    kept: dict[int, torch.Tensor] | None = None,
) -> NDArray[np.float64]:
    """Scores of all frames (N,), clip by clip."""
    found = []
    for i in range(0, len(others), 10):
        batch = Batch.from_clips([one.clip for one in others[i : i + 10]])
        if pattern is not None:
            batch = pattern.apply(batch, starts_s=torch.full((len(batch.faces),), start_s))
        given = {"e_v": kept[i]} if kept and i in kept else {}
        with torch.no_grad():
            output = detector(**batch.inputs, **given)
        if kept is not None and output.e_v is not None:
            kept[i] = output.e_v
        found.append(log_odds(output.logits).flatten())
    return torch.cat(found).double().numpy()


def lines(record: dict[str, Any]) -> list[str]:
    """The tables."""
    about, sizes = record["versions"], record["sizes"]
    made, tried = sizes["real"]
    text = [
        f"Made on {made['clips']} clips of {made['people']} people, tried on {tried['clips']} of "
        f"{tried['people']} others, {FRAMES} frames each; {STEPS['audio']} steps on the sound, "
        f"{STEPS['both']} on both, {BATCH_CLIPS} clips a step, one second of sound, one picture. "
        f"pushpull {about['pushpull']}, torch {about['torch']}. In percent: of the frames that the "
        "detector has right and that are to change sides, those that do; in brackets the 95 % "
        "interval over people.",
        "",
        "| detector | moved | to | eps_av | frames | pattern | from 0.37 s of the loop on | "
        "noise | same pattern on the other detector | mAP clean, pattern |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        cells = [row["detector"], row["modality"], row["target"], f"{row['eps']:g}"]
        cells.append(str(row["pattern"]["frames"]))
        cells += [cell(row[kind]) for kind in ("pattern", "later in the loop", "noise")]
        cells.append(cell(row["other"]) if "other" in row else "")
        cells.append(", ".join(f"{100 * row[f'mAP {kind}']:.1f}" for kind in ("clean", "pattern")))
        text.append("| " + " | ".join(cells) + " |")
    text += [
        "",
        "Patterns of the sound to speaking, by what is heard in the clip:",
        "",
        "| detector | eps_av | " + " | ".join(CASES.values()) + " |",
        "|---|---|" + "---|" * len(CASES),
    ]
    for row in record["cases"]:
        for eps in HEARD_EPS:
            cells = [
                f"{cell(row[f'{eps:g}'][one])} of {row[f'{eps:g}'][one]['frames']}" for one in CASES
            ]
            text.append(f"| {row['detector']} | {eps:g} | " + " | ".join(cells) + " |")
    made, tried = sizes["synthetic"]
    text += [
        "",
        f"synthetic-*: made on {made['clips']} synthetic clips with {STEPS['synthetic']} steps, "
        f"tried on {tried['clips']} others, each of another person.",
    ]
    return text


def draw(faces: Path, sound: Path) -> Figure:
    """The face pattern of one, and the spectrogram of the sound of the other."""
    pattern, heard = UniversalPattern.load(faces), UniversalPattern.load(sound)
    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    most = float(pattern.faces.abs().max())
    shown = left.imshow(pattern.faces[0].numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
    left.set(xticks=[], yticks=[], title="added to every face, for silent")
    figure.colorbar(shown, ax=left, label="grey levels")
    loop = np.tile(heard.waveform.double().numpy(), 2)
    right.specgram(loop, NFFT=512, Fs=16_000, noverlap=384, cmap="magma")
    right.set(xlabel="s", ylabel="Hz", xlim=(0, 1), title="added to every sound, for speaking")
    return figure


if __name__ == "__main__":
    main()
