"""How far an adversary is from its clip, in the measures that people report.

All are of one clip each, over its valid samples and frames. An unchanged input has an SNR and a
PSNR of infinity and an SSIM of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushpull.errors import ShapeError
from pushpull.schema import Batch

__all__ = ["Imperceptibility", "imperceptibility", "ssim"]

WHITE = 255.0
WINDOW = 11
SIGMA = 1.5
# Frames compared at once: some 60 MB of float32 maps.
FRAMES_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imperceptibility:
    """Measures of each clip (B,), float64.

    Attributes:
        snr_db: Energy of the clean waveform over that of its change.
        psnr_db: Square of white (255) over the mean square change of a pixel.
        ssim: Mean structural similarity of the frames.
        audio_linf: Largest change of a sample.
        visual_linf: Largest change of a pixel, in grey levels.

    Examples:
        >>> from dataclasses import replace
        >>> from pushpull.metrics.imperceptibility import imperceptibility
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.ones(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> batch = Batch.from_clips([clip])
        >>> found = imperceptibility(batch, replace(batch, faces=batch.faces + 2.0))
        >>> float(found.visual_linf), float(found.psnr_db), float(found.snr_db)
        (2.0, 42.1, inf)
    """

    snr_db: Tensor
    psnr_db: Tensor
    ssim: Tensor
    audio_linf: Tensor
    visual_linf: Tensor


def imperceptibility(clean: Batch, adversarial: Batch) -> Imperceptibility:
    """Compare clips with their adversaries.

    Raises:
        ShapeError: If the batches have different shapes or lengths.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.metrics.imperceptibility import imperceptibility
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> attacked = attack(build("light_asd"), Batch.from_clips([clip]), "fgsm", eps=5)
        >>> found = imperceptibility(attacked.clean, attacked.batch)
        >>> bool(found.psnr_db > 50), bool(found.ssim > 0.99)
        (True, True)
    """
    for name in ("waveform", "faces", "n_samples", "n_frames"):
        before, after = getattr(clean, name), getattr(adversarial, name)
        if before.shape != after.shape or (name[:2] == "n_" and not torch.equal(before, after)):
            raise ShapeError(
                f"{name} of the adversary is {tuple(after.shape)}, expected {tuple(before.shape)} "
                "and the lengths of the clean clips"
            )
    clips = [
        _of_clip(*tensors)
        for tensors in zip(
            clean.waveform,
            adversarial.waveform,
            clean.faces,
            adversarial.faces,
            clean.n_samples.tolist(),
            clean.n_frames.tolist(),
            strict=True,
        )
    ]
    columns = [torch.stack(column) for column in zip(*clips, strict=True)]
    return Imperceptibility(
        snr_db=columns[0],
        psnr_db=columns[1],
        ssim=columns[2],
        audio_linf=columns[3],
        visual_linf=columns[4],
    )


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (N,) of grey pictures (N, H, W) in 0..255, at least 11 x 11 pixels.

    Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, mean over all whole windows.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity",
    IEEE TIP 2004.

    Examples:
        >>> from pushpull.metrics.imperceptibility import ssim
        >>> picture = 255 * torch.rand(1, 32, 32)
        >>> float(ssim(picture, picture)), bool(ssim(picture, 255 - picture) < 0)
        (1.0, True)
    """
    parts = zip(torch.split(a, FRAMES_AT_ONCE), torch.split(b, FRAMES_AT_ONCE), strict=True)
    return torch.cat([_ssim(x, y) for x, y in parts])


def _of_clip(
    waveform: Tensor, heard: Tensor, faces: Tensor, seen: Tensor, n_samples: int, n_frames: int
) -> tuple[Tensor, ...]:
    before, after = waveform[:n_samples].double(), heard[:n_samples].double()
    sound = after - before
    # Frame by frame, as a long clip in float64 is large.
    pairs = list(zip(faces[:n_frames], seen[:n_frames], strict=True))
    pictures = [y.double() - x.double() for x, y in pairs]
    mean_square = torch.stack([d.square().mean() for d in pictures]).mean()
    return (
        _decibels(before.square().sum(), sound.square().sum()),
        _decibels(mean_square.new_tensor(WHITE**2), mean_square),
        ssim(faces[:n_frames], seen[:n_frames]).double().mean(),
        sound.abs().max(),
        torch.stack([d.abs().max() for d in pictures]).max(),
    )


def _decibels(of: Tensor, over: Tensor) -> Tensor:
    return torch.where(over == 0, torch.inf, 10 * torch.log10(of / over))


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    n = len(x)
    maps = _blurred(torch.cat((x, y, x * x, y * y, x * y)))
    mean_x, mean_y, square_x, square_y, product = torch.split(maps, n)
    c1, c2 = (0.01 * WHITE) ** 2, (0.03 * WHITE) ** 2
    both = mean_x * mean_y
    squares = mean_x.square() + mean_y.square()
    variances = square_x + square_y - squares
    similar = (2 * both + c1) * (2 * (product - both) + c2) / ((squares + c1) * (variances + c2))
    return similar.mean((1, 2))


def _blurred(pictures: Tensor) -> Tensor:
    """Weighted means (N, H - 10, W - 10) of each window of (N, H, W)."""
    rows, columns = (_band(size, pictures) for size in pictures.shape[1:])
    return rows @ pictures @ columns.T


def _band(size: int, like: Tensor) -> Tensor:
    """The window at each of its places as a matrix (size - 10, size)."""
    place = torch.arange(size, device=like.device, dtype=like.dtype)
    middle = place[WINDOW // 2 : size - WINDOW // 2, None]
    weights = torch.exp(-(place - middle).square() / (2 * SIGMA**2))
    weights = weights.masked_fill((place - middle).abs() > WINDOW // 2, 0.0)
    return weights / weights.sum(1, keepdim=True)
