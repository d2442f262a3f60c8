"""Which streams of a file are the film and its sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushpull.errors import ConfigError, MediaError
from pushpull.media.container import is_flush, opened, packets

if TYPE_CHECKING:
    from av import AudioStream, VideoStream
    from av.container import InputContainer

__all__ = [
    "SoundTrack",
    "audio_stream",
    "default_track",
    "has_video",
    "pixel_aspect",
    "sound_tracks",
    "square_size",
    "video_stream",
]

ASPECTS = (0.2, 5.0)
"""Pixels that are wider or narrower than this many times their height are a broken header."""

LONGEST_TAG = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundTrack:
    """One sound track of a file.

    Attributes:
        number: From 1, as players count them.
        codec: FFmpeg's name; None where no decoder knows it.
        channels: How many; None where that is not known.
        rate_hz: Samples per second; None where that is not known.
        language: As the file has it, such as "deu"; None where it has none.
        title: As the file has it; None where it has none.

    Examples:
        >>> from pushpull.media import SoundTrack
        >>> print(SoundTrack(number=2, codec="aac", channels=2, rate_hz=48000, language="deu"))
        2 (aac, 2 channels, deu)
    """

    number: int
    codec: str | None = None
    channels: int | None = None
    rate_hz: int | None = None
    language: str | None = None
    title: str | None = None

    def __str__(self) -> str:
        known = [
            self.codec or "unknown codec",
            f"{self.channels} channel{'s' * (self.channels != 1)}" if self.channels else None,
            self.language,
            self.title,
        ]
        return f"{self.number} ({', '.join(part for part in known if part)})"


def has_video(container: InputContainer) -> bool:
    """Whether there is a video stream; cover pictures do not count.

    Examples:
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import opened
        >>> from pushpull.media.streams import has_video
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     has_video(container)
        False
    """
    return bool(_films(container))


def _films(container: InputContainer) -> list[VideoStream]:
    """Video streams that are not marked as cover pictures."""
    from av.stream import Disposition

    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The film: of several tracks with more than one picture, the default, then the longest.

    Raises:
        MediaError: If there is none, or this build of FFmpeg cannot decode it.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import opened
        >>> from pushpull.media.streams import video_stream
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     video_stream(container, Path("sound.wav"))
        Traceback (most recent call last):
            ...
        pushpull.errors.MediaError: sound.wav: has no video stream (it has: audio); expected
        a video
    """
    films = _films(container)
    if not films:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise MediaError(f"{path}: has no video stream (it has: {kinds}); expected a video")
    film = films[0] if len(films) == 1 else _best_film(films, path)
    stream: VideoStream = _decodable(film, path)
    return stream


def _best_film(films: list[VideoStream], path: Path) -> VideoStream:
    from av.stream import Disposition

    pictures = dict.fromkeys((film.index for film in films), 0)
    # In another container, since reading one takes its packets away.
    with opened(path) as container:
        for packet in packets(container, path):
            if packet.stream_index in pictures and not is_flush(packet):
                pictures[packet.stream_index] += 1

    def rank(film: VideoStream) -> tuple[bool, bool, bool, int]:
        count = pictures[film.index]
        is_default = bool(film.disposition & Disposition.default)
        return (film.codec_context is not None, count > 1, is_default, count)

    return max(films, key=rank)


def pixel_aspect(video: VideoStream) -> float:
    """Width of a pixel in its heights; 1 where nothing or nonsense is stated.

    Examples:
        >>> from pushpull.media import VideoWriter
        >>> from pushpull.media.container import opened
        >>> from pushpull.media.streams import pixel_aspect
        >>> with VideoWriter("clip.mp4", width=64, height=48, fps=25) as video:
        ...     video.write(np.zeros((48, 64), np.uint8))
        >>> with opened("clip.mp4") as container:
        ...     pixel_aspect(container.streams.video[0])
        1.0
    """
    stated = float(video.sample_aspect_ratio or 1)
    return stated if ASPECTS[0] <= stated <= ASPECTS[1] else 1.0


def square_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Size in square pixels of a picture: its shorter pixels' side is drawn out, so none is lost.

    Args:
        width: Pixels as stored.
        height: Pixels as stored.
        aspect: Width of a pixel in its heights.

    Examples:
        >>> from pushpull.media.streams import square_size
        >>> square_size(720, 576, 64 / 45), square_size(720, 288, 1 / 2), square_size(64, 47, 1.0)
        ((1024, 576), (720, 576), (64, 47))
    """
    if aspect > 1:
        return 2 * round(width * aspect / 2), height
    if aspect < 1:
        return width, 2 * round(height / aspect / 2)
    return width, height


def sound_tracks(container: InputContainer) -> tuple[SoundTrack, ...]:
    """All sound tracks of a file.

    Examples:
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import opened
        >>> from pushpull.media.streams import sound_tracks
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     [str(track) for track in sound_tracks(container)]
        ['1 (pcm_f32le, 1 channel)']
    """
    tracks = []
    for number, stream in enumerate(container.streams.audio, start=1):
        context: Any = stream.codec_context
        tracks.append(
            SoundTrack(
                number=number,
                codec=context.codec.canonical_name if context else None,
                channels=(context.layout.nb_channels or None) if context else None,
                rate_hz=(context.rate or None) if context else None,
                language=_shown(stream.metadata.get("language", "").replace("und", "")),
                title=_shown(stream.metadata.get("title")),
            )
        )
    return tuple(tracks)


def _shown(tag: str | None) -> str | None:
    """A tag in one short line, as strangers may write anything into it."""
    words = "".join(c if c.isprintable() else " " for c in tag or "").split()
    return " ".join(words)[:LONGEST_TAG] or None


def default_track(container: InputContainer) -> int | None:
    """Number of the sound track that players take, from 1; None where there is no sound.

    Examples:
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import opened
        >>> from pushpull.media.streams import default_track
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     default_track(container)
        1
    """
    best = container.streams.best("audio")
    if best is None:
        return None
    return [stream.index for stream in container.streams.audio].index(best.index) + 1


def audio_stream(container: InputContainer, path: Path, track: int | None = None) -> AudioStream:
    """A sound track by its number from 1; by default the one that players take.

    Raises:
        MediaError: If there is none, or this build of FFmpeg cannot decode it.
        ConfigError: If there is no track of this number.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import opened
        >>> from pushpull.media.streams import audio_stream
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     audio_stream(container, Path("sound.wav")).rate
        16000
    """
    number = default_track(container) if track is None else track
    if number is None or not container.streams.audio:
        raise MediaError(
            f"{path}: has no audio stream; expected a video with sound; add its sound with "
            "ffmpeg -i VIDEO -i SOUND -c:v copy OUT.mp4"
        )
    known = sound_tracks(container)
    if not 1 <= number <= len(known):
        raise ConfigError(
            f"{path}: has no sound track {number}; expected one of {', '.join(map(str, known))}"
        )
    stream: AudioStream = _decodable(container.streams.audio[number - 1], path)
    return stream


def _decodable(stream: Any, path: Path) -> Any:
    if stream.codec_context is None:
        raise MediaError(
            f"{path}: the {stream.type} stream is in a codec that this FFmpeg cannot decode; "
            "expected e.g. H.264 and AAC; convert it with ffmpeg -i IN OUT.mp4"
        )
    return stream
