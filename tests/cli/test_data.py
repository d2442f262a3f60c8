"""`pushpull data synth`, `stats` and `verify` as they are typed."""

import json

import cv2
import numpy as np
import pytest

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


def test_a_video_to_try_things_on_with_its_truth(pushpull, tmp_path) -> None:
    path, truth = tmp_path / "new" / "talk.mp4", tmp_path / "truth.csv"
    code, out, _ = pushpull("data", "video", path, "--seconds", 1, "--truth", truth)
    assert (code, out) == (0, f"{path}\n{truth}\n")
    assert probe(path).duration_s == pytest.approx(1, abs=0.05)
    table = read_table(truth)
    assert len(table) == 2 * 25
    assert 0 < table.speaking.sum() < 50
    code, _, _ = pushpull("data", "video", path, "--seconds", 1, "--people", 1, "--truth", truth)
    assert code == 0
    assert len(read_table(truth)) == 25


def test_a_video_without_length_is_refused(pushpull, tmp_path) -> None:
    code, _, err = pushpull("data", "video", tmp_path / "x.mp4", "--seconds", 0)
    assert code == 1
    assert "expected numbers above 0" in err
    assert list(tmp_path.iterdir()) == []
