from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.small_detectors import ConvDetector, LinearDetector, SmallDetector, random_batch
from torch import Tensor

from pushpull.attacks import attack
from pushpull.attacks.search import Search, held_still
from pushpull.attacks.space import CropSpace
from pushpull.attacks.threat import MODALITIES, Threat
from pushpull.errors import GradientError
from pushpull.losses import Goal, build_objective
from pushpull.models.detector import Detector
from pushpull.schema import Batch, Output


def search_of(detector: Detector, batch: Batch, modality: str, objective: str = "all") -> Search:
    assert batch.speaking is not None
    return Search(
        detector,
        CropSpace(batch, Threat.of(5, modality=modality)),
        build_objective(objective, Goal(labels=batch.speaking)),
    )


def plain_gradients(detector: Detector, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the summed cross-entropy of all heads, by the whole detector, in eval mode."""
    x_a, x_v = batch.waveform.clone().requires_grad_(), batch.faces.clone().requires_grad_()
    output = detector(**replace(batch, waveform=x_a, faces=x_v).inputs)
    assert batch.speaking is not None
    labels = batch.speaking[output.mask]
    total = torch.zeros(())
    for weight, logits in ((1, output.logits), (0.4, output.logits_a), (0.4, output.logits_v)):
        assert logits is not None
        ce = torch.nn.functional.cross_entropy(logits[output.mask], labels, reduction="sum")
        total = total + weight * ce
    return torch.autograd.grad(total, (x_a, x_v))


@pytest.mark.parametrize("modality", MODALITIES)
def test_gradients_are_those_of_the_whole_detector_also_with_a_kept_encoder(modality: str) -> None:
    detector, batch = ConvDetector().eval(), random_batch()
    expected = dict(zip(("audio", "visual"), plain_gradients(detector, batch), strict=True))
    search = search_of(detector, batch, modality)
    with held_still(detector):
        for _ in range(2):
            _, gradients = search.gradient(search.start)
    assert set(gradients) == set(MODALITIES[modality])
    for name, gradient in gradients.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-6 * scale)


class CountingDetector(ConvDetector):
    """Counts the runs of its encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = {"audio": 0, "visual": 0}

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        self.runs["audio"] += 1
        return super().encode_audio(features, n_frames)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        self.runs["visual"] += 1
        return super().visual_local(faces, n_frames)


def test_a_probe_has_the_gradient_of_what_is_seen_and_is_never_the_best() -> None:
    detector, batch = ConvDetector().eval(), random_batch()
    search = search_of(detector, batch, "both")
    halved = {"audio": batch.waveform / 2, "visual": batch.faces / 2}
    expected = plain_gradients(
        detector, replace(batch, waveform=halved["audio"], faces=halved["visual"])
    )
    with held_still(detector):
        search.loss(search.start)
        seen = search.probe({k: x * 2 for k, x in halved.items()}, half)
    for found, gradient in zip(seen.values(), expected, strict=True):
        # Seen at half its size, so that the chain rule halves the gradient.
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found, gradient / 2, rtol=0, atol=1e-6 * scale)
    assert (search.forwards, search.backwards, len(search.curve)) == (2, 1, 1)
    assert torch.equal(search.best["visual"], batch.faces)


def half(batch: Batch) -> Batch:
    return replace(batch, waveform=batch.waveform / 2, faces=batch.faces / 2)


@pytest.mark.parametrize(
    ("modality", "audio", "visual"), [("audio", 6, 1), ("visual", 1, 6), ("both", 6, 6)]
)
def test_the_encoder_of_the_other_modality_runs_once(
    modality: str, audio: int, visual: int
) -> None:
    detector = CountingDetector()
    attacked = attack(detector, random_batch(), "pgd", modality=modality, steps=5)
    # Two more looks, at a few frames, tell that the detector is not random.
    assert detector.runs == {"audio": audio + 2, "visual": visual + 2}
    assert (attacked.forwards, attacked.backwards) == (6, 5)


def test_the_best_iterate_is_kept_clip_by_clip() -> None:
    detector = ConvDetector()
    # Steps as long as the ball is wide overshoot, in different clips at different times.
    attacked = attack(detector, random_batch((3, 2, 1, 3)), "bim", eps=200, alpha=400, steps=8)
    best = attacked.curve.amax(0)
    assert torch.equal(attacked.loss, best)
    assert not torch.equal(attacked.curve[-1], best)
    assert len(set(attacked.curve.argmax(0).tolist())) > 1


def test_restarts_never_weaken_an_attack() -> None:
    one, four = (
        attack(ConvDetector(), random_batch(), "pgd", eps=50, steps=3, n_restarts=n) for n in (1, 4)
    )
    assert bool((four.loss >= one.loss).all())
    assert torch.equal(four.curve[:4], one.curve)
    assert len(four.curve) == 16


def test_the_curve_is_the_mean_loss_of_valid_frames() -> None:
    detector, batch = LinearDetector(scale=0.02), random_batch((3, 1))
    attacked = attack(detector, batch, "bim", objective="margin")
    clean = detector(**batch.inputs)
    assert batch.speaking is not None
    lost = torch.where(batch.speaking == 1, -clean.score, clean.score)
    expected = torch.stack([lost[0].mean(), lost[1, 0]])
    torch.testing.assert_close(attacked.curve[0], expected)


class HalfDetector(ConvDetector):
    """Computes in bfloat16, as under autocast on a processor that can."""

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().encode_audio(features, n_frames)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().visual_local(faces, n_frames)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        with torch.autocast("cpu", torch.bfloat16):
            return super().fuse(e_a, e_v, n_frames)


class Forgetful(ConvDetector):
    """Gives no embeddings, so that both inputs are encoded for every query."""

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        return replace(super().fuse(e_a, e_v, n_frames), e_a=None, e_v=None)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_queries_that_move_one_modality_encode_that_one_alone(norm: str) -> None:
    batch, counting = random_batch(), CountingDetector()
    forgetful = Forgetful()
    forgetful.load_state_dict(counting.state_dict())
    found = attack(counting, batch, "square", eps=20, norm=norm, steps=40, seed=2)
    again = attack(forgetful, batch, "square", eps=20, norm=norm, steps=40, seed=2)
    for name, x in found.points.items():
        assert torch.equal(x, again.points[name])
    assert torch.equal(found.score, again.score)
    # One for both where it begins; what measures the clean batch comes besides.
    assert 41 <= sum(counting.runs.values()) <= 50


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("method", ["bim", "mim", "pgd", "apgd", "vmi-di", "square", "noise"])
def test_only_the_detector_is_in_half_precision(method: str, around: bool) -> None:
    detector, batch = HalfDetector(), random_batch()
    assert detector.eval()(**batch.inputs).logits.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=around):
        attacked = attack(detector, batch, method, steps=3)
    for value in (attacked.waveform, attacked.faces, attacked.loss, attacked.score):
        assert value.dtype == torch.float32
    assert float(attacked.linf["audio"].max()) <= 5e-4
    # A bfloat16 waveform has a spacing of 2^-8 near 1: no step of 1e-4 would be seen.
    assert float(attacked.linf["audio"].min()) > 4e-4


def test_an_attack_works_without_gradients_around_it() -> None:
    detector, batch = ConvDetector(), random_batch()
    expected = attack(detector, batch, "bim")
    with torch.no_grad():
        assert torch.equal(attack(detector, batch, "bim").faces, expected.faces)
    with torch.inference_mode():
        seen = replace(batch, faces=batch.faces.clone(), waveform=batch.waveform.clone())
        assert seen.faces.is_inference()
        assert torch.equal(attack(detector, seen, "bim").faces, expected.faces)


def test_the_adversary_carries_no_graph() -> None:
    attacked = attack(ConvDetector(), random_batch(), "apgd", steps=3)
    tensors = (attacked.waveform, attacked.faces, attacked.score, attacked.loss, attacked.curve)
    assert not any(t.requires_grad for t in tensors)


def test_recurrent_layers_compute_the_same_in_the_mode_that_cudnn_can_differentiate() -> None:
    detector, batch = ConvDetector(), random_batch()
    expected = detector.eval()(**batch.inputs).logits
    with held_still(detector):
        assert detector.over_time.training
        assert not detector.dropout.training
        torch.testing.assert_close(detector(**batch.inputs).logits, expected.detach())
    assert not detector.over_time.training


def test_a_detector_is_as_it_was_after_an_error() -> None:
    detector = Broken("backward", after=2).train()
    modes = {k: m.training for k, m in detector.named_modules()}
    with pytest.raises(GradientError):
        attack(detector, random_batch(), "bim")
    assert modes == {k: m.training for k, m in detector.named_modules()}
    assert all(p.requires_grad for p in detector.parameters())


class NanGradient(torch.autograd.Function):
    """The identity, with NaN for the gradient of the second clip."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[1] = torch.nan
        return gradient


class Broken(LinearDetector):
    """Breaks for clip 1 from some run of all clips on."""

    def __init__(self, how: str, after: int) -> None:
        super().__init__(scale=0.02)
        self.how, self.left = how, after

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        self.left -= len(faces) > 1
        local = super().visual_local(faces, n_frames)
        if self.left >= 0:
            return local
        if self.how == "backward":
            return NanGradient.apply(local)
        return torch.where(torch.arange(len(local))[:, None, None] == 1, torch.nan, local)


def test_a_nan_gradient_is_an_error_that_names_modality_clip_and_step() -> None:
    with pytest.raises(GradientError, match="gradient in visual of clip 1 is not finite at step 2"):
        attack(Broken("backward", after=2), random_batch(), "bim")


def test_a_nan_loss_is_an_error_that_names_clip_and_step() -> None:
    with pytest.raises(GradientError, match="loss of clip 1 is not finite at step 3"):
        attack(Broken("forward", after=3), random_batch(), "apgd")


class Detached(LinearDetector):
    """Passes no gradient at all."""

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        return super().fuse(e_a.detach(), e_v.detach(), n_frames)


def test_a_detector_without_gradients_is_an_error() -> None:
    with pytest.raises(GradientError, match="does not depend on the attacked input"):
        attack(Detached(), random_batch(), "bim")


class Deaf(SmallDetector):
    """Does not listen: its score depends on the faces only."""

    def __init__(self) -> None:
        super().__init__()
        self.eyes = LinearDetector(scale=0.02)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        return torch.zeros(len(features), features.shape[1] // 4, 1)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        return self.eyes.visual_local(faces, n_frames)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        return self.eyes.fuse(e_a, e_v, n_frames)


def test_an_input_that_a_detector_ignores_stays_as_it_is() -> None:
    batch = random_batch()
    attacked = attack(Deaf(), batch, "bim")
    assert torch.equal(attacked.waveform, batch.waveform)
    assert float(attacked.linf["visual"].min()) == pytest.approx(0.5, rel=1e-4)


def test_the_default_schedule_gives_the_levels_that_the_authors_published(shared: Path) -> None:
    wavfile = pytest.importorskip("scipy.io.wavfile")
    folder = shared / "data" / "push-pull-demo"
    levels, waveforms = set(), []
    for example in range(1, 9):
        rate, real = wavfile.read(folder / f"example{example}" / "Real" / "real.wav")
        _, adversarial = wavfile.read(folder / f"example{example}" / "Adversarial" / "adv.wav")
        assert rate == 16_000
        change = adversarial.astype("float64") - real.astype("float64") / 2**15
        levels |= set((change * 1e6).round().astype(int).tolist())
        waveforms.append(torch.from_numpy(real[8000 : 8000 + 8 * 640].astype("float32") / 2**15))
    assert levels == {-500, -300, -100, 100, 300, 500}

    batch = random_batch((8,) * 8)
    batch = replace(batch, waveform=torch.stack(waveforms))
    attacked = attack(OverTime(), batch, "bim", eps=5, objective="margin")
    assert attacked.settings.as_dict()["steps"] == 5
    change = attacked.waveform.double() - batch.waveform.double()
    ours = (change * 1e6).round().long()
    assert set(ours.flatten().tolist()) == levels
    # float32 holds these sums to half of its spacing, here 3e-8.
    assert float((change * 1e6 - ours).abs().max()) < 0.1


class OverTime(ConvDetector):
    """Bends so much within a budget of 5e-4 that gradients change their signs."""

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        frames = features.reshape(len(features), -1, 640)
        bent = (frames * 4000 * torch.linspace(0.5, 2, 640)).sin()
        return bent.unflatten(2, (8, 80)).mean(3)
