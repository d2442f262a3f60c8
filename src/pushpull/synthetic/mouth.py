"""The mouth, drawn anew for every frame: lips, teeth, tongue and the dark between them.

Frames are drawn together as arrays (T, H, W). The lips are bands between curves over the width of
the mouth; between the inner curves lies the inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.articulation import Mouth
from pushpull.synthetic.looks import Looks
from pushpull.synthetic.shading import Grid, Light, over, ramp, to_linear, to_picture

__all__ = [
    "JAW_DROP",
    "MIDDLE_Y",
    "MouthShape",
    "draw_mouth",
    "mouth_extent",
    "mouth_shape",
]

Array = NDArray[np.float32]

MIDDLE_Y = 1.0
"""Height of the line between closed lips on the mean face."""

WIDEST_GAP = 0.40
"""Distance of the lips when widest open, in face units (nearly 3 cm)."""

JAW_DROP = 0.26
"""How far the chin goes down with it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MouthShape:
    """Geometry of a mouth in face units, one value per frame (T,).

    Attributes:
        half_width: From the middle to a corner.
        upper: Height of the inner edge of the upper lip above the line of closed lips.
        lower: Depth of the inner edge of the lower lip below it.
        upper_lip: Thickness of the upper lip.
        lower_lip: Thickness of the lower lip.
        roundness: 0 for an opening with pointed corners, 1 for an ellipse.
        corner: How far the corners are raised.
        tongue: Height of the tongue, 0..1.
        jaw: How far the lower teeth and the chin have gone down.

    Examples:
        >>> from pushpull.synthetic import babble, draw_looks
        >>> from pushpull.synthetic.mouth import mouth_shape
        >>> rng = np.random.default_rng(0)
        >>> shape = mouth_shape(babble(rng, 1.0).mouth, draw_looks(rng))
        >>> shape.half_width.shape, shape.half_width.dtype
        ((200,), dtype('float32'))
    """

    half_width: Array
    upper: Array
    lower: Array
    upper_lip: Array
    lower_lip: Array
    roundness: Array
    corner: Array
    tongue: Array
    jaw: Array


def mouth_shape(mouth: Mouth, looks: Looks) -> MouthShape:
    """Geometry of a person's mouth.

    Examples:
        >>> from pushpull.synthetic import babble, draw_looks
        >>> from pushpull.synthetic.mouth import mouth_shape
        >>> rng = np.random.default_rng(0)
        >>> closed = mouth_shape(babble(rng, 1.0, []).mouth, draw_looks(rng))
        >>> float((closed.upper + closed.lower).max())
        0.0
    """
    gap, press, width = mouth.gap, mouth.press, mouth.width
    rounding, smile = mouth.rounding, mouth.smile
    width_share = 1 + 0.13 * width - 0.18 * rounding - 0.06 * gap + 0.20 * smile
    thin = 1 - 0.40 * press - 0.08 * np.maximum(width, 0) + 0.12 * rounding - 0.15 * smile
    values = {
        "half_width": 0.37 * looks.mouth_width * width_share,
        "upper": 0.28 * WIDEST_GAP * gap,
        "lower": 0.72 * WIDEST_GAP * gap,
        "upper_lip": 0.105 * looks.lip_fullness * thin * (1 - 0.10 * gap),
        "lower_lip": 0.135 * looks.lip_fullness * thin * (1 - 0.12 * gap),
        "roundness": np.clip(0.35 + 0.6 * rounding + 0.3 * gap, 0, 1),
        "corner": 0.015 + 0.10 * smile,
        "tongue": mouth.tongue,
        "jaw": JAW_DROP * mouth.jaw,
    }
    return MouthShape(**{name: value.astype(np.float32) for name, value in values.items()})


def mouth_extent(
    shape: MouthShape, looks: Looks
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Part of the canvas in x and in y that holds all of these mouths with their shade.

    Examples:
        >>> from pushpull.synthetic import babble, draw_looks
        >>> from pushpull.synthetic.mouth import mouth_extent, mouth_shape
        >>> rng = np.random.default_rng(0)
        >>> looks = draw_looks(rng)
        >>> x_range, y_range = mouth_extent(mouth_shape(babble(rng, 1.0).mouth, looks), looks)
        >>> x_range[0] == -x_range[1], y_range[0] < 1 < y_range[1]
        (True, True)
    """
    half = float(shape.half_width.max()) + 0.12
    middle_y = MIDDLE_Y * looks.face_length
    up = float((shape.upper + 1.1 * shape.upper_lip + shape.corner).max()) + 0.05
    down = float((shape.lower + shape.lower_lip).max()) + 0.18
    return (-half, half), (middle_y - up, middle_y + down)


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Edges of the lips over the width of the mouth.

    Attributes:
        across: Place from corner to corner, -1..1 (T, 1, W); beyond them clipped.
        upper_outer: Height of the upper edge of the upper lip (T, 1, W), and so on downwards.
        upper_inner: See upper_outer.
        lower_inner: See upper_outer.
        lower_outer: See upper_outer.
    """

    across: Array
    upper_outer: Array
    upper_inner: Array
    lower_inner: Array
    lower_outer: Array


def curves_of(shape: MouthShape, x: Array, middle_y: float) -> Curves:
    """Edges of the lips above points x (W,)."""

    def per_frame(values: Array) -> Array:
        return values[:, None, None]

    u = np.clip(x / per_frame(shape.half_width), -1, 1)
    square = u * u
    parabola = 1 - square
    roundness = per_frame(shape.roundness)
    opening = roundness * np.sqrt(parabola) + (1 - roundness) * parabola
    line = middle_y - per_frame(shape.corner) * square
    # The upper lip bulges down in the middle.
    line = line + 0.012 * np.exp(-square / 0.03)
    bow = 1 - 0.22 * np.exp(-square / 0.017) + 0.08 * np.exp(-((np.abs(u) - 0.28) ** 2) / 0.026)
    upper_inner = line - per_frame(shape.upper) * opening
    lower_inner = line + per_frame(shape.lower) * opening
    thick = parabola**0.8
    return Curves(
        across=u,
        upper_outer=upper_inner - per_frame(shape.upper_lip) * thick * bow,
        upper_inner=upper_inner,
        lower_inner=lower_inner,
        lower_outer=lower_inner + per_frame(shape.lower_lip) * thick,
    )


def draw_mouth(shape: MouthShape, looks: Looks, light: Light, grid: Grid) -> tuple[Array, Array]:
    """Lips and what is between them.

    Args:
        shape: Geometry of T mouths.
        looks: Whose mouth.
        light: The light.
        grid: Points (H, W) of a part of the face's canvas.

    Returns:
        SRGB colour (T, H, W, 3) and coverage (T, H, W).

    Examples:
        >>> from pushpull.synthetic import babble, draw_looks
        >>> from pushpull.synthetic.mouth import draw_mouth, mouth_extent, mouth_shape
        >>> from pushpull.synthetic.shading import Grid, Light
        >>> rng = np.random.default_rng(0)
        >>> looks, mouth = draw_looks(rng), babble(rng, 0.2).mouth.at(np.arange(5) / 25)
        >>> shape = mouth_shape(mouth, looks)
        >>> grid = Grid.spanning(*mouth_extent(shape, looks), pixels_per_unit=20)
        >>> colour, coverage = draw_mouth(shape, looks, Light(), grid)
        >>> len(colour), coverage.shape[1:] == grid.x.shape
        (5, True)
    """
    x, y = grid.x[0], grid.y[:, :1]
    curves = curves_of(shape, x, MIDDLE_Y * looks.face_length)
    within = np.minimum(y - curves.upper_inner, curves.lower_inner - y)
    inside_alpha = ramp(within, 0.0, 1.4 / grid.pixels_per_unit)
    lips_within = np.minimum(y - curves.upper_outer, curves.lower_outer - y)
    soft = max(0.016, 0.8 / grid.pixels_per_unit)
    lips_alpha = ramp(lips_within, -soft, soft) * (np.abs(x) < shape.half_width[:, None, None])
    shade_alpha, shade = draw_shade(shape, curves, looks, light, grid)
    colour, alpha = over(shade, shade_alpha, draw_lips(curves, y, looks, light), lips_alpha)
    inside = draw_inside(shape, curves, looks, light, grid)
    colour, alpha = over(colour, alpha, inside, inside_alpha)
    return to_picture(colour), alpha


def draw_lips(curves: Curves, y: Array, looks: Looks, light: Light) -> Array:
    """Light (T, H, W, 3) from the lips, as if they covered everything."""
    upper_share = (y - curves.upper_outer) / np.maximum(
        curves.upper_inner - curves.upper_outer, 1e-3
    )
    lower_share = (y - curves.lower_inner) / np.maximum(
        curves.lower_outer - curves.lower_inner, 1e-3
    )
    upper = y < (curves.upper_inner + curves.lower_inner) / 2
    share = np.clip(np.where(upper, upper_share, lower_share), 0, 1)
    # The upper lip rolls under from its edge, the lower lip faces up and then down.
    ny = np.where(upper, -0.35 + 1.05 * share, -0.75 + 1.35 * share)
    nx = 0.45 * curves.across
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0.05, 1))
    lx, ly, lz = light.direction
    facing = np.clip((nx * lx + ny * ly + nz * lz + 0.25) / 1.25, 0, None)
    tone = light.ambient * (0.8 - 0.25 * ny + 0.1 * nz) + light.key * facing
    # Where closed lips meet it is dark.
    meeting = np.exp(-(((1 - upper_share) * upper + lower_share * ~upper) ** 2) / 0.035)
    tone = tone * (1 - 0.55 * meeting)
    gleam = np.clip(nx * lx * 0.5 + ny * (ly - 0.15) + nz * (lz + 1) * 0.5, 0, 1) ** 24
    skin = to_linear(looks.skin)
    redness = np.array([0.22, 0.62, 0.55], np.float32) * looks.lips
    albedo = skin * (1 - redness)
    shine = 0.10 * light.key * gleam * ~upper
    return np.asarray(tone[..., None] * albedo + shine[..., None], np.float32)


def draw_inside(shape: MouthShape, curves: Curves, looks: Looks, light: Light, grid: Grid) -> Array:
    """Light (T, H, W, 3) from tongue, teeth and the dark behind them."""
    x, y = grid.x[0], grid.y[:, :1]
    u = curves.across
    middle_y = MIDDLE_Y * looks.face_length
    brightness = light.ambient + 0.6 * light.key
    height = curves.lower_inner - curves.upper_inner
    depth = (y - curves.upper_inner) / np.maximum(height, 1e-3)
    colour = np.empty((*depth.shape, 3), np.float32)
    colour[:] = np.array([0.030, 0.012, 0.010], np.float32)
    tongue_top = curves.lower_inner - height * (0.18 + 0.45 * shape.tongue[:, None, None]) * (
        1 - 0.6 * u * u
    )
    tongue = grid.edge(y - tongue_top) * np.clip(0.25 + 0.75 * depth, 0, 1) * 0.75
    colour += tongue[..., None] * (np.array([0.30, 0.10, 0.09], np.float32) * brightness - colour)
    ivory = np.array([0.60, 0.55, 0.46], np.float32) * brightness
    gaps = 1 - 0.22 * np.exp(-((np.abs(np.mod(x / 0.105, 1) - 0.5) - 0.5) ** 2) / 0.004)
    round_ = (1 - 0.65 * u * u) * gaps
    lower_edge = middle_y + 0.035 + 0.92 * shape.jaw[:, None, None] + 0.02 * u * u
    lower_teeth = grid.edge(y - lower_edge) * 0.45 * round_
    colour += lower_teeth[..., None] * (ivory - colour)
    upper_edge = middle_y + 0.018 - 0.03 * u * u
    shaded = 0.35 + 0.65 * ramp(y - curves.upper_inner, -0.01, 0.06)
    upper_teeth = grid.edge(upper_edge - y) * (np.abs(u) < 0.93)
    colour += (upper_teeth * 0.95)[..., None] * ((shaded * round_)[..., None] * ivory - colour)
    return colour


def draw_shade(
    shape: MouthShape, curves: Curves, looks: Looks, light: Light, grid: Grid
) -> tuple[Array, Array]:
    """Coverage and colour of the shade that lips throw and of the dimples at the corners."""
    x, y = grid.x[0], grid.y[:, :1]
    below = np.exp(-(((y - curves.lower_outer - 0.05) / 0.055) ** 2)) * (1 - curves.across**2)
    half = shape.half_width[:, None, None]
    corner_y = MIDDLE_Y * looks.face_length - shape.corner[:, None, None]
    away = ((np.abs(x) - half - 0.015) / 0.05) ** 2 + ((y - corner_y - 0.01) / 0.045) ** 2
    alpha = np.clip(0.35 * below + 0.45 * np.exp(-away), 0, 1)
    dark = to_linear(looks.skin) * np.array([0.55, 0.42, 0.38], np.float32)
    return alpha.astype(np.float32), dark * (light.ambient + 0.5 * light.key)
