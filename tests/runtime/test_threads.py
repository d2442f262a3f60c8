"""Threads that wait sleep, unless they are told otherwise."""

import os

import pytest
from support.begun_command import after_the_command


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_the_command_says_so_before_torch_is_loaded(asked):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if asked:
        environment["OMP_WAIT_POLICY"] = asked
    said = after_the_command("os.environ['OMP_WAIT_POLICY']", env=environment)
    assert said[-1] == (asked or "PASSIVE")
