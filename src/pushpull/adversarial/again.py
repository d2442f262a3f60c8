"""Written videos given to detection from nothing: new faces, new crops, new scores."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.adversarial.labels import labels_from_tracks
from pushpull.adversarial.results import VideoAttack, quality_of
from pushpull.detection import detect
from pushpull.weights import LoadedWeights

__all__ = ["detected_again"]


def detected_again(path: Path, result: VideoAttack, weights: LoadedWeights) -> dict[str, Any]:
    """Quality of a fresh detection of an attacked video, on frames where it finds known faces.

    Raises:
        MediaError: If no face is found any more.
    """
    detection = detect(
        path,
        weights,
        detector=result.settings["detector"],
        crop=result.settings["crop"],
        allow_silent=True,
    )
    known = result.clips.footage.tracks
    labels = [y[g.grid_of_frame] for y, g in zip(result.speaking, result.clips.grids, strict=True)]
    scores, speaking = [], []
    for scored in detection.tracks:
        y = labels_from_tracks(scored.track, known, labels)
        scores.append(scored.scores[y >= 0])
        speaking.append(y[y >= 0])
    found = sum(len(y) for y in speaking)
    expected = sum(len(y) for y in labels)
    record: dict[str, Any] = {"frames_found": found, "frames_expected": expected}
    if not found:
        return record | {"accuracy": None, "ap": None}
    # Every label is taken as right: who was misjudged before is said elsewhere.
    right = [np.where(y == 1, 1.0, -1.0) for y in speaking]
    quality = asdict(quality_of(scores, speaking, right))
    return record | {"accuracy": quality["accuracy"], "ap": quality["ap"]}
