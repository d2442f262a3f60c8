"""What a video file holds, without decoding more than its first frame."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import MediaError
from pushpull.media.clock import Span, stated_first, time_zero
from pushpull.media.container import (
    Damage,
    coding_time_s,
    is_flush,
    opened,
    packet_time_s,
    packets,
)
from pushpull.media.streams import (
    SoundTrack,
    default_track,
    pixel_aspect,
    sound_tracks,
    square_size,
    video_stream,
)

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

__all__ = [
    "UPRIGHT",
    "Orientation",
    "VideoInfo",
    "frame_time_s",
    "orientation_of",
    "probe",
]

HIGHEST_FPS = 250.0
"""Rates above are a container's tick, not a frame rate (browser recordings state 1000)."""

STORED_RGB, UNSAID, BT601 = 0, 2, 6
MATRICES = {1, 4, 5, 6, 7, 9}
"""FFmpeg's numbers: no matrix, one that the file does not name, that of SD; and all it converts."""

FALLBACK_FPS = 25.0
"""For one-frame videos and streams without any timestamps."""


PADDING_S = 0.1


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels become an upright picture: swap axes first, then flip.

    Attributes:
        transpose: Whether rows and columns are swapped.
        flip_x: Whether left and right are then swapped.
        flip_y: Whether top and bottom are then swapped.

    Examples:
        >>> from pushpull.media import Orientation
        >>> turned = Orientation(transpose=True, flip_x=True)
        >>> turned.rotation_deg, turned.size(640, 480)
        (90, (480, 640))
        >>> turned.apply(np.array([[1, 2], [3, 4]], np.uint8))
        array([[3, 1],
               [4, 2]], dtype=uint8)
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def from_matrix(cls, matrix: tuple[int, ...]) -> Orientation:
        """The nearest quarter turn of a display matrix (a, b, u, c, d, v, x, y, w).

        A stored pixel (p, q) is shown at (a p + c q, b p + d q): ISO/IEC 14496-12 section 8.3.2.

        Examples:
            >>> from pushpull.media import Orientation
            >>> one = 1 << 16
            >>> Orientation.from_matrix((0, one, 0, -one, 0, 0, 0, 0, 1 << 30)).rotation_deg
            90
        """
        a, b, _, c, d, *_ = matrix
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, flip_x=c < 0, flip_y=b < 0)
        return cls(flip_x=a < 0, flip_y=d < 0)

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn that makes the picture upright: 0, 90, 180 or 270."""
        if self.transpose:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    @property
    def mirrored(self) -> bool:
        """Whether left and right are swapped too, before the turn."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Upright width and height of a stored picture."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The upright picture of a stored one (H, W) or (H, W, 3)."""
        if self == UPRIGHT:
            return image
        if self.transpose:
            image = image.swapaxes(0, 1)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


UPRIGHT = Orientation()


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        path: The file.
        width: Pixels of the upright picture.
        height: Pixels of the upright picture.
        pixel_aspect: Width of a stored pixel in its heights; upright pictures have square ones.
        fps: Frames per second on average, as the container has it.
        duration_s: Length of the file as a player shows it: up to the end of the last picture or
            sound.
        n_frames: Expected number of frames, for progress; decoding alone tells the true one.
        start_s: The container's time of the first frame.
        zero_s: The container's time where a player shows 0:00. All other times of this package
            count from there; the first frame comes at `start_s - zero_s`.
        orientation: How stored pixels become upright.
        container: FFmpeg's name of the format.
        video_codec: FFmpeg's name.
        sound_tracks: All of them, in the order of their numbers.
        has_audio: Whether there is an audio stream. What follows is of the one that players take.
        matrix: FFmpeg's number of the matrix between colours and stored luma: 1 for HD (BT.709),
            5 or 6 for SD (BT.601), 2 where the file does not say.
        audio_codec: FFmpeg's name; None without sound, or where no decoder knows it.
        audio_rate_hz: Samples per second; None without sound.
        channels: Number of audio channels; None without sound.

    Examples:
        >>> from pushpull.media import VideoWriter, probe
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25) as video:
        ...     video.write(np.zeros((48, 64, 3), np.uint8))
        >>> info = probe("clip.mp4")
        >>> info.container, info.video_codec, info.has_audio, info.rotation_deg
        ('mov,mp4,m4a,3gp,3g2,mj2', 'h264', False, 0)
    """

    path: Path
    width: int
    height: int
    pixel_aspect: float = 1.0
    fps: float
    duration_s: float
    n_frames: int
    start_s: float
    zero_s: float = 0.0
    orientation: Orientation
    container: str
    video_codec: str
    sound_tracks: tuple[SoundTrack, ...] = ()
    has_audio: bool
    matrix: int = UNSAID
    audio_codec: str | None = None
    audio_rate_hz: int | None = None
    channels: int | None = None

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn that makes stored pictures upright: 0, 90, 180 or 270."""
        return self.orientation.rotation_deg


def probe(path: str | PathLike[str]) -> VideoInfo:
    """Look into a video file.

    It is read through once without decoding, so that no length is taken from a header.

    Raises:
        MediaError: If the file cannot be opened, has no video stream, no frame can be decoded, it
            is cut off, or its pictures are too large.

    Examples:
        >>> from pushpull.media import VideoWriter, probe
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25) as video:
        ...     for _ in range(10):
        ...         video.write(np.zeros((48, 64, 3), np.uint8))
        >>> info = probe("clip.mp4")
        >>> info.width, info.height, info.fps, info.duration_s, info.n_frames
        (64, 48, 25.0, 0.4, 10)
    """
    path = Path(path)
    with opened(path) as container:
        video = video_stream(container, path)
        zero = time_zero(container, path)
        look = _Look(path, video)
        for packet in packets(container, path):
            look.at(packet)
        first = look.first
        if first is None:
            look.damage.finish()
            raise MediaError(
                f"{path}: has a video stream but no frame in it; expected at least one"
            )
        fps, length_s = look.pace(video)
        stated = stated_first(container, video)
        start_s = frame_time_s(first) if stated is None else float(stated)
        zero_s = start_s if zero is None else float(zero)
        orientation, aspect = orientation_of(first), pixel_aspect(video)
        width, height = orientation.size(*square_size(first.width, first.height, aspect))
        number = default_track(container)
        tracks = sound_tracks(container)
        heard = tracks[number - 1] if number is not None else None
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            pixel_aspect=aspect,
            fps=fps,
            duration_s=max(length_s, look.end_s() - zero_s),
            n_frames=max(1, look.count),
            start_s=start_s,
            zero_s=zero_s,
            orientation=orientation,
            container=container.format.name,
            video_codec=video.codec_context.codec.canonical_name,
            sound_tracks=tracks,
            has_audio=heard is not None,
            matrix=matrix_of(first),
            audio_codec=heard.codec if heard else None,
            audio_rate_hz=heard.rate_hz if heard else None,
            channels=heard.channels if heard else None,
        )


class _Look:
    """What the packets of a file say, and its first picture."""

    def __init__(self, path: Path, video: VideoStream) -> None:
        self.video = video
        self.damage = Damage(path, "video", lambda line: None)
        self.first: VideoFrame | None = None
        self.count = 0
        self.spans: dict[int, Span] = {}

    def at(self, packet: Packet[Any]) -> None:
        """Take a packet."""
        is_film = packet.stream is self.video
        if is_film and self.first is None:
            self.first = next(iter(self.damage.decode(packet)), None)
        if is_flush(packet) or packet.is_discard or packet.stream.type not in ("video", "audio"):
            return
        if packet.stream.type == "video" and not is_film:
            return
        self.count += is_film
        coding_s, time_s = coding_time_s(packet), packet_time_s(packet)
        if coding_s is not None and time_s is not None:
            length_s = float((packet.duration or 0) * packet.time_base)
            if is_film and not length_s:
                length_s = 1 / (stated_fps(self.video) or FALLBACK_FPS)
            span = self.spans.setdefault(packet.stream_index, Span())
            span.add(coding_s, time_s, length_s)

    def end_s(self) -> float:
        """The container's time at which the last stream ends."""
        ends = [-math.inf]
        for stream in self.video.container.streams:
            span = self.spans.get(stream.index)
            if span is None:
                continue
            ends.append(span.end_s)
            if stream.index == self.video.index and stated_fps(self.video) is None:
                ends[-1] = span.last_s + (span.last_s - span.first_s) / max(1, span.count - 1)
            base = stream.time_base or 0
            if stream.type == "audio" and stream.duration and stream.start_time is not None:
                stated_s = float((stream.start_time + stream.duration) * base)
                # The last packet is longer than its sound; headers may say by how much.
                if 0 < span.end_s - stated_s < PADDING_S:
                    ends[-1] = stated_s
        return max(ends)

    def pace(self, video: VideoStream) -> tuple[float, float]:
        """Frames per second, and the length of so many frames without any timestamp in seconds."""
        fps = stated_fps(video)
        span = self.spans.get(video.index)
        if fps is None and span is not None and span.last_s > span.first_s:
            fps = (span.count - 1) / (span.last_s - span.first_s)
        fps = fps or FALLBACK_FPS
        return fps, 0.0 if span is not None else self.count / fps


def frame_time_s(frame: VideoFrame) -> float:
    """The container's time of a frame; 0 where it has none.

    Examples:
        >>> from fractions import Fraction
        >>> from av import VideoFrame
        >>> from pushpull.media.probe import frame_time_s
        >>> frame = VideoFrame(64, 48)
        >>> frame.pts, frame.time_base = 3, Fraction(1, 25)
        >>> frame_time_s(frame)
        0.12
    """
    stamp = frame.dts if frame.pts is None else frame.pts
    return 0.0 if stamp is None or frame.time_base is None else float(stamp * frame.time_base)


def orientation_of(frame: VideoFrame) -> Orientation:
    """How a decoded frame is to be turned, by the display matrix that its container holds.

    Examples:
        >>> from av import VideoFrame
        >>> from pushpull.media.probe import UPRIGHT, orientation_of
        >>> orientation_of(VideoFrame(64, 48)) == UPRIGHT
        True
    """
    from av.sidedata.sidedata import SideDataContainer

    # Not `frame.side_data`: a frame that holds what holds the frame is freed only when the garbage
    # collector comes by. Typed as a mapping made of nothing, but iterates over its values.
    container: Any = SideDataContainer
    items = container(frame)
    for item in items:
        if item.type.name == "DISPLAYMATRIX":
            return Orientation.from_matrix(struct.unpack("=9i", bytes(item)))
    return UPRIGHT


def matrix_of(frame: VideoFrame) -> int:
    """FFmpeg's number of the matrix of a frame's luma and colour; see `VideoInfo`."""
    stated = int(frame.colorspace)
    # Stored colours have none; their luma is made as that of SD.
    return BT601 if stated == STORED_RGB else stated if stated in MATRICES else UNSAID


def stated_fps(video: VideoStream) -> float | None:
    """Frames per second as the header has them, if it does and they can be."""
    rate = video.average_rate or video.guessed_rate
    return float(rate) if rate and 0 < rate <= HIGHEST_FPS else None
