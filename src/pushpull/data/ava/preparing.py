"""From official annotations and videos to a packed data set: each video is decoded once.

All faces of a frame are cut out as the frame comes by. A row belongs to the frame whose
presentation time is nearest. What TalkNet's preparation does otherwise, and why not here: it seeks
for every row (days for AVA); it cuts sound one frame short of the picture; it goes by the first 11
letters of a name.

Source: AVA-ActiveSpeaker (Roth et al., ICASSP 2020), its csv files; TaoRuijie/TalkNet-ASD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.annotations import AvaTable
from pushpull.annotations.table import BEYOND
from pushpull.data.ava.sources import AvaSources, tables_of
from pushpull.data.records import Example, as_read_back
from pushpull.data.writer import DatasetWriter
from pushpull.detection.clips import CROPS, crop_faces
from pushpull.errors import AnnotationError, DatasetError, foreseen
from pushpull.media import Frame, read_frames, read_waveform, slice_audio
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import read_json, write_json
from pushpull.runtime.workers import Outcome, run_pieces
from pushpull.schema import FACE_SIZE, Clip

__all__ = ["AvaReport", "Problem", "Rows", "examples_of", "prepare"]

TOLERANCE_S = 0.1
"""A row further from every frame than this has none; timestamps are rounded to 0.01 s."""
GAP = 1.5
"""A step between rows longer than this many usual ones is a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that could not be done, or is odd.

    Attributes:
        where: Video, entity, or file and line.
        what: What is wrong, and what was done about it.
        lost: Whether tracks are missing because of it.

    Examples:
        >>> from pushpull.data.ava import Problem
        >>> Problem(where="a video", what="no file of this name").lost
        True
    """

    where: str
    what: str
    lost: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AvaReport:
    """What a preparation came to.

    Attributes:
        tracks: Of each split.
        videos: Videos done, and in all, of each split.
        problems: In the order of names.

    Examples:
        >>> from pushpull.data.ava import AvaReport
        >>> AvaReport(tracks={"train": 20}, videos={"train": (5, 5)}, problems=()).whole
        True
    """

    tracks: dict[str, int]
    videos: dict[str, tuple[int, int]]
    problems: tuple[Problem, ...]

    @property
    def whole(self) -> bool:
        """Whether no track is missing."""
        return not any(p.lost for p in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The rows of one entity, in time order.

    Attributes:
        entity: Name.
        timestamps_s: (N,).
        boxes: In shares of the picture (N, 4).
        speaking: Speaking and heard (N,).

    Examples:
        >>> from pushpull.data.ava.preparing import Rows
        >>> rows = Rows(
        ...     entity="vid_0000_0001:1",
        ...     timestamps_s=np.array([0.0, 0.04, 0.08, 0.2]),
        ...     boxes=np.array([[0.2, 0.2, 0.6, 0.8]] * 4),
        ...     speaking=np.zeros(4, bool),
        ... )
        >>> rows.fps, rows.gaps
        (25.0, 1)
    """

    entity: str
    timestamps_s: NDArray[np.float64]
    boxes: NDArray[np.float64]
    speaking: NDArray[np.bool_]

    @property
    def period_s(self) -> float:
        """The usual time between rows."""
        steps = np.diff(self.timestamps_s)
        return float(np.median(steps)) if len(steps) else 0.04

    @property
    def fps(self) -> float:
        """Frames per second: over the whole track if it has no gap, since times are rounded."""
        n, steps = len(self.timestamps_s), np.diff(self.timestamps_s)
        if not len(steps) or self.gaps:
            return 1 / self.period_s
        return float((n - 1) / (self.timestamps_s[-1] - self.timestamps_s[0]))

    @property
    def gaps(self) -> int:
        """Places where frames are missing."""
        return int((np.diff(self.timestamps_s) > GAP * self.period_s).sum())


def prepare(
    sources: AvaSources,
    out: str | PathLike[str],
    *,
    overwrite: bool = False,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress = no_progress,
) -> AvaReport:
    """Make a packed data set; videos that are done already are kept.

    A missing or broken video, and a csv file with a bad row, are reported and the rest is done.
    Videos are tried again the next time; a repaired csv file wants another folder. `out`/ava.json
    takes all problems.

    Args:
        sources: What there is.
        out: Folder of the data set.
        overwrite: Whether a data set made otherwise may be replaced.
        workers: Processes; their number changes no byte.
        engine: "local" or "ray"; see `pushpull.runtime.workers.run_pieces`.
        address: Of the Ray cluster.
        progress: Called with split, videos done and in all.

    Raises:
        AnnotationError: If the one file of a split cannot be read.
        ConfigError: If there is no such cluster.
        DatasetError: If nothing could be done.
        OutputError: If it cannot be written, or the folder holds what may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava import find_sources, prepare, write_synthetic_ava
        >>> made = write_synthetic_ava(Path("ava"), videos=2, duration_s=0.8, size=(64, 48))
        >>> report = prepare(find_sources(Path("ava")), Path("packed"))
        >>> report.tracks, report.videos, report.whole
        ({'train': 4, 'val': 4}, {'train': (1, 1), 'val': (1, 1)}, True)
    """
    rows: dict[str, dict[str, list[Rows]]] = {}
    problems: list[Problem] = []
    digest = hashlib.sha256()
    for split, path in sources.annotations.items():
        rows[split] = {}
        for table in tables_of(path):
            if isinstance(table, AnnotationError):
                problems.append(Problem(where=path.name, what=f"{table}; left out"))
                continue
            for video, of_video, odd in entities_of(table):
                rows[split].setdefault(video, []).extend(of_video)
                problems += odd
        for video, entities in sorted(rows[split].items()):
            digest.update(f"{split} {video} {sum(len(e.timestamps_s) for e in entities)}".encode())
    made = {"by": "data ava", "annotations": digest.hexdigest()[:16], "crop": "ava"}
    writer = DatasetWriter(out, made, more=["ava.json"], overwrite=overwrite)
    videos = {}
    for split, of_split in rows.items():
        pieces, found = _pieces(split, of_split, sources, writer)
        done = len(of_split) - len(pieces)
        progress(split, done, len(of_split))
        for outcome in run_pieces(
            pieces, _one_video, workers=workers, engine=engine, address=address
        ):
            found[outcome.piece] = _became(outcome, len(of_split[outcome.piece]))
            done += 1
            progress(split, done, len(of_split))
        problems += [p for _, ps in sorted(found.items()) for p in ps]
        videos[split] = (sum(writer.has(split, n) for n in range(done)), len(of_split))
    tracks = writer.finish({split: range(len(of_split)) for split, of_split in rows.items()})
    report = AvaReport(tracks=tracks, videos=videos, problems=tuple(problems))
    noted = Path(out) / "ava.json"
    write_json(noted, asdict(report), kind="ava")
    if not any(tracks.values()):
        first = f": {problems[0].where}: {problems[0].what}" if problems else ""
        raise DatasetError(f"{out}: no track could be made{first}; see {noted}")
    return report


def entities_of(table: AvaTable) -> Iterator[tuple[str, list[Rows], list[Problem]]]:
    """Entities of each video of a table, those that cannot be used as problems."""
    for v, video in enumerate(table.videos):
        of_video = np.flatnonzero(table.video == v)
        good, odd = [], []
        for e in dict.fromkeys(table.entity[of_video].tolist()):
            at = of_video[table.entity[of_video] == e]
            at = at[np.argsort(table.timestamps_s[at], kind="stable")]
            times_s, boxes = table.timestamps_s[at], table.boxes[at]
            twice = np.flatnonzero(np.diff(times_s) <= 0)
            empty = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(1))
            outside = np.flatnonzero((np.abs(boxes - 0.5) > BEYOND + 0.5).any(1))
            where = f"{table.source}, line {table.lines[at[0]]}, {table.entities[e]}"
            if len(twice):
                what = f"two rows at {times_s[twice[0]]:g} s; the entity is left out"
                odd.append(Problem(where=where, what=what))
            elif len(outside):
                what = (
                    f"the box at {times_s[outside[0]]:g} s is no share of the picture (expected 0 "
                    "to 1); the entity is left out"
                )
                odd.append(Problem(where=where, what=what))
            elif len(empty):
                what = f"an empty box at {times_s[empty[0]]:g} s; the entity is left out"
                odd.append(Problem(where=where, what=what))
            else:
                good.append(
                    Rows(
                        entity=table.entities[e],
                        timestamps_s=times_s,
                        boxes=boxes,
                        speaking=table.speaking[at],
                    )
                )
                if good[-1].gaps:
                    what = f"{good[-1].gaps} gaps between rows; kept as it is"
                    odd.append(Problem(where=where, what=what, lost=False))
        yield video, good, odd


def examples_of(
    video: str, path: Path, entities: Sequence[Rows], odd: list[Problem]
) -> Iterator[Example]:
    """Tracks of a video, each as soon as its last frame came by.

    Args:
        video: Name.
        path: File.
        entities: What to cut out.
        odd: Takes entities that the video has no frames for.

    Raises:
        MediaError: If the video or its sound cannot be decoded.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava.preparing import Rows, examples_of
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("vid.mp4", duration_s=0.4, size=(64, 48))
        >>> rows = Rows(
        ...     entity="vid_0000_0001:1",
        ...     timestamps_s=scene.timestamps_s.round(2),
        ...     boxes=np.clip(scene.boxes[0] / [64, 48, 64, 48], 0, 1),
        ...     speaking=scene.speaking[0],
        ... )
        >>> [example] = examples_of("vid", Path("vid.mp4"), [rows], odd=[])
        >>> example.track_id, example.clip.faces.shape
        ('vid_0000_0001:1', torch.Size([10, 112, 112]))
    """
    waveform = read_waveform(path, on_damage=lambda line: None)
    cuts = [_Cut(entity) for entity in entities]
    left = sorted(cuts, key=lambda cut: float(cut.rows.timestamps_s[0]))
    open_cuts: list[_Cut] = []
    for frame, until_s in _with_borders(read_frames(path, on_damage=lambda line: None)):
        while left and left[0].rows.timestamps_s[0] < until_s:
            open_cuts.append(left.pop(0))
        if not open_cuts:
            if not left:
                break
            continue
        _serve(frame, until_s, open_cuts)
        done = [cut for cut in open_cuts if cut.whole]
        open_cuts = [cut for cut in open_cuts if not cut.whole]
        for cut in done:
            yield cut.example(video, waveform)
    for cut in (*open_cuts, *left):
        missing = len(cut.rows.timestamps_s) - cut.filled
        first_s = cut.rows.timestamps_s[cut.filled]
        what = f"no frame for {missing} rows from {first_s:g} s on; the entity is left out"
        odd.append(Problem(where=f"{video}, {cut.rows.entity}", what=what))


class _Cut:
    """An entity while its faces are gathered."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.faces = np.empty((len(rows.timestamps_s), FACE_SIZE, FACE_SIZE), np.uint8)
        self.filled = 0

    @property
    def whole(self) -> bool:
        return self.filled == len(self.faces)

    def wanted(self, frame: Frame, until_s: float) -> int:
        """Rows from `filled` on that this frame is nearest to."""
        times_s = self.rows.timestamps_s
        end = int(np.searchsorted(times_s, until_s))
        near = times_s[self.filled : end] > frame.time_s - TOLERANCE_S
        return len(near) if near.all() else 0

    def example(self, video: str, waveform: NDArray[np.float32]) -> Example:
        rows = self.rows
        times_s = rows.timestamps_s
        sound = slice_audio(waveform, float(times_s[0]), float(times_s[-1]) + 1 / rows.fps)
        return Example(
            track_id=rows.entity,
            video_id=video,
            clip=Clip(
                waveform=as_read_back(sound),
                faces=torch.from_numpy(self.faces),
                fps=rows.fps,
                speaking=torch.from_numpy(rows.speaking.astype(np.int64)),
            ),
            timestamps_s=times_s,
            boxes=rows.boxes,
        )


def _with_borders(frames: Iterator[Frame]) -> Iterator[tuple[Frame, float]]:
    """Each frame with the time up to which it is the nearest."""
    before: Frame | None = None
    for frame in frames:
        if before is not None:
            yield before, (before.time_s + frame.time_s) / 2
        before = frame
    if before is not None:
        yield before, before.time_s + TOLERANCE_S


def _serve(frame: Frame, until_s: float, cuts: Sequence[_Cut]) -> None:
    """Cut all faces of a frame out of it."""
    asked = [(cut, count) for cut in cuts if (count := cut.wanted(frame, until_s))]
    if not asked:
        return
    size = np.array([frame.width, frame.height] * 2, np.float64)
    boxes = np.concatenate(
        [cut.rows.boxes[cut.filled : cut.filled + count] for cut, count in asked]
    )
    faces = crop_faces(frame.gray(), boxes * size, CROPS["ava"])
    at = 0
    for cut, count in asked:
        cut.faces[cut.filled : cut.filled + count] = faces[at : at + count]
        cut.filled += count
        at += count


def _pieces(
    split: str, rows: Mapping[str, list[Rows]], sources: AvaSources, writer: DatasetWriter
) -> tuple[dict[str, tuple[Any, ...]], dict[str, list[Problem]]]:
    """What is to be done, by video, and what went wrong with videos that are not."""
    pieces: dict[str, tuple[Any, ...]] = {}
    found: dict[str, list[Problem]] = {}
    for number, (video, entities) in enumerate(sorted(rows.items())):
        if writer.has(split, number):
            found[video] = _noted(_notes(writer, split, number))
        elif video not in sources.videos:
            what = f"no file of this name; {len(entities)} entities are left out"
            found[video] = [Problem(where=video, what=what)]
        else:
            path = sources.videos[video].absolute()
            pieces[video] = (video, path, entities, writer, split, number)
    return pieces, found


def _one_video(
    video: str,
    path: Path,
    entities: Sequence[Rows],
    writer: DatasetWriter,
    split: str,
    number: int,
    report: Progress,
) -> list[Problem]:
    """One video into one shard; what was odd about it."""
    odd: list[Problem] = []
    try:
        writer.write(split, number, examples_of(video, path, entities, odd))
    except Exception as e:  # one file never ends a batch, whatever is wrong with it
        raise foreseen(e, path) from e
    if odd:
        write_json(_notes(writer, split, number), {"problems": odd}, kind="stage-result")
    return odd


def _became(outcome: Outcome, entities: int) -> list[Problem]:
    """What went wrong with a video."""
    if outcome.error is None:
        return list(outcome.result)
    what = f"{outcome.error}; {entities} entities are left out"
    return [Problem(where=outcome.piece, what=what)]


def _notes(writer: DatasetWriter, split: str, number: int) -> Path:
    return writer.shard(split, number).with_suffix(".json")


def _noted(path: Path) -> list[Problem]:
    if not path.is_file():
        return []
    return [Problem(**p) for p in read_json(path, kind="stage-result")["problems"]]
