"""A real server in a process of its own, and a client that talks to it as a browser does."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import requests

MARK = {"x-pushpull": "1"}
WAIT_S = 240


class Client:
    """One visitor."""

    def __init__(self, base):
        self.base = base
        self.http = requests.Session()
        self.get("/")

    def get(self, path, **options):
        return self.http.get(self.base + path, timeout=WAIT_S, **options)

    def post(self, path, json=None, **options):
        headers = MARK | options.pop("headers", {})
        return self.http.post(
            self.base + path, json=json, headers=headers, timeout=WAIT_S, **options
        )

    def upload(self, content, name="talk.mp4"):
        return self.post("/api/uploads", params={"name": name}, data=content)

    def moved(self, base):
        """Ask another server, with the same cookies."""
        self.base = base

    def start(self, video, **asked):
        reply = self.post("/api/jobs", {"kind": "detect", "upload": video["id"], **asked})
        assert reply.status_code == 200, reply.text
        return reply.json()["id"]

    def until(self, job, *states):
        """Follow a job until it is in one of some states, or over."""
        over = {"done", "failed", "cancelled", "interrupted", *states}
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            status = self.get(f"/api/jobs/{job}").json()
            if status["state"] in over:
                return status
            time.sleep(0.1)
        raise AssertionError(f"job {job} did not end: {status}")


class Running:
    """A server process."""

    def __init__(self, folder, checkpoint, *options, port=0):
        self.folder = folder
        for name in ("tmp", "runs", "results"):
            (folder / name).mkdir(exist_ok=True)
        self.log = (folder / "log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pushpull", "app", "--port", str(port),
             "--detector", str(checkpoint),
             "--runs", str(folder / "runs"), "--out", str(folder / "results"),
             "--face-finder", "dlib", *options],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | {"TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.base = self.process.stdout.readline().strip().rstrip("/")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", self.base), (folder / "log").read_text()
        self.port = int(self.base.rpartition(":")[2])
        end = time.monotonic() + WAIT_S
        while True:
            try:
                requests.get(self.base, timeout=WAIT_S)
                break
            except requests.ConnectionError:
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.1)

    def client(self):
        return Client(self.base)

    def workers(self):
        """Processes of the server's own, by id: the one that has just worked most first."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(p) for p in children.read_text().split()]
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            pids += [int(p) for p in (task / "children").read_text().split()]
        spawned = {p for p in pids if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()}
        before = {p: self._worked(p) for p in spawned}
        time.sleep(0.5)
        return sorted(spawned, key=lambda p: before[p] - self._worked(p))

    @staticmethod
    def _worked(pid):
        """Processor time of a process and its threads so far, in ticks."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return int(fields[11]) + int(fields[12])

    def kill(self):
        """End it at once, as a machine that loses its power does."""
        self.process.kill()
        self.process.wait(20)
        self.process.stdout.close()
        self.log.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(20)
        self.process.stdout.close()
        self.log.close()
        return code
