"""Scores of faces as a csv that `pushpull score` and the official tool read."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations.table import COLUMNS, LABELS, SPEAKING
from pushpull.errors import ShapeError

__all__ = ["write_predictions", "write_truth"]


def write_predictions(
    path: str | os.PathLike[str],
    *,
    video_id: str | Sequence[str],
    entity_ids: Sequence[str],
    timestamps_s: NDArray[np.float64],
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    more: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write a predictions csv with a header.

    Timestamps and boxes are rounded to 6 decimals, scores written so that they read back exactly.
    The label of every row is SPEAKING_AUDIBLE, which the official tool wants of predictions.

    Args:
        path: File to write; for one that appears whole or not at all, use `files.written_whole`.
        video_id: Name of the video, or of each row's (N).
        entity_ids: Name of the face of each row (N).
        timestamps_s: (N,) seconds.
        boxes: Relative x1, y1, x2, y2 (N, 4), 0..1.
        scores: (N,), higher means speaking.
        more: Further columns (N,) by name, behind the others; tools pass over them.

    Raises:
        ShapeError: If the lengths differ, or a number is NaN; no tool could read that back.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import write_predictions
        >>> write_predictions(
        ...     Path("scores.csv"),
        ...     video_id="vid",
        ...     entity_ids=["vid:1"],
        ...     timestamps_s=np.array([900.04]),
        ...     boxes=np.array([[0.1, 0.1, 0.4, 0.6]]),
        ...     scores=np.array([2.5]),
        ... )
        >>> print(Path("scores.csv").read_text().splitlines()[1])
        vid,900.04,0.1,0.1,0.4,0.6,SPEAKING_AUDIBLE,vid:1,2.5
    """
    if np.isnan(scores).any():
        row = int(np.isnan(scores).argmax())
        raise ShapeError(f"row {row} ({entity_ids[row]}) holds NaN as its score; expected a number")
    rows = _rows(video_id, entity_ids, timestamps_s, boxes, len(scores))
    speaking = LABELS[SPEAKING]
    columns = {"score": scores, **(more or {})}
    if any(len(values) != len(scores) for values in columns.values()):
        lengths = {name: len(values) for name, values in columns.items()}
        raise ShapeError(f"columns have {lengths} rows; expected {len(scores)} of each")
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *columns])
        writer.writerows(
            [*place, speaking, entity, *numbers]
            for (*place, entity), numbers in zip(rows, values, strict=True)
        )


def write_truth(
    path: str | os.PathLike[str],
    *,
    video_id: str | Sequence[str],
    entity_ids: Sequence[str],
    timestamps_s: NDArray[np.float64],
    boxes: NDArray[np.float64],
    speaking: NDArray[np.bool_],
) -> None:
    """Write an annotations csv with a header; args as `write_predictions`.

    Args:
        path: File to write.
        video_id: Name of the video, or of each row's (N).
        entity_ids: Name of the face of each row (N).
        timestamps_s: (N,) seconds.
        boxes: Relative x1, y1, x2, y2 (N, 4), 0..1.
        speaking: Whether each row speaks and is heard (N,).

    Raises:
        ShapeError: If the lengths differ, or a number is NaN.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import write_truth
        >>> write_truth(
        ...     Path("truth.csv"),
        ...     video_id="vid",
        ...     entity_ids=["vid:1"],
        ...     timestamps_s=np.array([900.04]),
        ...     boxes=np.array([[0.1, 0.1, 0.4, 0.6]]),
        ...     speaking=np.array([False]),
        ... )
        >>> print(Path("truth.csv").read_text().splitlines()[1])
        vid,900.04,0.1,0.1,0.4,0.6,NOT_SPEAKING,vid:1
    """
    rows = _rows(video_id, entity_ids, timestamps_s, boxes, len(speaking))
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [*place, LABELS[SPEAKING if speaks else 0], entity]
            for (*place, entity), speaks in zip(rows, speaking.tolist(), strict=True)
        )


def _rows(
    video_id: str | Sequence[str],
    entity_ids: Sequence[str],
    timestamps_s: NDArray[np.float64],
    boxes: NDArray[np.float64],
    last: int,
) -> Iterator[list[Any]]:
    """Video, time, box and entity of each row."""
    n = len(entity_ids)
    videos = [video_id] * n if isinstance(video_id, str) else video_id
    if timestamps_s.shape != (n,) or boxes.shape != (n, 4) or len(videos) != n or last != n:
        raise ShapeError(
            f"timestamps_s is {timestamps_s.shape}, boxes {boxes.shape}, {len(videos)} videos and "
            f"{last} scores or labels for {n} rows; expected (N,), (N, 4), N and N"
        )
    numbers = np.column_stack([np.round(timestamps_s, 6), np.round(boxes, 6)])
    if np.isnan(numbers).any():
        row = int(np.isnan(numbers).any(1).argmax())
        raise ShapeError(f"row {row} ({entity_ids[row]}) holds NaN; expected numbers")
    return (
        [video, *row, entity]
        for video, row, entity in zip(videos, numbers.tolist(), entity_ids, strict=True)
    )
