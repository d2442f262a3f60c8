"""`pushpull detect` as a whole process: speed against real time, and memory against length.

    python benchmarks/bench_detect.py [--detector light-asd-ava] [--seconds 60] [--times 10]

A synthetic one-face video of 640 x 480 is made once; the long video is the same packets repeated.
Speed is video seconds per wall second, memory the peak resident set of the process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 1024 * 1024


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--face-finder", default="dlib")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        # In a process of its own: a child's peak memory starts at that of its parent.
        maker = mp.get_context("spawn").Process(
            target=make_videos, args=(short, args.seconds, long, args.times)
        )
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit("the videos could not be made")
        runs = [measure(path, args.detector, args.face_finder, folder) for path in (short, long)]
    record = {
        "detector": args.detector,
        "face_finder": args.face_finder,
        "short": runs[0],
        "long": runs[1],
        "memory_ratio": runs[1]["peak_mib"] / runs[0]["peak_mib"],
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=1))
    for run in runs:
        stages = ", ".join(f"{k} {v:.1f} s" for k, v in run["stages_s"].items())
        print(
            f"{run['video_s']:.0f} s of video in {run['wall_s']:.1f} s = {run['speed']:.2f} x real "
            f"time, peak {run['peak_mib']:.0f} MiB ({stages})"
        )
    print(f"memory long / short: {record['memory_ratio']:.3f}")


def make_videos(short: Path, seconds: float, long: Path, times: int) -> None:
    """The short video, and the same several times over."""
    make_video(short, seconds)
    repeat_packets(short, long, times)


def make_video(path: Path, seconds: float) -> None:
    """One synthetic talking face, 640 x 480, 25 fps."""
    from pushpull.synthetic import one_face_video

    one_face_video(path, seed=0, duration_s=seconds, size=(640, 480))


def repeat_packets(source: Path, target: Path, times: int) -> None:
    """The same compressed packets several times over, without encoding again."""
    import av

    with av.open(str(source)) as first:
        length_s = first.duration / av.time_base
    last: dict[int, int] = {}
    with av.open(str(target), "w") as output:
        for i in range(times):
            with av.open(str(source)) as container:
                if i == 0:
                    streams = {
                        s.index: output.add_stream_from_template(s) for s in container.streams
                    }
                for packet in container.demux():
                    if packet.dts is None:
                        continue
                    shift = round(i * length_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    stream = packet.stream.index
                    # The encoder's lead-in of sound overlaps the end of the round before.
                    if packet.dts <= last.get(stream, packet.dts - 1):
                        continue
                    last[stream] = packet.dts
                    packet.stream = streams[stream]
                    output.mux(packet)


def measure(video: Path, weights: str, face_finder: str, folder: str) -> dict[str, object]:
    """Wall time, stage times and peak memory of one `pushpull detect`."""
    command = [sys.executable, "-m", "pushpull", "detect", str(video), "--detector", weights]
    command += ["--face-finder", face_finder, "--out", f"{folder}/out", "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    if status:
        raise SystemExit(f"detect failed: {text}")
    result = json.loads(text)["videos"][0]
    return {
        "video_s": result["duration_s"],
        "wall_s": wall_s,
        "speed": result["duration_s"] / wall_s,
        "stages_s": result["seconds"],
        "peak_mib": usage.ru_maxrss * 1024 / MIB,
    }


if __name__ == "__main__":
    main()
