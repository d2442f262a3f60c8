"""A few spoilt inputs of each kind; more by hand, `python -m fuzz`."""

import os
import random
import time
from pathlib import Path

import pytest

from fuzz.__main__ import EVERY, generator, page, run
from fuzz.judging import judged, library
from fuzz.mutation import mutated, mutated_json, mutated_text

FEW = {
    "media": 12,
    "tables": 12,
    "checkpoints": 16,
    "settings": 16,
    "datasets": 12,
    "records": 16,
    "http": 25,
}


@pytest.mark.parametrize("kind", EVERY)
def test_nothing_is_broken_by_a_few_spoilt_inputs(kind, tmp_path):
    result = run(kind, 1, range(FEW[kind]), tmp_path / "found", most_s=60)
    assert result["faults"] == []
    assert set(result["counts"]) <= {"done", "refused"}


def raise_it():
    raise KeyError("fps")


def hang():
    while True:
        pass


def leave_half():
    Path(".talk-0123abcd.unfinished.mp4").touch()


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (lambda: None, "done"),
        (lambda: os._exit(3), "exit code"),
        (lambda: os._exit(1), "no message"),
        (raise_it, "traceback"),
        (os.abort, "crash"),
        (hang, "hang"),
        (leave_half, "half-written file"),
        (lambda: bytearray(1 << 40), "traceback"),
    ],
)
def test_a_fault_is_told_by_its_kind(action, kind, tmp_path):
    assert judged(action, tmp_path, cpu_s=1).kind == kind


def test_an_error_of_ours_is_no_fault(tmp_path):
    from pushpull.media import probe

    verdict = judged(library(lambda: probe("nowhere.mp4")), tmp_path)
    assert verdict.kind == "refused"
    assert verdict.said.startswith("error: nowhere.mp4: no such file")


def test_a_fault_is_kept_with_its_input(tmp_path, monkeypatch):
    from pushpull.data import inspection

    monkeypatch.setattr(inspection, "faults", None)
    monkeypatch.setattr("pushpull.data.open_tracks", None)
    result = run("datasets", 0, range(6), tmp_path)
    assert result["faults"]
    case = result["faults"][0]["case"]
    kept = tmp_path / f"datasets-0-{case}"
    assert (kept / "what.txt").read_text().startswith("traceback\n")
    assert (kept / "data").is_dir()


def test_a_case_is_the_same_again_whatever_is_run_beside_it():
    data = bytes(range(256)) * 20
    first = [mutated(data, generator("media", 0, n)) for n in range(5)]
    again = [mutated(data, generator("media", 0, n)) for n in reversed(range(5))]
    assert first == again[::-1]
    assert len(set(first)) == 5


def test_texts_and_values_are_spoilt_whatever_they_are():
    rng = random.Random(0)
    for _ in range(300):
        mutated_text("a,b\n1,2\n", rng)
        mutated_json({"a": [1, {"b": None}], "c": "d"}, rng)
        mutated(b"", rng)


def test_the_page_says_counts_and_faults():
    result = {"cases": 3, "counts": {"done": 1, "refused": 1, "hang": 1}, "seconds": 2.0}
    said = {
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "command": "python -m fuzz record",
        "kinds": {"media": result | {"faults": [{"case": 2, "what": "hang"}]}},
    }
    text = page(said)
    assert "| media | 3 | 1 | 1 | 1 | 2 |" in text
    assert "- media, case 2: hang" in text
