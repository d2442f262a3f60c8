"""Searching a video's segments for adversaries, as often as variants are wanted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from pushpull.attacks import AttackResult, transfer
from pushpull.attacks import attack as find_adversary
from pushpull.attacks.space import Space
from pushpull.attacks.threat import Threat
from pushpull.detection import Stopwatch
from pushpull.errors import BudgetWarning
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import Batch
from pushpull.video_attacks.files import ThroughFiles
from pushpull.video_attacks.segments import Segment
from pushpull.video_attacks.task import Plan, Task
from pushpull.video_attacks.variants import Variant

__all__ = ["moved", "search"]


def search(
    segments: Sequence[Segment], task: Task, progress: Progress, clock: Stopwatch
) -> list[Variant]:
    """The clean video, then every variant of it that was asked for.

    Args:
        segments: Of the video, with labels.
        task: What is asked.
        progress: Called with stage, evaluations done and expected.
        clock: Told the time of each variant.

    Examples:
        >>> from pushpull.detection import Stopwatch, find_faces, read_clips
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.labels import labelled
        >>> from pushpull.video_attacks.search import search
        >>> from pushpull.video_attacks.segments import segments_of
        >>> from pushpull.video_attacks.task import Task
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> task = Task.of(
        ...     "synthetic-a",
        ...     "bim",
        ...     steps=2,
        ...     surrogate=None,
        ...     labels=None,
        ...     space="crop",
        ...     survive=False,
        ...     crf=23,
        ...     crop="auto",
        ...     device="cpu",
        ... )
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), task.crop)
        >>> segments = labelled(segments_of(clips, task.make), task.detector)
        >>> clean, found = search(segments, task, progress=print, clock=Stopwatch())
        float 1 3
        float 2 3
        float 3 3
        >>> clean.name, found.name, [len(curve) for curve in found.curves]
        ('clean', 'float', [3])
    """
    variants = [
        Variant(
            name="clean",
            segments=tuple(segments),
            points=tuple({} for _ in segments),
            batches=tuple(segment.batch for segment in segments),
            known=_known("as found", [segment.score for segment in segments]),
        )
    ]
    for plan in task.plans:
        with clock(plan.name):
            variants.append(moved(segments, task, plan, progress))
    return variants


def moved(
    segments: Sequence[Segment], task: Task, plan: Plan, progress: Progress = no_progress
) -> Variant:
    """What one search finds.

    Args:
        segments: Of the video, with labels.
        task: What is asked.
        plan: The search.
        progress: As for `search`.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.labels import labelled
        >>> from pushpull.video_attacks.search import moved
        >>> from pushpull.video_attacks.segments import segments_of
        >>> from pushpull.video_attacks.task import Task
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> task = Task.of(
        ...     "synthetic-a",
        ...     "fgsm",
        ...     quantise=True,
        ...     surrogate=None,
        ...     labels=None,
        ...     space="crop",
        ...     survive=False,
        ...     crf=23,
        ...     crop="auto",
        ...     device="cpu",
        ... )
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), task.crop)
        >>> segments = labelled(segments_of(clips, task.make), task.detector)
        >>> found = moved(segments, task, task.plans[1])
        >>> found.name, bool((found.batches[0].faces % 1 == 0).all())
        ('quantised', True)
    """
    found = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BudgetWarning)
        for i, segment in enumerate(segments):
            part = "" if len(segments) == 1 else f", part {i + 1} of {len(segments)}"
            found.append(_attacked(segment, task, plan, partial(progress, plan.name + part)))
    # Before any file; through a codec, the batch of the attack is what came back from one.
    batches = [
        segment.space(one.clean, one.threat).to_batch(dict(one.points))
        for segment, one in zip(segments, found, strict=True)
    ]
    return Variant(
        name=plan.name,
        segments=tuple(segments),
        points=tuple(dict(one.points) for one in found),
        batches=tuple(batches),
        vanished=found[0].vanished,
        forwards=sum(one.forwards for one in found),
        backwards=sum(one.backwards for one in found),
        losses=tuple(one.curve for one in found),
        known=_known(
            "as found" if plan.codec is None else plan.codec.name, [one.score for one in found]
        ),
        notes=tuple(dict.fromkeys(str(w.message) for w in caught)),
    )


def _known(way: str, scores: Sequence[Tensor | None]) -> dict[str, tuple[Tensor, ...]]:
    """Scores of all segments, if all have them, by how they reached the detector."""
    there = tuple(score for score in scores if score is not None)
    return {way: there} if len(there) == len(scores) else {}


def _attacked(
    segment: Segment, task: Task, plan: Plan, tell: Callable[[int, int | None], None]
) -> AttackResult:
    steps = plan.attack.options.get("steps")

    def space(batch: Batch, threat: Threat) -> Space:
        moved = segment.space(batch, threat)
        return moved if plan.codec is None else ThroughFiles(moved, segment, plan.codec)

    def watch(done: int) -> None:
        tell(done, None if steps is None else int(steps) + 1)

    batch = segment.batch.to(task.detector.device)
    if task.surrogate is None:
        return find_adversary(task.detector, batch, plan.attack, space=space, watch=watch)
    return transfer(task.surrogate, task.detector, batch, plan.attack, space=space, watch=watch)
