"""TalkNet's augmentation of a track: another track's sound beneath, faces flipped, cut or turned.

After Tao et al., ACM MM 2021, section 3.4 and their loader: sound of another track of the batch at
-5 to 5 dB; each track's faces as they are, mirrored, cut to 70 to 100 % and enlarged, or turned by
up to 15 degrees. Levels are measured in floats: the published loader squares int16 samples, which
overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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

    Examples:
        >>> from pushpull.data.augment import augmented
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng = np.random.default_rng(0)
        >>> clip = draw_clip(rng, Case.SPEAKING, n_frames=5)
        >>> other = draw_clip(rng, Case.SPEAKING, n_frames=5)
        >>> augmented(clip, lambda: other.waveform, rng).faces.shape
        torch.Size([5, 112, 112])
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

    Examples:
        >>> from pushpull.data.augment import mix_at
        >>> sound, noise = torch.tensor([0.5, -0.5, 0.5, -0.5]), torch.tensor([0.1, 0.1])
        >>> mix_at(sound, noise, snr_db=20.0)  # a tenth of the amplitude
        tensor([ 0.5500, -0.4500,  0.5500, -0.4500])
    """
    # Not in torch or BLAS: too little work for threads, which wait for each other where it is busy.
    sound = waveform.numpy()
    beneath = np.resize(noise.numpy(), len(sound))
    power, noise_power = (float(np.einsum("i,i->", x, x)) for x in (sound, beneath))
    if power == 0 or noise_power == 0:
        return waveform
    beneath *= (power / noise_power / 10 ** (snr_db / 10)) ** 0.5
    beneath += sound
    peak = max(beneath.max(), -beneath.min())
    if peak > 1:
        beneath /= peak
    return torch.from_numpy(beneath)


def augment_faces(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Faces (T, 112, 112) uint8 as they are, mirrored, cut and enlarged, or turned: all alike.

    Examples:
        >>> from pushpull.data.augment import augment_faces
        >>> faces = torch.zeros(5, 112, 112, dtype=torch.uint8)
        >>> augment_faces(faces, np.random.default_rng(0)).shape
        torch.Size([5, 112, 112])
    """
    import cv2

    kind = int(rng.integers(4))
    size = int(rng.integers(round(SMALLEST_CUT * FACE_SIZE), FACE_SIZE + 1))
    x, y = rng.integers(0, FACE_SIZE - size + 1, 2)
    degrees = float(rng.uniform(-TURN_DEGREES, TURN_DEGREES))
    if kind == 0:
        return faces
    if kind == 1:
        return faces.flip(-1)
    if kind == 2:
        changed = np.empty(faces.shape, np.uint8)
        for face, result in zip(faces.numpy()[:, y : y + size, x : x + size], changed, strict=True):
            cv2.resize(face, (FACE_SIZE, FACE_SIZE), dst=result)
        return torch.from_numpy(changed)
    middle = (FACE_SIZE - 1) / 2
    return _turned(faces.numpy(), cv2.getRotationMatrix2D((middle, middle), degrees, 1.0))


def _turned(faces: NDArray[np.uint8], affine: Any) -> Tensor:
    """Faces seen through an affine map; four at a time as the channels of a picture: faster.

    The last four are filled up: OpenCV rounds pictures of two channels differently.
    """
    import cv2

    result = np.empty((-(-len(faces) // 4) * 4, FACE_SIZE, FACE_SIZE), np.uint8)
    picture, turned = np.empty((2, FACE_SIZE, FACE_SIZE, 4), np.uint8)
    for at in range(0, len(faces), 4):
        some = list(faces[at : at + 4])
        cv2.merge(some + some[-1:] * (4 - len(some)), picture)
        cv2.warpAffine(
            picture, affine, (FACE_SIZE, FACE_SIZE), turned,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
        )  # fmt: skip
        cv2.split(turned, list(result[at : at + 4]))
    return torch.from_numpy(result[: len(faces)])
