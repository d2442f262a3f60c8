"""Models of one's own as detectors: any module from sound and faces to a score for each frame.

A foreign module sees whole clips and has no embeddings, so the steps of a detector carry its inputs
along: `encode_audio` hands on the sound, `encode_visual` the faces, and `fuse` calls the module.
The last two columns of the audio features are the clip's number of samples and its frame rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushpull.errors import ConfigError, UnknownName
from pushpull.models.detector import Card, Detector, fingerprint
from pushpull.models.features import ROWS_PER_FRAME, log_power_spectrogram, mfcc
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Output, length_mask

__all__ = ["SOUNDS", "Wrapped"]

FrontEnd = Callable[..., Tensor]
"""Features (B, 4T, M) of waveforms (B, S), their n_samples, n_frames and fps (B,)."""


def waveform_rows(waveform: Tensor, *, n_samples: Tensor, n_frames: Tensor, fps: Tensor) -> Tensor:
    """The waveforms (B, S) themselves, cut into the rows (B, 4T, ceil(S / 4T)) of features.

    >>> sizes = {"n_samples": torch.tensor([6400]), "n_frames": torch.tensor([10])}
    >>> waveform_rows(torch.zeros(1, 6400), **sizes, fps=torch.tensor([25.0])).shape
    torch.Size([1, 40, 160])
    """
    rows = ROWS_PER_FRAME * int(n_frames.max())
    width = -(-waveform.shape[1] // rows)
    return F.pad(waveform, (0, rows * width - waveform.shape[1])).reshape(-1, rows, width)


SOUNDS: dict[str, FrontEnd] = {
    "waveform": waveform_rows,
    "mfcc": mfcc,
    "spectrogram": log_power_spectrogram,
}
"""What a module hears, by name."""

PROBE_FRAMES = 25
CARRIED = 2
"""Columns of the features that carry the number of samples and the frame rate."""

EXPECTED = "expected logits (B, T, 2), silent then speaking, or log-odds of speaking (B, T)"


class Wrapped(Detector):
    """A module that is no detector, as one. See `Detector.wrap`."""

    visual_context = 0

    def __init__(
        self,
        module: nn.Module,
        *,
        face_size: int = FACE_SIZE,
        colour: bool = False,
        sound: str = "waveform",
        takes_mask: bool = False,
        takes_fps: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise ConfigError(
                f"what is wrapped is a {type(module).__name__}; expected a torch.nn.Module that "
                "takes sound and faces"
            )
        if sound not in SOUNDS:
            raise UnknownName("sound", sound, SOUNDS)
        if face_size != int(face_size) or face_size < 1:
            raise ConfigError(f"face_size is {face_size}; expected pixels, 1 or more")
        self.module = module
        self.face_size, self.colour, self.sound = int(face_size), colour, sound
        self.takes_mask, self.takes_fps = takes_mask, takes_fps
        self.name = name or type(module).__name__
        self.training = module.training
        self._probe()

    @property
    def card(self) -> Card:
        """Name and checksum of class, settings and weights."""
        if self._card is not None:
            return self._card
        sha256 = fingerprint(self.module, self.config())
        return Card(name=self.name, model=type(self.module).__name__, sha256=sha256)

    def config(self) -> dict[str, object]:
        """The settings of the wrapping."""
        return {
            "face_size": self.face_size,
            "colour": self.colour,
            "sound": self.sound,
            "takes_mask": self.takes_mask,
            "takes_fps": self.takes_fps,
        }

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """What the module hears (B, 4T, M), with samples and rate in two more columns."""
        inside = length_mask(n_samples, waveform.shape[1])
        waveform = torch.where(inside, waveform, 0.0)
        heard = SOUNDS[self.sound](waveform, n_samples=n_samples, n_frames=n_frames, fps=fps)
        carried = torch.stack([n_samples.to(heard), fps.to(heard)], 1)
        return torch.cat([heard, carried[:, None].expand(-1, heard.shape[1], -1)], 2)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """The features (B, 4T, M) of each frame side by side (B, T, 4M)."""
        return features.reshape(len(features), -1, ROWS_PER_FRAME * features.shape[2])

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Faces (B, T, H, W) resized, one row a frame (B, T, face_size ** 2)."""
        if self.face_size == FACE_SIZE:
            return faces.flatten(2)
        size = (self.face_size, self.face_size)
        flat = faces.flatten(0, 1)[:, None]
        small = F.interpolate(flat, size, mode="bilinear", align_corners=False, antialias=True)
        return small.view(*faces.shape[:2], -1)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """The faces as they are."""
        return local

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """What the module says, clip by clip where their lengths differ and it takes no mask."""
        b, t = e_v.shape[:2]
        mask = length_mask(n_frames, t)
        rows = e_a.reshape(b, t, ROWS_PER_FRAME, -1)
        heard, carried = rows[..., :-CARRIED], rows[:, 0, 0, -CARRIED:].detach()
        n_samples, fps = carried[:, 0].round().long(), carried[:, 1].double()
        faces = e_v.reshape(b, t, self.face_size, self.face_size)
        equal = bool((n_frames == t).all()) and bool((n_samples == n_samples[0]).all())
        if equal or self.takes_mask:
            scores = self._called(heard, faces, n_samples, fps, mask)
        else:
            clips = []
            for i in range(b):
                n, one = int(n_frames[i]), slice(i, i + 1)
                # Rows of a waveform were cut for the whole batch, whatever the rate of a clip.
                sound = heard[one] if self.sound == "waveform" else heard[one, :n]
                part = self._called(sound, faces[one, :n], n_samples[one], fps[one], mask[one, :n])
                clips.append(F.pad(part, (0, 0, 0, t - n)))
            scores = torch.cat(clips)
        return Output(logits=scores, mask=mask)

    def _called(
        self, heard: Tensor, faces: Tensor, n_samples: Tensor, fps: Tensor, mask: Tensor
    ) -> Tensor:
        """Logits (B, T, 2) of the module."""
        sound = heard.flatten(1, 2)
        if self.sound == "waveform":
            sound = sound.flatten(1)[:, : int(n_samples.max())]
        if self.colour:
            faces = faces[:, :, None].expand(-1, -1, 3, -1, -1)
        more: dict[str, Any] = {"mask": mask} if self.takes_mask else {}
        if self.takes_fps:
            more["fps"] = fps
        return as_logits(self.module(sound, faces, **more), faces.shape[:2], self.name)

    def _probe(self) -> None:
        """Refuse a module whose answer cannot be used, before any work."""
        modes = [(part, part.training) for part in self.modules()]
        generator = torch.Generator().manual_seed(0)
        samples = PROBE_FRAMES * SAMPLE_RATE_HZ // 25
        waveform = 0.1 * torch.randn(1, samples, generator=generator)
        faces = 255 * torch.rand(1, PROBE_FRAMES, FACE_SIZE, FACE_SIZE, generator=generator)
        try:
            self.eval()
            with torch.no_grad():
                self(
                    waveform.to(self.device, self.dtype),
                    faces.to(self.device, self.dtype),
                    fps=25.0,
                )
        except ConfigError:
            raise
        except Exception as e:
            shown = {"waveform": f"a waveform (1, {samples})", "mfcc": "MFCC (1, 100, 13)"}
            heard = shown.get(self.sound, "a spectrogram (1, 100, 257)")
            size = (1, PROBE_FRAMES, *((3,) if self.colour else ()), self.face_size, self.face_size)
            raise ConfigError(
                f"{self.name} failed on {heard} and faces {size}: {type(e).__name__}: "
                f"{' '.join(str(e).split())}; expected a module (sound, faces) -> scores; see "
                "face_size, colour and sound of Detector.wrap"
            ) from e
        finally:
            for part, training in modes:
                part.training = training


def as_logits(answer: object, frames: tuple[int, ...], name: str) -> Tensor:
    """Logits (B, T, 2) of what a module answered for B clips of T frames.

    Raises:
        ConfigError: If it is neither logits nor log-odds, or not finite.

    Example:
        >>> as_logits(torch.tensor([[2.0, -4.0]]), (1, 2), "mine")
        tensor([[[-1.,  1.],
                 [ 2., -2.]]])
    """
    if not torch.is_tensor(answer):
        what = type(answer).__name__
        if isinstance(answer, (tuple, list)):
            what += f" of {len(answer)}"
        elif isinstance(answer, Mapping):
            what += f" of {', '.join(map(str, answer))}"
        raise ConfigError(f"{name} returned a {what}; {EXPECTED}: one tensor")
    b, t = frames
    shape = tuple(answer.shape)
    if not answer.is_floating_point():
        raise ConfigError(f"{name} returned {answer.dtype}; {EXPECTED}, floating point")
    if shape == (b, t, 2):
        logits = answer
    elif shape == (b, t):
        # Half each way: the cross-entropy of both classes is that of the log-odds.
        logits = torch.stack([-answer / 2, answer / 2], 2)
    else:
        hint = ""
        if math.prod(shape) == b * t and len(shape) > 1:
            hint = "; squeeze its last axis"
        elif shape in ((b * t, 2), (b * t,)):
            hint = "; keep clips and frames apart"
        raise ConfigError(
            f"{name} returned {shape} for B = {b} clips of T = {t} frames; {EXPECTED}{hint}"
        )
    return logits
