"""Outputs that are whole or not there, and public files fetched once, with a checksum.

A known file is looked for in the cache and then in the folders of `PUSHPULL_WEIGHTS_PATH`; only if
no copy has the right checksum is the network touched. `PUSHPULL_CACHE` moves the cache.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pushpull.errors import CheckpointError, OutputError

__all__ = [
    "KnownFile",
    "cache_dir",
    "fetch",
    "find",
    "output_dir",
    "plain_path",
    "read_bytes",
    "read_text",
    "readable",
    "reason_of",
    "remove_unfinished",
    "search_dirs",
    "sha256_of",
    "sweep",
    "temporary_folder",
    "without_links",
    "written_whole",
]

TIMEOUT_S = 15.0
"""Longest silence of a server before a fetch gives up."""

MOST_BYTES = 1 << 26
"""Of a file of settings or words that people write: more is something else, or has no end."""

BLOCK_BYTES = 1 << 20

UNFINISHED = re.compile(r"(\..+-|pushpull-)[0-9a-f]{8}\.unfinished(\..+)?")
"""Names of what is being made; nobody else names a file so."""

NO_UTF8 = re.compile("[\ud800-\udfff]")
"""What stands for bytes of a name that are no UTF-8."""

LONGEST_START = 100
"""Bytes of a name that are kept in that of what is being made."""

NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of characters that no file name stands for, as JSON may hold them."""

LEFT_S = 60.0
"""What is unfinished and younger may have been begun this moment."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A public file, known by its checksum.

    Attributes:
        name: Where it lies below the cache or a search folder, with `/` between folders. Its last
            part is the published file name.
        url: Where it is fetched from.
        sha256: Checksum of the content, hexadecimal.

    Examples:
        >>> from pushpull.runtime.files import KnownFile
        >>> known = KnownFile("mine/net.onnx", "https://example.org/net.onnx", sha256="0" * 64)
        >>> known.name
        'mine/net.onnx'
    """

    name: str
    url: str
    sha256: str


def output_dir(path: Path) -> Path:
    """Make a folder for results, or say why it cannot be.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import output_dir
        >>> output_dir(Path("results/today")).is_dir()
        True
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as e:
        raise OutputError(f"{path}: cannot write here ({e.strerror}); choose another --out") from e
    return path


def read_bytes(path: str | os.PathLike[str], *, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a file, which may be a device or a pipe without end: no more is taken.

    Raises:
        OSError: If it cannot be read, or is larger.

    Examples:
        >>> from pushpull.runtime.files import read_bytes
        >>> read_bytes("/dev/zero", most_bytes=1000)
        Traceback (most recent call last):
            ...
        OSError: [Errno 27] is larger than 1000 bytes: '/dev/zero'
    """
    try:
        with Path(path).open("rb") as file:
            # Of a device or a pipe it says nothing; a file is not read for nothing.
            stated = os.fstat(file.fileno()).st_size
            if 0 < stated <= most_bytes:
                return file.read()
            data = bytearray()
            while stated <= most_bytes and len(data) <= most_bytes:
                block = file.read(min(BLOCK_BYTES, most_bytes + 1))
                if not block:
                    return bytes(data)
                data += block
    except ValueError as e:
        # A zero byte, which no name of a file can hold.
        raise OSError(errno.EINVAL, "is no name of a file", os.fspath(path)) from e
    raise OSError(errno.EFBIG, f"is larger than {most_bytes} bytes", os.fspath(path))


def read_text(
    path: str | os.PathLike[str], *, encoding: str = "utf-8", most_bytes: int = MOST_BYTES
) -> str:
    r"""The text of a file that people write, as `read_bytes`; lines end in \n.

    Raises:
        OSError: If it cannot be read, or is larger.
        UnicodeDecodeError: If it is no text of this encoding.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import read_text
        >>> _ = Path("names.txt").write_bytes(b"ada\r\nbob\n")
        >>> read_text("names.txt")
        'ada\nbob\n'
    """
    text = read_bytes(path, most_bytes=most_bytes).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


_unfinished: set[Path] = set()
_swept: set[Path] = set()


def remove_unfinished() -> None:
    """Remove files and folders that are not whole: for a process that is about to end.

    Examples:
        >>> from pushpull.runtime.files import remove_unfinished, temporary_folder
        >>> with temporary_folder() as folder:
        ...     remove_unfinished()
        ...     folder.exists()
        False
    """
    for path in tuple(_unfinished):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _unfinished_at(path: Path) -> Iterator[Path]:
    """What is made at this path is gone after the block, however that ends.

    It is entered before anything is made, since a process may be ended between any two lines.
    """
    if path.parent not in _swept:
        _swept.add(path.parent)
        sweep(path.parent)
    _unfinished.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _unfinished.discard(path)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Whoever sweeps the folder sees that somebody is at work; the lock goes with the process."""
    handle = os.open(path, os.O_RDONLY)
    try:
        # Some network disks have no locks; there only the age of a file protects it.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def sweep(folder: Path) -> list[Path]:
    """Remove what processes that were killed have left unfinished in a folder; returns it.

    Whatever some process still holds stays, and what is younger than a minute. Results are written
    so that this is done once for each folder, by itself.

    Examples:
        >>> import os
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import sweep
        >>> left = Path(".talk-0123abcd.unfinished.mp4")
        >>> left.touch()
        >>> os.utime(left, (0, 0))  # made long ago
        >>> [path.name for path in sweep(Path())]
        ['.talk-0123abcd.unfinished.mp4']
    """
    swept = []
    # A folder that cannot be listed or changed is somebody else's, or is said to be so later.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if UNFINISHED.fullmatch(entry.name) and not entry.is_symlink():
                path = Path(entry.path)
                if _is_left(path):
                    _remove(path)
                    swept.append(path)
    return swept


def _is_left(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return time.time() - os.fstat(handle).st_mtime > LEFT_S
    except OSError:
        return False
    finally:
        os.close(handle)


@contextmanager
def temporary_folder(
    folder: str | os.PathLike[str] | None = None, *, prefix: str = "pushpull-"
) -> Iterator[Path]:
    """A new folder of one's own, removed with all that is in it.

    Args:
        folder: Where; among the system's temporary files by default.
        prefix: What its name begins with.

    Raises:
        OSError: If it cannot be made.

    Examples:
        >>> from pushpull.runtime.files import temporary_folder
        >>> with temporary_folder() as folder:
        ...     _ = (folder / "draft.txt").write_text("ha")
        >>> folder.exists()
        False
    """
    place = Path(tempfile.gettempdir() if folder is None else folder)
    # Beside results a killed process is tidied up after; the system does that with its own.
    mark = "" if folder is None else ".unfinished"
    with _unfinished_at(place / f"{prefix}{secrets.token_hex(4)}{mark}") as path:
        path.mkdir(mode=0o700)
        with _held(path):
            yield path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to it on success and removed on failure.

    The temporary name keeps the suffix, since encoders choose the container by it.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import written_whole
        >>> with written_whole(Path("result.txt")) as temporary:
        ...     _ = temporary.write_text("whole")
        ...     print(Path("result.txt").exists())
        False
        >>> Path("result.txt").read_text()
        'whole'
    """
    # A name may be as long as the disk allows.
    start = os.fsencode(path.stem)[:LONGEST_START].decode(errors="ignore")
    name = f".{start}-{secrets.token_hex(4)}.unfinished{path.suffix}"
    try:
        with _unfinished_at(path.parent / name) as temporary:
            temporary.touch(exist_ok=False)
            with _held(temporary):
                yield temporary
                temporary.replace(path)
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e


def readable(name: str) -> str:
    r"""A file name as text that every file can hold: bytes that are no UTF-8 become marks.

    Examples:
        >>> import os
        >>> from pushpull.runtime.files import readable
        >>> readable(os.fsdecode(b"caf\xe9")).isprintable()
        True
    """
    return os.fsencode(NO_BYTES.sub("\N{REPLACEMENT CHARACTER}", name)).decode(errors="replace")


@contextmanager
def plain_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""A name of a file or folder for libraries that take UTF-8 only: its own, or a link to it.

    Examples:
        >>> import os
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import plain_path
        >>> with plain_path("talk.txt") as path:
        ...     print(path)
        talk.txt
        >>> odd = Path(os.fsdecode(b"caf\xe9.txt"))
        >>> _ = odd.write_text("ha")
        >>> with plain_path(odd) as path:
        ...     print(path.name.isprintable(), path.read_text())
        True ha
    """
    path = Path(path)
    if NO_UTF8.search(str(path)) is None:
        yield path
        return
    with temporary_folder() as folder:
        link = folder / f"link{readable(path.suffix)}"
        link.symlink_to(path.absolute())
        yield link


def without_links(path: str | os.PathLike[str]) -> Path:
    """The absolute place of a file with links followed; a loop of links is left as it is.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import without_links
        >>> Path("a").symlink_to("b")
        >>> Path("b").symlink_to("a")
        >>> without_links("a").name in ("a", "b")
        True
    """
    return Path(os.path.realpath(path))


def cache_dir() -> Path:
    """Folder of fetched files: `PUSHPULL_CACHE`, else the platform's place for caches.

    Examples:
        >>> import os
        >>> from pushpull.runtime.files import cache_dir
        >>> os.environ["PUSHPULL_CACHE"] = "fetched"
        >>> cache_dir().name
        'fetched'
    """
    chosen = os.environ.get("PUSHPULL_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("pushpull"))


def search_dirs() -> tuple[Path, ...]:
    """Folders of `PUSHPULL_WEIGHTS_PATH`, in its order; files in them are read, never written.

    Examples:
        >>> import os
        >>> from pushpull.runtime.files import search_dirs
        >>> os.environ["PUSHPULL_WEIGHTS_PATH"] = os.pathsep.join(["weights", "models"])
        >>> [folder.name for folder in search_dirs()]
        ['weights', 'models']
    """
    chosen = os.environ.get("PUSHPULL_WEIGHTS_PATH", "")
    return tuple(without_links(Path(d).expanduser()) for d in chosen.split(os.pathsep) if d)


def sha256_of(path: Path) -> str:
    """Checksum of a file's content, hexadecimal.

    Raises:
        CheckpointError: If the file cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import sha256_of
        >>> _ = Path("empty.bin").write_bytes(b"")
        >>> sha256_of(Path("empty.bin"))[:12]
        'e3b0c44298fc'
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror})") from e
    return digest.hexdigest()


def find(known: KnownFile) -> Path | None:
    """A copy on this machine with the right checksum, without touching the network.

    Looks for `name` in the cache and in the search folders, and in the latter for the bare file
    name too.

    Examples:
        >>> import os
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import KnownFile, find, sha256_of
        >>> _ = Path("net.onnx").write_bytes(b"a network")
        >>> sum_of_it = sha256_of(Path("net.onnx"))
        >>> known = KnownFile("net.onnx", "https://example.org/net.onnx", sum_of_it)
        >>> os.environ["PUSHPULL_WEIGHTS_PATH"] = os.getcwd()
        >>> find(known).name
        'net.onnx'
    """
    candidates = [cache_dir() / known.name]
    for folder in search_dirs():
        candidates += [folder / known.name, folder / Path(known.name).name]
    for path in candidates:
        if path.is_file() and sha256_of(path) == known.sha256:
            return path
    return None


def fetch(known: KnownFile, *, timeout_s: float = TIMEOUT_S, quiet: bool = False) -> Path:
    """Path of a known file on this machine, downloaded into the cache if it is nowhere.

    A file in the cache with another checksum is replaced. A download is checked before it takes
    its name, so an interrupted or altered one leaves nothing behind.

    Args:
        known: What is wanted.
        timeout_s: Longest silence of the server before it is given up.
        quiet: Whether to leave out the line that says what is fetched from where.

    Raises:
        CheckpointError: If it cannot be fetched, or what came has another checksum.
        OutputError: If the cache cannot be written.

    Examples:
        >>> import os
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import KnownFile, fetch, sha256_of
        >>> _ = Path("net.onnx").write_bytes(b"a network")
        >>> sum_of_it = sha256_of(Path("net.onnx"))
        >>> known = KnownFile("net.onnx", "https://example.org/net.onnx", sum_of_it)
        >>> os.environ["PUSHPULL_WEIGHTS_PATH"] = os.getcwd()
        >>> fetch(known).name  # it is here, so nothing is fetched
        'net.onnx'
    """
    found = find(known)
    if found is not None:
        return found
    target = cache_dir() / known.name
    stale = f" (the file now there has sha256 {sha256_of(target)})" if target.is_file() else ""
    by_hand = (
        f"put the file at {target}{stale} yourself, sha256 {known.sha256}, or name a folder that "
        "holds it in PUSHPULL_WEIGHTS_PATH"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(
            f"{target.parent}: cannot be made ({e.strerror}); set PUSHPULL_CACHE to a folder that "
            "can be written"
        ) from e
    with written_whole(target) as temporary:
        _download(known, temporary, by_hand, timeout_s, quiet=quiet)
        got = sha256_of(temporary)
        if got != known.sha256:
            raise CheckpointError(
                f"{known.url}: what was fetched has sha256 {got}, expected {known.sha256}; it was "
                f"thrown away: try again, or {by_hand}"
            )
    return target


def _download(known: KnownFile, path: Path, by_hand: str, timeout_s: float, *, quiet: bool) -> None:
    import pooch
    import requests

    if not quiet:
        pooch.get_logger().info("Fetching %s from %s", known.name, known.url)
    try:
        pooch.HTTPDownloader(timeout=timeout_s)(known.url, str(path), None)
    except requests.RequestException as e:
        raise CheckpointError(
            f"{known.name}: cannot be fetched from {known.url} ({reason_of(e)}); {by_hand}"
        ) from e


def reason_of(error: BaseException) -> str:
    """A failed request in a few words; the library's own text runs over several lines.

    Examples:
        >>> import requests
        >>> from pushpull.runtime.files import reason_of
        >>> reason_of(requests.Timeout())
        'timed out'
    """
    import requests

    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    if isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
