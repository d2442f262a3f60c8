"""TalkNet's augmentation of a track: another track's sound beneath, faces flipped, cut or turned.

After Tao et al., ACM MM 2021, section 3.4 and their loader: sound of another track of the batch at
-5 to 5 dB; each track's faces as they are, mirrored, cut to 70 to 100 % and enlarged, or turned by
up to 15 degrees. Levels are measured in floats: the published loader squares int16 samples, which
overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pushpull.schema import FACE_SIZE, Clip

__all__ = ["augment_faces", "augmented", "mix_at"]

SNR_DB = (-5.0, 5.0)
SMALLEST_CUT = 0.7
TURN_DEGREES = 15.0


def augmented(clip: Clip, other: Callable[[], Tensor] | None, rng: np.random.Generator) -> Clip:
    """A clip with another clip's sound beneath, half of the time, and its faces changed.

    Args:
        clip: What is learnt from.
        other: Gives the other sound (S,) when it is wanted; None leaves the sound.
        rng: Source of every choice.
    """
    beneath = bool(rng.integers(2))
    snr_db = float(rng.uniform(*SNR_DB))
    waveform = clip.waveform
    if other is not None and beneath:
        waveform = mix_at(waveform, other(), snr_db)
    return replace(clip, waveform=waveform, faces=augment_faces(clip.faces, rng))


def mix_at(waveform: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """Sound (S,) with noise beneath, repeated or cut to its length, at a ratio of powers in dB.

    Where either is silent there is no ratio, and the sound comes back as it is. A sum beyond
    [-1, 1] is scaled down as a whole.
    """
    noise = noise.repeat(-(-len(waveform) // len(noise)))[: len(waveform)]
    power, noise_power = (float(x.double().square().mean()) for x in (waveform, noise))
    if power == 0 or noise_power == 0:
        return waveform
    mixed: Tensor = waveform + noise * (power / noise_power / 10 ** (snr_db / 10)) ** 0.5
    return mixed / max(1.0, float(mixed.abs().max()))


def augment_faces(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Faces (T, 112, 112) uint8 as they are, mirrored, cut and enlarged, or turned: all alike."""
    import cv2

    kind = int(rng.integers(4))
    size = int(rng.integers(round(SMALLEST_CUT * FACE_SIZE), FACE_SIZE + 1))
    x, y = rng.integers(0, FACE_SIZE - size + 1, 2)
    degrees = float(rng.uniform(-TURN_DEGREES, TURN_DEGREES))
    if kind == 0:
        return faces
    if kind == 1:
        return faces.flip(-1)
    result = np.empty(tuple(faces.shape), np.uint8)
    if kind == 2:
        cuts = faces.numpy()[:, y : y + size, x : x + size]
        for source, target in zip(cuts, result, strict=True):
            cv2.resize(source, (FACE_SIZE, FACE_SIZE), dst=target)
        return torch.from_numpy(result)
    middle = (FACE_SIZE - 1) / 2
    affine = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    for source, target in zip(faces.numpy(), result, strict=True):
        cv2.warpAffine(
            source, affine, (FACE_SIZE, FACE_SIZE), dst=target,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
        )  # fmt: skip
    return torch.from_numpy(result)
