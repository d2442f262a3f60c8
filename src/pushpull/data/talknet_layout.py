"""AVA-ActiveSpeaker, or another set, in the folders that TalkNet's preparation makes.

csv/{split}_loader.csv                              a line per track, tab separated
clips_audios/{split}/<video>/<entity>.wav
clips_videos/{split}/<video>/<entity>/<time>.jpg    a picture per frame
"""

from __future__ import annotations

import ast
import math
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.data.records import Example
from pushpull.errors import DatasetError, MediaError
from pushpull.runtime.files import read_text
from pushpull.schema import FACE_SIZE, Clip

__all__ = ["TalkNetTracks"]


MOST_LIST_BYTES = 1 << 30
"""Of a list of tracks with their labels; AVA's has 20 MB."""


class TalkNetTracks:
    r"""A split in TalkNet's layout; see `pushpull.data.records.Tracks`.

    Args:
        root: Folder with `csv`, `clips_audios` and `clips_videos`.
        split: "train", "val" or "test".

    Raises:
        DatasetError: If the list is missing or a line of it cannot be used.

    Examples:
        >>> from pathlib import Path
        >>> import cv2
        >>> from pushpull.data import TalkNetTracks
        >>> from pushpull.media import write_wav
        >>> entity = "vid_0000_0001:1"
        >>> for folder in ("csv", "clips_audios/test/vid", f"clips_videos/test/vid/{entity}"):
        ...     Path(folder).mkdir(parents=True)
        >>> _ = Path("csv/test_loader.csv").write_text(f"{entity}\t2\t25.0\t[0, 1]\t0\n")
        >>> write_wav(f"clips_audios/test/vid/{entity}.wav", np.zeros(1280, np.float32))
        >>> for time_s in ("0.00", "0.04"):
        ...     picture = np.zeros((90, 80), np.uint8)
        ...     _ = cv2.imwrite(f"clips_videos/test/vid/{entity}/{time_s}.jpg", picture)
        >>> TalkNetTracks(Path(), "test")[0].clip.speaking
        tensor([0, 1])
    """

    def __init__(self, root: str | PathLike[str], split: str) -> None:
        self.root, self.split = Path(root), split
        path = self.root / "csv" / f"{split}_loader.csv"
        try:
            lines = read_text(path, most_bytes=MOST_LIST_BYTES).splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise DatasetError(f"{path}: cannot be read ({e}); expected TalkNet's list") from e
        self._rows = [
            _row(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()
        ]

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each track (N,)."""
        return np.array([len(labels) for _, _, labels in self._rows], np.int64)

    @cached_property
    def track_ids(self) -> list[str]:
        """Entity of each track."""
        return [entity for entity, _, _ in self._rows]

    def __getitem__(self, index: int) -> Example:
        """The track of a line.

        Raises:
            DatasetError: If a picture or the sound is missing, damaged, or does not fit the list.
        """
        import cv2

        entity, fps, labels = self._rows[index]
        video = _video_of(entity)
        folder = self.root / "clips_videos" / self.split / video / entity
        pictures = sorted(folder.glob("*.jpg"), key=_time_of)
        if len(pictures) != len(labels):
            raise DatasetError(
                f"{folder}: has {len(pictures)} pictures; the list says {len(labels)} frames"
            )
        faces = np.empty((len(labels), FACE_SIZE, FACE_SIZE), np.uint8)
        for face, path in zip(faces, pictures, strict=True):
            try:
                grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            except cv2.error:
                # As for a picture that states billions of pixels.
                grey = None
            if grey is None:
                raise DatasetError(f"{path}: cannot be read as a picture; make it again")
            face[:] = cv2.resize(grey, (FACE_SIZE, FACE_SIZE))
        return Example(
            track_id=entity,
            video_id=video,
            clip=Clip(
                waveform=self.waveform(index),
                faces=torch.from_numpy(faces),
                fps=fps,
                speaking=torch.tensor(labels, dtype=torch.int64),
            ),
            timestamps_s=np.array([_time_of(p) for p in pictures]),
            boxes=np.tile(np.array([0.0, 0.0, 1.0, 1.0]), (len(labels), 1)),
        )

    def clip(self, index: int) -> Clip:
        """What is learnt from a track."""
        return self[index].clip

    def waveform(self, index: int) -> Tensor:
        """The sound of a track alone (S,).

        Raises:
            DatasetError: If it is missing or damaged.
        """
        from pushpull.media import read_waveform

        entity = self._rows[index][0]
        folder = self.root / "clips_audios" / self.split / _video_of(entity)
        try:
            return torch.from_numpy(read_waveform(folder / f"{entity}.wav"))
        except MediaError as e:
            raise DatasetError(f"track {entity}: {e}") from e


def _row(line: str, where: str) -> tuple[str, float, list[int]]:
    """Entity, frames per second and labels of a line of a loader list."""
    fields = line.split("\t")
    try:
        entity, count, fps, labels = fields[0], int(fields[1]), float(fields[2]), fields[3]
        values = [int(label) for label in ast.literal_eval(labels)]
    except (IndexError, ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as e:
        raise DatasetError(
            f"{where}: got {line[:60]!r}; expected entity, number of frames, fps, [labels] and an "
            "index, separated by tabs"
        ) from e
    if "\0" in entity or {"..", ""} & set(entity.split("/")) or entity.startswith("/"):
        # An entity is part of the name of a folder, which has to lie in the data set.
        raise DatasetError(f"{where}: {entity[:60]!r} is no name of a track")
    if len(values) != count or not set(values) <= {0, 1} or not count or not 0 < fps < 1000:
        raise DatasetError(
            f"{where}: {count} frames at {fps} fps with {len(values)} labels among "
            f"{sorted(set(values))}; expected as many labels as frames, each 0 or 1"
        )
    return entity, fps, values


def _time_of(picture: Path) -> float:
    """Second of the video that a picture is named after."""
    try:
        time_s = float(picture.stem)
    except ValueError:
        time_s = math.nan
    if not math.isfinite(time_s):
        raise DatasetError(f"{picture}: is not named after its time; expected such as 0.04.jpg")
    return time_s


def _video_of(entity: str) -> str:
    """The video of an entity `<video>_<start>_<end>:<n>`; names may hold underscores themselves."""
    parts = entity.rsplit("_", 2)
    return parts[0] if len(parts) == 3 and parts[0] else entity[:11]
