"""What an adversary says of itself, and what it leaves in a folder."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pushpull.errors import OutputExists
from pushpull.models.weights import resolve_detector
from pushpull.runtime.outputs import RECORD
from pushpull.runtime.records import read_json
from pushpull.video_attacks import attack_video

CROP_FILES = {
    "adversarial-int16.wav", "adversarial.safetensors", "adversarial.wav", "results.json",
    "track-0.mkv", "track-0.mp4",
}  # fmt: skip
FRAME_FILES = {
    "adversarial-int16.wav", "adversarial.safetensors", "adversarial.wav", "adversarial.mkv",
    "adversarial.mp4", "results.json",
}  # fmt: skip


def test_rates_follow_from_the_scores(attacked):
    record = attacked.as_dict()
    clean, asked = attacked.clean.as_found, attacked.asked.as_found
    assert record["clean"]["accuracy"] == record["clean"]["accuracy_of_right"] == 1.0
    assert record["adversarial"]["accuracy"] == asked.accuracy < 1.0
    assert [row["input"] for row in record["survival"]] == ["clean", "float"]
    assert record["survival"][1]["as found"] == record["adversarial"]
    (track,) = record["tracks"]
    assert track["track_id"] == "talking:0"
    assert track["speaking"] == clean.truth.astype(int).tolist()
    assert track["clean_scores"] == pytest.approx(clean.score.tolist(), abs=1e-4)
    assert track["adversarial_scores"] == pytest.approx(asked.score.tolist(), abs=1e-4)
    assert track["delta"] == record["delta"]
    # A crop's pixel is a mean of the video's, so in frame space it moves no further.
    moved = record["delta"]["visual_linf"]
    assert moved == pytest.approx(2.0, abs=1e-4)
    json.dumps(record, allow_nan=False)


def test_accuracy_of_right_leaves_out_what_was_wrong_before(attacked):
    before, after = attacked.clean.as_found, attacked.asked.as_found
    # As if the detector had been wrong on every second frame.
    signs = np.where(np.arange(len(before)) % 2 == 0, -1, 1)
    worse = replace(
        attacked.clean, scores={"as found": replace(before, score=before.score * signs)}
    )
    changed = replace(attacked, variants=(worse, attacked.asked))
    assert changed.quality(worse.as_found)["accuracy"] == pytest.approx(12 / 25)
    expected = after.subset(signs > 0).accuracy
    assert changed.quality(after)["accuracy_of_right"] == expected
    assert changed.quality(after)["accuracy"] == after.accuracy


def test_a_folder_holds_what_the_record_says(attacked, checkpoint, tmp_path):
    detector = resolve_detector(checkpoint, device="cpu")
    paths = attacked.save(tmp_path, detector=detector)
    inner = tmp_path / "talking"
    frame = attacked.settings["space"] == "frame"
    assert paths.keys() == (FRAME_FILES if frame else CROP_FILES)
    assert {path.name for path in inner.iterdir()} == paths.keys() | {RECORD}
    record = read_json(paths["results.json"], kind="video-attack")
    assert record["outputs"].keys() == paths.keys() - {"results.json"}
    assert ("redetect" in record) == frame
    if frame:
        assert set(record["redetect"]) == {"adversarial.mkv", "adversarial.mp4"}
        assert record["redetect"]["adversarial.mkv"]["frames_found"] == 25


def test_a_second_run_leaves_nothing_of_the_first_and_all_of_others(attacked, tmp_path):
    inner = tmp_path / "talking"
    attacked.save(tmp_path, video="fast")
    assert (inner / "side-by-side.mp4").is_file()
    (inner / "notes.txt").write_text("mine")
    attacked.save(tmp_path)
    files = {path.name for path in inner.iterdir()} - {RECORD, "notes.txt"}
    assert files == (FRAME_FILES if attacked.settings["space"] == "frame" else CROP_FILES)
    assert (inner / "notes.txt").read_text() == "mine"
    (inner / "adversarial.wav").write_text("mine")
    with pytest.raises(OutputExists, match=r"adversarial\.wav: .* changed since it was made"):
        attacked.save(tmp_path)
    assert (inner / "adversarial.wav").read_text() == "mine"
    assert {path.name for path in inner.iterdir()} == files | {RECORD, "notes.txt"}
    attacked.save(tmp_path, overwrite=True)
    assert (inner / "adversarial.wav").read_bytes() != b"mine"


def test_the_comparison_is_made_where_it_is_asked_for(attacked, tmp_path):
    paths = attacked.compare(tmp_path / "new" / "folder", amplify=5)
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        path.name for path in paths.values()
    }


def test_a_notebook_shows_what_is_still_right_by_way_through_files(attacked):
    shown = attacked._repr_html_()
    assert "fgsm, eps audio 0.002, visual 2" in shown
    assert all(word in shown for word in ("clean", "float", "lossless", "h264 crf 23 + aac"))


def test_notes_of_the_video_and_of_each_search_are_together(talking, checkpoint):
    result = attack_video(talking, checkpoint, face_finder="dlib", eps=1.0, quantise=True, steps=1)
    assert result.notes == (*result.clips.notes, *result.asked.notes)
    assert "eps of visual is 0.1" in result.notes[-1]
    assert result.as_dict()["vanished"] == ["visual"]
