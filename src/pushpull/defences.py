"""Defences at inference: detectors around a detector, which answer for changed inputs.

    defended = defend(detector, "smoothed", copies=8)
    attack(defended, batch, "pgd")                       # the attacker knows the defence

A defence is a `Detector`, so whatever takes one takes it: detection, attacks, audit. Gradients go
through it, so that it is attacked as it is; a defence that is only tried with adversaries of the
bare detector looks better than it is. None of them certifies anything.

Sources: Cohen et al., "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019; Guo
et al., "Countering Adversarial Images using Input Transformations", ICLR 2018; Xu et al., "Feature
Squeezing", NDSS 2018; Athalye et al., "Obfuscated Gradients", ICML 2018 (BPDA).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.errors import ConfigError, ShapeError, UnknownName
from pushpull.models.detector import Card, Detector
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Output, length_mask

__all__ = [
    "DEFENCES",
    "Purification",
    "Purified",
    "Smoothed",
    "Smoothing",
    "defend",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """Settings of `Smoothed`.

    Attributes:
        copies: Noisy copies of each modality that has noise, from 1.
        sigma_audio: Standard deviation of the noise in samples of [-1, 1], from 0.
        sigma_visual: The same in grey levels of 0..255, from 0.
        seed: Of the noise.

    Examples:
        >>> from pushpull.defences import Smoothing
        >>> Smoothing(copies=4, sigma_visual=8.0)
        Smoothing(copies=4, sigma_audio=0.001, sigma_visual=8.0, seed=0)
    """

    copies: int = 8
    sigma_audio: float = 1e-3
    sigma_visual: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ConfigError(f"copies is {self.copies}; expected at least 1")
        for name in ("sigma_audio", "sigma_visual"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not 0 <= self.seed < 1 << 31:
            raise ConfigError(f"seed is {self.seed}; expected 0..{(1 << 31) - 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purification:
    """Settings of `Purified`; None and 0 leave a step out.

    Attributes:
        visual_bits: Grey levels are rounded to 2 ** visual_bits equal steps of 0..255, 1 to 8.
        jpeg_quality: Blocks of 8 x 8 are rounded as JPEG rounds them at this quality, 1 to 100.
        visual_blur: Standard deviation of a Gaussian low-pass, in pixels, from 0 to 16.
        audio_bits: Samples are rounded to what so many bits hold, 2 to 24.
        audio_cutoff_hz: Half-amplitude frequency of a linear-phase low-pass, up to 8000.
        straight_through: Gradients pass a rounding as if it were not there (BPDA), as an attacker
            who knows the defence takes them; otherwise they end there.

    Examples:
        >>> from pushpull.defences import Purification
        >>> Purification(jpeg_quality=None, audio_bits=8).visual_bits
        7
        >>> Purification(visual_bits=9)
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: visual_bits is 9; expected 1 to 8, or None
    """

    visual_bits: int | None = 7
    jpeg_quality: int | None = 75
    visual_blur: float = 0.7
    audio_bits: int | None = 12
    audio_cutoff_hz: float | None = 7000.0
    straight_through: bool = True

    def __post_init__(self) -> None:
        ranges = {"visual_bits": (1, 8), "jpeg_quality": (1, 100), "audio_bits": (2, 24)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} is {value}; expected {low} to {high}, or None")
        if not 0 <= self.visual_blur <= 16:
            raise ConfigError(f"visual_blur is {self.visual_blur}; expected 0 to 16 pixels")
        top = SAMPLE_RATE_HZ / 2
        if self.audio_cutoff_hz is not None and not 0 < self.audio_cutoff_hz <= top:
            raise ConfigError(
                f"audio_cutoff_hz is {self.audio_cutoff_hz}; expected up to {top:.0f}, or None"
            )


class Smoothed(Detector):
    """Mean log-odds over copies of the inputs with Gaussian noise in both.

    Copy i of the sound meets copy i of the faces. The noise of a sample or pixel hangs on the seed,
    the copy and its place in the clip, so it is the same in any batch, on every device and at every
    call. A window of a long track counts its frames from its own start: `detect_clip` gives
    another draw than one pass does.

    Embeddings and features of all copies lie side by side in the last axis: (B, T, copies * D). A
    modality without noise has one copy. Memory and time grow with the copies.

    Args:
        detector: What is defended; its mode and device are kept.
        settings: Noise and copies.

    Examples:
        >>> from pushpull.defences import Smoothed, Smoothing
        >>> from pushpull.models import build
        >>> defended = Smoothed(build("light_asd").eval(), Smoothing(copies=2))
        >>> output = defended(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112))
        >>> output.score.shape, output.e_v.shape  # the embeddings of both copies
        (torch.Size([1, 5]), torch.Size([1, 5, 256]))
    """

    def __init__(self, detector: Detector, settings: Smoothing | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.settings = settings or Smoothing()
        self.visual_context = detector.visual_context
        self.audio_context = detector.audio_context
        self.training = detector.training

    @property
    def card(self) -> Card:
        """The detector's, named after the defence too."""
        return self._card or _card_of("smoothed", self.detector.card, self.settings)

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """Audio features (B, 4T, copies * M) of noisy waveforms (B, S)."""
        sigma = self.settings.sigma_audio
        parts = [
            self.detector.front_end(noisy, n_samples, n_frames, fps)
            for noisy in self._noisy(waveform, sigma, "audio")
        ]
        return torch.cat(parts, -1)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """e_a (B, T, copies * D) of features (B, 4T, copies * M)."""
        parts = self._split(features, self.settings.sigma_audio)
        return torch.cat([self.detector.encode_audio(part, n_frames) for part in parts], -1)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Local features (B, T, copies * D_local) of noisy faces."""
        noisy = self._noisy(faces, self.settings.sigma_visual, "visual")
        return torch.cat([self.detector.visual_local(part, n_frames) for part in noisy], -1)

    def encode_visual(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """e_v (B, T, copies * D); noise is that of the whole clip, however it is encoded."""
        noisy = self._noisy(faces, self.settings.sigma_visual, "visual")
        return torch.cat([self.detector.encode_visual(part, n_frames) for part in noisy], -1)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """e_v (B, T, copies * D)."""
        parts = self._split(local, self.settings.sigma_visual)
        return torch.cat([self.detector.visual_global(part, n_frames) for part in parts], -1)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Heads averaged over the copies; embeddings of all copies."""
        heard = self._split(e_a, self.settings.sigma_audio)
        seen = self._split(e_v, self.settings.sigma_visual)
        copies = max(len(heard), len(seen))
        outputs = [
            self.detector.fuse(heard[i % len(heard)], seen[i % len(seen)], n_frames)
            for i in range(copies)
        ]
        return Output(
            logits=torch.stack([o.logits for o in outputs]).mean(0),
            mask=outputs[0].mask,
            logits_a=_mean([o.logits_a for o in outputs]),
            logits_v=_mean([o.logits_v for o in outputs]),
            e_a=e_a,
            e_v=e_v,
            z_a=_side_by_side([o.z_a for o in outputs]),
            z_v=_side_by_side([o.z_v for o in outputs]),
        )

    def _copies(self, sigma: float) -> int:
        return self.settings.copies if sigma else 1

    def _noisy(self, x: Tensor, sigma: float, modality: str) -> list[Tensor]:
        """The copies of (B, N, ...); sound has its noise in blocks, faces frame by frame."""
        if not sigma:
            return [x]
        shape = (NOISE_BLOCK,) if modality == "audio" else tuple(x.shape[2:])
        blocks = -(-x.shape[1] // NOISE_BLOCK) if modality == "audio" else x.shape[1]
        copies = []
        for copy in range(self.settings.copies):
            noise = torch.stack(
                [
                    _noise(self.settings.seed, modality, copy, block, shape)
                    for block in range(blocks)
                ]
            )
            noise = noise.flatten()[: x.shape[1]] if modality == "audio" else noise
            copies.append(x + sigma * noise.to(x.device, x.dtype))
        return copies

    def _split(self, x: Tensor, sigma: float) -> Sequence[Tensor]:
        copies = self._copies(sigma)
        if x.shape[-1] % copies:
            raise ShapeError(
                f"the last axis of {tuple(x.shape)} does not hold {copies} copies; expected what "
                "this defence's own front_end, encoders or visual_local gave"
            )
        return x.chunk(copies, -1)


def _card_of(defence: str, card: Card, settings: Smoothing | Purification) -> Card:
    """What a defended detector is known by: another than the bare one, its file kept."""
    digest = hashlib.sha256(f"{defence} {settings} {card.sha256}".encode())
    return replace(card, name=f"{defence} {card.name}", sha256=digest.hexdigest())


class Purified(Detector):
    """A detector behind roundings and low-passes that small changes hardly survive.

    Faces are rounded to fewer grey levels, rounded as JPEG rounds, then blurred, frame by frame;
    sound is low-passed, then rounded.

    Args:
        detector: What is defended; its mode and device are kept.
        settings: Which steps, how strong.

    Examples:
        >>> from pushpull.defences import Purification, Purified
        >>> from pushpull.models import build
        >>> defended = Purified(build("light_asd").eval(), Purification(visual_bits=5))
        >>> defended(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112)).score.shape
        torch.Size([1, 5])
    """

    def __init__(self, detector: Detector, settings: Purification | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.settings = settings or Purification()
        self.visual_context = detector.visual_context
        self.audio_context = detector.audio_context
        self.training = detector.training

    @property
    def card(self) -> Card:
        """The detector's, named after the defence too."""
        return self._card or _card_of("purified", self.detector.card, self.settings)

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """Audio features (B, 4T, M) of purified waveforms (B, S)."""
        return self.detector.front_end(
            self.purify_audio(waveform, n_samples), n_samples, n_frames, fps
        )

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """As the detector."""
        return self.detector.encode_audio(features, n_frames)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Local features of purified faces."""
        return self.detector.visual_local(self.purify_faces(faces), n_frames)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """As the detector."""
        return self.detector.visual_global(local, n_frames)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """As the detector."""
        return self.detector.fuse(e_a, e_v, n_frames)

    def purify_audio(self, waveform: Tensor, n_samples: Tensor) -> Tensor:
        """Waveforms (B, S) in [-1, 1] as the detector hears them.

        What lies beyond a clip's `n_samples` (B,) does not leak in.

        Examples:
            >>> from pushpull.defences import Purification, Purified
            >>> from pushpull.models import build
            >>> coarse = Purification(audio_bits=2, audio_cutoff_hz=None)
            >>> defended = Purified(build("light_asd"), coarse)
            >>> defended.purify_audio(torch.tensor([[0.1, 0.3, -0.9]]), torch.tensor([3]))
            tensor([[ 0.0000,  0.5000, -1.0000]])
        """
        s, x = self.settings, waveform
        if s.audio_cutoff_hz is not None:
            inside = length_mask(n_samples, x.shape[1])
            taps = _low_pass(s.audio_cutoff_hz).to(x)[None, None]
            x = torch.where(inside, x, 0.0)[:, None]
            x = F.conv1d(x, taps, padding=taps.shape[-1] // 2)[:, 0]
        if s.audio_bits is not None:
            step = 2.0 ** (1 - s.audio_bits)
            x = (self._rounded(x / step) * step).clamp(-1.0, 1.0 - step)
        return x

    def purify_faces(self, faces: Tensor) -> Tensor:
        """Faces (B, T, 112, 112) in grey levels 0..255 as the detector sees them.

        Examples:
            >>> from pushpull.defences import Purification, Purified
            >>> from pushpull.models import build
            >>> coarse = Purification(visual_bits=1, jpeg_quality=None, visual_blur=0.0)
            >>> defended = Purified(build("light_asd"), coarse)
            >>> defended.purify_faces(255 * torch.rand(1, 1, 112, 112)).unique()
            tensor([  0., 255.])
        """
        s, x = self.settings, faces
        if s.visual_bits is not None:
            step = 255 / (2**s.visual_bits - 1)
            x = self._rounded(x / step) * step
        if s.jpeg_quality is not None:
            x = self._through_jpeg(x, s.jpeg_quality)
        if s.visual_blur:
            x = _blurred(x, s.visual_blur)
        return x

    def _through_jpeg(self, faces: Tensor, quality: int) -> Tensor:
        dct, steps = _cosines().to(faces), _jpeg_steps(quality).to(faces)
        n = FACE_SIZE // 8
        blocks = (faces - 128).reshape(*faces.shape[:2], n, 8, n, 8).transpose(3, 4)
        rounded = self._rounded(dct @ blocks @ dct.T / steps) * steps
        back = (dct.T @ rounded @ dct).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        return self._rounded(back + 128).clamp(0.0, 255.0)

    def _rounded(self, x: Tensor) -> Tensor:
        if not self.settings.straight_through:
            return x.round()
        # Exactly the rounded value: what is added is zero, but has the gradient.
        return x.detach().round() + (x - x.detach())


def smoothed(detector: Detector, **settings: Any) -> Smoothed:
    """A `Smoothed` with these `Smoothing` settings."""
    return Smoothed(detector, _settings(Smoothing, settings))


def purified(detector: Detector, **settings: Any) -> Purified:
    """A `Purified` with these `Purification` settings."""
    return Purified(detector, _settings(Purification, settings))


DEFENCES: dict[str, Callable[..., Detector]] = {"smoothed": smoothed, "purified": purified}
"""Defences by name. Each is called with a detector and its settings by keyword."""


def defend(detector: Detector, name: str, **settings: Any) -> Detector:
    """The detector behind a defence.

    Args:
        detector: What is defended; a defence may be defended again.
        name: One of `DEFENCES`.
        **settings: Of `Smoothing` or `Purification`.

    Raises:
        UnknownName: If there is no such defence.
        ConfigError: If it has no such setting, or one cannot be.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.defences import defend
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> defended = defend(build("light_asd"), "smoothed", copies=2)
        >>> attack(defended, Batch.from_clips([clip]), "fgsm", eps=5).score.shape
        torch.Size([1, 2])
    """
    if name not in DEFENCES:
        raise UnknownName("defence", name, DEFENCES)
    if not isinstance(detector, Detector):
        raise ConfigError(
            f"what is defended is a {type(detector).__name__}; expected a Detector: give "
            "pushpull.load(name), or pushpull.Detector.wrap(module)"
        )
    return DEFENCES[name](detector, **settings)


def _settings(kind: Callable[..., Any], given: dict[str, Any]) -> Any:
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"there is no setting {', '.join(unknown)}: choose of {', '.join(known)}")
    return kind(**given)


NOISE_BLOCK = 16_000
"""Samples of sound whose noise is drawn at once, so that longer clips begin with the same noise."""


def _noise(seed: int, modality: str, copy: int, block: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers of one block, drawn on the CPU, since devices draw differently."""
    # Mixed, since neighbouring seeds of a generator need not give independent numbers.
    mixed = np.random.SeedSequence((seed, int(modality == "audio"), copy, block))
    generator = torch.Generator().manual_seed(int(mixed.generate_state(1, np.uint64)[0] >> 1))
    return torch.randn(shape, generator=generator)


def _mean(heads: Sequence[Tensor | None]) -> Tensor | None:
    there = [head for head in heads if head is not None]
    return torch.stack(there).mean(0) if there else None


def _side_by_side(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there, -1) if there else None


LOW_PASS_TAPS = 129


@lru_cache(maxsize=8)
def _low_pass(cutoff_hz: float) -> Tensor:
    """Windowed sinc (129,) float64 that lets a constant pass as it is."""
    with torch.inference_mode(False):
        n = torch.arange(LOW_PASS_TAPS, dtype=torch.float64) - LOW_PASS_TAPS // 2
        taps = torch.sinc(2 * cutoff_hz / SAMPLE_RATE_HZ * n)
        taps = taps * torch.hann_window(LOW_PASS_TAPS + 2, False, dtype=torch.float64)[1:-1]
        return taps / taps.sum()


def _blurred(faces: Tensor, sigma: float) -> Tensor:
    """Gaussian low-pass of (B, T, H, W); the picture is continued by its edge.

    Two products of matrices: with taps as convolutions of one channel it takes 25 times as long.
    """
    down, across = (_gaussian(size, sigma).to(faces) for size in faces.shape[-2:])
    return down @ faces @ across.T


@lru_cache(maxsize=8)
def _gaussian(size: int, sigma: float) -> Tensor:
    """What each of `size` pixels in a row takes of each (size, size), float64."""
    radius = math.ceil(3 * sigma)
    with torch.inference_mode(False):
        n = torch.arange(-radius, radius + 1)
        taps = torch.exp(-n.double().square() / (2 * sigma**2))
        taken = (torch.arange(size)[:, None] + n).clamp(0, size - 1)
        rows = torch.zeros(size, size, dtype=torch.float64)
        return rows.scatter_add_(1, taken, (taps / taps.sum()).expand(size, -1))


@lru_cache(maxsize=1)
def _cosines() -> Tensor:
    """Orthonormal type-2 cosine transform (8, 8) float64, a frequency in each row."""
    with torch.inference_mode(False):
        k, n = torch.arange(8.0).double()[:, None], torch.arange(8.0).double()
        rows = 0.5 * torch.cos(math.pi * k * (2 * n + 1) / 16)
        return torch.where(k == 0, rows * math.sqrt(0.5), rows)


# Steps for grey levels at quality 50: ITU-T T.81 (1992), table K.1.
JPEG_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


@lru_cache(maxsize=8)
def _jpeg_steps(quality: int) -> Tensor:
    """Steps (8, 8) at a quality of 1 to 100, scaled as libjpeg scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    with torch.inference_mode(False):
        steps = torch.tensor(JPEG_STEPS, dtype=torch.float64)
        return ((steps * scale + 50) / 100).floor().clamp(1, 255)
