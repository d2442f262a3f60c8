"""The standard attack: a fixed sequence of strong ones, of which the best adversary is kept.

One strong attack is a matter of luck: each fails on some detectors. A suite tries several that fail
for different reasons, with parameters that are not tuned to the detector (Croce and Hein,
"Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
ICML 2020). This one is for two inputs with two budgets, sequences, and frames that share a sound:
the adversary of a track is one, chosen by how many of its frames are taken for the other class and
how surely. What is left only falls while it runs.

A version never changes: results under the same one can be compared with each other. `suite-2` is
`suite-1` with long members: on a hardened detector five runs of 500 shrinking steps had found
more than `suite-1` (docs/measurements/suite.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pushpull.attacks.apgd import apgd
from pushpull.attacks.bypass import bypassed, early_modules
from pushpull.attacks.gradient import ascend, climb
from pushpull.attacks.search import Search, held_still
from pushpull.attacks.square import square
from pushpull.errors import GradientError, UnknownName
from pushpull.losses import build_objective

__all__ = ["RUN", "SUITES", "Member", "suite"]

SETTLED = 0.97
"""Mean of the objective `flips` over a clip from which on it is lost: all frames are turned over by
some three times the median clean log-odds."""

LONG_STEPS = 500
"""Of members that are for clips of which the others have left some frame right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One attack of a suite.

    Attributes:
        name: Of the member.
        kind: How it is run, a name from `RUN`: "gradient", "apgd", "bypass" (past modules that
            come before all weights), "transfer" (gradients of surrogates), "square" (scores only)
            or "refine" (from the best so far).
        objective: What it climbs.
        settings: Of the attack by itself.
        unless_lost: Whether clips are left out of which no frame is right any more, however surely.

    Examples:
        >>> from pushpull.attacks.suite import SUITES
        >>> [member.name for member in SUITES["suite-2"]][:3]
        ['pgd-ce', 'pgd-margin', 'apgd-margin']
        >>> [member.name for member in SUITES["suite-2"] if member.unless_lost]
        ['pgd-flips-long', 'pgd-ce-long', 'settle']
    """

    name: str
    kind: str
    objective: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    unless_lost: bool = False


def _members(steps: int, queries: int) -> tuple[Member, ...]:
    decayed = {"steps": steps, "schedule": "decayed"}
    around = {"draws": 4, "radius": 0.5, "decay": 1.0, "schedule": "decayed"}
    return (
        Member(name="pgd-ce", kind="gradient", objective="av", settings=decayed),
        Member(
            name="pgd-margin", kind="gradient", objective="margin",
            settings={**decayed, "random_start": True},
        ),
        Member(name="apgd-margin", kind="apgd", objective="margin", settings={"steps": steps}),
        Member(name="feature", kind="gradient", objective="feature", settings=decayed),
        Member(
            name="smoothed", kind="gradient", objective="margin",
            settings={**around, "steps": max(steps // 4, 1)},
        ),
        Member(name="bypass", kind="bypass", objective="margin", settings=decayed),
        Member(
            name="transfer", kind="transfer", objective="margin",
            settings={**decayed, "decay": 1.0},
        ),
        Member(name="square", kind="square", objective="flips", settings={"steps": queries}),
        Member(name="refine", kind="refine", objective="flips", settings=decayed),
    )  # fmt: skip


def _with_long(members: tuple[Member, ...]) -> tuple[Member, ...]:
    """The same, with long members before the one that goes on from the best, and one behind it."""
    settings = {"steps": LONG_STEPS, "schedule": "decayed", "random_start": True}
    return (
        *members[:-1],
        Member(
            name="pgd-flips-long", kind="gradient", objective="flips", unless_lost=True,
            settings={**settings, "n_restarts": 3},
        ),
        Member(
            name="pgd-ce-long", kind="gradient", objective="av", unless_lost=True,
            settings=settings,
        ),
        members[-1],
        Member(
            name="settle", kind="refine", objective="flips", unless_lost=True,
            settings={"steps": 100, "schedule": "settling"},
        ),
    )  # fmt: skip


SUITES: dict[str, tuple[Member, ...]] = {
    "suite-1": _members(100, 1000),
    "suite-1-fast": _members(10, 50),
    "suite-2": _with_long(_members(100, 1000)),
}
"""Members of each suite in order. The fast one takes a tenth of the gradients of `suite-1` and a
twentieth of the queries: what it leaves is an upper bound of what a whole one does, no more."""


def suite(search: Search, generator: torch.Generator, *, version: str = "suite-2") -> None:
    """Every member of a suite in order; one that cannot be run on a detector is passed over.

    Clips that are lost altogether, all frames surely taken for the other class, are not attacked
    further.

    Args:
        search: What is attacked; it knows the goal, and surrogates to transfer from.
        generator: Source of each member's own seed.
        version: A name from `SUITES`.

    Raises:
        UnknownName: If there is no such suite.
        GradientError: If the detector's scores are not finite.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch = Batch.from_clips([clip])
        >>> found = attack(build("light_asd"), batch, "suite-fast", eps=5)
        >>> [member["name"] for member in found.members if not member["passed_over"]]
        ['pgd-ce', 'pgd-margin', 'apgd-margin', 'smoothed', 'square', 'refine']
    """
    if version not in SUITES:
        raise UnknownName("suite", version, SUITES)
    members = SUITES[version]
    # Drawn for all at once, so that a search that goes on has the seeds of one that never stopped.
    seeds = torch.randint(2**62, (len(members),), generator=generator).tolist()
    search.loss(search.start)
    for member, seed in list(zip(members, seeds, strict=True))[len(search.members) :]:
        before = search.forwards, search.backwards
        settled = search.loss_per_clip >= SETTLED
        part = search.unsettled(settled | _lost(search) if member.unless_lost else settled)
        why = "all clips are lost already"
        if part is not None:
            try:
                why = RUN[member.kind](part, member, torch.Generator().manual_seed(seed))
            except GradientError as e:
                why = str(e)
            search.take(part)
        search.ended(
            {
                "name": member.name,
                "passed_over": why,
                "forwards": search.forwards - before[0],
                "backwards": search.backwards - before[1],
                "reached": float(search.loss_per_clip.mean()),
            }
        )


def _lost(search: Search) -> Tensor:
    """Clips (B,) of which no frame is right any more; none where it is not known what is right."""
    if search.goal is None:
        return torch.zeros_like(search.loss_per_clip, dtype=torch.bool)
    turned = (search.score > 0) == (search.goal.reached == 1)
    return (turned | ~search.space.clean.mask).all(1)


def _gradient(part: Search, member: Member, generator: torch.Generator) -> str:
    if member.objective == "feature" and (part.goal is None or part.goal.centres is None):
        return "there are no embeddings of both classes"
    with part.aiming(member.objective):
        ascend(part, generator, **member.settings)
    return ""


def _apgd(part: Search, member: Member, generator: torch.Generator) -> str:
    with part.aiming(member.objective):
        apgd(part, generator, **member.settings)
    return ""


def _bypass(part: Search, member: Member, generator: torch.Generator) -> str:
    names = early_modules(part.detector, part.space.clean)
    if not names:
        return "nothing without weights stands in front of the detector"
    with part.aiming(member.objective), bypassed(part.detector, names):
        ascend(part, generator, **member.settings)
    return ""


def _transfer(part: Search, member: Member, generator: torch.Generator) -> str:
    """From each surrogate by itself; what it finds is tried on the detector."""
    if not part.surrogates:
        return "no surrogate was given"
    assert part.goal is not None  # noqa: S101
    for surrogate in part.surrogates.values():
        with held_still(surrogate):
            there = Search(surrogate, part.space, build_objective(member.objective, part.goal))
            ascend(there, generator, **member.settings)
        part.loss(part.deltas_of(there.best))
    return ""


def _square(part: Search, member: Member, generator: torch.Generator) -> str:
    with part.aiming(member.objective):
        square(part, generator, **member.settings)
    return ""


def _refine(part: Search, member: Member, generator: torch.Generator) -> str:
    with part.aiming(member.objective):
        climb(part, part.deltas_of(part.best), generator, **member.settings)
    return ""


RUN: dict[str, Callable[[Search, Member, torch.Generator], str]] = {
    "gradient": _gradient,
    "apgd": _apgd,
    "bypass": _bypass,
    "transfer": _transfer,
    "square": _square,
    "refine": _refine,
}
"""How members of each kind are run; each says why it was passed over, or nothing."""
