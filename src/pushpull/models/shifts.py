"""Would the sound fit these lips as well at another time?

The encoders have no part in it: embeddings of the sound are moved against those of the faces and
fused again. Where the voice is the mouth's own, no other time fits as well; a voice from elsewhere
fits now as badly as at any time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushpull.models.detector import Detector
from pushpull.schema import Output

__all__ = ["SHIFTS_S", "scores_at_shifts"]

SHIFTS_S = tuple(sign * s for s in (0.32, 0.48, 0.68, 0.92, 1.2, 1.6) for sign in (1, -1))
"""No nearer: lips and voice that are 0.2 s apart still pass for one, as they do with people."""

LONGEST_SHIFT = 0.6
"""In shares of a track: what is moved round to the other end is no time of its own."""

WINDOW_FRAMES = 500
"""What is fused at once."""


def scores_at_shifts(detector: Detector, output: Output, *, fps: float) -> Tensor | None:
    """Scores (K, T) of one clip with its sound moved by each of the K `SHIFTS_S`.

    Args:
        detector: In eval mode.
        output: Of a batch of one clip without padding, as `score_track` gives it.
        fps: Video frames per second.

    Returns:
        NaN where the clip is too short for a shift; None where a model gives no embeddings.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.shifts import SHIFTS_S, scores_at_shifts
        >>> detector = build("light_asd").eval()
        >>> with torch.inference_mode():
        ...     output = detector(torch.randn(1, 32_000) / 10, 255 * torch.rand(1, 50, 112, 112))
        >>> len(SHIFTS_S), scores_at_shifts(detector, output, fps=25.0).shape
        (12, torch.Size([12, 50]))
    """
    e_a, e_v = output.e_a, output.e_v
    if e_a is None or e_v is None:
        return None
    n = e_v.shape[1]
    scores = torch.full((len(SHIFTS_S), n), torch.nan, device=e_v.device)
    rows = [k for k, s in enumerate(SHIFTS_S) if abs(s) * fps <= LONGEST_SHIFT * n]
    if not rows:
        return scores
    moved = torch.cat([torch.roll(e_a, round(SHIFTS_S[k] * fps), 1) for k in rows])
    still = e_v.expand(len(rows), -1, -1)
    with torch.inference_mode():
        for first in range(0, n, WINDOW_FRAMES):
            here = slice(first, first + WINDOW_FRAMES)
            frames = torch.full((len(rows),), still[:, here].shape[1], device=e_v.device)
            output = detector.fuse(moved[:, here], still[:, here], frames)
            scores[rows, here] = output.score.to(scores.dtype)
    return scores
