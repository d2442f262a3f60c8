"""Threads that wait sleep, unless they are told otherwise."""

import os
import subprocess
import sys

import pytest

COMMAND = """
import os, sys
from pushpull.cli import main
assert "torch" not in sys.modules
sys.argv = ["pushpull", "--version"]
try:
    main()
except SystemExit:
    print(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_the_command_says_so_before_torch_is_loaded(asked):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if asked:
        environment["OMP_WAIT_POLICY"] = asked
    run = subprocess.run(
        [sys.executable, "-c", COMMAND], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == (asked or "PASSIVE")
