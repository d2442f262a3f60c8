"""Small tools for drawing with arrays: smooth steps, bumps, noise, light.

Everything is drawn analytically on a grid of points in face units, edges blurred over about one
pixel, so that it looks the same at any resolution and needs no assets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Floats",
    "Grid",
    "Light",
    "bump",
    "draw_light",
    "fractal_noise",
    "mix",
    "normals",
    "over",
    "ramp",
    "to_linear",
    "to_picture",
]

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Points of a canvas in face units.

    Attributes:
        x: Right of the middle of the face (H, W).
        y: Below the eyes (H, W).
        pixels_per_unit: Resolution.

    Examples:
        >>> from pushpull.synthetic.shading import Grid
        >>> grid = Grid.spanning((-1, 1), (0, 1), pixels_per_unit=2)
        >>> grid.x
        array([[-0.75, -0.25,  0.25,  0.75],
               [-0.75, -0.25,  0.25,  0.75]], dtype=float32)
        >>> grid.edge(grid.x).round(2)  # what lies to the right of the middle
        array([[0.  , 0.06, 0.94, 1.  ],
               [0.  , 0.06, 0.94, 1.  ]], dtype=float32)
    """

    x: Array
    y: Array
    pixels_per_unit: float

    @classmethod
    def spanning(
        cls, x_range: tuple[float, float], y_range: tuple[float, float], pixels_per_unit: float
    ) -> Grid:
        """Pixel centres of a canvas over these ranges."""
        (left, right), (top, bottom) = x_range, y_range
        width = round((right - left) * pixels_per_unit)
        height = round((bottom - top) * pixels_per_unit)
        xs = left + (np.arange(width, dtype=np.float32) + 0.5) / pixels_per_unit
        ys = top + (np.arange(height, dtype=np.float32) + 0.5) / pixels_per_unit
        x, y = np.meshgrid(xs, ys)
        return cls(x, y, pixels_per_unit)

    def edge(self, distance: Floats) -> Array:
        """Coverage of pixels by what lies at positive distance (in units), blurred over a pixel."""
        return ramp(distance, -0.7 / self.pixels_per_unit, 0.7 / self.pixels_per_unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """How a scene is lit.

    Attributes:
        direction: Unit vector towards the main light: right, down, towards the viewer.
        key: Strength of the main light.
        ambient: Strength of light from everywhere.
        warmth: Colour of the main light, -1 bluish to 1 yellowish.

    Examples:
        >>> from pushpull.synthetic.shading import Light
        >>> Light(warmth=1.0).colour
        array([1.08, 1.  , 0.88], dtype=float32)
    """

    direction: tuple[float, float, float] = (-0.45, -0.5, 0.74)
    key: float = 0.75
    ambient: float = 0.42
    warmth: float = 0.2

    @property
    def colour(self) -> Array:
        """Relative red, green, blue of the main light."""
        return np.array([1 + 0.08 * self.warmth, 1.0, 1 - 0.12 * self.warmth], np.float32)


def draw_light(rng: np.random.Generator) -> Light:
    """A random indoor light from above, left or right.

    Examples:
        >>> from pushpull.synthetic.shading import draw_light
        >>> light = draw_light(np.random.default_rng(0))
        >>> light.direction[1] < 0  # from above
        True
    """
    x, y = rng.uniform(-0.7, 0.7), rng.uniform(-0.75, -0.25)
    vector = np.array([x, y, 0.8])
    a, b, c = (float(v) for v in vector / np.linalg.norm(vector))
    return Light(
        direction=(a, b, c),
        key=float(rng.uniform(0.6, 0.85)),
        ambient=float(rng.uniform(0.38, 0.52)),
        warmth=float(rng.uniform(-0.6, 1.0)),
    )


def ramp(values: ArrayLike, low: float, high: float) -> Array:
    """0 below low, 1 above high, smooth between (3t^2 - 2t^3).

    Examples:
        >>> from pushpull.synthetic.shading import ramp
        >>> ramp([-1.0, 0.5, 2.0], 0.0, 1.0)
        array([0. , 0.5, 1. ], dtype=float32)
    """
    t = np.clip((np.asarray(values, np.float32) - low) / (high - low), 0, 1)
    result: Array = t * t * (3 - 2 * t)
    return result


def mix(first: ArrayLike, second: ArrayLike, share: Floats) -> Array:
    """First colour where share (...) is 0, second where it is 1; colours are (..., 3) or (3,).

    Examples:
        >>> from pushpull.synthetic.shading import mix
        >>> mix((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), np.array([0.0, 0.5]))
        array([[1. , 0. , 0. ],
               [0.5, 0. , 0.5]], dtype=float32)
    """
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return np.asarray(first + (second - first) * share[..., None], np.float32)


def over(below: Array, below_alpha: Array, above: Array, above_alpha: Array) -> tuple[Array, Array]:
    """Colour (..., 3) and coverage (...) of one layer painted over another.

    Examples:
        >>> from pushpull.synthetic.shading import over
        >>> white, black = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
        >>> half, full = np.array([0.5], np.float32), np.array([1.0], np.float32)
        >>> over(white, full, black, half)
        (array([[0.5, 0.5, 0.5]], dtype=float32), array([1.], dtype=float32))
    """
    alpha = above_alpha + below_alpha * (1 - above_alpha)
    share: Floats = above_alpha / np.maximum(alpha, 1e-6)
    return mix(below, above, share), alpha


def bump(grid: Grid, x: float, y: float, size_x: float, size_y: float) -> Array:
    """A smooth hill of height 1 (Gaussian) at a point.

    Examples:
        >>> from pushpull.synthetic.shading import Grid, bump
        >>> grid = Grid.spanning((-1, 1), (-1, 1), pixels_per_unit=10)
        >>> hill = bump(grid, 0.0, 0.0, 0.3, 0.3)
        >>> hill.shape, round(float(hill.max()), 1)
        ((20, 20), 0.9)
    """
    dx, dy = (grid.x - x) / size_x, (grid.y - y) / size_y
    hill: Array = np.exp(-(dx * dx) - dy * dy)
    return hill


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int = 3
) -> Array:
    """Smooth random pattern (H, W) of mean about 0, in about -1..1.

    Args:
        rng: Source.
        shape: Rows and columns.
        cells: Number of cells down and across in the coarsest octave.
        octaves: Each twice as fine and half as strong.

    Examples:
        >>> from pushpull.synthetic.shading import fractal_noise
        >>> pattern = fractal_noise(np.random.default_rng(0), (32, 48), (4, 6))
        >>> pattern.shape, float(np.abs(pattern).max()) < 1.5
        ((32, 48), True)
    """
    import cv2

    height, width = shape
    result = np.zeros(shape, np.float32)
    for k in range(octaves):
        rows = max(2, round(cells[0] * 2**k))
        columns = max(2, round(cells[1] * 2**k))
        coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        result += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**k
    return result / 1.5


def normals(height: Array, pixels_per_unit: float) -> tuple[Array, Array, Array]:
    """Unit normals (x, y, z) of a height field in face units, z towards the viewer.

    Examples:
        >>> from pushpull.synthetic.shading import normals
        >>> x, y, z = normals(np.zeros((2, 2), np.float32), pixels_per_unit=10)
        >>> z  # flat: straight towards the viewer
        array([[1., 1.],
               [1., 1.]], dtype=float32)
    """
    down, right = np.gradient(height, 1 / pixels_per_unit)
    length = np.sqrt(right * right + down * down + 1)
    return -right / length, -down / length, 1 / length


def lit(colour: Array, height: Array, light: Light, pixels_per_unit: float, open_: Array) -> Array:
    """Light (H, W, 3) from skin of this colour and shape.

    Lambert's law with the terminator moved into the shade, most for red (light that travels inside
    skin comes out reddish), ambient light stronger from above, and a soft highlight.

    Args:
        colour: Linear albedo (H, W, 3).
        height: Relief (H, W) in units.
        light: The light.
        pixels_per_unit: Resolution.
        open_: Share (H, W) of light that reaches a point.
    """
    nx, ny, nz = normals(height, pixels_per_unit)
    lx, ly, lz = light.direction
    facing = nx * lx + ny * ly + nz * lz
    half = np.array([lx, ly, lz + 1.0]) / np.sqrt(lx * lx + ly * ly + (lz + 1) ** 2)
    gleam = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1)
    ambient = light.ambient * (0.8 - 0.25 * ny + 0.1 * nz)
    shine = 0.05 * gleam**12 + 0.05 * gleam**50
    result = np.empty_like(colour)
    for k, (wrap, tint) in enumerate(zip((0.40, 0.24, 0.18), light.colour, strict=True)):
        direct = np.clip((facing + wrap) / (1 + wrap), 0, None)
        result[..., k] = colour[..., k] * (ambient + light.key * tint * direct) * open_
        result[..., k] += light.key * shine * open_
    return result


def to_linear(colour: ArrayLike) -> Array:
    """Light from picture values; the square is near sRGB's curve and quick to undo.

    Examples:
        >>> from pushpull.synthetic.shading import to_linear
        >>> to_linear([0.0, 0.5, 1.0])
        array([0.  , 0.25, 1.  ], dtype=float32)
    """
    return np.asarray(colour, np.float32) ** 2


def to_picture(light: Array) -> Array:
    """Picture values 0..1 of light, with highlights rolled off instead of clipped.

    Examples:
        >>> from pushpull.synthetic.shading import to_picture
        >>> to_picture(np.array([0.0, 0.25, 4.0], np.float32)).round(2)
        array([0.  , 0.5 , 0.99], dtype=float32)
    """
    light = np.maximum(light, 0)
    over_ = np.maximum(light - 0.7, 0) / 0.3
    np.minimum(light, 0.7, out=light)
    light += 0.3 * over_ / (1 + over_)
    return np.sqrt(light, out=light)
