"""Ctrl-C and SIGTERM with real processes: whatever lasts ends soon, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from support.app_server import Client

from pushpull.data.ava import write_synthetic_ava

SOON_S = 10.0
"""What a busy machine may need; a process gives itself two seconds."""

COPIES = 40
KEPT = (".lock", ".pushpull")
"""Hidden files that belong where they are."""

DETECTOR = ["-d", "random.safetensors", "--face-finder", "dlib"]
SET = ["random.safetensors", "set", "--split", "train", "-o", "out"]
LONG = {
    "detect": (["detect", "clips", "-o", "out", *DETECTOR], "out/*.rttm"),
    "attack": (["attack", "clips/0.mp4", "-o", "out", *DETECTOR, "--steps", "5000"], r" \d+/5001 "),
    "evaluate": (["evaluate", *SET, "-a", "pgd", "--steps", "5000"], r"clean .* \d+/10 "),
    "audit": (["audit", *SET], "run-claim"),
    "train": (
        ["train", "light-asd", "data.root=set", "data.val=train", "run.out=out", "run.device=cpu",
         "optim.epochs=500", "data.workers=1"],
        "out/steps.csv",
    ),
    "reproduce": (["reproduce", "table1", "-o", "out", "--workers", "1"], r"data: tracks \d+/60 "),
    "data synth": (
        ["data", "synth", "out", "--tracks", "3000", "--workers", "2"], "out/train/.shard*",
    ),
    "data talkset": (
        ["data", "talkset", "clips", "-o", "out", "--face-finder", "dlib", "--workers", "1"],
        "out/*/shard*",
    ),
    "data ava": (["data", "ava", "ava", "-o", "out", "--workers", "1"], "out/train/shard*"),
    "app": (["app", "--port", "0", "-o", "out", "-d", "random.safetensors"], r"http://\S+"),
}  # fmt: skip
"""A command that lasts, and what is there, or is said, once its work has begun."""

IN_TERMINAL = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Started:
    """A command that shows its progress, with a folder and temporary files of its own."""

    def __init__(self, folder: Path, arguments: list[str], *, terminal: bool) -> None:
        self.folder, self.text = folder, ""
        # Short: sockets have names of at most 107 letters.
        self.temporary = Path(tempfile.mkdtemp(prefix="pp-"))
        self.screen, theirs = pty.openpty()
        os.set_blocking(self.screen, False)
        self.process = subprocess.Popen(
            [sys.executable, *(["-c", IN_TERMINAL] if terminal else []), "-m", "pushpull",
             *arguments],
            cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=os.environ | {"TMPDIR": str(self.temporary), "TERM": "xterm", "COLUMNS": "200"},
        )  # fmt: skip
        os.close(theirs)

    def said(self) -> str:
        with suppress(OSError):
            while got := os.read(self.screen, 1 << 16):
                self.text += ESCAPES.sub("", got.decode(errors="replace"))
        return self.text

    def has_begun(self, mark: str) -> bool:
        said = self.said()
        assert self.process.poll() is None, said
        return bool(list(self.folder.glob(mark)) if mark[:4] == "out/" else re.search(mark, said))

    def alive(self) -> list[str]:
        """Command lines of the processes of its session."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state, _, _, of = place.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
                if int(of) == self.process.pid and state != "Z":
                    found.append(place.joinpath("cmdline").read_text().replace("\0", " "))
        return found

    def left(self) -> list[str]:
        """What should not be there: temporary files, and files that are not whole."""
        hidden = [p.name for p in self.folder.glob("out/**/.*") if p.name not in KEPT]
        temporary = [p.name for p in self.temporary.glob("*") if "inductor" not in p.name]
        return hidden + temporary

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.screen)
        shutil.rmtree(self.temporary, ignore_errors=True)


def until(there: Callable[[], object], limit_s: float = 180.0) -> bool:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if there():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, talking, dataset, checkpoint) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "set").symlink_to(dataset)
    (folder / "random.safetensors").symlink_to(checkpoint)
    (folder / "clips").mkdir()
    for k in range(COPIES):
        (folder / "clips" / f"{k}.mp4").symlink_to(talking)
    made = write_synthetic_ava(folder / "ava", videos=2, duration_s=4.0, size=(64, 48))
    table = next((folder / "ava").glob(f"*train*/{made[0].video_id}*"))
    for k in range(COPIES):
        name = f"copy{k:07d}"
        made[0].path.with_stem(name).symlink_to(made[0].path)
        text = table.read_text().replace(made[0].video_id, name)
        table.with_name(f"{name}-activespeaker.csv").write_text(text)
    return folder


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find processes")
@pytest.mark.parametrize("name", LONG)
def test_a_command_ends_soon_and_leaves_nothing(inputs, tmp_path, name):
    """Ctrl-C is typed in a terminal, or SIGTERM is sent to one process."""
    arguments, mark = LONG[name]
    # One after the other: work that lasts takes a core, and whoever watches needs one.
    for way in ("typed", "sent"):
        folder = tmp_path / way
        folder.mkdir()
        for source in inputs.iterdir():
            (folder / source.name).symlink_to(source)
        run = Started(folder, arguments, terminal=way == "typed")
        try:
            assert until(lambda run=run: run.has_begun(mark)), run.said()
            ends_soon_and_leaves_nothing(run, way, name)
        finally:
            run.stop()


def ends_soon_and_leaves_nothing(run: Started, way: str, name: str) -> None:
    if name == "app":
        keep_busy(re.search(LONG[name][1], run.said()).group())
    if way == "typed":
        os.write(run.screen, b"\x03")
    else:
        run.process.terminate()
    assert run.process.wait(SOON_S) == (130 if way == "typed" else 143), run.said()
    assert until(lambda: not run.alive(), SOON_S), run.alive()
    said = run.said()
    assert re.split(r"[\r\n]+", said.strip())[-1] == "stopped; what is finished is kept"
    assert not re.search("Traceback|Exception|Error|Warning|leaked", said), said
    assert run.left() == []


def keep_busy(address: str) -> None:
    """Have a web app work on an attack that lasts."""
    assert until(lambda: listens(address))
    client = Client(address.rstrip("/"))
    video = client.post("/api/examples/two-people").json()
    asked = {"kind": "attack", "attack": "pgd", "eps": 5, "steps": 1000, "amplify": 20}
    client.until(client.start(video, **asked), "running")


def listens(address: str) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(address, timeout=SOON_S).ok
    return False


@contextmanager
def running(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Code that ends on signals once it has made the file `began`; gone at the end of the block."""
    lines = (
        "import signal, sys, time",
        "from pathlib import Path",
        "from pushpull.runtime.files import temporary_folder, written_whole",
        "from pushpull.runtime.interrupts import ended_by_signals",
        # Where these tests run under nohup, it would be ignored here too.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)",
        code,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        assert until((folder / "began").exists)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_native_code_is_not_waited_for(tmp_path, number):
    """A hash of minutes hears no signal."""
    code = (
        "import hashlib\n"
        "with ended_by_signals('ended'), written_whole(Path('half')) as half:\n"
        "    half.write_text('x')\n"
        "    with temporary_folder('.') as folder:\n"
        "        (folder / 'draft').touch()\n"
        "        Path('began').touch()\n"
        "        hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
    )
    with running(tmp_path, code) as process:
        process.send_signal(number)
        assert process.communicate(timeout=SOON_S)[1] == "ended\n"
        assert process.returncode == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["began"]


def test_what_raises_on_the_way_out_is_not_heard(tmp_path):
    """Torch's loader raises in the main thread when its processes are killed."""
    code = (
        "def fail(*_): raise RuntimeError('a process was killed')\n"
        "signal.signal(signal.SIGCHLD, fail)\n"
        "with ended_by_signals('ended'):\n"
        "    Path('began').touch()\n"
        "    time.sleep(60)\n"
    )
    with running(tmp_path, code) as process:
        for number in (signal.SIGINT, signal.SIGCHLD, signal.SIGINT, signal.SIGCHLD):
            process.send_signal(number)
        assert process.communicate(timeout=SOON_S)[1] == "ended\n"
        assert process.returncode == 130


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    """As `nohup` and a shell's `&` have it."""
    code = (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with ended_by_signals():\n"
        "    Path('began').touch()\n"
        "    while not Path('enough').exists(): time.sleep(0.02)\n"
    )
    with running(tmp_path, code) as process:
        process.send_signal(signal.SIGINT)
        (tmp_path / "enough").touch()
        assert process.communicate(timeout=SOON_S)[1] == ""
        assert process.returncode == 0


def test_after_the_block_all_is_as_it_was(tmp_path):
    code = (
        "before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)\n"
        "with ended_by_signals(): pass\n"
        "assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))\n"
        "assert signal.set_wakeup_fd(-1) == -1\n"
        "Path('began').touch()\n"
        "try:\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    with running(tmp_path, code) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SOON_S)
        assert process.returncode == 7
