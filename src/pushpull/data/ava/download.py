"""Files of a list over HTTP: each whole or not there, gone on with where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pushpull.errors import DatasetError, OutputError
from pushpull.runtime.files import output_dir, read_text, sha256_of, written_whole
from pushpull.runtime.progress import Progress, no_progress

__all__ = ["AVA_URL", "SUMS", "Download", "download_list", "read_list"]

AVA_URL = "https://s3.amazonaws.com/ava-dataset/trainval/"
"""Where CVDF keeps the videos of AVA."""
SUMS = "SHA256SUMS"
TIMEOUT_S = 30.0
TRIES = 4
BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What became of one file.

    Attributes:
        name: File name.
        done: Whether it is there, whole.
        what: "was there", "fetched", or why not.

    Examples:
        >>> from pushpull.data.ava import Download
        >>> Download(name="a.mp4", done=True, what="fetched").done
        True
    """

    name: str
    done: bool
    what: str


def read_list(path: Path) -> list[str]:
    r"""File names, one on a line, as in AVA's `ava_file_names_trainval_v2.1.txt`.

    Raises:
        DatasetError: If it cannot be read, is empty, or a line is no plain file name.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava.download import read_list
        >>> _ = Path("names.txt").write_text("a.mp4\nb.mkv\n")
        >>> read_list(Path("names.txt"))
        ['a.mp4', 'b.mkv']
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DatasetError(f"{path}: cannot be read ({e}); expected file names, one a line") from e
    names = []
    for n, line in enumerate(lines, 1):
        name = line.strip()
        if name and (Path(name).name != name or name in (".", "..")):
            raise DatasetError(f"{path}, line {n}: {name[:60]!r} is no plain file name")
        if name:
            names.append(name)
    if not names:
        raise DatasetError(f"{path}: is empty; expected file names, one a line")
    return names


def download_list(
    names: list[str], folder: Path, *, url: str = AVA_URL,
    progress: Progress = no_progress,
) -> list[Download]:  # fmt: skip
    """Fetch files that are not there.

    A file is written as `NAME.part`, gone on with by a range request, and takes its name when its
    length is the one announced and its checksum the one in `folder`/SHA256SUMS, where that has one.
    Checksums of what was fetched are added there, so that a later run finds damage.

    Args:
        names: Files below `url`.
        folder: Where they go.
        url: Where they are.
        progress: Called with a name, bytes done and in all.

    Raises:
        DatasetError: If SHA256SUMS cannot be read.
        OutputError: If nothing can be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava import download_list
        >>> Path("videos").mkdir()
        >>> _ = Path("videos/a.mp4").write_bytes(b"whole")  # of an earlier run
        >>> [one.what for one in download_list(["a.mp4"], Path("videos"))]
        ['was there']
    """
    output_dir(folder)
    sums = _read_sums(folder / SUMS)
    found = []
    for name in names:
        result = _one(name, folder, url.rstrip("/") + "/", sums, progress)
        found.append(result)
        if result.done and name not in sums:
            sums[name] = sha256_of(folder / name)
            with written_whole(folder / SUMS) as temporary:
                temporary.write_text("".join(f"{v}  {k}\n" for k, v in sums.items()))
    return found


def _sums_text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as e:
        raise DatasetError(f"{path}: cannot be read ({e}); expected sha256 sums") from e


def _read_sums(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    sums = {}
    for n, line in enumerate(_sums_text(path).splitlines(), 1):
        digest, _, name = line.partition("  ")
        if len(digest) != hashlib.sha256().digest_size * 2 or not name:
            raise DatasetError(f"{path}, line {n}: expected a sha256, two spaces, a file name")
        sums[name] = digest.lower()
    return sums


def _one(
    name: str, folder: Path, url: str, sums: Mapping[str, str], progress: Progress
) -> Download:
    path, part = folder / name, folder / f"{name}.part"
    if path.is_file():
        if name in sums and sha256_of(path) != sums[name]:
            return Download(
                name=name,
                done=False,
                what=f"{path} does not have the checksum of {SUMS}; delete it to fetch it again",
            )
        return Download(name=name, done=True, what="was there")
    why = ""
    for _ in range(TRIES):
        why = _fetch(name, part, url, progress)
        if not why:
            break
    if why:
        return Download(name=name, done=False, what=f"{url}{name}: {why}")
    if name in sums and sha256_of(part) != sums[name]:
        part.unlink()
        return Download(
            name=name, done=False, what=f"{url}{name}: has not the checksum of {SUMS}; thrown away"
        )
    part.replace(path)
    return Download(name=name, done=True, what="fetched")


def _fetch(name: str, part: Path, url: str, progress: Progress) -> str:
    """One try at what is missing of a file; why it is not whole, or nothing."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with requests.get(url + name, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                # What is there is as long as the file, or longer: begin anew.
                part.unlink()
                return "what was there of it did not fit; begun anew"
            if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
                return f"HTTP status {answer.status_code}"
            # A server that knows no ranges sends all of it again.
            have = have if answer.status_code == requests.codes.partial_content else 0
            length = answer.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            for got in _appended(part, answer.iter_content(BLOCK), have):
                progress(name, got, total)
                have = got
    except requests.RequestException as e:
        return f"the connection failed ({type(e).__name__})"
    except OSError as e:
        raise OutputError(f"{part}: cannot be written ({e.strerror})") from e
    if total is not None and have != total:
        return f"{have} of {total} bytes came"
    return ""


def _appended(part: Path, blocks: Iterator[bytes], have: int) -> Iterator[int]:
    with part.open("ab" if have else "wb") as file:
        for block in blocks:
            file.write(block)
            have += len(block)
            yield have
