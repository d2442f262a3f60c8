"""Attacks by name, and the settings that each has of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from pushpull.attacks.apgd import apgd
from pushpull.attacks.gradient import ascend, fgsm
from pushpull.attacks.noise import noise
from pushpull.attacks.square import square
from pushpull.attacks.suite import suite
from pushpull.attacks.variance import vmi_di
from pushpull.errors import UnknownName

__all__ = ["ATTACKS", "attack_named", "is_suite", "options_of"]

ATTACKS: dict[str, Callable[..., None]] = {
    "fgsm": fgsm,
    "bim": ascend,
    "mim": partial(ascend, decay=1.0),
    "pgd": partial(ascend, random_start=True),
    "smoothed": partial(
        ascend, random_start=True, schedule="decayed", draws=4, radius=0.5, decay=1.0, steps=25
    ),
    "apgd": apgd,
    "vmi-di": vmi_di,
    "square": square,
    "noise": noise,
    "suite": suite,
    "suite-fast": partial(suite, version="suite-1-fast"),
}
"""Attacks by name. Each is called with a search, a generator and its settings by keyword."""


def attack_named(name: str) -> Callable[..., None]:
    """The attack of that name.

    Raises:
        UnknownName: If there is none.

    Examples:
        >>> from pushpull.attacks.registry import attack_named
        >>> attack_named("noise").__name__
        'noise'
    """
    if name not in ATTACKS:
        raise UnknownName("attack", name, ATTACKS)
    return ATTACKS[name]


def options_of(name: str) -> dict[str, Any]:
    """Settings that an attack has of its own, and what they are by default.

    Raises:
        UnknownName: If there is no such attack.

    Examples:
        >>> from pushpull.attacks.registry import options_of
        >>> options_of("square")
        {'steps': 5000, 'p_init': 0.8, 'n_restarts': 1}
    """
    parameters = inspect.signature(attack_named(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def is_suite(name: str) -> bool:
    """Whether an attack consists of several, each with an objective of its own.

    Examples:
        >>> from pushpull.attacks.registry import is_suite
        >>> is_suite("suite"), is_suite("pgd")
        (True, False)
    """
    return "version" in options_of(name)
