"""A batch in which all files but two are bad: two are done, and each of the others is named."""

import json
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from support.media_files import make_video

from pushpull.runtime.outputs import RECORD


def lying(path):
    """A film that states a length of three thousand years."""
    make_video(path, size=(64, 48), n_frames=25, audio_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 1e14)
    path.write_bytes(data)


def test_no_file_ends_a_batch_whatever_is_wrong_with_it(pushpull, talking, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    lying(folder / "lying.mkv")
    (folder / "loop.mp4").symlink_to(folder / "pool.mp4")
    (folder / "pool.mp4").symlink_to(folder / "loop.mp4")
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "empty.mp4").touch()
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile 'talk.mp4'\n")
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))
    for good in (folder / "talk.mp4", odd):
        good.write_bytes(talking.read_bytes())
    out = tmp_path / "out"
    line = ("detect", folder, "-d", "synthetic-a", "--face-finder", "dlib", "--video", "none")
    code, text, err = pushpull(*line, "--out", out, "--json")
    assert code == 1
    records = json.loads(text)["videos"]
    done = {record["name"] for record in records if "error" not in record}
    assert done == {"talk", "caf\ufffd"}
    failed = {Path(r["video"]).name: r["error"] for r in records if "error" in r}
    assert failed.keys() == {
        "lying.mkv", "loop.mp4", "pool.mp4", "gone.mp4", "pipe.mp4", "folder.mp4", "empty.mp4",
        "list.mp4", "noise.mp4",
    }  # fmt: skip
    for name, why in failed.items():
        assert name in why
        assert "nobody foresaw" not in why
    assert err.count("error: ") == 9
    names = {path.name for path in out.iterdir()} - {RECORD}
    assert names == {
        f"{name}.{suffix}"
        for name in done
        for suffix in ("csv", "labels.csv", "json", "rttm", "srt", "vtt")
    }
    # The same again finds its own results and replaces them.
    assert pushpull(*line, "--out", out, "--json")[0] == 1


def test_attack_goes_on_after_a_bad_file_and_writes_odd_names(pushpull, talking, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    odd.write_bytes(talking.read_bytes())
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    line = ("attack", tmp_path / "loop.mp4", odd, "-d", "synthetic-a", "-a", "fgsm")
    code, _, err = pushpull(*line, "--face-finder", "dlib", "--out", tmp_path / "out")
    assert code == 1
    assert err.count("error: ") == 1
    assert "loop.mp4" in err
    assert (tmp_path / "out" / "caf\ufffd" / "results.json").is_file()


def with_sound(video, path, samples):
    """A copy of a video with another sound, samples (S,) at 16 kHz as they are."""
    with av.open(str(video)) as old, av.open(str(path), "w") as new:
        pictures = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream("pcm_f32le", rate=16000, layout="mono")
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                new.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.rate, frame.pts = 16000, 0
        new.mux(sound.encode(frame))
        new.mux(sound.encode(None))


@pytest.mark.parametrize(
    "line",
    [
        ("detect", "--video", "fast"),
        *(("attack", "-a", "fgsm", "--modality", way) for way in ("audio", "visual", "both")),
    ],
    ids=lambda line: f"{line[0]} {line[-1]}",
)
def test_sound_that_is_no_number_is_said_to_be_none(pushpull, talking, tmp_path, line):
    levels = {"nan": np.nan, "inf": np.inf, "minus": -np.inf, "huge": 1e30}
    (tmp_path / "in").mkdir()
    for name, level in levels.items():
        samples = np.full(16000, level, np.float32)
        with_sound(talking, tmp_path / "in" / f"{name}.mkv", samples)
    command, *options = line
    options += ["-d", "synthetic-a", "--face-finder", "dlib", "--out", tmp_path / "out"]
    code, _, err = pushpull(command, tmp_path / "in", *options, "--quiet")
    assert code == 1
    said = err.splitlines()
    assert len(said) == len(levels)
    for one in said:
        name = next(name for name in levels if f"/in/{name}.mkv: " in one)
        reason = "beyond full scale" if name == "huge" else "are not numbers"
        assert reason in one
        assert "expected numbers from -1 to 1" in one
        assert "silent" not in one
        assert "unfinished" not in one
    left = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {path.name for path in left} <= {RECORD}
