"""Written videos given to detection from nothing: new faces, new crops, new scores."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from pushpull.detection import detect
from pushpull.media import read_frames
from pushpull.models.detector import Detector
from pushpull.video_attacks.labels import labels_from_tracks
from pushpull.video_attacks.variants import Variant

__all__ = ["redetect"]


def redetect(
    path: str | os.PathLike[str],
    detector: Detector,
    clean: Variant,
    *,
    face_finder: str = "auto",
    crop: str = "auto",
) -> dict[str, Any]:
    """How right a fresh detection of an attacked video is, on frames where it finds known faces.

    A video in which no face is found any more is a result, too: no frames, no accuracy.

    Args:
        path: The attacked video.
        detector: What looks for speakers in it.
        clean: The clean video, whose faces are known and labelled.
        face_finder: As for `detect`.
        crop: As for `detect`.

    Examples:
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks import redetect
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> detector = pp.load("synthetic-a")
        >>> how = {"face_finder": "dlib", "space": "frame"}
        >>> found = pp.attack_video("talk.mp4", detector, "fgsm", modality="visual", **how)
        >>> path = found.save("out")["adversarial.mp4"]
        >>> record = redetect(path, detector, found.clean, face_finder="dlib")
        >>> record["frames_found"], record["frames_expected"]
        (10, 10)
    """
    clips, labels = clean.clips, clean.labels
    # What is written begins with the first frame of the part.
    first = next(read_frames(clips.path, part=clips.part, on_damage=lambda line: None)).index
    known = [replace(track, frames=track.frames - first) for track in clips.tracks]
    detection = detect(path, detector, face_finder=face_finder, crop=crop, allow_silent=True)
    truth = np.concatenate(
        [
            *(labels_from_tracks(scored.track, known, labels) for scored in detection.tracks),
            np.zeros(0, np.int64),
        ]
    )
    found = replace(detection.frame_scores, speaking=truth == 1).subset(truth >= 0)
    said = {} if detection.tracks else {"notes": list(detection.notes)}
    return {
        "frames_found": len(found),
        "frames_expected": sum(len(y) for y in labels),
        "accuracy": found.accuracy,
        "average_precision": found.average_precision,
        **said,
    }
