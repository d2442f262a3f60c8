"""Rendering the synthetic set: frames per second of `pushpull data synth` on this machine's cores.

    python benchmarks/bench_synth.py [--tracks 1000] [--workers 2] [--json FILE]

Whole commands, start of the processes and writing included; and tracks rendered on the fly, without
a file, in one process. Tracks are those of the command's defaults.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pushpull.data import SynthConfig, open_tracks, synth_examples


def main() -> None:
    """Render, time, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"tracks": args.tracks, "workers": args.workers}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        options = ["--tracks", str(args.tracks), "--workers", str(args.workers)]
        command = [sys.executable, "-m", "pushpull", "data", "synth", str(out), *options]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        record["seconds"] = time.perf_counter() - start
        counts = [int(open_tracks(out, s).n_frames.sum()) for s in ("train", "val", "test")]
        record["frames"] = sum(counts)
        record["fps"] = record["frames"] / record["seconds"]
    frames, start = 0, time.perf_counter()
    for example in synth_examples(SynthConfig(tracks=args.tracks), "test"):
        frames += len(example.clip.faces)
    record["one_process_fps"] = frames / (time.perf_counter() - start)
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
