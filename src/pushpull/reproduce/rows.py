"""The rows of Push-Pull's Table 1, how each is trained, and the numbers that were published.

Source: Push-Pull (SLT 2022), Table 1 and Figure 3; rows of both L3 readings are ours, since words
and drawing of L3 contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FIGURE3", "MAIN_ROWS", "PAPER_COLUMNS", "READINGS", "ROWS", "SURROGATES", "Row"]

PAPER_COLUMNS = ("clean", "bim", "mim", "pgd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model of the table.

    Attributes:
        loss: As the table names it.
        avil: Settings of `pushpull.losses.avil.Avil`.
        attack: Attack of adversarial training; "" for none.
        paper: Published average precision, clean and under each attack, as shares; empty for rows
            that are ours.
        harden: Settings of `pushpull.training.config.HardenConfig` that differ from the paper's
            way: half of the loss of adversaries of few steps.
        named: Such adversarial training, as the table names it.

    Examples:
        >>> from pushpull.reproduce.rows import ROWS
        >>> row = ROWS["E3"]
        >>> row.loss, row.training, row.paper
        ('+ L1 + L4', 'PGD', (0.9188, 0.9768, 0.9747, 0.9867))
    """

    loss: str
    avil: Mapping[str, Any] = field(default_factory=dict)
    attack: str = ""
    paper: tuple[float, ...] = ()
    harden: Mapping[str, Any] = field(default_factory=dict)
    named: str = ""

    @property
    def training(self) -> str:
        """Adversarial training as the table names it."""
        return self.named or self.attack.upper() or "-"


L1_L4: dict[str, float | str] = {"l1": 1.0, "l4": 1.0}
DISTANCE: dict[str, float | str] = {"l3": 1.0, "l3_reading": "distance"}

ROWS: dict[str, Row] = {
    "A": Row(loss="CE_all", paper=(0.9258, 0.4953, 0.493, 0.4779)),
    "B1": Row(loss="CE_all", attack="bim", paper=(0.9215, 0.627, 0.5926, 0.6001)),
    "B2": Row(loss="CE_all", attack="mim", paper=(0.9134, 0.5466, 0.5218, 0.5423)),
    "B3": Row(loss="CE_all", attack="pgd", paper=(0.9168, 0.5829, 0.583, 0.5606)),
    "D1": Row(
        loss="+ L1 + L2", avil={"l1": 1.0, "l2": 1.0},
        paper=(0.9246, 0.6691, 0.6789, 0.6411),
    ),
    "D2": Row(loss="+ L1 + L3", avil={"l1": 1.0, "l3": 1.0}, paper=(0.922, 0.4816, 0.4792, 0.4927)),
    "D3": Row(loss="+ L1 + L4", avil=L1_L4, paper=(0.9181, 0.9386, 0.9334, 0.9315)),
    "D4": Row(
        loss="+ L2 + L3", avil={"l2": 1.0, "l3": 1.0},
        paper=(0.9227, 0.5702, 0.6336, 0.6154),
    ),
    "D5": Row(
        loss="+ L2 + L4", avil={"l2": 1.0, "l4": 1.0},
        paper=(0.9193, 0.6812, 0.6628, 0.6775),
    ),
    "D6": Row(loss="+ L3 + L4", avil={"l3": 1.0, "l4": 1.0}, paper=(0.917, 0.9179, 0.9248, 0.9101)),
    "E1": Row(
        loss="+ L1 + L4", avil=L1_L4, attack="bim",
        paper=(0.9063, 0.9785, 0.976, 0.9747),
    ),
    "E2": Row(
        loss="+ L1 + L4", avil=L1_L4, attack="mim",
        paper=(0.917, 0.9999, 0.9998, 0.9997),
    ),
    "E3": Row(
        loss="+ L1 + L4", avil=L1_L4, attack="pgd",
        paper=(0.9188, 0.9768, 0.9747, 0.9867),
    ),
    "D2d": Row(loss="+ L1 + L3 as distance", avil={"l1": 1.0, **DISTANCE}),
    "D4d": Row(loss="+ L2 + L3 as distance", avil={"l2": 1.0, **DISTANCE}),
    "D6d": Row(loss="+ L3 as distance + L4", avil={**DISTANCE, "l4": 1.0}),
    "F1": Row(loss="CE_all", attack="pgd", harden={"regime": "trades"}, named="PGD, TRADES"),
    "F2": Row(loss="CE_all", attack="pgd", harden={"steps": 10}, named="PGD, 10 steps"),
    "F3": Row(
        loss="CE_all", attack="fgsm", harden={"random_start": True},
        named="one step from a random start",
    ),
}  # fmt: skip
"""The table in its order, the rows with the other reading of L3, and adversarial training by other
means: TRADES (Zhang et al. 2019), more steps, and one (Wong et al. 2020)."""

READINGS: dict[str, Mapping[str, Any]] = {
    "unit": {"embeddings": "unit"},
    "ramp": {"start_epochs": 2, "ramp_epochs": 6},
}
"""What the paper leaves open of L1 and L4 beside their weights, by name: embeddings of length 1,
and weights that rise when the detector has begun to learn."""

MAIN_ROWS = ("A", "B3", "D3", "E3")
"""No defence, adversarial training, AVIL, both."""

SURROGATES = {"spec": "spec_talknet", "nc": "nc_talknet"}
"""Models that black-box attacks come from, trained as row A."""

FIGURE3: dict[str, tuple[float, ...]] = {
    "white-box": (0.83, 0.757, 0.704, 0.669, 0.652),
    "from nc": (0.988, 0.986, 0.988, 0.988, 0.987),
    "from spec": (0.995, 0.993, 0.994, 0.994, 0.994),
    "audio": (0.999, 0.998, 0.996, 0.993, 0.99),
    "visual": (0.852, 0.811, 0.787, 0.771, 0.77),
    "both": (0.83, 0.757, 0.704, 0.669, 0.652),
    "bim": (0.828, 0.758, 0.706, 0.674, 0.654),
    "mim": (0.828, 0.756, 0.707, 0.674, 0.652),
    "pgd": (0.83, 0.757, 0.704, 0.669, 0.652),
}
"""Published average precision at eps_av 1 to 5, by curve, as shares."""
