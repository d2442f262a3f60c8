"""What goes to the terminal: results to stdout, notes, errors and progress to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pushpull.runtime.progress import Progress

__all__ = ["complain", "decibels", "note", "progress_bar", "say"]


def complain(message: object) -> None:
    """One line on stderr."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201


def say(text: str) -> None:
    """A result line on stdout."""
    print(text)  # noqa: T201


def note(text: str) -> None:
    """A remark on stderr."""
    print(text, file=sys.stderr)  # noqa: T201


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar on stderr: `report(stage, done, total)`."""
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.fields[title]}"),
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.completed:.0f}/{task.total}"),
        bars.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    quiet = not console.is_terminal
    with bars.Progress(*columns, console=console, transient=True, disable=quiet) as p:
        task = p.add_task("", total=None, title=title)

        def report(stage: str, done: int, total: int | None) -> None:
            p.update(task, description=stage, completed=done, total=total)

        yield report


def decibels(value: float | None) -> str:
    """A ratio in decibels; None where nothing changed."""
    return "unchanged," if value is None else f"{value:.1f} dB"
