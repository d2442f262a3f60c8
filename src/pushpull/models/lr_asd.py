"""LR-ASD (Liao et al., 2025): longer factorised encoders, gated fusion, two recurrent layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushpull.models.blocks import batch_norm, valid_mask
from pushpull.models.factorised import (
    Block,
    FactorisedDetector,
    TimeMemory,
    batch_norm_layer,
    conv_layer,
    over_space,
    over_time,
    recurrent,
    reset_gru,
    reversed_in_time,
)
from pushpull.schema import Output, length_mask

__all__ = ["LRASD"]


class ChainBlock(Block):
    """Kernels of 5 and 3 one after the other, twice over space and then twice over time."""

    def __init__(self, inputs: int, width: int, *, video: bool, stride: int = 1) -> None:
        super().__init__()
        self.space = "s" if video else "m"
        half = width // 2
        space_1 = conv_layer(inputs, half, 5, video=video, over="space", stride=stride)
        space_2 = conv_layer(half, width, 3, video=video, over="space")
        self.add_module(f"{self.space}_1", space_1)
        self.add_module(f"{self.space}_norm_1", batch_norm_layer(half, video=video))
        self.add_module(f"{self.space}_2", space_2)
        self.add_module(f"{self.space}_norm_2", batch_norm_layer(width, video=video))
        self.t_1 = conv_layer(width, width, 5, video=video, over="time")
        self.t_norm_1 = batch_norm_layer(width, video=video)
        self.t_2 = conv_layer(width, width, 3, video=video, over="time")
        self.t_norm_2 = batch_norm_layer(width, video=video)

    def forward(
        self, x: Tensor, clips: int, valid: Tensor | None, memory: TimeMemory | None = None
    ) -> Tensor:
        """(B*T, C, H, W) -> (B*T, C', H', W')."""
        for i in (1, 2):
            space = self.pair(f"{self.space}_{i}", f"{self.space}_norm_{i}")
            rectified = memory is None or i == 1
            x = over_space(x, *space, valid, memory, rectified=rectified)
        x = over_time(x, self.t_1, self.t_norm_1, clips, valid, memory)
        return over_time(x, self.t_2, self.t_norm_2, clips, valid, memory)


class Gate(nn.Module):
    """Concatenated inputs, each channel weighted by a sigmoid of all of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Conv1d(width, width, 1, bias=False)
        self.bn = nn.BatchNorm1d(width, momentum=0.01, eps=0.001)

    def forward(self, x_1: Tensor, x_2: Tensor, n_frames: Tensor) -> Tensor:
        """Two (B, T, D / 2) -> (B, T, D)."""
        x = torch.cat((x_1, x_2), 2)
        mixed = self.attention(x.transpose(1, 2))
        gate = torch.sigmoid(batch_norm(mixed, self.bn, valid_mask(n_frames, x.shape[1])))
        return x * gate.transpose(1, 2)


class RecurrentLayers(nn.Module):
    """One layer forwards and one backwards over the same input, gated together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru_forward = nn.GRU(width, width // 4, batch_first=True)
        self.gru_backward = nn.GRU(width, width // 4, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.attention = Gate(width // 2)
        reset_gru(self.gru_forward, self.gru_backward)

    def forward(self, x: Tensor, n_frames: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D / 2)."""
        forwards = recurrent(self.gru_forward, self.drop(x))
        backwards = recurrent(self.gru_backward, self.drop(reversed_in_time(x, n_frames)))
        gated: Tensor = self.attention(forwards, reversed_in_time(backwards, n_frames), n_frames)
        return gated


class LRASD(FactorisedDetector):
    """LR-ASD; 0.84 M parameters.

    Examples:
        >>> from pushpull.models import LRASD
        >>> detector = LRASD().eval()
        >>> sum(p.numel() for p in detector.parameters())
        837156
        >>> detector(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112)).score.shape
        torch.Size([1, 5])
    """

    visual_context = 9
    audio_context = 6

    def __init__(self) -> None:
        super().__init__(ChainBlock)
        self.fusion = Gate(256)
        self.detector = RecurrentLayers(256)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Scores from the gated embeddings; the visual head from e_v."""
        hidden = self.detector(self.fusion(e_a, e_v, n_frames), n_frames)
        return Output(
            logits=self.head_av(hidden),
            mask=length_mask(n_frames, e_v.shape[1]),
            logits_v=self.head_v(e_v),
            e_a=e_a,
            e_v=e_v,
        )
