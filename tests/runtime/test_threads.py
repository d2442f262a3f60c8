"""Threads that wait sleep, unless they are told otherwise."""

import os
from contextlib import suppress

import pytest
import torch
from support.begun_command import after_the_command

from pushpull.runtime.threads import one_thread


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_the_command_says_so_before_torch_is_loaded(asked):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if asked:
        environment["OMP_WAIT_POLICY"] = asked
    said = after_the_command("os.environ['OMP_WAIT_POLICY']", env=environment)
    assert said[-1] == (asked or "PASSIVE")


@pytest.mark.parametrize("before", [1, 2])
def test_threads_are_as_many_as_before_whatever_happened(before):
    torch.set_num_threads(before)
    try:
        with suppress(ZeroDivisionError), one_thread():
            assert torch.get_num_threads() == 1
            _ = 1 / 0
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(1)
