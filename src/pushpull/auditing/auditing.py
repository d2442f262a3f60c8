"""The audit of a claim: all tests in order, each result kept as soon as it is there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushpull.attacks.threat import MODALITIES, per_modality
from pushpull.auditing.clips import Victims, choose_victims
from pushpull.auditing.findings import Finding, Standing, Verdict, judged
from pushpull.auditing.registry import TESTS, examined
from pushpull.auditing.report import write_report
from pushpull.auditing.runs import Bench
from pushpull.auditing.settings import FULL, AuditConfig, Claim
from pushpull.auditing.store import Store
from pushpull.data import open_tracks, read_about
from pushpull.errors import ConfigError
from pushpull.models.detector import Detector
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.runtime.files import output_dir
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.stages import STAGE_FORMAT
from pushpull.runtime.version import versions

__all__ = ["Audit", "audit", "examine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found.

    Attributes:
        findings: Of each test, in order.
        standing: The numbers of the verdict.
        verdict: The conclusion.
        runs: Each attack that was run: settings, mAP with interval, accuracy, cost.
        victims: Sizes and checksum of what was attacked.
        budget: Of each modality, in its own units.
        config: How much was done.
        cost: Evaluations, gradients, seconds.
    """

    findings: tuple[Finding, ...]
    standing: Standing
    verdict: Verdict
    runs: tuple[Mapping[str, Any], ...]
    victims: Mapping[str, Any]
    budget: Mapping[str, float]
    config: AuditConfig
    cost: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
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
            "victims": dict(self.victims),
            "budget": dict(self.budget),
            "config": self.config.as_dict(),
            "cost": dict(self.cost),
        }


def examine(
    detector: Detector,
    victims: Victims,
    *,
    eps: float | Mapping[str, float] = 5.0,
    claim: Claim | None = None,
    config: AuditConfig = FULL,
    surrogates: Mapping[str, Detector] | None = None,
    folder: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    tests: Sequence[str] | None = None,
    progress: Progress = no_progress,
) -> Audit:
    """Put a claim about a detector to all tests.

    Args:
        detector: Under audit; it works in eval mode and comes back as it was.
        victims: What it is attacked on.
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
        ConfigError: If a setting cannot be, or a folder is given without identity.
        OutputError: If results cannot be kept.
    """
    if folder is not None and identity is None:
        raise ConfigError("a folder for results is given without an identity to find them by")
    claim = claim or Claim()
    names = list(TESTS) if tests is None else [name for name in TESTS if name in tests]
    start = time.perf_counter()
    store = Store(
        folder,
        {"format": STAGE_FORMAT, "victims": victims.identity, "detector": dict(identity or {})},
    )
    done = 0
    bench = Bench(
        detector,
        victims,
        eps=eps,
        claim=claim,
        config=config,
        store=store,
        surrogates=surrogates,
        watch=lambda stage, n: progress(stage, done, len(names)),
    )
    bench.claimed()
    findings = []
    for done, name in enumerate(names):  # noqa: B007
        findings.append(examined(name, bench))
    progress("done", len(names), len(names))
    runs: tuple[dict[str, Any], ...] = tuple(
        {
            "name": run.name,
            "kind": run.kind,
            **bench.measured(run.score).as_dict(),
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
        for run in bench.runs.values()
    )
    return Audit(
        findings=tuple(findings),
        standing=_standing(bench),
        verdict=judged(findings, _standing(bench)),
        runs=runs,
        victims=victims.about(),
        budget=bench.eps,
        config=config,
        cost={
            "forwards": sum(run["forwards"] for run in runs),
            "backwards": sum(run["backwards"] for run in runs),
            "attack_seconds": round(sum(run["seconds"] for run in runs), 3),
            "seconds": round(time.perf_counter() - start, 3),
            "stages_made": store.made,
            "stages_reused": store.reused,
        },
    )


def audit(
    detector: DetectorSource,
    root: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] = "pushpull-audit",
    split: str = "test",
    eps: float | Mapping[str, float] = 5.0,
    claim: Claim | None = None,
    config: AuditConfig = FULL,
    surrogates: Sequence[DetectorSource] = (),
    device: str | None = None,
    progress: Progress = no_progress,
) -> Audit:
    """Audit a detector on a split of a data set and write what was found into `out`.

    Writes audit.json, audit.csv, audit.md and pictures, and below `stages` the result of each stage
    as soon as it is there, so that a stopped audit goes on and a changed one repeats only what
    depends on the change.

    Raises:
        DatasetError: If the split cannot be used.
        ConfigError: If a setting cannot be.
        OutputError: If nothing can be written.
    """
    per_modality("eps", eps, MODALITIES["both"])
    root, out = Path(root), Path(out)
    model = resolve_detector(detector, device=device)
    rivals = [resolve_detector(source, device=device) for source in surrogates]
    victims = choose_victims(
        open_tracks(root, split),
        count=config.tracks,
        frames=config.frames,
        seed=config.seed,
        batch_frames=config.batch_frames,
    )
    output_dir(out)
    # Named by their content, by which results of transfers are found again.
    others = {f"{d.card.name}-{d.card.sha256[:8]}": d for d in rivals}
    known = _identity(model)
    found = examine(
        model,
        victims,
        eps=eps,
        claim=claim,
        config=config,
        surrogates=others,
        folder=out / "stages",
        identity=known,
        progress=progress,
    )
    about = read_about(root)
    write_report(
        found.as_dict()
        | {
            "detector": {"name": model.card.name, **known},
            "surrogates": list(others),
            "data": {
                "root": str(root),
                "split": split,
                "made": None if about is None else about["made"],
            },
            "versions": versions(),
        },
        out,
    )
    return found


def _identity(detector: Detector) -> dict[str, Any]:
    """What results on a detector are known by: a defence around a model is part of it."""
    return {
        "sha256": detector.card.sha256,
        "model": detector.card.model,
        "class": type(detector).__qualname__,
        "settings": repr(getattr(detector, "settings", None)),
    }


def _standing(bench: Bench) -> Standing:
    claimed = bench.claim.map
    counting = [bench.clean, *(run.score for run in bench.runs.values() if run.counts)]
    strongest = bench.strongest
    return Standing(
        claimed=bench.map(bench.claimed().score) if claimed is None else claimed,
        clean=bench.map(bench.clean),
        chance=float(100 * bench.victims.speaking.mean()),
        worst=bench.map(bench.worst(counting)),
        worst_by_track=bench.map(bench.worst_by_track(counting)),
        strongest="none" if strongest is None else strongest.name,
        strongest_map=bench.map(bench.clean if strongest is None else strongest.score),
    )
