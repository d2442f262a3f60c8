"""Turns as other programs read them: rttm for diarization, srt and vtt for players and editors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pushpull.detection.turns import ScoredTrack, Turn

__all__ = ["OFF_SCREEN", "rttm_lines", "srt_lines", "stamp", "vtt_lines"]

OFF_SCREEN = "off-screen"
"""Whose turn it is where a voice is heard and no face speaks."""


def rttm_lines(
    name: str, tracks: Sequence[ScoredTrack], off_screen: Sequence[Turn] = ()
) -> Iterator[str]:
    """Speech turns in NIST's rich transcription time marks, a speaker per track or person, by time.

    Args:
        name: Of the recording.
        tracks: Its faces.
        off_screen: Turns of voices that are nobody's on screen.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.detection import rttm_lines
        >>> from pushpull.synthetic import Case, one_face_video
        >>> size, case = (160, 120), Case.SPEAKING
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=size, case=case)
        >>> found = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib")
        >>> print("".join(rttm_lines(found.name, found.tracks)))
        SPEAKER talk 1 0.000 0.400 <NA> <NA> talk:0 <NA> <NA>
    """
    # rttm fields are separated by blanks, so names must not hold any.
    word = "_".join(name.split()) or "_"
    for turn, who in _by_time(tracks, off_screen):
        yield (
            f"SPEAKER {word} 1 {turn.start_s:.3f} {turn.end_s - turn.start_s:.3f} <NA> <NA> "
            f"{word}:{who.removeprefix('face ').replace(' ', '-')} <NA> <NA>\n"
        )


def srt_lines(tracks: Sequence[ScoredTrack], off_screen: Sequence[Turn] = ()) -> Iterator[str]:
    """Speech turns as SubRip subtitles that say which face speaks.

    Examples:
        >>> from pushpull.detection import ScoredTrack, srt_lines
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=2,
        ...     frames=np.arange(10),
        ...     timestamps_s=np.arange(10) / 25,
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * 10),
        ...     detected=np.ones(10, bool),
        ... )
        >>> print("".join(srt_lines([ScoredTrack(track=track, scores=np.full(10, 2.0))])))
        1
        00:00:00,000 --> 00:00:00,400
        face 2
    """
    for number, (turn, who) in enumerate(_by_time(tracks, off_screen), start=1):
        times = f"{stamp(turn.start_s, ',')} --> {stamp(turn.end_s, ',')}"
        yield f"{number}\n{times}\n{who}\n\n"


def vtt_lines(tracks: Sequence[ScoredTrack], off_screen: Sequence[Turn] = ()) -> Iterator[str]:
    """Speech turns as WebVTT, the face as the voice of each cue.

    Examples:
        >>> from pushpull.detection import vtt_lines
        >>> print("".join(vtt_lines([])))
        WEBVTT
    """
    yield "WEBVTT\n\n"
    for turn, who in _by_time(tracks, off_screen):
        times = f"{stamp(turn.start_s, '.')} --> {stamp(turn.end_s, '.')}"
        yield f"{times}\n<v {who}>{who}</v>\n\n"


def _by_time(tracks: Iterable[ScoredTrack], off_screen: Iterable[Turn]) -> list[tuple[Turn, str]]:
    """All turns and whose they are."""
    found = [(turn, one.called) for one in tracks for turn in one.turns]
    found += [(turn, OFF_SCREEN) for turn in off_screen]
    return sorted(found, key=lambda f: (f[0].start_s, f[0].end_s))


def stamp(time_s: float, point: str) -> str:
    """A time as subtitles have it, with a comma or a point before the milliseconds.

    Examples:
        >>> from pushpull.detection.turn_files import stamp
        >>> stamp(3723.5, ",")
        '01:02:03,500'
    """
    ms = round(1000 * time_s)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"
