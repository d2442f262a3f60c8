"""What else is heard in a room: noise, music, a crowd; none of it moves a mouth that is seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pushpull.schema import SAMPLE_RATE_HZ
from pushpull.synthetic.articulation import babble
from pushpull.synthetic.voice import draw_voice, synthesize

__all__ = ["draw_ambience"]

Sound = NDArray[np.float64]

LEVEL_DB = (-48.0, -22.0)
"""Root mean square against full scale; speech lies near -23 dB."""


def draw_ambience(rng: np.random.Generator, n_samples: int) -> NDArray[np.float32]:
    """A random background (n_samples,): silence, noise, music or a crowd, at a random level.

    Examples:
        >>> from pushpull.synthetic.ambience import draw_ambience
        >>> sound = draw_ambience(np.random.default_rng(0), 16_000)
        >>> sound.shape, sound.dtype
        ((16000,), dtype('float32'))
    """
    kind = int(rng.choice(4, p=[0.25, 0.3, 0.25, 0.2]))
    if kind == 0:
        return np.zeros(n_samples, np.float32)
    sound = (noise, music, crowd)[kind - 1](rng, n_samples)
    level = 10 ** (rng.uniform(*LEVEL_DB) / 20)
    result: NDArray[np.float32] = (sound * level / max(float(np.std(sound)), 1e-9)).astype(
        np.float32
    )
    return result


def noise(rng: np.random.Generator, n_samples: int) -> Sound:
    """Noise of a random slope, from wind to hiss, that swells and fades."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    hz = np.maximum(np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE_HZ), 40.0)
    sound = np.fft.irfft(spectrum * hz ** rng.uniform(-1.2, 0.0), n_samples)
    times_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    swell = 1 + 0.5 * np.sin(2 * np.pi * (rng.uniform(0.1, 2.5) * times_s + rng.uniform()))
    return np.asarray(sound * swell)


def music(rng: np.random.Generator, n_samples: int) -> Sound:
    """Chords of plucked tones at a steady beat, with a bass: voices are not the only harmonics."""
    beat = round(SAMPLE_RATE_HZ * rng.uniform(0.25, 0.6))
    root_hz = 110.0 * 2 ** (rng.integers(0, 12) / 12)
    decay_s = rng.uniform(0.15, 0.7)
    sound = np.zeros(n_samples + beat)
    for start in range(0, n_samples, beat):
        degree = int(rng.choice([0, 5, 7, 9]))
        tones = [degree - 12, degree, degree + 4, degree + 7, degree + 12 * int(rng.integers(1, 3))]
        length = min(3 * beat, len(sound) - start)
        times_s = np.arange(length) / SAMPLE_RATE_HZ
        pluck = np.exp(-times_s / decay_s) * np.minimum(times_s / 0.005, 1)
        for tone in tones:
            hz = root_hz * 2 ** (tone / 12)
            for k in range(1, 5):
                if k * hz < 0.45 * SAMPLE_RATE_HZ:
                    phase = rng.uniform(0, 2 * np.pi)
                    wave = np.sin(2 * np.pi * k * hz * times_s + phase)
                    sound[start : start + length] += pluck * wave / k**1.5
    return sound[:n_samples]


def crowd(rng: np.random.Generator, n_samples: int) -> Sound:
    """Three voices at once, somewhere else."""
    duration_s = n_samples / SAMPLE_RATE_HZ
    sound = np.zeros(n_samples)
    for _ in range(3):
        voice = synthesize(babble(rng, duration_s).tract, draw_voice(rng), rng)[:n_samples]
        sound[: len(voice)] += voice
    return sound
