"""Pictures and sound of a file, a camera, a stream, a pipe or a browser, as they come."""

from __future__ import annotations

import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import MediaError
from pushpull.media.audio import SampleCheck
from pushpull.media.clock import Clock
from pushpull.media.container import ALONE, FORMATS, LONGEST_GAP_S, Damage, reason
from pushpull.media.probe import FALLBACK_FPS, HIGHEST_FPS
from pushpull.schema import SAMPLE_RATE_HZ

__all__ = ["Arrival", "LiveSource", "Resampler", "picture_of_jpeg"]

BEHIND, WAITING = 12, 64
"""Arrivals that wait for whoever takes them: from the first on pictures are left out, up to the
second there is room for sound."""
MOST_PIXELS = 1280 * 1280
"""Of a JPEG: a small one may say that it is huge."""

URLS = ("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
"""What a stream's address begins with."""

STREAMED = {
    "format_whitelist": ",".join((*FORMATS, "hls", "dash", "rtp", "rtsp", "sdp")),
    "protocol_whitelist": ",".join((*URLS, "tls", "crypto", "httpproxy")),
}
"""Options for an address: what it names may lie elsewhere on the network, not on this machine."""

PIPED = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
"""Options for the standard input: what comes opens nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A picture or some sound.

    Attributes:
        time_s: On the source's clock, from its first arrival.
        came_s: When it came, by `time.monotonic`.
        image: RGB (H, W, 3) uint8, or None.
        samples: (N,) float32 in [-1, 1] at 16 kHz, or None.

    Examples:
        >>> from pushpull.media.live_source import Arrival
        >>> Arrival(time_s=0.0, came_s=1.0, samples=np.zeros(160, np.float32)).image is None
        True
    """

    time_s: float
    came_s: float
    image: NDArray[np.uint8] | None = None
    samples: NDArray[np.float32] | None = None


class LiveSource:
    """Reads in a thread of its own and never waits for a slow taker of pictures.

    A context manager.

    Args:
        source: A file; `0`, `1`, ... for a camera (Linux); a url (rtsp://, http://, ...); `-` for
            the standard input.
        paced: Whether arrivals of a file come as a player shows them, not as fast as they can be
            read; other sources come as they come.

    Attributes:
        has_sound: Whether there is any sound.
        left_out: Pictures that nobody took in time.
        notes: Damage and what was put right, known at the end.

    Raises:
        MediaError: If it cannot be opened or has no pictures.

    Examples:
        >>> from pushpull.media import VideoWriter
        >>> from pushpull.media.live_source import LiveSource
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25) as video:
        ...     for _ in range(5):
        ...         video.write(np.zeros((48, 64, 3), np.uint8))
        >>> with LiveSource("clip.mp4", paced=False) as source:
        ...     [arrival.time_s for arrival in source]
        [0.0, 0.04, 0.08, 0.12, 0.16]
    """

    def __init__(self, source: str, *, paced: bool = True) -> None:
        self.source = source
        self.is_file = Path(source).is_file()
        self.paced = paced
        self.left_out = 0
        self.notes: list[str] = []
        self.queue: Queue[Arrival | MediaError | None] = Queue(WAITING)
        self.stopped = threading.Event()
        self.container = self._opened()
        self.has_sound = bool(self.container.streams.audio)
        self.thread = threading.Thread(target=self._read, name="live-source", daemon=True)

    def _opened(self) -> Any:
        import av

        where: Any = self.source
        how: dict[str, Any] = {"container_options": ALONE}
        if self.source == "-":
            where, how = sys.stdin.buffer, {"container_options": PIPED}
        elif self.source.isdecimal() and self.source.isascii():
            where, how = f"/dev/video{self.source}", {"format": "v4l2"}
        elif self.source.partition("://")[0].lower() in URLS:
            how = {"container_options": STREAMED}
            if self.source.lower().startswith("rtsp"):
                how["options"] = {"rtsp_transport": "tcp"}
        else:
            # As for files that are read whole: a name is a name, and a list opens nothing.
            where = f"file:{self.source}"
        try:
            container = av.open(where, metadata_errors="replace", **how)
        except (OSError, av.error.FFmpegError, ValueError) as e:
            raise MediaError(
                f"{self.source}: cannot be opened ({reason(e)}); expected a file, a camera's "
                "number, a url or - for the standard input"
            ) from e
        if not container.streams.video:
            container.close()
            raise MediaError(f"{self.source}: has no pictures; expected a video")
        return container

    def __enter__(self) -> LiveSource:
        self.thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stopped.set()
        while self.thread.is_alive():
            with suppress(Empty):
                self.queue.get_nowait()
            self.thread.join(0.05)
        self.container.close()

    def __iter__(self) -> Iterator[Arrival]:
        while True:
            arrival = self.queue.get()
            if arrival is None:
                return
            if isinstance(arrival, MediaError):
                raise arrival
            yield arrival

    def _read(self) -> None:
        import av

        try:
            for arrival in self._arrivals():
                self._give(arrival)
                if self.stopped.is_set():
                    return
        except MediaError as e:
            self._give(e)
        except (OSError, av.error.FFmpegError, ValueError, OverflowError, MemoryError) as e:
            self._give(MediaError(f"{self.source}: broke off ({reason(e)})"))
        else:
            self._give(None)

    def _give(self, arrival: Arrival | MediaError | None) -> None:
        """Hand one on; pictures that nobody takes in time are left out."""
        is_picture = isinstance(arrival, Arrival) and arrival.image is not None
        if is_picture and self.paced and self.queue.qsize() >= BEHIND:
            self.left_out += 1
            return
        while not self.stopped.is_set():
            with suppress(Full):
                self.queue.put(arrival, timeout=0.1)
                return

    def _arrivals(self) -> Iterator[Arrival]:
        streams = [self.container.streams.video[0], *self.container.streams.audio[:1]]
        streams[0].thread_type = "AUTO"
        name = self.source
        damage = {stream.index: Damage(name, stream.type, self.notes.append) for stream in streams}
        hearing = Hearing(self.source, self.notes)
        rate = float(streams[0].average_rate or streams[0].guessed_rate or FALLBACK_FPS)
        clock: Clock | None = None
        size: tuple[int, int] | None = None
        began_s = time.monotonic()
        for packet in self.container.demux(streams):
            for frame in damage[packet.stream_index].decode(packet):
                is_picture = packet.stream is streams[0]
                if clock is None:
                    first = frame.pts * frame.time_base if frame.pts is not None else None
                    clock = Clock(name, 1 / min(rate, HIGHEST_FPS), first)
                    hearing.begin_s = float(first or 0)
                time_s = clock.time_s(frame) if is_picture else hearing.time_s(frame)
                if self.is_file and self.paced:
                    ahead_s = began_s + time_s - time.monotonic()
                    if ahead_s > 0 and self.stopped.wait(ahead_s):
                        return
                came_s = time.monotonic()
                if is_picture:
                    size = size or (frame.width, frame.height)
                    image = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
                    yield Arrival(time_s, came_s, image=image)
                    continue
                for samples in hearing.samples(frame):
                    yield Arrival(time_s, came_s, samples=samples)
                    time_s += len(samples) / SAMPLE_RATE_HZ
        hearing.finish()
        for one in damage.values():
            one.finish()
        if size is None:
            raise MediaError(f"{name}: has a video stream but no frame in it; expected one")


class Hearing:
    """The sound of a source, made 16 kHz and told apart from what is none.

    Args:
        name: Of the source, for messages.
        notes: Takes what was put right.

    Attributes:
        begin_s: The source's time that is 0.
    """

    def __init__(self, name: str, notes: list[str]) -> None:
        import av

        self.name, self.notes = name, notes
        self.begin_s = 0.0
        self.end_s = 0.0
        self.n_samples = 0
        self.check = SampleCheck(name)
        self.resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)

    def time_s(self, frame: Any) -> float:
        """When a frame of sound is heard, right behind the one before where it does not say."""
        time_s = self.end_s if frame.time is None else frame.time - self.begin_s
        if time_s > self.end_s + LONGEST_GAP_S:
            raise MediaError(
                f"{self.name}: timestamps of the sound jump from {self.end_s:.2f} s to "
                f"{time_s:.2f} s; expected no pause above an hour"
            )
        self.end_s = time_s + frame.samples / frame.sample_rate
        return float(time_s)

    def samples(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """Samples (N,) in [-1, 1] of a frame.

        Raises:
            MediaError: If too many of the last second or more are no sound.
        """
        for part in self.resampler.resample(frame):
            found = self.check.cleaned(np.asarray(part.to_ndarray(), np.float32))[0]
            self.n_samples += len(found)
            if self.n_samples >= SAMPLE_RATE_HZ:
                self.check.notes(self.n_samples)
            yield np.clip(found, -1.0, 1.0)

    def finish(self) -> None:
        """The end: say what was put right."""
        if self.n_samples:
            self.notes += self.check.notes(self.n_samples)


class Resampler:
    """Sound of any rate as 16 kHz, piece after piece.

    Args:
        rate_hz: Of what is pushed.

    Examples:
        >>> from pushpull.media.live_source import Resampler
        >>> sound = Resampler(48000)
        >>> sum(len(sound.push(np.zeros(4800, np.int16))) for _ in range(10)) > 7900
        True
    """

    def __init__(self, rate_hz: int) -> None:
        import av

        self.rate_hz = rate_hz
        self.n_pushed = 0
        self.resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Take (N,) int16, give what can be had by now, (M,) float32 in [-1, 1]."""
        import av

        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = self.rate_hz, self.n_pushed
        self.n_pushed += len(samples)
        parts = [part.to_ndarray()[0] for part in self.resampler.resample(frame)]
        return np.concatenate([np.zeros(0, np.float32), *parts])


def picture_of_jpeg(content: bytes) -> NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 of a JPEG.

    Raises:
        MediaError: If it is none, or has more than 1280 x 1280 pixels.

    Examples:
        >>> import cv2
        >>> from pushpull.media.live_source import picture_of_jpeg
        >>> content = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        >>> picture_of_jpeg(content).shape
        (48, 64, 3)
    """
    import cv2

    width, height = size_of_jpeg(content)
    if width * height > MOST_PIXELS:
        raise MediaError(f"picture is {width} x {height}; expected at most {MOST_PIXELS} pixels")
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        raise MediaError(f"picture of {len(content)} bytes is damaged; expected a JPEG")
    return np.ascontiguousarray(found[:, :, ::-1], np.uint8)


def size_of_jpeg(content: bytes) -> tuple[int, int]:
    """Width and height that a JPEG's frame header states (ITU-T T.81, B.2.2).

    Raises:
        MediaError: If it is no JPEG.
    """
    at = 2
    while content[:2] == b"\xff\xd8" and at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    raise MediaError(f"picture of {len(content)} bytes cannot be read; expected a JPEG")
