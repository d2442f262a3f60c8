"""Opening a media file and taking its packets, with every failure as one clear line.

Corrupt packets are skipped and counted; a file of which more than a tenth is corrupt, or that ends
well before the length its header states, is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushpull.errors import MediaError

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer

__all__ = [
    "ALONE",
    "FORMATS",
    "HEADERLESS",
    "LONGEST_GAP_S",
    "RESTART_S",
    "Damage",
    "OnDamage",
    "coding_time_s",
    "is_flush",
    "opened",
    "packet_time_s",
    "packets",
    "reason",
]

OnDamage = Callable[[str], None]

LONGEST_GAP_S = 3600.0
"""Timestamps that jump forward by more are taken for broken, not for a pause."""

RESTART_S = 1.0
"""Timestamps that jump back by more have started anew: two recordings joined in one file."""

HEADERLESS = {"mpeg", "mpegts", "mpegvideo"}
"""Containers that state no length: FFmpeg takes the last timestamp it finds near the end."""

FORMATS = (
    "3gp", "aac", "ac3", "aiff", "alaw", "amr", "ape", "apng", "asf", "ast", "au", "av1", "avi",
    "avs2", "avs3", "caf", "cavsvideo", "dirac", "dnxhd", "dsf", "dts", "dtshd", "dv", "eac3",
    "f4v", "flac", "flv", "gif", "gxf", "h261", "h263", "h264", "hevc", "ivf", "lxf", "m4v",
    "matroska", "mjpeg", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mpegvideo", "mpjpeg",
    "mulaw", "mxf", "nsv", "nut", "obu", "ogg", "oma", "rm", "roq", "shn", "smk", "swf", "tak",
    "truehd", "tta", "vc1", "voc", "vvc", "w64", "wav", "webm", "wtv", "wv", "yuv4mpegpipe",
)  # fmt: skip
"""What is read: containers that hold sound and pictures themselves.

Left out are lists and scripts (concat, hls, dash, sdp, avisynth), series of pictures (image2) and
subtitles with a second file, by which FFmpeg would open other files than the one that was named.
"""

ALONE = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
"""Options with which FFmpeg opens one file and no other."""

TRUNCATED_S = 0.5
DAMAGED_SHARE = 0.1
MOST_ERRORS = 100

log = logging.getLogger(__name__)


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[InputContainer]:
    """Open a media file for reading.

    Raises:
        MediaError: If there is no such file, or it is none that FFmpeg reads.

    Examples:
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import opened
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     print(container.format.name, container.duration / 1e6)
        wav 1.0
    """
    import av

    path = Path(path)
    try:
        if not path.exists():
            raise MediaError(f"{path}: no such file")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise MediaError(f"{path}: is {kind}; expected a video file")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty (0 bytes); expected a video; copy it again")
        # The protocol prefix keeps a colon in a file name from being read as a protocol. Tags in
        # old encodings are common and not worth an error.
        container = av.open(
            f"file:{path}",
            metadata_errors="replace",
            container_options=ALONE,
        )
    except (av.error.InvalidDataError, av.error.ArgumentError) as e:
        # The second is what FFmpeg says of a format that is not asked for.
        raise MediaError(f"{path}: {unreadable(path)}") from e
    except (OSError, av.error.FFmpegError, ValueError) as e:
        raise MediaError(f"{path}: cannot be opened ({reason(e)})") from e
    with container:
        yield container


def unreadable(path: Path) -> str:
    """A guess from its first bytes at why FFmpeg does not know a file, and what to do."""
    with path.open("rb") as file:
        head = file.read(1024)
    if head[4:8] in {b"ftyp", b"mdat", b"moov"}:
        return (
            "is an mp4 whose index is missing or damaged, as when a recording or copy was cut off; "
            "expected a whole file; copy it again"
        )
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")):
        return "is a picture; expected a video"
    if b"\0" not in head and head.isascii():
        return "is text; expected a video"
    return "is no media file that FFmpeg reads; expected a video; check that it plays"


def reason(e: Exception) -> str:
    """What an exception of PyAV or the system says, without numbers and file names.

    Examples:
        >>> from pushpull.media.container import reason
        >>> reason(FileNotFoundError(2, "No such file or directory", "talk.mp4"))
        'No such file or directory'
    """
    return str(getattr(e, "strerror", None) or e)


class Damage:
    """Counts the packets of one stream that cannot be decoded, and decides when it is too much.

    Args:
        path: File or other source, for messages.
        what: `video` or `audio`.
        on_damage: Called once at the end with one line if anything was damaged; by default the
            line is logged as a warning.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media.container import Damage
        >>> damage = Damage(Path("talk.mp4"), "video", on_damage=print)
        >>> damage.n_packets = 500  # `decode` counts them
        >>> damage.damaged(time_s=1.5)
        >>> damage.finish()
        talk.mp4: 1 of 500 video packets are damaged, the first at 1.50 s;
        they were skipped or patched
    """

    def __init__(self, path: Path | str, what: str, on_damage: OnDamage | None) -> None:
        self.path, self.what = path, what
        self.on_damage = on_damage or log.warning
        self.n_packets = self.n_damaged = 0
        self.first_s: float | None = None

    def decode(self, packet: Packet[Any]) -> list[Any]:
        """Frames of a packet; none if it is damaged."""
        import av

        self.n_packets += not is_flush(packet)
        try:
            frames: list[Any] = packet.decode()
        except EOFError:
            return []
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            self.damaged(packet_time_s(packet))
            return []
        if any(frame.is_corrupt for frame in frames):
            self.damaged(frames[0].time)
        return frames

    def damaged(self, time_s: float | None) -> None:
        """Count one packet that is damaged."""
        self.n_damaged += 1
        if self.first_s is None:
            self.first_s = time_s
        # Long files fail early, short ones in `finish`.
        if self.n_damaged >= MOST_ERRORS and self.is_too_much:
            raise self.error()

    @property
    def is_too_much(self) -> bool:
        """Whether more is damaged than a result should be built on."""
        return self.n_damaged > DAMAGED_SHARE * self.n_packets

    def finish(self) -> None:
        """Say what was skipped.

        Raises:
            MediaError: If too much was.
        """
        if self.n_damaged and self.is_too_much:
            raise self.error()
        if self.n_damaged:
            self.on_damage(f"{self.summary()}; they were skipped or patched")

    def summary(self) -> str:
        """What was damaged, as the beginning of a line."""
        where = "" if self.first_s is None else f", the first at {self.first_s:.2f} s"
        return (
            f"{self.path}: {self.n_damaged} of {self.n_packets} {self.what} packets are damaged"
            f"{where}"
        )

    def error(self) -> MediaError:
        """The error that says so."""
        return MediaError(
            f"{self.summary()}; expected at most one in {1 / DAMAGED_SHARE:.0f}; copy the file "
            "again, or save what can be saved with ffmpeg -err_detect ignore_err -i IN OUT.mp4"
        )


def packets(container: InputContainer, path: Path) -> Iterator[Packet[Any]]:
    """Every packet of every stream in file order, then an empty one per stream to flush decoders.

    Raises:
        MediaError: If the file cannot be read on, or ends before the length that it states.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import is_flush, opened, packets
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     sizes = [p.size for p in packets(container, Path("sound.wav")) if not is_flush(p)]
        >>> sum(sizes)  # bytes of float32
        64000
    """
    import av

    end_s = 0.0
    n_errors = 0
    while True:
        try:
            for packet in container.demux():
                if is_flush(packet):
                    # Whoever skipped unreadable stretches has said so; the end may be one.
                    if n_errors == 0:
                        check_complete(container, path, end_s)
                elif packet.size == 0:
                    # A frame that the recorder dropped; a decoder would take it for the end.
                    continue
                else:
                    start_s = packet_time_s(packet)
                    if start_s is not None:
                        length_s = float((packet.duration or 0) * packet.time_base)
                        end_s = max(end_s, start_s + length_s)
                yield packet
            return
        except av.error.InvalidDataError as e:
            # One unreadable stretch: demuxers go on behind it.
            n_errors += 1
            if n_errors > MOST_ERRORS:
                raise MediaError(
                    f"{path}: cannot be read beyond {end_s:.2f} s ({reason(e)}); copy it again"
                ) from e
        except (OSError, av.error.FFmpegError) as e:
            raise MediaError(f"{path}: cannot be read beyond {end_s:.2f} s ({reason(e)})") from e


def is_flush(packet: Packet[Any]) -> bool:
    """Whether this is the empty packet with which PyAV ends a stream.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import is_flush, opened, packets
        >>> write_wav("sound.wav", np.zeros(100, np.float32))
        >>> with opened("sound.wav") as container:
        ...     [is_flush(packet) for packet in packets(container, Path("sound.wav"))]
        [False, True]
    """
    return packet.size == 0 and packet.dts is None and packet.pts is None


def packet_time_s(packet: Packet[Any]) -> float | None:
    """The container's time of a packet; None where it has none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import opened, packet_time_s, packets
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     times_s = [packet_time_s(p) for p in packets(container, Path("sound.wav"))]
        >>> times_s[0], times_s[-1]  # the last is the empty one
        (0.0, None)
    """
    return _seconds(packet.dts if packet.pts is None else packet.pts, packet)


def coding_time_s(packet: Packet[Any]) -> float | None:
    """The container's time at which a packet is to be decoded, which packets follow in a file.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import write_wav
        >>> from pushpull.media.container import coding_time_s, opened, packets
        >>> write_wav("sound.wav", np.zeros(16000, np.float32))
        >>> with opened("sound.wav") as container:
        ...     coding_time_s(next(packets(container, Path("sound.wav"))))
        0.0
    """
    return _seconds(packet.pts if packet.dts is None else packet.dts, packet)


def _seconds(stamp: int | None, packet: Packet[Any]) -> float | None:
    base = packet.time_base
    # The number that the product as a fraction is nearest to, in a third of its time.
    return None if stamp is None or not base else stamp * base.numerator / base.denominator


def check_complete(container: InputContainer, path: Path, end_s: float) -> None:
    """Compare where the packets end with what the header states."""
    stated_s = stated_duration_s(container)
    if stated_s is None or container.format.name in HEADERLESS:
        return
    missing_s = stated_s - end_s
    rate = next((s.average_rate for s in container.streams.video if s.average_rate), None)
    # The last frame of a slow video may be stated longer than its packet says.
    slack_s = TRUNCATED_S + (2 / float(rate) if rate else 0.0)
    if missing_s > slack_s:
        raise MediaError(
            f"{path}: is cut off or damaged: it can be read up to {end_s:.2f} s of "
            f"{stated_s:.2f} s; copy it again, or keep what is there with "
            "ffmpeg -i IN -c copy OUT.mkv"
        )


def stated_duration_s(container: InputContainer) -> float | None:
    """Length of the file as its header has it."""
    if container.format.name == "avi":
        # FFmpeg shortens the duration of a cut avi; the header's number of frames stays.
        lengths = [
            float(s.frames / s.average_rate)
            for s in container.streams.video
            if s.frames and s.average_rate
        ]
        return max(lengths, default=None)
    return container.duration / 1_000_000 if container.duration else None
