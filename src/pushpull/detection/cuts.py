"""Where one shot ends and another begins, told from flashes, zooms, shakes and dark stages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import shrunk

__all__ = ["Glance", "View", "change", "glance", "kept_share", "new_view"]

WIDE = 96
TILE = 16
SLACK = 4
"""A tile may have moved by this many pixels of a glance."""
STRUCTURE = 3.0
"""Standard deviation in grey levels from which a tile shows something."""
ALIKE = 0.75
"""Correlation from which a tile shows the same thing."""
FACTORS = (1.1, 1.2, 1.32, 1.45, 1.6, 1.75, 1.93, 2.1)
"""By so much a picture may be larger or smaller than the one before it, as in a fast zoom."""
SAME_PLACE = 0.72
"""Correlation from which a picture shows a part of the one before, or the reverse: of 440 pairs of
different shots .67 at most, in fast zooms, pans and shakes .75 and more."""


@dataclass(frozen=True, eq=False)
class Glance:
    """A picture as small as cuts need it.

    Attributes:
        grey: (H, W) float32 grey levels.

    Examples:
        >>> from pushpull.detection.cuts import glance
        >>> glance(np.zeros((120, 160), np.uint8)).details.shape
        (72, 96)
    """

    grey: NDArray[np.float32]

    @cached_property
    def details(self) -> NDArray[np.float32]:
        """Grey levels without their local mean (H, W); most pictures are never asked for them."""
        return details_of(self.grey)


def glance(image: NDArray[np.uint8]) -> Glance:
    """A grey picture (H, W) at 96 pixels on its longer side.

    Examples:
        >>> from pushpull.detection.cuts import glance
        >>> glance(np.zeros((160, 120), np.uint8)).grey.shape
        (96, 72)
    """
    scale = WIDE / max(image.shape[:2])
    size = (max(TILE, round(image.shape[1] * scale)), max(TILE, round(image.shape[0] * scale)))
    return Glance(shrunk(image, size).astype(np.float32))


def details_of(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey levels (H, W) without their local mean."""
    import cv2

    details = cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 6.0)
    return np.asarray(details, np.float32)


def change(before: Glance, after: Glance) -> float:
    """Mean difference of grey levels, 0..255: large at cuts, and not only there.

    Examples:
        >>> from pushpull.detection.cuts import change, glance
        >>> black, white = (glance(np.full((48, 64), v, np.uint8)) for v in (0, 255))
        >>> change(black, black), change(black, white)
        (0.0, 255.0)
    """
    return float(np.abs(before.grey - after.grey).mean())


def kept_share(before: Glance, after: Glance) -> float:
    """Share of tiles that show the same before and after, up to light and a little shift.

    Only tiles count that show anything before or after; 1 where none does.

    Examples:
        >>> from pushpull.detection.cuts import glance, kept_share
        >>> rng = np.random.default_rng(0)
        >>> first, second = (rng.integers(0, 255, (72, 96), np.uint8) for _ in range(2))
        >>> kept_share(glance(first), glance(first // 3 + 160)) > 0.9  # a flash
        True
        >>> kept_share(glance(first), glance(second)) < 0.2
        True
    """
    import cv2

    old, new = before.details, after.details
    there, here = tiles(old), tiles(new)
    was, is_now = there.std((2, 3)), here.std((2, 3))
    counted = np.maximum(was, is_now) >= STRUCTURE
    varied = counted & (is_now >= 0.5)
    centred = [t - t.mean((2, 3), keepdims=True) for t in (there, here)]
    together = (centred[0] * centred[1]).mean((2, 3))
    same = varied & (together >= ALIKE * was * is_now)
    # What does not show the same in the same place may do so a little beside it.
    padded = cv2.copyMakeBorder(old, SLACK, SLACK, SLACK, SLACK, cv2.BORDER_REFLECT)
    for i, k in np.argwhere(varied & ~same).tolist():
        row, column = i * TILE, k * TILE
        tile = new[row : row + TILE, column : column + TILE]
        around = padded[row : row + TILE + 2 * SLACK, column : column + TILE + 2 * SLACK]
        same[i, k] = cv2.matchTemplate(around, tile, cv2.TM_CCOEFF_NORMED).max() >= ALIKE
    return float(same.sum() / counted.sum()) if counted.any() else 1.0


def tiles(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The whole tiles of a picture (H, W): (rows, columns, 16, 16)."""
    rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
    whole = image[: rows * TILE, : columns * TILE]
    return whole.reshape(rows, TILE, columns, TILE).swapaxes(1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How the camera's view changed from one picture to the next.

    Attributes:
        scale: How much larger everything is.
        x: Where the left edge of the picture before now is, in widths of the picture.
        y: Where its upper edge is, in heights.

    Examples:
        >>> from pushpull.detection.cuts import View
        >>> View(scale=2.0, x=-0.5, y=-0.5).moved(np.array([40.0, 30.0, 60.0, 60.0]), (100, 100))
        array([30., 10., 70., 70.])
    """

    scale: float
    x: float
    y: float

    def moved(self, box: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """Where a box (4,) of the picture before is now, in pictures of (width, height)."""
        offset = np.array([self.x * size[0], self.y * size[1]] * 2)
        moved: NDArray[np.float64] = box * self.scale + offset
        return moved


def new_view(before: Glance, after: Glance) -> View | None:
    """How the view changed if one picture shows a part of the other; None if it does not.

    Examples:
        >>> from pushpull.detection.cuts import glance, new_view
        >>> import cv2
        >>> rng = np.random.default_rng(0)
        >>> picture = cv2.resize(rng.integers(0, 255, (9, 16), np.uint8), (320, 180))
        >>> zoomed = cv2.resize(picture[34:146, 60:260], (320, 180))
        >>> view = new_view(glance(picture), glance(zoomed))
        >>> round(view.scale, 1), round(view.x, 1), round(view.y, 1)
        (1.6, -0.3, -0.3)
        >>> new_view(glance(picture), glance(picture[::-1, ::-1]))
    """
    if before.grey.shape != after.grey.shape:
        return None
    rows, columns = after.grey.shape
    margin_y, margin_x = rows // 8, columns // 8
    inner = after.details[margin_y : rows - margin_y, margin_x : columns - margin_x]
    alike, x, y = place_of(inner, before.details)
    best = alike, View(scale=1.0, x=(margin_x - x) / columns, y=(margin_y - y) / rows)
    for factor in FACTORS:
        alike, x, y = place_of(details_of(smaller(after.grey, factor)), before.details)
        if alike > best[0]:
            best = alike, View(scale=factor, x=-x * factor / columns, y=-y * factor / rows)
        alike, x, y = place_of(details_of(smaller(before.grey, factor)), after.details)
        if alike > best[0]:
            best = alike, View(scale=1 / factor, x=x / columns, y=y / rows)
    return best[1] if best[0] >= SAME_PLACE else None


def smaller(grey: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """A picture (H, W) at 1 / factor of its size."""
    import cv2

    size = (round(grey.shape[1] / factor), round(grey.shape[0] / factor))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def place_of(part: NDArray[np.float32], whole: NDArray[np.float32]) -> tuple[float, int, int]:
    """Highest correlation of a part (h, w) within a picture (H, W), and where: x, y."""
    import cv2

    if float(part.std()) < 0.5:
        return 0.0, 0, 0
    _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED))
    return (float(best), int(x), int(y)) if np.isfinite(best) else (0.0, 0, 0)
