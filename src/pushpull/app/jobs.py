"""Work in processes of their own: what hangs, crashes or eats memory takes only itself along.

A pool has a queue with a bound and a fixed number of processes, each fed by a thread of the server.
A process stays alive between jobs, so that models are imported once; it is killed when its job is
cancelled, runs too long or grows too large, and the next job gets a new one. Where it has grown
over several jobs, the last is begun again in a new one before it is said to be too large.
"""

from __future__ import annotations

import logging
import multiprocessing
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pushpull.errors import PushPullError
from pushpull.runtime.interrupts import without_interrupts
from pushpull.runtime.malloc import release_freed_memory
from pushpull.runtime.progress import Progress

__all__ = ["Busy", "Job", "Pool", "State", "Task"]

Task = Callable[[Mapping[str, Any], Progress], dict[str, Any]]
"""What a process does with a job: importable by name, told what is asked and whom to tell."""

POLL_S = 0.1
REPORT_EVERY_S = 0.1
UNEXPECTED = "something went wrong that should not have; the server's log says what"

log = logging.getLogger(__name__)


class Busy(PushPullError):
    """The queue is full.

    Examples:
        >>> from pushpull.app.jobs import Job, Pool
        >>> from pushpull.app.tasks import look
        >>> pool = Pool(look, workers=0, waiting=1, memory_bytes=2**30, limit_s=60.0)
        >>> pool.submit(Job(asked={"kind": "detectors"}))
        >>> pool.submit(Job(asked={"kind": "detectors"}))
        Traceback (most recent call last):
            ...
        pushpull.app.jobs.Busy: 1 jobs are waiting already, as many as may; try again in a
        minute
    """


class State(str, Enum):
    """Where a job is.

    Examples:
        >>> from pushpull.app.jobs import State
        >>> State("done") is State.done, [state.value for state in State]
        (True, ['queued', 'running', 'done', 'failed', 'cancelled', 'interrupted'])
    """

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"
    interrupted = "interrupted"
    """It waited or ran when the server ended."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One piece of work and what became of it.

    Attributes:
        asked: What the task is given.
        folder: Its own folder, removed unless it is done; None if it has none.
        id: Made by the server.
        owner: Key of the visitor whose it is, empty if it is nobody's.
        begun_s: When it was asked for, seconds since 1970.
        state: Where it is.
        stage: What is being done.
        n_done: Steps of this stage that are done.
        n_total: Steps of this stage, None if not known.
        found: What the task returned.
        message: Why it failed.
        finished: Set when nothing will change any more.

    Examples:
        >>> from pushpull.app.jobs import Job
        >>> job = Job(asked={"kind": "detect"})
        >>> job.tell("faces", 10, 250)
        >>> job.state.value, job.stage, job.n_done, job.n_total
        ('queued', 'faces', 10, 250)
    """

    asked: Mapping[str, Any]
    folder: Path | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    owner: str = ""
    begun_s: float = field(default_factory=time.time)
    state: State = State.queued
    stage: str = ""
    n_done: int = 0
    n_total: int | None = None
    found: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    cancelled: bool = False
    stage_start_s: float = 0.0
    finished: threading.Event = field(default_factory=threading.Event)

    def tell(self, stage: str, n_done: int, n_total: int | None) -> None:
        """Note progress."""
        if stage != self.stage:
            self.stage, self.stage_start_s = stage, time.monotonic()
        self.n_done, self.n_total = n_done, n_total

    @property
    def over(self) -> bool:
        """Whether it neither waits nor runs."""
        return self.state not in (State.queued, State.running)

    @property
    def left_s(self) -> float | None:
        """Seconds that this stage will still take at its pace so far; None if that is not known."""
        if not self.n_total or not self.n_done:
            return None
        spent_s = time.monotonic() - self.stage_start_s
        return max(0.0, spent_s * (self.n_total - self.n_done) / self.n_done)


class Pool:
    """Processes that do one task, and the queue before them.

    Args:
        task: What they do.
        workers: Processes at a time.
        waiting: Jobs that may wait.
        memory_bytes: Resident memory at which a process is killed (where /proc tells it).
        limit_s: Longest time of one job.
        changed: Told of each job that is begun or over, in the thread that did it.

    Examples:
        >>> from pushpull.app.jobs import Job, Pool
        >>> from pushpull.app.tasks import look
        >>> pool = Pool(look, workers=0, waiting=9, memory_bytes=2**30, limit_s=60.0)
        >>> first, second = (Job(asked={"kind": "detectors"}) for _ in range(2))
        >>> for job in (first, second):
        ...     pool.submit(job)  # nobody works, so both wait
        >>> pool.ahead_of(second)
        1
        >>> pool.cancel(first)
        >>> first.state.value, pool.ahead_of(second)
        ('cancelled', 0)
        >>> pool.close()
    """

    def __init__(
        self,
        task: Task,
        *,
        workers: int,
        waiting: int,
        memory_bytes: int,
        limit_s: float,
        changed: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.task, self.waiting = task, waiting
        self.memory_bytes, self.limit_s, self.changed = memory_bytes, limit_s, changed
        self._queue: deque[Job] = deque()
        self._change = threading.Condition()
        self._closing = False
        self._workers: dict[int, Worker | None] = dict.fromkeys(range(workers))
        self._threads = [
            threading.Thread(target=self._serve, args=(slot,), daemon=True)
            for slot in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue.

        Raises:
            Busy: If there is no room.
        """
        with self._change:
            if self._closing or len(self._queue) >= self.waiting:
                raise Busy(
                    f"{len(self._queue)} jobs are waiting already, as many as may; try again in a "
                    "minute"
                )
            self._queue.append(job)
            self._change.notify()

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or kill the process that is at it."""
        with self._change:
            job.cancelled = True
            if job in self._queue:
                self._queue.remove(job)
                self._finish(job, State.cancelled)

    def ahead_of(self, job: Job) -> int:
        """How many jobs come first."""
        with self._change:
            return self._queue.index(job) if job in self._queue else 0

    @property
    def pids(self) -> list[int]:
        """Processes that are alive."""
        return [w.pid for w in self._workers.values() if w is not None and w.alive]

    def close(self) -> None:
        """End all processes and whatever they are doing: it is interrupted."""
        with self._change:
            self._closing = True
            for job in self._queue:
                self._finish(job, State.interrupted)
            self._queue.clear()
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, slot: int) -> None:
        while (job := self._next()) is not None:
            try:
                while not self._watch(self._worker(slot), job):
                    _remove(job)
            except Exception:
                log.exception("a job could not be watched")
                if (worker := self._workers[slot]) is not None:
                    worker.kill()
                self._finish(job, State.failed, UNEXPECTED)
        worker = self._workers[slot]
        if worker is not None:
            worker.kill()

    def _worker(self, slot: int) -> Worker:
        worker = self._workers[slot]
        if worker is None or not worker.alive:
            worker = self._workers[slot] = Worker(self.task)
        return worker

    def _next(self) -> Job | None:
        with self._change:
            while not self._queue and not self._closing:
                self._change.wait()
            if self._closing:
                return None
            job = self._queue.popleft()
            job.state = State.running
            job.tell("start", 0, None)
        self.changed(job)
        return job

    def _finish(self, job: Job, state: State, message: str = "") -> None:
        finish(job, state, message)
        self.changed(job)
        job.finished.set()

    def _watch(self, worker: Worker, job: Job) -> bool:
        """Follow one job to its end; false if it has to be begun again in another process."""
        worker.send(job.asked)
        start_s = time.monotonic()
        while True:
            said = worker.receive(POLL_S)
            if job.cancelled or self._closing:
                worker.kill()
                self._finish(job, State.cancelled if job.cancelled else State.interrupted)
                return True
            if said is None:
                if worker.sent > 1 and worker.resident_bytes() > self.memory_bytes:
                    # Some of it is what earlier jobs have left; by itself this one may fit.
                    worker.kill()
                    return False
                ended = self._trouble(worker, time.monotonic() - start_s)
                if ended is not None:
                    worker.kill()
                    self._finish(job, State.failed, ended)
                    return True
                continue
            kind, *rest = said
            if kind == "progress":
                job.tell(*rest)
            elif kind == "done":
                job.found = rest[0]
                self._finish(job, State.done)
                return True
            else:
                self._finish(job, State.failed, rest[0])
                return True

    def _trouble(self, worker: Worker, spent_s: float) -> str | None:
        """Why a job cannot go on, None if it can."""
        reason = trouble_of(worker, self.memory_bytes)
        if reason is not None:
            return reason
        if spent_s > self.limit_s:
            return (
                f"this was not done within {self.limit_s / 60:g} minutes; take a shorter clip or "
                "fewer steps"
            )
        return None


def finish(job: Job, state: State, message: str = "") -> None:
    """Say what became of a job and remove what it left, unless it is done."""
    if state is not State.done:
        _remove(job)
    job.message = message
    job.state = state


def _remove(job: Job) -> None:
    """What a job has written so far."""
    import shutil

    if job.folder is not None:
        shutil.rmtree(job.folder, ignore_errors=True)


class Worker:
    """A process that does jobs one after another."""

    def __init__(self, task: Task) -> None:
        # Spawned, since a fork of a server with threads may hold their locks for ever.
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, task), daemon=True)
        with without_interrupts():
            self._process.start()
        theirs.close()
        self.sent = 0

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, asked: Mapping[str, Any]) -> None:
        """Hand over a job; a process that is gone is noticed when nothing comes back."""
        self.sent += 1
        try:
            self._ours.send(asked)
        except OSError:
            self.kill()

    def receive(self, wait_s: float) -> tuple[Any, ...] | None:
        """What it says, None if it says nothing for some time."""
        try:
            if self._ours.poll(wait_s):
                said: tuple[Any, ...] = self._ours.recv()
                return said
        except (OSError, EOFError):
            self._process.join(wait_s)
            # A pipe that breaks while the process lives is no use either.
            self.kill()
        return None

    def resident_bytes(self) -> int:
        """Resident memory, 0 where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * 4096

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def trouble_of(worker: Worker, memory_bytes: int) -> str | None:
    """Why a process cannot go on, None if it can."""
    if not worker.alive:
        return (
            "the process that worked on this ended before it was done (it was killed, or it "
            "crashed on this file); try again"
        )
    if worker.resident_bytes() > memory_bytes:
        return (
            f"this needs more than {memory_bytes / 2**30:.1f} GiB of memory; take a "
            "shorter clip, or one with fewer faces"
        )
    return None


def work(pipe: Connection, task: Task) -> None:
    """Do jobs until the server is gone."""
    # Ctrl-C is for the server, which then ends its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    last_s, last_stage = 0.0, ""

    def report(stage: str, n_done: int, n_total: int | None) -> None:
        nonlocal last_s, last_stage
        now_s = time.monotonic()
        if stage != last_stage or now_s - last_s > REPORT_EVERY_S:
            last_s, last_stage = now_s, stage
            pipe.send(("progress", stage, n_done, n_total))

    while True:
        try:
            asked = pipe.recv()
        except (EOFError, OSError):
            return
        last_stage = ""
        try:
            said: tuple[str, Any] = ("done", task(asked, report))
        except PushPullError as e:
            said = ("failed", str(e))
        except MemoryError:
            said = ("failed", "there is not enough memory for this; take a shorter clip")
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception:
            log.exception("a job failed")
            said = ("failed", UNEXPECTED)
        pipe.send(said)
        release_freed_memory()
