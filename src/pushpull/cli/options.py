"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "VIDEO_SUFFIXES",
    "CropChoice",
    "DeviceChoice",
    "FaceFinderChoice",
    "JsonFlag",
    "ModalityChoice",
    "NormChoice",
    "SpaceChoice",
    "SurviveChoice",
    "TargetChoice",
    "Weights",
    "budget_of",
    "videos_of",
]


VIDEO_SUFFIXES = {
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".m4v",
}  # fmt: skip


class FaceFinderChoice(str, Enum):
    """Face finders; auto is yunet where its model file can be had, else dlib."""

    auto = "auto"
    dlib = "dlib"
    yunet = "yunet"


class CropChoice(str, Enum):
    """Face crops; auto is the one that did better with the weights on real clips."""

    auto = "auto"
    ava = "ava"
    demo = "demo"


class DeviceChoice(str, Enum):
    """Devices; auto is cuda where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class ModalityChoice(str, Enum):
    """What is attacked."""

    audio = "audio"
    visual = "visual"
    both = "both"


class NormChoice(str, Enum):
    """What a budget measures."""

    linf = "linf"
    l2 = "l2"


class TargetChoice(str, Enum):
    """What every frame is to be taken for; none: the opposite of its label."""

    none = "none"
    silent = "silent"
    speaking = "speaking"


class SpaceChoice(str, Enum):
    """What is moved: face crops, or pixels of the video."""

    crop = "crop"
    frame = "frame"


class SurviveChoice(str, Enum):
    """What the search goes through."""

    nothing = "nothing"
    codec = "codec"


JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


Weights = Annotated[
    str, typer.Option("--weights", "-w", help="Known name (see `pushpull weights`) or a path.")
]


def budget_of(text: str) -> float | dict[str, float]:
    """`5`, or `audio=5e-4,visual=0.5`."""
    from pushpull.errors import ConfigError

    try:
        if "=" not in text:
            return float(text)
        pairs = (part.split("=") for part in text.split(","))
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError as e:
        raise ConfigError(
            f"--eps is {text!r}; expected a number, or audio=NUMBER,visual=NUMBER"
        ) from e


def videos_of(source: Path) -> list[Path]:
    """A video, or the videos of a folder by name."""
    from pushpull.errors import MediaError

    if not source.is_dir():
        return [source]
    videos = sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise MediaError(
            f"{source}: holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); expected at least one"
        )
    return videos
