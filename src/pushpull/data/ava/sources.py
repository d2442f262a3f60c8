"""What of AVA-ActiveSpeaker is in a folder: annotations of each split, and videos by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pushpull.annotations import AvaTable, read_table, read_tables
from pushpull.data import SPLITS
from pushpull.errors import AnnotationError, DatasetError

__all__ = ["AvaSources", "find_sources", "tables_of"]

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class AvaSources:
    """Annotations and videos.

    Attributes:
        annotations: File, folder or tar archive of each split that is there.
        videos: File of each video, by its name without suffix.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava import AvaSources
        >>> AvaSources(annotations={"val": Path("val.csv")}, videos={}).annotations["val"].name
        'val.csv'
    """

    annotations: dict[str, Path]
    videos: dict[str, Path]


def find_sources(root: Path) -> AvaSources:
    """Look through a folder.

    Annotations are, for each split: TalkNet's `csv/{split}_orig.csv`; or the official folder or
    archive, whose name holds `activespeaker_{split}`; or `{split}.csv`. Videos are anywhere below.

    Raises:
        DatasetError: If there is no such folder or no annotation in it, or two videos have one
            name.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava import find_sources, write_synthetic_ava
        >>> made = write_synthetic_ava(Path("ava"), videos=2, duration_s=0.5, size=(64, 48))
        >>> sources = find_sources(Path("ava"))
        >>> sorted(sources.annotations), len(sources.videos)
        (['train', 'val'], 2)
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected annotations and videos of AVA")
    found: dict[str, Path] = {}
    for split in SPLITS:
        official = sorted(
            p
            for p in (*root.glob("*"), *root.glob("*/*"))
            if f"activespeaker_{split}" in p.name
            and (p.is_dir() or ".tar" in p.suffixes or p.suffix == ".csv")
        )
        named = [root / "csv" / f"{split}_orig.csv", root / f"{split}.csv"]
        candidates = [p for p in named if p.is_file()]
        # An archive beside the folder that came out of it holds the same.
        candidates += sorted(official, key=lambda p: not p.is_dir())
        if candidates:
            found[split] = candidates[0]
    if not found:
        raise DatasetError(
            f"{root}: holds no annotations; expected csv/train_orig.csv, a folder such as "
            "ava_activespeaker_train_v1.0, or train.csv"
        )
    videos: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
            continue
        if path.stem in videos:
            raise DatasetError(
                f"{path} and {videos[path.stem]} have one name; a video is found by its name: "
                "keep one"
            )
        videos[path.stem] = path
    return AvaSources(annotations=found, videos=videos)


def tables_of(path: Path) -> Iterator[AvaTable | AnnotationError]:
    """Tables of a file, folder or archive; of a folder, a file that is broken as its error.

    Raises:
        AnnotationError: If a folder holds no csv file, or a single file or archive is broken.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava.sources import tables_of
        >>> _ = Path("bad.csv").write_text("no table")
        >>> [type(table).__name__ for table in tables_of(Path())]
        ['AnnotationError']
    """
    if not path.is_dir():
        yield from read_tables(path)
        return
    files = [p for p in sorted(path.rglob("*.csv")) if not p.name.startswith(".")]
    if not files:
        raise AnnotationError(f"{path}: holds no .csv file; expected AVA-ActiveSpeaker tables")
    for file in files:
        try:
            yield read_table(file)
        except AnnotationError as e:
            yield e
