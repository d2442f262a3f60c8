"""Means, differences and decisions: laws, and that they are not bolder than the data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.reproduce.contrasts import (
    LEARNT,
    decide,
    drawn_chance,
    drawn_mean,
    interval,
    learnt,
    mean_of,
)
from pushpull.schema import FrameScores


def noisy(seed: int, quality: float, tracks: int = 30, frames: int = 8) -> FrameScores:
    """Scores that are right the more often, the higher the quality; tracks are 3 in 4 alike."""
    truth = np.random.default_rng(7).random((tracks, frames)) > 0.6
    rng = np.random.default_rng(seed)
    signs = np.where(truth, 1.0, -1.0)
    score = quality * signs + rng.standard_normal((tracks, frames))
    return FrameScores.of_tracks(list(score), list(truth))


def test_a_mean_lies_in_its_interval_and_more_seeds_are_more_sure() -> None:
    several = [noisy(seed, 1.0) for seed in range(4)]
    mean = mean_of(several)
    low, high = interval(drawn_mean(several))
    assert low < mean < high
    alone = interval(drawn_mean(several[:1]))
    assert high - low < alone[1] - alone[0]


@given(st.integers(0, 200), st.floats(0.2, 2.0))
def test_nothing_is_decided_between_a_detector_and_itself(seed, quality) -> None:
    scores = noisy(seed, quality)
    drawn = drawn_mean([scores], seed=1) - drawn_mean([scores], seed=2)
    # One training each, on the same draws of tracks: no difference at all.
    assert np.abs(drawn).max() == 0
    assert decide(interval(drawn)) == "open"


def test_of_equals_a_twentieth_is_decided_and_of_unequals_nearly_all() -> None:
    said = {"equal": [], "better": []}
    for trial in range(60):
        a, b = noisy(1000 + trial, 0.7), noisy(2000 + trial, 0.7)
        better = noisy(3000 + trial, 1.6)
        for kind, other in (("equal", b), ("better", better)):
            ends = interval(drawn_mean([other]) - drawn_mean([a]))
            said[kind].append(decide(ends))
    assert said["equal"].count("open") >= 50
    assert said["better"].count("yes") >= 55


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1))
def test_a_decision_is_never_stronger_than_its_interval(low, width, threshold) -> None:
    decided = decide([low, low + width], threshold)
    if decided == "yes":
        assert low > threshold
    elif decided == "no":
        assert low + width < threshold
    else:
        assert low <= threshold <= low + width


@pytest.mark.parametrize("score", [1.0, -1.0])
def test_a_constant_detector_has_not_learnt(score) -> None:
    scores = noisy(0, 1.0)
    constant = FrameScores(
        score=np.full(len(scores), score), speaking=scores.speaking, track=scores.track
    )
    assert not learnt([constant])
    assert not learnt([noisy(1, 0.0)])
    assert learnt([scores])
    # AVA's measure flatters ties a little: less than has to be learnt.
    flattered = drawn_mean([constant]) - drawn_chance(constant)
    assert np.mean(flattered) < LEARNT
