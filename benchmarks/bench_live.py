"""Live detection for minutes: how late scores are, what is left out, whether memory grows.

    python benchmarks/bench_live.py CLIPS [--minutes 10] [--json FILE]

CLIPS as for `scripts/real_clips.py`. Three real people side by side, 640 x 360 at 25 pictures a
second, are read from a file as a camera would give them, by `pushpull live` as a process of its
own. Late is how long after its picture was due a score was first given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_cost import X264, ffmpeg, three_faces

HERE = Path(__file__).parent.parent
EVERY_S = 10.0
"""How often memory is looked at."""


def main() -> None:
    """Make the film, watch it, print a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--face-finder", default="yunet")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        film = three_small(args.clips, Path(name), 60 * args.minutes)
        record = watch(film, args.detector, args.face_finder)
    record |= {"minutes": args.minutes, "detector": args.detector, "face_finder": args.face_finder}
    print(json.dumps(record))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1))


def three_small(clips: Path, folder: Path, seconds: float) -> Path:
    """Three real people, 640 x 360, over and over."""
    one, film = folder / "small.mp4", folder / "film.mp4"
    ffmpeg("-i", three_faces(clips, folder), "-vf", "scale=640:360", *X264, one)
    ffmpeg("-stream_loop", -1, "-i", one, "-t", seconds, "-c", "copy", film)
    return film


def watch(film: Path, detector: str, face_finder: str) -> dict[str, Any]:
    """Run it to its end and look at it meanwhile."""
    command = [sys.executable, "-m", "pushpull", "live", str(film), "--json", "-q"]
    command += ["-d", detector, "--face-finder", face_finder]
    environment = os.environ | {"PYTHONPATH": str(HERE / "src")}
    began, before, busy_s = time.perf_counter(), os.times(), machine_busy_s()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    resident_mib = []
    while process.poll() is None:
        try:
            process.wait(EVERY_S)
        except subprocess.TimeoutExpired:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            resident_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    after = os.times()
    said, complaint = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {complaint[-500:]}")
    wall_s = time.perf_counter() - began
    cpu_s = after.children_user + after.children_system
    # Making the film is none of its business.
    cpu_s -= before.children_user + before.children_system
    others_s = machine_busy_s() - busy_s - cpu_s
    third = max(1, len(resident_mib) // 3)
    parts = [resident_mib[k * third : (k + 1) * third] for k in range(3)]
    told = json.loads(said)
    keys = ("faces", "scores", "within_1_s", "late_95_s", "pictures", "pictures_left_out")
    return {
        **{key: told[key] for key in keys},
        "wall_s": round(wall_s, 1),
        "cpu_s_per_s": round(cpu_s / wall_s, 3),
        "others_cpu_s_per_s": round(others_s / wall_s, 3),
        "mean_mib_by_thirds": [round(float(np.mean(part))) for part in parts if part],
        "peak_mib": round(max(resident_mib)),
    }


def machine_busy_s() -> float:
    """Processor seconds that all programs of the machine have used."""
    user, nice, system = Path("/proc/stat").read_text().split("\n")[0].split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
