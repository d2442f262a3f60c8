"""The code blocks of the documentation, found in pages and run as a reader would run them.

A page's blocks run in order in one folder: shell blocks with bash, Python in one interpreter.

    ```sh                            is run
    ```python                        is run
    ```python title="my_model.py"    is written to that file
    ```text                          after a block that is run: what it prints, numbers aside
    <!-- needs: weights, server -->  before a block: what it needs beside the package
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

INTERPRETER = Path(__file__).parent / "block_interpreter.py"
FORKED = Path(__file__).parent / "forked_commands.py"
NEEDED_BY_ALL = ("torch", "numpy", "scipy.signal", "av", "cv2", "pyarrow", "typer", "safetensors")
"""What a command that works on sound and faces imports of others; the package is not among it."""

NEEDS = {
    "network": "fetches from elsewhere",
    "index": "installs from the package index; here from the wheel that was just built",
    "weights": "published weights, fetched or on PUSHPULL_WEIGHTS_PATH",
    "checkout": "runs in a checkout",
    "server": "stays until it is stopped",
    "cluster": "needs several machines",
    "terminal": "changes the shell that somebody works in",
}
"""What may stand in `<!-- needs: ... -->`."""

RUN = ("sh", "python")
SHOWN = ("text", "toml", "json", "csv", "yaml", "bibtex")

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)(?P<rest>.*)$")
TITLE = re.compile(r'title="([^"]+)"')
MARK = re.compile(r"^<!-- needs: ([\w, ]+) -->$")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
LONGEST_S = 3600
"""For one block: something hangs. How long a block takes says something of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        page: Path of its page below the repository.
        line: Of its first fence, from 1.
        language: As the fence says.
        code: What is inside.
        needs: Words of `NEEDS`.
        file: Where it is to be written; None if it is run or only shown.
        prints: What the page says that it prints; None if it says nothing.
    """

    page: str
    line: int
    language: str
    code: str
    needs: tuple[str, ...] = ()
    file: str | None = None
    prints: str | None = None

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"

    @property
    def title(self) -> str:
        """Its first line, without a comment behind it."""
        return self.code.partition("\n")[0].partition("  #")[0].rstrip()


def blocks_of(text: str, page: str) -> list[Block]:
    """The blocks of a page that are run or written, in order.

    Raises:
        ValueError: If a fence is indented, without language, never closed, or marked wrongly.
    """
    lines = text.splitlines()
    found: list[Block] = []
    needs: tuple[str, ...] = ()
    number, last_run = 0, None
    while number < len(lines):
        line = lines[number]
        fence, mark = FENCE.match(line), MARK.match(line)
        if mark:
            needs = tuple(word.strip() for word in mark[1].split(","))
            if set(needs) - set(NEEDS):
                raise ValueError(f"{page}:{number + 1}: needs {needs}, known are {set(NEEDS)}")
        if not fence:
            if line.strip() and not mark:
                if needs:
                    raise ValueError(f"{page}:{number + 1}: a mark must stand before a block")
                last_run = None
            number += 1
            continue
        start, language = number, fence["language"]
        if fence["indent"] or language not in (*RUN, *SHOWN):
            raise ValueError(f"{page}:{start + 1}: fence {line!r}; expected one of {RUN + SHOWN}")
        try:
            number = lines.index("```", start + 1)
        except ValueError as e:
            raise ValueError(f"{page}:{start + 1}: block has no end") from e
        code = "\n".join(lines[start + 1 : number])
        title = TITLE.search(fence["rest"])
        if language == "text" and last_run is not None:
            found[last_run] = replace(found[last_run], prints=code)
        if title or language in RUN:
            found.append(
                Block(
                    page=page,
                    line=start + 1,
                    language=language,
                    code=code,
                    needs=needs,
                    file=title[1] if title else None,
                )
            )
        last_run = len(found) - 1 if language in RUN and not title else None
        needs = ()
        number += 1
    return found


def masked(line: str) -> str:
    """A line of output without what differs from machine to machine: numbers and spaces.

    >>> from support.doc_blocks import masked
    >>> masked("  sound up to 0.0005 (42.1 dB)")
    'sound up to # (# dB)'
    """
    return " ".join(NUMBER.sub("#", line).split())


def unsaid(expected: str, printed: str) -> str | None:
    """The first line that a page shows and the output lacks, in order; None if there is none.

    Numbers may differ; `...` stands for any text within a line, and alone for any lines.
    """
    lines = iter([masked(line) for line in printed.splitlines()])
    for line in expected.splitlines():
        if not line.strip() or line.strip() == "...":
            continue
        pattern = ".*".join(re.escape(part) for part in masked(line).split("..."))
        if not any(re.fullmatch(pattern, said) for said in lines):
            return line
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment with the wheel in it.

    Attributes:
        python: Its interpreter.
        dist: Folder of the wheel.
    """

    python: Path
    dist: Path

    @property
    def scripts(self) -> dict[str, Path]:
        """What a page begins most often: the command, and blocks of Python."""
        return {"pushpull": self.python.parent / "pushpull", "blocks": INTERPRETER}


def fresh_environment(root: Path, folder: Path) -> Environment:
    """Build the wheel of a checkout and install it, and nothing else, in an environment.

    Other packages are those of the running environment, found behind the fresh one's own: a line in
    a .pth file adds a folder, but no .pth file inside that folder, so an editable install there is
    out of reach.
    """
    python, dist = folder / "env" / "bin" / "python", folder / "dist"
    if (folder / "made").exists():
        return Environment(python=python, dist=dist)
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)], cwd=root)
    (wheel,) = dist.glob("*.whl")
    _run([sys.executable, "-m", "venv", str(folder / "env")], cwd=folder)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # Some Pythons bring one, too old for what is behind it.
    _run([*pip, "uninstall", "--yes", "setuptools"], cwd=folder)
    _run([*pip, "install", "--no-index", "--no-deps", str(wheel)], cwd=folder)
    own = sysconfig.get_path("purelib", vars={"base": str(folder / "env")})
    theirs = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (Path(own) / "packages_of_the_tests.pth").write_text("\n".join(theirs) + "\n")
    (folder / "made").touch()
    return Environment(python=python, dist=dist)


def _run(command: Sequence[str], cwd: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")


def answers(address: str) -> bool:
    """Whether a page comes from a server within a minute of its start."""
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.5)
    return False


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Keep other processes of a test run waiting."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def forked_commands(
    environment: Environment, scripts: Mapping[str, Path], modules: Sequence[str]
) -> Iterator[Path]:
    """A folder with commands that are not processes from nothing; see `forked_commands.py`.

    Args:
        environment: Whose interpreter runs them.
        scripts: What runs, by the name of the command.
        modules: What is imported before.
    """
    # Names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="pages-") as name:
        folder, path = Path(name), Path(name) / "socket"
        ask = shlex.join([str(environment.python), "-IS", str(FORKED), "ask", str(path)])
        for command, script in scripts.items():
            shim = folder / command
            shim.write_text(f'#!/bin/sh\nexec {ask} {shlex.quote(str(script))} "$@"\n')
            shim.chmod(0o755)
        with subprocess.Popen(
            [str(environment.python), str(FORKED), "serve", str(path), *modules],
            cwd=folder, env=shell_of(environment, folder), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as parent:  # fmt: skip
            assert parent.stdout is not None
            assert parent.stdout.readline() == "ready\n"
            # The end of its input is the end of its work.
            yield folder


def shell_of(environment: Environment, home: Path) -> dict[str, str]:
    """What is set where blocks are run."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": f"{environment.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error::DeprecationWarning:pushpull",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(environment.dist),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # Whatever is fetched without saying so fails at once.
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "no_proxy": "127.0.0.1,localhost",
    }


class Reader:
    """Runs the blocks of one page, as somebody would who reads it from top to bottom.

    Args:
        environment: What is installed.
        folder: Empty folder to work in.
        root: The checkout, for blocks that need one.
        weights: Folder of published weights, None if there is none.
        forked: Folder of `forked_commands`; without it each command is a process from nothing, as
            servers always are.
    """

    def __init__(
        self,
        environment: Environment,
        folder: Path,
        root: Path,
        weights: str | None,
        forked: Path | None = None,
    ) -> None:
        self.folder, self.root, self.dist = folder, root, environment.dist
        home = folder.parent / "home"
        home.mkdir()
        self.env = shell_of(environment, home)
        if weights:
            self.env["PUSHPULL_WEIGHTS_PATH"] = weights
        self._python: subprocess.Popen[str] | None = None
        self._interpreter = [str(environment.python), str(INTERPRETER)]
        self._before = ""
        if forked is not None:
            self._interpreter = [str(forked / "blocks")]
            self._before = f"{forked}:"

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        if self._python is not None:
            with self._python:
                # The end of its input is the end of its work.
                pass

    def read(self, block: Block) -> str:
        """Do what a block says; what it printed.

        Raises:
            AssertionError: If it fails, or prints other things than the page says.
        """
        if block.file is not None:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code + "\n")
            return ""
        if block.language == "python":
            printed = self._run_python(block)
        elif "server" in block.needs:
            printed = self._run_server(block)
        else:
            printed = self._run_shell(block)
        if block.prints is not None:
            line = unsaid(block.prints, printed)
            assert line is None, f"{block.where} shows\n{line}\nwhich is not in\n{printed}"
        return printed

    def _run_shell(self, block: Block) -> str:
        env = {**self.env, "PATH": self._before + self.env["PATH"]}
        folder = self.folder
        if "checkout" in block.needs:
            folder = self.root
            # The suite runs inside such a command: here make only says what it would do.
            env["MAKEFLAGS"] = "--dry-run"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            cwd=folder,
            env=env,
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_S,
        )
        assert done.returncode == 0, f"{block.where} ends with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def _run_server(self, block: Block) -> str:
        # One at a time: servers of several pages would want the same port.
        lock = self.dist / "server.lock"
        command = ["bash", "-euo", "pipefail", "-c", f"exec {block.title}"]
        with (
            only_one(lock),
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.env,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as server,
        ):
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split("#")[0].strip()
                assert address.startswith("http://"), f"{block.where} says {address!r}"
                assert answers(address), f"{block.where}: nobody answers at {address}"
                os.killpg(server.pid, signal.SIGINT)
                code = server.wait(30)
                assert code in (0, 130), f"{block.where} ends with {code}"
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, signal.SIGKILL)
        return address

    def _run_python(self, block: Block) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                self._interpreter,
                cwd=self.folder,
                env=self.env,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps({"code": block.code, "name": block.where}) + "\n")
        self._python.stdin.flush()
        line = self._python.stdout.readline()
        assert line, f"{block.where}: the interpreter ended"
        answer = json.loads(line)
        assert answer["error"] is None, f"{block.where}:\n{answer['printed']}{answer['error']}"
        return str(answer["printed"])
