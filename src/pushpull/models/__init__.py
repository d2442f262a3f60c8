"""The detectors by name."""

from __future__ import annotations

from collections.abc import Callable

from pushpull.errors import UnknownName
from pushpull.models.detector import Detector
from pushpull.models.light_asd import LightASD
from pushpull.models.lr_asd import LRASD
from pushpull.models.talknet import NcTalkNet, SpecTalkNet, TalkNet

__all__ = [
    "LRASD",
    "MODELS",
    "Detector",
    "LightASD",
    "NcTalkNet",
    "SpecTalkNet",
    "TalkNet",
    "build",
]

MODELS: dict[str, Callable[..., Detector]] = {
    "talknet": TalkNet,
    "spec_talknet": SpecTalkNet,
    "nc_talknet": NcTalkNet,
    "light_asd": LightASD,
    "lr_asd": LRASD,
}


def build(name: str, **options: object) -> Detector:
    """A detector with fresh weights.

    Args:
        name: One of `MODELS`.
        options: Its keyword arguments, as `Detector.config` gives them.

    Raises:
        UnknownName: If there is no such model.

    Examples:
        >>> from pushpull.models import build
        >>> detector = build("talknet", width=0.25).eval()
        >>> waveform, faces = torch.randn(1, 6400) / 10, 255 * torch.rand(1, 10, 112, 112)
        >>> detector(waveform, faces).score.shape  # log-odds of each frame
        torch.Size([1, 10])
    """
    if name not in MODELS:
        raise UnknownName("model", name, MODELS)
    return MODELS[name](**options)
