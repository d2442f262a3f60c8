"""`pushpull detect` on real files: what it writes, and one clear line for what it cannot do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.media_files import make_video

from pushpull.annotations import read_table
from pushpull.detection import detect
from pushpull.detection.face_finders.finder import overlap
from pushpull.errors import ShapeError
from pushpull.media import Part, probe, read_waveform, write_wav
from pushpull.models.checkpoints import load
from pushpull.schema import Track
from pushpull.synthetic import Case, one_face_video

TABLES = ("csv", "json", "labels.csv", "rttm", "srt", "vtt")


def written(folder):
    """Names of what a user sees there."""
    return sorted(path.name for path in folder.glob("[!.]*"))


@pytest.fixture
def run(pushpull, checkpoint):
    """Run `pushpull detect` with random weights."""

    def run(*arguments):
        return pushpull("detect", *arguments, "--detector", checkpoint, "--face-finder", "dlib")

    return run


def test_four_files_come_out_and_agree(run, talking, tmp_path):
    code, out, err = run(talking, "--out", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    (record,) = json.loads(out)["videos"]
    assert set(record["outputs"]) == {*TABLES, "mp4"}
    (track,) = record["tracks"]
    assert track["frames"] == 25
    table = read_table(record["outputs"]["csv"], need_score=True)
    whole = json.loads((tmp_path / "out" / "talking.json").read_text())
    assert table.score.tolist() == pytest.approx(whole["tracks"][0]["scores"], abs=1e-6)
    assert table.timestamps_s.tolist() == pytest.approx(whole["tracks"][0]["timestamps_s"])
    assert probe(record["outputs"]["mp4"]).n_frames == 25
    assert set(record["seconds"]) >= {"sound", "faces", "model"}


def test_no_video_leaves_out_the_mp4(run, talking, tmp_path):
    code, out, _ = run(talking, "--out", tmp_path, "--video", "none")
    assert code == 0
    assert written(tmp_path) == [f"talking.{kind}" for kind in TABLES]
    assert "speaking" in out


def test_the_function_returns_what_the_command_writes(talking, checkpoint):
    result = detect(talking, checkpoint, face_finder="dlib")
    (scored,) = result.tracks
    assert isinstance(scored.track, Track)
    assert scored.scores.shape == (25,)
    assert result.settings["model"] == "lr_asd"
    assert result.settings["crop"] == "ava"


def test_half_precision_is_another_result_and_is_said(talking, checkpoint):
    detector = load(checkpoint)
    whole, half = (
        detect(talking, detector, face_finder="dlib", precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert (whole.settings["precision"], half.settings["precision"]) == ("float32", "bfloat16")
    assert whole.origin.key != half.origin.key
    assert (whole.tracks[0].scores != half.tracks[0].scores).any()
    assert np.abs(whole.tracks[0].scores - half.tracks[0].scores).max() < 0.5


def test_variable_frame_rates_keep_their_real_timestamps(talking, checkpoint, tmp_path):
    from pushpull.media import read_frames

    pictures = [frame.rgb() for frame in read_frames(talking)]
    times = np.cumsum(np.where(np.arange(25) % 3 == 0, 0.06, 0.03)).tolist()
    path = make_video(
        tmp_path / "variable.mkv",
        timestamps_s=times,
        size=(320, 240),
        picture=lambda i: pictures[i],
    )
    (scored,) = detect(path, checkpoint, face_finder="dlib").tracks
    assert scored.track.timestamps_s == pytest.approx(np.array(times) - times[0], abs=2e-3)
    assert len(scored.scores) == 25


def grey(path, **options):
    return make_video(
        path, size=(320, 240), picture=lambda i: np.full((240, 320, 3), 90, np.uint8), **options
    )


def no_video_stream(path, talking):
    path = path.with_suffix(".wav")
    write_wav(path, read_waveform(talking))
    return path


def silent(path, talking):
    return grey(path, sound=np.zeros(32_000))


def cut_off(path, talking):
    path.write_bytes(talking.read_bytes()[: int(0.3 * talking.stat().st_size)])
    return path


def scrambled(path, talking):
    data = bytearray(talking.read_bytes())
    rng = np.random.default_rng(0)
    data[200 : len(data) // 2] = rng.bytes(len(data) // 2 - 200)
    path.write_bytes(data)
    return path


def zero_bytes(path, talking):
    path.write_bytes(b"")
    return path


def text(path, talking):
    path.write_text("This is not a video.\n" * 100)
    return path


BAD = {
    "no such file": (lambda path, talking: path, "no such file"),
    "no video stream": (no_video_stream, "has no video stream"),
    "no audio stream": (lambda path, talking: grey(path, has_sound=False), "has no audio stream"),
    "silent audio": (silent, "the sound is silent"),
    "cut off": (cut_off, ""),
    "scrambled": (scrambled, ""),
    "zero bytes": (zero_bytes, "is empty (0 bytes)"),
    "text": (text, "is text; expected a video"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_video_is_one_line_and_the_others_are_done(run, talking, tmp_path, case):
    make, message = BAD[case]
    bad = make(tmp_path / "bad.mp4", talking)
    out = tmp_path / "out"
    code, _, err = run(bad, talking, "--out", out, "--video", "none")
    lines = err.splitlines()
    assert code == 1
    assert len(lines) == 2, err
    assert lines[0].startswith("error: ")
    assert bad.name in lines[0]
    assert message in lines[0]
    assert lines[1] == "1 of 2 videos failed"
    assert written(out) == [f"talking.{kind}" for kind in TABLES]


@pytest.mark.parametrize("n_frames", [25, 1])
def test_a_video_without_faces_is_a_result_without_rows(run, tmp_path, n_frames):
    path = grey(tmp_path / "grey.mp4", n_frames=n_frames)
    code, out, err = run(path, "--out", tmp_path / "out")
    assert code == 0
    assert "0 faces" in out
    assert f"no face was found by dlib in any of the {n_frames} frames" in err
    assert err.count("\n") == 1
    folder = tmp_path / "out"
    assert written(folder) == sorted(f"grey.{kind}" for kind in (*TABLES, "mp4"))
    (header,) = (folder / "grey.csv").read_text().splitlines()
    assert header.startswith("video_id,frame_timestamp,")
    assert json.loads((folder / "grey.json").read_text())["tracks"] == []
    assert (folder / "grey.rttm").read_text() == ""
    assert probe(folder / "grey.mp4").n_frames == n_frames


def test_the_face_finder_and_why_are_in_the_json(run, talking, tmp_path):
    _, out, _ = run(talking, "--out", tmp_path, "--video", "none", "--json")
    (record,) = json.loads(out)["videos"]
    assert record["settings"]["face_finder"] == "dlib"
    assert record["settings"]["face_finder_reason"] == "asked for"
    assert record["notes"] == []


def test_silence_is_scored_where_it_is_allowed(run, talking, tmp_path):
    from pushpull.media import VideoWriter, read_frames

    path = tmp_path / "mute.mp4"
    with VideoWriter(
        path, width=320, height=240, fps=25, audio=np.zeros(16_000, np.float32)
    ) as writer:
        for frame in read_frames(talking):
            writer.write(frame.rgb(), frame.time_s)
    line = (path, "--out", tmp_path / "out", "--video", "none", "--allow-silent")
    code, _, err = run(*line)
    assert code == 0
    assert err == f"{path}: the sound is silent (all samples are zero)\n"
    assert run(*line, "--quiet")[::2] == (0, "")


def test_errors_are_in_the_json_too(run, talking, tmp_path):
    empty = zero_bytes(tmp_path / "empty.mp4", talking)
    code, out, _ = run(empty, talking, "--out", tmp_path / "out", "--video", "none", "--json")
    bad, good = json.loads(out)["videos"]
    assert code == 1
    assert "is empty" in bad["error"]
    assert good["tracks"]


def test_an_output_that_is_a_file_is_refused(run, talking, tmp_path):
    (tmp_path / "out").write_text("in the way")
    code, _, err = run(talking, "--out", tmp_path / "out")
    assert code == 1
    assert err.count("\n") == 1
    assert "cannot write here" in err


def test_an_input_is_never_overwritten(run, talking, tmp_path):
    copy = Path(shutil.copy(talking, tmp_path / "talk.mp4"))
    before = copy.stat().st_mtime_ns
    code, _, err = run(copy, "--out", tmp_path)
    assert code == 2
    assert "is an input" in err
    assert copy.stat().st_mtime_ns == before
    assert [p.name for p in tmp_path.iterdir()] == ["talk.mp4"]


def test_published_weights_call_the_synthetic_speaker_speaking(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    scene = one_face_video(tmp_path / "talk.mp4", seed=0, duration_s=6.0)
    (scored,) = detect(tmp_path / "talk.mp4", "light-asd-ava", face_finder="dlib").tracks
    speaking = scene.speaking[0].astype(bool)[scored.track.frames]
    assert scored.scores[speaking].mean() > scored.scores[~speaking].mean() + 1


@pytest.mark.parametrize("part", [Part(0.0, 0.6), Part(0.5, 1.1), Part(0.92, float("inf"))])
def test_a_part_has_the_rows_of_the_whole_in_it(checkpoint, tmp_path, part):
    path = tmp_path / "talk.mp4"
    one_face_video(path, seed=2, duration_s=1.6, size=(320, 240), case=Case.SPEAKING)
    [whole] = detect(path, checkpoint, face_finder="dlib").tracks
    found = detect(path, checkpoint, face_finder="dlib", part=part)
    [scored] = found.tracks
    times_s = whole.track.timestamps_s
    inside = (times_s >= part.start_s - 1e-6) & (times_s < part.end_s - 1e-6)
    np.testing.assert_array_equal(scored.track.frames, whole.track.frames[inside])
    np.testing.assert_allclose(scored.track.timestamps_s, times_s[inside], atol=1e-9)
    pairs = zip(scored.track.boxes, whole.track.boxes[inside], strict=True)
    assert min(overlap(a, b[None]).item() for a, b in pairs) > 0.5
    files = found.save(tmp_path / "out")
    drawn = probe(files["mp4"])
    assert drawn.n_frames == inside.sum()
    # Sound is written in whole AAC frames of 64 ms.
    assert drawn.duration_s == pytest.approx(inside.sum() / 25, abs=0.065)


@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf])
def test_a_waveform_that_is_no_number_is_not_called_silent(talking, checkpoint, level):
    waveform = np.full(16_000, 0.1, np.float32)
    waveform[100] = level
    with pytest.raises(ShapeError, match="holds what is no number"):
        detect(talking, checkpoint, face_finder="dlib", waveform=waveform)
