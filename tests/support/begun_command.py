"""A process of its own in which the command has begun and ended, as a shell begins it."""

import subprocess
import sys

COMMAND = """
import gc, os, sys
from pushpull.cli import main
assert "torch" not in sys.modules
sys.argv = ["pushpull", "--version"]
try:
    main()
except SystemExit:
    print({what})
"""


def after_the_command(what, **options):
    """What such a process prints of an expression, word by word."""
    code = COMMAND.format(what=what)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()
