"""Threads that wait without taking a core."""

from __future__ import annotations

import os

__all__ = ["wait_asleep"]


def wait_asleep() -> None:
    """Have PyTorch's threads sleep where they wait, unless the environment says otherwise.

    OpenMP's threads spin by default: one frame of Light-ASD costs 14 ms of processor time on two
    threads so, 8 ms asleep and on one thread, and on a busy machine spinning threads take cores
    from each other. It is read when PyTorch is loaded, so it comes first; for commands: a program
    sets OMP_WAIT_POLICY=PASSIVE itself.

    Examples:
        >>> from pushpull.runtime.threads import wait_asleep
        >>> wait_asleep()
        >>> import os
        >>> os.environ["OMP_WAIT_POLICY"]
        'PASSIVE'
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
