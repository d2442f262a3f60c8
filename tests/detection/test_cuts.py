"""Pictures that belong to one shot, and pictures that do not."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.detection.cuts import View, change, glance, kept_share, new_view

SIZE = (480, 270)


def scenery(seed, size=SIZE):
    """Blobs of all sizes."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = np.zeros((height, width, 3), np.float32)
    for cells in (4, 9, 20):
        coarse = rng.normal(size=(cells, 2 * cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    colours = np.clip(128 + 40 * image, 0, 255).astype(np.uint8)
    return cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)


def seen(image, scale, x, y):
    """A window of a picture, 1 / scale as wide, with its corner at (x, y) in shares of the rest."""
    height, width = image.shape[:2]
    w, h = width / scale, height / scale
    left, top = x * (width - w), y * (height - h)
    affine = np.array([[1 / scale, 0, left], [0, 1 / scale, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, affine, (width, height), flags=flags), (left, top)


@given(
    seed=st.integers(0, 20),
    scale=st.floats(1.0, 2.1),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
@settings(max_examples=25, deadline=None)
def test_a_zoom_is_measured_within_a_tenth(seed, scale, x, y):
    wide = scenery(seed)
    close, (left, top) = seen(wide, scale, x, y)
    view = new_view(glance(wide), glance(close))
    assert view is not None
    box = np.array([left + 0.3 * SIZE[0] / scale, top + 0.3 * SIZE[1] / scale] * 2)
    box[2:] += 40
    expected = (box - [left, top, left, top]) * scale
    assert np.abs(view.moved(box, SIZE) - expected).max() < 0.1 * SIZE[0]
    back = new_view(glance(close), glance(wide))
    assert back is not None
    assert back.scale * view.scale == pytest.approx(1, abs=0.15)


def test_different_pictures_are_neither_views_of_one_nor_kept():
    glances = [glance(scenery(seed)) for seed in range(8)]
    pairs = [(a, b) for i, a in enumerate(glances) for b in glances[:i]]
    assert [new_view(a, b) for a, b in pairs] == [None] * len(pairs)
    assert max(kept_share(a, b) for a, b in pairs) < 0.3


@pytest.mark.parametrize(("gain", "lift"), [(0.3, 0), (0.4, 150), (0.9, 25), (1.0, 0)])
def test_light_is_no_cut(gain, lift):
    before = scenery(1)
    after = np.clip(before * gain + lift, 0, 255).astype(np.uint8)
    assert kept_share(glance(before), glance(after)) > 0.9


def test_what_passes_before_the_camera_leaves_the_rest():
    before = scenery(2)
    after = before.copy()
    after[:, 100:300] = 90
    assert 0.3 < kept_share(glance(before), glance(after)) < 0.8


def test_white_keeps_nothing_and_blank_pictures_are_no_news():
    white = glance(np.full((270, 480), 255, np.uint8))
    assert kept_share(glance(scenery(3)), white) == 0
    assert kept_share(white, white) == 1
    assert new_view(white, white) is None


def test_change_is_zero_for_the_same_and_large_for_another():
    assert change(glance(scenery(4)), glance(scenery(4))) == 0
    assert change(glance(scenery(4)), glance(scenery(5))) > 20


def test_pictures_of_another_shape_are_no_view():
    assert new_view(glance(scenery(6)), glance(scenery(6, (270, 480)))) is None


def test_views_of_nothing_new_leave_boxes():
    box = np.array([1.0, 2.0, 3.0, 4.0])
    assert View(scale=1.0, x=0.0, y=0.0).moved(box, SIZE).tolist() == box.tolist()
