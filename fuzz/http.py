"""Requests that no browser sends, to the web app in a process of its own."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.judging import Verdict
from fuzz.mutation import mutated, mutated_json

__all__ = ["ABOUT", "Server", "request_of", "serving", "tried"]

ABOUT = "requests of every route, lines, headers, bodies and files spoilt, to `pushpull app`"

WAIT_S = 60.0
"""For an answer; the app gives up an upload that stands still long before."""

PATIENCE_S = 0.5
"""For the beginning of one, after which the request is said to be over."""

ROUTES = (
    *("GET /", "GET /static/app.js", "GET /api/about", "POST /api/uploads?name=talk.mp4"),
    *("POST /api/examples/two-people", "POST /api/jobs", "GET /api/jobs/1", "GET /api/files/1"),
    *("GET /api/jobs", "GET /api/uploads", "POST /api/jobs/1/again", "POST /api/jobs/1/delete"),
    *("POST /api/jobs/1/turns", "POST /api/jobs/1/corrections", "GET /api/runs/drawings/1"),
    *("POST /api/jobs/1/cancel", "POST /api/forget", "GET /api/abx/sets", "POST /api/abx"),
    *("GET /api/abx/1/2/a.png", "POST /api/abx/1/answers", "GET /api/abx/1/csv", "POST /api/live"),
    *("POST /api/live/1", "POST /api/live/1/end", "GET /api/runs", "GET /api/runs/files/1"),
)
BODIES = (
    b"{" * 50_000,
    b"[" * 50_000,
    b'{"kind": NaN}',
    b'{"kind": "attack", "upload": "1", "eps": ' + b"9" * 5000 + b"}",
    b'{"trial": -1e999}',
    b"\x00\x00\x00\x20ftypisom",
    b"",
)
ASKED: tuple[dict[str, Any], ...] = (
    {"kind": "detect", "upload": "1", "detector": "synthetic-a", "threshold": 0.5},
    {"kind": "attack", "upload": "1", "attack": "fgsm", "eps": 5, "steps": 1, "modality": "both"},
    {"answer": "a", "trial": 0},
    {"set": "all", "questions": 8, "modality": "both"},
    {"detector": "synthetic-a"},
    {"threshold": 0.5, "faces": [[[0.5, 1.5]], [[1.0, 2.0], [2.5, 3.0]]]},
)
HEADERS = (
    *(
        b"Cookie: pushpull=",
        b"Range: bytes=-1",
        b"Range: bytes=5-2,9-",
        b"Range: bytes=" + b"9" * 5000 + b"-",
        b"Expect: 100-continue",
    ),
    *(b"Origin: http://example.org", b"Sec-Fetch-Site: cross-site", b"Content-Encoding: gzip"),
    *(b"X-Forwarded-For: 1.2.3.4", b"Upgrade: websocket", b"Transfer-Encoding: chunked"),
    *(b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Host: example.org"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    visitor: dict[str, str] = field(default_factory=dict)
    """A cookie, a video and a job that are there, so that requests come further than the door."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The app with small limits, and results and temporary files in a folder."""
    for name in ("tmp", "results"):
        (folder / name).mkdir()
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pushpull", "app", "--port", "0", "--detector", "synthetic-a",
             "--out", str(folder / "results"), "--face-finder", "dlib"],
            stdout=subprocess.PIPE, stderr=file, text=True,
            env=os.environ | {"TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        found = re.search(r":(\d+)", process.stdout.readline() if process.stdout else "")
        if found is None:
            raise RuntimeError(f"the app did not start: {log.read_text()}")
        server = Server(process, int(found[1]), log)
        end_s = time.monotonic() + WAIT_S
        while not _listens(server) and time.monotonic() < end_s:
            time.sleep(0.1)
        server.visitor.update(_visitor(server))
        yield server
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def _listens(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), 1).close()
    except OSError:
        return False
    return True


def _visitor(server: Server) -> dict[str, str]:
    answer = _asked(server, "POST /api/examples/two-people")
    cookie = re.search(rb"set-cookie: (pushpull=[^;]+)", answer)
    video = re.search(rb'"id":"([^"]+)"', answer)
    if cookie is None or video is None:
        raise RuntimeError(f"the app takes no example: {answer[-500:]!r}")
    known = {"cookie": cookie[1].decode(), "video": video[1].decode()}
    body = json.dumps({"kind": "detect", "upload": known["video"]})
    answer = _asked(server, "POST /api/jobs", body, known["cookie"])
    job = re.search(rb'"id":"([^"]+)"', answer)
    if job is None:
        raise RuntimeError(f"the app takes no job: {answer[-500:]!r}")
    end_s = time.monotonic() + WAIT_S
    while b'"state":"done"' not in answer and time.monotonic() < end_s:
        time.sleep(0.2)
        answer = _asked(server, f"GET /api/jobs/{job[1].decode()}", cookie=known["cookie"])
    return known | {"job": job[1].decode()}


def _asked(server: Server, what: str, body: str = "", cookie: str = "") -> bytes:
    """The answer to a request as a browser sends it."""
    lines = [
        f"{what} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "x-pushpull: 1",
        *([f"Cookie: {cookie}"] if cookie else []),
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as line:
        line.sendall("\r\n".join([*lines, "", body]).encode())
        while part := line.recv(65536):
            answer += part
    return answer


def request_of(rng: random.Random, server: Server) -> bytes:
    """The bytes of a request with something wrong, or nothing."""
    port = server.port
    method, place = rng.choice(ROUTES).split(" ")
    if "/jobs/1" in place and rng.random() < 0.6:
        place = place.replace("1", server.visitor["job"], 1)
    if rng.random() < 0.3:
        place = place.replace(
            "1",
            rng.choice(
                (
                    "..%2f..%2fetc%2fpasswd",
                    "%00",
                    "a" * 9000,
                    "é",
                    "-1",
                    "9" * 5000,
                    "1.0",
                    "%d9%a3",
                )
            ),
        )
    if rng.random() < 0.1:
        method = rng.choice(("PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "\x7f", "get"))
    asked = rng.choice(ASKED) | ({"upload": server.visitor["video"]} if rng.random() < 0.5 else {})
    bodies = (*BODIES, mutated_json(asked, rng).encode(errors="replace"))
    body = rng.choice((*bodies, *bodies[-1:] * 8)) if method != "GET" or rng.random() < 0.1 else b""
    if body and rng.random() < 0.3:
        body = mutated(body, rng)
    lines = [
        f"{method} {place} HTTP/{rng.choice(('1.1', '1.1', '1.1', '1.0', '2.0', '9'))}".encode(),
        f"Host: 127.0.0.1:{port}".encode(),
        *([b"x-pushpull: 1"] if rng.random() < 0.9 else []),
        *([b"Cookie: " + server.visitor["cookie"].encode()] if rng.random() < 0.7 else []),
        *(rng.sample(HEADERS, rng.randrange(3)) if rng.random() < 0.5 else []),
        *([f"Content-Length: {len(body)}".encode()] if body or rng.random() < 0.5 else []),
        b"Connection: close",
    ]
    if rng.random() < 0.1:
        rng.shuffle(lines)
    head = rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n")).join(lines) + b"\r\n\r\n"
    whole = head + body
    return mutated(whole, rng) if rng.random() < 0.4 else whole


def tried(server: Server, request: bytes) -> Verdict:
    """What the server makes of a request: any answer below 500, or a line that is closed."""
    begin = server.log.stat().st_size
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as line:
            line.sendall(request)
            line.settimeout(PATIENCE_S)
            try:
                while part := line.recv(65536):
                    answer += part
            except TimeoutError:
                # It waits for more: there is none.
                line.shutdown(socket.SHUT_WR)
                line.settimeout(WAIT_S)
                while part := line.recv(65536):
                    answer += part
    except TimeoutError:
        return Verdict(kind="hang", said="no answer, and the line stays open")
    except (ConnectionResetError, BrokenPipeError):
        pass
    except ConnectionRefusedError:
        return Verdict(kind="crash", said="nobody listens")
    if server.process.poll() is not None:
        return Verdict(kind="crash", said=f"exit code {server.process.returncode}")
    status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
    code = int(status[1]) if status else 0
    # Written by another thread, if at all.
    time.sleep(0.002)
    said = server.log.read_bytes()[begin:].decode(errors="replace")
    if "Traceback" in said or code == 500:
        return Verdict(
            kind="traceback", said=said[-2000:] or answer[:2000].decode(errors="replace")
        )
    return Verdict(kind="done" if 200 <= code < 400 else "refused")
