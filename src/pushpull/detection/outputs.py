"""Writing a detection: csv for the AVA score, json for programs, rttm for diarization, mp4 to see.

All files of one video appear together or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.annotations import write_predictions
from pushpull.detection.render import Overlay
from pushpull.detection.results import Detection
from pushpull.media import VideoWriter, read_frames
from pushpull.runtime.files import written_whole
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.version import versions

__all__ = ["as_json", "rttm_lines", "summary", "write_outputs"]


def write_outputs(
    detection: Detection,
    out: Path,
    *,
    video: bool = True,
    progress: Progress = no_progress,
) -> dict[str, Path]:
    """Write NAME.csv, NAME.json, NAME.rttm and NAME.mp4 into a folder.

    Args:
        detection: The scores.
        out: An existing folder.
        video: Whether to draw and encode the mp4.
        progress: Called with the stage, frames encoded and frames expected.

    Raises:
        OutputError: If something cannot be written; then none of the files is there.
        MediaError: If the video cannot be read again.

    Examples:
        >>> from pathlib import Path
        >>> import pushpull as pp
        >>> from pushpull.detection import write_outputs
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib", name="found")
        >>> sorted(path.name for path in write_outputs(found, Path()).values())
        ['found.csv', 'found.json', 'found.mp4', 'found.rttm']
    """
    suffixes = ["csv", "json", "rttm"] + (["mp4"] if video else [])
    paths = {suffix: out / f"{detection.name}.{suffix}" for suffix in suffixes}
    with ExitStack() as stack:
        temporary = {s: stack.enter_context(written_whole(p)) for s, p in paths.items()}
        write_csv(detection, temporary["csv"])
        temporary["json"].write_text(json.dumps(as_json(detection), indent=1, allow_nan=False))
        temporary["rttm"].write_text("".join(rttm_lines(detection)), encoding="utf-8")
        if video:
            write_video(detection, temporary["mp4"], progress)
    return paths


def write_csv(detection: Detection, path: Path) -> None:
    """One row per face and frame, boxes relative to the picture and inside it."""
    info = detection.info
    size = np.array([info.width, info.height] * 2, float)
    tracks = [scored.track for scored in detection.tracks]
    write_predictions(
        path,
        video_id=detection.name,
        entity_ids=[
            detection.entity_id(scored)
            for scored in detection.tracks
            for _ in range(len(scored.track))
        ],
        timestamps_s=np.concatenate([track.timestamps_s for track in tracks]),
        boxes=np.clip(np.concatenate([track.boxes for track in tracks]) / size, 0, 1),
        scores=np.concatenate([scored.scores for scored in detection.tracks]),
    )


def write_video(detection: Detection, path: Path, progress: Progress) -> None:
    """The video with boxes and states drawn, and its own sound."""
    info = detection.info
    overlay = Overlay(detection.tracks, info.height)
    with VideoWriter(
        path, width=info.width, height=info.height, fps=info.fps, audio=detection.path
    ) as writer:
        for frame in read_frames(detection.path, on_damage=lambda line: None):
            writer.write(overlay.draw(frame.rgb(), frame.index), frame.time_s)
            if frame.index % 10 == 0:
                progress("video", frame.index, info.n_frames)


def summary(detection: Detection) -> dict[str, Any]:
    """A detection in a few lines for programs: one entry per track, no frames.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import summary
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> record = summary(pp.detect("talk.mp4", "synthetic-a", face_finder="dlib"))
        >>> record["name"], record["fps"], record["tracks"][0]["frames"]
        ('talk', 25.0, 10)
    """
    info = detection.info
    return {
        "video": str(detection.path),
        "name": detection.name,
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "duration_s": info.duration_s,
        "settings": dict(detection.settings),
        "seconds": {stage: round(s, 3) for stage, s in detection.seconds.items()},
        "notes": list(detection.notes),
        "tracks": [
            {
                "track_id": detection.entity_id(scored),
                "start_s": float(scored.track.timestamps_s[0]),
                "end_s": float(scored.track.timestamps_s[-1]),
                "frames": len(scored.track),
                "mean_score": float(scored.scores.mean()),
                "speaking_share": float(scored.speaking.mean()),
                "turns": [[turn.start_s, turn.end_s] for turn in scored.turns],
            }
            for scored in detection.tracks
        ],
    }


def as_json(detection: Detection) -> dict[str, Any]:
    """A detection whole: `summary` plus, per track, a list for every frame value and versions.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import as_json
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> record = as_json(pp.detect("talk.mp4", "synthetic-a", face_finder="dlib"))
        >>> len(record["tracks"][0]["scores"])
        10
    """
    record = summary(detection)
    record["versions"] = versions()
    for entry, scored in zip(record["tracks"], detection.tracks, strict=True):
        entry["frame_numbers"] = scored.track.frames.tolist()
        entry["timestamps_s"] = scored.track.timestamps_s.round(6).tolist()
        entry["boxes"] = scored.track.boxes.round(2).tolist()
        entry["detected"] = scored.track.detected.tolist()
        entry["scores"] = scored.scores.round(6).tolist()
        entry["probabilities"] = scored.probabilities.round(6).tolist()
        entry["speaking"] = scored.speaking.tolist()
    return record


def rttm_lines(detection: Detection) -> Iterator[str]:
    """Speech turns in NIST's rich transcription time marks, one speaker per track, by time.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import rttm_lines
        >>> from pushpull.synthetic import Case, one_face_video
        >>> size, case = (160, 120), Case.SPEAKING
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=size, case=case)
        >>> found = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib")
        >>> print("".join(rttm_lines(found)))
        SPEAKER talk 1 0.000 0.400 <NA> <NA> talk:0 <NA> <NA>
    """
    # rttm fields are separated by blanks, so names must not hold any.
    name = "_".join(detection.name.split())
    turns = [
        (turn.start_s, turn.end_s - turn.start_s, scored.track.track_id)
        for scored in detection.tracks
        for turn in scored.turns
    ]
    for start_s, duration_s, track_id in sorted(turns):
        yield (
            f"SPEAKER {name} 1 {start_s:.3f} {duration_s:.3f} <NA> <NA> "
            f"{name}:{track_id} <NA> <NA>\n"
        )
