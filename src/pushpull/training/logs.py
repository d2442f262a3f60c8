"""The numbers of a run as they come: two csv files, and TensorBoard's events."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from pushpull.runtime.files import plain_path, written_whole

__all__ = ["Logs"]


class Logs:
    """Rows of `steps.csv` and `epochs.csv` in a folder, and the same for TensorBoard.

    Args:
        folder: Where; it is there.
        step: Steps that are done. Rows of later ones, from a run that was killed, are dropped.
        epoch: Epochs that are done, likewise.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.training.logs import Logs
        >>> with Logs(Path()) as logs:
        ...     logs.add("step", 1, {"total": 0.7})
        ...     logs.add("step", 2, {"total": 0.6})
        >>> print(Path("steps.csv").read_text().split())
        ['step,total', '1,0.7', '2,0.6']
    """

    def __init__(self, folder: Path, *, step: int = 0, epoch: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._files: dict[str, Path] = {}
        self._columns: dict[str, list[str]] = {}
        for name, done in (("step", step), ("epoch", epoch)):
            path = self._files[name] = folder / f"{name}s.csv"
            self._columns[name] = _kept(path, name, done)
        self._places = ExitStack()
        place = self._places.enter_context(plain_path(folder))
        self._events: Any = SummaryWriter(
            str(place / "tensorboard"), purge_step=step + 1 if step else None
        )

    def __enter__(self) -> Logs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._events.close()
        self._places.close()

    def add(self, counted_by: str, number: int, values: Mapping[str, float]) -> None:
        """A row of numbers at a step or epoch; all rows of a file have the columns of its first."""
        path = self._files[counted_by]
        row = {counted_by: number, **values}
        columns = self._columns[counted_by]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns or list(row), restval="", extrasaction="ignore")
        if not columns:
            writer.writeheader()
            self._columns[counted_by] = list(row)
        writer.writerow(row)
        with path.open("a") as file:
            file.write(text.getvalue())
        for name, value in values.items():
            self._events.add_scalar(f"{counted_by}/{name}", value, number)
        if counted_by == "epoch":
            # A run may be ended at any time.
            self._events.flush()


def _kept(path: Path, name: str, done: int) -> list[str]:
    """Drop the rows of a file beyond what is done; its columns, none if it is to be begun."""
    if not path.is_file() or not done:
        path.unlink(missing_ok=True)
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        # A row may have been cut off by a kill.
        rows = [r for r in reader if None not in r.values() and int(r[name]) <= done]
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return columns
