"""The training loop: batches, steps, checkpoints; on one process or many through Lightning Fabric.

A run's folder holds

    config.json         what was asked for
    last.ckpt           state of the run; `--resume` goes on from it
    best.safetensors    the detector with the best validation mAP, under an attack where
                        `harden.validate` names one, ready for every other command
    final.safetensors   the detector as it is after the last epoch
    steps.csv, epochs.csv, tensorboard/
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import math
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from pushpull.data import Plan, Tracks, loader, open_tracks, read_about
from pushpull.errors import (
    CheckpointError,
    ConfigError,
    GradientError,
    MissingExtra,
    OutputError,
    OutputExists,
)
from pushpull.evaluation import Perturb, attacker, pooled, score_tracks
from pushpull.models import build
from pushpull.models.checkpoints import load_state, save
from pushpull.models.detector import Detector, Wrapped
from pushpull.models.factories import is_factory
from pushpull.models.weights import choose_device, resolve_detector
from pushpull.runtime.files import output_dir, readable
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import plain, read_json, write_json
from pushpull.runtime.version import versions
from pushpull.schema import Batch, FrameScores, Output
from pushpull.training.config import TrainConfig, read_config
from pushpull.training.logs import Logs
from pushpull.training.regimes import Regime, build_regime
from pushpull.training.state import TrainingProgress, read_state, step_seed, write_state

__all__ = ["Trained", "train"]

FILES = (
    "config.json",
    "last.ckpt",
    "best.safetensors",
    "final.safetensors",
    "steps.csv",
    "epochs.csv",
)
"""What a run writes into its folder, beside events for TensorBoard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run came to.

    Attributes:
        progress: How far it is, with the best validation mAP.
        best: File of the best detector.
        seconds: Of this sitting.
        frames: Valid frames learnt from in this sitting, over all processes.
        notes: What should be known of the run.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.training import Trained
        >>> from pushpull.training.state import TrainingProgress
        >>> progress = TrainingProgress(epoch=3, best=0.91, best_epoch=2)
        >>> best = Path("best.safetensors")
        >>> run = Trained(progress=progress, best=best, seconds=9.5, frames=4000)
        >>> run.progress.best, run.frames / run.seconds
        (0.91, 421.05)
    """

    progress: TrainingProgress
    best: Path
    seconds: float
    frames: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Limited:
    """The first tracks of a split."""

    tracks: Tracks
    limit: int

    @property
    def n_frames(self) -> Any:
        return self.tracks.n_frames[: self.limit]

    @property
    def track_ids(self) -> list[str]:
        return self.tracks.track_ids[: self.limit]

    def __len__(self) -> int:
        return min(self.limit, len(self.tracks))

    def __getitem__(self, index: int) -> Any:
        return self.tracks[index]

    def clip(self, index: int) -> Any:
        return self.tracks.clip(index)

    def waveform(self, index: int) -> Tensor:
        return self.tracks.waveform(index)


class _AsDict(nn.Module):
    """A detector whose output is a dict: wrappers of training look inside nothing frozen."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        output = self.detector(**inputs)
        every = {f.name: getattr(output, f.name) for f in fields(Output)}
        return {name: value for name, value in every.items() if value is not None}


def train(
    config: TrainConfig | str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    detector: Detector | None = None,
    changes: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Trained:
    """Train a detector.

    A detector without heads for sound and faces alone, such as a wrapped module, learns from the
    cross-entropy of its one output; `Trained.notes` says so.

    Every random choice of a step follows from the seed, the epoch and the batch, so a run that was
    killed at any moment and resumed ends with the same weights, bit for bit on a CPU.

    Args:
        config: Everything that decides the run, or a name in `CONFIGS`, or a TOML file.
        root: Folder of the data set, in place of the file's `data.root`.
        detector: What is trained, in place; its weights are where the run starts. By default the
            configuration's model.
        changes: Of single values of a file, each `section.key=value`.
        resume: Go on from `last.ckpt` where there is one.
        overwrite: Begin anew in a folder that holds a run or other files of the same names.
        progress: Called with stage, batches done and batches of the epoch.

    Raises:
        MissingExtra: If the extra `train` is not installed.
        ConfigError: If the run to resume has another configuration.
        DatasetError: If the data cannot be used.
        CheckpointError: If the state cannot be used.
        GradientError: If a loss is not finite.
        OutputError: If nothing can be written, or the folder holds a run or files that may not be
            replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, write_synth
        >>> write_synth(Path("data"), SynthConfig(tracks=14, min_frames=6, max_frames=8))
        >>> changes = ["optim.epochs=1", "data.limit=4", "data.val=train", "data.workers=0"]
        >>> done = pp.train("light-asd", root="data", changes=changes)
        >>> done.progress.epoch, done.best.name
        (1, 'best.safetensors')
    """
    if isinstance(config, TrainConfig):
        if root is not None or changes:
            raise ConfigError("root or changes are given beside a ready configuration; change that")
    else:
        data = [] if root is None else [f"data.root={os.fspath(root)}"]
        config = read_config(config, [*data, *changes])
    return _Run(config, detector, resume=resume, overwrite=overwrite, report=progress).run()


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        given: Detector | None,
        *,
        resume: bool,
        overwrite: bool,
        report: Progress,
    ) -> None:
        _check_installed()
        from lightning.fabric import Fabric
        from lightning.fabric.strategies.ddp import DDPStrategy

        self.config, self.report = config, report
        self.regime: Regime = build_regime(config.harden.at(1), config.avil.at(1))
        device = choose_device(config.run.device)
        many = config.run.processes * config.run.nodes > 1
        self.fabric = Fabric(
            accelerator="cuda" if device.type == "cuda" else "cpu",
            devices=config.run.processes,
            num_nodes=config.run.nodes,
            precision=config.run.precision,  # type: ignore[arg-type]
            # Running statistics are equal everywhere already: batch norm sums over processes.
            strategy=DDPStrategy(broadcast_buffers=False) if many else "auto",
        )
        if many:
            self.fabric.launch()
        self.folder = Path(config.run.out)
        self.data_identity = _identity(Path(config.data.root))
        self._check_folder(resume=resume, overwrite=overwrite)
        self.train_tracks, self.val_tracks = (self._tracks(s) for s in ("train", "val"))
        self.progress = TrainingProgress()
        self.detector, self.optimiser = self._made(given)
        self.notes: tuple[str, ...] = ()
        if isinstance(self.detector, Wrapped):
            name = self.detector.card.name
            self.notes = (
                f"{name} has no heads for sound and faces alone: it learns from the cross-entropy "
                "of its one output",
            )
        moments = self._resume(resume)
        self.model, self.fabric_optimiser = self.fabric.setup(
            _AsDict(self.detector), self.optimiser
        )
        if moments is not None:
            # Only now are the weights where the moments have to be.
            self._take_up(moments)
        self.frames = 0
        self.saved_at = time.monotonic()

    @property
    def state_path(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def best_path(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def final_path(self) -> Path:
        return self.folder / "final.safetensors"

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return bool(self.fabric.is_global_zero)

    def _tracks(self, which: str) -> Tracks:
        data = self.config.data
        tracks = open_tracks(Path(data.root), getattr(data, which))
        return _Limited(tracks=tracks, limit=data.limit) if data.limit else tracks

    def _made(self, given: Detector | None) -> tuple[Detector, torch.optim.Optimizer]:
        run, model = self.config.run, self.config.model
        if given is not None:
            detector = given
        elif is_factory(model.name):
            # A model of one's own: its factory draws the weights, by the seed of the run.
            torch.manual_seed(run.seed)
            detector = resolve_detector(model.name, device="cpu")
            if run.init:
                load_state(detector, Path(run.init))
        elif run.init:
            detector = resolve_detector(run.init, device="cpu")
            if detector.card.model != model.name:
                raise ConfigError(
                    f"run.init '{run.init}' is a {detector.card.model}; expected model.name "
                    f"{model.name}"
                )
        else:
            torch.manual_seed(run.seed)
            try:
                detector = build(model.name, **model.options)
            except TypeError as e:
                raise ConfigError(f"model.options of {model.name}: {e}") from e
        if not any(p.requires_grad for p in detector.parameters()):
            raise ConfigError(
                f"{detector.card.name} has no parameters that can be learnt; nothing to train"
            )
        # Fused: one pass over the weights in place of ten.
        optimiser = torch.optim.Adam(detector.parameters(), lr=self.config.optim.lr, fused=True)
        return detector, optimiser

    def _check_folder(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder where something would be lost."""
        there = [path for name in FILES if os.path.lexists(path := self.folder / name)]
        init = Path(self.config.run.init)
        for path in there:
            if self.config.run.init and init.exists() and path.samefile(init):
                raise OutputExists(
                    f"{path}: is where the run starts and is never replaced; choose another run.out"
                )
        if not there or overwrite:
            return
        if self.state_path.is_file():
            if not resume:
                raise OutputExists(
                    f"{self.folder}: holds a run already; go on with --resume, choose another "
                    "run.out, or --overwrite"
                )
        elif not self._is_beginning():
            raise OutputExists(
                f"{there[0]}: is there already and is of no run that goes on here; choose another "
                "run.out, or --overwrite"
            )

    def _is_beginning(self) -> bool:
        """Whether the folder holds what this run, stopped before it kept its state, has left."""
        try:
            record = read_json(self.folder / "config.json", kind="training-settings")
        except OutputError:
            return False
        weights = (self.best_path, self.final_path)
        return record.get("config") == plain(self.config.as_dict()) and not any(
            os.path.lexists(path) for path in weights
        )

    def _resume(self, wanted: bool) -> dict[str, Any] | None:
        """Weights and place of a run that was stopped; the state of its optimiser."""
        if not (wanted and self.state_path.is_file()):
            return None
        state = read_state(self.state_path, torch.device("cpu"))
        changed = _differences(state["config"], self.config.as_dict())
        # A data set may have been moved, and another may lie where it was.
        learnt, given = state.get("data"), self.data_identity
        if learnt is not None and learnt == given:
            changed = [name for name in changed if name != "data.root"]
        elif learnt is not None and "data.root" not in changed:
            raise ConfigError(
                f"{self.config.data.root}: is another data set than the one that the run in "
                f"{self.folder} has learnt from; put that back, or choose another run.out"
            )
        if changed:
            raise ConfigError(
                f"{self.folder}: its run was made with other settings ({', '.join(changed)}); "
                "resume with the same, or choose another run.out"
            )
        try:
            self.detector.load_state_dict(state["model"])
        except Exception as e:
            raise self._damaged(e) from e
        self.progress = state["progress"]
        moments: dict[str, Any] = state["optimiser"]
        return moments

    def _take_up(self, moments: dict[str, Any]) -> None:
        try:
            self.optimiser.load_state_dict(moments)
        except Exception as e:
            raise self._damaged(e) from e

    def _damaged(self, e: Exception) -> CheckpointError:
        """A damaged state can be anything."""
        said = next(iter(str(e).splitlines()), type(e).__name__)
        return CheckpointError(f"{self.state_path}: does not fit the model ({said})")

    def run(self) -> Trained:
        start = time.monotonic()
        if self.leads:
            output_dir(self.folder)
            data = read_about(Path(self.config.data.root))
            content = {"config": self.config.as_dict(), "data": data}
            write_json(self.folder / "config.json", content, kind="training-settings")
        self.fabric.barrier()
        logs = (
            Logs(self.folder, step=self.progress.step, epoch=self.progress.epoch)
            if self.leads
            else nullcontext()
        )
        with logs as log:
            while self.progress.epoch < self.config.optim.epochs and not self.progress.stopped:
                self._epoch(log)
                self._end_epoch(log)
        if self.leads:
            self._save_detector(self.final_path)
        return Trained(
            progress=self.progress,
            best=self.best_path,
            seconds=time.monotonic() - start,
            frames=self.frames,
            notes=self.notes,
        )

    def _epoch(self, log: Logs | None) -> None:
        optim, data, at = self.config.optim, self.config.data, self.progress
        for group in self.optimiser.param_groups:
            group["lr"] = optim.lr * optim.decay**at.epoch
        now = at.epoch + 1
        self.regime = build_regime(self.config.harden.at(now), self.config.avil.at(now))
        plan = Plan(
            batch_frames=data.batch_frames,
            seed=self.config.run.seed,
            epoch=at.epoch,
            first=at.batch,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
            augment=data.augment,
        )
        batches, total = loader(self.train_tracks, plan, workers=data.workers)
        stage = f"epoch {at.epoch + 1}/{optim.epochs}"
        self.model.train()
        if optim.freeze_norm:
            for module in self.detector.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        for number, batch in enumerate(batches, at.batch):
            last = number + 1 == total
            steps = (number + 1) % optim.accumulate == 0 or last
            terms = self._batch(batch, number, total, steps=steps)
            self.progress = replace(
                self.progress, batch=number + 1, step=self.progress.step + int(steps)
            )
            if log is not None:
                log.add("step", self.progress.step, terms)
            self.report(stage, number + 1, total)
            # Between steps only: gradients under way are not kept.
            late = time.monotonic() - self.saved_at > self.config.run.checkpoint_s
            if steps and late and not last:
                self._save()

    def _batch(self, batch: Batch, number: int, total: int, *, steps: bool) -> dict[str, float]:
        optim, at = self.config.optim, self.progress
        seeds = [self.config.run.seed, at.epoch, number, self.fabric.global_rank]
        seed = step_seed(*seeds)
        torch.manual_seed(seed)
        batch = batch.to(self.fabric.device).as_float()
        first = (number // optim.accumulate) * optim.accumulate
        share = min(optim.accumulate, total - first)
        with self.fabric.no_backward_sync(self.model, enabled=not steps):
            terms = self.regime(self._output, self.detector, batch, seed)
            loss = terms["total"]
            value = float(loss.detach())
            if not math.isfinite(value):
                raise GradientError(
                    f"epoch {at.epoch + 1}, batch {number + 1}: the loss is {value}; lower "
                    "optim.lr, set optim.clip_norm, or look at the data with `pushpull data verify`"
                )
            self.fabric.backward(loss / share)
        if steps:
            if optim.clip_norm:
                self.fabric.clip_gradients(
                    self.model, self.fabric_optimiser, max_norm=optim.clip_norm
                )
            self.fabric_optimiser.step()
            self.fabric_optimiser.zero_grad()
        self.frames += int(batch.n_frames.sum()) * self.fabric.world_size
        lr = self.optimiser.param_groups[0]["lr"]
        return {name: float(value.detach()) for name, value in terms.items()} | {"lr": lr}

    def _output(self, **inputs: Any) -> Output:
        return Output(**self.model(**inputs))

    def _end_epoch(self, log: Logs | None) -> None:
        optim, at = self.config.optim, self.progress
        found = self._validated() if self.leads else None
        attacked = self._validated_under_attack() if self.leads else None
        # What is robust is chosen by what an attack leaves.
        by = found if attacked is None else attacked
        best = -1.0 if by is None else (by.average_precision or 0.0)
        score = self.fabric.broadcast(best)
        better = score > at.best
        epoch = at.epoch + 1
        best_epoch = at.epoch if better else at.best_epoch
        waited = at.epoch - best_epoch
        if better and self.leads:
            self._save_detector(self.best_path, epoch=epoch, **_val(found, attacked))
        self.progress = replace(
            at,
            epoch=epoch,
            batch=0,
            best=max(score, at.best),
            best_epoch=best_epoch,
            stopped=bool(optim.patience) and waited >= optim.patience,
        )
        if log is not None and found is not None:
            log.add(
                "epoch",
                epoch,
                {
                    **_val(found, attacked),
                    "val_accuracy": found.accuracy or 0.0,
                    "best": self.progress.best,
                },
            )
        self._save()

    def _validated(self) -> FrameScores:
        return self._scored("validation")

    def _validated_under_attack(self) -> FrameScores | None:
        """What the attack of `harden.validate` leaves of some tracks, always the same."""
        harden = self.config.harden
        if not harden.validate:
            return None
        count = len(self.val_tracks)
        order = np.random.default_rng(0).permutation(count)
        numbers = sorted(int(k) for k in order[: harden.validate_tracks or count])
        perturb = attacker(harden.validate, eps=harden.eps, modality=harden.modality)
        return self._scored(
            f"validation under {harden.validate}", numbers, harden.validate_frames, perturb
        )

    def _scored(
        self,
        stage: str,
        numbers: Sequence[int] | None = None,
        frames: int = 0,
        perturb: Perturb | None = None,
    ) -> FrameScores:
        done = []
        for scored in score_tracks(
            self._in_single().eval(),
            self.val_tracks,
            batch_frames=self.config.data.batch_frames,
            numbers=numbers,
            frames=frames,
            perturb=perturb,
            device=self.fabric.device,
        ):
            done.append(scored)
            self.report(stage, len(done), len(self.val_tracks if numbers is None else numbers))
        return pooled(done)

    def _in_single(self) -> Detector:
        """The detector in float32; a copy if it is trained in float64."""
        double = self.config.run.precision == "64-true"
        return copy.deepcopy(self.detector).float() if double else self.detector

    def _save(self) -> None:
        if self.leads:
            write_state(
                self.state_path,
                self.detector,
                self.optimiser,
                self.progress,
                self.config.as_dict(),
                self.data_identity,
            )
        self.saved_at = time.monotonic()

    def _save_detector(self, path: Path, **found: Any) -> None:
        root = Path(self.config.data.root)
        data = read_about(root)
        # Weights are handed on: they say what they learnt from, not where that lay.
        settings = self.config.as_dict()
        del settings["run"]["out"]
        settings["data"]["root"] = readable(root.resolve().name)
        save(
            self._in_single(),
            path,
            trained_on=f"{readable(root.resolve().name)} ({self.config.data.train})",
            data=None if data is None else data["made"],
            config=settings,
            versions=versions(),
            crop="ava",
            **{"epoch": self.progress.epoch, **found},
        )


FREE = {
    ("optim", "epochs"), ("optim", "patience"), ("data", "workers"), ("run", "checkpoint_s"),
    ("run", "out"),
}  # fmt: skip
"""Settings that may change when a run is resumed."""


def _identity(root: Path) -> str | None:
    """Checksum of what a data set says of itself; None where it says nothing."""
    about = read_about(root)
    if about is None:
        return None
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _val(found: FrameScores | None, attacked: FrameScores | None) -> dict[str, float]:
    """What validation came to, as logs and weights note it."""
    kinds = {"val_average_precision": found, "val_attacked_average_precision": attacked}
    return {name: s.average_precision or 0.0 for name, s in kinds.items() if s is not None}


def _check_installed() -> None:
    """Before any work: Fabric, and TensorBoard, which torch imports late.

    Raises:
        MissingExtra: If either is not there.
    """
    for package in ("lightning.fabric", "tensorboard"):
        try:
            importlib.import_module(package)
        except ImportError as e:
            raise MissingExtra.of("training", e, "train") from e


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Settings that differ and decide what a run learns."""
    return [
        f"{section}.{key}"
        for section, keys in new.items()
        for key, value in keys.items()
        if (section, key) not in FREE and old.get(section, {}).get(key) != value
    ]
