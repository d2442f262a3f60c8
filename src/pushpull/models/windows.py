"""The heavy visual encoder over many frames in bounded memory, with the gradient of one pass.

What it keeps for its gradient is some megabytes a frame: a minute of three faces would need twenty
gigabytes. So where that is more than `GRAPH_BYTES` nothing is kept. Frames are encoded window by
window without a graph, and once the gradient of what came out is known, each window is encoded
again and its own gradient taken (Chen et al., "Training Deep Nets with Sublinear Memory Cost",
2016). A frame's features depend on few frames around it (`context`), so windows that are given
those give what one pass gives, and where they overlap their gradients add up. That is one forward
pass more; short clips go the direct way.

The same holds without gradients, where a window bounds what one layer hands to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pushpull.models.blocks import exporting

__all__ = [
    "GRAPH_BYTES",
    "WINDOW_BYTES",
    "Encode",
    "Kept",
    "Piece",
    "encoded",
    "graph_bytes",
    "pieces",
]

Encode = Callable[[Tensor, Tensor], Tensor]
"""Features (B, T, D) of faces (B, T, H, W) and their numbers of frames (B,)."""

GRAPH_BYTES = 2 * 2**30
"""What one pass may keep for its gradient; beyond it windows are encoded twice."""

WINDOW_BYTES = 2**28
"""What a window may keep: 56 frames of Light-ASD. Twice as much is slower (measured), as nothing of
it stays in a cache."""

SHORTEST_FRAMES = 32
"""Of a window, whatever it keeps: shorter ones would be slow."""

ALWAYS_WHOLE_FRAMES = 64
"""Up to so many frames are not worth a measurement."""

PROBE_FRAMES = (8, 16)
"""Numbers of frames between which is measured what a frame more keeps."""

_KEPT: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], float]] = WeakKeyDictionary()


def encoded(
    module: nn.Module, encode: Encode, faces: Tensor, n_frames: Tensor, *, context: int
) -> Tensor:
    """Features (B, T, D) of `encode`, in one pass or window by window, as memory asks for.

    In training, and where parameters want gradients, it is always one pass.

    Args:
        module: What `encode` computes with.
        encode: `Detector.visual_local`.
        faces: (B, T, H, W) grey levels 0..255.
        n_frames: Valid frames of each clip (B,); features of others may be anything.
        context: Frames on each side that a frame sees.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.windows import encoded
        >>> detector = build("light_asd").eval()
        >>> faces, n_frames = torch.rand(1, 5, 112, 112), torch.tensor([5])
        >>> encoded(detector, detector.visual_local, faces, n_frames, context=6).shape
        torch.Size([1, 5, 128])
    """
    rows, frames = faces.shape[:2]
    if module.training or exporting() or rows * frames <= ALWAYS_WHOLE_FRAMES:
        return encode(faces, n_frames)
    if torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters()):
        return encode(faces, n_frames)
    each = graph_bytes(module, encode, faces)
    if rows * frames * each <= GRAPH_BYTES:
        return encode(faces, n_frames)
    window = max(SHORTEST_FRAMES, int(WINDOW_BYTES / each) - 2 * context)
    plan = tuple(pieces(n_frames.tolist(), frames, window=window, context=context))
    features: Tensor = _InWindows.apply(faces, n_frames, encode, plan)  # type: ignore[no-untyped-call]
    return features


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a batch that is encoded at once.

    Attributes:
        rows: Its clips.
        seen: Frames that the encoder is given.
        kept: Those of them whose features are kept.

    Examples:
        >>> from pushpull.models.windows import Piece
        >>> piece = Piece(rows=slice(0, 1), seen=slice(14, 46), kept=slice(20, 40))
        >>> piece.kept.stop - piece.kept.start
        20
    """

    rows: slice
    seen: slice
    kept: slice


def pieces(lengths: Sequence[int], frames: int, *, window: int, context: int) -> Iterator[Piece]:
    """All valid frames of clips, in pieces of up to `window` frames; a longer clip alone.

    Args:
        lengths: Valid frames of each clip.
        frames: Frames of the padded batch.
        window: Frames of a piece.
        context: Frames that it is given beyond those, at each inner end.

    Examples:
        >>> from pushpull.models.windows import pieces
        >>> for piece in pieces([50, 80], 80, window=40, context=6):
        ...     print(piece.rows.start, piece.seen, piece.kept)
        0 slice(0, 31, None) slice(0, 25, None)
        0 slice(19, 50, None) slice(25, 50, None)
        1 slice(0, 46, None) slice(0, 40, None)
        1 slice(34, 80, None) slice(40, 80, None)
        >>> [piece.rows for piece in pieces([10, 10, 10], 10, window=20, context=6)]
        [slice(0, 2, None), slice(2, 3, None)]
    """
    if frames <= window:
        together = window // frames
        for first in range(0, len(lengths), together):
            rows = slice(first, min(first + together, len(lengths)))
            whole = slice(0, max(lengths[rows]))
            yield Piece(rows, whole, whole)
        return
    for row, n in enumerate(lengths):
        # Equal ones, since a short last one would be all overlap.
        size = -(-n // -(-n // window))
        for first in range(0, n, size):
            stop = min(first + size, n)
            seen = slice(max(0, first - context), min(n, stop + context))
            yield Piece(slice(row, row + 1), seen, slice(first, stop))


def graph_bytes(module: nn.Module, encode: Encode, like: Tensor) -> float:
    """Bytes that `encode` keeps for its gradient for each frame more, measured once.

    Args:
        module: What `encode` computes with, in eval mode.
        encode: See `encoded`.
        like: Faces (B, T, H, W) whose size, type and device are taken.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.windows import graph_bytes
        >>> detector, faces = build("light_asd").eval(), torch.rand(1, 5, 112, 112)
        >>> round(graph_bytes(detector, detector.visual_local, faces) / 1e6)
        5
    """
    key = (like.dtype, like.device, *like.shape[2:])
    known = _KEPT.setdefault(module, {})
    if key not in known:
        few, more = (_kept_bytes(module, encode, like, n) for n in PROBE_FRAMES)
        known[key] = (more - few) / (PROBE_FRAMES[1] - PROBE_FRAMES[0])
    return known[key]


def _kept_bytes(module: nn.Module, encode: Encode, like: Tensor, frames: int) -> int:
    kept = Kept(besides=module)
    with torch.inference_mode(False), torch.enable_grad(), kept:
        faces = torch.zeros(1, frames, *like.shape[2:], dtype=like.dtype, device=like.device)
        # Held while it is counted, so that no memory is counted for two tensors.
        graph = encode(faces.requires_grad_(), torch.tensor([frames], device=like.device))
        total = kept.n_bytes
        del graph
    return total


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts what is saved for gradients inside a block, each piece of memory once.

    Args:
        besides: A module whose parameters do not count.

    Examples:
        >>> from pushpull.models.windows import Kept
        >>> x = torch.ones(1000, requires_grad=True)
        >>> kept = Kept()
        >>> with kept:
        ...     y = x.exp()  # its result is its derivative
        >>> kept.n_bytes
        4000
    """

    def __init__(self, besides: nn.Module | None = None) -> None:
        held = () if besides is None else (*besides.parameters(), *besides.buffers())
        self._besides = {x.untyped_storage().data_ptr() for x in held}
        self._sizes: dict[int, int] = {}
        super().__init__(self._count, lambda tensor: tensor)

    @property
    def n_bytes(self) -> int:
        """In all."""
        return sum(self._sizes.values())

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._besides:
            self._sizes[storage.data_ptr()] = storage.nbytes()
        return tensor


class _InWindows(torch.autograd.Function):
    """Features window by window; in the backward pass every window is encoded again."""

    @staticmethod
    def forward(
        ctx: Any, faces: Tensor, n_frames: Tensor, encode: Encode, plan: tuple[Piece, ...]
    ) -> Tensor:
        ctx.save_for_backward(faces, n_frames)
        ctx.encode, ctx.plan, ctx.cast = encode, plan, _autocast(faces.device.type)
        parts = [
            encode(faces[p.rows, p.seen], _lengths(n_frames, p))[:, _kept(p)].clone() for p in plan
        ]
        features = parts[0].new_zeros(*faces.shape[:2], parts[0].shape[-1])
        for piece, part in zip(plan, parts, strict=True):
            features[piece.rows, piece.kept] = part
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        faces, n_frames = ctx.saved_tensors
        found = torch.zeros_like(faces)
        for piece in ctx.plan:
            seen = faces[piece.rows, piece.seen].detach().requires_grad_()
            with torch.enable_grad(), ctx.cast():
                part = ctx.encode(seen, _lengths(n_frames, piece))[:, _kept(piece)]
            (back,) = torch.autograd.grad(part, seen, grad[piece.rows, piece.kept])
            found[piece.rows, piece.seen] += back
        return found, None, None, None


def _lengths(n_frames: Tensor, piece: Piece) -> Tensor:
    """Valid frames of each row of what a piece sees."""
    seen = piece.seen
    lengths: Tensor = n_frames[piece.rows] - seen.start
    return lengths.clamp(max=seen.stop - seen.start)


def _kept(piece: Piece) -> slice:
    """What is kept of what a piece sees."""
    start = piece.seen.start
    return slice(piece.kept.start - start, piece.kept.stop - start)


def _autocast(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """What brings back the precision that holds now: a backward pass may run outside of it."""
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype=dtype, enabled=enabled)
