"""`pushpull score` on files that cannot be scored: one clear line, exit code 1, no result."""

import pytest
from support.ava_files import HEADER, predictions_csv, truth_csv


@pytest.fixture
def refused(pushpull):
    """Run `pushpull score`, which must fail as our errors do, and give its one line."""

    def run(*arguments):
        code, out, err = pushpull("score", *arguments, "--json")
        assert (code, out, err.count("\n")) == (1, "", 1)
        return err

    return run


# What is replaced in a good file of 3 rows, and what the message says of the result.
BAD_PREDICTIONS = {
    "another label": (
        "SPEAKING_AUDIBLE,vid:1,2",
        "NOT_SPEAKING,vid:1,2",
        "p.csv, line 3 (vid:1 at 900.04 s): the label of a prediction must be SPEAKING_AUDIBLE",
    ),
    "an unknown label": (
        "SPEAKING_AUDIBLE,vid:1,2",
        "TALKING,vid:1,2",
        "p.csv, line 3: label is 'TALKING'; expected one of NOT_SPEAKING",
    ),
    "an empty score": ("vid:1,2", "vid:1,", "p.csv, line 3: score is empty or NaN; expected a"),
    "a NaN score": ("vid:1,2", "vid:1,nan", "p.csv, line 3: score is empty or NaN; expected a"),
    "a word for a score": ("vid:1,2", "vid:1,high", "p.csv, line 3: score is 'high'; expected a"),
    "a Python number": ("vid:1,2", "vid:1,1_0", "p.csv, line 3: score is '1_0'; expected a"),
    "a word for a time": (",900.04,", ",soon,", "p.csv, line 3: frame_timestamp is 'soon'"),
    "an endless time": (",900.04,", ",inf,", "p.csv, line 3: frame_timestamp is infinite"),
    "an endless box": (",0.1,", ",-inf,", "p.csv, line 2: entity_box_x1 is infinite"),
    "a NaN box": (",0.4,", ",nan,", "p.csv, line 2: entity_box_y2 is empty or NaN"),
    "a doubled row": (
        "vid,900.04",
        "vid,900.00",
        "p.csv: 1 of 3 rows repeat the video, entity and timestamp of an earlier one: line 3 "
        "(vid:1 at 900 s); keep one",
    ),
    "a doubled row after empty lines": (
        "vid,900.04",
        "\n\nvid,900.00",
        "p.csv: 1 of 3 rows repeat the video, entity and timestamp of an earlier one: line 5",
    ),
    "another box": (
        "900.04,0.1",
        "900.04,0.10000001",
        "p.csv: 1 of 3 boxes differ by more than 1e-09 from those in",
    ),
    "an empty name": ("AUDIBLE,vid:1,2", "AUDIBLE,,2", "p.csv, line 3: entity_id is empty"),
    "another name": ("vid:1,2", "vid:2,2", "g.csv: 1 of 3 rows have no row of the same video"),
    "a missing field": (",vid:1,2", ",2", "p.csv, line 3: has 8 fields; expected 9"),
    "a field too many": (",vid:1,2", ",vid:1,2,3", "p.csv, line 3: has 10 fields; expected 9"),
    "a field cut off after empty lines": (
        "vid,900.04",
        "\n\nsoon",
        "p.csv, line 5: has 8 fields; expected 9",
    ),
    "an open quote": ("vid,900.04", '"vid,900.04', "p.csv, line 4: has 1 fields; expected 9"),
    "a missing column": (
        ",score",
        ",certainty",
        "p.csv, line 1: lacks the column score; it has video_id, frame_timestamp",
    ),
    "missing columns": (
        "label,entity_id,score",
        "entity,confidence,x",
        "p.csv, line 1: lacks the columns label, entity_id, score; it has",
    ),
    "a column twice": ("label,", "score,label,", "p.csv, line 1: has the column score twice"),
    "bytes that are no text": ("vid:1,2", "vid:\udcff,2", "p.csv, line 3: is not UTF-8 text"),
}


@pytest.mark.parametrize("case", BAD_PREDICTIONS)
def test_a_bad_predictions_file_is_named_with_its_line(refused, tmp_path, case):
    old, new, message = BAD_PREDICTIONS[case]
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2, 1])
    text = guess.read_text()
    assert old in text
    guess.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    assert message in refused(truth, guess)


NO_TABLES = {
    "no bytes": (b"", "p.csv: is empty; expected a csv table"),
    "an empty line": (b"\n", "p.csv: is empty; expected a csv table"),
    "a header alone": (f"{HEADER},score\n".encode(), "p.csv: holds no rows; expected one per"),
    "a header without its line end": (f"{HEADER},score".encode(), "p.csv: holds no rows"),
    "other separators": (
        f"{HEADER},score\n1\n".replace(",", ";").encode(),
        "p.csv, line 1: fields stand between semicolons; expected commas",
    ),
    "rows between tabs": (
        b"vid\t900.0\t0.1\t0.1\t0.4\t0.6\tSPEAKING_AUDIBLE\tvid:1\t2.0\n",
        "p.csv, line 1: fields stand between tabs; expected commas",
    ),
    "zeros": (bytes(100), "p.csv, line 1:"),
    "UTF-16": (f"{HEADER},score\n".encode("utf-16"), "p.csv, line 1: is not UTF-8 text"),
    "a video": (b"\0\0\0\x20ftypisom\xff\xfe\0\0", "p.csv, line 1: is not UTF-8 text"),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_a_file_that_is_no_table_is_named(refused, tmp_path, case):
    content, message = NO_TABLES[case]
    guess = tmp_path / "p.csv"
    guess.write_bytes(content)
    assert message in refused(truth_csv(tmp_path / "g.csv", "SNS"), guess)


def test_a_file_that_is_not_there_is_named(refused, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    assert "p.csv: cannot be read (No such file" in refused(truth, tmp_path / "p.csv")
    assert "cannot be read (Is a directory)" in refused(truth, tmp_path)


def test_an_official_table_without_scores_is_no_prediction(refused, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS", header=False)
    assert "g.csv, line 1: has 8 fields and no header; expected 9" in refused(truth, truth)


def test_rows_of_the_ground_truth_without_a_prediction_are_named(refused, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", [1])
    message = refused(truth, guess)
    assert "g.csv: 2 of 3 rows have no row of the same video, entity and timestamp" in message
    assert "--match boxes" in message
    assert "line 3 (vid:1 at 900.04 s), line 4 (vid:1 at 900.08 s)" in message
    assert "--allow-missing" in message


def test_predictions_without_a_row_of_the_ground_truth_are_named(refused, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "S", header=False)
    guess = predictions_csv(tmp_path / "p.csv", [1] * 9)
    message = refused(truth, guess)
    assert "p.csv: 8 of 9 rows have no row of the same video, entity and timestamp" in message
    assert "line 5 (vid:1 at 900.12 s) and 5 more" in message


def test_a_doubled_row_of_the_ground_truth_is_named(refused, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN", timestamps=["900", "900.0"])
    guess = predictions_csv(tmp_path / "p.csv", [2, 1])
    assert "g.csv: 1 of 2 rows repeat" in refused(truth, guess, "--allow-missing")


def test_files_with_nothing_in_common_have_no_score(refused, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2], timestamps=["1", "2"])
    assert "have no row in common" in refused(truth, guess, "--allow-missing")


def test_where_nothing_speaks_there_is_no_score(refused, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "NQN")
    guess = predictions_csv(tmp_path / "p.csv", [3, 2, 1])
    assert "g.csv: none of 3 rows is SPEAKING_AUDIBLE" in refused(truth, guess)
