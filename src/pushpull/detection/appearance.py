"""What a face and its surroundings look like, so that it is known again after a gap or a cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import shrunk

__all__ = ["Portrait", "likeness", "portrait"]

Portrait = NDArray[np.uint8]

SIDE = 28
"""Side of a portrait in pixels."""
SLACK = 3
"""A portrait may lie this many pixels beside the other: boxes jitter."""
REACH = 1.5
"""Side of what is looked at, in heights of the face: hair, neck and what is behind."""


def portrait(image: NDArray[np.uint8], box: NDArray[np.float64]) -> Portrait:
    """A small picture (28, 28, 3) of a face (4,) and its surroundings in a picture (H, W, 3).

    Examples:
        >>> from pushpull.detection.appearance import portrait
        >>> picture = np.zeros((120, 160, 3), np.uint8)
        >>> portrait(picture, np.array([40.0, 20.0, 90.0, 85.0])).shape
        (28, 28, 3)
    """
    import cv2

    height, width = image.shape[:2]
    side = max(4.0, REACH * float(box[3] - box[1]))
    x, y = (box[:2] + box[2:]) / 2 - side / 2
    left, top = int(np.clip(x, 0, width - 2)), int(np.clip(y, 0, height - 2))
    right = int(np.clip(x + side, left + 2, width))
    bottom = int(np.clip(y + side, top + 2, height))
    # The part inside, shrunk over whole pixels, then set where it belongs.
    scale = SIDE / side
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    part = shrunk(image[top:bottom, left:right], size)
    column = int(np.clip(round((left - x) * scale), 0, SIDE - 1))
    row = int(np.clip(round((top - y) * scale), 0, SIDE - 1))
    part = part[: SIDE - row, : SIDE - column]
    framed = cv2.copyMakeBorder(
        part,
        row,
        SIDE - row - part.shape[0],
        column,
        SIDE - column - part.shape[1],
        cv2.BORDER_REPLICATE,
    )
    return np.asarray(framed, np.uint8)


def likeness(first: Portrait, second: Portrait) -> float:
    """How alike two portraits are, up to light and a little shift: -1 to 1.

    Examples:
        >>> from pushpull.detection.appearance import likeness
        >>> rng = np.random.default_rng(0)
        >>> one, other = (rng.integers(0, 255, (28, 28, 3), np.uint8) for _ in range(2))
        >>> likeness(one, one // 2 + 20) > 0.99, abs(likeness(one, other)) < 0.3
        (True, True)
    """
    import cv2

    inner = first[SLACK:-SLACK, SLACK:-SLACK]
    match = cv2.matchTemplate(second, inner, cv2.TM_CCOEFF_NORMED)
    best = float(match.max())
    return best if np.isfinite(best) else 0.0
