"""Joint attacks against the libraries that know one input, one budget and one label per clip.

Both inputs are packed in one w in [0, 1] with x = clip(x0 + eps (2 w - 1)) and each modality's own
eps, so that a ball of 1/2 around w = 1/2 is the region of both. A library is shown two logits whose
cross-entropy for class 0 is our loss: log(1 + exp(b - a)) = L where b - a = log(exp(L) - 1).
"""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.small_detectors import ConvDetector, random_batch
from torch import Tensor, nn

from pushpull.attacks import attack
from pushpull.losses import cross_entropy_all
from pushpull.schema import Batch

EPS = {"audio": 5e-4, "visual": 0.5}
STEPS = 5
TOLERANCE = 1e-6
"""Of the budget, in float64."""


class Packed(nn.Module):
    """Our loss of each clip as a classifier of packed inputs.

    Rows are clips with both modalities, or, if `apart`, clips' waveforms and then clips' faces: so
    a library that normalises a gradient for each row does it for each modality.
    """

    def __init__(self, detector: ConvDetector, batch: Batch, *, apart: bool = False) -> None:
        super().__init__()
        self.detector, self.batch, self.apart = detector, batch, apart
        self.sizes = [batch.waveform[0].numel(), batch.faces[0].numel()]
        self.eval()

    def unpack(self, w: Tensor) -> Batch:
        w = w.flatten(1)
        if self.apart:
            a, v = w.chunk(2)
            a, v = a[:, : self.sizes[0]], v[:, : self.sizes[1]]
        else:
            a, v = w.split(self.sizes, 1)
        clean = self.batch
        waveform = clean.waveform + EPS["audio"] * (2 * a - 1)
        faces = clean.faces + EPS["visual"] * (2 * v - 1).view_as(clean.faces)
        return replace(clean, waveform=waveform.clamp(-1, 1), faces=faces.clamp(0, 255))

    def forward(self, w: Tensor) -> Tensor:
        output = self.detector(**self.unpack(w).inputs)
        assert self.batch.speaking is not None
        loss = cross_entropy_all(output, self.batch.speaking).masked_fill(~output.mask, 0).sum(1)
        loss = loss.repeat(2) if self.apart else loss
        return torch.stack((torch.zeros_like(loss), loss.expm1().log()), 1)

    def start(self) -> Tensor:
        rows = len(self.batch.faces) * (2 if self.apart else 1)
        width = max(self.sizes) if self.apart else sum(self.sizes)
        return torch.full((rows, 1, 1, width), 0.5, dtype=self.batch.faces.dtype)


@pytest.fixture
def detector() -> ConvDetector:
    return ConvDetector().double()


@pytest.fixture
def batch() -> Batch:
    return inside_the_range(torch.float64)


def inside_the_range(dtype: torch.dtype) -> Batch:
    """Nothing within a budget of 0 or 255, or of -1 or 1: there w may leave its clip and come back,
    where we stay on the bound. What happens at bounds is for the laws to say."""
    batch = random_batch((3, 3), dtype=dtype, on_grid=False)
    return replace(batch, waveform=0.9 * batch.waveform, faces=10 + 0.9 * batch.faces)


def by_foolbox(name: str, packed: Packed, start: Tensor, **options: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox
    base = getattr(foolbox.attacks, name)

    class FromStart(base):  # type: ignore[misc, valid-type]
        """The library's loop from our random start, with the gradient that its paper takes."""

        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return type(x0)(start)

        def normalize(self, gradients: Any, *, x: Any, bounds: Any) -> Any:
            if "Momentum" not in name:
                return super().normalize(gradients, x=x, bounds=bounds)
            # foolbox 3.3 adds up signs where Dong et al. divide by the L1 norm.
            norms = gradients.abs().sum(axis=tuple(range(1, gradients.ndim)), keepdims=True)
            return gradients / norms

        def get_optimizer(self, x: Any, stepsize: float) -> Any:
            optimizer = super().get_optimizer(x, stepsize)
            if "Momentum" in name:
                optimizer.normalize = lambda gradient: gradient.sign()
            return optimizer

    model = foolbox.PyTorchModel(packed, bounds=(0, 1), device="cpu")
    labels = torch.zeros(len(start), dtype=torch.long)
    run = FromStart(abs_stepsize=0.5 / STEPS, steps=STEPS, **options)
    found: Tensor = run(model, packed.start(), labels, epsilons=0.5)[1]
    return found.detach()


def by_art(name: str, packed: Packed, **options: Any) -> Tensor:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    start = packed.start().numpy()
    classifier = PyTorchClassifier(
        packed, nn.CrossEntropyLoss(reduction="sum"), start.shape[1:], 2, clip_values=(0.0, 1.0),
        device_type="cpu",
    )  # fmt: skip
    run = getattr(evasion, name)(
        classifier, eps=0.5, eps_step=0.5 / STEPS, max_iter=STEPS, batch_size=len(start),
        verbose=False, **options,
    )  # fmt: skip
    return torch.from_numpy(run.generate(start, np.zeros(len(start), dtype=np.int64)))


def assert_same(ours: Batch, theirs: Batch, tolerance: float = TOLERANCE) -> None:
    for name, eps in (("waveform", EPS["audio"]), ("faces", EPS["visual"])):
        difference = (getattr(ours, name) - getattr(theirs, name)).abs().max()
        assert float(difference) <= tolerance * eps


def ours_of(method: str, detector: ConvDetector, batch: Batch, **options: Any) -> Batch:
    attacked = attack(detector, batch, method, eps=EPS, steps=STEPS, **options)
    # Libraries return the last iterate, we the best: here that is the last.
    assert torch.equal(attacked.curve[-1], attacked.curve.amax(0))
    return attacked.batch


def test_joint_bim_equals_foolbox(detector: ConvDetector, batch: Batch) -> None:
    packed = Packed(detector, batch)
    found = by_foolbox("LinfBasicIterativeAttack", packed, packed.start(), random_start=False)
    assert_same(ours_of("bim", detector, batch), packed.unpack(found))


def test_joint_pgd_equals_foolbox_from_the_same_start(detector: ConvDetector, batch: Batch) -> None:
    generator = torch.Generator().manual_seed(0)
    starts = [
        torch.rand(tensor.shape, generator=generator, dtype=torch.float64).flatten(1)
        for tensor in (batch.waveform, batch.faces)
    ]
    packed = Packed(detector, batch)
    start = torch.cat(starts, 1).view_as(packed.start())
    found = by_foolbox("LinfProjectedGradientDescentAttack", packed, start, random_start=True)
    assert_same(ours_of("pgd", detector, batch, seed=0), packed.unpack(found))


def test_joint_mim_equals_foolbox(detector: ConvDetector, batch: Batch) -> None:
    packed = Packed(detector, batch, apart=True)
    found = by_foolbox(
        "LinfMomentumIterativeFastGradientMethod", packed, packed.start(), random_start=False
    )
    assert_same(ours_of("mim", detector, batch), packed.unpack(found))


@pytest.fixture
def float_detector() -> ConvDetector:
    """In float32, in which ART computes; and ART turns the dropout of recurrent layers on."""
    detector = ConvDetector()
    detector.over_time.dropout = 0.0
    return detector


def assert_same_floats(ours: Batch, theirs: Batch) -> None:
    for name, spacing in (("waveform", 6e-8), ("faces", 1.6e-5)):
        difference = (getattr(ours, name) - getattr(theirs, name)).abs()
        assert float(difference.max()) <= STEPS * spacing


@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        ("bim", "BasicIterativeMethod", {}),
        ("pgd", "ProjectedGradientDescent", {"random_start": False}),
    ],
)
def test_joint_bim_and_pgd_equal_art(
    float_detector: ConvDetector, ours: str, theirs: str, settings: dict[str, Any]
) -> None:
    packed = Packed(float_detector, inside_the_range(torch.float32))
    found = by_art(theirs, packed)
    assert_same_floats(
        ours_of(ours, float_detector, packed.batch, **settings), packed.unpack(found)
    )


def test_joint_mim_equals_art(float_detector: ConvDetector) -> None:
    packed = Packed(float_detector, inside_the_range(torch.float32), apart=True)
    found = by_art("MomentumIterativeMethod", packed, decay=1.0)
    assert_same_floats(ours_of("mim", float_detector, packed.batch), packed.unpack(found))


def test_mim_stays_in_its_ball(detector: ConvDetector, batch: Batch) -> None:
    # Published copies project on the ball of the last iterate and drift steps * alpha away.
    found = attack(detector, batch, "mim", eps=EPS, steps=10, alpha=EPS)
    for name, x in (
        ("audio", found.waveform - batch.waveform),
        ("visual", found.faces - batch.faces),
    ):
        assert float(x.abs().max()) <= EPS[name]
        assert float(found.linf[name].max()) <= EPS[name]
