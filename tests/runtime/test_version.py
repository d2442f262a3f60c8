"""Results say what they were made with, and saying so imports nothing."""

import subprocess
import sys
from importlib.metadata import version

import pytest
import torch

from pushpull.runtime import version as module
from pushpull.runtime.version import __version__, versions


def test_versions_are_those_of_what_runs_here():
    found = versions()
    assert found["pushpull"] == __version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"] == torch.__version__ == version("torch")


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "VERSIONED", ("torch", "no-such-package"))
    assert list(versions()) == ["pushpull", "python", "torch"]


def test_nothing_is_imported_for_it():
    code = (
        "import sys; from pushpull.runtime.version import versions; versions(); "
        "sys.exit(bool({'torch', 'numpy', 'av', 'cv2', 'dlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
