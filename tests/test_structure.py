"""What a stranger counts on: rooms, names, and an example for everything that is public."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from collections import Counter
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import get_origin

import pytest
import typer

import pushpull
from pushpull.cli import app

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SOURCE = Path(pushpull.__file__).parent

MOST_ROOMS = 24
MACHINE_FOLDER = re.compile(r"(?<![\w.:/])/(?:tmp|work|root|home|Users)/[\w.-]*")
"""Folders that only one machine has."""
FORBIDDEN_MODULES = {
    "acts", "again", "battery", "bench", "choices", "guard", "limits", "lookalike", "memory",
    "stretches", "survival", "utils", "victims", "views",
}  # fmt: skip
ONCE = ("Progress", "Report", "Scores")

WITHOUT_EXAMPLE = {
    "pushpull.app.serve.serve": "serves until it is stopped",
    "pushpull.app.server.build_app": "starts processes that end with the server",
    "pushpull.cli.demo.reachable_detector": "may fetch weights",
    "pushpull.cli.demo.run_demo": "may fetch weights",
    "pushpull.cli.main": "ends the process",
    "pushpull.reproduce.jobs.audit_row": "a stage: `reproduce` runs it",
    "pushpull.reproduce.jobs.embeddings": "a stage: `reproduce` runs it",
    "pushpull.reproduce.jobs.geometry": "a stage: `reproduce` runs it",
    "pushpull.reproduce.jobs.sample": "a stage: `reproduce` runs it",
    "pushpull.reproduce.jobs.train_row": "a stage: `reproduce` runs it",
    "pushpull.reproduce.summary.summarise": "of stages that are done: `reproduce` calls it",
}
"""Functions and classes that need no example, each with the reason; commands need none, since their
docstrings are the help that a terminal shows."""

OF_SEVERAL_MODULES = {
    "test_cluster.py": "whatever can be done on a cluster, on one",
    "test_docs.py": "the documentation, run",
    "test_init.py": "is about the face of the package",
    "test_fuzz.py": "spoilt inputs for the package, a few of each kind",
    "test_structure.py": "is about the package as a whole",
    "reproduce/test_published.py": "the page of results",
    "attacks/test_linear_optimum.py": "every attack against an optimum known in closed form",
    "attacks/test_peers.py": "every attack against other libraries",
    "attacks/test_real_detectors.py": "every attack on published weights",
    "attacks/test_scenarios.py": "threat models of several modules together",
    "models/test_bad_weights.py": "what a user sees of weights that cannot be used",
    "models/test_detector_laws.py": "laws that every detector obeys",
    "models/test_light_and_lr_asd.py": "two modules with one build and one reference",
    "detection/test_cases.py": "whole videos against right answers that lie beside the project",
    "cli/test_hostile_files.py": "what every command on videos does with bad files",
    "cli/test_nothing_lost.py": "what every command leaves of the user's files",
    "cli/test_extras.py": "what is there without the packages of the extras",
    "app/test_browser.py": "the pages in a browser, through the whole app",
}
"""Test modules that mirror no module, each with the reason."""


def public_modules() -> list[str]:
    found = pkgutil.walk_packages(pushpull.__path__, "pushpull.")
    names = [module.name for module in found]
    return ["pushpull"] + [n for n in names if not any(p.startswith("_") for p in n.split("."))]


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def public_names(module: ModuleType) -> list[str]:
    """What a module shows; a package may show nothing, a module says what it does."""
    return list(getattr(module, "__all__", ()) if hasattr(module, "__path__") else module.__all__)


def needs_example(thing: object) -> bool:
    """Whether this is a function or a class; aliases of types and constants are neither.

    An example adds nothing to an enumeration whose docstring says all its values.
    """
    if inspect.isclass(thing) and issubclass(thing, Enum):
        said = re.findall(r"[\w-]+", thing.__doc__ or "")
        return not {str(member.value) for member in thing} <= set(said)
    kinds = inspect.isfunction(thing) or inspect.isclass(thing) or hasattr(thing, "cache_info")
    return kinds and get_origin(thing) is None


def commands_of(command):
    """A command and all below it."""
    yield command
    for one in getattr(command, "commands", {}).values():
        yield from commands_of(one)


COMMANDS = {
    inspect.unwrap(command.callback)
    for command in commands_of(typer.main.get_command(app))
    if command.callback is not None
}
"""Functions that are commands."""


@pytest.mark.parametrize("module", public_modules())
def test_every_public_name_is_documented_with_an_example(module):
    loaded = importlib.import_module(module)
    assert (loaded.__doc__ or "").strip(), f"{module} has no docstring"
    things = {name: getattr(loaded, name) for name in public_names(loaded)}
    lacking = [
        name
        for name, thing in things.items()
        if needs_example(thing)
        and thing not in COMMANDS
        # `Examples:` is a section that documentation tools know; a bare prompt is a quotation.
        and not re.search(r"Examples:\n\s+>>> ", thing.__doc__ or "")
        and f"{thing.__module__}.{name}" not in WITHOUT_EXAMPLE
    ]
    assert lacking == []


def test_no_exemption_is_left_over():
    for path in WITHOUT_EXAMPLE:
        module, _, name = path.rpartition(".")
        assert name in importlib.import_module(module).__all__, path
        assert ">>>" not in (getattr(importlib.import_module(module), name).__doc__ or ""), path


def test_rooms_are_few():
    rooms = {room_of(module) for module in public_modules()} - {"pushpull"}
    assert len(rooms) <= MOST_ROOMS


def test_no_module_has_a_word_of_our_own_for_a_name():
    named = {path.stem for path in sources()} | {path.parent.name for path in sources()}
    assert named & FORBIDDEN_MODULES == set()


def test_words_for_results_mean_one_thing():
    classes = Counter(
        node.name
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert {name: classes[name] for name in ONCE if classes[name] > 1} == {}


def test_a_detector_is_never_a_face_finder():
    for path in (SOURCE / "detection" / "face_finders").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg):
                assert "detector" not in node.arg, f"{path.name}: {node.arg}"
    for command in commands_of(typer.main.get_command(app)):
        for parameter in command.params:
            if "--detector" in parameter.opts:
                assert "face" not in (parameter.help or "").lower(), command.name


def test_every_test_module_mirrors_a_module_or_a_command():
    commands = {f"cli/test_{name}.py" for name in typer.main.get_command(app).commands}
    strays = []
    for path in sorted(TESTS.rglob("test_*.py")):
        relative = path.relative_to(TESTS)
        if relative.as_posix() in OF_SEVERAL_MODULES or relative.as_posix() in commands:
            continue
        name = path.stem.removeprefix("test_")
        place = SOURCE / relative.parent
        mirrored = [place / f"{name}.py", place / f"__{name}__.py", place / name / "__init__.py"]
        # A room's own test is about what it shows to the others.
        if not any(p.is_file() for p in mirrored) and place.name != name:
            strays.append(relative.as_posix())
    assert strays == []


def test_no_exception_from_mirroring_is_left_over():
    assert [name for name in OF_SEVERAL_MODULES if not (TESTS / name).is_file()] == []


def test_no_page_or_result_names_a_folder_of_a_machine():
    kinds = ["*.csv", "*.html", "*.json", "*.md", "*.toml", "*.yml"]
    line = ["git", "-C", str(ROOT), "ls-files", "-z", *kinds]
    listed = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name]
    assert "docs/results/results.json" in names
    found = {
        f"{name}: {match[0]}"
        for name in names
        for match in MACHINE_FOLDER.finditer((ROOT / name).read_text(encoding="utf-8"))
    }
    assert found == set()


def takes_only_path(annotation: object) -> bool:
    return "Path" in str(annotation) and "PathLike" not in str(annotation)


@pytest.mark.parametrize(
    "room",
    sorted({room_of(m) for m in public_modules()}),
)
def test_a_path_may_be_text_or_any_path(room):
    """What a room shows takes `str | PathLike[str]`, never only `Path`."""
    loaded = importlib.import_module(f"pushpull.{room}" if room != "pushpull" else room)
    lacking = []
    for name in getattr(loaded, "__all__", []):
        thing = getattr(loaded, name)
        made_by_us = inspect.isclass(thing) and not hasattr(thing, "__dataclass_fields__")
        function = thing.__init__ if made_by_us else thing
        if inspect.isfunction(function):
            lacking += [
                f"{name}({parameter})"
                for parameter, annotation in function.__annotations__.items()
                if parameter != "return" and takes_only_path(annotation)
            ]
    assert lacking == []
