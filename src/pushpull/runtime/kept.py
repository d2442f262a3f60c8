"""Results that are kept on disk, each found again by all that decides it.

The name of a result's file or folder ends in a hash of what decides the result, and the record in
it says once more what that was. So a run that was stopped goes on where it was, a changed setting
makes anew only what depends on it, and two runs in one folder share what they have in common.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushpull.errors import OutputError
from pushpull.runtime.files import output_dir
from pushpull.runtime.records import read_json, write_json

__all__ = ["STAGE_FORMAT", "Kept", "Store", "find_kept", "key_of", "write_kept"]

STAGE_FORMAT = 1
"""Raised when what is kept changes its meaning: results of another number are not found again.

It is not the package's version: a release must not throw trainings away.
"""


def key_of(decides: Mapping[str, Any]) -> str:
    """Hash of all that decides a result; only what JSON holds.

    Examples:
        >>> from pushpull.runtime.kept import key_of
        >>> key_of({"seed": 1, "steps": 5}) == key_of({"steps": 5, "seed": 1})
        True
        >>> key_of({"seed": 1}) == key_of({"seed": 2})
        False
    """
    parts = {"format": STAGE_FORMAT, "decides": decides}
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A result that was found again.

    Attributes:
        result: What was kept.
        seconds: How long it took to make.

    Examples:
        >>> from pushpull.runtime.kept import Kept
        >>> Kept(result={"mean": 0.5}, seconds=2.0).result["mean"]
        0.5
    """

    result: Any
    seconds: float


def find_kept(path: Path, decides: Mapping[str, Any]) -> Kept | None:
    """The result in a file; None where there is none that is whole and decided by the same.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.kept import find_kept, write_kept
        >>> write_kept(Path("mean.json"), {"seed": 1}, {"mean": float("inf")}, seconds=2.0)
        >>> find_kept(Path("mean.json"), {"seed": 1})
        Kept(result={'mean': inf}, seconds=2.0)
        >>> find_kept(Path("mean.json"), {"seed": 2})
    """
    try:
        record = read_json(path, kind="stage")
        if key_of(record["decides"]) != key_of(decides):
            return None
        return Kept(result=_restored(record["result"]), seconds=float(record["seconds"]))
    except (OutputError, KeyError, TypeError, ValueError):
        return None


def write_kept(path: Path, decides: Mapping[str, Any], result: Any, *, seconds: float) -> None:
    """Write a result, whole or not at all, where `find_kept` finds it.

    Args:
        path: The file.
        decides: What decides the result; only what JSON holds.
        result: Plain values for JSON; NaN and infinity are kept too.
        seconds: How long it took to make.

    Raises:
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.kept import find_kept, write_kept
        >>> write_kept(Path("mean.json"), {"seed": 1}, {"mean": 0.5}, seconds=2.0)
        >>> find_kept(Path("mean.json"), {"seed": 1}).result
        {'mean': 0.5}
    """
    record = {
        "key": key_of(decides),
        "decides": decides,
        "result": _exact(result),
        "seconds": round(seconds, 3),
    }
    write_json(path, record, kind="stage")


class Store:
    """A folder of results, one file each.

    Args:
        folder: Made if it is not there; None keeps nothing.
        common: What decides every result.

    Attributes:
        made: Results that were computed.
        reused: Results that were found.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.kept import Store
        >>> store = Store(Path("results"), {"detector": "light-asd-ava"})
        >>> for seed in (1, 2, 1):
        ...     _ = store.get("noise", {"seed": seed}, lambda: {"score": 0.5})
        >>> store.made, store.reused
        (2, 1)
    """

    def __init__(self, folder: Path | None, common: Mapping[str, Any]) -> None:
        self._folder = None if folder is None else output_dir(folder)
        self._common = dict(common)
        self.made = self.reused = 0

    def get(
        self,
        name: str,
        decides: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        *,
        keep: bool = True,
    ) -> dict[str, Any]:
        """What `make` gives, or gave earlier where the same decided it.

        Args:
            name: Of the result; the first part of its file's name.
            decides: What decides it, beside what decides all.
            make: Computes plain values for JSON; NaN and infinity are kept too.
            keep: Whether it may be kept and found.

        Raises:
            OutputError: If the result cannot be written.
        """
        whole = {"name": name, **self._common, **decides}
        path = None
        if self._folder is not None and keep:
            path = self._folder / f"{name}-{key_of(whole)}.json"
            found = find_kept(path, whole)
            if found is not None:
                self.reused += 1
                return dict(found.result)
        start = time.perf_counter()
        result = make()
        self.made += 1
        if path is not None:
            write_kept(path, whole, result, seconds=time.perf_counter() - start)
        return result


NONFINITE = "nonfinite"


def _exact(value: Any) -> Any:
    """Plain values with NaN and infinity, which records hold as null, by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return {NONFINITE: repr(float(value))}
    if isinstance(value, Mapping):
        return {name: _exact(v) for name, v in value.items()}
    return [_exact(v) for v in value] if isinstance(value, (list, tuple)) else value


def _restored(value: Any) -> Any:
    """What `_exact` was given."""
    if isinstance(value, dict):
        if set(value) == {NONFINITE}:
            return float(value[NONFINITE])
        return {name: _restored(v) for name, v in value.items()}
    return [_restored(v) for v in value] if isinstance(value, list) else value
