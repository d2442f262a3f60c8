"""Detect who is speaking in a video, break the detector, harden it, and prove how hard it is.

    import pushpull as pp

    detector = pp.load("light-asd-ava")                  # or a path, or "my_model.py:build"
    found = pp.detect("talk.mp4", detector)              # who speaks, frame by frame
    attacked = pp.attack(detector, batch, "pgd", eps=5)  # an adversary of tensors
    video = pp.attack_video("talk.mp4", detector, "pgd", eps=5)
    scores = pp.evaluate(detector, "data", attack="pgd", eps=5)
    verdict = pp.audit(detector, "data", surrogates=["lr-asd-ava"])
    run = pp.train("talknet", root="data")
    mine = pp.Detector.wrap(module)                      # any torch module

Names are loaded when they are first used, so that importing the package takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pushpull.runtime.version import __version__

if TYPE_CHECKING:
    from pushpull.attacks import attack
    from pushpull.auditing import audit
    from pushpull.detection import detect
    from pushpull.evaluation import evaluate
    from pushpull.models import Detector
    from pushpull.models.weights import resolve_detector as load
    from pushpull.training import train
    from pushpull.video_attacks import attack_video

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

HOMES = {
    "Detector": ("pushpull.models", "Detector"),
    "attack": ("pushpull.attacks", "attack"),
    "attack_video": ("pushpull.video_attacks", "attack_video"),
    "audit": ("pushpull.auditing", "audit"),
    "detect": ("pushpull.detection", "detect"),
    "evaluate": ("pushpull.evaluation", "evaluate"),
    "load": ("pushpull.models.weights", "resolve_detector"),
    "train": ("pushpull.training", "train"),
}
"""Where each name of the front door lives."""


def __getattr__(name: str) -> Any:
    """Load a name of the front door (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = HOMES[name]
    found = globals()[name] = getattr(import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
