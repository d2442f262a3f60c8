"""Adversaries of whole videos: found, written to files, read back, and looked at."""

from pushpull.video_attacks.hiding import HIDDEN_FILES, HiddenFaces, hide_faces, hiding_origin
from pushpull.video_attacks.pipeline import attack_origin, attack_video
from pushpull.video_attacks.redetect import redetect
from pushpull.video_attacks.results import SURE, Adversary
from pushpull.video_attacks.spaces import SPACES
from pushpull.video_attacks.variants import TrackChange, Variant

__all__ = [
    "HIDDEN_FILES",
    "SPACES",
    "SURE",
    "Adversary",
    "HiddenFaces",
    "TrackChange",
    "Variant",
    "attack_origin",
    "attack_video",
    "hide_faces",
    "hiding_origin",
    "redetect",
]
