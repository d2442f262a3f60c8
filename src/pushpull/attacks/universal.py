"""One sound and one face pattern for all clips: a universal perturbation of both inputs.

    pattern = universal(detector, batches, eps=5, steps=100, targeted="silent")
    pattern.apply(other_people).waveform

The pattern is a loop: some seconds of sound and some pictures, laid over a clip again and again,
from any place of the loop on. It is found by sign steps of decaying size along the accumulated
gradient, one batch after the other, and is the same whatever order batches are given in.

Source: Moosavi-Dezfooli et al., "Universal adversarial perturbations", CVPR 2017; steps as in
Shafahi et al., "Universal Adversarial Training", AAAI 2020, with the momentum of MIM. The joint
pattern and its two budgets are ours.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pushpull.attacks.search import Search, at_least_one, held_still
from pushpull.attacks.settings import TARGETS
from pushpull.attacks.space import CropSpace, Deltas, Points
from pushpull.attacks.threat import Ball, Region, Threat
from pushpull.errors import CheckpointError, ConfigError, OutputError, ShapeError, UnknownName
from pushpull.losses import Goal, build_objective
from pushpull.models.detector import Detector
from pushpull.runtime.files import plain_path, written_whole
from pushpull.runtime.records import parse_json
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Batch

__all__ = ["PatternSpace", "UniversalPattern", "universal"]

FIRST_STEP = 0.2
"""Of the budget; steps fall to nothing in a straight line."""

KIND = "universal-pattern"

DECAY = 0.9
"""Share of the accumulated gradient that is kept from batch to batch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UniversalPattern:
    """A loop of sound and a loop of pictures, to be added to any clip.

    Attributes:
        waveform: Change of the samples (P,), within the budget; zeros if the sound stays.
        faces: Change of the faces in grey levels (F, 112, 112), likewise.
        threat: Budgets and ranges, L_inf; a modality that is not in it stays as it is.

    Raises:
        ShapeError: If the patterns have other shapes.
        BudgetError: If they are larger than the budget.

    Examples:
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.attacks.universal import UniversalPattern
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(1280), faces=torch.zeros(2, 112, 112), fps=25.0)
        >>> control = UniversalPattern.random(Threat.of(5), seed=1)  # noise of the whole budget
        >>> moved = control.apply(Batch.from_clips([clip]))
        >>> moved.waveform.abs().max(), moved.faces.max()
        (tensor(0.0005), tensor(0.5000))
    """

    waveform: Tensor
    faces: Tensor
    threat: Threat

    def __post_init__(self) -> None:
        if self.waveform.dim() != 1 or self.faces.dim() != 3 or not len(self.waveform):
            raise ShapeError(
                f"the pattern is {tuple(self.waveform.shape)} and {tuple(self.faces.shape)}; "
                "expected (P,) samples and (F, H, W) grey levels"
            )
        if not self.faces.numel():
            raise ShapeError(f"faces is {tuple(self.faces.shape)}; expected (F, H, W) with F > 0")
        rows = {"audio": self.waveform[None], "visual": self.faces[None]}
        for name, region in _loops(self.threat, rows).items():
            region.verify(rows[name])

    @classmethod
    def random(
        cls, threat: Threat, *, period_s: float = 1.0, n_faces: int = 1, seed: int = 0
    ) -> UniversalPattern:
        """A pattern of random signs and the whole budget: the control.

        Args:
            threat: Budgets and ranges, L_inf.
            period_s: Length of the sound's loop.
            n_faces: Pictures of the faces' loop.
            seed: Of the signs.

        Raises:
            ConfigError: If a length is not positive, or the norm is another.
        """
        generator = torch.Generator().manual_seed(seed)
        rows = _still(period_s, n_faces)
        points = {
            name: region.place(region.noise(generator))
            for name, region in _loops(threat, rows).items()
        }
        return cls._of(points, rows, threat)

    @classmethod
    def _of(cls, points: Points, still: Points, threat: Threat) -> UniversalPattern:
        rows = {name: points.get(name, still[name]).detach().cpu()[0] for name in still}
        return cls(waveform=rows["audio"], faces=rows["visual"], threat=threat)

    def apply(self, batch: Batch, *, starts_s: Tensor | None = None) -> Batch:
        """The batch with the pattern in it.

        Where a change would leave the valid range it is cut there; padding stays as it is. The
        budget holds exactly, for each clip and modality.

        Args:
            batch: Clips of any lengths.
            starts_s: Where in the loop each clip begins (B,); at 0 by default. The sound is at that
                second, the faces at the picture of that second.

        Raises:
            ShapeError: If faces are of another size, or an input is out of range.

        Examples:
            >>> from pushpull.attacks.threat import Threat
            >>> from pushpull.attacks.universal import UniversalPattern
            >>> from pushpull.schema import Batch, Clip
            >>> white = torch.full((1, 112, 112), 255.0)
            >>> batch = Batch.from_clips([Clip(waveform=torch.zeros(640), faces=white, fps=25.0)])
            >>> brighter = UniversalPattern(
            ...     waveform=torch.tensor([1e-4, -1e-4]),
            ...     faces=torch.full((1, 112, 112), 0.5),
            ...     threat=Threat.of(5),
            ... )
            >>> moved = brighter.apply(batch)
            >>> moved.waveform[0, :3], moved.faces.max()
            (tensor([ 1.0000e-04, -1.0000e-04,  1.0000e-04]), tensor(255.))
        """
        batch = _in_full(batch)
        self._check_size(batch)
        starts = _starts(batch, starts_s)
        rows = {"audio": self.waveform, "visual": self.faces}
        space = CropSpace(batch, self.threat)
        moved = {}
        for name, region in space.regions.items():
            clean = region.clean
            moved[name] = region.place(_looped(rows[name].to(clean), starts[name], clean.shape[1]))
            region.verify(moved[name])
        return space.to_batch(moved)

    def _check_size(self, batch: Batch) -> None:
        sizes = self.faces.shape[1:], batch.faces.shape[2:]
        if "visual" in self.threat.balls and sizes[0] != sizes[1]:
            raise ShapeError(
                f"faces are {tuple(sizes[1])}; expected {tuple(sizes[0])}, as the pattern"
            )

    def as_dict(self) -> dict[str, Any]:
        """What it is, as plain values for JSON."""
        return {
            "attack": "universal",
            "eps": {name: ball.eps for name, ball in self.threat.balls.items()},
            "period_s": len(self.waveform) / SAMPLE_RATE_HZ,
            "n_faces": len(self.faces),
            "sha256": _digest(self.waveform, self.faces),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a safetensors file, which appears whole or not at all.

        Raises:
            OutputError: If the file cannot be written.

        Examples:
            >>> from pushpull.attacks.threat import Threat
            >>> from pushpull.attacks.universal import UniversalPattern
            >>> pattern = UniversalPattern.random(Threat.of(5, modality="audio"))
            >>> pattern.save("pattern.safetensors")
            >>> again = UniversalPattern.load("pattern.safetensors")
            >>> torch.equal(again.waveform, pattern.waveform)
            True
        """
        tensors = {"waveform": self.waveform.contiguous(), "faces": self.faces.contiguous()}
        metadata = {"kind": KIND, "eps": json.dumps(self.as_dict()["eps"])}
        with written_whole(Path(path)) as temporary:
            try:
                save_file(tensors, temporary, metadata=metadata)
            except SafetensorError as e:
                raise OutputError(f"{path}: cannot be written ({e})") from e

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> UniversalPattern:
        """Read a pattern that `save` wrote.

        Raises:
            CheckpointError: If the file is none.
        """
        try:
            with plain_path(path) as plain, safe_open(plain, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("kind") != KIND:
                    raise CheckpointError(
                        f"{path}: is no universal pattern; expected what `pushpull universal` wrote"
                    )
                tensors = {name: file.get_tensor(name) for name in ("waveform", "faces")}
            eps: Mapping[str, float] = parse_json(metadata["eps"])
            balls = {name: Ball.of(name, size) for name, size in eps.items()}
            return cls(**tensors, threat=Threat(balls=balls))
        except (
            *(OSError, SafetensorError),
            *(KeyError, ValueError, TypeError, AttributeError, RuntimeError),
        ) as e:
            raise CheckpointError(f"{path}: cannot be read as a universal pattern ({e})") from e


class PatternSpace:
    """The pattern's rows are what moves; every clip of the batch gets them.

    All clips are one group: the pattern is better for all of them together or not at all.

    Args:
        batch: Clips, float.
        threat: Budgets and ranges, L_inf.
        period_s: Length of the sound's loop.
        n_faces: Pictures of the faces' loop.
        starts_s: Where in the loop each clip begins (B,); at 0 by default.

    Raises:
        ConfigError: If a length is not positive, or the norm is another.

    Examples:
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.attacks.universal import PatternSpace
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(1280), faces=torch.zeros(2, 112, 112), fps=25.0)
        >>> space = PatternSpace(Batch.from_clips([clip] * 3), Threat.of(5), period_s=0.5)
        >>> {name: tuple(region.clean.shape) for name, region in space.regions.items()}
        {'audio': (1, 8000), 'visual': (1, 1, 112, 112)}
        >>> space.clip_groups
        tensor([0, 0, 0])
    """

    def __init__(
        self,
        batch: Batch,
        threat: Threat,
        *,
        period_s: float = 1.0,
        n_faces: int = 1,
        starts_s: Tensor | None = None,
    ) -> None:
        self.clean = batch
        self.still = _still(period_s, n_faces, batch.faces.shape[2:], like=batch.faces)
        self.regions = _loops(threat, self.still)
        device = batch.faces.device
        self.clip_groups = torch.zeros(len(batch.faces), dtype=torch.long, device=device)
        self.row_groups = dict.fromkeys(self.regions, self.clip_groups[:1])
        self.move(starts_s)

    def move(self, starts_s: Tensor | None) -> None:
        """Let clips begin at other places of the loop (B,)."""
        self._starts = _starts(self.clean, starts_s)

    def to_batch(self, points: Points) -> Batch:
        """Every clip with the pattern, cut to the valid range."""
        batch = self.clean
        changed = {}
        for name, clean, inside, (low, high) in (
            ("audio", batch.waveform, batch.audio_mask, (-1.0, 1.0)),
            ("visual", batch.faces, batch.mask[..., None, None], (0.0, 255.0)),
        ):
            if name in points:
                change = _looped(points[name][0], self._starts[name], clean.shape[1])
                changed[name] = torch.where(inside, (clean + change).clamp(low, high), clean)
        return replace(
            batch,
            waveform=changed.get("audio", batch.waveform),
            faces=changed.get("visual", batch.faces),
        )

    def smooth(self, points: Points) -> Batch | None:
        """None."""
        return None


def universal(
    detector: Detector,
    batches: Sequence[Batch],
    *,
    eps: float | Mapping[str, float] = 5.0,
    steps: int = 100,
    modality: str = "both",
    objective: str = "all",
    targeted: bool | str = True,
    period_s: float = 1.0,
    n_faces: int = 1,
    seed: int = 0,
    watch: Callable[[int, float], None] = lambda step, loss: None,
) -> UniversalPattern:
    """Find one pattern that misleads a detector on all clips.

    Each step takes the gradient on one batch, at a random place of the loop. All batches are
    kept: this takes as much memory as they do, and once their embeddings.

    Args:
        detector: What is attacked; it comes back as it was.
        batches: Clips, some at a time; without labels the detector's own decisions are attacked.
        eps: Push-Pull's eps_av, or a budget for each attacked modality.
        steps: Gradients, each on one batch.
        modality: "audio", "visual" or "both".
        objective: "all", "av" or "margin", a name from `pushpull.losses.OBJECTIVES`.
        targeted: "silent" or "speaking" to have every frame taken for that; True for the class that
            each frame is not; False to leave the labels, which for one pattern and many clips does
            less than True, since frames that have changed sides keep pulling.
        period_s: Length of the sound's loop.
        n_faces: Pictures of the faces' loop; 1 is a still.
        seed: Of the order of batches and the places in the loop.
        watch: Called with the steps done and the mean loss of the last batch's frames; what it
            raises stops the search.

    Returns:
        The last point: its steps have become small, and it has seen all batches.

    Raises:
        UnknownName: If there is no such modality, objective or target.
        ConfigError: If there is no batch, or a setting cannot be.
        GradientError: If a loss or gradient is not finite.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks.universal import universal
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> detector = pp.load("synthetic-a")
        >>> def people(seed):
        ...     rng = np.random.default_rng(seed)
        ...     return Batch.from_clips([draw_clip(rng, Case.SPEAKING, n_frames=8)])
        >>> pattern = universal(
        ...     detector, [people(1), people(2)], eps=10, steps=10, targeted="silent"
        ... )
        >>> other = people(3)
        >>> clean = detector(**other.inputs).score
        >>> bool(detector(**pattern.apply(other).inputs).score.mean() < clean.mean())
        True
    """
    at_least_one("steps", steps)
    threat = Threat.of(eps, modality=modality)
    if not batches:
        raise ConfigError("no batches; expected at least one")
    if not isinstance(targeted, bool) and targeted not in TARGETS:
        raise UnknownName("target", targeted, TARGETS)
    generator = torch.Generator().manual_seed(seed)
    loops = {"period_s": period_s, "n_faces": n_faces}
    ordered = sorted((_in_full(batch) for batch in batches), key=_digest_of)
    with torch.inference_mode(False), torch.no_grad(), held_still(detector):
        searches = [
            _search(detector, batch.to(detector.device), threat, objective, targeted, loops)
            for batch in ordered
        ]
        space = searches[0][0]
        deltas: Deltas = {name: torch.zeros_like(r.clean) for name, r in space.regions.items()}
        momentum = {name: torch.zeros_like(delta) for name, delta in deltas.items()}
        order: list[int] = []
        for step in range(steps):
            order = order or torch.randperm(len(searches), generator=generator).tolist()
            place, search = searches[order.pop()]
            place.move(period_s * torch.rand(len(place.clip_groups), generator=generator))
            loss, gradients = search.gradient(deltas)
            n_frames = int(place.clean.n_frames.sum())
            size = FIRST_STEP * (1 - step / steps)
            for name, region in space.regions.items():
                momentum[name].mul_(DECAY).add_(gradients[name], alpha=1 / n_frames)
                stepped = region.direction(momentum[name]).mul_(size * region.ball.eps)
                deltas[name] = region.project(stepped.add_(deltas[name]))
            watch(step + 1, float(loss) / n_frames)
        points = {name: region.place(deltas[name]) for name, region in space.regions.items()}
    still = {name: row.cpu() for name, row in space.still.items()}
    return UniversalPattern._of(points, still, threat)


def _search(
    detector: Detector,
    batch: Batch,
    threat: Threat,
    objective: str,
    targeted: bool | str,
    loops: Mapping[str, Any],
) -> tuple[PatternSpace, Search]:
    labels = batch.speaking
    if labels is None:
        labels = (detector(**batch.inputs).score > 0).long()
    if targeted is True:
        labels = 1 - labels
    elif targeted is not False:
        labels = torch.full_like(labels, TARGETS[targeted])
    goal = Goal(labels=labels, targeted=targeted is not False)
    space = PatternSpace(batch, threat, **loops)
    return space, Search(detector, space, build_objective(objective, goal))


def _still(
    period_s: float,
    n_faces: int,
    size: Sequence[int] = (FACE_SIZE, FACE_SIZE),
    like: Tensor | None = None,
) -> dict[str, Tensor]:
    """A pattern that changes nothing: (1, P) and (1, F, H, W)."""
    n_samples = round(period_s * SAMPLE_RATE_HZ)
    if n_samples < 1:
        raise ConfigError(f"period_s is {period_s}; expected the length of a loop in seconds")
    at_least_one("n_faces", n_faces)
    device = None if like is None else like.device
    return {
        "audio": torch.zeros(1, n_samples, device=device),
        "visual": torch.zeros(1, n_faces, *size, device=device),
    }


def _loops(threat: Threat, still: Mapping[str, Tensor]) -> dict[str, Region]:
    """What the rows of a pattern (1, L, ...) may become: changes within the budget."""
    regions = {}
    for name, ball in threat.balls.items():
        if ball.norm != "linf" or ball.grid is not None:
            raise ConfigError(
                f"the {name} budget is in {ball.norm}, on a grid of {ball.grid}; expected linf and "
                "no grid: clips of all lengths share a pattern"
            )
        row = torch.zeros_like(still[name])
        lengths = torch.tensor([row.shape[1]], device=row.device)
        change = Ball(eps=ball.eps, norm="linf", low=-ball.eps, high=ball.eps)
        regions[name] = Region(name, row, lengths, change)
    return regions


def _starts(batch: Batch, starts_s: Tensor | None) -> dict[str, Tensor]:
    """First sample and first picture of each clip in the loop (B,)."""
    if starts_s is None:
        starts_s = torch.zeros(len(batch.faces))
    if starts_s.shape != (len(batch.faces),) or bool((starts_s < 0).any()):
        raise ShapeError(
            f"starts_s is {tuple(starts_s.shape)}; expected {len(batch.faces)} seconds, 0 or more"
        )
    seconds, device = starts_s.double().cpu(), batch.faces.device
    return {
        "audio": (seconds * SAMPLE_RATE_HZ).round().long().to(device),
        "visual": (seconds * batch.fps.cpu()).round().long().to(device),
    }


def _looped(row: Tensor, starts: Tensor, size: int) -> Tensor:
    """A loop (L, ...) from each start (B,) on, for so many elements: (B, size, ...)."""
    places = (starts[:, None] + torch.arange(size, device=starts.device)) % len(row)
    return row.index_select(0, places.flatten()).view(*places.shape, *row.shape[1:])


def _in_full(batch: Batch) -> Batch:
    """The batch in float32, or float64 where it is."""
    tensors = {}
    for name in ("waveform", "faces"):
        value = getattr(batch, name).detach()
        tensors[name] = value if value.dtype == torch.float64 else value.float()
    return replace(batch, **tensors)


def _digest_of(batch: Batch) -> str:
    tensors = [batch.waveform, batch.faces, batch.n_samples, batch.n_frames, batch.fps]
    return _digest(*tensors, *([] if batch.speaking is None else [batch.speaking]))


def _digest(*tensors: Tensor) -> str:
    seen = hashlib.sha256()
    for tensor in tensors:
        seen.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()
