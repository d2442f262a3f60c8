"""From pieces to whole paths, and from sightings in some frames to a box in every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.appearance import likeness
from pushpull.detection.motion import Trail, distance
from pushpull.schema import Track

__all__ = ["LOOKAHEAD_S", "joined", "whole_track"]

Array = NDArray[np.float64]

CALM_S, QUICK_S = 0.16, 0.03
"""Standard deviations of the Gaussians over box positions: the first takes the jitter of looks,
the second leaves what shakes and turns."""
JITTER_HEIGHTS = 0.02
MOVEMENT_HEIGHTS = 0.06
"""What the calm Gaussian would take away, in heights: below the first it is jitter, above the
second movement; in between a mixture."""
SPIKE_HEIGHTS = 0.3
LOOKAHEAD_S = 6 * CALM_S + 0.06
"""A box is smoothed over sightings up to so long before and after it, and one more."""
ALMOST_FRAMES = 0.004
"""At 50 frames a second a reach lies half way between two numbers of frames: not by chance."""

REACHED_HEIGHTS = 1.2
"""A piece may begin this far from where the one before it was going, in heights of the face."""
SAME_LOOK, SAME_LOOK_FAR = 0.55, 0.75
"""Likeness of two pieces of one face, and of two that are twice as far apart."""


def joined(trails: Sequence[Trail], longest_gap_s: float) -> list[Trail]:
    """Pieces of one face made one: one goes on where the other ended, or lies in a hole of it.

    Args:
        trails: Pieces, each in one shot; they are changed.
        longest_gap_s: How long a face may have been unseen.

    Examples:
        >>> from pushpull.detection.motion import Candidate, Trail
        >>> from pushpull.detection.paths import joined
        >>> look = np.random.default_rng(0).integers(0, 255, (28, 28, 3), np.uint8)
        >>> pieces = [Trail(), Trail()]
        >>> for k in range(3):  # it walks to the right, and is hidden for a moment
        ...     for piece, at in zip(pieces, (k, k + 10)):
        ...         box = np.array([10.0, 20.0, 60.0, 85.0]) + np.array([4, 0, 4, 0]) * at
        ...         piece.add(at, at / 25, Candidate(box, 0.9, look))
        >>> [piece.frames for piece in joined(pieces, 1.0)]
        [[0, 1, 2, 10, 11, 12]]
    """
    pieces = dict(enumerate(sorted(trails, key=lambda t: t.frames[0])))
    costs: dict[tuple[int, int], float] = {}

    def weigh(i: int, k: int) -> None:
        cost = cost_of_joining(pieces[i], pieces[k], longest_gap_s)
        if cost is not None:
            costs[i, k] = cost

    for i in pieces:
        for k in range(i + 1, len(pieces)):
            weigh(i, k)
    while costs:
        i, k = min(costs, key=lambda pair: (costs[pair], pair))
        pieces[i].take(pieces.pop(k))
        costs = {pair: cost for pair, cost in costs.items() if not {i, k} & set(pair)}
        for other in pieces:
            if other != i:
                weigh(min(i, other), max(i, other))
    return list(pieces.values())


def cost_of_joining(first: Trail, second: Trail, longest_gap_s: float) -> float | None:
    """How little the second piece is a part of the first; None if it cannot be."""
    if first.shot != second.shot:
        return None
    place = int(np.searchsorted(first.frames, second.frames[0]))
    if place == 0 or (place < len(first.frames) and first.frames[place] <= second.frames[-1]):
        return None
    from_s, begins_s = first.times_s[place - 1], second.times_s[0]
    if begins_s - from_s > longest_gap_s + 1e-6:
        return None
    if place < len(first.frames):
        share = (begins_s - from_s) / (first.times_s[place] - from_s)
        between = first.boxes[place - 1] * (1 - share) + first.boxes[place] * share
        apart = distance(between, second.boxes[0])
    else:
        apart = min(
            distance(first.predicted(begins_s), second.boxes[0]),
            distance(first.last, second.predicted_before(from_s)),
            distance(first.last, second.boxes[0]),
        )
    alike = likeness(first.look, second.look)
    farthest = REACHED_HEIGHTS * (2 if alike >= SAME_LOOK_FAR else 1)
    if alike < SAME_LOOK or apart > farthest:
        return None
    return apart + 1.5 * (1 - alike)


def whole_track(number: int, keys: NDArray[np.int64], boxes: Array, times_s: Array) -> Track:
    """All frames from the first to the last sighting, boxes interpolated and smoothed.

    Args:
        number: Of the track.
        keys: Frames with a sighting (K,), rising.
        boxes: Seen there (K, 4).
        times_s: Of all frames of the video.

    Examples:
        >>> from pushpull.detection.paths import whole_track
        >>> boxes = np.array([[10.0, 20, 60, 85], [30.0, 20, 80, 85]])
        >>> track = whole_track(0, np.array([0, 4]), boxes, np.arange(5) / 25)
        >>> track.boxes[:, 0].round(1), track.detected
        (array([10., 15., 20., 25., 30.]), array([ True, False, False, False,  True]))
    """
    frames = np.arange(keys[0], keys[-1] + 1)
    time_s = times_s[frames]
    shape = np.concatenate(
        [(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1
    ).T
    shape = without_spikes(shape)
    dense = np.stack([np.interp(time_s, times_s[keys], values) for values in shape])
    smooth = smoothed(dense, time_s)
    return Track(
        track_id=number,
        frames=frames,
        timestamps_s=time_s,
        boxes=np.concatenate([smooth[:2] - smooth[2:] / 2, smooth[:2] + smooth[2:] / 2]).T,
        detected=np.isin(frames, keys),
    )


def without_spikes(shape: Array) -> Array:
    """Centres and sizes (4, K) without single looks that are far from both their neighbours."""
    if shape.shape[1] < 3:
        return shape
    middle = (shape[:, :-2] + shape[:, 2:]) / 2
    off = np.abs(shape[:, 1:-1] - middle).max(0)
    apart = np.abs(shape[:, 2:] - shape[:, :-2]).max(0)
    height = shape[3, 1:-1]
    spike = (off > SPIKE_HEIGHTS * height) & (apart < 0.5 * off)
    cleaned = shape.copy()
    cleaned[:, 1:-1] = np.where(spike, middle, shape[:, 1:-1])
    return cleaned


def smoothed(shape: Array, time_s: Array) -> Array:
    """Centres and sizes (4, N) without the jitter of looks, with all movement of the face."""
    calm, quick = gaussian(shape, time_s, CALM_S), gaussian(shape, time_s, QUICK_S)
    height = np.maximum(calm[3:], 1e-9)
    # What the calm one would take away, in the neighbourhood: a single look is jitter.
    lost = gaussian(np.abs(quick - calm) / height, time_s, CALM_S)
    share = np.clip((lost - JITTER_HEIGHTS) / (MOVEMENT_HEIGHTS - JITTER_HEIGHTS), 0, 1)
    # Both coordinates of a place, both sides of a size, or a face would be pulled out of shape.
    share = np.repeat(np.maximum(share[::2], share[1::2]), 2, axis=0)
    return calm + share * (quick - calm)


def gaussian(values: Array, time_s: Array, width_s: float) -> Array:
    """Gaussian over time (K, N); at the ends about a line, so that movement is not held back."""
    n = values.shape[1]
    if n < 3:
        return values
    rate = (n - 1) / max(time_s[-1] - time_s[0], 1e-9)
    reach = max(1, round(3 * width_s * rate - ALMOST_FRAMES))
    reach = min(reach, n - 1)
    # Reflected through the end points: a straight movement goes on straight.
    head = 2 * values[:, :1] - values[:, reach:0:-1]
    tail = 2 * values[:, -1:] - values[:, -2 : -reach - 2 : -1]
    padded = np.concatenate([head, values, tail], axis=1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * 3 / reach) ** 2)
    kernel /= kernel.sum()
    return np.stack([np.convolve(row, kernel, "valid") for row in padded])
