"""Begins scripts in copies of a process that has imported what all of them need.

To import PyTorch takes two seconds of processor, and the pages begin more than a hundred commands.
One process (`serve`) imports it once. What stands on the path as `pushpull` hands its arguments,
folder, environment and the three standard files over (`ask`); a copy of that process runs the
script that pip installed, and who asked ends as that does. Of the package itself nothing is
imported before: each copy does that as a command from nothing does.

    python forked_commands.py serve SOCKET MODULE...    until its standard input ends
    python forked_commands.py ask SOCKET SCRIPT ARGUMENT...
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

LENGTH_BYTES = 8
PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def ask(path: str, script: str, arguments: list[str]) -> None:
    """Have a script run elsewhere as if it ran here, and end as it ended."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        wanted = {"argv": [script, *arguments], "cwd": str(Path.cwd()), "env": dict(os.environ)}
        request = json.dumps(wanted).encode()
        socket.send_fds(connection, [len(request).to_bytes(LENGTH_BYTES, "big")], [0, 1, 2])
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            number = int(answer.readline())
            for passed in PASSED_ON:
                signal.signal(passed, lambda received, frame: os.kill(number, received))
            line = answer.readline()
    if not line:
        sys.exit(f"{script}: nobody says how it ended")
    code = int(line)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    # Nothing is left to be tidied up, and nobody waits for it.
    os._exit(code)


def serve(path: str, modules: list[str]) -> list[str]:
    """Import modules and wait for who asks.

    Returns:
        In each copy, the arguments of what it is to run, script first; here, when the standard
        input has ended, none.
    """
    for module in modules:
        importlib.import_module(module)
    # What a copy never changes stays one page of memory for all.
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            readable, _, _ = select.select([listening, 0], [], [], 1.0)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if 0 in readable:
                return []
            if listening in readable:
                connection, _ = listening.accept()
                if os.fork() == 0:
                    listening.close()
                    return _begin(connection)
                connection.close()


def _begin(connection: socket.socket) -> list[str]:
    """Make a copy for one script and report its end; returns in that copy only."""
    head, files, _, _ = socket.recv_fds(connection, LENGTH_BYTES, 3)
    request = b""
    while len(request) < int.from_bytes(head, "big"):
        piece = connection.recv(1 << 16)
        if not piece:
            os._exit(1)
        request += piece
    number = os.fork()
    if number:
        for file in (0, 1, 2, *files):
            os.close(file)
        connection.sendall(b"%d\n" % number)
        _, status = os.waitpid(number, 0)
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    connection.close()
    wanted = json.loads(request)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    argv: list[str] = wanted["argv"]
    return argv


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        ask(*sys.argv[2:4], sys.argv[4:])
    elif argv := serve(sys.argv[2], sys.argv[3:]):
        sys.argv = argv
        sys.path[0] = str(Path(argv[0]).parent)
        # Its end, an exit code or an exception, is that of this process.
        runpy.run_path(argv[0], run_name="__main__")
