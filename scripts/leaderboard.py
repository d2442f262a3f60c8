"""Rows of the leaderboard: published weights on real clips, under the suite, with an audit.

    python scripts/leaderboard.py CLIPS --out OUT [--by WHO] [--only NAME ...] [--audit fast]

CLIPS is as for `real_clips.py`. Of each person's first short clip in which they speak, and in which
they are silent, as people or the corpus have labelled them, a talking-head set of windows of a
second is made in OUT/real-clips; its test split holds four people. `pushpull evaluate`, `audit` and
`leaderboard add` do the rest. What is done is not done again, and a stopped evaluation goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pushpull.data.talkset import Source, TalksetConfig, write_talkset

LABELLED = ("human", "corpus")
"""What the basis of a label begins with that is nobody's judgement here."""
LONGEST_S = 5.0
CONFIG = TalksetConfig(face_finder="yunet", negatives=1, max_frames=25, held_out=0.4)
SPLIT, ATTACK = "test", "suite"
BOARD = Path("docs/results/leaderboard.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A detector of the leaderboard."""

    detector: str
    name: str
    defence: str = "none"


ROWS = (
    Row(detector="light-asd-ava", name="Light-ASD, AVA"),
    Row(detector="light-asd-talkset", name="Light-ASD, TalkSet, on AVA's crops"),
    Row(detector="lr-asd-ava", name="LR-ASD, AVA"),
    Row(detector="lr-asd-talkset", name="LR-ASD, TalkSet, on AVA's crops"),
)
AUDITS = {"fast": ["--fast"], "full": [], "none": None}
"""The fast one cannot find that a claim holds, only that it does not."""


def main() -> None:
    """Make the set, evaluate, audit, add."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--by", default="pushpull")
    parser.add_argument("--only", nargs="*", choices=[row.detector for row in ROWS])
    parser.add_argument("--eps", type=float, default=5.0)
    parser.add_argument("--audit", choices=list(AUDITS), default="fast")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--board", type=Path, default=BOARD)
    args = parser.parse_args()
    data = args.out / "real-clips"
    write_real(args.clips, data)
    for row in ROWS:
        if not args.only or row.detector in args.only:
            add(row, data, args)


def write_real(clips: Path, root: Path) -> None:
    """The set; a video without a face is said and left out."""
    chosen: dict[tuple[str, bool], Source] = {}
    for clip in json.loads((clips / "index.json").read_text()):
        known = clip["label_basis"].startswith(LABELLED)
        if known and clip["seconds"] <= LONGEST_S and clip["faces"] == 1:
            speaks, person = clip["speaking"].startswith("yes"), clip["person"]
            source = Source(path=clips / clip["file"], person=person, speaks=speaks)
            chosen.setdefault((person, speaks), source)
    counts = write_talkset(
        list(chosen.values()),
        root,
        CONFIG,
        failed=lambda source, why: print(f"left out: {source.path.name}: {why}"),
    )
    print(f"{root}: {counts[SPLIT]} tracks in {SPLIT}")


def add(row: Row, data: Path, args: argparse.Namespace) -> None:
    """One row: what is missing of its results, then the entry."""
    same = ["--split", SPLIT, "--eps", f"{args.eps:g}", "--device", args.device]
    result, audit = (args.out / f"{row.detector}-{what}" for what in ("result", "audit"))
    if not (result / "results.json").exists():
        pushpull("evaluate", row.detector, data, *same, "--attack", ATTACK, "-o", result)
    options = AUDITS[args.audit]
    if options is not None and not (audit / "audit.json").exists():
        pushpull("audit", row.detector, data, *same, *options, "-o", audit)
    said = ["--board", args.board, "--replace", "--by", args.by]
    said += ["--name", row.name, "--defence", row.defence]
    said += [] if options is None else ["--audit", audit]
    again = f"python scripts/leaderboard.py CLIPS --out OUT --only {row.detector}"
    again += f" --eps {args.eps:g} --audit {args.audit}"
    pushpull("leaderboard", "add", result, *said, "--reproduce", again)


def pushpull(*words: object) -> None:
    """The command, as others run it."""
    command = [sys.executable, "-m", "pushpull", *map(str, words)]
    print(" ".join(command[2:]), flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
