"""Adversarial attacks on both inputs of a detector at once, each with its own budget.

    attacked = attack(detector, batch, "pgd", eps=5, steps=10)
    attacked.waveform, attacked.faces, attacked.score, attacked.linf["audio"]

What is returned has been measured again: an attack that leaves its budget, the valid range or a
clip's valid part raises an error, nothing is clipped afterwards.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pushpull.attacks.apgd import apgd
from pushpull.attacks.gradient import ascend, fgsm
from pushpull.attacks.noise import noise
from pushpull.attacks.search import Search, held_still
from pushpull.attacks.space import CropSpace, Soundtracks, Space, SpaceBuilder, on_grid
from pushpull.attacks.square import square
from pushpull.attacks.threat import Threat, per_modality
from pushpull.errors import BudgetWarning, ConfigError, UnknownName
from pushpull.losses import (
    OBJECTIVES,
    Centres,
    Goal,
    ObjectiveBuilder,
    build_objective,
    class_centres,
    log_odds,
)
from pushpull.models.detector import Detector
from pushpull.schema import Batch, Output

__all__ = ["ATTACKS", "Attacked", "Soundtracks", "attack", "check_settings", "transfer"]

ATTACKS: dict[str, Callable[..., None]] = {
    "fgsm": fgsm,
    "bim": ascend,
    "mim": partial(ascend, decay=1.0),
    "pgd": partial(ascend, random_start=True),
    "apgd": apgd,
    "square": square,
    "noise": noise,
}
"""Attacks by name. Each is called with a search, a generator and its settings by keyword."""

TARGETS = {"silent": 0, "speaking": 1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attacked:
    """An attack's best adversary, measured.

    Attributes:
        batch: The adversarial batch: waveform and faces in float32, or float64 if they came so.
        clean: What it was made from and is measured against (on the grid if quantised).
        points: What was moved: as in `batch`, but for the sound of whole videos.
        speaking: Labels (B, T) that were attacked.
        score: Log-odds (B, T) of the attacked detector on `batch`.
        loss: Mean of the objective over the valid frames of each clip (B,).
        curve: The same (E, B) at each evaluation, in order.
        linf: Largest change of each moved row, for each modality (N,) float64.
        l2: Euclidean norm of the change, likewise.
        vanished: Modalities whose budget is below one step of the grid, so that nothing changed.
        forwards: Evaluations of the whole batch during the attack.
        backwards: Those of them with a gradient.
        threat: Budgets and ranges.
        settings: Everything that was asked for, defaults included.
    """

    batch: Batch
    clean: Batch
    points: Mapping[str, Tensor]
    speaking: Tensor
    score: Tensor
    loss: Tensor
    curve: Tensor
    linf: Mapping[str, Tensor]
    l2: Mapping[str, Tensor]
    vanished: tuple[str, ...]
    forwards: int
    backwards: int
    threat: Threat
    settings: Mapping[str, Any]

    @property
    def waveform(self) -> Tensor:
        """Adversarial waveforms (B, S)."""
        return self.batch.waveform

    @property
    def faces(self) -> Tensor:
        """Adversarial faces (B, T, H, W)."""
        return self.batch.faces

    @property
    def queries(self) -> int:
        """Times that the detector was asked about each clip."""
        return self.forwards


def attack(
    detector: Detector,
    batch: Batch,
    method: str = "pgd",
    *,
    eps: float | Mapping[str, float] = 5.0,
    modality: str = "both",
    norm: str = "linf",
    objective: str | ObjectiveBuilder = "all",
    targeted: bool | str = False,
    centres: Centres | None = None,
    quantise: bool = False,
    space: SpaceBuilder = CropSpace,
    seed: int = 0,
    watch: Callable[[int], None] = lambda evaluations: None,
    **settings: Any,
) -> Attacked:
    """Find an adversary of each clip, or of each video that clips are from.

    The detector works in eval mode and comes back as it was, module by module; gradients of its
    parameters are neither computed nor touched. Under autocast only the detector computes in half
    precision. The same seed gives the same adversary on every device of the same arithmetic.

    Args:
        detector: What is attacked.
        batch: Clips; without labels the detector's own decisions are attacked.
        method: A name from `ATTACKS`.
        eps: Push-Pull's eps_av (eps_a = eps_av * 1e-4, eps_v = eps_av * 1e-1), or a budget for each
            attacked modality, `{"audio": 5e-4, "visual": 0.5}`.
        modality: "audio", "visual" or "both".
        norm: "linf" or "l2"; an L2 budget is for the whole waveform, or all faces, of a clip.
        objective: What is maximised, a name from `pushpull.losses.OBJECTIVES`, or what makes an
            objective of a goal.
        targeted: "silent" or "speaking" to have every frame taken for that, True for the class that
            each frame is not, False to leave the labels.
        centres: Of the classes, for the objective "feature"; those of the clean batch by default.
        quantise: Search among 8-bit faces and int16 waveforms, from the clean ones rounded so.
        space: What is moved: the clips, or `Soundtracks` for one sound per video.
        seed: Of all random numbers.
        watch: Called with the number of evaluations after each; what it raises stops the attack.
        **settings: Of the method, such as `steps`, `alpha` (in the units of `eps`; eps / steps by
            default), `decay`, `random_start`, `n_restarts`.

    Raises:
        UnknownName: If a name is in no table.
        ConfigError: If a setting cannot be, or the method has none of that name.
        ShapeError: If an input is out of range.
        GradientError: If a loss or gradient is not finite.
        BudgetError: If the method left its budget.
    """
    _check_detector("detector", detector)
    run = _method(method, settings)
    threat = Threat.of(eps, modality=modality, norm=norm, quantise=quantise)
    if settings.get("alpha") is not None:
        settings["alpha"] = per_modality("alpha", settings["alpha"], threat.modalities)
    asked = {
        "method": method, "eps": {name: ball.eps for name, ball in threat.balls.items()},
        "modality": modality, "norm": norm.lower(),
        "objective": objective if isinstance(objective, str) else repr(objective),
        "targeted": targeted,
        "quantise": quantise, "seed": seed, **_defaults(run), **settings,
    }  # fmt: skip
    # Tensors made in inference mode cannot take part in a gradient.
    with torch.inference_mode(False), torch.no_grad(), held_still(detector):
        clean = on_grid(_as_float(batch)) if quantise else _as_float(batch)
        placed = space(clean, threat)
        vanished = _vanished(placed)
        labels = clean.speaking
        needs_centres = objective == "feature" and centres is None
        if labels is None or needs_centres:
            output = detector(**clean.inputs)
            labels = _decisions(output) if labels is None else labels
            centres = class_centres(output, labels) if needs_centres else centres
        goal = _goal_of(labels, targeted, centres)
        search = Search(detector, placed, build_objective(objective, goal), watch)
        run(search, torch.Generator().manual_seed(seed), **settings)
    sizes = {name: r.verify(search.best[name]) for name, r in placed.regions.items()}
    return Attacked(
        batch=replace(placed.to_batch(search.best), speaking=batch.speaking),
        clean=clean,
        points=search.best,
        speaking=labels,
        score=search.score,
        loss=search.loss_per_clip,
        curve=torch.stack(search.curve),
        linf={name: size.linf for name, size in sizes.items()},
        l2={name: size.l2 for name, size in sizes.items()},
        vanished=vanished,
        forwards=search.forwards,
        backwards=search.backwards,
        threat=threat,
        settings=asked,
    )


def check_settings(method: str, settings: Mapping[str, Any]) -> None:
    """Refuse what `attack` would refuse by its name alone, before anything is read or found.

    Raises:
        UnknownName: If there is no such attack, objective, modality or target.
        ConfigError: If the method has no setting of a name, or a budget cannot be.
    """
    common = {"eps", "modality", "norm", "objective", "targeted", "centres", "seed", "watch"}
    _method(method, {k: v for k, v in settings.items() if k not in common})
    objective = settings.get("objective", "all")
    if isinstance(objective, str) and objective not in OBJECTIVES:
        raise UnknownName("objective", objective, OBJECTIVES)
    targeted = settings.get("targeted", False)
    if not isinstance(targeted, bool) and targeted not in TARGETS:
        raise UnknownName("target", targeted, TARGETS)
    Threat.of(
        settings.get("eps", 5.0),
        modality=settings.get("modality", "both"),
        norm=settings.get("norm", "linf"),
    )


def transfer(
    surrogate: Detector, target: Detector, batch: Batch, method: str = "pgd", **settings: Any
) -> Attacked:
    """Find adversaries on one detector and score them on another, as a black-box attacker does.

    Args:
        surrogate: What gradients come from.
        target: What is attacked; without labels its own decisions are.
        batch: Clips.
        method: A name from `ATTACKS`.
        **settings: As for `attack`.

    Returns:
        The adversary, its `curve` on the surrogate, and `score` and `loss` on the target; `loss` is
        the mean margin lost, since the two detectors may have different heads and embeddings.

    Raises:
        ConfigError: If one of the two does not take waveforms and faces; else as `attack`.
    """
    _check_detector("surrogate", surrogate)
    _check_detector("target", target)
    with torch.inference_mode(False), torch.no_grad(), held_still(target):
        if batch.speaking is None:
            labels = _decisions(target(**_as_float(batch).inputs))
        else:
            labels = batch.speaking
        found = attack(surrogate, replace(batch, speaking=labels), method, **settings)
        output = target(**found.batch.inputs)
        goal = _goal_of(found.speaking, settings.get("targeted", False))
        loss = build_objective("margin", goal).judge(output).masked_fill(~output.mask, 0.0).sum(1)
    return replace(
        found,
        batch=replace(found.batch, speaking=batch.speaking),
        score=log_odds(output.logits),
        loss=loss / output.mask.sum(1),
    )


def _method(name: str, settings: Mapping[str, Any]) -> Callable[..., None]:
    if name not in ATTACKS:
        raise UnknownName("attack", name, ATTACKS)
    known = _defaults(ATTACKS[name])
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(
            f"{name} has no setting {', '.join(unknown)}: it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    return ATTACKS[name]


def _defaults(run: Callable[..., None]) -> dict[str, Any]:
    """Settings of a method and what they are by default."""
    parameters = inspect.signature(run).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _check_detector(what: str, model: object) -> None:
    if not isinstance(model, Detector):
        raise ConfigError(
            f"the {what} is a {type(model).__name__}; expected a Detector, which takes waveforms "
            "and grey faces: a model of other inputs cannot make or judge these adversaries"
        )


def _as_float(batch: Batch) -> Batch:
    """The batch with inputs that can hold a perturbation: bfloat16 could not, near 1."""
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
            stacklevel=3,
        )
    return names
