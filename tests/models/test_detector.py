"""Models of one's own as detectors: through every verb, and laws of the wrapping."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.foreign_model import LipsAndLoudness, build
from torch import nn

import pushpull as pp
from pushpull.attacks import transfer
from pushpull.auditing import TINY
from pushpull.defences import defend
from pushpull.errors import CheckpointError, ConfigError, UnknownName
from pushpull.losses import cross_entropy
from pushpull.models.checkpoints import save
from pushpull.models.detector import SOUNDS
from pushpull.models.streaming import detect_clip
from pushpull.schema import Batch, Clip
from pushpull.training.config import build_config

SOURCE = Path(__file__).parents[1] / "support" / "foreign_model.py"


def clip(frames: int, seed: int, fps: float = 25.0) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    samples = round(frames / fps * 16000)
    return Clip(
        waveform=(0.1 * torch.randn(samples, generator=generator)).clamp(-1, 1),
        faces=255 * torch.rand(frames, 112, 112, generator=generator),
        fps=fps,
        speaking=torch.randint(0, 2, (frames,), generator=generator),
    )


@pytest.fixture
def mine():
    return build()


def test_a_foreign_model_detects_and_is_attacked_on_video(mine, talking, tmp_path):
    found = pp.detect(talking, mine, face_finder="dlib")
    assert found.settings["detector"] == "LipsAndLoudness"
    assert len(found.tracks[0].scores) == 25
    attacked = pp.attack_video(talking, mine, "pgd", eps=40, steps=2, face_finder="dlib")
    clean, found = attacked.clean.as_found, attacked.asked.as_found
    signs = 2 * clean.truth - 1
    assert (found.score * signs).mean() < (clean.score * signs).mean()


def test_a_foreign_model_is_attacked_transferred_from_and_defended(mine):
    batch = Batch.from_clips([clip(8, 1), clip(5, 2)])
    found = pp.attack(mine, batch, "pgd", eps=100, steps=5)
    assert found.linf["audio"].max() > 0
    assert found.linf["visual"].max() > 0
    moved = cross_entropy(mine(**found.batch.inputs).logits, batch.speaking)[batch.mask]
    still = cross_entropy(mine(**batch.inputs).logits, batch.speaking)[batch.mask]
    assert moved.mean() > still.mean()
    other = pp.load("synthetic-a")
    assert transfer(mine, other, batch, "fgsm", eps=5).score.shape == (2, 8)
    assert transfer(other, mine, batch, "fgsm", eps=5).score.shape == (2, 8)
    for name in ("smoothed", "purified"):
        assert defend(mine, name)(**batch.inputs).logits.isfinite().all()


def test_a_foreign_model_is_evaluated_and_audited(mine, dataset, tmp_path):
    scores = pp.evaluate(mine, dataset, split="train", attack="fgsm", eps=5, limit=4)
    assert scores.clean.tracks == 4
    verdict = pp.audit(
        mine, dataset, split="train", out=tmp_path / "audit", config=TINY,
        surrogates=["synthetic-a"],
    )  # fmt: skip
    assert verdict.as_dict()["verdict"]["word"]
    not_run = json.dumps(verdict.as_dict()["tests"])
    assert "no embeddings" in not_run


def test_a_foreign_model_learns_and_its_weights_come_back(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = f"{SOURCE}:build"
    config = build_config(
        {
            "data": {"root": str(dataset), "val": "train", "limit": 4, "augment": False},
            "model": {"name": spec},
            "optim": {"epochs": 2, "lr": 1e-3},
            "run": {"out": "run", "device": "cpu"},
        }
    )
    trained = pp.train(config)
    assert "no heads" in trained.notes[0]
    back = pp.load(f"{spec}@{trained.best}")
    assert back.card.name == "foreign_model.py:build@best.safetensors"
    fresh = pp.load(spec)
    assert back.card.sha256 != fresh.card.sha256
    assert not torch.equal(back.state_dict()["module.judge.bias"], fresh.module.judge.bias)
    with pytest.raises(CheckpointError, match=r"FILE\.py:FACTORY@"):
        pp.load(trained.best)


def test_a_foreign_model_runs_from_the_command_line(dataset, talking, tmp_path):
    (tmp_path / "my_model.py").write_text(SOURCE.read_text())
    spec = "my_model.py:build"
    for arguments in (
        ["detect", str(talking), "--detector", spec, "--face-finder", "dlib", "--video", "none"],
        ["evaluate", spec, str(dataset), "--split", "train", "--limit", "2", "--attack", "fgsm"],
        ["attack", str(talking), "-d", spec, "-a", "fgsm", "--face-finder", "dlib"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pushpull", *arguments], cwd=tmp_path, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "pushpull-out" / "talking.json").read_text())
    assert record["settings"]["detector"] == "my_model.py:build"


class Constant(nn.Module):
    """Returns what it was given, whatever it sees."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, sound, faces):
        return self.answer(*faces.shape[:2])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda b, t: torch.zeros(b * t, 2), r"returned \(25, 2\) .* keep clips and frames apart"),
        (lambda b, t: torch.zeros(b, t, 1), r"returned \(1, 25, 1\) .* squeeze its last axis"),
        (lambda b, t: torch.zeros(b, t, 3), r"returned \(1, 25, 3\)"),
        (lambda b, t: torch.zeros(b, t + 1), r"returned \(1, 26\)"),
        (lambda b, t: torch.zeros(b, t, dtype=torch.int64), r"returned torch.int64"),
        (lambda b, t: (torch.zeros(b, t), None), r"returned a tuple of 2"),
        (lambda b, t: {"logits": torch.zeros(b, t)}, r"returned a dict of logits"),
        (lambda b, t: None, r"returned a NoneType"),
        (lambda b, t: torch.zeros(2) @ torch.zeros(3), r"failed on a waveform .* RuntimeError"),
    ],
)
def test_another_answer_is_refused_before_any_work(answer, says):
    with pytest.raises(ConfigError, match=says) as raised:
        pp.Detector.wrap(Constant(answer))
    assert "expected" in str(raised.value)


def test_what_is_no_module_or_setting_is_refused():
    with pytest.raises(ConfigError, match="what is wrapped is a function"):
        pp.Detector.wrap(lambda waveform, faces: faces.mean((2, 3)))
    with pytest.raises(UnknownName, match="unknown sound 'mel'"):
        pp.Detector.wrap(LipsAndLoudness(), sound="mel")
    with pytest.raises(ConfigError, match="face_size is 0"):
        pp.Detector.wrap(LipsAndLoudness(), face_size=0)
    with pytest.raises(ConfigError, match=r"give pushpull\.Detector\.wrap"):
        pp.load(LipsAndLoudness())
    with pytest.raises(TypeError, match="abstract"):
        pp.Detector()


class Mean(nn.Module):
    """The mean of what it sees and hears in each frame: padding would show."""

    def __init__(self, sound):
        super().__init__()
        self.sound, self.weight = sound, nn.Parameter(torch.tensor(0.01))

    def forward(self, heard, faces):
        seen = self.weight * faces.mean((2, 3))
        loud = heard.flatten(1).square().mean(1, keepdim=True)
        return torch.stack([seen.cumsum(1), seen * loud], 2)


@pytest.mark.parametrize("sound", sorted(SOUNDS))
@given(
    frames=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    fps=st.sampled_from([12.5, 25.0, 29.97]),
)
def test_a_clip_in_a_batch_or_in_windows_scores_as_it_does_alone(sound, frames, fps):
    detector = pp.Detector.wrap(Mean(sound).double(), sound=sound, face_size=16)
    clips = [clip(n, i, fps=25.0 if i else fps) for i, n in enumerate(frames)]
    batch = Batch.from_clips(clips)
    inputs = batch.inputs | {"waveform": batch.waveform.double(), "faces": batch.faces.double()}
    together = detector(**inputs).score
    for i, one in enumerate(clips):
        alone = detector(one.waveform.double()[None], one.faces.double()[None], fps=one.fps).score[
            0
        ]
        assert torch.allclose(together[i, : len(alone)], alone, rtol=0, atol=1e-9)
        assert torch.allclose(detect_clip(detector, one).score[0], alone, rtol=0, atol=1e-4)


def test_gradients_pass_the_resizing_and_the_front_end():
    for sound in SOUNDS:
        detector = pp.Detector.wrap(Mean(sound), sound=sound, face_size=50)
        one = clip(6, 0)
        waveform = one.waveform[None].requires_grad_()
        faces = one.faces[None].requires_grad_()
        detector(waveform, faces).score.sum().backward()
        assert (waveform.grad.abs() > 0).any()
        assert (faces.grad.abs() > 0).float().mean() > 0.9


def test_a_model_is_told_the_mask_and_the_rate():
    class Told(nn.Module):
        def forward(self, waveform, faces, *, mask, fps):
            self.seen = (mask, fps)
            return faces.mean((2, 3))

    module = Told()
    detector = pp.Detector.wrap(module, takes_mask=True, takes_fps=True)
    batch = Batch.from_clips([clip(4, 0), clip(2, 1, fps=20.0)])
    detector(**batch.inputs)
    mask, fps = module.seen
    assert torch.equal(mask, batch.mask)
    assert fps.tolist() == [25.0, 20.0]


def test_the_modules_mode_and_weights_stay(tmp_path):
    module = LipsAndLoudness().train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    detector = pp.Detector.wrap(module, face_size=48, colour=True)
    assert module.training
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    save(detector, tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").stat().st_size > 0


class _Listed(nn.Module):
    """Counts how often somebody goes on to the next of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(100))
        self.asked = 0

    def named_parameters(self, *args, **kwargs):
        for pair in super().named_parameters(*args, **kwargs):
            self.asked += 1
            yield pair

    def forward(self, waveform, faces):
        loud = waveform.unfold(1, 640, 640).square().mean(2)
        return 100 * loud[:, : faces.shape[1]] - 1


def test_where_it_is_is_known_without_listing_its_weights():
    module = _Listed()
    detector = pp.Detector.wrap(module)
    detector.named_parameters = module.named_parameters
    module.asked = 0
    assert detector.device == torch.device("cpu")
    assert detector.dtype == torch.float32
    assert module.asked <= 2
