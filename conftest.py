"""Examples in docstrings run like tests: each alone, in a folder of its own, as a reader would.

An example sees `np`, `torch` and `pp` (`import pushpull as pp`) and nothing of the module it
stands in, so whatever else it uses it imports, and a reader can paste it.
"""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import pushpull

# After the package, which has threads that wait take no core from tests that run beside.
# isort: split
import numpy as np
import torch

# Fixtures of a whole run come before those of a test that say so too.
torch.set_num_threads(1)

SOURCE = Path(pushpull.__file__).parent


def pytest_collect_file(file_path: Path) -> None:
    """Import a module of the package by its name before pytest does by its path.

    Pytest would run it a second time where its package imports it, and two copies of a class in one
    process are two classes.
    """
    if file_path.suffix == ".py" and file_path.is_relative_to(SOURCE):
        parts = file_path.relative_to(SOURCE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            importlib.import_module(".".join(parts).removesuffix(".__init__"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Examples do not see the names of the module they stand in."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.dtest.globs = {"__name__": "__main__", "np": np, "torch": torch, "pp": pushpull}


@pytest.fixture(autouse=True)
def _example(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """An empty folder, one thread, a fixed seed, numbers printed as ever; variables put back."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    environment = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.set_printoptions(profile="default")
    yield
    os.environ.clear()
    os.environ.update(environment)
