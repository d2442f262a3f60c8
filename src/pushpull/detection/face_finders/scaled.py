"""What networks that find faces of 10 to 300 pixels have in common: at which scales they look."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import (
    SMALLEST_FACE_PX,
    FaceBoxes,
    around,
    best_of_overlapping,
    inside,
    shrunk,
)

__all__ = ["ScaledNetwork"]

FINE_FACE_PX = 24
COARSE_SIDE_PX = 320
NEAR_FACE_PX = 87
"""A patch of 2.2 times this is 191 pixels: of 193, networks would compute 224."""
MOST_MIRRORED_PX = 48
"""Of faces at the border that are larger than this, enough is seen without a mirror."""
THRESHOLD = 0.6
NEAR_THRESHOLD = 0.5
LARGEST_PIXELS = 1_600_000
"""A picture is not enlarged beyond this many, whatever small faces it may hold."""


class ScaledNetwork(ABC):
    """A face finder around a network that is run on pictures scaled to its liking.

    Examples:
        >>> from pushpull.detection.face_finders import FaceBoxes
        >>> from pushpull.detection.face_finders.scaled import ScaledNetwork
        >>> class Middle(ScaledNetwork):
        ...     def run(self, image, threshold):
        ...         size = np.array([image.shape[1], image.shape[0]] * 2)
        ...         return FaceBoxes(size * np.array([[0.4, 0.4, 0.6, 0.6]]), np.array([0.9]))
        >>> Middle().detect(np.zeros((100, 200, 3), np.uint8)).boxes.round()
        array([[ 78.,  38., 122.,  62.]])
    """

    scan_interval_s = 0.2
    sure = 0.8
    # Of 97 tracks on 67 real clips two were hands, 0.81 and 0.83 at best; large faces had 0.89.
    sure_large = 0.84

    @abstractmethod
    def run(self, image: NDArray[np.uint8], threshold: float) -> FaceBoxes:
        """The network on an RGB picture (H, W, 3) as it is; scores 0..1 from the threshold up."""

    def detect(
        self, image: NDArray[np.uint8], *, smallest_px: float = SMALLEST_FACE_PX
    ) -> FaceBoxes:
        """All faces at least `smallest_px` pixels high in an RGB picture (H, W, 3).

        Two passes: one fine enough for the smallest faces, one coarse enough for faces that fill
        the picture, which the networks have not seen at full size.
        """
        rows, columns = image.shape[:2]
        usual = FINE_FACE_PX / SMALLEST_FACE_PX
        enlarged = min(FINE_FACE_PX / smallest_px, (LARGEST_PIXELS / (rows * columns)) ** 0.5)
        fine = max(min(usual, FINE_FACE_PX / smallest_px), enlarged)
        coarse = COARSE_SIDE_PX / max(rows, columns)
        passes = [self.scaled(image, scale) for scale in {max(fine, coarse), coarse}]
        found = best_of_overlapping(
            np.concatenate([p.boxes for p in passes]), np.concatenate([p.scores for p in passes])
        )
        return inside(found, image)

    def detect_near(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> FaceBoxes:
        """Faces around a box (4,)."""
        patch, scale, corner = around(image, box, face_px=NEAR_FACE_PX)
        found = self.run(patch, NEAR_THRESHOLD)
        return inside(FaceBoxes(found.boxes / scale + np.tile(corner, 2), found.scores), image)

    def scaled(self, image: NDArray[np.uint8], scale: float) -> FaceBoxes:
        """Faces of the whole picture, seen at a scale, with its mirror image around it."""
        import cv2

        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        small = shrunk(image, size)
        # Faces that touch the border are found only with something around them; mirrored, half
        # faces become whole ones.
        pad = min(round(0.1 * min(size)), MOST_MIRRORED_PX)
        small = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_REFLECT)
        found = self.run(small.astype(np.uint8, copy=False), THRESHOLD)
        return FaceBoxes((found.boxes - pad) / scale, found.scores)
