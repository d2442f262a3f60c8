"""Turns from scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.detection import ScoredTrack, Turn, turns_of
from pushpull.schema import Track


def at(fps, n, start_s=0.0):
    return start_s + np.arange(n) / fps


def test_a_turn_begins_with_its_first_frame_and_ends_when_its_last_is_over():
    scores = np.array([-3.0] * 10 + [3.0] * 25 + [-3.0] * 15)
    assert turns_of(at(25, 50, start_s=2.0), scores) == [
        Turn(pytest.approx(2.4), pytest.approx(3.4))
    ]


def test_a_short_pause_belongs_to_the_turn_and_a_long_one_parts_two():
    voice, pause = [3.0] * 20, [-3.0]
    scores = np.array(voice + pause * 6 + voice + pause * 20 + voice)
    turns = turns_of(at(25, len(scores)), scores)
    assert [(t.start_s, t.end_s) for t in turns] == [
        (0, pytest.approx(46 / 25)),
        (pytest.approx(66 / 25), pytest.approx(86 / 25)),
    ]


def test_a_single_high_frame_is_no_turn():
    scores = np.full(50, -2.0)
    scores[20] = 4.0
    assert turns_of(at(25, 50), scores) == []


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=120), st.sampled_from([15, 25, 29.97, 60]))
def test_turns_are_ordered_apart_and_inside_the_track(scores, fps):
    times = at(fps, len(scores), start_s=1.0)
    turns = turns_of(times, np.array(scores))
    edges = [x for turn in turns for x in (turn.start_s, turn.end_s)]
    assert edges == sorted(edges)
    assert all(turn.end_s - turn.start_s >= 0.2 - 1e-6 for turn in turns)
    frame_s = 1 / fps if len(scores) > 1 else 0.04
    assert not edges or (edges[0] >= 1.0 and edges[-1] <= times[-1] + frame_s + 1e-9)


def test_probabilities_are_the_softmax_of_the_two_logits_without_overflow():
    track = Track(
        track_id=0,
        frames=np.arange(4),
        timestamps_s=at(25, 4),
        boxes=np.tile([0.0, 0, 10, 10], (4, 1)),
        detected=np.ones(4, bool),
    )
    scored = ScoredTrack(track=track, scores=np.array([0.0, np.log(3), 1e6, -1e6]))
    assert scored.probabilities.tolist() == pytest.approx([0.5, 0.75, 1, 0])
    assert scored.speaking.tolist() == [False, True, True, False]
