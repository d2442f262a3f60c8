"""Jobs for tests of stages, run in processes of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushpull.errors import DatasetError, UnknownName

Settings, Needs = Mapping[str, Any], Mapping[str, Path]


def number(settings: Settings, needs: Needs, folder: Path, report: Any) -> None:
    (folder / "value").write_text(str(settings["value"]))


def total(settings: Settings, needs: Needs, folder: Path, report: Any) -> None:
    values = [int((path / "value").read_text()) for path in needs.values()]
    report("adding", 1, len(values))
    (folder / "value").write_text(str(sum(values)))


def refuse(settings: Settings, needs: Needs, folder: Path, report: Any) -> None:
    if settings["how"] == "dataset":
        raise DatasetError("no such data")
    if settings["how"] == "name":
        raise UnknownName("thing", "x", ["a", "b"])
    raise RuntimeError("a bug")


def die(settings: Settings, needs: Needs, folder: Path, report: Any) -> None:
    os._exit(9)


def linger(settings: Settings, needs: Needs, folder: Path, report: Any) -> None:
    for k in range(600):
        with (folder / "ticks").open("a") as file:
            file.write(f"{k}\n")
        report("tick", k, 600)
        time.sleep(0.05)
