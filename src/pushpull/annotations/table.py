"""The rows of one csv file, and what its columns and labels are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOX_COLUMNS", "COLUMNS", "LABELS", "AvaTable"]

BOX_COLUMNS = ("entity_box_x1", "entity_box_y1", "entity_box_x2", "entity_box_y2")
COLUMNS = ("video_id", "frame_timestamp", *BOX_COLUMNS, "label", "entity_id")
LABELS = ("NOT_SPEAKING", "SPEAKING_NOT_AUDIBLE", "SPEAKING_AUDIBLE")
SPEAKING = LABELS.index("SPEAKING_AUDIBLE")

ROWS_NAMED = 3
"""Offending rows that a message names before it only counts them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AvaTable:
    r"""Rows of one csv file, strings as codes.

    Attributes:
        source: File name, for messages.
        lines: Line number in the file of each row (N).
        videos: Names that `video` (N,) points into.
        entities: Names that `entity` (N,) points into.
        timestamps_s: (N,) float64.
        boxes: Relative x1, y1, x2, y2 (N, 4) float64.
        label: Index into `LABELS` (N,).
        score: (N,) float64, or None where the file has none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import read_table
        >>> _ = Path("truth.csv").write_text("vid,900.04,0.1,0.1,0.4,0.6,SPEAKING_AUDIBLE,vid:1\n")
        >>> table = read_table("truth.csv")
        >>> table.speaking
        array([ True])
        >>> table.describe(np.array([0]))
        'line 1 (vid:1 at 900.04 s)'
    """

    source: str
    lines: Sequence[int]
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
        """The first of some rows by line, face and time."""
        named = [
            f"line {self.lines[row]} ({self.face(row)} at {self.timestamps_s[row]:.10g} s)"
            for row in rows[:ROWS_NAMED].tolist()
        ]
        more = "" if len(rows) <= ROWS_NAMED else f" and {len(rows) - ROWS_NAMED} more"
        return ", ".join(named) + more

    def face(self, row: int) -> str:
        """Entity of a row, with its video where the entity is not named after it."""
        video, entity = self.videos[self.video[row]], self.entities[self.entity[row]]
        return entity if entity.startswith(video) else f"{video} {entity}"
