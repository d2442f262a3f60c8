"""Whether anybody opens a file, as the system tells it: inotify of Linux."""

import ctypes
import os
import struct
from pathlib import Path

import pytest

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")


class WatchedFile:
    """Counts how often a file was opened, by whatever process and library; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = 0

    def __enter__(self) -> "WatchedFile":
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            pytest.skip("needs inotify (Linux)")
        self.handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.handle >= 0, os.strerror(ctypes.get_errno())
        watch = libc.inotify_add_watch(self.handle, os.fsencode(self.path), IN_OPEN)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        return self

    def __exit__(self, *failure: object) -> None:
        os.close(self.handle)

    def times_opened(self) -> int:
        """Since the block began."""
        while True:
            try:
                data = os.read(self.handle, 1 << 16)
            except BlockingIOError:
                return self.opened
            at = 0
            while at < len(data):
                self.opened += 1
                at += EVENT.size + EVENT.unpack_from(data, at)[3]
