"""One attack on a batch of clips, measured again; and the same by transfer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushpull.attacks.bypass import bypassed
from pushpull.attacks.keeping import KeptSuite
from pushpull.attacks.registry import attack_named, is_suite
from pushpull.attacks.results import AttackResult
from pushpull.attacks.search import Search, held_still, is_random
from pushpull.attacks.settings import TARGETS, AttackSettings
from pushpull.attacks.space import CropSpace, Space, SpaceBuilder, on_grid
from pushpull.errors import BudgetWarning, ConfigError, ShapeError, UnknownName
from pushpull.losses import (
    Centres,
    Goal,
    ObjectiveBuilder,
    build_objective,
    class_centres,
    log_odds,
)
from pushpull.models.detector import Detector
from pushpull.schema import Batch, Output, check_inputs

__all__ = ["attack", "transfer"]


def attack(
    detector: Detector,
    batch: Batch,
    attack: str | AttackSettings = "pgd",
    *,
    space: SpaceBuilder = CropSpace,
    watch: Callable[[int], None] = lambda evaluations: None,
    keep: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> AttackResult:
    """Find an adversary of each clip, or of each video that clips are from.

    The detector works in eval mode and comes back as it was, module by module; gradients of its
    parameters are neither computed nor touched. Under autocast only the detector computes in half
    precision. The same seed gives the same adversary on every device of the same arithmetic.

    Args:
        detector: What is attacked.
        batch: Clips; without labels the detector's own decisions are attacked.
        attack: A name from `ATTACKS`, or settings, which leave nothing else to be set.
        space: What is moved: the clips, or `Soundtracks` for one sound per video.
        watch: Called with the number of evaluations after each; what it raises stops the attack.
        keep: A folder where a suite keeps what it has found after each member, so that one that was
            stopped goes on; None keeps nothing.
        **settings: Of `AttackSettings`: `eps`, `modality`, `norm`, `objective`, `targeted`,
            `centres`, `quantise`, `seed`, `bypass`, `surrogates`; and of the attack by itself, such
            as `steps`.

    Raises:
        UnknownName: If a name is in no table.
        ConfigError: If a setting cannot be, or the attack has none of that name.
        ShapeError: If an input is out of range.
        GradientError: If a loss or gradient is not finite.
        BudgetError: If the attack left its budget.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> detector = pp.load("synthetic-a")
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=10)
        >>> batch = Batch.from_clips([clip])
        >>> found = pp.attack(detector, batch, "pgd", eps=5)
        >>> clean = detector(**batch.inputs).score
        >>> round(clean.mean().item(), 1), round(found.score.mean().item(), 1)
        (3.4, -2.7)
    """
    _check_detector("detector", detector)
    folder = None if keep is None else Path(keep)
    return _found(detector, batch, AttackSettings.of(attack, **settings), space, watch, folder)


def transfer(
    surrogate: Detector,
    detector: Detector,
    batch: Batch,
    attack: str | AttackSettings = "pgd",
    *,
    space: SpaceBuilder = CropSpace,
    watch: Callable[[int], None] = lambda evaluations: None,
    **settings: Any,
) -> AttackResult:
    """Find adversaries on one detector and score them on another, as a black-box attacker does.

    Args:
        surrogate: What gradients come from.
        detector: What is attacked; without labels its own decisions are.
        batch: Clips.
        attack: As for `attack`.
        space: What is moved, likewise.
        watch: Likewise.
        **settings: As for `attack`.

    Returns:
        The adversary, its `curve` on the surrogate, and `score` and `loss` on the attacked
        detector; `loss` is the mean margin lost, since the two detectors may have different heads
        and embeddings.

    Raises:
        ConfigError: If one of the two does not take waveforms and faces; else as `attack`.

    Examples:
        >>> from pushpull.attacks import transfer
        >>> from pushpull.models.weights import resolve_detector
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> surrogate = resolve_detector("synthetic-spec")
        >>> detector = resolve_detector("synthetic-a")
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=10)
        >>> batch = Batch.from_clips([clip])
        >>> found = transfer(surrogate, detector, batch, "bim", eps=5, steps=2)
        >>> clean = detector(**batch.inputs).score
        >>> round(clean.mean().item(), 1), round(found.score.mean().item(), 1)
        (3.4, 2.5)
    """
    _check_detector("surrogate", surrogate)
    _check_detector("detector", detector)
    asked = AttackSettings.of(attack, **settings)
    with torch.inference_mode(False), torch.no_grad(), held_still(detector):
        if batch.speaking is None:
            labels = _decisions(detector(**_as_float(batch).inputs))
        else:
            labels = batch.speaking
        labelled = replace(batch, speaking=labels)
        found = _found(surrogate, labelled, asked, space, watch)
        output = detector(**found.batch.inputs)
        goal = _goal_of(found.speaking, asked.targeted)
        loss = build_objective("margin", goal).judge(output).masked_fill(~output.mask, 0.0).sum(1)
    return replace(
        found,
        batch=replace(found.batch, speaking=batch.speaking),
        score=log_odds(output.logits),
        loss=loss / output.mask.sum(1),
    )


def _found(
    detector: Detector,
    batch: Batch,
    asked: AttackSettings,
    space: SpaceBuilder,
    watch: Callable[[int], None],
    folder: Path | None = None,
) -> AttackResult:
    threat, in_suite = asked.threat, is_suite(asked.attack)
    objective = "flips" if in_suite else asked.objective
    # Tensors made in inference mode cannot take part in a gradient.
    with torch.inference_mode(False), torch.no_grad(), held_still(detector):
        clean = on_grid(_as_float(batch)) if asked.quantise else _as_float(batch)
        placed = space(clean, threat)
        vanished = _vanished(placed)
        draws = DRAWS if is_random(detector, clean) else 1
        labels, goal = _aimed(detector, clean, asked, objective)
        kept = (
            KeptSuite(folder, detector, clean, asked) if folder is not None and in_suite else None
        )
        search = Search(
            detector,
            placed,
            build_objective(objective, goal),
            watch,
            goal=goal,
            kept_by=objective,
            surrogates=asked.surrogates,
            draws=draws,
            keep=_nothing if kept is None else kept.write,
        )
        if kept is not None:
            kept.read_into(search)
        generator = torch.Generator().manual_seed(asked.seed)
        with bypassed(detector, asked.bypass):
            attack_named(asked.attack)(search, generator, **asked.run_options)
        made = placed.to_batch(search.best)
        # Chosen on some draws of a random detector, judged on others, many of them.
        score = search.score if draws == 1 else _fresh_score(detector, made)
    sizes = {name: r.verify(search.best[name]) for name, r in placed.regions.items()}
    return AttackResult(
        batch=replace(made, speaking=batch.speaking),
        clean=clean,
        points=search.best,
        speaking=labels,
        score=score,
        loss=search.loss_per_clip,
        curve=torch.stack(search.curve),
        linf={name: size.linf for name, size in sizes.items()},
        l2={name: size.l2 for name, size in sizes.items()},
        vanished=vanished,
        forwards=search.forwards,
        backwards=search.backwards,
        draws=draws,
        members=tuple(search.members),
        member_scores=search.member_scores,
        threat=threat,
        settings=asked,
    )


def _nothing(search: Search) -> None:
    """Keep nothing."""


def _aimed(
    detector: Detector, clean: Batch, asked: AttackSettings, objective: str | ObjectiveBuilder
) -> tuple[Tensor, Goal]:
    """Labels, and what the attack is after; the detector is asked where that tells."""
    labels, centres, scale = clean.speaking, asked.centres, 1.0
    needs_centres = objective == "feature" and centres is None
    if labels is None or needs_centres or objective == "flips":
        output = detector(**clean.inputs)
        labels = _decisions(output) if labels is None else labels
        if objective == "flips":
            sizes = log_odds(output.logits)[output.mask].abs()
            scale = float(sizes.median().clamp(min=torch.finfo(sizes.dtype).tiny))
            centres = _centres_or_none(output, labels) if centres is None else centres
        centres = class_centres(output, labels) if needs_centres else centres
    return labels, replace(_goal_of(labels, asked.targeted, centres), scale=scale)


def _centres_or_none(output: Output, labels: Tensor) -> Centres | None:
    """Centres where the model has embeddings and the batch both classes."""
    try:
        return class_centres(output, labels)
    except ConfigError:
        return None


DRAWS = 8
"""Evaluations of a random detector over which gradients are averaged and iterates compared."""

FRESH_DRAWS = 50
"""Further evaluations over which the adversary of a random detector is judged."""


def _fresh_score(detector: Detector, batch: Batch) -> Tensor:
    """Mean log-odds (B, T) of a random detector over evaluations that chose nothing."""
    total = log_odds(detector(**batch.inputs).logits)
    for _ in range(FRESH_DRAWS - 1):
        total = total + log_odds(detector(**batch.inputs).logits)
    return total / FRESH_DRAWS


def _check_detector(what: str, model: object) -> None:
    if not isinstance(model, Detector):
        raise ConfigError(
            f"the {what} is a {type(model).__name__}; expected a Detector, which takes waveforms "
            "and grey faces: give `pushpull.load(name)`, or `pushpull.Detector.wrap(module)` for a "
            "model of your own"
        )


def _as_float(batch: Batch) -> Batch:
    """The batch, looked at, with inputs that can hold a perturbation: bfloat16 cannot, near 1."""
    if not isinstance(batch, Batch):
        raise ShapeError(
            f"the batch is a {type(batch).__name__}; expected a pushpull.schema.Batch: "
            "Batch.from_clips([clip, ...])"
        )
    speaking = None if batch.speaking is None else batch.speaking * batch.mask
    check_inputs(torch.where(batch.audio_mask, batch.waveform, 0), batch.faces, speaking)
    tensors = {}
    for name in ("waveform", "faces"):
        value = getattr(batch, name)
        kept = value.dtype in (torch.float32, torch.float64)
        tensors[name] = value.clone() if kept and value.is_inference() else value
        tensors[name] = tensors[name].detach() if kept else tensors[name].float()
    return replace(batch, **tensors)


def _decisions(output: Output) -> Tensor:
    return (log_odds(output.logits) > 0).long()


def _goal_of(labels: Tensor, targeted: bool | str, centres: Centres | None = None) -> Goal:
    if targeted is False:
        return Goal(labels=labels, centres=centres)
    if targeted is True:
        return Goal(labels=1 - labels, targeted=True, centres=centres)
    if targeted not in TARGETS:
        raise UnknownName("target", targeted, TARGETS)
    wanted = torch.full_like(labels, TARGETS[targeted])
    return Goal(labels=wanted, targeted=True, centres=centres)


def _vanished(space: Space) -> tuple[str, ...]:
    names = tuple(name for name, region in space.regions.items() if region.vanished)
    for name in names:
        ball = space.regions[name].ball
        warnings.warn(
            f"eps of {name} is {ball.eps:g}, below one step of what a file holds ({ball.grid:g}): "
            "no adversary exists within it, which says nothing about the detector's robustness",
            BudgetWarning,
            stacklevel=4,
        )
    return names
