import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import stage_jobs

from pushpull.errors import ConfigError, DatasetError, OutputError
from pushpull.runtime.stages import Stage, find_done, run_stages


def number(value: int) -> Stage:
    return Stage(name="number", job=stage_jobs.number, settings={"value": value})


def total(*stages: Stage) -> Stage:
    return Stage(
        name="total",
        job=stage_jobs.total,
        settings={},
        needs={f"part{i}": stage for i, stage in enumerate(stages)},
    )


def value(stage: Stage, root: Path) -> int:
    return int((stage.folder(root) / "value").read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_stages_run_after_those_they_need(tmp_path: Path, workers: int) -> None:
    inner = total(number(1), number(2))
    outer = total(inner, number(2), number(4))
    seen = []
    run_stages([outer], tmp_path, workers=workers, progress=lambda *where: seen.append(where))
    assert value(outer, tmp_path) == 9
    # number(2) is needed twice and done once.
    assert seen[-1] == ("", 5, 5)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert any("total: adding 1/3" in doing for doing, _, _ in seen)


def test_what_is_done_is_not_done_again_and_a_change_redoes_what_depends_on_it(
    tmp_path: Path,
) -> None:
    kept, changed = number(1), number(2)
    first = total(kept, changed)
    run_stages([first], tmp_path)
    before = {s.key: (s.folder(tmp_path) / "done.json").stat().st_mtime_ns for s in (kept, first)}
    second = total(kept, number(7))
    run_stages([second, first], tmp_path)
    assert value(second, tmp_path) == 8
    assert second.key != first.key
    for stage in (kept, first):
        done = stage.folder(tmp_path) / "done.json"
        assert done.stat().st_mtime_ns == before[stage.key]


@given(st.dictionaries(st.sampled_from("abc"), st.integers(), min_size=1), st.integers())
def test_the_key_follows_from_everything_that_decides(settings: dict[str, int], other: int) -> None:
    stage = Stage(name="x", job=stage_jobs.number, settings=settings)
    assert stage.key == replace(stage, name="y", unhashed={"workers": 3}).key
    assert stage.key != replace(stage, settings={**settings, "d": other}).key
    assert stage.key != replace(stage, job=stage_jobs.total).key
    assert stage.key != replace(stage, needs={"a": stage}).key


def test_a_release_throws_nothing_away_and_a_new_format_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = number(1).key
    monkeypatch.setattr("pushpull.runtime.version.__version__", "99.0")
    assert number(1).key == before
    monkeypatch.setattr("pushpull.runtime.kept.STAGE_FORMAT", 99)
    assert number(1).key != before


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ("dataset", DatasetError, "no such data"),
        ("name", ConfigError, "unknown thing 'x'"),
        ("bug", OutputError, "stage refuse failed .RuntimeError: a bug.; see .*traceback.txt"),
    ],
)
def test_errors_come_back_and_other_stages_are_finished(
    tmp_path: Path, workers: int, how: str, error: type[Exception], says: str
) -> None:
    bad = Stage(name="refuse", job=stage_jobs.refuse, settings={"how": how})
    good = number(3)
    with pytest.raises(error, match=says):
        run_stages([good, bad, total(good, bad)], tmp_path, workers=workers)
    assert value(good, tmp_path) == 3
    assert find_done(bad, tmp_path) is None


def test_a_killed_worker_is_said(tmp_path: Path) -> None:
    stage = Stage(name="die", job=stage_jobs.die, settings={})
    with pytest.raises(OutputError, match=r"die: its process was killed \(exit code 9\)"):
        run_stages([stage], tmp_path, workers=2)


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from support import stage_jobs
from pushpull.runtime.stages import Stage, run_stages

if __name__ == "__main__":
    stage = Stage(name="linger", job=stage_jobs.linger, settings={{}})
    run_stages([stage], Path({root!r}), workers=2)
"""


def test_two_runs_keep_apart_and_a_killed_one_leaves_no_worker_behind(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(path=sys.path, root=str(tmp_path / "root")))
    run = subprocess.Popen([sys.executable, script])
    stage = Stage(name="linger", job=stage_jobs.linger, settings={})
    ticks = stage.folder(tmp_path / "root") / "ticks"
    try:
        deadline = time.monotonic() + 60
        while not ticks.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(ConfigError, match="another run is at work"):
            run_stages([number(1)], tmp_path / "root")
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    time.sleep(1.5)
    count = len(ticks.read_text().splitlines())
    time.sleep(0.5)
    assert len(ticks.read_text().splitlines()) == count
    run_stages([number(1)], tmp_path / "root")
