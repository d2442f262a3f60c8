"""Memory that a process has freed is kept for its next tensor.

By default glibc gives blocks of tens of megabytes back to the system and gets them again, page by
page and zeroed, at the next layer of a network: measured on Light-ASD, 50 frames, two cores, a
forward and backward pass takes 0.60 s so and 0.45 s without. Peak memory was 620 against 586 MiB.

Blocks above `LARGE_BYTES` are given back all the same: they are pictures and what a face finder
makes of them, and lie between the tensors, of which then none could be used again. `detect` of
1920 x 1080 pixels takes 0.9 GiB so, 1.1 GiB where all is kept, and 1.9 GiB with a heap for each
thread, in the same time.
"""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["collect_seldom", "keep_freed_memory", "release_freed_memory"]

# Of <malloc.h>.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
NEVER = 2**31 - 1
LARGE_BYTES = 6_000_000
"""The largest tensor of 14 faces is just smaller."""

COLLECTED = 50_000
"""Objects more than before, by default 700 or 2000, after which Python looks for cycles."""


def keep_freed_memory() -> bool:
    """Have this process keep most of what it frees, where its C library is glibc; true if it does.

    For commands and benchmarks: it holds for the whole process, so a library should not call it.

    Examples:
        >>> from pushpull.runtime.malloc import keep_freed_memory
        >>> keeps = keep_freed_memory()  # true on Linux with glibc
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(
        (
            mallopt(M_MMAP_THRESHOLD, LARGE_BYTES),
            mallopt(M_TRIM_THRESHOLD, NEVER),
            mallopt(M_ARENA_MAX, 1),
        )
    )


def collect_seldom() -> None:
    """Have Python look for cycles of objects less often, in the whole process; for commands.

    PyTorch alone is 170 000 objects, among which there is nothing to find: looking for it is a
    tenth of the time in which it is loaded.

    Examples:
        >>> import gc
        >>> from pushpull.runtime.malloc import collect_seldom
        >>> usual = gc.get_threshold()
        >>> collect_seldom()
        >>> gc.isenabled(), gc.get_threshold()[0]
        (True, 50000)
        >>> gc.set_threshold(*usual)
    """
    gc.set_threshold(COLLECTED, *gc.get_threshold()[1:])


def release_freed_memory() -> bool:
    """Give back to the system what this process has freed, where its C library is glibc.

    For a change of what is worked on: between what is still used lies much that was freed and is
    too small for what comes next. True if anything was given back.

    Examples:
        >>> from pushpull.runtime.malloc import release_freed_memory
        >>> gave = release_freed_memory()
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    return bool(trim(0))
