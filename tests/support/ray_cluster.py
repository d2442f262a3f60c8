"""A real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
def ray_cluster() -> Iterator[str]:
    """Address of a head and one more node, with one processor each."""
    ray("start", "--head", "--port", 0, "--num-cpus", 1, "--include-dashboard", "false")
    try:
        address = Path("/tmp/ray/ray_current_cluster").read_text().strip()
        assert re.fullmatch(r"[\d.]+:\d+", address)
        ray("start", "--address", address, "--num-cpus", 1)
        yield address
    finally:
        ray("stop", "--force")
