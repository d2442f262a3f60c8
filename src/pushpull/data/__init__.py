"""Data sets of labelled face tracks: packed storage, TalkNet's folders, batches to train on."""

from os import PathLike
from pathlib import Path

from pushpull.data.inspection import Fault, SplitStats, describe, draw_stats, faults
from pushpull.data.loading import Plan, loader
from pushpull.data.records import SPLITS, Example, Tracks
from pushpull.data.storage import PackedTracks, read_about
from pushpull.data.synth import SynthConfig, synth_examples, write_synth
from pushpull.data.talknet_layout import TalkNetTracks
from pushpull.data.writer import DatasetWriter
from pushpull.errors import DatasetError

__all__ = [
    "SPLITS",
    "DatasetWriter",
    "Example",
    "Fault",
    "PackedTracks",
    "Plan",
    "SplitStats",
    "SynthConfig",
    "TalkNetTracks",
    "Tracks",
    "describe",
    "draw_stats",
    "faults",
    "index_of",
    "is_dataset",
    "loader",
    "open_tracks",
    "read_about",
    "splits_of",
    "synth_examples",
    "write_synth",
]


def is_dataset(path: str | PathLike[str]) -> bool:
    """Whether a folder is a data set, packed or in TalkNet's layout.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, is_dataset, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=4, max_frames=6))
        >>> is_dataset(Path("synthetic")), is_dataset(Path())
        (True, False)
    """
    path = Path(path)
    lists = [path / "csv" / f"{split}_loader.csv" for split in SPLITS]
    return (path / "dataset.json").is_file() or any(name.is_file() for name in lists)


def splits_of(path: str | PathLike[str]) -> list[str]:
    """The splits of a data set that can be opened.

    Raises:
        DatasetError: If there is none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, splits_of, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=4, max_frames=6))
        >>> splits_of(Path("synthetic"))
        ['train', 'val', 'test']
    """
    path = Path(path)
    splits = [
        split
        for split in SPLITS
        if (path / split / "index.arrow").is_file()
        or (path / "csv" / f"{split}_loader.csv").is_file()
    ]
    if not splits:
        raise DatasetError(
            f"{path}: holds no finished split of a data set; expected what `pushpull data` makes, "
            "or TalkNet's folders"
        )
    return splits


def index_of(root: str | PathLike[str], split: str) -> Path:
    """The file that lists the tracks of a split; a data set that is made anew has another.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, index_of, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=4, max_frames=6))
        >>> index_of("synthetic", "val").as_posix()
        'synthetic/val/index.arrow'
    """
    packed = Path(root) / split / "index.arrow"
    return packed if packed.is_file() else Path(root) / "csv" / f"{split}_loader.csv"


def open_tracks(root: str | PathLike[str], split: str) -> Tracks:
    """A split of a data set, packed or in TalkNet's folders.

    Raises:
        DatasetError: If the folder is neither, or the split cannot be used.
        UnknownName: If there can be no such split.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=3, min_frames=4, max_frames=6))
        >>> tracks = open_tracks(Path("synthetic"), "test")
        >>> len(tracks), tracks.track_ids, tracks[0].clip.faces.shape[1:]
        (1, ['test-000000:1'], torch.Size([112, 112]))
    """
    root = Path(root)
    if read_about(root) is not None:
        return PackedTracks(root, split)
    if (root / "csv" / f"{split}_loader.csv").is_file():
        return TalkNetTracks(root, split)
    raise DatasetError(
        f"{root}: holds no data set; expected dataset.json, as `pushpull data` writes it, or "
        f"csv/{split}_loader.csv in TalkNet's layout"
    )
