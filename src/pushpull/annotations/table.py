"""The rows of one csv file, and what its columns and labels are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import AnnotationError

__all__ = ["BOX_COLUMNS", "COLUMNS", "LABELS", "AvaTable"]

BOX_COLUMNS = ("entity_box_x1", "entity_box_y1", "entity_box_x2", "entity_box_y2")
COLUMNS = ("video_id", "frame_timestamp", *BOX_COLUMNS, "label", "entity_id")
LABELS = ("NOT_SPEAKING", "SPEAKING_NOT_AUDIBLE", "SPEAKING_AUDIBLE")
SPEAKING = LABELS.index("SPEAKING_AUDIBLE")

BEYOND = 1.0
"""By which boxes may reach out of the picture in shares of it: finders guess at faces that are half
outside, no further; what lies beyond is in pixels."""

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

    def rows_of(self, video: str) -> NDArray[np.int64]:
        r"""Rows (N,) of one video; where there is one only, its name does not matter.

        Raises:
            AnnotationError: If the table is of several others.

        Examples:
            >>> from pathlib import Path
            >>> from pushpull.annotations import read_table
            >>> row = "{},0.0,0.1,0.1,0.4,0.6,NOT_SPEAKING,ada\n"
            >>> _ = Path("truth.csv").write_text(row.format("one") + row.format("two"))
            >>> read_table("truth.csv").rows_of("two")
            array([1])
        """
        if len(self.videos) > 1 and video not in self.videos:
            raise AnnotationError(
                f"{self.source}: holds boxes of {', '.join(self.videos[:3])}, none of {video}; "
                "expected its name as video_id"
            )
        number = self.videos.index(video) if video in self.videos else 0
        return np.flatnonzero(self.video == number)

    def check_boxes(self, rows: NDArray[np.int64], *, beyond: float = BEYOND) -> None:
        r"""Refuse boxes of some rows that are no shares of the picture, or empty.

        Args:
            rows: Numbers of rows (N,).
            beyond: By which shares boxes may reach out of the picture.

        Raises:
            AnnotationError: If one is.

        Examples:
            >>> from pathlib import Path
            >>> from pushpull.annotations import read_table
            >>> _ = Path("truth.csv").write_text("vid,0.0,64,36,256,216,NOT_SPEAKING,vid:1\n")
            >>> read_table("truth.csv").check_boxes(np.array([0]))
            Traceback (most recent call last):
                ...
            pushpull.errors.AnnotationError: truth.csv, line 1 (vid:1 at 0 s): the box is no share
            of the picture; expected 0 to 1: pixels divided by its width and height
        """
        boxes = self.boxes[rows]
        outside = ((boxes < -beyond) | (boxes > 1 + beyond)).any(1)
        empty = (boxes[:, 2:] <= boxes[:, :2]).any(1)
        for wrong, what in (
            (
                outside,
                "is no share of the picture; expected 0 to 1: pixels divided by its width and "
                "height",
            ),
            (empty, "is empty; expected x1 < x2 and y1 < y2"),
        ):
            if wrong.any():
                described = self.describe(rows[np.flatnonzero(wrong)])
                raise AnnotationError(f"{self.source}, {described}: the box {what}")

    def check_once(self, rows: NDArray[np.int64]) -> None:
        r"""Refuse rows that have the box of another at the same time of the same video.

        Raises:
            AnnotationError: If one has: of two labels one is wrong.

        Examples:
            >>> from pathlib import Path
            >>> from pushpull.annotations import read_table
            >>> row = "vid,0.0,0.1,0.1,0.4,0.6,{},vid:1\n"
            >>> _ = Path("truth.csv").write_text(
            ...     row.format("SPEAKING_AUDIBLE") + row.format("NOT_SPEAKING")
            ... )
            >>> read_table("truth.csv").check_once(np.arange(2))
            Traceback (most recent call last):
                ...
            pushpull.errors.AnnotationError: truth.csv, line 2 (vid:1 at 0 s): the box of another
            row at the same time; keep one
        """
        places = np.column_stack([self.video[rows], self.timestamps_s[rows], self.boxes[rows]])
        order = np.lexsort(places.T)
        again = (np.diff(places[order], axis=0) == 0).all(1)
        if again.any():
            twice = np.sort(rows[order[1:][again]])
            raise AnnotationError(
                f"{self.source}, {self.describe(twice)}: the box of another row at the same time; "
                "keep one"
            )

    def face(self, row: int) -> str:
        """Entity of a row, with its video where the entity is not named after it."""
        video, entity = self.videos[self.video[row]], self.entities[self.entity[row]]
        return entity if entity.startswith(video) else f"{video} {entity}"
