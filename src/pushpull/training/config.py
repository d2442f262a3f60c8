"""The settings of a training run: a TOML file, changed by `key=value`; nothing unknown passes."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pushpull.attacks import AttackSettings
from pushpull.data import SPLITS
from pushpull.errors import ConfigError, UnknownName
from pushpull.losses.avil import Avil
from pushpull.models import MODELS
from pushpull.models.factories import is_factory
from pushpull.runtime.files import read_text, readable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "CONFIGS",
    "DataConfig",
    "HardenConfig",
    "OptimConfig",
    "RunConfig",
    "TrainConfig",
    "build_config",
    "config_file",
    "read_config",
    "title_of",
]

CONFIGS = {
    name: Path(__file__).parent / "configs" / f"{name}.toml"
    for name in ("light-asd", "light-asd-hardened", "talknet", "talknet-small")
}
"""Configurations in the package, by name."""

MOST = 2**63 - 1
MOST_PROCESSES = 65536
MOST_EPS = 10_000.0
"""An eps_av that moves the sound by all of its range; of faces a quarter is enough."""

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed", "64-true")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What is learnt from.

    Attributes:
        root: Folder of a data set, packed or in TalkNet's layout; relative to the working folder.
        train: Split to learn from.
        val: Split that the best checkpoint is chosen on.
        batch_frames: Frames of a batch over all processes, padding counted.
        augment: TalkNet's augmentation of sound and faces.
        workers: Processes that load ahead.
        limit: Use the first so many tracks of each split; 0 for all.

    Examples:
        >>> from pushpull.training.config import DataConfig
        >>> DataConfig(root="data/ava", limit=100).batch_frames
        2500
    """

    root: str
    train: str = "train"
    val: str = "val"
    batch_frames: int = 2500
    augment: bool = True
    workers: int = 1
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Adam with a rate that falls by a factor each epoch, as TalkNet and Light-ASD are trained.

    Attributes:
        lr: Learning rate of the first epoch.
        decay: Factor from epoch to epoch.
        epochs: Passes over the data.
        accumulate: Batches of one step.
        clip_norm: Longest gradient; 0 for any.
        patience: Epochs without a better validation mAP before training stops; 0 for no stop.
        freeze_norm: Whether batch norm keeps the means that it has, as it should where little data
            of few people would replace those of much.

    Examples:
        >>> from pushpull.training.config import OptimConfig
        >>> optim = OptimConfig(epochs=10)
        >>> optim.lr * optim.decay  # of the second epoch
        9.5e-05
    """

    lr: float = 1e-4
    decay: float = 0.95
    epochs: int = 25
    accumulate: int = 1
    clip_norm: float = 0.0
    patience: int = 0
    freeze_norm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HardenConfig:
    """Adversarial training.

    Attributes:
        regime: "none", "mix" (clean and adversarial losses), or "trades" (Zhang et al. 2019).
        attack: A name from `pushpull.attacks.ATTACKS`.
        eps: Push-Pull's eps_av.
        steps: Of the attack.
        random_start: Whether a one-step attack starts at a random place (Wong et al. 2020).
        modality: "audio", "visual" or "both".
        objective: What the attack maximises.
        mix: Share of the adversarial loss; 0.5 as Push-Pull, 1 for adversarial examples only.
        beta: Weight of the consistency term of TRADES.
        ramp_epochs: Epochs over which eps rises evenly to its value; 0 for at once.
        validate: Attack under which the best epoch is chosen, at the whole eps; "" for none.
        validate_tracks: Validation tracks that are attacked; 0 for all.
        validate_frames: Each is cut to a window of so many frames; 0 for whole tracks.

    Examples:
        >>> from pushpull.training.config import HardenConfig
        >>> HardenConfig(regime="mix", eps=5.0, steps=5).mix
        0.5
    """

    regime: str = "none"
    attack: str = "pgd"
    eps: float = 5.0
    steps: int = 5
    random_start: bool = False
    modality: str = "both"
    objective: str = "all"
    mix: float = 0.5
    beta: float = 6.0
    ramp_epochs: int = 0
    validate: str = ""
    validate_tracks: int = 0
    validate_frames: int = 0

    def at(self, epoch: int) -> HardenConfig:
        """What is trained against in an epoch (1 for the first), without the schedule.

        Examples:
            >>> from pushpull.training.config import HardenConfig
            >>> harden = HardenConfig(eps=4.0, ramp_epochs=4)
            >>> [harden.at(epoch).eps for epoch in (1, 2, 4, 9)]
            [1.0, 2.0, 4.0, 4.0]
        """
        share = min(epoch / max(self.ramp_epochs, 1), 1.0)
        return dataclasses.replace(self, eps=share * self.eps, ramp_epochs=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Where and how.

    Attributes:
        out: Folder of checkpoints and logs.
        seed: Of weights, order, augmentation and attacks.
        device: "auto", "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or, to compare runs, "64-true".
        processes: On this machine; with torchrun or SLURM they say it themselves.
        nodes: Machines.
        checkpoint_s: Seconds between checkpoints within an epoch.
        init: Weights to start from, a known name or a path; "" for fresh ones.

    Examples:
        >>> from pushpull.training.config import RunConfig
        >>> RunConfig(out="runs/mine", seed=1).precision
        '32-true'
    """

    out: str = "pushpull-train"
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    processes: int = 1
    nodes: int = 1
    checkpoint_s: float = 300.0
    init: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The detector.

    Attributes:
        name: A name from `pushpull.models.MODELS`, or `FILE.py:FACTORY` for a model of one's own.
        options: Its keyword arguments; a factory takes none.
    """

    name: str = "talknet"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run; the sections of the TOML file.

    Examples:
        >>> from pushpull.training.config import DataConfig, OptimConfig, TrainConfig
        >>> config = TrainConfig(data=DataConfig(root="data/ava"), optim=OptimConfig(epochs=10))
        >>> config.model.name, config.as_dict()["optim"]["epochs"]
        ('talknet', 10)
        >>> TrainConfig(data=DataConfig(root="data/ava"), optim=OptimConfig(epochs=0))
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: optim.epochs is 0; expected at least 1
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    avil: Avil = field(default_factory=Avil)
    harden: HardenConfig = field(default_factory=HardenConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.model.name not in MODELS and not is_factory(self.model.name):
            raise UnknownName("model", self.model.name, MODELS)
        self._check_names()
        for where, value, least, most in (
            ("data.batch_frames", self.data.batch_frames, 1, MOST),
            ("data.workers", self.data.workers, 0, MOST_PROCESSES),
            ("data.limit", self.data.limit, 0, MOST),
            ("optim.epochs", self.optim.epochs, 1, MOST),
            ("optim.accumulate", self.optim.accumulate, 1, MOST),
            ("optim.patience", self.optim.patience, 0, MOST),
            ("harden.steps", self.harden.steps, 1, MOST),
            ("harden.ramp_epochs", self.harden.ramp_epochs, 0, MOST),
            ("harden.validate_tracks", self.harden.validate_tracks, 0, MOST),
            ("harden.validate_frames", self.harden.validate_frames, 0, MOST),
            ("run.processes", self.run.processes, 1, MOST_PROCESSES),
            ("run.nodes", self.run.nodes, 1, MOST_PROCESSES),
            ("run.seed", self.run.seed, 0, MOST),
        ):
            if value < least:
                raise ConfigError(f"{where} is {value}; expected at least {least}")
            if value > most:
                # As text: a whole number may be larger than any float.
                said = str(value)
                said = said if len(said) <= 24 else f"{said[:20]}... ({len(said)} digits)"
                raise ConfigError(f"{where} is {said}; expected at most {most}")
        for where, number, low, high in (
            ("optim.lr", self.optim.lr, 1e-20, 1e30),
            ("optim.decay", self.optim.decay, 1e-20, 10.0),
            ("optim.clip_norm", self.optim.clip_norm, 0.0, 1e20),
            ("harden.eps", self.harden.eps, 0.0, MOST_EPS),
            ("harden.mix", self.harden.mix, 0.0, 1.0),
            ("harden.beta", self.harden.beta, 0.0, 1e6),
            ("run.checkpoint_s", self.run.checkpoint_s, 0.0, MOST),
        ):
            if not low <= number <= high:
                raise ConfigError(f"{where} is {number}; expected {low:g} to {high:g}")

    def _check_names(self) -> None:
        """Names that are in a table, and texts that can be names of files."""
        for kind, name, known in (
            ("precision", self.run.precision, PRECISIONS),
            ("device", self.run.device.partition(":")[0], DEVICES),
            ("split", self.data.train, SPLITS),
            ("split", self.data.val, SPLITS),
        ):
            if name not in known:
                raise UnknownName(kind, name, known)
        for where, text in (
            ("data.root", self.data.root),
            ("run.out", self.run.out),
            ("run.init", self.run.init),
            ("model.name", self.model.name),
        ):
            if not readable(text).isprintable() or (not text and where != "run.init"):
                raise ConfigError(f"{where} is {text!r}; expected the name of a file or folder")
        # Checked when they are made: names of attacks, objectives and modalities.
        AttackSettings.of(
            self.harden.attack,
            eps=self.harden.eps,
            modality=self.harden.modality,
            objective=self.harden.objective,
        )
        if self.harden.validate:
            AttackSettings.of(
                self.harden.validate, eps=self.harden.eps, modality=self.harden.modality
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and checkpoints keep them."""
        return dataclasses.asdict(self)


def config_file(source: str | PathLike[str]) -> Path:
    """The file of a configuration in the package, or a path as it is.

    A known name wins over a file of the same name; write `./name` for the file.

    Raises:
        UnknownName: If a name without folder and suffix is neither known nor a file.

    Examples:
        >>> from pushpull.training.config import config_file
        >>> config_file("talknet").name, config_file("mine.toml").name
        ('talknet.toml', 'mine.toml')
    """
    name = fspath(source)
    if name in CONFIGS:
        return CONFIGS[name]
    path = Path(name)
    if path.exists() or path.suffix or path.name != name:
        return path
    raise UnknownName("configuration", name, CONFIGS)


def title_of(name: str) -> str:
    """What a configuration in the package is, in a sentence.

    Examples:
        >>> from pushpull.training.config import title_of
        >>> title_of("talknet").split(":")[0]
        'TalkNet as its authors train it on AVA-ActiveSpeaker'
    """
    lines = CONFIGS[name].read_text(encoding="utf-8").splitlines()
    said = " ".join(line.lstrip("# ") for line in takewhile(lambda at: at.startswith("#"), lines))
    return said.split(". ")[0].rstrip(".")


def read_config(source: str | PathLike[str], changes: Sequence[str] = ()) -> TrainConfig:
    """A configuration from a TOML file and changes such as `optim.lr=3e-4`.

    Args:
        source: A name in `CONFIGS`, or a file.
        changes: Of single values, each `section.key=value`.

    Raises:
        ConfigError: If the file cannot be read, or a key or value cannot be.
        UnknownName: If a named thing is in no table.

    Examples:
        >>> from pushpull.training import read_config
        >>> config = read_config("talknet", ["data.root=faces", "optim.lr=3e-4"])
        >>> config.optim.lr, config.data.root
        (0.0003, 'faces')
    """
    path = config_file(source)
    try:
        values = _parsed(read_text(path))
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read as TOML ({e.strerror})") from e
    except ValueError as e:
        raise ConfigError(f"{path}: cannot be read as TOML ({e})") from e
    for change in changes:
        _set(values, change)
    return build_config(values, f"{path}")


def build_config(values: Mapping[str, Any], where: str = "configuration") -> TrainConfig:
    """A configuration from plain values as a TOML file holds them; `where` is for messages.

    Raises:
        ConfigError: If a key or value cannot be.
        UnknownName: If a named thing is in no table.

    Examples:
        >>> from pushpull.training.config import build_config
        >>> config = build_config({"data": {"root": "faces"}, "optim": {"epochs": 3}})
        >>> config.optim.epochs
        3
        >>> build_config({"data": {"root": "faces", "splits": 3}})
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: configuration, data: unknown key 'splits'; it knows
        augment, batch_frames, limit, root, train, val, workers
    """
    return typing.cast(TrainConfig, _built(TrainConfig, values, where))


def _parsed(text: str) -> dict[str, Any]:
    """What a TOML text says; ValueError also where the parser gives up in its own ways."""
    try:
        return tomllib.loads(text)
    except RecursionError as e:
        raise ValueError("is nested too deeply") from e


def _set(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"'{change}' is no change; expected section.key=value")
    try:
        value = _parsed(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        # Text without quotes, as it comes from a shell.
        value = text
    except ValueError as e:
        raise ConfigError(f"{key}: its value cannot be read ({e})") from e
    *sections, last = key.split(".")
    inner = values
    for section in sections:
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"'{change}': {section} is no section")
    inner[last] = value


def _built(kind: Any, values: Mapping[str, Any], where: str) -> object:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(
            f"{where}: unknown key '{unknown[0]}'; it knows {', '.join(sorted(hints))}"
        )
    made = {}
    for name, value in values.items():
        made[name] = _value(hints[name], value, f"{where}, {name}")
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in made
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: '{missing[0]}' is missing")
    try:
        return kind(**made)
    except ConfigError as e:
        raise type(e)(f"{where}: {e}") if type(e) is ConfigError else e from e


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: got {value!r}; expected a section of keys")
        return _built(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as e:
            raise ConfigError(f"{where}: got a number of {value.bit_length()} bits") from e
    plain = dict if isinstance(kind, types.GenericAlias) else kind
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: got {value!r}; expected {plain.__name__}")
    return value
