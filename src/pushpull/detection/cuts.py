"""Where one shot ends and another begins, told from flashes, zooms, shakes and dark stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Glance", "change", "glance", "kept_share"]

WIDE = 96
TILE = 16
SLACK = 4
"""A tile may have moved by this many pixels of a glance."""
STRUCTURE = 3.0
"""Standard deviation in grey levels from which a tile shows something."""
ALIKE = 0.75
"""Correlation from which a tile shows the same thing."""


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """A picture as small as cuts need it.

    Attributes:
        colours: (H, W, 3) uint8 hue, saturation and value.
        details: (H, W) float32 grey levels without their local mean.

    Examples:
        >>> from pushpull.detection.cuts import glance
        >>> glance(np.zeros((120, 160, 3), np.uint8)).details.shape
        (72, 96)
    """

    colours: NDArray[np.uint8]
    details: NDArray[np.float32]


def glance(image: NDArray[np.uint8]) -> Glance:
    """A picture (H, W, 3) RGB at 96 pixels on its longer side.

    Examples:
        >>> from pushpull.detection.cuts import glance
        >>> glance(np.zeros((160, 120, 3), np.uint8)).colours.shape
        (96, 72, 3)
    """
    import cv2

    scale = WIDE / max(image.shape[:2])
    size = (max(TILE, round(image.shape[1] * scale)), max(TILE, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    details = cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 6.0)
    colours = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    return Glance(colours.astype(np.uint8, copy=False), details.astype(np.float32, copy=False))


def change(before: Glance, after: Glance) -> float:
    """Mean difference of hue, saturation and value, 0..255: large at cuts, and not only there.

    Examples:
        >>> from pushpull.detection.cuts import change, glance
        >>> black, white = (glance(np.full((48, 64, 3), v, np.uint8)) for v in (0, 255))
        >>> change(black, black), change(black, white)
        (0.0, 85.0)
    """
    import cv2

    return float(cv2.absdiff(before.colours, after.colours).mean())


def kept_share(before: Glance, after: Glance) -> float:
    """Share of tiles that show the same before and after, up to light and a little shift.

    Only tiles count that show anything before or after; 1 where none does.

    Examples:
        >>> from pushpull.detection.cuts import glance, kept_share
        >>> rng = np.random.default_rng(0)
        >>> first, second = (rng.integers(0, 255, (72, 96, 3), np.uint8) for _ in range(2))
        >>> kept_share(glance(first), glance(first // 3 + 160)) > 0.9  # a flash
        True
        >>> kept_share(glance(first), glance(second)) < 0.2
        True
    """
    import cv2

    old, new = before.details, after.details
    kept = counted = 0
    padded = cv2.copyMakeBorder(old, SLACK, SLACK, SLACK, SLACK, cv2.BORDER_REFLECT)
    for row in range(0, new.shape[0] - TILE + 1, TILE):
        for column in range(0, new.shape[1] - TILE + 1, TILE):
            tile = new[row : row + TILE, column : column + TILE]
            there = old[row : row + TILE, column : column + TILE]
            if max(tile.std(), there.std()) < STRUCTURE:
                continue
            counted += 1
            if tile.std() < 0.5:
                continue
            around = padded[row : row + TILE + 2 * SLACK, column : column + TILE + 2 * SLACK]
            kept += bool(cv2.matchTemplate(around, tile, cv2.TM_CCOEFF_NORMED).max() >= ALIKE)
    return kept / counted if counted else 1.0
