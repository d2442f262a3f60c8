"""The whole path on a video that the package makes itself, checked against what it put in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.detection import Detection, ScoredTrack, detect, origin_of, output_files
from pushpull.errors import CheckpointError
from pushpull.models.detector import Detector
from pushpull.models.weights import KNOWN, resolve_detector
from pushpull.runtime.files import find
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import FrameScores
from pushpull.synthetic import Scene, demo_video

__all__ = ["DemoResult", "PersonResult", "reachable_detector", "run_demo"]

FINDER = "dlib"
"""Needs no download, so the demo is the same everywhere."""

PREFERRED = ("light-asd-ava", "lr-asd-ava", "light-asd-talkset", "lr-asd-talkset")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonResult:
    """How well one synthetic person was understood.

    Attributes:
        person: Number of the person, from the left.
        scores: Of the frames in which the person had a track.

    Examples:
        >>> from pushpull.cli.demo import PersonResult
        >>> from pushpull.schema import FrameScores
        >>> score, speaking, track = np.array([2.0, -1.0]), np.array([True, True]), np.array([0, 0])
        >>> scores = FrameScores(score=score, speaking=speaking, track=track)
        >>> record = PersonResult(person=0, scores=scores).as_dict()
        >>> record["person"], record["frames"], record["accuracy"]
        (0, 2, 0.5)
    """

    person: int
    scores: FrameScores

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"person": self.person, **self.scores.as_dict()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemoResult:
    """What the demo found, and where it stands.

    Examples:
        >>> from pushpull.cli.demo import DemoResult
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> detector = pp.load("synthetic-a")
        >>> found = pp.detect("talk.mp4", detector, face_finder="dlib")
        >>> result = DemoResult(detection=found, people=(), detector=detector, outputs={})
        >>> len(result.detection.tracks), result.detector.card.name
        (1, 'synthetic-a')
    """

    detection: Detection
    people: tuple[PersonResult, ...]
    detector: Detector
    outputs: dict[str, Path]


def reachable_detector(say: Callable[[str], None] = lambda line: None) -> Detector:
    """The first known weights on this machine, else the first that can be fetched.

    Args:
        say: Told which weights are taken, and from where.

    Raises:
        CheckpointError: If there are none and none can be fetched.
    """
    files = {name: KNOWN[name].fetchable for name in PREFERRED}
    here = [name for name, file in files.items() if file is not None and find(file) is not None]
    failure: CheckpointError | None = None
    for name in here or PREFERRED:
        if not here:
            say(f"no weights on this machine: fetching {name} from {KNOWN[name].source}")
        try:
            detector = resolve_detector(name, device="cpu")
        except CheckpointError as e:
            failure = failure or e
            continue
        card = detector.card
        say(f"detector: {name} ({card.licence}, trained on {card.trained_on}), {card.path}")
        return detector
    raise CheckpointError(f"no weights can be reached: {failure}") from failure


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    duration_s: float = 10.0,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = no_progress,
) -> DemoResult:
    """Make a video of two people who talk by turns, detect who speaks, and compare.

    Args:
        out: Folder for the video and the results.
        seed: Of the people, the voices and the room.
        duration_s: Length of the video.
        overwrite: Whether files of any other making may be replaced.
        say: Told what happens, line by line.
        progress: As for `detect`.

    Raises:
        CheckpointError: If no weights can be reached.
        OutputError: If the folder cannot be written, or a file may not be replaced.
    """
    video = out / "two-people.mp4"
    asked: dict[str, Any] = {"name": "who-speaks", "face_finder": FINDER}
    outputs = Outputs(
        folder=out,
        origin=Origin(command="demo", settings={"seed": seed, "duration_s": duration_s}),
        overwrite=overwrite,
    )
    outputs.check([video.name])
    detector = reachable_detector(say)
    # The same video comes again, so what was made of it is known before it is.
    Outputs(folder=out, origin=origin_of(video, detector, **asked), overwrite=overwrite).check(
        output_files(asked["name"]).values()
    )
    with outputs.writing([video.name]) as paths:
        scene = demo_video(paths[video.name], seed=seed, duration_s=duration_s)
    say(f"video: {video}, two synthetic people and a voice off screen")
    detection = detect(video, detector, **asked, progress=progress)
    files = detection.save(out, overwrite=overwrite, progress=progress)
    return DemoResult(
        detection=detection,
        people=tuple(compare(detection, scene, person) for person in range(len(scene.boxes))),
        detector=detector,
        outputs=files,
    )


def compare(detection: Detection, scene: Scene, person: int) -> PersonResult:
    """Scores of the track that lies on a person, against when the person speaks."""
    scores = np.full(len(scene.timestamps_s), np.nan)
    for scored in detection.tracks:
        if lies_on(scored, scene, person):
            scores[scored.track.frames] = scored.scores
    seen = ~np.isnan(scores)
    of_person = FrameScores(
        score=scores[seen],
        speaking=scene.speaking[person].astype(bool)[seen],
        track=np.zeros(int(seen.sum()), np.int64),
    )
    return PersonResult(person=person, scores=of_person)


def lies_on(scored: ScoredTrack, scene: Scene, person: int) -> bool:
    """Whether the middle of a track stays inside a person's box."""
    frames = scored.track.frames
    box = scene.boxes[person][frames]
    middle = (scored.track.boxes[:, :2] + scored.track.boxes[:, 2:]) / 2
    inside = (middle > box[:, :2]) & (middle < box[:, 2:])
    return bool(inside.all(1).mean() > 0.5)
