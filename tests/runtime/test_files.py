import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fileserver import FileServer, file_server

from pushpull.errors import CheckpointError, OutputError
from pushpull.runtime import files
from pushpull.runtime.files import (
    KnownFile,
    cache_dir,
    fetch,
    find,
    output_dir,
    read_text,
    search_dirs,
    sha256_of,
    sweep,
    temporary_folder,
    written_whole,
)

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUSHPULL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PUSHPULL_WEIGHTS_PATH", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.files["a.model"] = CONTENT
        yield running


def known(server: FileServer, file: str = "a.model", sha256: str = SHA256) -> KnownFile:
    return KnownFile(f"family/{file}", f"{server.url}/{file}", sha256)


def all_files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def test_a_result_appears_under_its_name_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with written_whole(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert all_files(tmp_path) == [path]


def test_a_failure_leaves_the_old_result_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def write_half() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("ne")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    assert all_files(tmp_path) == [path]


def test_a_result_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with written_whole(tmp_path / "whole"):
        pass
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "out.csv"
    with (
        pytest.raises(OutputError, match=re.escape(f"{path}: cannot be written (No such file")),
        written_whole(path),
    ):
        pass


def test_output_dir_makes_folders_on_the_way(tmp_path: Path) -> None:
    assert output_dir(tmp_path / "a" / "b").is_dir()


def test_output_dir_over_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError, match=r"a: cannot write here \(.*choose another --out"):
        output_dir(tmp_path / "a")


def test_the_cache_is_where_the_environment_says(cache: Path) -> None:
    assert cache_dir() == cache


def test_an_empty_setting_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHPULL_CACHE", "")
    assert cache_dir().name == "pushpull"
    assert cache_dir().is_absolute()


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHPULL_CACHE", "~/here")
    assert cache_dir() == Path.home() / "here"


def test_search_folders_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = (tmp_path / "b", tmp_path / "a")
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", os.pathsep.join(map(str, (*folders, ""))))
    assert search_dirs() == folders


def test_without_the_variable_there_are_no_search_folders(cache: Path) -> None:
    assert search_dirs() == ()


def test_a_file_is_fetched_once(cache: Path, server: FileServer) -> None:
    first = fetch(known(server))
    assert first == cache / "family" / "a.model"
    assert first.read_bytes() == CONTENT
    assert fetch(known(server)) == first
    assert server.requests == ["a.model"]
    assert all_files(cache) == [first]


def test_a_file_in_the_cache_needs_no_network(cache: Path) -> None:
    path = cache / "family" / "a.model"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(KnownFile("family/a.model", "http://127.0.0.1:9/a.model", SHA256)) == path


def test_other_content_under_the_name_is_replaced(cache: Path, server: FileServer) -> None:
    path = cache / "family" / "a.model"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other")
    assert fetch(known(server)).read_bytes() == CONTENT
    assert server.requests == ["a.model"]


@pytest.mark.parametrize("name", ["family/a.model", "a.model"])
def test_a_file_in_a_search_folder_is_used_where_it_lies(
    name: str,
    cache: Path,
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "here" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(tmp_path / "here"))
    assert fetch(known(server)) == path
    assert server.requests == []
    assert not cache.exists()


def test_other_content_in_a_search_folder_is_left_alone(
    cache: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "here" / "a.model"
    path.parent.mkdir()
    path.write_bytes(b"other")
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(path.parent))
    assert fetch(known(server)) == cache / "family" / "a.model"
    assert path.read_bytes() == b"other"


def test_find_never_asks_the_server(cache: Path, server: FileServer) -> None:
    assert find(known(server)) is None
    fetch(known(server))
    assert find(known(server)) == cache / "family" / "a.model"
    assert server.requests == ["a.model"]


def test_altered_content_is_refused_and_thrown_away(cache: Path, server: FileServer) -> None:
    with pytest.raises(CheckpointError) as error:
        fetch(known(server, sha256=OTHER))
    message = str(error.value)
    assert f"{server.url}/a.model: what was fetched has sha256 {SHA256}" in message
    assert f"expected {OTHER}; it was thrown away" in message
    assert all_files(cache) == []


def test_a_broken_download_leaves_nothing(cache: Path, server: FileServer) -> None:
    server.cut.add("a.model")
    with pytest.raises(CheckpointError, match="the connection broke off"):
        fetch(known(server))
    assert all_files(cache) == []


def test_a_failed_download_keeps_what_was_there_and_says_what_it_is(
    cache: Path, server: FileServer
) -> None:
    server.cut.add("a.model")
    path = cache / "family" / "a.model"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other")
    with pytest.raises(
        CheckpointError, match=re.escape(f"(the file now there has sha256 {OTHER})")
    ):
        fetch(known(server))
    assert path.read_bytes() == b"other"


def test_an_interrupt_leaves_nothing(cache: Path, server: FileServer) -> None:
    server.stalled.add("a.model")
    code = (
        "from pushpull.runtime.files import KnownFile, fetch\n"
        f"fetch(KnownFile('family/a.model', '{server.url}/a.model', '{SHA256}'))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PUSHPULL_CACHE": str(cache)},
        stderr=subprocess.DEVNULL,
    )
    with child:
        assert server.half_sent.wait(30)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) != 0
    assert (cache / "family").is_dir()
    assert all_files(cache) == []


def test_a_silent_server_is_given_up(
    cache: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TIMEOUT_S", 0.2)
    server.stalled.add("a.model")
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        fetch(known(server))
    assert all_files(cache) == []


def test_a_missing_page_is_told_with_its_status(cache: Path, server: FileServer) -> None:
    with pytest.raises(CheckpointError, match=r"/b\.model \(HTTP status 404\)"):
        fetch(known(server, "b.model"))


def test_offline_the_message_says_how_to_do_it_by_hand(cache: Path) -> None:
    with file_server() as gone:
        url = f"{gone.url}/a.model"
    with pytest.raises(CheckpointError) as error:
        fetch(KnownFile("family/a.model", url, SHA256))
    assert str(error.value) == (
        f"family/a.model: cannot be fetched from {url} (no connection); put the file at "
        f"{cache / 'family' / 'a.model'} yourself, sha256 {SHA256}, or name a folder that "
        "holds it in PUSHPULL_WEIGHTS_PATH"
    )
    assert all_files(cache) == []


def test_a_cache_that_cannot_be_made_is_named(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PUSHPULL_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"cannot be made .*set PUSHPULL_CACHE to a folder"):
        fetch(known(server))
    assert server.requests == []


def test_a_fetched_file_is_as_readable_as_any_new_file(
    cache: Path, server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "plain").write_text("")
    assert fetch(known(server)).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_checksum_of_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}: cannot be read (Is a dir")):
        sha256_of(tmp_path)


def killed(folder: Path) -> None:
    """A process that is killed while it writes a file and a folder here."""
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from pushpull.runtime.files import temporary_folder, written_whole\n"
        "whole, folder = written_whole(Path('talk.mp4')), temporary_folder('.', prefix='.new-')\n"
        "with whole as one, folder as two:\n"
        "    one.write_text('half')\n"
        "    (two / 'draft').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, check=False)
    assert result.returncode == -signal.SIGKILL


def grow_old(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (0, 0))


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    killed(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert sweep(tmp_path) == []  # it might still be at work
    grow_old(tmp_path)
    (tmp_path / ".notes-0123abcd.txt").write_text("the user's")
    with written_whole(tmp_path / "other.txt"):
        assert len(list(tmp_path.iterdir())) == 2
    assert {p.name for p in tmp_path.iterdir()} == {".notes-0123abcd.txt", "other.txt"}


def test_what_somebody_still_writes_is_not_swept(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.txt") as one, temporary_folder(tmp_path) as two:
        grow_old(tmp_path)
        assert sweep(tmp_path) == []
        assert one.exists()
        assert two.exists()


def test_a_file_without_end_is_read_no_further_than_it_may_be_long(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is larger than 4096 bytes"):
        read_text("/dev/zero", most_bytes=4096)
    (tmp_path / "a").write_text("x" * 4096)
    assert len(read_text(tmp_path / "a", most_bytes=4096)) == 4096
    with pytest.raises(OSError, match="is no name of a file"):
        read_text("a\0b")
