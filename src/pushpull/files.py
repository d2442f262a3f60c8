"""Outputs that are whole or not there, and files fetched once into a cache.

`PUSHPULL_CACHE` moves the cache; a file already there with the right checksum is never fetched
again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushpull.errors import OutputError

__all__ = ["output_dir", "written_whole"]


def output_dir(path: Path) -> Path:
    """Make a folder for results, or say why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            pass
    except OSError as e:
        raise OutputError(f"{path}: cannot write here ({e.strerror}); choose another --out") from e
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to it on success and removed on failure.

    The temporary name keeps the suffix, since encoders choose the container by it.
    """
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result is as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    finally:
        temporary.unlink(missing_ok=True)
