import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pushpull.cli import app
from pushpull.data.ava.download import SUMS, download_list, read_list
from pushpull.errors import DatasetError

CONTENT = bytes(range(256)) * 4000


@contextmanager
def ranged_server(
    files: dict[str, bytes], *, cut_first: bool = False, ranges: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """A server that knows ranges; with `cut_first` it breaks off the first answer half way."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.lstrip("/"))
            asked.append(self.headers.get("Range", ""))
            if content is None:
                self.send_error(404)
                return
            start = 0
            if ranges and (wanted := self.headers.get("Range")):
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            part = content[start:]
            self.wfile.write(part[: len(part) // 2] if cut_first and len(asked) == 1 else part)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_broken_connection_is_gone_on_with(tmp_path: Path) -> None:
    with ranged_server({"a.mp4": CONTENT}, cut_first=True) as (url, asked):
        found = download_list(["a.mp4"], tmp_path, url=url)
    assert [f.what for f in found] == ["fetched"]
    assert (tmp_path / "a.mp4").read_bytes() == CONTENT
    first, second = asked
    assert first == ""
    # Whole blocks are kept.
    start = int(second.removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= len(CONTENT) // 2


def test_a_part_of_an_earlier_run_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.part").write_bytes(CONTENT[:1000])
    with ranged_server({"a.mp4": CONTENT}) as (url, asked):
        download_list(["a.mp4"], tmp_path, url=url)
    assert asked == ["bytes=1000-"]
    assert (tmp_path / "a.mp4").read_bytes() == CONTENT


@pytest.mark.parametrize(("have", "ranges"), [(CONTENT[:1000], False), (CONTENT + b"more", True)])
def test_a_server_without_ranges_and_a_part_that_is_too_long(
    tmp_path: Path, have: bytes, ranges: bool
) -> None:
    (tmp_path / "a.mp4.part").write_bytes(have)
    with ranged_server({"a.mp4": CONTENT}, ranges=ranges) as (url, _):
        assert download_list(["a.mp4"], tmp_path, url=url)[0].done
    assert (tmp_path / "a.mp4").read_bytes() == CONTENT


def test_checksums_are_kept_and_checked(tmp_path: Path) -> None:
    with ranged_server({"a.mp4": CONTENT}) as (url, asked):
        download_list(["a.mp4"], tmp_path, url=url)
        assert hashlib.sha256(CONTENT).hexdigest() in (tmp_path / SUMS).read_text()
        assert download_list(["a.mp4"], tmp_path, url=url)[0].what == "was there"
        assert len(asked) == 1
        (tmp_path / "a.mp4").write_bytes(b"damaged")
        assert "does not have the checksum" in download_list(["a.mp4"], tmp_path, url=url)[0].what
        (tmp_path / "a.mp4").unlink()
        (tmp_path / SUMS).write_text("0" * 64 + "  a.mp4\n")
        wrong = download_list(["a.mp4"], tmp_path, url=url)[0]
    assert not wrong.done
    assert "has not the checksum" in wrong.what
    assert not (tmp_path / "a.mp4").exists()


def test_what_is_missing_is_said_and_the_rest_fetched(tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("gone.mp4\na.mp4\n")
    with ranged_server({"a.mp4": CONTENT}) as (url, _):
        done = CliRunner().invoke(
            app,
            ["data", "ava-download", str(names), "--out", str(tmp_path / "videos"), "--url", url],
        )
    assert done.exit_code == 1
    assert "gone.mp4" in done.output
    assert "HTTP status 404" in done.output
    assert "1 of 2 files" in done.output
    assert (tmp_path / "videos" / "a.mp4").read_bytes() == CONTENT


@pytest.mark.parametrize("line", ["../up.mp4", "/etc/passwd", "a/b.mp4", ".."])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, line: str) -> None:
    names = tmp_path / "list.txt"
    names.write_text(f"a.mp4\n{line}\n")
    with pytest.raises(DatasetError, match=r"list.txt, line 2: .* is no plain file name"):
        read_list(names)
