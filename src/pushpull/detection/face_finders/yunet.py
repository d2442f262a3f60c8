"""OpenCV's YuNet: a small network that also finds turned and small faces; model of 230 kB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import FaceBoxes, best_of_overlapping
from pushpull.detection.face_finders.scaled import THRESHOLD, ScaledNetwork
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


class YuNet(ScaledNetwork):
    """YuNet through OpenCV's dnn module.

    Raises:
        CheckpointError: If the model is not on this machine and cannot be fetched.

    Examples:
        >>> from pushpull.detection.face_finders import YuNet
        >>> if YuNet.is_here():
        ...     faces = YuNet().detect(np.zeros((240, 320, 3), np.uint8))
    """

    name = "yunet"

    def __init__(self) -> None:
        import cv2

        path = fetch(MODEL)
        # OpenCV 5 warns on stderr that a choice nobody made has no effect.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        # OpenCV ends the process where a name is no UTF-8, so it gets the content.
        model = np.frombuffer(path.read_bytes(), np.uint8)
        self.net: Any = cv2.FaceDetectorYN.create(
            "onnx", model, np.zeros(0, np.uint8), (320, 320), THRESHOLD, 0.3, 500
        )

    @staticmethod
    def is_here() -> bool:
        """Whether the model is on this machine."""
        return find(MODEL) is not None

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
