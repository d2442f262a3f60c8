"""What `pushpull detect` costs: processor and wall seconds, beside an earlier commit and real time.

    python benchmarks/bench_cost.py CLIPS [--before CHECKOUT] [--json FILE] [--only NAME ...]

CLIPS as for `scripts/real_clips.py`; CHECKOUT an earlier commit (`git worktree add`). Films of
1280 x 720 are made of the clips and of synthetic people. Each is given to `pushpull detect` as a
process of its own, with one thread and with as many as it takes by default, with the drawn video
and without; both sides after each other, three times, the least of each counts, since other work on
the machine only adds. Scores of faces that both sides found are compared.
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

HERE = Path(__file__).parent.parent
PANES = ("obama_f2f.mp4", "lp_d6.mp4", "lipinc_kennedy.mp4")
THREE_S, ONE_S, LONG_S = 24, 60, 600
SAME = 0.5
"""Overlap from which two boxes are of one face."""


def main() -> None:
    """Make the films, run both sides, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--face-finder", default="yunet")
    parser.add_argument("--precision", default="float32", help="Of this checkout's runs.")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=("three", "synthetic", "one", "long"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    only = args.only or ("three", "synthetic", "one")
    sides = {"after": HERE} if args.before is None else {"before": args.before, "after": HERE}
    record: dict[str, Any] = {"detector": args.detector, "face_finder": args.face_finder}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for film in only:
            path = FILMS[film](args.clips, folder)
            rows = measure(path, film, sides, args, folder)
            record[film] = {"seconds": SECONDS[film], "runs": rows}
            record[film]["bytes"] = {
                suffix: (folder / f"after-{film}" / f"{film}.{suffix}").stat().st_size
                for suffix in ("csv", "json", "parquet")
            }
            for row in rows:
                print(film, json.dumps(row), flush=True)
            if args.before is not None:
                record[film]["agreement"] = agreement(folder, film)
                print(film, record[film]["agreement"], flush=True)
            if args.json:
                args.json.write_text(json.dumps(record, indent=1))


def measure(
    path: Path, film: str, sides: dict[str, Path], args: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    """The least of a few runs of each kind and side."""
    kinds = [(threads, drawn) for threads in ("1", "default") for drawn in (True, False)]
    if film == "long":
        kinds = [("default", False)]
    best: dict[tuple[str, bool, str], dict[str, Any]] = {}
    for _ in range(1 if film == "long" else args.times):
        for threads, drawn in kinds:
            for side, checkout in sides.items():
                run = run_once(path, checkout, threads, drawn, args, folder / f"{side}-{film}")
                kept = best.setdefault((threads, drawn, side), run)
                for value in ("cpu_s", "wall_s", "peak_mib"):
                    kept[value] = min(kept[value], run[value])
    rows = []
    for threads, drawn in kinds:
        row: dict[str, Any] = {"threads": threads, "drawn": drawn}
        for side in sides:
            row[side] = best[threads, drawn, side]
        if len(sides) == 2:
            row["cpu_ratio"] = round(row["after"]["cpu_s"] / row["before"]["cpu_s"], 3)
            row["wall_ratio"] = round(row["after"]["wall_s"] / row["before"]["wall_s"], 3)
        row["wall_of_cpu"] = round(row["after"]["wall_s"] / row["after"]["cpu_s"], 3)
        row["times_real_time"] = round(SECONDS[film] / row["after"]["wall_s"], 2)
        rows.append(row)
    return rows


def run_once(
    path: Path, checkout: Path, threads: str, drawn: bool, args: argparse.Namespace, out: Path
) -> dict[str, Any]:
    """Processor and wall seconds and peak memory of one command."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = str(checkout / "src")
    if threads != "default":
        environment |= {"OMP_NUM_THREADS": threads, "OPENCV_FOR_THREADS_NUM": threads}
    command = [sys.executable, "-m", "pushpull", "detect", str(path), "-o", str(out)]
    command += ["-d", args.detector, "--face-finder", args.face_finder, "--overwrite"]
    # As the commit has it: `--video none` came with Parquet.
    now = (checkout / "src/pushpull/detection/tables.py").exists()
    command += [] if drawn else ["--video", "none"] if now else ["--no-video"]
    command += ["--parquet"] if now else []
    if args.precision != "float32" and checkout == HERE:
        command += ["--precision", args.precision]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {said[-500:]}")
    return {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(time.perf_counter() - start, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def agreement(folder: Path, film: str) -> dict[str, Any]:
    """Faces and frames that both sides found, and how far their scores differ."""
    before, after = (
        json.loads(next((folder / f"{side}-{film}").glob("*.json")).read_text())["tracks"]
        for side in ("before", "after")
    )
    rows = {side: by_frame(tracks) for side, tracks in (("before", before), ("after", after))}
    differences, same_decision = [], []
    for frame, faces in rows["before"].items():
        for box, score in faces:
            for other, new in rows["after"].get(frame, []):
                if overlap(box, other) >= SAME:
                    differences.append(abs(score - new))
                    same_decision.append((score > 0) == (new > 0))
                    break
    found = {side: sum(len(v) for v in frames.values()) for side, frames in rows.items()}
    return {
        "tracks": {"before": len(before), "after": len(after)},
        "face_frames": {**found, "both": len(differences)},
        "median_score_difference": round(float(np.median(differences)), 4),
        "same_decisions": round(float(np.mean(same_decision)), 4),
    }


def by_frame(tracks: list[dict[str, Any]]) -> dict[int, list[tuple[list[float], float]]]:
    """Boxes and scores by frame."""
    frames: dict[int, list[tuple[list[float], float]]] = {}
    for track in tracks:
        for frame, box, score in zip(
            track["frame_numbers"], track["boxes"], track["scores"], strict=True
        ):
            frames.setdefault(frame, []).append((box, score))
    return frames


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def ffmpeg(*arguments: object) -> None:
    """The FFmpeg of imageio-ffmpeg."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


X264 = ("-c:v", "libx264", "-preset", "medium", "-crf", 20, "-c:a", "aac")


def three_faces(clips: Path, folder: Path) -> Path:
    """Three real people side by side, with the voice of the first."""
    path = folder / "three.mp4"
    panes = ";".join(
        f"[{k}:v]fps=25,scale=-2:720,crop=426:720:(iw-426)/2:0,setsar=1[p{k}]"
        for k in range(len(PANES))
    )
    inputs = [part for name in PANES for part in ("-stream_loop", -1, "-i", clips / name)]
    stack = "[p0][p1][p2]hstack=3,pad=1280:720[v]"
    ffmpeg(
        *inputs, "-filter_complex", f"{panes};{stack}", "-map", "[v]", "-map", "0:a",
        "-t", THREE_S, *X264, path,
    )  # fmt: skip
    return path


def three_synthetic(clips: Path, folder: Path) -> Path:
    """Three synthetic people side by side."""
    from pushpull.synthetic import one_face_video

    path = folder / "synthetic.mp4"
    for k in range(3):
        one_face_video(folder / f"s{k}.mp4", seed=k, duration_s=THREE_S, size=(426, 720))
    inputs = [part for k in range(3) for part in ("-i", folder / f"s{k}.mp4")]
    ffmpeg(
        *inputs, "-filter_complex", "[0:v][1:v][2:v]hstack=3,pad=1280:720[v]", "-map", "[v]",
        "-map", "0:a", *X264, path,
    )  # fmt: skip
    return path


def one_face(clips: Path, folder: Path) -> Path:
    """One person for a minute."""
    path = folder / "one.mp4"
    ffmpeg("-stream_loop", -1, "-i", clips / PANES[0], "-t", ONE_S, "-r", 25, *X264, path)
    return path


def ten_minutes(clips: Path, folder: Path) -> Path:
    """Two people of 1920 x 1080 for ten minutes."""
    path = folder / "long.mp4"
    clip = clips / "avobjects_debate.mp4"
    ffmpeg("-stream_loop", -1, "-i", clip, "-t", LONG_S, "-c", "copy", path)
    return path


FILMS = {
    "three": three_faces,
    "synthetic": three_synthetic,
    "one": one_face,
    "long": ten_minutes,
}
SECONDS = {"three": THREE_S, "synthetic": THREE_S, "one": ONE_S, "long": LONG_S}


if __name__ == "__main__":
    main()
