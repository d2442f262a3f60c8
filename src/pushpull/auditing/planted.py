"""A detector in which an adversary is known to exist, to test an attack with.

The head is replaced by one that looks along the way that a hidden change of the inputs, a corner of
the budget, moves the embeddings of each frame, or its score where a detector gives no embeddings.
Clean inputs and random points inside the ball score below zero and the hidden adversary above, so
an attack that works finds one.

After Zimmermann et al., "Increasing Confidence in Adversarial Robustness Evaluations", NeurIPS
2022, whose binary head tells inner points of the ball from points on its boundary.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pushpull.attacks.search import held_still
from pushpull.attacks.space import CropSpace
from pushpull.attacks.threat import Threat
from pushpull.losses import log_odds
from pushpull.models.detector import Detector
from pushpull.schema import Batch, Output, length_mask

__all__ = ["Planted", "plant"]

DRAWS = 3
"""Random inner points that must not already be adversaries."""

MOST = 0.95
"""The farthest along the hidden way that a frame is asked to come."""

SLOPE = 8.0
"""Log-odds for the whole way; small, so that no loss saturates."""


class Planted(Detector):
    """A detector behind which a head with a hidden adversary stands, for one batch.

    Args:
        detector: Whose encoders are used; all of it where it gives no embeddings.
        clean: Embeddings (B, T, D) of the clean batch, both modalities side by side; scores
            (B, T, 1) where there are none.
        way: How far the hidden adversary moves them (B, T, D).
        by_scores: Whether these are scores.

    Examples:
        >>> from pushpull.auditing.planted import Planted
        >>> from pushpull.models import build
        >>> detector = build("light_asd").eval()
        >>> waveform, faces = torch.randn(1, 1280) / 10, 255 * torch.rand(1, 2, 112, 112)
        >>> clean = detector(waveform, faces)
        >>> before = torch.cat((clean.e_a, clean.e_v), -1).detach()
        >>> planted = Planted(detector, before, way=torch.ones_like(before))
        >>> bool(planted(waveform, faces).score.abs().max() < 1e-3)  # nothing has moved yet
        True
    """

    def __init__(
        self, detector: Detector, clean: Tensor, way: Tensor, *, by_scores: bool = False
    ) -> None:
        super().__init__()
        self.by_scores = by_scores
        self.level = clean.new_zeros(clean.shape[:2])
        self.detector = detector
        self.visual_context, self.audio_context = detector.visual_context, detector.audio_context
        self.clean = clean
        length = way.square().sum(-1, keepdim=True)
        self.along = way / length.clamp(min=torch.finfo(way.dtype).tiny)

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """As the detector."""
        return self.detector.front_end(waveform, n_samples, n_frames, fps)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """As the detector."""
        return self.detector.encode_audio(features, n_frames)

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """As the detector."""
        return self.detector.visual_local(faces, n_frames)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """As the detector."""
        return self.detector.visual_global(local, n_frames)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Scores by how far the embeddings, or scores, have come along the hidden way."""
        # A look at the first frames of the first clip is one at this batch too.
        n, t = e_v.shape[:2]
        if self.by_scores:
            now = log_odds(self.detector.fuse(e_a, e_v, n_frames).logits)[..., None]
        else:
            now = torch.cat((e_a, e_v), -1)
        score = ((now - self.clean[:n, :t]) * self.along[:n, :t]).sum(-1) - self.level[:n, :t]
        given = {} if self.by_scores else {"e_a": e_a, "e_v": e_v}
        return Output(
            logits=torch.stack((-SLOPE * score / 2, SLOPE * score / 2), -1),
            mask=length_mask(n_frames, t),
            **given,
        )


def plant(
    detector: Detector, batch: Batch, threat: Threat, seed: int
) -> tuple[Planted, Batch, Tensor] | None:
    """A planted detector, the batch with all frames labelled silent, and the frames that count.

    A frame counts if the hidden change moves its embeddings, or its score where a detector gives
    none, farther than random points inside the ball do. None if no frame counts.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.auditing.planted import plant
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=3)
        >>> batch = Batch.from_clips([clip])
        >>> planted, labelled, counts = plant(pp.load("synthetic-a"), batch, Threat.of(5), seed=0)
        >>> int(counts.sum()), bool((planted(**labelled.inputs).score < 0).all())
        (3, True)
    """
    space = CropSpace(batch, threat)
    generator = torch.Generator().manual_seed(seed)
    hidden = {name: r.place(r.noise(generator)) for name, r in space.regions.items()}
    with torch.no_grad(), held_still(detector):
        clean, moved = (detector(**b.inputs) for b in (batch, space.to_batch(hidden)))
    by_scores = clean.e_a is None or clean.e_v is None
    before, after = (_looked_at(output, by_scores) for output in (clean, moved))
    way = after - before
    # A change as small as float32 rounds is no way to go.
    counts = clean.mask & (way.norm(dim=-1) > 1e-5 * before.norm(dim=-1).clamp(min=1e-5))
    if not bool(counts.any()):
        return None
    planted = Planted(detector, before, way, by_scores=by_scores)
    inner = [space.to_batch({n: r.place(r.start(generator)) for n, r in space.regions.items()})
             for _ in range(DRAWS)]  # fmt: skip
    with torch.no_grad(), held_still(planted):
        come = torch.stack([log_odds(planted(**b.inputs).logits) / SLOPE for b in inner]).amax(0)
    counts = counts & (come < MOST)
    if not bool(counts.any()):
        return None
    # Halfway between the hidden adversary and what noise inside the ball comes to.
    planted.level = ((come + 1) / 2).clamp(0.5, MOST)
    labels = torch.zeros_like(batch.mask, dtype=torch.int64)
    return planted, replace(batch, speaking=labels), counts


def _looked_at(output: Output, by_scores: bool) -> Tensor:
    """What the planted head looks at (B, T, D)."""
    if by_scores:
        return log_odds(output.logits)[..., None].detach()
    assert output.e_a is not None  # noqa: S101
    assert output.e_v is not None  # noqa: S101
    return torch.cat((output.e_a, output.e_v), -1).detach()
