"""The one track from which both the voice and the mouth are made.

Phones in time become continuous motion by dominance functions (Cohen and Massaro 1993, Modeling
coarticulation in synthetic visual speech): at each instant a parameter is the mean of the targets
of the phones around, weighted by how much each insists and by how far away it is. So lips round
before /u/ begins, and close fully for /b/ whatever stands beside.

`Mouth` is what a camera sees, `Tract` what a microphone hears. Both of one talker come from the
same phones; a dubbed face has the mouth of one talk and is heard with the tract of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.phones import CODAS, NUCLEI, ONSETS, PHONES, REST, Phone

__all__ = [
    "RATE_HZ",
    "Mouth",
    "Span",
    "Speech",
    "Tract",
    "babble",
    "blend",
    "silent_tract",
    "smooth",
]

Array = NDArray[np.float64]
Span = tuple[float, float]

RATE_HZ = 200
"""Samples per second of every articulatory parameter."""

LIPS_FADE_S = 0.030
TONGUE_FADE_S = 0.025
"""How fast dominance fades outside a phone."""

LONGEST_PAUSE_S = 0.35


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mouth:
    """What a camera sees of speech. Every array is (N,) at `RATE_HZ`.

    Attributes:
        gap: Opening between the lips, 0 closed to 1 widest.
        press: How hard closed lips are pressed together, 0..1.
        jaw: How far the jaw has dropped, 0..1.
        width: Distance of the mouth corners, -1 drawn in to 1 spread.
        rounding: Protrusion of the lips, 0..1.
        tongue: Height of the tongue between the teeth, 0..1.
        smile: Corners raised and cheeks lifted, 0..1.

    Examples:
        >>> from pushpull.synthetic import babble
        >>> mouth = babble(np.random.default_rng(0), 1.0).mouth
        >>> len(mouth), bool(0 <= mouth.gap.min() and mouth.gap.max() <= 1)
        (200, True)
        >>> len(mouth.at(np.arange(25) / 25))  # one for each frame of a video
        25
    """

    gap: Array
    press: Array
    jaw: Array
    width: Array
    rounding: Array
    tongue: Array
    smile: Array

    def __len__(self) -> int:
        return len(self.gap)

    def at(self, times_s: Array) -> Mouth:
        """The mouth at other times (M,), by linear interpolation.

        Examples:
            >>> from pushpull.synthetic import babble
            >>> mouth = babble(np.random.default_rng(0), 1.0).mouth
            >>> len(mouth.at((np.arange(25) + 0.5) / 25))
            25
        """
        own_s = np.arange(len(self)) / RATE_HZ
        values = {f.name: np.interp(times_s, own_s, getattr(self, f.name)) for f in fields(self)}
        return Mouth(**values)


def blend(first: Mouth, second: Mouth, share: Array) -> Mouth:
    """The first mouth where share (N,) is 0, the second where it is 1.

    Examples:
        >>> from pushpull.synthetic import babble
        >>> from pushpull.synthetic.articulation import blend
        >>> rng = np.random.default_rng(0)
        >>> talking, still = babble(rng, 1.0).mouth, babble(rng, 1.0, []).mouth
        >>> half = blend(talking, still, np.full(200, 0.5))
        >>> np.allclose(half.gap, (talking.gap + still.gap) / 2)
        True
    """
    pairs = {f.name: (getattr(first, f.name), getattr(second, f.name)) for f in fields(Mouth)}
    return Mouth(**{name: a * (1 - share) + b * share for name, (a, b) in pairs.items()})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tract:
    """What a microphone hears of speech. Every array is (N,) or (N, 3) at `RATE_HZ`.

    Attributes:
        voicing: Amplitude of glottal pulses, 0..1.
        aspiration: Amplitude of breath noise, 0..1.
        frication: Amplitude of noise at a narrowing, 0..1.
        frication_hz: Centre of that noise.
        nasality: Share of sound through the nose, 0..1.
        formants_hz: First three resonances (N, 3) of a tract of 17.5 cm.
        pitch: Fundamental frequency relative to the speaker's mean.

    Examples:
        >>> from pushpull.synthetic import babble
        >>> tract = babble(np.random.default_rng(0), 1.0).tract
        >>> len(tract), tract.formants_hz.shape
        (200, (200, 3))
    """

    voicing: Array
    aspiration: Array
    frication: Array
    frication_hz: Array
    nasality: Array
    formants_hz: Array
    pitch: Array

    def __len__(self) -> int:
        return len(self.voicing)


def silent_tract(n: int) -> Tract:
    """A tract at rest for n samples.

    Examples:
        >>> from pushpull.synthetic.articulation import silent_tract
        >>> tract = silent_tract(200)  # one second
        >>> len(tract), bool(tract.voicing.any())
        (200, False)
    """
    zeros = np.zeros((7, n))
    return Tract(
        voicing=zeros[0],
        aspiration=zeros[1],
        frication=zeros[2],
        frication_hz=zeros[3] + 4000.0,
        nasality=zeros[4],
        formants_hz=np.tile(REST.formants_hz, (n, 1)),
        pitch=zeros[5] + 1.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speech:
    """One talker's speech: what is seen, what is heard, and when.

    Attributes:
        mouth: Seen; closed outside utterances.
        tract: Heard; silent outside utterances.
        utterances: Stretches (start, end) in seconds from the first phone to the last.

    Examples:
        >>> from pushpull.synthetic import babble
        >>> speech = babble(np.random.default_rng(0), 2.0, [(0.5, 1.5)])
        >>> speech.utterances
        ((0.5, 1.5),)
        >>> speech.speaking(np.array([0.0, 1.0, 2.0]))
        array([False,  True, False])
    """

    mouth: Mouth
    tract: Tract
    utterances: tuple[Span, ...]

    def speaking(self, times_s: Array) -> NDArray[np.bool_]:
        """Whether an utterance is under way at each time (M,)."""
        result = np.zeros(len(times_s), bool)
        for start_s, end_s in self.utterances:
            result |= (times_s >= start_s) & (times_s < end_s)
        return result


@dataclass(frozen=True, slots=True)
class Segment:
    """A phone in time, made with a stress of 0..1."""

    phone: Phone
    start_s: float
    end_s: float
    stress: float = 1.0


def babble(
    rng: np.random.Generator, duration_s: float, spans: Sequence[Span] | None = None
) -> Speech:
    """Babbled speech: syllables of all phones in phrases, with the rhythm and tune of talk.

    Args:
        rng: Source of every choice.
        duration_s: Length of the result.
        spans: Stretches (start, end) in seconds to fill with talk, in order; by default all of it.
            Pauses between the phrases of a span are at most 0.35 s and count as utterance.

    Examples:
        >>> from pushpull.synthetic import babble, draw_voice, synthesize
        >>> rng = np.random.default_rng(0)
        >>> speech = babble(rng, 1.0)
        >>> synthesize(speech.tract, draw_voice(rng), rng).shape  # at 16 kHz
        (16000,)
    """
    n = round(duration_s * RATE_HZ)
    spans = [(0.0, duration_s)] if spans is None else spans
    tempo = rng.uniform(0.9, 1.1)
    segments: list[Segment] = []
    pitch = np.ones(n)
    for start_s, end_s in spans:
        for phrase in phrases(rng, start_s, end_s, tempo):
            write_tune(pitch, phrase, rng)
            segments += phrase
    segments = with_rests(segments, duration_s)
    return Speech(
        mouth=mouth_of(segments, n), tract=tract_of(segments, n, pitch), utterances=tuple(spans)
    )


def phrases(
    rng: np.random.Generator, start_s: float, end_s: float, tempo: float
) -> Iterator[list[Segment]]:
    """Fill a span exactly with phrases and short pauses between them."""
    while start_s < end_s - 1e-6:
        length_s = rng.uniform(1.0, 2.6)
        pause_s = rng.uniform(0.15, LONGEST_PAUSE_S)
        # A rest too short for a phrase of its own joins this one.
        stop_s = end_s if end_s - start_s - length_s - pause_s < 0.6 else start_s + length_s
        yield phrase(rng, start_s, stop_s, tempo)
        start_s = end_s if stop_s == end_s else stop_s + pause_s


def phrase(rng: np.random.Generator, start_s: float, end_s: float, tempo: float) -> list[Segment]:
    """Syllables from start to end: words of one to three, one of them stressed."""
    phones: list[tuple[Phone, float]] = []
    lengths_s: list[float] = []
    while sum(lengths_s) < end_s - start_s:
        n_syllables = int(rng.integers(1, 4))
        accent = int(rng.integers(n_syllables))
        for i in range(n_syllables):
            stress = 1.0 if i == accent else float(rng.uniform(0.3, 0.7))
            for phone in syllable(rng, stress):
                length_s = phone.duration_s * rng.uniform(0.85, 1.15) * tempo
                if phone.voicing == 1.0:
                    length_s *= 0.65 + 0.75 * stress
                phones.append((phone, stress))
                lengths_s.append(length_s)
    lengths_s[-1] *= 1.5  # the last sound of a phrase is drawn out
    ends_s = np.cumsum(lengths_s) * ((end_s - start_s) / sum(lengths_s)) + start_s
    starts_s = [start_s, *ends_s[:-1]]
    return [
        Segment(phone, float(a), float(b), stress)
        for (phone, stress), a, b in zip(phones, starts_s, ends_s, strict=True)
    ]


def syllable(rng: np.random.Generator, stress: float) -> list[Phone]:
    onset, nucleus, coda = (draw(rng, table) for table in (ONSETS, NUCLEI, CODAS))
    if stress < 0.4:
        nucleus = "@"
    return [PHONES[name] for name in (onset, nucleus, coda) if name]


def draw(rng: np.random.Generator, table: dict[str, int]) -> str:
    weights = np.array(list(table.values()), float)
    return str(rng.choice(list(table), p=weights / weights.sum()))


def with_rests(segments: Sequence[Segment], duration_s: float) -> list[Segment]:
    """Fill what no phone covers, the time before 0 and after the end included."""
    result: list[Segment] = []
    reached_s = -1.0
    for segment in [*segments, Segment(REST, duration_s + 1.0, duration_s + 1.0)]:
        if segment.start_s - reached_s > 1e-6:
            result.append(Segment(REST, reached_s, segment.start_s))
        result.append(segment)
        reached_s = segment.end_s
    return result


def coarticulated(
    segments: Sequence[Segment], n: int, targets: Array, strengths: Array, fade_s: float
) -> Array:
    """Mean of targets (S, K) at n instants, weighted by dominance; (n, K)."""
    total = np.zeros((n, targets.shape[1]))
    weight = np.zeros(n)
    for segment, target, strength in zip(segments, targets, strengths, strict=True):
        middle_s = (segment.start_s + segment.end_s) / 2
        length_s = segment.end_s - segment.start_s
        # A rest holds all but its edges, where the lips are under way.
        held_s = max(0.3 * length_s, length_s / 2 - 0.08)
        first = max(0, int((middle_s - held_s - 10 * fade_s) * RATE_HZ))
        last = min(n, int((middle_s + held_s + 10 * fade_s) * RATE_HZ) + 1)
        if first >= last:
            continue
        away_s = np.abs(np.arange(first, last) / RATE_HZ - middle_s) - held_s
        dominance = strength * np.exp(-np.maximum(away_s, 0.0) / fade_s)
        total[first:last] += dominance[:, None] * target
        weight[first:last] += dominance
    return total / weight[:, None]


def mouth_of(segments: Sequence[Segment], n: int) -> Mouth:
    """What is seen of the segments at n instants."""
    targets = np.array(
        [(s.phone.gap, s.phone.width, s.phone.rounding, s.phone.tongue) for s in segments]
    )
    # Unstressed vowels are made less fully; closures are made whatever the stress.
    effort = np.array([0.55 + 0.45 * s.stress for s in segments])
    opened = targets[:, 0] > 0.05
    targets[opened, 0] *= effort[opened]
    targets[:, 1:3] *= effort[:, None]
    strengths = np.array([s.phone.lips for s in segments])
    values = coarticulated(segments, n, targets, strengths, LIPS_FADE_S)
    gap, width, rounding, tongue = smooth(values, 0.02).T
    return Mouth(
        gap=np.clip(gap, 0.0, 1.0),
        press=np.clip(-3.0 * gap, 0.0, 1.0),
        # The jaw does part of the opening and is too heavy for the quickest of it.
        jaw=np.clip(smooth(gap, 0.06), 0.0, 1.0),
        width=np.clip(width, -1.0, 1.0),
        rounding=np.clip(rounding, 0.0, 1.0),
        tongue=np.clip(tongue, 0.0, 1.0),
        smile=np.zeros(n),
    )


def tract_of(segments: Sequence[Segment], n: int, pitch: Array) -> Tract:
    """What is heard of the segments at n instants."""
    formants = coarticulated(
        segments,
        n,
        np.array([s.phone.formants_hz for s in segments]),
        np.array([s.phone.mouth for s in segments]),
        TONGUE_FADE_S,
    )
    tract = replace(silent_tract(n), formants_hz=formants, pitch=pitch)
    for segment in segments:
        if segment.phone is not REST:
            write_sources(tract, segment)
    gap = mouth_of(segments, n).gap
    # Lips that open let more sound out and raise the first formant; the nose is open anyway.
    opening = np.sqrt(np.clip(gap / 0.7, 0.0, 1.2))
    oral = 0.25 + 0.75 * opening
    formants[:, 0] *= 0.8 + 0.2 * opening
    return replace(
        tract,
        voicing=smooth(tract.voicing * (oral + tract.nasality * (1 - oral)), 0.02),
        aspiration=smooth(tract.aspiration, 0.015),
        frication=smooth(tract.frication, 0.01),
        nasality=smooth(tract.nasality, 0.03),
    )


def write_sources(tract: Tract, segment: Segment) -> None:
    """Switch the sources of sound of one phone on for its time."""
    phone = segment.phone
    first, last = round(segment.start_s * RATE_HZ), round(segment.end_s * RATE_HZ)
    effort = 0.6 + 0.4 * segment.stress
    tract.voicing[first:last] = phone.voicing * effort
    tract.nasality[first:last] = phone.nasality
    # Noise of a stop comes when its closure opens.
    noisy = last - round(phone.release_s * RATE_HZ) if phone.release_s else first
    tract.frication[noisy:last] = phone.frication * effort
    tract.aspiration[noisy:last] = phone.aspiration * effort
    tract.frication_hz[first:last] = phone.frication_hz


def write_tune(pitch: Array, phrase: Sequence[Segment], rng: np.random.Generator) -> None:
    """Pitch of a phrase: it falls from start to end, rises on stress, and drops or rises last."""
    start_s, end_s = phrase[0].start_s, phrase[-1].end_s
    first, last = round(start_s * RATE_HZ), round(end_s * RATE_HZ)
    times_s = np.arange(first, last) / RATE_HZ
    share = (times_s - start_s) / (end_s - start_s)
    octaves = 0.18 - 0.36 * share
    for segment in phrase:
        if segment.phone.voicing == 1.0 and segment.stress > 0.8:
            middle_s = (segment.start_s + segment.end_s) / 2
            octaves += rng.uniform(0.1, 0.3) * np.exp(-(((times_s - middle_s) / 0.09) ** 2))
    ending = rng.choice([-0.25, 0.35], p=[0.75, 0.25])
    octaves += ending * np.clip((times_s - end_s) / 0.25 + 1, 0, 1)
    pitch[first : first + len(times_s)] = 2.0 ** octaves[: len(pitch) - first]


def smooth(values: Array, width_s: float) -> Array:
    """Moving average along the first axis with a raised-cosine window of this width.

    Examples:
        >>> from pushpull.synthetic.articulation import smooth
        >>> smooth(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), 0.01).round(2)
        array([0.  , 0.25, 0.5 , 0.25, 0.  ])
    """
    half = max(1, round(width_s * RATE_HZ / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    window /= window.sum()
    padded = np.pad(values, [(half, half)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, len(window), axis=0)
    return np.asarray(views @ window)
