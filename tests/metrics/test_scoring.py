"""Two csv files in, one score out: against the official tool's answers, and how rows are matched.

Files that cannot be scored are in test_score_command.
"""

import json
import re

import numpy as np
import pytest
from support.ava_files import BOX, HEADER, predictions_csv, truth_csv
from support.official_score import official_score

from pushpull.errors import AnnotationError
from pushpull.metrics.scoring import score_files


def test_the_worked_example(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNSSN")
    guess = predictions_csv(tmp_path / "p.csv", [0.9, 0.8, 0.7, 0.6, 0.5])
    result = score_files(truth, guess)
    assert result.average_precision == pytest.approx((1 + 0.75 + 0.75) / 3, abs=1e-14)
    assert result.low == result.average_precision == result.high
    assert (result.rows, result.positives) == (5, 3)


def expected_pairs():
    names = ["allpos", "ex1", "ex2a", "ex2b", "ex2c", "ex3", "low", "one_pos"]
    names += [f"{size}_{kind}" for size in ("n16", "n5k") for kind in ("const", "none", "round1")]
    return [*names, "n16_sat", "n5k_sat"]


@pytest.mark.parametrize("name", expected_pairs())
def test_official_answers_are_met_or_lie_in_the_range_of_ties(shared, name):
    folder = shared / "data" / "ava-evaluator"
    want = json.loads((folder / "expected.json").read_text())[name]["map"] / 100  # in percent
    result = score_files(folder / f"{name}_gt.csv", folder / f"{name}_pr.csv")
    if result.low == result.high:
        assert result.average_precision == pytest.approx(want, abs=1e-11)
    assert result.low - 1e-11 <= want <= result.high + 1e-11
    assert result.low <= result.average_precision <= result.high


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
    assert result.average_precision == pytest.approx(2 / 3)
    assert (result.low, result.high) == pytest.approx((0.5, 1))


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
    assert score_files(truth, guess).average_precision == 1


def test_talknets_columns_are_read_by_name(tmp_path):
    truth = tmp_path / "g.csv"
    truth.write_text(
        "label_id,entity_id,video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,"
        f"entity_box_y2,label,instance_id\n1,vid:1,vid,900.00,{BOX},SPEAKING_AUDIBLE,vid:1:0\n"
    )
    assert score_files(truth, predictions_csv(tmp_path / "p.csv", [0.3])).average_precision == 1


def test_one_entity_name_in_two_videos_is_two_faces(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN", timestamps=["900", "900"])
    guess = predictions_csv(tmp_path / "p.csv", [2, 1], timestamps=["900", "900"])
    for path in (truth, guess):
        first, second = path.read_text().splitlines()[1:]
        head = HEADER if path is truth else f"{HEADER},score"
        path.write_text("\n".join([head, first, second.replace("vid,", "another,", 1)]))
    assert score_files(truth, guess).average_precision == 1


def test_a_score_below_ten_percent_is_a_score(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "N" * 199 + "S")
    guess = predictions_csv(tmp_path / "p.csv", list(range(200, 0, -1)))
    assert score_files(truth, guess).average_precision == pytest.approx(0.005)


def test_infinite_scores_rank_first_and_last(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", ["inf", "-inf", "3"])
    assert score_files(truth, guess).average_precision == 1


def test_missing_rows_are_counted_where_they_are_allowed(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2, 1], timestamps=["900.00", "900.04", "955"])
    result = score_files(truth, guess, allow_missing=True)
    assert (result.average_precision, result.rows) == (1, 2)
    assert (result.missing_predictions, result.missing_ground_truth) == (1, 1)


def test_box_differences_up_to_the_official_tolerance_pass(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2])
    guess.write_text(guess.read_text().replace("0.1,", "0.1000000001,", 1))
    assert score_files(truth, guess).average_precision == 1


ENCODINGS = {
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "old Mac line ends": lambda text: text.replace("\n", "\r").encode(),
    "a byte order mark": lambda text: text.encode("utf-8-sig"),
    "empty lines": lambda text: ("\n" + text.replace("\n", "\n\n")).encode(),
    "every field quoted": lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text).encode(),
    "no last line end": lambda text: text.rstrip().encode(),
}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_table_written_otherwise_scores_the_same(tmp_path, encoding, header):
    truth = truth_csv(tmp_path / "g.csv", "SNQS", header=header)
    guess = predictions_csv(tmp_path / "p.csv", [4, 3, 2, 1])
    want = score_files(truth, guess)
    if not header:
        guess.write_text(guess.read_text().partition("\n")[2])
    for path in (truth, guess):
        path.write_bytes(ENCODINGS[encoding](path.read_text()))
    assert score_files(truth, guess) == want


def test_the_index_that_pandas_writes_is_passed_over(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", [3, 1, 2])
    head, *rows = guess.read_text().splitlines()
    guess.write_text("\n".join([f",{head}", *(f"{i},{row}" for i, row in enumerate(rows))]))
    assert score_files(truth, guess).average_precision == 1


@pytest.mark.parametrize("name", ["ex1", "ex2a", "ex3", "low", "n16_none", "n5k_none", "allpos"])
def test_the_official_steps_give_the_official_answers(shared, name):
    folder = shared / "data" / "ava-evaluator"
    want = json.loads((folder / "expected.json").read_text())[name]["map"]
    found = official_score(folder / f"{name}_gt.csv", folder / f"{name}_pr.csv")
    assert found == pytest.approx(want, abs=1e-9)
