"""Packed storage: the same tracks in Arrow (ours), Lance, litdata and WebDataset.

    python benchmarks/bench_storage.py [--tracks 200] [--json FILE]

Each holds a track as three fields: faces uint8, sound int16, labels uint8, uncompressed. Timed in
one process with the files in the page cache, tracks as writable tensors: a pass in file order, a
pass at random (a training epoch; WebDataset has no random access), and the wait for the first track
of a freshly opened set. Rounds over the formats alternate; figures are medians. Formats that are
not installed are left out and said so: `pip install pylance litdata webdataset`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pushpull.data import SynthConfig, open_tracks, write_synth
from pushpull.runtime.malloc import keep_freed_memory

FIELDS = {"faces": np.uint8, "waveform": np.int16, "speaking": np.uint8}
SHARD_BYTES = 64 << 20
Row = dict[str, bytes]


def main() -> None:
    """Write every format, time, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "arrow"
        write_synth(
            source,
            SynthConfig(tracks=args.tracks, seed=0, min_frames=40, max_frames=120),
            workers=2,
        )
        record = compare(source, Path(folder), args.runs)
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def compare(source: Path, folder: Path, runs: int) -> dict[str, Any]:
    """Figures of each format."""
    tracks = open_tracks(source, "train")
    rows = [packed(tracks[i]) for i in range(len(tracks))]
    frames = int(tracks.n_frames.sum())
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    formats: dict[str, Callable[[], Any]] = {"arrow (ours)": lambda: Ours(source)}
    versions, absent = {}, []
    for name, package, kind in (
        ("lance", "lance", Lance), ("litdata", "litdata", LitData),
        ("webdataset", "webdataset", Tar),
    ):  # fmt: skip
        try:
            versions[name] = importlib.import_module(package).__version__
        except ImportError:
            absent.append(name)
            continue
        kind.write(folder / name, rows)
        formats[name] = lambda kind=kind, name=name: kind(folder / name)
    spent: dict[str, dict[str, list[float]]] = {
        name: {"in order": [], "at random": [], "first": []} for name in formats
    }
    kept = {name: opened() for name, opened in formats.items()}
    for _ in range(runs + 1):
        for name, opened in formats.items():
            start = time.perf_counter()
            data = opened()
            next(iter(data.at([order[0]] if data.random else None)))
            spent[name]["first"].append(time.perf_counter() - start)
            data = kept[name]
            for key, which in (("in order", None), ("at random", order)):
                if which is not None and not data.random:
                    continue
                start = time.perf_counter()
                read = sum(len(tensors["speaking"]) for tensors in data.at(which))
                spent[name][key].append(time.perf_counter() - start)
                assert read == frames, (name, read, frames)
    sizes = {"arrow (ours)": size(source / "train")} | {n: size(folder / n) for n in versions}
    figures = {
        name: {
            "mb": sizes[name] / 1e6,
            "first_ms": 1e3 * statistics.median(times["first"][1:]),
            **{
                key: frames / statistics.median(times[key][1:])
                for key in ("in order", "at random")
                if times[key]
            },
        }
        for name, times in spent.items()
    }
    return {
        "tracks": len(rows), "frames": frames, "runs": runs, "versions": versions,
        "absent": absent, "formats": figures,
    }  # fmt: skip


def packed(example: Any) -> Row:
    """The bytes of a track."""
    clip = example.clip
    sound = np.round(clip.waveform.numpy() * 32768).clip(-32768, 32767)
    values = {"faces": clip.faces.numpy(), "waveform": sound, "speaking": clip.speaking.numpy()}
    return {name: values[name].astype(kind).tobytes() for name, kind in FIELDS.items()}


def unpacked(row: Any) -> dict[str, torch.Tensor]:
    """Writable tensors of a track's bytes, sound as floats."""
    arrays = {name: np.frombuffer(row[name], kind) for name, kind in FIELDS.items()}
    return {
        "faces": torch.from_numpy(arrays["faces"].reshape(-1, 112, 112).copy()),
        "waveform": torch.from_numpy(arrays["waveform"].astype(np.float32) / 32768),
        "speaking": torch.from_numpy(arrays["speaking"].astype(np.int64)),
    }


def size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


class Ours:
    """`pushpull.data`; reads boxes and times of each track as well."""

    random = True

    def __init__(self, root: Path) -> None:
        self.tracks = open_tracks(root, "train")

    def at(self, order: list[int] | None) -> Iterable[dict[str, Any]]:
        """Tracks, all in file order where no order is given."""
        for i in range(len(self.tracks)) if order is None else order:
            clip = self.tracks[i].clip
            yield {"faces": clip.faces, "waveform": clip.waveform, "speaking": clip.speaking}


class Lance:
    """A Lance table, a row per track."""

    random = True

    @staticmethod
    def write(folder: Path, rows: list[Row]) -> None:
        """All rows."""
        import lance
        import pyarrow as pa

        schema = pa.schema([(name, pa.large_binary()) for name in FIELDS])
        lance.write_dataset(pa.Table.from_pylist(rows, schema), str(folder))

    def __init__(self, folder: Path) -> None:
        import lance

        self.table = lance.dataset(str(folder))

    def at(self, order: list[int] | None) -> Iterable[dict[str, Any]]:
        """Tracks by number, or batches of 16 in file order."""
        if order is None:
            for batch in self.table.to_batches(batch_size=16):
                for i in range(batch.num_rows):
                    yield unpacked({name: batch.column(name)[i].as_buffer() for name in FIELDS})
            return
        for i in order:
            row = self.table.take([i])
            yield unpacked({name: row.column(name)[0].as_buffer() for name in FIELDS})


class LitData:
    """litdata's chunks of 64 MB."""

    random = True

    @staticmethod
    def write(folder: Path, rows: list[Row]) -> None:
        """All rows."""
        from litdata.streaming.writer import BinaryWriter

        folder.mkdir()
        writer = BinaryWriter(str(folder), chunk_bytes=SHARD_BYTES)
        for i, row in enumerate(rows):
            writer[i] = row
        writer.done()
        writer.merge()

    def __init__(self, folder: Path) -> None:
        from litdata import StreamingDataset

        self.data = StreamingDataset(str(folder), shuffle=False)

    def at(self, order: list[int] | None) -> Iterable[dict[str, Any]]:
        """Tracks by number, or as it streams them."""
        if order is None:
            yield from map(unpacked, self.data)
        else:
            yield from (unpacked(self.data[i]) for i in order)


class Tar:
    """WebDataset's tar files of 64 MB."""

    random = False

    @staticmethod
    def write(folder: Path, rows: list[Row]) -> None:
        """All rows."""
        import webdataset

        folder.mkdir()
        pattern = str(folder / "%04d.tar")
        with webdataset.ShardWriter(pattern, maxsize=SHARD_BYTES, verbose=0) as writer:
            for i, row in enumerate(rows):
                writer.write({"__key__": f"{i:06d}", **row})

    def __init__(self, folder: Path) -> None:
        self.files = sorted(map(str, folder.glob("*.tar")))

    def at(self, order: list[int] | None) -> Iterable[dict[str, Any]]:
        """Tracks as they stream."""
        import webdataset

        yield from map(unpacked, webdataset.WebDataset(self.files, shardshuffle=False))


if __name__ == "__main__":
    main()
