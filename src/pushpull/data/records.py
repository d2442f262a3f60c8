"""One track of a data set: what a detector sees, what is true, and where it is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.errors import DatasetError
from pushpull.schema import SAMPLE_RATE_HZ, Clip, int16_samples

__all__ = ["SPLITS", "Example", "Tracks", "as_read_back"]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A labelled face track.

    Attributes:
        track_id: Name of the track, unique in its split (AVA's entity_id).
        video_id: Video that it is from.
        clip: Faces (T, 112, 112) uint8, waveform (S,) on the int16 grid, labels (T,).
        timestamps_s: Time of each frame in its video (T,), rising.
        boxes: (x1, y1, x2, y2) in shares of the picture's size (T, 4), 0..1.
        person: Who is seen, where that is known.
        case: Which relation of mouth and sound it shows, where that is known.

    Examples:
        >>> from pushpull.data import Example
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> example = Example(
        ...     track_id="talk:1",
        ...     video_id="talk",
        ...     clip=clip,
        ...     timestamps_s=np.array([0.0, 0.04]),
        ...     boxes=np.array([[0.2, 0.2, 0.6, 0.8]] * 2),
        ... )
        >>> example.clip.speaking
        tensor([1, 1])
    """

    track_id: str
    video_id: str
    clip: Clip
    timestamps_s: NDArray[np.float64]
    boxes: NDArray[np.float64]
    person: str = ""
    case: str = ""

    def __post_init__(self) -> None:
        n = len(self.clip.faces)
        if self.clip.speaking is None:
            raise DatasetError(f"track {self.track_id}: has no labels; expected {n}")
        if self.timestamps_s.shape != (n,) or self.boxes.shape != (n, 4):
            raise DatasetError(
                f"track {self.track_id}: {n} faces, timestamps {self.timestamps_s.shape} and boxes "
                f"{self.boxes.shape}; expected ({n},) and ({n}, 4)"
            )

    def window(self, n_frames: int, seed: Sequence[int]) -> Example:
        """At most so many frames of it, with their sound, at a place that the seed decides.

        Examples:
            >>> from pathlib import Path
            >>> from pushpull.data import SynthConfig, open_tracks, write_synth
            >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=6, max_frames=6))
            >>> part = open_tracks(Path("synthetic"), "val")[0].window(4, seed=(0, 1))
            >>> len(part.clip.faces), part.clip.waveform.shape
            (4, torch.Size([2560]))
        """
        clip, n = self.clip, len(self.clip.faces)
        if n <= n_frames:
            return self
        first = int(np.random.default_rng(seed).integers(n - n_frames + 1))
        samples = [round(at / clip.fps * SAMPLE_RATE_HZ) for at in (first, first + n_frames)]
        assert clip.speaking is not None  # noqa: S101
        # Sound may be a little shorter than the faces.
        sound = clip.waveform[samples[0] : samples[1]]
        kept = slice(first, first + n_frames)
        return replace(
            self,
            clip=replace(
                clip,
                waveform=sound if len(sound) else clip.waveform[-1:],
                faces=clip.faces[kept],
                speaking=clip.speaking[kept],
            ),
            timestamps_s=self.timestamps_s[kept],
            boxes=self.boxes[kept],
        )


class Tracks(Protocol):
    """A split of a data set, at random access.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=6, max_frames=6))
        >>> tracks = open_tracks(Path("synthetic"), "val")  # satisfies it
        >>> tracks.n_frames, tracks.clip(0).speaking.shape
        (array([6]), torch.Size([6]))
    """

    @property
    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each track (N,)."""

    @property
    def track_ids(self) -> list[str]:
        """Name of each track."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def clip(self, index: int) -> Clip:
        """What is learnt from a track, perhaps on the file's bytes: not to be written to."""

    def waveform(self, index: int) -> Tensor:
        """The sound of a track alone (S,), which is less to read than all of it."""


def as_read_back(waveform: NDArray[np.floating]) -> Tensor:
    """A waveform in [-1, 1] as storage gives it back, float32 on the int16 grid.

    Examples:
        >>> from pushpull.data.records import as_read_back
        >>> as_read_back(np.array([0.5, 1.0]))
        tensor([0.5000, 1.0000])
    """
    return torch.from_numpy(int16_samples(waveform).astype(np.float32) / 32768)
