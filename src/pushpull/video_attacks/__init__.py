"""Adversaries of whole videos: found, written to files, read back, and looked at."""

from pushpull.video_attacks.comparison import write_views
from pushpull.video_attacks.pipeline import SPACES, attack_video
from pushpull.video_attacks.redetect import redetect
from pushpull.video_attacks.results import VideoAttack
from pushpull.video_attacks.variants import Variant

__all__ = [
    "SPACES",
    "Variant",
    "VideoAttack",
    "attack_video",
    "redetect",
    "write_views",
]
