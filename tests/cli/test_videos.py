"""Commands on videos, for programs and without notes; files and folders of files."""

import json
import re
import subprocess
import sys

import pytest

from pushpull.detection.face_finders import YuNet

DLIB = ("--face-finder", "dlib")


def test_videos_of_a_folder_are_detected(document, talking, checkpoint, tmp_path):
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    (folder / "one.mp4").symlink_to(talking)
    (folder / "two.mp4").write_bytes(b"no video")
    line = ("detect", folder, "-d", checkpoint, "--out", out, "--video", "none", *DLIB)
    code, record, err = document(*line, "--quiet")
    assert (code, record["kind"]) == (1, "detections")
    good, bad = record["videos"]
    assert good["video"] == str(folder / "one.mp4")
    assert 0 <= good["tracks"][0]["speaking_share"] <= 1
    assert set(bad) == {"video", "error"}
    assert err == f"error: {bad['error']}\n"


def test_videos_of_a_folder_are_attacked(document, talking, checkpoint, tmp_path):
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    (folder / "one.mp4").symlink_to(talking)
    line = ("attack", folder, "-d", checkpoint, "--out", out, "--steps", 1, *DLIB)
    code, record, _ = document(*line, "--quiet")
    assert (code, record["kind"]) == (0, "video-attacks")
    (attack,) = record["videos"]
    assert attack == json.loads((out / "one" / "results.json").read_text())
    assert 0 <= attack["adversarial"]["accuracy"] <= 1


@pytest.mark.skipif(not YuNet.is_here(), reason="YuNet's model is not here")
def test_faces_of_the_videos_of_a_folder_are_hidden(document, pushpull, talking, tmp_path):
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    (folder / "one.mp4").symlink_to(talking)
    (folder / "two.mp4").write_bytes(b"no video")
    line = ("hide-faces", folder, "--out", out, "--steps", 2, "--levels", 12, "--end", 0.4, *DLIB)
    code, record, _ = document(*line, "--quiet")
    assert (code, record["kind"]) == (1, "face-hidings")
    good, bad = record["videos"]
    assert good == json.loads((out / "one" / "results.json").read_text())
    assert good["clean"] == {"faces": 1, "frames": 10}
    assert good["change"]["linf"] <= 12
    assert set(bad) == {"video", "error"}
    (folder / "two.mp4").unlink()
    code, said, err = pushpull(*line, "--quiet")
    assert code == 0, err
    assert "1 face, 10 frames of them" in said
    assert "found in the lossless file:" in said


@pytest.mark.parametrize("command", ["detect", "attack", "hide-faces"])
def test_a_folder_without_videos_is_named(pushpull, tmp_path, command):
    code, out, err = pushpull(command, tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"{tmp_path}: holds no video" in err


def test_the_app_says_where_it_is_in_one_document(checkpoint, tmp_path):
    line = ["app", "--port", "0", "--json", "-d", str(checkpoint), "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "pushpull", *line], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as app:
        text = ""
        while "\n}\n" not in text:
            said = app.stdout.readline()
            assert said, text
            text += said
        app.terminate()
        assert app.stdout.read() == ""
    record = json.loads(text)
    assert (record["kind"], record["schema_version"]) == ("app", 1)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", record["url"])
