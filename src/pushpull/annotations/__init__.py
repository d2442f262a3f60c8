"""AVA-ActiveSpeaker tables: one row per face and frame, as the official csv files have them.

Columns: video_id, frame_timestamp (seconds), entity_box_x1, _y1, _x2, _y2 (relative, 0..1), label,
entity_id, and in predictions a score. Official files have no header; files with one may have their
columns in any order and further ones. Timestamps are read as they are: the official ones are
rounded and irregular (1440, 1440.04, 1440.07).
"""

from pushpull.annotations.predictions import write_predictions, write_truth
from pushpull.annotations.reading import read_table, read_tables
from pushpull.annotations.summary import Problem, Summary, summarise
from pushpull.annotations.table import COLUMNS, LABELS, AvaTable

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
    "write_truth",
]
