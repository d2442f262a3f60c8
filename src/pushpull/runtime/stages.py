"""Long work as stages, each kept under the hash of all that decides it.

A stage is a job by name, its settings and the stages that it needs. It works in a folder of its
own, whose name holds the hash; `done.json` is written there last. So a run that was stopped goes on
where it was, a changed setting redoes only what depends on it, and two runs in one folder share
what they have in common.
"""

from __future__ import annotations

import fcntl
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from pushpull.errors import ConfigError, OutputError, PushPullError, UnknownName
from pushpull.runtime.files import output_dir, written_whole
from pushpull.runtime.kept import Kept, find_kept, key_of, write_kept
from pushpull.runtime.progress import Progress

__all__ = ["Job", "Stage", "Status", "find_done", "run_stages"]

Job = Callable[[Mapping[str, Any], Mapping[str, Path], Path, Progress], None]
"""Called with settings, the folders of the needed stages by role, the own folder, and a report."""

DONE, PROGRESS, LOCK = "done.json", "progress.json", ".lock"
POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a long run.

    Attributes:
        name: For people and the folder: letters, digits, dashes.
        job: A function that can be imported by its name.
        settings: What decides the result beside `needs`; only what JSON holds.
        needs: Stages whose results are read, by role.
        unhashed: Settings that change no byte of the result, such as a number of workers.
    """

    name: str
    job: Job
    settings: Mapping[str, Any]
    needs: Mapping[str, Stage] = field(default_factory=dict)
    unhashed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "job": f"{self.job.__module__}.{self.job.__qualname__}",
            "settings": dict(self.settings),
            "needs": {role: stage.key for role, stage in self.needs.items()},
        }

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the result."""
        return key_of(self.decides)

    def folder(self, root: Path) -> Path:
        """Where it works below the root of a run."""
        return root / f"{self.name}-{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a run is.

    Attributes:
        done: Stages done.
        total: Stages in all.
        running: What is worked on, with how far it is.
    """

    done: int
    total: int
    running: tuple[str, ...]


def find_done(stage: Stage, root: Path) -> Kept | None:
    """What was noted at the end of a stage; None if it is not done."""
    return find_kept(stage.folder(root) / DONE, stage.decides)


def run_stages(
    stages: Sequence[Stage],
    root: Path,
    *,
    workers: int = 1,
    progress: Callable[[Status], None] = lambda status: None,
) -> None:
    """Do all stages that are not done, and those they need, several at a time.

    With one worker they run in this process, which may use a GPU and all threads; with more, each
    runs on one thread in a process of its own.

    Raises:
        ConfigError: If another run is at work in the folder.
        OutputError: If a worker was killed, or nothing can be written.
        PushPullError: What a stage raised; stages that do not need it are finished first.
    """
    output_dir(root)
    every = _with_needs(stages)
    with _locked(root):
        open_stages = [s for s in every if find_done(s, root) is None]
        if workers == 1:
            _run_here(open_stages, len(every), root, progress)
        elif open_stages:
            _run_apart(open_stages, len(every), root, workers, progress)
    progress(Status(done=len(every), total=len(every), running=()))


def _with_needs(stages: Sequence[Stage]) -> list[Stage]:
    """All stages, each once and after those that it needs."""
    ordered: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for needed in stage.needs.values():
            add(needed)
        ordered.setdefault(stage.key, stage)

    for stage in stages:
        add(stage)
    return list(ordered.values())


def _run_here(
    todo: Sequence[Stage], total: int, root: Path, progress: Callable[[Status], None]
) -> None:
    for k, stage in enumerate(todo):
        done = total - len(todo) + k

        def report(
            what: str, n: int, of: int | None, done: int = done, stage: Stage = stage
        ) -> None:
            progress(Status(done=done, total=total, running=(_line(stage, what, n, of),)))

        progress(Status(done=done, total=total, running=(stage.name,)))
        _do(stage, root, report)


def _run_apart(
    todo: Sequence[Stage],
    total: int,
    root: Path,
    workers: int,
    progress: Callable[[Status], None],
) -> None:
    left = {s.key: s for s in todo}
    open_keys = set(left)
    under_way: dict[Future[None], Stage] = {}
    failed: Exception | None = None
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        while left or under_way:
            for stage in list(left.values()):
                ready = not any(needed.key in open_keys for needed in stage.needs.values())
                if ready and len(under_way) < workers:
                    del left[stage.key]
                    under_way[pool.submit(_do_apart, stage, root)] = stage
            if not under_way:
                break
            finished, _ = wait(under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in finished:
                stage = under_way.pop(future)
                try:
                    future.result()
                except BrokenProcessPool as e:
                    raise OutputError(
                        f"stage {stage.name}: its process was killed (out of memory?); run the "
                        "same command again to go on, with fewer --workers"
                    ) from e
                except PushPullError as e:
                    failed = failed or e
                else:
                    open_keys.discard(stage.key)
            running = tuple(_last_line(s, root) for s in under_way.values())
            progress(Status(done=total - len(left) - len(under_way), total=total, running=running))
    finally:
        pool.shutdown(cancel_futures=True)
    if failed is not None:
        raise failed


def _do_apart(stage: Stage, root: Path) -> None:
    torch.set_num_threads(1)
    path = stage.folder(root) / PROGRESS
    last, parent = 0.0, os.getppid()

    def report(what: str, n: int, of: int | None) -> None:
        nonlocal last
        if os.getppid() != parent:
            # The run was killed; what it began must not go on behind the back of the next one.
            os._exit(1)
        if time.monotonic() - last > POLL_S:
            last = time.monotonic()
            with written_whole(path) as temporary:
                temporary.write_text(_line(stage, what, n, of))

    _do(stage, root, report)
    path.unlink(missing_ok=True)


def _do(stage: Stage, root: Path, report: Progress) -> None:
    folder = output_dir(stage.folder(root))
    start = time.perf_counter()
    needs = {role: needed.folder(root) for role, needed in stage.needs.items()}
    try:
        stage.job({**stage.settings, **stage.unhashed}, needs, folder, report)
    except UnknownName as e:
        # Made of several arguments, it would not survive the way back from another process.
        raise ConfigError(str(e)) from e
    except PushPullError:
        raise
    except Exception as e:
        (folder / "traceback.txt").write_text(traceback.format_exc())
        raise OutputError(
            f"stage {stage.name} failed ({type(e).__name__}: {e}); see {folder}/traceback.txt"
        ) from e
    # What it found lies in its folder.
    seconds = time.perf_counter() - start
    write_kept(folder / DONE, stage.decides, {}, seconds=seconds)


def _line(stage: Stage, what: str, n: int, of: int | None) -> str:
    return f"{stage.name}: {what} {n}" + ("" if of is None else f"/{of}")


def _last_line(stage: Stage, root: Path) -> str:
    try:
        return (stage.folder(root) / PROGRESS).read_text() or stage.name
    except OSError:
        return stage.name


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the lock goes with the process, however that ends."""
    handle = os.open(root / LOCK, os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise ConfigError(
                f"{root}: another run is at work there; wait for it, or choose another --out"
            ) from e
        yield
    finally:
        os.close(handle)
