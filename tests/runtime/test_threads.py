"""Threads that wait sleep, unless they are told otherwise."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest
import torch

from pushpull.runtime.threads import one_thread


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_importing_the_package_says_so_before_torch_is_loaded(asked):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if asked:
        environment["OMP_WAIT_POLICY"] = asked
    code = "import os, sys, pushpull; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert said.split() == [asked or "PASSIVE", "False"]


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
