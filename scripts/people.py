"""Labelled clips of real people for the scripts that attack them, and shares with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pushpull.data import open_tracks
from pushpull.schema import Clip

DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Someone:
    """A clip and whose it is."""

    person: str
    case: str
    clip: Clip


def chosen(root: Path, split: str, cases: Sequence[str], each: int, frames: int) -> list[Someone]:
    """Of each person and case the first so many tracks of a talking-head set, cut to some frames.

    Tracks that are shorter are left out, and own tracks in which nobody speaks.
    """
    tracks = open_tracks(root, split)
    taken: Counter[tuple[str, str]] = Counter()
    found = []
    for i in range(len(tracks)):
        example = tracks[i]
        key = (example.person, example.case)
        clip = example.clip
        if example.case not in cases or len(clip.faces) < frames or taken[key] == each:
            continue
        if clip.speaking is None or (example.case == "own" and not clip.speaking[:frames].any()):
            continue
        taken[key] += 1
        clip = replace(
            clip,
            waveform=clip.waveform[: round(16_000 * frames / clip.fps)],
            faces=clip.faces[:frames],
            speaking=clip.speaking[:frames],
        )
        found.append(Someone(person=example.person, case=example.case, clip=clip))
    return found


def share(
    hits: NDArray[np.bool_], counted: NDArray[np.bool_], people: Sequence[str]
) -> dict[str, float]:
    """Share of the counted frames (N,) that are hits, and its 95 % interval over people (N,)."""
    names, of = np.unique(np.asarray(people), return_inverse=True)
    above = np.bincount(of, hits & counted, len(names))
    below = np.bincount(of, counted, len(names))
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    totals = below[drawn].sum(1)
    shares = above[drawn].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"share": float(above.sum() / below.sum()), "low": float(low), "high": float(high)}


def cell(value: dict[str, float]) -> str:
    """In percent, with the interval."""
    return f"{100 * value['share']:.0f} [{100 * value['low']:.0f}, {100 * value['high']:.0f}]"
