"""Detections as columns, for tools that read many at once: Parquet beside the csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.turns import ScoredTrack
from pushpull.runtime.version import versions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write_parquet"]


def write_parquet(
    path: Path, name: str, tracks: Sequence[ScoredTrack], *, width: int, height: int
) -> None:
    """One row per face and frame, by face and then by time.

    Columns: video, track_id, person (null where persons were not asked for), frame, timestamp_s,
    x1, y1, x2, y2 (relative to the picture and inside it, as in the csv), detected, score (log-odds
    of speaking and heard), probability, speaking.

    Args:
        path: File to write.
        name: Name of the video.
        tracks: Its faces.
        width: Of the picture, in pixels.
        height: Of the picture.

    Examples:
        >>> import pyarrow.parquet as pq
        >>> from pathlib import Path
        >>> from pushpull.detection.tables import write_parquet
        >>> write_parquet(Path("talk.parquet"), "talk", [], width=64, height=48)
        >>> pq.read_table("talk.parquet").column_names[:4]
        ['video', 'track_id', 'person', 'frame']
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = np.array([width, height] * 2, float)
    schema = pa.schema(
        [
            ("video", pa.dictionary(pa.int32(), pa.string())),
            ("track_id", pa.int32()),
            ("person", pa.int32()),
            ("frame", pa.int64()),
            ("timestamp_s", pa.float64()),
            *((side, pa.float32()) for side in ("x1", "y1", "x2", "y2")),
            ("detected", pa.bool_()),
            ("score", pa.float64()),
            ("probability", pa.float64()),
            ("speaking", pa.bool_()),
        ],
        metadata={f"pushpull.{what}": version for what, version in versions().items()},
    )
    groups = []
    for scored in tracks:
        track, n = scored.track, len(scored.track)
        person = pa.nulls(n, pa.int32())
        if scored.person is not None:
            person = _column(np.full(n, scored.person), pa.int32())
        values = [
            track.frames,
            track.timestamps_s,
            *np.clip(track.boxes / size, 0, 1).T,
            track.detected,
            scored.scores,
            scored.probabilities,
            scored.speaking,
        ]
        columns = [
            pa.DictionaryArray.from_arrays(_column(np.zeros(n), pa.int32()), _one_text(name)),
            _column(np.full(n, track.track_id), pa.int32()),
            person,
            *(_column(value, kind) for value, kind in zip(values, schema.types[3:], strict=True)),
        ]
        groups.append(pa.Table.from_arrays(columns, schema=schema))
    table = pa.concat_tables(groups) if groups else schema.empty_table()
    # Opened here, as pyarrow takes no name that is no UTF-8.
    with path.open("wb") as file:
        pq.write_table(table.unify_dictionaries(), file, compression="zstd")


# Made of bytes: of an array or a list PyArrow asks pandas first, where that is installed, and to
# load it takes longer than all that is written here.


def _column(values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """An array (N,) as a column without nulls."""
    import pyarrow as pa

    if kind == pa.bool_():
        stored = np.packbits(values.astype(bool), bitorder="little")
    else:
        stored = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(stored)])


def _one_text(text: str) -> pa.Array:
    """A column of one text."""
    import pyarrow as pa

    stored = text.encode()
    places = np.array([0, len(stored)], np.int32)
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(places), pa.py_buffer(stored)])
