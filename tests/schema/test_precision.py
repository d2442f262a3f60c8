"""Average precision: a worked example, the definition, and laws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.errors import ShapeError
from pushpull.metrics import average_precision, precision_range


def test_speaking_not_audible_counts_as_negative_in_the_worked_example():
    speaking = [False, True, False, True, False, True]
    assert average_precision([0.95, 0.9, 0.1, 0.2, 0.8, 0.3], speaking) == pytest.approx(0.6)


def reference(scores, speaking):
    """The official definition, one curve point per row, as its formula reads."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits = np.cumsum([speaking[i] for i in order])
    precision = [0.0, *(hits / np.arange(1, len(order) + 1)), 0.0]
    recall = [0.0, *(hits / hits[-1]), 1.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


rankings = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=6).filter(
    lambda rows: any(speaking for _, speaking in rows)
)


@given(rankings)
@settings(deadline=None)
def test_it_equals_the_definition_and_its_range_holds_every_order_of_ties(rows):
    values = [
        reference([s for s, _ in order], [y for _, y in order])
        for order in itertools.permutations(rows)
    ]
    result = precision_range([s for s, _ in rows], [y for _, y in rows])
    assert result.average_precision == pytest.approx(reference(*zip(*rows, strict=True)), abs=1e-12)
    assert result.low == pytest.approx(min(values), abs=1e-12)
    assert result.high == pytest.approx(max(values), abs=1e-12)


@given(rankings)
@settings(deadline=None)
def test_only_the_order_of_scores_matters(rows):
    scores = np.array([s for s, _ in rows], float)
    speaking = np.array([y for _, y in rows])
    assert average_precision(np.tanh(scores) * 7 - 2, speaking) == average_precision(
        scores, speaking
    )


@given(rankings)
@settings(deadline=None)
def test_perfect_scores_give_one(rows):
    speaking = np.array([y for _, y in rows])
    assert average_precision(speaking.astype(float), speaking) == 1


@pytest.mark.parametrize(
    ("scores", "speaking", "message"),
    [
        ([1, 2], [True], r"scores is \(2,\), speaking \(1,\)"),
        ([1, float("nan")], [True, False], "score 1 is NaN"),
        ([1, 2], [False, False], "none of 2 rows is positive"),
    ],
)
def test_what_cannot_be_scored_is_refused(scores, speaking, message):
    with pytest.raises(ShapeError, match=message):
        average_precision(scores, speaking)
