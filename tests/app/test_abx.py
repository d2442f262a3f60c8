import csv
import io
import random
from pathlib import Path

import pytest

from pushpull.app.abx import Test, draw_trials
from pushpull.errors import ConfigError, MediaError


def clip(key, audio=True, visual=True):
    return {
        "key": key, "name": f"clip {key}", "track": "0", "audio": audio, "visual": visual,
        "frames": 5, "columns": 3, "fps": 25.0, "size": 112,
    }  # fmt: skip


CLIPS = [clip("0"), clip("1"), clip("2")]


def taken(modality="both", trials=6, seed=0):
    drawn = draw_trials(CLIPS, modality, trials, random.Random(seed))
    return Test(id="t", folder=Path("clips"), modality=modality, trials=drawn)


def test_sides_are_drawn_fairly_and_clips_come_equally_often():
    trials = draw_trials(CLIPS, "both", 3000, random.Random(1))
    assert [sum(t.clip["key"] == key for t in trials) for key in "012"] == [1000] * 3
    for x_is_a in (True, False):
        for a_is_clean in (True, False):
            n = sum(t.x_is_a == x_is_a and t.a_is_clean == a_is_clean for t in trials)
            # Four standard deviations of a binomial around a quarter.
            assert abs(n - 750) < 4 * (3000 * 0.25 * 0.75) ** 0.5


def test_a_and_b_differ_and_x_is_one_of_them():
    for trial in draw_trials(CLIPS, "both", 40, random.Random(2)):
        assert {trial.kind("a"), trial.kind("b")} == {"clean", "adversarial"}
        assert trial.kind("x") == trial.kind("a" if trial.x_is_a else "b")


def test_who_always_knows_is_right_every_time():
    test = taken()
    for n, trial in enumerate(test.trials):
        test.answer(n, trial.x_is_a)
    assert test.done
    result = test.result()
    assert (result["right"], result["p"]) == (6, 1 / 64)
    rows = list(csv.DictReader(io.StringIO(test.as_csv())))
    assert [row["right"] for row in rows] == ["1"] * 6
    for row, trial in zip(rows, test.trials, strict=True):
        assert row["x_was"] == trial.kind("x")
        said = row["a_was"] if row["answer"] == "A" else {"clean", "adversarial"} - {row["a_was"]}
        assert row["x_was"] in ({said} if isinstance(said, str) else said)


def test_a_question_tells_nothing_of_its_answer():
    test = taken()
    assert set(test.question()) == {
        "trial", "trials", "modality", "frames", "columns", "fps", "size",
    }  # fmt: skip


def test_answers_come_in_order_and_once():
    test = taken()
    test.answer(0, True)
    for wrong in (0, 2, -1):
        with pytest.raises(ConfigError, match="is not open"):
            test.answer(wrong, True)


def test_only_what_has_been_asked_is_given_out():
    test = taken(modality="audio")
    assert test.stimulus(0, "x", "wav").suffix == ".wav"
    for wrong in [(1, "x", "wav"), (-1, "x", "wav"), (0, "c", "wav"), (0, "x", "png")]:
        with pytest.raises(ConfigError, match="no such clip"):
            test.stimulus(*wrong)


def test_clips_that_do_not_differ_are_not_asked_about():
    clips = [clip("0", visual=False), clip("1", audio=False)]
    assert {t.clip["key"] for t in draw_trials(clips, "audio", 4, random.Random(0))} == {"0"}
    with pytest.raises(MediaError, match="pictures of these clips are equal"):
        draw_trials(clips[:1], "visual", 4, random.Random(0))
