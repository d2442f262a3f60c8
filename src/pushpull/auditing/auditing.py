"""The audit of a claim: all tests in order, each result kept as soon as it is there."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from pushpull.attacks.threat import MODALITIES, per_modality
from pushpull.auditing.clips import AuditClips, choose_clips
from pushpull.auditing.findings import Finding, Standing, Verdict, judged
from pushpull.auditing.registry import TESTS, examined
from pushpull.auditing.report import write_report
from pushpull.auditing.runs import AttackRuns
from pushpull.auditing.settings import FULL, AuditConfig, Claim
from pushpull.data import open_tracks, read_about
from pushpull.errors import ConfigError, UnknownName
from pushpull.models.detector import Detector
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.report.tables import html_table
from pushpull.runtime.files import output_dir, temporary_folder
from pushpull.runtime.kept import Store
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.workers import run_pieces, workers_of
from pushpull.schema import worst_by_track, worst_case

__all__ = ["Audit", "audit", "examine"]

SURE = ("audit.json", "audit.csv", "audit.md")
"""Files that every audit writes, whatever else."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        findings: Of each test, in order.
        standing: The numbers of the verdict.
        verdict: The conclusion.
        runs: Each attack that was run: settings, average precision with interval, accuracy, cost.
        clips: Sizes and checksum of what was attacked.
        budget: Of each modality, in its own units.
        config: How much was done.
        cost: Evaluations, gradients, seconds.
        detector: Name, checksum and model of the detector.
        surrogates: Names of those that adversaries were transferred from.
        data: Name of the data set, its split, and how it was made; empty for clips from elsewhere.
        origin: What decides it, by which files are told that the same audit left; None where that
            is not known.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> found = examine(pp.load("synthetic-a"), clips, config=small, tests=["margins"])
        >>> found.verdict.word, found.clips["frames"], [run["name"] for run in found.runs]
        ('broken', 8, ['claim'])
    """

    findings: tuple[Finding, ...]
    standing: Standing
    verdict: Verdict
    runs: tuple[Mapping[str, Any], ...]
    clips: Mapping[str, Any]
    budget: Mapping[str, float]
    config: AuditConfig
    cost: Mapping[str, float]
    detector: Mapping[str, Any] = field(default_factory=dict)
    surrogates: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; rates are shares."""
        s = self.standing
        parts = {name: getattr(s, name) for name in Standing.__slots__}
        return {
            "verdict": {
                "word": self.verdict.word,
                "reasons": list(self.verdict.reasons),
                "sentence": self.verdict.sentence,
            },
            "standing": {**parts, "left": s.left},
            "tests": [finding.as_dict() for finding in self.findings],
            "runs": [dict(run) for run in self.runs],
            "clips": dict(self.clips),
            "budget": dict(self.budget),
            "config": self.config.as_dict(),
            "cost": dict(self.cost),
            "detector": dict(self.detector),
            "surrogates": list(self.surrogates),
            "data": dict(self.data),
        }

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Path]:
        """Write audit.json, audit.csv, audit.md and pictures.

        Args:
            folder: Made if it is not there.
            overwrite: Whether files of any other making may be replaced.

        Returns:
            Files by name.

        Raises:
            OutputError: If a file cannot be written or may not be replaced.
        """
        root = output_dir(Path(folder))
        said = {k: v for k, v in self.as_dict().items() if k not in ("cost", "runs")}
        origin = self.origin or Origin.of_result("audit", said)
        outputs = Outputs(folder=root, origin=origin, overwrite=overwrite)
        outputs.check(SURE)
        with temporary_folder(root, prefix=".new-") as fresh:
            write_report(self.as_dict(), fresh)
            return outputs.take(fresh)

    def _repr_html_(self) -> str:
        rows = [(f.test, f.verdict, f.explanation) for f in self.findings]
        return html_table(self.verdict.sentence, ("test", "verdict", "what was found"), rows)


def examine(
    detector: Detector,
    clips: AuditClips,
    *,
    eps: float | Mapping[str, float] = 5.0,
    claim: Claim | None = None,
    config: AuditConfig = FULL,
    surrogates: Mapping[str, Detector] | None = None,
    folder: str | PathLike[str] | None = None,
    identity: Mapping[str, Any] | None = None,
    tests: Sequence[str] | None = None,
    progress: Progress = no_progress,
) -> Audit:
    """Put a claim about a detector to all tests.

    Args:
        detector: Under audit; it works in eval mode and comes back as it was.
        clips: What it is attacked on.
        eps: Push-Pull's eps_av or a budget for each modality.
        claim: What is claimed; the paper's PGD, with what it leaves, by default.
        config: How much is done.
        surrogates: Other detectors by name, to transfer from.
        folder: Where results of stages are kept and found again; None keeps none.
        identity: What the detector is known by there; needed with a folder. Surrogates are known by
            their names.
        tests: Names from `TESTS`; all by default.
        progress: Called with the stage under way, tests done and in all.

    Raises:
        UnknownName: If there is no such test.
        ConfigError: If a setting cannot be, or a folder is given without identity.
        OutputError: If results cannot be kept.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> tests = ["randomness", "margins"]
        >>> found = examine(pp.load("synthetic-a"), clips, eps=5, config=small, tests=tests)
        >>> {finding.test: finding.verdict for finding in found.findings}
        {'randomness': 'pass', 'margins': 'pass'}
    """
    if folder is not None and identity is None:
        raise ConfigError("a folder for results is given without an identity to find them by")
    unknown = sorted(set(tests or ()) - set(TESTS))
    if unknown:
        raise UnknownName("test", unknown[0], TESTS)
    claim = claim or Claim()
    names = list(TESTS) if tests is None else [name for name in TESTS if name in tests]
    start = time.perf_counter()
    store = Store(
        None if folder is None else Path(folder),
        {"clips": clips.identity, "detector": dict(identity or {})},
    )
    done = 0
    runs = AttackRuns(
        detector,
        clips,
        eps=eps,
        claim=claim,
        config=config,
        store=store,
        surrogates=surrogates,
        watch=lambda stage, n: progress(stage, done, len(names)),
    )
    runs.claimed()
    findings = []
    for done, name in enumerate(names):  # noqa: B007
        findings.append(examined(name, runs))
    progress("done", len(names), len(names))
    records: tuple[dict[str, Any], ...] = tuple(
        {
            "name": run.name,
            "kind": run.kind,
            **runs.rates(run.score),
            "counts": run.counts,
            "settings": dict(run.settings),
            "curve": list(run.curve),
            "reach": dict(run.reach),
            "outside": run.outside,
            "error": run.error,
            "forwards": run.forwards,
            "backwards": run.backwards,
            "seconds": run.seconds,
        }
        for run in runs.by_name.values()
    )
    return Audit(
        findings=tuple(findings),
        standing=_standing(runs),
        verdict=judged(findings, _standing(runs)),
        runs=records,
        clips=clips.about(),
        budget=runs.eps,
        config=config,
        cost={
            "forwards": sum(run["forwards"] for run in records),
            "backwards": sum(run["backwards"] for run in records),
            "attack_seconds": round(sum(run["seconds"] for run in records), 3),
            "seconds": round(time.perf_counter() - start, 3),
            "stages_made": store.made,
            "stages_reused": store.reused,
        },
        detector={"name": detector.card.name, **_identity(detector)},
        surrogates=tuple(runs.surrogates),
    )


def audit(
    detector: DetectorSource,
    root: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] = "pushpull-audit",
    overwrite: bool = False,
    split: str = "test",
    eps: float | Mapping[str, float] = 5.0,
    claim: Claim | None = None,
    config: AuditConfig = FULL,
    surrogates: Sequence[DetectorSource] = (),
    device: str | None = None,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress = no_progress,
) -> Audit:
    """Audit a detector on a split of a data set and write what was found into `out`.

    Writes audit.json, audit.csv, audit.md and pictures, and below `stages` the result of each stage
    as soon as it is there, so that a stopped audit goes on and a changed one repeats only what
    depends on the change. Files of a changed one are replaced only with `overwrite`.

    Args:
        detector: Name, path, `FILE.py:FACTORY`, or a detector.
        root: Folder of the data set.
        out: Folder for results.
        overwrite: Whether files of any other making may be replaced there.
        split: "train", "val" or "test".
        eps: Push-Pull's eps_av or a budget for each modality.
        claim: What is claimed; the paper's PGD, with what it leaves, by default.
        config: How much is done.
        surrogates: Other detectors to transfer from.
        device: Where models run; a GPU if there is one by default.
        workers: Tests at a time; their number changes no figure. A run that two tests need may be
            made twice where they are under way together.
        engine: "local" or "ray"; see `pushpull.runtime.workers.run_pieces`.
        address: Of the Ray cluster.
        progress: Called with the stage under way, tests done and in all.

    Raises:
        DatasetError: If the split cannot be used.
        ConfigError: If a setting cannot be, or there is no such cluster.
        OutputError: If nothing can be written, or a file may not be replaced.

    Examples:
        >>> from pushpull.auditing import TINY
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, write_synth
        >>> write_synth(Path("data"), SynthConfig(tracks=14, min_frames=6, max_frames=8))
        >>> found = pp.audit("synthetic-a", "data", split="train", out="audit", config=TINY)
        >>> found.verdict.word in ("robust", "masked", "broken")
        True
    """
    per_modality("eps", eps, MODALITIES["both"])
    root, out, start = Path(root), Path(out), time.perf_counter()
    model = resolve_detector(detector, device=device)
    rivals = [resolve_detector(source, device=device) for source in surrogates]
    clips = choose_clips(
        open_tracks(root, split),
        count=config.tracks,
        frames=config.frames,
        seed=config.seed,
        batch_frames=config.batch_frames,
    )
    about = read_about(root)
    data = {
        # Its name only: where it lies says something of the machine, not of the result.
        "name": root.resolve().name,
        "split": split,
        "made": None if about is None else about["made"],
    }
    origin = Origin(
        command="audit",
        settings={
            "detector": _identity(model),
            "surrogates": [_identity(rival) for rival in rivals],
            "clips": clips.identity,
            "data": data,
            "eps": eps,
            "claim": _claimed(claim or Claim()),
            "config": config.as_dict(),
        },
    )
    Outputs(folder=out, origin=origin, overwrite=overwrite).check(SURE)
    output_dir(out)
    # Named by their content, by which results of transfers are found again.
    others = {f"{d.card.name}-{d.card.sha256[:8]}": d for d in rivals}
    settings: dict[str, Any] = {
        "eps": eps,
        "claim": claim,
        "config": config,
        "surrogates": others,
        # Nodes of a cluster need not share a working directory.
        "folder": (out / "stages").absolute(),
        "identity": _identity(model),
    }
    if engine != "local" or workers_of(workers) > 1:
        # What all tests need, once; then each test keeps its results where they are found below.
        examine(model, clips, **settings, tests=(), progress=progress)
        pieces = {name: (name, model, clips, settings) for name in TESTS}
        for outcome in run_pieces(
            pieces, _one_test, workers=workers, engine=engine, address=address, progress=progress
        ):
            outcome.value()
    found = examine(model, clips, **settings, progress=progress)
    found = replace(
        found,
        data=data,
        origin=origin,
        cost={**found.cost, "seconds": round(time.perf_counter() - start, 3)},
    )
    found.save(out, overwrite=overwrite)
    return found


def _one_test(
    name: str, detector: Detector, clips: AuditClips, settings: Mapping[str, Any], report: Progress
) -> None:
    examine(detector, clips, **settings, tests=[name], progress=report)


def _identity(detector: Detector) -> dict[str, Any]:
    """What results on a detector are known by: a defence around a model is part of it."""
    return {
        "sha256": detector.card.sha256,
        "model": detector.card.model,
        "class": type(detector).__qualname__,
        "settings": repr(getattr(detector, "settings", None)),
    }


def _claimed(claim: Claim) -> dict[str, Any]:
    """A claim as far as it can be told from others; an evaluation in code is like no other."""
    plain = {f.name: getattr(claim, f.name) for f in fields(claim) if f.name != "perturb"}
    if claim.perturb is None:
        return plain
    name = getattr(claim.perturb, "__qualname__", type(claim.perturb).__qualname__)
    return {**plain, "perturb": f"{name} {secrets.token_hex(8)}"}


def _standing(runs: AttackRuns) -> Standing:
    claimed = runs.claim.average_precision
    counting = [runs.clean, *(run.score for run in runs.by_name.values() if run.counts)]
    strongest = runs.strongest
    return Standing(
        claimed=runs.precision(runs.claimed().score) if claimed is None else claimed,
        clean=runs.precision(runs.clean),
        chance=float(runs.clips.speaking.mean()),
        worst=runs.precision(worst_case(counting)),
        worst_by_track=runs.precision(worst_by_track(counting)),
        strongest="none" if strongest is None else strongest.name,
        strongest_average_precision=runs.precision(
            runs.clean if strongest is None else strongest.score
        ),
    )
