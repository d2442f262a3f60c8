"""Voices: when one is heard, and when it is nobody's on screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.turns import Turn
from pushpull.schema import SAMPLE_RATE_HZ, int16_samples

__all__ = ["off_screen_turns", "voiced"]

STEP_S = 0.03
"""What the voice activity detector judges at once."""

HANGOVER_S = 0.2
"""Gaps in voice shorter than this are pauses of speech."""

PAUSE_S = 0.5
"""And these inside a turn of somebody who is not seen."""

WARM_UP = 10
"""Steps of the sound's start that the detector hears twice."""

AT_ONCE = 1000
"""Steps of which integers are made together: a long sound is large."""

MARGIN_S = 0.25
"""How far lips and voice of one turn may begin or end apart."""

SHORTEST_S = 0.6
"""Of a voice off screen: shorter ones are coughs, laughs and edges of turns."""

LIVELY_DB = 3.0
"""How much the level of speech goes up and down at least: tones and hums do not."""

STRICT = 3
"""Of a voice that nobody on screen vouches for: noise and music must not pass for one."""


def voiced(
    waveform: NDArray[np.float32], times_s: NDArray[np.float64], *, aggressiveness: int = 2
) -> NDArray[np.bool_]:
    """Whether voice is heard at each time (M,), by WebRTC's detector; short gaps are filled.

    Args:
        waveform: (S,) in [-1, 1] at 16 kHz.
        times_s: Seconds from its start (M,).
        aggressiveness: 0 (most is voice) to 3.

    Examples:
        >>> from pushpull.detection import voiced
        >>> from pushpull.synthetic import babble, draw_voice, synthesize
        >>> rng = np.random.default_rng(0)
        >>> speech = babble(rng, 2.0, [(1.0, 2.0)])  # a second of silence first
        >>> sound = synthesize(speech.tract, draw_voice(rng), rng)
        >>> voiced(sound, np.array([0.5, 1.5]))
        array([False,  True])
    """
    flags = _steps(waveform, aggressiveness, HANGOVER_S)
    index = np.clip((times_s / STEP_S).astype(np.int64), 0, len(flags) - 1)
    return np.asarray(flags[index])


def off_screen_turns(
    waveform: NDArray[np.float32], turns: Iterable[Turn], *, start_s: float = 0.0
) -> list[Turn]:
    """Where a voice is heard and no face speaks: a narrator, an interviewer, a dubbed film.

    Args:
        waveform: (S,) in [-1, 1] at 16 kHz.
        turns: Of all faces, on the video's clock.
        start_s: When the sound begins on that clock.

    Examples:
        >>> from pushpull.detection import Turn, off_screen_turns
        >>> from pushpull.synthetic import babble, draw_voice, synthesize
        >>> rng = np.random.default_rng(0)
        >>> speech = babble(rng, 4.0, [(0.0, 4.0)])
        >>> sound = synthesize(speech.tract, draw_voice(rng), rng)
        >>> [turn] = off_screen_turns(sound, [Turn(0.0, 2.0)])  # the face is quiet from 2 s on
        >>> round(turn.start_s, 1), round(turn.end_s, 1)
        (2.2, 4.0)
    """
    flags = _steps(waveform, STRICT, PAUSE_S)
    times_s = start_s + STEP_S * np.arange(len(flags))
    for turn in turns:
        on_screen = (times_s > turn.start_s - MARGIN_S) & (times_s < turn.end_s + MARGIN_S)
        flags &= ~on_screen
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]]).astype(int)))
    end_s = start_s + len(waveform) / SAMPLE_RATE_HZ
    found = [
        Turn(start_s + STEP_S * first, min(start_s + STEP_S * stop, end_s))
        for first, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]
    return [
        turn
        for turn in found
        if turn.end_s - turn.start_s >= SHORTEST_S
        and _liveliness_db(waveform, turn.start_s - start_s, turn.end_s - start_s) >= LIVELY_DB
    ]


def _liveliness_db(waveform: NDArray[np.float32], from_s: float, to_s: float) -> float:
    """Standard deviation of the level of a part of the sound."""
    step = round(STEP_S * SAMPLE_RATE_HZ)
    part = waveform[round(from_s * SAMPLE_RATE_HZ) : round(to_s * SAMPLE_RATE_HZ)]
    steps = part[: len(part) // step * step].astype(np.float64).reshape(-1, step)
    power = np.maximum(np.square(steps).mean(1), 1e-10)
    return float(np.std(10 * np.log10(power)))


def _parts(waveform: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    """Parts of a sound, of which no copies are made."""
    return (waveform[first : first + size] for first in range(0, len(waveform), size))


def _steps(waveform: NDArray[np.float32], aggressiveness: int, pause_s: float) -> NDArray[np.bool_]:
    """Whether voice is heard in each step of the sound, pauses filled."""
    import webrtcvad

    detector = webrtcvad.Vad(aggressiveness)
    step = round(STEP_S * SAMPLE_RATE_HZ)
    # The detector takes the first noise that it hears for voice: let it hear the start before.
    before = min(len(waveform) // step, WARM_UP) * step
    flags = np.array(
        [
            detector.is_speech(part.tobytes(), SAMPLE_RATE_HZ)
            for some in (waveform[:before][::-1], *_parts(waveform, AT_ONCE * step))
            for part in np.pad(int16_samples(some), (0, -len(some) % step)).reshape(-1, step)
        ],
        bool,
    )[before // step :]
    at = np.flatnonzero(flags)
    for last, following in pairwise(at.tolist()):
        if 1 < following - last <= pause_s / STEP_S:
            flags[last:following] = True
    return flags
