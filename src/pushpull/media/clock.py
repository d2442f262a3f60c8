"""The file's own clock: where its time 0 is, and when each picture is shown.

Time 0 is where a player shows 0:00: the earliest picture or sound of the file, whatever its stamps
say there. A picture that begins after the sound begins late here too; but the few milliseconds that
encoders put before the sound, and that most containers cannot mark, are no sound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushpull.errors import ConfigError, MediaError
from pushpull.media.container import (
    LONGEST_GAP_S,
    RESTART_S,
    Damage,
    opened,
    packets,
)

if TYPE_CHECKING:
    from av import AudioStream, VideoFrame, VideoStream
    from av.container import InputContainer

__all__ = ["WHOLE", "Clock", "Part", "Span", "stated_first", "time_zero"]

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
EXACT_CODECS = ("pcm", "flac", "alac")
LONGEST_DELAY = 2112
"""Samples: that of Apple's AAC, the longest of the usual encoders."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file, in seconds of its own clock.

    Attributes:
        start_s: Its begin; what is shown from then on belongs to it.
        end_s: Its end; what is shown from then on does not.

    Raises:
        ConfigError: If it begins before 0 or does not end after its begin.

    Examples:
        >>> from pushpull.media import Part
        >>> Part(60.0, 90.0).start_s
        60.0
    """

    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        if not (0 <= self.start_s < self.end_s and math.isfinite(self.start_s)):
            raise ConfigError(
                f"part from {self.start_s:g} s to {self.end_s:g} s; expected a start of 0 s or "
                "more, and an end after it"
            )

    def __str__(self) -> str:
        until = "the end" if math.isinf(self.end_s) else f"{self.end_s:g} s"
        return f"from {self.start_s:g} s to {until}"


WHOLE = Part()


def time_zero(container: InputContainer, path: Path) -> Fraction | None:
    """The container's time that is 0 on the file's clock; None where nothing has a time.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import VideoWriter
        >>> from pushpull.media.clock import time_zero
        >>> from pushpull.media.container import opened
        >>> with VideoWriter("clip.mkv", width=64, height=48, fps=25, codec="ffv1") as video:
        ...     video.write(np.zeros((48, 64), np.uint8), time_s=2.0)
        >>> with opened("clip.mkv") as container:
        ...     time_zero(container, Path("clip.mkv"))
        Fraction(2, 1)
    """
    starts: dict[int, Fraction] = {}
    for stream in _timed(container):
        if stream.start_time is not None and stream.time_base is not None:
            starts[stream.index] = stream.start_time * stream.time_base
    if not starts:
        return None
    if min(starts.values()) < 0:
        # Sound before 0 may be there for the decoder alone, which gives none of it away.
        starts |= _first_shown(path, {index for index, start in starts.items() if start < 0})
    zero = min(starts.values())
    seen = min(
        (starts[s.index] for s in container.streams.video if s.index in starts), default=zero
    )
    delays = [_delay(s) for s in container.streams.audio if starts.get(s.index, seen) < seen]
    return seen if delays and seen - zero <= min(delays) else zero


def _delay(sound: AudioStream) -> Fraction:
    """How much of the begin of a sound may be nothing but the delay of its encoder.

    Containers other than mp4 have no word for it: their picture begins so much after the sound.
    """
    context = sound.codec_context
    exact = context is None or context.name.startswith(EXACT_CODECS)
    if exact or sound.container.format.name == MP4 or not context.rate:
        return Fraction(0)
    return Fraction(LONGEST_DELAY, context.rate)


def stated_first(container: InputContainer, video: VideoStream) -> Fraction | None:
    """The container's time of the first picture where frames do not tell it themselves: in avi.

    It has no stamps, so what a decoder gives with its first picture is late by its delay.

    Examples:
        >>> from pushpull.media import VideoWriter
        >>> from pushpull.media.clock import stated_first
        >>> from pushpull.media.container import opened
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25) as video:
        ...     video.write(np.zeros((48, 64), np.uint8))
        >>> with opened("clip.mp4") as container:
        ...     stated_first(container, container.streams.video[0])
    """
    if container.format.name != "avi" or video.start_time is None or video.time_base is None:
        return None
    return video.start_time * video.time_base


def _timed(container: InputContainer) -> list[Any]:
    """Streams that begin somewhere: sound and pictures, but no covers."""
    from av.stream import Disposition

    return [
        stream
        for stream in (*container.streams.video, *container.streams.audio)
        if not stream.disposition & Disposition.attached_pic
    ]


def _first_shown(path: Path, wanted: set[int]) -> dict[int, Fraction]:
    """When each of some streams gives its first picture or sound, by the container."""
    found: dict[int, Fraction] = {}
    with opened(path) as container:
        damage = Damage(path, "audio", lambda line: None)
        for packet in packets(container, path):
            index = packet.stream_index
            if index in wanted - found.keys() and packet.stream.codec_context is not None:
                for frame in damage.decode(packet):
                    if frame.pts is not None and frame.time_base is not None:
                        found.setdefault(index, frame.pts * frame.time_base)
            if found.keys() == wanted:
                break
    return found


class Clock:
    """Gives each picture its time on the file's clock; times always increase.

    Args:
        path: File or other source, for messages.
        period_s: Mean time between pictures, for those without a timestamp.
        zero: The container's time that is 0; that of the first picture if None.
        first: The container's time of the first picture, where its own is not to be trusted.
        from_s: No picture is expected before.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media.clock import Clock
        >>> Clock(Path("talk.mp4"), 0.04).period_s
        0.04
    """

    def __init__(
        self,
        path: Path | str,
        period_s: float,
        zero: Fraction | None = None,
        first: Fraction | None = None,
        from_s: float = 0.0,
    ) -> None:
        self.path, self.period_s = path, period_s
        self.last_pts: int | None = None
        self.last_dts: int | None = None
        self.faults_pts = self.faults_dts = 0
        self.zero, self.first, self.from_s = zero, first, from_s
        # Added to the container's times; unknown until the first picture.
        self.shift: Fraction | None = None
        self.last_s: float | None = None

    def time_s(self, picture: VideoFrame) -> float:
        """When a picture is shown."""
        stamp = self.stamp(picture)
        stored = None
        if stamp is not None and picture.time_base is not None:
            stored = stamp * picture.time_base
        if self.last_s is None or self.shift is None:
            time_s = self.first_s(stored)
        elif stored is None:
            time_s = self.last_s + self.period_s
        else:
            time_s = float(stored + self.shift)
            if time_s < self.last_s - RESTART_S:
                time_s = self.last_s + self.period_s
                self.shift = Fraction(time_s) - stored
            elif time_s <= self.last_s:
                time_s = self.last_s + self.period_s / 2
        before_s = self.from_s if self.last_s is None else self.last_s
        if time_s > before_s + LONGEST_GAP_S:
            raise MediaError(
                f"{self.path}: timestamps jump from {before_s:.2f} s to {time_s:.2f} s; "
                "expected no pause above an hour; repair them with "
                "ffmpeg -i IN -vf setpts=N/FRAME_RATE/TB OUT.mp4"
            )
        self.last_s = time_s
        return time_s

    def first_s(self, stored: Fraction | None) -> float:
        """When the first picture is shown."""
        stored = stored or Fraction(0)
        zero = stored if self.zero is None else self.zero
        self.shift = (stored if self.first is None else self.first) - stored - zero
        # Before 0 nothing is shown.
        return max(0.0, float(stored + self.shift))

    def stamp(self, picture: VideoFrame) -> int | None:
        """The presentation timestamp, or the decoding timestamp where that was more consistent."""
        pts, dts = picture.pts, picture.dts
        if pts is not None:
            self.faults_pts += self.last_pts is not None and pts <= self.last_pts
            self.last_pts = pts
        if dts is not None:
            self.faults_dts += self.last_dts is not None and dts <= self.last_dts
            self.last_dts = dts
        if pts is not None and (dts is None or self.faults_pts <= self.faults_dts):
            return int(pts)
        return None if dts is None else int(dts)


class Span:
    """How far the packets of a stream reach, over stamps that start anew.

    Examples:
        >>> from pushpull.media.clock import Span
        >>> span = Span()
        >>> for start_s in (10.0, 10.04, 2.0, 2.04):  # two recordings joined
        ...     span.add(start_s, start_s, 0.04)
        >>> span.first_s, round(span.end_s, 6)
        (10.0, 10.16)
    """

    def __init__(self) -> None:
        self.first_s = math.inf
        self.last_s = self.end_s = self.coded_s = -math.inf
        self.count = 0
        self.shift_s = 0.0

    def add(self, coding_s: float, time_s: float, length_s: float) -> None:
        """Take a packet: when it is decoded, when it is shown and how long, as it says."""
        if self.count and coding_s + self.shift_s < self.coded_s - RESTART_S:
            self.shift_s = self.end_s - coding_s
        self.coded_s = coding_s + self.shift_s
        time_s += self.shift_s
        self.count += 1
        self.first_s, self.last_s = min(self.first_s, time_s), max(self.last_s, time_s)
        self.end_s = max(self.end_s, time_s + length_s)
