"""An active speaker set from any folder of talking-head clips.

Of each face that is alone on screen, clips of four kinds are made:

    own      its own sound; a frame speaks where voice is heard (WebRTC's voice activity detector)
    silence  no sound but the faintest noise: nothing is heard, so nobody speaks
    other    the sound of another person: whoever speaks, it is not this face
    shifted  its own sound, at another time: lips and voice do not fit

All frames of the last three are labelled as not speaking. People are held out: nobody is in two
splits, and sound of others comes from the same split.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from io import StringIO
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.data.records import SPLITS, Example, as_read_back
from pushpull.data.writer import DatasetWriter
from pushpull.detection import VideoClips, find_faces, read_clips, voiced
from pushpull.detection.clips import CROPS
from pushpull.errors import (
    ConfigError,
    DatasetError,
    MediaError,
    OutputError,
    UnknownName,
    foreseen,
)
from pushpull.media import read_waveform
from pushpull.runtime.files import read_text, readable
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.workers import run_pieces
from pushpull.schema import SAMPLE_RATE_HZ, Clip

__all__ = [
    "KINDS",
    "Source",
    "TalksetConfig",
    "read_sources",
    "sources_in",
    "split_people",
    "write_talkset",
]

KINDS = ("own", "silence", "other", "shifted")
FAINTEST = 2.0
"""Noise of silent clips, in steps of int16: no sound card is quieter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A clip to make examples of.

    Attributes:
        path: The video.
        person: Who is seen.
        speaks: Whether voice that is heard is this person's.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.talkset import Source
        >>> Source(path=Path("ada/one.mp4"), person="ada").speaks
        True
    """

    path: Path
    person: str
    speaks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TalksetConfig:
    """What decides a set, beside its clips.

    Attributes:
        seed: Of splits, kinds, shifts and other sounds.
        held_out: Share of people in val, and again in test; at least one person each.
        negatives: Clips that do not speak, for each with its own sound; up to 3.
        max_frames: Longer tracks are cut into parts of this length.
        face_finder: Face finder.
        crop: Part of the face shown, "ava" or "demo".
        aggressiveness: Of the voice activity detector, 0 (most is voice) to 3.

    Examples:
        >>> from pushpull.data.talkset import TalksetConfig
        >>> TalksetConfig(negatives=3).held_out
        0.2
    """

    seed: int = 0
    held_out: float = 0.2
    negatives: int = 2
    max_frames: int = 250
    face_finder: str = "auto"
    crop: str = "ava"
    aggressiveness: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 0.5:
            raise ConfigError(f"held_out is {self.held_out}; expected more than 0, less than 0.5")
        if not 0 <= self.negatives < len(KINDS):
            raise ConfigError(f"negatives is {self.negatives}; expected 0 to {len(KINDS) - 1}")
        if self.max_frames < 10:
            raise ConfigError(f"max_frames is {self.max_frames}; expected at least 10")
        if self.crop not in CROPS:
            raise UnknownName("crop", self.crop, CROPS)
        if not 0 <= self.aggressiveness <= 3:
            raise ConfigError(f"aggressiveness is {self.aggressiveness}; expected 0 to 3")


def read_sources(people: Path, folder: Path) -> list[Source]:
    r"""Clips and people of a csv with the columns file, person and, if wanted, speaks (yes or no).

    Raises:
        DatasetError: If it cannot be read, or names a file that is not there.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.talkset import read_sources
        >>> Path("one.mp4").touch()
        >>> _ = Path("people.csv").write_text("file,person,speaks\none.mp4,ada,yes\n")
        >>> [source] = read_sources(Path("people.csv"), Path())
        >>> source.person, source.speaks
        ('ada', True)
    """
    try:
        rows = list(csv.DictReader(StringIO(read_text(people), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise DatasetError(f"{people}: cannot be read ({e})") from e
    sources = []
    for line, row in enumerate(rows, 2):
        name, person, speaks = (row.get(k) for k in ("file", "person", "speaks"))
        if not name or not person or speaks not in (None, "yes", "no"):
            raise DatasetError(
                f"{people}, line {line}: got {dict(row)}; expected the columns file, person and, "
                "if wanted, speaks with yes or no"
            )
        if not (folder / name).is_file():
            raise DatasetError(f"{people}, line {line}: {folder / name} is not there")
        sources.append(Source(path=folder / name, person=person, speaks=speaks != "no"))
    return sources


def write_talkset(
    sources: Sequence[Source],
    root: str | PathLike[str],
    config: TalksetConfig,
    *,
    overwrite: bool = False,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress = no_progress,
    failed: Callable[[Source, str], None] = lambda source, why: None,
) -> dict[str, int]:
    """Make a set of clips; what is there already is kept.

    Args:
        sources: Clips and who is seen in them.
        root: Folder of the set.
        config: What to make of them.
        overwrite: Whether a data set made otherwise may be replaced.
        workers: Processes; their number changes no byte.
        engine: "local" or "ray"; see `pushpull.runtime.workers.run_pieces`.
        address: Of the Ray cluster.
        progress: Called with "clips", clips done and in all.
        failed: Called with a clip that cannot be used and why; the rest is done.

    Returns:
        Tracks of each split.

    Raises:
        ConfigError: If there are fewer than three people, two clips have one name, or there is no
            such cluster.
        DatasetError: If nothing could be used for a split.
        OutputError: If it cannot be written, or the folder holds what may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.talkset import Source, TalksetConfig, write_talkset
        >>> from pushpull.synthetic import one_face_video
        >>> sources = []
        >>> for seed, person in ((1, "ada"), (3, "bob"), (5, "cy")):
        ...     path = Path(f"{person}.mp4")
        ...     scene = one_face_video(path, seed=seed, duration_s=0.5, size=(160, 120))
        ...     sources.append(Source(path=path, person=person))
        >>> config = TalksetConfig(face_finder="dlib", negatives=1)
        >>> write_talkset(sources, "talkset", config)
        {'train': 2, 'val': 2, 'test': 2}
    """
    # Nodes of a cluster need not share a working directory.
    sources = [replace(s, path=s.path.absolute()) for s in sorted(sources, key=_name_of)]
    names = [_name_of(s) for s in sources]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two clips are named '{twice}'; names must differ")
    split_of = split_people(sorted({s.person for s in sources}), config)
    made = {
        "by": "data talkset",
        "clips": [[_name_of(s), s.person, s.speaks] for s in sources],
        **asdict(config),
    }
    writer = DatasetWriter(root, made, overwrite=overwrite)
    shards: dict[str, list[int]] = {split: [] for split in SPLITS}
    pieces = {}
    for number, source in enumerate(sources):
        split = split_of[source.person]
        shards[split].append(number)
        if not writer.has(split, number):
            others = [
                s
                for s in sources
                if s.person != source.person and s.speaks and split_of[s.person] == split
            ]
            pieces[str(number)] = (writer, split, number, source, others, config)
    done = len(sources) - len(pieces)
    progress("clips", done, len(sources))
    for outcome in run_pieces(pieces, _one_clip, workers=workers, engine=engine, address=address):
        if outcome.error is not None:
            if isinstance(outcome.error, OutputError):
                raise outcome.error
            failed(sources[int(outcome.piece)], str(outcome.error))
        done += 1
        progress("clips", done, len(sources))
    counts = writer.finish(shards)
    for split, count in counts.items():
        if not count:
            raise DatasetError(f"{root}: no clip of the split '{split}' could be used")
    return counts


def _name_of(source: Source) -> str:
    return readable(source.path.name)


def _one_clip(
    writer: DatasetWriter,
    split: str,
    number: int,
    source: Source,
    others: Sequence[Source],
    config: TalksetConfig,
    report: Progress,
) -> int:
    try:
        # All of it before anything is written: a clip that fails half-way leaves no shard.
        examples = list(_examples(source, number, others, config))
    except Exception as e:  # one file never ends a batch, whatever is wrong with it
        raise foreseen(e, source.path) from e
    return writer.write(split, number, examples)


def split_people(people: list[str], config: TalksetConfig) -> dict[str, str]:
    """The split of each person: at least one in each.

    Raises:
        ConfigError: If there are fewer than three people.

    Examples:
        >>> from pushpull.data.talkset import TalksetConfig, split_people
        >>> of = split_people(["ada", "bob", "cy", "di", "eve"], TalksetConfig())
        >>> sorted(of.values())
        ['test', 'train', 'train', 'train', 'val']
    """
    if len(people) < len(SPLITS):
        raise ConfigError(
            f"{len(people)} people; expected at least {len(SPLITS)}, since nobody may be in two "
            "splits: say who is who with --table"
        )
    order = np.random.default_rng(config.seed).permutation(len(people))
    held = max(1, round(len(people) * config.held_out))
    held = min(held, (len(people) - 1) // 2)
    names = ["val"] * held + ["test"] * held + ["train"] * (len(people) - 2 * held)
    return {people[i]: name for i, name in zip(order.tolist(), names, strict=True)}


def _examples(
    source: Source, number: int, others: Sequence[Source], config: TalksetConfig
) -> Iterator[Example]:
    rng = np.random.default_rng([config.seed, number])
    footage = find_faces(source.path, face_finder=config.face_finder, allow_silent=True)
    if not footage.tracks:
        raise MediaError(f"{source.path}: {footage.faceless}; expected talking heads")
    clips = read_clips(footage, CROPS[config.crop])
    spans = [clips.span(i) for i in range(len(clips.faces))]
    # Whose voice it is cannot be known where two faces are seen.
    alone = [
        i
        for i, (start, stop) in enumerate(spans)
        if not any(k != i and a < stop and start < b for k, (a, b) in enumerate(spans))
    ]
    if not alone:
        raise MediaError(f"{source.path}: no face is ever alone on screen; expected talking heads")
    for i in alone:
        for part, whole in enumerate(_parts(clips, i, source, config)):
            yield replace(whole, track_id=f"{_name_of(source)}:{i}:{part}:own")
            wanted = rng.permutation(KINDS[1:])[: config.negatives].tolist()
            for kind in wanted:
                clip = _negative(kind, whole.clip, others, rng)
                if clip is not None:
                    name = f"{_name_of(source)}:{i}:{part}:{kind}"
                    yield replace(whole, track_id=name, clip=clip, case=kind)


def _parts(
    clips: VideoClips, track: int, source: Source, config: TalksetConfig
) -> Iterator[Example]:
    """A track with its own sound, cut into parts."""
    whole = clips.clip(track)
    grid = clips.grids[track]
    face = clips.tracks[track]
    size = np.array([clips.info.width, clips.info.height] * 2, np.float64)
    boxes = np.clip(face.boxes[grid.frame_of_grid] / size, 0, 1)
    n = len(whole.faces)
    times_s = np.arange(n) / whole.fps
    speaking = np.zeros(n, bool)
    if source.speaks:
        middle_s = times_s + 0.5 / whole.fps
        sound = whole.waveform.numpy()
        speaking = voiced(sound, middle_s, aggressiveness=config.aggressiveness)
    for first in range(0, n, config.max_frames):
        here = slice(first, min(first + config.max_frames, n))
        if here.stop - here.start < 10:
            continue
        samples = slice(*(round(f / whole.fps * SAMPLE_RATE_HZ) for f in (here.start, here.stop)))
        yield Example(
            track_id="",
            video_id=_name_of(source),
            person=source.person,
            case="own",
            clip=Clip(
                waveform=whole.waveform[samples],
                faces=whole.faces[here],
                fps=whole.fps,
                speaking=torch.from_numpy(speaking[here].astype(np.int64)),
            ),
            timestamps_s=float(face.timestamps_s[0]) + times_s[here],
            boxes=boxes[here],
        )


def _negative(
    kind: str, clip: Clip, others: Sequence[Source], rng: np.random.Generator
) -> Clip | None:
    """The faces of a clip with a sound that is not theirs; None where there is none."""
    n = len(clip.waveform)
    silent = torch.zeros(len(clip.faces), dtype=torch.int64)
    if kind == "silence":
        sound = rng.normal(0, FAINTEST / 32768, n)
    elif kind == "shifted":
        least = min(SAMPLE_RATE_HZ // 2, n // 3)
        sound = np.roll(clip.waveform.numpy(), int(rng.integers(least, n - least)))
    else:
        other = _voice_of(others, rng)
        if other is None:
            return None
        sound = np.resize(other, n)
    return replace(clip, waveform=as_read_back(np.asarray(sound)), speaking=silent)


def _voice_of(others: Sequence[Source], rng: np.random.Generator) -> NDArray[np.float32] | None:
    """The sound of another clip (S,); None where there is none that can be read."""
    left = list(others)
    while left:
        chosen = left.pop(int(rng.integers(len(left))))
        # A clip that cannot be read is named when its own turn comes.
        with suppress(MediaError):
            return read_waveform(chosen.path, on_damage=lambda line: None)
    return None


def sources_in(folder: Path, suffixes: Collection[str]) -> list[Source]:
    """Videos of a folder: of each subfolder one person, of a flat folder one person a video.

    Raises:
        DatasetError: If there is none.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.talkset import sources_in
        >>> for name in ("ada", "bob"):
        ...     Path(name).mkdir()
        ...     Path(name, "one.mp4").touch()
        >>> [source.person for source in sources_in(Path(), {".mp4"})]
        ['ada', 'bob']
    """
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in suffixes]
    if not paths:
        raise DatasetError(f"{folder}: holds no video; expected talking-head clips")
    return [
        Source(
            path=p,
            person=readable(p.stem if p.parent == folder else str(p.parent.relative_to(folder))),
        )
        for p in paths
    ]
