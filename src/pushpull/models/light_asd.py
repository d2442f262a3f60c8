"""Light-ASD (Liao et al., CVPR 2023): two light encoders, summed, and two recurrent layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

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

__all__ = ["LightASD"]


class TwoScaleBlock(Block):
    """Kernels of 3 and 5 side by side, each over space then time; their sum through a 1 x 1."""

    def __init__(self, inputs: int, width: int, *, video: bool, stride: int = 1) -> None:
        super().__init__()
        self.space = "s" if video else "m"
        for k in (3, 5):
            space = conv_layer(inputs, width, k, video=video, over="space", stride=stride)
            self.add_module(f"{self.space}_{k}", space)
            self.add_module(f"bn_{self.space}_{k}", batch_norm_layer(width, video=video))
            self.add_module(f"t_{k}", conv_layer(width, width, k, video=video, over="time"))
            self.add_module(f"bn_t_{k}", batch_norm_layer(width, video=video))
        self.last = conv_layer(width, width, 1, video=video, over="space")
        self.bn_last = batch_norm_layer(width, video=video)

    def branch(
        self, x: Tensor, k: int, clips: int, valid: Tensor | None, memory: TimeMemory | None
    ) -> Tensor:
        """The branch of kernel size k."""
        space = self.pair(f"{self.space}_{k}", f"bn_{self.space}_{k}")
        x = over_space(x, *space, valid, memory, rectified=memory is None)
        # Both branches give the same frames of a piece: those that the wider one knows.
        later = 2 - k // 2
        return over_time(x, *self.pair(f"t_{k}", f"bn_t_{k}"), clips, valid, memory, later)

    def forward(
        self, x: Tensor, clips: int, valid: Tensor | None, memory: TimeMemory | None = None
    ) -> Tensor:
        """(B*T, C, H, W) -> (B*T, C', H', W')."""
        x = self.branch(x, 3, clips, valid, memory) + self.branch(x, 5, clips, valid, memory)
        return over_space(x, self.last, self.bn_last, valid, memory)


class RecurrentLayers(nn.Module):
    """A layer forwards in time, then one backwards over its result."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru_forward = nn.GRU(width, width, batch_first=True)
        self.gru_backward = nn.GRU(width, width, batch_first=True)
        reset_gru(self.gru_forward, self.gru_backward)

    def forward(self, x: Tensor, n_frames: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = F.gelu(recurrent(self.gru_forward, x))
        x = recurrent(self.gru_backward, reversed_in_time(x, n_frames))
        return F.gelu(reversed_in_time(x, n_frames))


class LightASD(FactorisedDetector):
    """Light-ASD; 1.02 M parameters.

    Examples:
        >>> from pushpull.models import LightASD
        >>> detector = LightASD().eval()
        >>> sum(p.numel() for p in detector.parameters())
        1021636
        >>> output = detector(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112))
        >>> output.score.shape, output.logits_v.shape, output.e_a.shape
        (torch.Size([1, 5]), torch.Size([1, 5, 2]), torch.Size([1, 5, 128]))
    """

    visual_context = 6
    audio_context = 5

    def __init__(self) -> None:
        super().__init__(TwoScaleBlock)
        self.GRU = RecurrentLayers(128)

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Scores from the summed embeddings; the visual head from e_v."""
        return Output(
            logits=self.head_av(self.GRU(e_a + e_v, n_frames)),
            mask=length_mask(n_frames, e_v.shape[1]),
            logits_v=self.head_v(e_v),
            e_a=e_a,
            e_v=e_v,
        )
