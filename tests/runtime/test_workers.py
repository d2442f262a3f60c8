"""Pieces are done wherever they are done; what fails is named, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import pieces as work
from support.torch_pieces import threads

from pushpull.errors import ConfigError, DatasetError, OutputError, UnknownName
from pushpull.runtime.workers import Outcome, crew_of, run_pieces, workers_of


def numbered(*numbers: int) -> dict[str, tuple[int]]:
    return {f"piece {k}": (number,) for k, number in enumerate(numbers)}


def by_name(outcomes) -> dict[str, Outcome]:
    found = {}
    for outcome in outcomes:
        assert outcome.piece not in found
        found[outcome.piece] = outcome
    return found


@given(st.lists(st.integers()))
def test_every_piece_is_done_once(numbers: list[int]) -> None:
    found = by_name(run_pieces(numbered(*numbers), work.double))
    assert {name: o.value() for name, o in found.items()} == {
        name: 2 * number for name, (number,) in numbered(*numbers).items()
    }


def test_processes_do_many_pieces_each() -> None:
    found = by_name(run_pieces(numbered(*range(20)), work.double, workers=2))
    assert [found[f"piece {k}"].value() for k in range(20)] == [2 * k for k in range(20)]
    assert len(found) == 20


@pytest.mark.parametrize("workers", [1, 3])
def test_what_fails_is_an_outcome_and_the_rest_is_done(workers: int) -> None:
    found = by_name(run_pieces(numbered(-1, 5, -2, 6, 7), work.choosy, workers=workers))
    assert [found[f"piece {k}"].result for k in (1, 3, 4)] == [5, 6, 7]
    with pytest.raises(DatasetError, match="no such data"):
        found["piece 0"].value()
    error = found["piece 2"].error
    assert isinstance(error, UnknownName)
    assert str(error) == "unknown thing 'x': choose one of a, b"


def test_a_killed_process_is_named_and_the_rest_is_done() -> None:
    found = by_name(run_pieces(numbered(-3, 5, -4, 6, 7, 8), work.choosy, workers=2))
    assert [found[f"piece {k}"].result for k in (1, 3, 4, 5)] == [5, 6, 7, 8]
    killed, ended = found["piece 0"].error, found["piece 2"].error
    assert isinstance(killed, OutputError)
    assert str(killed).startswith("piece 0: its process was killed (out of memory?); run the same")
    assert str(ended).startswith("piece 2: its process was killed (exit code 7); run the same")


def test_a_bug_ends_everything_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"piece 1: Traceback(.|\n)*_Twofold: one and two"):
        list(run_pieces(numbered(5, -5, 6), work.choosy, workers=2))
    with pytest.raises(RuntimeError, match=r"piece: Traceback(.|\n)*pickle"):
        list(run_pieces({"piece": ()}, work.nothing_to_send, workers=2))


def test_each_process_keeps_to_one_thread() -> None:
    found = by_name(run_pieces({"a": (), "b": ()}, threads, workers=2))
    assert {o.value() for o in found.values()} == {(1, "1")}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is of glibc")
def test_each_process_keeps_its_memory_as_the_command_does() -> None:
    (outcome,) = run_pieces({"a": ()}, work.memory, workers=2)
    collected, held, kept = outcome.value()
    assert collected == 50_000
    assert held > 190
    assert kept > 0.9 * held


def test_pieces_may_have_pieces() -> None:
    found = by_name(run_pieces({"a": (3,), "b": (2,)}, work.nested, workers=2))
    assert {name: o.value() for name, o in found.items()} == {"a": [0, 2, 4], "b": [0, 2]}


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_says_what_is_under_way_and_what_has_ended(workers: int) -> None:
    seen: list[tuple[str, int, int | None]] = []

    def tell(doing: str, done: int, total: int | None) -> None:
        seen.append((doing, done, total))

    list(run_pieces(numbered(1, 2, 3), work.double, workers=workers, progress=tell))
    assert seen[-1] == ("", 3, 3)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert {total for *_, total in seen} == {3}
    for k in range(3):
        assert any(f"piece {k}: doubling 1/2" in doing for doing, _, _ in seen)


def test_many_pieces_are_said_in_short() -> None:
    with crew_of(work.double) as crew:
        crew.running |= {name: name for name in "abcde"}
        assert crew.doing == "a; b; c and 2 more"


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"workers": -1}, ConfigError, "workers is -1; expected at least 1, or 0 for one per core"),
        ({"engine": "slurm"}, UnknownName, "unknown engine 'slurm': choose one of local, ray"),
        ({"address": "a:1"}, ConfigError, "'a:1', which goes with --engine ray only"),
        ({"engine": "ray", "address": "127.0.0.1:9"}, ConfigError, "no Ray cluster answers there"),
        ({"engine": "ray", "address": "nowhere"}, ConfigError, "'nowhere'; expected HOST:PORT"),
        ({"engine": "ray", "address": "[::1:9"}, ConfigError, "expected HOST:PORT"),
    ],
)
def test_what_cannot_be_is_refused(settings, error, says) -> None:
    with pytest.raises(error, match=says):
        list(run_pieces(numbered(1), work.double, **settings))


def test_no_number_of_workers_means_all_cores() -> None:
    assert workers_of(0) == os.cpu_count()


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from support import pieces as work
from pushpull.runtime.workers import run_pieces

if __name__ == "__main__":
    folder = Path({folder!r})
    pieces = {{"a": (folder, 0), "b": (folder, 1)}}
    if {quick!r}:
        pieces = {{"quick": (1,), "slow": (2,), "slower": (3,)}}
    for outcome in run_pieces(pieces, work.double if {quick!r} else work.linger, workers=2):
        raise LookupError(outcome.piece)
"""


def started(tmp_path: Path, *, quick: bool = False) -> subprocess.Popen[str]:
    script, folder = tmp_path / "run.py", tmp_path / "folder"
    folder.mkdir()
    script.write_text(SCRIPT.format(path=sys.path, folder=str(folder), quick=quick))
    return subprocess.Popen(
        [sys.executable, script], start_new_session=True, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ticks(folder: Path) -> int:
    return sum(len(p.read_text().splitlines()) for p in folder.glob("ticks-*"))


def nothing_goes_on(folder: Path) -> bool:
    """Whether no process works any more, and half-written files are gone."""
    before = ticks(folder)
    time.sleep(0.5)
    return ticks(folder) == before and {p.name for p in folder.iterdir()} == {"ticks-0", "ticks-1"}


@pytest.mark.parametrize("everyone", [True, False], ids=["terminal", "kill"])
def test_an_interrupt_ends_everything_at_once(tmp_path: Path, everyone: bool) -> None:
    run, folder = started(tmp_path), tmp_path / "folder"
    wait_for(lambda: len(list(folder.glob("ticks-*"))) == 2)
    start = time.monotonic()
    (os.killpg if everyone else os.kill)(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode not in (0, 1)
    assert said.count("KeyboardInterrupt") == 1
    assert time.monotonic() - start < 15
    assert nothing_goes_on(folder)


def test_processes_end_with_the_one_who_began_them(tmp_path: Path) -> None:
    run, folder = started(tmp_path), tmp_path / "folder"
    wait_for(lambda: len(list(folder.glob("ticks-*"))) == 2)
    run.kill()
    run.communicate(timeout=30)
    wait_for(lambda: nothing_goes_on(folder), seconds=20)


def test_an_error_of_the_one_who_asked_leaves_nobody_waiting(tmp_path: Path) -> None:
    run = started(tmp_path, quick=True)
    _, said = run.communicate(timeout=90)
    assert run.returncode == 1
    assert "LookupError" in said
