"""Detect who is speaking in a video, break the detector, harden it, and prove how hard it is.

    detector = pushpull.load("light-asd-ava")                  # or a path, or "my_model.py:build"
    found = pushpull.detect("talk.mp4", detector)              # who speaks, frame by frame
    attacked = pushpull.attack(detector, batch, "pgd", eps=5)  # an adversary of tensors
    video = pushpull.attack_video("talk.mp4", detector, "pgd", eps=5)
    scores = pushpull.evaluate(detector, "data", attack="pgd", eps=5)
    verdict = pushpull.audit(detector, "data", surrogates=["lr-asd-ava"])
    run = pushpull.train("talknet", root="data")
    mine = pushpull.Detector.wrap(module)                      # any torch module

Names are loaded when they are first used, so that importing the package takes no time.
"""

from pushpull.runtime.front_door import names_of_the_package as __dir__  # noqa: F401
from pushpull.runtime.front_door import of_the_package as __getattr__  # noqa: F401
from pushpull.runtime.threads import wait_asleep
from pushpull.runtime.version import __version__

__all__ = [
    "Detector", "__version__", "attack", "attack_video", "audit", "detect", "evaluate", "load",
    "train",
]  # fmt: skip

# Before PyTorch is loaded, which reads it once.
wait_asleep()
