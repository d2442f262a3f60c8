"""Visitors after a server that was killed: what is theirs, and nothing that leads elsewhere."""

import json
import shutil
import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest

from pushpull.app.jobs import Job, State
from pushpull.app.sessions import Sessions, Upload, bytes_below


@pytest.fixture
def left(tmp_path):
    """A folder with a visitor of a video, a result and a job that ran; its token, and ids."""
    sessions = Sessions(tmp_path, 3600)
    session, token = sessions.of(None)
    path = session.new_path()
    path.write_bytes(b"video")
    session.keep_upload(Upload(id="u", path=path, shown="talk.mp4", about={"fps": 25.0}, n_bytes=5))
    asked = {"kind": "detect", "upload": "u", "path": str(path), "shown": "talk.mp4"}
    for name, state in (("done", State.done), ("ran", State.running)):
        job = Job(id=name, owner=session.key, asked=asked, folder=session.new_path(), state=state)
        job.folder.mkdir()
        (job.folder / "talk.csv").write_text("rows")
        job.asked = {**asked, "folder": str(job.folder), "stem": "talk"}
        job.found = {"files": ["talk.csv"]} if state is State.done else {}
        session.keep_job(job)
    return tmp_path, token


def test_a_folder_that_was_moved_is_known(left, tmp_path_factory):
    root, token = left
    moved = tmp_path_factory.mktemp("other") / "place"
    root.rename(moved)
    session, same = Sessions(moved, 3600).of(token)
    assert same == token
    assert session.file("done.0").path.read_text() == "rows"
    assert session.file("u").path.read_bytes() == b"video"
    assert session.jobs["done"].asked["path"] == str(session.uploads["u"].path)
    assert session.jobs["ran"].state is State.interrupted
    assert session.file("ran.0") is None
    assert not session.jobs["ran"].folder.exists()


def test_a_stranger_gets_another_token_and_reads_none_in_the_file(left):
    root, token = left
    sessions = Sessions(root, 3600)
    for asked in (None, "", token[:-1], token + "x", "\ud800", "x" * 100_000):
        session, given = sessions.of(asked)
        assert session.is_empty
        assert given not in (asked, token)
    sessions.close()
    assert all(token.encode() not in path.read_bytes() for path in root.glob("app.sqlite*"))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("job", {"state": "flying"}),
        ("job", {"folder": "../../../etc"}),
        ("job", {"path": "/etc/passwd"}),
        ("job", {"asked": None}),
        ("job", {"asked": {"kind": "detect"}}),
        ("job", {"found": {}}),
        ("job", {"found": {"files": None}}),
        ("job", {"begun_s": "soon"}),
        ("upload", {"name": "../../secret"}),
        ("upload", {"name": "gone"}),
        ("upload", {"n_bytes": None}),
    ],
)
def test_what_makes_no_sense_is_forgotten_and_the_rest_stays(left, kind, change):
    root, token = left
    base = sqlite3.connect(root / "app.sqlite")
    key = {"job": "done", "upload": "u"}[kind]
    (text,) = base.execute("SELECT value FROM items WHERE id = ?", (key,)).fetchone()
    base.execute(
        "UPDATE items SET value = ? WHERE id = ?", (json.dumps(json.loads(text) | change), key)
    )
    base.commit()
    base.close()
    session, _ = Sessions(root, 3600).of(token)
    assert key not in (session.jobs if kind == "job" else session.uploads)
    assert "ran" in session.jobs


def test_strays_go_and_what_is_old_goes(left):
    root, token = left
    sessions = Sessions(root, 3600)
    session, _ = sessions.of(token)
    (session.folder / "half-an-upload").write_bytes(b"x")
    (root / "visitor-nobody").mkdir()
    (root / "visitor-nobody" / "file").write_bytes(b"x")
    sessions.close()
    again = Sessions(root, 3600)
    assert [p.name for p in root.glob("visitor-*")] == [session.folder.name]
    assert not (session.folder / "half-an-upload").exists()
    assert again.expired() == []
    session, _ = again.of(token)
    session.seen_s -= 3601
    session.reserved_bytes = 5
    assert again.expired() == [], "its video is still coming in"
    session.reserved_bytes = 0
    assert again.expired() == [session]
    again.store.seen({session.key: time.time() - 3601})
    (old,) = Sessions(root, 3600).expired()
    again.forget(old)
    assert list(root.glob("visitor-*")) == []
    assert list(again.store.visitors()) == []


@contextmanager
def others_come_and_go(root, content, *folders):
    """Folders with a file each, made and removed again and again meanwhile."""
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            for name in folders:
                (root / name).mkdir(parents=True)
                (root / name / "file").write_bytes(content)
            for name in folders:
                shutil.rmtree(root / name.partition("/")[0])

    others = threading.Thread(target=come_and_go)
    others.start()
    try:
        yield
    finally:
        over.set()
        others.join()


def test_what_lies_there_is_counted_while_others_remove_theirs(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "talk.mp4").write_bytes(b"12345")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "kept" / "talk.mp4")
    end_s = time.monotonic() + 1.0
    with others_come_and_go(tmp_path, b"", *(f"visitor-{n}/job/talk" for n in range(20))):
        while time.monotonic() < end_s:
            assert bytes_below(tmp_path) == 5


def test_what_goes_while_files_are_counted_is_no_error(left):
    root, _ = left
    sessions = Sessions(root, 3600)
    whole = sessions.n_bytes
    end_s = time.monotonic() + 1.0
    with others_come_and_go(root, b"12345", "visitor-a/b/c/d", "visitor-z/b/c/d"):
        while time.monotonic() < end_s:
            assert whole <= sessions.n_bytes <= whole + 10
    (root / "link").symlink_to(root)
    assert sessions.n_bytes == whole
