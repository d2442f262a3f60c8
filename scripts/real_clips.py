"""Measure detectors, weights and crops on a folder of real clips; writes tables and a plot.

Every clip is scored with its own sound, with silence, and with the sound of another person's clip.
Faces are found once and encoded once per weights and crop; results are kept per clip in OUT, so a
stopped run goes on where it was.

    python scripts/real_clips.py CLIPS --out OUT [--weights A --weights B] [--report docs/...md]

CLIPS holds the videos and an index.json: a list of {file, seconds, fps, faces, speaking, person}.
`speaking` starting with "yes" means one visible person who speaks, "no" people who do not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.detection import encode_tracks, score_tracks
from pushpull.detection.clips import CROPS
from pushpull.detection.face_finders import build_face_finder
from pushpull.detection.tracking import find_tracks
from pushpull.errors import PushPullError
from pushpull.media import probe, read_frames, read_waveform
from pushpull.metrics import average_precision
from pushpull.models.weights import resolve_detector
from pushpull.schema import Track

WEIGHTS = ("light-asd-ava", "lr-asd-ava", "light-asd-talkset", "lr-asd-talkset")
SOUNDS = ("own", "silent", "other")


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", action="append")
    parser.add_argument("--face-finder", action="append", choices=["dlib", "yunet"])
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    index = json.loads((args.clips / "index.json").read_text())
    weights = args.detector or list(WEIGHTS)
    rows: list[dict[str, Any]] = []
    for face_finder in args.face_finder or ["dlib", "yunet"]:
        models = {name: resolve_detector(name, device="cpu") for name in weights}
        for i, clip in enumerate(index):
            key = hashlib.sha256(repr((face_finder, clip["sha256"], weights)).encode()).hexdigest()
            cached = args.out / f"{key[:16]}.json"
            if not cached.exists():
                other = other_sound(index, i)
                record = measure(args.clips, clip, args.clips / other["file"], face_finder, models)
                cached.write_text(json.dumps(record))
            record = json.loads(cached.read_text())
            rows.append(record)
            print(
                f"{face_finder} {i + 1}/{len(index)} {clip['file']}: "
                f"{record.get('error') or str(len(record['tracks'])) + ' tracks'}",
                file=sys.stderr,
            )
    (args.out / "rows.json").write_text(json.dumps(rows))
    text = report(rows)
    print(text)
    if args.report:
        replace_section(args.report, text, "measured")


def other_sound(index: list[dict[str, Any]], i: int) -> dict[str, Any]:
    """The next clip of another person who speaks, for a sound that does not belong to the face."""
    n = len(index)
    for j in range(1, n):
        clip = index[(i + j) % n]
        if clip["speaking"].startswith("yes") and clip["person"] != index[i]["person"]:
            return clip
    raise SystemExit("no clip of another speaking person in index.json")


def measure(
    folder: Path, clip: dict[str, Any], other: Path, face_finder: str, models: dict[str, Any]
) -> dict[str, Any]:
    """Scores of every track of one clip under every model, crop and sound."""
    path = folder / clip["file"]
    record: dict[str, Any] = {
        "file": clip["file"],
        "speaking": clip["speaking"],
        "label_basis": clip["label_basis"],
        "person": clip["person"],
        "faces": clip["faces"],
        "face_finder": face_finder,
        "tracks": [],
        "scores": {},
    }
    start = time.perf_counter()
    try:
        info = probe(path)
        own = read_waveform(path)
        tracks = find_tracks(read_frames(path), build_face_finder(face_finder))
    except PushPullError as e:
        return record | {"error": str(e)}
    record["seconds"] = time.perf_counter() - start
    record["tracks"] = [describe(track) for track in tracks]
    stranger = np.resize(read_waveform(other), own.shape)
    waveforms = dict(zip(SOUNDS, (own, np.zeros_like(own), stranger), strict=True))
    for name, model in models.items():
        for crop, window in CROPS.items():
            encoded = encode_tracks(path, tracks, model, window, info.n_frames)
            for sound, waveform in waveforms.items():
                scored = score_tracks(encoded, waveform, model)
                record["scores"][f"{name}/{crop}/{sound}"] = [
                    s.scores.round(4).tolist() for s in scored
                ]
    return record


def describe(track: Track) -> dict[str, Any]:
    """Extent and size of a track."""
    sizes = track.boxes[:, 2:] - track.boxes[:, :2]
    return {
        "frames": len(track),
        "start_s": float(track.timestamps_s[0]),
        "height_px": float(np.median(sizes[:, 1])),
        "detected": float(track.detected.mean()),
    }


def longest(record: dict[str, Any]) -> int | None:
    """The track with most frames, which in a clip of one person is that person."""
    frames = [t["frames"] for t in record["tracks"]]
    return int(np.argmax(frames)) if frames else None


def report(rows: list[dict[str, Any]]) -> str:
    """Markdown tables over all clips."""
    lines = [
        "### Clips with a face track",
        "",
        "| face finder | clips | with a track | without |",
    ]
    lines += ["|---|---|---|---|"]
    for face_finder in sorted({r["face_finder"] for r in rows}):
        mine = [r for r in rows if r["face_finder"] == face_finder]
        without = [r["file"] for r in mine if not r["tracks"]]
        share = len(mine) - len(without)
        names = ", ".join(f"`{n}`" for n in without) or "none"
        lines.append(
            f"| {face_finder} | {len(mine)} | {share} ({100 * share / len(mine):.0f} %) | {names} |"
        )
    lines += [
        "",
        "### Scores",
        "",
        "| face finder | weights | crop | visible speaker | same, silenced | same, other sound | "
        "silent people | mAP against silenced | against other sound | against silent people | "
        "against all | MSDWild only |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for face_finder in sorted({r["face_finder"] for r in rows}):
        mine = [r for r in rows if r["face_finder"] == face_finder and r["tracks"]]
        keys = sorted({k.rsplit("/", 1)[0] for r in mine for k in r["scores"]})
        for key in keys:
            name, crop = key.split("/")
            speakers = [r for r in mine if r["speaking"].startswith("yes")]
            quiet = [r for r in mine if r["speaking"].startswith("no")]
            speaking = frames(speakers, key, "own")
            silenced, dubbed = frames(speakers, key, "silent"), frames(speakers, key, "other")
            negatives = frames(quiet, key, "own")
            human = [r for r in mine if r["file"].startswith("msd_")]
            human_yes = frames([r for r in human if r in speakers], key, "own")
            human_no = frames([r for r in human if r in quiet], key, "own")
            cells = [f"{x.mean():.2f}" for x in (speaking, silenced, dubbed, negatives)]
            everything = np.concatenate([silenced, dubbed, negatives])
            cells += [f"{ap(speaking, x):.1f}" for x in (silenced, dubbed, negatives, everything)]
            cells.append(f"{ap(human_yes, human_no):.1f}")
            lines.append(f"| {face_finder} | {name} | {crop} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def frames(rows: list[dict[str, Any]], key: str, sound: str) -> np.ndarray:
    """Frame scores of the main track of each clip, end to end."""
    parts = [np.asarray(r["scores"][f"{key}/{sound}"][longest(r)]) for r in rows]
    return np.concatenate(parts) if parts else np.zeros(0)


def ap(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Average precision (AVA's definition, percent) of frames that should score high or low."""
    if not len(positives) or not len(negatives):
        return float("nan")
    scores = np.concatenate([positives, negatives])
    labels = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    return 100 * average_precision(scores, labels.astype(bool))


def replace_section(path: Path, text: str, name: str) -> None:
    """Put the tables between the markers of that name in a document."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    document = path.read_text()
    head, rest = document.split(begin)
    tail = rest.split(end)[1]
    path.write_text(head + begin + text + end + tail)


if __name__ == "__main__":
    try:
        main()
    except PushPullError as e:
        raise SystemExit(f"error: {e}") from e
