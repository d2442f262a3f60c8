"""Peak memory of long work: ten minutes through `pushpull detect`, an attack of three faces.

    python benchmarks/bench_memory.py CLIPS [--steps 2] [--only detect attack same] [--json FILE]

CLIPS as for `scripts/real_clips.py`. Commands are processes of their own with one thread; resident
memory of each and its children is sampled ten times a second. The attack is on a minute of three
people side by side, who are on all the time (clips are played forwards and backwards), so that the
faces are attacked together. What it keeps does not depend on its steps. `same` attacks a few
seconds of it twice: as it is, window by window, and with all that a gradient needs kept at once.
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
from bench_cost import X264, ffmpeg, ten_minutes

HERE = Path(__file__).parent.parent
PANES = ("obama_f2f.mp4", "lp_d6.mp4", "lipinc_kennedy.mp4")
LONG_S, MINUTE_S, SHORT_S = 600, 60, 7
"""The short one is of more faces than are kept at once."""
DETECT_MIB, ATTACK_MIB = 900, 4096
"""At most."""
EVERY_S = 0.1
UNBOUNDED = 2**62


def main() -> None:
    """Make the videos, run, print a record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--face-finder", default="yunet")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--unbounded", nargs=argparse.REMAINDER, help="for this script itself")
    args = parser.parse_args()
    if args.unbounded:
        keep_everything(args.unbounded)
        return
    record: dict[str, Any] = {"detector": args.detector, "face_finder": args.face_finder}
    # What was measured before stays.
    if args.json and args.json.exists():
        record = json.loads(args.json.read_text()) | record
    with tempfile.TemporaryDirectory() as name:
        for part in args.only:
            record[part] = PARTS[part](args, Path(name))
            print(part, json.dumps(record[part]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def detect(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Ten minutes of two people, 1920 x 1080, nothing drawn."""
    video, out = ten_minutes(args.clips, folder), folder / "detected"
    run = sampled(
        [
            *pushpull(), "detect", str(video), "-o", str(out), "-d", args.detector,
            "--face-finder", args.face_finder, "--video", "none", "--quiet",
        ]
    )  # fmt: skip
    found = json.loads((out / "long.json").read_text())["tracks"]
    return {
        "seconds": LONG_S,
        **faces_of(found),
        **run,
        "times_real_time": round(LONG_S / run["wall_s"], 2),
        "later_of_first": round(max(run["thirds_mib"][1:]) / run["thirds_mib"][0], 3),
        "bar_mib": DETECT_MIB,
    }


def attack(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A minute of three people."""
    video, out = three_faces(args.clips, folder, MINUTE_S), folder / "attacked"
    run = sampled([*pushpull(), *attack_options(args, video, out)])
    return {
        "seconds": MINUTE_S,
        "steps": args.steps,
        **attacked(out / video.stem),
        **run,
        "bar_mib": ATTACK_MIB,
    }


def same(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A few seconds of them, window by window and with everything kept."""
    video = three_faces(args.clips, folder, SHORT_S)
    itself = [sys.executable, str(Path(__file__).resolve()), str(args.clips), "--unbounded"]
    sides = {"windows": pushpull(), "unbounded": itself}
    runs = {
        side: sampled([*command, *attack_options(args, video, folder / side)])
        for side, command in sides.items()
    }
    return {
        "seconds": SHORT_S,
        "steps": args.steps,
        **attacked(folder / "windows" / video.stem),
        "peak_mib": {side: run["peak_mib"] for side, run in runs.items()},
        "cpu_s": {side: run["cpu_s"] for side, run in runs.items()},
        **differences(*(folder / side / video.stem for side in sides)),
    }


PARTS = {"detect": detect, "attack": attack, "same": same}


def pushpull() -> list[str]:
    """The command."""
    return [sys.executable, "-m", "pushpull"]


def attack_options(args: argparse.Namespace, video: Path, out: Path) -> list[str]:
    """What is attacked."""
    return [
        "attack", str(video), "-o", str(out), "-d", args.detector, "-a", "pgd",
        "--steps", str(args.steps), "--face-finder", args.face_finder, "--quiet",
    ]  # fmt: skip


def keep_everything(words: list[str]) -> None:
    """The command with no bound on what a gradient keeps."""
    from pushpull.cli import main as command
    from pushpull.models import windows

    windows.GRAPH_BYTES = UNBOUNDED
    sys.argv = ["pushpull", *words]
    command()


def sampled(command: list[str]) -> dict[str, Any]:
    """Seconds and memory of a process with its children, the most of each third of its time."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "OPENCV_FOR_THREADS_NUM": "1",
    }
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=said, text=True
        )
        samples = []
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            samples.append(resident_mib(process.pid))
            time.sleep(EVERY_S)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - start
        if status:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {said.read()[-2000:]}")
    # Its highest mark is exact for the process itself; children are in the samples alone.
    peak_mib = max(usage.ru_maxrss / 1024, *samples)
    thirds = np.array_split(np.array(samples), 3)
    return {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "wall_s": round(wall_s, 1),
        "peak_mib": round(peak_mib),
        "thirds_mib": [round(float(third.max())) for third in thirds],
        "course_mib": [round(float(part.max())) for part in np.array_split(samples, 20)],
    }


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its children; what is gone counts nothing."""
    try:
        of = Path(f"/proc/{pid}")
        pages = int((of / "statm").read_text().split()[1])
        children = (of / f"task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0.0
    own = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return own + sum(resident_mib(int(child)) for child in children)


def three_faces(clips: Path, folder: Path, seconds: int) -> Path:
    """Three people side by side, each forwards and backwards without end; the first is heard."""
    path = folder / f"three-{seconds}.mp4"
    panes = ";".join(
        f"[{k}:v]fps=25,scale=-2:720,crop=426:720:(iw-426)/2:0,setsar=1,split[a{k}][b{k}];"
        f"[b{k}]reverse[r{k}];[a{k}][r{k}]concat,loop=-1:32767,trim=duration={seconds}[p{k}]"
        for k in range(len(PANES))
    )
    inputs = [part for name in PANES for part in ("-i", clips / name)]
    inputs += ["-stream_loop", -1, "-i", clips / PANES[0]]
    stack = "[p0][p1][p2]hstack=3,pad=1280:720[v]"
    ffmpeg(
        *inputs, "-filter_complex", f"{panes};{stack}", "-map", "[v]",
        "-map", f"{len(PANES)}:a", "-t", seconds, *X264, path,
    )  # fmt: skip
    return path


def faces_of(tracks: list[dict[str, Any]]) -> dict[str, int]:
    """How many, and in how many frames."""
    return {"tracks": len(tracks), "face_frames": sum(len(t["frame_numbers"]) for t in tracks)}


def attacked(out: Path) -> dict[str, int]:
    """Faces of an adversary, and in how many frames."""
    from safetensors import safe_open

    with safe_open(out / "adversarial.safetensors", "pt") as file:
        names = [name for name in list(file.keys()) if name.endswith(".adversarial.faces")]
        frames = sum(file.get_slice(name).get_shape()[0] for name in names)
    return {"tracks": len(names), "face_frames": frames}


def differences(one: Path, other: Path) -> dict[str, Any]:
    """How far two adversaries are apart, in what moved: sound and faces."""
    from safetensors.torch import load_file

    ours, theirs = (load_file(out / "adversarial.safetensors") for out in (one, other))
    if ours.keys() != theirs.keys():
        raise SystemExit("the adversaries are of other faces")
    apart: dict[str, dict[str, float]] = {}
    for kind in ("waveform", "faces"):
        names = [name for name in ours if name.endswith(f".adversarial.{kind}")]
        away = np.concatenate([np.ravel(ours[n] - theirs[n]) for n in names])
        apart[kind] = {
            "different": float((np.abs(away) > 1e-6).mean()),
            "largest": float(np.abs(away).max()),
        }
    records = [json.loads((out / "results.json").read_text()) for out in (one, other)]
    scores = [np.concatenate([t["adversarial_scores"] for t in of["tracks"]]) for of in records]
    return {
        "apart": apart,
        "right": [of["adversarial"]["accuracy"] for of in records],
        "scores_apart": float(np.abs(scores[0] - scores[1]).max()),
        "same_decisions": float(((scores[0] > 0) == (scores[1] > 0)).mean()),
    }


if __name__ == "__main__":
    main()
