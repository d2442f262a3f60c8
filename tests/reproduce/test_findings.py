"""Statements are decided by intervals, in both directions, and stay open between."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pushpull.reproduce.findings import (
    figure3_findings,
    figure4_findings,
    map_findings,
    rank_correlation,
    table_findings,
)
from pushpull.schema import FrameScores

TRACKS, FRAMES = 24, 6
TRUTH = np.random.default_rng(7).random((TRACKS, FRAMES)) > 0.6


def scores(turned: float, seed: int = 0) -> FrameScores:
    """Of frames a share that is on the wrong side."""
    rng = np.random.default_rng(seed)
    right = rng.random(TRUTH.shape) >= turned
    score = np.where(right == TRUTH, 1.0, -1.0) * (0.5 + rng.random(TRUTH.shape))
    return FrameScores.of_tracks(list(score), list(TRUTH))


def said(findings, beginning: str) -> str:
    (one,) = [f for f in findings if f["claim"].startswith(beginning)]
    return one["reproduced"]


@pytest.mark.parametrize(
    ("d3", "b1", "expected"), [(0.02, 0.5, "yes"), (0.5, 0.02, "no"), (0.3, 0.3, "open")]
)
def test_avil_against_adversarial_training(d3, b1, expected) -> None:
    trained = {
        ("D3", "pgd"): [scores(d3, 1), scores(d3, 2)],
        ("B1", "pgd"): [scores(b1, 3)],
        ("D3", "suite"): [scores(0.5, 4)],
        ("B1", "suite"): [scores(0.5, 4)],
    }
    found = table_findings(trained)
    assert said(found, "AVIL (L1 + L4") == expected
    assert said(found, "... and still does") == "open"
    assert table_findings({key: of for key, of in trained.items() if key[0] == "D3"}) == []


def test_figure_3_as_in_the_paper_and_turned_round() -> None:
    left = {"pgd": 0.4, "bim": 0.4, "mim": 0.4, "visual": 0.2, "audio": 0.01}
    curves = {name: scores(share, 1) for name, share in left.items()}
    curves |= {"from spec": scores(0.0), "from nc": scores(0.0)}
    found = figure3_findings(curves)
    assert [f["reproduced"] for f in found] == ["yes"] * 4
    other = {**curves, "visual": curves["audio"], "audio": curves["visual"]}
    other |= {"from nc": curves["pgd"], "bim": scores(0.0)}
    found = figure3_findings(other)
    assert [f["reproduced"] for f in found] == ["yes", "no", "no", "no"]
    assert figure3_findings({"pgd": curves["pgd"]}) == []


def test_figure_4_needs_many_rows_far_apart() -> None:
    shares = dict(zip("ABCDE", (0.02, 0.15, 0.3, 0.45, 0.6), strict=True))
    far = {row: scores(share, k) for k, (row, share) in enumerate(shares.items())}
    near = {row: scores(0.3, 10 + k) for k, row in enumerate(shares)}
    ranks, (one,) = figure4_findings({"pgd": far}, {"pgd": far})
    assert (ranks["pgd"]["value"], one["reproduced"]) == (1.0, "yes")
    ranks, (one,) = figure4_findings({"pgd": far}, {"pgd": near})
    assert one["reproduced"] in ("no", "open")
    assert ranks["pgd"]["interval"][1] - ranks["pgd"]["interval"][0] > 0.3
    assert figure4_findings({"pgd": {"A": far["A"]}}, {"pgd": {"A": far["A"]}}) == ({}, [])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_rank_correlation_is_spearmans(pairs) -> None:
    a, b = (np.array(side, float) for side in zip(*pairs, strict=True))
    found = rank_correlation(a, b)
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert found == pytest.approx(spearmanr(a, b).statistic)
    else:
        assert found == 0


def cell(l1, l4, low, high, *, learnt=True):
    left = {"average_precision": (low + high) / 2, "interval": [low, high]}
    return {"l1": l1, "l4": l4, "learnt": learnt, "pgd_right": left, "suite_right": None}


def test_the_map_says_yes_only_by_the_cell_that_validation_chose() -> None:
    low, high = cell(0, 0, 0.4, 0.6), cell(0, 1, 0.92, 0.97)
    (one,) = map_findings({"best": [0, 1], "cells": [low, high]})
    assert one["reproduced"] == "yes"
    # The best of many cells is lucky: unless it was chosen before, it decides nothing.
    (one,) = map_findings({"best": [0, 0], "cells": [low, high]})
    assert one["reproduced"] == "open"
    (one,) = map_findings({"best": [0, 0], "cells": [low]})
    assert one["reproduced"] == "no"
    # What has not learnt counts for nothing.
    (one,) = map_findings({"best": [0, 1], "cells": [low, cell(0, 1, 0.95, 1, learnt=False)]})
    assert one["reproduced"] == "no"
    assert map_findings({"best": None, "cells": []}) == []
