"""A narrower picture that follows who speaks: which part of each frame is shown.

The part is as large as its shape allows. It follows one face at a time: the one that speaks, and
after its turn still that one, until another speaks. It changes at most every two seconds, never for
less than half a second of speech, and at once where the face that it follows is not seen any more:
then to who speaks first, or to the largest face. While it follows a face it stands still if that
keeps the face in the middle half, and else moves slowly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.turns import ScoredTrack
from pushpull.errors import ConfigError

__all__ = ["Window", "aspect_of", "plan_windows", "window_size"]

SHORTEST_SHOT_S = 2.0
SHORTEST_TURN_S = 0.5
STILL = 0.25
"""How far from the middle a face may go, in sizes of the window, before the window moves."""

SLOWNESS_S = 0.6
"""Standard deviation of the average over time by which a window moves."""

EYES = 0.4
"""Where the middle of a face is put, in heights from the top."""

Window = tuple[int, int]
"""Upper left corner of what is shown, in pixels."""


def aspect_of(text: str) -> tuple[int, int]:
    """Width and height of a shape such as `9:16`.

    Raises:
        ConfigError: If it is none.

    Examples:
        >>> from pushpull.detection.reframe import aspect_of
        >>> aspect_of("9:16")
        (9, 16)
    """
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text.strip(), re.ASCII)
    if match is None or "0" in (str(int(match[1])), str(int(match[2]))):
        raise ConfigError(f"the shape is {text!r}; expected WIDTH:HEIGHT, such as 9:16")
    return int(match[1]), int(match[2])


def window_size(width: int, height: int, aspect: tuple[int, int]) -> tuple[int, int]:
    """The largest part of a picture of a shape, in whole pairs of pixels.

    Examples:
        >>> from pushpull.detection.reframe import window_size
        >>> window_size(1920, 1080, (9, 16)), window_size(720, 1280, (1, 1))
        ((606, 1080), (720, 720))
    """
    share = aspect[0] / aspect[1]
    inner = (min(width, height * share), min(height, width / share))
    return max(2, int(inner[0] + 1e-6) // 2 * 2), max(2, int(inner[1] + 1e-6) // 2 * 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A face in one frame, how long until it speaks, and how long it then does."""

    face: int
    wait_s: float
    left_s: float
    score: float
    area: float

    @property
    def speaks(self) -> bool:
        return self.wait_s == 0


def plan_windows(
    tracks: Sequence[ScoredTrack], *, width: int, height: int, aspect: tuple[int, int] = (9, 16)
) -> dict[int, Window]:
    """What is shown of each frame that has a face; others show what the one before does.

    Args:
        tracks: Faces with their scores.
        width: Of the picture in pixels.
        height: Likewise.
        aspect: Shape of what is shown.

    Examples:
        >>> from pushpull.detection import ScoredTrack, plan_windows
        >>> from pushpull.schema import Track
        >>> def face(number, left, scores):
        ...     track = Track(
        ...         track_id=number,
        ...         frames=np.arange(100),
        ...         timestamps_s=np.arange(100) / 25,
        ...         boxes=np.array([[left, 40.0, left + 40.0, 90.0]] * 100),
        ...         detected=np.ones(100, bool),
        ...     )
        ...     return ScoredTrack(track=track, scores=scores)
        >>> speaks = np.repeat([2.0, -2.0], [60, 40])  # the left one first
        >>> faces = [face(0, 60.0, speaks), face(1, 240.0, -speaks)]
        >>> windows = plan_windows(faces, width=320, height=180)
        >>> windows[0], windows[59], windows[60], windows[99]
        ((30, 0), (30, 0), (210, 0), (210, 0))
    """
    size = window_size(width, height, aspect)
    followed = _followed(tracks)
    windows: dict[int, Window] = {}
    limit = np.array([width, height]) - size
    for face, group in groupby(followed.items(), key=lambda item: item[1]):
        frames = [frame for frame, _ in group]
        track = tracks[face].track
        places = np.array(frames) - int(track.frames[0])
        boxes, times_s = track.boxes[places], track.timestamps_s[places]
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        corners = _calm(middles, times_s, np.array(size, float)) - np.array(size) * [0.5, EYES]
        corners = np.clip(np.rint(corners), 0, limit).astype(int)
        windows.update(zip(frames, ((int(x), int(y)) for x, y in corners), strict=True))
    return windows


def _followed(tracks: Sequence[ScoredTrack]) -> dict[int, int]:
    """Place in the list of the face that is followed in each frame that has one."""
    by_frame: dict[int, list[_Seen]] = {}
    times_s: dict[int, float] = {}
    for face, scored in enumerate(tracks):
        times = scored.track.timestamps_s
        waits_s, left_s = np.full(len(times), SHORTEST_SHOT_S), np.zeros(len(times))
        for turn in scored.turns:
            if turn.end_s - turn.start_s >= SHORTEST_TURN_S:
                ahead_s = np.maximum(0, turn.start_s - 1e-9 - times)
                ahead_s[times >= turn.end_s - 1e-9] = np.inf
                waits_s = np.minimum(waits_s, ahead_s)
                left_s = np.where(ahead_s == 0, turn.end_s - times, left_s)
        sides = scored.track.boxes[:, 2:] - scored.track.boxes[:, :2]
        for place, frame in enumerate(scored.track.frames.tolist()):
            times_s[frame] = float(times[place])
            by_frame.setdefault(frame, []).append(
                _Seen(
                    face=face,
                    wait_s=float(waits_s[place]),
                    left_s=float(left_s[place]),
                    score=float(scored.scores[place]),
                    # Whole pixels: faces of one size are one size, however they are rounded.
                    area=round(float(sides[place].prod())),
                )
            )
    found: dict[int, int] = {}
    current, since_s = -1, -np.inf
    for frame in sorted(by_frame):
        seen = by_frame[frame]
        here = {one.face: one for one in seen}
        best = max(seen, key=lambda one: (-one.wait_s, one.score if one.speaks else one.area))
        gone = current not in here
        change = best.left_s >= SHORTEST_TURN_S and not gone and not here[current].speaks
        if gone or (change and times_s[frame] - since_s >= SHORTEST_SHOT_S):
            if best.face != current:
                since_s = times_s[frame]
            current = best.face
        found[frame] = current
    return found


def _calm(
    middles: NDArray[np.float64], times_s: NDArray[np.float64], size: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where the window's middle is while it follows one face (N, 2): still, or slowly moving."""
    calm = np.empty_like(middles)
    for axis in range(2):
        values = middles[:, axis]
        if values.max() - values.min() <= 2 * STILL * size[axis]:
            # Where it mostly is, as far as that leaves nobody outside.
            low, high = values.max() - STILL * size[axis], values.min() + STILL * size[axis]
            calm[:, axis] = np.clip(np.median(values), low, high)
        else:
            calm[:, axis] = _averaged(values, times_s)
    return calm


def _averaged(values: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian average over time; beyond the ends values go on as they came."""
    period_s = max(1e-3, float(np.median(np.diff(times_s)))) if len(times_s) > 1 else 0.04
    reach = min(max(1, round(3 * SLOWNESS_S / period_s)), len(values) - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * period_s / SLOWNESS_S) ** 2)
    padded = np.pad(values, reach, mode="reflect", reflect_type="odd")
    found: NDArray[np.float64] = np.convolve(padded, weights / weights.sum(), mode="valid")
    return found
