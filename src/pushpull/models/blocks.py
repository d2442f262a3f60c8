"""What several detectors share: masks, batch norm that sees valid frames only, fused convolutions.

A mask is (B, T), true on valid frames, or None where no clip of the batch is padded; None is the
fast path. Tensors with time last are (B, C, ..., T).

In eval mode batch norm is an affine map, so a convolution and the batch norm behind it are one
convolution. It is made from the parameters at each call: gradients to all parameters stay right
and nothing can go stale.

A graph that is exported serves one clip of any length, all of it valid: while it is recorded, no
decision may hang on a length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from pushpull.errors import ConfigError
from pushpull.runtime.parallel import is_parallel, sum_over_processes
from pushpull.schema import length_mask

__all__ = [
    "batch_norm",
    "conv2d_bn",
    "conv2d_relu",
    "exporting",
    "folded",
    "masked",
    "max_pool_relu",
    "normalise_faces",
    "pack",
    "scale_shift",
    "unpack",
    "valid_mask",
]


def exporting() -> bool:
    """Whether operations are being recorded for a graph that serves clips of any length.

    Examples:
        >>> from pushpull.models.blocks import exporting
        >>> exporting()
        False
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_exporting()


def valid_mask(lengths: Tensor, size: int) -> Tensor | None:
    """Mask (B, size) of what lies inside each clip, or None if everything does.

    Examples:
        >>> from pushpull.models.blocks import valid_mask
        >>> valid_mask(torch.tensor([3, 2]), 3)
        tensor([[ True,  True,  True],
                [ True,  True, False]])
        >>> valid_mask(torch.tensor([3, 3]), 3) is None
        True
    """
    if exporting() or int(lengths.min()) == size:
        return None
    return length_mask(lengths, size)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` (B, C, ..., T) with zeros on padded frames, as a convolution pads a clip's end.

    Examples:
        >>> from pushpull.models.blocks import masked
        >>> masked(torch.ones(1, 2, 3), torch.tensor([[True, True, False]]))
        tensor([[[1., 1., 0.],
                 [1., 1., 0.]]])
    """
    if mask is None:
        return x
    inside = mask.view(mask.shape[0], *[1] * (x.dim() - 2), mask.shape[1])
    return x.masked_fill(~inside, 0.0)


def pack(x: Tensor, mask: Tensor | None) -> Tensor:
    """The valid frames (N, ...) of `x` (B, T, ...), clip after clip.

    Examples:
        >>> from pushpull.models.blocks import pack
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> pack(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), mask)
        tensor([1., 2., 3.])
    """
    return x.flatten(0, 1) if mask is None else x[mask]


def unpack(x: Tensor, mask: Tensor | None, shape: tuple[int, int]) -> Tensor:
    """Packed frames (N, ...) back at their places (B, T, ...), zeros on padded frames.

    Examples:
        >>> from pushpull.models.blocks import unpack
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> unpack(torch.tensor([1.0, 2.0, 3.0]), mask, (2, 2))
        tensor([[1., 2.],
                [3., 0.]])
    """
    if mask is None:
        return x.view(*shape, *x.shape[1:])
    out = x.new_zeros((*shape, *x.shape[1:]))
    return out.index_put((mask,), x)


def normalise_faces(faces: Tensor) -> Tensor:
    """Grey levels 0..255 as the published models take them: zero mean, unit variance on AVA.

    The constants are TalkNet's (TaoRuijie/TalkNet-ASD), kept by Light-ASD and LR-ASD.

    Examples:
        >>> from pushpull.models.blocks import normalise_faces
        >>> normalise_faces(torch.tensor([0.0, 255.0]))
        tensor([-2.4650,  3.4591])
    """
    return faces * (1 / (255 * 0.1688)) - 0.4161 / 0.1688


def scale_shift(bn: BatchNorm) -> tuple[Tensor, Tensor]:
    """Batch norm in eval mode as `x * scale + shift`, each (C,).

    Raises:
        ConfigError: If it keeps no running statistics.

    Examples:
        >>> from pushpull.models.blocks import scale_shift
        >>> bn = torch.nn.BatchNorm2d(2).eval()
        >>> scale, shift = scale_shift(bn)
        >>> scale.shape, shift.shape
        (torch.Size([2]), torch.Size([2]))
    """
    weight, bias, mean, var = bn.weight, bn.bias, bn.running_mean, bn.running_var
    if mean is None or var is None:
        raise ConfigError("batch norm without running statistics cannot be used in eval mode")
    scale = weight * torch.rsqrt(var + bn.eps)
    return scale, bias - mean * scale


def folded(weight: Tensor, bn: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution for one without bias and batch norm in eval mode behind.

    Examples:
        >>> from pushpull.models.blocks import folded
        >>> weight, bias = folded(torch.ones(4, 1, 3, 3), torch.nn.BatchNorm2d(4).eval())
        >>> weight.shape, bias.shape
        (torch.Size([4, 1, 3, 3]), torch.Size([4]))
    """
    scale, shift = scale_shift(bn)
    return weight * scale.view(-1, 1, 1, 1), shift


def conv2d_bn(
    x: Tensor,
    weight: Tensor,
    bn: BatchNorm,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    mask: Tensor | None = None,
) -> Tensor:
    """Convolution without bias, then batch norm; one convolution in eval mode.

    Args:
        x: (B, C, H, W), preferably channels-last in memory.
        weight: (C_out, C, h, w); a Conv3d that mixes no frames passes its weight without that axis.
        bn: The batch norm behind the convolution.
        stride: Of the convolution.
        padding: Of the convolution.
        mask: Valid frames (B, W) where the last axis is time; only batch statistics need it.

    Examples:
        >>> from pushpull.models.blocks import conv2d_bn
        >>> conv, bn = torch.nn.Conv2d(1, 4, 3, bias=False), torch.nn.BatchNorm2d(4).eval()
        >>> x = torch.randn(2, 1, 8, 8)
        >>> torch.allclose(conv2d_bn(x, conv.weight, bn), bn(conv(x)), atol=1e-5)
        True
    """
    if bn.training:
        return batch_norm(F.conv2d(x, weight, None, stride, padding), bn, mask)
    if not exporting() and weight.numel() > x.numel():
        # Few frames through a wide layer: scaling what comes out is the smaller work.
        return batch_norm(F.conv2d(x, weight, None, stride, padding), bn)
    return F.conv2d(x, *folded(weight, bn), stride, padding)


# What PyTorch's own compiler uses; where a build lacks it, the same is done in two steps.
_CONV2D_AND = (
    getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    if torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    else None
)


def conv2d_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
) -> Tensor:
    """ReLU of a convolution: on a CPU without gradients in one pass over what comes out.

    Args:
        x: (B, C, H, W), preferably channels-last in memory, as `weight`.
        weight: (C_out, C, h, w).
        bias: (C_out,).
        stride: Of the convolution.
        padding: Of the convolution.

    Examples:
        >>> from pushpull.models.blocks import conv2d_relu
        >>> with torch.inference_mode():
        ...     conv2d_relu(torch.ones(1, 1, 3, 3), -torch.ones(1, 1, 3, 3), torch.zeros(1))
        tensor([[[[0.]]]])
    """
    plain = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or exporting()
    known = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if _CONV2D_AND is None or plain or not known:
        return F.relu_(F.conv2d(x, weight, bias, stride, padding))
    done: Tensor = _CONV2D_AND(x, weight, bias, padding, stride, (1, 1), 1, "relu", [], "")
    return done


def batch_norm(x: Tensor, bn: BatchNorm, mask: Tensor | None = None) -> Tensor:
    """Batch norm of `x` (B, C, ..., T); in training mode the statistics skip padded frames.

    Examples:
        >>> from pushpull.models.blocks import batch_norm
        >>> bn = torch.nn.BatchNorm1d(2)  # in training mode
        >>> x = torch.tensor([[[1.0, 3.0, 99.0]] * 2])  # the last frame is padding
        >>> batch_norm(x, bn, torch.tensor([[True, True, False]]))
        tensor([[[-1.0000,  1.0000,  0.0000],
                 [-1.0000,  1.0000,  0.0000]]], grad_fn=<PermuteBackward0>)
    """
    if not bn.training:
        # F.batch_norm would keep `x` for the backward pass even where no parameter is trained.
        scale, shift = (v.to(x.dtype).view(-1, *[1] * (x.dim() - 2)) for v in scale_shift(bn))
        return torch.addcmul(shift, x, scale)
    if mask is None:
        return _train_batch_norm(x, bn)
    normed = _train_batch_norm(x.movedim(-1, 1)[mask], bn)
    return unpack(normed, mask, (x.shape[0], x.shape[-1])).movedim(1, -1)


def _train_batch_norm(x: Tensor, bn: BatchNorm) -> Tensor:
    # nn.BatchNorm1d/2d/3d differ only in the rank they accept; packed frames have another one.
    if bn.num_batches_tracked is not None:
        bn.num_batches_tracked.add_(1)
    momentum = 0.0 if bn.momentum is None else bn.momentum
    if is_parallel():
        return _batch_norm_over_processes(x, bn, momentum)
    return F.batch_norm(
        x, bn.running_mean, bn.running_var, bn.weight, bn.bias, True, momentum, bn.eps
    )


def _batch_norm_over_processes(x: Tensor, bn: BatchNorm, momentum: float) -> Tensor:
    # nn.SyncBatchNorm works on GPUs only, and knows no mask.
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    over = [0, *range(2, x.dim())]
    shape = (1, -1, *[1] * (x.dim() - 2))
    n = sum_over_processes(wide.new_tensor(float(x.numel() // x.shape[1])))
    mean = sum_over_processes(wide.sum(over)) / n
    var = sum_over_processes((wide - mean.view(shape)).square().sum(over)) / n
    if bn.running_mean is not None and bn.running_var is not None:
        with torch.no_grad():
            bn.running_mean.lerp_(mean.to(bn.running_mean.dtype), momentum)
            unbiased = var * (n / (n - 1).clamp(min=1))
            bn.running_var.lerp_(unbiased.to(bn.running_var.dtype), momentum)
    scale = bn.weight * torch.rsqrt(var + bn.eps)
    shift = bn.bias - mean * scale
    return torch.addcmul(shift.view(shape), wide, scale.view(shape)).to(x.dtype)


def max_pool_relu(x: Tensor) -> Tensor:
    """ReLU, then the maximum over 3 x 3 with stride 2 and padding 1, of (N, C, H, W).

    The two commute, so ReLU has a quarter of the work; and only what the backward pass needs is
    kept, which is not the input.

    Examples:
        >>> from pushpull.models.blocks import max_pool_relu
        >>> max_pool_relu(torch.arange(-8.0, 8.0).view(1, 1, 4, 4))
        tensor([[[[0., 0.],
                  [5., 7.]]]])
    """
    if exporting():
        return F.max_pool2d(x, 3, 2, 1).relu()
    pooled: Tensor = _MaxPoolReLU.apply(x)  # type: ignore[no-untyped-call]
    return pooled


class _MaxPoolReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        pooled, place = F.max_pool2d_with_indices(x, (3, 3), (2, 2), (1, 1))
        pooled = pooled.relu_()
        ctx.save_for_backward(pooled, place.int())
        ctx.shape = x.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        pooled, place = ctx.saved_tensors
        layout = (
            torch.channels_last
            if pooled.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
        # The operator asks for the input but looks only at its shape and layout.
        like = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
        grad = torch.where(pooled > 0, grad, 0.0)
        back: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            grad, like, [3, 3], [2, 2], [1, 1], [1, 1], False, place.long()
        )
        return back
