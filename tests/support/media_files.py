"""Real small videos for tests, written with PyAV and nothing of pushpull.

`make_video` writes any container and codec that the PyAV build can encode. `flashes` and `clicks`
make a picture and a sound that mark the same instants, to measure alignment.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Picture = Callable[[int], NDArray[np.uint8]]
Sound = Callable[[NDArray[np.float64]], NDArray[np.float64]]

DEFAULT_CODECS = {
    ".mp4": ("libx264", "aac"),
    ".mov": ("libx264", "aac"),
    ".mkv": ("libx264", "aac"),
    ".webm": ("libvpx-vp9", "libopus"),
    ".avi": ("mpeg4", "pcm_s16le"),
    ".mpg": ("mpeg1video", "mp2"),
    ".ts": ("libx264", "aac"),
    ".flv": ("libx264", "aac"),
    ".wmv": ("wmv2", "wmav2"),
}
# Fast and good enough: tests look at time, shape and coarse picture content.
ENCODER_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "16"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
}
# MPEG-1 audio, Windows Media and Flash video take few rates; Opus has one.
DEFAULT_RATES_HZ = {".mpg": 44_100, ".wmv": 44_100, ".flv": 44_100, ".webm": 48_000}
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 6: "5.1", 8: "7.1"}


def make_video(
    path: Path,
    *,
    fps: float | Fraction = 25,
    n_frames: int = 50,
    size: tuple[int, int] = (320, 240),
    timestamps_s: Sequence[float] | None = None,
    picture: Picture | None = None,
    codec: str | None = None,
    pixel_format: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound: Sound | NDArray[np.floating] | None = None,
    has_sound: bool = True,
    audio_codec: str | None = None,
    audio_rate: int | None = None,
    channels: int = 1,
    sample_format: str | None = None,
    audio_start_s: float = 0.0,
    video_start_s: float = 0.0,
    audio_gaps_s: Sequence[tuple[float, float]] = (),
    rotation: int = 0,
    mirrored: bool = False,
) -> Path:
    """Write a video and return its path.

    Args:
        path: File to write; its suffix chooses the container and the default codecs.
        fps: Constant frame rate; floats such as 29.97 and 23.976 become k * 1000 / 1001.
        n_frames: Number of frames.
        size: Width and height as stored, before rotation.
        timestamps_s: Time of every frame, for variable frame rates; overrides fps and n_frames.
        picture: Frame number -> RGB (H, W, 3) as stored; a moving gradient by default.
        codec: Video encoder of FFmpeg; by suffix by default.
        pixel_format: Of the encoder; its usual one by default.
        options: Options of the video encoder.
        container_options: Options of the container.
        sound: Times in seconds (S,) -> samples (S,), or samples (S,) or (channels, S) in [-1, 1];
            a 440 Hz tone as long as the video by default.
        has_sound: False leaves the audio stream out.
        audio_codec: Audio encoder of FFmpeg; by suffix by default.
        audio_rate: Hz; 16 kHz by default, or what the container can hold.
        channels: All get the same samples unless `sound` has several rows.
        sample_format: Of the encoder, such as `s16` or `fltp`; its usual one by default.
        audio_start_s: Time of the first sample; what `sound` has before it is not written.
        video_start_s: Time of the first frame; moves the video, not the sound.
        audio_gaps_s: (start, end) stretches of sound that are left out, a hole in the timestamps.
        rotation: Degrees clockwise by which a player must turn the picture; mp4 and mov only.
        mirrored: Whether a player must mirror left and right, before turning; mp4 and mov only.
    """
    video_codec, default_audio = DEFAULT_CODECS[path.suffix]
    video_codec = codec or video_codec
    audio_rate = audio_rate or DEFAULT_RATES_HZ.get(path.suffix, 16_000)
    rate = frame_rate(fps)
    if timestamps_s is None:
        timestamps_s = [float(i / rate) for i in range(n_frames)]
        tick = 1 / rate
    else:
        tick = Fraction(1, 90_000)
    picture = picture or moving_gradient(size)
    end_s = timestamps_s[-1] + float(1 / rate)
    with (
        usual_priority(),
        av.open(str(path), "w", container_options=container_options or {}) as container,
    ):
        video = container.add_stream(
            video_codec,
            rate=rate,
            options={**ENCODER_OPTIONS.get(video_codec, {}), **(options or {})},
        )
        video.width, video.height = size
        video.pix_fmt = pixel_format or usual_pixel_format(video_codec)
        video.codec_context.time_base = tick
        audio = None
        if has_sound:
            audio = container.add_stream(audio_codec or default_audio, rate=audio_rate)
            audio.layout = LAYOUTS[channels]
            audio.bit_rate = 96_000 * channels
            if sample_format is not None:
                audio.format = sample_format
        packets = []
        for i, time_s in enumerate(timestamps_s):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.time_base = tick
            frame.pts = round((time_s + video_start_s) / tick)
            packets += video.encode(frame)
        packets += video.encode(None)
        if audio is not None:
            samples = sampled(sound, audio_rate, channels, end_s)
            packets += encoded_sound(
                audio, samples, audio_rate, channels, audio_start_s, audio_gaps_s
            )
        # Streams interleaved by time, as muxers expect.
        for packet in sorted(packets, key=lambda p: float((p.dts or 0) * p.time_base)):
            container.mux(packet)
    if rotation or mirrored:
        set_rotation(path, rotation, mirrored)
    return path


@contextmanager
def usual_priority() -> Iterator[None]:
    """As root, SVT-AV1 takes the highest real-time priority, which others would inherit."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def frame_rate(fps: float | Fraction) -> Fraction:
    """The exact rate that a rounded one means: 29.97 is 30000/1001."""
    for nominal in (24, 30, 48, 60, 120):
        exact = Fraction(nominal * 1000, 1001)
        if abs(float(fps) - float(exact)) < 2e-3:
            return exact
    return Fraction(fps).limit_denominator(1000)


def usual_pixel_format(codec: str) -> str:
    return {"mjpeg": "yuvj420p", "ffv1": "yuv420p", "png": "rgb24", "gif": "rgb8"}.get(
        codec, "yuv420p"
    )


def moving_gradient(size: tuple[int, int]) -> Picture:
    """A gradient with a white square that moves 4 pixels a frame."""
    width, height = size
    x = np.linspace(40, 200, width, dtype=np.uint8)
    base = np.repeat(np.repeat(x[None, :, None], height, 0), 3, 2)

    def picture(i: int) -> NDArray[np.uint8]:
        image = base.copy()
        left = (4 * i) % max(1, width - 16)
        image[4:20, left : left + 16] = 255
        return image

    return picture


def flashes(size: tuple[int, int], frames: Sequence[int]) -> Picture:
    """Black, and white in the given frames."""
    width, height = size

    def picture(i: int) -> NDArray[np.uint8]:
        return np.full((height, width, 3), 255 if i in frames else 0, np.uint8)

    return picture


def clicks(times_s: Sequence[float], *, length_s: float = 0.01, rate_hz: float = 1000.0) -> Sound:
    """Silence with a tone burst that begins at each of the given times."""

    def sound(t: NDArray[np.float64]) -> NDArray[np.float64]:
        samples = np.zeros_like(t)
        for start in times_s:
            inside = (t >= start - 1e-9) & (t < start + length_s)
            samples[inside] = 0.8 * np.cos(2 * np.pi * rate_hz * (t[inside] - start))
        return samples

    return sound


def tone(hz: float, amplitude: float = 0.5) -> Sound:
    """A sine that starts at phase 0 at time 0."""
    return lambda t: amplitude * np.sin(2 * np.pi * hz * t)


def onsets_s(waveform: NDArray[np.floating], rate_hz: int, *, threshold: float) -> list[float]:
    """Times at which |waveform| first exceeds a threshold after 100 ms below it."""
    loud = np.flatnonzero(np.abs(waveform) > threshold)
    if len(loud) == 0:
        return []
    first = np.concatenate([[True], np.diff(loud) > 0.1 * rate_hz])
    return [float(i) / rate_hz for i in loud[first]]


def set_rotation(path: Path, rotation: int, mirrored: bool = False) -> None:
    """Write a display matrix into every video track header of an mp4 or mov.

    The matrix is rows (a, b, u), (c, d, v), (x, y, w) in 16.16 and 2.30 fixed point; a stored pixel
    (p, q) is shown at (a p + c q, b p + d q), ISO/IEC 14496-12 section 8.3.2.
    """
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[rotation]
    flip = -1 if mirrored else 1
    one = 1 << 16
    matrix = struct.pack(
        ">9i", flip * cos * one, flip * sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30
    )
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd")
    while at >= 0:
        version = data[at + 4]
        # After the name: version and flags, times and ids, 8 reserved, layer, group, volume.
        offset = at + 4 + (4 + 20 if version == 0 else 4 + 32) + 8 + 8
        width = struct.unpack(">I", data[offset + 36 : offset + 40])[0]
        if width:
            data[offset : offset + 36] = matrix
        at = data.find(b"tkhd", at + 4)
    path.write_bytes(data)


def sampled(
    sound: Sound | NDArray[np.floating] | None, rate: int, channels: int, end_s: float
) -> NDArray[np.float32]:
    """Samples (channels, S) of a sound."""
    if sound is None:
        sound = tone(440.0, 0.3)
    if callable(sound):
        sound = sound(np.arange(round(end_s * rate)) / rate)
    samples = np.atleast_2d(np.asarray(sound, np.float32))
    return np.ascontiguousarray(np.broadcast_to(samples, (channels, samples.shape[1])))


def encoded_sound(
    stream: av.AudioStream,
    samples: NDArray[np.float32],
    rate: int,
    channels: int,
    start_s: float,
    gaps_s: Sequence[tuple[float, float]],
) -> list[av.Packet]:
    packets = []
    step = stream.codec_context.frame_size or 1024
    for begin in range(round(start_s * rate), samples.shape[1], step):
        if any(low <= begin / rate < high for low, high in gaps_s):
            continue
        block = np.ascontiguousarray(samples[:, begin : begin + step])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=LAYOUTS[channels])
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = begin
        packets += stream.encode(frame)
    return packets + stream.encode(None)
