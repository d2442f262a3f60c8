"""Scores of faces as a csv that `pushpull score` and the official tool read."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations.table import COLUMNS, LABELS, SPEAKING
from pushpull.errors import ShapeError

__all__ = ["write_predictions"]


def write_predictions(
    path: Path,
    *,
    video_id: str,
    entity_ids: Sequence[str],
    timestamps_s: NDArray[np.float64],
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Write a predictions csv with a header.

    Timestamps and boxes are rounded to 6 decimals, scores written so that they read back exactly.

    Args:
        path: File to write; for one that appears whole or not at all, use `files.written_whole`.
        video_id: Name of the video.
        entity_ids: Name of the face of each row (N).
        timestamps_s: (N,) seconds.
        boxes: Relative x1, y1, x2, y2 (N, 4), 0..1.
        scores: (N,), higher means speaking.

    Raises:
        ShapeError: If the lengths differ, or a number is NaN; no tool could read that back.
    """
    n = len(entity_ids)
    if timestamps_s.shape != (n,) or boxes.shape != (n, 4) or scores.shape != (n,):
        raise ShapeError(
            f"timestamps_s is {timestamps_s.shape}, boxes {boxes.shape}, scores {scores.shape} for "
            f"{n} rows; expected (N,), (N, 4), (N,)"
        )
    numbers = np.column_stack([np.round(timestamps_s, 6), np.round(boxes, 6), scores])
    if np.isnan(numbers).any():
        row = int(np.isnan(numbers).any(1).argmax())
        raise ShapeError(f"row {row} ({entity_ids[row]}) holds NaN; expected numbers")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "score"])
        writer.writerows(
            [video_id, *row[:5], LABELS[SPEAKING], entity_id, row[5]]
            for entity_id, row in zip(entity_ids, numbers.tolist(), strict=True)
        )
