"""A synthetic video of two people, found and cut once, and attacked once in each space."""

import pytest

from pushpull.detection import find_faces, read_clips
from pushpull.detection.clips import CROPS
from pushpull.synthetic import demo_video
from pushpull.video_attacks import SPACES, attack_video
from pushpull.video_attacks.segments import segments_of


@pytest.fixture(scope="session")
def two_people_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    demo_video(path, seed=0, duration_s=1.0)
    return path


@pytest.fixture(scope="session")
def two_people(two_people_video):
    return read_clips(find_faces(two_people_video, face_finder="dlib"), CROPS["ava"])


@pytest.fixture(scope="session")
def crop_segment(two_people):
    (found,) = segments_of(two_people, SPACES["crop"])
    return found


@pytest.fixture(scope="session")
def frame_segment(two_people):
    (found,) = segments_of(two_people, SPACES["frame"])
    return found


@pytest.fixture(scope="session", params=["crop", "frame"])
def attacked(request, talking, checkpoint):
    """An adversary of one talking face, whose every pixel moves by 2 levels."""
    return attack_video(
        talking, checkpoint, attack="fgsm", eps=20, face_finder="dlib", space=request.param
    )
