"""Who is speaking now: pictures and sound as they come, scores at most a second later.

A detector is shown 25 pictures a second of each face that is followed. Its visual encoder sees a
quarter of a second ahead; the fusion, which sees the whole track in a file, sees the last seconds
here, and what follows within a lookahead. So each score is given twice: as soon as it can be had,
and once more when the lookahead has passed (`final`). Nothing is kept for longer than a few
seconds, however long a stream goes on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.detection.ahead import Encoders
from pushpull.detection.clips import MODEL_FPS, crop_faces
from pushpull.detection.face_finders import FaceFinder, choose_face_finder
from pushpull.detection.motion import Trail
from pushpull.detection.pipeline import crop_of
from pushpull.detection.tracking import Tracker, clear
from pushpull.errors import ConfigError, ShapeError
from pushpull.media import Frame
from pushpull.models.detector import Detector, in_eval_mode
from pushpull.models.streaming import VisualStream, score_track
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.schema import SAMPLE_RATE_HZ

__all__ = ["FaceScore", "Live"]

STEP = 8
"""Pictures of a face that are encoded at once."""
MOST_WAITING = 12
"""Windows that wait for a thread; then pictures wait, and it is said which are left out."""
SEEN_S = 4.0
"""What the fusion sees of the past."""
SILENT_AFTER_S = 1.0
"""Sound that is later than this behind the pictures is taken for silence."""
HOLE_S = 1.0
"""A picture stands for no longer than this."""
LATELY_S = 0.25
"""For so long a face that is not seen is taken to go on moving."""
STEADY = 0.4
"""Share of a new place in the box of a face: boxes tremble, faces hardly do."""
KEPT_SIGHTINGS, KEPT_TIMES = 100, 2000
SAMPLES_PER_TICK = round(SAMPLE_RATE_HZ / MODEL_FPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceScore:
    """One face at one time.

    Attributes:
        face: Number of the face, from 0 as they come.
        time_s: When, on the clock of what was pushed.
        box: (4,) x1, y1, x2, y2 in pixels.
        score: Log-odds of speaking and heard.
        final: Whether it will not be given again.

    Examples:
        >>> from pushpull.detection.live import FaceScore
        >>> one = FaceScore(face=0, time_s=1.0, box=(4.0, 4.0, 9.0, 9.0), score=0.0, final=True)
        >>> one.probability, one.speaking
        (0.5, False)
    """

    face: int
    time_s: float
    box: tuple[float, float, float, float]
    score: float
    final: bool

    @property
    def probability(self) -> float:
        """Of speaking, 0..1."""
        return 1 / (1 + math.exp(-self.score))

    @property
    def speaking(self) -> bool:
        """Whether that is more likely than not."""
        return self.score > 0


class Live:
    """Scores faces of a stream as it comes.

    Args:
        detector: As for `detect`.
        face_finder: As for `detect`.
        crop: As for `detect`.
        device: As for `detect`.
        precision: As for `detect`.
        lookahead_s: How much of what follows a score waits for before it is final.
        beside: Whether faces are encoded in a thread of their own, which two cores keep up with
            where one does not, until `close`. Which scores come with which picture then depends on
            the machine.

    Raises:
        ConfigError: If the lookahead is below 0 or above 3 s.

    Examples:
        >>> from pushpull.detection import Live
        >>> from pushpull.media import read_frames, read_waveform
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=1.6, size=(160, 120))
        >>> live = Live("synthetic-a", face_finder="dlib", lookahead_s=0.2)
        >>> found = live.push_audio(read_waveform("talk.mp4"), 0.0)
        >>> for frame in read_frames("talk.mp4"):
        ...     found += live.push_video(frame.rgb(), frame.time_s)
        >>> found += live.close()
        >>> len({one.time_s for one in found if one.final}), found[-1].face
        (38, 0)
    """

    def __init__(
        self,
        detector: DetectorSource = "light-asd-ava",
        *,
        face_finder: str = "auto",
        crop: str = "auto",
        device: str | None = None,
        precision: str = "float32",
        lookahead_s: float = 0.5,
        beside: bool = False,
    ) -> None:
        if not 0 <= lookahead_s <= 3:
            raise ConfigError(f"lookahead is {lookahead_s} s; expected 0 to 3")
        self.detector = resolve_detector(detector, device=device)
        self.crop = crop_of(crop, self.detector)
        self.lookahead = round(lookahead_s * MODEL_FPS)
        self.tracker = LiveTracker(choose_face_finder(face_finder).finder)
        self.threads = ExitStack()
        self.threads.enter_context(in_eval_mode(self.detector))
        encoders = (
            Encoders(1, waiting=MOST_WAITING, precision=precision)
            if beside
            else Encoders(0, precision=precision)
        )
        self.encoders = self.threads.enter_context(encoders)
        self.sound = Sound()
        self.faces: dict[Trail, Face] = {}
        self.n_faces = self.n_frames = 0
        self.begin_s: float | None = None
        # The next tick that no picture has been given.
        self.tick = 0
        self.last_s = -math.inf

    def push_video(self, image: NDArray[np.uint8], time_s: float) -> list[FaceScore]:
        """Take a picture; what can be said by now.

        Args:
            image: RGB (H, W, 3) uint8, all of one size.
            time_s: When it was taken; later than the one before.

        Raises:
            ShapeError: If it is no picture.
            ConfigError: If it is not later than the one before.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ShapeError(f"picture is {image.dtype} {image.shape}; expected uint8 (H, W, 3)")
        if time_s <= self.last_s:
            raise ConfigError(f"picture at {time_s} s after one at {self.last_s} s; expected later")
        if self.begin_s is None:
            self.begin_s = time_s
        until = math.floor((time_s - self.begin_s) * MODEL_FPS + 0.5)
        found: list[FaceScore] = []
        if time_s - self.last_s > HOLE_S and self.n_frames:
            # Whoever is there now may be somebody else.
            found += self._end(list(self.faces))
            self.tracker.forget()
            self.tick = until
        self.last_s = time_s
        frame = Frame.from_rgb(self.n_frames, time_s, image)
        self.n_frames += 1
        self.tracker.push(frame)
        ticks = range(self.tick, until + 1)
        self.tick = max(self.tick, until + 1)
        followed = list(clear(self.tracker.open, self.tracker.face_finder))
        # After a cut, faces are others, and whoever comes back is given a new number.
        found += self._end([t for t in self.faces if t not in self.tracker.open])
        followed += [t for t in self.faces if t not in followed]
        for trail in followed:
            face = self.faces.get(trail)
            if face is None:
                stream = self.encoders.stream(self.detector, window=STEP)
                face = self.faces[trail] = Face(self.n_faces, stream, self.detector)
                self.n_faces += 1
            lately = trail.unseen_s(time_s) <= LATELY_S
            box = face.moved_to(trail.predicted(time_s) if lately else trail.last)
            if len(ticks):
                (crop,) = crop_faces(frame.gray(), box[None], self.crop)
                for tick in ticks:
                    face.show(tick, box, crop)
        return found + self._scores()

    def push_audio(self, samples: NDArray[np.float32], time_s: float) -> list[FaceScore]:
        """Take sound; what can be said by now.

        Args:
            samples: (N,) in [-1, 1] at 16 kHz.
            time_s: When the first was heard, on the clock of the pictures.

        Raises:
            ShapeError: If it is not (N,), or not all are numbers.
        """
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ShapeError(f"samples are {samples.shape}; expected (N,), all of them numbers")
        self.sound.push(np.asarray(samples, np.float32), time_s)
        return self._scores()

    def close(self) -> list[FaceScore]:
        """The end of the stream: what is left to say."""
        found = self._end(list(self.faces))
        self.threads.close()
        return found

    def _scores(self) -> list[FaceScore]:
        found: list[FaceScore] = []
        for face in self.faces.values():
            found += self._scores_of(face, ended=False)
        return found

    def _end(self, trails: Sequence[Trail]) -> list[FaceScore]:
        found: list[FaceScore] = []
        for trail in trails:
            found += self._scores_of(self.faces.pop(trail), ended=True)
        return found

    def _scores_of(self, face: Face, *, ended: bool) -> list[FaceScore]:
        """What is new of a face, and what is final."""
        if self.begin_s is None:
            return []
        face.encode(ended=ended)
        heard_s = max(self.sound.end_s, self.last_s - SILENT_AFTER_S)
        heard = math.floor((heard_s - self.begin_s) * MODEL_FPS)
        known = face.known if ended else min(face.known, heard)
        if known <= face.given and not (ended and face.settled < face.given):
            return []
        if not ended and known < face.known and known - face.given < STEP:
            # Sound comes in small pieces: fusing for each would cost more than encoding.
            return []
        first = face.first_seen
        if known <= first:
            return []
        local = face.local(first, known)
        from_s = self.begin_s + first / MODEL_FPS
        waveform = torch.from_numpy(self.sound.between(from_s, local.shape[1]))
        output = score_track(self.detector, waveform, local, fps=MODEL_FPS)
        scores = output.score[0].double().cpu().numpy()
        settled = known if ended else max(face.settled, known - self.lookahead)
        found = [
            face.score(tick, self.begin_s, float(scores[tick - first]), final=tick < settled)
            for tick in range(max(face.settled, first), known)
            if tick >= face.given or tick < settled
        ]
        face.given, face.settled = known, settled
        return found


class LiveTracker(Tracker):
    """A tracker that forgets what is long ago."""

    def __init__(self, face_finder: FaceFinder) -> None:
        super().__init__(face_finder)
        self.times_s = RecentTimes()  # type: ignore[assignment]

    def push(self, frame: Frame) -> None:
        """Take the next frame."""
        super().push(frame)
        self.closed.clear()
        for trail in self.followed:
            for values in (trail.frames, trail.times_s, trail.boxes, trail.scores):
                del values[:-KEPT_SIGHTINGS]

    def forget(self) -> None:
        """Begin anew, with the same clock."""
        self.close(self.open)
        self.leave(self.times_s[-1], blind=True)
        self.left = None
        self.glance = None
        self.next_scan_s = 0.0


class RecentTimes:
    """A list of times by number that keeps the last ones only."""

    def __init__(self) -> None:
        self.n = 0
        self.kept: deque[float] = deque(maxlen=KEPT_TIMES)

    def append(self, time_s: float) -> None:
        """Add one."""
        self.n += 1
        self.kept.append(time_s)

    def __getitem__(self, number: int) -> float:
        return self.kept[number if number < 0 else number - self.n]

    def __len__(self) -> int:
        return self.n


class Sound:
    """The last seconds of sound."""

    def __init__(self) -> None:
        self.samples = np.zeros(0, np.float32)
        self.begin_s: float | None = None

    @property
    def end_s(self) -> float:
        """Until when it is known."""
        if self.begin_s is None:
            return -math.inf
        return self.begin_s + len(self.samples) / SAMPLE_RATE_HZ

    def push(self, samples: NDArray[np.float32], time_s: float) -> None:
        """Add sound where it belongs; what is missing is silent."""
        if self.begin_s is None:
            self.begin_s = time_s
        missing = round((time_s - self.end_s) * SAMPLE_RATE_HZ)
        # Stamps tremble; a hole is longer.
        if missing > SAMPLES_PER_TICK:
            missing = min(missing, round((SEEN_S + 4) * SAMPLE_RATE_HZ))
            self.begin_s = time_s - (len(self.samples) + missing) / SAMPLE_RATE_HZ
            self.samples = np.concatenate([self.samples, np.zeros(missing, np.float32)])
        self.samples = np.concatenate([self.samples, samples])
        gone = len(self.samples) - round((SEEN_S + 4) * SAMPLE_RATE_HZ)
        # Now and then, since it copies.
        if gone > SAMPLE_RATE_HZ:
            self.samples = self.samples[gone:].copy()
            self.begin_s += gone / SAMPLE_RATE_HZ

    def between(self, from_s: float, ticks: int) -> NDArray[np.float32]:
        """The sound of so many ticks, silent where there is none."""
        n = ticks * SAMPLES_PER_TICK
        heard = np.zeros(n, np.float32)
        if self.begin_s is not None:
            start = round((from_s - self.begin_s) * SAMPLE_RATE_HZ)
            low, high = max(0, start), min(len(self.samples), start + n)
            if low < high:
                heard[low - start : high - start] = self.samples[low:high]
        return heard


@dataclass(slots=True, eq=False)
class Face:
    """A face that is followed live.

    Attributes:
        number: What it is called.
        stream: Its crops go there.
        detector: What encodes them.
        first: Tick of the first crop.
        n_shown: Crops so far.
        boxes: Where it was at the last ticks.
        box: Where it is, without trembling.
        features: Of the last ticks (1, D) each.
        known: Tick up to which there are features.
        given: Tick up to which scores were given.
        settled: Tick up to which they were final.
    """

    number: int
    stream: VisualStream
    detector: Detector
    first: int = -1
    n_shown: int = 0
    boxes: deque[NDArray[np.float64]] = field(default_factory=lambda: deque(maxlen=300))
    box: NDArray[np.float64] | None = None
    features: deque[Tensor] = field(default_factory=lambda: deque(maxlen=300))
    known: int = 0
    given: int = 0
    settled: int = 0

    def moved_to(self, box: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its box now, where it was just found."""
        if self.box is None:
            self.box = box
        apart = np.abs(box - self.box).max() / max(box[3] - box[1], 1.0)
        # What moves is followed at once.
        share = min(1.0, STEADY + 4 * apart)
        self.box = self.box + share * (box - self.box)
        return self.box

    def show(self, tick: int, box: NDArray[np.float64], crop: NDArray[np.uint8]) -> None:
        """Its crop at a tick, the one after the last."""
        if self.first < 0:
            self.first = self.known = self.given = self.settled = tick
        self.boxes.append(box)
        self.n_shown += 1
        self.stream.push(torch.from_numpy(crop)[None])

    def encode(self, *, ended: bool) -> None:
        """Take what has been encoded."""
        if ended and self.n_shown:
            self.stream.finish()
        for local in self.stream.taken():
            self.features.extend(local[:, k] for k in range(local.shape[1]))
            self.known += local.shape[1]

    @property
    def first_seen(self) -> int:
        """Tick from which on the fusion sees it."""
        begin = self.known - len(self.features)
        return max(begin, self.settled - round(SEEN_S * MODEL_FPS))

    def local(self, begin: int, end: int) -> Tensor:
        """Features (1, T, D) of some ticks."""
        kept = self.known - len(self.features)
        return torch.stack(list(self.features)[begin - kept : end - kept], 1)

    def score(self, tick: int, begin_s: float, score: float, *, final: bool) -> FaceScore:
        """One of its scores."""
        box = self.boxes[tick - (self.first + self.n_shown)]
        x1, y1, x2, y2 = (float(v) for v in box)
        time_s = begin_s + tick / MODEL_FPS
        return FaceScore(
            face=self.number, time_s=time_s, box=(x1, y1, x2, y2), score=score, final=final
        )
