"""AVA-ActiveSpeaker from its official files, and a look-alike to try it on."""

from pushpull.ava.download import Download, download_list
from pushpull.ava.lookalike import LookalikeVideo, write_lookalike
from pushpull.ava.preparing import AvaReport, Problem, prepare
from pushpull.ava.sources import AvaSources, find_sources

__all__ = [
    "AvaReport",
    "AvaSources",
    "Download",
    "LookalikeVideo",
    "Problem",
    "download_list",
    "find_sources",
    "prepare",
    "write_lookalike",
]
