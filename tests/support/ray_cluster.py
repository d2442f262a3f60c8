"""A real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")


def search_path() -> str:
    """Where this process finds modules, for others to find the same."""
    return os.pathsep.join(filter(None, sys.path))


def ray(*arguments: object) -> str:
    done = subprocess.run(
        [RAY, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": search_path()},
    )
    return done.stdout


@contextmanager
def alone() -> Iterator[None]:
    """One cluster at a time: `ray stop` ends those of other tests on this machine as well."""
    with (Path(tempfile.gettempdir()) / "pushpull-tests-ray.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def ray_cluster() -> Iterator[str]:
    """Address of a head and one more node, with one processor each."""
    with alone(), started() as address:
        yield address


@contextmanager
def started() -> Iterator[str]:
    ray("start", "--head", "--port", 0, "--num-cpus", 1, "--include-dashboard", "false")
    try:
        address = Path("/tmp/ray/ray_current_cluster").read_text().strip()
        assert re.fullmatch(r"[\d.]+:\d+", address)
        ray("start", "--address", address, "--num-cpus", 1)
        yield address
    finally:
        ray("stop", "--force")
