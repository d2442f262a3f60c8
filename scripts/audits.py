"""Whole audits of honest and of planted detectors: what is said of each.

    python scripts/audits.py SYNTHETIC --out OUT [--real TALKSET] [--rows NAME ...]
        [--report docs/measurements/audit.md] [--record docs/measurements/audits.json]

SYNTHETIC and TALKSET are data sets of `pushpull data synth` and `scripts/real_talkset.py`. Each
detector is audited with the whole standard attack and every test that can decide; published ones on
real clips with the fast one, and with the whole one where an adversary is known to exist. Planted
are detectors behind ripples and stairs that change no clean
decision. Stages are kept in OUT, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pushpull as pp
from pushpull.attacks import gradient_agreement
from pushpull.auditing import FAST, FULL, AuditClips, Claim, choose_clips, examine
from pushpull.auditing.auditing import surrogates_for
from pushpull.data import open_tracks
from pushpull.models.detector import Detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions
from pushpull.schema import Output

TESTS = (
    "randomness", "gradients", "derivatives", "agreement", "landscape", "suite", "one-step",
    "budgets", "unit-test", "averaged", "bypass", "square", "transfer", "noise",
)  # fmt: skip


class Ripple(nn.Module):
    """x + A f(w x): values hardly change, slopes point anywhere."""

    def __init__(self, amplitude: float, frequency: float, saw: bool = False) -> None:
        super().__init__()
        self.amplitude, self.frequency, self.saw = amplitude, frequency, saw

    def forward(self, x: Tensor) -> Tensor:
        """Rippled."""
        turns = self.frequency * x / (2 * torch.pi)
        wave = 2 * (turns - turns.floor()) - 1 if self.saw else torch.sin(self.frequency * x)
        return x + self.amplitude * wave


class Stairs(nn.Module):
    """Piecewise constant, with the slope of a ripple."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """Rounded to steps."""
        flat = (x.detach() / self.step).round() * self.step
        made_up = torch.sin(40 * x / self.step) * self.step
        return flat + (made_up - made_up.detach())


PLANTED: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "ripple on sound and faces": {
        "waveform": lambda: Ripple(3e-4, 6e4), "faces": lambda: Ripple(0.3, 60.0),
    },
    "ripple on faces": {"faces": lambda: Ripple(0.2, 120.0)},
    "falling saw on sound": {"waveform": lambda: Ripple(3e-4, -6e4, saw=True)},
    "ripple on embeddings": {"embeddings": lambda: Ripple(0.05, 600.0)},
    "ripple on log-odds": {"logits": lambda: Ripple(0.1, 400.0)},
    "stairs with a slope made up": {
        "waveform": lambda: Stairs(2e-4), "faces": lambda: Stairs(0.2),
    },
}  # fmt: skip
HONEST = (
    "synthetic-a", "synthetic-b3", "synthetic-d3", "synthetic-e3", "synthetic-spec", "synthetic-nc",
)  # fmt: skip
PUBLISHED = ("light-asd-ava", "lr-asd-ava")
BEHIND = "synthetic-b3"


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("synthetic", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tracks", type=int, default=10)
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--rows", nargs="+")
    parser.add_argument("--kept", action="store_true", help="Report what is there; run nothing.")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    asked = [(name, "honest") for name in HONEST]
    asked += [(name, "honest") for name in PUBLISHED if args.real or args.kept]
    asked += [(name, "planted") for name in PLANTED]
    rows = []
    for name, kind in asked:
        if not args.rows or name in args.rows:
            one = args.out / f"{name.replace(' ', '-')}.json"
            if args.kept and not one.exists():
                continue
            if not one.exists():
                one.parent.mkdir(parents=True, exist_ok=True)
                one.write_text(json.dumps(audited(name, kind, args)))
            size = {"tracks": args.tracks, "frames": args.frames}
            rows.append({**size, **json.loads(one.read_text())})
            print(f"{name}: {rows[-1]['sentence']}", file=sys.stderr, flush=True)
    result = {
        "settings": {"tracks": args.tracks, "frames": args.frames, "behind": BEHIND, "eps_av": 5},
        "versions": versions(),
        "rows": rows,
    }
    text = "\n".join(report(result)) + "\n"
    print(text)
    if args.report:
        args.report.write_text(text)
    if args.record:
        args.record.write_text(json.dumps(result, indent=1) + "\n")


def audited(name: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """One audit, as plain values."""
    real = name in PUBLISHED
    root = args.real if real else args.synthetic
    config = replace(FULL, tracks=args.tracks, frames=args.frames)
    if real:
        config = replace(FAST, tracks=6, frames=10)
    tracks = open_tracks(root, "test")
    clips = choose_clips(tracks, count=config.tracks, frames=config.frames, seed=config.seed)
    detector = pp.load(BEHIND if kind == "planted" else name, device="cpu").eval()
    clean = clean_decisions(detector, clips)
    if kind == "planted":
        detector = Behind(detector, PLANTED[name]).eval()
    made = {"made": {"by": "data talkset" if real else "data synth"}}
    others = surrogates_for(detector, made)
    said: dict[str, Any] = {
        "eps": 5, "claim": Claim(), "folder": args.out / name.replace(" ", "-"),
        "identity": {"name": name},
    }  # fmt: skip
    rivals = {other: pp.load(other, device="cpu") for other in others}
    found = examine(detector, clips, config=config, tests=TESTS, surrogates=rivals, **said)
    findings = {f.test: dict(f.figures) for f in found.findings}
    if real:
        whole = replace(config, suite=FULL.suite)
        (planted,) = examine(detector, clips, config=whole, tests=["unit-test"], **said).findings
        findings["unit-test"] = dict(planted.figures)
    same = float((clean_decisions(detector, clips) == clean).float().mean())
    agreement = gradient_agreement(detector, clips.probes(6).as_float(), eps=5)
    return {
        "name": name,
        "kind": kind,
        "suite": config.suite,
        "tracks": config.tracks,
        "frames": config.frames,
        "clips": clips.identity[:6],
        "word": found.verdict.word,
        "reasons": list(found.verdict.reasons),
        "sentence": found.verdict.sentence,
        "standing": found.as_dict()["standing"],
        "same_clean_decisions": same,
        "findings": findings,
        "cosine": {k: v[0].tolist() for k, v in agreement.cosine.items()},
        "gain": {k: v[0].tolist() for k, v in agreement.gain.items()},
        "cost": found.cost,
    }


def clean_decisions(detector: Detector, clips: AuditClips) -> Tensor:
    """Which frames of all clips speak, as the detector says."""
    with torch.no_grad():
        outputs = [detector(**batch.as_float().inputs) for batch in clips.batches]
    return torch.cat([output.score[output.mask] > 0 for output in outputs])


class Behind(Detector):
    """A detector behind layers that ruin its gradient."""

    def __init__(self, detector: Detector, layers: dict[str, Callable[[], nn.Module]]) -> None:
        super().__init__()
        self.detector = detector
        self.visual_context, self.audio_context = detector.visual_context, detector.audio_context
        places = ("waveform", "faces", "embeddings", "logits")
        self.layers = nn.ModuleDict({k: layers.get(k, nn.Identity)() for k in places})

    def front_end(self, waveform: Tensor, *rest: Any) -> Tensor:
        """Behind the layer on sound."""
        return self.detector.front_end(self.layers["waveform"](waveform), *rest)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """As the detector."""
        return self.detector.encode_audio(features, n_frames)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Behind the layer on faces."""
        return self.detector.visual_local(self.layers["faces"](faces), n_frames)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """As the detector."""
        return self.detector.visual_global(local, n_frames)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Behind the layer on embeddings, before that on logits."""
        within = self.layers["embeddings"]
        output = self.detector.fuse(within(e_a), within(e_v), n_frames)
        return replace(output, logits=self.layers["logits"](output.logits))


def report(result: dict[str, Any]) -> list[str]:
    """The page."""
    settings = result["settings"]
    rows = result["rows"]
    lines = [
        "# Audits of honest and planted detectors", "",
        "`scripts/audits.py`, at eps_av 5, all tests that can decide. Shipped detectors on the "
        "synthetic set, published ones on real talking clips. Planted are layers in or before "
        f"{settings['behind']} that change hardly any clean decision. Clips: the begin of a "
        "checksum of what was attacked; rows with different ones, or with none kept, are not "
        "to be compared. The last column: of adversaries that are known to exist, those that the "
        "whole suite finds, in percent. Every figure: `audits.json`.", "",
        "| detector | tracks x frames | clips | same decisions clean | suite | verdict "
        "| decided by | clean mAP | left by the worst adversaries (95 %) | planted found |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        s = row["standing"]
        low, high = (f"{100 * end:.0f}" for end in s["worst_interval"])
        planted = row["findings"]["unit-test"]["planted adversaries found by the suite, share"]
        lines.append(
            f"| {row['name']} | {row['tracks']} x {row['frames']} | {row.get('clips', '-')} | "
            f"{100 * row['same_clean_decisions']:.1f} % | {row['suite']} | "
            f"{row['word']} | {', '.join(row['reasons']) or 'what is left'} | "
            f"{100 * s['clean']:.1f} | {100 * s['worst']:.1f} ({low} to {high}) | "
            f"{'-' if planted is None else f'{100 * planted:.1f}'} |"
        )
    lines += [
        "", "## Gradients near by", "",
        "Median over clips of the cosine with gradients a tenth of the budget away, and of what a "
        "step of that length brings of what the gradient promises; where one is low, margin that "
        "one step takes along gradients very near, and along the mean of 24 around (log-odds).", "",
        "| detector | cosine, sound | faces | gain, sound | faces | one step, plain and averaged |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        cells = [
            f"{sorted(row[kind][name])[len(row[kind][name]) // 2]:.2f}"
            for kind in ("cosine", "gain")
            for name in ("audio", "visual")
        ]
        found = row["findings"].get("agreement", {})
        steps = [
            f"{name}: {found[f'{name}, margin one plain step takes, log-odds']:.2f}, "
            f"{found[f'{name}, margin one averaged step takes, log-odds']:.2f}"
            for name in ("audio", "visual")
            if f"{name}, margin one plain step takes, log-odds" in found
        ]
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {'; '.join(steps) or '-'} |")
    return lines


if __name__ == "__main__":
    main()
