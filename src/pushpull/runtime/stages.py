"""Long work as stages, each kept under the hash of all that decides it.

A stage is a job by name, its settings and the stages that it needs. It works in a folder of its
own, whose name holds the hash; `done.json` is written there last. So a run that was stopped goes on
where it was, a changed setting redoes only what depends on it, and two runs in one folder share
what they have in common.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pushpull.errors import ConfigError, OutputError, PushPullError
from pushpull.runtime.files import output_dir
from pushpull.runtime.kept import Kept, find_kept, key_of, write_kept
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.workers import crew_of

__all__ = ["Job", "Stage", "find_done", "run_stages", "take_over"]

Job = Callable[[Mapping[str, Any], Mapping[str, Path], Path, Progress], None]
"""Called with settings, the folders of the needed stages by role, the own folder, and a report."""

DONE, LOCK = "done.json", ".lock"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a long run.

    Attributes:
        name: For people and the folder: letters, digits, dashes.
        job: A function that can be imported by its name.
        settings: What decides the result beside `needs`; only what JSON holds.
        needs: Stages whose results are read, by role.
        unhashed: Settings that change no byte of the result, such as a number of workers.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.stages import Stage
        >>> def train(settings, needs, folder, report):
        ...     (folder / "weights").write_text(f"{settings['lr']}")
        >>> few, many = (
        ...     Stage(name="train", job=train, settings={"lr": 1e-3}, unhashed={"workers": n})
        ...     for n in (1, 8)
        ... )
        >>> few.key == many.key, few.folder(Path("run")).name == f"train-{few.key}"
        (True, True)
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


def find_done(stage: Stage, root: Path) -> Kept | None:
    """What was noted at the end of a stage; None if it is not done.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.stages import Stage, find_done, run_stages
        >>> def train(settings, needs, folder, report):
        ...     (folder / "weights").write_text(f"{settings['lr']}")
        >>> stage = Stage(name="train", job=train, settings={"lr": 1e-3})
        >>> find_done(stage, Path("run")) is None
        True
        >>> run_stages([stage], Path("run"))
        >>> find_done(stage, Path("run")).seconds < 10
        True
    """
    return find_kept(stage.folder(root) / DONE, stage.decides)


def run_stages(
    stages: Sequence[Stage],
    root: Path,
    *,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress = no_progress,
) -> None:
    """Do all stages that are not done, and those they need, several at a time.

    What a stage that is done has needed is not looked at: trained weights may be thrown away once
    their scores are there.

    Args:
        stages: What is wanted.
        root: Folder of the run.
        workers: Stages at a time; 1 for one after the other in this process, which may use a GPU
            and all threads, else each on one thread of a process of its own; 0 for one per core.
        engine: "local" or "ray"; see `pushpull.runtime.workers.run_pieces`.
        address: Of the Ray cluster.
        progress: Called with what is under way, stages done and in all.

    Raises:
        ConfigError: If another run is at work in the folder, or there is no such cluster.
        OutputError: If a process was killed, or nothing can be written.
        PushPullError: What a stage raised; stages that do not need it are finished first.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.stages import Stage, run_stages
        >>> def draw(settings, needs, folder, report):
        ...     print("drawing")
        ...     (folder / "numbers").write_text(" ".join(["2"] * settings["count"]))
        >>> def add(settings, needs, folder, report):
        ...     numbers = (needs["data"] / "numbers").read_text().split()
        ...     (folder / "sum").write_text(str(sum(map(int, numbers))))
        >>> data = Stage(name="data", job=draw, settings={"count": 3})
        >>> total = Stage(name="total", job=add, settings={}, needs={"data": data})
        >>> run_stages([total], Path("run"))
        drawing
        >>> run_stages([total], Path("run"))  # all is there
        >>> (total.folder(Path("run")) / "sum").read_text()
        '6'
    """
    output_dir(root)
    every = _with_needs(stages, root)
    with _locked(root):
        left = {s.key: s for s in every if find_done(s, root) is None}
        undone = set(left)
        failed: PushPullError | None = None

        def tell() -> None:
            progress(crew.doing, len(every) - len(undone), len(every))

        with crew_of(_do, workers=workers, engine=engine, address=address, tell=tell) as crew:
            while left or crew.running:
                for stage in [s for s in left.values() if undone.isdisjoint(_keys_of(s.needs))]:
                    if not crew.free:
                        break
                    del left[stage.key]
                    # Nodes of a cluster need not share a working directory.
                    crew.submit(stage.key, stage, root.absolute(), label=stage.name)
                if not crew.running:
                    break
                for outcome in crew.ended():
                    if outcome.error is None:
                        undone.remove(outcome.piece)
                    else:
                        failed = failed or outcome.error
        if failed is not None:
            raise failed
    progress("", len(every), len(every))


def take_over(stages: Sequence[Stage], source: Path, root: Path) -> int:
    """Copy stages that are done elsewhere and not here, and say how many.

    Args:
        stages: Those that are wanted.
        source: Folder where others have kept theirs.
        root: Folder of the run.

    Raises:
        OutputError: If nothing can be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.stages import Stage, run_stages, take_over
        >>> def train(settings, needs, folder, report):
        ...     (folder / "weights").write_text(f"{settings['lr']}")
        >>> stage = Stage(name="train", job=train, settings={"lr": 1e-3})
        >>> run_stages([stage], Path("there"))
        >>> take_over([stage], Path("there"), Path("here")), take_over([], Path("there"), Path())
        (1, 0)
    """
    taken = 0
    for stage in stages:
        if find_done(stage, root) is None and find_done(stage, source) is not None:
            folder = output_dir(stage.folder(root))
            for path in sorted(stage.folder(source).rglob("*")):
                to = folder / path.relative_to(stage.folder(source))
                # What says that it is done comes last.
                if path.is_file() and path.name != DONE:
                    output_dir(to.parent)
                    shutil.copyfile(path, to)
            shutil.copyfile(stage.folder(source) / DONE, folder / DONE)
            taken += 1
    return taken


def _keys_of(needs: Mapping[str, Stage]) -> set[str]:
    return {stage.key for stage in needs.values()}


def _with_needs(stages: Sequence[Stage], root: Path) -> list[Stage]:
    """All stages, each once and after those that it needs; what is done needs nothing any more."""
    ordered: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        if stage.key in ordered:
            return
        if find_done(stage, root) is None:
            for needed in stage.needs.values():
                add(needed)
        ordered[stage.key] = stage

    for stage in stages:
        add(stage)
    return list(ordered.values())


def _do(stage: Stage, root: Path, report: Progress) -> None:
    folder = output_dir(stage.folder(root))
    start = time.perf_counter()
    needs = {role: needed.folder(root) for role, needed in stage.needs.items()}
    try:
        stage.job({**stage.settings, **stage.unhashed}, needs, folder, report)
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
