"""AVA-ActiveSpeaker from its official files, and a look-alike to try it on."""

from pushpull.data.ava.download import Download, download_list
from pushpull.data.ava.preparing import AvaReport, Problem, prepare
from pushpull.data.ava.sources import AvaSources, find_sources
from pushpull.data.ava.synthetic_ava import SyntheticAvaVideo, write_synthetic_ava

__all__ = [
    "AvaReport",
    "AvaSources",
    "Download",
    "Problem",
    "SyntheticAvaVideo",
    "download_list",
    "find_sources",
    "prepare",
    "write_synthetic_ava",
]
