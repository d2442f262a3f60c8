"""The rows of Push-Pull's Table 1, how each is trained, and the numbers that were published.

Source: Push-Pull (SLT 2022), Table 1 and Figure 3; rows of both L3 readings are ours, since words
and drawing of L3 contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FIGURE3", "MAIN_ROWS", "PAPER_COLUMNS", "ROWS", "SURROGATES", "Row"]

PAPER_COLUMNS = ("clean", "bim", "mim", "pgd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model of the table.

    Attributes:
        loss: As the table names it.
        avil: Settings of `pushpull.losses.avil.Avil`.
        attack: Attack of adversarial training; "" for none.
        paper: Published mAP, clean and under each attack; empty for rows that are ours.
    """

    loss: str
    avil: Mapping[str, float | str] = field(default_factory=dict)
    attack: str = ""
    paper: tuple[float, ...] = ()

    @property
    def training(self) -> str:
        """Adversarial training as the table names it."""
        return self.attack.upper() or "-"


L1_L4: dict[str, float | str] = {"l1": 1.0, "l4": 1.0}
DISTANCE: dict[str, float | str] = {"l3": 1.0, "l3_reading": "distance"}

ROWS: dict[str, Row] = {
    "A": Row(loss="CE_all", paper=(92.58, 49.53, 49.30, 47.79)),
    "B1": Row(loss="CE_all", attack="bim", paper=(92.15, 62.7, 59.26, 60.01)),
    "B2": Row(loss="CE_all", attack="mim", paper=(91.34, 54.66, 52.18, 54.23)),
    "B3": Row(loss="CE_all", attack="pgd", paper=(91.68, 58.29, 58.3, 56.06)),
    "D1": Row(loss="+ L1 + L2", avil={"l1": 1.0, "l2": 1.0}, paper=(92.46, 66.91, 67.89, 64.11)),
    "D2": Row(loss="+ L1 + L3", avil={"l1": 1.0, "l3": 1.0}, paper=(92.20, 48.16, 47.92, 49.27)),
    "D3": Row(loss="+ L1 + L4", avil=L1_L4, paper=(91.81, 93.86, 93.34, 93.15)),
    "D4": Row(loss="+ L2 + L3", avil={"l2": 1.0, "l3": 1.0}, paper=(92.27, 57.02, 63.36, 61.54)),
    "D5": Row(loss="+ L2 + L4", avil={"l2": 1.0, "l4": 1.0}, paper=(91.93, 68.12, 66.28, 67.75)),
    "D6": Row(loss="+ L3 + L4", avil={"l3": 1.0, "l4": 1.0}, paper=(91.70, 91.79, 92.48, 91.01)),
    "E1": Row(
        loss="+ L1 + L4", avil=L1_L4, attack="bim",
        paper=(90.63, 97.85, 97.6, 97.47),
    ),
    "E2": Row(
        loss="+ L1 + L4", avil=L1_L4, attack="mim",
        paper=(91.70, 99.99, 99.98, 99.97),
    ),
    "E3": Row(
        loss="+ L1 + L4", avil=L1_L4, attack="pgd",
        paper=(91.88, 97.68, 97.47, 98.67),
    ),
    "D2d": Row(loss="+ L1 + L3 as distance", avil={"l1": 1.0, **DISTANCE}),
    "D4d": Row(loss="+ L2 + L3 as distance", avil={"l2": 1.0, **DISTANCE}),
    "D6d": Row(loss="+ L3 as distance + L4", avil={**DISTANCE, "l4": 1.0}),
}  # fmt: skip
"""The table in its order, then the rows with the other reading of L3."""

MAIN_ROWS = ("A", "B3", "D3", "E3")
"""No defence, adversarial training, AVIL, both."""

SURROGATES = {"spec": "spec_talknet", "nc": "nc_talknet"}
"""Models that black-box attacks come from, trained as row A."""

FIGURE3: dict[str, tuple[float, ...]] = {
    "white-box": (83, 75.7, 70.4, 66.9, 65.2),
    "from nc": (98.8, 98.6, 98.8, 98.8, 98.7),
    "from spec": (99.5, 99.3, 99.4, 99.4, 99.4),
    "audio": (99.9, 99.8, 99.6, 99.3, 99),
    "visual": (85.2, 81.1, 78.7, 77.1, 77),
    "both": (83, 75.7, 70.4, 66.9, 65.2),
    "bim": (82.8, 75.8, 70.6, 67.4, 65.4),
    "mim": (82.8, 75.6, 70.7, 67.4, 65.2),
    "pgd": (83, 75.7, 70.4, 66.9, 65.2),
}
"""Published mAP at eps_av 1 to 5, by curve."""
