"""Writing a data set: shard by shard, by any number of processes, stopped and gone on with."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from pushpull.data.records import SPLITS, Example
from pushpull.data.storage import (
    ABOUT,
    INDEX,
    read_about,
    shard_path,
    write_about,
    write_index,
    write_shard,
)
from pushpull.errors import DatasetError, OutputExists
from pushpull.runtime.files import output_dir
from pushpull.runtime.records import plain

__all__ = ["DatasetWriter"]


class DatasetWriter:
    """A data set that is being written; it travels to other processes and nodes.

    What is there already is kept: ask `has` before a shard is made again. The splits can be opened
    once `finish` has written their index.

    Args:
        root: Folder of the data set.
        made: All that decides what is in it. A folder that was made of anything else is refused.
        more: Names of further files that will be written there.
        overwrite: Whether another data set, or files of the names of its files, may be replaced.

    Raises:
        OutputExists: If the folder holds what may not be replaced.
        OutputError: If it cannot be written.

    Examples:
        >>> from pushpull.data import DatasetWriter, SynthConfig, open_tracks, synth_examples
        >>> config = SynthConfig(tracks=4, min_frames=4, max_frames=6)
        >>> writer = DatasetWriter("mine", made={"by": "me", "seed": 0})
        >>> writer.write("train", 0, synth_examples(config, "train"))
        2
        >>> writer.has("train", 0), writer.has("train", 1)
        (True, False)
        >>> writer.finish({"train": [0]})
        {'train': 2}
        >>> open_tracks("mine", "train").track_ids
        ['train-000000:1', 'train-000001:1']
        >>> DatasetWriter("mine", made={"by": "somebody else"})
        Traceback (most recent call last):
            ...
        pushpull.errors.OutputExists: mine: holds a data set made otherwise (by is 'me' there and
        'somebody else' here; seed is 0 there and None here); choose another folder, or --overwrite
    """

    def __init__(
        self,
        root: str | PathLike[str],
        made: Mapping[str, Any],
        *,
        more: Sequence[str] = (),
        overwrite: bool = False,
    ) -> None:
        # Nodes of a cluster need not share a working directory.
        self.root = Path(root).absolute()
        asked = plain(made)
        try:
            about = read_about(self.root)
        except DatasetError:
            about = None
        if about is None or about["made"] != asked:
            there = list(_files(self.root, more))
            if there and not overwrite:
                raise OutputExists(
                    f"{there[0]}: is there already and is of no data set of this tool; choose "
                    "another folder, or --overwrite"
                    if about is None
                    else f"{root}: holds a data set made otherwise "
                    f"({_differences(about['made'], asked)}); choose another folder, or --overwrite"
                )
            for path in there:
                path.unlink()
        output_dir(self.root)
        write_about(self.root, made)

    def shard(self, split: str, number: int) -> Path:
        """Where a shard lies, or will."""
        return shard_path(self.root, split, number)

    def has(self, split: str, number: int) -> bool:
        """Whether a shard is there: it takes its name only when it is whole."""
        return self.shard(split, number).is_file()

    def write(self, split: str, number: int, examples: Iterable[Example]) -> int:
        """Write the tracks of a shard, all or none; returns how many.

        Raises:
            OutputError: If it cannot be written.
        """
        output_dir(self.root / split)
        return write_shard(self.shard(split, number), examples)

    def finish(self, shards: Mapping[str, Iterable[int]]) -> dict[str, int]:
        """Write the index of each split, of those of its shards that are there.

        Args:
            shards: Numbers of the shards of each split that is to be opened.

        Returns:
            Tracks of each split.

        Raises:
            DatasetError: If a shard is damaged, or two tracks have one name.
            OutputError: If it cannot be written.
        """
        tracks = {}
        for split, numbers in shards.items():
            output_dir(self.root / split)
            tracks[split] = write_index(
                self.root, split, [n for n in numbers if self.has(split, n)]
            )
        return tracks


def _files(root: Path, more: Sequence[str]) -> Iterator[Path]:
    """What lies where the files of a data set go."""
    for name in (ABOUT, *more, *(f"{split}/{INDEX}" for split in SPLITS)):
        if os.path.lexists(root / name):
            yield root / name
    for split in SPLITS:
        yield from sorted((root / split).glob("shard-*.*"))


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    found = [
        f"{key} is {reprlib.repr(there.get(key))} there and {reprlib.repr(here.get(key))} here"
        for key in dict.fromkeys((*there, *here))
        if there.get(key) != here.get(key)
    ]
    return "; ".join(found)
