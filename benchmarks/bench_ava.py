"""AVA preparation: faces cut out per second, against TalkNet's published seek per row.

    python benchmarks/bench_ava.py --peer TalkNet-ASD [--seconds 20] [--json OUT]

Both get the same look-alike video (H.264, a key frame every 250 frames, as AVA's are rare too) and
run in one process each. Theirs writes jpg files, ours a packed data set with the sound. The part of
a video after its rows is left out of both.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pushpull.data.ava import find_sources, prepare, write_synthetic_ava
from pushpull.data.ava.sources import tables_of

THEIRS = """
import sys
from types import SimpleNamespace
sys.path.insert(0, {peer!r})
from utils.tools import extract_video_clips
root = {root!r}
extract_video_clips(SimpleNamespace(
    trialPathAVA=root + "/csv",
    visualPathAVA=root + "/clips_videos",
    visualOrigPathAVA=root + "/orig_videos",
))
"""
COLUMNS = [
    "video_id", "frame_timestamp", "entity_box_x1", "entity_box_y1", "entity_box_x2",
    "entity_box_y2", "label", "entity_id", "label_id", "instance_id",
]  # fmt: skip


def as_talknet_has_it(root: Path) -> int:
    """Their csv files of the official ones; returns the number of rows."""
    (root / "csv").mkdir()
    (root / "orig_videos" / "test").mkdir(parents=True)
    count = 0
    sources = find_sources(root)
    for split in ("train", "val", "test"):
        with (root / "csv" / f"{split}_orig.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for table in tables_of(sources.annotations[split]) if split == "train" else ():
                for k in range(len(table)):
                    speaks = int(table.speaking[k])
                    entity = table.entities[table.entity[k]]
                    writer.writerow(
                        [
                            table.videos[table.video[k]],
                            f"{table.timestamps_s[k]:.2f}",
                            *table.boxes[k].tolist(),
                            "SPEAKING_AUDIBLE" if speaks else "NOT_SPEAKING",
                            entity,
                            speaks,
                            f"{entity}:0",
                        ]
                    )
                    count += 1
    return count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    size = (640, 360)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "ava"
        write_synthetic_ava(root, videos=2, duration_s=args.seconds, size=size)
        for extra in (root / "ava_activespeaker_val_v1.0").glob("*.csv"):
            extra.unlink()
        (root / "ava_activespeaker_val_v1.0").rmdir()
        ours: list[float] = []
        theirs: list[float] = []
        sources = find_sources(root)
        rows = as_talknet_has_it(root)
        for k in range(args.runs):
            start = time.perf_counter()
            report = prepare(sources, Path(name) / f"out-{k}", workers=1)
            ours.append(time.perf_counter() - start)
            assert report.whole
            if args.peer is not None:
                script = THEIRS.format(peer=str(args.peer.resolve()), root=str(root))
                start = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-c", script], check=True, capture_output=True, cwd=name
                )
                theirs.append(time.perf_counter() - start)
    record: dict[str, Any] = {
        "rows": rows,
        "video_s": args.seconds,
        "size": size,
        "ours_s": statistics.median(ours),
        "ours_rows_per_s": rows / statistics.median(ours),
    }
    if theirs:
        record["theirs_s"] = statistics.median(theirs)
        record["theirs_rows_per_s"] = rows / statistics.median(theirs)
        record["times_faster"] = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
