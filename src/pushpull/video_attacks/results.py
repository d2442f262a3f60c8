"""What an attack on a video found, and what it leaves on disk.

A folder for each video: `results.json`; the adversary exactly (`adversarial.safetensors`) and as
files that other programs read (wav, mkv, mp4); and clean and adversarial video side by side.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from pushpull.detection import Overlay, ScoredTrack, VideoClips, counted
from pushpull.media import Frame, VideoWriter, read_frames, rgb_of, write_wav
from pushpull.models.detector import Detector
from pushpull.runtime.files import output_dir, written_whole
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import write_json
from pushpull.schema import FrameScores
from pushpull.video_attacks.files import LOSSLESS, Codec, Files, PixelFiles, write_pictures
from pushpull.video_attacks.redetect import redetect
from pushpull.video_attacks.segments import Segment
from pushpull.video_attacks.variants import Variant

__all__ = ["VideoAttack"]

OURS = ("adversarial*", "track-*.mkv", "track-*.mp4", "side-by-side.mp4", "results.json")
"""What an earlier run may have left in a folder."""

WIDEST = 960
"""Pixels of one side of the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoAttack:
    """A video and its adversaries.

    Attributes:
        name: Of the video in outputs.
        clips: The clean video.
        segments: Its parts.
        files: How each part becomes files.
        clean: Scores of the clean video and the labels that were attacked, by how it reached the
            detector; frames are those of each track's grid, tracks have the numbers of their places
            in the video's list.
        variants: Adversaries; the last is the one that was asked for.
        settings: Everything that was asked for, defaults included.
        seconds: Wall time by stage.
        notes: Anything the user should know.
    """

    name: str
    clips: VideoClips
    segments: tuple[Segment, ...]
    files: tuple[Files, ...]
    clean: Mapping[str, FrameScores]
    variants: tuple[Variant, ...]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def adversary(self) -> Variant:
        """What was asked for."""
        return self.variants[-1]

    @property
    def speaking(self) -> tuple[NDArray[np.bool_], ...]:
        """Labels (T,) of each track on its grid."""
        return tuple(one.truth for one in self.clean["as found"].by_track().values())

    def quality(self, scores: FrameScores) -> dict[str, Any]:
        """Sizes and rates of some frames, as shares, for JSON.

        `accuracy_of_right` is the accuracy on the frames that the clean detector gets right.
        """
        clean = self.clean["as found"]
        right = clean.right[np.isin(clean.track, scores.track)]
        return {**scores.as_dict(), "accuracy_of_right": scores.subset(right).accuracy}

    def on_frames(self, scores: FrameScores) -> list[NDArray[np.float64]]:
        """Scores (N,) of each track's own frames."""
        parts = scores.by_track().values()
        return [s.score[g.grid_of_frame] for s, g in zip(parts, self.clips.grids, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Everything measured, as plain values: overall, by face, and by way through files."""
        adversary, clean = self.adversary, self.clean["as found"]
        found = adversary.scores["as found"]
        faces = {"clean": clean.by_track(), "adversarial": found.by_track()}
        return {
            "video": str(self.clips.footage.path),
            "name": self.name,
            "settings": dict(self.settings),
            "clean": self.quality(clean),
            "adversarial": self.quality(found),
            "delta": change_of(adversary, range(len(adversary.tracks))),
            "survival": [
                {"input": "clean"} | {way: self.quality(s) for way, s in self.clean.items()},
                *(
                    {"input": variant.name}
                    | {way: self.quality(s) for way, s in variant.scores.items()}
                    for variant in self.variants
                ),
            ],
            "vanished": list(adversary.vanished),
            "forwards": adversary.forwards,
            "backwards": adversary.backwards,
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "notes": list(self.notes),
            "tracks": [
                {
                    "track_id": f"{self.name}:{track.track_id}",
                    "start_s": float(track.timestamps_s[0]),
                    "end_s": float(track.timestamps_s[-1]),
                    "fps": self.clips.grids[i].fps,
                    "clean": self.quality(faces["clean"][i]),
                    "adversarial": self.quality(faces["adversarial"][i]),
                    "delta": change_of(adversary, [i]),
                    "loss_curve": [round(v, 5) for v in adversary.curves[i]],
                    "speaking": faces["clean"][i].truth.astype(int).tolist(),
                    "clean_scores": faces["clean"][i].score.round(4).tolist(),
                    "adversarial_scores": faces["adversarial"][i].score.round(4).tolist(),
                }
                for i, track in enumerate(self.clips.footage.tracks)
            ],
        }

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        video: bool = True,
        detector: Detector | None = None,
        progress: Progress = no_progress,
    ) -> dict[str, Path]:
        """Write everything into FOLDER/NAME, replacing what an earlier run left there.

        Args:
            folder: Made if it is not there.
            video: Whether to draw and encode the comparison.
            detector: Also give the written videos of frame space to detection by this one.
            progress: Called with stage, frames done and frames expected.

        Returns:
            Files by name; results.json, written last, says what they are worth.

        Raises:
            OutputError: If something cannot be written; then the folder is as it was.
        """
        inner = output_dir(Path(folder) / self.name)
        with tempfile.TemporaryDirectory(dir=inner, prefix=".new-") as name:
            fresh = Path(name)
            write_sound(self, fresh)
            write_adversary(self, fresh)
            write_files(self, fresh, progress)
            if video:
                write_comparison(self, fresh / "side-by-side.mp4", progress)
            for pattern in OURS:
                for path in inner.glob(pattern):
                    path.unlink()
            found = {p.name: p.replace(inner / p.name) for p in sorted(fresh.iterdir())}
        record = self.as_dict() | {"outputs": {k: str(p) for k, p in found.items()}}
        if detector is not None and isinstance(self.files[0], PixelFiles):
            record["redetect"] = self._redetected(found, detector)
        path = found["results.json"] = inner / "results.json"
        write_json(path, record, kind="video-attack")
        return found

    def _redetected(self, found: Mapping[str, Path], detector: Detector) -> dict[str, Any]:
        grids = self.clips.grids
        labels = [
            y[grid.grid_of_frame].astype(np.int64)
            for y, grid in zip(self.speaking, grids, strict=True)
        ]
        # What is written begins with the first frame of the part.
        first = next(frames_of(self, "detecting again", no_progress)).index
        known = [replace(t, frames=t.frames - first) for t in self.clips.footage.tracks]
        return {
            name: redetect(
                found[name],
                detector,
                known,
                labels,
                face_finder=self.settings["face_finder"],
                crop=self.settings["crop"],
            )
            for name in ("adversarial.mkv", "adversarial.mp4")
        }


def adversarial_sound(result: VideoAttack) -> NDArray[np.float32]:
    """Sound of the whole video (S,), with what was changed in each segment."""
    waveform = result.clips.waveform.copy()
    for segment, points in zip(result.segments, result.adversary.points, strict=True):
        if "audio" in points:
            piece = points["audio"][0].detach().float().cpu().numpy()
            waveform[segment.first_sample : segment.first_sample + len(piece)] = piece
    return waveform


def write_sound(result: VideoAttack, folder: Path) -> None:
    """The sound as floats and as int16."""
    waveform = adversarial_sound(result)
    write_wav(folder / "adversarial.wav", waveform)
    write_wav(folder / "adversarial-int16.wav", waveform, sample_format="int16")


def write_adversary(result: VideoAttack, folder: Path) -> None:
    """Sound and crops of each face exactly as the detector saw them, clean and adversarial."""
    tensors: dict[str, torch.Tensor] = {}
    speaking = result.speaking
    for segment, batch in zip(result.segments, result.adversary.batches, strict=True):
        samples, frames = segment.batch.n_samples.tolist(), segment.batch.n_frames.tolist()
        for row, number in enumerate(segment.tracks):
            name = f"track-{result.clips.footage.tracks[number].track_id}"
            for kind, of in (("clean", segment.batch), ("adversarial", batch)):
                # Copies, since an input that was not attacked is the clean one itself.
                tensors[f"{name}.{kind}.waveform"] = of.waveform[row, : samples[row]].cpu().clone()
                tensors[f"{name}.{kind}.faces"] = of.faces[row, : frames[row]].cpu().clone()
            tensors[f"{name}.speaking"] = torch.from_numpy(speaking[number].astype(np.int64))
    metadata = {"settings": json.dumps(result.settings, default=str)}
    with written_whole(folder / "adversarial.safetensors") as temporary:
        save_file(tensors, temporary, metadata)


def write_files(result: VideoAttack, folder: Path, progress: Progress) -> None:
    """The files that were read back: crops of each track, or in frame space the whole video."""
    codecs = (LOSSLESS, Codec(crf=crf_of(result)))
    if isinstance(result.files[0], PixelFiles):
        for codec in codecs:
            frames = frames_of(result, "writing", progress)
            pictures = ((changed(result, frame), time_in(result, frame)) for frame in frames)
            path, sound = folder / f"adversarial{codec.video_suffix}", adversarial_sound(result)
            write_pictures(path, pictures, result.clips.footage.info, sound, codec)
        return
    for i, (files, points) in enumerate(zip(result.files, result.adversary.points, strict=True)):
        for codec in codecs:
            inner = folder / f"crops-{i}"
            inner.mkdir()
            for path in files.write(points, inner, codec):
                if path.name.startswith("track"):
                    path.replace(folder / path.name)
            shutil.rmtree(inner)


def write_comparison(result: VideoAttack, path: Path, progress: Progress) -> None:
    """Clean and adversarial video beside each other, scores drawn on both, adversarial sound."""
    import cv2

    info = result.clips.footage.info
    shrink = min(1.0, WIDEST / info.width)
    width, height = round(info.width * shrink), round(info.height * shrink)
    sides = [
        ("clean", Overlay(scored(result, result.clean["as found"]), info.height)),
        (
            caption(result),
            Overlay(scored(result, result.adversary.scores["as found"]), info.height),
        ),
    ]
    with VideoWriter(
        path,
        width=2 * width,
        height=height,
        fps=info.fps,
        audio=adversarial_sound(result),
    ) as writer:
        for frame in frames_of(result, "side by side", progress):
            pictures = (frame.ycc(), changed(result, frame))
            halves = []
            for (words, overlay), picture in zip(sides, pictures, strict=True):
                image = overlay.draw(rgb_of(picture, info.matrix), frame.index)
                if shrink < 1:
                    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
                halves.append(with_caption(image, words))
            writer.write(np.concatenate(halves, 1), time_in(result, frame))


def changed(result: VideoAttack, frame: Frame) -> NDArray[np.uint8]:
    """Luma and colour (3, H, W) of a frame with all changes of the adversary."""
    picture = frame.ycc()
    for files, points in zip(result.files, result.adversary.points, strict=True):
        files.paint(points, frame.index, picture[0])
    return picture


def frames_of(result: VideoAttack, stage: str, progress: Progress) -> Iterator[Frame]:
    """Frames of the clean video."""
    footage = result.clips.footage
    frames = read_frames(footage.path, part=footage.part, on_damage=lambda line: None)
    return counted(frames, stage, footage.n_frames, progress)


def time_in(result: VideoAttack, frame: Frame) -> float:
    """When a frame is shown in what is written: files begin where the part does."""
    return frame.time_s - result.clips.footage.part.start_s


def scored(result: VideoAttack, scores: FrameScores) -> list[ScoredTrack]:
    """Tracks with a score for each of their frames."""
    pairs = zip(result.clips.footage.tracks, result.on_frames(scores), strict=True)
    return [ScoredTrack(track=track, scores=s) for track, s in pairs]


def caption(result: VideoAttack) -> str:
    """What was done, in a few words."""
    settings = result.settings
    eps = ", ".join(f"{name} {value:g}" for name, value in settings["eps"].items())
    return f"{settings['attack']}, eps {eps}, {result.adversary.name}"


def with_caption(image: NDArray[np.uint8], words: str) -> NDArray[np.uint8]:
    """Words at the lower left of a picture, in place."""
    import cv2

    scale = image.shape[0] / 480
    font, size, weight = cv2.FONT_HERSHEY_SIMPLEX, max(0.3, 0.5 * scale), max(1, round(scale))
    (width, height), base = cv2.getTextSize(words, font, size, weight)
    bottom, pad = image.shape[0], max(2, round(4 * scale))
    corner = (width + 2 * pad, bottom - height - base - 2 * pad)
    cv2.rectangle(image, (0, bottom), corner, (20, 20, 20), cv2.FILLED)
    origin = (pad, bottom - base - pad)
    cv2.putText(image, words, origin, font, size, (255, 255, 255), weight, cv2.LINE_AA)
    return image


def crf_of(result: VideoAttack) -> int:
    """Quality of H.264 that the attack was measured at."""
    crf: int = result.settings["crf"]
    return crf


def change_of(variant: Variant, tracks: range | list[int]) -> dict[str, float | None]:
    """Largest changes and mean qualities of some tracks; None for what did not change at all."""
    chosen = [variant.tracks[i] for i in tracks]

    def mean(values: list[float]) -> float | None:
        finite = [v for v in values if np.isfinite(v)]
        return float(np.mean(finite)) if finite else None

    return {
        "audio_linf": max(t.audio_linf for t in chosen),
        "visual_linf": max(t.visual_linf for t in chosen),
        "snr_db": mean([t.snr_db for t in chosen]),
        "psnr_db": mean([t.psnr_db for t in chosen]),
        "ssim": mean([t.ssim for t in chosen]),
    }
