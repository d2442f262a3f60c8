"""Sounds that are played in rooms, on published weights and real people, for docs/measurements.

    python scripts/over_the_air.py SET --out OUT [--report docs/measurements/over-the-air.md]
        [--picture docs/images/over-the-air.png] [--record docs/measurements/over-the-air.json]

SET is the talking-head set that `real_talkset.py` made; one clip of each of some people who speak
is attacked. `synthetic-a` has synthetic people instead. For each detector and budget a sound is
made for rooms, and one with the same search without rooms; both are heard in rooms that neither
search has seen. Results are kept in OUT, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from people import Someone, cell, chosen, share
from real_clips import replace_section

from pushpull.attacks import attack
from pushpull.attacks.air import HELD_OUT, OverTheAir, heard, over_the_air
from pushpull.data import SynthConfig, synth_examples
from pushpull.losses import log_odds
from pushpull.models.weights import resolve_detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions
from pushpull.schema import Batch

DETECTORS = ("light-asd-ava", "lr-asd-ava", "synthetic-a", "synthetic-d3")
EPS = (20.0, 100.0, 300.0)
FRAMES = 25
PEOPLE = 12
AT_ONCE = 4
STEPS = 30
ROOMS = 8
AIR = OverTheAir(listeners=3)
HOW: dict[str, Any] = {"attack": "mim", "modality": "audio", "targeted": "silent", "steps": STEPS}
KINDS = {
    "for rooms, in rooms": "made for rooms, heard in others",
    "dry, in rooms": "made without rooms, heard in rooms",
    "dry, dry": "made without rooms, heard without",
    "noise, in rooms": "noise, heard in rooms",
}


def main() -> None:
    """Attack what is missing, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", action="append")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in DETECTORS:
        people = synthetic() if name.startswith("synthetic") else real(args.set)
        for eps in EPS:
            kept = args.out / f"{name}-{eps:g}.json"
            if not kept.exists() and (args.detector is None or name in args.detector):
                start = time.perf_counter()
                row = measure(name, eps, people)
                seconds = time.perf_counter() - start
                kept.write_text(json.dumps(row | {"seconds": seconds}, indent=1))
                print(f"{name} {eps:g}: {seconds:.0f} s", flush=True)
            if kept.exists():
                rows.append(json.loads(kept.read_text()))
    config = HOW | {"frames": FRAMES, "held_out": ROOMS, "air": AIR.as_dict()}
    record = {"versions": versions(), "config": config, "rows": rows}
    text = "\n".join(lines(record)) + "\n"
    print(text)
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
    if args.report:
        replace_section(args.report, text, "air")
    if args.picture:
        draw(real(args.set)[0]).savefig(args.picture, dpi=80)


def real(root: Path) -> list[Someone]:
    """One clip each of some people who speak."""
    found = [p for s in ("test", "val", "train") for p in chosen(root, s, ("own",), 1, FRAMES)]
    return found[:PEOPLE]


def synthetic() -> list[Someone]:
    """The same of drawn people."""
    config = SynthConfig(tracks=90, min_frames=FRAMES, max_frames=FRAMES, seed=7)
    examples = [e for e in synth_examples(config, "train") if e.case == "speaking"]
    return [Someone(person=str(i), case="own", clip=e.clip) for i, e in enumerate(examples)][
        :PEOPLE
    ]


def measure(name: str, eps: float, people: list[Someone]) -> dict[str, Any]:
    """Both searches on all people; what is left in rooms and without."""
    detector = resolve_detector(name, device="cpu")
    scored: dict[str, list[torch.Tensor]] = {kind: [] for kind in [*KINDS, "silent", "clean"]}
    snr_db = []
    for i in range(0, len(people), AT_ONCE):
        batch = Batch.from_clips([one.clip for one in people[i : i + AT_ONCE]])
        found = over_the_air(detector, batch, air=AIR, held_out=ROOMS, eps=eps, **HOW)
        dry = attack(detector, batch, eps=eps, **HOW)
        rooms, _ = AIR.draw(ROOMS, HELD_OUT)
        change = dry.waveform - batch.waveform
        with torch.no_grad():
            clean = detector(**batch.inputs)
            kept = {} if clean.e_v is None else {"e_v": clean.e_v}
            in_rooms = [
                log_odds(
                    detector(**heard(batch, change, [one] * len(change)).inputs, **kept).logits
                )
                for one in rooms
            ]
        scored["for rooms, in rooms"].append(found.heard)
        scored["dry, in rooms"].append(torch.stack(in_rooms))
        scored["dry, dry"].append(dry.score.expand(ROOMS, -1, -1))
        scored["noise, in rooms"].append(found.noise)
        scored["silent"].append(found.silent)
        scored["clean"].append(log_odds(clean.logits).expand(ROOMS, -1, -1))
        arrived = found.adversary.waveform - batch.waveform
        power = batch.waveform.square().mean(1) / arrived.square().mean(1)
        snr_db += (10 * power.log10()).tolist()
    score = {k: torch.cat(v, 1).numpy() for k, v in scored.items()}
    speaking = np.stack([np.asarray(p.clip.speaking) for p in people]) == 1
    of = np.broadcast_to(np.array([p.person for p in people])[:, None], speaking.shape)
    names = np.broadcast_to(of, score["silent"].shape).ravel()
    row: dict[str, Any] = {"detector": name, "eps": eps, "people": len(set(names))}
    row["snr_db"] = float(np.median(snr_db))
    for kind in KINDS:
        before = score["clean" if kind == "dry, dry" else "silent"]
        counted = (before > 0) & speaking
        row[kind] = share((score[kind] <= 0).ravel(), counted.ravel(), names)
        row[kind]["frames"] = int(counted[0].sum())
    return row


def lines(record: dict[str, Any]) -> list[str]:
    """The table."""
    about = record["versions"]
    text = [
        f"One clip of {FRAMES} frames of each person, {HOW['attack'].upper()} with {STEPS} steps "
        f"on the sound, target silent, {AIR.listeners} new rooms at every step, {ROOMS} rooms "
        f"held out. pushpull {about['pushpull']}, torch {about['torch']}. In percent: of the "
        "frames that are rightly taken as speaking while nothing plays, those that are taken as "
        "silent; in brackets the 95 % interval over people. SNR: the voice against what arrives of "
        "the played sound, with the microphone's noise, median.",
        "",
        "| detector | eps_av | people | SNR | " + " | ".join(KINDS.values()) + " |",
        "|---|---|---|---|" + "---|" * len(KINDS),
    ]
    for row in record["rows"]:
        cells = [row["detector"], f"{row['eps']:g}", str(row["people"]), f"{row['snr_db']:.0f} dB"]
        cells += [cell(row[kind]) for kind in KINDS]
        text.append("| " + " | ".join(cells) + " |")
    return text


def draw(one: Someone) -> Figure:
    """What is played and what of it arrives in a room."""
    detector = resolve_detector("light-asd-ava", device="cpu")
    batch = Batch.from_clips([one.clip])
    found = over_the_air(detector, batch, air=AIR, held_out=1, eps=100, **HOW)
    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    sounds = {
        "the voice in the recording": batch.waveform,
        "what is played": found.played,
        "what arrives of it in a room": found.adversary.waveform - batch.waveform,
    }
    for ax, (title, sound) in zip(figure.subplots(1, 3, sharey=True), sounds.items(), strict=True):
        ax.specgram(sound[0].numpy() + 1e-9, NFFT=512, Fs=16_000, noverlap=384, vmin=-140, vmax=-40)
        ax.set(xlabel="s", title=title)
    figure.axes[0].set_ylabel("Hz")
    return figure


if __name__ == "__main__":
    main()
