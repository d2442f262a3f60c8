"""What a set of annotation files holds, and where it breaks what such files promise."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations.reading import read_tables
from pushpull.annotations.table import LABELS, AvaTable

__all__ = ["Problem", "Summary", "summarise"]

QUANTILES = (0, 0.25, 0.5, 0.75, 1)

GAP = 2.5
"""Times the usual interval of a track from which on an interval is a gap.

Official timestamps are rounded to 0.01 s, so intervals at 30 fps read 0.03 or 0.04 s.
"""


@dataclass(frozen=True, slots=True)
class Problem:
    r"""Something a check found: what, how often, and the first places.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import summarise
        >>> _ = Path("truth.csv").write_text("vid,900.04,0.1,0.1,1.4,0.6,NOT_SPEAKING,vid:1\n")
        >>> [problem] = summarise("truth.csv").problems
        >>> problem.what, problem.count, problem.example
        ('boxes outside 0..1', 1, 'truth.csv, line 1 (vid:1 at 900.04 s)')
    """

    what: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    r"""What a set of annotation files holds. A track is one entity of one video.

    Attributes:
        files: Files read.
        videos: Different videos.
        tracks: Different tracks.
        rows: Faces times frames.
        labels: Rows by label.
        hours: Sum of the lengths of all tracks.
        track_frames: Quantiles 0, 0.25, 0.5, 0.75, 1 of the rows of a track.
        track_s: The same of the length of a track in seconds.
        tracks_by_fps: Tracks by frame rate: the mean over intervals that are no gaps, rounded to
            whole frames a second. Tracks of a single time are not in it.
        speaking_tracks: Tracks in which at least one row is SPEAKING_AUDIBLE.
        problems: What the checks found.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import summarise
        >>> _ = Path("truth.csv").write_text("vid,900.04,0.1,0.1,0.4,0.6,NOT_SPEAKING,vid:1\n")
        >>> summary = summarise("truth.csv")
        >>> summary.rows, summary.speaking_tracks, summary.problems
        (1, 0, ())
    """

    files: int
    videos: int
    tracks: int
    rows: int
    labels: dict[str, int]
    hours: float
    track_frames: tuple[int, ...]
    track_s: tuple[float, ...]
    tracks_by_fps: dict[int, int]
    speaking_tracks: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tracks:
    """The tracks of one table.

    Attributes:
        names: Video and entity of each track (K).
        row: Rows of the table sorted by track, then time (N,).
        of_row: Track of each of `row` (N,).
        interval_s: Time from the row before in the same track; NaN on the first of each (N,).
        gap: True where that time is a gap (N,).
        frames: Rows of each track (K,).
        length_s: From the first row to the end of the last, a mean interval after it (K,).
        fps: Rows a second outside gaps; NaN for a single time (K,).
        speaking: True where a row is SPEAKING_AUDIBLE (K,).
    """

    names: list[tuple[str, str]]
    row: NDArray[np.int64]
    of_row: NDArray[np.int64]
    interval_s: NDArray[np.float64]
    gap: NDArray[np.bool_]
    frames: NDArray[np.int64]
    length_s: NDArray[np.float64]
    fps: NDArray[np.float64]
    speaking: NDArray[np.bool_]


def summarise(path: str | PathLike[str]) -> Summary:
    r"""Read, check and count all annotation files of a file, folder or tar archive.

    Raises:
        AnnotationError: If there is no csv file, or one cannot be read as a table.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import summarise
        >>> row = "vid,{},0.1,0.1,0.4,0.6,{},vid:1\n"
        >>> _ = Path("truth.csv").write_text(
        ...     row.format(900.0, "NOT_SPEAKING") + row.format(900.04, "SPEAKING_AUDIBLE")
        ... )
        >>> summary = summarise("truth.csv")
        >>> summary.tracks, summary.track_s[-1], summary.tracks_by_fps
        (1, 0.08, {25: 1})
        >>> summary.labels["SPEAKING_AUDIBLE"]
        1
    """
    findings: dict[str, list[tuple[int, str]]] = {}
    labels = np.zeros(len(LABELS), np.int64)
    names: set[tuple[str, str]] = set()
    parts: list[Tracks] = []
    for table in read_tables(path):
        tracks = tracks_of(table)
        for what, rows in check(table, tracks).items():
            found = (len(rows), f"{table.source}, {table.describe(rows)}")
            findings.setdefault(what, []).append(found)
        again = names.intersection(tracks.names)
        if again:
            found = (len(again), f"{table.source}, {min(again)[1]}")
            findings.setdefault("entities that other files hold too", []).append(found)
        names.update(tracks.names)
        labels += np.bincount(table.label, minlength=len(LABELS))
        parts.append(tracks)
    fps = np.concatenate([t.fps for t in parts])
    rates, counts = np.unique(np.rint(fps[fps > 0]).astype(int), return_counts=True)
    length_s = np.concatenate([t.length_s for t in parts])
    track_frames = np.quantile(
        np.concatenate([t.frames for t in parts]), QUANTILES, method="inverted_cdf"
    )
    return Summary(
        files=len(parts),
        videos=len({video for video, _ in names}),
        tracks=len(names),
        rows=int(labels.sum()),
        labels=dict(zip(LABELS, labels.tolist(), strict=True)),
        hours=float(length_s.sum() / 3600),
        track_frames=tuple(track_frames.tolist()),
        track_s=tuple(np.quantile(length_s, QUANTILES).round(2).tolist()),
        tracks_by_fps=dict(zip(rates.tolist(), counts.tolist(), strict=True)),
        speaking_tracks=sum(int(t.speaking.sum()) for t in parts),
        problems=tuple(
            Problem(what, sum(n for n, _ in found), found[0][1]) for what, found in findings.items()
        ),
    )


def tracks_of(table: AvaTable) -> Tracks:
    """Sort the rows of a table into tracks."""
    pairs, of_table_row = np.unique(
        table.video * len(table.entities) + table.entity, return_inverse=True
    )
    row = np.lexsort((table.timestamps_s, of_table_row))
    of_row, time_s = of_table_row[row], table.timestamps_s[row]
    frames = np.bincount(of_row)
    starts = np.cumsum(frames) - frames
    interval_s = np.diff(time_s, prepend=np.nan)
    interval_s[starts] = np.nan
    # NaN sorts last, so the first `frames - 1` of a track are its intervals.
    usual_s = interval_s[np.lexsort((interval_s, of_row))][starts + np.maximum(frames - 2, 0) // 2]
    gap = (usual_s > 0)[of_row] & (interval_s > GAP * usual_s[of_row])
    kept = ~gap & ~np.isnan(interval_s)
    n_kept = np.bincount(of_row[kept], minlength=len(pairs))
    kept_s = np.bincount(of_row[kept], interval_s[kept], minlength=len(pairs))
    span_s = time_s[starts + frames - 1] - time_s[starts]
    return Tracks(
        names=[
            (table.videos[pair // len(table.entities)], table.entities[pair % len(table.entities)])
            for pair in pairs.tolist()
        ],
        row=row,
        of_row=of_row,
        interval_s=interval_s,
        gap=gap,
        frames=frames,
        length_s=span_s + kept_s / np.maximum(n_kept, 1),
        fps=np.divide(n_kept, kept_s, out=np.full(len(pairs), np.nan), where=kept_s > 0),
        speaking=np.logical_or.reduceat(table.speaking[row], starts),
    )


def check(table: AvaTable, tracks: Tracks) -> dict[str, NDArray[np.int64]]:
    """Rows of a table that break what an annotation file promises, by what they break."""
    boxes = table.boxes
    of_table_row = np.empty_like(tracks.of_row)
    of_table_row[tracks.row] = tracks.of_row
    in_file_order = np.argsort(of_table_row, kind="stable")
    back = np.diff(table.timestamps_s[in_file_order], prepend=np.inf) < 0
    back[np.isnan(tracks.interval_s)] = False
    # Official entities are named VIDEO_START_END:NUMBER.
    foreign = np.array([not entity.startswith(video) for video, entity in tracks.names])
    found = {
        "boxes outside 0..1": np.flatnonzero(((boxes < 0) | (boxes > 1)).any(1)),
        "boxes without area": np.flatnonzero((boxes[:, :2] >= boxes[:, 2:]).any(1)),
        "rows repeated": np.sort(tracks.row[tracks.interval_s == 0]),
        "timestamps that go back": np.sort(in_file_order[back]),
        "gaps inside a track": np.sort(tracks.row[tracks.gap]),
        "entities not named after their video": np.sort(tracks.row[foreign[tracks.of_row]]),
    }
    return {what: rows for what, rows in found.items() if len(rows)}
