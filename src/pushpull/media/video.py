"""Frames of a video in order, upright, each with its time.

Time 0 is where a player shows 0:00, as `pushpull.media.clock` has it. The container's timestamps
are kept, whatever the frame rate does, with four repairs so that times always increase: a frame
without a timestamp comes one mean frame period after the one before; one whose timestamp does not
increase comes half a period after; a jump back of more than a second means that timestamps started
anew, so the rest goes on from there; where decoding times are more consistent than presentation
times (avi with B-frames), they are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import MediaError
from pushpull.media.clock import WHOLE, Clock, Part, stated_first, time_zero
from pushpull.media.container import (
    RESTART_S,
    Damage,
    OnDamage,
    coding_time_s,
    is_flush,
    opened,
    packet_time_s,
    packets,
)
from pushpull.media.probe import (
    FALLBACK_FPS,
    HIGHEST_FPS,
    Orientation,
    orientation_of,
)
from pushpull.media.streams import pixel_aspect, square_size, video_stream

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

__all__ = ["Frame", "planes_of", "read_frames", "rgb_of"]

Picture = NDArray[np.uint8]

MOST_WAITING = 1000
"""Packets that are kept until it is known whether a part begins before the next key frame."""

MADE_ONCE = ("gray", "rgb24")
"""What is kept once it has been made."""

FULL_RANGE = 2
"""FFmpeg's number of the range 0..255."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame, turned into pixels only when asked.

    A frame holds a decoder's buffer, so keep its pixels rather than many frames.

    Attributes:
        index: Number of the frame, from 0; the same in every pass over a file.
        time_s: When it is shown, in seconds of the file's own clock.
        width: Pixels of the upright picture.
        height: Pixels of the upright picture.

    Examples:
        >>> from pushpull.media import Frame
        >>> frame = Frame.from_rgb(0, 0.0, np.full((48, 64, 3), 200, np.uint8))
        >>> frame.width, frame.height
        (64, 48)
        >>> frame.gray().shape, frame.rgb().shape, frame.ycc().shape
        ((48, 64), (48, 64, 3), (3, 48, 64))
    """

    index: int
    time_s: float
    width: int
    height: int
    convert: Callable[[str], Picture] = field(repr=False)

    def rgb(self) -> Picture:
        """Colours (H, W, 3) uint8; the same array each time: not to be written to."""
        return self.convert("rgb24")

    def bgr(self) -> Picture:
        """Colours in OpenCV's order (H, W, 3) uint8."""
        return self.convert("bgr24")

    def gray(self) -> Picture:
        """Luma (H, W) uint8 in 0..255: what the published pipelines get through jpeg and OpenCV.

        The same array each time: not to be written to.
        """
        return self.convert("gray")

    def ycc(self) -> Picture:
        """Luma as `gray` gives it and two planes of colour (3, H, W) uint8, full range.

        They are as stored, by the matrix of the video: see `rgb_of`.
        """
        planes = self.convert("yuv444p")
        planes[0] = self.gray()
        return planes

    def bare(self) -> Frame:
        """The same frame without the arrays that have been made of it: to keep, in less memory."""
        return (
            replace(self, convert=self.convert.anew()) if isinstance(self.convert, Made) else self
        )

    def yuv(self) -> Picture | None:
        """Luma and halved colour as H.264 has them (3 H / 2, W) uint8, 16..235, as stored.

        First the rows of luma, then both planes of colour one after the other: `planes_of`. None
        where a side is odd, since halves are whole then.
        """
        if self.width % 2 or self.height % 2:
            return None
        return self.convert("yuv420p")

    @classmethod
    def from_rgb(cls, index: int, time_s: float, image: Picture) -> Frame:
        """A frame of a picture (H, W, 3) that no file holds."""
        from av import VideoFrame

        picture = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return Converter(picture).frame(index, time_s, picture)


def read_frames(
    path: str | PathLike[str], *, part: Part = WHOLE, on_damage: OnDamage | None = None
) -> Iterator[Frame]:
    """Decode a video, or a part of it.

    Memory does not grow with length. Two passes give the same frames. Pictures whose size changes
    within a stream are scaled to the size of the first, and pixels that are not square to square
    ones. What precedes a part is read, but decoded only from the last key frame before it.

    Args:
        path: Any video that FFmpeg reads.
        part: Which frames.
        on_damage: Called at the end with one line if packets were damaged; by default it is logged
            as a warning.

    Raises:
        MediaError: While iterating: if the file cannot be opened, has no video stream, is cut off,
            or more than a tenth of it is damaged; or if nothing is shown in the part.

    Examples:
        >>> from pushpull.media import VideoWriter, read_frames
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25) as video:
        ...     for grey in (0, 128, 255):
        ...         video.write(np.full((48, 64), grey, np.uint8))
        >>> for frame in read_frames("clip.mp4"):
        ...     print(frame.index, frame.time_s, frame.gray().shape)
        0 0.0 (48, 64)
        1 0.04 (48, 64)
        2 0.08 (48, 64)
    """
    path = Path(path)
    with opened(path) as container:
        video = video_stream(container, path)
        video.thread_type = "AUTO"
        reader = _Reader(container, video, path, part)
        damage = Damage(path, "video", on_damage)
        converter: Converter | None = None
        for packet in reader.packets():
            for picture in damage.decode(packet):
                index, time_s = reader.index, reader.clock.time_s(picture)
                reader.index += 1
                if time_s >= part.end_s:
                    damage.finish()
                    if converter is None:
                        raise reader.nothing_shown()
                    return
                if time_s >= part.start_s:
                    converter = converter or Converter(picture, pixel_aspect(video))
                    yield converter.frame(index, time_s, picture)
        damage.finish()
        if converter is None:
            raise reader.nothing_shown()


class _Reader:
    """The packets of a film that are worth decoding for a part, and the clock of its pictures."""

    def __init__(
        self, container: InputContainer, video: VideoStream, path: Path, part: Part
    ) -> None:
        self.container, self.video, self.path, self.part = container, video, path, part
        self.zero = time_zero(container, path)
        rate = float(video.average_rate or video.guessed_rate or FALLBACK_FPS)
        first = stated_first(container, video)
        self.clock = Clock(path, 1 / min(rate, HIGHEST_FPS), self.zero, first, from_s=part.start_s)
        self.may_skip = self.zero is not None and first is None and not _starts_anew(path, part)
        self.index = 0

    def packets(self) -> Iterator[Packet[Any]]:
        """Packets from the last key frame before the part on, counting those left out."""
        waiting: list[Packet[Any]] = []
        skipping = self.part.start_s > 0 and self.may_skip
        for packet in packets(self.container, self.path):
            if packet.stream is not self.video:
                continue
            if skipping:
                time_s = packet_time_s(packet)
                reached = time_s is not None and time_s - float(self.zero or 0) >= self.part.start_s
                skipping = not (reached or is_flush(packet) or len(waiting) >= MOST_WAITING)
                if skipping:
                    if packet.is_keyframe:
                        self.index += len(waiting)
                        waiting.clear()
                    waiting.append(packet)
                    continue
                yield from waiting
                waiting.clear()
            yield packet

    def nothing_shown(self) -> MediaError:
        """What is to be said where no picture came."""
        if self.part == WHOLE:
            what = "has a video stream but no frame in it; expected one"
        else:
            what = f"shows nothing {self.part}; expected a part of it"
        return MediaError(f"{self.path}: {what}")


def _starts_anew(path: Path, part: Part) -> bool:
    """Whether stamps before a part jump back, so that times can be told by decoding alone."""
    if part.start_s == 0:
        return False
    last_s = -math.inf
    with opened(path) as container:
        video = video_stream(container, path)
        zero_s = float(time_zero(container, path) or 0)
        for packet in packets(container, path):
            time_s = coding_time_s(packet) if packet.stream is video else None
            if time_s is None:
                continue
            if time_s < last_s - RESTART_S:
                return True
            if time_s - zero_s > part.start_s + RESTART_S:
                return False
            last_s = max(last_s, time_s)
    return False


def planes_of(packed: Picture) -> tuple[Picture, Picture, Picture]:
    """Luma (H, W) and colour (H / 2, W / 2) of `Frame.yuv`, which share its memory.

    Examples:
        >>> from pushpull.media import planes_of
        >>> [plane.shape for plane in planes_of(np.zeros((72, 64), np.uint8))]
        [(48, 64), (24, 32), (24, 32)]
    """
    height, width = packed.shape[0] * 2 // 3, packed.shape[1]
    colour = packed[height:].reshape(2, height // 2, width // 2)
    return packed[:height], colour[0], colour[1]


def rgb_of(planes: Picture, matrix: int) -> Picture:
    """Colours (H, W, 3) uint8 of full-range luma and colour (3, H, W), as `Frame.ycc` gives them.

    Args:
        planes: Luma and two planes of colour.
        matrix: `VideoInfo.matrix` of the video that they are from.

    Examples:
        >>> from pushpull.media import rgb_of
        >>> grey = np.full((3, 2, 2), 128, np.uint8)
        >>> rgb_of(grey, matrix=1)[0, 0]
        array([128, 128, 128], dtype=uint8)
    """
    from av import VideoFrame

    frame = VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
    frame.colorspace, frame.color_range = matrix, FULL_RANGE
    return np.asarray(frame.reformat(format="rgb24").to_ndarray(), np.uint8)


class Made:
    """Arrays of one decoded frame, made when first wanted.

    Args:
        converter: Makes them.
        picture: The frame.
    """

    def __init__(self, converter: Converter, picture: VideoFrame) -> None:
        self.converter, self.picture = converter, picture
        self.kept: dict[str, Picture] = {}

    def __call__(self, pixel_format: str) -> Picture:
        if pixel_format not in MADE_ONCE:
            return self.converter.pixels(self.picture, pixel_format)
        # Those who follow faces and those who cut them out both want it.
        if pixel_format not in self.kept:
            self.kept[pixel_format] = self.converter.pixels(self.picture, pixel_format)
        return self.kept[pixel_format]

    def anew(self) -> Made:
        """The same, with nothing made."""
        return Made(self.converter, self.picture)


class Converter:
    """Turns decoded frames of one stream into arrays, upright and all of the first one's size.

    Args:
        first: The first frame.
        aspect: Width of its pixels in their heights.
    """

    def __init__(self, first: VideoFrame, aspect: float = 1.0) -> None:
        from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

        self.square = square_size(first.width, first.height, aspect)
        self.orientation: Orientation = orientation_of(first)
        self.upright = self.orientation.size(*self.square)
        self.reformatter = VideoReformatter()
        # One thread decodes, another one wants colours.
        self.one_at_a_time = Lock()
        self.full_range, self.limited_range = ColorRange.JPEG, ColorRange.MPEG
        self.one_matrix = Colorspace.ITU601

    def frame(self, index: int, time_s: float, picture: VideoFrame) -> Frame:
        return Frame(index, time_s, *self.upright, Made(self, picture))

    def pixels(self, picture: VideoFrame, pixel_format: str) -> Picture:
        width, height = self.square
        # Luma and colour are taken as stored; FFmpeg would turn those of HD into those of SD.
        stored = pixel_format in ("gray", "yuv444p", "yuv420p")
        matrix = self.one_matrix if stored else None
        limited = pixel_format == "yuv420p"
        as_asked = limited and picture.format.name == pixel_format
        as_asked = as_asked and picture.color_range != FULL_RANGE
        if as_asked and self.square == (picture.width, picture.height):
            # What most files hold: to convert it to itself takes longer than to encode half of it.
            converted = picture
        else:
            # One context for all frames, since making one costs more than converting a small one.
            with self.one_at_a_time:
                converted = self.reformatter.reformat(
                    picture,
                    width=width,
                    height=height,
                    format=pixel_format,
                    src_colorspace=matrix,
                    dst_colorspace=matrix,
                    dst_color_range=self.limited_range if limited else self.full_range,
                    # Several threads cost more than they save on pictures of this size.
                    threads=1,
                )
        image: Any = converted.to_ndarray()
        if pixel_format == "yuv444p":
            return np.stack([self.orientation.apply(plane) for plane in image])
        if pixel_format == "yuv420p":
            if self.orientation == Orientation():
                return np.asarray(image, np.uint8)
            turned = [self.orientation.apply(plane) for plane in planes_of(image)]
            width = turned[0].shape[1]
            return np.concatenate([plane.ravel() for plane in turned]).reshape(-1, width)
        return self.orientation.apply(image)
