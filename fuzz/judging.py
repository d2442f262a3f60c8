"""One case in a process of its own: what came of it, and whether that is a fault."""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Verdict", "as_command", "judged", "library"]

CPU_S = 20.0
"""Of processor time; a case takes a tenth of a second."""

WALL_S = 300.0
"""For what waits instead of working; much more, since the machine may be busy."""

MEMORY_BYTES = 6 << 30
"""Beside what a process has when it begins."""

RAISED = 70
"""Exit code of a case that raised what no command would let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a case.

    Attributes:
        kind: "done", "refused", or the fault: "traceback", "hang", "crash", "exit code",
            "half-written file", "no message".
        said: What it wrote to stderr, the end of it.
    """

    kind: str
    said: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether a user would call it one."""
        return self.kind not in ("done", "refused")


def as_command(*arguments: object) -> Callable[[], None]:
    """A case that is a command line of `pushpull`."""

    def run() -> None:
        from pushpull.cli import main

        sys.argv = [
            "pushpull",
            *(os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments),
        ]
        main()

    return run


def library(function: Callable[[], object]) -> Callable[[], None]:
    """A case that calls the package and ends as a command would."""

    def run() -> None:
        from pushpull.cli.console import complain
        from pushpull.errors import PushPullError

        try:
            function()
        except PushPullError as e:
            complain(e)
            sys.exit(1)

    return run


def judged(action: Callable[[], None], folder: Path, *, cpu_s: float = CPU_S) -> Verdict:
    """Run a case in a fork of this process, with `folder` as its working folder."""
    log = folder / "stderr.log"
    before = set(folder.rglob("*"))
    pid = os.fork()
    if pid == 0:
        _child(action, folder, log, cpu_s)
    code = _ended(pid, WALL_S)
    said = log.read_text(errors="replace")
    log.unlink()
    for left in (path for path in folder.rglob("*") if path not in before):
        if ".unfinished" in left.name or left.name.startswith(".new-"):
            return Verdict(kind="half-written file", said=left.name)
    end = said[-2000:]
    if code is None or code == -signal.SIGXCPU:
        return Verdict(kind="hang", said=end)
    if code < 0:
        return Verdict(kind="crash", said=f"{signal.Signals(-code).name}\n{end}")
    if code == RAISED or "Traceback" in said or "nobody foresaw" in said:
        return Verdict(kind="traceback", said=end)
    if code not in (0, 1, 2):
        return Verdict(kind="exit code", said=f"{code}\n{end}")
    # What is broken in a data set is a result, on stdout; all else that fails says why.
    if code and not said.strip() and not (folder / "stdout.log").stat().st_size:
        return Verdict(kind="no message", said=end)
    return Verdict(kind="refused" if code else "done", said=end)


def _child(action: Callable[[], None], folder: Path, log: Path, cpu_s: float) -> None:
    code = RAISED
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        for number, path in ((1, folder / "stdout.log"), (2, log)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), line_buffering=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), line_buffering=True)
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s), int(cpu_s) + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))
        action()
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _ended(pid: int, limit_s: float) -> int | None:
    """Exit code, minus the number of the signal that ended it, or None if nothing did."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None
