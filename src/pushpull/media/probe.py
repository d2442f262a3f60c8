"""What a video file holds, without decoding more than its first frame."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import MediaError
from pushpull.media.container import (
    HEADERLESS,
    Damage,
    audio_stream,
    has_video,
    opened,
    packet_time_s,
    packets,
    video_stream,
)

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

__all__ = [
    "UPRIGHT",
    "Orientation",
    "VideoInfo",
    "frame_time_s",
    "orientation_of",
    "probe",
    "time_zero_s",
]

HIGHEST_FPS = 250.0
"""Rates above are a container's tick, not a frame rate (browser recordings state 1000)."""

STORED_RGB, UNSAID, BT601 = 0, 2, 6
MATRICES = {1, 4, 5, 6, 7, 9}
"""FFmpeg's numbers: no matrix, one that the file does not name, that of SD; and all it converts."""

FALLBACK_FPS = 25.0
"""For one-frame videos and streams without any timestamps."""


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
        fps: Frames per second on average, as the container has it.
        duration_s: Length of the picture in seconds.
        n_frames: Expected number of frames, for progress; decoding alone tells the true one.
        start_s: The container's time of the first frame. All other times of this package count
            from that frame.
        orientation: How stored pixels become upright.
        container: FFmpeg's name of the format.
        video_codec: FFmpeg's name.
        has_audio: Whether there is an audio stream.
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
    fps: float
    duration_s: float
    n_frames: int
    start_s: float
    orientation: Orientation
    container: str
    video_codec: str
    has_audio: bool
    matrix: int = UNSAID
    audio_codec: str | None = None
    audio_rate_hz: int | None = None
    channels: int | None = None

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn that makes stored pictures upright: 0, 90, 180 or 270."""
        return self.orientation.rotation_deg


def probe(path: str | Path) -> VideoInfo:
    """Look into a video file.

    Containers that state no length or frame rate (browser recordings, raw streams) are read through
    once, without decoding.

    Raises:
        MediaError: If the file cannot be opened, has no video stream, or no frame can be decoded.

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
        first = first_frame(container, path)
        start_s = frame_time_s(first)
        pace = stated_pace(container, video)
        sound = container.streams.best("audio")
        context: Any = None if sound is None else sound.codec_context
        orientation = orientation_of(first)
        width, height = orientation.size(first.width, first.height)
        duration_s, fps = pace or counted_pace(path)
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            fps=fps,
            duration_s=duration_s,
            n_frames=max(1, round(duration_s * fps)),
            start_s=start_s,
            orientation=orientation,
            container=container.format.name,
            video_codec=video.codec_context.codec.canonical_name,
            has_audio=sound is not None,
            matrix=matrix_of(first),
            audio_codec=context.codec.canonical_name if context else None,
            audio_rate_hz=context.rate if context else None,
            channels=context.layout.nb_channels if context else None,
        )


def time_zero_s(path: Path) -> float:
    """The container's time that is 0 in this package: the first frame, or sample without video.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.probe import time_zero_s
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> time_zero_s(Path("sound.wav"))
        0.0
    """
    with opened(path) as container:
        if has_video(container):
            return frame_time_s(first_frame(container, path))
        sound = audio_stream(container, path)
        return float((sound.start_time or 0) * (sound.time_base or 0))


def first_frame(container: InputContainer, path: Path) -> VideoFrame:
    """Decode one frame from the start.

    Raises:
        MediaError: If there is none.
    """
    video = video_stream(container, path)
    damage = Damage(path, "video", lambda line: None)
    for packet in packets(container, path):
        if packet.stream is video:
            frames: list[VideoFrame] = damage.decode(packet)
            if frames:
                return frames[0]
    damage.finish()
    raise MediaError(f"{path}: has a video stream but no frame in it; expected at least one")


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
    # Typed as a mapping, but iterates over its values.
    items: Any = frame.side_data
    for item in items:
        if item.type.name == "DISPLAYMATRIX":
            return Orientation.from_matrix(struct.unpack("=9i", bytes(item)))
    return UPRIGHT


def matrix_of(frame: VideoFrame) -> int:
    """FFmpeg's number of the matrix of a frame's luma and colour; see `VideoInfo`."""
    stated = int(frame.colorspace)
    # Stored colours have none; their luma is made as that of SD.
    return BT601 if stated == STORED_RGB else stated if stated in MATRICES else UNSAID


def stated_pace(container: InputContainer, video: VideoStream) -> tuple[float, float] | None:
    """Duration in seconds and frames per second as the header has them, if it does."""
    rate = video.average_rate or video.guessed_rate
    # Packets of mpeg streams hold several frames but one timestamp, so that the video alone is
    # taken for shorter than it is.
    if video.duration and video.time_base and container.format.name not in HEADERLESS:
        duration_s = float(video.duration * video.time_base)
    elif container.duration:
        duration_s = container.duration / 1_000_000
    else:
        return None
    if not rate or not 0 < rate <= HIGHEST_FPS:
        return None
    return duration_s, float(rate)


def counted_pace(path: Path) -> tuple[float, float]:
    """Duration in seconds and frames per second by reading all packets."""
    times_s = []
    with opened(path) as container:
        video = video_stream(container, path)
        for packet in packets(container, path):
            time_s = packet_time_s(packet)
            if packet.stream is video and time_s is not None:
                times_s.append(time_s)
    if len(times_s) < 2 or max(times_s) <= min(times_s):
        n_frames = max(1, len(times_s))
        return n_frames / FALLBACK_FPS, FALLBACK_FPS
    fps = (len(times_s) - 1) / (max(times_s) - min(times_s))
    return len(times_s) / fps, fps
