"""What a person does with mouth and voice in a stretch of time, and whether that is speaking."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.articulation import (
    RATE_HZ,
    Mouth,
    Span,
    Speech,
    Tract,
    babble,
    blend,
    silent_tract,
    smooth,
)

__all__ = ["Case", "Script", "chewing", "draw_script", "smiling", "with_idling"]

Array = NDArray[np.float64]


class Case(enum.Enum):
    """The relations of mouth and sound that occur in AVA-ActiveSpeaker.

    Examples:
        >>> from pushpull.synthetic import Case
        >>> Case("dubbed")
        <Case.DUBBED: 'dubbed'>
        >>> [case.value for case in Case]
        ['speaking', 'silent', 'listening', 'moving', 'dubbed', 'turns']
    """

    SPEAKING = "speaking"
    """The mouth moves with the voice that is heard."""
    SILENT = "silent"
    """A closed mouth, and nobody is heard."""
    LISTENING = "listening"
    """A closed mouth while somebody else is heard."""
    MOVING = "moving"
    """The mouth moves without a voice: chewing or smiling; somebody else may be heard."""
    DUBBED = "dubbed"
    """The mouth speaks, but what is heard is another talk."""
    TURNS = "turns"
    """Speaking and listening by turns."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Script:
    """What one person does.

    Attributes:
        case: Which relation of mouth and sound.
        mouth: What is seen.
        own: What this person's voice makes.
        other: What another person's voice makes meanwhile.
        utterances: Stretches (start, end) in seconds in which this person speaks and is heard.

    Examples:
        >>> from pushpull.synthetic import Case, draw_script
        >>> script = draw_script(np.random.default_rng(0), Case.LISTENING, 1.0)
        >>> script.utterances, bool(script.other.voicing.any())  # another is heard
        ((), True)
    """

    case: Case
    mouth: Mouth
    own: Tract
    other: Tract
    utterances: tuple[Span, ...]

    def speaking(self, times_s: Array) -> NDArray[np.bool_]:
        """Whether the person speaks and is heard at each time (M,)."""
        result = np.zeros(len(times_s), bool)
        for start_s, end_s in self.utterances:
            result |= (times_s >= start_s) & (times_s < end_s)
        return result


def draw_script(rng: np.random.Generator, case: Case, duration_s: float) -> Script:
    """A random script of a case that fills the time from 0 to duration_s.

    Examples:
        >>> from pushpull.synthetic import Case, draw_script
        >>> script = draw_script(np.random.default_rng(0), Case.SPEAKING, 1.0)
        >>> script.speaking(np.array([0.0, 0.5, 1.5]))
        array([ True,  True, False])
    """
    n = round(duration_s * RATE_HZ)
    nothing = silent_tract(n)
    still = babble(rng, duration_s, ())
    all_of_it = ((0.0, duration_s),)
    if case is Case.SPEAKING:
        talk = babble(rng, duration_s)
        script = of_speech(case, talk, nothing)
    elif case is Case.SILENT:
        script = of_speech(case, still, nothing)
    elif case is Case.LISTENING:
        script = of_speech(case, still, babble(rng, duration_s).tract)
    elif case is Case.MOVING:
        mouth = chewing(rng, n) if rng.uniform() < 0.5 else smiling(rng, n)
        heard = babble(rng, duration_s, all_of_it if rng.uniform() < 0.5 else ()).tract
        script = replace(of_speech(case, still, heard), mouth=mouth)
    elif case is Case.DUBBED:
        seen = babble(rng, duration_s)
        script = replace(of_speech(case, still, babble(rng, duration_s).tract), mouth=seen.mouth)
    else:
        own, other = draw_turns(rng, duration_s)
        talk = babble(rng, duration_s, own)
        script = of_speech(case, talk, babble(rng, duration_s, other).tract)
    return replace(script, mouth=with_idling(rng, script.mouth))


def of_speech(case: Case, talk: Speech, other: Tract) -> Script:
    return Script(
        case=case, mouth=talk.mouth, own=talk.tract, other=other, utterances=talk.utterances
    )


def draw_turns(rng: np.random.Generator, duration_s: float) -> tuple[list[Span], list[Span]]:
    """Stretches of talk of two people who speak by turns, with short gaps."""
    turns: tuple[list[Span], list[Span]] = ([], [])
    speaker = int(rng.integers(2))
    start_s = 0.0
    while start_s < duration_s - 0.5:
        end_s = min(start_s + rng.uniform(1.0, 3.0), duration_s)
        turns[speaker].append((start_s, end_s))
        start_s = end_s + rng.uniform(0.1, 0.6)
        speaker = 1 - speaker
    return turns


def chewing(rng: np.random.Generator, n: int) -> Mouth:
    """A mouth that chews: the jaw goes round 1 to 2 times a second, lips mostly closed.

    Examples:
        >>> from pushpull.synthetic.scripts import chewing
        >>> mouth = chewing(np.random.default_rng(0), 200)  # one second
        >>> bool(mouth.jaw.max() > 3 * mouth.gap.max())
        True
    """
    times_s = np.arange(n) / RATE_HZ
    rate_hz = rng.uniform(1.1, 1.8)
    wander = smooth(rng.normal(0, 1, n), 1.5) * np.sqrt(1.5 * RATE_HZ / 2)
    cycle = 0.5 - 0.5 * np.cos(2 * np.pi * rate_hz * times_s + 0.6 * wander)
    parting = rng.uniform(0.0, 0.25)
    zeros = np.zeros(n)
    return Mouth(
        gap=np.clip(parting * cycle - 0.03, 0, 1),
        press=0.35 * (1 - cycle),
        jaw=rng.uniform(0.25, 0.5) * cycle,
        width=0.35 * np.sin(2 * np.pi * rate_hz * times_s + 1.0 + 0.6 * wander),
        rounding=0.25 * (1 - cycle),
        tongue=zeros + 0.3,
        smile=zeros,
    )


def smiling(rng: np.random.Generator, n: int) -> Mouth:
    """A mouth that smiles now and then, sometimes showing teeth.

    Examples:
        >>> from pushpull.synthetic.scripts import smiling
        >>> mouth = smiling(np.random.default_rng(0), 400)
        >>> bool(mouth.smile.max() > 0.4), len(mouth)
        (True, 400)
    """
    times_s = np.arange(n) / RATE_HZ
    zeros = np.zeros(n)
    smile = np.zeros(n)
    at_s = rng.uniform(0.0, 0.8)
    while at_s < n / RATE_HZ:
        held_s = rng.uniform(0.6, 2.0)
        rise = np.clip((times_s - at_s) / 0.35, 0, 1) * np.clip(
            (at_s + held_s - times_s) / 0.5, 0, 1
        )
        smile = np.maximum(smile, rng.uniform(0.5, 1.0) * rise)
        at_s += held_s + rng.uniform(0.4, 1.5)
    smile = smooth(smile, 0.15)
    teeth = rng.uniform(0.0, 0.25)
    return Mouth(
        gap=teeth * smile,
        press=zeros,
        jaw=0.5 * teeth * smile,
        width=0.6 * smile,
        rounding=zeros,
        tongue=zeros + 0.3,
        smile=smile,
    )


def with_idling(rng: np.random.Generator, mouth: Mouth) -> Mouth:
    """The mouth with the small movements of a living face: corners drift, lips part a little.

    Examples:
        >>> from pushpull.synthetic import babble
        >>> from pushpull.synthetic.scripts import with_idling
        >>> rng = np.random.default_rng(0)
        >>> still = babble(rng, 1.0, []).mouth
        >>> bool(still.width.std() < with_idling(rng, still).width.std())
        True
    """
    n = len(mouth)

    def wander(width_s: float) -> Array:
        steps = rng.normal(0, 1, n + 8 * RATE_HZ)
        return np.asarray(smooth(steps, width_s)[:n] * np.sqrt(width_s * RATE_HZ / 1.5))

    parted = 0.05 * np.clip(wander(1.2) - 0.8, 0, 1.5)
    return replace(
        mouth,
        gap=np.clip(mouth.gap + parted * (1 - mouth.press), 0, 1),
        width=np.clip(mouth.width + 0.08 * wander(1.0), -1, 1),
        smile=np.clip(mouth.smile + 0.08 * wander(2.0) + 0.05, 0, 1),
    )


def listening_smile(rng: np.random.Generator, mouth: Mouth, spans: tuple[Span, ...]) -> Mouth:
    """The mouth with a smile in the given stretches."""
    n = len(mouth)
    times_s = np.arange(n) / RATE_HZ
    share = np.zeros(n)
    for start_s, end_s in spans:
        inside = np.clip((times_s - start_s) / 0.2, 0, 1) * np.clip((end_s - times_s) / 0.2, 0, 1)
        share = np.maximum(share, inside)
    return blend(mouth, smiling(rng, n), share)
