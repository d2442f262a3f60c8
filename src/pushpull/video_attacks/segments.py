"""A video cut into what an attack works on: segments of faces that hear each other's sound.

Faces that are on screen at the same time hear one sound, so an attacker has one waveform for all of
them. Tracks that share no sample do not depend on each other and are attacked apart, which keeps
batches small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks import Soundtracks
from pushpull.attacks.space import Points, Space
from pushpull.attacks.threat import Threat
from pushpull.detection import VideoClips
from pushpull.schema import Batch
from pushpull.video_attacks.codec import Codec

__all__ = ["Place", "Segment", "by_face", "groups_of", "segments_of"]

Place = tuple[slice, slice]
"""Rows and columns of a picture."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment(ABC):
    """Faces that hear each other's sound: what of them is moved, and the files that they become.

    Attributes:
        clips: The video, with these faces only.
        batch: One clip for each of them.
        score: Of the attacked detector on it (B, T), where that is known.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks import SPACES
        >>> from pushpull.video_attacks.segments import segments_of
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> [segment] = segments_of(clips, SPACES["crop"])  # of two kinds of segments
        >>> segment.span, segment.sound.starts, segment.batch.faces.shape
        ((0, 6400), tensor([0]), torch.Size([1, 10, 112, 112]))
        >>> loud = {"audio": segment.sound.waveform * 2}
        >>> bool(np.allclose(segment.heard(loud), segment.heard({}) * 2))
        True
    """

    clips: VideoClips
    batch: Batch
    score: Tensor | None = None

    @abstractmethod
    def space(self, batch: Batch, threat: Threat) -> Space:
        """What is moved, for `batch` in the place of the segment's own."""

    @abstractmethod
    def write(self, points: Points, folder: Path, codec: Codec) -> list[Path]:
        """Write what the points stand for; clean inputs where there are none."""

    @abstractmethod
    def read(self, paths: list[Path]) -> Batch:
        """The batch that a detector sees of the files."""

    @abstractmethod
    def patches(
        self, points: Points, frame: int, luma: NDArray[Any]
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Windows of a picture (H, W) of the video with their new values, before any rounding.

        Each is asked for after the one before was put in: windows may overlap.
        """

    @property
    def span(self) -> tuple[int, int]:
        """First and last sample + 1 of the video's sound that the faces hear."""
        spans = [self.clips.span(i) for i in range(len(self.clips.tracks))]
        return min(first for first, _ in spans), max(stop for _, stop in spans)

    @property
    def sound(self) -> Soundtracks:
        """Which part of the segment's sound each clip hears."""
        first, stop = self.span
        starts = [self.clips.span(i)[0] - first for i in range(len(self.clips.tracks))]
        waveform = torch.from_numpy(self.clips.waveform[first:stop])
        return Soundtracks.of_one(waveform, torch.tensor(starts))

    def rows(self, values: Tensor) -> list[NDArray[np.float64]]:
        """Valid values of each clip (T,) of (B, T)."""
        lengths = self.batch.n_frames.tolist()
        return [v[:n].double().cpu().numpy() for v, n in zip(values, lengths, strict=True)]

    def heard(self, points: Points) -> NDArray[np.float32]:
        """The sound of the segment (S,)."""
        waveform = points.get("audio", self.sound.waveform)
        samples: NDArray[np.float32] = waveform[0].detach().float().cpu().numpy()
        return samples

    def seen(self, waveform: NDArray[np.float32], faces: list[NDArray[np.uint8]]) -> Batch:
        """The batch with another sound of the segment and other faces (T, 112, 112) of clips."""
        sounds, pictures = torch.zeros_like(self.batch.waveform), torch.zeros_like(self.batch.faces)
        for i, (start, n) in enumerate(
            zip(self.sound.starts.tolist(), self.batch.n_samples.tolist(), strict=True)
        ):
            piece = torch.from_numpy(waveform[start : start + n])
            sounds[i, : len(piece)] = piece.to(sounds)
            pictures[i, : len(faces[i])] = torch.from_numpy(faces[i]).to(pictures)
        return replace(self.batch, waveform=sounds, faces=pictures)

    def paint(self, points: Points, frame: int, luma: NDArray[np.uint8]) -> None:
        """Put what was changed of the faces into a picture (H, W) of the video, rounded."""
        for here, values in self.patches(points, frame, luma):
            luma[here] = np.clip(np.rint(values), 0, 255).astype(np.uint8)

    def change(self, points: Points, frame: int, luma: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What was changed of a clean picture (H, W) of the video, before any rounding."""
        moved = luma.astype(np.float32)
        for here, values in self.patches(points, frame, moved):
            moved[here] = values
        return moved - luma


def segments_of(clips: VideoClips, make: Callable[[VideoClips], Segment]) -> list[Segment]:
    """The segments of a video in time order, without labels.

    Args:
        clips: The video.
        make: One of `pushpull.video_attacks.spaces.SPACES`.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import demo_video
        >>> from pushpull.video_attacks import SPACES
        >>> from pushpull.video_attacks.segments import segments_of
        >>> scene = demo_video("talk.mp4", duration_s=0.4, size=(320, 240))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> segments = segments_of(clips, SPACES["crop"])
        >>> [len(segment.clips.tracks) for segment in segments]  # two that hear one sound
        [2]
    """
    return [make(group) for group in groups_of(clips)]


def groups_of(clips: VideoClips) -> list[VideoClips]:
    """The faces of a video that hear each other's sound, in time order.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import demo_video
        >>> from pushpull.video_attacks.segments import groups_of
        >>> scene = demo_video("talk.mp4", duration_s=0.4, size=(320, 240))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> [[track.track_id for track in group.tracks] for group in groups_of(clips)]
        [[0, 1]]
    """
    spans = [clips.span(i) for i in range(len(clips.tracks))]
    groups: list[list[int]] = []
    reach = -1
    for i in sorted(range(len(spans)), key=lambda i: spans[i]):
        start, stop = spans[i]
        if groups and start < reach:
            groups[-1].append(i)
        else:
            groups.append([i])
        reach = max(reach, stop)
    return [clips.subset(sorted(group)) for group in groups]


def by_face(segments: Sequence[Segment], values: Iterable[Iterable[T]]) -> list[T]:
    """What there is of each face, segment by segment, in the order of the video's tracks.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import demo_video
        >>> from pushpull.video_attacks import SPACES
        >>> from pushpull.video_attacks.segments import by_face
        >>> scene = demo_video("talk.mp4", duration_s=0.4, size=(320, 240))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> apart = [SPACES["crop"](clips.subset([number])) for number in (1, 0)]
        >>> by_face(apart, [["of face 1"], ["of face 0"]])
        ['of face 0', 'of face 1']
    """
    found = {
        track.track_id: value
        for segment, row in zip(segments, values, strict=True)
        for track, value in zip(segment.clips.tracks, row, strict=True)
    }
    return [found[number] for number in sorted(found)]
