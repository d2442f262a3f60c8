"""TalkNet and two variants: encoders of both modalities, cross-attention, self-attention.

Sub-modules carry the names of the published checkpoints; only the heads, which the published code
keeps in its losses, are ours: `lossAV.FC`, `lossA.FC`, `lossV.FC` are `head_av`, `head_a`,
`head_v`.

Two things differ from the published code, neither in its results on one clip. The 5-frame stem
stays inside each clip, while the published one runs over the borders of the clips in a batch. And
clips may differ in length: padding enters no convolution, mean, norm or attention.

Source: Tao et al., "Is Someone Speaking? Exploring Long-term Temporal Features for Audio-visual
Active Speaker Detection", ACM MM 2021; layers and numbers from TaoRuijie/TalkNet-ASD.
specTalkNet and ncTalkNet: Chen et al., "Push-Pull", SLT 2022.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushpull.errors import ConfigError
from pushpull.models.blocks import (
    batch_norm,
    conv2d_bn,
    exporting,
    masked,
    max_pool_relu,
    normalise_faces,
    pack,
    unpack,
    valid_mask,
)
from pushpull.models.detector import Detector
from pushpull.models.features import log_power_spectrogram, mfcc
from pushpull.schema import Output, length_mask

__all__ = ["NcTalkNet", "SpecTalkNet", "TalkNet"]


class TalkNet(Detector):
    """TalkNet, 15.7 M parameters, with MFCC; or a reduced one of the same build.

    Args:
        width: Share of the published number of channels in every layer, a multiple of 1/16.
        face_step: Pixels of a face that are averaged to one before the first layer, 1, 2 or 4.
        dropout: Of the attention layers.

    Raises:
        ConfigError: If a number cannot be.

    Examples:
        >>> from pushpull.models import TalkNet
        >>> detector = TalkNet(width=0.125, face_step=2).eval()
        >>> output = detector(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112))
        >>> output.score.shape, output.logits_a.shape, output.z_v.shape
        (torch.Size([1, 5]), torch.Size([1, 5, 2]), torch.Size([1, 5, 16]))
        >>> detector.config()
        {'width': 0.125, 'face_step': 2, 'dropout': 0.1}
    """

    visual_context = 2

    def __init__(self, width: float = 1.0, face_step: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        if not 0 < width <= 4 or width * 16 != round(width * 16):
            raise ConfigError(
                f"width is {width}; expected a multiple of 1/16, more than 0, up to 4"
            )
        if face_step not in (1, 2, 4):
            raise ConfigError(f"face_step is {face_step}; expected 1, 2 or 4")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is {dropout}; expected a number from 0 up to 1")
        self.width, self.face_step, self.dropout = width, face_step, dropout
        d = round(128 * width)
        self.visualFrontend = VisualFrontend(d // 2)
        self.visualTCN = VisualTCN(4 * d)
        self.visualConv1D = VisualConv1D(d)
        self.audioEncoder = AudioEncoder(d // 8)
        self.crossA2V = AttentionLayer(d, dropout=dropout)
        self.crossV2A = AttentionLayer(d, dropout=dropout)
        self.selfAV = AttentionLayer(2 * d, dropout=dropout)
        self.head_av = nn.Linear(2 * d, 2)
        self.head_a = nn.Linear(d, 2)
        self.head_v = nn.Linear(d, 2)

    def config(self) -> dict[str, object]:
        """Keyword arguments that build this model again."""
        return {"width": self.width, "face_step": self.face_step, "dropout": self.dropout}

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """MFCC (B, 4T, 13)."""
        return mfcc(waveform, n_samples=n_samples, n_frames=n_frames, fps=fps)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """e_a (B, T, 128) of features (B, 4T, M)."""
        mask = valid_mask(4 * n_frames, features.shape[1])
        e_a: Tensor = self.audioEncoder(features, mask)
        return e_a

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Stem and ResNet (B, T, 512)."""
        mask = valid_mask(n_frames, faces.shape[1])
        if self.face_step > 1:
            faces = F.avg_pool2d(faces, self.face_step)
        local: Tensor = self.visualFrontend(faces, mask)
        return local

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """e_v (B, T, 128): the V-TCN, whose norms see the whole clip, and two convolutions."""
        mask = valid_mask(n_frames, local.shape[1])
        e_v: Tensor = self.visualConv1D(self.visualTCN(local.transpose(1, 2), mask), mask)
        return e_v.transpose(1, 2)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Cross-attention, self-attention over both, and the three heads."""
        mask = valid_mask(n_frames, e_a.shape[1])
        z_a, z_v = self.cross(e_a, e_v, mask)
        both = torch.cat((z_a, z_v), 2)
        return Output(
            logits=self.head_av(self.selfAV(both, both, mask)),
            mask=length_mask(n_frames, e_a.shape[1]),
            logits_a=self.head_a(z_a),
            logits_v=self.head_v(z_v),
            e_a=e_a,
            e_v=e_v,
            z_a=z_a,
            z_v=z_v,
        )

    def cross(self, e_a: Tensor, e_v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Each modality asked by the other: z_a, z_v."""
        return self.crossA2V(e_a, e_v, mask), self.crossV2A(e_v, e_a, mask)


class SpecTalkNet(TalkNet):
    """TalkNet on the log-power spectrogram.

    Examples:
        >>> from pushpull.models import SpecTalkNet
        >>> detector = SpecTalkNet(width=0.125, face_step=2).eval()
        >>> one = {"n_samples": torch.tensor([3200]), "n_frames": torch.tensor([5])}
        >>> detector.front_end(torch.zeros(1, 3200), **one, fps=torch.tensor([25.0])).shape
        torch.Size([1, 20, 257])
    """

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """Log-power spectrogram (B, 4T, 257); the audio encoder takes any number of bins."""
        return log_power_spectrogram(waveform, n_samples=n_samples, n_frames=n_frames, fps=fps)


class NcTalkNet(TalkNet):
    """TalkNet without cross-attention: self-attention and heads see the encoders' embeddings.

    Examples:
        >>> from pushpull.models import NcTalkNet
        >>> detector = NcTalkNet(width=0.125, face_step=2).eval()
        >>> output = detector(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112))
        >>> output.z_a is None and output.z_v is None
        True
    """

    def __init__(self, width: float = 1.0, face_step: int = 1, dropout: float = 0.1) -> None:
        super().__init__(width, face_step, dropout)
        del self.crossA2V, self.crossV2A

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Self-attention and the three heads; there is no z_a, z_v."""
        return replace(super().fuse(e_a, e_v, n_frames), z_a=None, z_v=None)

    def cross(self, e_a: Tensor, e_v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The embeddings as they are."""
        return e_a, e_v


class VisualFrontend(nn.Module):
    """A convolution over 5 frames, then a ResNet-18 on each frame alone."""

    # Frames that go through the first layers together on a CPU at full width, more of them where
    # there are fewer channels: these make 2 MB per frame, which would otherwise be held for all
    # frames at once.
    frames_at_once = 16

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Parts that checkpoints number are looked up by number, which gives mypy no type.
        self.frontend3D: Any = nn.Sequential(
            nn.Conv3d(1, channels, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(channels, momentum=0.01, eps=0.001),
        )
        self.resnet = ResNet(channels)

    def forward(self, faces: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, 112, 112) grey levels -> (B, T, 512), zeros on padded frames."""
        windows = pack(stacked_frames(normalise_faces(faces), mask), mask).permute(0, 3, 1, 2)
        # In training mode batch norm must see all frames together.
        whole = windows.device.type != "cpu" or self.training or exporting()
        at_once = max(self.frames_at_once * 64 // self.frontend3D[0].out_channels, 1)
        parts = (windows,) if whole else torch.split(windows, at_once)
        x = torch.cat([self.resnet.layer1(self.stem(part)) for part in parts])
        for layer in (self.resnet.layer2, self.resnet.layer3, self.resnet.layer4):
            x = layer(x)
        return unpack(x.mean((2, 3)), mask, (faces.shape[0], faces.shape[1]))

    def stem(self, windows: Tensor) -> Tensor:
        """(N, 20, 59, 59) from `stacked_frames` -> (N, 64, 28, 28), or a share of 64."""
        conv, bn = self.frontend3D
        n = conv.out_channels
        # 7 x 7 taps with stride 2 are 4 x 4 taps over blocks of 2 x 2 pixels.
        # Exporters lose the shape of what comes out of pixel_unshuffle, hence the reshaping.
        taps = F.pad(conv.weight.squeeze(1), (1, 0, 1, 0)).view(n, 5, 4, 2, 4, 2)
        weight = taps.permute(0, 1, 3, 5, 2, 4).reshape(n, 20, 4, 4)
        return max_pool_relu(
            conv2d_bn(windows, weight.contiguous(memory_format=torch.channels_last), bn)
        )


def stacked_frames(faces: Tensor, mask: Tensor | None) -> Tensor:
    """Each frame with two before and two after it, in blocks of 2 x 2 pixels.

    The 1-channel convolution over time and space becomes one over space with 5 x 4 channels.
    Outside the clip and the picture lie zeros.

    Args:
        faces: (B, T, 112, 112), normalised.
        mask: Valid frames (B, T), or None.

    Returns:
        (B, T, 59, 59, 20); for output (i, j) of the stem the taps are [i : i + 4, j : j + 4].
    """
    if mask is not None:
        faces = faces.masked_fill(~mask[..., None, None], 0.0)
    padded = F.pad(faces, (4, 2, 4, 2, 2, 2))
    if not exporting():
        return F.pixel_unshuffle(padded, 2).unfold(1, 20, 4)
    # The same from slices, which graphs of any length can hold.
    blocks = [padded[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    frames = faces.shape[1]
    return torch.stack([b[:, k : k + frames] for k in range(5) for b in blocks], -1)


class ResNet(nn.Module):
    """The four layers of a ResNet-18 in which normalisation comes before a block, not after."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer1 = ResNetLayer(channels, channels, 1)
        self.layer2 = ResNetLayer(channels, 2 * channels, 2)
        self.layer3 = ResNetLayer(2 * channels, 4 * channels, 2)
        self.layer4 = ResNetLayer(4 * channels, 8 * channels, 2)
        # As the activations lie, so that no call has to turn the weights around.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class ResNetLayer(nn.Module):
    """Two residual blocks; the sum is kept raw and normalised on the way into the next one."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1a = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1a = nn.BatchNorm2d(width, momentum=0.01, eps=0.001)
        self.conv2a = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        # Layer 1 never uses its own, but checkpoints hold it; training must not wait for it.
        self.downsample = nn.Conv2d(inputs, width, 1, stride, bias=False)
        self.downsample.requires_grad_(stride != 1)
        self.outbna = nn.BatchNorm2d(width, momentum=0.01, eps=0.001)
        self.conv1b = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1b = nn.BatchNorm2d(width, momentum=0.01, eps=0.001)
        self.conv2b = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.outbnb = nn.BatchNorm2d(width, momentum=0.01, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'), H' = H or H / 2."""
        y = conv2d_bn(x, self.conv1a.weight, self.bn1a, stride=self.stride, padding=1).relu_()
        y = self.conv2a(y)
        y += x if self.stride == 1 else self.downsample(x)
        z = batch_norm(y, self.outbna).relu_()
        z = conv2d_bn(z, self.conv1b.weight, self.bn1b, padding=1).relu_()
        z = self.conv2b(z)
        z += y
        return batch_norm(z, self.outbnb).relu_()


class VisualTCN(nn.Module):
    """Five residual blocks over time, (B, 512, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(TemporalBlock(width) for _ in range(5))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, 512, T) -> (B, 512, T)."""
        for block in self.net:
            x = block(x, mask)
        return x


class TemporalBlock(nn.Module):
    """ReLU, batch norm, depth-wise convolution, PReLU, norm over the clip, 1 x 1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net: Any = nn.ModuleDict(
            {
                "1": nn.BatchNorm1d(width),
                "2": nn.Conv1d(width, width, 3, padding=1, groups=width, bias=False),
                "3": nn.PReLU(),
                "4": GlobalLayerNorm(width),
                "5": nn.Conv1d(width, width, 1, bias=False),
            }
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        norm, over_time, prelu, global_norm, mix = self.net.values()
        y = masked(batch_norm(x.relu(), norm, mask), mask)
        y = mix(global_norm(prelu(over_time(y)), mask))
        residual: Tensor = x + y
        return residual


class GlobalLayerNorm(nn.Module):
    """Norm over all channels and valid frames of a clip."""

    def __init__(self, width: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, width, 1))
        self.beta = nn.Parameter(torch.zeros(1, width, 1))
        self.eps = eps

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        if mask is None:
            return F.group_norm(x, 1, self.gamma.flatten(), self.beta.flatten(), self.eps)
        count = x.shape[1] * mask.sum(1).view(-1, 1, 1)
        centred = x - masked(x, mask).sum((1, 2), keepdim=True) / count
        var = masked(centred, mask).square().sum((1, 2), keepdim=True) / count
        return self.gamma * centred * torch.rsqrt(var + self.eps) + self.beta


class VisualConv1D(nn.Module):
    """From 512 to 128 channels, or shares of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net: Any = nn.ModuleDict(
            {
                "0": nn.Conv1d(4 * width, 2 * width, 5, padding=2),
                "1": nn.BatchNorm1d(2 * width),
                "3": nn.Conv1d(2 * width, width, 1),
            }
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, 512, T) -> (B, 128, T)."""
        over_time, norm, mix = self.net.values()
        y: Tensor = mix(batch_norm(over_time(masked(x, mask)), norm, mask).relu_())
        return y


class AudioEncoder(nn.Module):
    """A ResNet-34 of squeeze-and-excitation blocks over (feature, time)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.conv1 = nn.Conv2d(1, c, 7, (2, 1), 3, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.layer1 = se_layer(c, c, blocks=3)
        self.layer2 = se_layer(c, 2 * c, blocks=4, stride=2)
        self.layer3 = se_layer(2 * c, 4 * c, blocks=6, stride=2)
        self.layer4 = se_layer(4 * c, 8 * c, blocks=3)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """(B, 4T, M) with its mask (B, 4T) -> (B, T, 128)."""
        x = masked(features.transpose(1, 2)[:, None], mask)
        x = conv2d_bn(x, self.conv1.weight, self.bn1, stride=(2, 1), padding=3, mask=mask).relu_()
        x = masked(x, mask)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x, mask = block(x, mask)
        return x.mean(2).transpose(1, 2)


def se_layer(inputs: int, width: int, *, blocks: int, stride: int = 1) -> nn.ModuleList:
    """Blocks of which the first changes width and resolution."""
    rest = (SEBlock(width, width) for _ in range(blocks - 1))
    return nn.ModuleList((SEBlock(inputs, width, stride), *rest))


class SEBlock(nn.Module):
    """Residual block whose channels are weighted by what the whole clip holds."""

    def __init__(self, inputs: int, width: int, stride: int = 1, reduction: int = 8) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.se = nn.ModuleDict(
            {
                "fc": nn.Sequential(
                    nn.Linear(width, max(1, width // reduction)),
                    nn.ReLU(),
                    nn.Linear(max(1, width // reduction), width),
                    nn.Sigmoid(),
                )
            }
        )
        self.downsample: Any = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, C, M, A), zeros on padding, and its mask -> the same, A / stride columns."""
        # A clip's even number of columns halves exactly, and so does its mask.
        out_mask = None if mask is None else mask[:, :: self.stride]
        # ReLU comes before the norm here, as published.
        y = F.conv2d(x, self.conv1.weight, None, self.stride, 1).relu_()
        y = masked(batch_norm(y, self.bn1, out_mask), out_mask)
        y = conv2d_bn(y, self.conv2.weight, self.bn2, padding=1, mask=out_mask)
        y = y * self.se["fc"](clip_mean(y, out_mask))[..., None, None]
        if self.downsample is not None:
            conv, bn = self.downsample
            x = conv2d_bn(x, conv.weight, bn, stride=self.stride, mask=out_mask)
        y += x
        return masked(y.relu_(), out_mask), out_mask


def clip_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean (B, C) over features and valid columns of (B, C, M, A)."""
    if mask is None:
        return x.mean((2, 3))
    return masked(x, mask).sum((2, 3)) / (x.shape[2] * mask.sum(1, keepdim=True))


class AttentionLayer(nn.Module):
    """Multi-head attention and a feed-forward network, each added and layer-normalised."""

    def __init__(self, width: int, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: Tensor, asking: Tensor, mask: Tensor | None) -> Tensor:
        """What `asking` (B, T, D) finds in `source` (B, T, D), added to `source`.

        Scores of all pairs of frames are never held at once, unless dropout is on.
        """
        found = self.unmasked(source, asking) if exporting() else self.found(source, asking, mask)
        x = self.norm1(source + self.dropout(found))
        y: Tensor = self.norm2(x + self.dropout(self.linear2(self.dropout(self.linear1(x).relu()))))
        return y

    def found(self, source: Tensor, asking: Tensor, mask: Tensor | None) -> Tensor:
        """Attention (B, T, D), in which valid frames see valid frames."""
        keys = source.transpose(0, 1)
        found: Tensor = self.self_attn(
            asking.transpose(0, 1),
            keys,
            keys,
            key_padding_mask=None if mask is None else ~mask,
            need_weights=False,
        )[0]
        return found.transpose(0, 1)

    def unmasked(self, source: Tensor, asking: Tensor) -> Tensor:
        """The same without a mask, step by step: exporters fix the length in the whole layer."""
        layer = self.self_attn
        parts = zip(
            (asking, source, source),
            layer.in_proj_weight.chunk(3),
            layer.in_proj_bias.chunk(3),
            strict=True,
        )
        queries, keys, values = (
            F.linear(x, weight, bias).view(*x.shape[:2], layer.num_heads, -1).transpose(1, 2)
            for x, weight, bias in parts
        )
        found = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
        mixed: Tensor = layer.out_proj(found.flatten(2))
        return mixed
