"""`pushpull detect FOLDER` on many short videos: two workers against one, killed and begun again.

    python benchmarks/bench_many.py CLIPS [--videos 100] [--json FILE] [--no-ray]

CLIPS as for `scripts/real_clips.py`. Videos of 2 to 3 s are cut out of them, and synthetic people
are added. The folder is given to the command with one worker of one thread, with two, again with
two but killed in the middle (SIGKILL) and begun again, and both once more on a Ray cluster of two
nodes on this machine. All must leave the same files, byte for byte, but for the times in them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_cost import ffmpeg

HERE = Path(__file__).parent.parent
REAL = 0.7
"""Share of the videos that are cut out of real ones."""

LENGTHS_S = (2.0, 2.5, 3.0)
MOST_LINES = 720
BAR = 1.8
"""Two workers do at least so many times what one does."""

TIMES = ("seconds",)
"""What of a json says how long it took."""


def main() -> None:
    """Make the videos, run all ways, compare what they leave."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--face-finder", default="yunet")
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        seconds = make_videos(args.clips, folder / "videos", args.videos)
        record: dict[str, Any] = {
            "detector": args.detector,
            "face_finder": args.face_finder,
            "videos": args.videos,
            "seconds": round(seconds),
            "load_before": round(os.getloadavg()[0], 2),
            "bar": BAR,
            "runs": {},
        }
        kinds = {"one": ["--workers", "1"], "two": ["--workers", "2"]}
        for kind, options in kinds.items():
            record["runs"][kind] = whole(folder, kind, options, args)
            print(kind, record["runs"][kind], flush=True)
        rates = {kind: run["videos_per_minute"] for kind, run in record["runs"].items()}
        record["ratio"] = round(rates["two"] / rates["one"], 2)
        record["runs"]["killed"] = killed(folder, "killed", kinds["two"], args)
        if not args.no_ray:
            record["runs"] |= on_ray(folder, args)
        left = {kind: files_of(folder / kind) for kind in record["runs"]}
        record["files"] = len(left["one"])
        record["different"] = {
            kind: sorted(
                name
                for name in files.keys() | left["one"].keys()
                if files.get(name) != left["one"].get(name)
            )
            for kind, files in left.items()
        }
    text = json.dumps(record, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    if any(record["different"].values()):
        raise SystemExit("the files differ")


def make_videos(clips: Path, folder: Path, count: int) -> float:
    """Pieces of real clips and synthetic people; how long all are, in seconds."""
    from pushpull.synthetic import one_face_video

    chosen = random.Random(0)
    pieces = []
    for clip in json.loads((clips / "index.json").read_text()):
        start_s, length_s = 0.0, chosen.choice(LENGTHS_S)
        while start_s + length_s <= clip["seconds"]:
            pieces.append((clip["file"], start_s, length_s))
            start_s, length_s = start_s + length_s, chosen.choice(LENGTHS_S)
    chosen.shuffle(pieces)
    real = pieces[: round(REAL * count)]
    total_s = 0.0
    for i, (file, start_s, length_s) in enumerate(real):
        ffmpeg(
            *("-ss", start_s, "-t", length_s, "-i", clips / file),
            *("-vf", f"scale=-2:'min({MOST_LINES},trunc(ih/2)*2)'"),
            *("-c:v", "libx264", "-preset", "veryfast", "-crf", 20, "-c:a", "aac"),
            folder / f"real-{i:03}.mp4",
        )
        total_s += length_s
    for i in range(count - len(real)):
        length_s = chosen.choice(LENGTHS_S)
        path = folder / f"synthetic-{i:03}.mp4"
        one_face_video(path, seed=i, duration_s=length_s, size=(640, 480))
        total_s += length_s
    return total_s


def begun(
    folder: Path, kind: str, options: list[str], args: argparse.Namespace
) -> subprocess.Popen[str]:
    """The command, one thread to a process."""
    command = [sys.executable, "-m", "pushpull", "detect", str(folder / "videos")]
    command += ["-o", str(folder / kind), "-d", args.detector, "--face-finder", args.face_finder]
    command += ["--video", "none", "--allow-silent", "--quiet", *options]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "OPENCV_FOR_THREADS_NUM": "1",
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def whole(
    folder: Path, kind: str, options: list[str], args: argparse.Namespace
) -> dict[str, float]:
    """The command to its end: wall seconds and videos a minute."""
    start = time.perf_counter()
    process = begun(folder, kind, options, args)
    _, said = process.communicate()
    wall_s = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"detect failed: {said[-1000:]}")
    return {"wall_s": round(wall_s, 1), "videos_per_minute": round(60 * args.videos / wall_s, 1)}


def killed(
    folder: Path, kind: str, options: list[str], args: argparse.Namespace
) -> dict[str, float]:
    """The command, killed when a third of the videos are done, then run to its end."""
    process = begun(folder, kind, options, args)
    while process.poll() is None and done_in(folder / kind) < args.videos / 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = done_in(folder / kind)
    if process.returncode != -signal.SIGKILL:
        raise SystemExit(f"detect ended with {process.returncode} before it was killed")
    return {"done_when_killed": before, **whole(folder, kind, options, args)}


def on_ray(folder: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Both on a Ray cluster of two nodes."""
    sys.path.insert(0, str(HERE / "tests"))
    from support.ray_cluster import ray_cluster

    with ray_cluster() as address:
        options = ["--workers", "2", "--engine", "ray", "--ray-address", address]
        return {
            "ray": whole(folder, "ray", options, args),
            "ray-killed": killed(folder, "ray-killed", options, args),
        }


def done_in(folder: Path) -> int:
    """Videos whose last file is there."""
    return len(list(folder.glob("[!.]*.vtt")))


def files_of(folder: Path) -> dict[str, bytes]:
    """What is in the files, but for times."""
    found = {}
    for path in sorted(folder.glob("[!.]*")):
        found[path.name] = path.read_bytes()
        if path.suffix == ".json":
            kept = {k: v for k, v in json.loads(found[path.name]).items() if k not in TIMES}
            found[path.name] = json.dumps(kept).encode()
    return found


if __name__ == "__main__":
    main()
