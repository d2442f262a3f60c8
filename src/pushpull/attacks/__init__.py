"""Adversarial attacks on both inputs of a detector at once, each with its own budget.

    found = attack(detector, batch, "pgd", eps=5, steps=10)
    found.waveform, found.faces, found.score, found.linf["audio"]

What is returned has been measured again: an attack that leaves its budget, the valid range or a
clip's valid part raises an error, nothing is clipped afterwards.
"""

from pushpull.attacks.registry import ATTACKS
from pushpull.attacks.results import AttackResult
from pushpull.attacks.running import attack, transfer
from pushpull.attacks.settings import AttackSettings
from pushpull.attacks.space import Soundtracks

__all__ = ["ATTACKS", "AttackResult", "AttackSettings", "Soundtracks", "attack", "transfer"]
