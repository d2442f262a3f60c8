"""Files that name another file, `secret.mkv`, which FFmpeg would open by them."""

import struct
from pathlib import Path

from support.media_files import make_video

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{}'\n"

TEXTS = {
    "list.m3u8": HLS,
    "hls.mp4": HLS,
    "list.ffconcat": CONCAT,
    "concat.mp4": CONCAT,
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "manifest.mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
        "<Representation><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ),
    "script.avs": 'DirectShowSource("{}")\n',
    "captions.idx.mp4": "# VobSub index file, v7\nid: en, index: 0\n# {}\n",
}


def write_lists(folder: Path, secret: Path) -> list[Path]:
    """Lists of all kinds below a folder, and a film whose pictures are said to be in the other."""
    paths = []
    for name, text in TEXTS.items():
        path = folder / name
        path.write_text(text.format(secret.name))
        paths.append(path)
    return [*paths, reference_film(folder / "reference.mov", secret)]


def reference_film(path: Path, secret: Path) -> Path:
    """A QuickTime film whose tracks lie in another file (Macintosh alias, by absolute path)."""
    make_video(path, size=(64, 48), n_frames=25, audio_codec="pcm_s16le")
    data = path.read_bytes()
    path.write_bytes(b"".join(_boxes(data, alias(secret))))
    return path


def alias(secret: Path) -> bytes:
    """A data reference of type `alis` with the absolute path of a file as its only record."""
    place = str(secret.absolute()).encode()
    place += b"\0" * (len(place) % 2)
    name = secret.name.encode()[:63]
    body = (
        bytes(10)
        + bytes(28)  # Length and name of the volume.
        + bytes(12)
        + bytes([len(name)]) + name.ljust(63, b"\0")
        + bytes(16)
        + struct.pack(">HH", 0, 0)
        + bytes(16)
        + struct.pack(">HH", 2, len(place)) + place
        + struct.pack(">HH", 0xFFFF, 0)
    )  # fmt: skip
    return struct.pack(">I4sI", 12 + len(body), b"alis", 0) + body


PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"dinf")


def _boxes(data: bytes, reference: bytes) -> list[bytes]:
    """Boxes of a film with every data reference replaced."""
    found, at = [], 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        body = data[at + head : at + size]
        if kind in PARENTS:
            body = b"".join(_boxes(body, reference))
        elif kind == b"dref":
            body = body[:8] + reference
        if kind in (*PARENTS, b"dref"):
            found.append(struct.pack(">I4s", 8 + len(body), kind) + body)
        else:
            found.append(data[at : at + size])
        at += size
    return found
