"""From faces in some pictures to tracks over all of them.

One pass over the pictures. Whole pictures are searched every `scan_interval_s` seconds where
anything has changed beside the faces followed, from time to time otherwise, and where a new shot
begins; every few seconds at a larger scale, for small faces. In between, a face is looked at
where it should be by now, as soon as the pixels under it say that it has moved by a tenth of its
height, in every picture where it was lost or is new. What is found is given to the faces followed
one to one, by place, size and look. A face unseen for up to a second keeps its number; boxes
between two looks are interpolated, then smoothed. No track crosses a cut; flashes, zooms and what
passes before the camera are none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.appearance import Portrait, portrait
from pushpull.detection.cuts import Glance, change, glance, kept_share, new_view
from pushpull.detection.face_finders import FaceBoxes, FaceFinder
from pushpull.detection.face_finders.finder import (
    FINEST_FACE_PX,
    LARGE_FACE_PX,
    SMALLEST_FACE_PX,
    shrunk,
)
from pushpull.detection.motion import ROUNDED_S, Candidate, Trail, assigned, distance
from pushpull.detection.paths import joined, whole_track
from pushpull.media import Frame
from pushpull.schema import Track

__all__ = ["LONGEST_GAP_S", "SHORTEST_TRACK_S", "Watcher", "find_tracks"]

Picture = NDArray[np.uint8]

SHORTEST_TRACK_S = 0.25
LEAST_SIGHTINGS = 3
USUALLY_SURE, LONG_SURE = 1.0, 0.85
"""Hands and patterns are now and then taken for a face: the mean score must be this share of the
score from which a face finder is sure; the second where a face is seen for longer than LONG_S. On
67 real clips hands had 0.93 to 0.99 for less than half a second, faces 0.99 and more."""
LONG_S = 1.5
LONGEST_GAP_S = 1.0
"""A face unseen for longer gets a new number."""
FINE_INTERVAL_S, FINE_INTERVAL_LONGEST_S = 1.0, 3.0
"""How often small faces are searched for; ever more seldom as long as there are none."""
FINE_UNSEARCHED_S = 10.0
"""And no more seldom than this, where nothing changes beside the faces followed."""
SMALL_FACE_PX = 1.25 * SMALLEST_FACE_PX
"""Lower faces are small."""
LOST_LOOKS_S = 0.5
"""For so long a lost face is looked for in every picture; then only where whole ones are."""
MOVED_HEIGHTS = 0.08
BESIDE_HEIGHTS = 0.2
"""A face found this far from where it should be is looked at in the pictures since, too."""
CLOSE_HEIGHTS = 1.3
"""Closer than this to another, what a face looks like is not learnt."""
DOUBLED = 0.6
"""From this share of its frames on another one, a track is no face of its own."""
MOST_LOOKS = 6
"""Searching a whole picture costs about as much as so many looks at faces."""
WIDEST = 1.2
"""Width of a face in heights: a wider box lies between two faces."""
NEWS = 12.0
"""Grey levels by which a pixel of a glance changes where something new is to be seen."""
MEETING = 0.1
"""Faces whose boxes will be nearer than this in their heights before the next search may be
crossing: looks at one would find the other."""
BODY_WIDTHS = 1.0
"""Beside a face, its body moves so far."""
SEARCHED_S, UNSEARCHED_S = 0.4, 0.8
"""The whole picture is searched at most so often where all faces are in sight, since a new one is
followed back to where it came from; and at least so often."""
PATCH = 24
STEP_S = 0.04
"""From one picture to the next, where a face is expected at a place and not at a time."""

SMALL_CHANGE, MOVING = 1.5, 6.0
"""Mean change of grey levels: below the first a picture is like the one before, above the second
the camera moves."""
SAME_SHARE = 0.7
DOUBTFUL_SHARE = 0.3
"""From the first on it is the same shot, below the second another one; faces decide between."""
RETURN_S = 0.25
BLIND_S = 1.0
"""A picture that comes back within the first was never left, within the second if nothing at all
was to be seen meanwhile: a flash, a faulty picture."""
BLANK = 2.0
"""Standard deviation of details in a picture that shows nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """The shot before the last cut, in case it comes back."""

    last: Glance
    trails: list[Trail]
    time_s: float
    blind: bool
    shot: int


class Tracker:
    """State of one pass; see `find_tracks`."""

    def __init__(self, face_finder: FaceFinder) -> None:
        self.face_finder = face_finder
        self.open: list[Trail] = []
        self.closed: list[Trail] = []
        self.times_s: list[float] = []
        # Pictures since the last search of a whole one, for looking back.
        self.recent: deque[Frame] = deque()
        self.patches: dict[int, NDArray[np.float32]] = {}
        self.next_scan_s = self.next_fine_s = 0.0
        self.fine_interval_s = 0.0
        self.moved_s = -np.inf
        # What the picture looked like when it was last searched as a whole, and when.
        self.searched: tuple[Glance, float] | None = None
        self.finely_searched: tuple[Glance, float] | None = None
        self.scanned = False
        self.glance: Glance | None = None
        self.left: Left | None = None
        self.shot = self.shots = 0

    def push(self, frame: Frame) -> None:
        """Take the next frame."""
        self.times_s.append(frame.time_s)
        now = glance(frame.gray())
        if self.glance is not None and change(self.glance, now) > MOVING:
            self.moved_s = frame.time_s
        self.come_back(now, frame.time_s)
        kept = self.kept(now)
        if kept < SAME_SHARE:
            self.doubt(frame, now, kept)
        else:
            self.follow(frame, now)
        self.glance = now
        if self.scanned:
            self.searched = now, frame.time_s
        self.scanned = False
        self.recent.append(frame.bare())
        while self.times_s[-1] - self.recent[0].time_s > self.remembered_s:
            self.recent.popleft()

    @property
    def remembered_s(self) -> float:
        """How far back pictures are kept."""
        return max(SEARCHED_S, self.face_finder.scan_interval_s) + 0.1

    def kept(self, now: Glance) -> float:
        """Share of the picture before that this one shows."""
        if self.glance is None or change(self.glance, now) < SMALL_CHANGE:
            return 1.0
        return kept_share(self.glance, now)

    def come_back(self, now: Glance, time_s: float) -> None:
        """Go on with the shot before the last cut, if that is what this picture shows."""
        if self.left is None:
            return
        blank = float(now.details.std()) < BLANK
        away_s = time_s - self.left.time_s
        if away_s > (BLIND_S if self.left.blind else RETURN_S) + ROUNDED_S:
            self.close(self.left.trails)
            self.left = None
        elif not blank and kept_share(self.left.last, now) >= SAME_SHARE:
            self.close(self.open)
            self.open, self.shot = self.left.trails, self.left.shot
            self.left = None
            self.glance = None
            self.patches.clear()
            self.next_scan_s = time_s
        elif not blank and self.left.blind:
            self.left = replace(self.left, blind=False)

    def doubt(self, frame: Frame, now: Glance, kept: float) -> None:
        """Tell a cut from a zoom or from what passes before the camera, also by the faces."""
        self.look_back(frame.index)
        found = self.scan(frame, now)
        view = None if self.glance is None else new_view(self.glance, now)
        if view is not None:
            size = frame.width, frame.height
            moved = [alone(view.moved(t.last, size), t.look) for t in self.open]
            pairs = assigned(moved, found, STEP_S)
        else:
            pairs = assigned(self.open, found, frame.time_s, by_look=True)
            if kept < DOUBTFUL_SHARE or (found and not pairs):
                self.leave(frame.time_s, blind=True)
                pairs = {}
        for i, k in pairs.items():
            self.see(self.open[i], frame, found[k])
        self.begin([c for k, c in enumerate(found) if k not in pairs.values()], frame)

    def leave(self, time_s: float, *, blind: bool) -> None:
        """Begin a new shot."""
        if self.left is not None:
            self.close(self.left.trails)
            self.left = None
        if self.glance is not None and float(self.glance.details.std()) >= BLANK:
            self.left = Left(self.glance, self.open, time_s, blind, self.shot)
        else:
            self.close(self.open)
        self.open = []
        self.shots += 1
        self.shot = self.shots
        self.recent.clear()
        self.patches.clear()
        self.next_fine_s, self.fine_interval_s = time_s, 0.0
        self.searched = self.finely_searched = None

    def is_news(self, now: Glance, frame: Frame) -> bool:
        """Whether the whole picture is worth a search: it has changed where nobody is followed."""
        lost = any(t.missed or not self.is_fresh(t, frame) for t in self.open)
        until_s = frame.time_s + SEARCHED_S
        meeting = any(are_meeting(a, b, until_s) for a, b in combinations(self.open, 2))
        if self.searched is None or lost or meeting:
            return True
        before, at_s = self.searched
        if self.open and not self.moves(frame) and frame.time_s - at_s < SEARCHED_S - ROUNDED_S:
            return False
        long_ago = frame.time_s - at_s >= UNSEARCHED_S - ROUNDED_S
        return long_ago or self.changed_since(before, now, frame)

    def changed_since(self, before: Glance, now: Glance, frame: Frame) -> bool:
        """Whether anything changed where nobody is followed."""
        if before.grey.shape != now.grey.shape:
            return True
        changed = np.abs(now.grey - before.grey) > NEWS
        scale = changed.shape[1] / frame.width
        for trail in self.open:
            # Also what a face moves with it.
            x1, y1, x2, y2 = trail.last * scale
            wide, high = BODY_WIDTHS * (x2 - x1), 0.5 * (y2 - y1)
            rows = slice(max(0, int(y1 - high)), None)
            changed[rows, max(0, int(x1 - wide)) : max(0, int(x2 + wide) + 1)] = False
        return bool(changed.any())

    def follow(self, frame: Frame, now: Glance) -> None:
        """Look where it is time to, or where something moves."""
        due = frame.time_s >= self.next_scan_s - ROUNDED_S
        scans = due and self.is_news(now, frame)
        wanted = [t for t in self.open if self.is_wanted(t, frame)]
        if due and not scans:
            # Nobody is new; those who are there are looked at where they are.
            self.next_scan_s = frame.time_s + self.face_finder.scan_interval_s
            wanted = [t for t in self.open if t in wanted or self.is_due(t, frame)]
        if not scans and not wanted:
            return
        scans = scans or len(wanted) > MOST_LOOKS
        found = self.scan(frame, now) if scans else []
        pairs = assigned(self.open, found, frame.time_s)
        for i, trail in enumerate(self.open):
            if i in pairs or not (trail in wanted or (scans and self.is_fresh(trail, frame))):
                continue
            near = self.face_finder.detect_near(frame.rgb(), trail.predicted(frame.time_s))
            found += self.candidates(near, frame.rgb(), besides=found)
        pairs = assigned(self.open, found, frame.time_s)
        new = [c for k, c in enumerate(found) if k not in pairs.values()]
        again: dict[Trail, Candidate | None] = {}
        for i, trail in enumerate(tuple(self.open)):
            seen = found[pairs[i]] if i in pairs else None
            if seen is not None and trail.unseen_s(frame.time_s) > LONGEST_GAP_S + ROUNDED_S:
                new += self.rejoined(trail, frame, seen)
            elif seen is not None or (not trail.missed and (scans or trail in wanted)):
                again[trail] = seen
        self.fill(again, frame)
        for trail, seen in again.items():
            if seen is not None:
                self.see(trail, frame, seen)
        longest_s = LONGEST_GAP_S + self.face_finder.scan_interval_s
        self.close([t for t in self.open if t.unseen_s(frame.time_s) > longest_s])
        self.begin(new, frame)

    def is_wanted(self, trail: Trail, frame: Frame) -> bool:
        """Whether a face should be looked at now: it is new, moves, or has just been lost."""
        if len(trail.frames) < LEAST_SIGHTINGS:
            return self.is_fresh(trail, frame)
        patch = patch_of(frame.gray(), trail.last)
        before = self.patches.get(id(trail))
        self.patches[id(trail)] = patch
        if before is not None:
            trail.moved += movement(before, patch)
        missed = trail.missed
        return self.is_fresh(trail, frame) and (missed or trail.moved > MOVED_HEIGHTS)

    def is_due(self, trail: Trail, frame: Frame) -> bool:
        """Whether a face that seems to stay where it is should be looked at all the same."""
        long_ago = trail.unseen_s(frame.time_s) >= SEARCHED_S - ROUNDED_S
        return self.is_fresh(trail, frame) and (long_ago or self.moves(frame))

    def moves(self, frame: Frame) -> bool:
        """Whether the camera has just moved, so that a face may be anywhere."""
        return frame.time_s - self.moved_s < SEARCHED_S

    def is_fresh(self, trail: Trail, frame: Frame) -> bool:
        """Whether a face was seen so lately that it is looked for where it should be."""
        return trail.unseen_s(frame.time_s) <= LOST_LOOKS_S + ROUNDED_S

    def scan(self, frame: Frame, now: Glance) -> list[Candidate]:
        """Search the whole picture."""
        image, time_s = frame.rgb(), frame.time_s
        fine = self.is_fine_due(now, frame)
        self.next_scan_s = time_s + self.face_finder.scan_interval_s
        self.scanned = True
        smallest_px = FINEST_FACE_PX if fine else SMALLEST_FACE_PX
        found = self.face_finder.detect(image, smallest_px=smallest_px)
        if fine:
            heights = found.boxes[:, 3] - found.boxes[:, 1]
            none = not (heights < SMALL_FACE_PX).any()
            longer_s = min(self.fine_interval_s + FINE_INTERVAL_S, FINE_INTERVAL_LONGEST_S)
            self.fine_interval_s = longer_s if none else FINE_INTERVAL_S
            self.next_fine_s = time_s + self.fine_interval_s
            self.finely_searched = now, time_s
        return self.candidates(found, image, besides=[])

    def is_fine_due(self, now: Glance, frame: Frame) -> bool:
        """Whether it is time to look for small faces, and one may have come."""
        if frame.time_s < self.next_fine_s - ROUNDED_S:
            return False
        if self.finely_searched is None or self.fine_interval_s < FINE_INTERVAL_LONGEST_S:
            return True
        before, at_s = self.finely_searched
        long_ago = frame.time_s - at_s >= FINE_UNSEARCHED_S - ROUNDED_S
        return long_ago or self.changed_since(before, now, frame)

    def candidates(
        self, found: FaceBoxes, image: Picture, besides: Sequence[Candidate]
    ) -> list[Candidate]:
        """Faces with their looks, without those that are there already."""
        new: list[Candidate] = []
        for box, score in zip(found.boxes, found.scores, strict=True):
            others = [c.box for c in (*besides, *new)]
            if box[2] - box[0] <= WIDEST * (box[3] - box[1]) and not is_taken(box, others):
                new.append(Candidate(box, float(score), portrait(image, box)))
        return new

    def see(self, trail: Trail, frame: Frame, seen: Candidate) -> None:
        """A face was found again."""
        self.add(trail, frame.index, frame.time_s, seen)
        trail.missed = False
        self.patches.pop(id(trail), None)

    def add(self, trail: Trail, index: int, time_s: float, seen: Candidate) -> None:
        """Take a sighting; the look only where no other face is so near that it would be mixed."""
        others = [t.last for t in self.open if t is not trail]
        mixed = any(distance(seen.box, other) < CLOSE_HEIGHTS for other in others)
        trail.add(index, time_s, seen, look=not mixed)

    def rejoined(self, trail: Trail, frame: Frame, seen: Candidate) -> list[Candidate]:
        """Go on with a face that could be seen again before this picture; else it is a new one."""
        later = Trail()
        later.add(frame.index, frame.time_s, seen)
        self.trace_back(later)
        if later.times_s[0] - trail.times_s[-1] > LONGEST_GAP_S + ROUNDED_S:
            self.close([trail])
            return [seen]
        trail.take(later)
        trail.missed = False
        return []

    def begin(self, found: Sequence[Candidate], frame: Frame) -> None:
        """Follow new faces, and each back to where it came from."""
        for seen in found:
            if is_taken(seen.box, [t.last for t in self.open if t.frames[-1] == frame.index]):
                continue
            trail = Trail(shot=self.shot)
            trail.add(frame.index, frame.time_s, seen)
            self.trace_back(trail)
            self.open.append(trail)

    def trace_back(self, trail: Trail) -> None:
        """Follow a new face through the pictures before it was found."""
        for before in reversed(self.recent):
            if before.index >= trail.frames[0]:
                continue
            expected = alone(trail.predicted_before(before.time_s), trail.look)
            seen = self.near(before, [expected]).get(0)
            if seen is None:
                return
            trail.add_earlier(before.index, before.time_s, seen)

    def was_taken(self, box: NDArray[np.float64], frame: int) -> bool:
        """Whether another face was seen there, then."""
        there = [t.boxes[t.frames.index(frame)] for t in self.open if frame in t.frames[-30:]]
        return is_taken(box, there)

    def near(
        self, frame: Frame, expected: Sequence[Trail], rivals: Sequence[Trail] = ()
    ) -> dict[int, Candidate]:
        """Faces near where some should be in an earlier picture.

        Args:
            frame: The picture.
            expected: Faces that are looked for, where they should be.
            rivals: Others that may be found there, where they should be.

        Returns:
            What was found, by index into `expected`.
        """
        found: list[Candidate] = []
        for trail in expected:
            near = self.face_finder.detect_near(frame.rgb(), trail.last)
            new = self.candidates(near, frame.rgb(), besides=found)
            found += [c for c in new if not self.was_taken(c.box, frame.index)]
        pairs = assigned([*expected, *rivals], found, STEP_S)
        return {i: found[k] for i, k in pairs.items() if i < len(expected)}

    def fill(self, again: dict[Trail, Candidate | None], frame: Frame) -> None:
        """Look at faces in the pictures since they were last seen, if they moved strangely or went.

        Args:
            again: Faces that were looked for in this picture, and where they are in it.
            frame: This picture.
        """
        wanted = []
        start = {trail: (trail.times_s[-1], trail.last, trail.frames[-1]) for trail in again}
        for trail, seen in again.items():
            if seen is None and not trail.missed:
                # It may have gone farther than was looked.
                self.next_scan_s = frame.time_s
            trail.missed = seen is None
            if seen is None or is_beside(trail, frame.time_s, seen):
                wanted.append(trail)
        for between in self.recent if wanted else ():
            index, time_s = between.index, between.time_s
            there = {}
            for trail, seen in again.items():
                from_s, box, last = start[trail]
                if last < index < frame.index:
                    share = (time_s - from_s) / (frame.time_s - from_s)
                    box = (
                        trail.predicted(time_s) if seen is None else box + share * (seen.box - box)
                    )
                    there[trail] = alone(box, trail.look)
            now = [t for t in wanted if t in there]
            rivals = [expected for t, expected in there.items() if t not in now]
            found = self.near(between, [there[t] for t in now], rivals)
            for i, trail in enumerate(now):
                if i in found:
                    self.add(trail, index, time_s, found[i])
                elif again[trail] is None:
                    wanted.remove(trail)

    def look_back(self, frame: int) -> None:
        """Extend open tracks to the last pictures before this one in which they can be seen."""
        # The others have been looked for in every picture since.
        left = [t for t in self.open if not t.missed]
        for before in reversed(self.recent):
            index, time_s = before.index, before.time_s
            left = [t for t in left if t.frames[-1] < index]
            for going in (True, False):
                boxes = [t.predicted(time_s) if going else t.last for t in left]
                expected = [alone(box, t.look) for t, box in zip(left, boxes, strict=True)]
                found = self.near(before, expected)
                for i, seen in found.items():
                    self.add(left[i], index, time_s, seen)
                left = [t for i, t in enumerate(left) if i not in found]

    @property
    def followed(self) -> list[Trail]:
        """Faces that may be seen again."""
        return self.open if self.left is None else [*self.open, *self.left.trails]

    def close(self, trails: Sequence[Trail]) -> None:
        """End some tracks."""
        self.closed += trails
        self.open = [t for t in self.open if t not in trails]

    def finish(self) -> list[Trail]:
        """End all tracks, at the last picture in which each can be seen."""
        self.look_back(len(self.times_s))
        self.close(self.open)
        if self.left is not None:
            self.close(self.left.trails)
        return self.closed


class Watcher(Protocol):
    """What looks on while faces are followed.

    Examples:
        >>> from pushpull.detection.tracking import Watcher
        >>> class Counter:  # satisfies it
        ...     frames = 0
        ...     def push(self, frame, times_s, trails):
        ...         self.frames += 1
        ...     def end(self, trails, times_s):
        ...         pass
        >>> watcher: Watcher = Counter()
    """

    def push(self, frame: Frame, times_s: Sequence[float], trails: Iterable[Trail]) -> None:
        """Told of each frame, numbered from 0, the times so far and the faces followed."""

    def end(self, trails: Iterable[Trail], times_s: Sequence[float]) -> None:
        """Told of faces that will not be seen again."""


def find_tracks(
    frames: Iterable[Frame],
    face_finder: FaceFinder,
    *,
    shortest_s: float = SHORTEST_TRACK_S,
    watcher: Watcher | None = None,
    on_nothing: Callable[[str], None] = lambda line: None,
) -> list[Track]:
    """Follow all faces through a video.

    Args:
        frames: Consecutive frames of a video, from any on; read once, memory does not grow with
            pictures.
        face_finder: Finds faces in single pictures.
        shortest_s: Shorter tracks are dropped.
        watcher: Looks on.
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
    first = ended = 0
    for number, frame in enumerate(frames):
        first = first if number else frame.index
        numbered = replace(frame, index=number)
        tracker.push(numbered)
        if watcher is not None:
            watcher.push(numbered, tracker.times_s, clear(tracker.followed, face_finder))
            watcher.end(clear(tracker.closed[ended:], face_finder), tracker.times_s)
            ended = len(tracker.closed)
    trails = tracker.finish()
    if watcher is not None:
        watcher.end(clear(trails[ended:], face_finder), tracker.times_s)
    trails = joined(trails, LONGEST_GAP_S)
    times_s = np.array(tracker.times_s)
    kept = [t for t in trails if is_face(t, times_s, face_finder, shortest_s)]
    if not kept:
        on_nothing(why_nothing(trails, times_s, face_finder, shortest_s))
    kept.sort(key=lambda t: (t.frames[0], t.boxes[0][0]))
    tracks = [whole_track(0, np.array(t.frames), np.array(t.boxes), times_s) for t in kept]
    return [
        replace(track, track_id=number, frames=track.frames + first)
        for number, track in enumerate(without_doubles(tracks))
    ]


def without_doubles(tracks: Sequence[Track]) -> list[Track]:
    """Tracks without those that mostly lie on a longer one: half a face, seen beside the whole.

    Examples:
        >>> from pushpull.detection.tracking import without_doubles
        >>> from pushpull.schema import Track
        >>> def seen(start, n, box):
        ...     return Track(
        ...         track_id=0,
        ...         frames=np.arange(start, start + n),
        ...         timestamps_s=np.arange(start, start + n) / 25,
        ...         boxes=np.array([box] * n),
        ...         detected=np.ones(n, bool),
        ...     )
        >>> whole, half = [40.0, 20.0, 90.0, 85.0], [45.0, 50.0, 88.0, 88.0]
        >>> [len(t) for t in without_doubles([seen(0, 50, whole), seen(20, 10, half)])]
        [50]
    """
    spans = np.array([(t.frames[0], t.frames[-1] + 1) for t in tracks]).reshape(-1, 2)
    kept = []
    for i, track in enumerate(tracks):
        begin, end = spans[i]
        beside = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > begin)).tolist()
        longer = [tracks[k] for k in beside if (len(tracks[k]), -k) > (len(track), -i)]
        if all(doubled_share(track, other) < DOUBLED for other in longer):
            kept.append(track)
    return kept


def doubled_share(track: Track, other: Track) -> float:
    """Share of a track's frames in which it lies on another."""
    begin = max(track.frames[0], other.frames[0])
    end = min(track.frames[-1], other.frames[-1]) + 1
    here = track.boxes[begin - track.frames[0] : end - track.frames[0]]
    there = other.boxes[begin - other.frames[0] : end - other.frames[0]]
    return float(lies_on(here, there).sum()) / len(track)


def alone(box: NDArray[np.float64], look: Portrait) -> Trail:
    """A face of which only one sighting is known, at 0 s."""
    trail = Trail()
    trail.add(0, 0.0, Candidate(box, 1.0, look))
    return trail


def clear(trails: Iterable[Trail], face_finder: FaceFinder) -> Iterator[Trail]:
    """Those that may well be faces."""
    for trail in trails:
        scores = trail.scores
        if (
            len(scores) >= LEAST_SIGHTINGS
            and max(scores) >= face_finder.sure
            and sum(scores) >= LONG_SURE * face_finder.sure * len(scores)
        ):
            yield trail


def is_face(
    trail: Trail, times_s: NDArray[np.float64], face_finder: FaceFinder, shortest_s: float
) -> bool:
    """Whether what was followed is a face: seen for long, often and clearly enough."""
    first, last = trail.frames[0], trail.frames[-1]
    length_s = times_s[last] - times_s[first] + period_s(times_s)
    sightings = min(LEAST_SIGHTINGS, last - first + 1)
    usually = LONG_SURE if length_s > LONG_S else USUALLY_SURE
    large = np.median([box[3] - box[1] for box in trail.boxes]) >= LARGE_FACE_PX
    return bool(
        length_s >= shortest_s - 1e-6
        and len(trail.frames) >= max(2, sightings)
        and max(trail.scores) >= (face_finder.sure_large if large else face_finder.sure)
        and np.mean(trail.scores) >= usually * face_finder.sure
    )


def period_s(times_s: NDArray[np.float64]) -> float:
    """Usual length of a frame."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.04


def why_nothing(
    trails: Sequence[Trail],
    times_s: NDArray[np.float64],
    face_finder: FaceFinder,
    shortest_s: float,
) -> str:
    """Why a whole video has no track, in a line."""
    name = face_finder.name
    if not len(times_s):
        return "no face was found: the video has no pictures"
    if not trails:
        return f"no face was found by {name} in any of the {len(times_s)} frames"
    longest_s = max(times_s[t.frames[-1]] - times_s[t.frames[0]] for t in trails)
    best = max(max(t.scores) for t in trails)
    return (
        f"no face was found by {name} for long and clearly enough: the longest was seen for "
        f"{longest_s + period_s(times_s):.2f} s, the clearest with score {best:.2f} (a face needs "
        f"{shortest_s} s and {face_finder.sure})"
    )


def is_taken(box: NDArray[np.float64], others: Sequence[NDArray[np.float64]]) -> bool:
    """Whether a box lies on one of the others: by a third of both, or most of the smaller one."""
    return bool(len(others) and lies_on(box[None], np.array(others)).any())


def lies_on(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The same for pairs of boxes (N, 4), or of one with all (1, 4)."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas, there = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others))
    whole = common / (areas + there - common) > 0.35
    most: NDArray[np.bool_] = whole | (common > 0.7 * np.minimum(areas, there))
    return most


def are_meeting(trail: Trail, other: Trail, until_s: float) -> bool:
    """Whether two faces touch, or will."""
    for box, there in (
        (trail.last, other.last),
        (trail.predicted(until_s), other.predicted(until_s)),
    ):
        apart = np.maximum(box[:2] - there[2:], there[:2] - box[2:]).max()
        if apart < MEETING * max(box[3] - box[1], there[3] - there[1]):
            return True
    return False


def is_beside(trail: Trail, time_s: float, seen: Candidate) -> bool:
    """Whether a face is not where it should be."""
    box = trail.predicted(time_s)
    apart = np.abs((box + np.roll(box, 2) - seen.box - np.roll(seen.box, 2)) / 2).max()
    grown = abs((box[3] - box[1]) - (seen.box[3] - seen.box[1]))
    return bool(max(apart, grown) > BESIDE_HEIGHTS * (box[3] - box[1]))


def patch_of(image: Picture, box: NDArray[np.float64]) -> NDArray[np.float32]:
    """The part of a grey picture (H, W) under a box (4,), (24, 24)."""
    rows, columns = image.shape[:2]
    x1, x2 = np.clip(box[[0, 2]].round().astype(int), 0, columns)
    y1, y2 = np.clip(box[[1, 3]].round().astype(int), 0, rows)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return np.zeros((PATCH, PATCH), np.float32)
    return shrunk(image[y1:y2, x1:x2], (PATCH, PATCH)).astype(np.float32)


def movement(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """About how far a patch has moved between two pictures, in its own heights.

    What changes at a pixel is the gradient times the way; its mean is light, not movement.
    """
    changed = after - before
    changed = np.abs(changed - changed.mean()).mean()
    gradient = np.hypot(*np.gradient(before)).mean()
    return float(changed / max(gradient, 1.0) / PATCH)
