"""Results that take nobody's place.

A folder of results keeps records in `.pushpull`, one for each file: the checksum of its content,
and what decided it (the command, its inputs by checksum, its settings). A file that is there is
replaced only if it was made by the same command of the same inputs with the same settings and is as
it was left, or if that is asked for. An input is never replaced, by whatever name or link it is
reached.

A record is written before its file takes its name, and says what was there before: whenever the
work is cut off, what it left is known as ours. One record a file, so that a folder of ten thousand
results costs each of them no more than a folder of ten.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pushpull.errors import CheckpointError, OutputError, OutputExists
from pushpull.runtime.files import output_dir, readable, sha256_of, written_whole
from pushpull.runtime.records import plain, read_json, write_json
from pushpull.runtime.version import __version__

__all__ = ["RECORD", "Origin", "Outputs", "output_names"]

RECORD = ".pushpull"
"""Name of the folder of records in a folder of results."""

LONGEST_NAME = 240
"""Bytes of a file name that leave room for the suffix of its record."""

SHOWN = 3
"""Differences that a message names."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What decides some results.

    Attributes:
        command: What makes them.
        inputs: Files that they are made of: by content, not by name.
        settings: Everything else that decides them; only what JSON holds.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.outputs import Origin
        >>> _ = Path("a.mp4").write_bytes(b"film"), Path("b.mp4").write_bytes(b"film")
        >>> a, b = (Origin(command="detect", inputs=(Path(n),)) for n in ("a.mp4", "b.mp4"))
        >>> a.key == b.key, a.key == Origin(command="attack", inputs=a.inputs).key
        (True, False)
    """

    command: str
    inputs: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_result(
        cls, command: str, record: Mapping[str, Any], inputs: tuple[Path, ...] = ()
    ) -> Origin:
        """For a result of which nobody knows how it was asked for: what it says is what it is.

        Examples:
            >>> from pushpull.runtime.outputs import Origin
            >>> one, other = (Origin.of_result("audit", {"left": x}) for x in (0.5, 0.6))
            >>> one.key == other.key
            False
        """
        text = json.dumps(plain(record), sort_keys=True)
        content = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(command=command, inputs=inputs, settings={"content": content})

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """Checksums of the inputs."""
        for path in self.inputs:
            if not path.is_file():
                raise OutputError(f"{path}: is no file; nothing can be made of it")
        try:
            return tuple(sha256_of(path) for path in self.inputs)
        except CheckpointError as e:
            raise OutputError(str(e)) from e

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the results."""
        parts = [self.command, self.contents, plain(self.settings)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """For the record, so that a message can say what is different."""
        return {
            "key": self.key,
            "version": __version__,
            "command": self.command,
            "inputs": [
                {"name": readable(str(path)), "sha256": content}
                for path, content in zip(self.inputs, self.contents, strict=True)
            ],
            "settings": plain(self.settings),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The results of one piece of work in one folder.

    Attributes:
        folder: Where they go; made when something is written.
        origin: What decides them.
        inputs: Files that are never replaced, those of `origin` aside.
        overwrite: Whether other files may be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.outputs import Origin, Outputs
        >>> def save(words):
        ...     outputs = Outputs(folder=Path("out"), origin=Origin(command=words))
        ...     with outputs.writing(["talk.txt"]) as paths:
        ...         _ = paths["talk.txt"].write_text(words)
        >>> save("hello")
        >>> save("hello")  # the same again
        >>> save("good bye")
        Traceback (most recent call last):
            ...
        pushpull.errors.OutputExists: out/talk.txt: is there already, made by `hello`; choose
        another --out, or --overwrite
    """

    folder: Path
    origin: Origin
    inputs: tuple[Path, ...] = ()
    overwrite: bool = False

    def check(self, names: Iterable[str]) -> None:
        """Refuse names whose files may not be replaced; best before the work.

        Raises:
            OutputExists: If there is one.
        """
        wrong = [line for name in names if (line := self._wrong(name))]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise OutputExists(f"{wrong[0]}{more}")

    def _wrong(self, name: str) -> str | None:
        """Why a file may not be replaced; None if it may, or is not there."""
        path = self.folder / name
        if not os.path.lexists(path):
            return None
        if any(_is_same(path, other) for other in (*self.inputs, *self.origin.inputs)):
            return (
                f"{path}: is an input of this command and is never replaced; choose another --out"
            )
        if self.overwrite:
            return None
        way_out = "choose another --out, or --overwrite"
        if not _is_known(self.folder, name) or path.is_symlink() or not path.is_file():
            return f"{path}: is there already and was not made by this tool; {way_out}"
        made = _origin_of(self.folder, name)
        if made is None:
            return f"{path}: is there already and was changed since it was made; {way_out}"
        if not all(source.is_file() for source in self.origin.inputs):
            # Nothing will come of it; the work itself says why, and better.
            return None
        if made.get("key") == self.origin.key:
            return None
        return f"{path}: is there already, made {_difference(made, self.origin)}; {way_out}"

    def hold(self, names: Iterable[str]) -> bool:
        """Whether all these files are there as this version made them, of the same work."""
        # Inputs are read last: of ten thousand films that are new, none is read for this.
        made = [_origin_of(self.folder, name) for name in names]
        return (
            all(one is not None and one.get("version") == __version__ for one in made)
            and all(source.is_file() for source in self.origin.inputs)
            and all(one is not None and one.get("key") == self.origin.key for one in made)
        )

    @contextmanager
    def writing(self, names: Sequence[str]) -> Iterator[dict[str, Path]]:
        """Temporary paths by name, which all take their names at the end, or none does.

        Raises:
            OutputError: If one may not be replaced, or cannot be written.
        """
        output_dir(self.folder)
        with ExitStack() as stack:
            # Entered first, so left last: when all files have their names.
            locked = stack.enter_context(_Locked(self))
            whole = {n: stack.enter_context(written_whole(self.folder / n)) for n in names}
            yield whole
            locked.take(whole)

    def take(self, fresh: Path) -> dict[str, Path]:
        """Move all files of a folder in, in place of what the same work left there before.

        Args:
            fresh: A folder on the same disk.

        Returns:
            The files by name.

        Raises:
            OutputError: If one may not be replaced; then nothing is moved.
        """
        made = sorted(path for path in fresh.iterdir() if path.is_file())
        with _Locked(self) as locked:
            names = {path.name: path for path in made}
            locked.take(names)
            for name in locked.left_over(names):
                (self.folder / name).unlink(missing_ok=True)
                _entry_path(self.folder, name).unlink(missing_ok=True)
            return {name: path.replace(self.folder / name) for name, path in names.items()}


class _Locked:
    """A folder of results while its files change: one process at a time."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs
        self.handle = -1

    def __enter__(self) -> _Locked:
        self.outputs.folder.mkdir(parents=True, exist_ok=True)
        return self

    def take(self, fresh: Mapping[str, Path]) -> None:
        """Wait for others, then record which files are about to take these names."""
        folder = self.outputs.folder
        self.handle = os.open(folder, os.O_RDONLY)
        # Some network disks have no locks; then two runs at once are not kept apart.
        with suppress(OSError):
            fcntl.flock(self.handle, fcntl.LOCK_EX)
        self.outputs.check(fresh)
        made = self.outputs.origin.as_dict()
        output_dir(folder / RECORD)
        for name, path in fresh.items():
            entry: dict[str, Any] = {"sha256": sha256_of(path), "origin": made}
            before = _origin_of(folder, name)
            if before is not None:
                entry["before"] = {"sha256": sha256_of(folder / name), "origin": before}
            write_json(_entry_path(folder, name), {"file": name, **entry}, kind="output")

    def left_over(self, taken: Container[str]) -> list[str]:
        """Files of the same work, or with `overwrite` of any, that are made no more."""
        folder, key = self.outputs.folder, self.outputs.origin.key
        left = []
        for path in (folder / RECORD).glob("*.json"):
            name = _read_entry(path).get("file")
            if not isinstance(name, str) or name in taken:
                continue
            made = _origin_of(folder, name)
            ours = made is not None and (self.outputs.overwrite or made.get("key") == key)
            if ours and not any(_is_same(folder / name, one) for one in self.outputs.inputs):
                left.append(name)
        return left

    def __exit__(self, *failure: object) -> None:
        if self.handle >= 0:
            os.close(self.handle)


def output_names(inputs: Sequence[Path], *, also: Sequence[str] = ()) -> list[str]:
    """A name for the results of each input: the file's own, numbered where two would be one.

    Args:
        inputs: The files.
        also: What results add to a name: with `.labels`, `talk.labels` is no name beside `talk`.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.outputs import output_names
        >>> output_names([Path("a/talk.mp4"), Path("b/Talk.mp4"), Path("b/other.mp4")])
        ['talk', 'Talk-2', 'other']
        >>> output_names([Path("talk.mp4"), Path("talk.labels.mp4")], also=[".labels"])
        ['talk', 'talk.labels-2']
    """
    taken: set[str] = set()
    names = []
    for path in inputs:
        stem = readable(path.stem)
        name, number = stem, 2
        while not taken.isdisjoint(_folded(name + more) for more in ("", *also)):
            name, number = f"{stem}-{number}", number + 1
        taken.update(_folded(name + more) for more in ("", *also))
        names.append(name)
    return names


def _folded(name: str) -> str:
    """A name as disks compare it that do not tell cases or ways of writing a letter apart."""
    return unicodedata.normalize("NFKD", name).casefold()


def _is_same(path: Path, other: Path) -> bool:
    """Whether two names are of one file, by whatever link."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _entry_path(folder: Path, name: str) -> Path:
    """Where the record of a file is; names that are no file names there are hashed."""
    raw = os.fsencode(name)
    plainly = len(raw) <= LONGEST_NAME and os.sep not in name
    short = name if plainly else hashlib.sha256(raw).hexdigest()
    return folder / RECORD / f"{short}.json"


def _read_entry(path: Path) -> dict[str, Any]:
    """A record; empty where there is none that can be read."""
    try:
        return read_json(path, kind="output")
    except OutputError:
        return {}


def _is_known(folder: Path, name: str) -> bool:
    return bool(_read_entry(_entry_path(folder, name)))


def _origin_of(folder: Path, name: str) -> dict[str, Any] | None:
    """What made a file; None if it is not there, is nobody's, or was changed since."""
    path = folder / name
    entry = _read_entry(_entry_path(folder, name))
    if not entry or not path.is_file():
        return None
    content = sha256_of(path)
    for made in (entry, entry.get("before", {})):
        if isinstance(made, dict) and made.get("sha256") == content:
            origin = made.get("origin", {})
            return origin if isinstance(origin, dict) else {}
    return None


def _difference(made: Mapping[str, Any], origin: Origin) -> str:
    """In what the making of a file differed from what is to be made."""
    if made.get("command") != origin.command:
        return f"by `{made.get('command')}`"
    before = [entry.get("sha256") for entry in made.get("inputs", [])]
    if before != list(origin.contents):
        names = ", ".join(str(entry.get("name")) for entry in made.get("inputs", []))
        return f"of another input ({names})"
    old, new = made.get("settings", {}), plain(origin.settings)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    said = ", ".join(f"{name} {old.get(name)}" for name in changed[:SHOWN])
    return f"with other settings ({said})"
