"""Records: what results say of themselves as JSON, written in one way and read in one way.

A record is an object whose first entries are `kind` and `schema_version`; its last are the
`versions` of what made it. What JSON cannot hold is put in its nearest form: numbers and arrays of
NumPy as plain ones, paths as text, NaN and infinity as null.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pushpull.errors import OutputError, PushPullError, UnknownName
from pushpull.runtime.files import read_text, readable, written_whole
from pushpull.runtime.version import versions

__all__ = [
    "SCHEMA_VERSIONS",
    "as_json_line",
    "as_json_text",
    "parse_json",
    "plain",
    "read_json",
    "unstamped",
    "write_json",
]

SCHEMA_VERSIONS = {
    "annotation-stats": 1,
    "app": 1,
    "audit": 1,
    "ava": 1,
    "batch-attack": 1,
    "certificate": 1,
    "configs": 1,
    "dataset": 1,
    "dataset-stats": 1,
    "demo": 1,
    "detection": 1,
    "detections": 1,
    "doctor": 1,
    "download": 1,
    "evaluation": 1,
    "export": 1,
    "face-hiding": 1,
    "face-hidings": 1,
    "faults": 1,
    "leaderboard": 1,
    "live": 1,
    "output": 1,
    "reproduction": 1,
    "score": 1,
    "stage": 1,
    "stage-result": 1,
    "synth": 1,
    "synthetic-ava": 1,
    "synthetic-video": 1,
    "talkset": 1,
    "training": 1,
    "training-settings": 1,
    "transcript": 1,
    "universal": 1,
    "video-attack": 1,
    "video-attacks": 1,
    "weights": 1,
}
"""Kinds of records, and the number of the form that each has: raised when readers would stumble."""

MOST_RECORD_BYTES = 1 << 30
"""Of a record: an hour of ten faces takes a hundredth of it."""

LONGEST_NUMBER = 300

STAMP = ("kind", "schema_version", "versions")


def write_json(path: Path, record: Mapping[str, Any], *, kind: str) -> None:
    """Write a record to a file, whole or not at all.

    Args:
        path: The file.
        record: What it says; `versions` are added unless it has some.
        kind: One of `SCHEMA_VERSIONS`.

    Raises:
        UnknownName: If there is no such kind.
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.records import read_json, write_json
        >>> write_json(Path("score.json"), {"average_precision": 0.5}, kind="score")
        >>> read_json(Path("score.json"), kind="score")["average_precision"]
        0.5
    """
    text = as_json_text(record, kind=kind)
    with written_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def as_json_text(record: Mapping[str, Any], *, kind: str) -> str:
    """The text of a record, as files hold it and as `--json` prints it.

    Raises:
        UnknownName: If there is no such kind.

    Examples:
        >>> from pushpull.runtime.records import as_json_text
        >>> print(as_json_text({"map": float("nan"), "versions": {}}, kind="score"))
        {
         "kind": "score",
         "schema_version": 1,
         "map": null,
         "versions": {}
        }
    """
    if kind not in SCHEMA_VERSIONS:
        raise UnknownName("kind of record", kind, SCHEMA_VERSIONS)
    stamped = {
        "kind": kind,
        "schema_version": SCHEMA_VERSIONS[kind],
        **unstamped(record),
        "versions": versions() if record.get("versions") is None else record["versions"],
    }
    return json.dumps(plain(stamped), indent=1, allow_nan=False)


def as_json_line(values: Mapping[str, Any]) -> str:
    """One of many small objects, on a line of its own: for streams that programs read along.

    Examples:
        >>> from pushpull.runtime.records import as_json_line
        >>> as_json_line({"face": 0, "score": float("nan")})
        '{"face": 0, "score": null}'
    """
    return json.dumps(plain(values), allow_nan=False)


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says, whoever wrote it; halves of characters become marks.

    Raises:
        ValueError: If it is none, or brackets or digits go on beyond all sense.

    Examples:
        >>> from pushpull.runtime.records import parse_json
        >>> parse_json('{"rows": 3}')
        {'rows': 3}
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
            ...
        ValueError: is nested too deeply
    """
    try:
        found = json.loads(text, parse_int=_whole_number)
        low = text.lower()
        halves = b"\\ud" in low if isinstance(low, bytes) else "\\ud" in low
        # Half a character can be escaped, and be written nowhere.
        return _whole_characters(found) if halves else found
    except RecursionError as e:
        raise ValueError("is nested too deeply") from e


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {readable(name): _whole_characters(v) for name, v in value.items()}
    return [_whole_characters(v) for v in value] if isinstance(value, list) else value


def _whole_number(text: str) -> int:
    """No record counts further; what is beyond a float would be an error wherever it is used."""
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"holds a number of {len(text)} digits")
    return int(text)


def read_json(
    path: Path,
    *,
    kind: str,
    error: type[PushPullError] = OutputError,
    advice: str = "make it again",
) -> dict[str, Any]:
    """The record in a file.

    Args:
        path: The file.
        kind: What it has to be.
        error: What is raised where it cannot be used.
        advice: What the reader of the message should do then.

    Raises:
        PushPullError: `error`, if the file cannot be read, is no such record, or is one of a later
            version.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.records import read_json
        >>> read_json(Path("nowhere.json"), kind="score", advice="score again")
        Traceback (most recent call last):
            ...
        pushpull.errors.OutputError: nowhere.json: cannot be read (No such file or directory); score
        again
    """
    try:
        record = parse_json(read_text(path, most_bytes=MOST_RECORD_BYTES))
    except OSError as e:
        raise error(f"{path}: cannot be read ({e.strerror}); {advice}") from e
    except ValueError as e:
        raise error(f"{path}: is no JSON ({e}); {advice}") from e
    found = record.get("kind") if isinstance(record, dict) else type(record).__name__
    if found != kind:
        raise error(f"{path}: is no record of kind '{kind}' (got {found!r}); {advice}")
    number = record.get("schema_version")
    known = SCHEMA_VERSIONS[kind]
    if not isinstance(number, int) or number > known:
        raise error(
            f"{path}: has schema version {number}; this version reads up to {known}: update "
            "pushpull"
        )
    return dict(record)


def unstamped(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what it says of itself, to be part of another one.

    Examples:
        >>> from pushpull.runtime.records import unstamped
        >>> unstamped({"kind": "score", "schema_version": 1, "rows": 3, "versions": {}})
        {'rows': 3}
    """
    return {name: value for name, value in record.items() if name not in STAMP}


def plain(value: Any) -> Any:
    """The nearest that JSON holds: dict, list, str, int, finite float, bool or None.

    Raises:
        TypeError: If there is nothing near.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.records import plain
        >>> plain({"path": Path("a"), "scores": (1, float("inf"))})
        {'path': 'a', 'scores': [1, None]}
    """
    if value is None or (isinstance(value, (bool, str)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = ((k if isinstance(k, str) else json.dumps(plain(k)), v) for k, v in value.items())
        return {name: plain(v) for name, v in items}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    # NumPy's scalars and arrays, without importing it.
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"a record cannot hold a {type(value).__name__}: {value!r}")
