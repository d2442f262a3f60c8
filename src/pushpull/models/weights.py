"""Public weights known by name, and weights from a file, ready to run.

A known file is fetched once, from the commit that is written here, and only used if its sha256 is
the one written here. TalkNet's weights lie on a file-sharing site without a checksum, so they are
not fetched: download them and give the path.

A few small detectors come with the package, so that everything works offline. They know synthetic
faces only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pushpull.errors import CheckpointError, ConfigError, UnknownName
from pushpull.models.checkpoints import assemble, model_name, read_state
from pushpull.models.detector import Card, Detector
from pushpull.models.factories import from_factory, is_factory
from pushpull.runtime.files import KnownFile, fetch, find, readable, sha256_of

__all__ = [
    "KNOWN",
    "SHIPPED",
    "DetectorSource",
    "KnownWeights",
    "choose_device",
    "list_weights",
    "resolve_detector",
    "weights_file",
]

DetectorSource = str | os.PathLike[str] | Detector
"""What every function and command takes for a detector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWeights:
    """Weights that somebody published.

    Attributes:
        name: What `--detector` takes.
        model: Name in `MODELS`.
        file: Where the file lies below the cache or a search folder.
        url: Where it is published.
        sha256: Checksum of the file; None if its publisher's content cannot be checked, so that
            it has to be given by path.
        licence: SPDX name.
        trained_on: Data set.
        crop: Face crop that the weights do best with (docs/measurements/real-clips.md).
        source: Repository that published it.

    Examples:
        >>> from pushpull.models.weights import KNOWN
        >>> KNOWN["light-asd-ava"].trained_on, KNOWN["talknet-ava"].fetchable
        ('AVA-ActiveSpeaker', None)
    """

    name: str
    model: str
    file: str
    url: str
    sha256: str | None
    licence: str
    trained_on: str
    crop: str
    source: str

    @property
    def fetchable(self) -> KnownFile | None:
        """The file, if it can be fetched and checked."""
        if self.sha256 is None:
            return None
        return KnownFile(self.file, self.url, self.sha256)


LIGHT_ASD = "Junhua-Liao/Light-ASD/ed38c232de5efe0261dbd68627c0ade7cdfe14eb"
LR_ASD = "Junhua-Liao/LR-ASD/1b6dcd2d8fc2895683de6508ec6294ec47d388ca"

KNOWN = {
    weights.name: weights
    for weights in (
        KnownWeights(
            name="light-asd-ava",
            model="light_asd",
            file="light-asd/pretrain_AVA_CVPR.model",
            url=f"https://raw.githubusercontent.com/{LIGHT_ASD}/weight/pretrain_AVA_CVPR.model",
            sha256="d44bc3ea7baa8e0946fa3921311714a630ed8b90a1928fab0dbe30d918909317",
            licence="MIT",
            trained_on="AVA-ActiveSpeaker",
            crop="ava",
            source="https://github.com/Junhua-Liao/Light-ASD",
        ),
        KnownWeights(
            name="light-asd-talkset",
            model="light_asd",
            file="light-asd/finetuning_TalkSet.model",
            url=f"https://raw.githubusercontent.com/{LIGHT_ASD}/weight/finetuning_TalkSet.model",
            sha256="efc375833887eefa9d209dc92810e18519b04c3c73ea35a549f2a7f40b7d94d5",
            licence="MIT",
            trained_on="AVA-ActiveSpeaker, then TalkSet",
            crop="demo",
            source="https://github.com/Junhua-Liao/Light-ASD",
        ),
        KnownWeights(
            name="lr-asd-ava",
            model="lr_asd",
            file="lr-asd/pretrain_AVA.model",
            url=f"https://raw.githubusercontent.com/{LR_ASD}/weight/pretrain_AVA.model",
            sha256="85e6c77fc981595234790d1e128ebb60352d37726b2445e0ef8891e2512fe9e3",
            licence="MIT",
            trained_on="AVA-ActiveSpeaker",
            crop="ava",
            source="https://github.com/Junhua-Liao/LR-ASD",
        ),
        KnownWeights(
            name="lr-asd-talkset",
            model="lr_asd",
            file="lr-asd/finetuning_TalkSet.model",
            url=f"https://raw.githubusercontent.com/{LR_ASD}/weight/finetuning_TalkSet.model",
            sha256="6b4ef53694e874e96cf630198dc479c78aebb3993bbf166aee3d926dfe7d9342",
            licence="MIT",
            trained_on="AVA-ActiveSpeaker, then TalkSet",
            crop="demo",
            source="https://github.com/Junhua-Liao/LR-ASD",
        ),
        KnownWeights(
            name="talknet-ava",
            model="talknet",
            file="talknet/pretrain_AVA.model",
            url="https://drive.google.com/file/d/1NVIkksrD3zbxbDuDbPc_846bLfPSZcZm/view",
            sha256=None,
            licence="MIT",
            trained_on="AVA-ActiveSpeaker",
            crop="ava",
            source="https://github.com/TaoRuijie/TalkNet-ASD",
        ),
        KnownWeights(
            name="talknet-talkset",
            model="talknet",
            file="talknet/pretrain_TalkSet.model",
            url="https://drive.google.com/file/d/1AbN9fCf9IexMxEKXLQY2KYBlb-IhSEea/view",
            sha256=None,
            licence="MIT",
            trained_on="TalkSet",
            crop="demo",
            source="https://github.com/TaoRuijie/TalkNet-ASD",
        ),
    )
}

HARDENED = "light-asd-hardened"
SHIPPED_DIR = Path(__file__).parent / "shipped"
SHIPPED = {
    f"synthetic-{row}": SHIPPED_DIR / f"synthetic-{row}.safetensors"
    for row in ("a", "b3", "d3", "e3", "spec", "nc")
} | {HARDENED: SHIPPED_DIR / f"{HARDENED}.safetensors"}
"""Detectors in the package, made by `scripts/ship_weights.py`: rows of Push-Pull's Table 1 and two
surrogates, of a run of `pushpull reproduce`, and a Light-ASD hardened for real video."""

BY_SHA256 = {known.sha256: known for known in KNOWN.values() if known.sha256 is not None}


def weights_file(name_or_path: str | os.PathLike[str]) -> Path:
    """The file of known weights, fetched if it is not on this machine, or a path as it is.

    A known name wins over a file of the same name; write `./name` for the file.

    Raises:
        CheckpointError: If known weights cannot be fetched.
        UnknownName: If a name without folder and suffix is neither known nor a file.

    Examples:
        >>> from pushpull.models.weights import weights_file
        >>> weights_file("synthetic-a").name, weights_file("mine.safetensors").name
        ('synthetic-a.safetensors', 'mine.safetensors')
        >>> weights_file("light-asd")
        Traceback (most recent call last):
            ...
        pushpull.errors.UnknownName: unknown weights 'light-asd': choose one of
        light-asd-ava, light-asd-hardened, light-asd-talkset, lr-asd-ava, lr-asd-talkset,
        synthetic-a, synthetic-b3, synthetic-d3, synthetic-e3, synthetic-nc, synthetic-spec,
        talknet-ava, talknet-talkset
    """
    if not isinstance(name_or_path, str):
        return Path(name_or_path)
    if name_or_path in SHIPPED:
        return SHIPPED[name_or_path]
    known = KNOWN.get(name_or_path)
    if known is None:
        path = Path(name_or_path)
        if path.exists() or path.suffix or path.name != name_or_path:
            return path
        raise UnknownName("weights", name_or_path, (*KNOWN, *SHIPPED))
    if known.fetchable is None:
        raise CheckpointError(
            f"{known.name}: is not fetched, since no checksum of it is published; download it in a "
            f"browser from {known.url} and give the path of the file in place of the name (see "
            "docs/guide/detectors.md)"
        )
    return fetch(known.fetchable)


def resolve_detector(
    source: DetectorSource, *, device: str | torch.device | None = None
) -> Detector:
    r"""The detector of a known name, a checkpoint, a factory of one's own, or itself.

    Args:
        source: A name in `KNOWN` or `SHIPPED`; a checkpoint (one with a known checksum is
            recognised); `FILE.py:FACTORY` or `package.module:FACTORY`, a callable without arguments
            that returns a module or a `Detector`, with `@CHECKPOINT` behind it for weights that
            `train` wrote; or a `Detector`.
        device: `auto` is cuda where there is one, and what names and files are loaded to by
            default; a `Detector` stays where it is by default.

    Raises:
        CheckpointError: If the weights cannot be fetched, read or loaded.
        UnknownName: If the weights are not known and no path.
        ConfigError: If the device is not there, the factory cannot be used, or the source is none.

    Examples:
        >>> from pathlib import Path
        >>> import pushpull as pp
        >>> pp.load("synthetic-a").card.model  # a detector in the package
        'talknet'
        >>> _ = Path("my_model.py").write_text("from pushpull.models import LightASD\n")
        >>> pp.load("my_model.py:LightASD").card.name
        'my_model.py:LightASD'
    """
    if isinstance(source, Detector):
        return source if device is None else source.to(choose_device(device))
    if isinstance(source, nn.Module):
        raise ConfigError(
            f"the detector is a {type(source).__name__}, a plain torch module; give "
            "pushpull.Detector.wrap(module)"
        )
    if not isinstance(source, (str, os.PathLike)):
        raise ConfigError(
            f"the detector is a {type(source).__name__}; expected a known name, a path, "
            "FILE.py:FACTORY or a Detector"
        )
    place = choose_device("auto" if device is None else device)
    if isinstance(source, str) and is_factory(source):
        return from_factory(source).to(place)
    path = weights_file(source)
    state, header = read_state(path)
    sha256 = sha256_of(path)
    known = BY_SHA256.get(sha256)
    detector = assemble(state, header, path)
    said = header.get("metadata", {})
    own = path.stem if path.parent == SHIPPED_DIR else path.name
    card = Card(
        name=known.name if known else readable(own),
        model=model_name(detector),
        path=path,
        sha256=sha256,
        licence=known.licence if known else said.get("licence"),
        trained_on=known.trained_on if known else said.get("trained_on"),
        crop=known.crop if known else said.get("crop", "ava"),
    )
    return detector.with_card(card).to(place)


def list_weights() -> list[dict[str, str]]:
    """The known weights as rows of text: name, model, licence, trained_on, source, where.

    Examples:
        >>> from pushpull.models.weights import list_weights
        >>> {row["name"]: row["where"] for row in list_weights()}["talknet-ava"]
        'by path only, see docs/guide/detectors.md'
    """
    published = [
        {
            "name": known.name,
            "model": known.model,
            "licence": known.licence,
            "trained_on": known.trained_on,
            "source": known.source,
            "where": _where(known),
        }
        for known in KNOWN.values()
    ]
    return published + [_shipped_row(name, path) for name, path in SHIPPED.items()]


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device by name; `auto` is cuda where there is one, else the CPU.

    Raises:
        ConfigError: If there is no such device on this machine.

    Examples:
        >>> from pushpull.models.weights import choose_device
        >>> choose_device("cpu")
        device(type='cpu')
        >>> choose_device("tpu")
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: device 'tpu' is unknown; expected auto, cpu or cuda
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as e:
        raise ConfigError(f"device '{device}' is unknown; expected auto, cpu or cuda") from e
    if chosen.type not in ("cpu", "cuda"):
        # As "meta", on which nothing is computed.
        raise ConfigError(f"device '{device}' is none of ours; expected auto, cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}': torch finds no CUDA device here; use cpu or auto")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{device}': torch finds {torch.cuda.device_count()} CUDA devices, from cuda:0"
        )
    return chosen


def _shipped_row(name: str, path: Path) -> dict[str, str]:
    _, header = read_state(path)
    return {
        "name": name,
        "model": header["model"],
        "licence": header["metadata"]["licence"],
        "trained_on": header["metadata"]["trained_on"],
        "source": "this package",
        "where": str(path),
    }


def _where(known: KnownWeights) -> str:
    if known.fetchable is None:
        return "by path only, see docs/guide/detectors.md"
    path = find(known.fetchable)
    return "not here, fetched on first use" if path is None else str(path)
