"""A small AVA look-alike: whole videos with several synthetic faces, and official csv files."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pushpull.errors import ConfigError
from pushpull.runtime.files import output_dir
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.synthetic import Scene, demo_video

__all__ = ["SyntheticAvaVideo", "write_synthetic_ava"]

FPS = (25.0, 24.0, 30_000 / 1001)
NAME_LETTERS = string.ascii_letters + string.digits + "-_"
NAME_LENGTH = 11
SPLIT = ("train", "val")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticAvaVideo:
    """One video and the truth of it.

    Attributes:
        video_id: Name, 11 letters as YouTube gives.
        path: File.
        split: "train" or "val".
        scene: What the generator put in.
        entities: Of each entity: name, person, first frame and last + 1.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava import write_synthetic_ava
        >>> video, _ = write_synthetic_ava(Path("ava"), videos=2, duration_s=0.5, size=(64, 48))
        >>> video.split, len(video.entities)
        ('train', 4)
    """

    video_id: str
    path: Path
    split: str
    scene: Scene
    entities: tuple[tuple[str, int, int, int], ...]


def write_synthetic_ava(
    root: Path,
    *,
    overwrite: bool = False,
    videos: int = 4,
    seed: int = 0,
    duration_s: float = 8.0,
    size: tuple[int, int] = (480, 360),
    lossless: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SyntheticAvaVideo]:
    """Write videos and annotations as AVA's users have them.

    Below `root`: `ava_activespeaker_{train,val}_v1.0/{video}-activespeaker.csv` without headers,
    timestamps to 2 decimals, and `orig_videos/trainval/{video}.mp4`. Every video shows two people
    who talk by turns, with a voice off screen; each person is two entities, one after the other,
    which begin and end at different frames for both.

    Args:
        root: Folder.
        overwrite: Whether files of any other making may be replaced.
        videos: How many; the last quarter, at least one, is `val`.
        seed: Of everything.
        duration_s: Length of each.
        size: Width and height.
        lossless: FFV1 in mkv, whose grey pictures and sound are exactly what was drawn, so that
            crops can be compared.
        progress: Called with videos done and in all.

    Raises:
        ConfigError: If there are fewer than two videos or no time.
        OutputError: If it cannot be written, or a file may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data.ava import write_synthetic_ava
        >>> made = write_synthetic_ava(Path("ava"), videos=2, duration_s=0.5, size=(64, 48))
        >>> sorted(path.name for path in Path("ava").glob("[!.]*"))
        ['ava_activespeaker_train_v1.0', 'ava_activespeaker_val_v1.0', 'orig_videos']
    """
    if videos < 2:
        raise ConfigError(f"{videos} videos; expected at least 2, one for each split")
    held = max(1, videos // 4)
    suffix = ".mkv" if lossless else ".mp4"
    made = {"seed": seed, "videos": videos, "duration_s": duration_s, "size": size}
    outputs = Outputs(
        folder=root, origin=Origin(command="data ava-synthetic", settings=made), overwrite=overwrite
    )
    planned = []
    for number in range(videos):
        rng = np.random.default_rng([seed, number])
        name = "".join(rng.choice(list(NAME_LETTERS), NAME_LENGTH))
        split = SPLIT[number >= videos - held]
        table = f"ava_activespeaker_{split}_v1.0/{name}-activespeaker.csv"
        planned.append((rng, name, split, f"orig_videos/trainval/{name}{suffix}", table))
    outputs.check([file for *_, film, table in planned for file in (film, table)])
    found = []
    for number, (rng, name, split, film, table) in enumerate(planned):
        for file in (film, table):
            output_dir((root / file).parent)
        with outputs.writing([film, table]) as paths:
            scene = demo_video(
                paths[film],
                seed=seed * 1000 + number,
                duration_s=duration_s,
                size=size,
                fps=FPS[number % len(FPS)],
                codec="ffv1" if lossless else "h264",
            )
            video = SyntheticAvaVideo(
                video_id=name,
                path=root / film,
                split=split,
                scene=scene,
                entities=_entities(name, scene, rng),
            )
            _write_csv(paths[table], video)
        found.append(video)
        progress(number + 1, videos)
    return found


def _entities(
    name: str, scene: Scene, rng: np.random.Generator
) -> tuple[tuple[str, int, int, int], ...]:
    frames = len(scene.timestamps_s)
    end_s = int(np.ceil(scene.timestamps_s[-1]))
    found: list[tuple[str, int, int, int]] = []
    for person in range(len(scene.boxes)):
        middle = int(rng.integers(frames // 3, 2 * frames // 3))
        first, last = int(rng.integers(0, 4)), frames - int(rng.integers(0, 4))
        for start, stop in ((first, middle), (middle, last)):
            found.append((f"{name}_0000_{end_s:04d}:{len(found) + 1}", person, start, stop))
    return tuple(found)


def _write_csv(path: Path, video: SyntheticAvaVideo) -> None:
    scene = video.scene
    size = np.array(scene.size * 2, np.float64)
    lines = []
    for entity, person, start, stop in video.entities:
        for k in range(start, stop):
            box = ",".join(f"{v:.6f}" for v in np.clip(scene.boxes[person, k] / size, 0, 1))
            label = "SPEAKING_AUDIBLE" if scene.speaking[person, k] else "NOT_SPEAKING"
            lines.append(f"{video.video_id},{scene.timestamps_s[k]:.2f},{box},{label},{entity}")
    path.write_text("\n".join(lines) + "\n")
