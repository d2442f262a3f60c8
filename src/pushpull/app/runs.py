"""Runs of reproduce, audit and attack below one folder, found by what they leave.

Links are not followed and hidden folders not entered. A visitor names a run or a file by an id that
a scan made; the path behind it is looked at again before anything is sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushpull.runtime.files import read_text, readable, without_links
from pushpull.runtime.records import parse_json

__all__ = ["Run", "Runs", "tracks_of"]

DEEPEST = 4
MOST_FOLDERS = 3000
MARKS = {
    "report.html": "reproduce",
    "audit.html": "audit",
    "audit.md": "audit",
    "adversarial.safetensors": "attack",
}
PAGES = {"reproduce": "report.html", "audit": "audit.html"}
SHOWN = (".html", ".md", ".json", ".csv", ".png", ".mp4")
PICTURES = (".png", ".mp4")
MOST_FILES = 60
LARGEST = 100 * 2**20
LONGEST_VERDICT = 500
MOST_OF_PAGE = 16 * 2**20
DRAWN = re.compile(rb'src="data:image/png;base64,([A-Za-z0-9+/=]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One folder with results.

    Attributes:
        id: Of its place below the root.
        kind: reproduce, audit or attack.
        name: Its place below the root.
        folder: Where it is.
        changed: When its results were written, as seconds since 1970.
        files: Ids of its files that may be looked at, by name.
        verdict: What came out, in a sentence; empty where its record does not say.
        picture: Name of the file among these that shows it best, None if none does.
        has_drawing: Whether its report holds a picture of its own.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.runs import Runs
        >>> Path("runs/mine").mkdir(parents=True)
        >>> _ = Path("runs/mine/audit.md").write_text("# Audit of mine")
        >>> [run] = Runs(Path("runs")).scan()
        >>> run.kind, run.name, list(run.files), run.verdict
        ('audit', 'mine', ['audit.md'], '')
    """

    id: str
    kind: str
    name: str
    folder: Path
    changed: float
    files: dict[str, str]
    verdict: str = ""
    picture: str | None = None
    has_drawing: bool = False


class Runs:
    """The runs below a folder.

    Args:
        root: The folder; None for no runs at all.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.runs import Runs
        >>> Path("runs/mine").mkdir(parents=True)
        >>> _ = Path("runs/mine/audit.md").write_text("# Audit of mine")
        >>> runs = Runs(Path("runs"))
        >>> [run] = runs.scan()
        >>> runs.file(run.files["audit.md"]).name, runs.file("another id")
        ('audit.md', None)
    """

    def __init__(self, root: Path | None) -> None:
        self.root = None if root is None else without_links(root)
        self._files: dict[str, Path] = {}
        self._looks: dict[Path, tuple[float, str, bool]] = {}

    def scan(self) -> list[Run]:
        """All of them, the newest first."""
        if self.root is None or not self.root.is_dir():
            return []
        found: list[Run] = []
        waiting = [(self.root, 0)]
        for n_seen in range(MOST_FOLDERS):
            if n_seen >= len(waiting):
                break
            folder, depth = waiting[n_seen]
            files, folders = listing(folder)
            for mark, kind in MARKS.items():
                if mark in files:
                    found.append(self._run(folder, kind, files, files[mark]))
                    break
            if depth < DEEPEST:
                waiting += [(folder / name, depth + 1) for name in folders]
        return sorted(found, key=lambda run: -run.changed)

    def file(self, key: str) -> Path | None:
        """A file that a scan found and that is still a file there, no link."""
        path = self._files.get(key)
        if path is None or self.root is None or path.is_symlink() or not path.is_file():
            return None
        # A folder on the way may have become a link since.
        return path if without_links(path).is_relative_to(self.root) else None

    def drawing(self, key: str) -> bytes | None:
        """The first picture (png) of a report that a scan found, by the id of its file."""
        path = self.file(key)
        return None if path is None or path.suffix != ".html" else first_picture(path)

    def _look(self, folder: Path, kind: str, changed: float) -> tuple[str, bool]:
        """What a run says and whether its report has a picture, read once."""
        known = self._looks.get(folder)
        if known is None or known[0] != changed:
            page = PAGES.get(kind)
            drawn = page is not None and first_picture(folder / page) is not None
            known = self._looks[folder] = (changed, verdict_of(folder, kind), drawn)
        return known[1], known[2]

    def _run(self, folder: Path, kind: str, files: dict[str, float], changed: float) -> Run:
        root = self.root or folder
        name = str(folder.relative_to(root))
        ids: dict[str, str] = {}
        for file in sorted(files):
            if Path(file).suffix in SHOWN and len(ids) < MOST_FILES:
                key = ids[readable(file)] = digest(f"{name}/{file}")
                self._files[key] = folder / file
        pictures = [file for file in ids if Path(file).suffix in PICTURES]
        verdict, has_drawing = self._look(folder, kind, changed)
        return Run(
            verdict=verdict,
            picture=next(iter(pictures), None),
            has_drawing=has_drawing,
            id=digest(name),
            kind=kind,
            name=readable(root.name if name == "." else name),
            folder=folder,
            changed=changed,
            files=ids,
        )


def listing(folder: Path) -> tuple[dict[str, float], list[str]]:
    """Regular files with the times of their last change, and folders; nothing hidden, no links."""
    files: dict[str, float] = {}
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_size <= LARGEST or entry.name in MARKS:
                        files[entry.name] = status.st_mtime
    except OSError:
        return {}, []
    return files, sorted(folders)


def verdict_of(folder: Path, kind: str) -> str:
    """What a run found, in a sentence; empty where its record does not say."""
    try:
        if kind == "audit":
            text = parse_json(read_text(folder / "audit.json"))["verdict"]["sentence"]
        elif kind == "attack":
            record = parse_json(read_text(folder / "results.json"))
            clean, attacked = (100 * record[k]["accuracy"] for k in ("clean", "adversarial"))
            text = f"{attacked:.0f} % of the frames are still right, {clean:.0f} % were"
        else:
            found = parse_json(read_text(folder / "results.json"))["findings"]
            held = sum(1 for one in found if one["reproduced"] == "yes")
            text = f"{held} of {len(found)} statements checked were reproduced" if found else ""
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
        AttributeError,
    ):
        return ""
    return readable(str(text)[:LONGEST_VERDICT])


def first_picture(path: Path) -> bytes | None:
    """The first png that a page holds in itself."""
    try:
        with path.open("rb") as file:
            found = DRAWN.search(file.read(MOST_OF_PAGE))
        return None if found is None else base64.b64decode(found[1], validate=True)
    except (OSError, binascii.Error):
        return None


def digest(text: str) -> str:
    """A short id of a place."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def tracks_of(folder: Path) -> dict[str, float]:
    """Frame rate of each track of an attack, by its id; empty where results.json does not tell.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.runs import tracks_of
        >>> _ = Path("results.json").write_text('{"tracks": [{"track_id": "talk:0", "fps": 25.0}]}')
        >>> tracks_of(Path())
        {'0': 25.0}
    """
    try:
        record: dict[str, Any] = parse_json(read_text(folder / "results.json"))
        return {
            str(track["track_id"]).rsplit(":", 1)[-1]: float(track["fps"])
            for track in record["tracks"]
            if float(track["fps"]) > 0
        }
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return {}


def when(changed: float) -> str:
    """A time for people."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(changed))
