"""Ways to make a detector look robust, and a few clips to find them out on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pushpull.dataset.synth import SynthConfig, synth_example
from pushpull.models.detector import Detector
from pushpull.schema import Clip, Output

EPS = 5.0


def people(count: int, frames: int = 8) -> list[tuple[str, Clip]]:
    """Synthetic clips, every other one mostly speaking."""
    config = SynthConfig(tracks=400, seed=11, min_frames=frames, max_frames=frames)
    found: list[list[tuple[str, Clip]]] = [[], []]
    number = 0
    while min(len(group) for group in found) < count // 2:
        example = synth_example(config, "test", number)
        assert example.clip.speaking is not None
        group = found[int(example.clip.speaking.float().mean() > 0.5)]
        if len(group) < count // 2:
            group.append((example.track_id, example.clip))
        number += 1
    return found[0] + found[1]


class Masked(Detector):
    """A detector with a layer that hides its gradient, and nothing learnt."""

    visual_context = 0

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.visual_context = detector.visual_context

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        return self.detector.front_end(self.heard(waveform), n_samples, n_frames, fps)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        return self.detector.encode_audio(features, n_frames)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        return self.detector.visual_local(self.seen(faces), n_frames)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        return self.detector.visual_global(local, n_frames)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        return self.detector.fuse(e_a, e_v, n_frames)

    def heard(self, waveform: Tensor) -> Tensor:
        return waveform

    def seen(self, faces: Tensor) -> Tensor:
        return faces


class Scaled(Masked):
    """Logits x 1000."""

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        output = super().fuse(e_a, e_v, n_frames)
        return replace(output, logits=1000 * output.logits)


class Rounded(Masked):
    """Inputs rounded to steps a little finer than the budget."""

    def heard(self, waveform: Tensor) -> Tensor:
        return (waveform * 2**11).round() / 2**11

    def seen(self, faces: Tensor) -> Tensor:
        return faces.round()


class Detached(Masked):
    """Inputs without any gradient."""

    def heard(self, waveform: Tensor) -> Tensor:
        return waveform.detach()

    def seen(self, faces: Tensor) -> Tensor:
        return faces.detach()


class DeadFaces(Masked):
    """A gradient of zero in one modality."""

    def seen(self, faces: Tensor) -> Tensor:
        return faces.detach() + 0 * faces


class Random(Masked):
    """Embeddings with fresh noise at every evaluation."""

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        return super().fuse(e_a, e_v + 0.5 * torch.randn_like(e_v), n_frames)


PLANTED = {
    "logits x 1000": (Scaled, "gradients"),
    "rounding layer": (Rounded, "gradients"),
    "detached inputs": (Detached, "gradients"),
    "dead gradient": (DeadFaces, "gradients"),
    "random layer": (Random, "randomness"),
}
"""What hides a gradient, and a test that has to say so."""
