"""What every detector is: two encoders and a fusion, with the front end inside.

`detector(waveform, faces)` -> Output lets gradients reach both inputs. Embeddings that an input
did not change since an earlier call can be given back (an attack on one modality computes the
other's encoder once). The steps `encode_audio`, `encode_visual` and `fuse` are public because long
videos are encoded window by window.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushpull.errors import ShapeError
from pushpull.schema import FACE_SIZE, Output

__all__ = ["Detector"]


class Detector(nn.Module):
    """An active speaker detector over batches of face tracks with their audio."""

    visual_context: int
    """Frames on each side that `visual_local` of one frame depends on (receptive field)."""

    audio_context: int | None = None
    """Frames on each side that `encode_audio` of one frame depends on; None: on the whole clip."""

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
