"""The demo on a real synthetic video with real weights."""

import json

import pytest

from pushpull.cli.demo import reachable_detector, run_demo
from pushpull.errors import CheckpointError
from pushpull.runtime.outputs import RECORD

SUFFIXES = {"csv", "labels.csv", "json", "rttm", "srt", "vtt", "mp4"}


def test_the_demo_finds_both_people_and_when_they_speak(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    said = []
    result = run_demo(tmp_path / "demo", duration_s=6.0, say=said.append)
    assert any("light-asd-ava (MIT, trained on AVA-ActiveSpeaker)" in line for line in said)
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {
        RECORD,
        "two-people.mp4",
        *(f"who-speaks.{suffix}" for suffix in SUFFIXES),
    }
    assert [len(person.scores) for person in result.people] == [150, 150]
    assert all(person.scores.average_precision > 0.8 for person in result.people)
    assert len(json.loads(result.outputs["json"].read_text())["tracks"]) == 2


def test_the_demo_is_one_document(document, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    code, record, err = document("demo", "--out", tmp_path, "--quiet")
    assert (code, record["kind"], err) == (0, "demo", "")
    assert record["detector"] == "light-asd-ava"
    assert [person["person"] for person in record["people"]] == [0, 1]
    assert all(0.8 < person["accuracy"] <= 1 for person in record["people"])
    assert set(record["outputs"]) == SUFFIXES


def test_without_weights_and_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHPULL_CACHE", str(tmp_path))
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", "")
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    said = []
    with pytest.raises(CheckpointError, match=r"no weights can be reached: .* put the file at"):
        reachable_detector(said.append)
    assert said[0].startswith("no weights on this machine: fetching light-asd-ava")
