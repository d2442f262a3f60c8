"""Ctrl-C, SIGTERM and SIGHUP end a process soon; no process and no half-written file is left.

Python would raise an exception in its main thread. That comes late, between two instructions of
which one may be a backward pass of half a minute, and whatever it goes through may swallow it, take
it for an error or end on it. So here the main thread stands still as soon as it can, and another
thread ends the process.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, util
from multiprocessing.connection import wait
from types import FrameType

from pushpull.runtime.files import remove_unfinished

__all__ = ["end_process", "ended_by_signals", "without_interrupts"]

TIDY_S = 4.8
"""What is not tidied up by then stays; where nothing else runs it takes a tenth of that."""

CHILDREN_S = 4.2
"""What the processes that were begun here have to tidy up, too, before they are killed."""

ENDING = (
    *(signal.SIGINT, signal.SIGTERM),
    # Its terminal is gone; Windows has none.
    *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []),
)
WHOLE_LINE = "\r\x1b[K\x1b[?25h"
"""For a terminal: a progress bar stood in this line, and had hidden the cursor."""


@contextmanager
def ended_by_signals(note: str = "") -> Iterator[None]:
    """In this block Ctrl-C, SIGTERM and SIGHUP end the process as `end_process` does.

    It is of the main thread. The exit code is 128 and the number of the signal. A signal that is
    ignored stays so.

    Args:
        note: Said on stderr then.

    Examples:
        >>> from pushpull.runtime.interrupts import ended_by_signals
        >>> with ended_by_signals("stopped"):
        ...     pass  # long work
    """
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    told, tell = socket.socketpair()
    tell.setblocking(False)
    threading.Thread(target=_watch, args=(told, note), daemon=True).start()
    # The system writes there at once, whatever the main thread is doing.
    wakeup = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _stand_still) for number in heard}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        tell.close()


def _watch(told: socket.socket, note: str) -> None:
    """Wait for a signal, or for the end of the block, which closes the other end of the pair."""
    while numbers := told.recv(64):
        for number in numbers:
            if number in ENDING:
                end_process(128 + number, note)
    told.close()


def _stand_still(number: int, frame: FrameType | None) -> None:
    """Begin nothing more; handlers of other signals run in here, and may raise."""
    while True:
        with suppress(BaseException):
            time.sleep(TIDY_S)


def end_process(code: int, note: str = "") -> None:
    """End this process soon, within five seconds at most, from any thread.

    Processes that it began are ended, files that are not whole are removed, and no other thread
    gets to complain of that.

    Args:
        code: Exit code.
        note: Said on stderr at the end.

    Examples:
        >>> import subprocess, sys
        >>> code = "from pushpull.runtime.interrupts import end_process; end_process(3)"
        >>> subprocess.run([sys.executable, "-c", code]).returncode
        3
    """
    stderr = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    tidying = threading.Thread(target=_tidy, daemon=True)
    tidying.start()
    tidying.join(TIDY_S)
    # Nobody might read what is said.
    if note and select.select([], [stderr], [], 0)[1]:
        line = WHOLE_LINE if os.isatty(stderr) else ""
        os.write(stderr, f"{line}{note}\n".encode())
    os._exit(code)


def _tidy() -> None:
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    end_s = time.monotonic() + CHILDREN_S
    alive = [child.sentinel for child in children]
    while alive and (left_s := end_s - time.monotonic()) > 0:
        ended = wait(alive, left_s)
        alive = [sentinel for sentinel in alive if sentinel not in ended]
    for child in children:
        if child.sentinel in alive:
            child.kill()
    remove_unfinished()
    # Semaphores of queues, and the folder of sockets, outlive a process that does not remove them.
    util._run_finalizers(-100)  # type: ignore[attr-defined]


@contextmanager
def without_interrupts() -> Iterator[None]:
    """A process that is begun in this block is not told of Ctrl-C: who begins it will end it.

    Examples:
        >>> import signal
        >>> from pushpull.runtime.interrupts import without_interrupts
        >>> with without_interrupts():
        ...     signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        True
    """
    # Begun with the first process otherwise, and then Python unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
