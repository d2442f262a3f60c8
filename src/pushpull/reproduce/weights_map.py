"""AVIL's weights against each other: what is learnt, and what attacks leave, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.reproduce.contrasts import drawn_chance, drawn_mean, interval, learnt, mean_of
from pushpull.reproduce.findings import rank_correlation
from pushpull.reproduce.plan import Cell
from pushpull.runtime.stages import Stage
from pushpull.schema import FrameScores

__all__ = ["COLUMNS", "best_cell", "map_of", "map_rows"]

Cells = Mapping[tuple[Cell, int], Mapping[str, Stage]]
ReadScores = Callable[[Stage], FrameScores]

COLUMNS = (
    "l1", "l4", "seeds", "learnt", "val_pgd", "clean", "clean_low", "clean_high", "accuracy",
    "pgd", "pgd_low", "pgd_high", "pgd_accuracy", "pgd_right", "pgd_right_low", "pgd_right_high",
    "suite", "suite_low", "suite_high", "suite_accuracy", "suite_right", "suite_right_low",
    "suite_right_high", "suite_clean", "chance", "suite_chance", "inter_class", "intra_class",
    "pair_distance", "norm_a", "norm_v",
)  # fmt: skip
"""Of map.csv: shares 0..1, intervals of 95 %; *_right on frames that are right when clean."""

DRAWS = 500


def best_cell(cells: Cells, read: ReadScores) -> Cell | None:
    """The cell whose first training keeps most under PGD on validation; None without cells.

    Args:
        cells: Of the plan; those of a stage that is done.
        read: Reads the scores of a stage.

    Examples:
        >>> from pushpull.reproduce.weights_map import best_cell
        >>> from pushpull.schema import FrameScores
        >>> weak, strong = (FrameScores.of_tracks([s], [[1, 0]]) for s in ([-1.0, 1.0], [1.0, 0.0]))
        >>> cells = {((0, 0), 0): {"val-pgd": weak}, ((0, 1), 0): {"val-pgd": strong}}
        >>> best_cell(cells, lambda stage: stage)
        (0, 1)
    """
    left = {
        cell: mean_of([read(stages["val-pgd"])]) or 0.0
        for (cell, seed), stages in cells.items()
        if seed == 0
    }
    return max(left, key=left.__getitem__) if left else None


def map_of(
    cells: Cells,
    read: ReadScores,
    geometry: Callable[[Stage], Mapping[str, float]],
    best: Cell | None,
) -> dict[str, Any]:
    """What a map came to, in plain values.

    Args:
        cells: Of the plan, all done.
        read: Reads the scores of a stage.
        geometry: Reads how embeddings lie.
        best: The cell that was chosen on validation.

    Examples:
        >>> from pushpull.reproduce.weights_map import map_of
        >>> from pushpull.schema import FrameScores
        >>> scores = FrameScores.of_tracks([[1.0, -1.0]] * 2, [[1, 0]] * 2)
        >>> stages = dict.fromkeys(("clean", "pgd", "val-pgd"), scores)
        >>> stages["geometry"] = {"l1": 0.5, "l2": 2, "l4": 0.1, "norm_a": 1, "norm_v": 1}
        >>> found = map_of({((0, 1), 0): stages}, lambda s: s, lambda s: s, best=(0, 1))
        >>> found["cells"][0]["learnt"], found["cells"][0]["clean"]["interval"]
        (True, [1.0, 1.0])
    """
    found = []
    for cell in sorted({cell for cell, _ in cells}):
        of = [stages for (c, _), stages in cells.items() if c == cell]
        found.append(_cell(cell, of, read, geometry))
    return {
        "weights": sorted({weight for cell, _ in cells for weight in cell}),
        "best": None if best is None else list(best),
        "cells": found,
        "geometry": _relations([c for c in found if c["learnt"]]),
    }


def _cell(
    cell: Cell,
    of: Sequence[Mapping[str, Stage]],
    read: ReadScores,
    geometry: Callable[[Stage], Mapping[str, float]],
) -> dict[str, Any]:
    clean, pgd, val = (
        [read(stages[name]) for stages in of] for name in ("clean", "pgd", "val-pgd")
    )
    suite = [read(stages["suite"]) for stages in of if "suite" in stages]
    # The suite is run on some of the tracks: its own clean scores are those of these.
    same = [s.subset(np.isin(s.track, suite[0].track)) for s in clean] if suite else []
    shapes = [geometry(stages["geometry"]) for stages in of]
    return {
        "l1": cell[0],
        "l4": cell[1],
        "seeds": len(of),
        "learnt": learnt(clean),
        "val_pgd": mean_of(val),
        "clean": _left(clean),
        "pgd": _left(pgd),
        "pgd_right": _left_of_right(clean, pgd),
        "suite": _left(suite) if suite else None,
        "suite_clean": mean_of(same) if suite else None,
        "suite_right": _left_of_right(same, suite) if suite else None,
        "chance": clean[0].speaking_share,
        "suite_chance": suite[0].speaking_share if suite else None,
        "geometry": {name: float(np.mean([one[name] for one in shapes])) for name in shapes[0]},
    }


def _left(scores: Sequence[FrameScores]) -> dict[str, Any] | None:
    value = mean_of(scores)
    if value is None:
        return None
    return {
        "average_precision": value,
        "values": [s.average_precision for s in scores],
        "interval": interval(drawn_mean(scores)),
        "accuracy": float(np.mean([s.accuracy for s in scores])),
    }


def _left_of_right(
    clean: Sequence[FrameScores], attacked: Sequence[FrameScores]
) -> dict[str, Any] | None:
    """The same on frames that each training gets right when nothing is attacked."""
    kept = [a.subset(c.right) for c, a in zip(clean, attacked, strict=True)]
    kept = [s for s in kept if len(s) and s.truth.any()]
    if not kept:
        return None
    # Frames differ from training to training, so each has draws of its own; which trainings there
    # are is by chance as well, so they are drawn again too.
    drawn = [drawn_mean([s]) for s in kept]
    least = min(len(d) for d in drawn)
    draws = np.array([d[:least] for d in drawn])
    trainings = np.random.default_rng(0).integers(len(draws), size=draws.shape)
    return {
        "average_precision": mean_of(kept),
        "values": [s.average_precision for s in kept],
        "interval": interval(np.mean(draws[trainings, np.arange(least)], axis=0)),
        "accuracy": float(np.mean([s.accuracy for s in kept])),
        "chance": float(np.mean([drawn_chance(s).mean() for s in kept])),
    }


def _relations(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rank correlation, over cells, of how embeddings lie with what is left; cells drawn again."""
    measures: dict[str, Callable[[Mapping[str, Any]], float]] = {
        "inter_class": lambda c: c["geometry"]["l1"],
        "intra_class": lambda c: c["geometry"]["l2"],
        "pair_distance": lambda c: c["geometry"]["l4"],
        "norm": lambda c: c["geometry"]["norm_a"] + c["geometry"]["norm_v"],
        "clean": lambda c: c["clean"]["average_precision"],
    }
    found: dict[str, Any] = {}
    for column in ("pgd", "suite"):
        known = [c for c in cells if c[column] is not None]
        if len(known) < 5:
            continue
        left = np.array([c[column]["average_precision"] for c in known])
        for name, of in measures.items():
            values = np.array([of(c) for c in known])
            found[f"{name}-{column}"] = {
                "cells": len(known),
                "value": rank_correlation(values, left),
                "interval": interval(_drawn_correlation(values, left)),
            }
    return found


def _drawn_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    picks = rng.integers(len(a), size=(DRAWS, len(a)))
    return np.array([rank_correlation(a[pick], b[pick]) for pick in picks])


def map_rows(weights: Mapping[str, Any]) -> list[list[Any]]:
    """Rows of map.csv, in the order of `COLUMNS`.

    Examples:
        >>> from pushpull.reproduce.weights_map import map_rows
        >>> map_rows({"cells": []})
        []
    """
    rows = []
    for c in weights["cells"]:
        values: dict[str, Any] = {
            **{name: c[name] for name in ("l1", "l4", "seeds", "learnt", "val_pgd", "chance")},
            "suite_chance": c["suite_chance"],
            "suite_clean": c["suite_clean"],
            "accuracy": c["clean"]["accuracy"],
            "inter_class": c["geometry"]["l1"],
            "intra_class": c["geometry"]["l2"],
            "pair_distance": c["geometry"]["l4"],
            "norm_a": c["geometry"]["norm_a"],
            "norm_v": c["geometry"]["norm_v"],
        }
        for name in ("clean", "pgd", "pgd_right", "suite", "suite_right"):
            left = c[name]
            if left is not None:
                low, high = left["interval"]
                values |= {
                    name: left["average_precision"],
                    f"{name}_low": low,
                    f"{name}_high": high,
                }
                values.setdefault(f"{name}_accuracy", left["accuracy"])
        rows.append(["" if values.get(name) is None else values[name] for name in COLUMNS])
    return rows
