"""Rooms behind people, out of focus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.shading import fractal_noise

__all__ = ["draw_background"]

Picture = NDArray[np.uint8]
Canvas = NDArray[np.float32]

WALLS = ((0.62, 0.60, 0.55), (0.50, 0.55, 0.58), (0.58, 0.50, 0.44), (0.42, 0.47, 0.44))
SPINES = (
    (0.55, 0.20, 0.16),
    (0.18, 0.28, 0.42),
    (0.75, 0.66, 0.48),
    (0.24, 0.36, 0.26),
    (0.30, 0.22, 0.18),
    (0.80, 0.78, 0.74),
)


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """A wall with things on it, out of focus.

    Args:
        rng: Source of every choice.
        size: Width and height.

    Returns:
        RGB (H, W, 3) uint8.

    Examples:
        >>> from pushpull.synthetic.background import draw_background
        >>> picture = draw_background(np.random.default_rng(0), (64, 48))
        >>> picture.shape, picture.dtype
        ((48, 64, 3), dtype('uint8'))
    """
    import cv2

    width, height = size
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = WALLS[int(rng.integers(len(WALLS)))]
    canvas *= rng.uniform(0.55, 1.0)
    things = [shelf, window, pictures, lamp]
    for k in rng.permutation(len(things))[: int(rng.integers(1, 4))]:
        things[k](rng, canvas)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    fall = 1 + rng.uniform(-0.25, 0.25) * across - 0.15 * down - 0.10 * (across**2 + down**2)
    canvas *= (fall * (1 + 0.05 * fractal_noise(rng, (height, width), (4, 5))))[..., None]
    blur = rng.uniform(0.004, 0.012) * height
    canvas = cv2.GaussianBlur(canvas, (0, 0), max(blur, 0.5))
    result: Picture = (255 * np.clip(canvas, 0, 1) + 0.5).astype(np.uint8)
    return result


def fill(
    canvas: Canvas, box: tuple[float, float, float, float], colour: tuple[float, float, float]
) -> None:
    """Fill a rectangle (left, top, right, bottom) given in shares of the picture."""
    height, width = canvas.shape[:2]
    left, top, right, bottom = box
    rows = slice(max(0, round(top * height)), max(0, round(bottom * height)))
    columns = slice(max(0, round(left * width)), max(0, round(right * width)))
    canvas[rows, columns] = colour


def shelf(rng: np.random.Generator, canvas: Canvas) -> None:
    """Rows of books."""
    left, width = rng.uniform(-0.1, 0.6), rng.uniform(0.35, 0.6)
    wood = np.array([0.40, 0.28, 0.18]) * rng.uniform(0.7, 1.3)
    fill(canvas, (left, 0, left + width, 1), tuple(0.6 * wood))
    for top in np.arange(rng.uniform(-0.15, 0.0), 1.0, 0.27):
        fill(canvas, (left, top + 0.24, left + width, top + 0.27), tuple(wood))
        at = left + 0.01
        while at < left + width - 0.03:
            thick = rng.uniform(0.012, 0.035)
            if rng.uniform() < 0.85:
                colour = np.array(SPINES[int(rng.integers(len(SPINES)))]) * rng.uniform(0.6, 1.0)
                height = rng.uniform(0.14, 0.22)
                fill(canvas, (at, top + 0.24 - height, at + thick, top + 0.24), tuple(colour))
            at += thick + 0.003


def window(rng: np.random.Generator, canvas: Canvas) -> None:
    """A bright window with bars."""
    left, width = rng.uniform(0.0, 0.65), rng.uniform(0.22, 0.35)
    top, bottom = rng.uniform(-0.1, 0.12), rng.uniform(0.55, 0.75)
    fill(canvas, (left - 0.015, top - 0.02, left + width + 0.015, bottom + 0.02), (0.8, 0.78, 0.75))
    fill(canvas, (left, top, left + width, bottom), (0.78, 0.88, 0.96))
    fill(canvas, (left, bottom - 0.15, left + width, bottom), (0.55, 0.66, 0.52))
    middle = left + width / 2
    fill(canvas, (middle - 0.007, top, middle + 0.007, bottom), (0.8, 0.78, 0.75))


def pictures(rng: np.random.Generator, canvas: Canvas) -> None:
    """Framed pictures."""
    for _ in range(int(rng.integers(1, 4))):
        left, top = rng.uniform(0.0, 0.85), rng.uniform(0.02, 0.35)
        width, height = rng.uniform(0.10, 0.2), rng.uniform(0.14, 0.3)
        fill(canvas, (left, top, left + width, top + height), (0.15, 0.13, 0.12))
        mat = (left + 0.01, top + 0.014, left + width - 0.01, top + height - 0.014)
        fill(canvas, mat, (0.8, 0.78, 0.72))
        colour = SPINES[int(rng.integers(len(SPINES)))]
        inner = (mat[0] + 0.02, mat[1] + 0.03, mat[2] - 0.02, mat[3] - 0.03)
        fill(canvas, inner, colour)


def lamp(rng: np.random.Generator, canvas: Canvas) -> None:
    """A warm glow."""
    height, width = canvas.shape[:2]
    x, y = rng.uniform(0.05, 0.95) * width, rng.uniform(0.1, 0.4) * height
    across = (np.arange(width, dtype=np.float32) - x) / (0.16 * height)
    down = ((np.arange(height, dtype=np.float32) - y) / (0.16 * height))[:, None]
    glow = np.exp(-np.sqrt(across**2 + down**2 + 0.05))
    canvas += glow[..., None] * np.array([0.55, 0.45, 0.28], np.float32)
