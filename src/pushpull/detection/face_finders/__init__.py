"""Face detectors behind one interface.

Both give boxes in one convention, YuNet's: forehead to chin and cheek to cheek, about 0.75 times as
wide as high, which is close to the boxes of AVA-ActiveSpeaker.
"""

from __future__ import annotations

from collections.abc import Callable

from pushpull.detection.face_finders.detector import FaceBoxes, FaceDetector, overlap
from pushpull.detection.face_finders.dlib_hog import DlibHog
from pushpull.detection.face_finders.yunet import YuNet
from pushpull.errors import UnknownName

__all__ = [
    "DETECTORS",
    "DlibHog",
    "FaceBoxes",
    "FaceDetector",
    "YuNet",
    "build_detector",
    "overlap",
]

DETECTORS: dict[str, Callable[[], FaceDetector]] = {"dlib": DlibHog, "yunet": YuNet}


def build_detector(name: str = "auto") -> FaceDetector:
    """A face detector by name; `auto` is yunet where its model is on this machine, else dlib.

    Raises:
        UnknownName: If there is no such detector.
        CheckpointError: If yunet's model cannot be fetched.
    """
    if name == "auto":
        return YuNet() if YuNet.is_here() else DlibHog()
    if name not in DETECTORS:
        raise UnknownName("face detector", name, ["auto", *DETECTORS])
    return DETECTORS[name]()
