"""Are tracks of one person put together, and of two people kept apart? On real clips.

    python scripts/identities.py CLIPS --out OUT [--report docs/measurements/identities.md]

CLIPS as for `real_clips.py`. The longest face of each clip of one known person is described as
`detect --identities` does. All pairs of clips: distances of the same person and of two people,
and what limits would do with them. Then all tracks are grouped as if they were one film.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_clips import replace_section

from pushpull.detection import find_faces
from pushpull.detection.identities import SAME_PERSON, describe_track, distance, grouped
from pushpull.errors import PushPullError
from pushpull.media import WHOLE
from pushpull.runtime.version import versions
from pushpull.schema import Track

LIMITS = (0.25, 0.3, SAME_PERSON, 0.4, 0.45, 0.5)

FEW = 2
"""Faces of a short track."""


def main() -> None:
    """Describe what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    people, faces, sizes = [], [], []
    for clip in json.loads((args.clips / "index.json").read_text()):
        if clip["faces"] != 1 or not clip["person"]:
            continue
        cached = args.out / f"{clip['sha256'][:16]}.npz"
        if not cached.exists():
            described, size = describe(args.clips / clip["file"])
            np.savez(cached, described=described, size=size)
        stored = np.load(cached)
        print(f"{clip['file']}: {len(stored['described'])} faces", file=sys.stderr)
        people.append(clip["person"])
        faces.append(stored["described"])
        sizes.append(float(stored["size"]))
    text = report(people, faces, sizes)
    print(text)
    if args.report:
        replace_section(args.report, text, "measured")


def describe(path: Path) -> tuple[NDArray[np.float64], float]:
    """The longest face of a clip, and its median size in pixels."""
    try:
        footage = find_faces(path, allow_silent=True)
        track = max(footage.tracks, key=len)
    except (PushPullError, ValueError) as e:
        print(f"{path.name}: {e}", file=sys.stderr)
        return np.zeros((0, 128)), 0.0
    size = float(np.median(track.boxes[:, 3] - track.boxes[:, 1]))
    return describe_track(path, track, part=WHOLE), size


def report(people: list[str], faces: list[NDArray[np.float64]], sizes: list[float]) -> str:
    """Distances, limits, and what grouping makes of all."""
    known = [k for k in range(len(people)) if len(faces[k])]
    same, other = [], []
    for i, j in combinations(known, 2):
        (same if people[i] == people[j] else other).append(distance(faces[i], faces[j]))
    persons = len({people[k] for k in known})
    brief = [described[:: max(1, len(described) // FEW)][:FEW] for described in faces]
    few: tuple[list[float], list[float]] = ([], [])
    for i, j in combinations(known, 2):
        few[people[i] != people[j]].append(distance(brief[i], brief[j]))
    spread = np.mean([((faces[k] - faces[k].mean(0)) ** 2).sum(1).mean() for k in known])
    lines = [
        f"{len(known)} clips of {persons} people, faces of {min(sizes[k] for k in known):.0f} to "
        f"{max(sizes):.0f} px; pushpull {versions()['pushpull']}, dlib {versions()['dlib-bin']}. "
        f"{len(same)} pairs of clips of the same person: distance {min(same):.2f} to "
        f"{max(same):.2f}, median {np.median(same):.2f}; {len(other)} of two people: "
        f"{min(other):.2f} to {max(other):.2f}, median {np.median(other):.2f}. Faces of one track "
        f"differ by {spread:.3f} (mean square of the distance to their mean).",
        "",
        "| limit | pairs of one person kept together | pairs of two people taken for one | "
        f"kept together, of {FEW} faces each | taken for one, of {FEW} faces each |",
        "|---|---|---|---|---|",
    ]
    for limit in LIMITS:
        counts = (f"{sum(d <= limit for d in some)} of {len(some)}" for some in (same, other, *few))
        lines.append(f"| {limit:.2f} | {' | '.join(counts)} |")
    tracks = [_apart(k) for k in known]
    group = grouped(tracks, [faces[k] for k in known])
    pairs = list(combinations(known, 2))
    split = sum(people[i] == people[j] and group[i] != group[j] for i, j in pairs)
    merged = sum(people[i] != people[j] and group[i] == group[j] for i, j in pairs)
    lines += [
        "",
        f"All {len(known)} tracks grouped as one film: {len(set(group.values()))} persons; "
        f"{split} of {len(same)} pairs of one person are apart, {merged} of {len(other)} pairs of "
        "two people together.",
        "",
    ]
    return "\n".join(lines)


def _apart(number: int) -> Track:
    """A track that meets no other."""
    return Track(
        track_id=number,
        frames=np.array([number]),
        timestamps_s=np.array([number / 25]),
        boxes=np.array([[0.0, 0.0, 50.0, 50.0]]),
        detected=np.array([True]),
    )


if __name__ == "__main__":
    main()
