import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pushpull.app.binomial import guessing_p, interval
from pushpull.errors import ConfigError

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
