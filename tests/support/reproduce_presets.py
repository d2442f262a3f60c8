"""The smallest experiment that has every part."""

from dataclasses import replace

from pushpull.reproduce import Preset

TINY = Preset(
    rows=("A", "B3", "D3"),
    synth={"tracks": 24, "seed": 4, "min_frames": 6, "max_frames": 7, "held_out": 0.34},
    model={"width": 0.0625, "face_step": 4},
    batch_frames=40,
    base_epochs=1,
    epochs=1,
    harden_steps=1,
    tracks=4,
    suite="suite-fast",
    # As in a corner of the map, which is trained once for both.
    avil_weight=0.1,
    map=(0.0, 0.1),
    map_seeds=1,
    map_tracks=2,
    figure_tracks=4,
    eps=(5.0, 50.0),
    audit="",
)

SHORT = replace(TINY, rows=("A", "B3"), suite="")
"""Some of its stages, for a table of two rows."""
