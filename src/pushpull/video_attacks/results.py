"""What an attack on a video found: per face and overall, as found and as read back from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.attacks.space import Points
from pushpull.detection import VideoClips
from pushpull.detection.clips import ClipGrid
from pushpull.metrics import average_precision
from pushpull.schema import Batch
from pushpull.video_attacks.files import Files
from pushpull.video_attacks.segments import Segment

__all__ = [
    "Quality",
    "Scores",
    "TrackAttack",
    "Variant",
    "VideoAttack",
    "accuracy_of",
    "ap_of",
    "quality_of",
]

Scores = tuple[NDArray[np.float64], ...]
"""Log-odds (T,) of each track on its grid."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well scores agree with labels.

    Attributes:
        accuracy: Share of frames on the right side of 0.
        ap: AVA's average precision as a share; None where no frame is speaking.
        accuracy_of_right: Accuracy on the frames that the clean detector gets right; None where
            there are none.
        frames: How many frames.
    """

    accuracy: float
    ap: float | None
    accuracy_of_right: float | None
    frames: int


def quality_of(
    scores: Sequence[NDArray[np.float64]],
    speaking: Sequence[NDArray[np.int64]],
    clean: Sequence[NDArray[np.float64]],
) -> Quality:
    """Quality over the frames of some tracks together, each (T,)."""
    s, y, c = np.concatenate(scores), np.concatenate(speaking) == 1, np.concatenate(clean)
    right = (c > 0) == y
    return Quality(
        accuracy=accuracy_of(s, y),
        ap=ap_of(s, y),
        accuracy_of_right=accuracy_of(s[right], y[right]) if right.any() else None,
        frames=len(s),
    )


def accuracy_of(scores: NDArray[np.float64], speaking: NDArray[np.bool_]) -> float:
    """Share of frames (N,) on the right side of 0."""
    return float(((scores > 0) == speaking).mean())


def ap_of(scores: NDArray[np.float64], speaking: NDArray[np.bool_]) -> float | None:
    """AVA's average precision of frames (N,) as a share; None where none is speaking."""
    return average_precision(scores, speaking) if speaking.any() else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackAttack:
    """One face: its change and what it costs to see or hear it.

    Attributes:
        track: Position in the video's list.
        audio_linf: Largest change of a sample under the face.
        visual_linf: Largest change of a pixel of its crops, in grey levels.
        snr_db: Of its sound.
        psnr_db: Of its crops.
        ssim: Of its crops.
    """

    track: int
    audio_linf: float
    visual_linf: float
    snr_db: float
    psnr_db: float
    ssim: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variant:
    """One adversary of the whole video.

    Attributes:
        name: "float", "quantised" or "through codec".
        points: What was moved in each segment.
        batches: What a detector sees of it, for each segment, before any file.
        scores: By how it reached the detector: "as found", "lossless", "h264 ...".
        tracks: Change of each face, in the order of the video's tracks.
        vanished: Modalities whose budget is below one step of the grid.
        forwards: Evaluations of a segment by the attacked detector during the search.
        backwards: Those of them with a gradient.
        seconds: Wall time of the search.
        curves: Mean loss per frame of each track at each evaluation.
    """

    name: str
    points: tuple[Points, ...]
    batches: tuple[Batch, ...]
    scores: Mapping[str, Scores]
    tracks: tuple[TrackAttack, ...]
    vanished: tuple[str, ...]
    forwards: int
    backwards: int
    seconds: float
    curves: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoAttack:
    """A video and its adversaries.

    Attributes:
        name: Of the video in outputs.
        clips: The clean video.
        segments: Its parts.
        files: How each part becomes files.
        speaking: Labels (T,) of each track on its grid that were attacked.
        clean: Scores of the clean video, by how it reached the detector.
        variants: Adversaries; the last is the one that was asked for.
        settings: Everything that was asked for, defaults included.
        seconds: Wall time by stage.
        notes: Anything the user should know.
    """

    name: str
    clips: VideoClips
    segments: tuple[Segment, ...]
    files: tuple[Files, ...]
    speaking: tuple[NDArray[np.int64], ...]
    clean: Mapping[str, Scores]
    variants: tuple[Variant, ...]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def adversary(self) -> Variant:
        """What was asked for."""
        return self.variants[-1]

    def quality(self, scores: Scores, tracks: Sequence[int] | None = None) -> Quality:
        """How well scores agree with the labels, over some tracks or all."""
        chosen = range(len(self.speaking)) if tracks is None else tracks
        clean = self.clean["as found"]
        return quality_of(
            [scores[i] for i in chosen],
            [self.speaking[i] for i in chosen],
            [clean[i] for i in chosen],
        )

    def on_frames(self, scores: Scores) -> Scores:
        """Scores (N,) of each track's own frames."""
        grids: Sequence[ClipGrid] = self.clips.grids
        return tuple(s[grid.grid_of_frame] for s, grid in zip(scores, grids, strict=True))
