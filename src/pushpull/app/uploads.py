"""Files of strangers: what kind they are, by content, and how their names may be shown.

A name is only ever shown. Files are kept under names of the server's own, and FFmpeg is let near a
file only if its first bytes are those of a container of streams: playlists, which name other files,
are text and never get there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushpull.errors import MediaError
from pushpull.runtime.progress import Progress

__all__ = ["container_of", "file_stem", "look_at", "shown_name"]

EXPECTED = "expected a video: mp4, mov, mkv, webm, avi, mpg, ts, flv, wmv or ogv"
HEAD = 400
TS_PACKET, M2TS_PACKET = 188, 192

FORMATS = {
    "mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    "mkv": "matroska,webm",
    "avi": "avi",
    "flv": "flv",
    "mpeg": "mpeg",
    "mpegvideo": "mpegvideo",
    "ts": "mpegts",
    "asf": "asf",
    "ogg": "ogg",
}
"""Kinds by their first bytes, and FFmpeg's name of the format that it must find there, too."""

LONGEST_NAME = 100


def container_of(head: bytes) -> str | None:
    r"""Kind of a file by its first bytes (400 will do), None if it is no known container.

    Source: the formats' specifications (ISO/IEC 14496-12, 13818-1, 11172-1; EBML; RIFF; ASF; Ogg).

    Examples:
        >>> from pushpull.app.uploads import container_of
        >>> container_of(b"\x00\x00\x00\x20ftypisom"), container_of(b"#EXTM3U")
        ('mp4', None)
    """
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}:
        return "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "mkv"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"FLV\x01"):
        return "flv"
    if head.startswith(b"\x00\x00\x01\xba"):
        return "mpeg"
    if head.startswith(b"\x00\x00\x01\xb3"):
        return "mpegvideo"
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return "asf"
    if head.startswith(b"OggS"):
        return "ogg"
    for first, packet in ((0, TS_PACKET), (4, M2TS_PACKET)):
        if head[first : first + packet + 1 : packet] == b"\x47\x47":
            return "ts"
    return None


def look_at(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    """Whether a file is a video that may be used: `path`, `shown`, `longest_s`, `most_pixels`.

    A task of a process, since decoders are not to be trusted with files of strangers.

    Raises:
        MediaError: If it is not, with the reason in words for its owner.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.uploads import look_at
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("abc.mp4", duration_s=0.4, size=(64, 48))
        >>> asked = {"path": "abc.mp4", "shown": "talk.mp4"}
        >>> asked |= {"longest_s": 60.0, "most_pixels": 10**6}
        >>> look_at(asked, print)
        {'duration_s': 0.4, 'width': 64, 'height': 48, 'fps': 25.0}
        >>> _ = Path("notes").write_text("who said what")
        >>> look_at(asked | {"path": "notes", "shown": "notes.mp4"}, print)
        Traceback (most recent call last):
            ...
        pushpull.errors.MediaError: notes.mp4: is text; expected a video: mp4, mov, mkv,
        webm, avi, mpg, ts, flv, wmv or ogv
    """
    from pushpull.media import Part, probe, read_sound
    from pushpull.media.probe import HIGHEST_FPS
    from pushpull.schema import SAMPLE_RATE_HZ

    path, shown = Path(asked["path"]), asked["shown"]
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise MediaError(f"{shown}: is empty (0 bytes); {EXPECTED}")
    kind = container_of(head)
    if kind is None:
        raise MediaError(f"{shown}: is {guess(head)}; {EXPECTED}")
    try:
        info = probe(path)
    except MediaError as e:
        raise MediaError(str(e).replace(str(path), shown)) from e
    if info.container != FORMATS[kind]:
        raise MediaError(f"{shown}: begins as {kind} but holds {info.container}; {EXPECTED}")
    if not info.has_audio:
        raise MediaError(
            f"{shown}: has no sound; whether a face is speaking and heard cannot be said without; "
            "expected a video with sound"
        )
    longest_s = asked["longest_s"]
    if info.duration_s > longest_s:
        raise too_long(shown, f"is {info.duration_s:.0f} s long", longest_s)
    if info.n_frames > longest_s * HIGHEST_FPS:
        raise too_long(shown, f"has {info.n_frames} pictures", longest_s)
    if info.width * info.height > asked["most_pixels"]:
        raise MediaError(
            f"{shown}: its pictures have {info.width} x {info.height} pixels; expected at most "
            f"{asked['most_pixels']} in all; make it smaller"
        )
    # Stamps say when sound is heard; how much of it there is shows when it is read.
    within = Part(0.0, longest_s + 1.0)
    try:
        sound = read_sound(path, part=within, on_damage=lambda line: None).waveform
    except MediaError as e:
        raise MediaError(str(e).replace(str(path), shown)) from e
    if len(sound) > longest_s * SAMPLE_RATE_HZ:
        raise too_long(shown, f"holds more than {longest_s:.0f} s of sound", longest_s)
    return {
        "duration_s": info.duration_s,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
    }


def too_long(shown: str, what: str, longest_s: float) -> MediaError:
    """Why a video is refused."""
    return MediaError(f"{shown}: {what}; expected at most {longest_s:.0f} s; cut out a part of it")


def guess(head: bytes) -> str:
    """What something that is no video may be."""
    known = {
        b"PK\x03\x04": "a zip archive",
        b"\x1f\x8b": "a gzip archive",
        b"%PDF": "a PDF document",
        b"\x89PNG": "a PNG picture",
        b"\xff\xd8\xff": "a JPEG picture",
        b"GIF8": "a GIF picture",
        b"ID3": "an mp3 file, sound without pictures",
        b"RIFF": "a sound or picture file",
    }
    for start, words in known.items():
        if head.startswith(start):
            return words
    if b"\0" not in head:
        try:
            head[: HEAD - 4].decode("utf-8", "strict")
        except UnicodeDecodeError:
            pass
        else:
            return "text"
    return "no video that is known here, or a damaged one"


def shown_name(name: str) -> str:
    r"""A stranger's file name as it may be shown: its last part, one line, not too long.

    Control characters and those that turn the direction of writing go; markup stays as it is, for
    whoever shows it to escape.

    Examples:
        >>> from pushpull.app.uploads import shown_name
        >>> shown_name("C:\\videos\\my  talk.mp4"), shown_name("...")
        ('my talk.mp4', 'video')
    """
    last = re.split(r"[/\\]", name)[-1]
    visible = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    short = " ".join(visible.split())[:LONGEST_NAME]
    return short if short.strip(". ") else "video"


def file_stem(shown: str) -> str:
    """A name for downloads: ASCII letters, digits, dash and underscore only.

    Examples:
        >>> from pushpull.app.uploads import file_stem
        >>> file_stem("Über uns (1).mp4")
        'Uber-uns-1'
    """
    ascii_only = unicodedata.normalize("NFKD", Path(shown).stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", ascii_only).strip("-")[:60] or "video"
