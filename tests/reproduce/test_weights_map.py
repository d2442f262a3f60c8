"""The map of weights from scores whose answer is known."""

import csv
import io

import numpy as np
import pytest

from pushpull.reproduce.weights_map import COLUMNS, best_cell, map_of, map_rows
from pushpull.schema import FrameScores

TRUTH = np.random.default_rng(7).random((20, 6)) > 0.6


def turned(share: float, seed: int, tracks: int = 20) -> FrameScores:
    rng = np.random.default_rng(seed)
    right = rng.random(TRUTH.shape) >= share
    score = np.where(right == TRUTH, 1.0, -1.0) * (0.5 + rng.random(TRUTH.shape))
    return FrameScores.of_tracks(list(score[:tracks]), list(TRUTH[:tracks]))


def made(weights):
    """Stages stand for themselves: each is what reading it gives."""
    cells = {}
    for k, (l1, l4) in enumerate((a, b) for a in weights for b in weights):
        for seed in range(2 if (l1, l4) == (0, 0) else 1):
            cells[(l1, l4), seed] = {
                "clean": turned(0.02, 10 * k + seed),
                "pgd": turned(0.5 - 0.08 * k, 10 * k + seed + 1),
                "val-pgd": turned(0.05 if (l1, l4) == (0.1, 0.1) else 0.4, k),
                "suite": turned(0.9, k, tracks=8),
                "geometry": {"l1": -float(k), "l2": 1.0, "l4": 0.1 * k, "norm_a": 1, "norm_v": 2},
            }
    # One that has learnt nothing keeps all of the little it has.
    constant = FrameScores.of_tracks([np.full(6, -1.0)] * 20, list(TRUTH))
    cells[(1, 1), 0] |= {"clean": constant, "pgd": constant}
    return cells


@pytest.fixture(scope="module")
def found():
    cells = made((0, 0.1, 1))
    best = best_cell(cells, lambda scores: scores)
    return map_of(cells, lambda scores: scores, lambda geometry: geometry, best)


def test_cells_are_what_was_measured(found) -> None:
    assert found["weights"] == [0, 0.1, 1]
    assert found["best"] == [0.1, 0.1]
    cells = {(c["l1"], c["l4"]): c for c in found["cells"]}
    assert len(cells) == 9
    assert {key for key, c in cells.items() if not c["learnt"]} == {(1, 1)}
    assert [c["seeds"] for c in cells.values()] == [2] + [1] * 8
    first = cells[0, 0]
    assert len(first["clean"]["values"]) == 2
    low, high = first["pgd"]["interval"]
    assert low < first["pgd"]["average_precision"] < high < first["clean"]["average_precision"]
    # On the suite's own tracks, and of those what is right when nothing is attacked.
    assert first["suite"]["average_precision"] < 0.5
    assert first["suite_chance"] == pytest.approx(TRUTH[:8].mean())
    assert first["suite_clean"] > 0.9
    assert first["suite_right"]["average_precision"] < 0.5


def test_which_trainings_there_are_is_by_chance_as_well() -> None:
    clean, shape = turned(0.0, 0), {"l1": 0.0, "l2": 1.0, "l4": 0.0, "norm_a": 1, "norm_v": 2}
    cells = {
        ((0, 0), k): {"clean": clean, "pgd": turned(share, k), "val-pgd": clean, "geometry": shape}
        for k, share in enumerate((0.0, 0.0, 1.0))
    }
    (cell,) = map_of(cells, lambda scores: scores, lambda geometry: geometry, None)["cells"]
    best, _, worst = cell["pgd_right"]["values"]
    for name in ("pgd", "pgd_right"):
        low, high = cell[name]["interval"]
        assert low < worst + 0.1 < best - 0.1 < high, name


def test_what_goes_with_what_is_found_with_its_interval(found) -> None:
    relation = found["geometry"]["inter_class-pgd"]
    assert relation["cells"] == 8
    # More is left where classes lie further apart, as it was made.
    assert relation["value"] < -0.8
    assert relation["interval"][1] < 0
    flat = found["geometry"]["intra_class-pgd"]
    assert (flat["value"], flat["interval"]) == (0, [0, 0])


def test_the_csv_holds_every_number(found) -> None:
    rows = map_rows(found)
    assert all(len(row) == len(COLUMNS) for row in rows)
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *rows])
    listed = list(csv.DictReader(io.StringIO(text.getvalue())))
    for row, cell in zip(listed, found["cells"], strict=True):
        right = cell["pgd_right"]
        assert row["pgd_right"] == ("" if right is None else str(right["average_precision"]))
        assert float(row["suite_low"]) == cell["suite"]["interval"][0]
        assert row["learnt"] == str(cell["learnt"])


def test_no_cells_have_no_best() -> None:
    assert best_cell({}, lambda scores: scores) is None
