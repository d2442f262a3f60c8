"""Carriers of tensors: faces and sound, and what a detector makes of them.

Shape letters: B clips, T video frames, S audio samples (16 kHz), H = W = 112 pixels, D embedding,
A = 4T audio feature rows. Values: waveform in [-1, 1], faces in grey levels 0..255. Boxes are
(x1, y1, x2, y2) in pixels of the upright picture, as floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pushpull.errors import ShapeError

__all__ = [
    "FACE_SIZE",
    "GRID",
    "SAMPLE_RATE_HZ",
    "Batch",
    "Clip",
    "Output",
    "Track",
    "brief",
    "check_inputs",
    "int16_samples",
    "length_mask",
]

SAMPLE_RATE_HZ = 16_000
FACE_SIZE = 112

GRID = {"audio": 2.0**-15, "visual": 1.0}
"""Steps of what a file holds: int16 samples and 8-bit pixels."""


def int16_samples(waveform: NDArray[np.floating]) -> NDArray[np.int16]:
    """The samples that a file holds of a waveform in [-1, 1]: the nearest sample / 32768.

    Examples:
        >>> from pushpull.schema import int16_samples
        >>> int16_samples(np.array([0.0, 0.5, -1.0, 1.0]))
        array([     0,  16384, -32768,  32767], dtype=int16)
    """
    samples: NDArray[np.int16] = np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype("<i2")
    return samples


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Mask (B, size) bool of lengths (B,), true where an element lies inside its clip.

    Examples:
        >>> from pushpull.schema import length_mask
        >>> length_mask(torch.tensor([3, 1]), 3)
        tensor([[ True,  True,  True],
                [ True, False, False]])
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]


LOUDEST = 1000.0
"""A sample above it is no share of full scale: noise may pass 1 by much, but int16 passes this."""


def check_loudness(waveform: Tensor) -> None:
    """Refuse samples that are no shares of full scale.

    Examples:
        >>> from pushpull.schema.tensors import check_loudness
        >>> check_loudness(torch.tensor([-7650.0, 12.0]))
        Traceback (most recent call last):
            ...
        pushpull.errors.ShapeError: waveform has values up to 7650; expected -1..1: divide what was
        int16 by 32768
    """
    loudest = float(waveform.detach().abs().max()) if waveform.numel() else 0.0
    if loudest > LOUDEST:
        raise ShapeError(
            f"waveform has values up to {loudest:.6g}; expected -1..1: divide what was int16 by "
            "32768"
        )


def check_inputs(waveform: Tensor, faces: Tensor, speaking: Tensor | None = None) -> None:
    """Refuse sound, faces or labels of one's own that have another type or range than is meant.

    Args:
        waveform: Any shape, float in [-1, 1].
        faces: Any shape, uint8 or float grey levels 0..255.
        speaking: Any shape, 0 or 1.

    Raises:
        ShapeError: If one has.

    Examples:
        >>> from pushpull.schema import check_inputs
        >>> check_inputs(torch.zeros(640), torch.rand(1, 112, 112))
        Traceback (most recent call last):
            ...
        pushpull.errors.ShapeError: faces are shares of 0..1; expected grey levels 0..255: multiply
        by 255
    """
    if not waveform.is_floating_point():
        raise ShapeError(
            f"waveform is {waveform.dtype}; expected float in -1..1: divide int16 by 32768"
        )
    check_loudness(waveform)
    if faces.dtype != torch.uint8:
        if not faces.is_floating_point():
            raise ShapeError(f"faces is {faces.dtype}; expected uint8 or float grey levels 0..255")
        seen = faces.detach()
        # Black pictures hold nothing above 1 either, but whole numbers.
        if seen.numel() and 0 < float(seen.max()) <= 1 and bool((seen != seen.round()).any()):
            raise ShapeError(
                "faces are shares of 0..1; expected grey levels 0..255: multiply by 255"
            )
    if speaking is not None and not bool(((speaking == 0) | (speaking == 1)).all()):
        odd = speaking[(speaking != 0) & (speaking != 1)].flatten()[0].item()
        raise ShapeError(f"speaking holds {odd:g}; expected 0 or 1, where the face speaks audibly")


def _check_tensor(name: str, value: object, what: str) -> None:
    if not torch.is_tensor(value):
        raise ShapeError(
            f"{name} is a {type(value).__name__}; expected a torch.Tensor {what}: "
            "torch.as_tensor makes one of lists and NumPy's arrays"
        )


def brief(carrier: Any) -> str:
    """A dataclass in a line: of tensors and arrays their type and shape.

    Examples:
        >>> from pushpull.schema import Clip
        >>> Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        Clip(waveform=float32 (640,), faces=float32 (1, 112, 112), fps=25.0, speaking=None)
    """
    return _brief(carrier)


def _brief(value: Any) -> str:
    if torch.is_tensor(value) or isinstance(value, np.ndarray):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_brief(of)}" for key, of in value.items()) + "}"
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return f"{len(value)} {type(value[0]).__name__}"
    if is_dataclass(value):
        held = (f"{f.name}={_brief(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({', '.join(held)})"
    return repr(value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """One face followed through consecutive video frames.

    Attributes:
        track_id: Number of the track in its video, from 0.
        frames: Frame numbers (N,) int64, consecutive.
        timestamps_s: Presentation time of each frame (N,) float64.
        boxes: Smoothed boxes (N, 4) float64, pixels of the upright picture.
        detected: True where a detector saw the face (N,) bool; false where interpolated or tracked.

    Examples:
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.array([5, 6]),
        ...     timestamps_s=np.array([0.2, 0.24]),
        ...     boxes=np.array([[10.0, 10.0, 60.0, 70.0]] * 2),
        ...     detected=np.array([True, False]),
        ... )
        >>> len(track)
        2
    """

    track_id: int
    frames: NDArray[np.int64]
    timestamps_s: NDArray[np.float64]
    boxes: NDArray[np.float64]
    detected: NDArray[np.bool_]

    __repr__ = brief

    def __post_init__(self) -> None:
        n = len(self.frames)
        if n == 0 or self.boxes.shape != (n, 4) or len(self.timestamps_s) != n:
            raise ShapeError(
                f"track {self.track_id}: {n} frames, {len(self.timestamps_s)} timestamps and boxes "
                f"{self.boxes.shape}; expected N > 0 frames, N timestamps and boxes (N, 4)"
            )
        if len(self.detected) != n or not np.all(np.diff(self.frames) == 1):
            raise ShapeError(f"track {self.track_id}: frames must be consecutive, one flag each")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """One face track as a detector sees it.

    Attributes:
        waveform: Audio under the track (S,) float32 in [-1, 1] at 16 kHz.
        faces: Grey face crops (T, 112, 112), uint8 or float 0..255.
        fps: Video frames per second.
        speaking: Labels (T,) int64, 1 where the face speaks audibly; None if not known.

    Examples:
        >>> from pushpull.schema import Clip
        >>> faces = torch.zeros(2, 112, 112, dtype=torch.uint8)
        >>> labels = torch.tensor([0, 1])
        >>> clip = Clip(waveform=torch.zeros(1280), faces=faces, fps=25.0, speaking=labels)
        >>> Clip(waveform=torch.zeros(1280), faces=faces[0], fps=25.0)
        Traceback (most recent call last):
            ...
        pushpull.errors.ShapeError: faces is (112, 112); expected (T, H, W) with T > 0
    """

    waveform: Tensor
    faces: Tensor
    fps: float
    speaking: Tensor | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        _check_tensor("waveform", self.waveform, "(S,)")
        _check_tensor("faces", self.faces, "(T, H, W)")
        if self.speaking is not None:
            _check_tensor("speaking", self.speaking, "(T,)")
        if self.waveform.dim() != 1 or self.waveform.numel() == 0:
            raise ShapeError(f"waveform is {tuple(self.waveform.shape)}; expected (S,) with S > 0")
        if self.faces.dim() != 3 or self.faces.shape[0] == 0:
            raise ShapeError(f"faces is {tuple(self.faces.shape)}; expected (T, H, W) with T > 0")
        if isinstance(self.fps, str) or not 0 < self.fps < math.inf:
            raise ShapeError(f"fps is {self.fps!r}; expected a positive number")
        if self.speaking is not None and self.speaking.shape != self.faces.shape[:1]:
            raise ShapeError(
                f"speaking is {tuple(self.speaking.shape)}; expected ({self.faces.shape[0]},)"
            )
        check_inputs(self.waveform, self.faces, self.speaking)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Clips of any lengths, padded with zeros at their ends.

    Attributes:
        waveform: (B, S) float in [-1, 1], 16 kHz.
        faces: (B, T, H, W) float grey levels 0..255.
        n_samples: Valid samples of each clip (B,) int64.
        n_frames: Valid frames of each clip (B,) int64.
        fps: Video frames per second of each clip (B,) float64.
        speaking: Labels (B, T) int64 or None; padded frames are 0.

    Examples:
        >>> from pushpull.schema import Batch, Clip
        >>> clips = [
        ...     Clip(waveform=torch.zeros(640 * n), faces=torch.zeros(n, 112, 112), fps=25.0)
        ...     for n in (2, 3)
        ... ]
        >>> batch = Batch.from_clips(clips)
        >>> batch.faces.shape, batch.waveform.shape
        (torch.Size([2, 3, 112, 112]), torch.Size([2, 1920]))
        >>> batch.mask
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """

    waveform: Tensor
    faces: Tensor
    n_samples: Tensor
    n_frames: Tensor
    fps: Tensor
    speaking: Tensor | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        b, t = "B", "T"
        shapes: dict[str, tuple[int | str, ...]] = {
            "faces": (b, t, "H", "W"),
            "waveform": (b, "S"),
            "n_samples": (b,),
            "n_frames": (b,),
            "fps": (b,),
            "speaking": (b, t),
        }
        sizes: dict[int | str, int] = {}
        for name, letters in shapes.items():
            value = getattr(self, name)
            if value is None and name == "speaking":
                continue
            shown = f"({', '.join(map(str, letters))}{',' * (len(letters) == 1)})"
            _check_tensor(name, value, shown)
            fits = value.dim() == len(letters) and all(
                sizes.setdefault(letter, size) == size
                for letter, size in zip(letters, value.shape, strict=True)
            )
            if not fits:
                raise ShapeError(f"{name} is {tuple(value.shape)}; expected {shown}")

    @classmethod
    def from_clips(cls, clips: Iterable[Clip], *, keep_bytes: bool = False) -> Batch:
        """Pad clips to one batch, faces as float32.

        Args:
            clips: At least one.
            keep_bytes: Leave uint8 faces as they are, a quarter of the size, for `as_float` later.

        Returns:
            With labels where every clip has some.

        Raises:
            ShapeError: If there is no clip, or their faces have different sizes.

        Examples:
            >>> from pushpull.schema import Batch
            >>> from pushpull.synthetic import Case, draw_clip
            >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
            >>> Batch.from_clips([clip]).faces.dtype
            torch.float32
            >>> Batch.from_clips([clip], keep_bytes=True).faces.dtype
            torch.uint8
        """
        if isinstance(clips, Clip):
            raise ShapeError("clips is one Clip; expected a list: Batch.from_clips([clip])")
        clips = list(clips)
        if not clips:
            raise ShapeError("no clips; expected at least one")
        for number, clip in enumerate(clips):
            if not isinstance(clip, Clip):
                raise ShapeError(f"clip {number} is a {type(clip).__name__}; expected a Clip")
            if clip.faces.shape[1:] != clips[0].faces.shape[1:]:
                raise ShapeError(
                    f"faces of clip {number} are {tuple(clip.faces.shape[1:])} pixels, of clip 0 "
                    f"{tuple(clips[0].faces.shape[1:])}; expected one size"
                )
        n_samples = torch.tensor([c.waveform.shape[0] for c in clips])
        n_frames = torch.tensor([c.faces.shape[0] for c in clips])
        s, t = int(n_samples.max()), int(n_frames.max())
        speaking = None
        if all(c.speaking is not None for c in clips):
            speaking = torch.stack(
                [
                    F.pad(c.speaking.long(), (0, t - len(c.speaking)))
                    for c in clips
                    if c.speaking is not None
                ]
            )
        kept = keep_bytes and all(c.faces.dtype == torch.uint8 for c in clips)
        shape = (len(clips), t, *clips[0].faces.shape[1:])
        faces = torch.empty(shape, dtype=torch.uint8 if kept else torch.float32)
        for row, clip in zip(faces, clips, strict=True):
            row[: len(clip.faces)] = clip.faces
            row[len(clip.faces) :] = 0
        return cls(
            waveform=torch.stack([F.pad(c.waveform, (0, s - len(c.waveform))) for c in clips]),
            faces=faces,
            n_samples=n_samples,
            n_frames=n_frames,
            fps=torch.tensor([c.fps for c in clips], dtype=torch.float64),
            speaking=speaking,
        )

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; rates stay where they are, since only their values are used."""
        speaking = None if self.speaking is None else self.speaking.to(device)
        moved = (t.to(device) for t in (self.waveform, self.faces, self.n_samples, self.n_frames))
        waveform, faces, n_samples, n_frames = moved
        return Batch(
            waveform=waveform,
            faces=faces,
            n_samples=n_samples,
            n_frames=n_frames,
            fps=self.fps,
            speaking=speaking,
        )

    def as_float(self) -> Batch:
        """The batch with float32 faces, where it kept bytes."""
        return self if self.faces.is_floating_point() else replace(self, faces=self.faces.float())

    def rows(self, chosen: Tensor | Sequence[int]) -> Batch:
        """Some of the clips (N,), by number, with the padding that they have."""
        chosen = torch.as_tensor(chosen).reshape(-1)
        held = {
            name: getattr(self, name)
            for name in ("waveform", "faces", "n_samples", "n_frames", "fps")
        }
        # On a GPU the frame rate stays where it is computed with.
        picked: dict[str, Any] = {name: x[chosen.to(x.device)] for name, x in held.items()}
        speaking = None if self.speaking is None else self.speaking[chosen.to(self.speaking.device)]
        return replace(self, **picked, speaking=speaking)

    @property
    def mask(self) -> Tensor:
        """Valid frames (B, T) bool."""
        return length_mask(self.n_frames, self.faces.shape[1])

    @property
    def audio_mask(self) -> Tensor:
        """Valid samples (B, S) bool."""
        return length_mask(self.n_samples, self.waveform.shape[1])

    @property
    def inputs(self) -> dict[str, Any]:
        """What a detector is called with: `detector(**batch.inputs)`.

        Examples:
            >>> from pushpull.models import build
            >>> from pushpull.schema import Batch
            >>> from pushpull.synthetic import Case, draw_clip
            >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
            >>> build("light_asd")(**Batch.from_clips([clip]).inputs).score.shape
            torch.Size([1, 2])
        """
        return {
            "waveform": self.waveform,
            "faces": self.faces,
            "fps": self.fps,
            "n_samples": self.n_samples,
            "n_frames": self.n_frames,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Output:
    """What every detector returns. Values on padded frames mean nothing.

    Attributes:
        logits: (B, T, 2), class 0 not speaking, class 1 speaking; from both modalities.
        mask: Valid frames (B, T) bool.
        logits_a: (B, T, 2) of the audio head, where the model has one.
        logits_v: (B, T, 2) of the visual head, where the model has one.
        e_a: Audio embeddings (B, T, D) before fusion.
        e_v: Visual embeddings (B, T, D) before fusion.
        z_a: Audio embeddings after cross-attention, where the model has it.
        z_v: Visual embeddings after cross-attention, where the model has it.

    Examples:
        >>> from pushpull.schema import Output
        >>> output = Output(logits=torch.tensor([[[0.0, 2.0]]]), mask=torch.tensor([[True]]))
        >>> output.score
        tensor([[2.]])
    """

    logits: Tensor
    mask: Tensor
    logits_a: Tensor | None = None
    logits_v: Tensor | None = None
    e_a: Tensor | None = None
    e_v: Tensor | None = None
    z_a: Tensor | None = None
    z_v: Tensor | None = None

    __repr__ = brief

    @property
    def score(self) -> Tensor:
        """Log-odds of speaking (B, T): the logit difference, which does not saturate."""
        return self.logits[..., 1] - self.logits[..., 0]
