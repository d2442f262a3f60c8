"""What a server must know again after it was killed: visitors, their videos, their jobs.

One SQLite file beside the visitors' folders. A row is written before anything depends on it, so a
server that is killed at any moment leaves either the state before or the one after.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Known", "Store"]

VERSION = 1
TABLES = f"""
CREATE TABLE visitors (key TEXT PRIMARY KEY, folder TEXT NOT NULL, seen_s REAL NOT NULL);
CREATE TABLE items (
    visitor TEXT NOT NULL REFERENCES visitors ON DELETE CASCADE,
    kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (visitor, kind, id)
);
PRAGMA user_version = {VERSION};
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """A visitor as it was left.

    Attributes:
        key: Digest of its token: who reads the file cannot be anybody.
        folder: Name of its folder.
        seen_s: When it last asked for something, seconds since 1970.
        items: Kind, id and value of each thing it has, oldest first.

    Examples:
        >>> from pushpull.app.store import Known
        >>> Known("0f3a", "visitor-1", 1.8e9).items
        []
    """

    key: str
    folder: str
    seen_s: float
    items: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


class Store:
    """The file; any thread may call.

    Args:
        path: Where it is, made if it is not there. One that cannot be read is set aside.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.store import Store
        >>> store = Store(Path("app.sqlite"))
        >>> store.put("0f3a", "visitor-1", "job", "abc", {"state": "queued"})
        >>> store.put("0f3a", "visitor-1", "job", "abc", {"state": "done"})
        >>> store.close()
        >>> [known] = Store(Path("app.sqlite")).visitors()
        >>> known.folder, known.items
        ('visitor-1', [('job', 'abc', {'state': 'done'})])
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._base = opened(path)
        except sqlite3.DatabaseError as e:
            aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
            log.warning("%s cannot be read (%s); it is kept as %s", path, e, aside.name)
            path.replace(aside)
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            self._base = opened(path)

    def visitors(self) -> Iterator[Known]:
        """All that are known; what cannot be understood is left out."""
        with self._lock:
            rows = self._base.execute("SELECT key, folder, seen_s FROM visitors").fetchall()
            items = self._base.execute(
                "SELECT visitor, kind, id, value FROM items ORDER BY rowid"
            ).fetchall()
        known = {str(row[0]): Known(*row) for row in rows if Path(str(row[1])).name == row[1]}
        for visitor, kind, key, text in items:
            try:
                value = json.loads(text)
            except (ValueError, TypeError, RecursionError):
                continue
            if visitor in known and isinstance(value, dict):
                known[visitor].items.append((str(kind), str(key), value))
        yield from known.values()

    def put(self, visitor: str, folder: str, kind: str, key: str, value: dict[str, Any]) -> None:
        """Write a thing of a visitor, new or in place of what it was."""
        text = json.dumps(value)
        with self._lock, self._base:
            self._base.execute(
                "INSERT OR IGNORE INTO visitors VALUES (?, ?, ?)", (visitor, folder, time.time())
            )
            self._base.execute(
                "INSERT INTO items VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value",
                (visitor, kind, key, text),
            )

    def drop(self, visitor: str, kind: str, key: str) -> None:
        """Forget a thing of a visitor."""
        with self._lock, self._base:
            self._base.execute(
                "DELETE FROM items WHERE (visitor, kind, id) = (?, ?, ?)", (visitor, kind, key)
            )

    def seen(self, times_s: dict[str, float]) -> None:
        """Note when visitors were last heard of; those that have nothing are not kept."""
        with self._lock, self._base:
            self._base.executemany(
                "UPDATE visitors SET seen_s = ? WHERE key = ?",
                [(time_s, key) for key, time_s in times_s.items()],
            )

    def forget(self, visitor: str) -> None:
        """Forget a visitor and all that it has."""
        with self._lock, self._base:
            self._base.execute("DELETE FROM visitors WHERE key = ?", (visitor,))

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._base.close()


def opened(path: Path) -> sqlite3.Connection:
    """The base at a path.

    Raises:
        sqlite3.DatabaseError: If what is there is no base, a damaged one, or one of another making.
    """
    base = sqlite3.connect(path, check_same_thread=False)
    try:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA foreign_keys = ON")
        version = base.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            base.executescript(TABLES)
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"its layout is {version}; expected {VERSION}")
        found = base.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))
    except BaseException:
        base.close()
        raise
    return base
