"""One adversary of a whole video, as found and as read back from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pushpull.attacks.space import Points
from pushpull.schema import Batch, FrameScores

__all__ = ["TrackAttack", "Variant"]


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
        scores: By how it reached the detector: "as found", "lossless", "h264 ..."; tracks have the
            numbers of their places in the video's list.
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
    scores: Mapping[str, FrameScores]
    tracks: tuple[TrackAttack, ...]
    vanished: tuple[str, ...]
    forwards: int
    backwards: int
    seconds: float
    curves: tuple[tuple[float, ...], ...]
