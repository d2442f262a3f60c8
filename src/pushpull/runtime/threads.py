"""Threads that wait without taking a core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_thread", "wait_asleep"]


def wait_asleep() -> None:
    """Have PyTorch's threads sleep where they wait, unless the environment says otherwise.

    OpenMP's threads spin by default: one frame of Light-ASD costs 14 ms of processor time on two
    threads so, 8 ms asleep and on one thread, and on a busy machine spinning threads take cores
    from each other: there the fusion of 24 s took up to 20 s for 0.1 s. It is read when
    PyTorch is loaded, so it is said when the package is imported.

    Examples:
        >>> from pushpull.runtime.threads import wait_asleep
        >>> wait_asleep()
        >>> import os
        >>> os.environ["OMP_WAIT_POLICY"]
        'PASSIVE'
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def one_thread() -> Iterator[None]:
    """Have PyTorch take one thread for what this one asks of it.

    For many small steps, none worth sharing: where threads spin, on a busy machine, each step of a
    GRU waits until the system gives both of them a core, and 600 steps take 2 s for 0.02 s.

    Examples:
        >>> import torch
        >>> from pushpull.runtime.threads import one_thread
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    import torch

    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
