"""Turns from scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.detection import ScoredTrack, Turn, TurnRules, frame_lengths_s, turns_of
from pushpull.errors import ConfigError
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


@pytest.mark.parametrize("pause_s", [0.4, 1.0, 3.0, 60.0])
def test_over_a_hole_nobody_speaks(pause_s):
    times = np.concatenate([at(25, 75), at(25, 100, start_s=3.0 + pause_s)])
    turns = turns_of(times, np.full(175, 3.0))
    assert turns == [
        Turn(0.0, pytest.approx(3.0)),
        Turn(pytest.approx(3.0 + pause_s), pytest.approx(7.0 + pause_s)),
    ]


def test_a_last_frame_that_is_stamped_late_speaks_for_its_own_length():
    times = np.append(at(25, 99), 23.96)
    assert turns_of(times, np.full(100, 3.0)) == [Turn(0.0, pytest.approx(3.96))]
    assert frame_lengths_s(times)[-2:] == pytest.approx([0.04, 0.04])


def test_slides_say_no_more_than_a_second_each():
    assert frame_lengths_s(np.arange(5) * 10.0).tolist() == [1.0] * 5
    assert frame_lengths_s(np.array([2.0])).tolist() == [0.04]


@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=50))
def test_frames_never_overlap_and_last_no_longer_than_a_second(steps):
    times = np.concatenate([[0.0], np.cumsum(steps)])
    lengths = frame_lengths_s(times)
    assert (lengths > 0).all()
    assert (lengths <= 1.0).all()
    assert (times[:-1] + lengths[:-1] <= times[1:] + 1e-9).all()


def test_the_threshold_is_a_probability():
    scores = np.repeat(np.log([0.4 / 0.6, 0.6 / 0.4, 0.8 / 0.2]), 25)
    ends = [
        [(t.start_s, t.end_s) for t in turns_of(at(25, 75), scores, TurnRules(threshold=p))]
        for p in (0.3, 0.5, 0.7)
    ]
    starts = [turns[0][0] for turns in ends]
    assert starts == pytest.approx([0.0, 1.0, 2.0], abs=0.081)
    assert all(turns[-1][1] == pytest.approx(3.0) for turns in ends)


def test_with_hysteresis_a_turn_goes_on_but_does_not_begin_lower():
    scores = np.repeat(np.log([0.45 / 0.55, 0.9 / 0.1, 0.45 / 0.55, 0.2 / 0.8]), 25)
    rules = TurnRules(hysteresis=0.1, smoothing_s=0.0)
    assert turns_of(at(25, 100), scores, rules) == [Turn(1.0, 3.0)]
    assert turns_of(at(25, 100), scores, TurnRules(smoothing_s=0.0)) == [Turn(1.0, 2.0)]


def test_the_shortest_turn_and_the_longest_pause_are_rules():
    scores = np.array(([3.0] * 5 + [-3.0] * 10) * 3)
    short = TurnRules(shortest_s=0.0, longest_pause_s=0.0, smoothing_s=0.0)
    assert len(turns_of(at(25, 45), scores, short)) == 3
    long = TurnRules(shortest_s=0.3, longest_pause_s=0.0, smoothing_s=0.0)
    assert turns_of(at(25, 45), scores, long) == []
    bridged = TurnRules(longest_pause_s=0.5, smoothing_s=0.0)
    assert len(turns_of(at(25, 45), scores, bridged)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"threshold": np.nan},
        {"hysteresis": 0.5},
        {"hysteresis": -0.1},
        {"shortest_s": -1.0},
        {"longest_pause_s": np.inf},
    ],
)
def test_rules_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        TurnRules(**wrong)


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


def face(scores, elsewhen):
    n = len(scores)
    track = Track(
        track_id=0,
        frames=np.arange(n),
        timestamps_s=at(25, n),
        boxes=np.array([[10.0, 10.0, 60.0, 70.0]] * n),
        detected=np.ones(n, bool),
    )
    return ScoredTrack(track=track, scores=np.asarray(scores), elsewhen=elsewhen)


def test_agreement_is_the_score_less_the_best_of_another_time():
    scores = np.array([-3.0] * 10 + [4.0] * 30 + [-3.0] * 10)
    elsewhen = np.full((6, 50), -2.0)
    elsewhen[2, 10:40] = 1.5
    elsewhen[5] = np.nan
    scored = face(scores, elsewhen)
    [turn] = scored.turns
    assert scored.agreement(turn) == pytest.approx(4.0 - 1.5)


def test_agreement_is_said_only_where_there_is_something_to_compare():
    scores, times = np.full(50, 3.0), np.zeros((6, 50))
    assert face(scores, None).agreement(Turn(0.0, 2.0)) is None
    assert face(scores, times).agreement(Turn(0.0, 0.4)) is None
    times[3:] = np.nan
    assert face(scores, times).agreement(Turn(0.0, 2.0)) is None


@given(
    st.lists(st.floats(-5, 5), min_size=40, max_size=40),
    st.integers(0, 2**32 - 1),
    st.floats(-3, 3),
)
def test_what_is_added_to_all_scores_changes_no_agreement(scores, seed, more):
    elsewhen = np.random.default_rng(seed).normal(size=(8, 40))
    turn = Turn(0.0, 1.6)
    before = face(scores, elsewhen).agreement(turn)
    after = face(np.array(scores) + more, elsewhen + more).agreement(turn)
    assert after == pytest.approx(before, abs=1e-9)
    # The order of the other times is nothing.
    assert face(scores, elsewhen[::-1]).agreement(turn) == pytest.approx(before, abs=1e-12)
