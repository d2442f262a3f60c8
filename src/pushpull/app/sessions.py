"""Visitors: each has a random token, a folder of its own, and sees nothing of the others.

Everything lies under one folder, readable by its owner only, and is there again when the server is
started again. What a visitor asks for is looked up by ids that the server made; no path ever comes
from outside.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pushpull.app.jobs import Job, State, finish
from pushpull.app.store import Known, Store
from pushpull.app.uploads import file_stem
from pushpull.errors import OutputError

__all__ = ["Session", "Sessions", "StoredFile", "Upload", "WorkRoot"]

LOCK = ".lock"
BASE = "app.sqlite"
OF_EVERY_JOB = ("kind", "shown", "stem", "upload")
EMPTY_S = 3600.0
"""Who left nothing and is not heard of for so long is nobody."""

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
        key: Digest of the token of its cookie.
        folder: Its own.
        store: Where what it has is written, so that it outlives the server.
        uploads: Its videos by id, oldest first.
        jobs: Its jobs by id, oldest first.
        tests: Its ABX tests by id; these end with the server.
        seen_s: When it last asked for something, seconds since 1970.
        reserved_bytes: What uploads that are coming in may still take.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.jobs import Job, State
        >>> from pushpull.app.sessions import Session
        >>> from pushpull.app.store import Store
        >>> session = Session(key="0f3a", folder=Path("visitor"), store=Store(Path("app.sqlite")))
        >>> job = Job(asked={"kind": "detect", "stem": "talk"}, folder=session.new_path())
        >>> job.folder.mkdir()
        >>> _ = (job.folder / "talk.csv").write_bytes(b"1234")
        >>> job.found, job.state = {"files": ["talk.csv"]}, State.done
        >>> session.keep_job(job)
        >>> session.file(f"{job.id}.0").name, session.file(f"{job.id}.1"), session.n_bytes
        ('talk.csv', None, 4)
    """

    key: str
    folder: Path
    store: Store
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    tests: dict[str, Any] = field(default_factory=dict)
    seen_s: float = field(default_factory=time.time)
    reserved_bytes: int = 0

    @property
    def unfinished(self) -> list[Job]:
        """Jobs that wait or run."""
        return [job for job in tuple(self.jobs.values()) if not job.over]

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing."""
        return not (self.uploads or self.jobs or self.tests or self.reserved_bytes)

    def new_path(self) -> Path:
        """A name in its folder that nothing has yet."""
        self.folder.mkdir(exist_ok=True)
        return self.folder / new_id()

    def file(self, key: str) -> StoredFile | None:
        """A video by its id, or a file of a result by the job's id and the file's place."""
        upload = self.uploads.get(key)
        if upload is not None:
            return StoredFile(path=upload.path, name=f"{file_stem(upload.shown)}.mp4")
        job_id, _, place = key.rpartition(".")
        job = self.jobs.get(job_id)
        if job is None or job.state is not State.done or job.folder is None:
            return None
        names = job.found["files"]
        if not (place.isascii() and place.isdigit()) or len(place) > 4 or int(place) >= len(names):
            return None
        name, stem = names[int(place)], job.asked["stem"]
        return StoredFile(
            path=job.folder / job.found.get("below", "") / name,
            name=name if name.startswith(stem) else f"{stem}-{name}",
        )

    def keep_upload(self, upload: Upload) -> None:
        """Have a video."""
        self.uploads[upload.id] = upload
        self.seen_s = time.time()
        value = {
            "name": upload.path.name,
            "shown": upload.shown,
            "about": upload.about,
            "n_bytes": upload.n_bytes,
        }
        self.store.put(self.key, self.folder.name, "upload", upload.id, value)

    def drop_upload(self, key: str) -> None:
        """Remove a video; results made of it stay."""
        upload = self.uploads.pop(key)
        self.store.drop(self.key, "upload", key)
        upload.path.unlink(missing_ok=True)

    def keep_job(self, job: Job) -> None:
        """Have a job, as it now is."""
        self.jobs[job.id] = job
        self.write_job(job)

    def write_job(self, job: Job) -> None:
        """Write what a job is now where it outlives the server."""
        value = {
            # Places are named within the folder of the visitor, which may be moved.
            "asked": {k: v for k, v in job.asked.items() if k not in ("path", "folder")},
            "path": Path(job.asked["path"]).name if "path" in job.asked else None,
            "folder": None if job.folder is None else job.folder.name,
            "state": job.state.value,
            "begun_s": job.begun_s,
            "found": job.found,
            "message": job.message,
        }
        self.store.put(self.key, self.folder.name, "job", job.id, value)

    def drop_job(self, key: str) -> None:
        """Remove a job that is over, and its result."""
        job = self.jobs.pop(key)
        self.store.drop(self.key, "job", key)
        if job.folder is not None:
            shutil.rmtree(job.folder, ignore_errors=True)

    def restore(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        """Take what was written by a server that is gone.

        Raises:
            KeyError: If something is missing.
            TypeError: If it is something else.
            ValueError: If it is no value of its kind.
        """
        if kind == "upload":
            path = self.inside(value["name"])
            if path is None or not path.is_file():
                raise ValueError("its file is gone")
            self.uploads[key] = Upload(
                id=key,
                path=path,
                shown=str(value["shown"]),
                about=dict(value["about"]),
                n_bytes=int(value["n_bytes"]),
            )
            return
        path, folder = (self.inside(value[name]) for name in ("path", "folder"))
        asked = {**value["asked"], **{name: str(value["asked"][name]) for name in OF_EVERY_JOB}}
        found = dict(value["found"])
        if value["state"] == State.done.value and not isinstance(found["files"], list):
            raise TypeError("its files are no list")
        asked |= {} if path is None else {"path": str(path)}
        asked |= {} if folder is None else {"folder": str(folder)}
        job = Job(
            id=key,
            owner=self.key,
            asked=asked,
            folder=folder,
            state=State(value["state"]),
            begun_s=float(value["begun_s"]),
            found=found,
            message=str(value["message"]),
        )
        self.jobs[key] = job
        if not job.over:
            finish(job, State.interrupted)
            self.write_job(job)
        job.finished.set()

    def inside(self, name: str | None) -> Path | None:
        """A place in its folder."""
        if name is None:
            return None
        if Path(name).name != name:
            raise ValueError("leads out of the folder")
        return self.folder / name

    @property
    def n_bytes(self) -> int:
        """What its files take."""
        return bytes_below(self.folder)


def bytes_below(folder: Path) -> int:
    """What the files of a folder take; what goes while it is looked at takes nothing."""
    # A walk passes over folders that have just gone, which `rglob` does not.
    return sum(size_of(Path(place) / name) for place, _, names in os.walk(folder) for name in names)


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if it is none or has just gone."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class Sessions:
    """All visitors, those of a server before this one included.

    Jobs that waited or ran when that was killed are said to be interrupted; whatever belongs to
    nobody is removed.

    Args:
        root: Folder of their folders.
        keep_s: Age after which one that is not heard of is forgotten.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.jobs import Job
        >>> from pushpull.app.sessions import Sessions
        >>> root = Path("visitors")
        >>> root.mkdir()
        >>> sessions = Sessions(root, keep_s=3600.0)
        >>> session, token = sessions.of(None)  # a new visitor
        >>> sessions.of(token) == (session, token), sessions.expired()
        (True, [])
        >>> asked = {"kind": "detect", "shown": "talk.mp4", "stem": "talk", "upload": "abc"}
        >>> session.keep_job(Job(asked=asked))
        >>> sessions.close()
        >>> session, same = Sessions(root, keep_s=3600.0).of(token)
        >>> same == token, [job.state.value for job in session.jobs.values()]
        (True, ['interrupted'])
    """

    def __init__(self, root: Path, keep_s: float) -> None:
        self.root, self.keep_s = root, keep_s
        self.store = Store(root / BASE)
        self._by_key: dict[str, Session] = {}
        self._lock = threading.Lock()
        for known in self.store.visitors():
            self._restore(known)
        self._remove_strays()

    def of(self, token: str | None) -> tuple[Session, str]:
        """The visitor with that token and the same token, or a new one and another."""
        with self._lock:
            session = None if token is None else self._by_key.get(digest(token))
            if session is None or token is None:
                token = secrets.token_urlsafe(32)
                key = digest(token)
                folder = self.root / f"visitor-{new_id()}"
                session = self._by_key[key] = Session(key=key, folder=folder, store=self.store)
            session.seen_s = time.time()
            return session, token

    def owner_of(self, job: Job) -> Session | None:
        """Whose a job is, None if it is nobody's any more."""
        with self._lock:
            session = self._by_key.get(job.owner)
        return session if session is not None and session.jobs.get(job.id) is job else None

    def forget(self, session: Session) -> None:
        """Remove a visitor and all that it left."""
        with self._lock:
            self._by_key.pop(session.key, None)
        self.store.forget(session.key)
        shutil.rmtree(session.folder, ignore_errors=True)

    def expired(self) -> list[Session]:
        """Visitors that have not been heard of for long, whose jobs and uploads are over."""
        now_s = time.time()
        with self._lock:
            every = list(self._by_key.values())
        return [
            s
            for s in every
            if s.seen_s < now_s - (min(EMPTY_S, self.keep_s) if s.is_empty else self.keep_s)
            and not s.unfinished
            and not s.reserved_bytes
        ]

    def note_seen(self) -> None:
        """Write down when each was last heard of."""
        with self._lock:
            times_s = {s.key: s.seen_s for s in self._by_key.values() if not s.is_empty}
        self.store.seen(times_s)

    @property
    def n_bytes(self) -> int:
        """What the files of all take, and what is coming in may still take."""
        with self._lock:
            coming = sum(s.reserved_bytes for s in self._by_key.values())
        return bytes_below(self.root) + coming

    def close(self) -> None:
        """Write down what is known; nothing is removed."""
        self.note_seen()
        self.store.close()

    def _restore(self, known: Known) -> None:
        session = Session(
            key=known.key,
            folder=self.root / known.folder,
            store=self.store,
            seen_s=min(known.seen_s, time.time()),
        )
        for kind, key, value in known.items:
            try:
                session.restore(kind, key, value)
            except (KeyError, TypeError, ValueError, OverflowError) as e:
                log.warning("a %s that was left cannot be used: %s", kind, e)
                self.store.drop(known.key, kind, key)
        self._by_key[known.key] = session

    def _remove_strays(self) -> None:
        """Remove what half an upload, an ABX test or a job left that is not there any more."""
        wanted: set[Path] = set()
        for session in self._by_key.values():
            wanted |= {upload.path for upload in session.uploads.values()}
            wanted |= {job.folder for job in session.jobs.values() if job.folder is not None}
        for folder in self.root.glob("visitor-*"):
            inside = [] if folder.is_symlink() or not folder.is_dir() else list(folder.iterdir())
            for path in inside:
                if path not in wanted:
                    remove(path)
            if not any(path in wanted for path in inside):
                remove(folder)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class WorkRoot:
    """The folder that a server keeps all in, its own as long as it runs.

    Args:
        path: Made if it is not there; only its owner may look into it.

    Raises:
        OutputError: If it cannot be written, or another server has it.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.sessions import WorkRoot
        >>> root = WorkRoot(Path("visitors"))
        >>> WorkRoot(Path("visitors"))
        Traceback (most recent call last):
            ...
        pushpull.errors.OutputError: visitors: another server keeps its visitors here; choose
        another --out
        >>> root.close()
        >>> WorkRoot(Path("visitors")).close()
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
            self._lock = (path / LOCK).open("w")
        except OSError as e:
            raise OutputError(
                f"{path}: cannot write here ({e.strerror}); choose another --out"
            ) from e
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            self._lock.close()
            raise OutputError(
                f"{path}: another server keeps its visitors here; choose another --out"
            ) from e

    def close(self) -> None:
        """Let another have it."""
        self._lock.close()
