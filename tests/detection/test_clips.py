"""Crops by convention and the time grid of a clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.detection.clips import CROPS, clip_grid, crop_faces, crop_tracks, unbroken
from pushpull.media import Frame
from pushpull.schema import Track

BOXES = np.array([[40.0, 30, 100, 110]])


def ramp(width=200, height=160):
    """Grey level = column / 2 + row / 2."""
    return ((np.arange(width)[None] + np.arange(height)[:, None]) / 2).astype(np.uint8)


def test_the_ava_crop_is_the_whole_box():
    (face,) = crop_faces(ramp(), BOXES, CROPS["ava"])
    # Corner pixels lie half a crop pixel inside the box.
    assert face[0, 0] == pytest.approx((40 + 30) / 2, abs=1)
    assert face[-1, -1] == pytest.approx((99 + 109) / 2, abs=1)
    assert face.shape == (112, 112)


def test_the_demo_crop_is_the_published_lower_face():
    # Half the longer side is 40 around (70, 70): x from 42 to 98, y from 58 to 114.
    assert CROPS["demo"].windows(BOXES)[0] == pytest.approx([42, 58, 98, 114])


def test_beyond_the_picture_is_the_published_grey():
    face = crop_faces(ramp(), np.array([[-80.0, -80, -10, -10]]), CROPS["ava"])[0]
    assert (face == 110).all()


@given(
    st.integers(0, 60),
    st.integers(0, 30),
    st.sampled_from(sorted(CROPS)),
    st.sampled_from([30, 60, 112, 150]),
)
def test_moving_picture_and_box_together_changes_nothing(dx, dy, name, side):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (400, 420), dtype=np.uint8)
    box = np.array([[100.0, 90, 100 + side, 90 + side]])
    moved = np.roll(image, (dy, dx), (0, 1))
    face = crop_faces(image, box, CROPS[name])
    again = crop_faces(moved, box + np.array([dx, dy, dx, dy]), CROPS[name])
    # OpenCV samples on a grid of 1/32 pixel, which on noise is a step of up to 255 / 32.
    assert np.abs(again.astype(int) - face).max() <= 8


def test_a_picture_twice_as_large_gives_the_same_crop():
    smooth = 120 + 60 * np.sin(np.arange(200) / 17)[None] * np.cos(np.arange(160) / 13)[:, None]
    image = smooth.astype(np.uint8)
    large = image.repeat(2, 0).repeat(2, 1)
    small_face = crop_faces(image, BOXES, CROPS["ava"])[0].astype(int)
    large_face = crop_faces(large, BOXES * 2, CROPS["ava"])[0].astype(int)
    assert np.abs(small_face - large_face).mean() < 2


def test_fine_patterns_are_averaged_not_sampled():
    stripes = np.zeros((600, 600), np.uint8)
    stripes[:, ::2] = 255
    face = crop_faces(stripes, np.array([[20.0, 20, 580, 580]]), CROPS["ava"])[0]
    assert np.abs(face.astype(int) - 127).max() < 40


def test_all_tracks_are_cut_in_one_pass_in_time_order():
    def track(number, first, n):
        return Track(
            track_id=number,
            frames=np.arange(first, first + n),
            timestamps_s=np.arange(first, first + n) / 25,
            boxes=np.tile(BOXES + 10 * number, (n, 1)),
            detected=np.ones(n, bool),
        )

    frames = (Frame.from_rgb(i, i / 25, np.full((160, 200, 3), 10 * i, np.uint8)) for i in range(6))
    cut = list(crop_tracks(frames, [track(0, 0, 3), track(1, 2, 4)], CROPS["ava"]))
    assert [(t, f) for t, f, _ in cut] == [(0, 0), (0, 1), (0, 2), (1, 2), (1, 3), (1, 4), (1, 5)]
    assert [int(face.mean()) for _, _, face in cut] == [0, 10, 20, 20, 30, 40, 50]


@pytest.mark.parametrize("fps", [15, 23.976, 24, 25, 29.97, 30])
def test_a_constant_rate_is_kept_frame_by_frame(fps):
    times = 7.3 + np.round(np.arange(100) / fps, 3)
    grid = clip_grid(times)
    assert grid.fps == pytest.approx(fps, rel=1e-3)
    assert np.array_equal(grid.frame_of_grid, np.arange(100))
    assert np.array_equal(grid.grid_of_frame, np.arange(100))


@pytest.mark.parametrize("fps", [8, 50, 60, 120])
def test_rates_far_from_training_are_shown_at_25(fps):
    grid = clip_grid(np.arange(240) / fps)
    assert grid.fps == 25
    assert len(grid.frame_of_grid) == round(240 / fps * 25)


@given(st.lists(st.floats(0.005, 0.4), min_size=1, max_size=60))
def test_grid_and_frames_point_at_each_other_in_time(gaps):
    times = np.cumsum(gaps)
    grid = clip_grid(times)
    assert len(grid.grid_of_frame) == len(times)
    assert (np.diff(grid.frame_of_grid) >= 0).all()
    assert (np.diff(grid.grid_of_frame) >= 0).all()
    assert grid.grid_of_frame.max() < len(grid.frame_of_grid)
    shown = times[grid.frame_of_grid] - times[0]
    wanted = np.arange(len(shown)) / grid.fps
    nearest = np.abs((times - times[0])[None] - wanted[:, None]).min(1)
    if grid.fps == 25 and len(times) > 1:
        assert np.abs(shown - wanted) == pytest.approx(nearest, abs=0.011)


def test_one_frame_is_a_grid_of_one():
    grid = clip_grid(np.array([3.0]))
    assert (grid.frame_of_grid.tolist(), grid.grid_of_frame.tolist()) == ([0], [0])


def test_a_track_with_holes_is_shown_in_parts_and_no_picture_stands_for_more_than_a_second():
    times = np.concatenate([np.arange(50) / 25, 5 + np.arange(50) / 25, 30 + np.arange(3) * 10.0])
    n = len(times)
    track = Track(
        track_id=3,
        frames=np.arange(10, 10 + n),
        timestamps_s=times,
        boxes=np.tile([10.0, 10, 60, 70], (n, 1)),
        detected=np.ones(n, bool),
    )
    parts = unbroken(track)
    assert [len(part) for part, _ in parts] == [50, 50, 1, 1, 1]
    assert np.concatenate([part.frames for part, _ in parts]).tolist() == track.frames.tolist()
    assert {part.track_id for part, _ in parts} == {3}
    shown = sum(len(grid.frame_of_grid) / grid.fps for _, grid in parts)
    assert shown == pytest.approx(4.0 + 3 * 0.04, abs=1e-6)


def test_slides_are_not_repeated_for_minutes():
    track = Track(
        track_id=0,
        frames=np.arange(30),
        timestamps_s=np.arange(30) * 10.0,
        boxes=np.tile([10.0, 10, 60, 70], (30, 1)),
        detected=np.ones(30, bool),
    )
    assert sum(len(grid.frame_of_grid) for _, grid in unbroken(track)) == 30 * 25
