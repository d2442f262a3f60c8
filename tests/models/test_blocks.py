"""Shared layers against the plain torch modules they stand for."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pushpull.errors import ConfigError
from pushpull.models.blocks import (
    batch_norm,
    conv2d_bn,
    conv2d_relu,
    masked,
    max_pool_relu,
    normalise_faces,
    pack,
    scale_shift,
    unpack,
    valid_mask,
)

LAYOUTS = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}


def settled_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, eps=0.001).double()
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [3, 9], ids=["weight_larger", "input_larger"])
def test_fused_convolution_is_convolution_then_norm_for_values_and_all_gradients(
    layout, training, size
):
    norm = settled_norm(6).train(training)
    plain_norm = copy.deepcopy(norm)
    x = torch.randn(2, 4, size, size, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    assert (weight.numel() > x.numel()) == (size == 3)

    def run(through_norm, fused):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        if fused:
            y = conv2d_bn(*leaves, through_norm, stride=2, padding=1)
        else:
            y = through_norm(F.conv2d(*leaves, stride=2, padding=1))
        y.square().sum().backward()
        return [y, *(v.grad for v in (*leaves, through_norm.weight, through_norm.bias))]

    for ours, plain in zip(run(norm, True), run(plain_norm, False), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    for ours, plain in zip(norm.buffers(), plain_norm.buffers(), strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("k", "stride"), [((5, 5), (2, 2)), ((3, 1), (1, 1)), ((1, 1), (1, 1))])
def test_convolution_and_relu_at_once_are_one_after_the_other(layout, k, stride):
    x = torch.randn(4, 6, 20, 12).to(memory_format=layout)
    weight, bias = torch.randn(8, 6, *k).to(memory_format=layout), torch.randn(8)
    settings = {"stride": stride, "padding": (k[0] // 2, k[1] // 2)}
    expected = F.relu(F.conv2d(x, weight, bias, **settings))
    with torch.inference_mode():
        found = conv2d_relu(x, weight, bias, **settings)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    x.requires_grad_()
    conv2d_relu(x, weight, bias, **settings).sum().backward()
    (grad,) = torch.autograd.grad(F.relu(F.conv2d(x, weight, bias, **settings)).sum(), x)
    torch.testing.assert_close(x.grad, grad)


@pytest.mark.parametrize("momentum", [0.1, 0.01])
def test_batch_statistics_are_those_of_the_valid_frames_alone(momentum):
    lengths = (5, 2, 3)
    clips = [torch.randn(1, 4, 6, n, dtype=torch.float64) for n in lengths]
    padded = torch.full((3, 4, 6, 7), 1e6, dtype=torch.float64)
    for row, clip in zip(padded, clips, strict=True):
        row[..., : clip.shape[-1]] = clip[0]
    norm = settled_norm(4)
    norm.momentum = momentum
    plain_norm = copy.deepcopy(norm)
    ours = batch_norm(padded, norm, valid_mask(torch.tensor(lengths), 7))
    plain = plain_norm(torch.cat(clips, -1)).split(lengths, -1)
    for row, clip in zip(ours, plain, strict=True):
        torch.testing.assert_close(row[..., : clip.shape[-1]], clip[0])
        assert not row[..., clip.shape[-1] :].any()
    for a, b in zip(norm.buffers(), plain_norm.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_norm_without_statistics_is_refused_in_eval_mode():
    with pytest.raises(ConfigError, match="without running statistics"):
        scale_shift(nn.BatchNorm2d(4, track_running_stats=False).eval())


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("size", [8, 7])
def test_pooled_relu_is_relu_then_pool_for_values_and_gradients(layout, size):
    x = torch.randn(2, 3, size, size, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(2, 3, (size + 1) // 2, (size + 1) // 2, dtype=torch.float64)
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    (max_pool_relu(ours) * weight).sum().backward()
    (F.max_pool2d(F.relu(plain), 3, 2, 1) * weight).sum().backward()
    assert torch.equal(max_pool_relu(x), F.max_pool2d(F.relu(x), 3, 2, 1))
    assert torch.equal(ours.grad, plain.grad)


def test_pooled_relu_can_be_differentiated_twice():
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: max_pool_relu(v).square(), x)


def test_no_mask_is_made_where_nothing_is_padded():
    assert valid_mask(torch.tensor([4, 4]), 4) is None
    mask = valid_mask(torch.tensor([1, 3]), 3)
    assert mask.tolist() == [[True, False, False], [True, True, True]]


@pytest.mark.parametrize("lengths", [(3, 3), (1, 3)])
def test_packed_frames_go_back_to_their_places(lengths):
    x = torch.randn(2, 3, 5)
    mask = valid_mask(torch.tensor(lengths), 3)
    packed = pack(x, mask)
    assert packed.shape == (sum(lengths), 5)
    expected = x if mask is None else x * mask[..., None]
    assert torch.equal(unpack(packed, mask, (2, 3)), expected)


def test_masking_puts_zeros_even_over_nan():
    x = torch.full((1, 2, 3), torch.nan)
    x[..., 0] = 1
    assert masked(x, torch.tensor([[True, False, False]])).tolist() == [[[1, 0, 0], [1, 0, 0]]]
    assert masked(x, None) is x


def test_faces_are_normalised_with_the_published_constants():
    levels = torch.tensor([0.0, 128.0, 255.0], dtype=torch.float64)
    torch.testing.assert_close(normalise_faces(levels), (levels / 255 - 0.4161) / 0.1688)
