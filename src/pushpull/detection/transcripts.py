"""Who says each word: a transcript of Whisper, WhisperX or a srt, with the faces of a detection.

A word is said by the face whose turns cover most of it, and at least half; of two that do, by the
one with the higher mean score in that time. Where no turn covers half, it is the face whose mean
score is highest, if that alone would be speaking. Else the word is said off screen.
"""

from __future__ import annotations

import os
import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.detection.turn_files import OFF_SCREEN, stamp
from pushpull.detection.turns import ScoredTrack
from pushpull.errors import AnnotationError
from pushpull.runtime.files import read_text
from pushpull.runtime.records import parse_json

__all__ = [
    "SpokenWord",
    "Word",
    "attribute",
    "read_transcript",
    "transcript_srt",
    "transcript_vtt",
]

COVERED = 0.5
"""Share of a word that a turn covers whose face says it."""

LONGEST_SILENCE_S = 1.0
LONGEST_CUE_S = 7.0
"""Between words of one subtitle, and of one subtitle in all."""

LATEST_S = 3.6e9
"""Subtitles have no more hours than six digits hold."""

SHOWN = 60

TIMES = re.compile(
    r"\s*(\d{1,6}):(\d\d?):(\d\d?)[,.](\d{1,3})"
    r"\s*-->\s*(\d{1,6}):(\d\d?):(\d\d?)[,.](\d{1,3})(?:\s.*)?"
)
NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""Ends of lines and what no line of text holds: a subtitle would end there, or have no file."""

TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of a transcript.

    Attributes:
        text: As it is written, without blanks around it.
        start_s: When it begins, on the video's clock.
        end_s: When it ends.
        segment: Number of the segment or subtitle that it is of, from 0.
        spaced: Whether a blank stands before it.

    Examples:
        >>> from pushpull.detection import Word
        >>> Word(text="Hello,", start_s=0.2, end_s=0.6, segment=0, spaced=True).text
        'Hello,'
    """

    text: str
    start_s: float
    end_s: float
    segment: int
    spaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenWord:
    """A word with the face that says it.

    Attributes:
        word: What is said.
        track_id: Who says it; None for nobody on screen.
        covered: Share of the word in which that face has a turn.
        person: Number of the person, where it is known.

    Examples:
        >>> from pushpull.detection import SpokenWord, Word
        >>> word = Word(text="Hello,", start_s=0.2, end_s=0.6, segment=0, spaced=True)
        >>> SpokenWord(word=word, track_id=1, covered=0.9).track_id
        1
    """

    word: Word
    track_id: int | None
    covered: float
    person: int | None = None

    @property
    def speaker(self) -> int | None:
        """Number of the person where it is known, of the track otherwise."""
        return self.track_id if self.person is None else self.person

    def called(self, names: Mapping[int, str]) -> str:
        """What the speaker is called: by `names`, or `face 3`, `person 1`, `off-screen`."""
        if self.speaker is None:
            return OFF_SCREEN
        kind = "face" if self.person is None else "person"
        return names.get(self.speaker, f"{kind} {self.speaker}")


def read_transcript(path: str | os.PathLike[str]) -> list[Word]:
    r"""The words of a transcript, by time.

    Args:
        path: Json of Whisper or WhisperX, or a srt. Where words have no times of their own, the
            time of their segment is shared out by letters.

    Raises:
        AnnotationError: If it cannot be read, or a time is none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection import read_transcript
        >>> _ = Path("talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nGood day\n")
        >>> [(word.text, word.start_s, word.end_s) for word in read_transcript("talk.srt")]
        [('Good', 1.0, 1.571), ('day', 1.571, 2.0)]
    """
    path = Path(path)
    try:
        text = read_text(path, encoding="utf-8-sig")
    except OSError as e:
        raise AnnotationError(f"{path}: cannot be read ({e.strerror})") from e
    except UnicodeDecodeError as e:
        raise AnnotationError(f"{path}: is not UTF-8 text; expected a json or srt") from e
    words = list(_of_json(text, path) if text.lstrip()[:1] in ("{", "[") else _of_srt(text, path))
    return sorted(words, key=lambda word: (word.start_s, word.end_s))


def _of_srt(text: str, path: Path) -> Iterator[Word]:
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if TIMES.fullmatch(line)]
    if lines and text.strip() and not starts:
        raise AnnotationError(
            f"{path}: is neither json nor srt ({text.strip()[:SHOWN]!r}); expected a transcript of "
            "Whisper or WhisperX, or subtitles with lines such as 00:00:01,000 --> 00:00:02,500"
        )
    for number, (at, following) in enumerate(pairwise([*starts, len(lines) + 1])):
        match = TIMES.fullmatch(lines[at])
        assert match is not None  # noqa: S101
        hours, minutes, seconds, ms, *end = match.groups()
        start_s = _seconds(hours, minutes, seconds, ms)
        end_s = _seconds(*end)
        if end_s < start_s:
            raise AnnotationError(f"{path}, line {at + 1}: ends before it begins")
        # The line before the next times is its number, where it is one.
        content = lines[at + 1 : following - 1]
        if following <= len(lines) and not lines[following - 1].strip().isdecimal():
            content = lines[at + 1 : following]
        said = TAG.sub("", NO_TEXT.sub(" ", " ".join(content)))
        yield from _shared_out(said, start_s, end_s, number)


def _seconds(hours: str, minutes: str, seconds: str, ms: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(ms.ljust(3, "0")) / 1000


def _of_json(text: str, path: Path) -> Iterator[Word]:
    try:
        record = parse_json(text)
    except ValueError as e:
        raise AnnotationError(f"{path}: is no json ({e})") from e
    segments = record.get("segments") if isinstance(record, Mapping) else record
    if not isinstance(segments, list) or not all(isinstance(s, Mapping) for s in segments):
        raise AnnotationError(
            f"{path}: has no list of segments; expected what Whisper or WhisperX writes as json"
        )
    for number, segment in enumerate(segments):
        where = f"{path}, segment {number}"
        start_s, end_s = (_time(segment, key, where) for key in ("start", "end"))
        if start_s is None or end_s is None or end_s < start_s:
            raise AnnotationError(f"{where}: goes from {start_s} to {end_s}; expected two times")
        said = _said(segment, ("text",), where)
        entries = segment.get("words")
        if entries is None or entries == []:
            yield from _shared_out(said, start_s, end_s, number)
        elif not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
            raise AnnotationError(f"{where}: its words are no list of objects")
        else:
            yield from _timed(entries, said, start_s, end_s, number, where)


def _timed(
    entries: Sequence[Mapping[str, Any]],
    said: str,
    start_s: float,
    end_s: float,
    number: int,
    where: str,
) -> Iterator[Word]:
    """Words with times; WhisperX gives none to numbers, which lie between their neighbours."""
    raw = [_said(entry, ("word", "text"), where) for entry in entries]
    # Whisper keeps the blank before a word; WhisperX does not, and some languages have none.
    blanks = any(word.startswith(" ") for word in raw)
    spaced = not blanks and "".join(word.strip() for word in raw) not in said
    times = [(_time(entry, "start", where), _time(entry, "end", where)) for entry in entries]
    known = [(i, a, b) for i, (a, b) in enumerate(times) if a is not None and b is not None]
    for i, a, b in known:
        if b < a:
            raise AnnotationError(f"{where}, word {i} ({raw[i][:SHOWN]!r}): goes from {a} to {b}")
    for i, (text, (own_start_s, own_end_s)) in enumerate(zip(raw, times, strict=True)):
        if own_start_s is not None and own_end_s is not None:
            a, b = own_start_s, own_end_s
        else:
            at = bisect(known, i, key=itemgetter(0))
            before = (known[at - 1][0], known[at - 1][2]) if at else (-1, start_s)
            after = known[at][:2] if at < len(known) else (len(raw), end_s)
            step = max(0.0, after[1] - before[1]) / (after[0] - before[0] - 1)
            a = before[1] + (i - before[0] - 1) * step
            b = a + step
        if text.strip():
            blank = text.startswith(" ") if blanks else spaced
            yield Word(text=text.strip(), start_s=a, end_s=b, segment=number, spaced=blank)


def _said(entry: Mapping[str, Any], keys: Sequence[str], where: str) -> str:
    """The text under the first of some keys that is there; nothing where none is, or null."""
    value = next((entry[key] for key in keys if key in entry), None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AnnotationError(f"{where}: {keys[0]} is {str(value)[:SHOWN]!r}; expected text")
    return NO_TEXT.sub(" ", value)


def _time(entry: Mapping[str, Any], key: str, where: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < LATEST_S:
        raise AnnotationError(f"{where}: {key} is {str(value)[:SHOWN]!r}; expected seconds")
    return float(value)


def _shared_out(text: str, start_s: float, end_s: float, number: int) -> Iterator[Word]:
    """Words of a segment, each as long as it has letters."""
    words = text.split()
    total = sum(map(len, words))
    done = 0
    for word in words:
        first, done = done, done + len(word)
        a, b = (start_s + (end_s - start_s) * k / total for k in (first, done))
        yield Word(text=word, start_s=a, end_s=b, segment=number, spaced=True)


def attribute(words: Iterable[Word], tracks: Sequence[ScoredTrack]) -> list[SpokenWord]:
    """Give every word the face that says it.

    Args:
        words: Of the video.
        tracks: Its faces with their scores.

    Examples:
        >>> from pushpull.detection import ScoredTrack, Word, attribute
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=2,
        ...     frames=np.arange(50),
        ...     timestamps_s=np.arange(50) / 25,
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 50),
        ...     detected=np.ones(50, bool),
        ... )
        >>> face = ScoredTrack(track=track, scores=np.repeat([2.0, -2.0], 25))  # a second each
        >>> words = [
        ...     Word(text=text, start_s=start_s, end_s=start_s + 0.4, segment=0, spaced=True)
        ...     for text, start_s in (("Hello,", 0.2), ("who?", 1.4))
        ... ]
        >>> [(spoken.word.text, spoken.track_id) for spoken in attribute(words, [face])]
        [('Hello,', 2), ('who?', None)]
    """
    turns = [face.turns for face in tracks]
    found = []
    for word in words:
        length_s = word.end_s - word.start_s
        best: tuple[float, float] | None = None
        spoken = SpokenWord(word=word, track_id=None, covered=0.0)
        for face, of_face in zip(tracks, turns, strict=True):
            mean = _mean_score(face, word)
            if mean is None:
                continue
            common_s = sum(
                max(0.0, min(turn.end_s, word.end_s) - max(turn.start_s, word.start_s))
                for turn in of_face
            )
            middle_s = (word.start_s + word.end_s) / 2
            inside = any(turn.start_s <= middle_s < turn.end_s for turn in of_face)
            # A word may have no length: its place decides.
            share = common_s / length_s if length_s > 1e-6 else float(inside)
            if share >= COVERED - 1e-9:
                rank = (1.0, mean)
            elif mean > face.rules.begins:
                rank = (0.0, mean)
            else:
                continue
            if best is None or rank > best:
                best = rank
                spoken = SpokenWord(
                    word=word,
                    track_id=face.track.track_id,
                    covered=min(1.0, share),
                    person=face.person,
                )
        found.append(spoken)
    return found


def _mean_score(face: ScoredTrack, word: Word) -> float | None:
    """Of the frames that a word is said in; None where the face is not seen then."""
    times_s = face.track.timestamps_s
    usual_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.04
    # A frame is shown for a while after its time.
    first = int(np.searchsorted(times_s, word.start_s - usual_s, side="right"))
    stop = int(np.searchsorted(times_s, word.end_s, side="left"))
    stop = max(stop, first + 1) if word.end_s - word.start_s < usual_s else stop
    seen = face.scores[first:stop]
    if not len(seen) or times_s[first] > word.end_s + usual_s:
        return None
    return float(seen.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cue:
    start_s: float
    end_s: float
    who: str
    text: str


def _cues(spoken: Sequence[SpokenWord], names: Mapping[int, str]) -> Iterator[_Cue]:
    """Words that are said by one face in one breath."""
    breath = 0
    last: SpokenWord | None = None
    began_s = 0.0
    numbered = []
    for one in spoken:
        if (
            last is None
            or one.speaker != last.speaker
            or one.word.segment != last.word.segment
            or one.word.start_s - last.word.end_s > LONGEST_SILENCE_S
            or one.word.end_s - began_s > LONGEST_CUE_S
        ):
            breath, began_s = breath + 1, one.word.start_s
        numbered.append((breath, one))
        last = one
    for _, group in groupby(numbered, key=lambda pair: pair[0]):
        words = [one for _, one in group]
        text = "".join((" " if one.word.spaced else "") + one.word.text for one in words)
        yield _Cue(
            start_s=words[0].word.start_s,
            end_s=max(one.word.end_s for one in words),
            who=words[0].called(names),
            text=text.strip(),
        )


def transcript_srt(spoken: Sequence[SpokenWord], names: Mapping[int, str] | None = None) -> str:
    r"""Subtitles that say who says what.

    Examples:
        >>> from pushpull.detection import SpokenWord, Word, transcript_srt
        >>> word = Word(text="Hello,", start_s=0.2, end_s=0.6, segment=0, spaced=True)
        >>> print(transcript_srt([SpokenWord(word=word, track_id=1, covered=1.0)], {1: "Ada"}))
        1
        00:00:00,200 --> 00:00:00,600
        Ada: Hello,
    """
    return "".join(
        f"{number}\n{stamp(cue.start_s, ',')} --> {stamp(cue.end_s, ',')}\n"
        f"{cue.who}: {cue.text}\n\n"
        for number, cue in enumerate(_cues(spoken, names or {}), start=1)
    )


def transcript_vtt(spoken: Sequence[SpokenWord], names: Mapping[int, str] | None = None) -> str:
    """WebVTT that says who says what, the face as the voice of each cue.

    Examples:
        >>> from pushpull.detection import SpokenWord, Word, transcript_vtt
        >>> word = Word(text="R&B", start_s=0.2, end_s=0.6, segment=0, spaced=True)
        >>> print(transcript_vtt([SpokenWord(word=word, track_id=None, covered=0.0)]))
        WEBVTT
        <BLANKLINE>
        00:00:00.200 --> 00:00:00.600
        <v off-screen>R&amp;B</v>
    """
    cues = (
        f"{stamp(cue.start_s, '.')} --> {stamp(cue.end_s, '.')}\n"
        f"<v {escape(cue.who, quote=False)}>{escape(cue.text, quote=False)}</v>\n\n"
        for cue in _cues(spoken, names or {})
    )
    return "WEBVTT\n\n" + "".join(cues)
