"""The front door: eight names, lazily, whatever was imported before."""

import subprocess
import sys

import pytest

import pushpull

NAMES = sorted(set(pushpull.__all__) - {"__version__"})


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_front_door_has_the_names_of_the_verbs():
    assert NAMES == [
        "Detector", "attack", "attack_video", "audit", "detect", "evaluate", "load", "train",
    ]  # fmt: skip


def test_every_name_is_callable_after_any_submodule_was_imported():
    """A submodule of the name would take its place in the package."""
    code = (
        "import importlib, pkgutil, pushpull\n"
        "for found in list(pkgutil.walk_packages(pushpull.__path__, 'pushpull.')):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        importlib.import_module(found.name)\n"
        "wrong = [n for n in pushpull.__all__[:] if n != '__version__' "
        "and not callable(getattr(pushpull, n))]\n"
        "print(wrong)"
    )
    assert run(code) == "[]"


@pytest.mark.parametrize("name", ["Detector", "audit"])
def test_a_name_can_be_imported_first_of_all(name):
    assert run(f"from pushpull import {name}; print(callable({name}))") == "True"


def test_importing_the_package_imports_neither_torch_nor_numpy():
    code = "import sys, pushpull; print([m for m in ('torch', 'numpy', 'av') if m in sys.modules])"
    assert run(code) == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'defend'"):
        _ = pushpull.defend
    assert "detect" in dir(pushpull)
