"""The sound of a video as one waveform on the file's own clock; wav files.

Sample 0 of every waveform sounds at time 0, where a player shows 0:00, or where the part begins
that was asked for. Sound is put where its timestamps say: holes are silence.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import ConfigError, MediaError, OutputError, ShapeError
from pushpull.media.clock import WHOLE, Part, time_zero
from pushpull.media.container import (
    DAMAGED_SHARE,
    LONGEST_GAP_S,
    RESTART_S,
    Damage,
    OnDamage,
    opened,
    packets,
    reason,
)
from pushpull.media.streams import audio_stream, default_track, sound_tracks
from pushpull.schema import SAMPLE_RATE_HZ, int16_samples

if TYPE_CHECKING:
    from av import AudioFrame
    from av.filter.graph import Graph

__all__ = [
    "MOST_HOLES_S",
    "SILENCE",
    "SampleCheck",
    "Sound",
    "peak_of",
    "placed_sound",
    "read_sound",
    "read_waveform",
    "slice_audio",
    "write_wav",
]

Waveform = NDArray[np.float32]

JITTER_S = 0.02
"""Timestamps off by less are noise of the container; half a frame at 25 per second."""

SILENCE = 1e-4
"""Peak amplitude below which sound is silent: -80 dB of full scale, 3 steps of int16."""

CANCELLED = 0.1
"""Share of the channels' power below which their mix has lost them: -10 dB."""

CLIPPED = 4.0
"""No sound that was meant to be heard goes so far beyond full scale."""

MOST_HOLES_S = 3 * LONGEST_GAP_S
"""Silence that is put where a file states that there is none."""

FIRST_S = 2 * LONGEST_GAP_S
"""Room that is asked for at once, at most: pages that are never written take no memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sound:
    """The sound of a video.

    Attributes:
        waveform: (S,) float32 in [-1, 1]; its first sample sounds where the part begins.
        track: Number of the sound track, from 1.
        notes: What was chosen where there was a choice, and what was repaired.

    Examples:
        >>> from pushpull.media import read_sound, write_wav
        >>> write_wav("tone.wav", np.sin(np.arange(8000, dtype=np.float32)), rate_hz=8000)
        >>> sound = read_sound("tone.wav")
        >>> sound.waveform.shape, sound.track, sound.is_silent, sound.notes
        ((16000,), 1, False, ())
    """

    waveform: Waveform
    track: int
    notes: tuple[str, ...] = ()

    @property
    def is_silent(self) -> bool:
        """Whether nothing can be heard."""
        return peak_of(self.waveform) < SILENCE


def peak_of(waveform: Waveform) -> float:
    """Largest amplitude of a waveform (S,), 0 where it has no samples; without a copy of it.

    Examples:
        >>> from pushpull.media.audio import peak_of
        >>> peak_of(np.array([0.25, -0.5], np.float32))
        0.5
    """
    return max(-float(waveform.min()), float(waveform.max())) if waveform.size else 0.0


def read_waveform(
    path: str | PathLike[str], *, rate_hz: int = SAMPLE_RATE_HZ, on_damage: OnDamage | None = None
) -> Waveform:
    """The sound of a video, mono, on the file's clock; or of an audio file from its start.

    The waveform of `read_sound` without what is said about it.

    Args:
        path: A video with sound, or an audio file.
        rate_hz: Samples per second of the result.
        on_damage: Called with one line if packets were damaged; by default it is logged.

    Returns:
        (S,) float32 in [-1, 1].

    Raises:
        MediaError: As `read_sound`.

    Examples:
        >>> from pushpull.media import read_waveform, write_wav
        >>> write_wav("tone.wav", np.sin(np.arange(8000, dtype=np.float32)), rate_hz=8000)
        >>> waveform = read_waveform("tone.wav")
        >>> waveform.shape, waveform.dtype  # one second, at 16 kHz
        ((16000,), dtype('float32'))
    """
    return read_sound(path, rate_hz=rate_hz, on_damage=on_damage).waveform


def read_sound(
    path: str | PathLike[str],
    *,
    rate_hz: int = SAMPLE_RATE_HZ,
    audio_track: int | None = None,
    part: Part = WHOLE,
    on_damage: OnDamage | None = None,
) -> Sound:
    """The sound of a video, mono, on the file's clock; or of an audio file from its start.

    Channels are mixed so that no mix can exceed full scale: FFmpeg's matrix, normalised. Where left
    and right are of opposite phase, so that their mix is next to nothing, their difference is
    taken. Of several tracks it is the one that players take, or the next that can be heard where
    that one is silent. It needs 4 bytes per sample, 230 MB for an hour at 16 kHz, and little
    beside. The waveform ends where the sound ends, before or after the picture; see `slice_audio`.

    Args:
        path: A video with sound, or an audio file.
        rate_hz: Samples per second of the result.
        audio_track: Number of a sound track, from 1; chosen as said by default.
        part: Which part; the waveform begins with it.
        on_damage: Called with one line if packets were damaged; by default it is logged.

    Raises:
        MediaError: If there is no audio stream, no sound can be decoded, the file is cut off, more
            than a tenth of the sound is damaged or no number, or it has hours of holes.
        ConfigError: If there is no such track.

    Examples:
        >>> from pushpull.media import Part, read_sound, write_wav
        >>> write_wav("tone.wav", np.linspace(0, 0.5, 16000, dtype=np.float32))
        >>> sound = read_sound("tone.wav", part=Part(0.5, 0.75))
        >>> sound.waveform.shape, round(float(sound.waveform[0]), 3)
        ((4000,), 0.25)
    """
    path = Path(path)
    with opened(path) as container:
        tracks, default = sound_tracks(container), default_track(container)
    if audio_track is not None or default is None:
        return _track_sound(path, audio_track, rate_hz, part, on_damage)
    order = [default, *(t.number for t in tracks if t.number != default)]
    passed: list[str] = []
    first: Sound | None = None
    for number in order:
        if tracks[number - 1].codec is None and len(order) > 1:
            passed.append(f"sound track {number} cannot be decoded")
            continue
        sound = _track_sound(path, number, rate_hz, part, on_damage)
        first = first or sound
        if not sound.is_silent:
            break
        passed.append(f"sound track {number} is silent")
    else:
        sound = first or _track_sound(path, default, rate_hz, part, on_damage)
    if len(tracks) == 1:
        return sound
    taken = tracks[sound.track - 1]
    others = "; ".join(str(track) for track in tracks if track is not taken)
    why = f" since {' and '.join(passed)}" if passed and sound is not first else ""
    line = f"sound track {taken} is heard{why}; others: {others}; choose with --audio-track"
    return replace(sound, notes=(line, *sound.notes))


def _track_sound(
    path: Path, number: int | None, rate_hz: int, part: Part, on_damage: OnDamage | None
) -> Sound:
    """One track: the sum of left and right, or where that is nothing their difference."""
    mixed = _mixed(path, number, rate_hz, part, on_damage, sign=1.0)
    notes = list(mixed.notes)
    if mixed.cancels:
        notes.append("left and right are of opposite phase: their difference is heard")
        mixed = _mixed(path, number, rate_hz, part, lambda line: None, sign=-1.0)
    return Sound(waveform=mixed.waveform, track=mixed.track, notes=tuple(notes))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Mixed:
    waveform: Waveform
    track: int
    notes: tuple[str, ...]
    cancels: bool


def _mixed(
    path: Path,
    number: int | None,
    rate_hz: int,
    part: Part,
    on_damage: OnDamage | None,
    *,
    sign: float,
) -> _Mixed:
    with opened(path) as container:
        audio_stream(container, path, number)
        track = number or default_track(container) or 1
        stated_s = (container.duration or 0) / 1_000_000 + 10
    begin = round(part.start_s * rate_hz)
    # What a header states is a guess that costs nothing; what came decides.
    waveform = np.zeros(round(min(max(stated_s, 1.0), FIRST_S) * rate_hz), np.float32)
    end = 0
    check = SampleCheck(str(path))
    # Of what is heard, and of the channels that it is mixed of.
    power = np.zeros(2)
    pieces = placed_sound(
        path, rate_hz=rate_hz, layout=None, track=track, part=part, on_damage=on_damage
    )
    for start, samples in pieces:
        first, end = start - begin, start - begin + samples.shape[1]
        if end > len(waveform):
            waveform.resize(max(end, len(waveform) * 3 // 2), refcheck=False)
        samples = check.cleaned(samples)
        heard = samples[0]
        if len(samples) == 2:
            heard = (samples[0] + np.float32(sign) * samples[1]) * np.float32(0.5)
        np.clip(heard, -1.0, 1.0, out=waveform[first:end])
        power += (np.square(heard).sum(), np.square(samples).mean(0).sum())
    if end == 0:
        what = "its audio stream holds no sound that can be decoded"
        if part != WHOLE:
            what = f"has no sound {part}; expected a part of it"
        raise MediaError(f"{path}: {what}")
    waveform.resize(end, refcheck=False)
    return _Mixed(
        waveform=waveform,
        track=track,
        notes=tuple(check.notes(end)),
        cancels=bool(power[0] < CANCELLED * power[1]),
    )


class SampleCheck:
    """Puts right samples that cannot be sound, and says when they are too many.

    Args:
        name: Of the sound, for messages.

    Examples:
        >>> from pushpull.media.audio import SampleCheck
        >>> check = SampleCheck("talk.wav")
        >>> samples = np.full((1, 100), 0.5, np.float32)
        >>> samples[0, 7] = np.inf
        >>> float(check.cleaned(samples)[0, 7]), check.notes(100)
        (0.0, ['1 of 100 samples of the sound are not numbers and were left out'])
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.broken = self.beyond = 0

    def cleaned(self, samples: Waveform) -> Waveform:
        """The next samples (channels, N): 0 where they are no numbers, cut far beyond 1."""
        whole = np.isfinite(samples)
        if not whole.all():
            self.broken += int((~whole).any(0).sum())
            samples = np.where(whole, samples, 0).astype(np.float32)
        self.beyond += int((np.abs(samples) > CLIPPED).any(0).sum())
        return np.clip(samples, -CLIPPED, CLIPPED)

    def notes(self, n_samples: int) -> list[str]:
        """What was put right in so many samples.

        Raises:
            MediaError: If it was more than a tenth.
        """
        found = []
        for count, what, done in (
            (self.broken, "not numbers", "left out"),
            (self.beyond, "beyond full scale", "cut"),
        ):
            line = f"{count} of {n_samples} samples of the sound are {what}"
            if count > DAMAGED_SHARE * n_samples:
                raise MediaError(
                    f"{self.name}: {line}; expected numbers from -1 to 1; convert the sound again "
                    "from its source"
                )
            if count:
                found.append(f"{line} and were {done}")
        return found


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
    path: str | PathLike[str],
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
        data = int16_samples(waveform)
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
    layout: str | None,
    track: int | None = None,
    part: Part = WHOLE,
    on_damage: OnDamage | None = None,
) -> Iterator[tuple[int, Waveform]]:
    """Decode, mix and resample sound piece by piece, each with the place where it belongs.

    Args:
        path: A media file.
        rate_hz: Samples per second of the result; the stream's own if None.
        layout: FFmpeg's name of the channel layout of the result; None for one channel where the
            sound has one, and two where it has more.
        track: Number of the sound track, from 1; the one that players take by default.
        part: What is wanted.
        on_damage: As in `read_waveform`.

    Yields:
        (first sample, samples (channels, N) float32), in order and without overlap, counted from
        the file's time 0; between two pieces there may be a hole.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.audio import placed_sound
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> pieces = list(placed_sound(Path("sound.wav"), rate_hz=8000, layout="mono"))
        >>> start, samples = pieces[0]
        >>> start, len(samples), sum(samples.shape[1] for _, samples in pieces)
        (0, 1, 8000)
    """
    with opened(path) as container:
        stream = audio_stream(container, path, track)
        rate_hz = rate_hz or stream.rate
        damage = Damage(path, "audio", on_damage)
        zero = time_zero(container, path)
        place = Placement(path, float(zero or 0), rate_hz, layout, part)
        for packet in packets(container, path):
            if packet.stream is stream:
                for frame in damage.decode(packet):
                    yield from place.push(frame)
            if place.is_over:
                break
        yield from place.finish()
        damage.finish()


class Placement:
    """Resamples stretches of gapless sound and says where each piece belongs.

    Args:
        path: File, for messages.
        start_s: The container's time that becomes sample 0.
        rate_hz: Samples per second of the result.
        layout: Channel layout of the result, as in `placed_sound`.
        part: What is wanted.
    """

    def __init__(
        self,
        path: Path,
        start_s: float,
        rate_hz: int,
        layout: str | None,
        part: Part = WHOLE,
    ) -> None:
        self.path, self.rate_hz, self.layout = path, rate_hz, layout
        self.stop = None if math.isinf(part.end_s) else round(part.end_s * rate_hz)
        self.shift_s = -start_s
        self.graph: Graph | None = None
        self.source: tuple[str, str, int] | None = None
        # Where the present stretch began, and how much of it came in (at the source's rate).
        self.stretch_s = 0.0
        self.n_in = 0
        self.next_out = 0
        self.last_out = round(part.start_s * rate_hz)
        self.holes_s = -part.start_s

    @property
    def is_over(self) -> bool:
        """Whether all that is wanted has come."""
        return self.stop is not None and self.next_out >= self.stop

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
        # No number of a file makes the waveform long: only samples do, and these few hours.
        hole_s = time_s - expected_s
        if hole_s > JITTER_S:
            self.holes_s += hole_s
        is_jump = self.source is not None and hole_s > LONGEST_GAP_S
        if is_jump or self.holes_s > MOST_HOLES_S:
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
        wanted = self.layout or ("mono" if layout == "mono" else "stereo")
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
            *([graph.add("pan", mean_of(layout))] if layout.endswith(" channels") else []),
            # Without the limit, float stereo of equal channels would mix to 1.41 times full scale.
            graph.add("aresample", sample_rate=str(self.rate_hz), rematrix_maxval="1.0"),
            graph.add(
                "aformat",
                sample_fmts="fltp",
                channel_layouts=wanted,
                sample_rates=str(self.rate_hz),
            ),
            graph.add("abuffersink"),
        ]
        for a, b in pairwise(nodes):
            a.link_to(b)
        try:
            graph.configure()
        except (OSError, ValueError) as e:
            raise MediaError(
                f"{self.path}: its sound of layout {layout} cannot be mixed ({reason(e)}); convert "
                "it with ffmpeg -i IN -ac 2 OUT.mp4"
            ) from e
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
            if self.stop is not None:
                piece = piece[:, : max(0, self.stop - start)]
            if skip < piece.shape[1]:
                self.last_out = self.next_out
                yield start + skip, piece[:, skip:]


def layout_name(frame: AudioFrame) -> str:
    """Channel layout; the usual one of that many channels where the file does not say."""
    count = frame.layout.nb_channels
    if frame.layout.name == f"{count} channels":
        usual = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
        return usual.get(count, frame.layout.name)
    return frame.layout.name


def mean_of(layout: str) -> str:
    """What mixes channels that stand for nothing known, for FFmpeg's `pan`."""
    count = int(layout.split()[0])
    return "mono|c0=" + "+".join(f"{1 / count:.9f}*c{k}" for k in range(count))
