"""The audit of a claim: all tests in order, each result kept as soon as it is there."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.attacks.threat import MODALITIES, per_modality
from pushpull.auditing.clips import AuditClips, choose_clips
from pushpull.auditing.findings import CLAIM_GAP, HALF, Finding, Standing, Verdict, judged
from pushpull.auditing.registry import TESTS, examined
from pushpull.auditing.report import PAGES, write_report
from pushpull.auditing.runs import AttackRuns
from pushpull.auditing.settings import FULL, WHOLE_SUITES, AuditConfig, Claim
from pushpull.auditing.thresholds import CHANCE, FOUND, QUERIES
from pushpull.data import open_tracks, read_about
from pushpull.errors import ConfigError, UnknownName
from pushpull.metrics import bootstrap_draws
from pushpull.models.detector import Detector
from pushpull.models.weights import KNOWN, DetectorSource, resolve_detector
from pushpull.report.tables import html_table, percent
from pushpull.runtime.files import find, output_dir, readable, temporary_folder
from pushpull.runtime.kept import Store
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.workers import run_pieces, workers_of

__all__ = ["Audit", "audit", "examine"]


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
        ('inconclusive', 8, ['claim'])
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
                "advice": self.verdict.advice,
                "why": list(self.verdict.why),
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
        """Write audit.html, audit.json, audit.csv, audit.md and pictures with their numbers.

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
        outputs.check(PAGES)
        with temporary_folder(root, prefix=".new-") as fresh:
            write_report(self.as_dict(), fresh)
            return outputs.take(fresh)

    def _repr_html_(self) -> str:
        s, by = self.standing, {"flag": "", "not run": ""}
        for verdict in by:
            of = [f.test for f in self.findings if f.verdict == verdict]
            by[verdict] = ", ".join(of) or "none"
        low, high = s.worst_interval
        rows = [
            ("why", "; ".join(self.verdict.why)),
            ("left, mAP", f"{percent(s.worst)} ({100 * low:.1f} to {percent(high)} over {s.over})"),
            ("claimed, mAP", percent(s.claimed)),
            ("clean, mAP", percent(s.clean)),
            ("chance, mAP", percent(s.chance)),
            ("budget", ", ".join(f"{name} {value:g}" for name, value in self.budget.items())),
            ("flagged", by["flag"]),
            ("not run", by["not run"]),
            ("next", self.verdict.advice),
        ]
        title = f"{self.detector.get('name', 'detector')}: {self.verdict.word}"
        return html_table(title, ("what", "found"), rows)


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
        {'randomness': 'reported', 'margins': 'pass'}
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
        keep=None if folder is None else Path(folder) / "suite",
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
    standing = _standing(runs, findings)
    return Audit(
        findings=tuple(findings),
        standing=standing,
        verdict=judged(findings, standing),
        runs=records,
        clips=clips.about(),
        budget=runs.eps,
        config=config,
        cost={
            "forwards": sum(run.forwards for run in runs.made),
            "backwards": sum(run.backwards for run in runs.made),
            "attack_seconds": round(sum(run.seconds for run in runs.made), 3),
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
    surrogates: Sequence[DetectorSource] | None = None,
    device: str | None = None,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress = no_progress,
) -> Audit:
    """Audit a detector on a split of a data set and write what was found into `out`.

    Writes audit.html, audit.json, audit.csv, audit.md and pictures with their numbers, and below
    `stages` the result of each stage as soon as it is there, so that a stopped audit goes on and a
    changed one repeats only what depends on the change. Files of a changed one are replaced only
    with `overwrite`.

    Args:
        detector: Name, path, `FILE.py:FACTORY`, or a detector.
        root: Folder of the data set.
        out: Folder for results.
        overwrite: Whether files of any other making may be replaced there.
        split: "train", "val" or "test".
        eps: Push-Pull's eps_av or a budget for each modality.
        claim: What is claimed; the paper's PGD, with what it leaves, by default.
        config: How much is done.
        surrogates: Other detectors to transfer from; by default those of `surrogates_for`.
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
        >>> found.verdict.word in ("masked", "broken", "overstated", "inconclusive")
        True
    """
    per_modality("eps", eps, MODALITIES["both"])
    if not isinstance(config, AuditConfig):
        raise ConfigError(
            f"config is a {type(config).__name__}; expected an AuditConfig, as "
            "pushpull.auditing.FAST is"
        )
    root, out, start = Path(root), Path(out), time.perf_counter()
    model = resolve_detector(detector, device=device)
    tracks, about = open_tracks(root, split), read_about(root)
    chosen = surrogates_for(model, about) if surrogates is None else surrogates
    rivals = [resolve_detector(source, device=device) for source in chosen]
    clips = choose_clips(
        tracks,
        count=config.tracks,
        frames=config.frames,
        seed=config.seed,
        batch_frames=config.batch_frames,
    )
    data = {
        # Its name only: where it lies says something of the machine, not of the result.
        "name": readable(root.resolve().name),
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
    Outputs(folder=out, origin=origin, overwrite=overwrite).check(PAGES)
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
        examine(model, clips, **settings, tests=("suite",), progress=progress)
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


def surrogates_for(detector: Detector, about: Mapping[str, Any] | None) -> list[str]:
    """Detectors to transfer from where none is named: two others that know such data.

    On synthetic data those are shipped ones; else published ones whose weights are on this machine,
    and where there are none, shipped ones.

    Args:
        detector: Under audit.
        about: What a data set says of how it was made; None where it does not.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing.auditing import surrogates_for
        >>> surrogates_for(pp.load("synthetic-a"), {"made": {"by": "synth"}})
        ['synthetic-spec', 'synthetic-nc']
    """
    own = detector.card.sha256
    shipped = [n for n in ("synthetic-spec", "synthetic-nc", "synthetic-a") if _other(n, own)]
    if about is not None and "synth" in str(about.get("made")):
        return shipped[:2]
    published = [n for n in ("light-asd-ava", "lr-asd-ava", "light-asd-talkset") if _other(n, own)]
    return (published or shipped)[:2]


def _other(name: str, own: str) -> bool:
    """Whether weights are on this machine and not the ones under audit."""
    known = KNOWN.get(name)
    if known is None:
        return resolve_detector(name, device="cpu").card.sha256 != own
    here = known.fetchable is not None and find(known.fetchable) is not None
    return here and known.sha256 != own


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


def _standing(runs: AttackRuns, findings: Sequence[Finding]) -> Standing:
    claim = runs.claimed().score
    clean, worst = runs.clean, runs.worst_adversaries()
    named = runs.claim.average_precision
    drawn = bootstrap_draws(
        {"claim": claim.score, "clean": clean.score, "worst": worst.score},
        clean.truth,
        runs.clips.group,
        draws=runs.config.draws,
        seed=runs.config.seed,
    )
    claimed = drawn["claim"] if named is None else named
    half = drawn["chance"] + HALF * (drawn["clean"] - drawn["chance"])
    strongest = runs.strongest
    return Standing(
        claimed=runs.precision(claim) if named is None else named,
        clean=runs.precision(clean),
        chance=float(runs.clips.speaking.mean()),
        worst=runs.precision(worst),
        worst_interval=_interval(drawn["worst"]),
        bound=runs.precision(runs.bound),
        above=_interval(claimed - drawn["worst"]),
        beyond_half=_interval(drawn["worst"] - half),
        strongest="none" if strongest is None else strongest.name,
        strongest_average_precision=runs.precision(clean if strongest is None else strongest.score),
        strongest_cost=(0, 0) if strongest is None else (strongest.forwards, strongest.backwards),
        missing=tuple(_missing(runs, {f.test: f for f in findings})),
        interval_over=runs.clips.drawn,
        drawn=len(np.unique(runs.clips.group)),
    )


def _interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _missing(runs: AttackRuns, findings: Mapping[str, Finding]) -> Iterator[str]:
    """Evidence that a verdict of "holds" needs and that is not there."""
    if "suite" in findings and runs.config.suite not in WHOLE_SUITES:
        yield f"{runs.config.suite} is not the whole suite (run without --fast)"
    planted = findings.get("unit-test")
    share = None if planted is None else planted.data.get("suite")
    ran = planted is not None and planted.verdict != "not run"
    whole = runs.config.suite in WHOLE_SUITES
    if share is None and (whole or not ran):
        yield "whether the suite finds planted adversaries is not known"
    elif share is not None and share < FOUND:
        yield f"the suite finds only {100 * share:.1f} % of planted adversaries"
    for name, what in NEEDED.items():
        found = findings.get(name)
        if found is None or found.verdict == "not run":
            why = "" if found is None else f": {found.explanation}"
            yield f"{what} was not run{why}"
    of_range = findings["budgets"].figures if "budgets" in findings else {}
    right, left = (of_range.get(f"left by the whole range, {n}") for n in RANGE_LEFT)
    chance = float(runs.clips.speaking.mean())
    if right is not None and left is not None and right > CHANCE and left > chance + CLAIM_GAP:
        yield f"an attack of the whole valid range leaves {100 * right:.1f} % of frames right"
    if "square" in findings and runs.queries < QUERIES:
        yield f"an attack by scores had {runs.queries} queries, not {QUERIES}"


RANGE_LEFT = ("accuracy", "average precision")

NEEDED = {
    "suite": "the standard attack",
    "agreement": "the comparison of gradients near by",
    "budgets": "an attack of the whole valid range",
    "square": "an attack by scores",
    "transfer": "an attack from other detectors",
}
"""Tests that must have been run before a claim can hold."""
