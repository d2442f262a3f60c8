"""What the official tool of AVA-ActiveSpeaker does with two csv files, step by step.

Written from its description, with pandas as it does: its columns and no others, rows joined by time
and entity, its refusals by its words, and VOC's average precision over all points.
"""

import numpy as np
import pandas as pd

BOX = ["entity_box_x1", "entity_box_y1", "entity_box_x2", "entity_box_y2"]
COLUMNS = ["video_id", "frame_timestamp", *BOX, "label", "entity_id"]


def read(path, columns):
    frame = pd.read_csv(path, usecols=columns)
    frame["uid"] = frame["frame_timestamp"].map(str) + ":" + frame["entity_id"]
    return frame


def official_score(truth_path, guess_path):
    """Average precision in percent, or a ValueError in the tool's own words."""
    truth, guess = read(truth_path, COLUMNS), read(guess_path, [*COLUMNS, "score"])
    if truth["uid"].count() != guess["uid"].count():
        raise ValueError("Groundtruth and predictions CSV must have the same number of unique rows")
    if guess["label"].unique().tolist() != ["SPEAKING_AUDIBLE"]:
        raise ValueError("Predictions CSV must contain only SPEAKING_AUDIBLE label.")
    if guess["score"].count() != len(guess):
        raise ValueError("Predictions CSV must contain score value for every row.")
    both = truth.merge(guess, on="uid", validate="1:1", suffixes=("_t", "_g"))
    for name in BOX:
        if ((both[f"{name}_t"] - both[f"{name}_g"]).abs() > 1e-9).any():
            raise ValueError("Mismatch between groundtruth and predictions bounding boxes")
    both = both.sort_values("score", ascending=False, kind="stable")
    right = (both["label_t"] == "SPEAKING_AUDIBLE").to_numpy()
    hits = right.cumsum()
    precision = np.concatenate([[0.0], hits / np.arange(1, len(both) + 1), [0.0]])
    recall = np.concatenate([[0.0], hits / right.sum(), [1.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(np.diff(recall)) + 1
    return 100 * float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))
