"""Detect who is speaking in a video, break the detector, harden it, and prove how hard it is."""

__version__ = "0.1.0"
