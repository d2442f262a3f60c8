"""A head drawn frame by frame, seen from the front.

The baked head has its lower part pulled down by the jaw and its brows moved; eyes and mouth of the
moment are put in. Pictures of parts are (H, W, 4) uint8: colours multiplied by coverage, coverage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.articulation import Mouth
from pushpull.synthetic.eyes import EYES_X, EYES_Y, draw_eyes
from pushpull.synthetic.head import PIVOT_Y, bake_head
from pushpull.synthetic.looks import Looks
from pushpull.synthetic.motion import Motion
from pushpull.synthetic.mouth import (
    JAW_DROP,
    MIDDLE_Y,
    MouthShape,
    draw_mouth,
    mouth_extent,
    mouth_shape,
)
from pushpull.synthetic.shading import Grid, Light, bump, ramp

__all__ = ["Face", "layer", "paint"]

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

BLOCK = 8
"""Mouths drawn at a time: few enough that their arrays stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of the canvas that is drawn anew.

    Attributes:
        rows: Rows of the canvas.
        columns: Columns of the canvas.
        grid: Their points.
    """

    rows: slice
    columns: slice
    grid: Grid

    @classmethod
    def of(cls, grid: Grid, x_range: tuple[float, float], y_range: tuple[float, float]) -> Patch:
        rows = slice(*np.searchsorted(grid.y[:, 0], y_range).tolist())
        columns = slice(*np.searchsorted(grid.x[0], x_range).tolist())
        part = Grid(grid.x[rows, columns], grid.y[rows, columns], grid.pixels_per_unit)
        return cls(rows, columns, part)

    def pixels(self) -> tuple[Array, Array]:
        """Column and row of each pixel within the patch (H, W)."""
        height, width = self.grid.x.shape
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        return columns.astype(np.float32), rows.astype(np.float32)


UPPER_X = (-1.1, 1.1)
UPPER_Y = (-0.75, 0.36)
"""What brows move, and what eyes and glasses are painted on."""


class Pulls:
    """Moves skin of the baked head: the lower face by the jaw, cheeks by a smile, brows.

    Args:
        still: The baked head (H, W, 4).
        grid: Its points.
        looks: Whose head.
    """

    def __init__(self, still: Picture, grid: Grid, looks: Looks) -> None:
        self.still = still
        middle = MIDDLE_Y * looks.face_length
        self.lower = Patch.of(grid, (-1.15, 1.15), (0.36, 2.1))
        part = self.lower.grid
        across = np.abs(part.x)
        # Near the hinge before the ear the jaw hardly moves.
        self.jaw = ramp(part.y, middle - 0.1, middle + 0.5) * (1 - 0.75 * ramp(across, 0.4, 1.05))
        self.cheek = bump(part, 0.5, 0.66, 0.3, 0.2) + bump(part, -0.5, 0.66, 0.3, 0.2)
        self.cheek *= ramp(part.y, 0.36, 0.55)
        self.upper = Patch.of(grid, UPPER_X, UPPER_Y)
        self.lower_pixels, self.upper_pixels = self.lower.pixels(), self.upper.pixels()
        part = self.upper.grid
        self.brow = ramp(part.y, -0.75, -0.42) * (1 - ramp(part.y, -0.2, -0.09))
        self.brow *= 1 - ramp(np.abs(part.x), 0.7, 1.0)

    def pull(self, canvas: Picture, jaw: float, smile: float, brows: float) -> None:
        """Write the lower face and the brows, moved by these amounts, into a canvas."""
        down = jaw * self.jaw - 0.05 * smile * self.cheek
        self.shift(canvas, self.lower, down)
        self.shift(canvas, self.upper, (-0.07 * brows) * self.brow)

    def shift(self, canvas: Picture, patch: Patch, down: Array) -> None:
        import cv2

        source = self.still[patch.rows, patch.columns]
        x, y = self.lower_pixels if patch is self.lower else self.upper_pixels
        y = y - down * np.float32(patch.grid.pixels_per_unit)
        canvas[patch.rows, patch.columns] = cv2.remap(
            source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


class Face:
    """A person's head that can be drawn with any mouth and eyes.

    Args:
        looks: Who.
        light: How lit.
        pixels_per_unit: Resolution; a face is about 2.5 units high.

    Examples:
        >>> from pushpull.synthetic import babble, draw_looks
        >>> from pushpull.synthetic.face import Face
        >>> from pushpull.synthetic.motion import draw_motion
        >>> from pushpull.synthetic.shading import Light
        >>> rng, times_s = np.random.default_rng(0), np.arange(3) / 25
        >>> mouth = babble(rng, 0.2).mouth.at(times_s)
        >>> face = Face(draw_looks(rng), Light(), pixels_per_unit=20)
        >>> [canvas.shape for canvas in face.frontal(mouth, draw_motion(rng, times_s, mouth))]
        [(85, 68, 4), (85, 68, 4), (85, 68, 4)]
    """

    def __init__(self, looks: Looks, light: Light, pixels_per_unit: float) -> None:
        self.looks, self.light, self.pixels_per_unit = looks, light, pixels_per_unit
        head = bake_head(looks, light, pixels_per_unit)
        self.depth = head.depth
        self.back = layer(head.back, head.back_alpha) if head.back_alpha.any() else None
        self.still = layer(head.colour, head.alpha)
        self.glasses = layer(head.glasses, head.glasses_alpha)
        self.grid = head.grid
        self.reach = reach_of(
            self.still if self.back is None else self.back | self.still, head.grid
        )
        self.eyes_patch = Patch.of(head.grid, EYES_X, EYES_Y)
        self.eyes_drawn: dict[tuple[int, int, int], Picture] = {}
        self.pulls = Pulls(self.still, head.grid, looks)

    def frontal(self, mouth: Mouth, motion: Motion) -> Iterator[Picture]:
        """The head seen from the front, frame by frame.

        Args:
            mouth: Of each frame (T,).
            motion: Of each frame (T,); lids, gaze and brows are used here.

        Yields:
            Canvas (H, W, 4) uint8: red, green, blue multiplied by coverage, and coverage. The next
            frame overwrites it.
        """
        canvas = self.still.copy()
        shape = mouth_shape(mouth, self.looks)
        for start in range(0, len(mouth), BLOCK):
            block = slice(start, start + BLOCK)
            part = MouthShape(**{f.name: getattr(shape, f.name)[block] for f in fields(shape)})
            patch = Patch.of(self.grid, *mouth_extent(part, self.looks))
            region = canvas[patch.rows, patch.columns, :3]
            drawn = draw_mouth(part, self.looks, self.light, patch.grid)
            for i, (colour, alpha) in enumerate(zip(*drawn, strict=True), start):
                amounts = float(shape.jaw[i]), float(mouth.smile[i]), float(motion.brows[i])
                self.pulls.pull(canvas, *amounts)
                self.put_eyes(canvas, motion, i)
                region[:] = region + (255 * colour - region) * alpha[..., None] + 0.5
                yield canvas

    def put_eyes(self, canvas: Picture, motion: Motion, i: int) -> None:
        """Draw the eyes, from memory if they were drawn like this before."""
        opening = round(20 * float(motion.lids[i]))
        gaze = round(12 * float(motion.gaze_x[i])), round(12 * float(motion.gaze_y[i]))
        key = (opening, *gaze)
        patch = self.eyes_patch
        if key not in self.eyes_drawn:
            colour, alpha = draw_eyes(
                opening / 20, (gaze[0] / 12, gaze[1] / 12), self.looks, self.light, patch.grid
            )
            self.eyes_drawn[key] = layer(colour, alpha)
        region = canvas[patch.rows, patch.columns]
        paint(region, self.eyes_drawn[key])
        if self.looks.glasses:
            patch = self.pulls.upper
            paint(canvas[patch.rows, patch.columns], self.glasses[patch.rows, patch.columns])


def reach_of(still: Picture, grid: Grid) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far a head reaches from its pivot in x and y, whatever its tilt and jaw."""
    covered = still[..., 3] > 0
    x, y = grid.x[0][covered.any(0)], grid.y[:, 0][covered.any(1)]
    slack = 0.2
    return (
        (float(x[0]) - slack, float(x[-1]) + slack),
        (float(y[0]) - PIVOT_Y - slack, float(y[-1]) - PIVOT_Y + JAW_DROP + slack),
    )


def layer(colour: Array, alpha: Array) -> Picture:
    """Colour (H, W, 3) and coverage (H, W) in 0..1 as one picture (H, W, 4), premultiplied.

    Examples:
        >>> from pushpull.synthetic.face import layer
        >>> red = np.zeros((1, 1, 3), np.float32) + np.array([1.0, 0.0, 0.0], np.float32)
        >>> layer(red, np.full((1, 1), 0.5, np.float32))
        array([[[128,   0,   0, 128]]], dtype=uint8)
    """
    result = np.empty((*alpha.shape, 4), np.uint8)
    result[..., :3] = 255 * np.clip(colour, 0, 1) * alpha[..., None] + 0.5
    result[..., 3] = 255 * alpha + 0.5
    return result


def paint(below: Picture, above: Picture) -> None:
    """Paint a premultiplied layer (H, W, 4) over a picture (H, W, 3 or 4), in place.

    Examples:
        >>> from pushpull.synthetic.face import layer, paint
        >>> picture = np.full((1, 1, 3), 100, np.uint8)
        >>> paint(picture, layer(np.ones((1, 1, 3), np.float32), np.full((1, 1), 0.5, np.float32)))
        >>> picture
        array([[[178, 178, 178]]], dtype=uint8)
    """
    import cv2

    colours = cv2.cvtColor(above, cv2.COLOR_RGBA2RGB) if below.shape[2] == 3 else above
    rest = cv2.bitwise_not(cv2.extractChannel(above, 3))
    dimmed = cv2.multiply(below, cv2.merge([rest] * below.shape[2]), scale=1 / 255)
    below[:] = cv2.add(dimmed, colours)
