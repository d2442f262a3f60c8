"""What an attack moves, and what the detector sees of it.

An attack moves tensors, one for each attacked modality, inside their regions and knows nothing else
about them. A space says which tensors those are and how a batch is made from them: the clips
themselves, or the sound of a whole video that several clips hear. Whatever can be written
as a differentiable `to_batch` (pixels of a video, a codec) is one more space.

Clips that share a tensor belong to one group: they get better or worse together, so losses are
compared group by group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.attacks.threat import Region, Threat
from pushpull.errors import ShapeError
from pushpull.schema import GRID, Batch

__all__ = [
    "CropSpace",
    "Deltas",
    "Points",
    "Soundtracks",
    "Space",
    "SpaceBuilder",
    "VideoSpace",
    "on_grid",
]

Points: TypeAlias = dict[str, Tensor]
"""What a moved tensor has become, for each attacked modality."""

Deltas: TypeAlias = dict[str, Tensor]
"""How far it has been moved, likewise."""


class Space(Protocol):
    """Tensors to move and the batch that they make.

    Examples:
        >>> from pushpull.attacks.space import CropSpace
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> space = CropSpace(Batch.from_clips([clip]), Threat.of(5))  # one of them
        >>> points = {name: region.clean for name, region in space.regions.items()}
        >>> space.to_batch(points).faces.shape, space.clip_groups
        (torch.Size([1, 1, 112, 112]), tensor([0]))
    """

    @property
    def clean(self) -> Batch:
        """The batch before the attack."""
        ...

    @property
    def regions(self) -> Mapping[str, Region]:
        """What each moved tensor may become."""
        ...

    @property
    def row_groups(self) -> Mapping[str, Tensor]:
        """Group of each row of each moved tensor (N,)."""
        ...

    @property
    def clip_groups(self) -> Tensor:
        """Group of each clip (B,), numbered from 0."""
        ...

    def to_batch(self, points: Points) -> Batch:
        """The batch for these points, differentiable in them."""
        ...

    def smooth(self, points: Points) -> Batch | None:
        """A batch to take gradients of where `to_batch` has none of use; None where it has."""
        ...


class SpaceBuilder(Protocol):
    """What makes the space of a batch.

    Examples:
        >>> from pushpull.attacks.space import CropSpace
        >>> from pushpull.attacks.threat import Threat
        >>> def faces_only(batch, threat):  # what `attack` takes as `space`
        ...     return CropSpace(batch, Threat(balls={"visual": threat.balls["visual"]}))
    """

    def __call__(self, batch: Batch, threat: Threat) -> Space:
        """The space of `batch` in which `threat` holds."""
        ...


class CropSpace:
    """The waveform and the face crops of each clip, as in Push-Pull.

    Args:
        batch: Clips, float.
        threat: Budgets and ranges of the modalities that are moved.
        apart: Whether a clip can be attacked without the others; a detector of a certain batch
            needs them all.

    Raises:
        ShapeError: If an input is no float, out of range, or off the threat's grid.

    Examples:
        >>> from pushpull.attacks.space import CropSpace
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> space = CropSpace(Batch.from_clips([clip] * 2), Threat.of(5, modality="audio"))
        >>> list(space.regions), space.clip_groups
        (['audio'], tensor([0, 1]))
    """

    def __init__(self, batch: Batch, threat: Threat, *, apart: bool = True) -> None:
        self.clean, self._threat, self.apart = batch, threat, apart
        inputs = {
            "audio": (batch.waveform, batch.n_samples),
            "visual": (batch.faces, batch.n_frames),
        }
        self.regions = {
            name: Region(name, *inputs[name], ball) for name, ball in threat.balls.items()
        }
        self.clip_groups = torch.arange(len(batch.faces), device=batch.faces.device)
        self.row_groups = dict.fromkeys(self.regions, self.clip_groups)

    def to_batch(self, points: Points) -> Batch:
        """The batch with the points in the place of its inputs."""
        return replace(
            self.clean,
            waveform=points.get("audio", self.clean.waveform),
            faces=points.get("visual", self.clean.faces),
        )

    def smooth(self, points: Points) -> Batch | None:
        """None."""
        return None

    def narrowed(self, clips: Tensor) -> CropSpace:
        """The space of some of the clips."""
        return CropSpace(self.clean.rows(clips), self._threat)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Soundtracks:
    """Which part of which video's sound each clip of a batch hears.

    Attributes:
        waveform: Sound of whole videos (V, S) in [-1, 1] at 16 kHz, padded at the end.
        n_samples: Valid samples of each video (V,).
        video: Video of each clip (B,).
        starts: First sample of each clip in its video (B,).

    Examples:
        >>> from pushpull.attacks import Soundtracks, attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch = Batch.from_clips([clip] * 2)  # two faces that hear the same
        >>> heard = Soundtracks.of_one(clip.waveform, starts=torch.tensor([0, 0]))
        >>> attacked = attack(build("light_asd"), batch, "fgsm", modality="audio", space=heard)
        >>> torch.equal(attacked.waveform[0], attacked.waveform[1])
        True
    """

    waveform: Tensor
    n_samples: Tensor
    video: Tensor
    starts: Tensor

    @classmethod
    def of_one(cls, waveform: Tensor, starts: Tensor) -> Soundtracks:
        """All clips from one video.

        Args:
            waveform: Sound of the video (S,) in [-1, 1] at 16 kHz.
            starts: First sample of each clip (B,).
        """
        return cls(
            waveform=waveform[None],
            n_samples=torch.tensor([len(waveform)]),
            video=torch.zeros(len(starts), dtype=torch.long),
            starts=starts,
        )

    def __call__(self, batch: Batch, threat: Threat) -> VideoSpace:
        """The space in which clips of a video share its sound: a `SpaceBuilder`."""
        return VideoSpace(batch, threat, self)


class VideoSpace:
    """One sound for each video, heard by all its face tracks, and faces for each track.

    The budget of the audio is one for the whole video. Where only faces are attacked, clips do not
    touch each other.

    Args:
        batch: Clips, float.
        threat: Budgets and ranges of the modalities that are moved.
        sound: Which part of which video's sound each clip hears.

    Raises:
        ShapeError: If a clip's waveform is not its part of the sound, or an input is no float, out
            of range, or off the threat's grid.

    Examples:
        >>> from pushpull.attacks.space import Soundtracks, VideoSpace
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> heard = Soundtracks.of_one(torch.zeros(16_000), starts=torch.tensor([0, 8000]))
        >>> space = VideoSpace(Batch.from_clips([clip] * 2), Threat.of(5), heard)
        >>> space.regions["audio"].clean.shape, space.clip_groups  # one sound, one group
        (torch.Size([1, 16000]), tensor([0, 0]))
    """

    def __init__(self, batch: Batch, threat: Threat, sound: Soundtracks) -> None:
        faces_only = {name: ball for name, ball in threat.balls.items() if name != "audio"}
        self._crops = CropSpace(batch, Threat(balls=faces_only))
        self._sound = sound
        self.clean = batch
        self.regions = dict(self._crops.regions)
        self.row_groups: dict[str, Tensor] = dict(self._crops.row_groups)
        self.clip_groups = self._crops.clip_groups
        self._check(batch)
        if "audio" in threat.balls:
            device = batch.faces.device
            waveform = sound.waveform.to(batch.waveform)
            self.regions["audio"] = Region(
                "audio", waveform, sound.n_samples.to(device), threat.balls["audio"]
            )
            self.clip_groups = sound.video.to(device)
            self.row_groups = dict.fromkeys(self.regions, self.clip_groups)
            self.row_groups["audio"] = torch.arange(len(waveform), device=device)

    def to_batch(self, points: Points) -> Batch:
        """Each clip with its part of the sound and its faces."""
        batch = self._crops.to_batch({k: v for k, v in points.items() if k != "audio"})
        if "audio" not in points:
            return batch
        return replace(batch, waveform=self._heard(points["audio"]))

    def smooth(self, points: Points) -> Batch | None:
        """None."""
        return None

    def _heard(self, waveform: Tensor) -> Tensor:
        size = self.clean.waveform.shape[1]
        parts = zip(
            self._sound.video.tolist(),
            self._sound.starts.tolist(),
            self.clean.n_samples.tolist(),
            strict=True,
        )
        return torch.stack([F.pad(waveform[v, s : s + n], (0, size - n)) for v, s, n in parts])

    def _check(self, batch: Batch) -> None:
        sound, b = self._sound, len(batch.faces)
        if sound.waveform.dim() != 2 or sound.video.shape != (b,) or sound.starts.shape != (b,):
            raise ShapeError(
                f"soundtracks {tuple(sound.waveform.shape)}, video {tuple(sound.video.shape)}, "
                f"starts {tuple(sound.starts.shape)}; expected (V, S), ({b},), ({b},)"
            )
        ends = sound.starts + batch.n_samples.to(sound.starts)
        fits = (sound.starts >= 0) & (ends <= sound.n_samples[sound.video])
        if not bool(fits.all()):
            clip = int((~fits).nonzero()[0, 0])
            raise ShapeError(
                f"clip {clip} hears samples {int(sound.starts[clip])}..{int(ends[clip])}; its "
                f"video has {int(sound.n_samples[sound.video[clip]])}"
            )
        heard = self._heard(sound.waveform.to(batch.waveform))
        same = ((heard == batch.waveform) | ~batch.audio_mask).all(1)
        if not bool(same.all()):
            clip = int((~same).nonzero()[0, 0])
            raise ShapeError(
                f"the waveform of clip {clip} is not its part of the soundtrack; expected samples "
                f"{int(sound.starts[clip])}..{int(ends[clip])} of video {int(sound.video[clip])}"
            )


def on_grid(batch: Batch) -> Batch:
    """The batch as a file holds it: 8-bit pixels and int16 samples, as floats.

    Examples:
        >>> from pushpull.attacks.space import on_grid
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.ones(640), faces=torch.full((1, 112, 112), 99.6), fps=25.0)
        >>> batch = on_grid(Batch.from_clips([clip]))
        >>> float(batch.faces.max()), float(batch.waveform.max())
        (100.0, 0.999969482421875)
    """
    step = GRID["audio"]
    return replace(
        batch,
        waveform=(batch.waveform / step).round().mul(step).clamp(-1.0, 1.0 - step),
        faces=batch.faces.round().clamp(0.0, 255.0),
    )
