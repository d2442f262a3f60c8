"""The files of a detection: whole, readable by others, and like the video they come from."""

import csv
import json
import shutil
import subprocess
from dataclasses import replace

import av
import numpy as np
import pytest
from support.media_files import clicks, make_video, onsets_s
from support.official_score import official_score

from pushpull.annotations import read_table, write_truth
from pushpull.detection import (
    Detection,
    ScoredTrack,
    TurnRules,
    rttm_lines,
)
from pushpull.errors import OutputError, OutputExists
from pushpull.media import probe, read_frames, read_waveform
from pushpull.metrics.scoring import score_files
from pushpull.runtime.outputs import RECORD
from pushpull.runtime.records import as_json_text
from pushpull.schema import Track


@pytest.fixture
def detection(tmp_path):
    """Two faces in a real video; the second one leaves the picture to the right."""
    path = make_video(
        tmp_path / "two people.mp4",
        n_frames=50,
        size=(320, 240),
        picture=lambda i: np.full((240, 320, 3), 128, np.uint8),
        sound=clicks([1.0]),
    )
    frames = np.arange(50)
    left = np.tile([40.0, 60, 100, 140], (50, 1))
    right = np.tile([250.0, 60, 330, 140], (30, 1))

    def track(number, start, boxes):
        n = len(boxes)
        return Track(
            track_id=number,
            frames=frames[start : start + n],
            timestamps_s=frames[start : start + n] / 25,
            boxes=boxes,
            detected=np.ones(n, bool),
        )

    return Detection(
        path=path,
        name="two people",
        info=probe(path),
        tracks=(
            ScoredTrack(track=track(0, 0, left), scores=np.where(frames < 25, 2.5, -2.5)),
            ScoredTrack(track=track(1, 20, right), scores=np.linspace(-3, 3, 30)),
        ),
        settings={"detector": "light-asd-ava"},
        seconds={"faces": 0.5},
    )


@pytest.fixture
def outputs(detection, tmp_path):
    return detection.save(tmp_path / "out")


def test_all_files_and_the_record_are_there_and_nothing_else(outputs, tmp_path):
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    suffixes = ("csv", "json", "labels.csv", "mp4", "rttm", "srt", "vtt")
    assert names == [RECORD, *(f"two people.{s}" for s in suffixes)]
    assert sorted(p.name for p in outputs.values()) == names[1:]


def test_the_csv_has_avas_columns_a_header_and_relative_boxes(outputs):
    head = outputs["csv"].read_text().splitlines()[0].replace('"', "")
    assert head == (
        "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,"
        "label,entity_id,score,probability,speaking"
    )
    table = read_table(outputs["csv"], need_score=True)
    assert len(table) == 80
    assert table.boxes[0].tolist() == [0.125, 0.25, 0.3125, pytest.approx(140 / 240, abs=1e-6)]
    assert table.boxes[-1, 2] == 1.0
    assert table.speaking.all()
    assert table.videos == ("two people",)
    assert table.entities == ("two people:0", "two people:1")


def test_the_json_holds_every_frame_and_reads_back(outputs, detection):
    record = json.loads(outputs["json"].read_text())
    assert record == json.loads(as_json_text(detection.as_dict(), kind="detection"))
    assert record["fps"] == 25
    first = record["tracks"][0]
    assert len(first["scores"]) == len(first["boxes"]) == len(first["timestamps_s"]) == 50
    assert first["probabilities"][0] == pytest.approx(1 / (1 + np.exp(-2.5)), abs=1e-6)
    assert first["turns"] == [[0.0, pytest.approx(1.0)]]
    assert "torch" in record["versions"]


def test_frames_may_be_left_out_and_scores_taken_together(detection):
    short, whole = detection.as_dict(frames=False), detection.as_dict()
    assert [set(t) - set(s) for t, s in zip(whole["tracks"], short["tracks"], strict=True)] == [
        {
            "frame_numbers",
            "timestamps_s",
            "boxes",
            "detected",
            "scores",
            "probabilities",
            "speaking",
        }
    ] * 2
    scores = detection.frame_scores
    assert (len(scores), scores.tracks, scores.speaking) == (80, 2, None)
    parts = scores.by_track()
    for scored in detection.tracks:
        assert parts[scored.track.track_id].score.tolist() == scored.scores.tolist()


def test_a_notebook_shows_each_face(detection):
    text = replace(detection, name="<b>two</b>")._repr_html_()
    assert "<b>" not in text
    assert text.count("<tr>") == 3
    assert "0.00 to 1.00 s" in text
    assert "&lt;b&gt;two&lt;/b&gt;: 2 of 2 faces speak</caption>" in text


def test_a_notebook_shows_some_of_many_faces(detection):
    text = replace(detection, tracks=detection.tracks * 15)._repr_html_()
    assert text.count("<tr>") == 22
    assert "<td>and 10 more</td>" in text


def test_rttm_lines_have_ten_fields_and_come_by_time(detection):
    lines = list(rttm_lines(detection.name, detection.tracks))
    assert [len(line.split()) for line in lines] == [10, 10]
    assert lines[0] == "SPEAKER two_people 1 0.000 1.000 <NA> <NA> two_people:0 <NA> <NA>\n"
    assert lines[0].split()[3] < lines[1].split()[3]


def test_the_video_keeps_size_length_and_the_place_of_its_sound(outputs, detection):
    info = probe(outputs["mp4"])
    assert (info.width, info.height, info.n_frames) == (320, 240, 50)
    assert (info.video_codec, info.audio_codec) == ("h264", "aac")
    with av.open(str(outputs["mp4"])) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"
    onsets = onsets_s(read_waveform(outputs["mp4"]), 16_000, threshold=0.2)
    assert onsets == [pytest.approx(1.0, abs=0.01)]


def test_boxes_are_drawn_where_the_faces_are_and_by_state(outputs):
    pictures = [frame.rgb() for frame in read_frames(outputs["mp4"])]

    def edge(i, x):
        return pictures[i][80:120, x - 2 : x + 3].reshape(-1, 3).astype(int).mean(0)

    speaking, silent = edge(5, 40), edge(45, 40)
    assert speaking[1] > speaking[0] + 15
    assert silent[0] > silent[1] + 15
    assert np.abs(edge(5, 200) - 128).max() < 4


def test_a_failure_in_the_middle_leaves_nothing(detection, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    detection.path.write_bytes(detection.path.read_bytes()[:3000])
    with pytest.raises(Exception, match="two people"):
        detection.save(out)
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(detection, tmp_path):
    with pytest.raises(OutputError, match="below a file"):
        detection.save(detection.path / "below a file")


def test_the_video_itself_is_never_replaced(detection):
    before = detection.path.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(OutputExists, match="is an input of this command and is never replaced"):
            detection.save(detection.path.parent, overwrite=overwrite)
    assert detection.path.read_bytes() == before


def test_the_official_tool_reads_the_csv_and_the_labels(detection, outputs):
    scores = detection.frame_scores
    truth = outputs["labels.csv"]
    assert official_score(truth, outputs["csv"]) == pytest.approx(100)
    # Somebody who annotates the same rows otherwise.
    table = read_table(truth)
    speaking = np.arange(len(table)) % 3 == 0
    write_truth(
        truth,
        video_id="two people",
        entity_ids=[table.entities[k] for k in table.entity],
        timestamps_s=table.timestamps_s,
        boxes=table.boxes,
        speaking=speaking,
    )
    ours = score_files(truth, outputs["csv"]).average_precision
    assert official_score(truth, outputs["csv"]) == pytest.approx(100 * ours, abs=1e-9)
    assert len(np.unique(scores.score)) < len(scores)


def test_the_official_tool_refuses_decisions_as_labels_so_they_are_a_file_of_their_own(outputs):
    text = outputs["csv"].read_text()
    assert "NOT_SPEAKING" in outputs["labels.csv"].read_text()
    outputs["csv"].write_text(text.replace("SPEAKING_AUDIBLE", "NOT_SPEAKING", 1))
    with pytest.raises(ValueError, match="only SPEAKING_AUDIBLE"):
        official_score(outputs["labels.csv"], outputs["csv"])


def test_probability_and_decision_stand_beside_the_score(detection, outputs):
    with outputs["csv"].open() as file:
        rows = list(csv.DictReader(file))
    scores = np.array([float(row["score"]) for row in rows])
    probabilities = np.array([float(row["probability"]) for row in rows])
    speaking = [row["speaking"] == "1" for row in rows]
    assert probabilities == pytest.approx(1 / (1 + np.exp(-scores)), abs=1e-12)
    assert speaking == (scores > 0).tolist()
    assert read_table(outputs["labels.csv"]).speaking.tolist() == speaking
    strict = replace(
        detection,
        tracks=tuple(replace(t, rules=TurnRules(threshold=0.9)) for t in detection.tracks),
    )
    folder = outputs["csv"].parent / "strict"
    with strict.save(folder, video="none")["csv"].open() as file:
        strict_rows = list(csv.DictReader(file))
    assert [row["speaking"] == "1" for row in strict_rows] == (probabilities > 0.9).tolist()
    assert [row["score"] for row in strict_rows] == [row["score"] for row in rows]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe: not on this machine")
def test_ffprobe_reads_the_video(outputs):
    line = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-count_frames"]
    done = subprocess.run([*line, outputs["mp4"]], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    picture, sound = json.loads(done.stdout)["streams"]
    assert (picture["codec_name"], picture["nb_read_frames"]) == ("h264", "50")
    assert (sound["codec_name"], sound["codec_type"]) == ("aac", "audio")
    assert float(picture["duration"]) == pytest.approx(2.0, abs=0.041)


def test_another_detection_of_the_same_video_is_not_replaced(detection, outputs, tmp_path):
    before = outputs["csv"].read_bytes()
    again = replace(detection, seconds={"faces": 99.0})
    assert again.save(tmp_path / "out")["csv"].read_bytes() == before
    fewer = replace(detection, tracks=detection.tracks[:1])
    with pytest.raises(OutputExists, match="made with other settings"):
        fewer.save(tmp_path / "out")
    assert outputs["csv"].read_bytes() == before
