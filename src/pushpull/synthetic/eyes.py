"""The eyes, drawn for every lid opening and gaze that occurs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.looks import Looks
from pushpull.synthetic.shading import Floats, Grid, Light, mix, over, ramp, to_linear, to_picture

__all__ = ["EYES_X", "EYES_Y", "EYE_X", "draw_eyes"]

Array = NDArray[np.float32]

EYE_X = 0.45
"""Distance of an eye from the middle of the mean face."""

EYES_X = (-0.82, 0.82)
EYES_Y = (-0.24, 0.22)
"""The part of the canvas in which eyes are drawn."""


def draw_eyes(
    opening: float, gaze: tuple[float, float], looks: Looks, light: Light, grid: Grid
) -> tuple[Array, Array]:
    """Both eyes.

    Args:
        opening: How far the lids are open, 0..1.
        gaze: Direction of looking, right and down, -1..1.
        looks: Whose eyes.
        light: The light.
        grid: Points (H, W) of a part of the face's canvas.

    Returns:
        SRGB colour (H, W, 3) and coverage (H, W).

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> from pushpull.synthetic.eyes import EYES_X, EYES_Y, draw_eyes
        >>> from pushpull.synthetic.shading import Grid, Light
        >>> looks = draw_looks(np.random.default_rng(0))
        >>> grid = Grid.spanning(EYES_X, EYES_Y, pixels_per_unit=20)
        >>> colour, coverage = draw_eyes(1.0, (0.0, 0.0), looks, Light(), grid)
        >>> colour.shape, coverage.shape
        ((9, 33, 3), (9, 33))
    """
    side = np.sign(grid.x)
    size = 0.225 * looks.eye_size
    x = (grid.x - side * EYE_X * looks.eye_distance) / size
    # Outer corners lie a little higher; x grows outwards.
    outwards = x * side
    y = (grid.y + 0.018 * outwards) / size
    span = np.clip(1 - np.abs(outwards + 0.05) ** 2.2, 0, 1)
    raised = -0.46 * span**0.75
    lower = 0.26 * span**0.9
    upper = raised * opening + (0.85 * lower) * (1 - opening)
    pixel = 1.0 / (grid.pixels_per_unit * size)
    ball_alpha = ramp(np.minimum(y - upper, lower - y), -0.5 * pixel, pixel) * (span > 0)
    ball = draw_ball(x, y, gaze, looks, light, upper, pixel)
    lid, lid_alpha = draw_lid(y, span, raised, upper, looks, light, pixel)
    colour, alpha = over(lid, lid_alpha, ball, ball_alpha)
    lash = np.exp(-(((y - upper + 0.03) / max(0.085, 0.8 * pixel)) ** 2)) * ramp(span, 0.0, 0.3)
    under = 0.25 * np.exp(-(((y - lower) / max(0.06, 0.8 * pixel)) ** 2)) * ramp(span, 0.0, 0.3)
    dark = np.full_like(colour, 0.012)
    colour, alpha = over(colour, alpha, dark, np.maximum(0.85 * lash, under))
    return to_picture(colour), alpha.astype(np.float32)


def draw_ball(
    x: Floats,
    y: Floats,
    gaze: tuple[float, float],
    looks: Looks,
    light: Light,
    upper: Floats,
    pixel: float,
) -> Array:
    """Light (H, W, 3) from the white, the iris and the pupil; lengths in half eye widths."""
    brightness = light.ambient + 0.55 * light.key
    white = np.array([0.62, 0.58, 0.55], np.float32) * brightness
    colour = np.empty((*x.shape, 3), np.float32)
    colour[:] = white
    dx, dy = x - 0.30 * gaze[0], y + 0.06 - 0.18 * gaze[1]
    radius = np.hypot(dx, dy)
    iris = ramp(0.43 - radius, -0.5 * pixel, pixel)
    ring = 1 - 0.65 * ramp(radius, 0.30, 0.43)
    tint = to_linear(looks.iris) * brightness * 1.2
    colour = mix(colour, ring[..., None] * tint, iris)
    colour = mix(colour, np.full(3, 0.006), ramp(0.19 - radius, -0.5 * pixel, pixel))
    # The lid throws a shadow on the ball.
    colour *= (0.45 + 0.55 * ramp(y - upper, 0.0, 0.30))[..., None]
    lx, ly = light.direction[:2]
    glint = np.exp(-(((dx - 0.22 * lx) / 0.09) ** 2) - ((dy - 0.22 * ly) / 0.09) ** 2)
    return mix(colour, np.ones(3), 0.85 * glint.astype(np.float32))


def draw_lid(
    y: Floats,
    span: Floats,
    raised: Floats,
    upper: Floats,
    looks: Looks,
    light: Light,
    pixel: float,
) -> tuple[Array, Array]:
    """Light (H, W, 3) from the upper lid below its crease, and coverage."""
    crease = raised - 0.20 * span**0.5
    share = np.clip((y - crease) / np.maximum(upper - crease, 0.05), 0, 1)
    tone = (light.ambient + light.key * 0.6) * (0.72 + 0.22 * np.sin(np.pi * share))
    colour = tone[..., None] * to_linear(looks.skin) * np.array([0.98, 0.90, 0.88], np.float32)
    fold = np.exp(-(((y - crease) / max(0.07, pixel)) ** 2)) * ramp(span, 0.05, 0.4)
    colour = colour * (1 - 0.4 * fold)[..., None]
    alpha = ramp(np.minimum(y - crease, upper - y), -0.06, 0.04) * ramp(span, 0.0, 0.15)
    return np.asarray(colour, np.float32), np.maximum(0.8 * alpha, 0.5 * fold)
