"""What an attack on a video returns: the adversary in all its variants, and what it amounts to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.detection import VIDEOS, VideoClips
from pushpull.errors import UnknownName
from pushpull.models.detector import Detector
from pushpull.report.tables import html_table, percent
from pushpull.runtime.files import output_dir, readable, temporary_folder
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import write_json
from pushpull.schema import FrameScores, brief
from pushpull.video_attacks.codec import LOSSLESS, Codec
from pushpull.video_attacks.comparison import write_side_by_side, write_views
from pushpull.video_attacks.outputs import write_files, write_sound, write_tensors
from pushpull.video_attacks.redetect import redetect
from pushpull.video_attacks.variants import TrackChange, Variant

__all__ = ["SURE", "Adversary"]

SURE = (
    "adversarial.safetensors",
    "adversarial.wav",
    "adversarial-int16.wav",
    "results.json",
)
"""Files that every attack writes, whatever else."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adversary:
    """A video and its adversaries.

    Attributes:
        name: Of the video in outputs.
        variants: The clean video first, the adversary that was asked for last.
        settings: Everything that was asked for, defaults included.
        seconds: Wall time by stage.
        origin: What was asked for, by which files are told that the same attack left.

    Examples:
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", eps=5, face_finder="dlib")
        >>> [variant.name for variant in found.variants]
        ['clean', 'float']
        >>> record = found.as_dict()
        >>> record["delta"]["audio_linf"], record["delta"]["visual_linf"]
        (0.0005, 0.5)
        >>> files = found.save("out")
        >>> files["results.json"].as_posix(), "adversarial.safetensors" in files
        ('out/talk/results.json', True)
    """

    name: str
    variants: tuple[Variant, ...]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    origin: Origin

    @property
    def clean(self) -> Variant:
        """The video before."""
        return self.variants[0]

    @property
    def asked(self) -> Variant:
        """The video after, as it was asked for."""
        return self.variants[-1]

    @property
    def clips(self) -> VideoClips:
        """The clean video with all its faces."""
        return self.clean.clips

    @property
    def notes(self) -> tuple[str, ...]:
        """Anything the user should know."""
        return (*self.clips.notes, *(note for one in self.variants for note in one.notes))

    def quality(self, scores: FrameScores) -> dict[str, Any]:
        """Sizes and rates of some frames, as shares, for JSON.

        `accuracy_of_right` is the accuracy on the frames that the clean detector gets right.
        """
        clean = self.clean.as_found
        right = clean.right[np.isin(clean.track, scores.track)]
        return {**scores.as_dict(), "accuracy_of_right": scores.subset(right).accuracy}

    def as_dict(self) -> dict[str, Any]:
        """Everything measured, as plain values: overall, by face, and by way through files."""
        clips, clean, asked = self.clips, self.clean, self.asked
        changes = asked.changes
        return {
            "video": readable(str(clips.path)),
            "name": self.name,
            "settings": dict(self.settings),
            "clean": self.quality(clean.as_found),
            "adversarial": self.quality(asked.as_found),
            "delta": _summed_up(changes),
            "survival": [
                {"input": one.name} | {way: self.quality(s) for way, s in one.scores.items()}
                for one in self.variants
            ],
            "vanished": list(asked.vanished),
            "forwards": asked.forwards,
            "backwards": asked.backwards,
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "notes": list(self.notes),
            "tracks": [
                {
                    "track_id": f"{self.name}:{track.track_id}",
                    "start_s": float(track.timestamps_s[0]),
                    "end_s": float(track.timestamps_s[-1]),
                    "fps": grid.fps,
                    "clean": self.quality(before),
                    "adversarial": self.quality(after),
                    "delta": _summed_up([change]),
                    "loss_curve": [round(v, 5) for v in curve],
                    "speaking": before.truth.astype(int).tolist(),
                    "clean_scores": before.score.round(4).tolist(),
                    "adversarial_scores": after.score.round(4).tolist(),
                }
                for track, grid, before, after, change, curve in zip(
                    clips.tracks,
                    clips.grids,
                    clean.as_found.by_track().values(),
                    asked.as_found.by_track().values(),
                    changes,
                    asked.curves,
                    strict=True,
                )
            ],
        }

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        video: str = "none",
        detector: Detector | None = None,
        overwrite: bool = False,
        inputs: Sequence[Path] = (),
        progress: Progress = no_progress,
    ) -> dict[str, Path]:
        """Write everything into FOLDER/NAME, in place of what the same attack left there.

        results.json; the adversary exactly (adversarial.safetensors) and as files that other
        programs read (wav, mkv, mp4); and, if asked for, clean and adversarial video side by side.

        Args:
            folder: Made if it is not there.
            video: How the comparison is made: "none", "fast" or "full", as for a detection.
            detector: Also give the written videos of frame space to detection by this one.
            overwrite: Whether files of any other making may be replaced.
            inputs: Further files that are never replaced.
            progress: Called with stage, frames done and frames expected.

        Returns:
            Files by name; results.json says what they are worth.

        Raises:
            UnknownName: If there is no such way of making the comparison.
            OutputError: If something cannot be written or may not be replaced; then the folder is
                as it was.
        """
        if video not in VIDEOS:
            raise UnknownName("video", video, VIDEOS)
        outputs = Outputs(
            folder=Path(folder) / self.name,
            origin=self.origin,
            inputs=(self.clips.path, *inputs),
            overwrite=overwrite,
        )
        outputs.check(SURE)
        output_dir(outputs.folder)
        codecs = (LOSSLESS, Codec(crf=self.settings["crf"]))
        with temporary_folder(outputs.folder, prefix=".new-") as fresh:
            write_sound(self.asked, fresh)
            write_tensors(self.asked, fresh, json.dumps(self.settings, default=str))
            write_files(self.asked, fresh, codecs, progress)
            if video != "none":
                write_side_by_side(
                    fresh / "side-by-side.mp4",
                    self.clean,
                    self.asked,
                    self._caption,
                    hurry=video == "fast",
                    progress=progress,
                )
            made = [path.name for path in sorted(fresh.iterdir())]
            record = self.as_dict() | {"outputs": {n: str(outputs.folder / n) for n in made}}
            if detector is not None and self.settings["space"] == "frame":
                how = {name: self.settings[name] for name in ("face_finder", "crop")}
                record["redetect"] = {
                    name: redetect(fresh / name, detector, self.clean, **how)
                    for name in (f"adversarial{codec.video_suffix}" for codec in codecs)
                }
            write_json(fresh / "results.json", record, kind="video-attack")
            return outputs.take(fresh)

    def compare(
        self,
        folder: str | os.PathLike[str],
        *,
        amplify: float = 20.0,
        progress: Progress = no_progress,
    ) -> dict[str, Path]:
        """Write what is looked at one beside the other, of the clean video and the adversary.

        Args:
            folder: Made if it is not there.
            amplify: Times that the change of a pixel is drawn.
            progress: Called with stage, frames done and frames expected.

        Returns:
            `clean` and `adversarial`: annotated videos of one size and length, each with its sound.
            `difference`: the change of the picture, amplified, around middle grey, with the change
            of the sound as loud as it can be. `clean_sound`, `adversarial_sound`, `sound_change`:
            spectrograms as png, all on one scale.

        Raises:
            OutputError: If something cannot be written; then none of the videos is there.
        """
        root = output_dir(Path(folder))
        return write_views(root, self.clean, self.asked, amplify=amplify, progress=progress)

    @property
    def _caption(self) -> str:
        """What was done, in a few words."""
        eps = ", ".join(f"{name} {value:g}" for name, value in self.settings["eps"].items())
        return f"{self.settings['attack']}, eps {eps}, {self.asked.name}"

    __repr__ = brief

    def _repr_html_(self) -> str:
        ways = list(self.asked.scores)
        rows = [
            (one.name, *(percent(one.scores[way].accuracy) for way in ways))
            for one in self.variants
        ]
        title = f"{self.name}: {self._caption}; frames still right"
        return html_table(title, ("video", *ways), rows)


def _summed_up(changes: Sequence[TrackChange]) -> dict[str, float | None]:
    """Largest changes and mean qualities of some faces; None for what did not change at all."""

    def mean(values: list[float]) -> float | None:
        finite = [v for v in values if np.isfinite(v)]
        return float(np.mean(finite)) if finite else None

    return {
        "audio_linf": max(one.audio_linf for one in changes),
        "visual_linf": max(one.visual_linf for one in changes),
        "snr_db": mean([one.snr_db for one in changes]),
        "psnr_db": mean([one.psnr_db for one in changes]),
        "ssim": mean([one.ssim for one in changes]),
    }
