"""What works without the packages of the extras, and what those that need one say."""

import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXTRAS = {
    "train": ("lightning", "tensorboard"),
    "app": ("starlette", "uvicorn"),
    "export": ("onnx", "onnxruntime"),
    "cluster": ("ray",),
}
OF_EXTRAS = {"pushpull.app.middleware", "pushpull.app.server"}
"""Modules that cannot be imported without an extra; only `pushpull.app.serve` imports them."""

SCRIPT = Path(__file__).parents[1] / "support" / "blocked.py"


def without(extras, *arguments):
    """Run `pushpull ...` where the packages of some extras cannot be imported."""
    packages = ",".join(name for extra in extras for name in EXTRAS[extra])
    return subprocess.run(
        [sys.executable, str(SCRIPT), packages, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_extras_are_those_of_the_distribution(extra) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["optional-dependencies"]
    assert {name.split(">")[0] for name in declared[extra]} == set(EXTRAS[extra])
    assert extra in declared["all"][0]


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("train", ["train", "talknet", "data.root=none"]),
        ("app", ["app", "--port", "0"]),
        ("export", ["export", "synthetic-a"]),
        ("cluster", ["data", "ava", "{ava}", "--out", "{out}", "--engine", "ray"]),
    ],
)
def test_what_needs_an_extra_says_how_to_get_it(extra, arguments, tmp_path) -> None:
    from pushpull.data.ava import write_synthetic_ava

    if extra == "cluster":
        write_synthetic_ava(tmp_path / "ava", videos=2, duration_s=0.5, size=(160, 120))
    places = {"ava": tmp_path / "ava", "out": tmp_path / "out"}
    done = without([extra], *(word.format(**places) for word in arguments))
    assert done.returncode == 1
    assert f"pip install 'pushpull-asd[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_all_other_modules_are_imported_without_any() -> None:
    import pushpull

    root = Path(pushpull.__file__).parent
    modules = [
        ".".join(("pushpull", *path.relative_to(root).with_suffix("").parts))
        for path in sorted(root.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    assert set(modules) > OF_EXTRAS
    blocked = [name for packages in EXTRAS.values() for name in packages]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({blocked}))\n"
        f"for name in {[m for m in modules if m not in OF_EXTRAS]}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_core_works_without_any(talking, dataset, tmp_path) -> None:
    out = tmp_path / "out"
    found = {
        "detect": ["detect", talking, "--face-finder", "dlib", "--video", "none"],
        "attack": ["attack", talking, "--face-finder", "dlib", "--steps", 1],
        "evaluate": ["evaluate", "synthetic-a", dataset, "--split", "train", "--limit", 3],
    }
    detector = {"detect": ["-d", "synthetic-a"], "attack": ["-d", "synthetic-a"]}
    for name, arguments in found.items():
        done = without(EXTRAS, *arguments, *detector.get(name, []), "--out", out / name)
        assert done.returncode == 0, done.stderr
    csv = [out / "evaluate" / "truth.csv", out / "evaluate" / "clean.csv"]
    assert without(EXTRAS, "score", *csv).returncode == 0
