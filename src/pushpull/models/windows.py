"""The heavy visual encoder window by window: memory that does not grow with the clip.

A frame of `Detector.visual_local` sees `visual_context` frames around it, so windows that overlap
by that much give what the whole clip gives. Where gradients are wanted, what lies between is
computed again for one window at a time on the way back (Chen et al., "Training Deep Nets with
Sublinear Memory Cost", 2016), which costs one forward more.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

__all__ = ["WHOLE_FRAMES", "WINDOW_FRAMES", "local_by_windows"]

WHOLE_FRAMES = 256
"""Up to so many frames of all clips together are encoded at once; gradients of Light-ASD keep 8 MB
of each."""
WINDOW_FRAMES = 56


def local_by_windows(
    encode: Callable[[Tensor, Tensor], Tensor],
    faces: Tensor,
    n_frames: Tensor,
    *,
    context: int,
    window: int = WINDOW_FRAMES,
) -> Tensor:
    """`encode(faces, n_frames)`, zeros behind a clip's last frame.

    Args:
        encode: `Detector.visual_local`, in eval mode.
        faces: (B, T, H, W) grey levels 0..255.
        n_frames: Valid frames of each clip (B,).
        context: Frames on each side that a frame sees.
        window: Frames encoded at once, more than twice as many.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.windows import local_by_windows
        >>> detector, n_frames = build("light_asd").eval(), torch.tensor([40])
        >>> faces = 255 * torch.rand(1, 40, 112, 112)
        >>> whole = detector.visual_local(faces, n_frames)
        >>> parts = local_by_windows(
        ...     detector.visual_local, faces, n_frames, context=detector.visual_context, window=20
        ... )
        >>> torch.allclose(whole, parts, atol=1e-4)
        True
    """
    net = max(1, window - 2 * context)
    with_gradient = torch.is_grad_enabled() and faces.requires_grad
    clips = []
    for clip, n in zip(faces, n_frames.tolist(), strict=True):
        parts = []
        for begin in range(0, n, net):
            end = min(begin + net, n)
            first, last = max(0, begin - context), min(n, end + context)
            length = torch.tensor([last - first], device=faces.device)
            shown = (clip[None, first:last], length)
            if with_gradient:
                # Nothing is drawn in there: generators need not be wound back.
                local = checkpoint(encode, *shown, use_reentrant=False, preserve_rng_state=False)
            else:
                local = encode(*shown)
            # A copy, so that the window is not kept for a part of it.
            parts.append(local[:, begin - first : end - first].clone())
        known = torch.cat(parts, 1)
        clips.append(F.pad(known, (0, 0, 0, faces.shape[1] - known.shape[1])))
    return torch.cat(clips)
