"""From a video file to an adversary of all its faces, measured as found and as read from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pushpull.attacks import AttackSettings
from pushpull.detection import Stopwatch, find_faces, read_clips
from pushpull.errors import MediaError
from pushpull.media import WHOLE, Part
from pushpull.models.weights import DetectorSource
from pushpull.runtime.files import readable
from pushpull.runtime.outputs import Origin
from pushpull.runtime.progress import Progress, no_progress
from pushpull.video_attacks.files import measured
from pushpull.video_attacks.footprint import check_memory
from pushpull.video_attacks.labels import labelled
from pushpull.video_attacks.results import Adversary
from pushpull.video_attacks.search import search
from pushpull.video_attacks.segments import groups_of
from pushpull.video_attacks.task import Task

__all__ = ["attack_origin", "attack_video"]

DEFAULT_CRF = 23


def attack_video(
    video: str | os.PathLike[str],
    detector: DetectorSource = "light-asd-ava",
    attack: str | AttackSettings = "pgd",
    *,
    surrogate: DetectorSource | None = None,
    labels: str | os.PathLike[str] | None = None,
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
) -> Adversary:
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
        >>> len(found.clean.as_found), found.asked.name, found.settings["attack"]
        (25, 'float', 'fgsm')
    """
    clock = Stopwatch()
    with clock("load"):
        task = Task.of(
            detector,
            attack,
            surrogate=surrogate,
            labels=labels,
            space=space,
            survive=survive,
            crf=crf,
            crop=crop,
            device=device,
            **settings,
        )
    footage = find_faces(
        Path(video),
        face_finder=face_finder,
        part=part,
        audio_track=audio_track,
        progress=progress,
        clock=clock,
    )
    if not footage.tracks:
        raise MediaError(f"{footage.path}: {footage.faceless}; there is nothing to attack")
    with clock("crops"):
        clips = read_clips(footage, task.crop, progress)
        groups = groups_of(clips)
        check_memory(str(footage.path), task, groups)
        segments = [task.make(group) for group in groups]
    with clock("score"):
        segments = labelled(segments, task.detector, task.labels)
    variants = search(segments, task, progress, clock)
    with clock("files"):
        variants = [measured(variant, task.detector, task.codec) for variant in variants]
    return Adversary(
        name=readable(footage.path.stem if name is None else name),
        variants=tuple(variants),
        settings={
            "video": readable(str(footage.path)),
            "part_s": None if part == WHOLE else [part.start_s, part.end_s],
            "audio_track": footage.audio_track,
            "face_finder": footage.finder,
            **task.as_dict(),
        },
        seconds=clock.seconds,
        origin=_origin(
            footage.path,
            task,
            name=name,
            face_finder=face_finder,
            part=part,
            audio_track=audio_track,
        ),
    )


def attack_origin(
    video: str | os.PathLike[str],
    detector: DetectorSource = "light-asd-ava",
    attack: str | AttackSettings = "pgd",
    *,
    surrogate: DetectorSource | None = None,
    labels: str | os.PathLike[str] | None = None,
    space: str = "crop",
    survive: bool = False,
    crf: int = DEFAULT_CRF,
    name: str | None = None,
    face_finder: str = "auto",
    crop: str = "auto",
    device: str | None = None,
    part: Part = WHOLE,
    audio_track: int | None = None,
    **settings: Any,
) -> Origin:
    """What decides an attack, before it is made; arguments and errors as for `attack_video`.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.video_attacks import attack_origin
        >>> _ = Path("talk.mp4").write_bytes(b"film")
        >>> weak, strong = (attack_origin("talk.mp4", "synthetic-a", eps=eps) for eps in (1, 5))
        >>> weak.command, weak.key == strong.key
        ('attack', False)
    """
    task = Task.of(
        detector,
        attack,
        surrogate=surrogate,
        labels=labels,
        space=space,
        survive=survive,
        crf=crf,
        crop=crop,
        device=device,
        **settings,
    )
    return _origin(
        Path(video), task, name=name, face_finder=face_finder, part=part, audio_track=audio_track
    )


def _origin(
    video: Path,
    task: Task,
    *,
    name: str | None,
    face_finder: str,
    part: Part,
    audio_track: int | None,
) -> Origin:
    # Where it was computed and what the labels are called decide nothing.
    asked = {k: v for k, v in task.as_dict().items() if k not in ("device", "labels")}
    return Origin(
        command="attack",
        inputs=(video,) if task.labels is None else (video, task.labels),
        settings={
            "name": readable(video.stem if name is None else name),
            "face_finder": face_finder,
            "part_s": [part.start_s, part.end_s],
            "audio_track": audio_track,
            **asked,
        },
    )
