"""AVA-ActiveSpeaker tables: one row per face and frame, as the official csv files have them.

Columns: video_id, frame_timestamp (seconds), entity_box_x1, _y1, _x2, _y2 (relative, 0..1), label,
entity_id, and in predictions a score. Official files have no header; files with one may have their
columns in any order and further ones. Timestamps are read as they are: the official ones are
rounded and irregular (1440, 1440.04, 1440.07).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import AnnotationError

__all__ = [
    "COLUMNS",
    "LABELS",
    "AvaTable",
    "Problem",
    "Summary",
    "read_table",
    "read_tables",
    "summarise",
    "write_predictions",
]

BOX_COLUMNS = ("entity_box_x1", "entity_box_y1", "entity_box_x2", "entity_box_y2")
COLUMNS = ("video_id", "frame_timestamp", *BOX_COLUMNS, "label", "entity_id")
LABELS = ("NOT_SPEAKING", "SPEAKING_NOT_AUDIBLE", "SPEAKING_AUDIBLE")
SPEAKING = LABELS.index("SPEAKING_AUDIBLE")

ROWS_NAMED = 3
"""Offending rows that a message names before it only counts them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AvaTable:
    """Rows of one csv file, strings as codes.

    Attributes:
        source: File name, for messages.
        first_line: Line number of the first row in the file, 1 or 2.
        videos: Names that `video` (N,) points into.
        entities: Names that `entity` (N,) points into.
        timestamps_s: (N,) float64.
        boxes: Relative x1, y1, x2, y2 (N, 4) float64.
        label: Index into `LABELS` (N,).
        score: (N,) float64, or None where the file has none.
    """

    source: str
    first_line: int
    videos: tuple[str, ...]
    entities: tuple[str, ...]
    video: NDArray[np.int64]
    entity: NDArray[np.int64]
    timestamps_s: NDArray[np.float64]
    boxes: NDArray[np.float64]
    label: NDArray[np.int64]
    score: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def speaking(self) -> NDArray[np.bool_]:
        """True where the label is SPEAKING_AUDIBLE (N,)."""
        flags: NDArray[np.bool_] = self.label == SPEAKING
        return flags

    def describe(self, rows: NDArray[np.int64]) -> str:
        """The first of some rows by line, video, entity and time."""
        named = [
            f"line {self.first_line + row} ({self.entities[self.entity[row]]} at "
            f"{self.timestamps_s[row]:g} s)"
            for row in rows[:ROWS_NAMED].tolist()
        ]
        more = "" if len(rows) <= ROWS_NAMED else f" and {len(rows) - ROWS_NAMED} more"
        return ", ".join(named) + more


def read_table(path: str | Path, *, need_score: bool = False) -> AvaTable:
    """Read one csv file, with or without a header.

    Args:
        path: File, UTF-8.
        need_score: Whether there must be a score on every row.

    Raises:
        AnnotationError: If it cannot be read, lacks columns, or a field is not what it should be.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise AnnotationError(f"{path}: cannot be read ({e.strerror})") from e
    return parse_table(data, str(path), need_score=need_score)


def read_tables(path: str | Path) -> Iterator[AvaTable]:
    """Read every csv of a file, a folder (searched in depth) or a tar archive, in name order.

    Raises:
        AnnotationError: If there is none, or one cannot be read.
    """
    path = Path(path)
    count = 0
    if path.is_dir():
        for file in sorted(path.rglob("*.csv")):
            yield read_table(file)
            count += 1
    elif path.is_file() and ".tar" in path.suffixes:
        try:
            with tarfile.open(path, "r|*") as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith(".csv"):
                        file_ = archive.extractfile(member)
                        data = b"" if file_ is None else file_.read()
                        yield parse_table(data, f"{path}:{member.name}", need_score=False)
                        count += 1
        except (tarfile.TarError, EOFError, OSError) as e:
            raise AnnotationError(f"{path}: is not a whole tar archive ({e})") from e
    else:
        yield read_table(path)
        count += 1
    if not count:
        raise AnnotationError(f"{path}: holds no .csv file; expected AVA-ActiveSpeaker tables")


def parse_table(data: bytes, source: str, *, need_score: bool) -> AvaTable:
    """Parse the bytes of a csv file; see `read_table`."""
    names, first_line = header_of(data, source, need_score=need_score)
    wanted = [*COLUMNS, *(["score"] if "score" in names else [])]
    import pyarrow as pa
    from pyarrow import csv

    text = pa.dictionary(pa.int32(), pa.string())
    types = dict.fromkeys(wanted, pa.float64()) | dict.fromkeys(
        ("video_id", "label", "entity_id"), text
    )
    try:
        table = csv.read_csv(
            io.BytesIO(data),
            read_options=csv.ReadOptions(column_names=names, skip_rows=first_line - 1),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=wanted),
        ).combine_chunks()
    except pa.ArrowInvalid as e:
        raise AnnotationError(f"{source}, {bad_field(data, names, first_line, e)}") from e
    if table.num_rows == 0:
        raise AnnotationError(f"{source}: holds no rows; expected one per face and frame")
    numbers = {
        name: number_column(table, name, source, first_line)
        for name in wanted
        if types[name] is not text
    }
    codes = {name: text_column(table, name) for name in ("video_id", "label", "entity_id")}
    for name, (values, column) in codes.items():
        empty = np.flatnonzero(np.isin(column, [i for i, v in enumerate(values) if not v]))
        if len(empty):
            raise AnnotationError(
                f"{source}, line {first_line + empty[0]}: {name} is empty; expected a name"
            )
    return AvaTable(
        source=source,
        first_line=first_line,
        videos=codes["video_id"][0],
        entities=codes["entity_id"][0],
        video=codes["video_id"][1],
        entity=codes["entity_id"][1],
        timestamps_s=numbers["frame_timestamp"],
        boxes=np.stack([numbers[name] for name in BOX_COLUMNS], 1),
        label=label_codes(*codes["label"], source, first_line),
        score=numbers.get("score"),
    )


def header_of(data: bytes, source: str, *, need_score: bool) -> tuple[list[str], int]:
    """Column names and the line number of the first row."""
    try:
        fields = data.partition(b"\n")[0].decode("utf-8-sig").strip().split(",")
    except UnicodeDecodeError as e:
        raise AnnotationError(f"{source}, line 1: is not UTF-8 text; expected a csv table") from e
    if fields == [""]:
        raise AnnotationError(f"{source}: is empty; expected a csv table")
    columns = [*COLUMNS, "score"] if need_score else list(COLUMNS)
    if len(fields) > 1 and is_number(fields[1]):
        known = [*COLUMNS, "score"]
        if len(fields) not in (len(COLUMNS), len(known)) or (need_score and fields[8:] == []):
            raise AnnotationError(
                f"{source}, line 1: has {len(fields)} fields and no header; expected "
                f"{len(columns)}: {', '.join(columns)}"
            )
        return known[: len(fields)], 1
    names = [field.strip().strip('"') for field in fields]
    missing = [name for name in columns if name not in names]
    if missing:
        raise AnnotationError(
            f"{source}, line 1: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"it has {', '.join(names)[:200]}"
        )
    return names, 2


def is_number(text: str) -> bool:
    """Whether a field holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def number_column(table: Any, name: str, source: str, first_line: int) -> NDArray[np.float64]:
    """A column of numbers, none of them missing."""
    column = table[name]
    values: NDArray[np.float64] = column.to_numpy()
    if column.null_count or np.isnan(values).any():
        row = int(np.isnan(values).argmax())
        raise AnnotationError(
            f"{source}, line {first_line + row}: {name} is empty or NaN; expected a number"
        )
    return values


def text_column(table: Any, name: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The different values of a column, and which of them each row has."""
    column = table[name].combine_chunks()
    return (
        tuple(column.dictionary.to_pylist()),
        column.indices.to_numpy(zero_copy_only=False).astype(np.int64),
    )


def label_codes(
    values: Sequence[str], column: NDArray[np.int64], source: str, first_line: int
) -> NDArray[np.int64]:
    """Labels as indices into `LABELS`."""
    for i, value in enumerate(values):
        if value not in LABELS:
            row = int((column == i).argmax())
            raise AnnotationError(
                f"{source}, line {first_line + row}: label is '{value[:40]}'; expected one of "
                f"{', '.join(LABELS)}"
            )
    codes: NDArray[np.int64] = np.array([LABELS.index(v) for v in values], np.int64)[column]
    return codes


def bad_field(data: bytes, names: Sequence[str], first_line: int, error: Exception) -> str:
    """Where a table breaks; the fast reader only says that it does."""
    import csv

    numeric = {"frame_timestamp", *BOX_COLUMNS, "score"}
    try:
        lines = io.StringIO(data.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        return f"line {line}: is not UTF-8 text; expected a csv table"
    for number, fields in enumerate(csv.reader(lines), start=1):
        if number < first_line or not fields:
            continue
        if len(fields) != len(names):
            return f"line {number}: has {len(fields)} fields; expected {len(names)}"
        for name, value in zip(names, fields, strict=True):
            if name in numeric and value and not is_number(value):
                return f"line {number}: {name} is '{value[:40]}'; expected a number"
    return (
        f"lines from {first_line}: cannot be parsed as csv ({' '.join(str(error).split())[:200]})"
    )


def write_predictions(
    path: Path,
    *,
    video_id: str,
    entity_ids: Sequence[str],
    timestamps_s: NDArray[np.float64],
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Write a predictions csv with a header, as `pushpull score` and the official tool read it.

    Args:
        path: File to write.
        video_id: Name of the video.
        entity_ids: Name of the face of each row (N).
        timestamps_s: (N,) seconds.
        boxes: Relative x1, y1, x2, y2 (N, 4), 0..1.
        scores: (N,), higher means speaking.
    """
    import pyarrow as pa
    from pyarrow import csv

    n = len(entity_ids)
    columns: dict[str, Any] = {
        "video_id": [video_id] * n,
        "frame_timestamp": np.round(timestamps_s, 6),
        **{name: np.round(boxes[:, i], 6) for i, name in enumerate(BOX_COLUMNS)},
        "label": ["SPEAKING_AUDIBLE"] * n,
        "entity_id": list(entity_ids),
        "score": scores,
    }
    options = csv.WriteOptions(quoting_style="needed")
    csv.write_csv(pa.table(columns), path, write_options=options)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a check found: what, how often, and the first places."""

    what: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a set of annotation files holds.

    Attributes:
        files: Files read.
        videos: Different videos.
        tracks: Different entities, which are face tracks.
        rows: Faces times frames.
        labels: Rows by label.
        hours: Sum of the lengths of all tracks.
        track_frames: Quantiles 0, 0.25, 0.5, 0.75, 1 of the rows of a track.
        track_s: The same of the length of a track in seconds.
        tracks_by_fps: Tracks by frame rate, the median interval rounded to whole frames a second.
        speaking_tracks: Tracks in which at least one row is SPEAKING_AUDIBLE.
        problems: What the checks found.
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


def summarise(path: str | Path) -> Summary:
    """Read, check and count all annotation files of a file, folder or tar archive.

    Raises:
        AnnotationError: If there is no csv file, or one cannot be read as a table.
    """
    findings: dict[str, list[tuple[int, str]]] = {}
    labels = np.zeros(len(LABELS), np.int64)
    frames: list[NDArray[np.int64]] = []
    lengths_s: list[NDArray[np.float64]] = []
    rates_hz: list[NDArray[np.float64]] = []
    videos: set[str] = set()
    entities: set[str] = set()
    files = speaking_tracks = 0
    for table in read_tables(path):
        files += 1
        for what, rows in check(table).items():
            findings.setdefault(what, []).append(
                (len(rows), f"{table.source}, {table.describe(rows)}")
            )
        twice = entities.intersection(table.entities)
        if twice:
            example = f"{table.source}, {min(twice)}"
            findings.setdefault("entities that other files hold too", []).append(
                (len(twice), example)
            )
        videos.update(table.videos)
        entities.update(table.entities)
        labels += np.bincount(table.label, minlength=len(LABELS))
        order = np.lexsort((table.timestamps_s, table.entity))
        starts = np.flatnonzero(np.diff(table.entity[order], prepend=-1))
        n = np.diff(np.append(starts, len(order)))
        time_s = table.timestamps_s[order]
        span_s = time_s[starts + n - 1] - time_s[starts]
        rate_hz = (n - 1)[n > 1] / np.maximum(span_s[n > 1], 1e-9)
        frames.append(n)
        # A track ends when its last frame is over.
        frame_s = np.where(n > 1, span_s / np.maximum(n - 1, 1), 0.0)
        lengths_s.append(span_s + frame_s)
        rates_hz.append(rate_hz)
        speaking_tracks += int(np.logical_or.reduceat(table.speaking[order], starts).sum())
    track_frames, track_s = np.concatenate(frames), np.concatenate(lengths_s)
    fps, counts = np.unique(np.rint(np.concatenate(rates_hz)).astype(int), return_counts=True)
    quantiles = (0, 0.25, 0.5, 0.75, 1)
    return Summary(
        files=files,
        videos=len(videos),
        tracks=len(entities),
        rows=int(labels.sum()),
        labels=dict(zip(LABELS, labels.tolist(), strict=True)),
        hours=float(track_s.sum() / 3600),
        track_frames=tuple(int(x) for x in np.quantile(track_frames, quantiles)),
        track_s=tuple(round(float(x), 2) for x in np.quantile(track_s, quantiles)),
        tracks_by_fps=dict(zip(fps.tolist(), counts.tolist(), strict=True)),
        speaking_tracks=speaking_tracks,
        problems=tuple(
            Problem(what, sum(n for n, _ in found), found[0][1]) for what, found in findings.items()
        ),
    )


def check(table: AvaTable) -> dict[str, NDArray[np.int64]]:
    """Rows of a table that break what an annotation file promises, by what they break."""
    boxes, entity, time_s = table.boxes, table.entity, table.timestamps_s
    outside = ((boxes < 0) | (boxes > 1)).any(1)
    empty = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    order = np.lexsort((time_s, entity))
    same = np.flatnonzero(np.diff(entity[order]) == 0)
    repeated = order[same + 1][time_s[order[same + 1]] == time_s[order[same]]]
    follows = np.flatnonzero(entity[1:] == entity[:-1]) + 1
    backwards = follows[time_s[follows] < time_s[follows - 1]]
    # Official entities are named VIDEO_START_END:NUMBER.
    pairs = np.unique(np.stack([entity, table.video], 1), axis=0)
    foreign = {
        int(e) for e, v in pairs.tolist() if not table.entities[e].startswith(table.videos[v])
    }
    strangers = np.isin(entity, list(foreign)) if foreign else np.zeros(len(table), bool)
    found = {
        "boxes outside 0..1": np.flatnonzero(outside),
        "boxes without area": np.flatnonzero(empty),
        "rows repeated": np.sort(repeated),
        "timestamps that go back": backwards,
        "entities not named after their video": np.flatnonzero(strangers),
    }
    return {what: rows for what, rows in found.items() if len(rows)}
