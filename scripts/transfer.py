"""How far adversaries carry to another detector: plain PGD and MIM against vmi-di.

    python scripts/transfer.py real CLIPS --out OUT [--report docs/measurements/transfer.md]
        [--record docs/measurements/transfer-real.json] [--picture docs/images/transfer.png]
    python scripts/transfer.py synthetic --out OUT, and the same

`real`: CLIPS is as for `real_clips.py`; for each person the first clip in which they speak and the
first in which they are silent, some frames from the middle of the longest track, adversaries of
each published detector scored on the other. `synthetic`: detectors of the package on new tracks of
the synthetic set. Only frames that the clean detector gets right count. Differences are paired, and
their intervals come from drawing people (or tracks) again. Results are kept per clip in OUT, so a
stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from real_attacks import middle, one_of_each
from real_clips import replace_section

import pushpull as pp
from pushpull.attacks import attack
from pushpull.data import SynthConfig, synth_examples
from pushpull.errors import PushPullError
from pushpull.models.detector import Detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions
from pushpull.schema import Batch, Clip

PAIRS = {
    "real": (("light-asd-ava", "lr-asd-ava"), ("lr-asd-ava", "light-asd-ava")),
    "synthetic": (
        ("synthetic-nc", "synthetic-a"),
        ("synthetic-a", "synthetic-nc"),
    ),
}
"""Made on, scored on."""
STEPS, NEIGHBOURS = 10, 5
SAME_GRADIENTS = STEPS + NEIGHBOURS * (STEPS - 1)
ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "pgd": ("pgd", {"steps": STEPS}),
    "pgd, as many gradients as vmi-di": ("pgd", {"steps": SAME_GRADIENTS}),
    "mim": ("mim", {"steps": STEPS}),
    "vmi-di without neighbours": ("vmi-di", {"steps": STEPS, "neighbours": 0}),
    "vmi-di": ("vmi-di", {"steps": STEPS}),
}
AGAINST = "vmi-di"
DRAWS, SEED = 2000, 0


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="kind", required=True)
    real, synthetic = commands.add_parser("real"), commands.add_parser("synthetic")
    real.add_argument("clips", type=Path)
    real.add_argument("--face-finder", default="yunet")
    real.add_argument("--frames", type=int, default=8)
    real.add_argument("--every", type=int, default=3, help="1: all clips, 3: every third")
    synthetic.add_argument("--tracks", type=int, default=24)
    for one, eps in ((real, 10.0), (synthetic, 40.0)):
        one.add_argument("--out", type=Path, required=True)
        one.add_argument("--eps", type=float, nargs="+", default=[eps])
        one.add_argument("--report", type=Path)
        one.add_argument("--record", type=Path)
        one.add_argument("--picture", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    pairs = PAIRS[args.kind]
    models = {name: pp.load(name, device="cpu") for pair in pairs for name in pair}
    rows = []
    for name, group, key, clip_of in real_clips(args) if args.kind == "real" else tracks(args):
        asked = repr((key, pairs, ATTACKS, args.eps))
        kept = args.out / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
        if not kept.exists():
            start = time.perf_counter()
            try:
                record = measured(clip_of(), models, pairs, args.eps)
            except PushPullError as e:
                record = {"error": str(e)}
            kept.write_text(json.dumps(record))
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        record = json.loads(kept.read_text())
        if "error" not in record:
            rows.append({"name": name, "group": group, **record})
    result = {
        "kind": args.kind,
        "settings": {
            "steps": STEPS, "eps_av": args.eps, "attacks": ATTACKS, "draws": DRAWS, "seed": SEED,
        },
        "versions": versions(),
        "clips": len(rows),
        "groups": len({row["group"] for row in rows}),
        "pairs": {
            f"{surrogate} -> {target}": {
                f"{eps:g}": compared(rows, surrogate, target, eps) for eps in args.eps
            }
            for surrogate, target in pairs
        },
    }  # fmt: skip
    (args.out / "results.json").write_text(json.dumps(result, indent=1))
    text = "\n".join(report(result)) + "\n"
    print(text)
    if args.report:
        replace_section(args.report, text, args.kind)
    if args.record:
        args.record.write_text(json.dumps(result, indent=1) + "\n")
    if args.picture:
        draw(result).savefig(args.picture, dpi=90)


def real_clips(args: argparse.Namespace) -> Iterator[tuple[str, str, Any, Any]]:
    """Name, person, what decides it, and what reads it, of each clip."""
    for clip in one_of_each(json.loads((args.clips / "index.json").read_text()))[:: args.every]:
        decides = (clip["sha256"], args.frames, args.face_finder)
        read = partial(few_frames, args.clips / clip["file"], clip, args.face_finder, args.frames)
        yield clip["file"], str(clip["person"]), decides, read


def few_frames(path: Path, clip: dict[str, Any], face_finder: str, frames: int) -> Clip:
    """Some frames from the middle of the longest track."""
    whole = middle(path, clip, face_finder, "ava")
    n = min(frames, len(whole.faces))
    first = (len(whole.faces) - n) // 2
    begin, end = (round(16_000 * frame / whole.fps) for frame in (first, first + n))
    return Clip(
        waveform=whole.waveform[begin:end],
        faces=whole.faces[first : first + n],
        fps=whole.fps,
        speaking=None if whole.speaking is None else whole.speaking[first : first + n],
    )


def tracks(args: argparse.Namespace) -> Iterator[tuple[str, str, Any, Any]]:
    """The same of new tracks of the synthetic set."""
    config = SynthConfig(tracks=2 * args.tracks, min_frames=10, max_frames=10, seed=77)
    for i, example in enumerate(islice(synth_examples(config, "train"), args.tracks)):
        yield example.track_id, str(i), (repr(config), i), partial(replace, example.clip)


def measured(
    clip: Clip,
    models: dict[str, Detector],
    pairs: tuple[tuple[str, str], ...],
    budgets: list[float],
) -> dict[str, Any]:
    """Which frames are right, clean and under every attack made on each surrogate."""
    batch = Batch.from_clips([clip])
    assert batch.speaking is not None  # noqa: S101
    labels = batch.speaking[0] == 1
    record: dict[str, Any] = {
        "clean": {name: right(model, batch, labels) for name, model in models.items()},
        "right": {},
        "seconds": {},
    }
    for surrogate in dict.fromkeys(name for name, _ in pairs):
        targets = [target for source, target in pairs if source == surrogate]
        for eps in budgets:
            for said, (name, settings) in ATTACKS.items():
                start = time.perf_counter()
                found = attack(models[surrogate], batch, name, eps=eps, seed=SEED, **settings)
                record["seconds"][f"{surrogate}/{eps:g}/{said}"] = time.perf_counter() - start
                for target in (surrogate, *targets):
                    place = f"{surrogate}/{target}/{eps:g}/{said}"
                    record["right"][place] = right(models[target], found.batch, labels)
    return record


def right(model: Detector, batch: Batch, labels: torch.Tensor) -> list[bool]:
    """Which frames the detector gets right."""
    with torch.inference_mode():
        score = model(**batch.inputs).score[0]
    return [bool(x) for x in (score > 0) == labels]


def compared(
    rows: list[dict[str, Any]], surrogate: str, target: str, eps: float
) -> dict[str, dict[str, Any]]:
    """Share of frames still right by attack, white box too, and how much more than vmi-di."""
    clean = [np.array(row["clean"][target]) for row in rows]
    own = [np.array(row["clean"][surrogate]) for row in rows]
    people, groups = np.unique([row["group"] for row in rows], return_inverse=True)
    rng = np.random.default_rng(SEED)
    times = np.array(
        [np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people))
         for _ in range(DRAWS)]
    )[:, groups]  # fmt: skip
    frames = np.array([int(one.sum()) for one in clean])

    def left(said: str, of: str, among: list[NDArray[np.bool_]]) -> NDArray[np.int64]:
        place = f"{surrogate}/{of}/{eps:g}/{said}"
        pairs = zip(rows, among, strict=True)
        return np.array([int(np.array(row["right"][place])[ok].sum()) for row, ok in pairs])

    def interval(count: NDArray[np.int64]) -> list[float]:
        drawn = (times * count).sum(1) / np.maximum((times * frames).sum(1), 1)
        return [float(end) for end in np.quantile(drawn, (0.025, 0.975))]

    best = left(AGAINST, target, clean)
    found = {}
    for said in ATTACKS:
        still = left(said, target, clean)
        more = still - best
        found[said] = {
            "right": float(still.sum() / frames.sum()),
            "right_interval": interval(still),
            "white_box": float(left(said, surrogate, own).sum() / sum(o.sum() for o in own)),
            "more_than_vmi_di": float(more.sum() / frames.sum()),
            "interval": interval(more),
            "seconds": sum(row["seconds"][f"{surrogate}/{eps:g}/{said}"] for row in rows),
        }
    return found


def report(result: dict[str, Any]) -> Iterator[str]:
    """Tables."""
    what = "clips of {} people" if result["kind"] == "real" else "tracks"
    of = what.format(result["groups"])
    said = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield (
        f"{result['clips']} {of}, {result['settings']['steps']} steps, bootstrap over "
        f"{'people' if result['kind'] == 'real' else 'tracks'}, {DRAWS} draws, seed {SEED}; {said}."
    )
    for pair, budgets in result["pairs"].items():
        surrogate, target = pair.split(" -> ")
        for eps, attacks in budgets.items():
            yield ""
            yield f"**made on {surrogate}, scored on {target}**, eps_av {eps}"
            yield ""
            yield (
                "| attack | frames still right, 95 % | more than vmi-di leaves, 95 % | "
                "white box | time |"
            )
            yield "|---|---|---|---|---|"
            for name, one in attacks.items():
                low, high = (100 * end for end in one["interval"])
                more = f"{100 * one['more_than_vmi_di']:+.1f} ({low:+.1f} to {high:+.1f})"
                yield (
                    f"| {name} | {left(one)} | {'' if name == AGAINST else more} | "
                    f"{100 * one['white_box']:.1f} % | {one['seconds']:.0f} s |"
                )


def left(one: dict[str, Any]) -> str:
    """Share of frames still right in percent, with its interval."""
    low, high = (100 * end for end in one["right_interval"])
    return f"{100 * one['right']:.1f} [{low:.1f}, {high:.1f}]"


def draw(result: dict[str, Any]) -> Figure:
    """Frames still right by attack, one axis for each pair of detectors."""
    plans = [(pair, eps, one) for pair, of in result["pairs"].items() for eps, one in of.items()]
    figure = Figure(figsize=(9, 0.8 + 0.35 * len(ATTACKS)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(plans), sharey=True, squeeze=False)[0]
    for ax, (pair, eps, attacks) in zip(axes, plans, strict=True):
        share = np.array([100 * attacks[name]["right"] for name in ATTACKS])
        ends = np.array([attacks[name]["right_interval"] for name in ATTACKS]).T * 100
        colours = ["#d95f02" if name == AGAINST else "#7a8fa6" for name in ATTACKS]
        ax.barh(list(ATTACKS), share, color=colours, xerr=abs(ends - share), capsize=3)
        ax.set(xlim=(0, 100), xlabel="frames still right, %", title=f"{pair}, eps_av {eps}")
        ax.title.set_fontsize(9)
    axes[0].invert_yaxis()
    return figure


if __name__ == "__main__":
    try:
        main()
    except PushPullError as e:
        raise SystemExit(f"error: {e}") from e
