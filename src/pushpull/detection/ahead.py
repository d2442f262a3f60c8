"""Faces encoded while they are still being followed, from pictures that are decoded once.

What a track will be is known only when the video has ended: pieces are joined, hands are dropped,
boxes are smoothed over what comes after. But a second and a half after a face was seen, nearly all
of it stands. So faces are cut out and encoded then, where the tracker has them (`Ahead.push`); in
the end each track is compared with what was encoded (`Ahead.finish`), and what differs, frames
that see a differing one included, is cut out and encoded anew. Scores are those of encoding
afterwards, whatever was guessed.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from queue import Full, Queue
from threading import Event, Semaphore, Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.detection.clips import ClipGrid, Crop, clip_grid, crop_faces
from pushpull.detection.motion import Trail
from pushpull.detection.paths import LOOKAHEAD_S, whole_track
from pushpull.media import Frame
from pushpull.models.detector import Detector
from pushpull.models.streaming import VisualStream, half_of
from pushpull.runtime.malloc import release_freed_memory
from pushpull.schema import Track

__all__ = ["Ahead", "Encoders", "Known", "Left", "missing_spans", "nearby", "prefetched"]

KEPT_S = 3.0
"""How long pictures are kept."""
KEPT_BYTES = 100_000_000
"""And how much of them: of large pictures fewer, and what was not cut out in time is cut later."""
RELEASED = 1500
"""After so many pictures what was freed between them is given back: features, which stay, lie
between what does not, and memory would grow with the video."""
AT_ONCE = 12
"""Frames of a face that are cut out together."""
PREFETCHED = 3
"""Pictures that are decoded before they are wanted."""
SAME_PX = 1e-3
"""Boxes that differ by less are the same: crops differ by less than a grey level."""
APART_S, MOST_PASSES = 10.0, 20
"""What lies farther apart is read in passes of its own, unless there are very many."""
BEHIND = 5
"""By so much the encoders' threads are nicer than what follows faces, which is the longer way: it
would share its core with them, and leave the other empty when they have nothing to do."""
LONGEST_UNSTEADY_S = 600.0
"""A face at an unusual frame rate that is followed for longer is encoded afterwards."""


class Encoders:
    """Threads that encode windows of faces beside whatever follows them; never far behind.

    A context manager: leaving it ends what has not begun.

    Args:
        workers: How many; 0 encodes at once, in the thread that asks.
        waiting: Windows that wait or are encoded at most; four for each worker by default.
        precision: What faces are encoded in; see `pushpull.models.streaming.PRECISIONS`.
        niceness: By how much the threads let others go first; on Linux alone.

    Raises:
        UnknownName: If there is no such precision.

    Examples:
        >>> import torch
        >>> from pushpull.detection.ahead import Encoders
        >>> with Encoders(1) as pool:
        ...     window = pool.run(lambda: torch.zeros(1, 5, 128))
        ...     window.result().shape
        torch.Size([1, 5, 128])
    """

    def __init__(
        self,
        workers: int,
        *,
        waiting: int | None = None,
        precision: str = "float32",
        niceness: int = 0,
    ) -> None:
        half_of(precision)
        self.workers, self.precision = workers, precision
        # Threads of PyTorch and OpenCV would take the cores from each other.
        self.threads = self.cv2_threads = torch.get_num_threads()
        self.room = Semaphore(waiting or 4 * max(1, workers))
        self.failure: BaseException | None = None
        self.pool = ThreadPoolExecutor(
            max(1, workers),
            thread_name_prefix="encoder",
            initializer=_step_back,
            initargs=(niceness,),
        )

    @classmethod
    def beside(cls, detector: Detector, *, precision: str = "float32") -> Encoders:
        """As many as PyTorch has threads; none where it has one, so that one core is enough."""
        threads = torch.get_num_threads()
        workers = (threads if threads > 1 else 0) if detector.device.type == "cpu" else 1
        return cls(workers, precision=precision, niceness=BEHIND)

    def stream(self, detector: Detector, *, window: int | None = None) -> VisualStream:
        """The faces of one track, encoded here."""
        return VisualStream(detector, window=window, run=self.run, precision=self.precision)

    def __enter__(self) -> Encoders:
        if self.workers:
            import cv2

            torch.set_num_threads(1)
            self.cv2_threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
        return self

    def __exit__(self, *failure: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        if self.workers:
            import cv2

            torch.set_num_threads(self.threads)
            cv2.setNumThreads(self.cv2_threads)

    def run(self, encode: Callable[[], Tensor]) -> Future[Tensor]:
        """Encode a window as soon as a thread is free; waits while too many are waiting.

        Raises:
            Exception: What an earlier window failed with.
        """
        if not self.workers:
            done: Future[Tensor] = Future()
            done.set_result(encode())
            return done
        self.room.acquire()
        if self.failure is not None:
            self.room.release()
            raise self.failure
        future = self.pool.submit(encode)
        future.add_done_callback(self.ended)
        return future

    def ended(self, window: Future[Tensor]) -> None:
        """Make room, and keep why a window failed."""
        if not window.cancelled() and (failure := window.exception()) is not None:
            self.failure = self.failure or failure
        self.room.release()


def _step_back(niceness: int) -> None:
    """Let other threads of this process go first."""
    # Elsewhere this is of the process, not of a thread.
    if niceness and sys.platform == "linux":
        os.nice(niceness)


def prefetched(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames, decoded and turned into grey levels in a thread a little ahead.

    Examples:
        >>> from pushpull.detection.ahead import prefetched
        >>> from pushpull.media import Frame
        >>> picture = np.full((48, 64, 3), 200, np.uint8)
        >>> frames = (Frame.from_rgb(k, k / 25, picture) for k in range(3))
        >>> [(frame.index, frame.gray().shape) for frame in prefetched(frames)]
        [(0, (48, 64)), (1, (48, 64)), (2, (48, 64))]
    """
    waiting: Queue[Frame | BaseException | None] = Queue(PREFETCHED)
    stopped = Event()

    def give(what: Frame | BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(Full):
                waiting.put(what, timeout=0.1)
                return

    def read() -> None:
        try:
            for frame in frames:
                frame.gray()
                give(frame)
                if stopped.is_set():
                    return
        except BaseException as e:
            give(e)
        else:
            give(None)

    thread = Thread(target=read, name="pictures", daemon=True)
    thread.start()
    try:
        while True:
            what = waiting.get()
            if what is None:
                return
            if isinstance(what, BaseException):
                raise what
            yield what
    finally:
        stopped.set()
        thread.join()


@dataclass(slots=True, eq=False)
class Guess:
    """What has been encoded of a face that is followed.

    Attributes:
        stream: Its crops go there.
        frames: Frame of each crop.
        boxes: Where it was cut out.
        steady: Whether the rate is one that a detector sees as it is.
        done: Whether no more will come.
    """

    stream: VisualStream
    frames: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    steady: bool = True
    done: bool = False


class Ahead:
    """Cuts out and encodes what is known of faces that are being followed.

    Args:
        detector: What encodes them.
        crop: Which part of a face is shown.
        encoders: Where.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection.ahead import Ahead, Encoders
        >>> from pushpull.detection.clips import CROPS
        >>> with Encoders(0) as encoders:
        ...     ahead = Ahead(pp.load("synthetic-a"), CROPS["ava"], encoders)
        ...     ahead.finish([])
        []
    """

    def __init__(self, detector: Detector, crop: Crop, encoders: Encoders) -> None:
        self.detector, self.crop, self.encoders = detector, crop, encoders
        self.pictures: deque[tuple[int, NDArray[np.uint8]]] = deque()
        self.free: list[NDArray[np.uint8]] = []
        self.guesses: dict[Trail, Guess] = {}
        self.shift = 0

    def push(self, frame: Frame, times_s: Sequence[float], trails: Iterable[Trail]) -> None:
        """Take the next frame.

        Args:
            frame: As the file numbers it.
            times_s: Of all frames so far; trails are numbered as they are here.
            trails: Faces that are followed.
        """
        grey, number = frame.gray(), len(times_s) - 1
        self.shift = frame.index - number
        most = max(1, KEPT_BYTES // grey.nbytes)
        while self.pictures and (
            len(self.pictures) >= most or frame.time_s - times_s[self.pictures[0][0]] > KEPT_S
        ):
            self.free.append(self.pictures.popleft()[1])
        # The same few arrays for all pictures: fresh ones would lie between the encoder's large
        # blocks, of which then none could be used again.
        kept = self.free.pop() if self.free else np.empty_like(grey)
        np.copyto(kept, grey)
        self.pictures.append((number, kept))
        if number % AT_ONCE == 0:
            for trail in trails:
                self.cut(trail, times_s, ended=False)
        if number % RELEASED == RELEASED - 1:
            release_freed_memory()

    def end(self, trails: Iterable[Trail], times_s: Sequence[float]) -> None:
        """Take what is left of faces that will not be seen again."""
        for trail in trails:
            self.cut(trail, times_s, ended=True)

    def cut(self, trail: Trail, times_s: Sequence[float], *, ended: bool) -> None:
        """Cut out what is known of a face and has not been cut out."""
        first = self.pictures[0][0]
        guess = self.guesses.get(trail)
        if guess is None and trail.frames[0] >= first and len(trail.frames) > 1:
            guess = Guess(self.encoders.stream(self.detector))
            self.guesses[trail] = guess
        if guess is None or guess.done:
            return
        # The sighting before the last may be a spike as long as none follows.
        known_s = np.inf if ended else trail.times_s[-2] - LOOKAHEAD_S
        for number in self.shown(trail, guess, times_s):
            if times_s[number] > known_s:
                break
            if number < first:
                # A picture that is gone; the rest is cut out in the end.
                guess.done = True
                break
            guess.frames.append(number)
        new = guess.frames[len(guess.boxes) :]
        if new:
            boxes = self.boxes(trail, times_s, new)
            for number, box in zip(new, boxes, strict=True):
                (face,) = crop_faces(self.pictures[number - first][1], box[None], self.crop)
                guess.stream.push(torch.from_numpy(face)[None])
                guess.boxes.append(box)
        guess.done = guess.done or ended

    def shown(self, trail: Trail, guess: Guess, times_s: Sequence[float]) -> Sequence[int]:
        """Frames of a face that a detector sees after those that it has seen."""
        begin, stop = trail.frames[0], trail.frames[-1] + 1
        if not guess.frames:
            # Judged by what is known of it; what turns out otherwise is encoded anew.
            so_far = clip_grid(np.array(times_s[begin:stop]))
            guess.steady = so_far.frame_of_grid is so_far.grid_of_frame
        if guess.steady:
            return range(guess.frames[-1] + 1 if guess.frames else begin, stop)
        if times_s[stop - 1] - times_s[begin] > LONGEST_UNSTEADY_S:
            guess.done = True
            return ()
        grid = clip_grid(np.array(times_s[begin:stop])).frame_of_grid + begin
        left: list[int] = grid[len(guess.frames) :].tolist()
        return left

    def boxes(
        self, trail: Trail, times_s: Sequence[float], frames: Sequence[int]
    ) -> NDArray[np.float64]:
        """Boxes of a face in some frames, as the whole track has them."""
        since_s = times_s[frames[0]] - 2 * LOOKAHEAD_S
        since = max(0, bisect_left(trail.times_s, since_s) - 2)
        begin, stop = trail.frames[since], trail.frames[-1] + 1
        keys = np.array(trail.frames[since:]) - begin
        near = whole_track(0, keys, np.array(trail.boxes[since:]), np.array(times_s[begin:stop]))
        boxes: NDArray[np.float64] = near.boxes[np.array(frames) - begin]
        return boxes

    def finish(self, parts: Sequence[tuple[Track, ClipGrid]]) -> list[Known]:
        """What is known of tracks, or of parts of them without holes, on their grids."""
        # No more are cut out.
        self.pictures.clear()
        self.free.clear()
        made = [p for p in self.guesses.values() if p.frames]
        places: dict[int, list[tuple[int, int]]] = {}
        for k, guess in enumerate(made):
            for place, number in enumerate(guess.frames):
                if place == 0 or number != guess.frames[place - 1]:
                    places.setdefault(number + self.shift, []).append((k, place))
        found = []
        context = self.detector.visual_context
        features: dict[int, Tensor] = {}
        for track, grid in parts:
            known = Known.nothing(grid)
            for begin, end, k, q in self.runs(track, grid, made, places):
                length = len(made[k].frames)
                # At an end that is both the track's and the guess's, nothing is beyond.
                whole_begin = begin == 0 and q == 0
                whole_end = end == len(known.good) and q + end - begin == length
                low = begin if whole_begin else begin + context
                high = end if whole_end else end - context
                if low < high:
                    if k not in features:
                        features[k] = made[k].stream.finish()
                    here = slice(q + low - begin, q + high - begin)
                    known = known.with_span((low, high), features[k][:, here])
            found.append(known)
        return found

    def runs(
        self,
        track: Track,
        grid: ClipGrid,
        made: Sequence[Guess],
        places: Mapping[int, Sequence[tuple[int, int]]],
    ) -> Iterator[tuple[int, int, int, int]]:
        """Stretches of a grid that a guess has shown: begin, end, which guess, from where in it."""
        source = np.full((len(grid.frame_of_grid), 2), -1)
        for p, place in enumerate(grid.frame_of_grid.tolist()):
            number, box = int(track.frames[place]), track.boxes[place]
            if p > 0 and grid.frame_of_grid[p - 1] == place:
                # A picture that stands still is shown again.
                k, q = source[p - 1].tolist()
                candidates: Sequence[tuple[int, int]] = [(k, q + 1)] if k >= 0 else []
            else:
                candidates = places.get(number, ())
            for k, q in candidates:
                guess = made[k]
                same = q < len(guess.frames) and guess.frames[q] + self.shift == number
                if same and np.abs(guess.boxes[q] - box).max() < SAME_PX:
                    source[p] = k, q
                    break
        breaks = np.flatnonzero((np.diff(source, axis=0) != [0, 1]).any(1)) + 1
        for begin, end in pairwise([0, *breaks.tolist(), len(source)]):
            k, q = source[begin].tolist()
            if k >= 0:
                yield begin, end, k, q


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Local visual features of a track as far as they are known.

    Attributes:
        features: (1, T, D) on the track's grid; (1, 0, 0) where nothing is known.
        good: Which are known (T,).

    Examples:
        >>> import torch
        >>> from pushpull.detection.ahead import Known
        >>> from pushpull.detection.clips import clip_grid
        >>> known = Known.nothing(clip_grid(np.arange(5) / 25))
        >>> known.with_span((1, 3), torch.ones(1, 2, 128)).good
        array([False,  True,  True, False, False])
    """

    features: Tensor
    good: NDArray[np.bool_]

    @classmethod
    def nothing(cls, grid: ClipGrid) -> Known:
        """Of a track of which nothing has been encoded."""
        return cls(torch.zeros(1, 0, 0), np.zeros(len(grid.frame_of_grid), bool))

    def with_span(self, span: tuple[int, int], features: Tensor) -> Known:
        """With what is known of a stretch (1, end - begin, D)."""
        here, good = slice(*span), self.good.copy()
        good[here] = True
        if features.shape[1] == len(good):
            return Known(features, good)
        whole = self.features
        if not whole.numel():
            whole = features.new_zeros(1, len(good), features.shape[2])
        # In place, since nobody else holds it.
        whole[:, here] = features
        return Known(whole, good)


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """A stretch of a track that is still to be encoded.

    Attributes:
        track: The track, or a part of it without holes.
        grid: Its grid.
        span: First place of the grid, and last + 1.
        of: Which track it is of.
        context: Places around it that the encoder sees.

    Examples:
        >>> from pushpull.detection.ahead import Left
        >>> from pushpull.detection.clips import clip_grid
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.arange(50),
        ...     timestamps_s=np.arange(50) / 25,
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 50),
        ...     detected=np.ones(50, bool),
        ... )
        >>> left = Left(track, clip_grid(track.timestamps_s), (20, 30), of=0, context=6)
        >>> left.shown.frames[[0, -1]], left.kept
        (array([14, 35]), slice(6, 16, None))
    """

    track: Track
    grid: ClipGrid
    span: tuple[int, int]
    of: int
    context: int

    @property
    def places(self) -> NDArray[np.int64]:
        """Frames of the track that the encoder sees, on the grid."""
        begin, end = self.span
        shown: NDArray[np.int64] = self.grid.frame_of_grid[
            max(0, begin - self.context) : end + self.context
        ]
        return shown

    @property
    def kept(self) -> slice:
        """Which of them are wanted."""
        begin, end = self.span
        first = max(0, begin - self.context)
        return slice(begin - first, end - first)

    @property
    def shown(self) -> Track:
        """The track in these frames."""
        here = slice(int(self.places[0]), int(self.places[-1]) + 1)
        return replace(
            self.track,
            frames=self.track.frames[here],
            timestamps_s=self.track.timestamps_s[here],
            boxes=self.track.boxes[here],
            detected=self.track.detected[here],
        )


def nearby(left: Sequence[Left]) -> list[list[int]]:
    """Stretches that are cut out in one pass over a part of the video, by their numbers.

    Examples:
        >>> from pushpull.detection.ahead import nearby
        >>> nearby([])
        []
    """
    when = [(float(s.timestamps_s[0]), float(s.timestamps_s[-1])) for s in (x.shown for x in left)]
    groups: list[list[int]] = []
    until_s = -np.inf
    for k in sorted(range(len(left)), key=lambda k: when[k]):
        if when[k][0] - until_s > APART_S:
            groups.append([])
        groups[-1].append(k)
        until_s = max(until_s, when[k][1])
    if len(groups) > MOST_PASSES:
        return [list(range(len(left)))]
    return groups


def missing_spans(good: NDArray[np.bool_], context: int) -> list[tuple[int, int]]:
    """Stretches of a grid that are to be encoded anew, near ones made one.

    Args:
        good: Which places need nothing (T,).
        context: Places around each that are needed too.

    Examples:
        >>> import numpy as np
        >>> from pushpull.detection.ahead import missing_spans
        >>> good = np.ones(100, bool)
        >>> good[[40, 44, 90]] = False
        >>> missing_spans(good, 6)
        [(40, 45), (90, 91)]
    """
    spans: list[tuple[int, int]] = []
    for p in np.flatnonzero(~good).tolist():
        if spans and p - spans[-1][1] <= 2 * context:
            spans[-1] = spans[-1][0], p + 1
        else:
            spans.append((p, p + 1))
    return spans
