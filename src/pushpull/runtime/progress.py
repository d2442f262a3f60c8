"""How long work tells where it is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "no_progress"]

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, how much of it is done, and how much is expected if that is known."""


def no_progress(stage: str, done: int, total: int | None) -> None:
    """Tell nobody.

    Examples:
        >>> from pushpull.runtime.progress import no_progress
        >>> no_progress("faces", 10, None)
    """
