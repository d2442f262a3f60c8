import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from pushpull.errors import ConfigError
from pushpull.metrics.binomial import guessing_p, interval, lower_bound

counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_both_are_those_of_scipy(count):
    right, trials = count
    known = binomtest(right, trials, alternative="greater")
    assert guessing_p(right, trials) == pytest.approx(known.pvalue, abs=1e-12)
    both = binomtest(right, trials).proportion_ci(0.95, method="exact")
    assert interval(right, trials) == pytest.approx((both.low, both.high), abs=1e-9)


def test_worked_example():
    # 5 of 5: once in 32 by guessing; 0.025 ** (1 / 5) is the lower end.
    assert guessing_p(5, 5) == 1 / 32
    assert interval(5, 5) == pytest.approx((0.025**0.2, 1.0))


@pytest.mark.parametrize("count", [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(count):
    with pytest.raises(ConfigError, match="answers are right"):
        guessing_p(*count)
    with pytest.raises(ConfigError, match="answers are right"):
        interval(*count)


def test_a_level_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="level is 95"):
        interval(1, 2, level=95)


@given(st.integers(1, 400), st.floats(1e-9, 0.4), st.floats(0.01, 0.99))
def test_a_bound_is_above_the_share_no_more_often_than_it_says(trials, alpha, share):
    """Exactly, over all counts that there can be."""
    above = lower_bound(np.arange(trials + 1), trials, alpha) > share
    assert binom.pmf(np.flatnonzero(above), trials, share).sum() <= alpha * (1 + 1e-6)


def test_a_bound_of_all_is_a_root_and_bounds_rise_with_the_count():
    for alpha in (0.1, 1e-3, 1e-9):
        bounds = lower_bound(np.arange(1001), 1000, alpha)
        assert bounds[0] == 0
        assert bounds[-1] == pytest.approx(alpha ** (1 / 1000))
        assert (np.diff(bounds) > 0).all()
        assert (bounds <= np.arange(1001) / 1000).all()


def test_a_bound_of_counts_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="11 of 10 answers are right"):
        lower_bound([3, 11], 10, 0.1)
    with pytest.raises(ConfigError, match="alpha is 0"):
        lower_bound([3], 10, 0.0)
