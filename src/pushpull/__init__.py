"""Detect who is speaking in a video, break the detector, harden it, and prove how hard it is."""

from pushpull.runtime.version import __version__

__all__ = ["__version__"]
