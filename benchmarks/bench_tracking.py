"""Face trackers on drawn scenes with exact boxes: IDF1, HOTA and processor time.

    python benchmarks/bench_tracking.py [--before SRC] [--seeds 3] [--report docs/...md] [--json F]

Measured are `pushpull detect`'s tracker, that of another version of it (SRC is the `src` folder of
a checkout), a plain tracker by overlap, and those of the packages norfair and trackers (SORT,
ByteTrack, OC-SORT, BoT-SORT) where they are installed. Ours look at some pictures; the others are
given what the same face finder finds in every picture. A face that is hidden for less than a second
is still there: its box counts. IDF1 is motmetrics', HOTA TrackEval's (`pip install --no-deps
trackeval`), both at an overlap of boxes of 0.5 or, for HOTA, from 0.05 to 0.95.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OURS, BEFORE = "pushpull", "pushpull, before"
MATCH = 0.5
Rows = list[list[list[float]]]
"""For each frame: number and box of each face."""


def main() -> None:
    """Measure, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="src folder of another version")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--face-finder", default="yunet")
    parser.add_argument("--scene", action="append")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--follow", nargs=2, metavar=("VIDEO", "FINDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.follow:
        print(json.dumps(follow(Path(args.follow[0]), args.follow[1])))
        return
    rows = []
    from pushpull.synthetic.scenes import SCENES

    with tempfile.TemporaryDirectory() as folder:
        for name in args.scene or SCENES:
            for seed in range(args.seeds):
                rows += measure(name, seed, args.before, args.face_finder, Path(folder))
                for row in rows[-len(trackers(args.before)) :]:
                    print(json.dumps(row), file=sys.stderr)
    text = table(rows)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    if args.report:
        args.report.write_text(page(text, args.seeds))


def trackers(before: Path | None) -> dict[str, Any]:
    """Trackers that can be had here, by name; None for those that look at pictures themselves."""
    found: dict[str, Any] = {OURS: None}
    if before is not None:
        found[BEFORE] = None
    found["overlap alone"] = overlap_tracker
    try:
        import norfair  # noqa: F401

        found["norfair"] = norfair_tracker
    except ImportError:
        pass
    try:
        import trackers as package

        for label, kind in (
            ("SORT", "SORTTracker"),
            ("ByteTrack", "ByteTrackTracker"),
            ("OC-SORT", "OCSORTTracker"),
            ("BoT-SORT", "BoTSORTTracker"),
        ):
            found[label] = roboflow_tracker(getattr(package, kind))
    except ImportError:
        pass
    return found


def measure(
    name: str, seed: int, before: Path | None, finder: str, folder: Path
) -> list[dict[str, Any]]:
    """All trackers on one scene."""
    from pushpull.detection.face_finders import build_face_finder
    from pushpull.media import VideoWriter
    from pushpull.synthetic.scenes import draw_scene

    scene = draw_scene(name, seed=seed)
    video = folder / "scene.mkv"
    height, width = scene.pictures.shape[1:3]
    with VideoWriter(video, width=width, height=height, fps=scene.fps, codec="ffv1") as writer:
        for picture in scene.pictures:
            writer.write(picture)
    truth: Rows = [
        [[k, *scene.boxes[k, i]] for k in np.flatnonzero(~np.isnan(scene.boxes[:, i, 0]))]
        for i in range(len(scene.pictures))
    ]
    one = build_face_finder(finder)
    start = time.process_time()
    found = [one.detect(picture) for picture in scene.pictures]
    looks_s = time.process_time() - start
    rows = []
    for label, tracker in trackers(before).items():
        if tracker is None:
            answer = followed(video, finder, before if label == BEFORE else None)
        else:
            start = time.process_time()
            seen = tracker(scene, found)
            answer = {"rows": seen, "seconds": looks_s + time.process_time() - start}
        rows.append(
            {
                "scene": name,
                "seed": seed,
                "tracker": label,
                "cpu_ms": 1000 * answer["seconds"] / len(truth),
                **judged(truth, answer["rows"]),
            }
        )
    return rows


def followed(video: Path, finder: str, source: Path | None) -> dict[str, Any]:
    """What a version of this package follows, in a process of its own."""
    environment = dict(os.environ)
    if source is not None:
        environment["PYTHONPATH"] = str(source.resolve())
    command = [sys.executable, __file__, "--follow", str(video), finder]
    output = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(output.stdout)
    return answer


def follow(video: Path, finder: str) -> dict[str, Any]:
    """Tracks of a video, and processor seconds without decoding."""
    from pushpull.detection.face_finders import build_face_finder
    from pushpull.detection.tracking import find_tracks
    from pushpull.media import read_frames

    one = build_face_finder(finder)
    frames = list(read_frames(video))
    start = time.process_time()
    tracks = find_tracks(frames, one)
    seconds = time.process_time() - start
    rows: Rows = [[] for _ in frames]
    for track in tracks:
        for i, box in zip(track.frames.tolist(), track.boxes.tolist(), strict=True):
            rows[i].append([track.track_id, *box])
    return {"rows": rows, "seconds": seconds}


def overlap_tracker(scene: Any, found: list[Any]) -> Rows:
    """Each face goes to the track that it overlaps most, by 0.3 or more; lost for 0.4 s, gone."""
    from pushpull.detection.face_finders import overlap

    rows: Rows = []
    last: dict[int, tuple[int, Any]] = {}
    new = 0
    for i, faces in enumerate(found):
        rows.append([])
        free = {k: box for k, (j, box) in last.items() if i - j <= 0.4 * scene.fps}
        for box in faces.boxes:
            shares = {k: float(overlap(box, other[None])[0]) for k, other in free.items()}
            best = max(shares, key=lambda k: shares[k], default=None)
            if best is None or shares[best] < 0.3:
                best, new = new, new + 1
            free.pop(best, None)
            last[best] = i, box
            rows[-1].append([best, *box])
    return rows


def norfair_tracker(scene: Any, found: list[Any]) -> Rows:
    """Norfair with its Kalman filter, by overlap; 1 s of memory."""
    import norfair

    tracker = norfair.Tracker(
        distance_function="iou",
        distance_threshold=0.7,
        hit_counter_max=round(scene.fps),
        initialization_delay=1,
    )
    rows: Rows = []
    for faces in found:
        seen = [
            norfair.Detection(box.reshape(2, 2), np.repeat(score, 2))
            for box, score in zip(faces.boxes, faces.scores, strict=True)
        ]
        active = tracker.update(seen)
        rows.append([[t.id, *t.estimate.reshape(-1)] for t in active if t.hit_counter > 0])
    return rows


def roboflow_tracker(kind: Any) -> Callable[[Any, list[Any]], Rows]:
    """A tracker of the package trackers; 1 s of memory."""

    def run(scene: Any, found: list[Any]) -> Rows:
        import supervision as sv

        tracker = kind(lost_track_buffer=round(scene.fps), frame_rate=scene.fps)
        rows: Rows = []
        for faces, picture in zip(found, scene.pictures, strict=True):
            seen = sv.Detections(
                xyxy=faces.boxes.reshape(-1, 4),
                confidence=faces.scores,
                class_id=np.zeros(len(faces), int),
            )
            out = tracker.update(seen, picture)
            numbers = out.tracker_id if out.tracker_id is not None else []
            rows.append([[k, *b] for k, b in zip(numbers, out.xyxy, strict=True) if k >= 0])
        return rows

    return run


def judged(truth: Rows, rows: Rows) -> dict[str, Any]:
    """IDF1 with its counts, HOTA where TrackEval is installed, and numbers of tracks."""
    return {
        **identity(truth, rows),
        "hota": hota(truth, rows),
        "faces": len({r[0] for frame in truth for r in frame}),
        "tracks": len({r[0] for frame in rows for r in frame}),
    }


def overlaps(first: list[list[float]], second: list[list[float]]) -> np.ndarray:
    """Overlap of each box of one frame with each of another answer."""
    from pushpull.detection.face_finders import overlap

    a, b = (np.array([r[1:] for r in rows]).reshape(-1, 4) for rows in (first, second))
    return np.array([overlap(box, b) for box in a]).reshape(len(a), len(b))


def identity(truth: Rows, rows: Rows) -> dict[str, float]:
    """Identity scores by motmetrics."""
    import motmetrics

    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for there, here in zip(truth, rows, strict=True):
        distance = 1 - overlaps(there, here)
        distance[distance > 1 - MATCH] = np.nan
        accumulator.update([r[0] for r in there], [r[0] for r in here], distance)
    names = ["idf1", "idtp", "idfp", "idfn", "num_switches", "num_fragmentations"]
    summary = motmetrics.metrics.create().compute(accumulator, metrics=names)
    return {name: float(summary[name].iloc[0]) for name in names}


def hota(truth: Rows, rows: Rows) -> float | None:
    """HOTA by TrackEval."""
    try:
        from trackeval.metrics import HOTA
    except ImportError:
        return None
    ids = [
        {k: n for n, k in enumerate(sorted({r[0] for frame in one for r in frame}))}
        for one in (truth, rows)
    ]
    numbers = [
        [np.array([known[r[0]] for r in frame], int) for frame in one]
        for one, known in zip((truth, rows), ids, strict=True)
    ]
    data = {
        "num_timesteps": len(truth),
        "num_gt_ids": len(ids[0]),
        "num_tracker_ids": len(ids[1]),
        "num_gt_dets": sum(map(len, truth)),
        "num_tracker_dets": sum(map(len, rows)),
        "gt_ids": numbers[0],
        "tracker_ids": numbers[1],
        "similarity_scores": [overlaps(a, b) for a, b in zip(truth, rows, strict=True)],
    }
    return float(np.mean(HOTA().eval_sequence(data)["HOTA"]))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: IDF1 by scene, then over all."""
    by: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by[row["tracker"]].append(row)
    scenes = list(dict.fromkeys(row["scene"] for row in rows))
    lines = [
        f"| tracker | {' | '.join(scenes)} | IDF1 of all | HOTA | switches | tracks for faces | "
        "CPU ms a frame |",
        "|---" * (len(scenes) + 6) + "|",
    ]
    for label, mine in by.items():
        cells = [f"{idf1([r for r in mine if r['scene'] == s]):.3f}" for s in scenes]
        cells.append(f"**{idf1(mine):.3f}**")
        values = [r["hota"] for r in mine]
        cells.append("-" if None in values else f"{np.mean(values):.3f}")
        cells.append(f"{sum(r['num_switches'] for r in mine):.0f}")
        cells.append(f"{sum(r['tracks'] for r in mine)} for {sum(r['faces'] for r in mine)}")
        cells.append(f"{np.mean([r['cpu_ms'] for r in mine]):.1f}")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def idf1(rows: list[dict[str, Any]]) -> float:
    """Over several scenes."""
    true = sum(r["idtp"] for r in rows)
    return 2 * true / max(1.0, 2 * true + sum(r["idfp"] + r["idfn"] for r in rows))


def page(text: str, seeds: int) -> str:
    """The document."""
    return (
        "# Face trackers on scenes with exact boxes\n\n"
        "Made by `python benchmarks/bench_tracking.py --before OLD/src --report "
        "docs/measurements/tracking.md`.\n\n"
        f"{' '.join(__doc__.split(chr(10) * 2)[2].split())}\n\n"
        f"Eight kinds of scene (`pushpull.synthetic.scenes`), {seeds} of each, 4 s at 25 frames a "
        "second: a camera that swings, jumps nearer or trembles, people who cross, hide, walk in "
        "fast, cuts every third of a second to a second, five people at once. Faces are drawn, "
        "found by YuNet as real ones are, and their boxes known exactly.\n\n" + text
    )


if __name__ == "__main__":
    main()
