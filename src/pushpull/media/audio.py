"""The sound of a video as one waveform, aligned to the video's first frame; wav files.

Sample 0 of every waveform sounds at time 0, the first frame. Sound is put where its timestamps say:
what precedes the first frame is dropped, holes are silence.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import ConfigError, MediaError, OutputError, ShapeError
from pushpull.media.container import (
    LONGEST_GAP_S,
    RESTART_S,
    Damage,
    OnDamage,
    audio_stream,
    opened,
    packets,
)
from pushpull.media.probe import time_zero_s
from pushpull.schema import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from av import AudioFrame
    from av.filter.graph import Graph

__all__ = ["placed_sound", "read_waveform", "slice_audio", "write_wav"]

Waveform = NDArray[np.float32]

JITTER_S = 0.02
"""Timestamps off by less are noise of the container; half a frame at 25 per second."""


def read_waveform(
    path: str | Path, *, rate_hz: int = SAMPLE_RATE_HZ, on_damage: OnDamage | None = None
) -> Waveform:
    """The sound of a video, mono, time 0 at its first frame; or of an audio file from its start.

    Channels are mixed so that no mix can exceed full scale: FFmpeg's matrix, normalised. It needs
    4 bytes per sample, 230 MB for an hour at 16 kHz, and little beside. The waveform ends where the
    sound ends, before or after the picture; see `slice_audio`.

    Args:
        path: A video with sound, or an audio file.
        rate_hz: Samples per second of the result.
        on_damage: Called with one line if packets were damaged; by default it is logged.

    Returns:
        (S,) float32 in [-1, 1].

    Raises:
        MediaError: If there is no audio stream, no sound can be decoded, the file is cut off, or
            more than a tenth of the sound is damaged.

    Examples:
        >>> from pushpull.media import read_waveform, write_wav
        >>> write_wav("tone.wav", np.sin(np.arange(8000, dtype=np.float32)), rate_hz=8000)
        >>> waveform = read_waveform("tone.wav")
        >>> waveform.shape, waveform.dtype  # one second, at 16 kHz
        ((16000,), dtype('float32'))
    """
    path = Path(path)
    with opened(path) as container:
        guess_s = (container.duration or 0) / 1_000_000 + 10
    # Pages that are never written take no memory, so a generous guess costs nothing.
    waveform = np.zeros(round(guess_s * rate_hz), np.float32)
    end = 0
    for start, samples in placed_sound(path, rate_hz=rate_hz, layout="mono", on_damage=on_damage):
        end = start + samples.shape[1]
        if end > len(waveform):
            waveform.resize(max(end, len(waveform) * 3 // 2), refcheck=False)
        np.clip(samples[0], -1.0, 1.0, out=waveform[start:end])
    if end == 0:
        raise MediaError(f"{path}: its audio stream holds no sound that can be decoded")
    waveform.resize(end, refcheck=False)
    return waveform


def slice_audio(
    waveform: Waveform, start_s: float, stop_s: float, *, rate_hz: int = SAMPLE_RATE_HZ
) -> Waveform:
    """Samples from start_s up to stop_s, with silence where the waveform has none.

    Args:
        waveform: (S,).
        start_s: May lie before 0.
        stop_s: May lie beyond the end.
        rate_hz: Samples per second of the waveform.

    Returns:
        (round(stop_s * rate_hz) - round(start_s * rate_hz),), a copy.

    Raises:
        ShapeError: If the waveform is not (S,).
        ConfigError: If stop_s lies before start_s.

    Examples:
        >>> from pushpull.media import slice_audio
        >>> waveform = np.ones(4, np.float32)
        >>> slice_audio(waveform, -0.5, 1.0, rate_hz=4)
        array([0., 0., 1., 1., 1., 1.], dtype=float32)
    """
    if waveform.ndim != 1:
        raise ShapeError(f"waveform is {waveform.shape}; expected (S,)")
    if not stop_s >= start_s:
        raise ConfigError(f"slice from {start_s} s to {stop_s} s; expected stop after start")
    start, stop = round(start_s * rate_hz), round(stop_s * rate_hz)
    piece = np.zeros(stop - start, waveform.dtype)
    low, high = max(start, 0), min(stop, len(waveform))
    if low < high:
        piece[low - start : high - start] = waveform[low:high]
    return piece


def write_wav(
    path: str | Path,
    waveform: Waveform,
    *,
    rate_hz: int = SAMPLE_RATE_HZ,
    sample_format: Literal["float32", "int16"] = "float32",
) -> None:
    """Write a mono wav file.

    Reading it back gives the same float32 samples; with int16 the nearest multiple of 2^-15 within
    [-1, 1 - 2^-15].

    Args:
        path: File to write.
        waveform: (S,) in [-1, 1].
        rate_hz: Samples per second.
        sample_format: `float32` keeps small perturbations, `int16` is what every tool reads.

    Raises:
        ShapeError: If the waveform is not (S,) or not finite.
        OutputError: If the file cannot be written.

    Examples:
        >>> from pushpull.media import read_waveform, write_wav
        >>> write_wav("sound.wav", np.array([0.0, 0.25, -0.25], np.float32), sample_format="int16")
        >>> read_waveform("sound.wav")
        array([ 0.  ,  0.25, -0.25], dtype=float32)
    """
    path = Path(path)
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise ShapeError(f"waveform is {waveform.shape}; expected finite samples (S,)")
    if sample_format == "int16":
        data = np.clip(np.round(waveform * 32768.0), -32768, 32767).astype("<i2")
        code, extra = 1, b""
    else:
        data = waveform.astype("<f4")
        code, extra = 3, struct.pack("<4sII", b"fact", 4, len(waveform))
    width = data.itemsize
    chunk = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, code, 1, rate_hz, rate_hz * width, width, 8 * width
    )
    header = chunk + extra + struct.pack("<4sI", b"data", data.nbytes)
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(header) + data.nbytes, b"WAVE")
    try:
        with path.open("wb") as file:
            file.write(riff + header)
            file.write(data.data)
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e


def placed_sound(
    path: Path,
    *,
    rate_hz: int | None,
    layout: str,
    on_damage: OnDamage | None = None,
) -> Iterator[tuple[int, Waveform]]:
    """Decode, mix and resample sound piece by piece, each with the place where it belongs.

    Args:
        path: A media file.
        rate_hz: Samples per second of the result; the stream's own if None.
        layout: FFmpeg's name of the channel layout of the result.
        on_damage: As in `read_waveform`.

    Yields:
        (first sample, samples (channels, N) float32), in order and without overlap; between two
        pieces there may be a hole. What lies before time 0 is dropped.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.audio import placed_sound
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> pieces = list(placed_sound(Path("sound.wav"), rate_hz=8000, layout="stereo"))
        >>> start, samples = pieces[0]
        >>> start, len(samples), sum(samples.shape[1] for _, samples in pieces)
        (0, 2, 8000)
    """
    start_s = time_zero_s(path)
    with opened(path) as container:
        stream = audio_stream(container, path)
        rate_hz = rate_hz or stream.rate
        damage = Damage(path, "audio", on_damage)
        place = Placement(path, start_s, rate_hz, layout)
        for packet in packets(container, path):
            if packet.stream is stream:
                for frame in damage.decode(packet):
                    yield from place.push(frame)
        yield from place.finish()
        damage.finish()


class Placement:
    """Resamples stretches of gapless sound and says where each piece belongs.

    Args:
        path: File, for messages.
        start_s: The container's time that becomes sample 0.
        rate_hz: Samples per second of the result.
        layout: Channel layout of the result.
    """

    def __init__(self, path: Path, start_s: float, rate_hz: int, layout: str) -> None:
        self.path, self.rate_hz, self.layout = path, rate_hz, layout
        self.shift_s = -start_s
        self.graph: Graph | None = None
        self.source: tuple[str, str, int] | None = None
        # Where the present stretch began, and how much of it came in (at the source's rate).
        self.stretch_s = 0.0
        self.n_in = 0
        self.next_out = 0
        self.last_out = 0

    def push(self, frame: AudioFrame) -> Iterator[tuple[int, Waveform]]:
        """Take a decoded frame."""
        source = (frame.format.name, layout_name(frame), frame.sample_rate)
        expected_s = self.stretch_s
        if self.source is not None:
            expected_s += self.n_in / self.source[2]
        time_s = expected_s
        if frame.pts is not None and frame.time_base is not None:
            time_s = float(frame.pts * frame.time_base) + self.shift_s
        if self.source is not None and time_s < expected_s - RESTART_S:
            self.shift_s += expected_s - time_s
            time_s = expected_s
        if self.source is not None and time_s > expected_s + LONGEST_GAP_S:
            raise MediaError(
                f"{self.path}: timestamps of the sound jump from {expected_s:.2f} s to "
                f"{time_s:.2f} s; expected no pause above an hour; repair them with "
                "ffmpeg -i IN -af asetpts=N/SR/TB OUT.mp4"
            )
        if source != self.source or abs(time_s - expected_s) > JITTER_S:
            yield from self.finish()
            # A change of format alone is no hole.
            if self.source is None or abs(time_s - expected_s) > JITTER_S:
                self.stretch_s = time_s
            else:
                self.stretch_s = expected_s
            self.start(source)
        self.n_in += frame.samples
        # Placed here by `stretch_s`; the filters would only get confused.
        frame.pts = None
        yield from self.pull(frame)

    def start(self, source: tuple[str, str, int]) -> None:
        """Begin a stretch of sound in the given format, layout and rate."""
        from av.filter import Graph

        sample_format, layout, rate_hz = source
        self.source, self.n_in = source, 0
        self.next_out = round(self.stretch_s * self.rate_hz)
        graph = Graph()
        nodes = [
            graph.add(
                "abuffer",
                sample_fmt=sample_format,
                channel_layout=layout,
                sample_rate=str(rate_hz),
                time_base=f"1/{rate_hz}",
            ),
            # Without the limit, float stereo of equal channels would mix to 1.41 times full scale.
            graph.add("aresample", sample_rate=str(self.rate_hz), rematrix_maxval="1.0"),
            graph.add(
                "aformat",
                sample_fmts="fltp",
                channel_layouts=self.layout,
                sample_rates=str(self.rate_hz),
            ),
            graph.add("abuffersink"),
        ]
        for a, b in pairwise(nodes):
            a.link_to(b)
        graph.configure()
        self.graph = graph

    def finish(self) -> Iterator[tuple[int, Waveform]]:
        """End the present stretch."""
        if self.graph is not None:
            yield from self.pull(None)
            self.graph = None

    def pull(self, frame: AudioFrame | None) -> Iterator[tuple[int, Waveform]]:
        """Whatever the resampler gives for a frame, or at its end."""
        import av

        if self.graph is None:
            return
        self.graph.push(frame)
        while True:
            try:
                output: Any = self.graph.pull()
            except (EOFError, av.error.BlockingIOError):
                return
            piece: Waveform = output.to_ndarray()
            start = self.next_out
            self.next_out += piece.shape[1]
            # Stretches may overlap by a few samples, or begin before the picture.
            skip = max(0, self.last_out - start)
            if skip < piece.shape[1]:
                self.last_out = self.next_out
                yield start + skip, piece[:, skip:]


def layout_name(frame: AudioFrame) -> str:
    """Channel layout; the usual one of that many channels where the file does not say."""
    count = frame.layout.nb_channels
    if frame.layout.name == f"{count} channels":
        return {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(count, frame.layout.name)
    return frame.layout.name
