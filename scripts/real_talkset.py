"""A talking-head set of real clips, and published weights on it.

    python scripts/real_talkset.py CLIPS --out OUT [--report docs/measurements/real-clips.md]

CLIPS is as for `real_clips.py`. The set is what `pushpull data talkset` makes with the people of
index.json, and lies in OUT/set; the weights are evaluated on all of its splits together, since none
of them has seen any. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from real_clips import replace_section

from pushpull.data import SPLITS, open_tracks
from pushpull.data.talkset import KINDS, Source, TalksetConfig, write_talkset
from pushpull.evaluation import score_tracks
from pushpull.models.weights import resolve_detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.schema import FrameScores

WEIGHTS = ("light-asd-ava", "lr-asd-ava")


def main() -> None:
    """Make the set, evaluate, write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--face-finder", default="yunet", choices=["dlib", "yunet"])
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    sources = [
        Source(
            path=args.clips / clip["file"],
            person=clip["person"],
            speaks=clip["speaking"].startswith("yes"),
        )
        for clip in json.loads((args.clips / "index.json").read_text())
    ]
    root = args.out / "set"
    failures: list[str] = []
    counts = write_talkset(
        sources,
        root,
        TalksetConfig(face_finder=args.face_finder),
        progress=lambda stage, done, total: print(f"{stage} {done}/{total}", end="\r"),
        failed=lambda source, why: failures.append(source.path.name),
    )
    found = {name: evaluated(name, root, args.out) for name in WEIGHTS}
    text = table(found, counts, len(sources), failures)
    print(text)
    if args.report:
        replace_section(args.report, text + "\n", "talkset")


def evaluated(name: str, root: Path, out: Path) -> dict[str, FrameScores]:
    """One detector's scores on all splits together, and by kind of sound."""
    loaded = resolve_detector(name, device="cpu")
    rows = []
    for split in SPLITS:
        tracks = open_tracks(root, split)
        for scored in score_tracks(loaded, tracks, batch_frames=500):
            rows.append(scored)
            print(f"{name} {split} {len(rows)}   ", end="\r")
    # Every split counts from 0, so tracks are numbered anew.
    of_track = [row.scores.score for row in rows]
    every = FrameScores.of_tracks(of_track, [row.scores.truth for row in rows])
    cases = np.array([row.info.case for row in rows])[every.track]
    found = {"all": every, **{kind: every.subset(cases == kind) for kind in KINDS}}
    record = {kind: scores.as_dict(draws=1000) for kind, scores in found.items()}
    (out / f"{name}.json").write_text(json.dumps(record, indent=1))
    return found


def table(
    found: dict[str, dict[str, FrameScores]],
    counts: dict[str, int],
    clips: int,
    failures: list[str],
) -> str:
    """The report."""
    any_ = next(iter(found.values()))["all"]
    lines = [
        f"{clips - len(failures)} of {clips} clips, {any_.tracks} tracks ("
        + ", ".join(f"{s} {n}" for s, n in counts.items())
        + f"), {len(any_)} frames; accuracy in percent of frames by kind of sound.",
        "",
        "| weights | mAP (95 % interval over tracks) | accuracy | " + " | ".join(KINDS) + " |",
        "|---|---|---|" + "---|" * len(KINDS),
    ]
    for name, row in found.items():
        every, ends = row["all"], row["all"].interval()
        interval = "" if ends is None else f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"
        rates = [every.accuracy, *(row[kind].accuracy for kind in KINDS)]
        cells = [f"{100 * rate:.1f}" for rate in rates if rate is not None]
        ap = 100 * (every.average_precision or 0.0)
        lines.append(f"| {name} | {ap:.1f}{interval} | " + " | ".join(cells) + " |")
    if failures:
        lines += ["", "Left out, with the reason said by the command: " + ", ".join(failures) + "."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
