"""What Light-ASD and LR-ASD share: encoders whose convolutions are factorised into space and time.

Activations are kept frame by frame, (B*T, C, H, W) in channels-last memory. The same memory seen
as (B, C, T, H*W) is what a convolution over time needs, so that both kinds run as two-dimensional
convolutions without a copy. Audio features are frames of 13 x 1 pixels and take the same path.

Source: Liao et al., "A Light Weight Model for Active Speaker Detection", CVPR 2023. Sub-modules
carry the names of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from pushpull.models import features
from pushpull.models.blocks import (
    batch_norm,
    conv2d_bn,
    conv2d_relu,
    folded,
    normalise_faces,
    valid_mask,
)
from pushpull.models.detector import Detector
from pushpull.runtime.threads import one_thread

__all__ = [
    "Block",
    "FactorisedDetector",
    "batch_norm_layer",
    "conv_layer",
    "over_space",
    "over_time",
    "recurrent",
    "reset_gru",
    "reversed_in_time",
]

Conv = nn.Conv2d | nn.Conv3d

WIDTHS = ((1, 32), (32, 64), (64, 128))


def batch_norm_layer(width: int, *, video: bool) -> BatchNorm:
    """Batch norm with the published settings.

    Examples:
        >>> from pushpull.models.factorised import batch_norm_layer
        >>> norm = batch_norm_layer(32, video=True)
        >>> norm.num_features, norm.eps, norm.momentum
        (32, 0.001, 0.01)
    """
    return (nn.BatchNorm3d if video else nn.BatchNorm2d)(width, momentum=0.01, eps=0.001)


def conv_layer(inputs: int, width: int, k: int, *, video: bool, over: str, stride: int = 1) -> Conv:
    """Convolution of size k over `space` (pixels, or coefficients) or over `time`, no bias.

    Examples:
        >>> from pushpull.models.factorised import conv_layer
        >>> conv_layer(1, 32, 5, video=True, over="space", stride=2).kernel_size
        (1, 5, 5)
        >>> conv_layer(32, 32, 5, video=True, over="time").kernel_size
        (5, 1, 1)
    """
    half = k // 2
    if video and over == "space":
        shape, padding = (1, k, k), (0, half, half)
        return nn.Conv3d(inputs, width, shape, (1, stride, stride), padding, bias=False)
    if video:
        return nn.Conv3d(inputs, width, (k, 1, 1), 1, (half, 0, 0), bias=False)
    if over == "space":
        return nn.Conv2d(inputs, width, (k, 1), 1, (half, 0), bias=False)
    return nn.Conv2d(inputs, width, (1, k), 1, (0, half), bias=False)


def time_view(x: Tensor, clips: int) -> Tensor:
    """(B*T, C, H, W) in channels-last memory seen as (B, C, T, H*W), without a copy."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(clips, n // clips, h * w, c).permute(0, 3, 1, 2)


def frame_view(x: Tensor, height: int) -> Tensor:
    """(B, C, T, H*W) seen as (B*T, C, H, W): `time_view` backwards."""
    b, c, t, pixels = x.shape
    return x.permute(0, 2, 3, 1).reshape(b * t, height, pixels // height, c).permute(0, 3, 1, 2)


def keep_valid(x: Tensor, valid: Tensor | None) -> Tensor:
    """Zeros on padded rows of (B*T, C, H, W), which is what a lone clip sees beyond its ends."""
    if valid is None:
        return x
    return x.masked_fill(~valid.view(-1, 1, 1, 1), 0.0)


def row_norm(x: Tensor, norm: BatchNorm, valid: Tensor | None) -> Tensor:
    """Batch norm in training mode, over the valid rows of (B*T, C, H, W) only."""
    if valid is None:
        return batch_norm(x, norm)
    rows = valid.flatten()
    y = batch_norm(x[rows], norm)
    return torch.zeros_like(x, dtype=y.dtype).index_put((rows,), y)


def over_space(
    x: Tensor,
    conv: Conv,
    norm: BatchNorm,
    valid: Tensor | None,
    memory: TimeMemory | None = None,
    *,
    rectified: bool = True,
) -> Tensor:
    """ReLU(norm(conv)) inside each frame of (B*T, C, H, W), for kernels of one frame.

    With a memory it may be left to it to rectify what goes on over time.

    Examples:
        >>> from pushpull.models.factorised import batch_norm_layer, conv_layer, over_space
        >>> conv = conv_layer(1, 4, 3, video=True, over="space", stride=2)
        >>> frames = torch.rand(10, 1, 8, 8)  # two clips of five frames
        >>> over_space(frames, conv, batch_norm_layer(4, video=True).eval(), None).shape
        torch.Size([10, 4, 4, 4])
    """
    weight = conv.weight if conv.weight.dim() == 4 else conv.weight.squeeze(2)
    height, width = weight.shape[2:]
    stride, padding = (conv.stride[-2], conv.stride[-1]), (height // 2, width // 2)
    if norm.training:
        return F.relu(row_norm(F.conv2d(x, weight, None, stride, padding), norm, valid))
    if memory is not None:
        ready = memory.folded(conv, weight, norm)
        if rectified:
            return conv2d_relu(x, *ready, stride=stride, padding=padding)
        return F.conv2d(x, *ready, stride, padding)
    return F.relu_(conv2d_bn(x, weight, norm, stride=stride, padding=padding))


_FOLDED: WeakKeyDictionary[nn.Module, tuple[Tensor, Tensor]] = WeakKeyDictionary()
"""What clips that come in pieces use of the same convolutions."""


class TimeMemory:
    """What convolutions over time have seen of one clip that comes in pieces.

    A piece gives as many frames as it has, later by what convolutions see ahead: the first gives
    fewer, the last (`last`) more. Nothing is computed twice; weights are those of the first piece.

    Examples:
        >>> from pushpull.models.factorised import TimeMemory, conv_layer
        >>> memory, conv = TimeMemory(), conv_layer(4, 4, 3, video=True, over="time")
        >>> memory.extended(conv, torch.rand(1, 4, 10, 6), 1).shape  # a zero before the first
        torch.Size([1, 4, 11, 6])
        >>> memory.extended(conv, torch.rand(1, 4, 10, 6), 1).shape
        torch.Size([1, 4, 12, 6])
    """

    def __init__(self) -> None:
        self.last = False
        self.seen: dict[nn.Module, Tensor] = {}
        self.ready: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def folded(self, conv: nn.Module, weight: Tensor, norm: BatchNorm) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution and the norm behind it, made once for the clip."""
        if torch.is_grad_enabled():
            return folded(weight, norm)
        if conv not in self.ready:
            new = folded(weight, norm)
            new = new[0].contiguous(memory_format=torch.channels_last), new[1]
            # Made anew for each clip, so that nothing goes stale, but held only once.
            old = _FOLDED.get(conv)
            if old is None or not all(map(_same, old, new)):
                _FOLDED[conv] = old = new
            self.ready[conv] = old
        return self.ready[conv]

    def extended(self, conv: nn.Module, x: Tensor, half: int, later: int = 0) -> Tensor:
        """Further frames (1, C, T, H*W) of a convolution's input, with those that it sees too.

        They are rectified: it is done where they are copied.

        Args:
            conv: The convolution.
            x: The frames.
            half: How many it sees before and after each.
            later: How many are held back, so that it is as late as a wider one.
        """
        # Frame by frame in memory, as `time_view` has it: any other order would be copied back.
        frames = x.permute(0, 2, 3, 1)
        border = frames.new_zeros(1, half, *frames.shape[2:])
        before = self.seen.pop(conv, border)
        after = [border] if self.last else []
        if torch.is_grad_enabled():
            seen = torch.cat([before, F.relu(frames), *after], 1)
        else:
            begin, end = before.shape[1], before.shape[1] + frames.shape[1]
            seen = frames.new_empty(1, end + half * self.last, *frames.shape[2:])
            seen[:, :begin], seen[:, end:] = before, 0
            torch.clamp_min(frames, 0, out=seen[:, begin:end])
        if not self.last:
            self.seen[conv] = seen[:, -2 * half - later :].clone()
        shown = seen if self.last or not later else seen[:, :-later]
        return shown.permute(0, 3, 1, 2)


def _same(one: Tensor, other: Tensor) -> bool:
    alike = (one.dtype, one.device) == (other.dtype, other.device)
    return alike and torch.equal(one, other)


def over_time(
    x: Tensor,
    conv: Conv,
    norm: BatchNorm,
    clips: int,
    valid: Tensor | None,
    memory: TimeMemory | None = None,
    later: int = 0,
) -> Tensor:
    """ReLU(norm(conv)) across the frames of each clip (B*T, C, H, W), for kernels of one pixel.

    With a memory, of one clip that comes in pieces, so many frames later than need be.

    Examples:
        >>> from pushpull.models.factorised import batch_norm_layer, conv_layer, over_time
        >>> conv = conv_layer(4, 4, 3, video=True, over="time")
        >>> frames = torch.rand(10, 4, 8, 8)  # two clips of five frames
        >>> over_time(frames, conv, batch_norm_layer(4, video=True).eval(), 2, None).shape
        torch.Size([10, 4, 8, 8])
    """
    # Published kernels are (k, 1, 1) over video and (1, k) over (coefficients, rows).
    weight = conv.weight.squeeze(-1) if conv.weight.dim() == 5 else conv.weight.transpose(2, 3)
    padding = (weight.shape[2] // 2, 0)
    frames = time_view(keep_valid(x, valid), clips)
    if memory is not None:
        frames, padding = memory.extended(conv, frames, padding[0], later), (0, 0)
        if not norm.training:
            ready = memory.folded(conv, weight, norm)
            return frame_view(conv2d_relu(frames, *ready), x.shape[2])
    if norm.training:
        y = frame_view(F.conv2d(frames, weight, None, 1, padding), x.shape[2])
        return F.relu(row_norm(y, norm, valid))
    return frame_view(F.relu_(conv2d_bn(frames, weight, norm, padding=padding)), x.shape[2])


def reversed_in_time(x: Tensor, n_frames: Tensor) -> Tensor:
    """Each clip of (B, T, C) backwards from its own last frame; padding stays where it is.

    Examples:
        >>> from pushpull.models.factorised import reversed_in_time
        >>> x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])[..., None]
        >>> reversed_in_time(x, torch.tensor([3, 2]))[..., 0]
        tensor([[3., 2., 1.],
                [5., 4., 0.]])
    """
    if valid_mask(n_frames, x.shape[1]) is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    last = n_frames[:, None] - 1
    index = torch.where(time <= last, last - time, time)
    return x.gather(1, index[..., None].expand_as(x))


class Block(nn.Module):
    """Convolutions over space and time that keep the number of frames.

    Examples:
        >>> from pushpull.models import LightASD
        >>> block = LightASD().eval().visualEncoder.block1
        >>> block(torch.rand(5, 1, 16, 16), 1, None).shape  # one clip of five frames
        torch.Size([5, 32, 8, 8])
    """

    def pair(self, conv: str, norm: str) -> tuple[Conv, BatchNorm]:
        """A convolution and its norm by their published names."""
        return cast(Conv, self.get_submodule(conv)), cast(BatchNorm, self.get_submodule(norm))

    def forward(
        self, x: Tensor, clips: int, valid: Tensor | None, memory: TimeMemory | None = None
    ) -> Tensor:
        """(B*T, C, H, W) -> (B*T, C', H', W'); of a clip in pieces where a memory is given."""
        raise NotImplementedError


class VisualEncoder(nn.Module):
    """Three blocks with pooling in space, then the maximum over what is left of each frame."""

    def __init__(self, block: Callable[..., Block]) -> None:
        super().__init__()
        (a, b), (c, d), (e, f) = WIDTHS
        self.block1 = block(a, b, video=True, stride=2)
        self.block2 = block(c, d, video=True)
        self.block3 = block(e, f, video=True)

    def forward(self, faces: Tensor, n_frames: Tensor, memory: TimeMemory | None = None) -> Tensor:
        """(B, T, H, W) -> (B, T, 128)."""
        b, t, h, w = faces.shape
        valid = valid_mask(n_frames, t)
        # A single channel has the strides of both layouts; these say that it is channels-last.
        x = normalise_faces(faces).reshape(b * t, h, w, 1).permute(0, 3, 1, 2)
        x = F.max_pool2d(self.block1(x, b, valid, memory), 3, 2, 1)
        x = F.max_pool2d(self.block2(x, b, valid, memory), 3, 2, 1)
        x = self.block3(x, b, valid, memory)
        maximum: Tensor = x.amax((2, 3))
        return maximum.view(b, t if memory is None else len(maximum), -1)


class AudioEncoder(nn.Module):
    """The same blocks over (coefficients, rows), pooling four rows to one video frame."""

    def __init__(self, block: Callable[..., Block]) -> None:
        super().__init__()
        (a, b), (c, d), (e, f) = WIDTHS
        self.block1 = block(a, b, video=False)
        self.block2 = block(c, d, video=False)
        self.block3 = block(e, f, video=False)

    def forward(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """(B, 4T, M) -> (B, T, 128)."""
        b, rows, m = features.shape
        x = features.reshape(b * rows, m, 1, 1).permute(0, 3, 1, 2)
        valid = valid_mask(4 * n_frames, rows)
        x = halved(self.block1(x, b, valid), b, valid)
        valid = valid_mask(2 * n_frames, rows // 2)
        x = halved(self.block2(x, b, valid), b, valid)
        x = self.block3(x, b, valid_mask(n_frames, rows // 4))
        mean: Tensor = x.mean((2, 3))
        return mean.view(b, rows // 4, -1)


def halved(x: Tensor, clips: int, valid: Tensor | None) -> Tensor:
    """Maximum over three rows, at every second row (B*A, C, M, 1).

    Activations come out of a ReLU, so zeros on padded rows are what lies beyond a clip's end.
    """
    rows = time_view(keep_valid(x, valid), clips)
    return frame_view(F.max_pool2d(rows, (3, 1), (2, 1), (1, 0)), x.shape[2])


class FactorisedDetector(Detector):
    """Encoders, MFCC front end and visual head; a subclass fuses.

    Examples:
        >>> from pushpull.models import LRASD
        >>> from pushpull.models.factorised import FactorisedDetector
        >>> detector = LRASD().eval()
        >>> isinstance(detector, FactorisedDetector)
        True
        >>> detector.encode_visual(255 * torch.rand(1, 5, 112, 112), torch.tensor([5])).shape
        torch.Size([1, 5, 128])
    """

    def __init__(self, block: Callable[..., Block]) -> None:
        super().__init__()
        self.visualEncoder = VisualEncoder(block)
        self.audioEncoder = AudioEncoder(block)
        self.head_av = nn.Linear(128, 2)
        self.head_v = nn.Linear(128, 2)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight)

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """MFCC (B, 4T, 13)."""
        return features.mfcc(waveform, n_samples=n_samples, n_frames=n_frames, fps=fps)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """e_a (B, T, 128)."""
        e_a: Tensor = self.audioEncoder(features, n_frames)
        return e_a

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """e_v (B, T, 128): the whole visual encoder is local in time."""
        e_v: Tensor = self.visualEncoder(faces, n_frames)
        return e_v

    def visual_in_pieces(self) -> Callable[[Tensor, bool], Tensor] | None:
        """`visual_local` of one clip that comes in pieces; None where it was replaced."""
        if type(self).visual_local is not FactorisedDetector.visual_local:
            return None
        memory = TimeMemory()

        def encode(faces: Tensor, last: bool) -> Tensor:
            memory.last = last
            n_frames = torch.tensor([faces.shape[1]], device=faces.device)
            local: Tensor = self.visualEncoder(faces, n_frames, memory)
            return local

        return encode

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """e_v as it is."""
        return local


def recurrent(layer: nn.GRU, x: Tensor) -> Tensor:
    """What a recurrent layer makes of a sequence (B, T, D), step by step on one thread.

    Examples:
        >>> from pushpull.models.factorised import recurrent
        >>> recurrent(torch.nn.GRU(8, 4, batch_first=True), torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 4])
    """
    with one_thread():
        out: Tensor = layer(x)[0]
    return out


def reset_gru(*layers: nn.GRU) -> None:
    """Start recurrent layers as published: He-normal weights, no bias.

    Examples:
        >>> from pushpull.models.factorised import reset_gru
        >>> gru = torch.nn.GRU(8, 8)
        >>> reset_gru(gru)
        >>> bool((gru.bias_ih_l0 == 0).all())
        True
    """
    for layer in layers:
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                nn.init.kaiming_normal_(parameter)
            else:
                nn.init.zeros_(parameter)
