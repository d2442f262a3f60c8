"""mtcnn-runtime: three small networks in ONNX, inside a wheel for every platform."""

from __future__ import annotations

from importlib.util import find_spec
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

__all__ = ["MTCNN"]

NEAR_FACE_PX = 64
THRESHOLDS = (0.6, 0.7, 0.85)
"""Of the three networks: for a face in a whole picture."""
NEAR_THRESHOLDS = (0.5, 0.6, 0.6)
"""Around a known face less evidence is enough."""


class MTCNN:
    """Multi-task cascaded networks through onnxruntime.

    Examples:
        >>> from pushpull.detection.face_finders import MTCNN
        >>> if MTCNN.is_here():
        ...     print(len(MTCNN().detect(np.full((120, 160, 3), 128, np.uint8))))
        0
    """

    name = "mtcnn-runtime"
    scan_interval_s = 0.2
    sure = sure_large = 0.95

    def __init__(self) -> None:
        from mtcnnruntime import MTCNN as Networks

        self.networks: Any = Networks()

    @staticmethod
    def is_here() -> bool:
        """Whether the package is installed."""
        return find_spec("mtcnnruntime") is not None

    def detect(
        self, image: NDArray[np.uint8], *, smallest_px: float = SMALLEST_FACE_PX
    ) -> FaceBoxes:
        """All faces at least `smallest_px` pixels high in an RGB picture (H, W, 3)."""
        import cv2

        pad = round(0.1 * min(image.shape[:2]))
        framed = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT)
        found = self.run(framed.astype(np.uint8, copy=False), smallest_px, THRESHOLDS)
        return inside(FaceBoxes(found.boxes - pad, found.scores), image)

    def detect_near(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> FaceBoxes:
        """Faces around a box (4,)."""
        patch, scale, corner = around(image, box, face_px=NEAR_FACE_PX)
        found = self.run(patch, 0.6 * NEAR_FACE_PX, NEAR_THRESHOLDS)
        return inside(FaceBoxes(found.boxes / scale + np.tile(corner, 2), found.scores), image)

    def run(
        self, image: NDArray[np.uint8], smallest_px: float, thresholds: tuple[float, float, float]
    ) -> FaceBoxes:
        """The networks on a picture as it is, their boxes as they are."""
        try:
            found, _ = self.networks.detect(
                np.ascontiguousarray(image[..., ::-1]),
                # Its boxes are squares before the last network.
                min_face_size=smallest_px * 0.8,
                thresholds=list(thresholds),
            )
        except ValueError:
            # What it raises where the first network sees nothing.
            found = []
        table = np.array(found, np.float64).reshape(-1, 5)
        # Its boxes agree with YuNet's: on real clips 0.995 times as high, 1.001 times as wide.
        return best_of_overlapping(table[:, :4], table[:, 4])
