"""What scores lose that cannot wait for the end: AP of live detection by lookahead, on real clips.

    python scripts/live_lookahead.py CLIPS --out OUT [--report docs/measurements/live.md]

CLIPS as for `real_clips.py`. Each labelled clip is pushed through `Live` as it would come, with
several lookaheads, and detected as a file; the face that is seen longest in the file counts, in
the frames where all have it, with the clip's own sound. What differs comes with a bootstrap over
people. Results are kept per clip in OUT, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_clips import replace_section

import pushpull as pp
from pushpull.detection import Live
from pushpull.detection.face_finders import overlap
from pushpull.errors import PushPullError
from pushpull.media import Part, read_frames, read_waveform
from pushpull.metrics import average_precision
from pushpull.models.detector import Detector
from pushpull.runtime.version import versions
from pushpull.schema import SAMPLE_RATE_HZ

LOOKAHEADS_S = (0.25, 0.5, 1.0, 2.0)
PIECE = SAMPLE_RATE_HZ // 10
SAMPLES, SEED = 1000, 0
SAME = 0.5
"""Overlap from which two boxes are of one face."""


def main() -> None:
    """Score what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", default="light-asd-ava")
    parser.add_argument("--face-finder", default="yunet")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each clip at most")
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    detector = pp.load(args.detector)
    rows = []
    for clip in json.loads((args.clips / "index.json").read_text()):
        label = clip["speaking"].split()[0].strip(",;:.").lower()
        if label not in ("yes", "no"):
            continue
        asked = repr((clip["sha256"], args.detector, args.face_finder, args.seconds, LOOKAHEADS_S))
        kept = args.out / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
        if not kept.exists():
            part = Part(0.0, args.seconds)
            try:
                found = scores_of(args.clips / clip["file"], detector, args.face_finder, part)
            except PushPullError as e:
                print(f"{clip['file']}: {e}", file=sys.stderr)
                found = {}
            kept.write_text(json.dumps(found))
        found = json.loads(kept.read_text())
        print(clip["file"], len(found.get("file", [])), "frames", file=sys.stderr)
        if found.get("file"):
            rows.append({"person": clip["person"], "speaking": label == "yes", "scores": found})
    text = report(rows, args)
    print(text)
    if args.report:
        replace_section(args.report, text + "\n", "measured")


def scores_of(path: Path, detector: Detector, face_finder: str, part: Part) -> dict[str, Any]:
    """Scores of one face, of the file and live by lookahead, in the frames that all have."""
    whole = pp.detect(path, detector, face_finder=face_finder, part=part, allow_silent=True)
    if not whole.tracks:
        return {}
    longest = max(whole.tracks, key=lambda scored: len(scored.track))
    track = longest.track
    ways = {"file": dict(zip(track.timestamps_s.round(2).tolist(), longest.scores, strict=True))}
    boxes = dict(zip(track.timestamps_s.round(2).tolist(), track.boxes, strict=True))
    for lookahead_s in LOOKAHEADS_S:
        ways[f"{lookahead_s:g}"] = live_scores(
            path, detector, face_finder, part, lookahead_s, boxes
        )
    common = sorted(set.intersection(*(set(scores) for scores in ways.values())))
    return {way: [float(scores[t]) for t in common] for way, scores in ways.items()}


def live_scores(
    path: Path,
    detector: Detector,
    face_finder: str,
    part: Part,
    lookahead_s: float,
    boxes: dict[float, NDArray[np.float64]],
) -> dict[float, float]:
    """Final scores by time of the face that is where the file's is."""
    live = Live(detector, face_finder=face_finder, lookahead_s=lookahead_s)
    sound = read_waveform(path)[: round(part.end_s * SAMPLE_RATE_HZ)]
    heard, said = 0, []
    for frame in read_frames(path, part=part):
        said += live.push_video(frame.rgb(), frame.time_s)
        while heard < len(sound) and heard / SAMPLE_RATE_HZ <= frame.time_s:
            said += live.push_audio(sound[heard : heard + PIECE], heard / SAMPLE_RATE_HZ)
            heard += PIECE
    said += live.close()
    times_s = np.array(sorted(boxes))
    scores = {}
    for one in said:
        nearest = float(times_s[np.abs(times_s - one.time_s).argmin()])
        there = overlap(np.array(one.box), boxes[nearest][None])[0] >= SAME
        if one.final and there and abs(nearest - one.time_s) <= 0.021:
            scores[nearest] = one.score
    return scores


def ap(rows: list[dict[str, Any]], way: str) -> float:
    """AP in points over all frames of some clips."""
    scores = np.concatenate([row["scores"][way] for row in rows])
    truth = np.concatenate([np.full(len(row["scores"][way]), row["speaking"]) for row in rows])
    return 100 * float(average_precision(scores, truth))


def report(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """The table, with how it was made."""
    people = defaultdict(list)
    for row in rows:
        people[row["person"]].append(row)
    names, rng = sorted(people), np.random.default_rng(SEED)
    drawn = [[r for n in rng.choice(names, len(names)) for r in people[n]] for _ in range(SAMPLES)]
    drawn = [some for some in drawn if len({row["speaking"] for row in some}) == 2]
    frames = sum(len(row["scores"]["file"]) for row in rows)
    made = ", ".join(f"{what} {version}" for what, version in versions().items())
    lines = [
        f"{len(rows)} clips of {len(names)} people, at most {args.seconds:g} s of each, {frames} "
        f"frames of one face a clip; {args.detector}, faces by {args.face_finder}; bootstrap over "
        f"people, {SAMPLES} samples, seed {SEED}; {made}.",
        "",
        "| scores | AP | against the file, 95 % | decisions as the file's |",
        "|---|---|---|---|",
        f"| of the file | {ap(rows, 'file'):.2f} | | |",
    ]
    for lookahead_s in LOOKAHEADS_S:
        way = f"{lookahead_s:g}"
        lost = [ap(some, way) - ap(some, "file") for some in drawn]
        low, high = np.quantile(lost, [0.025, 0.975])
        same = np.concatenate(
            [(np.array(r["scores"][way]) > 0) == (np.array(r["scores"]["file"]) > 0) for r in rows]
        )
        lines.append(
            f"| live, {way} s | {ap(rows, way):.2f} | {ap(rows, way) - ap(rows, 'file'):+.2f} "
            f"({low:+.2f} to {high:+.2f}) | {100 * same.mean():.1f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
