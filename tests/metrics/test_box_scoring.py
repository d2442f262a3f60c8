"""A score against anybody's ground truth: who is whom is told by boxes."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ava_files import HEADER

from pushpull.annotations import read_table
from pushpull.errors import AnnotationError
from pushpull.metrics.box_scoring import paired, score_boxes
from pushpull.metrics.scoring import score_files

S, N = "SPEAKING_AUDIBLE", "NOT_SPEAKING"
LEFT, RIGHT = (0.1, 0.1, 0.3, 0.5), (0.6, 0.1, 0.8, 0.5)


def write(path, rows, *, scored=False):
    """Rows of video, time, box, label, entity and, if scored, score."""
    lines = [
        ",".join(map(str, [video, time_s, *box, label, *rest]))
        for video, time_s, box, label, *rest in rows
    ]
    path.write_text("\n".join([HEADER + (",score" if scored else ""), *lines]) + "\n")
    return path


def truth_of(path, rows):
    return write(path, rows)


def guess_of(path, rows):
    return write(path, [(v, t, box, S, who, score) for v, t, box, who, score in rows], scored=True)


def shifted(box, by):
    """A box moved to the right by a share of its width."""
    x1, y1, x2, y2 = box
    d = by * (x2 - x1)
    return (x1 + d, y1, x2 + d, y2)


def test_the_worked_example(tmp_path):
    # Frame 1: both faces found. Frame 2: the speaking one on the left is missed, and something
    # else is taken for a face. Frame 3: no frame of the ground truth.
    truth = truth_of(
        tmp_path / "truth.csv",
        [
            ("talk", 1.0, LEFT, S, "ada"),
            ("talk", 1.0, RIGHT, N, "bob"),
            ("talk", 1.04, LEFT, S, "ada"),
            ("talk", 1.04, RIGHT, S, "bob"),
        ],
    )
    guess = guess_of(
        tmp_path / "guess.csv",
        [
            ("talk", 1.0, shifted(LEFT, 0.1), "talk:7", 3.0),
            ("talk", 1.0, RIGHT, "talk:0", 1.0),
            ("talk", 1.04, shifted(RIGHT, -0.2), "talk:0", 0.5),
            ("talk", 1.04, (0.4, 0.7, 0.5, 0.9), "talk:3", 2.0),
            ("talk", 9.0, LEFT, "talk:7", 5.0),
        ],
    )
    found = score_boxes(truth, guess)
    # Ranked: 3.0 speaks, 2.0 is a false alarm, 1.0 is silent, 0.5 speaks; a third was never found.
    assert found.average_precision == pytest.approx((1 + 2 / 4) / 3)
    assert found.matched_average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (found.low, found.high) == (found.average_precision, found.average_precision)
    assert (found.rows, found.positives, found.missed, found.missed_positives) == (3, 3, 1, 1)
    assert (found.false_alarms, found.unlabelled) == (1, 1)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("talk", 1.0, (64, 36, 128, 90), S, "ada")], "is no share of the picture; expected 0 to"),
        ([("talk", 1.0, (0.6, 0.2, 0.2, 0.4), S, "ada")], "is empty; expected x1 < x2"),
        (
            [("talk", 1.0, LEFT, S, "ada"), ("talk", 1.0, LEFT, N, "ada")],
            r"line \d \(talk ada at 1 s\): the box of another row at the same time; keep one",
        ),
    ],
)
def test_boxes_in_pixels_or_by_width_or_twice_are_no_score_of_zero(tmp_path, rows, says):
    truth = truth_of(tmp_path / "truth.csv", rows)
    guess = guess_of(tmp_path / "guess.csv", [("talk", 1.0, LEFT, "talk:0", 3.0)])
    with pytest.raises(AnnotationError, match=says):
        score_boxes(truth, guess)


def test_a_score_of_being_silent_is_refused(tmp_path):
    truth = truth_of(tmp_path / "truth.csv", [("talk", 1.0, LEFT, S, "ada")])
    guess = write(tmp_path / "guess.csv", [("talk", 1.0, LEFT, N, "ada", 2.0)], scored=True)
    with pytest.raises(AnnotationError, match="must be SPEAKING_AUDIBLE"):
        score_boxes(truth, guess)


@pytest.mark.parametrize(("by", "same"), [(0.33, True), (0.34, False), (-0.33, True), (1.0, False)])
def test_boxes_are_one_face_from_an_overlap_of_a_half(tmp_path, by, same):
    # Moved by d of its width, a box overlaps by (1 - d) / (1 + d): a half at d = 1/3.
    truth = truth_of(tmp_path / "t.csv", [("talk", 1.0, LEFT, S, "ada")])
    guess = guess_of(tmp_path / "g.csv", [("talk", 1.0, shifted(LEFT, by), "x", 1.0)])
    assert score_boxes(truth, guess).average_precision == (1.0 if same else 0.0)
    looser = score_boxes(truth, guess, least_overlap=0.2)
    assert looser.average_precision == (0.0 if by == 1.0 else 1.0)


@pytest.mark.parametrize(
    ("time_s", "same"), [(1.0, True), (1.02, True), (0.98, True), (1.021, False), (1.04, False)]
)
def test_times_are_one_frame_up_to_half_a_frame_apart(tmp_path, time_s, same):
    truth = truth_of(tmp_path / "t.csv", [("talk", 1.0, LEFT, S, "ada")])
    guess = guess_of(tmp_path / "g.csv", [("talk", time_s, LEFT, "x", 1.0)])
    found = score_boxes(truth, guess)
    assert (found.rows, found.unlabelled) == ((1, 0) if same else (0, 1))


def test_a_frame_is_taken_once_by_the_nearest(tmp_path):
    # 60 frames a second: the neighbour of a frame without a face is no stand-in for it.
    times_s = np.arange(6) / 60
    truth = truth_of(tmp_path / "t.csv", [("talk", t, LEFT, S, "ada") for t in times_s])
    there = [t for k, t in enumerate(times_s) if k != 3]
    guess = guess_of(tmp_path / "g.csv", [("talk", t, LEFT, "x", 1.0) for t in there])
    found = score_boxes(truth, guess)
    assert (found.rows, found.missed) == (5, 1)
    pairs = paired(read_table(truth), read_table(guess))
    assert pairs.truth.tolist() == [0, 1, 2, 4, 5]


def test_rounded_times_of_ava_meet_those_of_the_video(tmp_path):
    exact = 900 + np.arange(200) * 1001 / 30_000
    truth = truth_of(tmp_path / "t.csv", [("t", f"{t:.2f}", LEFT, S, "ada") for t in exact])
    guess = guess_of(tmp_path / "g.csv", [("t", f"{t:.6f}", LEFT, "x", 1.0) for t in exact])
    assert score_boxes(truth, guess).rows == 200


def test_a_video_by_another_name_is_met_where_there_is_one_only(tmp_path):
    truth = truth_of(tmp_path / "t.csv", [("mine", 1.0, LEFT, S, "ada")])
    guess = guess_of(tmp_path / "g.csv", [("talk", 1.0, LEFT, "x", 1.0)])
    assert score_boxes(truth, guess).average_precision == 1
    two = truth_of(
        tmp_path / "two.csv", [("mine", 1.0, LEFT, S, "ada"), ("talk", 1.0, LEFT, S, "ada")]
    )
    found = score_boxes(two, guess)
    assert (found.average_precision, found.missed) == (0.5, 1)
    other = truth_of(tmp_path / "o.csv", [("a", 1.0, LEFT, S, "x"), ("b", 1.0, LEFT, S, "x")])
    with pytest.raises(AnnotationError, match=r"no video in common .*has a, b, the predict.* talk"):
        score_boxes(other, guess)


def test_nothing_found_scores_nothing_and_nothing_that_speaks_is_refused(tmp_path):
    truth = truth_of(tmp_path / "t.csv", [("talk", 1.0, LEFT, S, "ada")])
    guess = guess_of(tmp_path / "g.csv", [("talk", 1.0, RIGHT, "x", 1.0)])
    found = score_boxes(truth, guess)
    assert (found.average_precision, found.low, found.high) == (0, 0, 0)
    assert found.matched_average_precision is None
    silent = truth_of(tmp_path / "s.csv", [("talk", 1.0, LEFT, N, "ada")])
    with pytest.raises(AnnotationError, match="none of 1 rows is SPEAKING_AUDIBLE"):
        score_boxes(silent, guess)


box = st.tuples(st.floats(0, 0.7), st.floats(0, 0.7), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
boxes = st.lists(box.map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])), max_size=4)


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return width * height / (area - width * height)


@given(boxes.filter(bool), st.data())
def test_pairs_are_the_best_of_all_that_can_be(tmp_path_factory, ours, data):
    jitter = st.floats(-0.05, 0.05)
    theirs = [
        tuple(v + data.draw(jitter) for v in one)
        for one in data.draw(st.lists(st.sampled_from(ours), min_size=1, max_size=4))
    ]
    folder = tmp_path_factory.mktemp("pairs")
    truth = truth_of(folder / "t.csv", [("v", 1.0, one, S, f"e{k}") for k, one in enumerate(ours)])
    guess = guess_of(
        folder / "g.csv", [("v", 1.0, one, f"p{k}", 1.0) for k, one in enumerate(theirs)]
    )
    pairs = paired(read_table(truth), read_table(guess))
    found = [
        overlap(ours[a], theirs[b])
        for a, b in zip(pairs.truth.tolist(), pairs.guess.tolist(), strict=True)
    ]
    assert all(value >= 0.5 for value in found)
    assert len({*pairs.guess.tolist()}) == len(pairs.guess)

    def worth(choice):
        good = [overlap(ours[a], theirs[b]) for a, b in choice]
        good = [value for value in good if value >= 0.5]
        return len(good), sum(good)

    few, many = sorted((range(len(ours)), range(len(theirs))), key=len)
    flip = few != range(len(ours)) or len(ours) > len(theirs)
    best = max(
        worth([(b, a) if flip else (a, b) for a, b in zip(few, order, strict=True)])
        for order in itertools.permutations(many, len(few))
    )
    assert len(found) == best[0]
    assert sum(found) == pytest.approx(best[1], abs=1e-9)


@given(st.integers(0, 10_000))
def test_names_and_order_of_rows_say_nothing(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("names")
    rows, scores = [], []
    for frame, (who, place) in itertools.product(range(6), enumerate((LEFT, RIGHT))):
        if rng.random() < 0.8:
            rows.append(("v", f"{frame / 25:.2f}", place, rng.choice([S, N]), f"e{who}"))
        if rng.random() < 0.8:
            scores.append(
                ("v", f"{frame / 25:.2f}", shifted(place, rng.normal(0, 0.2)), f"p{who}",
                 float(rng.normal()))
            )  # fmt: skip
    rows.append(("v", 9.0, LEFT, S, "e0"))
    scores.append(("v", 9.0, LEFT, "p0", 0.5))
    truth = truth_of(folder / "t.csv", rows)
    first = score_boxes(truth, guess_of(folder / "g.csv", scores))
    # Other names in every row, even names that change from frame to frame.
    names = rng.permutation(len(scores))
    renamed = [(*row[:3], f"x{names[k]}", row[4]) for k, row in enumerate(scores)]
    order = rng.permutation(len(renamed))
    mixed = guess_of(folder / "m.csv", [renamed[k] for k in order])
    other_truth = truth_of(
        folder / "n.csv", [(*rows[k][:4], f"y{k}") for k in rng.permutation(len(rows))]
    )
    assert score_boxes(other_truth, mixed) == first


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=20))
def test_where_rows_meet_by_name_both_ways_agree(tmp_path_factory, rows):
    rows = [*rows, (True, 0)]
    folder = tmp_path_factory.mktemp("both")
    truth = truth_of(
        folder / "t.csv",
        [("v", k / 25, LEFT, S if speaks else N, "v:1") for k, (speaks, _) in enumerate(rows)],
    )
    guess = guess_of(
        folder / "g.csv", [("v", k / 25, LEFT, "v:1", score) for k, (_, score) in enumerate(rows)]
    )
    by_rows, by_boxes = score_files(truth, guess), score_boxes(truth, guess)
    assert (by_boxes.average_precision, by_boxes.low, by_boxes.high, by_boxes.rows) == (
        by_rows.average_precision, by_rows.low, by_rows.high, by_rows.rows
    )  # fmt: skip
    assert by_boxes.matched_average_precision == by_rows.average_precision


def test_the_command_says_what_was_missed(pushpull, tmp_path):
    truth = truth_of(
        tmp_path / "t.csv", [("talk", 1.0, LEFT, S, "ada"), ("talk", 1.0, RIGHT, S, "bob")]
    )
    guess = guess_of(
        tmp_path / "g.csv", [("talk", 1.0, LEFT, "x", 1.0), ("talk", 9.0, LEFT, "x", 1.0)]
    )
    code, out, err = pushpull("score", truth, guess, "--match", "boxes")
    assert code == 0
    assert out.splitlines() == [
        "mAP 50.0000 %   1 rows matched, 2 speaking; missed 1, 1 of them speaking; 0 false alarms",
        "of matched rows alone 100.0000 %",
    ]
    assert err == "1 predictions are at times without labels; left out\n"
    code, out, _ = pushpull("score", truth, guess, "--match", "boxes", "--json")
    record = json.loads(out)
    assert (code, record["kind"], record["match"]) == (0, "score", "boxes")
    assert (record["average_precision"], record["missed_positives"]) == (0.5, 1)
    code, _, err = pushpull("score", truth, guess, "--match", "boxes", "--allow-missing")
    assert code == 2
    assert "--allow-missing" in err
    code, _, err = pushpull("score", truth, guess)
    assert code == 1
    assert "no row of the same video, entity and timestamp" in err
