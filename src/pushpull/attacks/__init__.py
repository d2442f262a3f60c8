"""Adversarial attacks on both inputs of a detector at once, each with its own budget.

    found = attack(detector, batch, "pgd", eps=5, steps=10)
    found.waveform, found.faces, found.score, found.linf["audio"]

What is returned has been measured again: an attack that leaves its budget, the valid range or a
clip's valid part raises an error, nothing is clipped afterwards.
"""

from pushpull.attacks.agreement import (
    Agreement,
    Progress,
    gradient_agreement,
    gradient_progress,
)
from pushpull.attacks.registry import ATTACKS
from pushpull.attacks.results import AttackResult
from pushpull.attacks.running import attack, transfer
from pushpull.attacks.settings import AttackSettings
from pushpull.attacks.space import Soundtracks
from pushpull.attacks.suite import SUITES

__all__ = [
    "ATTACKS",
    "SUITES",
    "Agreement",
    "AttackResult",
    "AttackSettings",
    "Progress",
    "Soundtracks",
    "attack",
    "gradient_agreement",
    "gradient_progress",
    "transfer",
]
