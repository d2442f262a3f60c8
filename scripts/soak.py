"""Ten visitors of the web app for two hours: does anything grow, does a job fail that should not?

    PUSHPULL_WEIGHTS_PATH=WEIGHTS python scripts/soak.py OUT --minutes 120
    python scripts/soak.py --record OUT    # then: docs/measurements/soak.md and soak.json

Starts `pushpull app` with limits and sends visitors who do what people do, and what they should
not: detect, attack, cancel, reload, correct and score, listen, watch, leave or have all forgotten;
upload what is no video, ask for what is another's. Each answer is compared with the one that is
due. Beside it, memory, open files and what lies on the disk are looked at again and again (by
/proc, so on Linux). OUT/soak.json is written every minute: a run that is stopped counts as far as
it went. The visitors think longer when the server and its processes take more than --share of a
core.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import http.client
import io
import json
import os
import platform
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "measurements" / "soak.md"

LIMITS = {
    "workers": 1, "memory-gib": 2, "upload-mib": 4, "longest-s": 6, "job-minutes": 5, "jobs": 2,
    "waiting": 12, "visitor-gib": 0.1, "disk-gib": 2, "keep-h": 0.1, "lines": 64,
}  # fmt: skip
"""Options of `pushpull app`, small enough to be met."""

STAYING = 2
"""Visitors who never leave; the others come back as somebody else."""

SAMPLE_S, WRITE_S = 15.0, 60.0
WAIT_S = 120.0
JOB_S = 900.0
"""For a job with the queue before it; the app's own limit comes long before."""

STOPPED = 143
"""Exit code of a command that SIGTERM ends (docs/guide/command-line.md)."""

MOST_WRONG = 200
MIB = 2**20

PARTS = 4
GROWTH = {
    "server_mib": (1.10, 8.0),
    "processes_mib": (1.15, 64.0),
    "server_files": (1.0, 10.0),
    "processes_files": (1.0, 10.0),
    "threads": (1.0, 6.0),
    "kept_files": (1.5, 50.0),
    "kept_mib": (1.5, 50.0),
    "base_mib": (1.5, 2.0),
    "temporary_files": (1.0, 5.0),
    "temporary_mib": (1.0, 8.0),
}
"""The median of the last quarter may be so many times that of the second, and so much beside."""

NAMES = {
    "server_mib": "memory of the server, MiB",
    "processes_mib": "memory of its processes, MiB",
    "server_files": "files that the server has open",
    "processes_files": "files that its processes have open",
    "threads": "threads of the server",
    "kept_files": "files of visitors",
    "kept_mib": "files of visitors, MiB",
    "base_mib": "the list of what visitors have, MiB",
    "temporary_files": "temporary files",
    "temporary_mib": "temporary files, MiB",
}


class Wrong(Exception):
    """An answer that is not the one that is due."""


class Gone(Exception):
    """The end of the run."""


@dataclass(slots=True)
class Tally:
    """What happened, counted by all visitors."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    slowest_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, action: str, outcome: str) -> None:
        """Something went as it should."""
        with self.lock:
            self.counts[f"{action}: {outcome}"] += 1

    def fault(self, action: str, said: str) -> None:
        """Something did not."""
        with self.lock:
            self.counts[f"{action}: wrong"] += 1
            if len(self.wrong) < MOST_WRONG:
                when = datetime.now(timezone.utc).isoformat(timespec="seconds")
                self.wrong.append({"when": when, "action": action, "said": said[:2000]})

    def page_took(self, seconds: float) -> None:
        """How long a visitor waited for an answer to a GET."""
        with self.lock:
            self.slowest_s = max(self.slowest_s, seconds)

    def slowest(self) -> float:
        """Since this was last asked."""
        with self.lock:
            found, self.slowest_s = self.slowest_s, 0.0
            return found


# The server


class Server:
    """`pushpull app` with its limits, in a process of its own."""

    def __init__(self, folder: Path, detector: str) -> None:
        self.results, self.temporary = folder / "results", folder / "temporary"
        for path in (self.results, self.temporary, folder / "runs"):
            path.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        limits = [word for name, value in LIMITS.items() for word in (f"--{name}", str(value))]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pushpull", "app", "--port", "0", "--detector", detector,
                 "--runs", str(folder / "runs"), "--out", str(self.results), *limits],
                stdout=subprocess.PIPE, stderr=log, text=True,
                env=os.environ | {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        said = self.process.stdout.readline() if self.process.stdout else ""
        found = re.search(r":(\d+)/", said)
        if found is None:
            raise SystemExit(f"the app did not start: {self.log.read_text()}")
        self.port = int(found[1])

    def stop(self) -> dict[str, Any]:
        """As `kill` does; what is left of it."""
        processes = children_of(self.process.pid)
        self.process.terminate()
        try:
            code: int | None = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = None
        end_s = time.monotonic() + 10
        while (alive := [p for p in processes if is_alive(p)]) and time.monotonic() < end_s:
            time.sleep(0.1)
        hidden = [p for p in self.results.rglob(".*") if p.name != ".lock" and p.is_file()]
        return {
            "exit_code": code,
            "processes_left": len(alive),
            "unfinished_files": len([p for p in hidden if ".unfinished" in p.name]),
            "temporary_files": len([p for p in self.temporary.rglob("*") if p.is_file()]),
        }


def children_of(pid: int) -> list[int]:
    """Processes below one."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(word) for word in (task / "children").read_text().split()]
    return found + [below for child in found for below in children_of(child)]


def is_alive(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def resident_mib(pid: int) -> float:
    """Memory of a process, 0 if it has gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def open_files(pid: int) -> int:
    """Descriptors of a process, 0 if it has gone."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def processor_s(pid: int, *, with_ended: bool) -> float:
    """Processor time of a process, that of its ended children included if asked."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    ticks = words[11:15] if with_ended else words[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def spent_s(server: Server) -> float:
    """Processor time of the server and all processes that it had."""
    pid = server.process.pid
    below = children_of(pid)
    return processor_s(pid, with_ended=True) + sum(processor_s(p, with_ended=True) for p in below)


def below(folder: Path) -> tuple[int, float]:
    """Files of a folder, and their MiB."""
    n, size = 0, 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += (Path(place) / name).lstat().st_size
                n += 1
    return n, size / MIB


def sample(server: Server, tally: Tally, begun_s: float) -> dict[str, float]:
    """What the server and its processes take now."""
    pid = server.process.pid
    processes = children_of(pid)
    kept, temporary = below(server.results), below(server.temporary)
    base = sum(
        path.stat().st_size / MIB for path in (server.results / "visitors").glob("*.sqlite*")
    )
    threads = 0
    with contextlib.suppress(OSError):
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return {
        "time_s": round(time.monotonic() - begun_s, 1),
        "server_mib": round(resident_mib(pid), 1),
        "processes_mib": round(sum(map(resident_mib, processes)), 1),
        "largest_process_mib": round(max(map(resident_mib, processes), default=0.0), 1),
        "processes": len(processes),
        "server_files": open_files(pid),
        "processes_files": sum(map(open_files, processes)),
        "threads": threads,
        "kept_files": kept[0],
        "kept_mib": round(kept[1], 2),
        "base_mib": round(base, 3),
        "temporary_files": temporary[0],
        "temporary_mib": round(temporary[1], 2),
        "log_kib": round(server.log.stat().st_size / 1024, 1),
        "processor_s": round(spent_s(server), 1),
        "load": round(os.getloadavg()[0], 2),
        "slowest_page_s": round(tally.slowest(), 3),
    }


# Visitors


@dataclass(frozen=True, slots=True)
class Things:
    """What visitors have at hand: files that are good, and files that are not, with the reason."""

    good: list[tuple[str, bytes]]
    faceless: bytes
    bad: list[tuple[str, bytes, int, str]]
    pictures: list[bytes]


def things(folder: Path, clips: Path | None) -> Things:
    """Made once, of synthetic people, and cut of real ones if there is a folder of them."""
    import cv2
    import numpy as np

    from pushpull.media import VideoWriter, read_frames
    from pushpull.synthetic import one_face_video

    folder.mkdir(parents=True, exist_ok=True)
    good = []
    for seed, seconds in enumerate((1.0, 1.5, 2.0)):
        path = folder / f"person-{seed}.mp4"
        one_face_video(path, seed=seed, duration_s=seconds, size=(320, 240))
        good.append((path.name, path.read_bytes()))
    pictures = [
        cv2.imencode(".jpg", frame.rgb()[..., ::-1])[1].tobytes()
        for frame in read_frames(folder / "person-0.mp4")
    ]
    for path in sorted(clips.glob("grid_*"))[:3] if clips else []:
        good.append((path.name, path.read_bytes()))

    def grey(name: str, seconds: float, audio: bool = True) -> bytes:
        sound = (0.1 * np.sin(np.arange(int(16000 * seconds)) / 9)).astype(np.float32)
        path = folder / name
        sounds = {"audio": sound} if audio else {}
        with VideoWriter(path, width=160, height=120, fps=25, **sounds) as writer:
            for i in range(int(25 * seconds)):
                writer.write(np.full((120, 160, 3), 90, np.uint8), i / 25)
        return path.read_bytes()

    whole = good[0][1]
    bad = [
        ("words.mp4", b"not a video, just words\n" * 40, 400, "is text"),
        ("empty.mp4", b"", 400, "is empty"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", 400, "is text"),
        ("picture.mp4", b"\x89PNG\r\n\x1a\n" + bytes(400), 400, "is a PNG picture"),
        ("noise.mp4", bytes(range(256)) * 8, 400, "no video that is known"),
        ("cut.mp4", whole[: len(whole) // 3], 400, "cut off or damaged"),
        ("long.mp4", grey("long.mp4", LIMITS["longest-s"] + 2), 400, "s long; expected at most"),
        ("mute.mp4", grey("mute.mp4", 1.0, audio=False), 400, "has no sound"),
        ("large.mp4", bytes(int(LIMITS["upload-mib"] * MIB) + 9), 413, "expected at most"),
    ]
    return Things(good, grey("grey.mp4", 1.0), bad, pictures)


@dataclass(slots=True)
class Shared:
    """What all visitors know."""

    server: Server
    things: Things
    tally: Tally
    end_s: float
    share: float
    think_s: float
    begun_s: float
    folder: Path
    jobs: dict[str, str] = field(default_factory=dict)
    """A job of each visitor, by the visitor's name, for the others to ask for in vain."""

    @property
    def over(self) -> bool:
        """Whether it is time to go."""
        return time.monotonic() > self.end_s

    @property
    def too_busy(self) -> bool:
        """Whether the server has had more than its share of a core."""
        passed_s = time.monotonic() - self.begun_s
        return spent_s(self.server) > self.share * max(passed_s, 30.0) + 10.0


class Visitor(threading.Thread):
    """One person with a browser."""

    def __init__(self, shared: Shared, number: int, seed: int) -> None:
        super().__init__(name=f"visitor {number}", daemon=True)
        self.shared, self.number = shared, number
        self.rng = random.Random(1000 * seed + number)
        self.cookie = ""
        self.videos: list[dict[str, Any]] = []
        self.done: dict[str, dict[str, Any]] = {}
        self.action = ""

    # What a browser does

    def ask(
        self,
        what: str,
        body: bytes | dict[str, Any] = b"",
        *due: int,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        """An answer, which must have one of the statuses that are due (200 if none is named)."""
        method, _, path = what.partition(" ")
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"x-pushpull": "1", "Cookie": self.cookie} | (headers or {})
        sent = {name: value for name, value in sent.items() if value}
        line = http.client.HTTPConnection("127.0.0.1", self.shared.server.port, timeout=WAIT_S)
        begin_s = time.monotonic()
        try:
            line.request(method, path, content if method == "POST" else None, sent)
            reply = line.getresponse()
            said = reply.read()
        except (OSError, http.client.HTTPException) as e:
            raise Wrong(f"{what}: {e!r}") from e
        finally:
            line.close()
        if method == "GET":
            self.shared.tally.page_took(time.monotonic() - begin_s)
        cookie = reply.getheader("set-cookie")
        if cookie:
            self.cookie = cookie.split(";")[0]
        if reply.status not in (due or (200,)):
            raise Wrong(f"{what}: {reply.status} {said[:500]!r}; due was {due or (200,)}")
        where = str(self.shared.folder).encode()
        if reply.status >= 400 and (where in said or b"visitor-" in said):
            raise Wrong(f"{what}: the answer names a place of the server's: {said[:500]!r}")
        self.status = reply.status
        return said

    def object(self, what: str, body: bytes | dict[str, Any] = b"", *due: int) -> dict[str, Any]:
        """An answer as JSON."""
        found: dict[str, Any] = json.loads(self.ask(what, body, *due))
        return found

    def think(self, mean_s: float | None = None) -> None:
        """As people do; longer while the server has had more than its share."""
        mean_s = self.shared.think_s if mean_s is None else mean_s
        end_s = time.monotonic() + min(self.rng.expovariate(1 / mean_s), 5 * mean_s)
        while time.monotonic() < end_s or (self.shared.too_busy and not self.shared.over):
            if self.shared.over:
                raise Gone
            time.sleep(0.25)

    def until_over(self, job: str) -> dict[str, Any]:
        """Follow a job to its end."""
        end_s = time.monotonic() + JOB_S
        while time.monotonic() < end_s:
            status = self.object(f"GET /api/jobs/{job}")
            if status["state"] not in ("queued", "running"):
                return status
            if self.shared.over and time.monotonic() > self.shared.end_s + 60:
                raise Gone
            time.sleep(1.0)
        raise Wrong(f"a job was not over after {JOB_S:g} s: {status}")

    # What a visitor wants

    def run(self) -> None:
        """Come, do something, think, do something else."""
        actions = {
            self.detect: 10, self.attack: 6, self.cancel: 4, self.reload: 8, self.bad_file: 8,
            self.bad_request: 6, self.of_others: 4, self.no_face: 2, self.too_many: 2,
            self.hang_up: 3, self.listen: 2, self.watch: 1, self.delete: 4, self.leave: 3,
        }  # fmt: skip
        time.sleep(self.rng.uniform(0, min(self.shared.think_s, 10)))
        while not self.shared.over:
            [action] = self.rng.choices(list(actions), list(actions.values()))
            self.action = action.__name__.replace("_", " ")
            try:
                if not self.cookie:
                    self.ask("GET /")
                outcome = action()
                self.shared.tally.note(self.action, outcome)
                self.think()
            except Gone:
                return
            except Wrong as e:
                self.shared.tally.fault(self.action, str(e))
            except Exception as e:
                self.shared.tally.fault(self.action, repr(e))

    def video(self) -> dict[str, Any] | None:
        """One of the videos that are here, or another; None if there is no room."""
        if self.videos and self.rng.random() < 0.5:
            return self.rng.choice(self.videos)
        if self.rng.random() < 0.2:
            reply = self.object("POST /api/examples/two-people", b"", 200, 413, 429)
        else:
            name, content = self.rng.choice(self.shared.things.good)
            reply = self.object(f"POST /api/uploads?name={name}", content, 200, 413, 429)
        if self.status != 200:
            self.no_room(reply)
            return None
        self.videos = [*self.videos, reply][-LAST_VIDEOS:]
        return reply

    def no_room(self, reply: dict[str, Any]) -> None:
        """Refused as it should be, if its files do take much; then have all forgotten."""
        if self.status == 413 and "your files take more" not in reply["error"]:
            raise Wrong(f"refused: {reply['error']}")
        self.forget()

    def begin(self, **asked: Any) -> str | None:
        """Put a job into the queue; None if it is refused as it should be."""
        video = self.video()
        if video is None:
            return None
        asked["upload"] = video["id"]
        detectors = self.object("GET /api/about")["detectors"]
        asked.setdefault("detector", self.rng.choice(detectors)["name"])
        reply = self.object("POST /api/jobs", asked, 200, 404, 413, 503)
        if self.status == 413:
            self.no_room(reply)
            return None
        if self.status == 503:
            if "are waiting already" not in reply["error"]:
                raise Wrong(f"refused: {reply['error']}")
            return None
        if self.status == 404:
            raise Wrong(f"a video that was there is not: {reply['error']}")
        self.shared.jobs[self.name] = reply["id"]
        return str(reply["id"])

    def of_attack(self) -> dict[str, Any]:
        """Settings of an attack."""
        return {
            "kind": "attack",
            "attack": self.rng.choice(("fgsm", "pgd", "bim", "noise")),
            "eps": self.rng.choice((1, 5, 10)),
            "steps": self.rng.choice((1, 2, 3)),
            "modality": self.rng.choice(("both", "audio", "visual")),
            "amplify": 20,
        }

    def finished(self, job: str) -> dict[str, Any]:
        """A job that must end well, with its files to be had."""
        status = self.until_over(job)
        if status["state"] != "done":
            raise Wrong(f"a job that should be done is {status['state']}: {status['error']}")
        result: dict[str, Any] = status["result"]
        for one in result["downloads"]:
            if not self.ask(f"GET /api/files/{one['file']}?download=1"):
                raise Wrong(f"{one['name']} is empty")
        video = result["video"] if "video" in result else next(iter(result["views"].values()))
        self.ask(f"GET /api/files/{video}", b"", 206, headers={"Range": "bytes=0-999"})
        self.done = dict([*self.done.items(), (job, result)][-LAST_JOBS:])
        return result

    # Actions: each says in a word what came of it

    def detect(self) -> str:
        """Detect, then move the threshold and correct the turns."""
        job = self.begin(kind="detect")
        if job is None:
            return "refused"
        result = self.finished(job)
        threshold = round(self.rng.uniform(0.1, 0.9), 2)
        self.ask(f"POST /api/jobs/{job}/turns", {"threshold": threshold})
        if self.rng.random() < 0.5:
            self.correct(job, result, threshold)
        return "done"

    def correct(self, job: str, result: dict[str, Any], threshold: float) -> None:
        """Turns by hand, kept, read again and scored."""
        from pushpull.metrics.scoring import score_files

        end_s = round(0.6 * result["duration_s"], 2)
        turns = [[[0.0, end_s]] for _ in result["faces"]]
        reply = self.object(
            f"POST /api/jobs/{job}/corrections", {"threshold": threshold, "faces": turns}
        )["result"]
        if reply["corrected"]["faces"] != turns:
            raise Wrong(f"corrections changed on the way: {reply['corrected']}")
        files = {one["name"]: one["file"] for one in reply["downloads"]}
        paths = []
        for name in ("corrected.csv", "csv"):
            [own] = [n for n in files if n.count(".") == name.count(".") + 1 and n.endswith(name)]
            path = self.shared.folder / f"{self.name}.{name}"
            path.write_bytes(self.ask(f"GET /api/files/{files[own]}?download=1"))
            paths.append(path)
        found = score_files(*paths).average_precision
        if not 0 <= found <= 1:
            raise Wrong(f"corrected turns score {found}")

    def attack(self) -> str:
        """Attack, and see it after a reload."""
        job = self.begin(**self.of_attack())
        if job is None:
            return "refused"
        self.finished(job)
        return "done"

    def cancel(self) -> str:
        """Begin, think better of it; sometimes begin again."""
        job = self.begin(**(self.of_attack() | {"attack": "pgd", "steps": 300}))
        if job is None:
            return "refused"
        time.sleep(self.rng.uniform(0, 6))
        state = self.object(f"POST /api/jobs/{job}/cancel")["state"]
        if state not in ("cancelled", "done"):
            raise Wrong(f"a job that was cancelled is {state}")
        if state == "cancelled" and self.rng.random() < 0.3:
            self.object(f"POST /api/jobs/{job}/again")
            self.object(f"POST /api/jobs/{job}/cancel")
        return state

    def reload(self) -> str:
        """All that the first page asks for, and every result that was there is there."""
        page = self.ask("GET /").decode()
        for name in re.findall(r"/?static/([\w.-]+)", page):
            self.ask(f"GET /static/{name}")
        self.ask("GET /api/runs")
        self.ask("GET /api/uploads")
        known = {job["id"]: job["state"] for job in self.object("GET /api/jobs")["jobs"]}
        for job in self.done:
            if known.get(job) != "done":
                raise Wrong(f"a job that was done is {known.get(job)}")
            self.ask(f"GET /api/jobs/{job}")
        return "done"

    def bad_file(self) -> str:
        """What is no video, or too much of one."""
        name, content, due, reason = self.rng.choice(self.shared.things.bad)
        said = self.ask(f"POST /api/uploads?name={name}", content, due, 413)
        if self.status == 413 and b"your files take more" in said:
            return "no room"
        if self.status != due or reason not in said.decode():
            raise Wrong(f"{name} is refused, but not as {reason!r}: {said[:500]!r}")
        return "refused"

    def bad_request(self) -> str:
        """Settings that nobody may have, other sites, other names of the server, half requests."""
        self.rng.choice(
            (
                lambda: self.ask("POST /api/jobs", b"{", 400),
                lambda: self.ask("POST /api/jobs", {"kind": "detect", "upload": "1"}, 404),
                lambda: self.ask("POST /api/jobs", b" " * 20_000, 413),
                lambda: self.ask("GET /api/jobs/..%2f..%2fetc%2fpasswd", b"", 404),
                lambda: self.ask("GET /static/..%2fserver.py", b"", 404),
                lambda: self.ask("PUT /api/jobs", b"", 405),
                lambda: self.ask("POST /api/forget", {}, 403, headers={"x-pushpull": ""}),
                lambda: self.ask("POST /api/forget", {}, 403, headers={"Origin": "http://a.org"}),
                lambda: self.ask("GET /api/jobs", b"", 403, headers={"Host": "example.org"}),
            )
        )()
        return "refused"

    def of_others(self) -> str:
        """Another's job and its files."""
        others = [job for name, job in self.shared.jobs.items() if name != self.name]
        if not others:
            return "nothing there"
        job = self.rng.choice(others)
        self.ask(f"GET /api/jobs/{job}", b"", 404)
        self.ask(f"GET /api/files/{job}.0", b"", 404)
        self.ask(f"POST /api/jobs/{job}/cancel", {}, 404)
        return "refused"

    def no_face(self) -> str:
        """A video in which nobody is: the job fails, and says why."""
        content = self.shared.things.faceless
        reply = self.object("POST /api/uploads?name=grey.mp4", content, 200, 413)
        if self.status != 200:
            self.no_room(reply)
            return "refused"
        asked = {"kind": "detect", "upload": reply["id"]}
        job = self.object("POST /api/jobs", asked, 200, 413, 503)
        if self.status != 200:
            return "refused"
        status = self.until_over(job["id"])
        if status["state"] != "failed" or "face" not in status["error"]:
            raise Wrong(f"a video without faces is {status['state']}: {status['error']}")
        return "failed as it should"

    def too_many(self) -> str:
        """More jobs at a time than one may have."""
        begun = [self.begin(**(self.of_attack() | {"steps": 200})) for _ in range(LIMITS["jobs"])]
        jobs = [job for job in begun if job is not None]
        outcome = "refused"
        if len(jobs) == LIMITS["jobs"] and self.videos:
            states = [self.object(f"GET /api/jobs/{job}")["state"] for job in jobs]
            asked = {"kind": "detect", "upload": self.videos[-1]["id"]}
            self.ask("POST /api/jobs", asked, 429, 200 if "done" in states else 429)
            if self.status == 200:
                outcome = "done"
        for job in jobs:
            self.ask(f"POST /api/jobs/{job}/cancel", {})
        return outcome

    def hang_up(self) -> str:
        """Break off in the middle of a file, and say nothing on some lines."""
        import socket

        place = ("127.0.0.1", self.shared.server.port)
        head = (
            f"POST /api/uploads?name=half.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{place[1]}\r\n"
            f"x-pushpull: 1\r\nCookie: {self.cookie}\r\nContent-Length: 200000\r\n\r\n"
        )
        with socket.create_connection(place, WAIT_S) as line:
            line.sendall(head.encode() + bytes(20_000))
        silent = [socket.create_connection(place, WAIT_S) for _ in range(3)]
        time.sleep(self.rng.uniform(0, 20))
        for line in silent:
            line.close()
        return "done"

    def listen(self) -> str:
        """A short test with what was attacked here."""
        attacked = [job for job, result in self.done.items() if result["kind"] == "attack"]
        if not attacked:
            return "nothing there"
        asked = {"set": self.rng.choice(attacked), "trials": 2, "modality": "both"}
        test = self.object("POST /api/abx", asked, 200, 400)
        if self.status == 400:
            if "there is nothing to find" not in test["error"]:
                raise Wrong(f"refused: {test['error']}")
            return "refused"
        for trial in range(2):
            for place in "xab":
                self.ask(f"GET /api/abx/{test['id']}/{trial}/{place}.png")
                self.ask(f"GET /api/abx/{test['id']}/{trial}/{place}.wav")
            answer = {"trial": trial, "answer": self.rng.choice("ab")}
            self.ask(f"POST /api/abx/{test['id']}/answers", answer)
        rows = list(csv.reader(io.StringIO(self.ask(f"GET /api/abx/{test['id']}/csv").decode())))
        if len(rows) != 3:
            raise Wrong(f"two answers make {len(rows) - 1} rows")
        return "done"

    def watch(self) -> str:
        """The camera for a few seconds."""
        live = self.object("POST /api/live", {}, 200, 503)
        if self.status == 503:
            return "refused"
        begin_s, sent = time.monotonic(), 0
        said: dict[str, Any] = {"ready": False}
        while time.monotonic() - begin_s < (30 if not said["ready"] else 20) and sent < 40:
            now_s = time.monotonic() - begin_s
            sound = bytes(2 * 1600)
            picture = self.shared.things.pictures[sent % len(self.shared.things.pictures)]
            query = f"sound={len(sound)}&rate=16000&picture_s={now_s:.3f}&sound_s={now_s:.3f}"
            said = self.object(f"POST /api/live/{live['id']}?{query}", sound + picture)
            if said["error"]:
                raise Wrong(f"watching ended: {said['error']}")
            sent += said["ready"]
            time.sleep(0.2)
        self.ask(f"POST /api/live/{live['id']}/end", {})
        return "done" if said["ready"] else "not ready in time"

    def delete(self) -> str:
        """Remove a job that is done."""
        if not self.done:
            return "nothing there"
        job = self.rng.choice(list(self.done))
        del self.done[job]
        self.ask(f"POST /api/jobs/{job}/delete", {})
        self.ask(f"GET /api/jobs/{job}", b"", 404)
        return "done"

    def leave(self) -> str:
        """Have all forgotten, or just go away and come back as somebody else."""
        if self.number < STAYING:
            return "stayed"
        if self.rng.random() < 0.5:
            self.forget()
            return "forgotten"
        self.cookie, self.videos, self.done = "", [], {}
        return "gone"

    def forget(self) -> None:
        """Remove all that is this visitor's."""
        self.ask("POST /api/forget", {})
        for job in self.done:
            self.ask(f"GET /api/jobs/{job}", b"", 404)
        self.videos, self.done = [], {}


LAST_VIDEOS, LAST_JOBS = 6, 20
"""Of a visitor, fewer than the app keeps: those must be there."""


# The run


def soak(
    out: Path,
    *,
    minutes: float,
    visitors: int = 10,
    think_s: float = 8.0,
    share: float = 0.25,
    detector: str = "synthetic-a",
    clips: Path | None = None,
    seed: int = 0,
    sample_s: float = SAMPLE_S,
) -> dict[str, Any]:
    """Let visitors come for some time, and look at what the server takes.

    Returns:
        What OUT/soak.json holds.
    """
    from pushpull.runtime.version import versions

    out.mkdir(parents=True, exist_ok=True)
    state = out / "state"
    shutil.rmtree(state, ignore_errors=True)
    found = things(state / "things", clips)
    server, tally = Server(state, detector), Tally()
    begun_s = time.monotonic()
    said: dict[str, Any] = {
        "begun": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": f"python scripts/soak.py OUT --minutes {minutes:g}"
        + (" --clips CLIPS" if clips is not None else ""),
        "settings": {
            "minutes": minutes, "visitors": visitors, "think_s": think_s, "share": share,
            "detector": detector, "real_clips": clips is not None, "seed": seed,
            "sample_s": sample_s, "limits": LIMITS,
        },
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": versions(),
        "samples": [],
    }  # fmt: skip
    shared = Shared(
        server=server, things=found, tally=tally, end_s=begun_s + 60 * minutes, share=share,
        think_s=think_s, begun_s=begun_s, folder=state,
    )  # fmt: skip
    people = [Visitor(shared, number, seed) for number in range(visitors)]
    for person in people:
        person.start()
    written_s = begun_s
    try:
        while not shared.over and server.process.poll() is None:
            said["samples"].append(sample(server, tally, begun_s))
            if time.monotonic() - written_s > WRITE_S:
                written_s = time.monotonic()
                write(out, said, tally, server)
            time.sleep(sample_s)
    except KeyboardInterrupt:
        shared.end_s = 0.0
    if server.process.poll() is not None:
        tally.fault("server", f"ended by itself, exit code {server.process.returncode}")
        shared.end_s = 0.0
    for person in people:
        person.join(WAIT_S)
    said["samples"].append(sample(server, tally, begun_s))
    said["end"] = server.stop()
    write(out, said, tally, server)
    shutil.rmtree(state, ignore_errors=True) if not faults_of(said) else None
    return said


def write(out: Path, said: dict[str, Any], tally: Tally, server: Server) -> None:
    """What is known so far, whole or not at all."""
    with tally.lock:
        said["counts"], said["wrong"] = dict(sorted(tally.counts.items())), list(tally.wrong)
    log = server.log.read_text(errors="replace")
    said["log"] = {"tracebacks": log.count("Traceback"), "bytes": len(log), "tail": log[-4000:]}
    temporary = out / ".soak.unfinished.json"
    temporary.write_text(json.dumps(said, indent=1) + "\n")
    temporary.replace(out / "soak.json")


def processor() -> str:
    """What the machine calls its processor."""
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        if found:
            return " ".join(found[1].split()[:2])
    return platform.machine()


# What it means


def quarters(said: dict[str, Any]) -> list[list[dict[str, float]]]:
    """The samples in four equal parts of time."""
    samples = said["samples"]
    whole_s = samples[-1]["time_s"] or 1.0
    parts: list[list[dict[str, float]]] = [[] for _ in range(PARTS)]
    for one in samples:
        parts[min(int(PARTS * one["time_s"] / whole_s), PARTS - 1)].append(one)
    return parts


def faults_of(said: dict[str, Any]) -> list[str]:
    """What is not as it should be, a sentence each; empty if all is well."""
    found = [f"{one['action']}: {one['said']}" for one in said["wrong"]]
    if said["log"]["tracebacks"]:
        found.append(f"{said['log']['tracebacks']} tracebacks in the server's log")
    end = said.get("end")
    if end is not None:
        if end["exit_code"] != STOPPED:
            found.append(f"the server ended with exit code {end['exit_code']}")
        found += [
            f"{end[name]} {name.replace('_', ' ')} after the end"
            for name in ("processes_left", "unfinished_files", "temporary_files")
            if end[name]
        ]
    largest = max(one["kept_mib"] for one in said["samples"])
    if largest > said["settings"]["limits"]["disk-gib"] * 1024:
        found.append(f"files of visitors took {largest:.0f} MiB, more than --disk-gib")
    largest = max(one["largest_process_mib"] for one in said["samples"])
    if largest > said["settings"]["limits"]["memory-gib"] * 1024 * 1.1:
        found.append(f"a process took {largest:.0f} MiB, more than --memory-gib")
    parts = quarters(said)
    if all(parts):
        for name, (times, more) in GROWTH.items():
            early, late = (statistics.median(one[name] for one in parts[i]) for i in (1, 3))
            if late > times * early + more:
                found.append(
                    f"{NAMES[name]}: {early:g} in the second quarter, {late:g} in the last"
                )
    return found


def page(said: dict[str, Any]) -> str:
    """docs/measurements/soak.md."""
    settings, samples = said["settings"], said["samples"]
    minutes = samples[-1]["time_s"] / 60
    faults = faults_of(said)
    counts = said["counts"]
    wrong = sum(n for name, n in counts.items() if name.endswith(": wrong"))
    load = samples[-1]["processor_s"] / samples[-1]["time_s"]
    done = sum(counts.get(f"{name}: done", 0) for name in ("detect", "attack"))
    verdict = (
        f"**Nothing grew beyond its limits, and no job failed that should not**: {done} jobs done, "
        f"{sum(counts.values())} things tried in {minutes:.0f} minutes."
        if not faults
        else f"**{len(faults)} things are not as they should be** in {minutes:.0f} minutes, "
        f"{wrong} of them wrong answers."
    )
    options = " ".join(f"--{name} {value:g}" for name, value in settings["limits"].items())
    lines = [
        "# Ten visitors for two hours" if minutes > 100 else "# Ten visitors at once",
        "",
        f"{settings['visitors']} visitors of `pushpull app`, each with its own cookie, who do what "
        "people do and what they should not; two stay, the others go and come back as somebody "
        "else. Every answer is compared with the one that is due.",
        "",
        verdict,
        "",
        "| what | done | refused or ended, as it should be | wrong |",
        "|---|---|---|---|",
    ]
    actions = sorted({name.partition(": ")[0] for name in counts})
    for action in actions:
        own = {
            name.partition(": ")[2]: n
            for name, n in counts.items()
            if name.startswith(f"{action}:")
        }
        bad, well = own.pop("wrong", 0), own.pop("done", 0)
        rest = ", ".join(f"{n} {name}" for name, n in own.items()) or "0"
        lines.append(f"| {action} | {well} | {rest} | {bad} |")
    parts = [part for part in quarters(said) if part]
    ends = [part[-1]["time_s"] / 60 for part in parts]
    starts = [0.0, *ends[:-1]]
    heads = [f"{a:.0f} to {b:.0f} min" for a, b in zip(starts, ends, strict=True)]
    lines += [
        "",
        "Medians of each quarter; the last must not be above the second by more than the last "
        "column says. In brackets, the most that was seen.",
        "",
        "| | " + " | ".join(heads) + " | may grow |",
        "|---|" + "---|" * (len(heads) + 1),
    ]
    for name, (times, more) in GROWTH.items():
        cells = [
            f"{statistics.median(one[name] for one in part):.3g} "
            f"({max(one[name] for one in part):.3g})"
            for part in parts
        ]
        rule = (f"{round(100 * (times - 1))} % + " if times > 1 else "") + f"{more:g}"
        lines.append(f"| {NAMES[name]} | " + " | ".join(cells) + f" | {rule} |")
    room = settings["visitors"] * 1024 * settings["limits"]["visitor-gib"]
    slowest = max(one["slowest_page_s"] for one in samples)
    lines += [
        "",
        f"The slowest page took {slowest:.2f} s; the largest process had "
        f"{max(one['largest_process_mib'] for one in samples):.0f} MiB. Server and processes took "
        f"{100 * load:.0f} % of a core; the machine was busy with other work beside (load "
        f"{statistics.median(one['load'] for one in samples):.1f}). Of what a visitor left behind, "
        "the server removes all after `--keep-h`, so what is kept is bounded by who came lately, "
        f"{1024 * settings['limits']['visitor-gib']:.0f} MiB a visitor: {room:.0f} MiB for those "
        "who are there. Results of listening tests are kept for good and counted here.",
    ]
    if faults:
        lines += ["", "Not as it should be:", "", *(f"- {one[:300]}" for one in faults[:20])]
    if said.get("note"):
        lines += ["", said["note"]]
    kinds = "synthetic and real clips" if settings["real_clips"] else "synthetic clips"
    versions = said["versions"]
    lines += [
        "",
        f"*{said['begun'][:16].replace('T', ' ')} UTC, {said['machine']['processor']}, "
        f"{said['machine']['cores']} cores, Python {versions['python']}, torch "
        f"{versions.get('torch', 'none')}, pushpull {versions['pushpull']}; {kinds} of 1 to 4 s, "
        f"every detector at hand; `pushpull app {options}`.*",
        "",
        f"Made by `{said['command']}`, this page by `python scripts/soak.py --record OUT`. Numbers "
        "are in `docs/measurements/soak.json`.",
    ]
    return "\n".join(lines) + "\n"


def thinned(said: dict[str, Any], most: int = 130) -> dict[str, Any]:
    """With fewer samples, for the repository: medians of the page need all, people do not."""
    step = -(-len(said["samples"]) // most)
    shown = {**said, "samples": said["samples"][::step]}
    return shown | {"log": {k: v for k, v in said["log"].items() if k != "tail"}}


def main() -> int:
    """Run it, or make the page of a run."""
    words = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("soak.py", description=__doc__, formatter_class=words)
    parser.add_argument("out", type=Path, nargs="?", help="where OUT/soak.json goes")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--think-s", type=float, default=8.0, help="between two actions, mean")
    parser.add_argument("--share", type=float, default=0.25, help="of a core, at most")
    parser.add_argument("--detector", default="synthetic-a", help="that the form shows first")
    parser.add_argument("--clips", type=Path, help="folder of real clips, grid_*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, metavar="OUT", help="make the page of a run")
    parser.add_argument("--note", help="what is to be said of it on its page")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    if args.record is not None:
        said = json.loads((args.record / "soak.json").read_text())
        said |= {} if args.note is None else {"note": args.note}
        args.page.write_text(page(said))
        args.page.with_suffix(".json").write_text(json.dumps(thinned(said), indent=1) + "\n")
        print(args.page)
    elif args.out is not None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        said = soak(
            args.out, minutes=args.minutes, visitors=args.visitors, think_s=args.think_s,
            share=args.share, detector=args.detector, clips=args.clips, seed=args.seed,
        )  # fmt: skip
    else:
        parser.error("say where to: OUT, or --record OUT")
    faults = faults_of(said)
    print("\n".join(faults) or "all is as it should be")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
