"""Turns at other thresholds and labels of corrected ones, through the package's own readers."""

import numpy as np
import pytest

from pushpull.annotations import read_table, write_truth
from pushpull.app.corrections import turns_at, write_labels
from pushpull.errors import AnnotationError


def test_labels_keep_rows_and_boxes_and_follow_turns(tmp_path):
    n = 6
    times_s = np.tile(np.arange(n) / 25, 2)
    boxes = np.tile([0.1, 0.2, 0.5, 0.8], (2 * n, 1))
    entities = ["talk:0"] * n + ["talk:1"] * n
    write_truth(
        tmp_path / "talk.labels.csv", video_id="talk", entity_ids=entities, timestamps_s=times_s,
        boxes=boxes, speaking=np.ones(2 * n, bool),
    )  # fmt: skip
    asked = {
        "labels": str(tmp_path / "talk.labels.csv"),
        "out": str(tmp_path / "mine.csv"),
        # As turns are: from the start of a picture to the end of the last.
        "turns": {"talk:0": [[0.0, 0.08], [0.16, 0.24]], "talk:1": []},
    }
    assert write_labels(asked, print) == {"rows": 2 * n, "speaking": 4}
    table = read_table(tmp_path / "mine.csv")
    assert table.speaking.tolist() == [True, True, False, False, True, True] + [False] * n
    assert table.boxes.tolist() == boxes.tolist()
    assert [table.entities[code] for code in table.entity] == entities


def test_turns_become_the_labels_that_they_came_from(tmp_path):
    """At any threshold: turns of scores that change seldom, and the labels of these turns."""
    rng = np.random.default_rng(0)
    scores = np.repeat(rng.normal(size=8), 20)
    times_s = np.arange(len(scores)) / 25
    write_truth(
        tmp_path / "labels.csv", video_id="v", entity_ids=["v:0"] * len(scores),
        timestamps_s=times_s, boxes=np.tile([0.0, 0.0, 1.0, 1.0], (len(scores), 1)),
        speaking=np.zeros(len(scores), bool),
    )  # fmt: skip
    faces = [{"times_s": times_s.tolist(), "scores": scores.tolist()}]
    for threshold in (0.2, 0.5, 0.7):
        (turns,) = turns_at({"threshold": threshold, "faces": faces}, print)["faces"]
        asked = {"labels": str(tmp_path / "labels.csv"), "out": str(tmp_path / "out.csv")}
        write_labels(asked | {"turns": {"v:0": turns}}, print)
        speaking = read_table(tmp_path / "out.csv").speaking
        length_s = sum(end - start for start, end in turns)
        assert speaking.sum() / 25 == pytest.approx(length_s, abs=1e-3)


def test_a_table_that_is_none_is_said_to_be_none(tmp_path):
    (tmp_path / "labels.csv").write_text("words")
    asked = {"labels": str(tmp_path / "labels.csv"), "out": str(tmp_path / "out.csv"), "turns": {}}
    with pytest.raises(AnnotationError):
        write_labels(asked, print)
    assert not (tmp_path / "out.csv").exists()
