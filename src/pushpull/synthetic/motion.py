"""How a person moves besides speaking: head, lids, gaze, brows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.articulation import Mouth

__all__ = ["Motion", "draw_motion"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """Movement over T frames; every array is (T,).

    Attributes:
        yaw: Turn to the person's left (right in the picture), radians.
        pitch: Nod downwards, radians.
        roll: Tilt clockwise in the picture, radians.
        shift_x: Displacement to the right in face units.
        shift_y: Displacement down in face units.
        zoom: Relative size.
        lids: How far the lids are open, 0..1.
        gaze_x: Direction of looking to the right, -1..1.
        gaze_y: Direction of looking down, -1..1.
        brows: How far the brows are raised, about -0.3..1.

    Examples:
        >>> from pushpull.synthetic import babble
        >>> from pushpull.synthetic.motion import draw_motion
        >>> rng, times_s = np.random.default_rng(0), np.arange(50) / 25
        >>> motion = draw_motion(rng, times_s, babble(rng, 2.0).mouth.at(times_s))
        >>> len(motion), bool(motion.lids.max() <= 1)
        (50, True)
    """

    yaw: Array
    pitch: Array
    roll: Array
    shift_x: Array
    shift_y: Array
    zoom: Array
    lids: Array
    gaze_x: Array
    gaze_y: Array
    brows: Array

    def __len__(self) -> int:
        return len(self.yaw)


def draw_motion(
    rng: np.random.Generator,
    times_s: Array,
    mouth: Mouth,
    *,
    facing: float = 0.0,
    liveliness: float = 1.0,
) -> Motion:
    """Natural movement: slow sway, nods with the rhythm of speech, blinks, glances.

    Args:
        rng: Source of every choice.
        times_s: Time of each frame (T,).
        mouth: What the mouth does in these frames; a talking head moves more.
        facing: Mean yaw in radians.
        liveliness: 0 holds the head still.

    Examples:
        >>> from pushpull.synthetic import babble
        >>> from pushpull.synthetic.motion import draw_motion
        >>> rng, times_s = np.random.default_rng(0), np.arange(50) / 25
        >>> mouth = babble(rng, 2.0).mouth.at(times_s)
        >>> still = draw_motion(rng, times_s, mouth, facing=0.2, liveliness=0.0)
        >>> set(still.yaw.tolist())
        {0.2}
    """
    # "same" would be the length of the window where a clip is shorter than that.
    effort = np.convolve(mouth.gap, np.ones(9) / 9, "full")[4 : 4 + len(mouth.gap)]
    moving = liveliness * (0.55 + 0.9 * np.clip(effort / 0.3, 0, 1))
    return Motion(
        yaw=facing
        + 0.07 * liveliness * drift(rng, times_s, 0.25)
        + 0.02 * moving * drift(rng, times_s, 0.8),
        pitch=0.03 * liveliness * drift(rng, times_s, 0.25)
        + 0.02 * moving * drift(rng, times_s, 1.2)
        - 0.05 * liveliness * effort,
        roll=0.035 * liveliness * drift(rng, times_s, 0.3)
        + 0.012 * moving * drift(rng, times_s, 0.9),
        shift_x=0.06 * liveliness * drift(rng, times_s, 0.2),
        shift_y=0.035 * liveliness * drift(rng, times_s, 0.25)
        + 0.012 * moving * drift(rng, times_s, 1.3),
        zoom=1 + 0.02 * liveliness * drift(rng, times_s, 0.15),
        lids=blinks(rng, times_s),
        gaze_x=0.5 * glances(rng, times_s),
        gaze_y=0.35 * glances(rng, times_s),
        brows=0.25 * drift(rng, times_s, 0.4) + 0.5 * np.clip(effort - 0.25, 0, None),
    )


def drift(rng: np.random.Generator, times_s: Array, rate_hz: float) -> Array:
    """A smooth random movement of standard deviation about 1, slower than about 2 * rate_hz."""
    rates_hz = rate_hz * rng.uniform(0.4, 2.0, 5)
    phases = rng.uniform(0, 2 * np.pi, 5)
    waves = np.sin(2 * np.pi * rates_hz[:, None] * times_s + phases[:, None])
    return np.asarray(waves.sum(0) * np.sqrt(2 / 5))


def blinks(rng: np.random.Generator, times_s: Array) -> Array:
    """Opening of the lids: a blink of 0.25 s every 2 to 5 s."""
    lids = np.full(len(times_s), float(rng.uniform(0.88, 1.0)))
    at_s = rng.uniform(0.5, 4.0)
    while len(times_s) and at_s < times_s[-1]:
        away = (times_s - at_s) / np.where(times_s < at_s, 0.09, 0.16)
        lids *= 1 - np.exp(-(away**4))
        at_s += rng.uniform(2.0, 5.0)
    return lids


def glances(rng: np.random.Generator, times_s: Array) -> Array:
    """Gaze that rests and jumps, most of the time near the middle; -1..1."""
    gaze = np.zeros(len(times_s))
    at_s = 0.0
    while len(times_s) and at_s <= times_s[-1]:
        gaze[times_s >= at_s] = np.clip(rng.normal(0, 0.4), -1, 1)
        at_s += rng.uniform(0.6, 2.5)
    return gaze
