"""Everything that decides an attack but the detector and the clips: one carrier for all verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from pushpull.attacks.registry import is_suite, options_of
from pushpull.attacks.search import at_least_one
from pushpull.attacks.threat import Threat, per_modality
from pushpull.errors import ConfigError, UnknownName
from pushpull.losses import OBJECTIVES, Centres, ObjectiveBuilder
from pushpull.models.detector import Detector

__all__ = ["TARGETS", "AttackSettings"]

TARGETS = {"silent": 0, "speaking": 1}
"""Classes that every frame can be made to be taken for."""

COUNTS = ("steps", "n_restarts", "draws")
"""Settings of attacks that are whole numbers, 1 or more."""

MOST = 10**9
"""More steps, draws or queries than that would not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackSettings:
    """An attack by name, its budget, and how it is run; checked when it is made.

    Attributes:
        attack: A name from `ATTACKS`.
        eps: Push-Pull's eps_av (eps_a = eps_av * 1e-4, eps_v = eps_av * 1e-1), or a budget for each
            attacked modality, `{"audio": 5e-4, "visual": 0.5}`.
        modality: "audio", "visual" or "both".
        norm: "linf" or "l2"; an L2 budget is for the whole waveform, or all faces, of a clip.
        objective: What is maximised, a name from `pushpull.losses.OBJECTIVES`, or what makes an
            objective of a goal.
        targeted: "silent" or "speaking" to have every frame taken for that, True for the class that
            each frame is not, False to leave the labels.
        centres: Of the classes, for the objective "feature"; those of the clean batch by default.
        quantise: Search among 8-bit faces and int16 waveforms, from the clean ones rounded so.
        seed: Of all random numbers.
        bypass: Modules of the detector, by name, that are taken for the identity on the way back;
            see `pushpull.attacks.bypass`.
        surrogates: Detectors by name that the suite transfers from.
        options: Of the attack by itself, such as `steps`, `alpha` (in the units of `eps`; eps /
            steps by default), `decay`, `random_start`, `n_restarts`.

    Raises:
        UnknownName: If there is no such attack, objective, modality, norm or target.
        ConfigError: If the attack has no option of a name, or a budget cannot be.

    Examples:
        >>> from pushpull.attacks import AttackSettings
        >>> settings = AttackSettings(attack="pgd", eps=2, options={"steps": 3})
        >>> settings.as_dict()["eps"]
        {'audio': 0.0002, 'visual': 0.2}
        >>> AttackSettings(attack="fgsm", options={"steps": 3})
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: fgsm has no setting steps: it has none
    """

    attack: str = "pgd"
    eps: float | Mapping[str, float] = 5.0
    modality: str = "both"
    norm: str = "linf"
    objective: str | ObjectiveBuilder = "all"
    targeted: bool | str = False
    centres: Centres | None = None
    quantise: bool = False
    seed: int = 0
    bypass: tuple[str, ...] = ()
    surrogates: Mapping[str, Detector] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, attack: str | AttackSettings = "pgd", **settings: Any) -> AttackSettings:
        """Settings by name, those of the attack itself among them; settings stay as they are.

        Raises:
            UnknownName: As `AttackSettings`.
            ConfigError: As `AttackSettings`, or if ready settings come with further ones.

        Examples:
            >>> from pushpull.attacks import AttackSettings
            >>> AttackSettings.of("square", steps=100).options
            {'steps': 100}
        """
        if isinstance(attack, AttackSettings):
            if settings:
                raise ConfigError(
                    f"{', '.join(sorted(settings))} is given beside ready settings of "
                    f"{attack.attack}; change those"
                )
            return attack
        common = {f.name for f in fields(cls)} - {"attack", "options"}
        own = {k: v for k, v in settings.items() if k not in common}
        return cls(attack=attack, options=own, **{k: v for k, v in settings.items() if k in common})

    def __post_init__(self) -> None:
        known = options_of(self.attack)
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            raise ConfigError(
                f"{self.attack} has no setting {', '.join(unknown)}: it has "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        # Before anybody looks for faces.
        for name in COUNTS:
            if self.options.get(name) is not None:
                at_least_one(name, self.options[name])
        for name, given in self.options.items():
            _check_kind(name, given, known[name])
        if isinstance(self.objective, str) and self.objective not in OBJECTIVES:
            raise UnknownName("objective", self.objective, OBJECTIVES)
        if is_suite(self.attack) and self.objective != "all":
            raise ConfigError(
                f"the objective {self.objective!r} is given for {self.attack}, whose members have "
                "their own; leave it out"
            )
        if self.surrogates and not is_suite(self.attack):
            raise ConfigError(
                f"surrogates are given for {self.attack}, which does not transfer; give them to "
                "suite, or call `transfer`"
            )
        if not isinstance(self.targeted, bool) and self.targeted not in TARGETS:
            raise UnknownName("target", self.targeted, TARGETS)
        threat = self.threat
        if self.options.get("alpha") is not None:
            per_modality("alpha", self.options["alpha"], threat.modalities)

    @property
    def threat(self) -> Threat:
        """Budgets and ranges."""
        return Threat.of(self.eps, modality=self.modality, norm=self.norm, quantise=self.quantise)

    @property
    def run_options(self) -> dict[str, Any]:
        """What the attack is called with: `options`, `alpha` for each modality."""
        options = dict(self.options)
        if options.get("alpha") is not None:
            options["alpha"] = per_modality("alpha", options["alpha"], self.threat.modalities)
        return options

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON: budgets for each modality, defaults of the attack included."""
        named = isinstance(self.objective, str)
        surrogates = [f"{n} {d.card.sha256[:8]}" for n, d in self.surrogates.items()]
        return {
            "attack": self.attack,
            "eps": {name: ball.eps for name, ball in self.threat.balls.items()},
            "modality": self.modality,
            "norm": self.norm.lower(),
            "objective": self.objective if named else repr(self.objective),
            "targeted": self.targeted,
            "quantise": self.quantise,
            "seed": self.seed,
            **({"bypass": list(self.bypass)} if self.bypass else {}),
            **({"surrogates": surrogates} if surrogates else {}),
            **options_of(self.attack),
            **self.run_options,
        }


def _check_kind(what: str, given: object, default: object) -> None:
    """Whether a setting is of the kind of its default, and no larger than can be done."""
    kinds: tuple[tuple[type, str, Callable[[Any], bool]], ...] = (
        (bool, "true or false", lambda x: isinstance(x, bool)),
        (int, f"a whole number up to {MOST}", lambda x: _is(x, Integral) and x <= MOST),
        (float, "a finite number", lambda x: _is(x, Real) and abs(x) <= MOST),
        (str, "a name", lambda x: isinstance(x, str)),
    )
    for kind, expected, fits in kinds:
        if isinstance(default, kind):
            if not fits(given):
                raise ConfigError(f"{what} is {str(given)[:24]}; expected {expected}")
            return


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
