"""Portraits: known again in other light and beside where they were, unlike others'."""

import numpy as np
import pytest

from pushpull.detection.appearance import likeness, portrait


def picture(seed):
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 255, (12, 16, 3), np.uint8), np.ones((10, 10, 1), np.uint8))


BOX = np.array([60.0, 30.0, 90.0, 70.0])


def test_the_same_face_is_like_itself_in_other_light():
    light, dark = picture(0), (picture(0) // 4 + 10).astype(np.uint8)
    assert likeness(portrait(light, BOX), portrait(dark, BOX)) > 0.95


def test_other_pictures_are_not_alike():
    portraits = [portrait(picture(seed), BOX) for seed in range(12)]
    others = [likeness(a, b) for i, a in enumerate(portraits) for b in portraits[:i]]
    assert max(others) < 0.6


@pytest.mark.parametrize("step", [(2, 0), (-2, 1), (0, -2), (1, 2)])
def test_boxes_may_jitter_by_a_few_hundredths_of_a_face(step):
    image = picture(1)
    beside = BOX + np.tile(step, 2)
    assert likeness(portrait(image, BOX), portrait(image, beside)) > 0.7


def test_size_does_not_matter():
    import cv2

    large = cv2.resize(picture(2), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    assert likeness(portrait(picture(2), BOX), portrait(large, 2 * BOX)) > 0.95


@pytest.mark.parametrize(
    "box", [(-20, -20, 20, 30), (140, 100, 180, 150), (-400, -400, -300, -300), (0, 0, 2, 2)]
)
def test_boxes_at_and_beyond_the_border_have_portraits(box):
    assert portrait(picture(3), np.array(box, float)).shape == (28, 28, 3)


def test_a_blank_portrait_is_like_nothing():
    blank = np.zeros((28, 28, 3), np.uint8)
    assert likeness(blank, blank) <= 1.0
    assert likeness(portrait(picture(4), BOX), blank) < 0.5
