"""A synthetic video of two people, found and cut once for all tests."""

import pytest

from pushpull.detection import find_faces, read_clips
from pushpull.detection.clips import CROPS
from pushpull.synthetic import demo_video


@pytest.fixture(scope="session")
def two_people_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    demo_video(path, seed=0, duration_s=1.0)
    return path


@pytest.fixture(scope="session")
def two_people(two_people_video):
    return read_clips(find_faces(two_people_video, face_finder="dlib"), CROPS["ava"])
