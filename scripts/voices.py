"""Can it be told that a voice is not the moving mouth's? On real clips, dubbed and shifted.

    python scripts/voices.py CLIPS --out OUT [--detector NAME] [--report docs/.../voices.md]

CLIPS as for `real_clips.py`. Of each clip of one visible speaker the longest face is scored with
its own sound, with the sound of others, and with its own moved by half of its length. A row of the
table is a detector: how well score and agreement of turns tell own from foreign sound. Clips of
quiet people are given the voice of somebody else: how much of it is said to be off screen; and on
clips of one speaker, how much is falsely said so. Intervals are over people, drawn again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from real_clips import describe, longest, other_sound, replace_section

from pushpull.detection import encode_tracks, find_faces, off_screen_turns, score_tracks, voiced
from pushpull.detection.clips import CROPS
from pushpull.errors import PushPullError
from pushpull.media import read_waveform
from pushpull.models.weights import resolve_detector
from pushpull.runtime.version import versions
from pushpull.schema import SAMPLE_RATE_HZ

DETECTORS = ("light-asd-ava", "lr-asd-ava")
OTHERS = 3
DRAWS = 2000
LEAST_S = 0.5


def main() -> None:
    """Measure what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", action="append")
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    index = json.loads((args.clips / "index.json").read_text())
    names = args.detector or list(DETECTORS)
    models = {name: resolve_detector(name, device="cpu") for name in names}
    rows = []
    for i, clip in enumerate(index):
        key = hashlib.sha256(repr((clip["sha256"], names)).encode()).hexdigest()
        cached = args.out / f"{key[:16]}.json"
        if not cached.exists():
            cached.write_text(json.dumps(measure(args.clips, index, i, models)))
        rows.append(json.loads(cached.read_text()))
        print(f"{i + 1}/{len(index)} {clip['file']}", file=sys.stderr)
    text = report(rows, names)
    print(text)
    if args.report:
        replace_section(args.report, text, "measured")


def measure(
    folder: Path, index: list[dict[str, Any]], i: int, models: dict[str, Any]
) -> dict[str, Any]:
    """Scores, agreements and off-screen turns of the longest face of one clip."""
    clip = index[i]
    record: dict[str, Any] = {k: clip[k] for k in ("file", "person", "speaking")}
    path = folder / clip["file"]
    try:
        footage = find_faces(path, allow_silent=True)
    except PushPullError as e:
        return record | {"error": str(e)}
    record |= {"tracks": [describe(track) for track in footage.tracks], "turns": []}
    main = longest(record)
    if main is None:
        return record
    own = footage.waveform
    sounds = {"own": own, "shifted": np.roll(own, len(own) // 2)}
    j = i
    for number in range(OTHERS):
        other = other_sound(index, j)
        j = index.index(other)
        if other["person"] != clip["person"]:
            sounds[f"other-{number}"] = np.resize(read_waveform(folder / other["file"]), own.shape)
    for name, model in models.items():
        window = CROPS[model.card.crop]
        encoded = encode_tracks(path, footage.tracks, model, window, footage.n_frames)
        for sound, waveform in sounds.items():
            scored = score_tracks(encoded, waveform, model)
            face = scored[main]
            for turn in face.turns:
                agreement = face.agreement(turn)
                if agreement is not None:
                    here = (face.track.timestamps_s >= turn.start_s) & (
                        face.track.timestamps_s < turn.end_s
                    )
                    record["turns"].append(
                        {
                            "detector": name,
                            "sound": sound.split("-")[0],
                            "seconds": turn.end_s - turn.start_s,
                            "score": float(face.scores[here].mean()),
                            "agreement": agreement,
                        }
                    )
            turns = [turn for one in scored for turn in one.turns]
            off_s = sum(t.end_s - t.start_s for t in off_screen_turns(waveform, turns))
            times_s = np.arange(0, len(waveform) / SAMPLE_RATE_HZ, 0.01)
            voice_s = 0.01 * float(voiced(waveform, times_s, aggressiveness=3).sum())
            said = {"off_s": off_s, "voice_s": voice_s, "seconds": len(waveform) / SAMPLE_RATE_HZ}
            record.setdefault("off", {})[f"{name}/{sound}"] = said
    return record


def report(rows: list[dict[str, Any]], names: list[str]) -> str:
    """The tables."""
    about = versions()
    speakers = [r for r in rows if r["speaking"].startswith("yes") and r.get("turns")]
    quiet = [r for r in rows if r["speaking"].startswith("no") and r.get("off")]
    lines = [
        f"{len(speakers)} clips of one visible speaker ({len({r['person'] for r in speakers})} "
        f"people), turns of half a second and more; pushpull {about['pushpull']}, torch "
        f"{about['torch']}. Area under the curve: 100 tells all, 50 none. In brackets the 95 % "
        f"interval over people, {DRAWS} draws.",
        "",
        "| detector | turns own, foreign | by score | by agreement | own with agreement below 0 | "
        "foreign with agreement below 0 |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        own, foreign = turns_of(speakers, name, own=True), turns_of(speakers, name, own=False)
        cells = [f"{len(own)}, {len(foreign)}"]
        cells += [interval(speakers, name, lambda o, f, k=k: area(o, f, k)) for k in MEASURES]
        cells.append(interval(speakers, name, lambda o, f: below(o)))
        cells.append(interval(speakers, name, lambda o, f: below(f)))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Off screen: {len(quiet)} clips of quiet people with the voice of somebody else, and the "
        "clips of one speaker with their own.",
        "",
        "| detector | of a voice over quiet people, said to be off screen | of ordinary clips, "
        "falsely said so |",
        "|---|---|---|",
    ]
    for name in names:
        found = [s for r in quiet for k, s in r["off"].items() if k.startswith(f"{name}/other")]
        false = [r["off"][f"{name}/own"] for r in speakers]
        share = sum(s["off_s"] for s in found) / max(sum(s["voice_s"] for s in found), 1e-9)
        wrong_s, all_s = sum(s["off_s"] for s in false), sum(s["seconds"] for s in false)
        lines.append(f"| {name} | {100 * share:.0f} % | {wrong_s:.1f} s of {all_s:.0f} s |")
    return "\n".join(lines) + "\n"


MEASURES = ("score", "agreement")


def turns_of(rows: list[dict[str, Any]], name: str, *, own: bool) -> list[dict[str, float]]:
    """Turns of a detector with the clips' own or with foreign sound."""
    return [
        turn
        for row in rows
        for turn in row["turns"]
        if turn["detector"] == name and (turn["sound"] == "own") == own
    ]


def area(own: list[dict[str, float]], foreign: list[dict[str, float]], key: str) -> float:
    """Share of pairs in percent in which the own sound has more; ties count half."""
    a, b = (np.array([t[key] for t in turns]) for turns in (own, foreign))
    if not len(a) or not len(b):
        return float("nan")
    return 100 * float(((a[:, None] > b).mean() + (a[:, None] >= b).mean()) / 2)


def below(turns: list[dict[str, float]]) -> float:
    """Share of time in percent with agreement below 0."""
    seconds = np.array([t["seconds"] for t in turns])
    low = np.array([t["agreement"] < 0 for t in turns])
    return 100 * float(seconds[low].sum() / max(seconds.sum(), 1e-9))


def interval(rows: list[dict[str, Any]], name: str, measure_: Any) -> str:
    """A figure with its interval over people."""

    def figure(chosen: list[dict[str, Any]]) -> float:
        return float(measure_(turns_of(chosen, name, own=True), turns_of(chosen, name, own=False)))

    people = sorted({r["person"] for r in rows})
    of = {p: [r for r in rows if r["person"] == p] for p in people}
    rng = np.random.default_rng(0)
    drawn = [
        figure([r for p in rng.choice(people, len(people)) for r in of[p]]) for _ in range(DRAWS)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"{figure(rows):.0f} [{low:.0f}, {high:.0f}]"


if __name__ == "__main__":
    main()
