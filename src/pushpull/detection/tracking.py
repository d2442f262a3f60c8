"""From faces in some frames to tracks over all of them.

One pass over the pictures. Whole pictures are searched every `scan_interval_s` seconds and after
every scene cut; in between, five times a second, only the surroundings of known faces are.
Where a face appears or goes between two looks, the frames in between are looked at backwards, so
that tracks begin and end within a frame of what can be seen. Boxes between two looks are
interpolated, then smoothed over time. No track crosses a cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders import FaceBoxes, FaceFinder
from pushpull.detection.face_finders.finder import overlap
from pushpull.media import Frame
from pushpull.schema import Track

__all__ = ["MIN_TRACK_FRAMES", "find_tracks"]

MIN_TRACK_FRAMES = 10
LOOK_INTERVAL_S = 0.2
LONGEST_GAP_S = 0.45
SMOOTHING_S = 0.16
"""Standard deviation of the Gaussian over box positions: jitter goes, head movement stays."""

MATCH_OVERLAP = 0.3
SAME_FACE_OVERLAP = 0.5
CUT_SIDE_PX = 256
"""Longer side of the pictures in which cuts are looked for."""


@dataclass(slots=True)
class OpenTrack:
    """A face being followed: the frames in which it was seen, and where."""

    frames: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, frame: int, box: NDArray[np.float64], score: float) -> None:
        """Take a sighting, in any order of frames."""
        self.frames.append(frame)
        self.boxes.append(box)
        self.scores.append(score)

    @property
    def last(self) -> NDArray[np.float64]:
        """Box of the latest frame."""
        return self.boxes[int(np.argmax(self.frames))]


class Tracker:
    """State of one pass; see `find_tracks`."""

    def __init__(self, face_finder: FaceFinder) -> None:
        self.face_finder = face_finder
        self.cuts = CutFinder()
        self.open: list[OpenTrack] = []
        self.closed: list[OpenTrack] = []
        self.times_s: list[float] = []
        # Pictures since the last search of a whole one, for looking back.
        self.recent: deque[tuple[int, NDArray[np.uint8]]] = deque()
        self.next_scan_s = self.next_look_s = 0.0

    def push(self, frame: Frame) -> None:
        """Take the next frame."""
        image = frame.rgb()
        self.times_s.append(frame.time_s)
        if self.cuts.is_cut(frame.index, image):
            self.look_back()
            self.close(self.open)
            self.recent.clear()
            self.next_scan_s = frame.time_s
        scans = frame.time_s >= self.next_scan_s - 1e-6
        if scans or frame.time_s >= self.next_look_s - 1e-6:
            self.look(frame, image, scans=scans)
            self.next_look_s = frame.time_s + LOOK_INTERVAL_S
        if scans:
            self.next_scan_s = frame.time_s + self.face_finder.scan_interval_s
            self.recent.clear()
        self.recent.append((frame.index, image))

    def look(self, frame: Frame, image: NDArray[np.uint8], *, scans: bool) -> None:
        """Find known faces again, and new ones if the whole picture is searched."""
        found = (
            self.face_finder.detect(image) if scans else FaceBoxes(np.zeros((0, 4)), np.zeros(0))
        )
        free = np.ones(len(found), bool)
        for track in self.open:
            boxes, scores = found.boxes[free], found.scores[free]
            best = best_match(track.last, boxes)
            if best is None:
                near = self.face_finder.detect_near(image, track.last)
                boxes, scores = near.boxes, near.scores
                best = best_match(track.last, boxes)
            else:
                free[np.flatnonzero(free)[best]] = False
            if best is not None:
                track.add(frame.index, boxes[best], float(scores[best]))
        self.part_doubles(frame.index)
        self.close(
            [t for t in self.open if frame.time_s - self.times_s[max(t.frames)] > LONGEST_GAP_S]
        )
        for i in np.flatnonzero(free):
            box = found.boxes[i]
            if self.open and overlap(box, np.array([t.last for t in self.open])).max() > 0.3:
                continue
            track = OpenTrack()
            track.add(frame.index, box, float(found.scores[i]))
            self.trace_back(track, frame.index)
            self.open.append(track)

    def trace_back(self, track: OpenTrack, frame: int) -> None:
        """Follow a new face through the frames before it was found."""
        box = track.last
        stride = max(1, round(LOOK_INTERVAL_S / self.period_s() / 2))
        before = [item for item in self.recent if item[0] < frame][::-1]
        done = 0
        while done < len(before):
            # A stride at a time; where that fails, frame by frame up to the first.
            far = min(done + stride, len(before)) - 1
            for i in (far, *range(done, far)):
                index, image = before[i]
                near = self.face_finder.detect_near(image, box)
                best = best_match(box, near.boxes)
                if best is not None:
                    break
            else:
                return
            box = near.boxes[best]
            track.add(index, box, float(near.scores[best]))
            done = i + 1

    def look_back(self) -> None:
        """Extend open tracks to the last frames before a cut or the end."""
        for track in self.open:
            last = max(track.frames)
            for index, image in reversed(self.recent):
                if index <= last:
                    break
                near = self.face_finder.detect_near(image, track.last)
                best = best_match(track.last, near.boxes)
                if best is not None:
                    track.add(index, near.boxes[best], float(near.scores[best]))
                    break

    def part_doubles(self, frame: int) -> None:
        """Where two tracks came to lie on one face, end the shorter one before this frame."""
        for track in sorted(self.open, key=lambda t: len(t.frames)):
            others = [t.last for t in self.open if t is not track]
            if others and overlap(track.last, np.array(others)).max() > SAME_FACE_OVERLAP:
                kept = [i for i, f in enumerate(track.frames) if f < frame]
                track.frames = [track.frames[i] for i in kept]
                track.boxes = [track.boxes[i] for i in kept]
                track.scores = [track.scores[i] for i in kept]
                self.open = [t for t in self.open if t is not track]
                if kept:
                    self.closed.append(track)

    def close(self, tracks: Sequence[OpenTrack]) -> None:
        """End some open tracks."""
        self.closed += tracks
        self.open = [t for t in self.open if not any(t is other for other in tracks)]

    def period_s(self) -> float:
        """Length of a frame so far."""
        n = len(self.times_s)
        return (self.times_s[-1] - self.times_s[0]) / (n - 1) if n > 1 else 0.04


def find_tracks(
    frames: Iterable[Frame],
    face_finder: FaceFinder,
    *,
    min_track_frames: int = MIN_TRACK_FRAMES,
    on_nothing: Callable[[str], None] = lambda line: None,
) -> list[Track]:
    """Follow all faces through a video.

    Args:
        frames: The video from its first frame; read once, memory does not grow with pictures.
        face_finder: Finds faces in single pictures.
        min_track_frames: Shorter tracks are dropped.
        on_nothing: Told why, if there is no track.

    Returns:
        Tracks by first frame, then from left to right, numbered from 0.

    Examples:
        >>> from pushpull.detection.face_finders import DlibHog
        >>> from pushpull.detection.tracking import find_tracks
        >>> from pushpull.media import read_frames
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> [track] = find_tracks(read_frames("talk.mp4"), DlibHog())
        >>> len(track), track.boxes.shape
        (10, (10, 4))
    """
    tracker = Tracker(face_finder)
    for frame in frames:
        tracker.push(frame)
    tracker.look_back()
    tracker.close(tracker.open)
    found = []
    for track in tracker.closed:
        order = np.argsort(track.frames)
        keys = np.array(track.frames)[order]
        n = int(keys[-1] - keys[0]) + 1
        # A face seen once, or never clearly, is a pattern in the background.
        if n < min_track_frames or len(keys) < 3 or max(track.scores) < face_finder.sure:
            continue
        found.append((keys, np.array(track.boxes)[order]))
    if not found:
        on_nothing(why_nothing(tracker))
    found.sort(key=lambda item: (item[0][0], item[1][0, 0]))
    return [
        whole_track(number, keys, boxes, np.array(tracker.times_s))
        for number, (keys, boxes) in enumerate(found)
    ]


def why_nothing(tracker: Tracker) -> str:
    """Why a whole video has no track, in a line."""
    n, name = len(tracker.times_s), tracker.face_finder.name
    if not n:
        return "no face was found: the video has no pictures"
    seen = [track for track in tracker.closed if track.frames]
    if not seen:
        return f"no face was found by {name} in any of the {n} frames"
    longest = max(max(t.frames) - min(t.frames) + 1 for t in seen)
    best = max(max(t.scores) for t in seen)
    return (
        f"no face was found by {name} for long and clearly enough: the longest was seen over "
        f"{longest} of {n} frames, the clearest with score {best:.2f} (a face needs "
        f"{MIN_TRACK_FRAMES} frames and {tracker.face_finder.sure:.2f})"
    )


def whole_track(
    number: int,
    keys: NDArray[np.int64],
    boxes: NDArray[np.float64],
    times_s: NDArray[np.float64],
) -> Track:
    """All frames from the first to the last sighting, boxes interpolated and smoothed."""
    frames = np.arange(keys[0], keys[-1] + 1)
    time_s = times_s[frames]
    centre_size = np.concatenate(
        [(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1
    )
    dense = np.stack(
        [np.interp(time_s, times_s[keys], without_spikes(values)) for values in centre_size.T]
    )
    smooth = smoothed(dense, time_s)
    return Track(
        track_id=number,
        frames=frames,
        timestamps_s=time_s,
        boxes=np.concatenate([smooth[:2] - smooth[2:] / 2, smooth[:2] + smooth[2:] / 2]).T,
        detected=np.isin(frames, keys),
    )


def without_spikes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running median of three; ends stay."""
    if len(values) < 3:
        return values
    middle = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([values[:1], middle, values[-1:]])


def smoothed(values: NDArray[np.float64], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian over time (K, N); at the ends about a line, so that movement is not held back."""
    n = values.shape[1]
    if n < 3:
        return values
    reach = max(1, round(3 * SMOOTHING_S * (n - 1) / max(time_s[-1] - time_s[0], 1e-9)))
    reach = min(reach, n - 1)
    # Reflected through the end points: a straight movement goes on straight.
    head = 2 * values[:, :1] - values[:, reach:0:-1]
    tail = 2 * values[:, -1:] - values[:, -2 : -reach - 2 : -1]
    padded = np.concatenate([head, values, tail], axis=1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * 3 / reach) ** 2)
    kernel /= kernel.sum()
    return np.stack([np.convolve(row, kernel, "valid") for row in padded])


def best_match(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> int | None:
    """The box that overlaps most with a known one, if it does enough."""
    if not len(boxes):
        return None
    ratios = overlap(box, boxes)
    best = int(ratios.argmax())
    return best if ratios[best] >= MATCH_OVERLAP else None


class CutFinder:
    """Scene cuts frame by frame, by PySceneDetect's content detector."""

    def __init__(self) -> None:
        from scenedetect.detectors import ContentDetector

        self.detector = ContentDetector(min_scene_len=1)

    def is_cut(self, index: int, image: NDArray[np.uint8]) -> bool:
        """Whether a new scene begins with this RGB picture."""
        import cv2
        from scenedetect import FrameTimecode

        scale = CUT_SIDE_PX / max(image.shape[:2])
        if scale < 1:
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        cuts = self.detector.process_frame(FrameTimecode(index, 25.0), image[..., ::-1])
        return any(cut.frame_num == index for cut in cuts) and index > 0
