"""The web app under load: ten visitors at once, each with a clip of ten seconds.

    python benchmarks/bench_app.py [--detector light-asd-ava] [--visitors 10] [--json OUT]

A real server in a process of its own. Every visitor uploads its clip (two synthetic people, each
visitor other ones), has the faces found and scored, and fetches all files. Meanwhile somebody else
opens pages all the time. Memory is that of the server and its processes together, shared pages
counted once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.app_server import Running

from pushpull.synthetic import demo_video

MIB = 2**20
PAGES = ("/", "/static/main.js", "/api/about", "/api/runs")


def main() -> None:
    """Measure and print, or write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = []
        for k in range(args.visitors):
            clips.append(folder / f"clip{k}.mp4")
            demo_video(clips[-1], seed=k, duration_s=args.seconds)
        server = Running(folder, args.detector)
        try:
            record = measure(server, clips)
        finally:
            server.stop()
    record |= {"detector": args.detector, "seconds": args.seconds}
    if args.json:
        args.json.write_text(json.dumps(record, indent=1))
    print(json.dumps(record, indent=1))


def measure(server: Running, clips: list[Path]) -> dict[str, Any]:
    """All visitors at once."""
    # The first answer about the app waits until its processes are up.
    server.client().get("/api/about").raise_for_status()
    over = threading.Event()
    waits: list[float] = []
    memory: list[int] = []
    watchers = [
        threading.Thread(target=open_pages, args=(server, over, waits)),
        threading.Thread(target=weigh, args=(server, over, memory)),
    ]
    for watcher in watchers:
        watcher.start()
    start_s = time.perf_counter()
    with ThreadPoolExecutor(len(clips)) as visitors:
        ended = list(visitors.map(lambda clip: visit(server, clip), clips))
    wall_s = time.perf_counter() - start_s
    over.set()
    for watcher in watchers:
        watcher.join()
    return {
        "visitors": len(clips),
        "done": sum(state == "done" for state, _ in ended),
        "wall_s": round(wall_s, 1),
        "first_done_s": round(min(s for _, s in ended), 1),
        "pages_opened": len(waits),
        "longest_answer_s": round(max(waits), 3),
        "median_answer_s": round(statistics.median(waits), 4),
        "peak_mib": round(max(memory) / MIB),
        "idle_mib": round(memory[0] / MIB),
    }


def visit(server: Running, clip: Path) -> tuple[str, float]:
    """Upload, detect, fetch everything; how it ended and after how many seconds."""
    start_s = time.perf_counter()
    client = server.client()
    reply = client.upload(clip.read_bytes(), clip.name)
    reply.raise_for_status()
    job = client.start(reply.json())
    while (status := client.get(f"/api/jobs/{job}").json())["state"] in ("queued", "running"):
        time.sleep(0.4)  # as the page does
    if status["state"] == "done":
        for entry in status["result"]["downloads"]:
            client.get(f"/api/files/{entry['file']}?download").raise_for_status()
    else:
        print(status["error"], file=sys.stderr)
    return status["state"], time.perf_counter() - start_s


def open_pages(server: Running, over: threading.Event, waits: list[float]) -> None:
    """What one more visitor waits for pages."""
    client = server.client()
    while not over.wait(0.1):
        for page in PAGES:
            start_s = time.perf_counter()
            client.get(page).raise_for_status()
            waits.append(time.perf_counter() - start_s)


def weigh(server: Running, over: threading.Event, memory: list[int]) -> None:
    """Memory of the server and all processes below it."""
    while True:
        memory.append(sum(map(proportional_bytes, below(server.process.pid))))
        if over.wait(0.2):
            return


def below(pid: int) -> list[int]:
    """A process and those that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += below(int(child))
    return found


def proportional_bytes(pid: int) -> int:
    """Memory of a process, pages that it shares divided among those that do."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(s.split()[1]) for s in lines if s.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
