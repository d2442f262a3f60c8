"""Faces that somebody else found: as good as those found here, and checked before they are used."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ava_files import HEADER

from pushpull.detection import GivenFace, detect, read_faces, tracks_of
from pushpull.errors import AnnotationError
from pushpull.media import Frame
from pushpull.runtime.records import write_json

PICTURE = np.zeros((100, 200, 3), np.uint8)


def frames_at(times_s, first=0):
    return [Frame.from_rgb(first + i, t, PICTURE) for i, t in enumerate(times_s)]


def face(times_s, *, name="ada", left=None):
    times_s = np.asarray(times_s, float)
    left = 40.0 + np.zeros(len(times_s)) if left is None else np.asarray(left, float)
    boxes = np.stack([left, left * 0 + 20, left + 50, left * 0 + 80], 1)
    return GivenFace(name=name, timestamps_s=times_s, boxes=boxes)


@pytest.fixture(scope="module")
def found(talking):
    return detect(talking, "synthetic-a", face_finder="dlib")


@pytest.mark.parametrize("suffix", ["json", "csv", "labels.csv"])
def test_our_own_files_give_the_same_faces_and_scores(found, talking, tmp_path, suffix):
    path = found.save(tmp_path, video="none")[suffix]
    again = detect(talking, "synthetic-a", boxes=path)
    assert again.settings["face_finder"] == "boxes"
    assert again.settings["face_finder_reason"] == f"given in talking.{suffix}"
    assert len(again.tracks) == len(found.tracks) == 1
    for one, other in zip(again.tracks, found.tracks, strict=True):
        assert one.track.track_id == other.track.track_id
        assert one.track.frames.tolist() == other.track.frames.tolist()
        assert one.track.timestamps_s.tolist() == other.track.timestamps_s.tolist()
        # Files hold ten thousandths of a pixel, or millionths of the picture.
        assert np.abs(one.track.boxes - other.track.boxes).max() < 2e-4
        # By so little a grey level here and there is another one after the crop's rounding.
        assert np.abs(one.scores - other.scores).max() < (2e-3 if suffix == "json" else 1e-2)
        assert one.turns == other.turns


def test_boxes_decide_and_not_what_could_be_found(found, talking, tmp_path):
    box = found.tracks[0].track.boxes[0] / [320, 240, 320, 240]
    rows = [
        f"talking,{k / 25:.2f},{','.join(f'{v:.4f}' for v in where)},NOT_SPEAKING,{who}"
        for who, where in (("wall", (0.02, 0.02, 0.2, 0.3)), ("ada", box))
        for k in range(5, 15)
    ]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    again = detect(talking, "synthetic-a", boxes=path)
    assert [t.track.frames.tolist() for t in again.tracks] == [list(range(5, 15))] * 2
    assert again.tracks[0].track.boxes[0] == pytest.approx([6.4, 4.8, 64, 72])
    assert again.tracks[1].scores.mean() > again.tracks[0].scores.mean() + 1


def test_rows_of_a_lower_rate_are_filled_between_and_long_gaps_end_a_face():
    seen = face([0.0, 0.2, 0.4, 2.0, 2.08], left=[0, 10, 20, 50, 54])
    first, second = tracks_of([seen], frames_at(np.arange(60) / 25))
    assert first.frames.tolist() == list(range(11))
    assert first.boxes[:, 0] == pytest.approx(np.arange(11) * 2.0)
    assert np.flatnonzero(first.detected).tolist() == [0, 5, 10]
    assert second.frames.tolist() == [50, 51, 52]
    assert second.boxes[:, 0] == pytest.approx([50, 52, 54])
    assert (first.track_id, second.track_id) == (0, 1)


def test_a_slow_film_has_no_gaps_and_a_hole_in_it_is_none_of_the_face():
    times_s = np.array([0.0, 1.0, 2.0, 3.0])
    (track,) = tracks_of([face(times_s)], frames_at(times_s))
    assert track.frames.tolist() == [0, 1, 2, 3]


def test_numbers_are_those_of_the_names_where_each_has_its_own():
    def numbers(*names):
        given_faces = [face([0.0, 0.04], name=name) for name in names]
        return [t.track_id for t in tracks_of(given_faces, frames_at([0.0, 0.04]))]

    assert numbers("talk:3", "talk:7") == [3, 7]
    assert numbers("ada", "bob") == [0, 1]
    assert numbers("ada", "talk:0", "bob") == [0, 1, 2]
    assert numbers("a:1", "b:1") == [0, 1]
    assert numbers("x:99999999999") == [0]


@given(
    st.integers(1, 40), st.sampled_from([24.0, 25.0, 30_000 / 1001, 60.0]),
    st.floats(0, 5000), st.integers(0, 3), st.data(),
)  # fmt: skip
def test_every_row_is_on_the_frame_of_its_time_whatever_the_rounding(n, fps, start_s, part, data):
    times_s = start_s + np.arange(n) / fps
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    left = np.arange(n) * 1.0
    # As AVA rounds them, or as files of ours do; half a frame at 60 per second is 0.0083 s.
    digits = data.draw(st.sampled_from([2, 3, 6]))
    rows = face(times_s[chosen].round(digits), left=left[chosen])
    tracks = tracks_of([rows], frames_at(times_s, first=part * 10))
    on = {
        int(frame): (float(box[0]), bool(seen))
        for track in tracks
        for frame, box, seen in zip(track.frames, track.boxes, track.detected, strict=True)
    }
    assert sorted(f for f, (_, seen) in on.items() if seen) == (part * 10 + chosen).tolist()
    for k in chosen.tolist():
        assert on[part * 10 + k][0] == pytest.approx(left[k], abs=1e-6)


def test_boxes_of_no_frame_are_a_result_without_faces(talking, tmp_path):
    path = tmp_path / "late.csv"
    path.write_text(f"{HEADER}\ntalking,900.0,0.1,0.1,0.4,0.5,NOT_SPEAKING,a\n")
    result = detect(talking, "synthetic-a", boxes=path)
    assert result.tracks == ()
    assert result.notes[-1] == (
        f"no box of {path} is at the time of a frame (boxes from 900.00 to 900.00 s; frames from "
        "0.00 to 0.96 s)"
    )


ROW = "talk,0.0,0.1,0.1,0.4,0.5,NOT_SPEAKING,a"
TRACK = {"track_id": "t:0", "timestamps_s": [0.0], "boxes": [[1, 1, 9, 9]]}
RECORD = {
    "kind": "detection", "schema_version": 1, "width": 200, "height": 100, "tracks": [TRACK]
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ROW.replace("0.4", "40"), r"line 1 \(talk a at 0 s\): the box is no share of the picture"),
        (ROW.replace("0.4", "0.1"), "the box is empty; expected x1 < x2"),
        (f"{ROW}\n{ROW}", r"line 2 .*: a second box of this face at this time; keep one"),
        (
            ROW.replace("talk", "x") + "\n" + ROW.replace("talk", "y"),
            "holds boxes of x, y, none of",
        ),
        ("words", "neither a header nor a row"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused(tmp_path, text, says):
    path = tmp_path / "boxes.csv"
    path.write_text(text + "\n")
    with pytest.raises(AnnotationError, match=says):
        read_faces(path, "talk", width=200, height=100)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "score"}, "is no record of kind 'detection'"),
        ({"width": 100}, "is of a picture of 100 x 100 pixels; the video has 200 x 100"),
        ({"width": "200"}, "is of a picture of '200' x 100 pixels; the video has 200 x 100"),
        ({"tracks": None}, "has no list of tracks"),
        ({"tracks": [3]}, "track 0: is no object"),
        ({"tracks": [{**TRACK, "boxes": [[1, 1, 9]]}]}, r"boxes \(1, 3\); expected \(N,\)"),
        ({"tracks": [{**TRACK, "boxes": "x"}]}, "boxes are no numbers"),
        ({"tracks": [{**TRACK, "boxes": [[1, [1], 9, 9]]}]}, "boxes are no numbers"),
        ({"tracks": [{**TRACK, "timestamps_s": [float("nan")]}]}, "not all finite"),
        ({"tracks": [{**TRACK, "timestamps_s": []}]}, "expected"),
        ({"tracks": [{"track_id": 3}]}, "expected|finite|numbers"),
        ({"tracks": [{**TRACK, "boxes": [[201, 1, 230, 9]]}]}, "no box shows any of the picture"),
        ({"tracks": [{**TRACK, "boxes": [[9, -30, 20, -2]]}]}, "no box shows any of the picture"),
        ({"tracks": [{**TRACK, "boxes": [[9, 1, 9, 9]]}]}, "times must rise, and no box be empty"),
    ],
)
def test_a_json_that_cannot_be_used_is_refused(tmp_path, change, says):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(AnnotationError, match=says):
        read_faces(path, "talk", width=200, height=100)
    path.write_text(json.dumps(RECORD))
    assert len(read_faces(path, "talk", width=200, height=100)) == 1


def test_the_command_scores_given_faces_and_guards_their_file(pushpull, talking, tmp_path):
    boxes = tmp_path / "talking.labels.csv"
    boxes.write_text(f"{HEADER}\ntalking,0.2,0.3,0.2,0.7,0.8,NOT_SPEAKING,ada\n")
    line = ("detect", talking, "-d", "synthetic-a", "--boxes", boxes, "--video", "none", "--json")
    code, out, err = pushpull(*line, "--out", tmp_path / "out")
    assert code == 0, err
    (record,) = json.loads(out)["videos"]
    assert [(t["frames"], t["start_s"]) for t in record["tracks"]] == [(1, 0.2)]
    code, _, err = pushpull(*line, "--out", tmp_path, "--overwrite")
    assert code == 2
    assert "talking.labels.csv: is an input of this command and is never replaced" in err
    boxes.write_text(boxes.read_text().replace("0.2,0.3", "0.24,0.3"))
    code, _, err = pushpull(*line, "--out", tmp_path / "out")
    assert code == 2
    assert "made of another input" in err


def test_boxes_at_the_time_of_no_frame_are_counted(pushpull, talking, tmp_path):
    boxes = tmp_path / "talking.csv"
    row = "talking,{},0.3,0.2,0.7,0.8,NOT_SPEAKING,ada"
    boxes.write_text("\n".join([HEADER, *(row.format(t) for t in (-5, 0.2, 0.24, 1e30))]) + "\n")
    line = ("detect", talking, "-d", "synthetic-a", "--boxes", boxes, "--video", "none")
    _, out, err = pushpull(*line, "--out", tmp_path / "out", "--json")
    said = f"2 of 4 boxes of {boxes} are at the time of no frame: left out"
    assert said in json.loads(out)["videos"][0]["notes"]
    assert said in err
    # Of a part nobody wants the boxes of the rest.
    _, _, err = pushpull(*line, "--out", tmp_path / "part", "--end", "0.5")
    assert "left out" not in err


def test_boxes_that_would_take_all_memory_are_refused(tmp_path):
    track = {"timestamps_s": [0.0], "boxes": [[0.0, 0.0, 1e9, 1e9]]}
    record = {"width": 320, "height": 240, "tracks": [track]}
    write_json(tmp_path / "boxes.json", record, kind="detection")
    with pytest.raises(AnnotationError, match="is far outside the picture of 320 x 240 pixels"):
        read_faces(tmp_path / "boxes.json", "talk", width=320, height=240)
    track["boxes"] = [[-40.0, -40.0, 90.0, 90.0]]
    write_json(tmp_path / "boxes.json", record, kind="detection")
    assert len(read_faces(tmp_path / "boxes.json", "talk", width=320, height=240)) == 1
