"""Many videos, by as many processes as are wanted; what is done already is not done again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pushpull.detection.pipeline import detect, origin_of
from pushpull.detection.results import (
    PER_FRAME,
    drawn_outputs,
    output_files,
    reframed_outputs,
    spoken_outputs,
    word_files,
)
from pushpull.errors import OutputError, PushPullError, foreseen
from pushpull.models.detector import Detector
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.runtime.files import output_dir
from pushpull.runtime.outputs import Outputs, output_names
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import read_json, unstamped
from pushpull.runtime.workers import run_pieces, workers_of

__all__ = ["DetectedVideo", "Saving", "detect_many"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What is written of each video; arguments as for `Detection.save`.

    Examples:
        >>> from pushpull.detection import Saving
        >>> Saving(video="none").reframe is None
        True
    """

    video: str = "fast"
    parquet: bool = False
    overwrite: bool = False
    transcript: Path | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    reframe: tuple[int, int] | None = None

    def is_done(self, planned: Outputs, name: str) -> bool:
        """Whether all files of a video are there already as this would leave them.

        Raises:
            OutputExists: If one may not be replaced.
        """
        planned = drawn_outputs(planned, self.video)
        wanted = [(planned, list(self.own(name).values()))]
        if self.transcript is not None:
            spoken = spoken_outputs(planned, self.transcript, self.names)
            wanted.append((spoken, list(word_files(name).values())))
        if self.reframe is not None:
            wanted.append((reframed_outputs(planned, self.reframe), [f"{name}.reframed.mp4"]))
        for outputs, names in wanted:
            outputs.check(names)
        return not self.overwrite and all(outputs.hold(names) for outputs, names in wanted)

    @property
    def arguments(self) -> dict[str, Any]:
        """For `Detection.save`."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def files(self, name: str) -> dict[str, str]:
        """Names of all files by suffix."""
        words = {} if self.transcript is None else word_files(name)
        narrow = {} if self.reframe is None else {"reframed.mp4": f"{name}.reframed.mp4"}
        return {**self.own(name), **words, **narrow}

    def own(self, name: str) -> dict[str, str]:
        """Names of those of the detection itself."""
        return output_files(name, video=self.video, parquet=self.parquet)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedVideo:
    """What became of one of many videos.

    Attributes:
        path: The video.
        name: Its name in every output.
        record: The detection as in its json, without lists of frames, and its files by suffix
            under `outputs`; None if it failed.
        error: Why it failed.
        kept: Whether it was there already.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection import DetectedVideo
        >>> from pushpull.errors import MediaError
        >>> DetectedVideo(path=Path("a.mp4"), name="a", error=MediaError("a.mp4: no sound")).kept
        False
    """

    path: Path
    name: str
    record: dict[str, Any] | None = None
    error: PushPullError | None = None
    kept: bool = False


def detect_many(
    videos: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    detector: DetectorSource = "light-asd-ava",
    *,
    saving: Saving | None = None,
    inputs: Sequence[str | os.PathLike[str]] = (),
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    device: str | None = None,
    progress: Progress = no_progress,
    **asked: Any,
) -> Iterator[DetectedVideo]:
    """Detect in each video and write its files into one folder, in the order in which they end.

    A video that cannot be done is an outcome with an error; the others are done all the same. One
    whose files are there already, made by this version of the same content with the same settings,
    is not done again.

    Args:
        videos: The files.
        folder: Where results go.
        detector: As for `detect`; a name or path where other processes have to load it.
        saving: What is written of each.
        inputs: Further files that are never replaced.
        workers: Processes; each has one thread and loads the detector once. 0 is one per core.
        engine: "local" or "ray"; see `pushpull.runtime.workers.run_pieces`.
        address: Of the Ray cluster.
        device: As for `detect`.
        progress: Called with what is under way, and how much is done and there is in all: frames
            with one process here, videos otherwise.
        asked: What `detect` takes: face_finder, boxes, crop, precision, part, audio_track, rules,
            identities, allow_silent.

    Raises:
        OutputExists: If a file may not be replaced; before any work.
        ConfigError: If there is no such cluster.
        CheckpointError: If the weights cannot be loaded.

    Examples:
        >>> from pushpull.detection import Saving, detect_many
        >>> from pushpull.synthetic import one_face_video
        >>> for seed, name in ((1, "a.mp4"), (3, "b.mp4")):
        ...     scene = one_face_video(name, seed=seed, duration_s=0.4, size=(160, 120))
        >>> videos, saving = ["a.mp4", "b.mp4", "gone.mp4"], Saving(video="none")
        >>> for time in ("first", "second"):
        ...     for one in detect_many(
        ...         videos, "out", "synthetic-a", saving=saving, face_finder="dlib"
        ...     ):
        ...         print(time, one.name, one.kept, one.error)
        first a False None
        first b False None
        first gone False gone.mp4: no such file
        second a True None
        second b True None
        second gone False gone.mp4: no such file
    """
    saving = saving or Saving()
    out, paths = Path(folder), [Path(video) for video in videos]
    names = output_names(paths, also=[".labels", ".words", ".reframed"])
    named = list(zip(paths, names, strict=True))
    never = (*paths, *(Path(one) for one in inputs))
    model = resolve_detector(detector, device=device)
    decisive = {k: v for k, v in asked.items() if k != "allow_silent"}
    kept = []
    for path, name in named:
        # What may not be replaced is said before hours of work.
        planned = Outputs(
            folder=out,
            origin=origin_of(path, model, name=name, **decisive),
            inputs=never,
            overwrite=saving.overwrite,
        )
        if saving.is_done(planned, name):
            kept.append(name)
    output_dir(out)
    for path, name in named:
        if name in kept:
            yield DetectedVideo(path=path, name=name, record=_left(out, name, saving), kept=True)
    left = [(path, name) for path, name in named if name not in kept]
    do = partial(_detect_one, out, saving, never, asked)
    if engine == "local" and workers_of(workers) == 1:
        for path, name in left:
            yield do(model, path, name, partial(_of_video, progress, name))
        return
    source = model if isinstance(detector, Detector) else detector
    pieces = {name: (source, device, Path.cwd(), path, name) for path, name in left}
    for outcome in run_pieces(
        pieces,
        partial(_detect_apart, do),
        workers=workers,
        engine=engine,
        address=address,
        progress=progress,
    ):
        if outcome.error is None:
            yield outcome.result
        else:
            path = pieces[outcome.piece][3]
            yield DetectedVideo(path=path, name=outcome.piece, error=outcome.error)


def _of_video(progress: Progress, name: str, stage: str, done: int, total: int | None) -> None:
    progress(f"{name}: {stage}", done, total)


def _detect_one(
    folder: Path,
    saving: Saving,
    inputs: tuple[Path, ...],
    asked: Mapping[str, Any],
    model: Detector,
    path: Path,
    name: str,
    report: Progress,
) -> DetectedVideo:
    try:
        result = detect(path, model, name=name, progress=report, **asked)
        began = time.perf_counter()
        outputs = result.save(folder, inputs=inputs, progress=report, **saving.arguments)
        record = result.as_dict(frames=False)
        record["outputs"] = {suffix: str(written) for suffix, written in outputs.items()}
        record["seconds"]["outputs"] = round(time.perf_counter() - began, 3)
    except Exception as e:  # one file never ends a batch, whatever is wrong with it
        return DetectedVideo(path=path, name=name, error=foreseen(e, path))
    return DetectedVideo(path=path, name=name, record=record)


def _detect_apart(
    do: Callable[[Detector, Path, str, Progress], DetectedVideo],
    detector: DetectorSource,
    device: str | None,
    where: Path,
    path: Path,
    name: str,
    report: Progress,
) -> DetectedVideo:
    """The same in another process, perhaps of another machine with the same disk."""
    try:
        # Names mean there what they mean to the one who asked.
        os.chdir(where)
    except OSError as e:
        raise OutputError(f"{where}: is not there on this node; nodes need a disk in common") from e
    model = detector if isinstance(detector, Detector) else _loaded(os.fspath(detector), device)
    return do(model, path, name, report)


@lru_cache(maxsize=1)
def _loaded(name: str, device: str | None) -> Detector:
    return resolve_detector(name, device=device)


def _left(folder: Path, name: str, saving: Saving) -> dict[str, Any]:
    """The record of a video that was done earlier."""
    written = {suffix: folder / file for suffix, file in saving.files(name).items()}
    record = unstamped(read_json(written["json"], kind="detection"))
    tracks = [{k: v for k, v in track.items() if k not in PER_FRAME} for track in record["tracks"]]
    outputs = {suffix: str(path) for suffix, path in written.items()}
    return {**record, "tracks": tracks, "outputs": outputs}
