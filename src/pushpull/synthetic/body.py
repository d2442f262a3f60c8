"""Neck, shoulders and clothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.looks import Looks
from pushpull.synthetic.shading import (
    Grid,
    Light,
    fractal_noise,
    mix,
    over,
    ramp,
    to_linear,
    to_picture,
)

__all__ = ["BODY_X", "BODY_Y", "draw_body"]

Array = NDArray[np.float32]

BODY_X = (-2.9, 2.9)
BODY_Y = (0.9, 5.2)


def draw_body(looks: Looks, light: Light, grid: Grid) -> tuple[Array, Array]:
    """Body of a person up to the chin.

    Returns:
        SRGB colour (H, W, 3) and coverage (H, W).

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> from pushpull.synthetic.body import BODY_X, BODY_Y, draw_body
        >>> from pushpull.synthetic.shading import Grid, Light
        >>> grid = Grid.spanning(BODY_X, BODY_Y, pixels_per_unit=10)
        >>> colour, coverage = draw_body(draw_looks(np.random.default_rng(0)), Light(), grid)
        >>> colour.shape, coverage.shape
        ((43, 58, 3), (43, 58))
    """
    rng = np.random.default_rng(looks.texture_seed + 1)
    build = 0.58 + 0.28 * (looks.jaw_width - 0.9)
    across = np.abs(grid.x)
    # Neck, widening into the shoulders.
    neck_width = build + 0.55 * ramp(grid.y, 1.85, 2.5) ** 2
    neck_alpha = grid.edge(neck_width - across)
    nx = np.clip(grid.x / neck_width, -1, 1) * 0.85
    nz = np.sqrt(1 - nx * nx)
    lx, _, lz = light.direction
    facing = np.clip((nx * lx + nz * lz + 0.2) / 1.2, 0, 1)
    shade = 1 - 0.55 * (1 - ramp(grid.y - 0.10 * nz, 1.45, 2.15)) - 0.10 * ramp(grid.y, 2.1, 2.5)
    tone = (light.ambient + light.key * facing) * shade
    skin = tone[..., None] * to_linear(looks.skin) * np.array([1.0, 0.94, 0.92], np.float32)
    shoulder_y = 2.08 + 0.10 * across + 0.12 * across**2 + 1.9 * ramp(across, 1.9, 2.9) ** 2
    if looks.collar:
        neckline = 2.62 - 0.95 * across
    else:
        neckline = 2.02 + 0.34 * np.sqrt(np.clip(1 - (across / 0.72) ** 2, 0, 1))
    below = np.minimum(grid.y - shoulder_y, np.where(across < 0.75, grid.y - neckline, 9.0))
    cloth_alpha = grid.edge(below)
    cloth = draw_cloth(looks, light, grid, below, rng)
    colour, alpha = over(skin.astype(np.float32), neck_alpha, cloth, cloth_alpha)
    if looks.collar:
        wing = np.minimum(0.17 - np.abs(grid.y - neckline + 0.05), 0.75 - across)
        wing = np.minimum(wing, grid.y - shoulder_y + 0.22)
        colour, alpha = over(colour, alpha, np.minimum(1.25 * cloth + 0.02, 1), grid.edge(wing))
    return to_picture(colour), alpha.astype(np.float32)


def draw_cloth(
    looks: Looks, light: Light, grid: Grid, below: Array, rng: np.random.Generator
) -> Array:
    """Light (H, W, 3) from clothing with soft folds."""
    folds = fractal_noise(rng, grid.x.shape, (5, 8), 3)
    weave = rng.standard_normal(grid.x.shape).astype(np.float32)
    lx, ly, lz = light.direction
    nx = np.clip(grid.x / 3.2, -1, 1) + 0.25 * folds
    ny = -0.55 + 0.45 * ramp(below, 0.0, 0.8)
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0.1, 1))
    facing = np.clip((nx * lx + ny * ly + nz * lz + 0.2) / 1.2, 0, 1)
    tone = (light.ambient + light.key * facing) * (1 + 0.03 * weave)
    tone *= 0.72 + 0.28 * ramp(below, 0.0, 0.10)
    hem = np.exp(-(((below - 0.07) / 0.02) ** 2)) * (np.abs(grid.x) < 0.8)
    base = mix(to_linear(looks.cloth), to_linear(looks.cloth) * 0.7, hem.astype(np.float32))
    return np.asarray(tone[..., None] * base, np.float32)
