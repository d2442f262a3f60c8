"""What the scores of an experiment come to: the table, the figures, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.reproduce.contrasts import drawn_mean, interval, learnt, mean_of
from pushpull.reproduce.findings import (
    figure3_findings,
    figure4_findings,
    map_findings,
    table_findings,
)
from pushpull.reproduce.plan import EPS, FIGURE4_ROWS, PAPER_ATTACKS, Cell, Plan
from pushpull.reproduce.rows import FIGURE3, PAPER_COLUMNS, ROWS
from pushpull.reproduce.weights_map import map_of
from pushpull.runtime.records import read_json, unstamped
from pushpull.runtime.stages import Stage, find_done
from pushpull.schema import FrameScores, worst_adversaries

__all__ = ["read_scores", "summarise"]


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


def summarise(plan: Plan, root: Path, *, best: Cell | None = None) -> dict[str, Any]:
    """Everything that a report shows of a plan whose stages are done, in plain values.

    Args:
        plan: Its stages are done.
        root: Where they are.
        best: Best cell of the map, if there is one.
    """
    result: dict[str, Any] = {
        "preset": asdict(plan.preset),
        "parts": list(plan.parts),
        "data": None,
        "stages": [_noted(stage, root) for stage in plan.stages],
    }
    if plan.data is not None:
        result["data"] = {
            "settings": dict(plan.data.settings),
            "splits": _record_if_there(plan.data, root, "stats.json") or {},
        }
    # Scores may be kept without the weights and the data that they are of.
    training = {
        f"{name}-s{seed}": _record_if_there(stage, root, "training.json")
        for (name, seed), stage in plan.models.items()
    }
    result["training"] = {name: record for name, record in training.items() if record}
    findings = []
    table = {key: read_scores(stage, root) for key, stage in plan.table.items()}
    if "figure3" in plan.parts:
        result["figure3"], found = _figure3(plan, root)
        findings += found
    if "table1" in plan.parts:
        result["table1"], found = _table1(table)
        findings += found
    if "map" in plan.parts:
        result["map"] = map_of(
            plan.map,
            lambda stage: read_scores(stage, root),
            lambda stage: _record(stage, root, "geometry.json"),
            best,
        )
        findings += map_findings(result["map"])
    if "figure4" in plan.parts:
        figure4 = {key: read_scores(stage, root) for key, stage in plan.figure4.items()}
        result["figure4"], found = _figure4(table, figure4)
        findings += found
    result["norms"] = {
        row: _record(stage, root, "norms.json") for row, stage in plan.embeddings.items()
    }
    # Clips and embeddings to look at may be left out of what others have kept.
    samples = {
        r: _record_if_there(stage, root, "samples.json") for r, stage in plan.samples.items()
    }
    result["samples"] = {row: found["clips"] for row, found in samples.items() if found is not None}
    result["audits"] = {
        row: read_json(stage.folder(root) / "audit" / "audit.json", kind="audit")
        for row, stage in plan.audits.items()
    }
    result["findings"] = findings
    return result


def _record(stage: Stage, root: Path, name: str) -> dict[str, Any]:
    """What a stage said in one of its files."""
    folder = stage.folder(root)
    advice = f"delete {folder} and run the same command again"
    return unstamped(read_json(folder / name, kind="stage-result", advice=advice))


def _record_if_there(stage: Stage, root: Path, name: str) -> dict[str, Any] | None:
    return _record(stage, root, name) if (stage.folder(root) / name).is_file() else None


def _noted(stage: Stage, root: Path) -> dict[str, Any]:
    done = find_done(stage, root)
    seconds = None if done is None else done.seconds
    return {"name": stage.name, "key": stage.key, "seconds": seconds}


def _table1(
    table: Mapping[tuple[str, int, str], FrameScores],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Every row on all frames and on what every model that has learnt gets right; statements."""
    first = next(iter(table.values()))
    rows = list(dict.fromkeys(r for r, _, _ in table))
    attacks = list(dict.fromkeys(c for _, _, c in table if c != "clean"))
    trained = {
        (row, column): of
        for row in rows
        for column in ("clean", *attacks)
        if (of := [s for (r, _, c), s in table.items() if (r, c) == (row, column)])
    }
    for row in rows:
        attacked = [trained[row, a] for a in attacks if (row, a) in trained]
        # Of each training the worst existing adversary of each track.
        trained[row, "worst"] = [worst_adversaries(seed) for seed in zip(*attacked, strict=True)]
    able = [row for row in rows if learnt(trained[row, "clean"])]
    clean = [s for row in able for s in trained[row, "clean"]]
    right = np.all([s.right for s in clean], axis=0) if clean else np.zeros(len(first), bool)
    # As the paper samples: tracks that are right from beginning to end.
    whole = right & ~np.isin(first.track, first.track[~right])
    kinds = {"all": np.ones(len(first), bool), "right": right, "right_tracks": whole}
    listed = []
    for row in rows:
        columns = {
            column: {
                kind: _cell([s.subset(frames) for s in trained[row, column]])
                for kind, frames in kinds.items()
            }
            for column in ("clean", *attacks, "worst")
            if (row, column) in trained
        }
        listed.append(
            {
                "row": row,
                "loss": ROWS[row].loss,
                "training": ROWS[row].training,
                "paper": dict(zip(PAPER_COLUMNS, ROWS[row].paper, strict=False)),
                "seeds": len(trained[row, "clean"]),
                "learnt": row in able,
                "columns": columns,
            }
        )
    compared = {key: [s.subset(right) for s in of] for key, of in trained.items() if key[0] in able}
    found = {
        "eps_av": EPS,
        "attacks": attacks,
        "chance": {kind: first.subset(frames).speaking_share for kind, frames in kinds.items()},
        "subset": {
            "frames": int(right.sum()),
            "of_frames": len(right),
            "tracks": len(np.unique(first.track[right])),
            "whole_tracks": len(np.unique(first.track[whole])),
            "of_tracks": first.tracks,
            "models": len(clean),
            "not_learnt": [row for row in rows if row not in able],
        },
        "rows": listed,
    }
    return found, table_findings(compared) if right.any() else []


def _cell(scores: Sequence[FrameScores]) -> dict[str, Any]:
    """Average precision over seeds, with its interval over tracks and seeds."""
    values = [value for s in scores if (value := s.average_precision) is not None]
    shares = [value for s in scores if (value := s.accuracy) is not None]
    return {
        "average_precision": mean_of(scores),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "values": values,
        "interval": interval(drawn_mean(scores)) if values else None,
        "accuracy": float(np.mean(shares)) if shares else None,
    }


def _figure3(plan: Plan, root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    assert plan.figure3_clean is not None  # noqa: S101
    clean = read_scores(plan.figure3_clean, root)
    frames = clean.right
    talk = [bool(one.truth.mean() > 0.5) for one in clean.by_track().values()]
    curves: dict[str, list[dict[str, Any]]] = {}
    at_most: dict[str, FrameScores] = {}
    for (curve, eps), stage in plan.figure3.items():
        scores = read_scores(stage, root).subset(frames)
        if eps == EPS:
            at_most[curve] = scores
        found = _cell([scores])
        curves.setdefault(curve, []).append(
            {
                "eps": eps,
                **{name: found[name] for name in ("average_precision", "interval", "accuracy")},
            }
        )
    figure = {
        "tracks": {"speaking": sum(talk), "other": len(talk) - sum(talk)},
        "frames": int(frames.sum()),
        "of_frames": len(frames),
        "floor": clean.subset(frames).speaking_share,
        "curves": curves,
        "paper": {name: list(values) for name, values in FIGURE3.items()},
    }
    return figure, figure3_findings(at_most) if frames.any() else []


def _figure4(
    table: Mapping[tuple[str, int, str], FrameScores],
    figure4: Mapping[tuple[str, str], FrameScores],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows = [r for r in FIGURE4_ROWS if (r, "pgd") in figure4]
    rows = [r for r in rows if learnt([table[r, 0, "clean"]])] or rows
    frames = np.all([table[r, 0, "clean"].right for r in rows], axis=0)
    kinds = {
        "training-aware": {
            a: {r: table[r, 0, a].subset(frames) for r in rows} for a in PAPER_ATTACKS
        },
        "inference-aware": {
            a: {r: figure4[r, a].subset(frames) for r in rows} for a in PAPER_ATTACKS
        },
    }
    ranks, findings = figure4_findings(kinds["training-aware"], kinds["inference-aware"])
    figure = {
        "rows": rows,
        "frames": int(frames.sum()),
        "bars": {
            attack: {
                kind: {r: s.average_precision for r, s in by_attack[attack].items()}
                for kind, by_attack in kinds.items()
            }
            for attack in PAPER_ATTACKS
        },
        "rank_correlation": ranks,
    }
    return figure, findings
