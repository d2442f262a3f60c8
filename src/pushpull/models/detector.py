"""What every detector is: two encoders and a fusion, with the front end inside.

`detector(waveform, faces)` -> Output lets gradients reach both inputs. Embeddings that an input
did not change since an earlier call can be given back (an attack on one modality computes the
other's encoder once). The steps `encode_audio`, `encode_visual` and `fuse` are public because long
videos are encoded window by window.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushpull.errors import ShapeError
from pushpull.schema import FACE_SIZE, Output

__all__ = ["Card", "Detector", "fingerprint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known of a detector's weights.

    Attributes:
        name: Known name, else that of the file or class.
        model: Name in `pushpull.models.MODELS`, else the class.
        sha256: Checksum of the file, else of class, settings and weights.
        licence: SPDX name, None if not known.
        trained_on: Data set, None if not known.
        crop: Face crop that the weights do best with, `ava` or `demo`.
        path: File that was read, None if there is none.
    """

    name: str
    model: str
    sha256: str
    licence: str | None = None
    trained_on: str | None = None
    crop: str = "ava"
    path: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """What a result says of the detector that it is of: name, model, sha256."""
        return {"name": self.name, "model": self.model, "sha256": self.sha256}


def fingerprint(module: nn.Module, settings: Mapping[str, object] | None = None) -> str:
    """Checksum of a module's class, settings, parameters and buffers.

    >>> fingerprint(nn.Linear(2, 2)) == fingerprint(nn.Linear(2, 2))  # other random weights
    False
    """
    digest = hashlib.sha256(type(module).__qualname__.encode())
    digest.update(json.dumps(dict(settings or {}), sort_keys=True, default=repr).encode())
    for key, value in module.state_dict().items():
        kept = value.detach().cpu().contiguous()
        digest.update(f"{key} {kept.dtype} {tuple(kept.shape)}".encode())
        digest.update(kept.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Detector(nn.Module, ABC):
    """An active speaker detector over batches of face tracks with their audio.

    A model of one's own becomes one by `Detector.wrap(module)`, or by the five methods below.
    """

    _card: Card | None = None

    visual_context: int
    """Frames on each side that `visual_local` of one frame depends on (receptive field)."""

    audio_context: int | None = None
    """Frames on each side that `encode_audio` of one frame depends on; None: on the whole clip."""

    @property
    def card(self) -> Card:
        """What is known of its weights; made of class and weights where nothing was said."""
        if self._card is not None:
            return self._card
        name = type(self).__name__
        return Card(name=name, model=name, sha256=fingerprint(self, self.config()))

    def with_card(self, card: Card) -> Detector:
        """The same detector, known by a card."""
        self._card = card
        return self

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU if it has none."""
        return self._example.device

    @property
    def dtype(self) -> torch.dtype:
        """In what it computes; float32 if it has no weights."""
        return self._example.dtype

    @property
    def _example(self) -> Tensor:
        """A floating-point parameter or buffer, by which device and type are known."""
        held = (*self.parameters(), *self.buffers())
        return next((x for x in held if x.is_floating_point()), torch.zeros(()))

    @staticmethod
    def wrap(
        module: nn.Module,
        *,
        face_size: int = FACE_SIZE,
        colour: bool = False,
        sound: str = "waveform",
        takes_mask: bool = False,
        takes_fps: bool = False,
        name: str | None = None,
    ) -> Detector:
        """A detector of any module `(sound, faces) -> logits (B, T, 2) or log-odds (B, T)`.

        It goes wherever a detector goes: detection, attacks, evaluation, audit, defences, training.
        The module is called once on a second of noise here, so that one whose answer cannot be
        used is refused before any work. It takes faces in grey levels 0..255 and does its own
        scaling. Without `takes_mask` clips of different lengths are shown to it one by one, so that
        padding changes nothing.

        Args:
            module: What is wrapped; its mode and device are kept.
            face_size: Side of the faces it takes, in pixels; crops are resized differentiably.
            colour: It takes (B, T, 3, H, W); the three channels are equal, since crops are grey.
            sound: `waveform` (B, S) in [-1, 1] at 16 kHz, `mfcc` (B, 4T, 13) or `spectrogram`
                (B, 4T, 257), taken differentiably before the module.
            takes_mask: It is also given `mask=` (B, T) bool, true on valid frames.
            takes_fps: It is also given `fps=` (B,) float64.
            name: What results call it; the module's class by default.

        Raises:
            ConfigError: If a setting cannot be, or the module fails or returns something else.

        Example:
            >>> class Loudness(nn.Module):
            ...     def forward(self, waveform, faces):
            ...         loud = waveform.unfold(1, 640, 640).square().mean(2)
            ...         return 100 * loud[:, : faces.shape[1]] - 1
            >>> detector = Detector.wrap(Loudness())
            >>> detector(torch.zeros(1, 6400), torch.zeros(1, 10, 112, 112)).logits.shape
            torch.Size([1, 10, 2])
        """
        from pushpull.models.wrapped import Wrapped

        return Wrapped(
            module,
            face_size=face_size,
            colour=colour,
            sound=sound,
            takes_mask=takes_mask,
            takes_fps=takes_fps,
            name=name,
        )

    def config(self) -> dict[str, object]:
        """Keyword arguments that build this model again; stored in checkpoint headers."""
        return {}

    @abstractmethod
    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """Audio features (B, 4T, M) of waveforms (B, S), each clip by its own fps."""

    @abstractmethod
    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """Audio embeddings e_a (B, T, D) of features (B, 4T, M)."""

    @abstractmethod
    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """The heavy visual part (B, T, D_local): a frame sees `visual_context` frames around it."""

    @abstractmethod
    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """Visual embeddings e_v (B, T, D) from `visual_local`; light, may see the whole clip."""

    @abstractmethod
    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Scores and heads from the embeddings of both modalities."""

    def encode_visual(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Visual embeddings e_v (B, T, D) of faces (B, T, 112, 112) in grey levels 0..255."""
        return self.visual_global(self.visual_local(faces, n_frames), n_frames)

    def forward(
        self,
        waveform: Tensor,
        faces: Tensor,
        *,
        fps: float | Tensor = 25.0,
        n_samples: Tensor | None = None,
        n_frames: Tensor | None = None,
        e_a: Tensor | None = None,
        e_v: Tensor | None = None,
    ) -> Output:
        """Scores per frame from raw inputs.

        Autocast is followed where the processor can do it. A CPU without AVX-512 emulates bfloat16
        five to fifteen times slower than float32 (measured), and there float32 is kept.

        Args:
            waveform: (B, S) in [-1, 1] at 16 kHz.
            faces: (B, T, 112, 112) grey levels 0..255, float.
            fps: Frames per second, one for all or (B,).
            n_samples: Valid samples of each clip (B,); all by default.
            n_frames: Valid frames of each clip (B,); all by default.
            e_a: What an earlier call gave for this waveform; it is not encoded again.
            e_v: What an earlier call gave for these faces, likewise.

        Raises:
            ShapeError: If the shapes do not fit each other.
        """
        n_frames = self._check_faces(faces, n_frames)
        if waveform.dim() != 2 or waveform.shape[0] != faces.shape[0]:
            raise ShapeError(
                f"waveform is {tuple(waveform.shape)}; expected (B, S) with B = {faces.shape[0]}"
            )
        b, s = waveform.shape
        if n_samples is None:
            n_samples = torch.full((b,), s, device=waveform.device)
        fps_ = torch.as_tensor(fps, dtype=torch.float64).expand(b)
        with _no_emulated_bfloat16(faces.device):
            if e_a is None:
                features = self.front_end(waveform, n_samples, n_frames, fps_)
                # Faces may be padded beyond the longest clip.
                features = F.pad(features, (0, 0, 0, 4 * faces.shape[1] - features.shape[1]))
                e_a = self.encode_audio(features, n_frames)
            if e_v is None:
                e_v = self.encode_visual(faces, n_frames)
            return self.fuse(e_a, e_v, n_frames)

    def from_features(
        self, features: Tensor, faces: Tensor, *, n_frames: Tensor | None = None
    ) -> Output:
        """Scores per frame from ready audio features (B, 4T, M) and faces (B, T, 112, 112)."""
        n_frames = self._check_faces(faces, n_frames)
        b, t = faces.shape[:2]
        if features.dim() != 3 or features.shape[:2] != (b, 4 * t):
            raise ShapeError(
                f"features is {tuple(features.shape)}; expected (B, 4T, M) with B = {b}, T = {t}"
            )
        with _no_emulated_bfloat16(faces.device):
            e_a = self.encode_audio(features, n_frames)
            e_v = self.encode_visual(faces, n_frames)
            return self.fuse(e_a, e_v, n_frames)

    def _check_faces(self, faces: Tensor, n_frames: Tensor | None) -> Tensor:
        if faces.dim() != 4 or faces.shape[2:] != (FACE_SIZE, FACE_SIZE) or faces.shape[1] == 0:
            raise ShapeError(
                f"faces is {tuple(faces.shape)}; expected (B, T, {FACE_SIZE}, {FACE_SIZE}), T > 0"
            )
        b, t = faces.shape[:2]
        if n_frames is None:
            return torch.full((b,), t, device=faces.device)
        if n_frames.shape != (b,) or int(n_frames.max()) > t or int(n_frames.min()) < 1:
            raise ShapeError(f"n_frames is {n_frames.tolist()}; expected {b} numbers in 1..{t}")
        return n_frames


def _no_emulated_bfloat16(device: torch.device) -> AbstractContextManager[object]:
    if device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("AVX2", "NO AVX"):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()
