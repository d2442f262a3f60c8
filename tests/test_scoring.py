"""Two csv files in, one score out: against the official tool's answers, and every wrong file."""

import json

import numpy as np
import pytest
from ava_files import BOX, HEADER, predictions_csv, truth_csv

from pushpull.errors import AnnotationError
from pushpull.scoring import score_files


def test_the_worked_example(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNSSN")
    guess = predictions_csv(tmp_path / "p.csv", [0.9, 0.8, 0.7, 0.6, 0.5])
    result = score_files(truth, guess)
    assert result.map == pytest.approx(100 * (1 + 0.75 + 0.75) / 3, abs=1e-12)
    assert (result.map_low, result.map_high) == (result.map, result.map)
    assert (result.rows, result.positives) == (5, 3)


def expected_pairs():
    names = ["allpos", "ex1", "ex2a", "ex2b", "ex2c", "ex3", "low", "one_pos"]
    names += [f"{size}_{kind}" for size in ("n16", "n5k") for kind in ("const", "none", "round1")]
    return [*names, "n16_sat", "n5k_sat"]


@pytest.mark.parametrize("name", expected_pairs())
def test_official_answers_are_met_or_lie_in_the_range_of_ties(shared, name):
    folder = shared / "data" / "ava-evaluator"
    want = json.loads((folder / "expected.json").read_text())[name]["map"]
    result = score_files(folder / f"{name}_gt.csv", folder / f"{name}_pr.csv")
    if result.map_low == result.map_high:
        assert result.map == pytest.approx(want, abs=1e-9)
    assert result.map_low - 1e-9 <= want <= result.map_high + 1e-9
    assert result.map_low <= result.map <= result.map_high


@pytest.mark.parametrize("name", ["allneg", "one_neg"])
def test_where_nothing_speaks_there_is_no_score(shared, name):
    folder = shared / "data" / "ava-evaluator"
    with pytest.raises(AnnotationError, match=r"none of .* rows is SPEAKING_AUDIBLE"):
        score_files(folder / f"{name}_gt.csv", folder / f"{name}_pr.csv")


def test_every_official_pair_is_covered(shared):
    names = json.loads((shared / "data" / "ava-evaluator" / "expected.json").read_text())
    assert set(names) == {*expected_pairs(), "allneg", "one_neg"}


def test_ties_keep_the_order_of_the_ground_truth(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "NSSN")
    guess = predictions_csv(tmp_path / "p.csv", [0.5] * 4)
    result = score_files(truth, guess)
    assert result.map == pytest.approx(200 / 3)
    assert (result.map_low, result.map_high) == pytest.approx((50, 100))


def test_rows_may_come_in_any_order_and_with_a_headerless_truth(tmp_path):
    rng = np.random.default_rng(0)
    truth = truth_csv(tmp_path / "g.csv", "SNQSNNSS", header=False)
    guess = predictions_csv(tmp_path / "p.csv", rng.random(8))
    straight = score_files(truth, guess)
    head, *rows = guess.read_text().splitlines()
    guess.write_text("\n".join([head, *rng.permutation(rows)]))
    assert score_files(truth, guess) == straight


def test_integer_timestamps_match_decimal_ones(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN", timestamps=["900", "901"])
    guess = predictions_csv(tmp_path / "p.csv", [1, 0], timestamps=["900.0", "901.00"])
    assert score_files(truth, guess).map == 100


def test_talknets_columns_are_read_by_name(tmp_path):
    truth = tmp_path / "g.csv"
    truth.write_text(
        "label_id,entity_id,video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,"
        f"entity_box_y2,label,instance_id\n1,vid:1,vid,900.00,{BOX},SPEAKING_AUDIBLE,vid:1:0\n"
    )
    assert score_files(truth, predictions_csv(tmp_path / "p.csv", [0.3])).map == 100


def test_a_score_below_ten_percent_is_a_score(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "N" * 199 + "S")
    guess = predictions_csv(tmp_path / "p.csv", list(range(200, 0, -1)))
    assert score_files(truth, guess).map == pytest.approx(0.5)


def test_infinite_scores_rank_first_and_last(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", ["inf", "-inf", "3"])
    assert score_files(truth, guess).map == 100


def test_missing_rows_are_an_error_unless_allowed(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2, 1], timestamps=["900.00", "900.04", "955"])
    with pytest.raises(AnnotationError, match=r"g.csv: 1 of 3 rows .* line 4 \(vid:1 at 900.08 s"):
        score_files(truth, guess)
    result = score_files(truth, guess, allow_missing=True)
    assert (result.map, result.rows) == (100, 2)
    assert (result.missing_predictions, result.missing_ground_truth) == (1, 1)


def test_files_with_nothing_in_common_have_no_score(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2], timestamps=["1", "2"])
    with pytest.raises(AnnotationError, match="no row in common"):
        score_files(truth, guess, allow_missing=True)


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


BAD_PREDICTIONS = {
    "another label": (
        "SPEAKING_AUDIBLE,vid:1,2",
        "NOT_SPEAKING,vid:1,2",
        r"p.csv, line 3 .*must be SPEAKING_AUDIBLE",
    ),
    "an unknown label": (
        "SPEAKING_AUDIBLE,vid:1,2",
        "TALKING,vid:1,2",
        r"p.csv, line 3: label is 'TALKING'; expected one of NOT_SPEAKING",
    ),
    "an empty score": ("vid:1,2", "vid:1,", r"p.csv, line 3: score is empty or NaN"),
    "a NaN score": ("vid:1,2", "vid:1,nan", r"p.csv, line 3: score is empty or NaN"),
    "a word for a score": ("vid:1,2", "vid:1,high", r"p.csv, line 3: score is 'high'; expected a"),
    "a word for a time": (",900.04,", ",soon,", r"line 3: frame_timestamp is 'soon'"),
    "a doubled row": (
        "vid,900.04",
        "vid,900.00",
        r"p.csv: 1 rows repeat .* line 3 \(vid:1 at 900 s\)",
    ),
    "another box": ("900.04,0.1", "900.04,0.100001", r"p.csv: 1 boxes differ .* line 3"),
    "an empty name": ("SPEAKING_AUDIBLE,vid:1,2", "SPEAKING_AUDIBLE,,2", "line 3: entity_id is em"),
    "a missing field": (",vid:1,2", ",2", "line 3: has 8 fields; expected 9"),
    "a missing column": (",score", ",certainty", "line 1: lacks the column score; it has video_id"),
    "bytes that are no text": ("vid:1,2", "vid:\udcff,2", "line 3: is not UTF-8 text"),
}


@pytest.mark.parametrize("case", BAD_PREDICTIONS)
def test_a_bad_predictions_file_is_named_with_its_line(tmp_path, case):
    old, new, message = BAD_PREDICTIONS[case]
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2, 1])
    text = guess.read_text()
    assert old in text
    guess.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(AnnotationError, match=message):
        score_files(truth, guess)


def test_box_differences_up_to_the_official_tolerance_pass(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2])
    replaced(guess, "0.1,", "0.1000000001,")
    assert score_files(truth, guess).map == 100


def test_files_that_are_no_tables_are_refused(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN")
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    headed = tmp_path / "headed.csv"
    headed.write_text(f"{HEADER},score\n")
    for path, message in (
        (empty, "empty.csv: is empty"),
        (headed, "headed.csv: holds no rows"),
        (tmp_path / "absent.csv", "absent.csv: cannot be read"),
        (
            truth_csv(tmp_path / "bare.csv", "SN", header=False),
            "8 fields and no header; expected 9",
        ),
    ):
        with pytest.raises(AnnotationError, match=message):
            score_files(truth, path)
