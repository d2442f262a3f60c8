"""Freed memory is kept for the next tensor until it is asked to be given back."""

import subprocess
import sys

import pytest
from support.begun_command import after_the_command

COURSE = """
from pathlib import Path

import numpy as np

from pushpull.runtime.malloc import keep_freed_memory, release_freed_memory

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

assert keep_freed_memory()
before = resident_mib()
blocks = [np.ones(2**16) for _ in range(400)]
held = resident_mib() - before
# Something that stays lies on top: nothing below it is given back by itself.
last = np.ones(1000)
del blocks
kept = resident_mib() - before
assert release_freed_memory()
print(held, kept, resident_mib() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is of glibc")
def test_what_was_freed_is_kept_until_it_is_released():
    run = subprocess.run([sys.executable, "-c", COURSE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    held, kept, left = map(float, run.stdout.split())
    assert held > 190
    assert kept > 0.9 * held
    assert left < 0.1 * held


def test_the_command_seldom_looks_for_cycles():
    said = after_the_command("gc.isenabled(), gc.get_threshold()[0]")
    assert said[-2:] == ["True", "50000"]
