"""Writing videos: H.264 and AAC in mp4 for people, FFV1 and PCM for programs that need every bit.

Pictures go in one by one with their times; sound is taken from another file or a waveform and
interleaved, so that memory does not grow with length.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import ConfigError, OutputError, ShapeError
from pushpull.media.audio import placed_sound
from pushpull.media.clock import WHOLE, Part, time_zero
from pushpull.media.container import opened, packet_time_s, packets, reason
from pushpull.media.streams import audio_stream
from pushpull.schema import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoFrame, VideoStream
    from av.container import OutputContainer

__all__ = ["VideoWriter", "write_sound"]

# 24, 25, 30, 50 and 60 frames per second and their 1000/1001 variants: exact, or within 6 us.
TICK = Fraction(1, 90_000)
# In order of preference; builds of FFmpeg without x264 may have the other.
H264_ENCODERS = {
    "libx264": {"preset": "superfast"},
    "libopenh264": {"b": "4M"},
}
LARGE_PIXELS = 900_000
"""From 1280 x 720 on: there the next faster preset saves a third of the time."""
SUFFIXES = {"h264": (".mp4", ".mov", ".mkv"), "ffv1": (".mkv",), "ffv1-colour": (".mkv",)}
LOSSLESS_FORMATS = {"ffv1": "gray", "ffv1-colour": "yuv444p"}
# As FFmpeg numbers them.
LIMITED_RANGE, FULL_RANGE = 1, 2
BT709 = 1
COPIED_CODECS = {"aac", "mp3"}
# Streaming formats may hold timestamps that jump, which a copy would hand on.
COPIED_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv"}
AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# A decoder needs a packet or two before the one that it plays first.
PREROLL_S = 0.1
CHUNK = 1024


class VideoWriter:
    """Writes frames, and the sound of another file or a waveform, to a video.

    A context manager. If its block raises, the file is removed. The file grows in place: give it a
    temporary name (`pushpull.runtime.files.written_whole`) where a whole file or none is wanted.

    Args:
        path: File to write; `.mp4` plays everywhere, `.mkv` and `.mov` work too; lossless wants
            `.mkv`, which rounds times to milliseconds.
        width: Pixels of the pictures. H.264 needs even sizes: odd ones are padded by repeating the
            last column or row.
        height: Pixels of the pictures.
        fps: Frames per second, the expected mean where `write` is given times.
        audio: A video or audio file whose sound is taken, on its own clock (AAC and MP3 are copied,
            everything else becomes AAC at the original rate); or a waveform (S,) in [-1, 1]; or
            None. A file without sound gives a video without.
        audio_track: Number of the sound track of a file, from 1; the one that players take by
            default.
        audio_part: Which part of a file's sound; it begins at time 0.
        audio_rate_hz: Samples per second of a waveform.
        codec: `h264`; or `ffv1`, which keeps grey pictures and a waveform's int16 samples exactly;
            or `ffv1-colour`, which keeps what `Frame.ycc` gives.
        crf: Quality of H.264, from 0 (best) to 51.
        hurry: Whether large pictures are encoded faster, into files that are larger.
        matrix: `VideoInfo.matrix` of the video that luma and colour are from; colours are turned
            into it. Players are told.

    Raises:
        OutputError: If the file cannot be written, or this FFmpeg has no encoder for it.
        ConfigError: If width, height or fps is not positive.
        MediaError: If the sound cannot be read.

    Examples:
        >>> from pushpull.media import VideoWriter, probe
        >>> sound = np.zeros(16000, np.float32)
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25, audio=sound) as video:
        ...     for _ in range(25):
        ...         video.write(np.zeros((48, 64, 3), np.uint8))
        >>> info = probe("clip.mp4")
        >>> info.video_codec, info.audio_codec, info.n_frames
        ('h264', 'aac', 25)
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        width: int,
        height: int,
        fps: float,
        audio: str | PathLike[str] | NDArray[np.float32] | None = None,
        audio_track: int | None = None,
        audio_part: Part = WHOLE,
        audio_rate_hz: int = SAMPLE_RATE_HZ,
        codec: Literal["h264", "ffv1", "ffv1-colour"] = "h264",
        crf: int = 20,
        hurry: bool = False,
        matrix: int = BT709,
    ) -> None:
        from av.video.reformatter import VideoReformatter

        if not (width > 0 and height > 0 and fps > 0):
            raise ConfigError(f"video of {width} x {height} at {fps} fps; expected numbers above 0")
        if isinstance(audio, np.ndarray) and audio.ndim != 1:
            raise ShapeError(f"waveform is {audio.shape}; expected (S,)")
        self.path = Path(path)
        self.shape = (height, width)
        self.codec, self.crf, self.matrix = codec, crf, matrix
        self.hurry = hurry and width * height >= LARGE_PIXELS
        self.period_s = 1 / fps
        self.last_pts: int | None = None
        self.last_s: float | None = None
        self.reformatter = VideoReformatter()
        self.sound: Iterator[Packet[Any]] = iter(())
        self.waiting: Packet[Any] | None = None
        self.sources = ExitStack()
        # Undone in reverse: close what is open, then remove the file.
        self.undo = ExitStack()
        if self.path.suffix.lower() not in SUFFIXES[codec]:
            raise OutputError(
                f"{path}: {codec} video goes into {' or '.join(SUFFIXES[codec])}; rename the output"
            )
        source = Path(audio) if isinstance(audio, (str, Path)) else None
        if source is not None and self.path.exists() and self.path.samefile(source):
            raise OutputError(f"{path}: its sound comes from itself; choose another name")
        try:
            with self.writing():
                # Where FFmpeg cannot write, Python says why in clearer words.
                self.path.open("wb").close()
                self.undo.callback(self.path.unlink, missing_ok=True)
                self.container = self.output_container()
                self.undo.callback(self.container.close)
                self.video = self.video_stream(fps)
                if source is not None:
                    self.sound = self.sound_of(source, audio_track, audio_part)
                elif isinstance(audio, np.ndarray):
                    lossless = self.codec in LOSSLESS_FORMATS
                    make = pcm_stream if lossless else aac_stream
                    stream = make(self.container, audio_rate_hz, "mono")
                    self.sound = encoded(stream, chunks(audio), audio_rate_hz)
        except BaseException:
            self.abandon()
            raise

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def write(self, image: NDArray[np.uint8], time_s: float | None = None) -> None:
        """Add a picture.

        Args:
            image: RGB (H, W, 3), grey (H, W), full-range luma and colour (3, H, W), or what
                `Frame.yuv` gives (3 H / 2, W); uint8.
            time_s: When it is shown; one period after the one before by default. Must increase.

        Raises:
            ShapeError: If the picture has another size.
            ConfigError: If times do not increase.
            OutputError: If the file cannot be written.

        Examples:
            >>> from pushpull.media import VideoWriter, read_frames
            >>> picture = np.zeros((48, 64), np.uint8)
            >>> with VideoWriter("clip.mkv", width=64, height=48, fps=25, codec="ffv1") as video:
            ...     video.write(picture)
            ...     video.write(picture, time_s=0.5)
            >>> [frame.time_s for frame in read_frames("clip.mkv")]
            [0.0, 0.5]
        """
        from av import VideoFrame

        height, width = self.shape
        formats: dict[tuple[int, ...], str] = {
            (height, width, 3): "rgb24",
            (height, width): "gray",
            (3, height, width): "yuv444p",
        }
        if height % 2 == 0 and width % 2 == 0 and self.codec == "h264":
            formats[height * 3 // 2, width] = "yuv420p"
        if image.shape not in formats or image.dtype != np.uint8:
            raise ShapeError(
                f"picture is {image.dtype} {image.shape}; expected uint8 of "
                f"{', '.join(map(str, formats))}"
            )
        if time_s is None:
            time_s = 0.0
            if self.last_pts is not None:
                time_s = float(self.last_pts * TICK) + self.period_s
        if self.last_s is not None and time_s <= self.last_s:
            raise ConfigError(
                f"frame at {time_s} s after one at {self.last_s} s; expected times that increase"
            )
        pts = round(time_s / TICK)
        if self.last_pts is not None:
            # Some files state a million pictures a second.
            pts = max(pts, self.last_pts + 1)
        self.last_pts, self.last_s = pts, time_s
        pixel_format = formats[image.shape]
        with self.writing():
            if pixel_format == "yuv420p":
                # Not copied: the encoder does so before it returns.
                buffer = np.ascontiguousarray(image)
                frame = VideoFrame.from_numpy_buffer(buffer, format=pixel_format)
                frame.color_range = LIMITED_RANGE
            else:
                frame = VideoFrame.from_ndarray(self.padded(image), format=pixel_format)
                if pixel_format == "yuv444p":
                    frame.color_range = FULL_RANGE
                frame = self.encodable(frame)
            frame.pts, frame.time_base = pts, TICK
            self.container.mux(self.video.encode(frame))
            self.mux_sound(until_s=time_s)

    def close(self) -> None:
        """Finish the file.

        Raises:
            OutputError: If it cannot be written, or has no picture.
        """
        try:
            if self.last_pts is None:
                raise OutputError(f"{self.path}: no picture was written; expected at least one")
            with self.writing():
                self.container.mux(self.video.encode(None))
                self.mux_sound(until_s=None)
                self.container.close()
        except BaseException:
            self.abandon()
            raise
        self.sources.close()
        self.undo.pop_all()

    def abandon(self) -> None:
        """Stop, and remove the file."""
        # Whatever is wrong has been said; a stack goes on after a failure.
        for stack in (self.sources, self.undo):
            with suppress(Exception):
                stack.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn failures to write into one line."""
        import av

        try:
            yield
        except (OSError, av.error.FFmpegError) as e:
            raise OutputError(f"{self.path}: cannot be written ({reason(e)})") from e

    def output_container(self) -> OutputContainer:
        """The container that the suffix stands for."""
        import av

        # The index goes to the front, so that a browser starts before all is there.
        is_mkv = self.path.suffix.lower() == ".mkv"
        options = {} if is_mkv else {"movflags": "+faststart"}
        return av.open(f"file:{self.path}", "w", container_options=options)

    def video_stream(self, fps: float) -> VideoStream:
        """The video stream, set up for the codec."""
        # No player needs to know it better, and none takes 0.
        rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        stream: Any
        height, width = self.shape
        if self.codec in LOSSLESS_FORMATS:
            stream = self.container.add_stream("ffv1", rate=rate, options={"level": "3"})
            stream.pix_fmt = LOSSLESS_FORMATS[self.codec]
            stream.codec_context.color_range = FULL_RANGE
            stream.codec_context.colorspace = self.matrix
        else:
            name = h264_encoder(self.path)
            options = dict(H264_ENCODERS[name])
            if name == "libx264":
                options["crf"] = str(self.crf)
                if self.hurry:
                    options["preset"] = "ultrafast"
            stream = self.container.add_stream(name, rate=rate, options=options)
            stream.pix_fmt = "yuv420p"
            width, height = width + width % 2, height + height % 2
            # Said in the file so that players do not guess.
            context = stream.codec_context
            context.colorspace = self.matrix
            if self.matrix == BT709:
                context.color_primaries = context.color_trc = BT709
            context.color_range = LIMITED_RANGE
        stream.width, stream.height = width, height
        stream.codec_context.time_base = TICK
        added: VideoStream = stream
        return added

    def padded(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture in the size of the stream."""
        height, width = self.shape
        more = (self.video.height - height, self.video.width - width)
        if more != (0, 0):
            edges = [(0, more[0]), (0, more[1])]
            is_planes = image.shape[:2] != self.shape
            around = [(0, 0)] * (image.ndim - 2)
            image = np.pad(image, around + edges if is_planes else edges + around, mode="edge")
        return np.ascontiguousarray(image)

    def encodable(self, frame: VideoFrame) -> VideoFrame:
        """The frame in the pixel format of the stream."""
        from av.video.reformatter import ColorRange

        if self.codec in LOSSLESS_FORMATS:
            return self.reformatter.reformat(
                frame, format=LOSSLESS_FORMATS[self.codec], dst_color_range=ColorRange.JPEG
            )
        # Only colours need the matrix: luma that goes through it again comes back 2 levels darker.
        matrix = self.matrix if frame.format.name == "rgb24" else None
        return self.reformatter.reformat(
            frame,
            format="yuv420p",
            dst_colorspace=matrix,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )

    def sound_of(self, path: Path, track: int | None, part: Part) -> Iterator[Packet[Any]]:
        """Packets of a file's sound, copied where possible; none if it has none."""
        container = self.sources.enter_context(opened(path))
        if not container.streams.audio:
            return iter(())
        source = audio_stream(container, path, track)
        context = source.codec_context
        copiable = container.format.name in COPIED_CONTAINERS
        if copiable and context.codec.canonical_name in COPIED_CODECS:
            stream = self.container.add_stream_from_template(source)
            found = (p for p in packets(container, path) if p.stream is source)
            zero_s = float(time_zero(container, path) or 0)
            return copied(found, stream, zero_s + part.start_s, part.end_s - part.start_s)
        layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        stream = aac_stream(self.container, context.rate, layout)
        # Whoever made the pictures has heard of damage.
        pieces = placed_sound(
            path,
            rate_hz=stream.rate,
            layout=layout,
            track=track,
            part=part,
            on_damage=lambda line: None,
        )
        begin = round(part.start_s * stream.rate)
        return encoded(
            stream, filled((start - begin, piece) for start, piece in pieces), stream.rate
        )

    def mux_sound(self, *, until_s: float | None) -> None:
        """Write the sound that belongs before a time, or the rest."""
        while True:
            if self.waiting is None:
                self.waiting = next(self.sound, None)
            packet = self.waiting
            if packet is None:
                return
            start_s = packet_time_s(packet) or 0.0
            if until_s is not None and start_s > until_s:
                return
            self.container.mux(packet)
            self.waiting = None


def write_sound(
    path: str | PathLike[str], waveform: NDArray[np.float32], *, rate_hz: int = SAMPLE_RATE_HZ
) -> None:
    """Write a waveform (S,) in [-1, 1] as AAC, mono, 96 kbit/s.

    Args:
        path: File to write, `.m4a` or `.mp4`.
        waveform: The sound.
        rate_hz: Samples per second.

    Raises:
        ShapeError: If the waveform is not (S,).
        OutputError: If the file cannot be written.

    Examples:
        >>> from pushpull.media import read_waveform, write_sound
        >>> write_sound("sound.m4a", np.zeros(16000, np.float32))
        >>> len(read_waveform("sound.m4a"))
        16384
    """
    import av

    if waveform.ndim != 1:
        raise ShapeError(f"waveform is {waveform.shape}; expected (S,)")
    try:
        with av.open(f"file:{path}", "w") as container:
            stream = aac_stream(container, rate_hz, "mono")
            for packet in encoded(stream, chunks(waveform), rate_hz):
                container.mux(packet)
    except (OSError, av.error.FFmpegError) as e:
        raise OutputError(f"{path}: cannot be written ({reason(e)})") from e


def aac_stream(container: OutputContainer, rate_hz: int, layout: str) -> AudioStream:
    """An AAC stream, at the next rate that AAC has."""
    rate_hz = next((r for r in AAC_RATES_HZ if r >= rate_hz), AAC_RATES_HZ[-1])
    stream = container.add_stream("aac", rate=rate_hz)
    stream.layout = layout
    stream.bit_rate = 96_000 * stream.layout.nb_channels
    return stream


def pcm_stream(container: OutputContainer, rate_hz: int, layout: str) -> AudioStream:
    """An uncompressed stream of int16 samples."""
    stream = container.add_stream("pcm_s16le", rate=rate_hz)
    stream.layout = layout
    return stream


def h264_encoder(path: Path) -> str:
    """The best H.264 encoder that this FFmpeg has.

    Raises:
        OutputError: If it has none.
    """
    from av.codec import codecs_available

    for name in H264_ENCODERS:
        if name in codecs_available:
            return name
    raise OutputError(
        f"{path}: this FFmpeg has no H.264 encoder ({', '.join(H264_ENCODERS)}); install the "
        "wheels of PyAV: pip install --force-reinstall --only-binary :all: av"
    )


def copied(
    source: Iterator[Packet[Any]], stream: AudioStream, start_s: float, length_s: float
) -> Iterator[Packet[Any]]:
    """Packets of a file moved to another's stream, time start_s becoming 0."""
    last_dts: int | None = None
    for packet in source:
        if packet.dts is None or packet.pts is None:
            continue
        shift = round(start_s / packet.time_base)
        packet.pts -= shift
        packet.dts -= shift
        begin_s = float(packet.pts * packet.time_base)
        if begin_s >= length_s:
            return
        end_s = begin_s + float((packet.duration or 0) * packet.time_base)
        # Containers refuse times that do not increase.
        if end_s < -PREROLL_S or (last_dts is not None and packet.dts <= last_dts):
            continue
        last_dts = packet.dts
        packet.stream = stream
        yield packet


def chunks(waveform: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """A waveform (S,) in pieces (1, N)."""
    for start in range(0, len(waveform), CHUNK):
        yield waveform[None, start : start + CHUNK]


def filled(
    pieces: Iterator[tuple[int, NDArray[np.float32]]],
) -> Iterator[NDArray[np.float32]]:
    """Placed pieces (channels, N) with silence in the holes, from sample 0."""
    position = 0
    for start, piece in pieces:
        while position < start:
            silence = np.zeros((len(piece), min(CHUNK, start - position)), np.float32)
            position += silence.shape[1]
            yield silence
        position += piece.shape[1]
        # Encoders refuse what is no number.
        yield np.clip(np.nan_to_num(piece), -1.0, 1.0)


def encoded(
    stream: AudioStream, pieces: Iterator[NDArray[np.float32]], rate_hz: int
) -> Iterator[Packet[Any]]:
    """Packets of consecutive pieces (channels, N)."""
    from av import AudioFrame

    position = 0
    for piece in pieces:
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(piece, np.float32), format="fltp", layout=stream.layout.name
        )
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = position
        position += piece.shape[1]
        yield from stream.encode(frame)
    yield from stream.encode(None)
