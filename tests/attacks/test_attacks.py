from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_detectors import ConvDetector, LinearDetector, random_batch

from pushpull.attacks import ATTACKS, attack
from pushpull.attacks.registry import is_suite
from pushpull.attacks.search import Search
from pushpull.attacks.threat import MODALITIES, NORMS
from pushpull.errors import BudgetError
from pushpull.losses import margin
from pushpull.schema import Batch

STEPS = {"fgsm": {}, "noise": {}, "square": {"steps": 12}, "suite": {}, "suite-fast": {}}
pytestmark = pytest.mark.usefixtures("short_suites")

DETECTOR = ConvDetector()
SINGLE = [method for method in ATTACKS if not is_suite(method)]
LENGTHS = st.lists(st.integers(1, 3), min_size=1, max_size=3)


def settings_of(method: str) -> dict[str, Any]:
    return STEPS.get(method, {"steps": 3})


def budget(modality: str, norm: str, scale: float) -> dict[str, float]:
    of_norm = {
        "linf": {"audio": 1e-3, "visual": 4.0},
        "l2": {"audio": 1e-2, "visual": 100.0},
    }
    return {name: scale * of_norm[norm][name] for name in MODALITIES[modality]}


def assert_within(before: Batch, after: Batch, eps: dict[str, float], norm: str) -> None:
    """Measured here, not by the package: both precisions, range, padding, other modality."""
    inputs = {
        "audio": (before.waveform, after.waveform, before.n_samples, (-1, 1)),
        "visual": (before.faces, after.faces, before.n_frames, (0, 255)),
    }
    for name, (x, x_adv, lengths, (low, high)) in inputs.items():
        assert x_adv.dtype == (torch.float64 if x.dtype == torch.float64 else torch.float32)
        x = x.to(x_adv.dtype)
        if name not in eps:
            assert torch.equal(x, x_adv)
            continue
        assert low <= float(x_adv.min()) <= float(x_adv.max()) <= high
        for row, n in enumerate(lengths.tolist()):
            assert torch.equal(x[row, n:], x_adv[row, n:])
            for precision in (x_adv.dtype, torch.float64):
                delta = x_adv[row].to(precision) - x[row].to(precision)
                measured = delta.abs().max() if norm == "linf" else delta.double().norm()
                assert float(measured) <= eps[name]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", ATTACKS)
@settings(max_examples=5, deadline=None)
@given(
    lengths=LENGTHS,
    dtype=st.sampled_from((torch.float16, torch.bfloat16, torch.float32, torch.float64)),
    log_scale=st.floats(-3, 2),
    quantise=st.booleans(),
    seed=st.integers(0, 100),
)
def test_every_attack_keeps_its_budget(
    method: str,
    modality: str,
    norm: str,
    lengths: list[int],
    dtype: torch.dtype,
    log_scale: float,
    quantise: bool,
    seed: int,
) -> None:
    batch = random_batch(tuple(lengths), seed=seed, dtype=dtype, on_grid=False)
    # A grid needs a budget of a few of its steps.
    scale = 10 ** abs(log_scale) if quantise else 10**log_scale
    eps = budget(modality, norm, scale)
    attacked = attack(
        DETECTOR if dtype != torch.float64 else DOUBLE,
        batch,
        method,
        eps=eps,
        modality=modality,
        norm=norm,
        quantise=quantise,
        seed=seed,
        **settings_of(method),
    )
    assert_within(attacked.clean if quantise else batch, attacked.batch, eps, norm)
    if quantise and "audio" in eps:
        assert torch.equal(attacked.waveform * 2**15, (attacked.waveform * 2**15).round())
    if quantise and "visual" in eps:
        assert torch.equal(attacked.faces, attacked.faces.round())
    assert set(attacked.linf) == set(attacked.l2) == set(eps)


DOUBLE = ConvDetector().double()


@pytest.mark.parametrize("method", ATTACKS)
def test_an_attack_changes_neither_its_arguments_nor_the_detector(method: str) -> None:
    detector, batch = ConvDetector(), random_batch()
    detector.train()
    detector.picture_norm.eval()
    detector.head_a.weight.requires_grad_(False)
    marked = torch.ones_like(detector.head.weight)
    detector.head.weight.grad = marked
    state = {k: v.clone() for k, v in detector.state_dict().items()}
    modes = {k: m.training for k, m in detector.named_modules()}
    needing = {k: p.requires_grad for k, p in detector.named_parameters()}
    waveform, faces = batch.waveform.clone(), batch.faces.clone()
    random_state = torch.get_rng_state()

    attack(detector, batch, method, **settings_of(method))

    assert all(torch.equal(v, state[k]) for k, v in detector.state_dict().items())
    assert modes == {k: m.training for k, m in detector.named_modules()}
    assert needing == {k: p.requires_grad for k, p in detector.named_parameters()}
    assert detector.over_time.dropout == 0.5
    assert detector.head.weight.grad is marked
    assert bool((marked == 1).all())
    assert all(p.grad is None for k, p in detector.named_parameters() if k != "head.weight")
    assert torch.equal(waveform, batch.waveform)
    assert torch.equal(faces, batch.faces)
    assert torch.equal(random_state, torch.get_rng_state())


@pytest.mark.parametrize("method", ATTACKS)
def test_the_same_seed_gives_the_same_adversary_and_another_seed_another(method: str) -> None:
    batch = random_batch()
    first, again, other = (
        attack(DETECTOR, batch, method, seed=seed, **settings_of(method)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.waveform, again.waveform)
    assert torch.equal(first.faces, again.faces)
    assert torch.equal(first.curve, again.curve)
    random = method not in ("fgsm", "bim", "mim")
    assert torch.equal(first.faces, other.faces) is not random


@pytest.mark.parametrize("method", SINGLE)
def test_what_is_reported_is_what_the_detector_says_of_the_returned_tensors(method: str) -> None:
    batch = random_batch((3, 1, 2))
    attacked = attack(DETECTOR, batch, method, objective="margin", eps=50, **settings_of(method))
    evaluated = ConvDetector().eval()(**attacked.batch.inputs)
    mask = evaluated.mask
    torch.testing.assert_close(attacked.score[mask], evaluated.score[mask])
    assert batch.speaking is not None
    lost = -margin(evaluated.logits, batch.speaking).masked_fill(~mask, 0)
    torch.testing.assert_close(attacked.loss, lost.sum(1) / mask.sum(1))
    torch.testing.assert_close(attacked.loss, attacked.curve.amax(0), rtol=0, atol=0)


@pytest.mark.parametrize("method", [m for m in SINGLE if m != "noise"])
@pytest.mark.parametrize("modality", MODALITIES)
def test_no_attack_lowers_the_loss(method: str, modality: str) -> None:
    batch = random_batch()
    steps = {} if method == "fgsm" else {"steps": 300 if method == "square" else 10}
    attacked = attack(DETECTOR, batch, method, modality=modality, eps=20, objective="av", **steps)
    clean = attack(DETECTOR, batch, "noise", modality=modality, eps=0, objective="av")
    assert bool((attacked.loss >= clean.loss).all())


@pytest.mark.parametrize("method", ATTACKS)
@pytest.mark.parametrize("norm", NORMS)
def test_a_budget_of_nothing_changes_nothing(method: str, norm: str) -> None:
    batch = random_batch()
    attacked = attack(DETECTOR, batch, method, eps=0, norm=norm, **settings_of(method))
    assert torch.equal(attacked.waveform, batch.waveform)
    assert torch.equal(attacked.faces, batch.faces)


@pytest.mark.parametrize("method", ["bim", "mim", "apgd"])
def test_a_clip_in_a_batch_is_attacked_as_it_is_alone(method: str) -> None:
    detector, batch = LinearDetector(), random_batch((3, 2), dtype=torch.float64)
    detector.double()
    together = attack(detector, batch, method, steps=4, **start_of(method))
    alone = attack(detector, clip_of(batch, 1), method, steps=4, **start_of(method))
    torch.testing.assert_close(together.faces[1:, :2], alone.faces)
    torch.testing.assert_close(together.waveform[1:, :1280], alone.waveform)
    torch.testing.assert_close(together.curve[:, 1:], alone.curve)


def start_of(method: str) -> dict[str, bool]:
    return {"random_start": False} if method == "apgd" else {}


def clip_of(batch: Batch, i: int) -> Batch:
    s, t = int(batch.n_samples[i]), int(batch.n_frames[i])
    assert batch.speaking is not None
    return Batch(
        waveform=batch.waveform[i : i + 1, :s],
        faces=batch.faces[i : i + 1, :t],
        n_samples=batch.n_samples[i : i + 1],
        n_frames=batch.n_frames[i : i + 1],
        fps=batch.fps[i : i + 1],
        speaking=batch.speaking[i : i + 1, :t],
    )


def outside_the_ball(delta: torch.Tensor, eps: float) -> torch.Tensor:
    return delta + 1.01 * eps


def one_float_outside(delta: torch.Tensor, eps: float) -> torch.Tensor:
    return delta + eps * (1 + 1e-6)


@pytest.mark.parametrize("cheat", [outside_the_ball, one_float_outside])
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_a_cheating_attack_is_caught(
    cheat: Callable[[torch.Tensor, float], torch.Tensor],
    modality: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cheating(search: Search, generator: torch.Generator) -> None:
        for region in search.regions.values():
            # A method that got hold of its region and writes over its bounds.
            region.lower = region.upper = cheat(region.clean, region.ball.eps)
        search.loss(search.start)

    monkeypatch.setitem(ATTACKS, "cheat", cheating)
    batch = random_batch()
    with pytest.raises(BudgetError, match=f"{modality}.*(norm|padding|values)"):
        attack(DETECTOR, batch, "cheat", eps=5, modality=modality)
