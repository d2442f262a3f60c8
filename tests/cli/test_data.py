"""`pushpull data ...` as it is typed, for people and for programs."""

import json

import cv2
import numpy as np
import pytest
from support.ava_files import truth_csv
from support.fileserver import file_server

from pushpull.annotations import read_table
from pushpull.data import faults
from pushpull.data.synth import SynthConfig, synth_example
from pushpull.media import probe


def test_synth_stats_verify(pushpull, tmp_path) -> None:
    root = tmp_path / "set"
    code, out, _ = pushpull(
        "data", "synth", root, "--tracks", 5, "--min-frames", 3, "--max-frames", 5, "--workers", 1
    )
    assert code == 0
    assert out.endswith("train 3, val 1, test 1\n")
    code, out, _ = pushpull("data", "stats", root, "--json", "--plot", tmp_path / "stats.png")
    stats = json.loads(out)["splits"]
    assert list(stats) == ["train", "val", "test"]
    assert stats["train"]["tracks"] == stats["train"]["people"] == 3
    assert sum(stats["train"]["cases"].values()) == 3
    assert cv2.imread(str(tmp_path / "stats.png")).std() > 10
    code, out, _ = pushpull("data", "stats", root)
    assert "train: 3 tracks" in out
    code, out, _ = pushpull("data", "verify", root)
    assert (code, out) == (0, "5 tracks read, 0 faults\n")


def test_what_cannot_be_is_refused(pushpull, tmp_path) -> None:
    code, _, err = pushpull("data", "synth", tmp_path / "x", "--tracks", 2)
    assert code == 1
    assert "expected at least 3 tracks" in err
    for option in ("--tracks", "--max-frames"):
        code, _, err = pushpull("data", "synth", tmp_path / "many", option, "99999999999999999999")
        assert (code, "expected at least 3 tracks (at most 100000000)" in err) == (1, True)
    assert not (tmp_path / "many").exists()
    code, _, err = pushpull("data", "verify", tmp_path)
    assert code == 1
    assert "holds no finished split" in err


class Broken:
    def __init__(self, example) -> None:
        self.example = example
        self.track_ids = ["x"]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i):
        return self.example


def test_faults_are_found() -> None:
    from dataclasses import replace

    good = synth_example(SynthConfig(tracks=5, seed=1, min_frames=8, max_frames=9), "train", 0)
    clip = good.clip
    still = clip.faces[:1].expand(len(clip.faces), 112, 112).clone()
    cases = {
        "timestamps do not rise": replace(good, timestamps_s=np.zeros(len(clip.faces))),
        "s of sound for": replace(good, clip=replace(clip, waveform=clip.waveform[:100])),
        "the sound is silent": replace(good, clip=replace(clip, waveform=clip.waveform * 0)),
        "of one grey level": replace(good, clip=replace(clip, faces=clip.faces * 0)),
        "all faces are the same": replace(good, clip=replace(clip, faces=still)),
        "a box has no area": replace(good, boxes=good.boxes * 0),
    }
    assert list(faults(Broken(good))) == []
    for what, broken in cases.items():
        assert any(what in fault.what for fault in faults(Broken(broken))), what


def test_a_video_to_try_things_on_with_its_truth(pushpull, document, tmp_path) -> None:
    path, truth = tmp_path / "new" / "talk.mp4", tmp_path / "truth.csv"
    line = ("data", "video", path, "--seconds", 1, "--truth", truth)
    assert pushpull(*line) == (0, f"{path}\n{truth}\n", "")
    code, record, err = document(*line)
    assert (code, record["video"], record["truth"], err) == (0, str(path), str(truth), "")
    assert probe(path).duration_s == pytest.approx(1, abs=0.05)
    table = read_table(truth)
    assert len(table) == 2 * 25
    assert 0 < table.speaking.sum() < 50
    other = ("data", "video", path, "--seconds", 1, "--people", 1, "--truth", truth)
    code, _, err = pushpull(*other)
    assert (code, len(read_table(truth))) == (2, 50)
    assert "--overwrite" in err
    assert pushpull(*other, "--overwrite")[0] == 0
    assert len(read_table(truth)) == 25


def test_a_video_without_length_is_refused(pushpull, tmp_path) -> None:
    code, _, err = pushpull("data", "video", tmp_path / "x.mp4", "--seconds", 0)
    assert code == 1
    assert "expected numbers above 0" in err
    assert list(tmp_path.iterdir()) == []


SMALL = ("--tracks", 5, "--min-frames", 3, "--max-frames", 5, "--workers", 1)


def test_programs_read_what_was_made_and_what_is_in_it(document, tmp_path) -> None:
    root = tmp_path / "set"
    code, record, _ = document("data", "synth", root, *SMALL)
    assert (code, record["kind"], record["data"]) == (0, "synth", str(root))
    assert record["tracks"] == {"train": 3, "val": 1, "test": 1}
    code, record, _ = document("data", "stats", root)
    assert (code, list(record["splits"])) == (0, ["train", "val", "test"])
    assert 0 < record["splits"]["train"]["speaking"] < 1
    assert document("data", "verify", root)[:2][1]["faults"] == []


def test_programs_read_which_clip_was_no_use(document, talking, tmp_path) -> None:
    clips = tmp_path / "clips"
    for person in "abc":
        (clips / person).mkdir(parents=True)
        (clips / person / f"{person}.mp4").symlink_to(talking)
    broken = clips / "a" / "broken.mp4"
    broken.write_bytes(b"no video")
    line = ("data", "talkset", clips, "--out", tmp_path / "set", "--face-finder", "dlib")
    code, record, err = document(*line, "--quiet")
    assert (code, record["kind"], record["clips"]) == (1, "talkset", 4)
    assert list(record["failures"]) == [str(broken)]
    assert set(record["tracks"]) == {"train", "val", "test"}
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_programs_read_what_came_of_ava(document, tmp_path) -> None:
    source, out = tmp_path / "ava", tmp_path / "packed"
    line = ("data", "ava-synthetic", source, "--videos", 2, "--seconds", 0.5)
    code, record, _ = document(*line)
    assert (code, record["kind"], len(record["entities"])) == (0, "synthetic-ava", 2)
    code, record, err = document("data", "ava", source, "--out", out, "--workers", 1)
    assert (code, record["kind"], err) == (0, "ava", "")
    assert record == json.loads((out / "ava.json").read_text())
    next(source.rglob("*.mp4")).unlink()
    code, record, err = document("data", "ava", source, "--out", tmp_path / "less", "--quiet")
    assert code == 1
    assert [p["lost"] for p in record["problems"]] == [True]
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_programs_read_which_file_is_missing(document, tmp_path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("gone.mp4\na.mp4\n")
    with file_server() as server:
        server.files["a.mp4"] = b"a video"
        code, record, err = document(
            "data", "ava-download", names, "--out", tmp_path / "videos", "--url", server.url
        )
    assert (code, record["here"], list(record["missing"])) == (1, ["a.mp4"], ["gone.mp4"])
    assert err.startswith("error: gone.mp4: ")


def test_only_a_data_set_is_drawn(pushpull, tmp_path) -> None:
    truth_csv(tmp_path / "g.csv", "SN")
    code, _, err = pushpull("data", "stats", tmp_path, "--plot", tmp_path / "x.png")
    assert code == 2
    assert "only one is drawn" in err
