"""Models by the place of their code, as a user names them on the command line."""

import sys

import pytest
import torch
from torch import nn

import pushpull as pp
from pushpull.errors import CheckpointError, ConfigError
from pushpull.models.factories import from_factory, is_factory

MODEL = """
import torch
from torch import nn
from parts import scale

class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(scale))

    def forward(self, waveform, faces):
        return self.weight * faces.mean((2, 3))

def plain():
    return Mean()

def small():
    import pushpull
    return pushpull.Detector.wrap(Mean(), face_size=32, name="small mean")

def number():
    return 3

def broken():
    return Mean().nothing

def picky(size):
    return Mean()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with my_model.py and what it imports; the process stands in it."""
    (tmp_path / "parts.py").write_text("scale = 0.5\n")
    (tmp_path / "my_model.py").write_text(MODEL)
    (tmp_path / "wrong.py").write_text("def build(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("parts", "my_model"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("my_model.py:build", True),
        ("a folder/my_model.py:build", True),
        ("package.module:Build", True),
        ("my_model.py:build@run/best.safetensors", True),
        ("light-asd-ava", False),
        ("weights/best.safetensors", False),
        ("C:/weights/best.safetensors", False),
        ("my_model.py", False),
        ("my_model.py:", False),
        ("my_model.py:a-b", False),
    ],
)
def test_what_names_a_factory(text, is_one):
    assert is_factory(text) is is_one


@pytest.mark.parametrize("source", ["my_model.py:plain", "my_model:Mean", "./my_model.py:small"])
def test_a_factory_in_a_file_or_module_makes_a_detector(folder, source):
    detector = pp.load(source)
    assert not detector.training
    assert detector.card.name == source.removeprefix("./")
    assert detector(torch.zeros(1, 6400), torch.full((1, 10, 112, 112), 8.0)).score.unique() == 4.0


def test_the_same_weights_in_other_code_are_another_detector(folder):
    before = pp.load("my_model.py:plain").card.sha256
    assert pp.load("my_model.py:plain").card.sha256 == before
    (folder / "my_model.py").write_text(MODEL.replace("faces.mean", "-faces.mean"))
    assert pp.load("my_model.py:plain").card.sha256 != before


def test_weights_come_from_a_checkpoint_of_the_module_or_the_detector(folder):
    torch.save({"weight": torch.tensor(2.0)}, "bare.pt")
    torch.save({"weight": torch.zeros(3)}, "wide.pt")
    torch.save({"weights": torch.tensor(2.0)}, "other.pt")
    assert pp.load("my_model.py:plain@bare.pt").module.weight == 2.0
    with pytest.raises(CheckpointError, match="of another shape"):
        pp.load("my_model.py:plain@wide.pt")
    with pytest.raises(CheckpointError, match="1 missing"):
        pp.load("my_model.py:plain@other.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        pp.load("my_model.py:plain@absent.pt")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("absent.py:build", r"absent\.py: no such file; expected FILE\.py:FACTORY"),
        ("absent:build", "absent: no such module"),
        ("my_model.py:bild", r"holds no callable bild; it has Mean, broken, number, picky, plain"),
        ("my_model.py:number", "returned a int; expected a pushpull.Detector"),
        ("my_model.py:broken", r"failed \(AttributeError: .*nothing.*line 25 of my_model\.py"),
        ("my_model.py:picky", r"failed \(TypeError: .*; expected a callable without arguments"),
        ("wrong.py:build", r"wrong\.py: cannot be run \(SyntaxError: .*line 1"),
    ],
)
def test_what_cannot_be_used_says_why_and_where(folder, source, says):
    with pytest.raises(ConfigError, match=says):
        from_factory(source)


def test_a_detector_stays_what_it_is():
    detector = pp.load("synthetic-a")
    assert pp.load(detector) is detector
    with pytest.raises(ConfigError, match="the detector is a int"):
        pp.load(3)
    with pytest.raises(ConfigError, match="a plain torch module"):
        pp.load(nn.Linear(1, 1))
