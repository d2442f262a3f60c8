"""How much of the paper is reproduced, with what model and on how much data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pushpull.reproduce.rows import MAIN_ROWS, ROWS

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One size of the experiment.

    Attributes:
        rows: Rows of Table 1.
        seeds: Trainings of the four main rows; the others are trained once.
        shipped: Whether models come with the package and are not trained.
        synth: Settings of the synthetic set, where no data are given.
        model: Options of TalkNet and its variants.
        lr: Learning rate of the first epoch of a training from nothing.
        row_lr: The same of a row's training, where it goes on from a base.
        decay: Factor from epoch to epoch.
        batch_frames: Frames of a training batch.
        score_frames: Frames of a batch that is scored or attacked.
        base_epochs: Epochs on CE_all that all rows of a seed share; 0 to train each from nothing.
        epochs: Epochs of a row's own training.
        harden_steps: Of the attack in adversarial training.
        precision: Of training.
        tracks: Tracks that Table 1 is made on.
        suite: The standard attack of the table and the map: "suite", "suite-fast" or "".
        avil_weight: Of each term of AVIL in rows that have it.
        map: Weights of L1 and of L4 that are tried with each other; empty for no map.
        map_seeds: Trainings of the corners of the map and of its best cell.
        map_tracks: Test tracks that the suite is run on there; 0 for all.
        reading_cells: Weights of L1 and L4 that are tried with each of `READINGS` too.
        figure_tracks: Tracks of Figure 3, half of them mostly speaking.
        eps: Budgets of Figure 3.
        audit: "fast", "full" or "" for none.
        audit_tracks: Tracks of the audit; 0 for its own number.

    Examples:
        >>> from dataclasses import replace
        >>> from pushpull.reproduce import PRESETS
        >>> replace(PRESETS["demo"], tracks=4).rows
        ('A', 'B3', 'D3', 'E3')
    """

    rows: tuple[str, ...]
    seeds: int = 1
    shipped: bool = False
    synth: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 1e-3
    row_lr: float = 5e-4
    decay: float = 0.9
    batch_frames: int = 600
    score_frames: int = 600
    base_epochs: int = 14
    epochs: int = 3
    harden_steps: int = 3
    precision: str = "32-true"
    tracks: int = 100
    suite: str = "suite-fast"
    avil_weight: float = 1.0
    map: tuple[float, ...] = ()
    map_seeds: int = 3
    map_tracks: int = 0
    reading_cells: tuple[tuple[float, float], ...] = ()
    figure_tracks: int = 60
    eps: tuple[float, ...] = (1, 2, 3, 4, 5, 10, 20, 50, 100)
    audit: str = "fast"
    audit_tracks: int = 0


SMALL = {"width": 0.1875, "face_step": 4}
"""`talknet_small`: 3/16 of the channels, faces of 28 x 28; all parts and names are TalkNet's."""

EVEN = {"min_frames": 50, "max_frames": 50}
"""Tracks of one length: batches without padding train half as fast again."""

PRESETS: dict[str, Preset] = {
    "demo": Preset(
        rows=MAIN_ROWS, shipped=True, synth={"tracks": 60, "seed": 7, "held_out": 0.45, **EVEN},
        model=SMALL, tracks=10, figure_tracks=10, eps=(1, 5, 20), audit_tracks=6,
    ),
    "quick": Preset(
        # Many small steps: 200 000 frames are few to learn from.
        rows=MAIN_ROWS, synth={"tracks": 400, "seed": 0, **EVEN}, model=SMALL,
        lr=5e-4, row_lr=2.5e-4, decay=0.95, batch_frames=200,
        base_epochs=14, epochs=2, harden_steps=2, tracks=14, suite="",
        figure_tracks=14, eps=(1, 5, 20), audit_tracks=6,
    ),
    "standard": Preset(
        rows=tuple(ROWS), seeds=3, synth={"tracks": 960, "seed": 0, "held_out": 0.1875, **EVEN},
        model=SMALL, lr=5e-4, decay=0.92, batch_frames=200, base_epochs=0, epochs=12,
        avil_weight=0.05, tracks=0, figure_tracks=60, map=(0, 0.01, 0.05, 0.2, 1), map_tracks=30,
    ),
    "full-width": Preset(
        # The paper's model on the data of `standard`, for an hour of a GPU.
        rows=MAIN_ROWS, synth={"tracks": 960, "seed": 0, "held_out": 0.1875, **EVEN},
        lr=2e-4, decay=0.92, batch_frames=1000, score_frames=1000, base_epochs=0, epochs=12,
        avil_weight=0.05, harden_steps=3, precision="bf16-mixed", tracks=0, figure_tracks=60,
        audit="",
    ),
    "paper": Preset(
        rows=tuple(ROWS), seeds=3, synth={"tracks": 20000, "seed": 0}, lr=1e-4, decay=0.95,
        batch_frames=2500, score_frames=2500, base_epochs=0, epochs=25, harden_steps=5,
        precision="bf16-mixed",
        tracks=450, suite="suite", figure_tracks=450, audit="full",
        map=(0, 0.01, 0.05, 0.2, 1), map_tracks=60,
    ),
}  # fmt: skip
"""Presets by name."""
