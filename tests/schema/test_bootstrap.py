"""Intervals over tracks drawn again: a draw of all alike, coverage, and differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.errors import ShapeError
from pushpull.metrics import (
    average_precision,
    bootstrap_difference,
    bootstrap_precision,
    bootstrap_share,
)


@given(st.integers(0, 500), st.integers(2, 12))
def test_a_draw_of_every_track_once_is_the_score_itself(seed, n_tracks) -> None:
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(n_tracks), 6)
    score, speaking = rng.normal(size=len(of)), rng.uniform(size=len(of)) < 0.4
    speaking[:6] = True
    # All tracks alike: every draw of them is the same sample.
    score, speaking = np.tile(score[:6], n_tracks), np.tile(speaking[:6], n_tracks)
    score = score + np.repeat(np.arange(n_tracks), 6) * 1e-9
    low, high = bootstrap_precision(score, speaking, of, draws=20)
    assert low == high == pytest.approx(average_precision(score, speaking))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)

    def sample(n_tracks):
        # Frames of a track share most of their luck.
        luck = np.repeat(rng.normal(size=n_tracks), 10)
        speaking = np.repeat(rng.uniform(size=n_tracks) < 0.5, 10)
        score = 1.2 * speaking + 0.9 * luck + 0.4 * rng.normal(size=10 * n_tracks)
        return score, speaking, np.repeat(np.arange(n_tracks), 10)

    truth = average_precision(*sample(20_000)[:2])
    inside = 0
    for _ in range(100):
        low, high = bootstrap_precision(*sample(60), draws=200)
        inside += low <= truth <= high
    assert 85 <= inside <= 100
    # Frames taken for independent would be far too sure.
    score, speaking, of = sample(60)
    by_track = bootstrap_precision(score, speaking, of)
    by_frame = bootstrap_precision(score, speaking, np.arange(len(score)))
    assert by_track[1] - by_track[0] > 1.5 * (by_frame[1] - by_frame[0])


def test_bootstrap_refuses_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="expected"):
        bootstrap_precision([1.0, 2.0], [True, False], [0])
    with pytest.raises(ShapeError, match="is positive"):
        bootstrap_precision([1.0, 2.0], [False, False], [0, 1])


@given(st.integers(0, 200))
def test_differences_turn_their_sign_with_the_order(seed) -> None:
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(8), 5)
    speaking = rng.uniform(size=40) < 0.5
    speaking[::5] = True
    one, two = rng.normal(size=(2, 40))
    low, high = bootstrap_difference(one, two, speaking, of, draws=50)
    turned = bootstrap_difference(two, one, speaking, of, draws=50)
    assert (-high, -low) == pytest.approx(turned, abs=1e-12)
    assert -1 <= low <= high <= 1


@given(st.lists(st.booleans(), min_size=2, max_size=12), st.integers(0, 99))
def test_a_share_of_tracks_of_one_frame_is_that_of_a_plain_bootstrap(right, seed) -> None:
    low, high = bootstrap_share(right, np.arange(len(right)), draws=300, seed=seed)
    assert 0 <= low <= np.mean(right) + 1e-9
    assert np.mean(right) - 1e-9 <= high <= 1
    # Numbers are names only, and a track has the weight of its frames.
    names = np.arange(len(right))[::-1] * 7 + 3
    doubled = bootstrap_share(np.repeat(right, 2), np.repeat(names, 2), draws=300, seed=seed)
    assert (np.array(doubled) >= 0).all()
    assert bootstrap_share(right, [5] * len(right), draws=10) == (np.mean(right),) * 2


def test_an_interval_of_a_share_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        of = np.repeat(np.arange(40), rng.integers(5, 15, size=40))
        right = rng.uniform(size=len(of)) < rng.beta(2, 1, size=40)[of]
        low, high = bootstrap_share(right, of, draws=200)
        inside += low <= 2 / 3 <= high
    assert 175 <= inside <= 198


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"values is \(0,\)"):
        bootstrap_share([], [])
    with pytest.raises(ShapeError, match=r"track is|track \(2,\)"):
        bootstrap_share([True], [0, 1])
