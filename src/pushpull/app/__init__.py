"""The local web app: detect, attack, listen and compare (ABX), read reports."""

from pushpull.app.serve import serve
from pushpull.app.settings import AppConfig

__all__ = ["AppConfig", "serve"]
