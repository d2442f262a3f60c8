"""Where a head is in a picture, and which point of it each pixel shows.

The head seen from the front is turned, tilted and placed by one warp, in which points near the
viewer move more than those far away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.face import Face, paint
from pushpull.synthetic.head import CANVAS_X, CANVAS_Y, PIVOT_Y
from pushpull.synthetic.motion import Motion

__all__ = ["Pose", "View", "face_box", "pose_of", "view_of"]

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

BOX = (-0.98, -0.82, 0.98, 1.69)
"""The face of a mean person as annotators draw it: forehead to chin, cheek to cheek."""

OUTLINE_DEPTH = 0.2
"""How far the outline of the face lies before the axis that the head turns about."""

ITERATIONS = 3
"""Enough for an error below a pixel up to 25 degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where and how a head is held in a picture.

    Attributes:
        x: Column of the point that it turns about, in pixels (pixel centres at whole numbers).
        y: Its row.
        scale: Pixels per face unit.
        yaw: Turn to the right in the picture, radians.
        pitch: Nod downwards, radians.
        roll: Tilt clockwise, radians.

    Examples:
        >>> from pushpull.synthetic.view import Pose
        >>> Pose(x=32.0, y=28.0, scale=12.0, yaw=0.2)
        Pose(x=32.0, y=28.0, scale=12.0, yaw=0.2, pitch=0.0, roll=0.0)
    """

    x: float
    y: float
    scale: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def pose_of(motion: Motion, i: int, x: float, y: float, scale: float) -> Pose:
    """The pose in frame i of a head whose place at rest is (x, y).

    Examples:
        >>> from pushpull.synthetic import babble
        >>> from pushpull.synthetic.motion import draw_motion
        >>> from pushpull.synthetic.view import pose_of
        >>> rng, times_s = np.random.default_rng(0), np.arange(5) / 25
        >>> motion = draw_motion(rng, times_s, babble(rng, 0.2).mouth.at(times_s), liveliness=0.0)
        >>> pose = pose_of(motion, 0, x=32.0, y=28.0, scale=12.0)
        >>> pose.x, pose.y, pose.scale
        (32.0, 28.0, 12.0)
    """
    scale_now = scale * float(motion.zoom[i])
    return Pose(
        x=x + float(motion.shift_x[i]) * scale,
        y=y + float(motion.shift_y[i]) * scale,
        scale=scale_now,
        yaw=float(motion.yaw[i]),
        pitch=float(motion.pitch[i]),
        roll=float(motion.roll[i]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Which point of a face's canvas each pixel of a part of a picture shows.

    Attributes:
        rows: Rows of the picture.
        columns: Columns of the picture.
        map_x: Column of the canvas (H, W) float32.
        map_y: Row of the canvas (H, W) float32.

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> from pushpull.synthetic.face import Face
        >>> from pushpull.synthetic.shading import Light
        >>> from pushpull.synthetic.view import Pose, view_of
        >>> face = Face(draw_looks(np.random.default_rng(0)), Light(), pixels_per_unit=12)
        >>> view = view_of(face, Pose(x=32.0, y=32.0, scale=12.0), (64, 64))
        >>> picture = np.zeros((64, 64, 3), np.uint8)
        >>> view.place(picture, face.still)
        >>> bool(picture.any())
        True
    """

    rows: slice
    columns: slice
    map_x: Array
    map_y: Array

    def place(self, picture: Picture, canvas: Picture) -> None:
        """Paint a canvas into the picture."""
        import cv2

        if self.map_x.size:
            seen = cv2.remap(canvas, self.map_x, self.map_y, cv2.INTER_LINEAR)
            paint(picture[self.rows, self.columns], seen)


def view_of(face: Face, pose: Pose, size: tuple[int, int]) -> View:
    """How a face is seen in a picture of a size (width, height).

    A point (x, y) of the canvas at depth z is seen at (x cos yaw + z sin yaw, ...); the inverse is
    found by a few steps of fixed-point iteration on a coarse grid of pixels.

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> from pushpull.synthetic.face import Face
        >>> from pushpull.synthetic.shading import Light
        >>> from pushpull.synthetic.view import Pose, view_of
        >>> face = Face(draw_looks(np.random.default_rng(0)), Light(), pixels_per_unit=12)
        >>> view_of(face, Pose(x=500.0, y=32.0, scale=12.0), (64, 64)).map_x.size  # out of sight
        0
    """
    import cv2

    left, right = visible(pose.x, pose.scale, face.reach[0], size[0])
    top, bottom = visible(pose.y, pose.scale, face.reach[1], size[1])
    rows, columns = slice(top, bottom), slice(left, right)
    if left >= right or top >= bottom:
        return View(rows, columns, np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))
    step = 4 if pose.scale > 70 else 2
    # A cell more on every side, since enlarging holds the outermost values.
    across = np.arange(-1, -(-(right - left) // step) + 1) * step + left + (step - 1) / 2
    down = np.arange(-1, -(-(bottom - top) // step) + 1) * step + top + (step - 1) / 2
    dx, dy = np.meshgrid(
        ((across - pose.x) / pose.scale).astype(np.float32),
        ((down - pose.y) / pose.scale).astype(np.float32),
    )
    cos, sin = np.float32(np.cos(pose.roll)), np.float32(np.sin(pose.roll))
    seen_x, seen_y = cos * dx + sin * dy, cos * dy - sin * dx
    map_x, map_y = frontal_points(face, pose, seen_x, seen_y)
    full = (map_x.shape[1] * step, map_x.shape[0] * step)
    inner = (slice(step, step + bottom - top), slice(step, step + right - left))
    return View(
        rows,
        columns,
        cv2.resize(map_x, full, interpolation=cv2.INTER_LINEAR)[inner],
        cv2.resize(map_y, full, interpolation=cv2.INTER_LINEAR)[inner],
    )


def frontal_points(face: Face, pose: Pose, seen_x: Array, seen_y: Array) -> tuple[Array, Array]:
    """Columns and rows of the canvas that are seen at points relative to the pivot."""
    import cv2

    sin_yaw, cos_yaw = np.float32(np.sin(pose.yaw)), np.float32(np.cos(pose.yaw))
    sin_pitch, cos_pitch = np.float32(np.sin(pose.pitch)), np.float32(np.cos(pose.pitch))
    ppu = np.float32(face.pixels_per_unit)
    x, y = seen_x, seen_y

    def on_canvas(x: Array, y: Array) -> tuple[Array, Array]:
        column = (x - np.float32(CANVAS_X[0])) * ppu - 0.5
        row = (y + np.float32(PIVOT_Y - CANVAS_Y[0])) * ppu - 0.5
        return column, row

    for _ in range(ITERATIONS):
        z = cv2.remap(face.depth, *on_canvas(x, y), cv2.INTER_LINEAR)
        x = (seen_x - z * sin_yaw) / cos_yaw
        y = (seen_y - (z * cos_yaw - x * sin_yaw) * sin_pitch) / cos_pitch
    return on_canvas(x, y)


def visible(centre: float, scale: float, reach: tuple[float, float], size: int) -> tuple[int, int]:
    """First and last pixel, in a picture of a size, of what reaches this far from a centre."""
    first, last = centre + scale * reach[0], centre + scale * reach[1]
    return max(0, int(first)), min(size, int(np.ceil(last)) + 1)


def face_box(pose: Pose, jaw: float = 0.0) -> NDArray[np.float64]:
    """Box (x1, y1, x2, y2) of a face in a picture, in pixels.

    Args:
        pose: How the head is held.
        jaw: How far the chin has gone down, in face units.

    Examples:
        >>> from pushpull.synthetic.view import Pose, face_box
        >>> face_box(Pose(x=32.0, y=28.0, scale=12.0)).round(1)
        array([20.2, 14.6, 43.8, 44.7])
    """
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    left, top, right, bottom = BOX
    x = (left + right) / 2 + (right - left) / 2 * np.cos(turn)
    y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(turn) - PIVOT_Y
    y += jaw * np.clip(np.sin(turn), 0, 1) ** 4
    x = x * np.cos(pose.yaw) + OUTLINE_DEPTH * np.sin(pose.yaw)
    y = y * np.cos(pose.pitch) + OUTLINE_DEPTH * np.sin(pose.pitch)
    cos, sin = np.cos(pose.roll), np.sin(pose.roll)
    column, row = (
        pose.x + pose.scale * (cos * x - sin * y),
        pose.y + pose.scale * (sin * x + cos * y),
    )
    return np.array([column.min(), row.min(), column.max(), row.max()])
