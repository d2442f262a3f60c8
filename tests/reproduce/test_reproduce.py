import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.reproduce_presets import SHORT, TINY

from pushpull.errors import ConfigError, UnknownName
from pushpull.reproduce import PRESETS, preset_of, reproduce
from pushpull.reproduce.rows import ROWS


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("reproduce")
    # As in the processes of a run with several workers, so that results are equal bit for bit.
    torch.set_num_threads(1)
    return out, reproduce(TINY, out, name="tiny", workers=1, overwrite=True)


def test_every_part_is_there(done: tuple[Path, dict[str, Any]]) -> None:
    out, results = done
    table = results["table1"]
    assert [row["row"] for row in table["rows"]] == ["A", "B3", "D3"]
    assert table["attacks"] == ["bim", "mim", "pgd", "suite"]
    # One epoch on 8 tracks teaches nothing, and what has not learnt is compared with nothing.
    able = [row["row"] for row in table["rows"] if row["learnt"]]
    assert table["subset"]["models"] == len(able)
    assert table["subset"]["not_learnt"] == [r for r in ("A", "B3", "D3") if r not in able]
    assert {p["eps"] for p in results["figure3"]["curves"]["from spec"]} == {5.0, 50.0}
    assert set(results["figure4"]["bars"]) == {"bim", "mim", "pgd"}
    assert results["norms"]["D3"]["clean"]["audio_norm"] > 0
    assert json.loads((out / "results.json").read_text())["table1"] == table
    for row in table["rows"]:
        assert list(row["columns"]) == ["clean", "bim", "mim", "pgd", "suite", "worst"]
        for kinds in row["columns"].values():
            assert list(kinds) == ["all", "right", "right_tracks"]
            for cell in kinds.values():
                assert 0 <= (cell["accuracy"] or 0) <= 1
                assert all(0 <= value <= 1 for value in cell["values"])
                assert sorted(cell["interval"] or []) == (cell["interval"] or [])
                assert all(0 <= end <= 1 for end in cell["interval"] or [])
    rows = list(csv.DictReader((out / "table1.csv").read_text().splitlines()))
    assert len(rows) == 3 * 6 * 3
    of_a = {r["frames"]: r["paper"] for r in rows if (r["row"], r["attack"]) == ("A", "pgd")}
    assert of_a == {"all": "", "right": "", "right_tracks": "0.4779"}
    cells = {(c["l1"], c["l4"]): c for c in results["map"]["cells"]}
    assert set(cells) == {(0, 0), (0, 0.1), (0.1, 0), (0.1, 0.1)}
    assert {c["seeds"] for c in cells.values()} == {1}
    assert tuple(results["map"]["best"]) in cells
    listed = list(csv.DictReader((out / "map.csv").read_text().splitlines()))
    assert [(float(r["l1"]), float(r["l4"])) for r in listed] == list(cells)
    assert [float(r["clean"]) for r in listed] == [
        c["clean"]["average_precision"] for c in cells.values()
    ]
    assert {f["reproduced"] for f in results["findings"]} <= {"yes", "no", "open"}


def test_the_page_stands_alone(done: tuple[Path, dict[str, Any]]) -> None:
    page = (done[0] / "report.html").read_text()
    for outside in ('src="http', 'href="http', "<script", "@import", "url("):
        assert outside not in page
    assert page.count("data:image/png;base64,") >= 4
    assert page.count("data:audio/wav;base64,") >= 4


@pytest.mark.parametrize("part", ["table1", "figure3", "figure4", "map"])
def test_one_part_alone(done: tuple[Path, dict[str, Any]], part: str) -> None:
    out, results = done
    alone = reproduce(TINY, out, what=part, workers=1, overwrite=True)
    assert alone[part] == results[part]
    assert {p for p in ("table1", "figure3", "figure4", "map") if p in alone} == {part}
    assert "data:image/png" in (out / "report.html").read_text() or part == "table1"


def test_frames_that_count_are_right_for_every_model(done: tuple[Path, dict[str, Any]]) -> None:
    out, results = done
    right = []
    for path in sorted((out / "stages").glob("score-*-clean-*")):
        with np.load(path / "scores.npz") as file:
            right.append((file["score"] > 0) == file["speaking"])
    assert len(right) == 3
    able = [row["learnt"] for row in results["table1"]["rows"]]
    # A, B3, D3 are in the order of their names.
    expected = np.all([r for r, learnt in zip(right, able, strict=True) if learnt], axis=0)
    assert results["table1"]["subset"]["frames"] == (int(expected.sum()) if any(able) else 0)


def test_scores_are_enough_to_make_the_results_again(
    done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, results = done
    kept, there = tmp_path / "kept", tmp_path / "there"
    shutil.copytree(out / "stages", kept)
    for folder in kept.glob("train-*"):
        (folder / "done.json").unlink()
        (folder / "model.safetensors").unlink()
    (data,) = kept.glob("data-*")
    (data / "done.json").unlink()
    shutil.rmtree(data / "data")
    again = reproduce(TINY, there, name="tiny", workers=1, kept=kept)
    assert not list((there / "stages").glob("*/model.safetensors"))
    for part in ("table1", "figure3", "figure4", "map", "findings", "training", "data"):
        assert again[part] == results[part]
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        reproduce(TINY, tmp_path / "other", kept=tmp_path / "nowhere")


def test_again_does_nothing_and_more_does_only_what_is_new(
    done: tuple[Path, dict[str, Any]],
) -> None:
    out, results = done
    before = {p: p.stat().st_mtime_ns for p in (out / "stages").rglob("done.json")}
    again = reproduce(TINY, out, name="tiny", workers=1, overwrite=True)
    preset = replace(TINY, rows=("A", "B3", "D3", "D1"), suite="")
    more = reproduce(preset, out, what="table1", workers=1, overwrite=True)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert again["table1"] == results["table1"]
    assert again["figure3"] == results["figure3"]
    assert [row["row"] for row in more["table1"]["rows"]] == ["A", "B3", "D3", "D1"]


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from support.reproduce_presets import SHORT
from pushpull.reproduce import reproduce

if __name__ == "__main__":
    reproduce(SHORT, Path({root!r}), what="table1", workers=2)
"""


def test_killed_and_run_again_gives_the_same(
    tmp_path: Path, done: tuple[Path, dict[str, Any]]
) -> None:
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(SCRIPT.format(path=sys.path, root=str(out)))
    run = subprocess.Popen([sys.executable, script], start_new_session=True)
    deadline = time.monotonic() + 240
    while len(list(out.glob("stages/*/done.json"))) < 4:
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    kept = {p: p.stat().st_mtime_ns for p in out.glob("stages/*/done.json")}
    results = reproduce(SHORT, out, what="table1", workers=1)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert [row["row"] for row in results["table1"]["rows"]] == ["A", "B3"]
    scores = sorted(out.glob("stages/score-*/scores.npz"))
    assert len(scores) == 2 * 4
    for path in scores:
        assert path.read_bytes() == (done[0] / path.relative_to(out)).read_bytes()


def test_presets_are_known() -> None:
    assert set(PRESETS) == {"demo", "quick", "standard", "full-width", "paper"}
    assert PRESETS["paper"].model == {}
    assert set(PRESETS["standard"].rows) == set(ROWS)
    with pytest.raises(UnknownName, match="unknown preset 'huge'"):
        preset_of("huge", {})


def test_the_script_for_a_gpu_stops_in_time_and_says_that_there_is_more(tmp_path: Path) -> None:
    script, out = Path(__file__).parents[2] / "scripts" / "full_width.sh", tmp_path / "out"

    def run(minutes: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", script, out, "--rows", "A", "--device", "cpu", *options],
            env={**os.environ, "PYTHON": sys.executable, "MINUTES": minutes},
            capture_output=True,
            text=True,
            check=False,
        )

    stopped = run("0.1")
    assert (stopped.returncode, stopped.stdout) == (75, "time is up; the same command goes on\n")
    assert "Traceback" not in stopped.stderr
    refused = run("5", "--preset", "fool-width")
    assert refused.returncode == 1
    assert "unknown preset 'fool-width'" in refused.stderr
