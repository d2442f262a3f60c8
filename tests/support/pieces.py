"""Pieces of work for tests of workers, done in processes of their own."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.errors import DatasetError, UnknownName
from pushpull.runtime.files import written_whole
from pushpull.runtime.workers import run_pieces


def double(number: int, report: Any) -> int:
    report("doubling", 1, 2)
    return 2 * number


def choosy(number: int, report: Any) -> int:
    """Fails on our own errors, dies, or has a bug, as the number says."""
    if number == -1:
        raise DatasetError("no such data")
    if number == -2:
        raise UnknownName("thing", "x", ["a", "b"])
    if number == -3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == -4:
        os._exit(7)
    if number == -5:
        raise _Twofold("one", "two")
    return number


class _Twofold(Exception):
    """An exception that does not come back from another process."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def nothing_to_send(report: Any) -> Any:
    return lambda: None


def memory(report: Any) -> tuple[int, float, float]:
    """When cycles are looked for; MiB that many blocks took, and that stay when they are gone."""
    before = _resident_mib()
    blocks = [np.ones(2**16) for _ in range(400)]
    held = _resident_mib() - before
    # Something that stays lies on top: nothing below it is given back by itself.
    last = np.ones(1000)
    del blocks
    return gc.get_threshold()[0], held, _resident_mib() - before - last.nbytes / 2**20


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def nested(count: int, report: Any) -> list[int]:
    pieces = {str(k): (k,) for k in range(count)}
    return sorted(outcome.value() for outcome in run_pieces(pieces, double, workers=2))


def linger(folder: Path, number: int, report: Any) -> None:
    """Writes a file slowly, and notes each step in another one."""
    with written_whole(folder / f"result-{number}"):
        for k in range(1200):
            with (folder / f"ticks-{number}").open("a") as file:
                file.write(f"{k}\n")
            report("tick", k, 1200)
            time.sleep(0.05)
