"""Frames of a video in order, upright, each with its time.

Time zero is the first frame. The container's timestamps are kept, whatever the frame rate does,
with four repairs so that times always increase: a frame without a timestamp comes one mean frame
period after the one before; one whose timestamp does not increase comes half a period after; a jump
back of more than a second means that timestamps started anew, so the rest goes on from there; where
decoding times are more consistent than presentation times (avi with B-frames), they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import MediaError
from pushpull.media.container import (
    LONGEST_GAP_S,
    RESTART_S,
    Damage,
    OnDamage,
    opened,
    packets,
    video_stream,
)
from pushpull.media.probe import (
    FALLBACK_FPS,
    HIGHEST_FPS,
    Orientation,
    orientation_of,
)

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["Frame", "read_frames", "rgb_of"]

Picture = NDArray[np.uint8]

FULL_RANGE = 2
"""FFmpeg's number of the range 0..255."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame, turned into pixels only when asked.

    A frame holds a decoder's buffer, so keep its pixels rather than many frames.

    Attributes:
        index: Number of the frame, from 0; the same in every pass over a file.
        time_s: Presentation time in seconds after the first frame.
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
        """Colours (H, W, 3) uint8."""
        return self.convert("rgb24")

    def bgr(self) -> Picture:
        """Colours in OpenCV's order (H, W, 3) uint8."""
        return self.convert("bgr24")

    def gray(self) -> Picture:
        """Luma (H, W) uint8 in 0..255: what the published pipelines get through jpeg and OpenCV."""
        return self.convert("gray")

    def ycc(self) -> Picture:
        """Luma as `gray` gives it and two planes of colour (3, H, W) uint8, full range.

        They are as stored, by the matrix of the video: see `rgb_of`.
        """
        planes = self.convert("yuv444p")
        planes[0] = self.gray()
        return planes

    @classmethod
    def from_rgb(cls, index: int, time_s: float, image: Picture) -> Frame:
        """A frame of a picture (H, W, 3) that no file holds."""
        from av import VideoFrame

        picture = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return Converter(picture).frame(index, time_s, picture)


def read_frames(path: str | Path, *, on_damage: OnDamage | None = None) -> Iterator[Frame]:
    """Decode a video from its start to its end.

    Memory does not grow with length. Two passes give the same frames. Pictures whose size changes
    within a stream are scaled to the size of the first.

    Args:
        path: Any video that FFmpeg reads.
        on_damage: Called at the end with one line if packets were damaged; by default it is logged
            as a warning.

    Raises:
        MediaError: While iterating: if the file cannot be opened, has no video stream, is cut off,
            or more than a tenth of it is damaged.

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
        rate = float(video.average_rate or video.guessed_rate or FALLBACK_FPS)
        clock = Clock(path, 1 / min(rate, HIGHEST_FPS))
        damage = Damage(path, "video", on_damage)
        converter: Converter | None = None
        index = 0
        for packet in packets(container, path):
            if packet.stream is not video:
                continue
            for picture in damage.decode(packet):
                converter = converter or Converter(picture)
                yield converter.frame(index, clock.time_s(picture), picture)
                index += 1
        damage.finish()
        if index == 0:
            raise MediaError(f"{path}: has a video stream but no frame in it; expected one")


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


class Converter:
    """Turns decoded frames of one stream into arrays, upright and all of the first one's size."""

    def __init__(self, first: VideoFrame) -> None:
        from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

        self.stored = (first.width, first.height)
        self.orientation: Orientation = orientation_of(first)
        self.upright = self.orientation.size(*self.stored)
        self.reformatter = VideoReformatter()
        self.full_range, self.one_matrix = ColorRange.JPEG, Colorspace.ITU601

    def frame(self, index: int, time_s: float, picture: VideoFrame) -> Frame:
        def convert(pixel_format: str) -> Picture:
            return self.pixels(picture, pixel_format)

        return Frame(index, time_s, *self.upright, convert)

    def pixels(self, picture: VideoFrame, pixel_format: str) -> Picture:
        width, height = self.stored
        # Luma and colour are taken as stored; FFmpeg would turn those of HD into those of SD.
        matrix = self.one_matrix if pixel_format in ("gray", "yuv444p") else None
        # One context for all frames, since making one costs more than converting a small frame.
        converted = self.reformatter.reformat(
            picture,
            width=width,
            height=height,
            format=pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            dst_color_range=self.full_range,
            # Several threads cost more than they save on pictures of this size.
            threads=1,
        )
        image: Any = converted.to_ndarray()
        if pixel_format == "yuv444p":
            return np.stack([self.orientation.apply(plane) for plane in image])
        return self.orientation.apply(image)


class Clock:
    """Gives each frame its time after the first one; times always increase.

    Args:
        path: File, for messages.
        period_s: Mean time between frames, for those without a timestamp.
    """

    def __init__(self, path: Path, period_s: float) -> None:
        self.path, self.period_s = path, period_s
        self.last_pts: int | None = None
        self.last_dts: int | None = None
        self.faults_pts = self.faults_dts = 0
        # Added to the container's times; unknown until the first frame.
        self.shift_s: Fraction | None = None
        self.last_s = 0.0

    def time_s(self, picture: VideoFrame) -> float:
        stamp = self.stamp(picture)
        stored_s = None
        if stamp is not None and picture.time_base is not None:
            stored_s = stamp * picture.time_base
        if self.shift_s is None:
            self.shift_s = -(stored_s or Fraction(0))
            return self.last_s
        if stored_s is None:
            time_s = self.last_s + self.period_s
        else:
            time_s = float(stored_s + self.shift_s)
            if time_s < self.last_s - RESTART_S:
                time_s = self.last_s + self.period_s
                self.shift_s = Fraction(time_s) - stored_s
            elif time_s <= self.last_s:
                time_s = self.last_s + self.period_s / 2
            elif time_s > self.last_s + LONGEST_GAP_S:
                raise MediaError(
                    f"{self.path}: timestamps jump from {self.last_s:.2f} s to {time_s:.2f} s; "
                    "expected no pause above an hour; repair them with "
                    "ffmpeg -i IN -vf setpts=N/FRAME_RATE/TB OUT.mp4"
                )
        self.last_s = time_s
        return time_s

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
