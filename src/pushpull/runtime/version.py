"""The version of the package, the only place where it stands, and what results were made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__", "versions"]

__version__ = "0.2.0"

VERSIONED = ("torch", "numpy", "av", "opencv-python-headless", "dlib-bin")
"""Packages whose version may change a result."""


def versions() -> dict[str, str]:
    """What results are made with here: this package, Python and the packages that matter.

    Those that are not installed are left out, and none is imported.

    Examples:
        >>> from pushpull.runtime.version import versions
        >>> list(versions())[:2]
        ['pushpull', 'python']
    """
    found = {"pushpull": __version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
