from pushpull.attacks import attack as attack
from pushpull.auditing import audit as audit
from pushpull.detection import detect as detect
from pushpull.evaluation import evaluate as evaluate
from pushpull.models import Detector as Detector
from pushpull.models.weights import resolve_detector as load
from pushpull.runtime.version import __version__ as __version__
from pushpull.training import train as train
from pushpull.video_attacks import attack_video as attack_video

__all__ = [
    "Detector",
    "__version__",
    "attack",
    "attack_video",
    "audit",
    "detect",
    "evaluate",
    "load",
    "train",
]
