"""What is claimed of a detector, and how much is spent on trying to refute it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pushpull.attacks import SUITES, AttackSettings
from pushpull.errors import ConfigError, UnknownName
from pushpull.evaluation import Perturb

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["FAST", "FULL", "TINY", "WHOLE_SUITES", "AuditConfig", "Claim", "claim_of"]

WHOLE_SUITES = tuple(name for name in SUITES if not name.endswith("-fast"))
"""Standard attacks that a claim can hold against."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """An evaluation to be audited: an attack, and the mAP that is said to be left under it.

    Attributes:
        attack: A name from `pushpull.attacks.ATTACKS`; the paper's PGD by default.
        settings: Of the attack: steps, random_start, ...
        objective: What it maximised.
        average_precision: What is claimed on the clips of the audit, a share; None: what is
            measured.
        perturb: The evaluation's own maker of adversaries, if it is not this package's. It is
            called as `pushpull.evaluation` calls it and its result is measured, never trusted.
            Nothing is known that says whether it is the same as in an earlier audit, so what it
            makes is made again each time.
        bypass: Modules of the detector, by name, that may ruin its gradient: attacks past them are
            compared with its own (`pushpull.attacks.bypass`).
        source: Where the claim was made, for the report.

    Examples:
        >>> from pushpull.auditing import Claim
        >>> Claim(attack="apgd", settings={"steps": 100}, average_precision=0.62).objective
        'all'
        >>> Claim(average_precision=62)
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: the claimed average precision is 62; expected a share,
        0 to 1
    """

    attack: str = "pgd"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"steps": 5})
    objective: str = "all"
    average_precision: float | None = None
    perturb: Perturb | None = None
    bypass: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        AttackSettings.of(self.attack, **{**self.settings, "objective": self.objective})
        claimed = self.average_precision
        if claimed is not None and not 0 <= claimed <= 1:
            raise ConfigError(
                f"the claimed average precision is {claimed}; expected a share, 0 to 1"
            )


def claim_of(said: str | None = None, **settings: Any) -> Claim:
    """The claim that a number or a TOML file states.

    Args:
        said: mAP in percent; or a file with `mAP` in percent, `attack`, `objective`, `bypass`,
            `source` and a table `[settings]` of the attack, all but the first optional. Of a file
            of several, each a table by itself, `FILE.toml:NAME` is one.
        **settings: Of `Claim`, where the file does not say otherwise.

    Raises:
        ConfigError: If it is neither, or what it says cannot be.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.auditing import claim_of
        >>> claim_of("62").average_precision
        0.62
        >>> _ = Path("table.toml").write_text('''
        ... [D3]
        ... mAP = 99.97
        ... attack = "pgd"
        ... source = "Table 1, row D3"
        ... settings = {steps = 5}
        ... ''')
        >>> claim_of("table.toml:D3").average_precision
        0.9997
    """
    if said is None:
        return Claim(**settings)
    try:
        stated = float(said) / 100
    except ValueError:
        stated = None
    if stated is not None:
        return Claim(**settings, average_precision=stated)
    path, _, name = said.partition(".toml:")
    file = Path(said if not name else f"{path}.toml")
    if file.suffix != ".toml":
        raise ConfigError(f"claim is {said!r}; expected mAP in percent, or a file FILE.toml")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:  # no TOML, or a number of many digits
        raise ConfigError(f"{file}: cannot be read as a claim: {e}") from e
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    if name:
        if name not in tables:
            raise UnknownName("claim", name, tables)
        table = tables[name]
    elif "mAP" not in table and set(tables) - {"settings"}:
        raise ConfigError(
            f"{file}: holds several claims; name one, as in {file}:{next(iter(tables))}"
        )
    known = {"mAP", "attack", "objective", "bypass", "source", "settings"}
    unknown = sorted(set(table) - known)
    if unknown or not isinstance(table.get("mAP"), (int, float)):
        raise ConfigError(
            f"{file}: "
            + (f"has {', '.join(unknown)}, " if unknown else "has no number mAP, ")
            + f"expected {', '.join(sorted(known))}, mAP in percent"
        )
    for key, kind in (("settings", dict), ("bypass", list), ("objective", str), ("source", str)):
        if not isinstance(table.get(key, kind()), kind):
            raise ConfigError(f"{file}: {key} is {table[key]!r}; expected a {kind.__name__}")
    # Compared before it is divided: a whole number may have more digits than a float can hold.
    if table["mAP"] > 100:
        raise ConfigError(f"{file}: mAP is above 100; expected percent")
    given = {key: value for key, value in table.items() if key != "mAP"}
    given |= {"bypass": tuple(table["bypass"])} if "bypass" in table else {}
    return Claim(**{**settings, **given}, average_precision=max(table["mAP"], -1) / 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """How much is done. Steps of PGD are 2.5 eps / steps, from a random start.

    Attributes:
        tracks: Tracks, half of them mostly speaking where there are enough; 0 for all.
        frames: Tracks are cut to a window of so many frames; 0 leaves them whole.
        batch_frames: Frames run at once.
        seed: Of tracks, windows, starts and directions.
        steps: Counts of the step sweep, rising.
        restarts: Random starts, a power of 2.
        restart_steps: Steps from each.
        eps_factors: Multiples of eps, rising; the whole valid range is always last.
        eps_steps: Steps of the eps sweep.
        loss_steps: Steps where losses are swapped, and of each modality and direction.
        temperatures: Logits are divided by these before the cross-entropy.
        lambdas: Weights of the embeddings beside the cross-entropy.
        suite: Version of the standard attack, a name from `pushpull.attacks.SUITES`.
        noise_draws: Draws of random noise.
        probe_clips: Clips on which derivatives and slices of the loss are measured.
        directions: Random directions of finite differences, for each modality.
        grid: Points on a side of a slice of the loss, an odd number.
        draws: Of the bootstrap.

    Examples:
        >>> from dataclasses import replace
        >>> from pushpull.auditing import FAST, AuditConfig
        >>> replace(FAST, tracks=24).steps
        (1, 5, 20)
        >>> AuditConfig(restarts=3)
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: restarts is 3; expected a power of 2, from 2
    """

    tracks: int = 40
    frames: int = 50
    batch_frames: int = 1500
    seed: int = 0
    steps: tuple[int, ...] = (1, 5, 20, 100)
    restarts: int = 4
    restart_steps: int = 20
    eps_factors: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0)
    eps_steps: int = 20
    loss_steps: int = 20
    temperatures: tuple[float, ...] = (100.0, 10000.0)
    lambdas: tuple[float, ...] = (1.0,)
    suite: str = "suite-2"
    noise_draws: int = 50
    probe_clips: int = 20
    directions: int = 20
    grid: int = 21
    draws: int = 1000

    def __post_init__(self) -> None:
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("tracks", "frames"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 (all) or more")
        if self.tracks == 1:
            raise ConfigError("tracks is 1; expected at least 2, since intervals are over tracks")
        if self.suite not in SUITES:
            raise UnknownName("suite", self.suite, SUITES)
        if self.restarts < 2 or self.restarts & (self.restarts - 1):
            raise ConfigError(f"restarts is {self.restarts}; expected a power of 2, from 2")
        if self.grid < 3 or self.grid % 2 == 0:
            raise ConfigError(f"grid is {self.grid}; expected an odd number, from 3")
        for name in ("steps", "eps_factors"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or values[0] <= 0:
                raise ConfigError(f"{name} is {values}; expected rising numbers above 0")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


COUNTS = (
    "batch_frames", "restart_steps", "eps_steps", "loss_steps", "noise_draws", "probe_clips",
    "directions", "draws",
)  # fmt: skip

FULL = AuditConfig()
"""Enough to find that a claim holds: some 40 minutes on two cores for a reduced TalkNet, more where
many clips withstand the suite."""

FAST = AuditConfig(
    tracks=12,
    # About a second: detectors that hear a quarter of a second only are at 80 mAP where they are at
    # 99 on whole tracks, and what is said of them there is not said of them.
    frames=24,
    steps=(1, 5, 20),
    restarts=2,
    restart_steps=5,
    eps_factors=(0.5, 1.0, 2.0, 10.0),
    eps_steps=5,
    loss_steps=5,
    temperatures=(100.0,),
    lambdas=(1.0,),
    suite="suite-1-fast",
    noise_draws=5,
    probe_clips=4,
    directions=4,
    grid=5,
    draws=300,
)
"""Up to three minutes on two cores for a reduced TalkNet. It finds most of what is masked, broken
or overstated, and cannot find that a claim holds."""

TINY = AuditConfig(
    tracks=4,
    frames=6,
    steps=(1, 2),
    restarts=2,
    restart_steps=1,
    eps_factors=(1.0, 2.0),
    eps_steps=1,
    loss_steps=1,
    temperatures=(100.0,),
    lambdas=(1.0,),
    suite="suite-1-fast",
    noise_draws=1,
    probe_clips=2,
    directions=1,
    grid=3,
    draws=20,
)
"""Everything once, in seconds: to see that a detector can be audited. It says nothing of it."""
