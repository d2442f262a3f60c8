"""Boxes between sightings: straight ways stay straight, jitter goes, movement stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.detection.paths import whole_track

BOX = np.array([100.0, 100.0, 150.0, 165.0])


def boxes_at(x, y=0.0):
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    return BOX + np.stack([x, y, x, y], axis=1)


@given(speed=st.floats(-500, 500), fps=st.sampled_from([10, 12.5, 25, 30, 60]))
def test_constant_speed_is_kept_exactly(speed, fps):
    times_s = np.arange(round(2 * fps)) / fps
    keys = np.unique(np.r_[np.arange(0, len(times_s), 5), len(times_s) - 1])
    track = whole_track(3, keys, boxes_at(speed * times_s[keys]), times_s)
    assert track.track_id == 3
    assert track.frames.tolist() == list(range(len(times_s)))
    assert track.boxes == pytest.approx(boxes_at(speed * times_s), abs=1e-6)
    assert np.flatnonzero(track.detected).tolist() == keys.tolist()


def test_jitter_of_a_face_that_stands_is_taken_away():
    rng = np.random.default_rng(0)
    times_s, keys = np.arange(200) / 25, np.arange(0, 200, 5)
    jitter = rng.normal(0, 1, (len(keys), 2))
    track = whole_track(0, keys, boxes_at(*jitter.T), times_s)
    assert (track.boxes - BOX).std() < 0.6
    assert np.abs(np.diff(track.boxes, axis=0)).max() < 0.5


@pytest.mark.parametrize("rate_hz", [1.0, 2.0, 3.0])
def test_a_shake_is_not_smoothed_away(rate_hz):
    times_s = np.arange(100) / 25
    way = 20 * np.sin(2 * np.pi * rate_hz * times_s)
    track = whole_track(0, np.arange(100), boxes_at(way), times_s)
    assert np.abs(track.boxes[10:-10, 0] - BOX[0] - way[10:-10]).max() < 5


def test_a_single_wrong_look_is_no_movement():
    times_s = np.arange(50) / 25
    boxes = boxes_at(np.zeros(50))
    boxes[25] += [30, 30, 30, 30]
    track = whole_track(0, np.arange(50), boxes, times_s)
    assert np.abs(track.boxes - BOX).max() < 0.5


def test_tracks_of_one_and_of_two_frames():
    times_s = np.arange(5) / 25
    assert whole_track(0, np.array([3]), boxes_at([7.0]), times_s).boxes[0, 0] == 107
    two = whole_track(0, np.array([3, 4]), boxes_at([0.0, 8.0]), times_s)
    assert two.boxes[:, 0].tolist() == [100, 108]
