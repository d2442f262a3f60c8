"""`pushpull score` against the official script, as whole processes on the same files.

    python benchmarks/bench_score.py --official get_ava_active_speaker_performance.py [--rows N]

The official script needs pandas; its `np.float` and `np.NAN`, gone from numpy, are replaced in a
temporary copy.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth, guess = write_pair(folder, args.rows)
        commands = {
            "ours": [sys.executable, "-m", "pushpull", "score", str(truth), str(guess), "--json"]
        }
        if args.official:
            script = folder / "official.py"
            text = args.official.read_text()
            script.write_text(re.sub(r"np\.float\b", "float", text).replace("np.NAN", "np.nan"))
            commands["official"] = [sys.executable, str(script), "-g", str(truth), "-p", str(guess)]
        times: dict[str, list[float]] = {who: [] for who in commands}
        peak_mib: dict[str, float] = {}
        for _ in range(args.runs):
            for who, command in commands.items():
                wall_s, mib, text = timed(command)
                times[who].append(wall_s)
                peak_mib[who] = max(peak_mib.get(who, 0), mib)
                print(f"{who}: {wall_s:.2f} s, {mib:.0f} MiB, {text.strip()[:80]}", flush=True)
    record = {
        "rows": args.rows,
        "median_s": {who: statistics.median(t) for who, t in times.items()},
        "peak_mib": peak_mib,
    }
    if args.official:
        ratios = [b / a for a, b in zip(times["ours"], times["official"], strict=True)]
        record["times_faster"] = statistics.median(ratios)
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1))


def write_pair(folder: Path, rows: int) -> tuple[Path, Path]:
    """A ground truth and predictions of AVA's shape: tracks of 100 frames, 25 % speaking."""
    rng = np.random.default_rng(0)
    speaking = rng.random(rows) < 0.25
    scores = rng.normal(size=rows) + 1.5 * speaking
    truth, guess = folder / "truth.csv", folder / "guess.csv"
    head = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2"
    with truth.open("w") as t, guess.open("w") as g:
        t.write(f"{head},label,entity_id\n")
        g.write(f"{head},label,entity_id,score\n")
        for i in range(rows):
            track = i // 100
            entity = f"vid{track // 200:08d}_0900_0960:{track}"
            key = f"vid{track // 200:08d},{900 + 0.04 * (i % 100):.2f},0.1,0.2,0.3,0.4"
            label = "SPEAKING_AUDIBLE" if speaking[i] else "NOT_SPEAKING"
            t.write(f"{key},{label},{entity}\n")
            g.write(f"{key},SPEAKING_AUDIBLE,{entity},{float(scores[i])!r}\n")
    return truth, guess


def timed(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak MiB and output of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, text


if __name__ == "__main__":
    main()
