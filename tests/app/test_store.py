"""What outlives a server, and what is made of a file that was damaged meanwhile."""

import sqlite3

import pytest

from pushpull.app.store import Store


def test_what_was_written_is_there_in_its_order_and_what_was_dropped_is_not(tmp_path):
    store = Store(tmp_path / "base")
    for n in range(5):
        store.put("ada", "visitor-a", "job", f"j{n}", {"n": n})
    store.put("bob", "visitor-b", "upload", "u", {"shown": "ü.mp4"})
    store.put("ada", "visitor-a", "job", "j1", {"n": 10})
    store.drop("ada", "job", "j3")
    store.drop("bob", "job", "j0")
    store.seen({"ada": 5.0, "nobody": 6.0})
    # Nothing is closed, as by a kill: another reads the same.
    ada, bob = Store(tmp_path / "base").visitors()
    assert [(kind, key, value["n"]) for kind, key, value in ada.items] == [
        ("job", "j0", 0), ("job", "j1", 10), ("job", "j2", 2), ("job", "j4", 4),
    ]  # fmt: skip
    assert (ada.folder, ada.seen_s) == ("visitor-a", 5.0)
    assert bob.items == [("upload", "u", {"shown": "ü.mp4"})]
    store.forget("ada")
    (bob,) = Store(tmp_path / "base").visitors()
    assert bob.key == "bob"


def other_layout(path):
    Store(path).close()
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()


def cut(path):
    store = Store(path)
    store.put("ada", "visitor-a", "job", "j", {"text": "x" * 50_000})
    store.close()
    path.write_bytes(path.read_bytes()[:9000])


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b"words " * 1000), other_layout, cut],
    ids=["words", "another layout", "cut"],
)
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path, spoil):
    path = tmp_path / "base"
    spoil(path)
    store = Store(path)
    assert list(store.visitors()) == []
    store.put("ada", "visitor-a", "job", "j", {})
    assert [known.key for known in Store(path).visitors()] == ["ada"]
    assert len(list(tmp_path.glob("base.damaged-*"))) == 1


def test_rows_that_cannot_be_understood_are_left_out(tmp_path):
    store = Store(tmp_path / "base")
    for n in range(3):
        store.put("ada", "visitor-a", "job", f"j{n}", {"n": n})
    store.put("eve", "visitor-e", "job", "j", {})
    store.close()
    base = sqlite3.connect(tmp_path / "base")
    base.execute("UPDATE items SET value = '{' WHERE id = 'j0'")
    base.execute("UPDATE items SET value = '[1]' WHERE id = 'j1'")
    base.execute("UPDATE visitors SET folder = '../../etc' WHERE key = 'eve'")
    base.commit()
    base.close()
    (ada,) = Store(tmp_path / "base").visitors()
    assert ada.items == [("job", "j2", {"n": 2})]
