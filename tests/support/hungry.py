"""A job that takes memory, and keeps it where it is told to."""

import time
from pathlib import Path

import numpy as np

kept = []


def eat(asked, report):
    """So many MiB for a second, in a folder of its own; how often this process was asked."""
    Path(asked["folder"]).mkdir()
    taken = np.ones(asked["mib"] * 2**20, np.uint8)
    time.sleep(1)
    kept.append(taken if asked["keep"] else None)
    return {"jobs": len(kept)}
