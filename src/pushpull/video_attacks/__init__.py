"""Adversaries of whole videos: found, written to files, read back, and looked at."""

from pushpull.video_attacks.comparison import write_views
from pushpull.video_attacks.outputs import as_json, write_attack, write_record
from pushpull.video_attacks.pipeline import SPACES, attack_video
from pushpull.video_attacks.redetect import detected_again
from pushpull.video_attacks.results import Quality, Variant, VideoAttack

__all__ = [
    "SPACES",
    "Quality",
    "Variant",
    "VideoAttack",
    "as_json",
    "attack_video",
    "detected_again",
    "write_attack",
    "write_record",
    "write_views",
]
