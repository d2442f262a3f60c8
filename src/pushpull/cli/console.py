"""What goes to the terminal: results to stdout, notes, errors and progress to stderr."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pushpull.errors import OutputError
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import as_json_text

__all__ = [
    "Console",
    "columns",
    "complain",
    "decibels",
    "drop_stdout",
    "open_standard_streams",
    "print_line",
]

NOT_SHOWN = re.compile("[\x00-\x08\n-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What a terminal does something at: ends of lines, its own commands, changes of direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Where a command says what it does and what came out.

    Attributes:
        as_json: Stdout takes one JSON document and nothing else.
        quiet: Neither notes nor progress.

    Examples:
        >>> from pushpull.cli.console import Console
        >>> console = Console(quiet=True)
        >>> console.note("not said")
        >>> console.result({"rows": 3}, kind="score", lines=["3 rows"])
        3 rows
    """

    as_json: bool = False
    quiet: bool = False

    def say(self, *lines: str) -> None:
        """Parts of a result that is long in coming, for people."""
        if not self.as_json:
            for line in lines:
                print_line(_on_one_line(line))

    def result(self, record: Mapping[str, Any], *, kind: str, lines: Iterable[str] = ()) -> None:
        """The result: one JSON document, or lines for people.

        Args:
            record: What programs read.
            kind: One of `pushpull.runtime.records.SCHEMA_VERSIONS`.
            lines: What people read, where it was not said already.
        """
        if self.as_json:
            print_line(as_json_text(record, kind=kind))
        else:
            self.say(*lines)

    def note(self, text: str) -> None:
        """A remark on stderr."""
        if not self.quiet:
            _to_stderr(text)

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """A bar on stderr where that is a terminal: `report(stage, done, total)`."""
        if self.quiet:
            yield no_progress
            return
        from rich import console as consoles
        from rich import progress as bars
        from rich.markup import escape

        columns = (
            bars.TextColumn("{task.fields[title]}"),
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TextColumn("{task.completed:.0f}/{task.total}"),
            bars.TimeRemainingColumn(),
        )
        console = consoles.Console(stderr=True)
        hidden = not console.is_terminal
        with bars.Progress(*columns, console=console, transient=True, disable=hidden) as p:
            task = p.add_task("", total=None, title=escape(_on_one_line(title)))

            def report(stage: str, done: int, total: int | None) -> None:
                p.update(task, description=stage, completed=done, total=total)

            yield report


def print_line(text: str) -> None:
    """A line on stdout, at once: who reads along sees it, and it outlives whatever comes.

    Examples:
        >>> from pushpull.cli.console import print_line
        >>> print_line("3 faces")
        3 faces
    """
    try:
        print(_printable(text, sys.stdout), flush=True)  # noqa: T201
    except BrokenPipeError:
        raise
    except OSError as e:
        drop_stdout()
        raise OutputError(f"stdout: cannot be written ({e.strerror}); results are lost") from e


def open_standard_streams() -> None:
    """Give a process that was begun without stdin, stdout or stderr such that lead nowhere.

    Otherwise the next file that it opens would take their place, and be written to by whoever
    prints.

    Examples:
        >>> import sys
        >>> from pushpull.cli.console import open_standard_streams
        >>> open_standard_streams()
        >>> sys.stdout is None
        False
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)


def drop_stdout() -> None:
    """Let what stdout still holds go nowhere: Python would complain of it at its end.

    Examples:
        >>> import subprocess, sys
        >>> code = "from pushpull.cli.console import drop_stdout; drop_stdout(); print(1)"
        >>> subprocess.run([sys.executable, "-c", code], capture_output=True).stdout
        b''
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: object) -> None:
    """An error, as one line on stderr.

    Examples:
        >>> import sys
        >>> from contextlib import redirect_stderr
        >>> from pushpull.cli.console import complain
        >>> with redirect_stderr(sys.stdout):
        ...     complain("talk.mp4: no sound")
        error: talk.mp4: no sound
    """
    _to_stderr(f"error: {' '.join(str(message).split())}")


def _to_stderr(line: str) -> None:
    """A remark that cannot be said ends no work."""
    with suppress(OSError):
        print(_printable(_on_one_line(line), sys.stderr), file=sys.stderr, flush=True)  # noqa: T201


def _on_one_line(text: str) -> str:
    """Text that tells a terminal nothing to do: names of files are a stranger's."""
    return NOT_SHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _printable(text: str, stream: TextIO) -> str:
    """Text in what a terminal takes: file names may hold anything."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Rows of text in columns; on a terminal the last is cut in front so that a row is one line.

    Examples:
        >>> from pushpull.cli.console import columns
        >>> for line in columns([("a", "1", "here"), ("longer", "22", "there")]):
        ...     print(line)
        a       1   here
        longer  22  there
    """
    listed = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in list(zip(*listed, strict=True))[:-1]]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for *firsts, last in listed:
        line = "".join(f"{text:{width + 2}}" for text, width in zip(firsts, widths, strict=True))
        left = None if room is None else max(room - len(line), 20)
        yield line + (last if left is None or len(last) <= left else f"...{last[3 - left :]}")


def counted(n: int, what: str) -> str:
    """A number of things for people.

    Examples:
        >>> from pushpull.cli.console import counted
        >>> counted(1, "face"), counted(2, "face")
        ('1 face', '2 faces')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"


def decibels(value: float | None, name: str) -> str:
    """A ratio of a name in decibels; None where nothing changed.

    Examples:
        >>> from pushpull.cli.console import decibels
        >>> decibels(31.04, "SNR"), decibels(None, "SNR")
        ('31.0 dB SNR', 'unchanged')
    """
    return "unchanged" if value is None else f"{value:.1f} dB {name}"
