"""Results of stages on disk, each found again by everything that it depends on."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.runtime.files import output_dir, written_whole

__all__ = ["Store", "packed", "unpacked"]


class Store:
    """A folder of results, one JSON file each, written whole.

    Args:
        folder: Made if it is not there; None keeps nothing.
        common: What every stage depends on.

    Attributes:
        made: Stages that were computed.
        reused: Stages that were found.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.auditing.store import Store
        >>> store = Store(Path("stages"), {"detector": "mine"})
        >>> for _ in range(2):
        ...     result = store.get("clean", {"seed": 0}, lambda: {"score": 1.5})
        >>> result, store.made, store.reused
        ({'score': 1.5}, 1, 1)
    """

    def __init__(self, folder: Path | None, common: Mapping[str, Any]) -> None:
        self._folder = None if folder is None else output_dir(folder)
        self._common = dict(common)
        self.made = self.reused = 0

    def get(
        self,
        name: str,
        depends: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        *,
        keep: bool = True,
    ) -> dict[str, Any]:
        """What `make` gives, or gave earlier for a stage that depends on the same.

        Args:
            name: Of the stage; part of the file's name.
            depends: What it depends on, beside what all do.
            make: Computes plain values for JSON.
            keep: Whether it may be kept and found.

        Raises:
            OutputError: If the result cannot be written.
        """
        stage = {"name": name, **self._common, **depends}
        text = json.dumps(stage, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = None if self._folder is None or not keep else self._folder / f"{name}-{key}.json"
        found = None if path is None else _read(path, text)
        if found is not None:
            self.reused += 1
            return found
        result = make()
        self.made += 1
        if path is not None:
            with written_whole(path) as temporary:
                temporary.write_text(json.dumps({"stage": text, "result": result}) + "\n")
        return result


def _read(path: Path, stage: str) -> dict[str, Any] | None:
    """The result of a stage, or None where there is none that can be used."""
    try:
        content = json.loads(path.read_text())
        result = content["result"] if content["stage"] == stage else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if isinstance(result, dict) else None


def packed(values: NDArray[np.floating] | None) -> str | None:
    """Numbers as text for JSON: float32, base64.

    Examples:
        >>> from pushpull.auditing.store import packed, unpacked
        >>> unpacked(packed(np.array([0.5, -2.0])))
        array([ 0.5, -2. ])
    """
    if values is None:
        return None
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def unpacked(text: str | None) -> NDArray[np.float64] | None:
    """What `packed` wrote.

    Examples:
        >>> from pushpull.auditing.store import packed, unpacked
        >>> unpacked(packed(np.array([0.5, -2.0]))), unpacked(None)
        (array([ 0.5, -2. ]), None)
    """
    if text is None:
        return None
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
