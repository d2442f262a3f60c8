"""Audio features of the detectors in torch, so that gradients reach the waveform.

Both features look through the same windows: `0.025 * 25 / fps` seconds, rectangular, every
`0.010 * 25 / fps` seconds, which makes four rows per video frame at any frame rate. A clip of T
frames gets 4T rows: too few are continued from the clip's start (`numpy.pad(..., "wrap")`), too
many are cut. A row depends on its own clip's valid samples only.

Waveforms are in [-1, 1] and scaled to the int16 range here, since the published models were trained
on int16 samples and the features are logarithms of power.

Source: TalkNet (Tao et al., ACM MM 2021) computes its MFCC with python_speech_features 0.6; the
tests compare with that library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pushpull.errors import ShapeError
from pushpull.schema import SAMPLE_RATE_HZ, length_mask

__all__ = [
    "INT16_SCALE",
    "MFCC_COEFFICIENTS",
    "N_FFT",
    "PRE_EMPHASIS",
    "ROWS_PER_FRAME",
    "SPECTRUM_BINS",
    "Window",
    "cepstra",
    "log_power",
    "log_power_spectrogram",
    "mfcc",
]

MFCC_COEFFICIENTS = 13
N_FFT = 512
SPECTRUM_BINS = N_FFT // 2 + 1
ROWS_PER_FRAME = 4

INT16_SCALE = 32_768.0
PRE_EMPHASIS = 0.97
MEL_FILTERS = 26
LIFTER = 22
# What the library puts for a power of exactly 0; ours is the floor, so that no gradient overflows.
POWER_FLOOR = float(np.finfo(np.float64).eps)
# Rows worked on at once: some 30 MB of float32 windows and spectra, however long the audio.
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Window:
    """Length and step of the analysis windows, in samples at 16 kHz.

    Examples:
        >>> from pushpull.models.features import Window
        >>> window = Window.at(fps=25.0)
        >>> window, window.rows(16_000)
        (Window(length=400, step=160), 99)
    """

    length: int
    step: int

    @classmethod
    def at(cls, fps: float) -> Window:
        """The windows of a video with `fps` frames per second: 400 and 160 samples at 25."""
        # Multiplied in this order as TalkNet's loader and the library do: rounding to whole samples
        # must fall the same way.
        return cls(
            length=_round_half_up(0.025 * 25 / fps * SAMPLE_RATE_HZ),
            step=_round_half_up(0.010 * 25 / fps * SAMPLE_RATE_HZ),
        )

    def rows(self, n_samples: int) -> int:
        """Windows that cover a clip; the last one may reach past its end, into zeros."""
        return 1 + max(0, math.ceil((n_samples - self.length) / self.step))


def mfcc(waveform: Tensor, *, n_samples: Tensor, n_frames: Tensor, fps: Tensor) -> Tensor:
    """Mel-frequency cepstra as TalkNet takes them: 13 coefficients, the first the log energy.

    Pre-emphasis 0.97, 512-point power spectrum (of windows longer than that, below 19.53 fps, only
    the first 512 samples count), 26 mel filters, orthonormal cosine transform, lifter 22. Powers
    are floored at 2.2e-16, which only digital silence reaches.

    Args:
        waveform: (B, S) float in [-1, 1], 16 kHz.
        n_samples: Valid samples of each clip (B,).
        n_frames: Video frames of each clip (B,).
        fps: Video frames per second of each clip (B,).

    Returns:
        (B, 4 max(n_frames), 13), zeros behind a clip's last frame.

    Raises:
        ShapeError: If the arguments do not fit each other or a clip is empty.

    Examples:
        >>> from pushpull.models.features import mfcc
        >>> waveform = torch.sin(torch.arange(6400) / 5)[None].requires_grad_()
        >>> one = {"n_samples": torch.tensor([6400]), "n_frames": torch.tensor([10])}
        >>> features = mfcc(waveform, **one, fps=torch.tensor([25.0]))
        >>> features.shape, features.requires_grad
        (torch.Size([1, 40, 13]), True)
    """
    return _features(waveform, n_samples, n_frames, fps, cepstra, MFCC_COEFFICIENTS)


def log_power_spectrogram(
    waveform: Tensor, *, n_samples: Tensor, n_frames: Tensor, fps: Tensor
) -> Tensor:
    """Natural logarithm of the power spectrum that the MFCC's mel filters see, all 257 bins.

    Arguments, floor and errors as for `mfcc`.

    Returns:
        (B, 4 max(n_frames), 257), zeros behind a clip's last frame.

    Examples:
        >>> from pushpull.models.features import log_power_spectrogram
        >>> waveform = torch.sin(torch.arange(6400) / 5)[None]
        >>> one = {"n_samples": torch.tensor([6400]), "n_frames": torch.tensor([10])}
        >>> log_power_spectrogram(waveform, **one, fps=torch.tensor([25.0])).shape
        torch.Size([1, 40, 257])
    """
    return _features(waveform, n_samples, n_frames, fps, log_power, SPECTRUM_BINS)


def _features(
    waveform: Tensor,
    n_samples: Tensor,
    n_frames: Tensor,
    fps: Tensor,
    of_power: Callable[[Tensor], Tensor],
    width: int,
) -> Tensor:
    _check(waveform, n_samples, n_frames, fps)
    # Spectra of 16-bit audio span more than half precision can hold.
    x = waveform.float() if waveform.dtype in (torch.float16, torch.bfloat16) else waveform
    windows = [Window.at(f) for f in fps.tolist()]
    samples, frames = n_samples.tolist(), n_frames.tolist()
    size = ROWS_PER_FRAME * max(frames)
    out = x.new_zeros(len(windows), size, width)
    with torch.autocast(x.device.type, enabled=False):
        for window in dict.fromkeys(windows):
            clips = [i for i, w in enumerate(windows) if w == window]
            whole = len(clips) == len(windows)
            rows = [min(window.rows(samples[i]), ROWS_PER_FRAME * frames[i]) for i in clips]
            computed = _framed(
                x if whole else x[clips],
                torch.tensor([samples[i] for i in clips], device=x.device),
                window,
                max(rows),
                of_power,
            )
            wanted = torch.tensor([ROWS_PER_FRAME * frames[i] for i in clips], device=x.device)
            continued = _wrapped(computed, torch.tensor(rows, device=x.device), wanted, size)
            out = continued if whole else out.index_copy(0, _indices(clips, x), continued)
    return out


def _check(waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor) -> None:
    if waveform.dim() != 2 or not waveform.is_floating_point():
        raise ShapeError(
            f"waveform is {tuple(waveform.shape)} {waveform.dtype}; expected (B, S), float in -1..1"
        )
    b, s = waveform.shape
    for name, value in (("n_samples", n_samples), ("n_frames", n_frames), ("fps", fps)):
        if value.shape != (b,) or not bool((value > 0).all()):
            raise ShapeError(f"{name} is {value.tolist()}; expected {b} positive numbers")
    if int(n_samples.max()) > s:
        raise ShapeError(f"n_samples is {n_samples.tolist()}; the waveform has {s} samples")


def _framed(
    waveform: Tensor,
    n_samples: Tensor,
    window: Window,
    rows: int,
    of_power: Callable[[Tensor], Tensor],
) -> Tensor:
    """Rows 0..rows of all clips (B, rows, M), part by part."""
    parts = []
    at_once = max(1, ROWS_AT_ONCE // waveform.shape[0])
    for first in range(0, rows, at_once):
        n = min(at_once, rows - first)
        emphasised = _pre_emphasised(
            waveform, n_samples, first * window.step, (n - 1) * window.step + window.length
        )
        frames = emphasised.unfold(1, window.length, window.step)[..., :N_FFT]
        spectrum = torch.fft.rfft(frames, N_FFT)
        parts.append(of_power((spectrum.real.square() + spectrum.imag.square()) / N_FFT))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _pre_emphasised(waveform: Tensor, n_samples: Tensor, start: int, size: int) -> Tensor:
    """Samples start..start+size of x[n] - 0.97 x[n-1] on the int16 scale, zeros outside the clip.

    The first sample of a clip has no predecessor and stays as it is.
    """
    before = min(start, 1)
    piece = waveform[:, start - before : start + size] * INT16_SCALE
    padding = (1 - before, size + before - piece.shape[1])
    piece = F.pad(piece, padding)
    emphasised = piece[:, 1:] - PRE_EMPHASIS * piece[:, :-1]
    inside = length_mask(n_samples - start, size)
    return torch.where(inside, emphasised, 0.0)


def cepstra(power: Tensor) -> Tensor:
    """Log energy and mel cepstra (..., 13) of power spectra (..., 257) on the int16 scale.

    Examples:
        >>> from pushpull.models.features import cepstra
        >>> cepstra(torch.ones(40, 257)).shape
        torch.Size([40, 13])
    """
    to_mel, to_cepstra = _matrices(power.dtype, power.device)
    log_mel = (power @ to_mel).clamp(min=POWER_FLOOR).log()
    log_energy = power.sum(-1, keepdim=True).clamp(min=POWER_FLOOR).log()
    return torch.cat((log_energy, log_mel @ to_cepstra), -1)


def log_power(power: Tensor) -> Tensor:
    """Logarithm of power spectra (..., 257), floored.

    Examples:
        >>> from pushpull.models.features import log_power
        >>> log_power(torch.tensor([1.0, 0.0]))
        tensor([  0.0000, -36.0437])
    """
    return power.clamp(min=POWER_FLOOR).log()


def _wrapped(rows: Tensor, lengths: Tensor, wanted: Tensor, size: int) -> Tensor:
    """The first `lengths` rows of each clip, repeated until `wanted` rows, then zeros to `size`."""
    place = torch.arange(size, device=rows.device)
    source = (place % lengths[:, None])[..., None].expand(-1, -1, rows.shape[-1])
    inside = (place < wanted[:, None])[..., None]
    return torch.where(inside, rows.gather(1, source), 0.0)


def _indices(clips: list[int], like: Tensor) -> Tensor:
    return torch.tensor(clips, device=like.device)


def _round_half_up(x: float) -> int:
    return int(Decimal(x).quantize(Decimal(1), rounding=ROUND_HALF_UP))


@lru_cache(maxsize=8)
def _matrices(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Power spectrum to mel powers (257, 26), and log mel powers to cepstra 1..12 (26, 12)."""
    with torch.inference_mode(False):
        return (
            torch.from_numpy(_mel_filters()).to(device, dtype),
            torch.from_numpy(_cosine_lifter()).to(device, dtype),
        )


def _mel_filters() -> NDArray[np.float64]:
    """Triangles between neighbouring points that are equally far apart in mel, (257, 26)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    points_hz = 700 * (10 ** (np.linspace(0, top, MEL_FILTERS + 2) / 2595) - 1)
    # Corners fall on whole bins.
    corners = np.floor((N_FFT + 1) * points_hz / SAMPLE_RATE_HZ)
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    bins = np.arange(SPECTRUM_BINS)[:, None]
    rising, falling = (bins - low) / (peak - low), (high - bins) / (high - peak)
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return filters


def _cosine_lifter() -> NDArray[np.float64]:
    """Orthonormal type-2 cosine transform, each coefficient raised by the sine lifter, (26, 12)."""
    k = np.arange(1, MFCC_COEFFICIENTS)
    n = np.arange(MEL_FILTERS)[:, None]
    cosine = np.sqrt(2 / MEL_FILTERS) * np.cos(np.pi * k * (2 * n + 1) / (2 * MEL_FILTERS))
    lifted: NDArray[np.float64] = cosine * (1 + LIFTER / 2 * np.sin(np.pi * k / LIFTER))
    return lifted
