"""The detector under audit, its clips, and every attack that was run on them.

A run is an attack on all clips: scores of its best adversaries, frame by frame, and what it cost.
Tests ask for runs; one that several tests need is made once. The worst case is taken over all runs
made with the audit's budget: for each track, so that each adversary exists; and for each frame on
its own, which bounds from below what is left, since no single adversary need be so strong. Runs
with smaller and larger budgets are not counted.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks import SUITES
from pushpull.attacks import attack as find_adversary
from pushpull.attacks.search import held_still
from pushpull.attacks.space import CropSpace, on_grid
from pushpull.attacks.threat import MODALITIES, RANGE, Threat, per_modality
from pushpull.auditing.clips import AuditClips
from pushpull.auditing.objectives import Known, fused_centres, objective_of
from pushpull.auditing.packing import packed, unpacked
from pushpull.auditing.settings import AuditConfig, Claim
from pushpull.errors import BudgetError, BudgetWarning, ConfigError, GradientError
from pushpull.losses import Centres, class_centres, log_odds
from pushpull.metrics import bootstrap_difference
from pushpull.models.detector import Detector
from pushpull.runtime.kept import Store
from pushpull.schema import Batch, FrameScores, Output, worst_adversaries, worst_case

__all__ = ["AttackRuns", "Run"]

WHOLE_RANGE = {name: high - low for name, (low, high) in RANGE.items()}
"""The budget of each modality within which every valid input lies."""

SCORES_ONLY = ("square", "noise")
"""Attacks that take no gradients."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """An attack on all clips.

    Attributes:
        name: Unique among the runs of an audit.
        settings: What was asked for.
        kind: "gradient" of the audited detector, "averaged" over a part of the ball, "bypass" (past
            modules that may ruin it), "scores" only, "transfer", or "all" of a whole suite.
        score: Of all frames, on the adversaries kept.
        last: The same on the last iterate tried; None where it is not known.
        rounded: The same on the adversaries as files hold them, 8-bit faces and int16 sound; None
            where nobody asked.
        curve: Mean objective over the clips at each evaluation.
        reach: Largest change of each modality, in units of its budget, measured on the result.
        outside: Why the result is no valid adversary, "" if it is one.
        error: Why no adversary was found, "" if one was; the scores are then the clean ones.
        within: Whether it was made with the audit's budget, no smaller and no larger one, and so
            counts towards the worst case.
        last_worse: Share of clips whose last iterate was worse than the best.
        forwards: Evaluations of all clips.
        backwards: Those with a gradient.
        seconds: How long it took.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, examine
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> small = AuditConfig(draws=20, loss_steps=1, steps=(1, 2))
        >>> found = examine(pp.load("synthetic-a"), clips, config=small, tests=["margins"])
        >>> run = found.runs[0]  # of the claim's attack, as plain values
        >>> run["kind"], run["backwards"], run["error"]
        ('gradient', 5, '')
    """

    name: str
    settings: Mapping[str, Any]
    kind: str
    score: FrameScores
    last: FrameScores | None
    rounded: FrameScores | None
    curve: tuple[float, ...]
    reach: Mapping[str, float]
    outside: str
    error: str
    within: bool
    last_worse: float
    forwards: int
    backwards: int
    seconds: float

    @property
    def counts(self) -> bool:
        """Whether its adversaries are some of the audit's budget."""
        return self.within and not self.outside and not self.error


ARRAYS = ("score", "last", "rounded")

MEMBER_KINDS = {
    "smoothed": "averaged",
    "bypass": "bypass",
    "transfer": "transfer",
    "square": "scores",
    "refine": "all",
}
"""Kinds of the suite's members; of the others it is "gradient"."""


class AttackRuns:
    """What tests work with.

    Args:
        detector: Under audit.
        clips: What it is attacked on.
        eps: Push-Pull's eps_av or a budget for each modality.
        claim: What is audited.
        config: How much is done.
        store: Where results are kept.
        surrogates: Other detectors, by name, to transfer from.
        keep: Folder where the suite keeps what each of its members found; None keeps nothing.
        watch: Called with a stage's name and its evaluations so far.

    Raises:
        ConfigError: If a budget is not above 0.

    Attributes:
        by_name: Every run so far.
        eps: Budget of each modality, in its own units.
        clean: Scores of the clean clips.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import AuditClips, AuditConfig, Claim
        >>> from pushpull.auditing.runs import AttackRuns
        >>> from pushpull.runtime.kept import Store
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> runs = AttackRuns(
        ...     pp.load("synthetic-a"),
        ...     clips,
        ...     eps=5,
        ...     claim=Claim(),
        ...     config=AuditConfig(draws=20),
        ...     store=Store(None, {}),
        ... )
        >>> run = runs.run("weak", "fgsm", factor=0.5)
        >>> run.backwards, run.counts  # another budget does not count towards the worst case
        (1, False)
    """

    def __init__(
        self,
        detector: Detector,
        clips: AuditClips,
        *,
        eps: float | Mapping[str, float],
        claim: Claim,
        config: AuditConfig,
        store: Store,
        surrogates: Mapping[str, Detector] | None = None,
        keep: Path | None = None,
        watch: Callable[[str, int], None] = lambda stage, evaluations: None,
    ) -> None:
        self.detector, self.clips, self.claim, self.config = detector, clips, claim, config
        self.eps = per_modality("eps", eps, MODALITIES["both"])
        if not all(self.eps.values()):
            raise ConfigError(f"eps is {self.eps}; expected a budget above 0 for each modality")
        self.surrogates = dict(surrogates or {})
        self.by_name: dict[str, Run] = {}
        self._store, self._watch = store, watch
        self._keep = keep
        self._by_settings: dict[str, Run] = {}
        self._known: Known | None = None
        self._rates: dict[bytes, dict[str, Any]] = {}
        kept = self.cached("clean", {}, lambda: {"score": packed(self._clean())})
        score = unpacked(kept["score"])
        assert score is not None  # noqa: S101
        self.clean = clips.scores(score)

    # What is measured

    def rates(self, scores: FrameScores) -> dict[str, Any]:
        """Accuracy, average precision and its 95 % interval over `clips.drawn`, as shares."""
        key = scores.score.tobytes()
        if key not in self._rates:
            ends = scores.interval(draws=self.config.draws, groups=self.clips.group)
            self._rates[key] = {
                "accuracy": scores.accuracy,
                "average_precision": scores.average_precision,
                "interval": None if ends is None else list(ends),
            }
        return self._rates[key]

    def precision(self, scores: FrameScores) -> float:
        """Average precision; clips of an audit hold both classes, so there always is one."""
        return float(self.rates(scores)["average_precision"])

    def surely_below(self, scores: FrameScores, others: FrameScores) -> bool:
        """Whether the average precision is below that of others in 97.5 % of draws."""
        _, high = bootstrap_difference(
            scores.score, others.score, scores.truth, self.clips.group, draws=self.config.draws
        )
        return high < 0

    @property
    def bound(self) -> FrameScores:
        """The worst case per frame over the counting runs and the clean clips."""
        return worst_case([self.clean, *(r.score for r in self.by_name.values() if r.counts)])

    @property
    def queries(self) -> int:
        """Of the suite's attack that sees only scores."""
        members = SUITES[self.config.suite]
        return next(int(m.settings["steps"]) for m in members if m.kind == "square")

    def worst_adversaries(self, *kinds: str) -> FrameScores:
        """The worst existing adversary of each track over the counting runs of some kinds, or all.

        The clean clips are among them.
        """
        runs = self.by_name.values()
        chosen = [r.score for r in runs if r.counts and (not kinds or r.kind in kinds)]
        return worst_adversaries([self.clean, *chosen])

    @property
    def strongest(self) -> Run | None:
        """The run of the audit's budget that leaves the lowest mAP."""
        counting = [run for run in self.by_name.values() if run.counts]
        return min(counting, key=lambda run: self.precision(run.score), default=None)

    # What is run

    def run(
        self,
        name: str,
        attack: str,
        *,
        objective: str = "all",
        factor: float | None = 1.0,
        modality: str = "both",
        targeted: bool | str = False,
        quantise: bool = False,
        seed: int = 0,
        step: float | None = None,
        bypass: Sequence[str] = (),
        files: bool = False,
        **settings: Any,
    ) -> Run:
        """An attack on all clips, or what it gave when it was run before.

        Args:
            name: Of the run.
            attack: Name of an attack.
            objective: Of `attack`, or one of `pushpull.auditing.objectives.EXTRA`.
            factor: Multiple of the budget; None for the whole valid range.
            modality: What is moved.
            targeted: As for `attack`.
            quantise: Search among what files hold.
            seed: Beside the audit's.
            step: Length of a step, in budgets.
            bypass: Modules taken for the identity on the way back.
            files: Score the adversaries as files hold them, too.
            **settings: Of the attack.
        """
        eps = {
            n: WHOLE_RANGE[n] if factor is None else self.eps[n] * factor
            for n in MODALITIES[modality]
        }
        if step is not None:
            settings["alpha"] = {n: value * step for n, value in eps.items()}
        asked = {
            "attack": attack, "objective": objective, "eps": eps, "modality": modality,
            "targeted": targeted, "quantise": quantise, "seed": self.config.seed + seed,
            "bypass": list(bypass), "files": files, **settings,
        }  # fmt: skip

        def perturb(batch: Batch, k: int) -> Iterator[Any]:
            yield find_adversary(
                self.detector, batch, attack,
                eps=eps, modality=modality, targeted=targeted, quantise=quantise,
                seed=asked["seed"] + 1000 * k, watch=lambda n: self._watch(name, n),
                objective=objective_of(objective, lambda: self.known(k)),
                centres=self.known().centres if objective == "feature" else None,
                bypass=tuple(bypass), **settings,
            )  # fmt: skip

        kind = "scores" if attack in SCORES_ONLY else "bypass" if bypass else "gradient"
        return self._made(name, asked, kind, perturb, eps=eps, within=factor == 1.0, files=files)

    def suite(self) -> Run:
        """The standard attack; each of its members becomes a run by itself as well."""
        version = self.config.suite
        asked = {
            "attack": "suite", "version": version, "eps": self.eps, "seed": self.config.seed,
            "surrogates": sorted(self.surrogates),
        }  # fmt: skip
        name = "suite"

        def perturb(batch: Batch, k: int) -> Iterator[Any]:
            yield find_adversary(
                self.detector, batch, "suite",
                version=version, eps=self.eps, seed=self.config.seed + 1000 * k,
                surrogates=self.surrogates, centres=self.known().centres,
                watch=lambda n: self._watch(name, n), keep=self._keep,
            )  # fmt: skip

        run = self._made(name, asked, "all", perturb, eps=self.eps)
        if self._keep is not None:
            # Adversaries in full; their scores are kept.
            shutil.rmtree(self._keep, ignore_errors=True)
        return run

    def member(self, name: str) -> Run | None:
        """What one member of the suite found by itself; None if it was passed over."""
        self.suite()
        return self.by_name.get(f"suite {name}")

    def claimed(self) -> Run:
        """The claim's own adversaries: what its evaluation made, or its attack run here."""
        perturb, claim = self.claim.perturb, self.claim
        if perturb is None:
            return self.run(
                "claim", claim.attack, objective=claim.objective, files=True, **claim.settings
            )

        def theirs(batch: Batch, k: int) -> Iterator[Any]:
            yield perturb(self.detector, batch, self.config.seed + k)

        asked = {"attack": claim.attack, "objective": claim.objective, "by": "the claim"}
        return self._made("claim", asked, "gradient", theirs, eps=self.eps, keep=False, files=True)

    def reference(self) -> Run:
        """The claim's attack, run here to its end, the best iterate by loss kept."""
        if self.claim.perturb is None:
            return self.claimed()
        claim = self.claim
        return self.run("reference", claim.attack, objective=claim.objective, **claim.settings)

    def swaps(self) -> list[Run]:
        """Other clips in place of each: of the whole valid range, and found without any gradient.

        Those of the highest and of the lowest mean clean score, and of each frame that which scores
        for the other class; a clip that is too short goes round.
        """
        track = self.clean.track
        mean = np.bincount(track, self.clean.score) / np.bincount(track)
        silent, speaking = self._clip(int(mean.argmin())), self._clip(int(mean.argmax()))

        def perturb(which: str) -> Callable[[Batch, int], Iterator[Any]]:
            return lambda batch, k: iter([_in_place_of(batch, silent, speaking, which)])

        return [
            self._made(
                f"swap-{which}", {"attack": "swap", "by": which}, "scores", perturb(which),
                eps=WHOLE_RANGE, within=False,
            )
            for which in ("silent", "speaking", "other")
        ]  # fmt: skip

    def _clip(self, track: int) -> Batch:
        """One clip by its number, a batch of it alone."""
        for _, batch in self.batches():
            if track < len(batch.faces):
                return batch.rows(torch.tensor([track]))
            track -= len(batch.faces)
        raise IndexError(track)

    def known(self, batch: int | None = None) -> Known:
        """Class centres over all clean clips, and the clean output of a batch, by its number."""
        if self._known is None:
            self._known = self._centres()
        if batch is None:
            return self._known
        return replace(self._known, clean=self._clean_outputs[batch])

    @property
    def made(self) -> list[Run]:
        """The runs that were made: without members of suites, and what another name is for."""
        return list(self._by_settings.values())

    def output(self, batch: Batch) -> Output:
        """The detector on a batch as it is."""
        with torch.no_grad(), held_still(self.detector):
            output: Output = self.detector(**batch.inputs)
        return output

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """The clips, as floats, on the detector's device."""
        for k, batch in enumerate(self.clips.batches):
            yield k, batch.to(self._device).as_float()

    def probes(self) -> Batch:
        """A few clips, as floats, on the detector's device."""
        return self.clips.probes(self.config.probe_clips).to(self._device)

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self.detector.parameters()), torch.device("cpu"))

    def cached(
        self,
        name: str,
        depends: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        *,
        keep: bool = True,
    ) -> dict[str, Any]:
        """What `make` gives, kept."""
        self._watch(name, 0)
        return self._store.get(name, depends, make, keep=keep)

    def _made(
        self,
        name: str,
        asked: dict[str, Any],
        kind: str,
        perturb: Callable[[Batch, int], Iterator[Any]],
        *,
        eps: Mapping[str, float],
        within: bool = True,
        keep: bool = True,
        files: bool = False,
    ) -> Run:
        if name in self.by_name:
            return self.by_name[name]
        # The same attack under another name is not run again.
        key = json.dumps({**asked, "files": None}, sort_keys=True, default=repr)
        same = self._by_settings.get(key) if keep else None
        if same is not None:
            self.by_name[name] = replace(same, name=name)
            return self.by_name[name]
        row = self.cached(
            f"run-{name}", {"asked": asked}, lambda: self._run(perturb, eps, files), keep=keep
        )
        scores: dict[str, Any] = {part: self._scores(row[part]) for part in ARRAYS}
        known = {field.name for field in fields(Run)}
        rest = {k: v for k, v in row.items() if k in known and k not in ARRAYS}
        rest["curve"] = tuple(rest["curve"])
        run = Run(name=name, settings=asked, kind=kind, within=within, **scores, **rest)
        self.by_name[name] = self._by_settings[key] = run
        for member in row["members"]:
            score = self._scores(member["score"])
            assert score is not None  # noqa: S101
            of = f"{name} {member['name']}"
            self.by_name[of] = replace(
                run, name=of, kind=MEMBER_KINDS.get(member["name"], "gradient"), score=score,
                last=None, curve=(), **{k: member[k] for k in ("forwards", "backwards")},
                seconds=0.0, error="",
            )  # fmt: skip
        return run

    def _scores(self, text: str | None) -> FrameScores | None:
        values = unpacked(text)
        return None if values is None else self.clips.scores(values)

    def _run(
        self,
        perturb: Callable[[Batch, int], Iterator[Any]],
        eps: Mapping[str, float],
        files: bool,
    ) -> dict[str, Any]:
        start = time.perf_counter()
        parts: dict[str, list[Tensor]] = {part: [] for part in ARRAYS}
        curves: list[Tensor] = []
        reach: dict[str, float] = {}
        outside, error = "", ""
        forwards = backwards = frames = 0
        worse: list[Tensor] = []
        members: list[Any] = []
        for k, batch in self.batches():
            size = int(batch.n_frames.sum())
            with _last_scores(self.detector) as last:
                try:
                    with warnings.catch_warnings():
                        # A budget that a file cannot hold is a finding here, and said there.
                        warnings.simplefilter("ignore", BudgetWarning)
                        found = next(perturb(batch, k))
                except GradientError as e:
                    found, error = batch, str(e)
                except BudgetError as e:
                    found, outside = batch, str(e)
            made = found if isinstance(found, Batch) else found.batch
            measured, why = _reach(batch if made is found else found.clean, made, eps)
            outside = outside or why
            for name, value in measured.items():
                reach[name] = max(reach.get(name, 0.0), value)
            score = log_odds(self.output(made).logits) if isinstance(found, Batch) else found.score
            parts["score"].append(score)
            if files:
                usable = replace(
                    made, faces=made.faces.clamp(0, 255), waveform=made.waveform.clamp(-1, 1)
                )
                parts["rounded"].append(log_odds(self.output(on_grid(usable)).logits))
            # A suite's last look may have been at some of the clips only, where the rest was lost.
            whole = bool(last) and last[-1].shape == score.shape
            parts["last"].append(last[-1] if whole else score)
            if not isinstance(found, Batch):
                members.append((found.members, found.member_scores, found.score))
                curves.append((found.curve * batch.n_frames.to(found.curve.device)).cpu())
                worse.append(found.curve[-1] < found.curve.max(0).values - 1e-6)
                forwards, backwards = found.forwards, found.backwards
            frames += size
        # Batches of a suite may have been asked more or less often.
        shortest = min((len(of) for of in curves), default=0)
        curve = sum((of[:shortest].sum(1) for of in curves), torch.zeros(shortest)) / max(frames, 1)
        return {
            **{
                part: packed(self.clips.flat(values)) if values else None
                for part, values in parts.items()
            },
            "members": self._members(members),
            "curve": curve.tolist(),
            "reach": reach,
            "outside": outside,
            "error": error,
            "last_worse": float(torch.cat(worse).float().mean()) if worse else 0.0,
            "forwards": forwards,
            "backwards": backwards,
            "seconds": round(time.perf_counter() - start, 3),
        }

    def _members(self, of_batches: list[Any]) -> list[dict[str, Any]]:
        """What each member of a suite did over all batches, where it was run on any."""
        found = []
        for name in dict.fromkeys(m["name"] for members, _, _ in of_batches for m in members):
            rows = [m for members, _, _ in of_batches for m in members if m["name"] == name]
            if not any(name in scores for _, scores, _ in of_batches):
                continue
            # Where a batch was lost before, its turn found nothing new.
            values = [scores.get(name, best) for _, scores, best in of_batches]
            found.append(
                {
                    "name": name,
                    "score": packed(self.clips.flat(values)),
                    "forwards": max(row["forwards"] for row in rows),
                    "backwards": max(row["backwards"] for row in rows),
                }
            )
        return found

    def _clean(self) -> NDArray[np.float64]:
        return self.clips.flat([log_odds(output.logits) for output in self._clean_outputs])

    @cached_property
    def _clean_outputs(self) -> list[Output]:
        """Of each batch, asked for once: embeddings and scores are small."""
        return [self.output(batch) for _, batch in self.batches()]

    def _centres(self) -> Known:
        outputs = self._clean_outputs
        parts = {}
        for name in ("logits", "logits_a", "logits_v", "e_a", "e_v", "z_a", "z_v"):
            values = [getattr(output, name) for output in outputs]
            there = all(value is not None for value in values)
            kept = [v[o.mask] for v, o in zip(values, outputs, strict=True)] if there else []
            parts[name] = torch.cat(kept)[None] if there else None
        logits = parts.pop("logits")
        assert logits is not None  # noqa: S101
        mask = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        pooled = Output(logits=logits, mask=mask, **parts)
        labels = torch.from_numpy(self.clips.speaking).long()[None].to(logits.device)
        centres: Centres | None = None
        if pooled.e_a is not None and pooled.e_v is not None:
            centres = class_centres(pooled, labels)
        return Known(clean=pooled, centres=centres, fused_centres=fused_centres(pooled, labels))


def _in_place_of(batch: Batch, silent: Batch, speaking: Batch, which: str) -> Batch:
    """A batch with the sound and faces of two clips in place of its own.

    Of the silent one, of the speaking one, or ("other") of the one that each frame is not labelled
    as; the shorter goes round.
    """
    assert batch.speaking is not None  # noqa: S101
    waveform, faces = torch.zeros_like(batch.waveform), torch.zeros_like(batch.faces)
    for row, (samples, frames) in enumerate(
        zip(batch.n_samples.tolist(), batch.n_frames.tolist(), strict=True)
    ):
        says = batch.speaking[row, :frames] == 1
        takes = {"silent": torch.zeros_like(says), "speaking": torch.ones_like(says)}
        of_frame = takes.get(which, ~says)
        at = torch.arange(samples, device=says.device)
        of_sample = of_frame[(at * frames // max(samples, 1)).clamp(max=frames - 1)]
        shown = torch.arange(frames, device=says.device)
        for source, chosen in ((silent, False), (speaking, True)):
            heard, seen = source.waveform[0], source.faces[0]
            heard, seen = heard[: int(source.n_samples[0])], seen[: int(source.n_frames[0])]
            mine, ours = of_sample == chosen, of_frame == chosen
            waveform[row, :samples][mine] = heard[at[mine] % len(heard)]
            faces[row, :frames][ours] = seen[shown[ours] % len(seen)]
    return replace(batch, waveform=waveform, faces=faces)


def _reach(clean: Batch, made: Batch, eps: Mapping[str, float]) -> tuple[dict[str, float], str]:
    """Largest change of each modality in budgets, and why the batch is no valid adversary."""
    space = CropSpace(clean, Threat.of({name: eps.get(name, 0.0) for name in MODALITIES["both"]}))
    tensors = {"audio": made.waveform, "visual": made.faces}
    reach, outside = {}, ""
    for name, region in space.regions.items():
        if tensors[name].shape != region.clean.shape:
            shapes = tuple(tensors[name].shape), tuple(region.clean.shape)
            return {}, f"the adversarial {name} is {shapes[0]}; expected {shapes[1]}"
        change = float(region.size(tensors[name]).linf.max())
        reach[name] = change / (region.ball.eps or 1.0)
        try:
            region.verify(tensors[name].to(region.clean.dtype))
        except BudgetError as e:
            outside = outside or str(e)
    return reach, outside


@contextmanager
def _last_scores(detector: Detector) -> Iterator[list[Tensor]]:
    """Scores of the detector's last evaluation inside the block, in a list of at most one."""
    kept: list[Tensor] = []

    def keep(module: object, inputs: object, output: Output) -> None:
        kept[:] = [log_odds(output.logits).detach()]

    handle = detector.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
