"""A detector that learns in seconds, hardened and not, and the ways to make it look robust."""

from __future__ import annotations

from dataclasses import replace

import torch
from support.small_detectors import SAMPLES_PER_FRAME, SmallDetector
from torch import Tensor, nn

from pushpull.attacks import attack
from pushpull.losses import cross_entropy_all, log_odds, over_frames
from pushpull.models.detector import Detector
from pushpull.schema import Batch, Clip, Output, length_mask

EPS = 10.0
"""Budget of the tests: one grey level and 1e-3."""


class TinyDetector(SmallDetector):
    """Patches and pieces of sound through smooth layers, a hidden layer, three heads."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.audio = nn.Linear(80, width)
        self.audio_out = nn.Linear(width, width)
        self.picture = nn.Linear(14 * 14, width)
        self.picture_out = nn.Linear(64 * width, width)
        self.mix = nn.Linear(2 * width, 2 * width)
        self.head, self.head_a, self.head_v = (nn.Linear(n, 2) for n in (2 * width, width, width))

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        x = self.audio(20 * features.reshape(len(features), -1, 8, 80))
        loud = nn.functional.gelu(x).mean(2)
        return nn.functional.gelu(self.audio_out(loud))

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        patches = (faces - 128).unflatten(3, (8, 14)).unflatten(2, (8, 14)).transpose(3, 4)
        x = nn.functional.gelu(self.picture(patches.flatten(4).flatten(2, 3) / 4))
        return nn.functional.gelu(self.picture_out(x.flatten(2)))

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        both = nn.functional.gelu(self.mix(torch.cat((e_a, e_v), -1)))
        return Output(
            logits=self.head(both),
            mask=length_mask(n_frames, e_a.shape[1]),
            logits_a=self.head_a(e_a),
            logits_v=self.head_v(e_v),
            e_a=e_a,
            e_v=e_v,
        )


def people(count: int, seed: int) -> list[tuple[str, Clip]]:
    """Clips whose class shows coarsely, in sound and faces, and in a pattern finer than the budget.

    What is coarse is strong and noisy, the pattern weak and exact: plain training leans on it.
    """
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(7)
    pattern = torch.where(torch.rand(112, 112, generator=fixed) < 0.5, 1, -1)
    tone = torch.sin(torch.arange(SAMPLES_PER_FRAME) * 0.7)
    clips = []
    for k in range(count):
        n = int(torch.randint(3, 6, (), generator=generator))
        speaking = torch.full((n,), k % 2)
        if k % 5 == 0:
            speaking[n // 2 :] = 1 - speaking[0]
        sign = (2 * speaking - 1).float()
        coarse = torch.randn(n, generator=generator) * 0.8 + sign
        faces = torch.randn(n, 112, 112, generator=generator) * 3 + 128
        faces[:, 56:] += 4 * coarse[:, None, None]
        faces += 0.6 * sign[:, None, None] * pattern
        sound = torch.randn(n, SAMPLES_PER_FRAME, generator=generator) * 0.01
        sound += 0.01 * (1 + 0.6 * sign)[:, None] * tone
        faces = faces.clamp(0, 255).round().byte()
        waveform = (sound.flatten().clamp(-1, 1) * 2**15).round() / 2**15
        clip = Clip(waveform=waveform, faces=faces, fps=25.0, speaking=speaking)
        clips.append((f"t{k:03}", clip))
    return clips


def trained(*, hardened: bool, steps: int = 60) -> TinyDetector:
    """A detector after some steps on random people, against adversaries of its own if hardened."""
    torch.manual_seed(0)
    detector = TinyDetector()
    optimiser = torch.optim.Adam(detector.parameters(), lr=5e-3)
    for step in range(steps):
        batch = Batch.from_clips([clip for _, clip in people(24, 1000 + step)])
        labels = batch.speaking
        if hardened:
            found = attack(detector, batch, "pgd", eps=EPS, steps=3, seed=step)
            batch = replace(found.batch, speaking=labels)
        output = detector(**batch.inputs)
        optimiser.zero_grad()
        over_frames(cross_entropy_all(output, labels), output.mask).backward()
        optimiser.step()
    return detector.eval()


class Masked(Detector):
    """A trained detector with a layer that hides its gradient, and nothing learnt."""

    visual_context = 0

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

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
        heads = ("logits", "logits_a", "logits_v")
        return replace(output, **{name: 1000 * getattr(output, name) for name in heads})


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


class Deaf(Masked):
    """Hears nothing: what it says is of the faces alone."""

    def heard(self, waveform: Tensor) -> Tensor:
        return 0 * waveform


class Blind(Masked):
    """Sees nothing."""

    def seen(self, faces: Tensor) -> Tensor:
        return 0 * faces + 128


class Reluctant(Masked):
    """Calls every frame silent, some more surely than others: a threshold that nobody has set."""

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        output = super().fuse(e_a, e_v, n_frames)
        low = -nn.functional.softplus(-log_odds(output.logits) / 4)
        return replace(output, logits=torch.stack((-low / 2, low / 2), -1))


class Deciding(Masked):
    """Knows clips of five frames and more, whatever is done to them; the rest it can lose."""

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        output = super().fuse(e_a, e_v, n_frames)
        score = torch.where(n_frames[:, None] >= 5, 9.0, log_odds(output.logits))
        return replace(output, logits=torch.stack((-score / 2, score / 2), -1))


HONEST = {"deaf": Deaf, "blind": Blind, "calls all silent": Reluctant}
"""Odd detectors that hide no gradient."""


PLANTED = {
    "logits x 1000": (Scaled, {"gradients"}),
    "rounding layer": (Rounded, {"gradients", "derivatives", "landscape", "budgets"}),
    "detached inputs": (Detached, {"gradients", "derivatives", "budgets"}),
    "dead gradient": (DeadFaces, {"gradients", "derivatives"}),
    "random layer": (Random, {"derivatives"}),
}
"""What hides a gradient, and tests that have to say so."""


SHAPES = {
    "sine": torch.sin,
    "saw": lambda phase: 2 * (phase / (2 * torch.pi) - (phase / (2 * torch.pi)).floor()) - 1,
    "drift": lambda phase: torch.sin(phase + 3 * torch.sin(phase / 40)),
}
"""Ripples by shape, of period 2 pi, between -1 and 1."""


class Ripple(nn.Module):
    """x + A f(w x): values hardly change, slopes point anywhere."""

    def __init__(self, amplitude: float, frequency: float, shape: str = "sine") -> None:
        super().__init__()
        self.amplitude, self.frequency, self.shape = amplitude, frequency, shape

    def forward(self, x: Tensor) -> Tensor:
        return x + self.amplitude * SHAPES[self.shape](self.frequency * x)


class Stairs(nn.Module):
    """Piecewise constant, with a slope that is made up: that of a ripple."""

    def __init__(self, step: float, slope: float) -> None:
        super().__init__()
        self.step, self.slope = step, slope

    def forward(self, x: Tensor) -> Tensor:
        flat = (x.detach() / self.step).round() * self.step
        made_up = self.slope * torch.sin(40 * x / self.step) * self.step / 40
        return flat + (made_up - made_up.detach())


class Behind(Masked):
    """A detector behind layers, on sound, faces, embeddings and logits."""

    def __init__(
        self,
        detector: Detector,
        *,
        audio: nn.Module | None = None,
        visual: nn.Module | None = None,
        embeddings: nn.Module | None = None,
        logits: nn.Module | None = None,
    ) -> None:
        super().__init__(detector)
        plain = nn.Identity()
        self.on_audio, self.on_visual = audio or plain, visual or plain
        self.on_embeddings, self.on_logits = embeddings or plain, logits or plain

    def heard(self, waveform: Tensor) -> Tensor:
        return self.on_audio(waveform)

    def seen(self, faces: Tensor) -> Tensor:
        return self.on_visual(faces)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        output = super().fuse(self.on_embeddings(e_a), self.on_embeddings(e_v), n_frames)
        return replace(output, logits=self.on_logits(output.logits))
