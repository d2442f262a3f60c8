"""Which stages an experiment is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from pushpull.auditing import FAST, FULL
from pushpull.data import SynthConfig, read_about, splits_of
from pushpull.errors import DatasetError
from pushpull.models.weights import weights_file
from pushpull.reproduce.jobs import (
    audit_row,
    embeddings,
    geometry,
    make_data,
    sample,
    score,
    train_row,
)
from pushpull.reproduce.presets import Preset
from pushpull.reproduce.rows import MAIN_ROWS, READINGS, ROWS, SURROGATES, Row
from pushpull.runtime.files import sha256_of
from pushpull.runtime.stages import Job, Stage

__all__ = [
    "EPS",
    "FIGURE4_ROWS",
    "PARTS",
    "Cell",
    "Plan",
    "build_plan",
    "columns_of",
    "training",
]

Cell = tuple[float, float]
"""Weights of L1 and L4."""

EPS = 5.0
STEPS = 5
PAPER_ATTACKS = ("bim", "mim", "pgd")
FIGURE4_ROWS = ("A", "B1", "B2", "B3", "D3", "E1", "E2", "E3")
PARTS = ("table1", "figure3", "figure4", "map")
BASE = "base"
"""Training on CE_all that every row goes on from, where a preset has one."""
TERMS = ("l1", "l2", "l3", "l4")
SAMPLES = 3
AUDITS = {"fast": FAST, "full": FULL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages of an experiment, by what they give.

    Attributes:
        preset: What was asked for.
        parts: Of "table1", "figure3", "figure4", "map".
        data: The synthetic set; None for given data.
        models: By row and seed, by surrogate or base and seed; empty if they are shipped.
        table: Scores by (row, seed, column); "clean" among the columns.
        figure3: Scores by (curve, eps).
        figure3_clean: Scores of row A on the tracks of Figure 3.
        figure4: Scores by (row, attack), of attacks on the deciding head alone.
        embeddings: By row.
        samples: By row.
        audits: By row.
        map: Of a cell and seed: "clean", "pgd" and "suite" on test tracks, "val-pgd", "geometry".
        readings: The same of a reading's name and a cell.

    Examples:
        >>> from pushpull.reproduce import PRESETS
        >>> from pushpull.reproduce.plan import build_plan
        >>> plan = build_plan(PRESETS["demo"], parts=("figure4",))
        >>> list(plan.figure4)[:2], len(plan.audits)
        ([('A', 'bim'), ('A', 'mim')], 0)
    """

    preset: Preset
    parts: tuple[str, ...]
    data: Stage | None
    models: Mapping[tuple[str, int], Stage]
    table: Mapping[tuple[str, int, str], Stage]
    figure3: Mapping[tuple[str, float], Stage]
    figure3_clean: Stage | None
    figure4: Mapping[tuple[str, str], Stage]
    embeddings: Mapping[str, Stage]
    samples: Mapping[str, Stage]
    audits: Mapping[str, Stage] = field(default_factory=dict)
    map: Mapping[tuple[Cell, int], Mapping[str, Stage]] = field(default_factory=dict)
    readings: Mapping[tuple[str, Cell], Mapping[str, Stage]] = field(default_factory=dict)

    @property
    def stages(self) -> list[Stage]:
        """Those that are read in the end, with what is asked about most first.

        Trained models are not among them: once they are scored, they are not needed.
        """
        first = [] if self.figure3_clean is None else [self.figure3_clean]
        main = [stage for (row, _, _), stage in self.table.items() if row in MAIN_ROWS]
        kinds: tuple[Mapping[Any, Stage], ...] = (
            *self.map.values(), *self.readings.values(), self.figure3, self.embeddings,
            self.samples, self.audits, self.table, self.figure4,
        )  # fmt: skip
        listed = [*first, *main, *(stage for kind in kinds for stage in kind.values())]
        return list({stage.key: stage for stage in listed}.values())


def columns_of(steps: int = STEPS, eps: float = EPS) -> dict[str, dict[str, Any]]:
    """The paper's attacks, as settings of `pushpull.attacks.attack`.

    Examples:
        >>> from pushpull.reproduce.plan import columns_of
        >>> columns_of()["pgd"]
        {'attack': 'pgd', 'eps': 5.0, 'steps': 5}
    """
    return {attack: {"attack": attack, "eps": eps, "steps": steps} for attack in PAPER_ATTACKS}


def build_plan(
    preset: Preset,
    *,
    parts: tuple[str, ...] = PARTS,
    data: Path | None = None,
    workers: int = 1,
    device: str = "auto",
    best: Cell | None = None,
) -> Plan:
    """The stages of an experiment; nothing is run.

    Args:
        preset: How much.
        parts: Which of the table and figures.
        data: Folder of a data set; the preset's synthetic one by default.
        workers: Processes that render the synthetic set.
        device: "auto", "cpu" or "cuda".
        best: The best cell of the map, once it is known: it gets as many seeds as the corners.

    Raises:
        DatasetError: If the data cannot be used.
        CheckpointError: If shipped weights are not there.

    Examples:
        >>> from pushpull.reproduce import PRESETS
        >>> from pushpull.reproduce.plan import build_plan
        >>> plan = build_plan(PRESETS["quick"], parts=("table1",))
        >>> [name for name, seed in plan.models]
        ['base', 'A', 'B3', 'D3', 'E3']
    """
    return _Builder(preset, parts, data, workers, device).plan(best)


def training(preset: Preset, name: str, seed: int, *, device: str = "auto") -> Stage:
    """The stage that trains one row or surrogate of a preset on its synthetic set.

    Examples:
        >>> from pushpull.reproduce import PRESETS
        >>> from pushpull.reproduce.plan import training
        >>> stage = training(PRESETS["quick"], "D3", 0)
        >>> stage.name, list(stage.needs)
        ('train-D3-s0', ['data', 'init'])
    """
    builder = _Builder(preset, (), None, 1, device)
    return builder.train(name, seed)


class _Builder:
    def __init__(
        self, preset: Preset, parts: tuple[str, ...], data: Path | None, workers: int, device: str
    ) -> None:
        self.preset, self.parts, self.device = preset, parts, device
        self.data: Stage | None = None
        self.about: dict[str, Any] = {}
        self.where: dict[str, Any] = {}
        self.split = "test"
        if data is None:
            config = SynthConfig(**preset.synth)
            settings = {f: getattr(config, f) for f in config.__dataclass_fields__}
            self.data = Stage(
                name="data", job=make_data, settings=settings, unhashed={"workers": workers}
            )
        else:
            self.about, self.where = {"data": identity(data)}, {"root": str(data)}
            splits = splits_of(data)
            self.split = "test" if "test" in splits else splits[-1]
        self.models: dict[tuple[str, int], Stage] = {}

    def plan(self, best: Cell | None) -> Plan:
        preset, parts = self.preset, self.parts
        rows = [r for r in preset.rows if r in self._rows_of_parts()]
        if not preset.shipped:
            if "figure3" in parts:
                for surrogate in SURROGATES:
                    self.train(surrogate, 0)
            for row in rows:
                for seed in range(preset.seeds if row in MAIN_ROWS else 1):
                    self.train(row, seed)
        table = self._table(rows) if "table1" in parts or "figure4" in parts else {}
        main = [r for r in MAIN_ROWS if r in rows]
        return Plan(
            preset=preset,
            parts=parts,
            data=self.data,
            models=self.models,
            table=table,
            figure3=self._figure3() if "figure3" in parts else {},
            figure3_clean=self._scores("figure3-clean", "A", 0, None, figure=True)
            if "figure3" in parts
            else None,
            figure4=self._figure4(rows) if "figure4" in parts else {},
            embeddings={row: self._look(embeddings, "embeddings", row) for row in main}
            if "table1" in parts
            else {},
            samples={row: self._look(sample, "samples", row) for row in main}
            if "table1" in parts
            else {},
            audits={row: self._audit(row) for row in main}
            if "table1" in parts and preset.audit
            else {},
            map=self._map(best) if "map" in parts else {},
            readings=self._readings() if "map" in parts else {},
        )

    def _rows_of_parts(self) -> set[str]:
        needed: set[str] = {"A"}
        if "figure4" in self.parts:
            needed |= set(FIGURE4_ROWS)
        return set(ROWS) if "table1" in self.parts else needed

    def train(
        self, name: str, seed: int, row: Row | None = None, *, avil_weight: float | None = None
    ) -> Stage:
        if (name, seed) in self.models:
            return self.models[name, seed]
        preset, row = self.preset, row or ROWS.get(name)
        weight = preset.avil_weight if avil_weight is None else avil_weight
        goes_on = row is not None and preset.base_epochs > 0
        config: dict[str, Any] = {
            "data": {"batch_frames": preset.batch_frames, "workers": 0},
            "model": {"name": SURROGATES.get(name, "talknet"), "options": dict(preset.model)},
            "optim": {
                "lr": preset.row_lr if goes_on else preset.lr,
                "decay": preset.decay,
                "epochs": preset.epochs
                if goes_on or not preset.base_epochs
                else preset.base_epochs,
            },
            "avil": _weighted(row, weight) if row else {},
            "run": {"seed": seed, "precision": preset.precision, "device": self.device},
        }
        if row is not None and row.attack:
            config["harden"] = {
                "regime": "mix", "attack": row.attack, "eps": EPS, "steps": preset.harden_steps,
                **row.harden,
            }  # fmt: skip
        if self.data is None:
            config["data"] |= {"val": "val" if "val" in splits_of(self._root()) else self.split}
        needs = {} if self.data is None else {"data": self.data}
        if goes_on:
            needs["init"] = self.train(BASE, seed)
        stage = Stage(
            name=f"train-{name}-s{seed}",
            job=train_row,
            settings={"config": config, "keep": "final" if goes_on else "best", **self.about},
            needs=needs,
            unhashed=self.where,
        )
        self.models[name, seed] = stage
        return stage

    def _root(self) -> Path:
        return Path(self.where["root"])

    def _scores(
        self,
        name: str,
        row: str,
        seed: int,
        settings: Mapping[str, Any] | None,
        *,
        surrogate: str = "",
        figure: bool = False,
    ) -> Stage:
        needs, own, unhashed = self._sources(row, seed)
        if surrogate:
            more = self._sources(surrogate, 0)
            needs |= {"surrogate": more[0]["model"]} if "model" in more[0] else {}
            if "model" in more[1]:
                own |= {"surrogate": more[1]["model"]}
        return Stage(
            name=name,
            job=score,
            settings={
                **own,
                **self._subset(self.preset.figure_tracks if figure else self.preset.tracks, figure),
                "attack": None if settings is None else dict(settings),
            },
            needs=needs,
            unhashed=unhashed,
        )

    def _audit(self, row: str) -> Stage:
        """With row A beside what is no row A, as an undefended twin, and the surrogates."""
        needs, own, unhashed = self._sources(row, 0)
        others = {"spec", "nc"} if self._has_surrogates else set()
        others |= {"A"} - {row}
        for other in sorted(others):
            more_needs, more, _ = self._sources(other, 0)
            if "model" in more_needs:
                needs[f"from-{other}"] = more_needs["model"]
            else:
                own[f"from-{other}"] = more["model"]
        how = AUDITS[self.preset.audit]
        how = replace(how, tracks=self.preset.audit_tracks or how.tracks)
        return Stage(
            name=f"audit-{row}",
            job=audit_row,
            settings={
                **own, "how": asdict(how), "split": self.split, "eps": EPS,
                "surrogates": [f"from-{other}" for other in sorted(others)],
            },
            needs=needs,
            unhashed=unhashed,
        )  # fmt: skip

    @property
    def _has_surrogates(self) -> bool:
        return self.preset.shipped or "figure3" in self.parts

    def _sources(
        self, row: str, seed: int
    ) -> tuple[dict[str, Stage], dict[str, Any], dict[str, Any]]:
        """Stages, settings and unhashed settings that say which model and data are meant."""
        needs = {} if self.data is None else {"data": self.data}
        own = dict(self.about)
        if self.preset.shipped:
            name = f"synthetic-{row.lower()}"
            own["model"] = {"weights": name, "sha256": sha256_of(weights_file(name))}
        else:
            needs["model"] = self.train(row, seed)
        return needs, own, {**self.where, "device": self.device}

    def _subset(self, count: int, balanced: bool) -> dict[str, Any]:
        return {
            "split": self.split, "tracks": count, "balanced": balanced, "seed": 0,
            "batch_frames": self.preset.score_frames,
        }  # fmt: skip

    def _table(self, rows: list[str]) -> dict[tuple[str, int, str], Stage]:
        found: dict[tuple[str, int, str], Stage] = {}
        standard = {} if not self.preset.suite else {"suite": suite_of(self.preset)}
        for row in rows:
            seeds = self.preset.seeds if row in MAIN_ROWS and not self.preset.shipped else 1
            for seed in range(seeds):
                columns: dict[str, Any] = {"clean": None, **columns_of()}
                if "table1" in self.parts:
                    columns |= standard
                for column, settings in columns.items():
                    name = f"score-{row}-s{seed}-{column}"
                    found[row, seed, column] = self._scores(name, row, seed, settings)
        return found

    def _map(self, best: Cell | None) -> dict[tuple[Cell, int], dict[str, Stage]]:
        preset = self.preset
        weights = preset.map
        ends = {weights[0], weights[-1]} if weights else set()
        cells = list(product(weights, weights))
        many = [cell for cell in cells if cell == best or set(cell) <= ends]
        # A coarse map first, then the whole, then how sure it is.
        coarse = set(weights[::2])
        first = sorted(cells, key=lambda cell: not set(cell) <= coarse)
        asked = [(cell, 0) for cell in first]
        asked += [(cell, seed) for seed in range(1, preset.map_seeds) for cell in many]
        return {(cell, seed): self._cell(cell, seed) for cell, seed in asked}

    def _readings(self) -> dict[tuple[str, Cell], dict[str, Stage]]:
        asked = product(READINGS, self.preset.reading_cells)
        return {(reading, cell): self._cell(cell, 0, reading) for reading, cell in asked}

    def _cell(self, cell: Cell, seed: int, reading: str = "") -> dict[str, Stage]:
        """What is asked of a training with these weights; without AVIL it is row A."""
        terms: dict[str, Any] = {
            name: weight for name, weight in zip(("l1", "l4"), cell, strict=True) if weight
        }
        known = {(0, 0): "A", (self.preset.avil_weight,) * 2: "D3"}
        name = "-".join(["map", *filter(None, [reading]), *(f"{weight:g}" for weight in cell)])
        name = name if reading else known.get(cell, name)
        terms |= READINGS.get(reading, {})
        model = self.train(name, seed, Row(loss="", avil=terms), avil_weight=1.0)
        needs = {"model": model} if self.data is None else {"data": self.data, "model": model}
        pgd = columns_of()["pgd"]
        val = "val" if self.data is not None or "val" in splits_of(self._root()) else self.split
        asked: dict[str, tuple[Job, dict[str, Any], str, int]] = {
            "val-pgd": (score, {"attack": pgd}, val, 0),
            "clean": (score, {"attack": None}, self.split, 0),
            "pgd": (score, {"attack": pgd}, self.split, 0),
            "geometry": (geometry, {}, self.split, 0),
        }
        if self.preset.suite:
            tracks = self.preset.map_tracks
            asked["suite"] = (score, {"attack": suite_of(self.preset)}, self.split, tracks)
        return {
            what: Stage(
                name=f"{name if name.startswith('map') else f'map-{name}'}-s{seed}-{what}",
                job=job,
                settings={
                    **self.about, **self._subset(tracks, False), **own, "split": split,
                },
                needs=needs,
                unhashed={**self.where, "device": self.device},
            )
            for what, (job, own, split, tracks) in asked.items()
        }  # fmt: skip

    def _figure3(self) -> dict[tuple[str, float], Stage]:
        curves: dict[str, tuple[dict[str, Any], str]] = {
            "pgd": ({"attack": "pgd"}, ""),
            "bim": ({"attack": "bim"}, ""),
            "mim": ({"attack": "mim"}, ""),
            "audio": ({"attack": "pgd", "modality": "audio"}, ""),
            "visual": ({"attack": "pgd", "modality": "visual"}, ""),
            "from spec": ({"attack": "pgd"}, "spec"),
            "from nc": ({"attack": "pgd"}, "nc"),
        }
        return {
            (curve, eps): self._scores(
                f"figure3-{curve.replace(' ', '-')}-{eps:g}",
                "A",
                0,
                {**settings, "eps": float(eps), "steps": STEPS},
                surrogate=surrogate,
                figure=True,
            )
            for curve, (settings, surrogate) in curves.items()
            for eps in self.preset.eps
        }

    def _figure4(self, rows: list[str]) -> dict[tuple[str, str], Stage]:
        return {
            (row, column): self._scores(
                f"figure4-{row}-{column}", row, 0, {**settings, "objective": "av"}
            )
            for row in rows
            if row in FIGURE4_ROWS
            for column, settings in columns_of().items()
        }

    def _look(self, job: Job, what: str, row: str) -> Stage:
        needs, own, unhashed = self._sources(row, 0)
        count = SAMPLES if job is sample else min(self.preset.tracks, 60)
        return Stage(
            name=f"{what}-{row}",
            job=job,
            settings={**own, **self._subset(count, False), "attack": columns_of()["pgd"]},
            needs=needs,
            unhashed=unhashed,
        )


def suite_of(preset: Preset) -> dict[str, Any]:
    """The standard attack of a preset, as settings of `pushpull.attacks.attack`."""
    return {"attack": preset.suite, "eps": EPS}


def _weighted(row: Row, weight: float) -> dict[str, Any]:
    """Settings of AVIL with all weights times one."""
    return {name: weight * value if name in TERMS else value for name, value in row.avil.items()}


def identity(root: Path) -> str:
    """Hash of what a data set holds: how it was made, names, sizes and small files of it.

    Raises:
        DatasetError: If there is none.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected a data set")
    digest = hashlib.sha256()
    for split in splits_of(root):
        digest.update(split.encode())
    about = read_about(root)
    # Not the file itself: it names the versions that it was made with.
    made = None if about is None else about["made"]
    digest.update(json.dumps(made, sort_keys=True).encode())
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".arrow", ".csv")):
        small = path.name == "index.arrow" or path.suffix == ".csv"
        content = sha256_of(path) if small else str(path.stat().st_size)
        digest.update(f"{path.relative_to(root)} {content}".encode())
    return digest.hexdigest()[:16]
