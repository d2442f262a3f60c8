"""Sound of several voices in a room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pushpull.schema import SAMPLE_RATE_HZ

__all__ = ["mixed"]

Sound = NDArray[np.float32]


def mixed(
    rng: np.random.Generator,
    voices: Sequence[Sound],
    *,
    reverberation_db: float = -16.0,
    noise_db: float = -58.0,
) -> Sound:
    """Voices together, with the echo of a small room and the hum of its air.

    Args:
        rng: Source of echo and noise.
        voices: Waveforms (S,) of equal length at 16 kHz.
        reverberation_db: Energy of the echo relative to the direct sound.
        noise_db: Level of noise relative to full scale.

    Returns:
        Waveform (S,) in [-1, 1].

    Examples:
        >>> from pushpull.synthetic.room import mixed
        >>> voices = np.zeros((2, 16_000), np.float32)
        >>> sound = mixed(np.random.default_rng(0), voices)
        >>> sound.shape, float(np.abs(sound).max()) < 0.02  # the air of the room
        ((16000,), True)
    """
    dry = np.asarray(voices, np.float64).sum(0)
    length = round(0.25 * SAMPLE_RATE_HZ)
    decay = np.exp(-np.arange(length) / (0.05 * SAMPLE_RATE_HZ))
    echo = rng.standard_normal(length) * decay
    # Nothing comes back within the first 4 ms.
    echo[: round(0.004 * SAMPLE_RATE_HZ)] = 0
    echo *= 10 ** (reverberation_db / 20) / np.sqrt(np.sum(echo**2))
    wet = dry + convolved(dry, echo)
    # Air in rooms rumbles more than it hisses: noise falls by about 3 dB per octave.
    white = np.fft.rfft(rng.standard_normal(len(dry)))
    shape = 1 / np.sqrt(np.maximum(np.fft.rfftfreq(len(dry), 1 / SAMPLE_RATE_HZ), 60.0))
    noise = np.fft.irfft(white * shape, len(dry))
    noise *= 10 ** (noise_db / 20) / max(float(np.std(noise)), 1e-12)
    result: Sound = np.tanh(wet + noise).astype(np.float32)
    return result


def convolved(sound: NDArray[np.float64], echo: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sound (S,) through an impulse response, cut to its length."""
    size = len(sound) + len(echo)
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(echo, size), size)[: len(sound)]
