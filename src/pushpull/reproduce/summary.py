"""What the scores of an experiment come to: the table, the figures, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.reproduce.plan import EPS, FIGURE4_ROWS, PAPER_ATTACKS, Plan
from pushpull.reproduce.rows import FIGURE3, PAPER_COLUMNS, ROWS
from pushpull.runtime.records import read_json, unstamped
from pushpull.runtime.stages import Stage, find_done
from pushpull.schema import FrameScores, worst_case

__all__ = ["read_scores", "summarise"]

DRAWS = 500
BLACK_BOX_SHARE = 0.5
"""A transferred attack that takes less than this share of what the white-box one takes is weak."""
CLOSE = 0.03
"""Average precision within which attacks count as alike."""
BETTER = 0.02
"""Average precision from which one row counts as better than another."""


def read_scores(stage: Stage, root: Path) -> FrameScores:
    """Scores of one model on chosen tracks, from a stage that is done.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.reproduce.jobs import score
        >>> from pushpull.reproduce.summary import read_scores
        >>> from pushpull.runtime.stages import Stage
        >>> stage = Stage(name="score", job=score, settings={})
        >>> folder = stage.folder(Path())
        >>> folder.mkdir()
        >>> one = np.array([1.5, -0.5])
        >>> np.savez(folder / "scores.npz", score=one, speaking=one > 0, track=one * 0)
        >>> read_scores(stage, Path()).accuracy
        1.0
    """
    with np.load(stage.folder(root) / "scores.npz") as file:
        return FrameScores(score=file["score"], speaking=file["speaking"], track=file["track"])


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
            "splits": _record(plan.data, root, "stats.json"),
        }
    result["training"] = {
        f"{name}-s{seed}": _record(stage, root, "training.json")
        for (name, seed), stage in plan.models.items()
    }
    table = {key: read_scores(stage, root) for key, stage in plan.table.items()}
    if "table1" in plan.parts:
        result["table1"] = _table1(table)
    if "figure3" in plan.parts:
        result["figure3"] = _figure3(plan, root)
    if "figure4" in plan.parts:
        figure4 = {key: read_scores(stage, root) for key, stage in plan.figure4.items()}
        result["figure4"] = _figure4(table, figure4)
    result["norms"] = {
        row: _record(stage, root, "norms.json") for row, stage in plan.embeddings.items()
    }
    result["samples"] = {
        row: _record(stage, root, "samples.json")["clips"] for row, stage in plan.samples.items()
    }
    result["audits"] = {
        row: read_json(stage.folder(root) / "audit" / "audit.json", kind="audit")
        for row, stage in plan.audits.items()
    }
    result["findings"] = _findings(result)
    return result


def _record(stage: Stage, root: Path, name: str) -> dict[str, Any]:
    """What a stage said in one of its files."""
    folder = stage.folder(root)
    advice = f"delete {folder} and run the same command again"
    return unstamped(read_json(folder / name, kind="stage-result", advice=advice))


def _noted(stage: Stage, root: Path) -> dict[str, Any]:
    done = find_done(stage, root)
    seconds = None if done is None else done.seconds
    return {"name": stage.name, "key": stage.key, "seconds": seconds}


def _table1(table: Mapping[tuple[str, int, str], FrameScores]) -> dict[str, Any]:
    """Every row, on the frames that every model of every seed gets right."""
    clean = [s for (_, _, column), s in table.items() if column == "clean"]
    frames = np.all([s.right for s in clean], axis=0)
    first = clean[0]
    attacks = list(dict.fromkeys(c for _, _, c in table if c != "clean"))
    rows = []
    for row in dict.fromkeys(r for r, _, _ in table):
        seeds = sorted({s for r, s, _ in table if r == row})
        of = {c: [table[row, s, c] for s in seeds if (row, s, c) in table] for c in attacks}
        columns = {c: _cell([s.subset(frames) for s in found]) for c, found in of.items()}
        columns["worst"] = _cell([worst_case([found[0] for found in of.values()]).subset(frames)])
        rows.append(
            {
                "row": row,
                "loss": ROWS[row].loss,
                "training": ROWS[row].training,
                "paper": dict(zip(PAPER_COLUMNS, ROWS[row].paper, strict=False)),
                "seeds": len(seeds),
                "clean": _cell([table[row, s, "clean"] for s in seeds]),
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
            "speaking": first.subset(frames).speaking_share,
        },
        "rows": rows,
    }


def _cell(scores: Sequence[FrameScores]) -> dict[str, Any]:
    """Average precision over seeds; interval and accuracy of the first."""
    values = [value for s in scores if (value := s.average_precision) is not None]
    return {
        "average_precision": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "values": values,
        "interval": _interval(scores[0]),
        "accuracy": scores[0].accuracy,
    }


def _interval(scores: FrameScores) -> list[float] | None:
    found = scores.interval(draws=DRAWS)
    return None if found is None else list(found)


def _figure3(plan: Plan, root: Path) -> dict[str, Any]:
    assert plan.figure3_clean is not None  # noqa: S101
    clean = read_scores(plan.figure3_clean, root)
    frames = clean.right
    talk = [bool(one.truth.mean() > 0.5) for one in clean.by_track().values()]
    curves: dict[str, list[dict[str, Any]]] = {}
    for (curve, eps), stage in plan.figure3.items():
        scores = read_scores(stage, root).subset(frames)
        curves.setdefault(curve, []).append(
            {
                "eps": eps,
                "average_precision": scores.average_precision,
                "interval": _interval(scores),
                "accuracy": scores.accuracy,
            }
        )
    return {
        "tracks": {"speaking": sum(talk), "other": len(talk) - sum(talk)},
        "frames": int(frames.sum()),
        "of_frames": len(frames),
        "floor": clean.subset(frames).speaking_share,
        "curves": curves,
        "paper": {name: list(values) for name, values in FIGURE3.items()},
    }


def _figure4(
    table: Mapping[tuple[str, int, str], FrameScores],
    figure4: Mapping[tuple[str, str], FrameScores],
) -> dict[str, Any]:
    rows = [r for r in FIGURE4_ROWS if (r, "pgd") in figure4]
    frames = np.all([table[r, 0, "clean"].right for r in rows], axis=0)
    kinds = {
        "training-aware": {(r, a): table[r, 0, a] for r in rows for a in PAPER_ATTACKS},
        "inference-aware": figure4,
    }
    bars = {
        attack: {
            kind: {r: scores[r, attack].subset(frames).average_precision for r in rows}
            for kind, scores in kinds.items()
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
        value = next((p["average_precision"] for p in points if p["eps"] == EPS), None)
        if value is None:
            return []
        at[curve] = float(value)
    said = {curve: f"{100 * value:.1f}" for curve, value in at.items()}
    white = 1 - at["pgd"]
    black = {name: 1 - at[f"from {name}"] for name in ("spec", "nc")}
    close = max(at[m] for m in PAPER_ATTACKS) - min(at[m] for m in PAPER_ATTACKS)
    return [
        _finding(
            "A joint white-box attack hurts the undefended detector",
            "100 to 65.2 at eps_av 5 (Figure 3)",
            f"100 to {said['pgd']}",
            white > BETTER,
        ),
        _finding(
            "Black-box attacks from specTalkNet and ncTalkNet hardly do",
            "99.4 and 98.7 are left",
            f"{said['from spec']} and {said['from nc']} are left",
            all(lost < BLACK_BOX_SHARE * white for lost in black.values()),
        ),
        _finding(
            "Joint is at least as strong as visual, and visual stronger than audio",
            "65.2, 77 and 99 are left",
            f"{said['pgd']}, {said['visual']} and {said['audio']} are left",
            at["pgd"] <= at["visual"] + 0.005 and at["visual"] < at["audio"],
        ),
        _finding(
            "BIM, MIM and PGD are alike",
            "65.4, 65.2 and 65.2 are left",
            ", ".join(said[m] for m in PAPER_ATTACKS) + " are left",
            close <= CLOSE,
        ),
    ]


def _table_findings(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    def mean(row: str, column: str) -> float:
        value = rows[row]["columns"][column]["average_precision"]
        return float("nan") if value is None else float(value)

    def said(row: str, column: str) -> str:
        return f"{100 * mean(row, column):.1f}"

    found = []
    trained = "B1" if "B1" in rows else "B3"
    if {"D3", trained} <= set(rows):
        gain = mean("D3", "pgd") - mean(trained, "pgd")
        least = mean("D3", "worst") - mean(trained, "worst")
        found += [
            _finding(
                f"AVIL (L1 + L4, row D3) beats adversarial training (row {trained}) under PGD",
                f"+{100 * (ROWS['D3'].paper[3] - ROWS[trained].paper[3]):.2f} mAP",
                f"{100 * gain:+.2f} mAP ({said('D3', 'pgd')} against {said(trained, 'pgd')})",
                gain > BETTER,
            ),
            _finding(
                "... and still does under the worst of all our attacks",
                "not measured",
                f"{100 * least:+.2f} mAP ({said('D3', 'worst')} against {said(trained, 'worst')})",
                least > BETTER,
            ),
        ]
    if {"E3", "D3", "B3"} <= set(rows):
        found.append(
            _finding(
                "AVIL with adversarial training (E3) beats either alone under PGD",
                "98.67 against 93.15 (D3) and 56.06 (B3)",
                f"{said('E3', 'pgd')} against {said('D3', 'pgd')} and "
                f"{said('B3', 'pgd')}; worst case {said('E3', 'worst')}, "
                f"{said('D3', 'worst')}, {said('B3', 'worst')}",
                mean("E3", "pgd") > max(mean("D3", "pgd"), mean("B3", "pgd")),
            )
        )
    for row in ("D2", "D4", "D6"):
        if {row, f"{row}d"} <= set(rows):
            apart = mean(row, "pgd") - mean(f"{row}d", "pgd")
            found.append(
                _finding(
                    f"{row}: L3 read as similarity does better under PGD than as a distance",
                    f"{100 * ROWS[row].paper[3]:.4g} with one of the two readings",
                    f"{said(row, 'pgd')} as similarity, {said(f'{row}d', 'pgd')} as distance",
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
