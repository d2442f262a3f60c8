from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_detectors import ConvDetector, random_batch
from torch import Tensor

import pushpull as pp
from pushpull.attacks import attack, transfer
from pushpull.attacks.variance import diversified
from pushpull.data import SynthConfig, synth_examples
from pushpull.errors import ConfigError
from pushpull.schema import Batch

SEEDS = st.integers(0, 1000)


def middling_batch() -> Batch:
    """Far from the ends of the range, in float64, so that nothing is clamped."""
    batch = random_batch(dtype=torch.float64)
    return replace(batch, waveform=batch.waveform / 2, faces=batch.faces / 2 + 60)


def gradients_at(detector: ConvDetector, batch: Batch, x_a: Tensor, x_v: Tensor) -> list[Tensor]:
    x = [x_a.requires_grad_(), x_v.requires_grad_()]
    output = detector(**replace(batch, waveform=x[0], faces=x[1]).inputs)
    assert batch.speaking is not None
    mask = output.mask
    logits, labels = output.logits[mask], batch.speaking[mask]
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    return list(torch.autograd.grad(loss, x))


def test_the_steps_are_those_of_the_published_algorithm() -> None:
    """Algorithm 1 of Wang and He, written out, with the same draws."""
    detector, batch = ConvDetector().double().eval(), middling_batch()
    steps, n, beta, decay, eps = 3, 2, 1.5, 0.9, (5e-4, 0.5)
    found = attack(
        detector, batch, "vmi-di", eps=5, steps=steps, neighbours=n, beta=beta, decay=decay,
        diversity=0, objective="av", seed=4,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    clean = [batch.waveform, batch.faces]
    inside = [batch.audio_mask, batch.mask[..., None, None]]
    x, g, v = clean, [0.0, 0.0], [0.0, 0.0]
    for step in range(steps):
        plain = gradients_at(detector, batch, *(one.clone() for one in x))
        tuned = [p + was for p, was in zip(plain, v, strict=True)]
        g = [
            decay * was + t / t.flatten(1).abs().sum(1).view(-1, *[1] * (t.dim() - 1))
            for was, t in zip(g, tuned, strict=True)
        ]
        if step + 1 < steps:
            around = []
            for _ in range(n):
                noise = [
                    (torch.rand(c.shape, generator=generator, dtype=c.dtype) - 0.5) * 2 * e * m
                    for c, e, m in zip(clean, eps, inside, strict=True)
                ]
                near = [one + beta * shift for one, shift in zip(x, noise, strict=True)]
                around.append(gradients_at(detector, batch, *near))
            v = [sum(of) / n - p for of, p in zip(zip(*around, strict=True), plain, strict=True)]
        x = [
            (one + e / steps * way.sign()).clamp(c - e, c + e)
            for one, e, way, c in zip(x, eps, g, clean, strict=True)
        ]
    torch.testing.assert_close(found.waveform, x[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found.faces, x[1], rtol=0, atol=1e-9)


def test_without_neighbours_and_diversity_it_is_mim() -> None:
    batch = random_batch()
    plain = attack(ConvDetector(), batch, "mim", eps=20, steps=6)
    same = attack(ConvDetector(), batch, "vmi-di", eps=20, steps=6, neighbours=0, diversity=0)
    assert torch.equal(plain.faces, same.faces)
    assert torch.equal(plain.waveform, same.waveform)
    assert torch.equal(plain.curve, same.curve)


def test_looks_are_counted_and_candidates_are_in_the_curve() -> None:
    seen: list[int] = []
    found = attack(
        ConvDetector(), random_batch(), "vmi-di", steps=4, neighbours=3, watch=seen.append
    )
    assert (found.forwards, found.backwards, len(found.curve)) == (18, 13, 5)
    assert seen == list(range(1, 19))


def of(batch: Batch, seed: int, diversity: float = 0.2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return diversified(batch, generator=generator, diversity=diversity, probability=1.0)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, diversity=st.floats(0.01, 0.9))
def test_changes_keep_padding_and_range(seed: int, diversity: float) -> None:
    batch = random_batch((3, 1), seed=seed, dtype=torch.float64)
    seen = of(batch, seed, diversity)
    assert not torch.equal(seen.faces, batch.faces)
    assert not torch.equal(seen.waveform, batch.waveform)
    assert torch.equal(seen.faces[~batch.mask], batch.faces[~batch.mask])
    assert torch.equal(seen.waveform[~batch.audio_mask], batch.waveform[~batch.audio_mask])
    assert float(seen.waveform.abs().max()) <= float(batch.waveform.abs().max())
    assert float(batch.faces.min()) <= float(seen.faces.min())
    assert float(seen.faces.max()) <= float(batch.faces.max()) + 1e-9
    grey = replace(batch, faces=torch.full_like(batch.faces, 99.0))
    torch.testing.assert_close(of(grey, seed, diversity).faces, grey.faces)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, share=st.floats(0, 1))
def test_changes_are_linear_in_the_input(seed: int, share: float) -> None:
    """So they are differentiable, and their gradient is exact."""
    one, other = (random_batch(seed=s, dtype=torch.float64) for s in (seed, seed + 1))
    mixed = replace(
        one,
        waveform=share * one.waveform + (1 - share) * other.waveform,
        faces=share * one.faces + (1 - share) * other.faces,
    )
    seen = [of(batch, seed) for batch in (one, other, mixed)]
    for name in ("waveform", "faces"):
        first, second, both = (getattr(batch, name) for batch in seen)
        torch.testing.assert_close(both, share * first + (1 - share) * second)


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_click_stays_a_click_a_little_softer_and_nearby(seed: int) -> None:
    batch = random_batch((3,), dtype=torch.float64)
    click = torch.zeros_like(batch.waveform)
    click[0, 900] = 1.0
    heard = of(replace(batch, waveform=click), seed, 0.1).waveform[0]
    assert int((heard > 0).sum()) == 1
    assert abs(int(heard.argmax()) - 900) <= 64
    assert 0.9 <= float(heard.max()) <= 1.0


def test_a_clip_is_changed_as_likely_as_said() -> None:
    batch = random_batch((1,) * 400)
    generator = torch.Generator().manual_seed(0)
    seen = diversified(batch, generator=generator, probability=0.3)
    changed = (seen.waveform != batch.waveform).any(1)
    assert torch.equal(changed, (seen.faces != batch.faces).flatten(1).any(1))
    assert 90 < int(changed.sum()) < 150


def test_what_is_not_attacked_is_not_changed() -> None:
    """Else the encoder that runs once would have kept what it made of another input."""
    batch = random_batch()
    generator = torch.Generator().manual_seed(0)
    seen = diversified(batch, generator=generator, modalities=("audio",), probability=1.0)
    assert torch.equal(seen.faces, batch.faces)
    assert not torch.equal(seen.waveform, batch.waveform)


def test_it_moves_another_detector_more_than_pgd_does() -> None:
    examples = synth_examples(SynthConfig(tracks=6, min_frames=20, max_frames=20), "train")
    batch = Batch.from_clips([example.clip for example in examples])
    surrogate, detector = pp.load("synthetic-spec"), pp.load("synthetic-a")
    plain, strong = (
        transfer(surrogate, detector, batch, name, eps=5, steps=5) for name in ("pgd", "vmi-di")
    )
    assert float(strong.loss.mean()) > float(plain.loss.mean())


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("neighbours", -1, "neighbours is -1; expected a whole number, 0 or more"),
        ("neighbours", 1.5, "neighbours is 1.5; expected a whole number"),
        ("diversity", 1.5, "diversity is 1.5; expected a share, 0 to 1"),
        ("probability", -0.1, "probability is -0.1; expected a share, 0 to 1"),
        ("beta", -1.0, "beta is -1.0; expected a number of budgets, 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(setting: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        attack(ConvDetector(), random_batch(), "vmi-di", **{setting: value})
