"""Scores of frames: rates, tracks, intervals, worst cases, and what does not fit."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.errors import ShapeError
from pushpull.metrics import average_precision, bootstrap_precision
from pushpull.schema import FrameScores, worst_adversaries, worst_case


def drawn(seed, *, tracks=4, known=True) -> FrameScores:
    rng = np.random.default_rng(seed)
    of = np.repeat(rng.permutation(3 * tracks)[:tracks], rng.integers(1, 7, tracks))
    return FrameScores(
        score=rng.normal(size=len(of)).round(1),
        speaking=rng.uniform(size=len(of)) < 0.5 if known else None,
        track=of,
    )


seeds = st.integers(0, 10_000)


def test_the_worked_example() -> None:
    scores = FrameScores.of_tracks([[3.0, 1.0, -0.5], [-1.0, -2.0]], [[1, 0, 1], [0, 0]])
    # Right: 3 > 0 speaks, both of the second track; ranked S N S N N: precision 1 and 2/3.
    assert scores.as_dict() == {
        "tracks": 2,
        "frames": 5,
        "speaking": 0.4,
        "accuracy": 0.6,
        "average_precision": pytest.approx(5 / 6),
    }
    assert scores.right.tolist() == [True, False, False, True, True]
    assert scores.margin.tolist() == [3.0, -1.0, -0.5, 1.0, 2.0]
    parts = scores.by_track()
    assert parts[0].accuracy == pytest.approx(1 / 3)
    assert (parts[1].accuracy, parts[1].average_precision, parts[1].interval()) == (1, None, None)
    assert parts[1].speaking_share == 0


@given(seeds)
def test_rates_are_those_of_metrics_and_shares(seed) -> None:
    scores = drawn(seed)
    assert scores.accuracy == np.mean((scores.score > 0) == scores.speaking)
    assert 0 <= scores.accuracy <= 1
    if not scores.truth.any():
        assert scores.average_precision is None
        return
    assert scores.average_precision == average_precision(scores.score, scores.truth)
    assert 0 < scores.average_precision <= 1
    want = bootstrap_precision(scores.score, scores.truth, scores.track, draws=20, seed=3)
    assert scores.interval(draws=20, seed=3) == want


@given(seeds, st.booleans())
def test_tracks_taken_apart_and_put_together_are_the_same_frames(seed, known) -> None:
    scores = drawn(seed, known=known)
    parts = scores.by_track()
    assert list(parts) == sorted(set(scores.track.tolist()))
    assert len(parts) == scores.tracks
    again = FrameScores.concatenated(list(parts.values()))
    order = np.argsort(scores.track, kind="stable")
    assert again.score.tolist() == scores.score[order].tolist()
    assert again.track.tolist() == scores.track[order].tolist()
    assert again.accuracy == (pytest.approx(scores.accuracy) if known else None)
    numbers = list(parts)
    truth = [parts[n].speaking for n in numbers] if known else None
    made = FrameScores.of_tracks([parts[n].score for n in numbers], truth, numbers=numbers)
    assert made.track.tolist() == again.track.tolist()
    assert made.average_precision == again.average_precision


@given(seeds)
def test_a_subset_by_mask_is_a_subset_by_places(seed) -> None:
    scores = drawn(seed)
    mask = scores.right
    one, two = scores.subset(mask), scores.subset(np.flatnonzero(mask))
    assert one.as_dict() == two.as_dict()
    assert one.accuracy == (1 if mask.any() else None)


@given(seeds)
def test_the_worst_case_bounds_every_single_one(seed) -> None:
    first = drawn(seed, tracks=5)
    rng = np.random.default_rng(seed + 1)
    others = [
        FrameScores(score=rng.normal(size=len(first)), speaking=first.speaking, track=first.track)
        for _ in range(3)
    ]
    every = [first, *others]
    frame, track = worst_case(every), worst_adversaries(every)
    assert np.array_equal(frame.margin, np.min([s.margin for s in every], axis=0))
    assert (frame.margin <= track.margin).all()
    for number, part in track.by_track().items():
        # Whole from one of them, and no adversary is worse in every frame.
        own = [s.by_track()[number].margin for s in every]
        assert any(np.array_equal(part.margin, margin) for margin in own)
        assert not any((margin < part.margin).all() for margin in own)
    assert frame.accuracy <= min(s.accuracy for s in every)
    if first.truth.any():
        assert frame.average_precision <= track.average_precision + 1e-12
        assert worst_case([first]).average_precision == first.average_precision


def test_groups_are_drawn_in_place_of_tracks() -> None:
    rng = np.random.default_rng(0)
    truth = [rng.uniform(size=6) < 0.5 for _ in range(12)]
    scores = FrameScores.of_tracks([y + rng.normal(size=6) for y in truth], truth)
    # Every track a person of its own is the interval over tracks, whatever people are called.
    names = np.array([f"person {n:02d}" for n in scores.track])
    assert scores.interval(draws=50, groups=names) == scores.interval(draws=50)
    two = scores.interval(draws=200, groups=scores.track // 6)
    parts = (scores.subset(scores.track // 6 == g).average_precision for g in (0, 1))
    # Of two people, a draw is one of them twice or both: its ends are theirs.
    assert two == pytest.approx(sorted([*parts]), abs=1e-12)
    with pytest.raises(ShapeError, match="expected"):
        scores.interval(groups=[0, 1])


def test_where_truth_is_not_known_nothing_is_made_up() -> None:
    scores = FrameScores.of_tracks([[1.0, 2.0]])
    assert scores.as_dict(draws=10) == {
        "tracks": 1, "frames": 2, "speaking": None, "accuracy": None, "average_precision": None,
        "interval": None,
    }  # fmt: skip
    with pytest.raises(ShapeError, match="have no truth"):
        _ = scores.right
    none = FrameScores.of_tracks([], [])
    assert (len(none), none.tracks, none.accuracy, none.by_track()) == (0, 0, None, {})


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"score is \(2,\), speaking \(1,\), track \(2,\)"):
        FrameScores(score=[1.0, 2.0], speaking=[True], track=[0, 0])
    with pytest.raises(ShapeError, match="expected 0 or more"):
        FrameScores(score=[1.0], track=[-1])
    with pytest.raises(ShapeError, match="2 tracks and 1 numbers"):
        FrameScores.of_tracks([[1.0], [2.0]], numbers=[0])
    known, unknown = (FrameScores.of_tracks([[1.0]], y) for y in ([[True]], None))
    with pytest.raises(ShapeError, match="1 of 2 parts have truth"):
        FrameScores.concatenated([known, unknown])
    other = FrameScores.of_tracks([[1.0]], [[False]])
    for worst in (worst_case, worst_adversaries):
        with pytest.raises(ShapeError, match="the same frames"):
            worst([known, other])


def test_records_are_json() -> None:
    record = drawn(5).as_dict(draws=10)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_scores_do_not_wait_for_torch() -> None:
    code = "import sys, pushpull.metrics, pushpull.schema; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
