"""The names of `import pushpull`, loaded when they are first used (PEP 562).

They live in rooms above this one, so they are known here by their addresses only.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

__all__ = ["HOMES", "names_of_the_package", "of_the_package"]

PACKAGE = "pushpull"

HOMES = {
    "Detector": ("pushpull.models", "Detector"),
    "attack": ("pushpull.attacks", "attack"),
    "attack_video": ("pushpull.video_attacks", "attack_video"),
    "audit": ("pushpull.auditing", "audit"),
    "detect": ("pushpull.detection", "detect"),
    "evaluate": ("pushpull.evaluation", "evaluate"),
    "load": ("pushpull.models.weights", "resolve_detector"),
    "train": ("pushpull.training", "train"),
}
"""Module and name of each."""


def of_the_package(name: str) -> Any:
    """What `pushpull.NAME` is.

    Raises:
        AttributeError: If the package has no such name.

    Examples:
        >>> from pushpull.runtime.front_door import of_the_package
        >>> of_the_package("detect").__module__
        'pushpull.detection.pipeline'
        >>> of_the_package("defend")
        Traceback (most recent call last):
            ...
        AttributeError: module 'pushpull' has no attribute 'defend'
    """
    if name not in HOMES:
        raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
    module, attribute = HOMES[name]
    found = getattr(import_module(module), attribute)
    # Kept in the package, so that a name is looked up once.
    setattr(sys.modules[PACKAGE], name, found)
    return found


def names_of_the_package() -> list[str]:
    """The names, sorted, and the version.

    Examples:
        >>> from pushpull.runtime.front_door import names_of_the_package
        >>> "detect" in names_of_the_package()
        True
    """
    return sorted([*HOMES, "__version__"])
