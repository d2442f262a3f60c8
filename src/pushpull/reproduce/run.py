"""Run an experiment stage by stage and write what it came to."""

from __future__ import annotations

import csv
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.auditing.page import pictures_of
from pushpull.errors import ConfigError, UnknownName
from pushpull.report.page import figure3_rows, write_page
from pushpull.reproduce.plan import PARTS, Plan, build_plan
from pushpull.reproduce.presets import PRESETS, Preset
from pushpull.reproduce.rows import ROWS
from pushpull.reproduce.summary import read_scores, summarise
from pushpull.reproduce.weights_map import COLUMNS, best_cell, map_rows
from pushpull.runtime.files import output_dir, readable, written_whole
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import write_json
from pushpull.runtime.stages import run_stages, take_over
from pushpull.runtime.version import versions

__all__ = ["parts_of", "preset_of", "reproduce", "shown_command"]

TABLES = {"table1": "table1.csv", "figure3": "figure3.csv", "map": "map.csv"}
"""Tables of numbers, by what is reproduced."""

DRAWN = ("A", "D3")
"""Rows whose embeddings and examples the report shows: no defence, and AVIL."""


def parts_of(what: str, preset: Preset) -> tuple[str, ...]:
    """Which of the table, the figures and the map a name means.

    Raises:
        ConfigError: If the map is asked for, and the preset has none.
        UnknownName: If it is none of them, and not "all".

    Examples:
        >>> from pushpull.reproduce import PRESETS
        >>> from pushpull.reproduce.run import parts_of
        >>> parts_of("all", PRESETS["demo"]), parts_of("map", PRESETS["standard"])
        (('table1', 'figure3', 'figure4'), ('map',))
    """
    if what == "all":
        return tuple(part for part in PARTS if part != "map" or preset.map)
    if what == "map" and not preset.map:
        having = ", ".join(name for name, other in PRESETS.items() if other.map)
        raise ConfigError(f"the preset has no map of weights; expected one of {having}")
    if what not in PARTS:
        raise UnknownName("part", what, (*PARTS, "all"))
    return (what,)


def preset_of(name: str, changes: Mapping[str, Any]) -> Preset:
    """A preset by name, with some of its settings changed.

    Raises:
        UnknownName: If there is no such preset.
        ConfigError: If a changed setting cannot be.

    Examples:
        >>> from pushpull.reproduce import preset_of
        >>> preset_of("standard", {"seeds": 1}).seeds
        1
        >>> preset_of("standard", {"rows": ("B1",)})
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: rows are without A; expected it among them: others are
        compared with it
    """
    from dataclasses import replace

    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    if changes.get("seeds", 1) < 1:
        raise ConfigError(f"seeds is {changes['seeds']}; expected at least 1")
    for row in changes.get("rows", ()):
        if row not in ROWS:
            raise UnknownName("row", row, ROWS)
    if "A" not in changes.get("rows", "A"):
        raise ConfigError("rows are without A; expected it among them: others are compared with it")
    return replace(PRESETS[name], **changes)


def shown_command(arguments: Sequence[str]) -> str:
    """A command as others would give it: of absolute paths only the last name.

    Examples:
        >>> from pushpull.reproduce.run import shown_command
        >>> shown_command(["reproduce", "all", "--out", "/data/runs/small", "--seeds=2"])
        'pushpull reproduce all --out small --seeds=2'
    """
    shown = []
    for argument in arguments:
        option, equals, value = argument.rpartition("=")
        path = Path(value)
        shown.append(option + equals + (path.name if path.is_absolute() else value))
    return readable(" ".join(["pushpull", *shown]))


def reproduce(
    preset: Preset,
    out: str | PathLike[str],
    *,
    overwrite: bool = False,
    name: str = "",
    what: str = "all",
    data: str | PathLike[str] | None = None,
    kept: str | PathLike[str] | None = None,
    workers: int = 2,
    engine: str = "local",
    address: str | None = None,
    device: str = "auto",
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Do all stages that are not done yet, and write results.json, csv tables and report.html.

    Args:
        preset: How much.
        out: Folder of stages and results; the same folder again goes on where it was.
        overwrite: Whether files of any other making may be replaced there.
        name: Of the preset, for the report.
        what: "table1", "figure3", "figure4", "map" or "all".
        data: Data set; the preset's synthetic one by default.
        kept: Folder of stages that are done, such as those that come with published results; they
            are taken over.
        workers: Stages at a time, each on one thread; 1 for one at a time on all threads or a GPU;
            0 for one per core.
        engine: "local" or "ray"; see `pushpull.runtime.workers.run_pieces`.
        address: Of the Ray cluster.
        device: "auto", "cpu" or "cuda".
        progress: Called with what is under way, stages done and in all.

    Returns:
        What results.json holds.

    Raises:
        UnknownName: If there is no such part.
        ConfigError: If another run is at work in the folder, or there is no such cluster.
        DatasetError: If the data cannot be used.
        OutputError: If nothing can be written, or a file may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.reproduce import Preset, reproduce
        >>> synth = {"tracks": 4, "seed": 7, "held_out": 0.3, "min_frames": 6, "max_frames": 6}
        >>> tiny = Preset(rows=("A",), shipped=True, synth=synth, tracks=1, audit="")
        >>> results = reproduce(tiny, Path("out"), what="figure4", workers=1, device="cpu")
        >>> list(results["figure4"]["bars"]), results["figure4"]["rows"]
        (['bim', 'mim', 'pgd'], ['A'])
        >>> sorted(path.name for path in Path("out").glob("[!.]*"))
        ['report.html', 'results.json', 'stages']
    """
    parts = parts_of(what, preset)
    data = None if data is None else Path(data)
    plan = build_plan(preset, parts=parts, data=data, workers=workers, device=device)
    names = ["results.json", *(n for p, n in TABLES.items() if p in parts), "report.html"]
    outputs = Outputs(
        folder=Path(out),
        origin=Origin(
            command="reproduce",
            settings={"what": what, "stages": sorted(stage.key for stage in plan.stages)},
        ),
        overwrite=overwrite,
    )
    outputs.check(names)
    root = output_dir(Path(out)) / "stages"
    if kept is not None:
        _take_over(plan, Path(kept), root)
    how: dict[str, Any] = {
        "workers": workers,
        "engine": engine,
        "address": address,
        "progress": progress,
    }
    run_stages(plan.stages, root, **how)
    best = None
    if "map" in parts:
        # Known only now: its best cell is trained as often as the corners.
        best = best_cell(plan.map, lambda stage: read_scores(stage, root))
        plan = build_plan(preset, parts=parts, data=data, workers=workers, device=device, best=best)
        if kept is not None:
            _take_over(plan, Path(kept), root)
        run_stages(plan.stages, root, **how)
    results = {
        "name": name,
        "what": what,
        "given_data": None if data is None else readable(data.resolve().name),
        "versions": versions(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "command": shown_command(sys.argv[1:]),
        **summarise(plan, root, best=best),
    }
    with outputs.writing(names) as paths:
        write_json(paths["results.json"], results, kind="reproduction")
        if "table1" in parts:
            _write_table(results["table1"], paths["table1.csv"])
        if "figure3" in parts:
            header, *rows = figure3_rows(results["figure3"])
            _write_rows(header, rows, paths["figure3.csv"])
        if "map" in parts:
            _write_rows(COLUMNS, map_rows(results["map"]), paths["map.csv"])
        write_page(
            results,
            paths["report.html"],
            embeddings={
                row: _arrays(file)
                for row, stage in plan.embeddings.items()
                if row in DRAWN and (file := stage.folder(root) / "embeddings.npz").is_file()
            },
            samples={
                row: [
                    _arrays(stage.folder(root) / f"sample-{k}.npz")
                    for k in range(len(results["samples"][row]))
                ]
                for row, stage in plan.samples.items()
                if row in DRAWN and row in results["samples"]
            },
            audit_pictures={
                row: list(pictures_of(record)) for row, record in results["audits"].items()
            },
        )
    return results


def _take_over(plan: Plan, kept: Path, root: Path) -> None:
    """What others have done, and what they noted of trainings whose weights they have not kept."""
    if not kept.is_dir():
        raise ConfigError(f"{kept}: no such folder; expected one with stages that are done")
    take_over(plan.stages, kept, root)
    noted = [(stage, "training.json") for stage in plan.models.values()]
    if plan.data is not None:
        noted.append((plan.data, "stats.json"))
    for stage, name in noted:
        source, to = stage.folder(kept) / name, stage.folder(root) / name
        if source.is_file() and not to.exists():
            output_dir(to.parent)
            shutil.copyfile(source, to)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)


def _write_rows(header: Sequence[str], rows: Sequence[Sequence[Any]], path: Path) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _write_table(table: Mapping[str, Any], path: Path) -> None:
    header = ["row", "loss", "training", "seeds", "learnt", "attack", "frames",
              "average_precision", "sd", "low", "high", "accuracy", "chance", "paper"]  # fmt: skip
    rows = []
    for row in table["rows"]:
        for attack, kinds in row["columns"].items():
            for kind, cell in kinds.items():
                low, high = cell["interval"] or ("", "")
                # The paper's columns under attack are of frames that all its models get right.
                compared = kind == ("all" if attack == "clean" else "right_tracks")
                rows.append(
                    [row["row"], row["loss"], row["training"], row["seeds"], row["learnt"], attack]
                    + [kind]
                    + ["" if cell[k] is None else cell[k] for k in ("average_precision", "sd")]
                    + [low, high, "" if cell["accuracy"] is None else cell["accuracy"]]
                    + ["" if table["chance"][kind] is None else table["chance"][kind]]
                    + [row["paper"].get(attack, "") if compared else ""]
                )
    _write_rows(header, rows, path)
