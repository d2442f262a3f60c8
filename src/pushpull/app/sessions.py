"""Visitors: each has a random token, a folder of its own, and sees nothing of the others.

Everything lies under one temporary root, readable by its owner only. What a visitor asks for is
looked up by ids that the server made; no path ever comes from outside.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pushpull.app.jobs import Job, State
from pushpull.errors import OutputError
from pushpull.runtime.files import temporary_folder

__all__ = ["Session", "Sessions", "StoredFile", "Upload", "WorkRoot"]

PREFIX = "pushpull-app-"
LOCK = ".lock"

log = logging.getLogger(__name__)


def new_id() -> str:
    """An id that nobody guesses."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A video of a visitor.

    Attributes:
        id: Made by the server.
        path: Where it lies, under a name of the server's own.
        shown: Its name as its owner gave it, fit to be shown.
        about: What probing found: `duration_s`, `width`, `height`, `fps`.
        n_bytes: Its size.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.sessions import Upload
        >>> path, about = Path("visitor/abc"), {"duration_s": 4.0, "fps": 25.0}
        >>> upload = Upload(id="abc", path=path, shown="talk.mp4", about=about, n_bytes=90_000)
        >>> upload.shown
        'talk.mp4'
    """

    id: str
    path: Path
    shown: str
    about: dict[str, Any]
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that a visitor may fetch.

    Attributes:
        path: Where it lies.
        name: What a download of it is called.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.sessions import StoredFile
        >>> StoredFile(path=Path("visitor-abc/found.mp4"), name="talk.mp4").name
        'talk.mp4'
    """

    path: Path
    name: str


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """What one visitor has.

    Attributes:
        token: Of its cookie.
        folder: Its own.
        uploads: Its videos by id, oldest first.
        jobs: Its jobs by id, oldest first.
        files: What it may fetch, by id.
        tests: Its ABX tests by id.
        seen_s: When it last asked for something, on the monotonic clock.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.sessions import Session
        >>> session = Session(token="secret", folder=Path("visitor"))
        >>> path = session.new_path()
        >>> _ = path.write_bytes(b"1234")
        >>> key = session.offer(path, "talk.csv")
        >>> session.files[key].name, session.n_bytes
        ('talk.csv', 4)
    """

    token: str
    folder: Path
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    tests: dict[str, Any] = field(default_factory=dict)
    seen_s: float = field(default_factory=time.monotonic)
    uploading_bytes: int = 0

    @property
    def unfinished(self) -> list[Job]:
        """Jobs that wait or run."""
        return [j for j in self.jobs.values() if j.state in (State.queued, State.running)]

    def new_path(self) -> Path:
        """A name in its folder that nothing has yet."""
        self.folder.mkdir(exist_ok=True)
        return self.folder / new_id()

    def offer(self, path: Path, name: str) -> str:
        """Let a file be fetched; its id."""
        key = new_id()
        self.files[key] = StoredFile(path=path, name=name)
        return key

    def drop_upload(self, key: str) -> None:
        """Remove a video; results made of it stay."""
        self.uploads.pop(key).path.unlink(missing_ok=True)

    @property
    def n_bytes(self) -> int:
        """What its files take."""
        found = (p for p in self.folder.rglob("*") if p.is_file() and not p.is_symlink())
        return sum(size_of(p) for p in found)


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if it has just gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class Sessions:
    """All visitors.

    Args:
        root: Folder of their folders.
        keep_s: Age after which one that is not heard of is forgotten.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.sessions import Sessions
        >>> sessions = Sessions(Path("visitors"), keep_s=3600.0)
        >>> session = sessions.of(None)  # a new visitor
        >>> sessions.of(session.token) is session, sessions.expired()
        (True, [])
    """

    def __init__(self, root: Path, keep_s: float) -> None:
        self.root, self.keep_s = root, keep_s
        self._by_token: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, token: str | None) -> Session:
        """The visitor with that token, or a new one."""
        with self._lock:
            session = self._by_token.get(token or "")
            if session is None:
                fresh = secrets.token_urlsafe(32)
                session = Session(token=fresh, folder=self.root / f"visitor-{new_id()}")
                self._by_token[fresh] = session
            session.seen_s = time.monotonic()
            return session

    def forget(self, session: Session) -> None:
        """Remove a visitor and all that it left."""
        with self._lock:
            self._by_token.pop(session.token, None)
        shutil.rmtree(session.folder, ignore_errors=True)

    def expired(self) -> list[Session]:
        """Visitors that have not been heard of for long and whose jobs are over."""
        limit_s = time.monotonic() - self.keep_s
        with self._lock:
            old = [s for s in self._by_token.values() if s.seen_s < limit_s]
        return [s for s in old if not s.unfinished]


class WorkRoot:
    """One temporary folder for all that a server keeps, removed when the server ends.

    What servers left that were killed is removed, too: a root whose lock nobody holds has no owner.

    Examples:
        >>> from pushpull.app.sessions import WorkRoot
        >>> root = WorkRoot()
        >>> root.path.is_dir()
        True
        >>> root.close()
        >>> root.path.exists()
        False
    """

    def __init__(self) -> None:
        self._remove_orphans()
        self._until_closed = ExitStack()
        try:
            self.path = self._until_closed.enter_context(temporary_folder(prefix=PREFIX))
        except OSError as e:
            raise OutputError(
                f"{tempfile.gettempdir()}: cannot write here ({e.strerror}); set TMPDIR to a "
                "folder that can be written"
            ) from e
        self._lock = (self.path / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it."""
        self._until_closed.close()
        self._lock.close()

    def _remove_orphans(self) -> None:
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            try:
                if path.is_symlink() or path.stat().st_uid != os.getuid():
                    continue
                with (path / LOCK).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                    log.info("removed %s, left by a server that was killed", path)
            except OSError:
                continue
