"""Faces drawn frame by frame."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from pushpull.synthetic.articulation import Mouth
from pushpull.synthetic.face import Face, layer, paint
from pushpull.synthetic.looks import HAIR_STYLES, draw_looks
from pushpull.synthetic.motion import Motion, draw_motion
from pushpull.synthetic.shading import Light
from pushpull.synthetic.view import Pose, face_box, view_of

SCALE = 40.0
SIZE = (160, 180)
STILL = Pose(x=80.0, y=90.0, scale=SCALE)


@pytest.fixture(scope="module")
def looks():
    return replace(
        draw_looks(np.random.default_rng(0), feminine=0.0),
        hair_style="short",
        glasses=False,
        beard=0.0,
        skin=(0.88, 0.69, 0.56),
    )


@pytest.fixture(scope="module")
def face(looks):
    return Face(looks, Light(), SCALE)


def mouth(n=1, **values):
    zeros = {name: np.zeros(n) for name in Mouth.__dataclass_fields__}
    return Mouth(**{**zeros, **{k: np.broadcast_to(v, n).astype(float) for k, v in values.items()}})


def motion(n=1, **values):
    zeros = {name: np.zeros(n) for name in Motion.__dataclass_fields__}
    ones = {"zoom": np.ones(n), "lids": np.ones(n)}
    changed = {k: np.broadcast_to(v, n).astype(float) for k, v in values.items()}
    return Motion(**{**zeros, **ones, **changed})


def picture(face, lips, moved=None, pose=STILL):
    """One frame on grey."""
    image = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    (canvas,) = (c.copy() for c in face.frontal(lips, moved or motion()))
    view_of(face, pose, SIZE).place(image, canvas)
    return image


def mouth_darkness(image):
    """Number of dark pixels where the mouth is."""
    part = image[105:150, 60:100].mean(2)
    return int((part < 60).sum())


def test_the_wider_the_lips_part_the_larger_the_dark_between_them(face):
    dark = [mouth_darkness(picture(face, mouth(gap=g, jaw=g))) for g in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert dark[0] < 5
    assert all(a < b for a, b in itertools.pairwise(dark))
    assert dark[-1] > 60


def test_rounded_lips_are_narrower_than_spread_ones(face):
    def width(**shape):
        closed = picture(face, mouth()).astype(int)
        moved = picture(face, mouth(gap=0.3, **shape)).astype(int)
        changed = np.abs(moved - closed).max(2)[105:150] > 40
        return int(changed.any(0).sum())

    assert width(rounding=1.0, width=-1.0) < width(width=1.0) - 3


def test_the_chin_goes_down_with_the_jaw(face):
    def lowest(jaw):
        (canvas,) = (c.copy() for c in face.frontal(mouth(jaw=jaw), motion()))
        return int(np.flatnonzero(canvas[:, canvas.shape[1] // 2, 3] > 128)[-1])

    assert lowest(1.0) - lowest(0.0) == pytest.approx(0.26 * SCALE, abs=1.5)


def test_closed_lids_hide_the_eyes(face):
    def iris(lids):
        image = picture(face, mouth(), motion(lids=lids))
        return int((image[72:84, 92:104].mean(2) < 70).sum())

    assert iris(0.0) < iris(1.0) / 2


def test_the_nose_moves_more_than_the_ears_when_the_head_turns(face):
    def sees(yaw, x, y):
        """Which column of the canvas a pixel shows, relative to the unturned head."""
        turned = view_of(face, replace(STILL, yaw=yaw), SIZE)
        still = view_of(face, STILL, SIZE)
        row, column = y - turned.rows.start, x - turned.columns.start
        return float(still.map_x[row, column] - turned.map_x[row, column])

    nose = sees(0.25, 80, 100)
    rim = sees(0.25, 80 - 38, 90)
    assert nose > 6
    assert abs(rim) < nose / 3


def test_a_head_that_is_not_turned_is_seen_as_drawn(face):
    view = view_of(face, STILL, SIZE)
    rows, columns = np.mgrid[view.rows, view.columns]
    # The pivot lies 1.7 units from the left and 2.25 units from the top of the canvas.
    np.testing.assert_allclose(view.map_x, columns - 80 + 1.7 * SCALE - 0.5, atol=1e-2)
    np.testing.assert_allclose(view.map_y, rows - 90 + 2.25 * SCALE - 0.5, atol=1e-2)


def test_a_face_partly_or_wholly_outside_the_picture_is_cut_off(face):
    inside = picture(face, mouth())
    shifted = picture(face, mouth(), pose=replace(STILL, x=20.0))
    # The same points of the head, up to rounding in the warp.
    assert np.abs(shifted[:, :100].astype(int) - inside[:, 60:]).max() <= 1
    outside = picture(face, mouth(), pose=replace(STILL, x=-500.0))
    assert (outside == 128).all()


def test_frames_do_not_depend_on_the_frames_around_them(face):
    rng = np.random.default_rng(2)
    lips = mouth(20, gap=rng.uniform(0, 1, 20), width=rng.uniform(-1, 1, 20))
    moved = draw_motion(rng, np.arange(20) / 25, lips)
    together = [c.copy() for c in face.frontal(lips, moved)]
    assert len(together) == 20
    for i in (0, 7, 8, 19):
        one = {n: getattr(lips, n)[i : i + 1] for n in Mouth.__dataclass_fields__}
        its = {n: getattr(moved, n)[i : i + 1] for n in Motion.__dataclass_fields__}
        (alone,) = (c.copy() for c in face.frontal(Mouth(**one), Motion(**its)))
        # A mouth is drawn on a patch that fits the widest of its block: faint shade may be cut.
        assert np.abs(alone.astype(int) - together[i]).max() <= 1


def test_the_box_follows_the_head():
    still = face_box(STILL)
    moved = face_box(replace(STILL, x=90.0, y=85.0))
    np.testing.assert_allclose(moved - still, [10, -5, 10, -5])
    larger = face_box(replace(STILL, scale=2 * SCALE))
    assert larger[2] - larger[0] == pytest.approx(2 * (still[2] - still[0]))
    opened = face_box(STILL, jaw=0.2)
    np.testing.assert_allclose(opened - still, [0, 0, 0, 0.2 * SCALE], atol=0.1)


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_every_hair_style_can_be_drawn(looks, style):
    head = Face(replace(looks, hair_style=style, glasses=True, beard=0.5), Light(), 20.0)
    (canvas,) = (c.copy() for c in head.frontal(mouth(), motion()))
    # Colours are multiplied by coverage, so none exceeds it.
    assert (canvas[..., :3] <= canvas[..., 3:]).all()
    assert (canvas[..., 3] == 255).any()
    assert (head.back is not None) == (style in {"bob", "long"})


def test_painting_half_transparent_over_grey_is_the_mean():
    above = layer(np.ones((2, 2, 3), np.float32), np.full((2, 2), 0.5, np.float32))
    below = np.full((2, 2, 3), 100, np.uint8)
    paint(below, above)
    np.testing.assert_allclose(below, (255 + 100) / 2, atol=1)


def test_blinks_and_glances_happen_and_the_head_sways():
    times_s = np.arange(500) / 25
    moved = draw_motion(np.random.default_rng(0), times_s, mouth(500))
    assert moved.lids.min() < 0.2
    assert 3 <= (np.diff((moved.lids < 0.5).astype(int)) == 1).sum() <= 10
    assert moved.gaze_x.std() > 0.05
    assert 0.01 < moved.yaw.std() < 0.2
    calm = draw_motion(np.random.default_rng(0), times_s, mouth(500), liveliness=0.0)
    assert not calm.yaw.any()
