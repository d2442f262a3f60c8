"""Adversaries of whole videos: found, written to files, read back, and looked at."""

from pushpull.adversarial.again import detected_again
from pushpull.adversarial.outputs import as_json, write_attack, write_record
from pushpull.adversarial.pipeline import SPACES, attack_video
from pushpull.adversarial.results import Quality, Variant, VideoAttack
from pushpull.adversarial.views import write_views

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
