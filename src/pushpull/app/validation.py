"""What a visitor may ask for. The server checks it without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pushpull.errors import ConfigError, UnknownName

__all__ = ["CHOICES", "STEPS", "attack_request", "one_of", "whole_number"]

CHOICES: dict[str, tuple[str, ...]] = {
    "attack": (
        "pgd", "suite", "suite-fast", "fgsm", "bim", "mim", "smoothed", "apgd", "vmi-di", "square",
        "noise",
    ),
    "modality": ("both", "audio", "visual"),
    "objective": ("all", "av", "margin", "feature", "flips"),
    "norm": ("linf", "l2"),
    "target": ("none", "silent", "speaking"),
    "space": ("crop", "frame"),
}  # fmt: skip
"""The first of each is the default."""

STEPS = {
    "pgd": 10, "bim": 10, "mim": 10, "smoothed": 10, "apgd": 20, "vmi-di": 10, "square": 200,
    "noise": 1, "fgsm": None, "suite": None, "suite-fast": None,
}  # fmt: skip
"""Default steps of each attack; fgsm has one, and suites have their own: they take no number."""

SUITES = ("suite", "suite-fast")

MOST_STEPS = 1000
EPS = (0.01, 100.0)
AMPLIFY = (1.0, 255.0)


def attack_request(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `attack_video` from a form's JSON.

    Raises:
        ConfigError: If one is missing, unknown or out of range.

    Examples:
        >>> from pushpull.app.validation import attack_request
        >>> settings = attack_request({"attack": "pgd", "eps": 5, "steps": 10})
        >>> settings["attack"], settings["eps"], settings["steps"], settings["modality"]
        ('pgd', 5.0, 10, 'both')
        >>> attack_request({"attack": "pgd", "eps": 1000, "steps": 10})
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: eps is 1000; expected a number from 0.01 to 100
    """
    chosen = {name: one_of(asked, name) for name in CHOICES}
    target = chosen.pop("target")
    settings: dict[str, Any] = {
        **chosen,
        "eps": number(asked, "eps", *EPS),
        "targeted": False if target == "none" else target,
        "quantise": flag(asked, "quantise"),
        "survive": flag(asked, "survive"),
    }
    if STEPS[chosen["attack"]] is not None:
        settings["steps"] = whole_number(asked, "steps", 1, MOST_STEPS)
    if chosen["attack"] in SUITES:
        settings["objective"] = "all"  # Their members have their own.
    return settings


def amplification(asked: Mapping[str, Any]) -> float:
    """Times that a change of pixels is drawn."""
    return number(asked, "amplify", *AMPLIFY)


def one_of(asked: Mapping[str, Any], name: str) -> str:
    """A choice by name; the first if it is not asked for.

    Examples:
        >>> from pushpull.app.validation import one_of
        >>> one_of({"norm": "l2"}, "norm"), one_of({}, "norm")
        ('l2', 'linf')
    """
    known = CHOICES[name]
    value = asked.get(name, known[0])
    if not isinstance(value, str) or value not in known:
        raise UnknownName(name, str(value)[:50], known)
    return value


def number(asked: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """A number in a range."""
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(
            f"{name} is {str(value)[:50]}; expected a number from {low:g} to {high:g}"
        )
    return float(value)


def whole_number(asked: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """A whole number in a range.

    Examples:
        >>> from pushpull.app.validation import whole_number
        >>> whole_number({"steps": 10}, "steps", 1, 1000)
        10
        >>> whole_number({"steps": 2.5}, "steps", 1, 1000)
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: steps is 2.5; expected a whole number
    """
    value = number(asked, name, low, high)
    if value != int(value):
        raise ConfigError(f"{name} is {value:g}; expected a whole number")
    return int(value)


def flag(asked: Mapping[str, Any], name: str) -> bool:
    """True or false; false if it is not asked for."""
    value = asked.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {str(value)[:50]}; expected true or false")
    return value
