"""OpenCV's YuNet: a small network that also finds turned and small faces; model of 230 kB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import (
    SMALLEST_FACE_PX,
    FaceBoxes,
    around,
    best_of_overlapping,
)
from pushpull.runtime.files import KnownFile, fetch, find

__all__ = ["MODEL", "YuNet"]

MODEL = KnownFile(
    name="yunet/face_detection_yunet_2023mar.onnx",
    url=(
        "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
        "966be4cb6eefc2a4f586ed0581bf4bbaa2533070/models/"
        "face_detection_yunet/face_detection_yunet_2023mar.onnx"
    ),
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)

FINE_FACE_PX = 24
COARSE_SIDE_PX = 320
NEAR_FACE_PX = 96
THRESHOLD = 0.6
NEAR_THRESHOLD = 0.5


class YuNet:
    """YuNet through OpenCV's dnn module.

    Raises:
        CheckpointError: If the model is not on this machine and cannot be fetched.

    Examples:
        >>> from pushpull.detection.face_finders import YuNet
        >>> if YuNet.is_here():
        ...     faces = YuNet().detect(np.zeros((240, 320, 3), np.uint8))
    """

    name = "yunet"
    scan_interval_s = 0.2
    sure = 0.8

    def __init__(self) -> None:
        import cv2

        path = fetch(MODEL)
        # OpenCV 5 warns on stderr that a choice nobody made has no effect.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self.net: Any = cv2.FaceDetectorYN.create(str(path), "", (320, 320), THRESHOLD, 0.3, 500)

    @staticmethod
    def is_here() -> bool:
        """Whether the model is on this machine."""
        return find(MODEL) is not None

    def detect(self, image: NDArray[np.uint8]) -> FaceBoxes:
        """All faces at least 40 pixels high in an RGB picture (H, W, 3).

        Two passes: one fine enough for the smallest faces, one coarse enough for faces that fill
        the picture, which the network has not seen at full size.
        """
        fine = FINE_FACE_PX / SMALLEST_FACE_PX
        coarse = COARSE_SIDE_PX / max(image.shape[:2])
        passes = [self.scaled(image, scale) for scale in {max(fine, coarse), coarse}]
        return best_of_overlapping(
            np.concatenate([p.boxes for p in passes]), np.concatenate([p.scores for p in passes])
        )

    def detect_near(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> FaceBoxes:
        """Faces around a box (4,)."""
        patch, scale, corner = around(image, box, face_px=NEAR_FACE_PX)
        found = self.run(patch, NEAR_THRESHOLD)
        return FaceBoxes(found.boxes / scale + np.tile(corner, 2), found.scores)

    def scaled(self, image: NDArray[np.uint8], scale: float) -> FaceBoxes:
        """Faces of the whole picture, seen at a scale with a border around it."""
        import cv2

        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, size, interpolation=mode)
        pad = round(0.1 * min(size))
        small = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        found = self.run(small, THRESHOLD)
        return FaceBoxes((found.boxes - pad) / scale, found.scores)

    def run(self, image: NDArray[np.uint8], threshold: float) -> FaceBoxes:
        """The network on a picture as it is."""
        self.net.setInputSize((image.shape[1], image.shape[0]))
        self.net.setScoreThreshold(threshold)
        _, rows = self.net.detect(np.ascontiguousarray(image[..., ::-1]))
        if rows is None:
            return FaceBoxes(np.zeros((0, 4)), np.zeros(0))
        boxes = rows[:, :4].astype(np.float64)
        boxes[:, 2:] += boxes[:, :2]
        return best_of_overlapping(boxes, rows[:, -1].astype(np.float64))
