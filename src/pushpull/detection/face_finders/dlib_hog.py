"""dlib's frontal face detector: histograms of oriented gradients, inside the wheel, no download."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import (
    SMALLEST_FACE_PX,
    FaceBoxes,
    around,
    best_of_overlapping,
    inside,
)

__all__ = ["DlibHog"]

HOG_PX = 80
"""Side of the smallest face that it finds at scale 1."""

SIDE_OF_HEIGHT = 0.845
WIDTH_OF_HEIGHT = 0.75
SHIFT_OF_HEIGHT = 0.042
"""Its square boxes against YuNet's, measured where both fire on real clips: the side, how wide
YuNet's box is, and how much lower the centre lies, all in heights of YuNet's box."""

NEAR_FACE_PX = 110
NEAR_THRESHOLD = -0.3
"""Around a known face less evidence is enough."""


class DlibHog:
    """HOG face finder; frontal faces, up to about 30 degrees to the side.

    Examples:
        >>> from pushpull.detection.face_finders import DlibHog
        >>> from pushpull.media import read_frames
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.04, size=(160, 120))
        >>> found = DlibHog().detect(next(read_frames("talk.mp4")).rgb())
        >>> bool(np.abs(found.boxes - scene.boxes[0, 0]).max() < 15)
        True
    """

    name = "dlib"
    scan_interval_s = 0.6
    sure = sure_large = 0.35

    def __init__(self) -> None:
        import dlib

        self.finder: Any = dlib.get_frontal_face_detector()

    def detect(
        self, image: NDArray[np.uint8], *, smallest_px: float = SMALLEST_FACE_PX
    ) -> FaceBoxes:
        """All faces at least `smallest_px` pixels high in an RGB picture (H, W, 3)."""
        import cv2

        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # Faces that touch the border are found only with something around them; mirrored, half
        # faces become whole ones.
        pad = round(0.12 * min(grey.shape))
        grey = cv2.copyMakeBorder(grey, pad, pad, pad, pad, cv2.BORDER_REFLECT)
        scale = HOG_PX / (SIDE_OF_HEIGHT * smallest_px)
        size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
        found = self.run(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), 0.0)
        return inside(FaceBoxes(found.boxes / scale - pad, found.scores), image)

    def detect_near(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> FaceBoxes:
        """Faces around a box (4,)."""
        import cv2

        patch, scale, corner = around(image, box, face_px=NEAR_FACE_PX)
        found = self.run(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), NEAR_THRESHOLD)
        return inside(FaceBoxes(found.boxes / scale + np.tile(corner, 2), found.scores), image)

    def run(self, grey: NDArray[np.uint8], threshold: float) -> FaceBoxes:
        """Dlib's detector as it is, its boxes in the common convention."""
        rectangles, scores, _ = self.finder.run(np.ascontiguousarray(grey), 0, threshold)
        boxes = np.array(
            [[r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in rectangles], float
        ).reshape(-1, 4)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        height = (boxes[:, 3:] - boxes[:, 1:2]) / SIDE_OF_HEIGHT
        centre[:, 1:] -= SHIFT_OF_HEIGHT * height
        half = height * [WIDTH_OF_HEIGHT / 2, 0.5]
        return best_of_overlapping(
            np.concatenate([centre - half, centre + half], 1), np.array(scores, float)
        )
