"""What the scores of an experiment come to: the table, the figures, and what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.metrics import average_precision, bootstrap_precision
from pushpull.reproduce.plan import EPS, FIGURE4_ROWS, PAPER_ATTACKS, Plan
from pushpull.reproduce.rows import FIGURE3, PAPER_COLUMNS, ROWS
from pushpull.runtime.stages import Stage, done_record

__all__ = ["Scores", "summarise"]

DRAWS = 500
BLACK_BOX_SHARE = 0.5
"""A transferred attack that takes less than this share of what the white-box one takes is weak."""
CLOSE = 3.0
"""mAP points within which attacks count as alike."""
BETTER = 2.0
"""mAP points from which one row counts as better than another."""

Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Scores of one model on the frames of chosen tracks.

    Attributes:
        score: Log-odds (N,).
        speaking: Truth (N,).
        track: Number of the track of each frame (N,).
    """

    score: NDArray[np.float64]
    speaking: Truth
    track: NDArray[np.int64]

    @classmethod
    def read(cls, stage: Stage, root: Path) -> Scores:
        """From a stage that is done."""
        with np.load(stage.folder(root) / "scores.npz") as file:
            return cls(score=file["score"], speaking=file["speaking"], track=file["track"])

    @property
    def right(self) -> Truth:
        """Frames that are on the side of their label."""
        found: Truth = (self.score > 0) == self.speaking
        return found

    @property
    def margin(self) -> NDArray[np.float64]:
        """How far each frame is on the side of its label."""
        found: NDArray[np.float64] = np.where(self.speaking, self.score, -self.score)
        return found

    def map(self, frames: Truth | None = None) -> float | None:
        """AVA's average precision in percent over some frames; None where nothing speaks."""
        chosen = np.ones(len(self.score), bool) if frames is None else frames
        if not self.speaking[chosen].any():
            return None
        return 100 * average_precision(self.score[chosen], self.speaking[chosen])

    def interval(self, frames: Truth) -> list[float] | None:
        """95 % interval of `map` over tracks drawn again."""
        if not self.speaking[frames].any():
            return None
        found = bootstrap_precision(
            self.score[frames], self.speaking[frames], self.track[frames], draws=DRAWS
        )
        return [100 * end for end in found]


def worst(scores: Sequence[Scores]) -> Scores:
    """The lowest margin of each frame over several attacks."""
    lowest = np.min([s.margin for s in scores], axis=0)
    first = scores[0]
    return Scores(
        score=np.where(first.speaking, lowest, -lowest),
        speaking=first.speaking,
        track=first.track,
    )


def summarise(plan: Plan, root: Path) -> dict[str, Any]:
    """Everything that a report shows of a plan whose stages are done, in plain values."""
    result: dict[str, Any] = {
        "preset": asdict(plan.preset),
        "parts": list(plan.parts),
        "data": None,
        "stages": [_noted(stage, root) for stage in plan.stages],
    }
    if plan.data is not None:
        result["data"] = {
            "settings": dict(plan.data.settings),
            "splits": json.loads((plan.data.folder(root) / "stats.json").read_text()),
        }
    result["training"] = {
        f"{name}-s{seed}": json.loads((stage.folder(root) / "training.json").read_text())
        for (name, seed), stage in plan.models.items()
    }
    table = {key: Scores.read(stage, root) for key, stage in plan.table.items()}
    if "table1" in plan.parts:
        result["table1"] = _table1(table)
    if "figure3" in plan.parts:
        result["figure3"] = _figure3(plan, root)
    if "figure4" in plan.parts:
        figure4 = {key: Scores.read(stage, root) for key, stage in plan.figure4.items()}
        result["figure4"] = _figure4(table, figure4)
    result["norms"] = {
        row: json.loads((stage.folder(root) / "norms.json").read_text())
        for row, stage in plan.embeddings.items()
    }
    result["samples"] = {
        row: json.loads((stage.folder(root) / "samples.json").read_text())
        for row, stage in plan.samples.items()
    }
    result["audits"] = {
        row: json.loads((stage.folder(root) / "audit" / "audit.json").read_text())
        for row, stage in plan.audits.items()
    }
    result["findings"] = _findings(result)
    return result


def _noted(stage: Stage, root: Path) -> dict[str, Any]:
    record = done_record(stage, root) or {}
    return {"name": stage.name, "key": stage.key, "seconds": record.get("seconds")}


def _table1(table: Mapping[tuple[str, int, str], Scores]) -> dict[str, Any]:
    """Every row, on the frames that every model of every seed gets right."""
    clean = [s for (_, _, column), s in table.items() if column == "clean"]
    frames = np.all([s.right for s in clean], axis=0)
    first = clean[0]
    attacks = list(dict.fromkeys(c for _, _, c in table if c != "clean"))
    rows = []
    for row in dict.fromkeys(r for r, _, _ in table):
        seeds = sorted({s for r, s, _ in table if r == row})
        of = {c: [table[row, s, c] for s in seeds if (row, s, c) in table] for c in attacks}
        columns = {c: _spread([s.map(frames) for s in found]) for c, found in of.items()}
        for column, found in of.items():
            columns[column]["interval"] = found[0].interval(frames)
            columns[column]["accuracy"] = float(100 * found[0].right[frames].mean())
        least = worst([found[0] for found in of.values()])
        columns["worst"] = _spread([least.map(frames)])
        columns["worst"]["interval"] = least.interval(frames)
        columns["worst"]["accuracy"] = float(100 * least.right[frames].mean())
        clean_all = [table[row, s, "clean"] for s in seeds]
        rows.append(
            {
                "row": row,
                "loss": ROWS[row].loss,
                "training": ROWS[row].training,
                "paper": dict(zip(PAPER_COLUMNS, ROWS[row].paper, strict=False)),
                "seeds": len(seeds),
                "clean": _spread([s.map() for s in clean_all])
                | {
                    "interval": clean_all[0].interval(np.ones(len(first.score), bool)),
                    "accuracy": float(100 * clean_all[0].right.mean()),
                },
                "columns": columns,
            }
        )
    return {
        "eps_av": EPS,
        "attacks": attacks,
        "subset": {
            "frames": int(frames.sum()),
            "of_frames": len(frames),
            "tracks": len(np.unique(first.track[frames])),
            "of_tracks": len(np.unique(first.track)),
            "models": len(clean),
            "speaking": float(first.speaking[frames].mean()) if frames.any() else None,
        },
        "rows": rows,
    }


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    known = [v for v in values if v is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "values": known,
    }


def _figure3(plan: Plan, root: Path) -> dict[str, Any]:
    assert plan.figure3_clean is not None  # noqa: S101
    clean = Scores.read(plan.figure3_clean, root)
    frames = clean.right
    talk = [bool(clean.speaking[clean.track == t].mean() > 0.5) for t in np.unique(clean.track)]
    curves: dict[str, list[dict[str, Any]]] = {}
    for (curve, eps), stage in plan.figure3.items():
        scores = Scores.read(stage, root)
        curves.setdefault(curve, []).append(
            {
                "eps": eps,
                "map": scores.map(frames),
                "interval": scores.interval(frames),
                "accuracy": float(100 * scores.right[frames].mean()),
            }
        )
    return {
        "tracks": {"speaking": sum(talk), "other": len(talk) - sum(talk)},
        "frames": int(frames.sum()),
        "of_frames": len(frames),
        "floor": float(100 * clean.speaking[frames].mean()),
        "curves": curves,
        "paper": {name: list(values) for name, values in FIGURE3.items()},
    }


def _figure4(
    table: Mapping[tuple[str, int, str], Scores], figure4: Mapping[tuple[str, str], Scores]
) -> dict[str, Any]:
    rows = [r for r in FIGURE4_ROWS if (r, "pgd") in figure4]
    frames = np.all([table[r, 0, "clean"].right for r in rows], axis=0)
    bars = {
        attack: {
            "training-aware": {r: table[r, 0, attack].map(frames) for r in rows},
            "inference-aware": {r: figure4[r, attack].map(frames) for r in rows},
        }
        for attack in PAPER_ATTACKS
    }
    return {
        "rows": rows,
        "frames": int(frames.sum()),
        "bars": bars,
        "rank_correlation": {
            attack: _rank_correlation(
                list(two["training-aware"].values()), list(two["inference-aware"].values())
            )
            for attack, two in bars.items()
        },
    }


def _rank_correlation(a: Sequence[float | None], b: Sequence[float | None]) -> float | None:
    """Spearman's, of values without many ties."""
    if len(a) < 3 or None in a or None in b:
        return None
    first, second = (np.argsort(np.argsort(np.asarray(v, float))).astype(float) for v in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def _findings(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The paper's claims one by one, with what was found here."""
    found = []
    if "figure3" in result:
        found += _figure3_findings(result["figure3"])
    if "table1" in result:
        found += _table_findings({r["row"]: r for r in result["table1"]["rows"]})
    if "figure4" in result:
        found += _figure4_findings(result["figure4"])
    return found


def _finding(claim: str, paper: str, ours: str, holds: bool) -> dict[str, Any]:
    return {"claim": claim, "paper": paper, "ours": ours, "reproduced": holds}


def _figure3_findings(figure: Mapping[str, Any]) -> list[dict[str, Any]]:
    at: dict[str, float] = {}
    for curve, points in figure["curves"].items():
        value = next((p["map"] for p in points if p["eps"] == EPS), None)
        if value is None:
            return []
        at[curve] = float(value)
    white = 100 - at["pgd"]
    black = {name: 100 - at[f"from {name}"] for name in ("spec", "nc")}
    close = max(at[m] for m in PAPER_ATTACKS) - min(at[m] for m in PAPER_ATTACKS)
    return [
        _finding(
            "A joint white-box attack hurts the undefended detector",
            "100 to 65.2 at eps_av 5 (Figure 3)",
            f"100 to {at['pgd']:.1f}",
            white > BETTER,
        ),
        _finding(
            "Black-box attacks from specTalkNet and ncTalkNet hardly do",
            "99.4 and 98.7 are left",
            f"{at['from spec']:.1f} and {at['from nc']:.1f} are left",
            all(lost < BLACK_BOX_SHARE * white for lost in black.values()),
        ),
        _finding(
            "Joint is at least as strong as visual, and visual stronger than audio",
            "65.2, 77 and 99 are left",
            f"{at['pgd']:.1f}, {at['visual']:.1f} and {at['audio']:.1f} are left",
            at["pgd"] <= at["visual"] + 0.5 and at["visual"] < at["audio"],
        ),
        _finding(
            "BIM, MIM and PGD are alike",
            "65.4, 65.2 and 65.2 are left",
            ", ".join(f"{at[m]:.1f}" for m in PAPER_ATTACKS) + " are left",
            close <= CLOSE,
        ),
    ]


def _table_findings(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    def mean(row: str, column: str) -> float:
        value = rows[row]["columns"][column]["mean"]
        return float("nan") if value is None else float(value)

    found = []
    trained = "B1" if "B1" in rows else "B3"
    if {"D3", trained} <= set(rows):
        gain = mean("D3", "pgd") - mean(trained, "pgd")
        least = mean("D3", "worst") - mean(trained, "worst")
        found += [
            _finding(
                f"AVIL (L1 + L4, row D3) beats adversarial training (row {trained}) under PGD",
                f"+{ROWS['D3'].paper[3] - ROWS[trained].paper[3]:.2f} mAP",
                f"{gain:+.2f} mAP ({mean('D3', 'pgd'):.1f} against {mean(trained, 'pgd'):.1f})",
                gain > BETTER,
            ),
            _finding(
                "... and still does under the worst of all our attacks",
                "not measured",
                f"{least:+.2f} mAP ({mean('D3', 'worst'):.1f} against "
                f"{mean(trained, 'worst'):.1f})",
                least > BETTER,
            ),
        ]
    if {"E3", "D3", "B3"} <= set(rows):
        found.append(
            _finding(
                "AVIL with adversarial training (E3) beats either alone under PGD",
                "98.67 against 93.15 (D3) and 56.06 (B3)",
                f"{mean('E3', 'pgd'):.1f} against {mean('D3', 'pgd'):.1f} and "
                f"{mean('B3', 'pgd'):.1f}; worst case {mean('E3', 'worst'):.1f}, "
                f"{mean('D3', 'worst'):.1f}, {mean('B3', 'worst'):.1f}",
                mean("E3", "pgd") > max(mean("D3", "pgd"), mean("B3", "pgd")),
            )
        )
    for row in ("D2", "D4", "D6"):
        if {row, f"{row}d"} <= set(rows):
            apart = mean(row, "pgd") - mean(f"{row}d", "pgd")
            found.append(
                _finding(
                    f"{row}: L3 read as similarity does better under PGD than as a distance",
                    f"{ROWS[row].paper[3]} with one of the two readings",
                    f"{mean(row, 'pgd'):.1f} as similarity, {mean(f'{row}d', 'pgd'):.1f} as "
                    "distance",
                    apart > 0,
                )
            )
    return found


def _figure4_findings(figure: Mapping[str, Any]) -> list[dict[str, Any]]:
    known = {a: r for a, r in figure["rank_correlation"].items() if r is not None}
    if not known:
        return []
    return [
        _finding(
            "Training-aware and inference-aware attacks rank the models alike",
            "the same ranking (Figure 4)",
            "rank correlation "
            + ", ".join(f"{attack} {value:.2f}" for attack, value in known.items()),
            min(known.values()) > 0.8,
        )
    ]
