"""Whole synthetic videos with their ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations import write_truth
from pushpull.errors import ConfigError
from pushpull.media import VideoWriter
from pushpull.runtime.files import written_whole
from pushpull.synthetic.articulation import RATE_HZ, Span, Tract, babble, silent_tract
from pushpull.synthetic.background import draw_background
from pushpull.synthetic.scene import (
    Actor,
    Person,
    Placement,
    Scene,
    SensorNoise,
    draw_person,
    room_sound,
)
from pushpull.synthetic.scripts import Case, Script, draw_script, listening_smile, with_idling
from pushpull.synthetic.shading import Light, draw_light
from pushpull.synthetic.voice import Voice, draw_voice

__all__ = ["demo_video", "one_face_video", "write_scene_truth"]

Picture = NDArray[np.uint8]
Codec = Literal["h264", "ffv1"]

LEFT, RIGHT, OFF_SCREEN = 0, 1, 2

SCRIPT = (
    (LEFT, 0.03, 0.31),
    (RIGHT, 0.34, 0.60),
    (OFF_SCREEN, 0.64, 0.78),
    (LEFT, 0.85, 0.98),
)
"""Who speaks when, in shares of a round; nobody from 0.78 to 0.85."""

ROUND_S = 10.0

LONGEST_S = 86_400.0
"""A day; a longer one is a slip of the finger, and would be made for weeks."""


def demo_video(
    path: str | PathLike[str],
    *,
    seed: int = 0,
    duration_s: float = 10.0,
    size: tuple[int, int] = (640, 480),
    fps: float = 25.0,
    codec: Codec = "h264",
) -> Scene:
    """Write a video of two people who talk by turns, a voice off screen, and a silence.

    Args:
        path: File to write (mp4: H.264 and AAC).
        seed: Everything follows from it; the same seed gives the same pictures and sound.
        duration_s: Length in seconds.
        size: Width and height.
        fps: Frames per second.
        codec: As `pushpull.media.VideoWriter` takes it.

    Returns:
        What is true in it; people from left to right.

    Raises:
        ConfigError: If the length, size or rate is not positive.
        OutputError: If the file cannot be written.

    Examples:
        >>> from pushpull.synthetic import demo_video
        >>> scene = demo_video("talk.mp4", duration_s=0.4, size=(128, 96))
        >>> scene.size, len(scene.people), scene.speaking.shape
        ((128, 96), 2, (2, 10))
    """
    check(duration_s, size, fps)
    rng = np.random.default_rng(seed)
    light = draw_light(rng)
    feminine = bool(rng.integers(2))
    people = tuple(draw_person(rng, feminine=f) for f in (feminine, not feminine))
    spans = script_spans(rng, duration_s)
    speeches = [babble(rng, duration_s, s) for s in spans]
    nothing = silent_tract(len(speeches[0].tract))
    scripts = []
    for k, speech in enumerate(speeches[:2]):
        # While one talks the other listens, now and then with a smile.
        mouth = listening_smile(rng, with_idling(rng, speech.mouth), smiles(rng, spans[1 - k]))
        scripts.append(
            Script(
                case=Case.TURNS,
                mouth=mouth,
                own=speech.tract,
                other=nothing,
                utterances=speech.utterances,
            )
        )
    stranger = replace(draw_voice(rng), level_db=-24.0)
    width, height = size
    scale = min(height / 7.6, width / 9.6)
    placements = [
        Placement(x=0.265 * width, y=0.43 * height, scale=scale, facing=0.13),
        Placement(x=0.735 * width, y=0.45 * height, scale=0.97 * scale, facing=-0.13),
    ]
    return write_video(
        path,
        rng,
        people,
        scripts,
        placements,
        light,
        size=size,
        fps=fps,
        duration_s=duration_s,
        others=[(speeches[OFF_SCREEN].tract, stranger)],
        codec=codec,
    )


def one_face_video(
    path: str | PathLike[str],
    *,
    seed: int = 0,
    duration_s: float = 10.0,
    size: tuple[int, int] = (640, 480),
    fps: float = 25.0,
    case: Case = Case.TURNS,
) -> Scene:
    """Write a video of one person; see `demo_video` for the arguments.

    Args:
        path: File to write (mp4: H.264 and AAC).
        seed: Everything follows from it.
        duration_s: Length in seconds.
        size: Width and height.
        fps: Frames per second.
        case: What the person does.

    Examples:
        >>> from pushpull.synthetic import Case, one_face_video
        >>> scene = one_face_video("talk.mp4", duration_s=0.4, size=(64, 48), case=Case.SPEAKING)
        >>> bool(scene.speaking.all()), scene.boxes.shape
        (True, (1, 10, 4))
    """
    check(duration_s, size, fps)
    rng = np.random.default_rng(seed)
    person = draw_person(rng)
    script = draw_script(rng, case, duration_s)
    width, height = size
    placement = Placement(x=0.5 * width, y=0.45 * height, scale=min(height / 6.4, width / 5.2))
    return write_video(
        path,
        rng,
        (person,),
        [script],
        [placement],
        draw_light(rng),
        size=size,
        fps=fps,
        duration_s=duration_s,
        others=[(script.other, draw_voice(rng))],
    )


def write_scene_truth(path: str | PathLike[str], scene: Scene, video_id: str) -> None:
    """Write who speaks when in a synthetic video, as an AVA csv.

    Args:
        path: File to write.
        scene: What `demo_video` or `one_face_video` returned.
        video_id: Name of the video in the csv; people are `NAME:1`, `NAME:2` from left to right.

    Raises:
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import read_table
        >>> from pushpull.synthetic import one_face_video, write_scene_truth
        >>> scene = one_face_video("talk.mp4", duration_s=0.4, size=(64, 48))
        >>> write_scene_truth(Path("truth.csv"), scene, "talk")
        >>> table = read_table("truth.csv")
        >>> len(table), table.entities
        (10, ('talk:1',))
    """
    people, frames = scene.speaking.shape
    boxes = scene.boxes.reshape(-1, 4) / np.array(scene.size * 2, np.float64)
    with written_whole(Path(path)) as temporary:
        write_truth(
            temporary,
            video_id=video_id,
            entity_ids=[f"{video_id}:{k + 1}" for k in range(people) for _ in range(frames)],
            timestamps_s=np.tile(scene.timestamps_s, people),
            boxes=np.clip(boxes, 0, 1),
            speaking=scene.speaking.reshape(-1).astype(bool),
        )


def script_spans(rng: np.random.Generator, duration_s: float) -> list[list[Span]]:
    """Stretches of speech of left, right and off screen."""
    n_rounds = max(1, round(duration_s / ROUND_S))
    round_s = duration_s / n_rounds
    spans: list[list[Span]] = [[], [], []]
    for k in range(n_rounds):
        for who, start, end in SCRIPT:
            # Every other round the two change parts.
            speaker = who if who == OFF_SCREEN or k % 2 == 0 else 1 - who
            start_s, end_s = (k + start) * round_s, (k + end) * round_s
            jitter_s = 0.01 * round_s * rng.uniform(-1, 1, 2)
            spans[speaker].append((float(start_s + jitter_s[0]), float(end_s + jitter_s[1])))
    return spans


def smiles(rng: np.random.Generator, other: Sequence[Span]) -> tuple[Span, ...]:
    """Some stretches inside those in which the other one speaks."""
    return tuple(
        (start_s + 0.3 * (end_s - start_s), end_s - 0.1 * (end_s - start_s))
        for start_s, end_s in other
        if rng.uniform() < 0.7
    )


def write_video(
    path: str | PathLike[str],
    rng: np.random.Generator,
    people: tuple[Person, ...],
    scripts: Sequence[Script],
    placements: Sequence[Placement],
    light: Light,
    *,
    size: tuple[int, int],
    fps: float,
    duration_s: float,
    others: Sequence[tuple[Tract, Voice]],
    codec: Codec = "h264",
) -> Scene:
    """Draw, mix and encode."""
    timestamps_s = np.arange(max(1, round(duration_s * fps))) / fps
    middles_s = timestamps_s + 0.5 / fps
    actors = [
        Actor(person, script, placement, light, middles_s, size, rng)
        for person, script, placement in zip(people, scripts, placements, strict=True)
    ]
    spoken = [(script.own, person.voice) for person, script in zip(people, scripts, strict=True)]
    scene = Scene(
        fps=fps,
        size=size,
        timestamps_s=timestamps_s,
        boxes=np.stack([actor.boxes() for actor in actors]),
        speaking=np.stack([script.speaking(middles_s) for script in scripts]),
        waveform=room_sound(rng, [*spoken, *others]),
        people=people,
    )
    background = draw_background(rng, size)
    noise = SensorNoise(rng, size, sigma=2.0)
    pictures: Iterator[Picture] = (background.copy() for _ in timestamps_s)
    for actor in actors:
        pictures = actor.draw(pictures)
    width, height = size
    with VideoWriter(
        path, width=width, height=height, fps=fps, audio=scene.waveform, codec=codec
    ) as writer:
        for picture in pictures:
            writer.write(noise.on(picture))
    return scene


def check(duration_s: float, size: tuple[int, int], fps: float) -> None:
    """Refuse impossible videos.

    Raises:
        ConfigError: If the length, size or rate is not positive, or the length is above a day.
    """
    if not (1 / RATE_HZ <= duration_s <= LONGEST_S and min(size) > 0 and fps > 0):
        raise ConfigError(
            f"synthetic video of {duration_s} s, {size[0]} x {size[1]}, {fps} fps; expected "
            f"numbers above 0, and at most {LONGEST_S:g} s"
        )
