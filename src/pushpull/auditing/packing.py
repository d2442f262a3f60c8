"""Arrays as text, so that records hold them bit for bit."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "unpacked"]


def packed(values: NDArray[np.floating] | None) -> str | None:
    """Numbers as text for JSON: float32, base64.

    Examples:
        >>> from pushpull.auditing.packing import packed
        >>> packed(np.array([0.5, -1.0]))
        'AAAAPwAAgL8='
    """
    if values is None:
        return None
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def unpacked(text: str | None) -> NDArray[np.float64] | None:
    """What `packed` wrote.

    Examples:
        >>> from pushpull.auditing.packing import unpacked
        >>> unpacked("AAAAPwAAgL8=")
        array([ 0.5, -1. ])
    """
    if text is None:
        return None
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
