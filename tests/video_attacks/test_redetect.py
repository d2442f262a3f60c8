"""A written video is given to detection from nothing."""

import numpy as np
import pytest
from support.media_files import make_video

from pushpull.models.weights import resolve_detector
from pushpull.video_attacks import redetect


@pytest.fixture
def detector(checkpoint):
    return resolve_detector(checkpoint, device="cpu")


def test_the_clean_video_itself_is_right_throughout(attacked, talking, detector):
    found = redetect(talking, detector, attacked.clean, face_finder="dlib")
    assert found == {
        "frames_found": 25,
        "frames_expected": 25,
        "accuracy": 1.0,
        "average_precision": 1.0 if attacked.clean.as_found.truth.any() else None,
    }


def test_a_face_that_is_not_found_again_is_a_result(attacked, detector, tmp_path):
    grey = make_video(
        tmp_path / "grey.mp4",
        size=(320, 240),
        picture=lambda i: np.full((240, 320, 3), 90, np.uint8),
    )
    found = redetect(grey, detector, attacked.clean, face_finder="dlib")
    assert "no face was found" in found.pop("notes")[-1]
    assert found == {
        "frames_found": 0, "frames_expected": 25, "accuracy": None, "average_precision": None,
    }  # fmt: skip
