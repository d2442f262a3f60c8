"""Detections as columns, for tools that read many at once: Parquet beside the csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pushpull.detection.turns import ScoredTrack
from pushpull.runtime.version import versions

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
        boxes = np.clip(track.boxes / size, 0, 1).astype(np.float32)
        columns = [
            pa.array([name] * n).dictionary_encode(),
            np.full(n, track.track_id, np.int32),
            pa.array([scored.person] * n, pa.int32()),
            track.frames,
            track.timestamps_s,
            *boxes.T,
            track.detected,
            scored.scores.astype(np.float64),
            scored.probabilities.astype(np.float64),
            scored.speaking,
        ]
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
        ]
        groups.append(pa.Table.from_arrays(arrays, schema=schema))
    table = pa.concat_tables(groups) if groups else schema.empty_table()
    # Opened here, as pyarrow takes no name that is no UTF-8.
    with path.open("wb") as file:
        pq.write_table(table.unify_dictionaries(), file, compression="zstd")
