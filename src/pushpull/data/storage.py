"""Tracks packed into Arrow files: written shard by shard, read at random without copies.

A data set is a folder:

    dataset.json            how it was made, and with which versions
    train/shard-00000.arrow tracks, one record batch each, not compressed
    train/index.arrow       everything but faces and sound, of all shards

and likewise `val` and `test`. A shard takes its name only when it is whole, and the index only when
all shards are there, so making a data set can be stopped at any time and goes on where it was.

The index holds a checksum of each shard, which `pushpull data verify` compares. Whatever is read is
checked to be what it has to be before it is used, so that a damaged file is an error and no more.

Arrow files are mapped into memory: to read a track is at most to copy its bytes, many processes
share one copy in the page cache, and any tool that reads Arrow reads them.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.data.records import SPLITS, Example
from pushpull.errors import CheckpointError, DatasetError, UnknownName
from pushpull.runtime.files import sha256_of, written_whole
from pushpull.runtime.records import parse_json, read_json, write_json
from pushpull.schema import FACE_SIZE, Clip, int16_samples

__all__ = [
    "ABOUT",
    "INDEX",
    "PackedTracks",
    "read_about",
    "shard_path",
    "write_about",
    "write_index",
    "write_shard",
]

Found = TypeVar("Found")

ABOUT = "dataset.json"
INDEX = "index.arrow"

LIGHT = [
    ("track_id", pa.string()),
    ("video_id", pa.string()),
    ("person", pa.string()),
    ("case", pa.string()),
    ("fps", pa.float64()),
    ("n_frames", pa.int32()),
    ("n_samples", pa.int32()),
    ("n_speaking", pa.int32()),
]
HEAVY = [
    ("speaking", pa.binary()),
    ("timestamps_s", pa.binary()),
    ("boxes", pa.binary()),
    ("waveform", pa.binary()),
    ("faces", pa.large_binary()),
]
TRACK = pa.schema(LIGHT + HEAVY)
ROW = pa.schema([*LIGHT, ("shard", pa.int32()), ("batch", pa.int32())])
SUMS = b"sha256"
"""Key of the checksums in the metadata of an index: by number of the shard."""


def shard_path(root: Path, split: str, number: int) -> Path:
    """Where a shard of a split lies.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.storage import shard_path
        >>> shard_path(Path("mine"), "train", 3).as_posix()
        'mine/train/shard-00003.arrow'
    """
    return root / split / f"shard-{number:05d}.arrow"


def write_shard(path: Path, examples: Iterable[Example]) -> int:
    """Write tracks to one file, whole or not at all; returns how many.

    Raises:
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, synth_examples
        >>> from pushpull.data.storage import shard_path, write_shard
        >>> Path("mine/train").mkdir(parents=True)
        >>> examples = synth_examples(SynthConfig(tracks=4, min_frames=4, max_frames=6), "train")
        >>> write_shard(shard_path(Path("mine"), "train", 0), examples)
        2
    """
    count = 0
    with _written(path, TRACK) as writer:
        for example in examples:
            writer.write_batch(_packed(example))
            count += 1
    return count


def write_index(root: Path, split: str, shards: Iterable[int]) -> int:
    """Write the index of a split whose shards are all there; returns the number of tracks.

    Raises:
        DatasetError: If a shard is missing, damaged, or two tracks have one name.
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import PackedTracks, SynthConfig, synth_examples
        >>> from pushpull.data.storage import shard_path, write_index, write_shard
        >>> Path("mine/train").mkdir(parents=True)
        >>> examples = synth_examples(SynthConfig(tracks=4, min_frames=4, max_frames=6), "train")
        >>> count = write_shard(shard_path(Path("mine"), "train", 0), examples)
        >>> write_index(Path("mine"), "train", [0])
        2
        >>> len(PackedTracks(Path("mine"), "train"))
        2
    """
    rows: dict[str, list[Any]] = {name: [] for name in ROW.names}
    sums = {}
    for shard in shards:
        path = shard_path(root, split, shard)
        sums[shard] = sha256_of(path)
        reader, _ = _mapped(path, TRACK)
        for batch in range(reader.num_record_batches):
            record = _batch(reader, batch, path)
            for name, _ in LIGHT:
                rows[name].append(record.column(name)[0].as_py())
            rows["shard"].append(shard)
            rows["batch"].append(batch)
    ids = rows["track_id"]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DatasetError(f"{root / split}: two tracks are named '{twice}'; names must differ")
    index = root / split / INDEX
    schema = ROW.with_metadata({SUMS: json.dumps(sums)})
    with _written(index, schema) as writer:
        writer.write_table(pa.table(rows, schema=schema))
    return len(ids)


def write_about(root: Path, made: Mapping[str, Any]) -> None:
    """Say in `dataset.json` how the data set was made.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import read_about
        >>> from pushpull.data.storage import write_about
        >>> write_about(Path(), {"by": "hand"})
        >>> read_about(Path())["made"]
        {'by': 'hand'}
    """
    write_json(root / ABOUT, {"made": made}, kind="dataset")


def read_about(root: str | PathLike[str]) -> dict[str, Any] | None:
    """What `dataset.json` says; None where there is none.

    Raises:
        DatasetError: If it is not one of ours or of a later format.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, read_about, write_synth
        >>> config = SynthConfig(tracks=3, seed=5, min_frames=4, max_frames=6)
        >>> write_synth(Path("synthetic"), config)
        >>> read_about(Path("synthetic"))["made"]["seed"]
        5
        >>> read_about(Path()) is None
        True
    """
    path = Path(root) / ABOUT
    if not path.is_file():
        return None
    advice = "make the data set again"
    about = read_json(path, kind="dataset", error=DatasetError, advice=advice)
    if not isinstance(about.get("made"), dict):
        raise DatasetError(f"{path}: does not say how the data set was made; {advice}")
    return about


class PackedTracks:
    """A split of a packed data set.

    Tracks are read from files mapped into memory; an instance can be sent to another process.

    Args:
        root: Folder of the data set.
        split: "train", "val" or "test".

    Raises:
        DatasetError: If there is no such split, or it is not finished.
        UnknownName: If there can be no such split.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import PackedTracks, SynthConfig, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=4, max_frames=6))
        >>> tracks = PackedTracks(Path("synthetic"), "train")
        >>> tracks.column("case"), tracks.waveform(0).dtype
        (['speaking'], torch.float32)
    """

    def __init__(self, root: str | PathLike[str], split: str) -> None:
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        self.root, self.split = Path(root), split
        self._readers: dict[int, tuple[Any, NDArray[np.uint8]]] = {}
        index = self.root / split / INDEX
        if not index.is_file():
            there = [s for s in SPLITS if (self.root / s / INDEX).is_file()]
            state = (
                "is not finished: run the command that makes it again"
                if (self.root / split).is_dir()
                else f"is not there; there is {', '.join(there) or 'no split at all'}"
            )
            raise DatasetError(f"{root}: the split '{split}' {state}")
        self._rows = _index(index)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def column(self, name: str) -> list[Any]:
        """A column of the index: track_id, video_id, person, case, fps, n_frames, n_speaking..."""
        return list(self._rows.column(name).to_pylist())

    @cached_property
    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each track (N,)."""
        return np.array(self.column("n_frames"), np.int64)

    @cached_property
    def track_ids(self) -> list[str]:
        """Name of each track."""
        return self.column("track_id")

    def __getitem__(self, index: int) -> Example:
        """The track at a place in the index.

        Raises:
            DatasetError: If its shard is missing or damaged.
        """
        return self._read(index, _unpacked)

    def clip(self, index: int) -> Clip:
        """What is learnt from a track; its faces lie in the mapped file and are not copied.

        Who changes them changes what this process reads again, not the file.
        """
        return self._read(index, _clip)

    def waveform(self, index: int) -> Tensor:
        """The sound of a track alone (S,)."""
        return self._read(index, _sound)

    def damaged(self) -> dict[Path, str]:
        """Shards that are no longer what they were when the index was written, each with why.

        All of them are read. A data set that was made without checksums has none to compare.
        """
        found = {}
        listed = Counter(self._rows.column("shard").to_pylist())
        for shard, wanted in _sums(self._rows).items():
            path = shard_path(self.root, self.split, shard)
            try:
                if sha256_of(path) != wanted:
                    found[path] = "has another checksum than when it was made"
                    continue
                held = _mapped(path, TRACK)[0].num_record_batches
                if held != listed[shard]:
                    found[path] = f"holds {held} tracks; the index lists {listed[shard]}"
            except (CheckpointError, DatasetError) as e:
                found[path] = str(e)
        return found

    @property
    def has_checksums(self) -> bool:
        """Whether damage that leaves everything readable can be told."""
        return not len(self) or bool(_sums(self._rows))

    def _read(self, index: int, unpack: Callable[[Any, NDArray[np.uint8]], Found]) -> Found:
        shard, batch = (self._rows.column(name)[index].as_py() for name in ("shard", "batch"))
        path = shard_path(self.root, self.split, shard)
        if shard not in self._readers:
            self._readers[shard] = _mapped(path, TRACK)
        reader, pages = self._readers[shard]
        record = _batch(reader, batch, path)
        for name, _ in LIGHT:
            here, there = self._rows.column(name)[index].as_py(), record.column(name)[0].as_py()
            if here != there:
                raise _damage(path, f"{name} is {there!r}, in the index {here!r}")
        try:
            return unpack(record, pages)
        except (pa.ArrowException, ValueError) as e:
            raise _damage(path, f"track {self.track_ids[index]}: {e}") from e


def _damage(path: Path, what: str) -> DatasetError:
    return DatasetError(
        f"{path}: is damaged ({what}); delete it and the index beside it, and make the data set "
        "again: what is whole is kept"
    )


def _batch(reader: Any, number: int, path: Path) -> Any:
    """A track of a shard, known to be one row of what it should be."""
    try:
        if not 0 <= number < reader.num_record_batches:
            raise ValueError(f"holds {reader.num_record_batches} tracks, not track {number}")
        record = reader.get_batch(number)
        record.validate(full=True)
        if record.num_rows != 1 or any(column.null_count for column in record.columns):
            raise ValueError(f"track {number} has {record.num_rows} rows, or holes")
        _check_light({name: record.column(name)[0].as_py() for name, _ in LIGHT})
    except (pa.ArrowException, OSError, ValueError) as e:
        raise _damage(path, str(e)) from e
    return record


def _check_light(row: Mapping[str, Any]) -> None:
    """What is said of a track is possible."""
    speaking, frames, fps = row["n_speaking"], row["n_frames"], row["fps"]
    if frames < 1 or not 0 <= speaking <= frames or row["n_samples"] < 1:
        raise ValueError(f"{speaking} of {frames} frames speak, {row['n_samples']} samples")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"its frame rate is {fps}")


def _index(path: Path) -> Any:
    """The table of an index, known to be one."""
    try:
        rows = _mapped(path, ROW)[0].read_all()
        rows.validate(full=True)
        if any(column.null_count for column in rows.columns):
            raise ValueError("it has holes")
        for row in rows.to_pylist():
            _check_light(row)
            if row["shard"] < 0:
                raise ValueError(f"shard {row['shard']}")
        _sums(rows)
    except (pa.ArrowException, OSError, ValueError) as e:
        raise DatasetError(
            f"{path}: is damaged ({e}); delete it and make the data set again: shards are kept"
        ) from e
    return rows


def _sums(rows: Any) -> dict[int, str]:
    """Checksums of the shards by number; empty where the index was written without."""
    found = parse_json((rows.schema.metadata or {}).get(SUMS, b"{}"))
    if not isinstance(found, dict):
        raise ValueError("its checksums are no table")
    return {int(shard): str(wanted) for shard, wanted in found.items()}


def _mapped(path: Path, schema: Any) -> tuple[Any, NDArray[np.uint8]]:
    """Reader of a file, and its bytes in pages of this process's own: never written back."""
    try:
        # Torch keeps no file open behind a mapping: AVA has a thousand shards, and processes are
        # often allowed a thousand files.
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # A name that is no UTF-8 torch cannot take; Linux has another for what is open.
            plainly = os.fsencode(path).decode(errors="replace") == str(path)
            name = str(path) if plainly else f"/proc/self/fd/{file.fileno()}"
            pages = torch.from_file(name, shared=False, size=size, dtype=torch.uint8).numpy()
        reader = pa.ipc.open_file(pa.py_buffer(pages))
        if not reader.schema.equals(schema):
            raise ValueError("it has other columns")
    except (pa.ArrowException, OSError, RuntimeError, ValueError) as e:
        raise DatasetError(f"{path}: is missing or damaged ({e}); make the data set again") from e
    return reader, pages


@contextmanager
def _written(path: Path, schema: Any) -> Iterator[Any]:
    """A writer of a whole file; opened here, as pyarrow takes no name that is no UTF-8."""
    with (
        written_whole(path) as temporary,
        temporary.open("wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        yield writer


def _packed(example: Example) -> Any:
    clip = example.clip
    assert clip.speaking is not None  # noqa: S101
    speaking = clip.speaking.numpy().astype(np.uint8)
    light = [
        example.track_id, example.video_id, example.person, example.case, float(clip.fps),
        len(clip.faces), len(clip.waveform), int(speaking.sum()),
    ]  # fmt: skip
    heavy = [
        speaking,
        example.timestamps_s.astype("<f8"),
        example.boxes.astype("<f8"),
        int16_samples(clip.waveform.numpy()),
        clip.faces.numpy(),
    ]
    columns = [pa.array([v], kind) for v, (_, kind) in zip(light, LIGHT, strict=True)]
    columns += [pa.array([v.tobytes()], kind) for v, (_, kind) in zip(heavy, HEAVY, strict=True)]
    return pa.record_batch(columns, schema=TRACK)


def _raw(record: Any, pages: NDArray[np.uint8], name: str, kind: str) -> NDArray[Any]:
    """The bytes of the only row where they lie; a scalar of pyarrow would be a copy."""
    column = record.column(name)
    _, ends, values = column.buffers()
    if values is None or ends is None:
        raise ValueError(f"column {name} is empty")
    places = np.frombuffer(ends, "<i8" if pa.types.is_large_binary(column.type) else "<i4")
    start, end = places[column.offset : column.offset + 2].tolist()
    if not 0 <= start <= end <= values.size:
        raise ValueError(f"column {name} ends at byte {end} of {values.size}")
    first = values.address - pages.ctypes.data
    if not 0 <= first <= first + end <= len(pages):
        # As of a batch that says that it is compressed.
        raise ValueError(f"column {name} does not lie in the file")
    return pages[first + start : first + end].view(kind)


def _sound(record: Any, pages: NDArray[np.uint8]) -> Tensor:
    samples = _raw(record, pages, "waveform", "<i2").astype(np.float32)
    samples /= 32768
    return torch.from_numpy(samples)


def _clip(record: Any, pages: NDArray[np.uint8]) -> Clip:
    return Clip(
        waveform=_sound(record, pages),
        faces=torch.from_numpy(
            _raw(record, pages, "faces", "u1").reshape(-1, FACE_SIZE, FACE_SIZE)
        ),
        fps=float(record.column("fps")[0].as_py()),
        speaking=torch.from_numpy(_raw(record, pages, "speaking", "u1").astype(np.int64)),
    )


def _unpacked(record: Any, pages: NDArray[np.uint8]) -> Example:
    def text(name: str) -> str:
        return str(record.column(name)[0].as_py())

    clip = _clip(record, pages)
    return Example(
        track_id=text("track_id"),
        video_id=text("video_id"),
        person=text("person"),
        case=text("case"),
        timestamps_s=_raw(record, pages, "timestamps_s", "<f8").copy(),
        boxes=_raw(record, pages, "boxes", "<f8").reshape(-1, 4).copy(),
        clip=replace(clip, faces=clip.faces.clone()),
    )
