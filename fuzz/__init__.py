"""Inputs that nobody means well with, given to the package: see `python -m fuzz --help`."""
