"""Hair: a cap around the head with strands, a hairline, and what falls behind the neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.looks import Looks
from pushpull.synthetic.shading import Grid, Light, bump, fractal_noise, ramp, to_linear

__all__ = ["Hair", "draw_hair"]

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a hair style differs from a cap.

    Attributes:
        front_y: How far down hair at the sides of the face reaches.
        back_y: How far down hair behind the neck reaches; above the chin for none.
        spread: Half width of the hair behind.
        volume: Factor on how far hair stands off.
        parting: Where strands begin, left or right of the middle.
        slant: How much lower the hairline is on the side away from the parting.
        bun: Whether hair is knotted on top.
    """

    front_y: float = 0.15
    back_y: float = 0.0
    spread: float = 1.0
    volume: float = 1.0
    parting: float = 0.0
    slant: float = 0.0
    bun: bool = False


STYLES = {
    "short": Style(),
    "side": Style(parting=-0.5, slant=0.22, volume=1.2),
    "bob": Style(front_y=1.05, back_y=1.35, spread=1.22, parting=-0.25, slant=0.1),
    "long": Style(front_y=1.35, back_y=2.6, spread=1.24, parting=0.1),
    "tied": Style(front_y=0.25, volume=0.55, bun=True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Hair:
    """Drawn hair.

    Attributes:
        colour: Light (H, W, 3) of hair in front.
        alpha: Its coverage (H, W).
        back: Light (H, W, 3) of hair behind the neck.
        back_alpha: Its coverage.
        shadow: Shade that hair throws on the skin (H, W), 0..1.

    Examples:
        >>> from pushpull.synthetic.hair import Hair
        >>> none, black = np.zeros((2, 2), np.float32), np.zeros((2, 2, 3), np.float32)
        >>> bald = Hair(black, none, black, none, none)
        >>> bool(bald.alpha.any())
        False
    """

    colour: Array
    alpha: Array
    back: Array
    back_alpha: Array
    shadow: Array


def draw_hair(
    grid: Grid,
    looks: Looks,
    light: Light,
    radius: Array,
    depth_in: Array,
    rng: np.random.Generator,
) -> Hair:
    """Hair of a style.

    Args:
        grid: Points of the canvas.
        looks: Whose hair.
        light: The light.
        radius: Relative radius of the head's outline.
        depth_in: Distance inside the head's outline.
        rng: Source of strands.

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> from pushpull.synthetic.hair import draw_hair
        >>> from pushpull.synthetic.head import CANVAS_X, CANVAS_Y
        >>> from pushpull.synthetic.shading import Grid, Light
        >>> rng, grid = np.random.default_rng(0), Grid.spanning(CANVAS_X, CANVAS_Y, 10)
        >>> radius = np.hypot(grid.x, grid.y)  # a head like a ball
        >>> hair = draw_hair(grid, draw_looks(rng), Light(), radius, 1 - radius, rng)
        >>> hair.colour.shape, hair.shadow.shape
        ((42, 34, 3), (42, 34))
    """
    if looks.hair_style not in STYLES:
        none = np.zeros_like(grid.x)
        black = np.zeros((*grid.x.shape, 3), np.float32)
        return Hair(black, none, black, none, none)
    style = STYLES[looks.hair_style]
    strands = draw_strands(grid, style, rng)
    volume = looks.hair_volume * style.volume
    # Volume on the crown and upper sides, none from the cheeks down.
    above = 1 - ramp(grid.y, -0.9, style.front_y + 0.1)
    outer = depth_in + volume * (0.55 + 0.45 * above) + 0.012 * strands
    bare = hairline_distance(grid, looks, style) + 0.02 * strands
    sides = 1 - ramp(grid.y + 0.04 * strands, style.front_y - 0.08, style.front_y + 0.08)
    cap = ramp(outer, -0.012, 0.02)
    fringe = ramp(-bare, -0.02, 0.05)
    alpha = cap * fringe * sides
    shadow = ramp(-bare, -0.14, 0.0) * sides * (depth_in > 0)
    top = np.clip(radius / (1 + volume), 0, 1)
    colour = shade(grid, looks, light, top, strands)
    if style.bun:
        knot = 1 - np.hypot(grid.x / 0.38, (grid.y + 1.62) / 0.30)
        alpha = np.maximum(alpha, grid.edge(0.3 * knot))
    back_alpha = draw_back(grid, style, strands)
    return Hair(colour, alpha.astype(np.float32), 0.5 * colour, back_alpha, shadow)


def draw_strands(grid: Grid, style: Style, rng: np.random.Generator) -> Array:
    """Pattern (H, W) in about -1..1 that runs along strands from the parting down."""
    angle = np.arctan2(grid.x - style.parting, grid.y + 1.75)
    turns = (angle + np.pi) / (2 * np.pi)
    result = np.zeros_like(grid.x)
    for count, weight in ((90, 0.5), (230, 0.35), (500, 0.25)):
        if count > 7 * grid.pixels_per_unit:
            continue
        values = rng.uniform(-1, 1, count)
        result += weight * np.interp(turns * (count - 1), np.arange(count), values)
    return result + 0.35 * fractal_noise(rng, grid.x.shape, (9, 9), 2)


def hairline_distance(grid: Grid, looks: Looks, style: Style) -> Array:
    """Distance inside the part of the face that is free of hair."""
    slanted = grid.y - style.slant * (grid.x - style.parting)
    top = ((slanted - 0.1) / (looks.hairline + 0.1)) * (grid.y < 0.1)
    across = np.abs(grid.x / 0.9)
    return np.asarray(0.85 * (1 - (across**2.8 + np.abs(top) ** 2.8) ** (1 / 2.8)), np.float32)


def draw_back(grid: Grid, style: Style, strands: Array) -> Array:
    """Coverage by hair behind the neck and beside the cheeks."""
    if style.back_y < 0.5:
        return np.zeros_like(grid.x)
    width = style.spread + 0.05 * np.sin(2.2 * grid.y) + 0.015 * strands
    below = style.back_y + 0.05 * strands - 0.15 * np.abs(grid.x) ** 3
    inside = np.minimum(width - np.abs(grid.x), below - grid.y)
    return ramp(inside, -0.015, 0.015) * ramp(grid.y, -0.6, -0.3)


def shade(grid: Grid, looks: Looks, light: Light, radius: Array, strands: Array) -> Array:
    """Light (H, W, 3) from hair: round like the head, with a broad sheen across the strands."""
    lx, ly, lz = light.direction
    nx, ny = grid.x * 0.75, (grid.y - 0.15) * 0.55
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0.05, 1))
    facing = np.clip((nx * lx + ny * ly + nz * lz + 0.35) / 1.35, 0, 1)
    base = to_linear(looks.hair)
    tone = (light.ambient + light.key * facing) * (0.80 + 0.42 * strands)
    sheen = bump(grid, 0.9 * lx, -1.15 + 0.25 * ly, 0.75, 0.16) + 0.6 * bump(
        grid, 1.0 * np.sign(lx), -0.3, 0.13, 0.5
    )
    gloss = 0.10 * light.key * sheen * np.clip(0.6 + 0.8 * strands, 0, 2)
    tone = np.clip(tone, 0.08, None) * (1 - 0.25 * ramp(radius, 0.9, 1.0))
    warm = np.array([1.0, 0.95, 0.88], np.float32) * (0.35 + 0.65 * base / base.max())
    return np.asarray(tone[..., None] * base + gloss[..., None] * warm, np.float32)
