"""A voice: sound from the articulatory track by source and filter.

The source is a train of glottal pulses (the polynomial flow of Rosenberg 1971 and KLGLOTT88,
differentiated, with jitter, shimmer and breath noise) plus noise of narrowings; the filter is a
cascade of formant resonators as in Klatt 1980 (J. Acoust. Soc. Am. 67, 971-995). The filter moves,
so it is applied to short windows of the source in the frequency domain and overlapped.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.schema import SAMPLE_RATE_HZ
from pushpull.synthetic.articulation import RATE_HZ, Tract

__all__ = ["Voice", "draw_voice", "synthesize"]

Array = NDArray[np.float64]
Gain = NDArray[np.complex64]

HOP = SAMPLE_RATE_HZ // RATE_HZ
WINDOW = 4 * HOP
SPECTRUM = 1024
"""Long enough that the ringing of the narrowest resonance does not wrap around."""

OVERSAMPLING = 2
FREQUENCIES_HZ = np.fft.rfftfreq(SPECTRUM, 1 / SAMPLE_RATE_HZ)
TABLE_STEP_HZ = 5.0
HIGHER_FORMANTS_HZ = (3500.0, 4500.0, 5500.0, 6500.0)
HIGHEST_HZ = 0.47 * SAMPLE_RATE_HZ
HISS = 0.5
"""Loudness of narrowings against the voice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What sets one speaker's sound apart.

    Attributes:
        pitch_hz: Mean fundamental frequency.
        tract_cm: Length of the vocal tract; formants move inversely to it.
        open_share: Part of a glottal cycle during which the glottis is open.
        breathiness: Breath noise relative to the pulses.
        tilt_db: Loss of the source at 3 kHz.
        jitter: Relative change of the period from cycle to cycle.
        shimmer: Relative change of the amplitude from cycle to cycle.
        level_db: Loudness of speech relative to full scale (root mean square while speaking).

    Examples:
        >>> from pushpull.synthetic import Voice
        >>> Voice(pitch_hz=120.0, tract_cm=17.0).level_db
        -20.0
    """

    pitch_hz: float
    tract_cm: float
    open_share: float = 0.6
    breathiness: float = 0.03
    tilt_db: float = 6.0
    jitter: float = 0.01
    shimmer: float = 0.05
    level_db: float = -20.0


def draw_voice(rng: np.random.Generator, *, pitch_hz: float | None = None) -> Voice:
    """A random adult's voice; a higher pitch goes with a shorter tract.

    Examples:
        >>> from pushpull.synthetic import draw_voice
        >>> low = draw_voice(np.random.default_rng(0), pitch_hz=100.0)
        >>> high = draw_voice(np.random.default_rng(0), pitch_hz=220.0)
        >>> low.tract_cm > high.tract_cm
        True
    """
    if pitch_hz is None:
        pitch_hz = float(np.exp(rng.uniform(np.log(90.0), np.log(240.0))))
    height = np.log2(pitch_hz / 110.0)
    return Voice(
        pitch_hz=pitch_hz,
        tract_cm=float(np.clip(17.3 - 2.2 * height + rng.normal(0, 0.4), 13.5, 18.5)),
        open_share=float(rng.uniform(0.5, 0.7)),
        breathiness=float(rng.uniform(0.01, 0.06)),
        tilt_db=float(rng.uniform(3.0, 10.0)),
        jitter=float(rng.uniform(0.005, 0.015)),
        shimmer=float(rng.uniform(0.03, 0.08)),
        level_db=float(rng.uniform(-23.0, -17.0)),
    )


def synthesize(tract: Tract, voice: Voice, rng: np.random.Generator) -> NDArray[np.float32]:
    """Sound of a tract with a voice.

    Returns:
        Waveform (S,) in [-1, 1] at 16 kHz, as long as the tract.

    Examples:
        >>> from pushpull.media import write_wav
        >>> from pushpull.synthetic import babble, draw_voice, synthesize
        >>> rng = np.random.default_rng(0)
        >>> sound = synthesize(babble(rng, 1.0).tract, draw_voice(rng), rng)
        >>> write_wav("babble.wav", sound)
        >>> sound.shape, sound.dtype
        ((16000,), dtype('float32'))
    """
    n = len(tract) * HOP
    pulses, opening = glottal_pulses(tract, voice, rng)
    breath = rng.standard_normal(n)
    throat = upsampled(tract.voicing) * (pulses + voice.breathiness * breath * opening)
    throat += 0.12 * upsampled(tract.aspiration) * breath
    hiss = HISS * upsampled(tract.frication) * rng.standard_normal(n)
    spectra = np.zeros((len(tract), len(FREQUENCIES_HZ)), np.complex128)
    for source, gains in (
        (throat, lambda rows: vocal_tract(tract, voice, rows)),
        (hiss, lambda rows: narrowing(tract, rows)),
    ):
        windows = windows_of(source)
        # Most windows of most sources are silent.
        rows = np.flatnonzero(np.abs(windows).max(1) > 0)
        if len(rows):
            spectra[rows] += np.fft.rfft(windows[rows], SPECTRUM) * gains(rows)
    return to_level(overlapped(spectra), upsampled(tract.voicing) > 0.1, voice.level_db)


def upsampled(values: Array) -> Array:
    """A parameter at every audio sample."""
    at = np.arange(len(values) * HOP) / HOP
    return np.interp(at, np.arange(len(values)), values)


def glottal_pulses(tract: Tract, voice: Voice, rng: np.random.Generator) -> tuple[Array, Array]:
    """Derivative of the glottal flow (S,), and how open the glottis is (S,) in 0..1.

    Flow while open is 27/4 (x^2 - x^3), x from 0 to 1; its derivative, which radiation at the lips
    takes, ends with the abrupt closure that excites the formants. Made at twice the rate, so
    that little of what lies above half the rate folds back.
    """
    n = len(tract) * HOP
    rate_hz = SAMPLE_RATE_HZ * OVERSAMPLING
    at = np.arange(n * OVERSAMPLING) / (HOP * OVERSAMPLING)
    pitch_hz = voice.pitch_hz * np.interp(at, np.arange(len(tract)), tract.pitch)
    cycles = np.cumsum(pitch_hz) / rate_hz
    number = cycles.astype(np.int64)
    n_cycles = int(number[-1]) + 2
    # Jitter moves the ends of cycles; in between time runs evenly.
    ends = np.arange(n_cycles + 1) + voice.jitter * rng.standard_normal(n_cycles + 1)
    cycles = np.interp(cycles, ends, np.arange(n_cycles + 1))
    number = np.clip(cycles.astype(np.int64), 0, n_cycles - 1)
    loudness = 1 + voice.shimmer * rng.standard_normal(n_cycles)
    x = (cycles - number) / voice.open_share
    flow = np.where(x < 1, 6.75 * (x**2 - x**3), 0.0)
    slope = np.where(x < 1, 6.75 * (2 * x - 3 * x**2), 0.0) * loudness[number]
    return decimated(slope) / 3.0, flow[::OVERSAMPLING]


def decimated(values: Array) -> Array:
    """Every second sample after a windowed-sinc low-pass at 7.4 kHz of 16."""
    taps = np.arange(-32, 33)
    kernel = 0.925 / OVERSAMPLING * np.sinc(0.925 / OVERSAMPLING * taps) * np.hamming(len(taps))
    return np.convolve(values, kernel, mode="same")[::OVERSAMPLING]


def vocal_tract(tract: Tract, voice: Voice, rows: NDArray[np.int64]) -> Gain:
    """Gain (N, F) of the tract at some instants: resonators in cascade, 1 at zero frequency."""
    scale = 17.5 / voice.tract_cm
    table = resonator_table()
    places = np.rint(tract.formants_hz[rows] * scale / TABLE_STEP_HZ).astype(np.int64)
    places = np.clip(places, 0, len(table) - 1)
    gain: Gain = table[places[:, 0]] * table[places[:, 1]]
    gain *= table[places[:, 2]]
    share = tract.nasality[rows].astype(np.float32)
    nasal = np.flatnonzero(share > 0)
    nose = resonator(np.array([270.0 * scale]), np.array([120.0])).astype(np.complex64)
    gain[nasal] *= 1 - share[nasal, None] + share[nasal, None] * 0.7 * nose
    higher_hz = np.array(HIGHER_FORMANTS_HZ) * scale
    higher_hz = higher_hz[higher_hz < HIGHEST_HZ]
    fixed = np.prod(resonator(higher_hz, bandwidth_hz(higher_hz)), axis=0)
    octaves = np.log2(np.maximum(FREQUENCIES_HZ, 300.0) / 300.0)
    tilt = 10.0 ** (-voice.tilt_db * octaves / np.log2(10.0) / 20)
    gain *= (fixed * tilt).astype(np.complex64)
    return gain


def bandwidth_hz(centre_hz: Array) -> Array:
    """Width of a resonance, growing with its frequency (Klatt 1980, table I)."""
    return np.clip(50 + 0.02 * centre_hz + 0.00001 * centre_hz**2, 60, 500)


@functools.cache
def resonator_table() -> Gain:
    """Gains (K, F) of resonators at every TABLE_STEP_HZ, since formants move at every instant."""
    centres_hz = np.arange(0, HIGHEST_HZ, TABLE_STEP_HZ)
    return resonator(centres_hz, bandwidth_hz(centres_hz)).astype(np.complex64)


def resonator(centre_hz: Array, width_hz: Array) -> NDArray[np.complex128]:
    """Gain (N, F) of two-pole digital resonators, 1 at zero frequency (Klatt 1980, eq. 2)."""
    c = -np.exp(-2 * np.pi * width_hz / SAMPLE_RATE_HZ)
    b = 2 * np.exp(-np.pi * width_hz / SAMPLE_RATE_HZ)
    b = b * np.cos(2 * np.pi * centre_hz / SAMPLE_RATE_HZ)
    z = np.exp(-2j * np.pi * FREQUENCIES_HZ / SAMPLE_RATE_HZ)
    gain: NDArray[np.complex128] = (1 - b - c)[:, None] / (1 - b[:, None] * z - c[:, None] * z**2)
    return gain


def narrowing(tract: Tract, rows: NDArray[np.int64]) -> Array:
    """Gain (N, F) for noise made at a narrowing: a hump around its centre, steeper below."""
    octaves = np.log2(np.maximum(FREQUENCIES_HZ, 100.0)) - np.log2(tract.frication_hz[rows, None])
    gain: Array = np.exp(-((octaves / np.where(octaves < 0, 0.45, 0.7)) ** 2)) + 0.02
    return gain


def windows_of(source: Array) -> Array:
    """Windows (N, WINDOW) of a source (S,), one every 5 ms, that add up to it."""
    padded = np.pad(source, (WINDOW // 2, WINDOW // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: len(source) : HOP]
    # Hann windows at every quarter of their length add up to 2.
    return frames * (0.25 * (1 - np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)))


def overlapped(spectra: NDArray[np.complex128]) -> Array:
    """Sound (S,) of filtered windows, one every 5 ms."""
    n = len(spectra)
    blocks = -(-SPECTRUM // HOP)
    rung = np.zeros((n, blocks * HOP))
    rung[:, :SPECTRUM] = np.fft.irfft(spectra, SPECTRUM)
    result = np.zeros((n + blocks, HOP))
    for k in range(blocks):
        result[k : k + n] += rung[:, k * HOP : (k + 1) * HOP]
    return result.reshape(-1)[WINDOW // 2 : WINDOW // 2 + n * HOP]


def to_level(sound: Array, voiced: NDArray[np.bool_], level_db: float) -> NDArray[np.float32]:
    """Sound whose root mean square is level_db while voiced, below full scale everywhere."""
    power = float(np.mean(sound[voiced] ** 2)) if voiced.any() else 0.0
    if power > 0:
        sound = sound * (10 ** (level_db / 20) / np.sqrt(power))
    return np.tanh(sound).astype(np.float32)
