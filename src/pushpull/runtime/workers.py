"""Many pieces of work at a time: in this process, in several of this machine, or on a Ray cluster.

A piece is a call of a function that can be imported by its name. What one raises of our own errors
is its outcome, and the others are done all the same; so is a process that was killed. A bug ends
everything, as Ctrl-C does, and leaves no process behind.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any
from urllib.parse import urlsplit

from pushpull.errors import ConfigError, MissingExtra, OutputError, PushPullError, UnknownName
from pushpull.runtime.interrupts import end_process, ended_by_signals, without_interrupts
from pushpull.runtime.malloc import collect_seldom, keep_freed_memory
from pushpull.runtime.progress import Progress, no_progress

__all__ = ["ENGINES", "Crew", "Do", "Outcome", "crew_of", "run_pieces"]

Do = Callable[..., Any]
"""Called with the arguments of a piece and, last, whom to tell how far it is."""

ENGINES = ("local", "ray")
"""Where pieces are done."""

WAIT_S = 0.5
TELL_EVERY_S = 0.1
GRACE_S = 2.0
"""What a process that is told to stop has to tidy up before it is killed."""

ANSWER_S = 5.0
MOST_SHOWN = 3
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
STOPPED = 128 + signal.SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a piece.

    Attributes:
        piece: Its name.
        result: What its function returned.
        error: Why it has no result; None if it has one.

    Examples:
        >>> from pushpull.runtime.workers import Outcome
        >>> Outcome(piece="a.mp4", result=3).value()
        3
    """

    piece: str
    result: Any = None
    error: PushPullError | None = None

    def value(self) -> Any:
        """The result.

        Raises:
            PushPullError: The error, if there is one.
        """
        if self.error is not None:
            raise self.error
        return self.result


def run_pieces(
    pieces: Mapping[str, tuple[Any, ...]],
    do: Do,
    *,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress = no_progress,
) -> Iterator[Outcome]:
    """Do all pieces; what became of each, in the order in which they end.

    Args:
        pieces: Arguments of each by its name.
        do: What is done with them.
        workers: How many at a time; 1 for one after the other in this process, on all of its
            threads or its GPU, else each in a process and on a thread of its own; 0 for one per
            core of this machine.
        engine: "local" for this machine, "ray" for a cluster whose nodes see the same files under
            the same paths.
        address: Of the cluster, HOST:PORT; by default the one that runs on this machine.
        progress: Called with what is under way, pieces that have ended and all pieces.

    Raises:
        ConfigError: If there are fewer than 0 workers, or no such cluster.
        UnknownName: If there is no such engine.
        MissingExtra: If the extra `cluster` is not installed.

    Examples:
        >>> from pushpull.runtime.workers import run_pieces
        >>> def double(number, report):
        ...     return 2 * number
        >>> [outcome.value() for outcome in run_pieces({"one": (1,), "two": (2,)}, double)]
        [2, 4]
    """
    ended = 0

    def tell() -> None:
        progress(crew.doing, ended, len(pieces))

    waiting = deque(pieces.items())
    with crew_of(do, workers=workers, engine=engine, address=address, tell=tell) as crew:
        while waiting or crew.running:
            while waiting and crew.free:
                name, arguments = waiting.popleft()
                crew.submit(name, *arguments)
            for outcome in crew.ended():
                ended += 1
                tell()
                yield outcome


@contextmanager
def crew_of(
    do: Do,
    *,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    tell: Callable[[], None] = lambda: None,
) -> Iterator[Crew]:
    """Those who do pieces, to be given some as they become ready; gone at the end of the block.

    Arguments and errors as for `run_pieces`; `tell` is called when `Crew.doing` has changed.

    Examples:
        >>> from pushpull.runtime.workers import crew_of
        >>> def double(number, report):
        ...     return 2 * number
        >>> with crew_of(double) as crew:
        ...     crew.submit("one", 1)
        ...     [outcome.result for outcome in crew.ended()]
        [2]
    """
    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    if address is not None and engine != "ray":
        raise ConfigError(f"--ray-address is {address!r}, which goes with --engine ray only")
    crew: Crew
    if engine == "ray":
        crew = _Ray(do, workers_of(workers), "auto" if address is None else address, tell)
    elif workers_of(workers) == 1:
        crew = _Here(do, tell)
    else:
        crew = _Processes(do, workers_of(workers), tell)
    # Whatever becomes of the one who asked: a process that is waited for at exit would never end.
    atexit.register(crew.close)
    try:
        yield crew
    finally:
        crew.close()
        atexit.unregister(crew.close)


def workers_of(count: int) -> int:
    """How many pieces at a time are meant; 0 is one per core of this machine.

    Raises:
        ConfigError: If it is below 0.

    Examples:
        >>> from pushpull.runtime.workers import workers_of
        >>> workers_of(3), workers_of(0) >= 1
        (3, True)
    """
    if count < 0:
        raise ConfigError(f"workers is {count}; expected at least 1, or 0 for one per core")
    return count or os.cpu_count() or 1


class Crew(ABC):
    """Those who do pieces; see `crew_of`.

    Attributes:
        running: What is said of each piece that has been given and has not ended, by its name.

    Examples:
        >>> from pushpull.runtime.workers import crew_of
        >>> def double(number, report):
        ...     report("doubling", 1, 2)
        ...     return 2 * number
        >>> with crew_of(double, tell=lambda: print(crew.doing)) as crew:
        ...     crew.submit("a", 1, label="first")
        ...     [outcome.piece for outcome in crew.ended()]
        first
        first: doubling 1/2
        ['a']
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self.running: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._tell = tell

    @property
    def doing(self) -> str:
        """What is under way, for people."""
        lines = list(self.running.values())
        more = len(lines) - MOST_SHOWN
        return "; ".join(lines[:MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")

    @property
    @abstractmethod
    def free(self) -> bool:
        """Whether another piece would be begun at once."""

    def submit(self, piece: str, *arguments: Any, label: str = "") -> None:
        """Give a piece, to be called `label` where people read; its name by default."""
        self._labels[piece] = self.running[piece] = label or piece
        self._tell()
        self._begin(piece, arguments)

    @abstractmethod
    def ended(self) -> list[Outcome]:
        """What became of pieces that have ended since; waits a moment if there are none."""

    @abstractmethod
    def close(self) -> None:
        """Stop whatever is under way."""

    @abstractmethod
    def _begin(self, piece: str, arguments: tuple[Any, ...]) -> None: ...

    def _told(self, piece: str, stage: str, done: int, total: int | None) -> None:
        of = "" if total is None else f"/{total}"
        self.running[piece] = f"{self._labels[piece]}: {stage} {done}{of}"
        self._tell()


class _Here(Crew):
    """This process, one piece after the other."""

    def __init__(self, do: Do, tell: Callable[[], None]) -> None:
        super().__init__(tell)
        self._do = do
        self._ended: list[Outcome] = []

    @property
    def free(self) -> bool:
        return not self.running

    def _begin(self, piece: str, arguments: tuple[Any, ...]) -> None:
        report = partial(self._told, piece)
        self._ended.append(attempted(self._do, piece, arguments, report))

    def ended(self) -> list[Outcome]:
        found, self._ended = self._ended, []
        for outcome in found:
            del self.running[outcome.piece]
        return found

    def close(self) -> None:
        self.running.clear()


class _Processes(Crew):
    """Processes of this machine, begun as they are needed."""

    def __init__(self, do: Do, workers: int, tell: Callable[[], None]) -> None:
        super().__init__(tell)
        self._do, self._most = do, workers
        self._idle: list[Worker] = []
        self._busy: dict[Connection, tuple[Worker, str]] = {}

    @property
    def free(self) -> bool:
        return len(self._busy) < self._most

    def _begin(self, piece: str, arguments: tuple[Any, ...]) -> None:
        worker = self._idle.pop() if self._idle else Worker(self._do)
        self._busy[worker.pipe] = (worker, piece)
        worker.send(piece, arguments)

    def ended(self) -> list[Outcome]:
        found = []
        for pipe in wait(list(self._busy), WAIT_S):
            assert isinstance(pipe, Connection)  # noqa: S101
            worker, piece = self._busy[pipe]
            said = worker.receive()
            if isinstance(said, tuple):
                self._told(piece, *said)
                continue
            if isinstance(said, Bug):
                raise RuntimeError(f"{self._labels[piece]}: {said.traceback}")
            del self._busy[pipe], self.running[piece]
            if said is None:
                found.append(Outcome(piece=piece, error=self._killed(worker, piece)))
            else:
                self._idle.append(worker)
                found.append(said)
        return found

    def _killed(self, worker: Worker, piece: str) -> OutputError:
        return OutputError(
            f"{self._labels[piece]}: its process was killed ({worker.end()}); run the same command "
            "again to go on, with fewer --workers if memory was too small"
        )

    def close(self) -> None:
        busy = [worker for worker, _ in self._busy.values()]
        for worker in busy:
            worker.process.terminate()
        for worker in self._idle:
            worker.pipe.close()
        end_s = time.monotonic() + GRACE_S
        for worker in (*busy, *self._idle):
            worker.process.join(max(0.0, end_s - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._busy.clear()
        self._idle.clear()
        self.running.clear()


class Worker:
    """A process that does pieces one after the other, and ends when this one does.

    Args:
        do: What it does with them.
    """

    def __init__(self, do: Do) -> None:
        # Spawned: a fork of a process with threads may hold their locks for ever.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        # As bytes: what it does is loaded, PyTorch too, once it is prepared for that.
        self.process = context.Process(
            target=serve, args=(theirs, pickle.dumps(do)), name="pushpull-worker"
        )
        with without_interrupts():
            self.process.start()
        theirs.close()

    def send(self, piece: str, arguments: tuple[Any, ...]) -> None:
        """Give it a piece; that it is gone is noticed when it is listened to."""
        with suppress(OSError):
            self.pipe.send((piece, arguments))

    def receive(self) -> Outcome | Bug | tuple[str, int, int | None] | None:
        """An outcome, a bug, how far it is, or None if it is gone; waits for it."""
        try:
            said: Outcome | Bug | tuple[str, int, int | None] = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return said

    def end(self) -> str:
        """How it ended, for people."""
        self.process.join(GRACE_S)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        return "out of memory?" if -code == signal.SIGKILL else signal.Signals(-code).name


@dataclass(frozen=True, slots=True)
class Bug:
    """What should not have happened, as text: foreign errors need not survive the way back."""

    traceback: str


def attempted(do: Do, piece: str, arguments: tuple[Any, ...], report: Progress) -> Outcome:
    """The outcome of a piece."""
    try:
        return Outcome(piece=piece, result=do(*arguments, report))
    except PushPullError as e:
        return Outcome(piece=piece, error=e)


def attempted_apart(
    do: Do, piece: str, arguments: tuple[Any, ...], report: Progress = no_progress
) -> Outcome | Bug:
    """The same in a process of its own: on one thread, bugs as text."""
    try:
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        return attempted(do, piece, arguments, report)
    except Exception:
        return Bug(traceback.format_exc())


def serve(pipe: Connection, do: bytes) -> None:
    """Do pieces until the other end of a pipe is closed: what a `Worker` runs, `do` pickled."""
    keep_freed_memory()
    collect_seldom()
    # Ctrl-C is for the one who gave the work, who then tells this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with ended_by_signals():
        _serve(pipe, pickle.loads(do))


def _serve(pipe: Connection, do: Do) -> None:
    last_s = 0.0

    def report(stage: str, done: int, total: int | None) -> None:
        nonlocal last_s
        if time.monotonic() - last_s > TELL_EVERY_S:
            last_s = time.monotonic()
            with suppress(OSError):
                pipe.send((stage, done, total))

    while True:
        try:
            given = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        last_s = 0.0
        try:
            piece, arguments = pickle.loads(given)
            said = attempted_apart(do, piece, arguments, report)
            answer = pickle.dumps(said)
        except Exception:
            answer = pickle.dumps(Bug(traceback.format_exc()))
        with suppress(OSError):
            pipe.send_bytes(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101
    parent.join()
    # What was begun must not go on behind the back of the next run.
    end_process(STOPPED)


class _Ray(Crew):
    """A Ray cluster that is running."""

    def __init__(self, do: Do, workers: int, address: str, tell: Callable[[], None]) -> None:
        super().__init__(tell)
        try:
            import ray
        except ModuleNotFoundError as e:
            raise MissingExtra.of("a cluster", e, "cluster") from e
        if address != "auto":
            check_address(address)
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except ConnectionError as e:
            raise ConfigError(nobody_at(address)) from e
        except (ValueError, RuntimeError) as e:
            # Other versions of Ray or of Python there, for example.
            what = str(e).strip().splitlines() or [type(e).__name__]
            raise ConfigError(f"the Ray cluster at {address!r} did not let us in: {what[0]}") from e
        self._ray, self._do, self._most = ray, do, workers
        self._remote = ray.remote(num_cpus=1, max_retries=3)(attempted_apart)
        self._under_way: dict[Any, str] = {}

    @property
    def free(self) -> bool:
        return len(self._under_way) < self._most

    def _begin(self, piece: str, arguments: tuple[Any, ...]) -> None:
        self._under_way[self._remote.remote(self._do, piece, arguments)] = piece

    def ended(self) -> list[Outcome]:
        ready, _ = self._ray.wait(list(self._under_way), timeout=WAIT_S)
        found = []
        for reference in ready:
            piece = self._under_way.pop(reference)
            del self.running[piece]
            try:
                said = self._ray.get(reference)
            except self._ray.exceptions.RayError as e:
                what = (
                    f"{self._labels[piece]}: lost by the cluster ({str(e).splitlines()[-1]}); run "
                    "the same command again to go on"
                )
                said = Outcome(piece=piece, error=OutputError(what))
            if isinstance(said, Bug):
                raise RuntimeError(f"{self._labels[piece]}: {said.traceback}")
            found.append(said)
        return found

    def close(self) -> None:
        for reference in self._under_way:
            self._ray.cancel(reference, force=True)
        self._under_way.clear()
        self.running.clear()
        self._ray.shutdown()


def check_address(address: str) -> None:
    """Refuse an address that nobody listens at: Ray itself would try for minutes.

    Raises:
        ConfigError: If it is no address, or a dead one.

    Examples:
        >>> from pushpull.runtime.workers import check_address
        >>> check_address("nowhere")
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: --ray-address is 'nowhere'; expected HOST:PORT
    """
    try:
        where = urlsplit(address if "://" in address else f"//{address}")
        host, port = where.hostname, where.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ConfigError(f"--ray-address is {address!r}; expected HOST:PORT")
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError as e:
        raise ConfigError(nobody_at(address)) from e


def nobody_at(address: str) -> str:
    """What to say of a cluster that is not there.

    Examples:
        >>> from pushpull.runtime.workers import nobody_at
        >>> print(nobody_at("auto"))
        no Ray cluster runs on this machine; start one with `ray start --head`, or give the
        HOST:PORT of another one with --ray-address
    """
    if address == "auto":
        return (
            "no Ray cluster runs on this machine; start one with `ray start --head`, or give the "
            "HOST:PORT of another one with --ray-address"
        )
    return (
        f"--ray-address is {address!r}: no Ray cluster answers there; start one with "
        "`ray start --head` and give its address"
    )
