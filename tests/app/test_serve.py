"""Lines on which nobody asks for anything keep nobody out."""

import socket
import time
from urllib.parse import urlsplit

import pytest
from support.app_server import Running


@pytest.fixture
def place(tmp_path, checkpoint):
    running = Running(tmp_path, checkpoint)
    try:
        address = urlsplit(running.base)
        yield address.hostname, address.port
    finally:
        running.stop()


def status(place):
    with socket.create_connection(place, 30) as line:
        host = f"{place[0]}:{place[1]}"
        line.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return line.recv(100).split(b" ")[1]


def test_silent_and_slow_lines_make_room_for_who_asks(place):
    lines = [socket.create_connection(place, 30) for _ in range(230)]
    try:
        # The first half has begun to ask, and will never have done.
        for line in lines[:115]:
            line.sendall(b"GET / HT")
        time.sleep(0.5)
        assert status(place) == b"200"
    finally:
        for line in lines:
            line.close()


def test_a_line_is_closed_after_a_silence(place):
    with socket.create_connection(place, 60) as silent, socket.create_connection(place, 60) as slow:
        slow.sendall(b"GET / HT")
        begin_s = time.monotonic()
        assert silent.recv(10) == b""
        try:
            left = slow.recv(10)
        except ConnectionResetError:
            left = b""
        assert left == b""
        assert 10 < time.monotonic() - begin_s < 55
    assert status(place) == b"200"


def test_bodies_that_are_refused_or_break_off_leave_no_traceback(tmp_path, checkpoint):
    running = Running(tmp_path, checkpoint)
    try:
        address = urlsplit(running.base)
        head = (
            f"GET /api/runs HTTP/1.0\r\nHost: {address.netloc}\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n\r\nno length of a chunk\r\n\r\n"
        )
        for _ in range(20):
            with socket.create_connection((address.hostname, address.port), 30) as line:
                line.sendall(head.encode())
                line.settimeout(2)
                try:
                    while line.recv(4096):
                        pass
                except (ConnectionResetError, TimeoutError):
                    pass
        head = f"POST /api/jobs HTTP/1.1\r\nHost: {address.netloc}\r\nx-pushpull: 1\r\n"
        for _ in range(20):
            with socket.create_connection((address.hostname, address.port), 30) as line:
                line.sendall(f"{head}Content-Length: 999\r\n\r\n{{".encode())
        time.sleep(0.5)
    finally:
        running.stop()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_one_address_cannot_take_all_lines(tmp_path, checkpoint):
    running = Running(tmp_path, checkpoint, "--lines", "4")
    address = urlsplit(running.base)
    place = address.hostname, address.port
    head = (
        f"POST /api/uploads?name=x.mp4 HTTP/1.1\r\nHost: {address.netloc}\r\nx-pushpull: 1\r\n"
        "Content-Length: 9999\r\n\r\nx"
    )
    lines = []
    try:
        for _ in range(4):
            lines.append(socket.create_connection(place, 30))
            lines[-1].sendall(head.encode())
        time.sleep(0.5)
        # All of its lines are at work: one more is closed, and another address is answered.
        with socket.create_connection(place, 30) as more:
            assert more.recv(10) == b""
        with socket.create_connection(place, 30, source_address=("127.0.0.2", 0)) as other:
            other.sendall(f"GET / HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            assert other.recv(100).split(b" ")[1] == b"200"
        lines.pop().close()
        time.sleep(0.5)
        assert status(place) == b"200"
    finally:
        for line in lines:
            line.close()
        running.stop()
