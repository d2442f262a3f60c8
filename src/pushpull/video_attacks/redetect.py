"""Written videos given to detection from nothing: new faces, new crops, new scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pushpull.detection import detect
from pushpull.errors import MediaError
from pushpull.models.weights import LoadedWeights
from pushpull.video_attacks.labels import labels_from_tracks
from pushpull.video_attacks.results import VideoAttack, accuracy_of, ap_of

__all__ = ["detected_again"]


def detected_again(path: Path, result: VideoAttack, weights: LoadedWeights) -> dict[str, Any]:
    """Quality of a fresh detection of an attacked video, on frames where it finds known faces.

    A video in which no face is found any more is a result, too: no frames, no accuracy.
    """
    known = result.clips.footage.tracks
    labels = [y[g.grid_of_frame] for y, g in zip(result.speaking, result.clips.grids, strict=True)]
    record: dict[str, Any] = {
        "frames_found": 0,
        "frames_expected": sum(len(y) for y in labels),
        "accuracy": None,
        "ap": None,
    }
    try:
        detection = detect(
            path,
            weights,
            face_finder=result.settings["face_finder"],
            crop=result.settings["crop"],
            allow_silent=True,
        )
    except MediaError as e:
        return record | {"error": str(e)}
    found = [labels_from_tracks(scored.track, known, labels) for scored in detection.tracks]
    y = np.concatenate(found)
    scores = np.concatenate([scored.scores for scored in detection.tracks])[y >= 0]
    speaking = y[y >= 0] == 1
    if not len(scores):
        return record
    return record | {
        "frames_found": len(scores),
        "accuracy": accuracy_of(scores, speaking),
        "ap": ap_of(scores, speaking),
    }
