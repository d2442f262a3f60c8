"""A video in one form: clean, or as one search has changed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks.space import Points
from pushpull.detection import ScoredTrack, VideoClips
from pushpull.media import Frame
from pushpull.metrics.imperceptibility import imperceptibility
from pushpull.schema import Batch, FrameScores
from pushpull.video_attacks.segments import Segment, by_face

__all__ = ["TrackChange", "Variant"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackChange:
    """What was changed of one face, and what it costs to see or hear it.

    Attributes:
        audio_linf: Largest change of a sample under the face.
        visual_linf: Largest change of a pixel of its crops, in grey levels.
        snr_db: Of its sound.
        psnr_db: Of its crops.
        ssim: Of its crops.

    Examples:
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> how = {"face_finder": "dlib", "modality": "visual"}
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", eps=5, **how)
        >>> [change] = found.asked.changes  # of one face
        >>> change.visual_linf, change.audio_linf, change.snr_db
        (0.5, 0.0, inf)
    """

    audio_linf: float
    visual_linf: float
    snr_db: float
    psnr_db: float
    ssim: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variant:
    """The whole video in one form.

    Attributes:
        name: "clean", "float", "quantised" or "through codec".
        segments: The clean video.
        points: What was moved in each segment; empty where nothing was.
        batches: What a detector sees of it, for each segment, before any file.
        vanished: Modalities whose budget is below one step of the grid.
        forwards: Evaluations of a segment by the attacked detector during the search.
        backwards: Those of them with a gradient.
        losses: Mean loss per frame (E, B) of each segment's faces at each evaluation.
        notes: Anything the user should know of the search.
        known: Scores (B, T) of each segment that are known already, by how it reached the detector.
        scores: By how it reached the detector: "as found", "lossless", "h264 ..."; frames are those
            of each track's grid, tracks have the numbers of their places in the video's list. Empty
            until it is measured.

    Examples:
        >>> from pushpull.media import read_frames
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", eps=5, face_finder="dlib")
        >>> clean, moved = found.variants
        >>> float(np.abs(moved.sound() - clean.sound()).max())
        0.0005
        >>> frame = next(read_frames("talk.mp4"))
        >>> moved.picture(frame).shape, moved.change_of_luma(frame).shape
        ((3, 120, 160), (120, 160))
        >>> [scored.scores.shape for scored in moved.scored]
        [(10,)]
        >>> [len(curve) for curve in clean.curves], [len(curve) for curve in moved.curves]
        ([0], [2])
    """

    name: str
    segments: tuple[Segment, ...]
    points: tuple[Points, ...]
    batches: tuple[Batch, ...]
    vanished: tuple[str, ...] = ()
    forwards: int = 0
    backwards: int = 0
    losses: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = ()
    known: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    scores: Mapping[str, FrameScores] = field(default_factory=dict)

    @property
    def as_found(self) -> FrameScores:
        """Scores before any file."""
        return self.scores["as found"]

    @property
    def clips(self) -> VideoClips:
        """The clean video with all its faces."""
        parts = [segment.clips for segment in self.segments]
        return replace(
            parts[0],
            tracks=tuple(by_face(self.segments, [part.tracks for part in parts])),
            grids=tuple(by_face(self.segments, [part.grids for part in parts])),
            faces=tuple(by_face(self.segments, [part.faces for part in parts])),
        )

    @property
    def curves(self) -> list[list[float]]:
        """Mean loss per frame of each face at each evaluation; none where nothing was searched."""
        if not self.losses:
            return [[] for _ in self.clips.tracks]
        return by_face(self.segments, [loss.double().T.tolist() for loss in self.losses])

    @property
    def changes(self) -> list[TrackChange]:
        """What was changed of each face, measured anew at each call."""
        measured = [
            imperceptibility(segment.batch, batch)
            for segment, batch in zip(self.segments, self.batches, strict=True)
        ]
        rows = [
            [
                TrackChange(
                    audio_linf=float(of.audio_linf[row]),
                    visual_linf=float(of.visual_linf[row]),
                    snr_db=float(of.snr_db[row]),
                    psnr_db=float(of.psnr_db[row]),
                    ssim=float(of.ssim[row]),
                )
                for row in range(len(of.ssim))
            ]
            for of in measured
        ]
        return by_face(self.segments, rows)

    @property
    def scored(self) -> list[ScoredTrack]:
        """Each face with a score, as found, for each of its own frames."""
        clips, scores = self.clips, self.as_found.by_track().values()
        return [
            ScoredTrack(track=track, scores=one.score[grid.grid_of_frame])
            for track, grid, one in zip(clips.tracks, clips.grids, scores, strict=True)
        ]

    @property
    def labels(self) -> list[NDArray[np.int64]]:
        """The truth for each of the own frames of each face."""
        scores = self.as_found.by_track().values()
        return [
            one.truth[grid.grid_of_frame].astype(np.int64)
            for one, grid in zip(scores, self.clips.grids, strict=True)
        ]

    def sound(self) -> NDArray[np.float32]:
        """Sound of the whole video (S,), with what was changed in each segment."""
        waveform = self.clips.waveform.copy()
        for segment, points in zip(self.segments, self.points, strict=True):
            waveform[slice(*segment.span)] = segment.heard(points)
        return waveform

    def picture(self, frame: Frame) -> NDArray[np.uint8]:
        """Luma and colour (3, H, W) of a frame of the video, with all changes."""
        picture = frame.ycc()
        for segment, points in zip(self.segments, self.points, strict=True):
            segment.paint(points, frame.index, picture[0])
        return picture

    def change_of_luma(self, frame: Frame) -> NDArray[np.float32]:
        """All changes of the luma (H, W) of a frame of the video, before any rounding."""
        luma = frame.gray()
        total = np.zeros(luma.shape, np.float32)
        for segment, points in zip(self.segments, self.points, strict=True):
            total += segment.change(points, frame.index, luma)
        return total
