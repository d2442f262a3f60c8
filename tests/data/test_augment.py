"""Augmentation: levels are right for any sound, faces change all alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushpull.data.augment import augment_faces, augmented, mix_at
from pushpull.schema import Clip

N = 4000


@given(st.floats(-5, 5), st.integers(0, 50), st.floats(0.001, 0.5), st.integers(300, 9000))
def test_the_ratio_of_powers_is_as_asked(snr_db, seed, level, length) -> None:
    generator = torch.Generator().manual_seed(seed)
    sound = level * torch.randn(N, generator=generator).clamp(-2, 2) / 2
    noise = torch.randn(length, generator=generator) / 3
    mixed = mix_at(sound, noise, snr_db)
    assert float(mixed.abs().max()) <= 1.0
    # A sum beyond full scale is scaled as a whole: find that factor, then the noise in it.
    beneath = noise.repeat(-(-N // length))[:N]
    system = torch.stack((sound, beneath), 1).double()
    a, b = torch.linalg.lstsq(system, mixed.double()[:, None]).solution[:, 0].tolist()
    powers = (a * sound.double()).square().mean() / (b * beneath.double()).square().mean()
    assert 10 * math.log10(float(powers)) == pytest.approx(snr_db, abs=1e-3)


def test_loud_int16_sound_does_not_wrap_around() -> None:
    # The published loader squares int16 samples: 20000 ** 2 wraps to a negative number.
    sound, noise = (torch.full((N,), level) for level in (20000 / 32768, 20000 / 32768))
    assert torch.allclose(mix_at(sound, noise, 0.0), torch.ones(N))


def test_silence_has_no_ratio_and_stays() -> None:
    sound = torch.linspace(-0.5, 0.5, N)
    assert torch.equal(mix_at(sound, torch.zeros(10), 0.0), sound)
    assert torch.equal(mix_at(torch.zeros(N), sound, 0.0), torch.zeros(N))


def kinds(faces):
    return [augment_faces(faces, np.random.default_rng(seed)) for seed in range(40)]


def test_faces_change_in_four_ways_and_all_alike() -> None:
    rng = np.random.default_rng(0)
    face = torch.from_numpy(rng.integers(0, 256, (112, 112), np.uint8))
    faces = face.expand(6, 112, 112).contiguous()
    changed = kinds(faces)
    for result in changed:
        assert result.shape == faces.shape
        assert result.dtype == torch.uint8
        assert all(torch.equal(result[0], other) for other in result)
    same = sum(torch.equal(r, faces) for r in changed)
    mirrored = sum(torch.equal(r, faces.flip(-1)) for r in changed)
    assert same > 3
    assert mirrored > 3
    assert same + mirrored < 35


def test_a_cut_is_enlarged_about_the_right_place() -> None:
    # A ramp stays a ramp, less steep, with its ends inside the old ones.
    ramp = torch.arange(112, dtype=torch.uint8).expand(2, 112, 112).contiguous()
    for result in kinds(ramp):
        if torch.equal(result, ramp) or int(result[0, 0, 0]) == 0 == int(result[0, 0, -1]):
            continue
        row = result[0, 56].float()
        slopes = (row[60:100] - row[20:60]) / 40
        if float(slopes.std()) < 0.02 and float(slopes.mean()) > 0:
            assert 0.69 <= float(slopes.mean()) <= 1.01


def test_half_of_the_clips_get_another_sound_and_labels_never_change() -> None:
    rng = np.random.default_rng(1)

    def clip() -> Clip:
        return Clip(
            waveform=torch.from_numpy(rng.uniform(-0.3, 0.3, 3200).astype(np.float32)),
            faces=torch.from_numpy(rng.integers(0, 256, (5, 112, 112), np.uint8)),
            fps=25.0,
            speaking=torch.tensor([0, 1, 1, 0, 1]),
        )

    one, other = clip(), clip()
    results = [augmented(one, lambda: other.waveform, np.random.default_rng(k)) for k in range(60)]
    untouched = sum(torch.equal(r.waveform, one.waveform) for r in results)
    assert 18 <= untouched <= 42
    assert all(torch.equal(r.speaking, one.speaking) and r.fps == 25.0 for r in results)
    alone = [augmented(one, None, np.random.default_rng(k)) for k in range(5)]
    assert all(torch.equal(r.waveform, one.waveform) for r in alone)
