"""Real detectors small enough to be attacked thousands of times in tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pushpull.models.detector import Detector
from pushpull.schema import Batch, Clip, Output, length_mask

SAMPLES_PER_FRAME = 640


class SmallDetector(Detector):
    """What both share: at 25 fps, a frame's features are its 640 samples, four rows of 160."""

    visual_context = 0

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        size = SAMPLES_PER_FRAME * int(n_frames.max())
        inside = length_mask(n_samples, waveform.shape[1])
        x = torch.where(inside, waveform, 0.0)[:, :size]
        x = nn.functional.pad(x, (0, size - x.shape[1]))
        return x.view(len(x), -1, 160)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        return local


class LinearDetector(SmallDetector):
    """Score = waveform times w_a + faces times w_v, frame by frame: its optimum is known."""

    def __init__(self, seed: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w_a = nn.Parameter(torch.randn(SAMPLES_PER_FRAME, generator=generator) * scale)
        self.w_v = nn.Parameter(torch.randn(112, 112, generator=generator) * scale / 255)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        frames = features.reshape(len(features), -1, SAMPLES_PER_FRAME)
        return (frames @ self.w_a)[..., None]

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        return torch.einsum("bthw,hw->bt", faces - 127.5, self.w_v)[..., None]

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        score = e_a + e_v
        return Output(
            logits=torch.cat((-score / 2, score / 2), -1),
            mask=length_mask(n_frames, e_a.shape[1]),
            e_a=e_a,
            e_v=e_v,
        )


class ConvDetector(SmallDetector):
    """Convolutions with batch norm, dropout, a recurrent layer over the fused streams, 3 heads."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.audio = nn.Conv1d(1, 8, 160, 160)
            self.audio_norm = nn.BatchNorm1d(8)
            self.picture = nn.Conv2d(1, 8, 16, 16)
            self.picture_norm = nn.BatchNorm2d(8)
            self.dropout = nn.Dropout(0.5)
            self.over_time = nn.GRU(16, 8, num_layers=2, dropout=0.5, batch_first=True)
            self.head = nn.Linear(8, 2)
            self.head_a = nn.Linear(8, 2)
            self.head_v = nn.Linear(8, 2)
        self.picture_norm.eval()

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        x = self.audio(features.reshape(len(features), 1, -1) * 5)
        return self.audio_norm(x).relu().unflatten(2, (-1, 4)).mean(3).transpose(1, 2)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        x = self.picture(faces.flatten(0, 1)[:, None] / 64 - 2)
        return self.picture_norm(x).relu().mean((2, 3)).unflatten(0, faces.shape[:2])

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        both, _ = self.over_time(self.dropout(torch.cat((e_a, e_v), 2)))
        return Output(
            logits=self.head(both) * 20,
            mask=length_mask(n_frames, e_a.shape[1]),
            logits_a=self.head_a(e_a),
            logits_v=self.head_v(e_v),
            e_a=e_a,
            e_v=e_v,
        )


def random_batch(
    lengths: tuple[int, ...] = (3, 2),
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    on_grid: bool = True,
) -> Batch:
    """Clips of these lengths with labels of both classes; loud and dark parts reach the range."""
    generator = torch.Generator().manual_seed(seed)
    clips = []
    for n in lengths:
        waveform = torch.randn(SAMPLES_PER_FRAME * n, generator=generator) * 0.3
        faces = torch.rand(n, 112, 112, generator=generator) * 300 - 20
        clips.append(
            Clip(
                waveform=waveform.clamp(-1, 1 - 2**-15),
                faces=faces.clamp(0, 255),
                fps=25.0,
                speaking=torch.arange(n) % 2,
            )
        )
    batch = Batch.from_clips(clips)
    waveform, faces = batch.waveform, batch.faces
    if on_grid:
        waveform, faces = (waveform * 2**15).round() / 2**15, faces.round()
    return Batch(
        waveform=waveform.to(dtype),
        faces=faces.to(dtype),
        n_samples=batch.n_samples,
        n_frames=batch.n_frames,
        fps=batch.fps,
        speaking=batch.speaking,
    )


def with_lively_norms(model: Detector) -> Detector:
    """The model with batch norms that do something: untrained ones are the identity."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
    return model
