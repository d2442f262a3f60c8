"""The paper's statements one by one, each decided by an interval or left open.

"yes" and "no" are said only where the 95 % interval of what decides lies on one side of what the
statement claims; else the answer is "open". Both tracks and trainings are drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.reproduce.contrasts import decide, drawn_mean, interval, mean_of
from pushpull.reproduce.plan import EPS, PAPER_ATTACKS
from pushpull.reproduce.rows import ROWS
from pushpull.schema import FrameScores

__all__ = ["figure3_findings", "figure4_findings", "finding", "map_findings", "table_findings"]

BLACK_BOX_SHARE = 0.5
"""A transferred attack that takes less than this share of what the white-box one takes is weak."""
CLOSE = 0.03
"""Average precision within which attacks count as alike."""
SAME_RANKS = 0.8
"""Rank correlation from which two rankings count as the same."""
HIGH = 0.9
"""Average precision under PGD that the paper reports for AVIL, rounded down."""

Trained = Mapping[tuple[str, str], Sequence[FrameScores]]
"""By row and column, scores of each training, all on the same frames."""


def finding(
    claim: str, paper: str, ours: str, decided_by: str, ends: Sequence[float], threshold: float = 0
) -> dict[str, Any]:
    """A statement, what was found, and whether that decides it.

    Args:
        claim: What the paper says.
        paper: Its numbers.
        ours: What was found.
        decided_by: The quantity that is compared with the threshold.
        ends: Its 95 % interval.
        threshold: Above it the statement holds, below it it does not.

    Examples:
        >>> from pushpull.reproduce.findings import finding
        >>> finding("more helps", "+3", "+1", "gain", [-0.01, 0.03])["reproduced"]
        'open'
    """
    return {
        "claim": claim,
        "paper": paper,
        "ours": ours,
        "decided_by": decided_by,
        "interval": [float(end) for end in ends],
        "threshold": threshold,
        "reproduced": decide(ends, threshold),
    }


def figure3_findings(curves: Mapping[str, FrameScores]) -> list[dict[str, Any]]:
    """Statements about the undefended detector.

    Args:
        curves: By curve, scores at the paper's largest budget, of frames that are right when
            nothing is attacked.

    Examples:
        >>> from pushpull.reproduce.findings import figure3_findings
        >>> from pushpull.schema import FrameScores
        >>> truth = [[1, 0]] * 4
        >>> whole = FrameScores.of_tracks([[1.0, -1.0]] * 4, truth)
        >>> gone = FrameScores.of_tracks([[-1.0, 1.0]] * 4, truth)
        >>> curves = dict.fromkeys(("bim", "mim", "pgd", "visual"), gone)
        >>> curves |= dict.fromkeys(("audio", "from spec", "from nc"), whole)
        >>> [one["reproduced"] for one in figure3_findings(curves)]
        ['yes', 'yes', 'open', 'yes']
    """
    wanted = {*PAPER_ATTACKS, "visual", "audio", "from spec", "from nc"}
    if not wanted <= set(curves) or not curves["pgd"].truth.any():
        return []
    drawn = {name: drawn_mean([scores]) for name, scores in curves.items()}
    said = {name: _percent(mean_of([scores])) for name, scores in curves.items()}
    white = 1 - drawn["pgd"]
    black = np.maximum(1 - drawn["from spec"], 1 - drawn["from nc"])
    order = np.minimum(drawn["visual"] - drawn["pgd"], drawn["audio"] - drawn["visual"])
    three = np.stack([drawn[m] for m in PAPER_ATTACKS])
    return [
        finding(
            "A joint white-box attack hurts the undefended detector",
            f"100 to 65.2 at eps_av {EPS:g} (Figure 3)",
            f"100 to {said['pgd']}",
            "what it takes",
            interval(white),
        ),
        finding(
            "Black-box attacks from specTalkNet and ncTalkNet hardly do",
            "99.4 and 98.7 are left",
            f"{said['from spec']} and {said['from nc']} are left",
            "half of what the white-box attack takes, less what the stronger of these takes",
            interval(BLACK_BOX_SHARE * white - black),
        ),
        finding(
            "Joint is at least as strong as visual, and visual stronger than audio",
            "65.2, 77 and 99 are left",
            f"{said['pgd']}, {said['visual']} and {said['audio']} are left",
            "the smaller of both differences",
            interval(order),
        ),
        finding(
            "BIM, MIM and PGD are alike",
            "65.4, 65.2 and 65.2 are left",
            ", ".join(said[m] for m in PAPER_ATTACKS) + " are left",
            f"{100 * CLOSE:g} less the largest difference",
            interval(CLOSE - (three.max(0) - three.min(0))),
        ),
    ]


def table_findings(trained: Trained) -> list[dict[str, Any]]:
    """Statements about rows of Table 1, on the frames that it counts.

    Examples:
        >>> from pushpull.reproduce.findings import table_findings
        >>> from pushpull.schema import FrameScores
        >>> truth = [[1, 0]] * 4
        >>> whole = FrameScores.of_tracks([[1.0, -1.0]] * 4, truth)
        >>> gone = FrameScores.of_tracks([[-1.0, 1.0]] * 4, truth)
        >>> (one,) = table_findings({("D3", "pgd"): [gone], ("B1", "pgd"): [whole]})
        >>> one["ours"], one["reproduced"]
        ('-50.0 mAP (50.0 against 100.0)', 'no')
    """
    rows = {row for row, _ in trained}
    if not rows or not next(iter(trained.values()))[0].truth.any():
        return []
    adversarial = "B1" if "B1" in rows else "B3"
    found = []
    if {"D3", adversarial} <= rows:
        gain = 100 * (ROWS["D3"].paper[3] - ROWS[adversarial].paper[3])
        found.append(
            _difference(
                trained, "D3", adversarial, "pgd",
                f"AVIL (L1 + L4, row D3) beats adversarial training (row {adversarial}) under PGD",
                f"+{gain:.2f} mAP",
            )
        )  # fmt: skip
        if ("D3", "suite") in trained and (adversarial, "suite") in trained:
            found.append(
                _difference(
                    trained, "D3", adversarial, "suite",
                    "... and still does under the standard attack", "not measured",
                )
            )  # fmt: skip
    if {"E3", "D3", "B3"} <= rows:
        e3, d3, b3 = (_drawn(trained, row, "pgd") for row in ("E3", "D3", "B3"))
        left = {row: _percent(mean_of(trained[row, "pgd"])) for row in ("E3", "D3", "B3")}
        found.append(
            finding(
                "AVIL with adversarial training (E3) beats either alone under PGD",
                "98.67 against 93.15 (D3) and 56.06 (B3)",
                f"{left['E3']} against {left['D3']} and {left['B3']}",
                "the smaller of both differences",
                interval(np.minimum(e3 - d3, e3 - b3)),
            )
        )
    for row in ("D2", "D4", "D6"):
        if {row, f"{row}d"} <= rows:
            found.append(
                _difference(
                    trained, row, f"{row}d", "pgd",
                    f"{row}: L3 read as similarity does better under PGD than as a distance",
                    f"{100 * ROWS[row].paper[3]:.4g} with one of the two readings",
                )
            )  # fmt: skip
    return found


def figure4_findings(
    aware: Mapping[str, Mapping[str, FrameScores]],
    inference: Mapping[str, Mapping[str, FrameScores]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Rank correlations of both kinds of attack with intervals, by attack; and the statement.

    Args:
        aware: By attack and row, under attacks on the loss of training.
        inference: The same under attacks on the loss of the head that decides.

    Examples:
        >>> from pushpull.reproduce.findings import figure4_findings
        >>> from pushpull.schema import FrameScores
        >>> score = FrameScores.of_tracks([[1.0, -1.0]], [[1, 0]])
        >>> figure4_findings({"pgd": {"A": score}}, {"pgd": {"A": score}})  # too few rows
        ({}, [])
    """
    ranks: dict[str, Any] = {}
    lowest: list[NDArray[np.float64]] = []
    for attack, by_row in aware.items():
        rows = list(by_row)
        if len(rows) < 3 or not by_row[rows[0]].truth.any():
            continue
        # Of the measured values, and on draws: one training each, so only tracks are drawn.
        at = [[mean_of([kind[attack][row]]) for row in rows] for kind in (aware, inference)]
        drawn = [
            np.stack([drawn_mean([kind[attack][row]]) for row in rows])
            for kind in (aware, inference)
        ]
        of_draws = np.array(
            [rank_correlation(a, b) for a, b in zip(drawn[0].T, drawn[1].T, strict=True)]
        )
        lowest.append(of_draws)
        ranks[attack] = {
            "rows": len(rows),
            "value": rank_correlation(*(np.array(one, float) for one in at)),
            "interval": interval(of_draws),
        }
    if not ranks:
        return ranks, []
    said = ", ".join(
        f"{attack} {one['value']:.2f} [{one['interval'][0]:.2f}, {one['interval'][1]:.2f}]"
        for attack, one in ranks.items()
    )
    statement = finding(
        "Training-aware and inference-aware attacks rank the models alike",
        "the same ranking (Figure 4)",
        f"rank correlation {said}",
        "the smallest rank correlation",
        interval(np.stack(lowest).min(0)),
        SAME_RANKS,
    )
    return ranks, [statement]


def map_findings(weights: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Whether any weights of L1 and L4 reach what the paper reports, and what is left then.

    Examples:
        >>> from pushpull.reproduce.findings import map_findings
        >>> left = {"average_precision": 0.5, "interval": [0.4, 0.6]}
        >>> cell = {"l1": 0, "l4": 1, "learnt": True, "pgd_right": left, "suite_right": None}
        >>> map_findings({"best": [0, 1], "cells": [cell]})[0]["reproduced"]
        'no'
    """
    cells = [c for c in weights["cells"] if c["learnt"] and c["pgd_right"] is not None]
    if not cells:
        return []
    highest = max(cells, key=lambda c: c["pgd_right"]["average_precision"])
    # For a "yes" the cell that validation chose, so that the best of many is no lucky one; for a
    # "no" all of them.
    best = next((c for c in cells if [c["l1"], c["l4"]] == weights["best"]), highest)
    ends = [best["pgd_right"]["interval"][0], max(c["pgd_right"]["interval"][1] for c in cells)]
    where = f"l1 {highest['l1']:g}, l4 {highest['l4']:g}"
    found = [
        finding(
            "Some weights of L1 and L4, from scratch, leave more than 90 mAP under PGD",
            "93.15 (row D3)",
            f"at most {_percent(highest['pgd_right']['average_precision'])} ({where}) of "
            f"{len(cells)} cells that have learnt",
            "mAP under PGD of frames that are right when nothing is attacked: the low end is of "
            "the cell chosen on validation, the high end the highest of all",
            ends,
            HIGH,
        )
    ]
    suites = [c for c in cells if c["suite_right"] is not None]
    if suites:
        strongest = max(suites, key=lambda c: c["suite_right"]["average_precision"])
        best = next((c for c in suites if [c["l1"], c["l4"]] == weights["best"]), strongest)
        ends = [
            best["suite_right"]["interval"][0],
            max(c["suite_right"]["interval"][1] for c in suites),
        ]
        found.append(
            finding(
                "... and under the standard attack",
                "not measured",
                f"at most {_percent(strongest['suite_right']['average_precision'])} "
                f"(l1 {strongest['l1']:g}, l4 {strongest['l4']:g})",
                "the same under the standard attack",
                ends,
                HIGH,
            )
        )
    return found


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's: of ranks, equal values sharing theirs; 0 where one side is all equal.

    Examples:
        >>> from pushpull.reproduce.findings import rank_correlation
        >>> rank_correlation(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.3]))
        1.0
    """
    from scipy.stats import rankdata

    first, second = (rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size else 0.0


def _difference(
    trained: Trained, row: str, other: str, column: str, claim: str, paper: str
) -> dict[str, Any]:
    drawn = _drawn(trained, row, column) - _drawn(trained, other, column)
    ours, theirs = (mean_of(trained[name, column]) for name in (row, other))
    assert ours is not None  # noqa: S101
    assert theirs is not None  # noqa: S101
    return finding(
        claim,
        paper,
        f"{100 * (ours - theirs):+.1f} mAP ({_percent(ours)} against {_percent(theirs)})",
        "the difference",
        interval(drawn),
    )


def _drawn(trained: Trained, row: str, column: str) -> NDArray[np.float64]:
    # Trainings of different rows are drawn apart.
    return drawn_mean(trained[row, column], seed=list(ROWS).index(row))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
