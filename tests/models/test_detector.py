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
from pushpull.errors import CheckpointError, ConfigError, GradientError, UnknownName
from pushpull.losses import cross_entropy
from pushpull.models.checkpoints import save
from pushpull.models.detector import SOUNDS, raised_where
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


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (lambda x: x[..., 0].sigmoid(), r"returned probabilities \(its last step is a sigmoid\)"),
        (lambda x: x[..., :1].sigmoid().squeeze(2), r"last step is a sigmoid"),
        (lambda x: x.softmax(2)[..., 1], r"last step is a softmax"),
        (lambda x: x.softmax(2), r"both classes sum to 1"),
        (lambda x: torch.stack([1 - x[..., 0].sigmoid(), x[..., 0].sigmoid()], 2), r"sum to 1"),
    ],
)
def test_probabilities_are_no_log_odds_and_refused(last, says):
    with pytest.raises(ConfigError, match=says) as raised:
        pp.Detector.wrap(Ending(last))
    assert "torch.logit" in str(raised.value)


@pytest.mark.parametrize(
    "last",
    [
        lambda x: x.log_softmax(2),
        lambda x: x[..., 0].sigmoid().logit(),
        lambda x: 2 * x[..., 0].sigmoid() - 1,
        lambda x: x[..., 0].tanh(),
    ],
)
def test_what_is_signed_is_taken(last):
    assert pp.Detector.wrap(Ending(last)).name == "Ending"


class Ending(nn.Module):
    """Two numbers a frame, and a last step."""

    def __init__(self, last):
        super().__init__()
        self.see, self.last = nn.Linear(112 * 112, 2), last

    def forward(self, waveform, faces):
        return self.last(self.see(faces.flatten(2) / 255))


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_is_given_its_own_type(kind):
    batch = Batch.from_clips([clip(8, 1), clip(5, 2)])
    for sound in SOUNDS:
        torch.manual_seed(0)
        module = Ending(lambda x: x)
        score = pp.Detector.wrap(module, sound=sound)(**batch.inputs).score
        detector = pp.Detector.wrap(module.to(kind), sound=sound)
        assert torch.allclose(detector(**batch.inputs).score, score, atol=0.05)
        assert detect_clip(detector, clip(8, 1)).score.shape == (1, 8)
    found = pp.attack(detector, batch, "pgd", eps=5, steps=2)
    assert found.linf["visual"].min() > 0


class WritesIntoItsInput(nn.Module):
    """Scales in place, as many models do."""

    def __init__(self):
        super().__init__()
        self.see = nn.Linear(112 * 112, 1)

    def forward(self, heard, faces):
        faces /= 255
        heard -= heard.mean()
        return self.see(faces.flatten(-2)).flatten(2).mean(2) + heard.sum()


@pytest.mark.parametrize("colour", [False, True])
def test_a_model_may_write_into_what_it_is_given(colour):
    detector = pp.Detector.wrap(WritesIntoItsInput(), colour=colour)
    batch = Batch.from_clips([clip(6, 1), clip(6, 2)])
    waveform, faces = batch.waveform.clone(), batch.faces.clone()
    first = detector(**batch.inputs)
    assert torch.equal(batch.waveform, waveform)
    assert torch.equal(batch.faces, faces)
    assert torch.equal(detector(**batch.inputs).score, first.score)
    found = pp.attack(detector, batch, "pgd", eps=5, modality="visual", steps=3)
    assert torch.allclose(found.score, detector(**found.batch.inputs).score, atol=1e-5)


class WritesOverItsGradient(nn.Module):
    def forward(self, heard, faces):
        seen = (faces / 255).exp()
        score = (seen * seen).mean((2, 3))
        seen += 1
        return score


def test_a_model_that_writes_over_what_its_gradient_needs_is_told_so():
    batch = Batch.from_clips([clip(6, 1)])
    with pytest.raises(GradientError, match=r"cannot be differentiated .* in place on what"):
        pp.attack(pp.Detector.wrap(WritesOverItsGradient()), batch, "fgsm")


class OnlySomeLengths(nn.Module):
    def forward(self, waveform, faces):
        if faces.shape[1] != 25:
            raise RuntimeError(f"only 25 frames,\nnot {faces.shape[1]}")
        return faces.mean((2, 3)) - 128


def test_a_model_that_fails_later_is_named_with_what_it_was_given(tmp_path):
    detector = pp.Detector.wrap(OnlySomeLengths())
    assert detector(**Batch.from_clips([clip(25, 1)]).inputs).score.shape == (1, 25)
    says = (
        r"OnlySomeLengths failed on a waveform \(1, 3840\) and faces \(1, 6, 112, 112\): "
        r"RuntimeError: only 25 frames, not 6, line \d+ of test_detector\.py; expected"
    )
    with pytest.raises(ConfigError, match=says):
        detector(**Batch.from_clips([clip(6, 1)]).inputs)
    with pytest.raises(ConfigError, match=says):
        pp.attack(detector, Batch.from_clips([clip(6, 1)]), "fgsm")
    found = pp.attack(detector, Batch.from_clips([clip(25, 1)]), "fgsm")
    assert found.score.shape == (1, 25)


class MixesClips(nn.Module):
    """A recurrent layer that takes the clips for the time, or a mean over padding and all."""

    def __init__(self, how):
        super().__init__()
        self.how, self.see, self.out = how, nn.Linear(112 * 112, 4), nn.GRU(4, 2)

    def forward(self, waveform, faces, mask=None):
        seen = self.see(faces.flatten(2) / 255)
        if self.how == "clips":
            return self.out(seen)[0]
        return (seen - seen.mean(1, keepdim=True))[..., 0]


@pytest.mark.parametrize(("how", "takes_mask"), [("clips", False), ("padding", True)])
def test_a_model_that_mixes_clips_is_shown_them_one_by_one(how, takes_mask):
    torch.manual_seed(0)
    detector = pp.Detector.wrap(MixesClips(how), takes_mask=takes_mask).eval()
    clips = [clip(9, 1), clip(9 if how == "clips" else 4, 2)]
    together = detector(**Batch.from_clips(clips).inputs).score
    for row, one in zip(together, clips, strict=True):
        alone = detector(**Batch.from_clips([one]).inputs).score[0]
        assert torch.allclose(row[: len(alone)], alone, atol=1e-6)
    assert detector.one_by_one
    assert not pp.Detector.wrap(Ending(lambda x: x)).one_by_one


class Normed(nn.Module):
    """In train mode, as a new module is, it says something else."""

    def __init__(self):
        super().__init__()
        self.see, self.norm = nn.Linear(112 * 112, 2), nn.BatchNorm1d(2)

    def forward(self, waveform, faces):
        return self.norm(self.see(faces.flatten(2) / 255).transpose(1, 2)).transpose(1, 2)


def test_every_verb_works_in_eval_mode_and_leaves_the_mode(dataset, talking, tmp_path):
    torch.manual_seed(0)
    detector = pp.Detector.wrap(Normed())

    def results(folder):
        live = pp.detection.Live(detector, face_finder="dlib", lookahead_s=0.2)
        yield [t.scores.tolist() for t in pp.detect(talking, detector, face_finder="dlib").tracks]
        yield pp.evaluate(detector, dataset, split="train", limit=3).clean.score.tolist()
        yield pp.attack_video(
            talking, detector, "fgsm", face_finder="dlib"
        ).clean.as_found.score.tolist()
        live.push_audio(torch.zeros(16000).numpy(), 0.0)
        said = []
        for k, frame in enumerate(pp.media.read_frames(talking)):
            said += live.push_video(frame.rgb(), frame.time_s)
            if k == 12:
                break
        yield [one.score for one in said + live.close()]

    assert detector.training
    assert detector.module.norm.training
    new = list(results("new"))
    assert detector.module.norm.num_batches_tracked == 0
    assert detector.training
    assert detector.module.norm.training
    detector.eval()
    assert new == list(results("eval"))


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


def test_the_users_line_is_told_whatever_the_folder_is_called(tmp_path) -> None:
    file = tmp_path / "pushpull" / "mine.py"
    with pytest.raises(ValueError, match="odd") as caught:
        exec(compile("\n\nraise ValueError('odd')", str(file), "exec"))
    assert raised_where(caught.value) == "ValueError: odd, line 3 of mine.py"
