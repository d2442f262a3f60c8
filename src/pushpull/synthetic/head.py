"""The still part of a head: skin, nose, ears, brows, hair, glasses, lit and baked into pixels.

The face is a height field (an egg with hills for brow, nose, cheeks, muzzle and chin) shaded by a
main light and ambient light; skin lets red light in deeper, so its shadows are warm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.eyes import EYE_X
from pushpull.synthetic.hair import draw_hair
from pushpull.synthetic.looks import Looks
from pushpull.synthetic.shading import (
    Grid,
    Light,
    bump,
    fractal_noise,
    lit,
    mix,
    over,
    ramp,
    to_linear,
    to_picture,
)

__all__ = ["CANVAS_X", "CANVAS_Y", "PIVOT_Y", "Head", "bake_head"]

Array = NDArray[np.float32]

CANVAS_X = (-1.7, 1.7)
CANVAS_Y = (-1.95, 2.3)
"""The canvas on which a head is drawn."""

PIVOT_Y = 0.3
"""The head turns about this height."""

CENTRE_Y = 0.15
"""The outline is star-shaped around this point on the middle line."""

OUTLINE = np.array(
    [
        (-1.54, 0.00), (-1.53, 0.30), (-1.42, 0.60), (-1.18, 0.84), (-0.80, 0.98), (-0.40, 1.02),
        (0.00, 1.00), (0.40, 0.965), (0.75, 0.91), (1.05, 0.83), (1.28, 0.71), (1.48, 0.53),
        (1.62, 0.36), (1.69, 0.18), (1.69, 0.00),
    ]
)  # fmt: skip
"""Half widths of the mean head at heights from crown to chin."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A baked head with closed bare mouth region and empty eyes.

    Attributes:
        grid: Points of the canvas.
        colour: SRGB (H, W, 3) float in 0..1.
        alpha: Coverage (H, W) float in 0..1.
        back: SRGB (H, W, 3) of hair behind the neck.
        back_alpha: Its coverage.
        depth: Height towards the viewer (H, W), 0 at the outline.
        glasses: Colour (H, W, 3) of what lies over the eyes.
        glasses_alpha: Its coverage.

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> from pushpull.synthetic.head import bake_head
        >>> from pushpull.synthetic.shading import Light
        >>> head = bake_head(draw_looks(np.random.default_rng(0)), Light(), pixels_per_unit=20)
        >>> head.colour.shape, head.alpha.shape, head.depth.shape
        ((85, 68, 3), (85, 68), (85, 68))
    """

    grid: Grid
    colour: Array
    alpha: Array
    back: Array
    back_alpha: Array
    depth: Array
    glasses: Array
    glasses_alpha: Array


def bake_head(looks: Looks, light: Light, pixels_per_unit: float) -> Head:
    """Draw the still part of a head.

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> from pushpull.synthetic.head import bake_head
        >>> from pushpull.synthetic.shading import Light
        >>> head = bake_head(draw_looks(np.random.default_rng(0)), Light(), pixels_per_unit=20)
        >>> bool(0 <= head.colour.min() and head.colour.max() <= 1)
        True
    """
    grid = Grid.spanning(CANVAS_X, CANVAS_Y, pixels_per_unit)
    rng = np.random.default_rng(looks.texture_seed)
    radius, depth_in = inside(grid, outline(looks))
    height = relief(grid, looks, radius)
    hair = draw_hair(grid, looks, light, radius, depth_in, rng)
    skin = draw_skin(grid, looks, light, height, rng)
    skin *= (1 - 0.35 * hair.shadow)[..., None]
    ear, ear_alpha = draw_ears(grid, looks, light)
    face_alpha = grid.edge(depth_in)
    colour, alpha = over(ear, ear_alpha, skin, face_alpha)
    colour, alpha = over(colour, alpha, hair.colour, hair.alpha)
    glasses, glasses_alpha = draw_glasses(grid, looks)
    return Head(
        grid=grid,
        colour=to_picture(colour),
        alpha=alpha,
        back=to_picture(hair.back),
        back_alpha=hair.back_alpha,
        depth=parallax_depth(grid, radius, looks),
        glasses=glasses,
        glasses_alpha=glasses_alpha,
    )


def outline(looks: Looks) -> NDArray[np.float64]:
    """Outline of the head as points (y, half width) from crown to chin."""
    y, width = OUTLINE.T
    width = width * (1 + (looks.jaw_width - 1) * np.clip((y - 0.2) / 1.0, 0, 1))
    width = width * (1 + (looks.chin_width - 1) * 0.6 * np.clip((y - 1.2) / 0.3, 0, 1))
    y = np.where(y > 0, y * looks.face_length, y)
    return np.stack([y, width], 1)


def inside(grid: Grid, points: NDArray[np.float64]) -> tuple[Array, Array]:
    """Relative radius (0 at the centre, 1 on the outline), and distance inside the outline."""
    # Mirrored ends keep the outline round where it crosses the middle line.
    mirror = np.array([[1.0, -1.0]])
    points = np.concatenate([points[1:2] * mirror, points, points[-2:-1] * mirror])
    y, half = rounded(points).T
    angle, radius = np.arctan2(y - CENTRE_Y, half), np.hypot(y - CENTRE_Y, half)
    own = np.hypot(grid.x, grid.y - CENTRE_Y)
    limit = np.interp(np.arctan2(grid.y - CENTRE_Y, np.abs(grid.x)), angle, radius)
    return (own / limit).astype(np.float32), (limit - own).astype(np.float32)


def rounded(points: NDArray[np.float64], corners: int = 4) -> NDArray[np.float64]:
    """A polyline with its corners cut repeatedly (Chaikin), ends kept."""
    for _ in range(corners):
        near, far = points[:-1], points[1:]
        cut = np.stack([0.75 * near + 0.25 * far, 0.25 * near + 0.75 * far], 1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def relief(grid: Grid, looks: Looks, radius: Array) -> Array:
    """Height of the face towards the viewer."""
    z = 0.95 * np.maximum(1 - radius**2, 0) ** 0.62
    long = looks.face_length
    eye = EYE_X * looks.eye_distance
    for side in (-1, 1):
        z -= 0.12 * bump(grid, side * eye * 0.93, 0.0, 0.27, 0.17)
        z -= 0.05 * bump(grid, side * 0.19, 0.0, 0.10, 0.12)
        z += 0.065 * bump(grid, side * eye, 0.02, 0.19, 0.12)
        z += 0.06 * bump(grid, side * 0.42, -0.27, 0.36, 0.11)
        z += 0.07 * bump(grid, side * 0.58, 0.40, 0.30, 0.25)
        z -= 0.035 * bump(grid, side * 0.86, -0.42, 0.16, 0.30)
        z -= (0.006 + 0.012 * looks.age) * fold(grid, side)
    z += 0.10 * bump(grid, 0.0, 0.98 * long, 0.44, 0.34)
    z += 0.10 * bump(grid, 0.0, 1.47 * long, 0.25, 0.15)
    z -= 0.05 * bump(grid, 0.0, 1.25 * long, 0.26, 0.06)
    z -= 0.018 * bump(grid, 0.0, 0.83, 0.045, 0.09)
    # A flatter nose than the one that turns: the light would draw its full height as a blade.
    return z + 0.75 * nose(grid, looks)


def nose(grid: Grid, looks: Looks) -> Array:
    """Bridge, tip and wings of the nose above the face."""
    y = grid.y / looks.nose_length
    rise = np.interp(
        y, [-0.25, -0.05, 0.2, 0.48, 0.58, 0.66, 0.74], [0, 0.07, 0.18, 0.33, 0.35, 0.22, 0.0]
    )
    width = np.interp(y, [-0.1, 0.2, 0.5, 0.7], [0.11, 0.145, 0.185, 0.19]) * looks.nose_width
    z = rise * np.exp(-((grid.x / width) ** 2))
    z += 0.06 * bump(grid, 0.0, 0.56 * looks.nose_length, 0.11 * looks.nose_width, 0.10)
    for side in (-1, 1):
        x = side * 0.175 * looks.nose_width
        z += 0.13 * bump(grid, x, 0.605 * looks.nose_length, 0.08 * looks.nose_width, 0.075)
    height: Array = z.astype(np.float32)
    return height


def fold(grid: Grid, side: int) -> Array:
    """The crease from the wing of the nose past the corner of the mouth, 0..1."""
    t = np.clip((grid.y - 0.62) / 0.5, 0, 1)
    x = side * (0.27 + 0.23 * t**0.8)
    along = ramp(grid.y, 0.56, 0.74) * (1 - ramp(grid.y, 0.80, 1.15))
    crease: Array = np.exp(-(((grid.x - x) / 0.06) ** 2)) * along
    return crease


def parallax_depth(grid: Grid, radius: Array, looks: Looks) -> Array:
    """Height for turning the head: gentle slopes, so that a turned face does not tear."""
    depth: Array = 0.85 * np.maximum(1 - radius**2, 0) + 0.8 * nose(grid, looks)
    return depth


def draw_skin(
    grid: Grid, looks: Looks, light: Light, height: Array, rng: np.random.Generator
) -> Array:
    """Light (H, W, 3) from the skin of the face."""
    colour = np.empty((*grid.x.shape, 3), np.float32)
    colour[:] = to_linear(looks.skin)
    shape = grid.x.shape
    blotches = fractal_noise(rng, shape, (7, 6), 3)
    pores = rng.standard_normal(shape).astype(np.float32)
    colour *= (1 + 0.035 * blotches + 0.02 * pores)[..., None]
    flush = 0.8 * bump(grid, 0.0, 0.56, 0.16, 0.12) + 0.35 * bump(grid, 0.0, 1.5, 0.25, 0.15)
    for side in (-1, 1):
        flush += 0.8 * bump(grid, side * 0.56, 0.45, 0.28, 0.2)
    colour *= 1 - flush[..., None] * np.array([-0.03, 0.10, 0.09], np.float32)
    for side in (-1, 1):
        tired = (0.10 + 0.10 * looks.age) * bump(grid, side * EYE_X * 0.96, 0.17, 0.18, 0.06)
        colour *= 1 - tired[..., None] * np.array([0.8, 1.0, 0.9], np.float32)
    colour = mix(colour, to_linear(looks.hair) * 0.6, draw_beard(grid, looks, rng))
    result = lit(colour, height, light, grid.pixels_per_unit, occlusion(grid, looks, light))
    return mix(result, to_linear(looks.hair) * 0.35, draw_brows(grid, looks, rng))


def occlusion(grid: Grid, looks: Looks, light: Light) -> Array:
    """Share of light (H, W) that reaches hollows and what the nose shades."""
    dark = np.zeros_like(grid.x)
    for side in (-1, 1):
        dark += 0.22 * bump(grid, side * EYE_X * looks.eye_distance, -0.09, 0.24, 0.09)
        dark += 0.12 * bump(grid, side * 0.2, 0.0, 0.09, 0.12)
        dark += (0.05 + 0.10 * looks.age) * fold(grid, side)
        dark += 0.25 * bump(grid, side * 0.27 * looks.nose_width, 0.63, 0.04, 0.06)
        nostril = bump(
            grid, side * 0.085 * looks.nose_width, 0.685 * looks.nose_length, 0.05, 0.026
        )
        dark += 0.75 * nostril
    dark += 0.22 * bump(grid, 0.0, 0.74 * looks.nose_length, 0.17 * looks.nose_width, 0.05)
    dark += 0.20 * bump(grid, 0.0, 1.24 * looks.face_length, 0.22, 0.05)
    # The nose throws a shadow away from the light.
    across = -light.direction[0]
    dark += 0.30 * light.key * bump(grid, 0.28 * across, 0.72, 0.16 + 0.1 * abs(across), 0.09)
    dark += 0.18 * light.key * abs(across) * bump(grid, 0.25 * np.sign(across), 0.45, 0.10, 0.25)
    return np.clip(1 - dark, 0.1, 1)


def draw_beard(grid: Grid, looks: Looks, rng: np.random.Generator) -> Array:
    """Coverage (H, W) of the face by beard."""
    if looks.beard == 0:
        return np.zeros_like(grid.x)
    cheek = 0.42 + 0.35 * np.abs(grid.x)
    region = ramp(grid.y - (1.02 - 0.5 * np.clip(np.abs(grid.x) - 0.35, 0, 1)), 0.0, 0.25)
    moustache = ramp(grid.y, 0.72, 0.80) * (1 - ramp(np.abs(grid.x), 0.30, 0.5))
    region = np.maximum(region * ramp(grid.y - cheek, 0.0, 0.15), moustache)
    region *= 1 - 0.8 * bump(grid, 0.0, 1.2, 0.10, 0.05)
    hairs = 0.75 + 0.25 * rng.uniform(-1, 1, grid.x.shape).astype(np.float32)
    coverage: Array = np.clip(looks.beard * 0.85 * region * hairs, 0, 1)
    return coverage


def draw_brows(grid: Grid, looks: Looks, rng: np.random.Generator) -> Array:
    """Coverage (H, W) by eyebrows."""
    t = (np.abs(grid.x) - 0.15) / 0.63
    inside_t = np.clip(t, 0, 1)
    middle = -0.225 - 0.10 * np.sin(np.pi * (0.08 + 0.66 * inside_t))
    thick = 0.055 * looks.brow_weight * (1 - 0.55 * inside_t**2)
    distance = thick - np.abs(grid.y - middle)
    ends = ramp(t, -0.06, 0.08) * (1 - ramp(t, 0.9, 1.05))
    hairs = 0.88 + 0.12 * rng.uniform(-1, 1, grid.x.shape).astype(np.float32)
    coverage: Array = ramp(distance, -0.03, 0.035) * ends * hairs * 0.9
    return coverage


def draw_ears(grid: Grid, looks: Looks, light: Light) -> tuple[Array, Array]:
    """Light (H, W, 3) from the ears and their coverage."""
    x, y = (np.abs(grid.x) - 1.0) / 0.15, (grid.y - 0.18) / 0.32
    radius = np.sqrt(x * x + y * y)
    hollow = 0.35 * np.exp(-(((radius - 0.55) / 0.22) ** 2))
    towards = 1 + 0.5 * light.direction[0] * np.sign(grid.x)
    tone = (light.ambient + 0.45 * light.key * towards) * (0.85 - hollow)
    colour = tone[..., None] * to_linear(looks.skin) * np.array([1.05, 0.9, 0.88], np.float32)
    return colour.astype(np.float32), grid.edge(0.15 * (1 - radius))


def draw_glasses(grid: Grid, looks: Looks) -> tuple[Array, Array]:
    """SRGB (H, W, 3) and coverage of glasses, none if none are worn."""
    colour = np.empty((*grid.x.shape, 3), np.float32)
    colour[:] = (0.10, 0.09, 0.09)
    alpha = np.zeros_like(grid.x)
    if not looks.glasses:
        return colour, alpha
    for side in (-1, 1):
        x = np.abs((grid.x - side * EYE_X * 1.02) / 0.36) ** 3
        y = np.abs((grid.y - 0.04) / 0.26) ** 3
        distance = 0.28 * ((x + y) ** (1 / 3) - 1)
        alpha = np.maximum(alpha, 0.92 * grid.edge(0.022 - np.abs(distance)))
        glare = 0.10 * ramp(-distance, 0.0, 0.02) * ramp(grid.x - grid.y - side * EYE_X, -0.1, 0.4)
        colour = mix(colour, np.ones(3), glare * (alpha < 0.1))
        alpha = np.maximum(alpha, glare)
    bridge = grid.edge(0.02 - np.abs(grid.y + 0.02 - 0.1 * grid.x**2)) * (np.abs(grid.x) < 0.11)
    arm = (
        grid.edge(0.025 - np.abs(grid.y + 0.03)) * (np.abs(grid.x) > 0.81) * (np.abs(grid.x) < 1.02)
    )
    return colour, np.maximum(alpha, 0.9 * np.maximum(bridge, arm)).astype(np.float32)
