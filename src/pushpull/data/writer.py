"""Writing a data set: shard by shard, by any number of processes, stopped and gone on with."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pushpull.data.records import Example
from pushpull.data.storage import read_about, shard_path, write_about, write_index, write_shard
from pushpull.errors import DatasetError
from pushpull.runtime.files import output_dir

__all__ = ["DatasetWriter"]


class DatasetWriter:
    """A data set that is being written; it travels to other processes and nodes.

    What is there already is kept: ask `has` before a shard is made again. The splits can be opened
    once `finish` has written their index.

    Args:
        root: Folder of the data set.
        made: All that decides what is in it. A folder that was made of anything else is refused.

    Raises:
        DatasetError: If the folder holds another data set.
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
        pushpull.errors.DatasetError: mine: holds a data set made otherwise (by is 'me' there and
        'somebody else' here; seed is 0 there and None here); choose another folder, or delete it
    """

    def __init__(self, root: str | PathLike[str], made: Mapping[str, Any]) -> None:
        # Nodes of a cluster need not share a working directory.
        self.root = output_dir(Path(root)).absolute()
        about = read_about(self.root)
        if about is not None and about["made"] != made:
            raise DatasetError(
                f"{root}: holds a data set made otherwise ({_differences(about['made'], made)}); "
                "choose another folder, or delete it"
            )
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


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    found = [
        f"{key} is {reprlib.repr(there.get(key))} there and {reprlib.repr(here.get(key))} here"
        for key in dict.fromkeys((*there, *here))
        if there.get(key) != here.get(key)
    ]
    return "; ".join(found)
