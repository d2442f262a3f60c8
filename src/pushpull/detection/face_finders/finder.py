"""What a face finder is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FINEST_FACE_PX", "SMALLEST_FACE_PX", "FaceBoxes", "FaceFinder"]

SMALLEST_FACE_PX = 40.0
"""Height of the smallest face that a usual look must find."""

FINEST_FACE_PX = 20.0
"""Height of the smallest face that a second look, at larger scale, is for."""

LARGE_FACE_PX = 60.0
"""Height from which a face is large."""

LEAST_INSIDE = 0.35
"""Share of a box that must lie in the picture: what is beyond it is mirrored, faces too."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceBoxes:
    """Faces of one picture, best first.

    Attributes:
        boxes: (N, 4) float64 x1, y1, x2, y2 in pixels; may reach beyond the picture.
        scores: (N,) float64, the face finder's own scale, higher is surer.

    Examples:
        >>> from pushpull.detection.face_finders import FaceBoxes
        >>> found = FaceBoxes(np.array([[10.0, 20.0, 60.0, 85.0]]), np.array([0.9]))
        >>> len(found)
        1
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.boxes)


class FaceFinder(Protocol):
    """Finds faces in single pictures.

    Examples:
        >>> from pushpull.detection.face_finders import FaceBoxes
        >>> class Nobody:  # satisfies it
        ...     name, scan_interval_s, sure, sure_large = "nobody", 1.0, 0.5, 0.5
        ...     def detect(self, image, *, smallest_px=40.0):
        ...         return FaceBoxes(np.zeros((0, 4)), np.zeros(0))
        ...     def detect_near(self, image, box):
        ...         return self.detect(image)
        >>> len(Nobody().detect(np.zeros((48, 64, 3), np.uint8)))
        0
    """

    name: str

    def detect(
        self, image: NDArray[np.uint8], *, smallest_px: float = SMALLEST_FACE_PX
    ) -> FaceBoxes:
        """All faces at least `smallest_px` pixels high in an RGB picture (H, W, 3)."""

    def detect_near(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> FaceBoxes:
        """Faces around a box (4,) of an earlier frame: what is cheaper than the whole picture."""

    @property
    def scan_interval_s(self) -> float:
        """How often whole pictures should be searched; in between, only around known faces."""

    @property
    def sure(self) -> float:
        """Score from which a face is one without further evidence."""

    @property
    def sure_large(self) -> float:
        """The same for faces of `LARGE_FACE_PX` and more, which are seen more clearly."""


def overlap(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of a box (4,) with boxes (N, 4).

    Examples:
        >>> from pushpull.detection.face_finders import overlap
        >>> box = np.array([0.0, 0.0, 2.0, 2.0])
        >>> overlap(box, np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]]))
        array([1. , 0.333])
    """
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    ratio: NDArray[np.float64] = common / (np.prod(box[2:] - box[:2]) + areas - common)
    return ratio


def best_of_overlapping(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> FaceBoxes:
    """Boxes (N, 4) by falling score, without those that overlap a better one by 0.4 or more."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not kept or overlap(boxes[i], boxes[kept]).max() < 0.4:
            kept.append(int(i))
    return FaceBoxes(boxes[kept].reshape(-1, 4), scores[kept])


def inside(found: FaceBoxes, image: NDArray[np.uint8]) -> FaceBoxes:
    """The faces of which enough lies in a picture (H, W, 3)."""
    size = np.array([image.shape[1], image.shape[0]] * 2, float)
    seen = np.clip(found.boxes, 0, size)
    areas = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    shares = np.prod(seen[:, 2:] - seen[:, :2], axis=1) / np.maximum(areas, 1e-9)
    kept = shares >= LEAST_INSIDE
    return FaceBoxes(found.boxes[kept], found.scores[kept])


def around(
    image: NDArray[np.uint8], box: NDArray[np.float64], *, face_px: float
) -> tuple[NDArray[np.uint8], float, NDArray[np.float64]]:
    """A square patch of 2.2 face heights around a box, scaled so that the face is `face_px` high.

    Returns:
        The patch, its scale, and the picture position (x, y) of its corner; the picture is
        mirrored at its borders, which makes half faces whole.
    """
    import cv2

    height = max(float(box[3] - box[1]), 1.0)
    side = max(2, round(2.2 * height))
    x, y = np.floor((box[:2] + box[2:]) / 2 - side / 2).astype(int).tolist()
    rows, columns = image.shape[:2]
    x, y = min(max(x, -side + 1), columns - 1), min(max(y, -side + 1), rows - 1)
    inner = image[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
    beyond = (max(-y, 0), max(y + side - rows, 0), max(-x, 0), max(x + side - columns, 0))
    patch = cv2.copyMakeBorder(inner, *beyond, cv2.BORDER_REFLECT) if any(beyond) else inner
    scale = face_px / height
    pixels = max(2, round(side * scale))
    return shrunk(patch, (pixels, pixels)), pixels / side, np.array([x, y], float)


def shrunk(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture at another size (width, height), averaged over pixels where that is smaller.

    By halves as far as they go, which takes less than half the time of one step.

    Examples:
        >>> from pushpull.detection.face_finders.finder import shrunk
        >>> shrunk(np.full((120, 160, 3), 7, np.uint8), (30, 20)).shape
        (20, 30, 3)
    """
    import cv2

    width, height = size
    while image.shape[1] >= 2 * width and image.shape[0] >= 2 * height:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        # An odd last row or column is left out: only exact halves are fast.
        even = image[: 2 * half[1], : 2 * half[0]]
        image = cv2.resize(even, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    smaller = width < image.shape[1] and height < image.shape[0]
    mode = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=mode), np.uint8)
