"""What a visitor may ask for. The server checks it without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pushpull.errors import ConfigError, UnknownName

__all__ = [
    "CHOICES",
    "STEPS",
    "USUAL",
    "attack_request",
    "number",
    "one_of",
    "turns_request",
    "whole_number",
]

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
    "pgd": 5, "bim": 5, "mim": 5, "smoothed": 25, "apgd": 100, "vmi-di": 10, "square": 5000,
    "noise": 1, "fgsm": None, "suite": None, "suite-fast": None,
}  # fmt: skip
"""Default steps of each attack, those of the command line; fgsm and suites take no number."""

USUAL = {"eps": 5.0, "amplify": 50.0}
"""Default numbers of the form."""

SUITES = ("suite", "suite-fast")

MOST_STEPS = 10_000
EPS = (0.01, 100.0)
AMPLIFY = (1.0, 255.0)
MOST_TURNS = 2000


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


def turns_request(
    asked: Mapping[str, Any], *, faces: int, duration_s: float
) -> list[list[list[float]]]:
    """Turns of each face as somebody corrected them, in order; those that touch become one.

    Raises:
        ConfigError: If they are no turns of so many faces in so long a video.

    Examples:
        >>> from pushpull.app.validation import turns_request
        >>> turns_request({"faces": [[[2, 3], [0.5, 1], [1, 1.5]]]}, faces=1, duration_s=4.0)
        [[[0.5, 1.5], [2.0, 3.0]]]
    """
    found = asked.get("faces")
    if not isinstance(found, list) or len(found) != faces:
        raise ConfigError(f"expected turns of {faces} faces")
    every: list[list[list[float]]] = []
    for turns in found:
        if not isinstance(turns, list) or len(turns) > MOST_TURNS:
            raise ConfigError(f"expected at most {MOST_TURNS} turns of a face")
        own: list[list[float]] = []
        for turn in turns:
            if not isinstance(turn, list) or len(turn) != 2:
                raise ConfigError("a turn is no pair of a start and an end in seconds")
            named = {"start": turn[0], "end": turn[1]}
            start_s, end_s = (number(named, name, 0, duration_s + 1) for name in named)
            if not start_s < end_s:
                raise ConfigError(f"a turn starts at {start_s:g} s and ends at {end_s:g} s")
            own.append([start_s, end_s])
        joined: list[list[float]] = []
        for start_s, end_s in sorted(own):
            if joined and start_s <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], end_s)
            else:
                joined.append([start_s, end_s])
        every.append(joined)
    return every


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
    """A number in a range.

    Examples:
        >>> from pushpull.app.validation import number
        >>> number({"threshold": 0.7}, "threshold", 0.01, 0.99)
        0.7
    """
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
