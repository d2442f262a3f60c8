"""From a video file to an adversary of all its faces, measured as found and as read from files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.attacks import AttackResult, AttackSettings, transfer
from pushpull.attacks import attack as find_adversary
from pushpull.attacks.space import Space
from pushpull.attacks.threat import Threat
from pushpull.detection import (
    Stopwatch,
    VideoClips,
    crop_of,
    find_faces,
    read_clips,
)
from pushpull.errors import BudgetWarning, MediaError, UnknownName
from pushpull.media import WHOLE, Part
from pushpull.metrics.imperceptibility import imperceptibility
from pushpull.models.detector import Detector
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import Batch, FrameScores
from pushpull.video_attacks.files import (
    LOSSLESS,
    Codec,
    CropFiles,
    Files,
    PixelFiles,
    ThroughFiles,
)
from pushpull.video_attacks.labels import labels_from_csv
from pushpull.video_attacks.pixels import Pixels, PixelSpace, read_pixels
from pushpull.video_attacks.results import VideoAttack
from pushpull.video_attacks.segments import Segment, segments_of
from pushpull.video_attacks.variants import TrackAttack, Variant

__all__ = ["SPACES", "attack_video"]

SPACES = ("crop", "frame")
DEFAULT_CRF = 23


def attack_video(
    video: str | Path,
    detector: DetectorSource = "light-asd-ava",
    attack: str | AttackSettings = "pgd",
    *,
    surrogate: DetectorSource | None = None,
    labels: Path | None = None,
    space: str = "crop",
    survive: bool = False,
    crf: int = DEFAULT_CRF,
    name: str | None = None,
    face_finder: str = "auto",
    crop: str = "auto",
    device: str | None = None,
    part: Part = WHOLE,
    audio_track: int | None = None,
    progress: Progress = no_progress,
    **settings: Any,
) -> VideoAttack:
    """Attack every face of a video, jointly with the sound that they share.

    Args:
        video: Any file that PyAV reads, with a picture and a sound stream.
        detector: The detector under attack: a name, a path, `FILE.py:FACTORY` or a detector.
        attack: A name from `pushpull.attacks.ATTACKS`, or settings.
        surrogate: A detector that adversaries are made on instead (black box by transfer).
        labels: AVA csv with the truth; by default the detector's own decisions are attacked.
        space: "crop" moves the 112 x 112 crops, as Push-Pull; "frame" the video's own pixels.
        survive: Also search through H.264 and AAC.
        crf: Quality of H.264 that survival is measured at.
        name: Name of the video in outputs; the file name without suffix by default.
        face_finder: As for `detect`.
        crop: `auto` (the better one for the detector), `ava` or `demo`.
        device: `auto`, `cpu` or `cuda`; where the detector is, or `auto` for a name, by default.
        part: Which part of the video; what is written begins with it.
        audio_track: Number of the sound track, from 1; as for `detect` by default.
        progress: Called with stage, steps done and steps expected (None if not known).
        **settings: Of `AttackSettings`: eps, modality, objective, steps, seed, ...; `quantise` is a
            search among 8-bit pixels and int16 samples beside the one among floats.

    Raises:
        MediaError: If the video cannot be read, has no sound, is silent, or shows no face.
        AnnotationError: If the labels do not fit the faces.
        ConfigError: If a setting cannot be; else as `attack`.

    Examples:
        >>> from pushpull.synthetic import one_face_video
        >>> _ = one_face_video("talk.mp4", seed=1, duration_s=1.0, size=(320, 240))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", eps=5, face_finder="dlib")
        >>> len(found.clean["as found"]), found.settings["attack"]
        (25, 'fgsm')
    """
    if space not in SPACES:
        raise UnknownName("space", space, SPACES)
    # Wrong settings are said before minutes of work.
    asked = AttackSettings.of(attack, **settings)
    codec = Codec(crf=crf)
    clock = Stopwatch()
    with clock("load"):
        target = resolve_detector(detector, device=device)
        source = None if surrogate is None else resolve_detector(surrogate, device=device)
        window = crop_of(crop, target)
    footage = find_faces(
        video,
        face_finder=face_finder,
        part=part,
        audio_track=audio_track,
        progress=progress,
        clock=clock,
    )
    if not footage.tracks:
        raise MediaError(f"{footage.path}: {footage.faceless}; there is nothing to attack")
    with clock("crops"):
        clips = read_clips(footage, window, progress)
        segments = segments_of(clips)
    with clock("score"):
        clean = _scores_of(target, segments, [s.batch for s in segments])
        if labels is None:
            speaking = [(s.score > 0).astype(np.int64) for s in clean.by_track().values()]
        else:
            found = labels_from_csv(labels, clips.footage.tracks, footage.info)
            speaking = [y[g.frame_of_grid] for y, g in zip(found, clips.grids, strict=True)]
        segments = [segment.labelled(speaking) for segment in segments]
        clean = replace(clean, speaking=np.concatenate(speaking) == 1)
    with clock("crops"):
        scenes = [_scene(clips, segment, space) for segment in segments]
    plans = [("float", False, False)]
    plans += [("quantised", True, False)] if asked.quantise else []
    plans += [("through codec", asked.quantise, True)] if survive else []
    task = _Task(
        target=target,
        surrogate=source,
        asked=asked,
        codec=codec,
        progress=progress,
    )
    variants, notes = [], list(footage.notes)
    for variant_name, on_grid, through in plans:
        with clock(variant_name), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BudgetWarning)
            variants.append(task.run(variant_name, scenes, quantise=on_grid, through=through))
        notes += dict.fromkeys(str(w.message) for w in caught)
    with clock("files"):
        compressed = [scene.files.again({}, codec) for scene in scenes]
        clean_scores = {
            "as found": clean,
            "lossless": clean,
            codec.name: _scores_of(target, segments, compressed),
        }
    return VideoAttack(
        name=footage.path.stem if name is None else name,
        clips=clips,
        segments=tuple(segments),
        files=tuple(scene.files for scene in scenes),
        clean=clean_scores,
        variants=tuple(variants),
        settings={
            "video": str(footage.path),
            "part_s": None if part == WHOLE else [part.start_s, part.end_s],
            "audio_track": footage.audio_track,
            "detector": target.card.name,
            "detector_sha256": target.card.sha256,
            "model": target.card.model,
            "surrogate": None if source is None else source.card.name,
            "surrogate_sha256": None if source is None else source.card.sha256,
            "labels": "the detector's own decisions" if labels is None else str(labels),
            "space": space,
            "survive": survive,
            "codec": codec.name,
            "crf": crf,
            "face_finder": footage.finder,
            "crop": window.name,
            "device": str(target.device),
            **asked.as_dict(),
        },
        seconds=clock.seconds,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """A segment with the space that is moved and the files it becomes."""

    segment: Segment
    pixels: Pixels | None
    files: Files

    def space(self, batch: Batch, threat: Threat) -> Space:
        if self.pixels is None:
            return self.segment.sound(batch, threat)
        return PixelSpace(batch, threat, self.segment.sound, self.pixels)


def _scene(clips: VideoClips, segment: Segment, space: str) -> _Scene:
    if space == "crop":
        return _Scene(segment=segment, pixels=None, files=CropFiles(clips, segment))
    pixels = read_pixels(clips, segment)
    return _Scene(segment=segment, pixels=pixels, files=PixelFiles(clips, segment, pixels))


class _Task:
    """One attack on all segments, as often as variants are wanted."""

    def __init__(
        self,
        *,
        target: Detector,
        surrogate: Detector | None,
        asked: AttackSettings,
        codec: Codec,
        progress: Progress,
    ) -> None:
        self.target, self.surrogate, self.asked = target, surrogate, asked
        self.codec, self.progress = codec, progress

    def run(self, name: str, scenes: Sequence[_Scene], *, quantise: bool, through: bool) -> Variant:
        """Attack, then read what was found from files."""
        clock = Stopwatch()
        found = []
        for i, scene in enumerate(scenes):
            stage = name if len(scenes) == 1 else f"{name}, part {i + 1} of {len(scenes)}"
            with clock("search"):
                found.append(self._attacked(scene, stage, quantise=quantise, through=through))
        segments = [scene.segment for scene in scenes]
        # Before any file; through a codec, the batch of the attack is what came back from one.
        batches = [
            scene.space(f.clean, f.threat).to_batch(dict(f.points))
            for scene, f in zip(scenes, found, strict=True)
        ]
        ways: dict[str, FrameScores] = {"as found": _scores_of(self.target, segments, batches)}
        for codec in (LOSSLESS, self.codec):
            back = [
                s.files.again(dict(f.points), codec) for s, f in zip(scenes, found, strict=True)
            ]
            ways[codec.name] = _scores_of(self.target, segments, back)
        return Variant(
            name=name,
            points=tuple(dict(f.points) for f in found),
            batches=tuple(batches),
            scores=ways,
            tracks=_changes(segments, batches),
            vanished=found[0].vanished,
            forwards=sum(f.forwards for f in found),
            backwards=sum(f.backwards for f in found),
            seconds=clock.seconds["search"],
            curves=_curves(segments, found),
        )

    def _attacked(
        self, scene: _Scene, stage: str, *, quantise: bool, through: bool
    ) -> AttackResult:
        def build(batch: Batch, threat: Threat) -> Space:
            space = scene.space(batch, threat)
            return ThroughFiles(space, scene.files, self.codec) if through else space

        run = (
            partial(find_adversary, self.target)
            if self.surrogate is None
            else partial(transfer, self.surrogate, self.target)
        )
        return run(
            scene.segment.batch.to(self.target.device),
            replace(self.asked, quantise=quantise),
            space=build,
            watch=lambda n: self.progress(stage, n, self._evaluations()),
        )

    def _evaluations(self) -> int | None:
        steps = self.asked.options.get("steps")
        return None if steps is None else int(steps) + 1


def _scores_of(
    detector: Detector, segments: Sequence[Segment], batches: Sequence[Batch]
) -> FrameScores:
    """Scores of all tracks, in the order of the video's list, with the segments' labels."""
    found: dict[int, NDArray[np.float64]] = {}
    truth: dict[int, NDArray[np.float64]] = {}
    with torch.inference_mode():
        for segment, batch in zip(segments, batches, strict=True):
            output = detector(**batch.to(detector.device).inputs)
            found.update(zip(segment.tracks, segment.rows(output.score), strict=True))
            if segment.batch.speaking is not None:
                rows = segment.rows(segment.batch.speaking)
                truth.update(zip(segment.tracks, rows, strict=True))
    tracks = sorted(found)
    speaking = [truth[i] for i in tracks] if truth else None
    return FrameScores.of_tracks([found[i] for i in tracks], speaking)


def _changes(segments: Sequence[Segment], batches: Sequence[Batch]) -> tuple[TrackAttack, ...]:
    found = {}
    for segment, batch in zip(segments, batches, strict=True):
        measured = imperceptibility(segment.batch, batch)
        for row, track in enumerate(segment.tracks):
            found[track] = TrackAttack(
                track=track,
                audio_linf=float(measured.audio_linf[row]),
                visual_linf=float(measured.visual_linf[row]),
                snr_db=float(measured.snr_db[row]),
                psnr_db=float(measured.psnr_db[row]),
                ssim=float(measured.ssim[row]),
            )
    return tuple(found[i] for i in sorted(found))


def _curves(
    segments: Sequence[Segment], found: Sequence[AttackResult]
) -> tuple[tuple[float, ...], ...]:
    curves = {}
    for segment, one in zip(segments, found, strict=True):
        for row, track in enumerate(segment.tracks):
            curves[track] = tuple(one.curve[:, row].double().tolist())
    return tuple(curves[i] for i in sorted(curves))
