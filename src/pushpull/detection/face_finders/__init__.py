"""Face finders behind one interface.

Both give boxes in one convention, YuNet's: forehead to chin and cheek to cheek, about 0.75 times as
wide as high, which is close to the boxes of AVA-ActiveSpeaker.
"""

from __future__ import annotations

from collections.abc import Callable

from pushpull.detection.face_finders.dlib_hog import DlibHog
from pushpull.detection.face_finders.finder import FaceBoxes, FaceFinder, overlap
from pushpull.detection.face_finders.yunet import YuNet
from pushpull.errors import UnknownName

__all__ = [
    "FACE_FINDERS",
    "DlibHog",
    "FaceBoxes",
    "FaceFinder",
    "YuNet",
    "build_face_finder",
    "overlap",
]

FACE_FINDERS: dict[str, Callable[[], FaceFinder]] = {"dlib": DlibHog, "yunet": YuNet}


def build_face_finder(name: str = "auto") -> FaceFinder:
    """A face finder by name; `auto` is yunet where its model is on this machine, else dlib.

    Raises:
        UnknownName: If there is no such face finder.
        CheckpointError: If yunet's model cannot be fetched.

    Examples:
        >>> from pushpull.detection.face_finders import build_face_finder
        >>> build_face_finder("dlib").name
        'dlib'
    """
    if name == "auto":
        return YuNet() if YuNet.is_here() else DlibHog()
    if name not in FACE_FINDERS:
        raise UnknownName("face finder", name, ["auto", *FACE_FINDERS])
    return FACE_FINDERS[name]()
