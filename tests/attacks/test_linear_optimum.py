"""On a linear detector the best adversary is known: the score of a frame is w_a x_a + w_v x_v."""

from typing import Any

import pytest
import torch
from support.small_detectors import SAMPLES_PER_FRAME, LinearDetector, random_batch
from torch import Tensor

from pushpull.attacks import attack
from pushpull.attacks.threat import MODALITIES
from pushpull.schema import Batch

# Steps that can cross the ball from any start.
REACHING: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "bim": {"steps": 10, "alpha": 1.0},
    "mim": {"steps": 10, "alpha": 1.0},
    "pgd": {"steps": 12, "alpha": 1.0},
    "apgd": {"steps": 30},
    "vmi-di": {"steps": 10, "alpha": 1.0, "neighbours": 1, "diversity": 0.0},
}
EPS_AV = 5.0


def towards_the_other_class(detector: LinearDetector, batch: Batch) -> tuple[Tensor, Tensor]:
    """The gradient of what leaves the labels, in closed form, for waveform and faces."""
    assert batch.speaking is not None
    sign = torch.where(batch.speaking == 1, -1.0, 1.0).to(batch.faces.dtype)
    sign = sign.masked_fill(~batch.mask, 0.0)
    g_a = (sign[..., None] * detector.w_a).flatten(1)
    g_v = sign[..., None, None] * detector.w_v
    return g_a.detach(), g_v.detach()


@pytest.mark.parametrize("objective", ["av", "all", "margin"])
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", REACHING)
def test_every_gradient_attack_reaches_the_linf_optimum(
    method: str, modality: str, objective: str
) -> None:
    detector = LinearDetector(scale=0.02)
    batch = random_batch((3, 2), on_grid=False)
    attacked = attack(
        detector,
        batch,
        method,
        modality=modality,
        eps=EPS_AV,
        objective=objective,
        **REACHING[method],
    )
    g_a, g_v = towards_the_other_class(detector, batch)
    waveform, faces = batch.waveform.double(), batch.faces.double()
    if modality != "visual":
        waveform = (waveform + 5e-4 * g_a.sign()).clamp(-1, 1)
    if modality != "audio":
        faces = (faces + 0.5 * g_v.sign()).clamp(0, 255)
    # One float32 step near 1 and near 255.
    torch.testing.assert_close(attacked.waveform.double(), waveform, rtol=0, atol=6e-8)
    torch.testing.assert_close(attacked.faces.double(), faces, rtol=0, atol=1.6e-5)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", REACHING)
def test_every_gradient_attack_reaches_the_l2_optimum(method: str, modality: str) -> None:
    detector = LinearDetector().double()
    batch = in_the_middle(random_batch((3, 2), dtype=torch.float64))
    eps = {name: {"audio": 0.01, "visual": 5.0}[name] for name in MODALITIES[modality]}
    steps = dict(REACHING[method])
    if "alpha" in steps:
        # Projected steps turn towards the optimum more slowly than they cross the ball.
        steps |= {"steps": 60, "alpha": {name: one / 5 for name, one in eps.items()}}
    if method == "apgd":
        steps["steps"] = 60
    attacked = attack(
        detector, batch, method, modality=modality, norm="l2", eps=eps, objective="margin", **steps
    )
    gradients = dict(
        zip(("audio", "visual"), towards_the_other_class(detector, batch), strict=True)
    )
    moved = {
        "audio": attacked.waveform - batch.waveform,
        "visual": attacked.faces - batch.faces,
    }
    for name, one in eps.items():
        g, delta = gradients[name].flatten(1), moved[name].flatten(1)
        best = one * g.norm(dim=1)
        torch.testing.assert_close((g * delta).sum(1), best, rtol=1e-4, atol=0)


@pytest.mark.parametrize("method", REACHING)
@pytest.mark.parametrize(("targeted", "label"), [("silent", 0), ("speaking", 1)])
def test_a_targeted_attack_drives_every_frame_to_its_class(
    method: str, targeted: str, label: int
) -> None:
    detector = LinearDetector(scale=0.02)
    batch = random_batch((3, 2))
    attacked = attack(detector, batch, method, eps=EPS_AV, targeted=targeted, **REACHING[method])
    wanted = Batch(
        waveform=batch.waveform,
        faces=batch.faces,
        n_samples=batch.n_samples,
        n_frames=batch.n_frames,
        fps=batch.fps,
        speaking=torch.full_like(attacked.speaking, 1 - label),
    )
    _, g_v = towards_the_other_class(detector, wanted)
    best = (batch.faces.double() + 0.5 * g_v.sign()).clamp(0, 255)
    torch.testing.assert_close(attacked.faces.double(), best, rtol=0, atol=1.6e-5)


def test_on_the_grid_the_optimum_is_the_corner_of_the_grid() -> None:
    detector = LinearDetector(scale=0.02)
    batch = random_batch((3, 2))
    attacked = attack(detector, batch, "bim", eps=25, steps=10, quantise=True)
    g_a, g_v = towards_the_other_class(detector, batch)
    # eps_v = 2.5 levels leaves 2, eps_a = 25e-4 leaves 81 of int16.
    best_a = (batch.waveform + 81 / 2**15 * g_a.sign()).clamp(-1, 1 - 2**-15)
    assert torch.equal(attacked.waveform, best_a)
    assert torch.equal(attacked.faces, (batch.faces + 2 * g_v.sign()).clamp(0, 255))


def test_the_feature_attack_moves_embeddings_to_the_other_centre_by_the_whole_budget() -> None:
    detector = LinearDetector(scale=0.02)
    batch = random_batch((3, 2), on_grid=False)
    attacked = attack(detector, batch, "bim", eps=0.05, objective="feature")
    output = detector(**batch.inputs)
    assert batch.speaking is not None
    for e, weight, clean, found, eps, (low, high) in (
        (output.e_a, detector.w_a, batch.waveform, attacked.waveform, 5e-6, (-1, 1)),
        (output.e_v, detector.w_v, batch.faces, attacked.faces, 5e-3, (0, 255)),
    ):
        assert e is not None
        means = [e[(batch.speaking == c) & batch.mask].mean() for c in (0, 1)]
        # Each embedding, a number, moves towards the mean of the class that it is not of.
        way = (torch.where(batch.speaking == 1, means[0], means[1]) - e[..., 0]).sign()
        way = way.masked_fill(~batch.mask, 0.0)
        steps = (way[..., None] * weight.flatten().sign()).view(clean.shape)
        best = (clean.double() + eps * steps).clamp(low, high)
        torch.testing.assert_close(found.double(), best, rtol=0, atol=6e-8 * high)


def in_the_middle(batch: Batch) -> Batch:
    """The batch far from the ends of the range, where an L2 ball is whole."""
    return Batch(
        waveform=batch.waveform * 0.5,
        faces=batch.faces * 0.25 + (96.0 * batch.mask)[..., None, None],
        n_samples=batch.n_samples,
        n_frames=batch.n_frames,
        fps=batch.fps,
        speaking=batch.speaking,
    )


def test_square_comes_near_the_optimum_without_gradients() -> None:
    detector = LinearDetector()
    # Weights that square windows can follow.
    with torch.no_grad():
        detector.w_v.copy_(torch.full((112, 112), 1e-3))
        detector.w_v[:, :50] = -1e-3
        detector.w_a.copy_(torch.full((SAMPLES_PER_FRAME,), 1e-3))
    batch = in_the_middle(random_batch((2,)))
    attacked = attack(detector, batch, "square", eps=5, steps=2000, objective="margin")
    optimum = attack(detector, batch, "fgsm", eps=5, objective="margin")
    clean = optimum.curve[0]
    gained = (attacked.loss - clean) / (optimum.loss - clean)
    noise = attack(detector, batch, "noise", eps=5, steps=100, objective="margin")
    assert float(gained) > 0.7
    assert float(noise.loss - clean) < 0.1 * float(optimum.loss - clean)
    assert attacked.backwards == 0
    assert attacked.queries == 2000
