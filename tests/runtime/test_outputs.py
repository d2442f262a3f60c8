"""Results that take nobody's place."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.errors import OutputError, OutputExists
from pushpull.runtime.outputs import RECORD, Origin, Outputs, output_names


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"film")
    return path


def write(folder, text, *, names=("talk.csv",), origin=None, **settings):
    """What a command does: all its files with one text."""
    outputs = Outputs(folder=folder, origin=origin or Origin(command="detect"), **settings)
    with outputs.writing(list(names)) as paths:
        for path in paths.values():
            path.write_text(text)


def test_the_same_work_takes_its_own_place_and_other_work_does_not(tmp_path, film):
    first = Origin(command="detect", inputs=(film,), settings={"crop": "ava"})
    write(tmp_path / "out", "1", origin=first)
    write(tmp_path / "out", "2", origin=first)
    assert (tmp_path / "out/talk.csv").read_text() == "2"
    for other, said in (
        (Origin(command="attack", inputs=(film,), settings={"crop": "ava"}), "by `detect`"),
        (Origin(command="detect", inputs=(film,), settings={"crop": "demo"}), "crop ava"),
    ):
        with pytest.raises(OutputExists, match=f"made .*{said}.*; choose another --out, or --over"):
            write(tmp_path / "out", "3", origin=other)
    film.write_bytes(b"another film of that name")
    again = Origin(command="detect", inputs=(film,), settings={"crop": "ava"})
    with pytest.raises(OutputExists, match="of another input"):
        write(tmp_path / "out", "3", origin=again)
    assert (tmp_path / "out/talk.csv").read_text() == "2"
    write(tmp_path / "out", "3", origin=again, overwrite=True)
    assert (tmp_path / "out/talk.csv").read_text() == "3"


def test_an_input_is_known_by_its_content(tmp_path, film):
    moved = tmp_path / "elsewhere.mp4"
    moved.write_bytes(film.read_bytes())
    write(tmp_path / "out", "1", origin=Origin(command="detect", inputs=(film,)))
    write(tmp_path / "out", "2", origin=Origin(command="detect", inputs=(moved,)))
    assert (tmp_path / "out/talk.csv").read_text() == "2"


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dead link"])
def test_what_others_made_stays(tmp_path, kind):
    path = tmp_path / "talk.csv"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        target = tmp_path / "target"
        if kind == "link":
            target.write_text("mine")
        path.symlink_to(target)
    with pytest.raises(OutputExists, match=r"talk\.csv: is there already and was not made by this"):
        write(tmp_path, "ours")
    assert os.path.lexists(path)
    assert not (tmp_path / RECORD).exists()


def test_what_was_changed_since_it_was_made_stays(tmp_path):
    write(tmp_path, "ours")
    (tmp_path / "talk.csv").write_text("ours, with remarks of mine")
    with pytest.raises(OutputExists, match="was changed since it was made"):
        write(tmp_path, "ours")
    assert (tmp_path / "talk.csv").read_text() == "ours, with remarks of mine"


def test_no_file_appears_if_one_may_not(tmp_path):
    (tmp_path / "b.csv").write_text("mine")
    with pytest.raises(OutputExists):
        write(tmp_path, "ours", names=("a.csv", "b.csv", "c.csv"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.csv"]


def test_a_failure_leaves_the_files_of_before_and_their_record(tmp_path):
    def fail():
        outputs = Outputs(folder=tmp_path, origin=Origin(command="detect"))
        with outputs.writing(["talk.csv"]) as paths:
            paths["talk.csv"].write_text("half")
            raise RuntimeError

    write(tmp_path, "1")
    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "talk.csv").read_text() == "1"
    write(tmp_path, "2")


@pytest.mark.parametrize("way", ["itself", "soft link", "hard link", "link in the folder's name"])
def test_an_input_is_never_replaced(tmp_path, film, way):
    folder, name = tmp_path, "talk.mp4"
    if way == "soft link":
        name = "link.mp4"
        (folder / name).symlink_to(film)
    elif way == "hard link":
        name = "link.mp4"
        (folder / name).hardlink_to(film)
    elif way == "link in the folder's name":
        folder = tmp_path / "there"
        folder.symlink_to(tmp_path)
    for inputs in ({"inputs": (film,)}, {"origin": Origin(command="detect", inputs=(film,))}):
        with pytest.raises(OutputExists, match="is an input of this command and is never replaced"):
            write(folder, "ours", names=(name,), overwrite=True, **inputs)
    assert film.read_bytes() == b"film"


def test_a_folder_of_new_files_takes_the_place_of_the_old_ones(tmp_path):
    def take(texts, origin, **settings):
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        for name, text in texts.items():
            (fresh / name).write_text(text)
        found = Outputs(folder=tmp_path / "out", origin=origin, **settings).take(fresh)
        fresh.rmdir()
        return sorted(found)

    def there():
        return {p.name: p.read_text() for p in (tmp_path / "out").iterdir() if p.name != RECORD}

    a, b = Origin(command="a"), Origin(command="b")
    assert take({"x": "1", "y": "1"}, a) == ["x", "y"]
    (tmp_path / "out/mine").write_text("mine")
    take({"y": "2", "z": "2"}, a)
    assert there() == {"y": "2", "z": "2", "mine": "mine"}
    with pytest.raises(OutputExists, match=r"y: is there already, made by `a`.* \(and 1 more\)"):
        take({"y": "3", "z": "3"}, b)
    for path in (tmp_path / "fresh").iterdir():
        path.unlink()
    (tmp_path / "fresh").rmdir()
    take({"y": "3"}, b, overwrite=True)
    assert there() == {"y": "3", "mine": "mine"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "output", "schema_version": 2}', "\0"])
def test_a_record_that_cannot_be_read_makes_every_file_a_stranger(tmp_path, text):
    write(tmp_path, "ours")
    (tmp_path / RECORD / "talk.csv.json").write_text(text)
    with pytest.raises(OutputExists, match="not made by this tool"):
        write(tmp_path, "ours")


def test_two_works_share_a_folder(tmp_path):
    write(tmp_path, "1", names=("a.csv",))
    write(tmp_path, "1", names=("b.csv",), origin=Origin(command="attack"))
    (tmp_path / "a.csv").unlink()
    write(tmp_path, "2", names=("b.csv",), origin=Origin(command="attack"))
    with pytest.raises(OutputExists, match="made by `attack`"):
        write(tmp_path, "2", names=("b.csv",))


@pytest.mark.parametrize("cut", range(7))
@pytest.mark.parametrize("begun", ["empty", "made before"])
def test_what_was_cut_off_is_ours(tmp_path, monkeypatch, cut, begun):
    """At whichever move the process ends: the same work goes on, other work is told of it."""
    names = ("a.csv", "b.csv", "c.csv")
    if begun == "made before":
        write(tmp_path, "1", names=names)
    left, replace = [cut], Path.replace

    def move(path, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", move)
        if cut < 6:
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path, "2", names=names)
        else:
            write(tmp_path, "2", names=names)
    there = [n for n in names if (tmp_path / n).exists()]
    assert len(there) == (3 if begun == "made before" else max(0, cut - 3))
    if there:
        with pytest.raises(OutputExists, match="made by `detect`"):
            write(tmp_path, "3", names=names, origin=Origin(command="attack"))
    write(tmp_path, "2", names=names)
    assert all((tmp_path / n).read_text() == "2" for n in names)
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(OutputExists, match="was changed since"):
        write(tmp_path, "2", names=names)


@pytest.mark.parametrize("cut", range(5))
def test_a_folder_that_was_cut_off_is_ours(tmp_path, monkeypatch, cut):
    """The same where whole folders are moved in."""

    def take(text, names=("x", "y")):
        fresh = tmp_path / "fresh"
        fresh.mkdir(exist_ok=True)
        for name in names:
            (fresh / name).write_text(text)
        return Outputs(folder=tmp_path / "out", origin=Origin(command="a")).take(fresh)

    take("1", ("x", "y", "gone"))
    left, replace = [cut], Path.replace

    def move(path, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(path, target)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", move)
        take("2")
    take("2")
    assert {p.name: p.read_text() for p in (tmp_path / "out").iterdir() if p.is_file()} == {
        "x": "2",
        "y": "2",
    }


def test_a_name_as_long_as_a_disk_allows(tmp_path):
    name = "é" * 120 + ".csv"  # 244 bytes; a temporary name adds ten
    write(tmp_path, "1", names=(name,))
    write(tmp_path, "2", names=(name,))
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExists, match="was changed since"):
        write(tmp_path, "2", names=(name,))


def test_many_results_cost_each_no_more(tmp_path):
    """The record of one work is all that is written for it."""
    for k in range(30):
        write(tmp_path, "1", names=(f"{k}.csv",), origin=Origin(command=f"{k}"))
    sizes = [path.stat().st_size for path in (tmp_path / RECORD).iterdir()]
    assert len(sizes) == 30
    assert max(sizes) < 1.05 * min(sizes)


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"gone\.mp4: is no file"):
        _ = Origin(command="detect", inputs=(tmp_path / "gone.mp4",)).key


def test_names_differ_also_where_disks_think_otherwise():
    inputs = [Path("a/x.mp4"), Path("b/x.mp4"), Path("X.avi"), Path("y.mkv"), Path("x-2.mp4")]
    assert output_names(inputs) == ["x", "x-2", "X-3", "y", "x-2-2"]
    assert output_names([Path("é.mp4"), Path("é.mp4")]) == ["é", "é-2"]


@given(st.lists(st.text("aAbé-2 ", min_size=1, max_size=4), max_size=8))
def test_no_two_inputs_have_one_name(stems):
    names = output_names([Path(f"{stem}.mp4") for stem in stems])
    assert len({name.casefold() for name in names}) == len(stems)
    for stem, name in zip(stems, names, strict=True):
        assert name.startswith(Path(f"{stem}.mp4").stem)
