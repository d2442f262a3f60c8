"""Push-Pull's Table 1 and Figures 3 and 4, and what the paper lacks, by one command."""

from pushpull.reproduce.presets import PRESETS, Preset
from pushpull.reproduce.run import preset_of, reproduce

__all__ = ["PRESETS", "Preset", "preset_of", "reproduce"]
