"""Half precision on a GPU: how much faster scores are, and how far they move.

    python benchmarks/bench_half.py DATA [--split val] [--detector light-asd-ava] [--json FILE]

DATA is a data set. Its tracks are scored again and again as one batch, by float32, by float32 with
TensorFloat-32 products, and with float16 and bfloat16 where `torch.autocast` takes them.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

import pushpull as pp
from pushpull.data import open_tracks
from pushpull.losses import log_odds
from pushpull.runtime.version import versions
from pushpull.schema import Batch

TIMES = 10


def main() -> None:
    """Score by each precision, print a record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tracks", type=int, default=12)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    detector = pp.load(args.detector, device=args.device).eval()
    tracks = open_tracks(args.data, args.split)
    clips = [tracks[k].clip for k in range(min(args.tracks, len(tracks)))]
    batch = Batch.from_clips(clips).to(detector.device)
    frames = int(batch.n_frames.sum())
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else args.device,
        "detector": args.detector, "tracks": len(clips), "frames": frames,
        "versions": versions(), "ways": {},
    }  # fmt: skip
    exact = None
    for way in ("float32", "tf32", "float16", "bfloat16"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = way == "tf32"
        half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(way)
        scores, seconds = timed(detector, batch, half)
        exact = scores if exact is None else exact
        record["ways"][way] = {
            "frames_per_s": frames / seconds,
            "largest_difference": float((scores - exact).abs().max()),
            "same_decisions": float(((scores > 0) == (exact > 0)).float().mean()),
        }
    text = json.dumps(record, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


@torch.no_grad()
def timed(
    detector: torch.nn.Module, batch: Batch, half: torch.dtype | None
) -> tuple[torch.Tensor, float]:
    """Scores of valid frames, and seconds of a pass, the median of some."""
    seconds = []
    for _ in range(TIMES + 2):
        wait(batch)
        start = time.perf_counter()
        kind = batch.faces.device.type
        with torch.autocast(kind, dtype=half) if half else nullcontext():
            output = detector(**batch.inputs)
        wait(batch)
        seconds.append(time.perf_counter() - start)
    return log_odds(output.logits.float())[output.mask], sorted(seconds[2:])[TIMES // 2]


def wait(batch: Batch) -> None:
    """Until the GPU has done what it was given."""
    if batch.faces.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
