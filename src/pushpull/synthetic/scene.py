"""People in a room: a whole picture per frame, the sound, and what is true about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.synthetic.articulation import Mouth, Tract
from pushpull.synthetic.body import BODY_X, BODY_Y, draw_body
from pushpull.synthetic.face import Face, layer, paint
from pushpull.synthetic.head import PIVOT_Y
from pushpull.synthetic.looks import Looks, draw_looks
from pushpull.synthetic.motion import Motion, draw_motion
from pushpull.synthetic.mouth import JAW_DROP
from pushpull.synthetic.room import mixed
from pushpull.synthetic.scripts import Script
from pushpull.synthetic.shading import Grid, Light
from pushpull.synthetic.view import Pose, face_box, pose_of, view_of
from pushpull.synthetic.voice import Voice, draw_voice, synthesize

__all__ = ["Actor", "Person", "Placement", "Scene", "SensorNoise", "draw_person", "room_sound"]

Picture = NDArray[np.uint8]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who is seen and heard.

    Examples:
        >>> from pushpull.synthetic import Person, draw_looks, draw_voice
        >>> rng = np.random.default_rng(0)
        >>> person = Person(looks=draw_looks(rng), voice=draw_voice(rng, pitch_hz=120.0))
        >>> person.voice.pitch_hz
        120.0
    """

    looks: Looks
    voice: Voice


def draw_person(rng: np.random.Generator, *, feminine: bool | None = None) -> Person:
    """A random person whose voice fits the looks.

    Examples:
        >>> from pushpull.synthetic.scene import draw_person
        >>> person = draw_person(np.random.default_rng(0), feminine=True)
        >>> person.looks.beard, person.voice.pitch_hz > 160
        (0.0, True)
    """
    if feminine is None:
        feminine = bool(rng.integers(2))
    low_hz, high_hz = (165.0, 240.0) if feminine else (90.0, 145.0)
    looks = draw_looks(rng, feminine=float(feminine))
    return Person(looks=looks, voice=draw_voice(rng, pitch_hz=float(rng.uniform(low_hz, high_hz))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a head is at rest.

    Attributes:
        x: Column of the point that it turns about, in pixels.
        y: Its row, a little below the eyes.
        scale: Pixels per face unit; a face is about 2.5 units high.
        facing: Mean yaw in radians, positive to the right of the picture.

    Examples:
        >>> from pushpull.synthetic.scene import Placement
        >>> Placement(x=320.0, y=200.0, scale=60.0)
        Placement(x=320.0, y=200.0, scale=60.0, facing=0.0)
    """

    x: float
    y: float
    scale: float
    facing: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What is true about a synthetic video.

    Attributes:
        fps: Frames per second.
        size: Width and height.
        timestamps_s: When each frame begins (T,).
        boxes: Box (x1, y1, x2, y2) of each person in each frame (P, T, 4), pixels.
        speaking: Whether each person speaks and is heard in each frame (P, T).
        waveform: The sound (S,) at 16 kHz.
        people: Who they are, from left to right.

    Examples:
        >>> from pushpull.synthetic import demo_video
        >>> scene = demo_video("talk.mp4", duration_s=0.2, size=(64, 48))
        >>> scene.boxes.shape, scene.speaking.shape, scene.waveform.shape
        ((2, 5, 4), (2, 5), (3200,))
    """

    fps: float
    size: tuple[int, int]
    timestamps_s: Array
    boxes: Array
    speaking: NDArray[np.bool_]
    waveform: NDArray[np.float32]
    people: tuple[Person, ...]


class Actor:
    """One person in a video, drawn frame by frame.

    Args:
        person: Who.
        script: What is done.
        placement: Where.
        light: How lit.
        times_s: Middle of each frame (T,).
        size: Width and height of the pictures.
        rng: Source of movement.

    Examples:
        >>> from pushpull.synthetic import Case, draw_script
        >>> from pushpull.synthetic.scene import Actor, Placement, draw_person
        >>> from pushpull.synthetic.shading import Light
        >>> rng, size = np.random.default_rng(0), (64, 64)
        >>> person, script = draw_person(rng), draw_script(rng, Case.SPEAKING, 0.2)
        >>> placement = Placement(x=32.0, y=28.0, scale=12.0)
        >>> actor = Actor(person, script, placement, Light(), np.arange(3) / 25, size, rng)
        >>> actor.boxes().shape
        (3, 4)
        >>> grey = (np.full((64, 64, 3), 128, np.uint8) for _ in range(3))
        >>> [bool(picture.std() > 0) for picture in actor.draw(grey)]
        [True, True, True]
    """

    def __init__(
        self,
        person: Person,
        script: Script,
        placement: Placement,
        light: Light,
        times_s: Array,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        self.placement = placement
        self.mouth: Mouth = script.mouth.at(times_s)
        self.motion: Motion = draw_motion(rng, times_s, self.mouth, facing=placement.facing)
        self.face = Face(person.looks, light, placement.scale)
        self.body_x, self.body_y = body_part(placement, size)
        grid = Grid.spanning(self.body_x, self.body_y, placement.scale)
        self.body = layer(*draw_body(person.looks, light, grid))
        self.poses = [
            pose_of(self.motion, i, placement.x, placement.y, placement.scale)
            for i in range(len(times_s))
        ]

    def boxes(self) -> Array:
        """Box (x1, y1, x2, y2) of the face in each frame (T, 4)."""
        jaw = JAW_DROP * self.mouth.jaw
        return np.array([face_box(p, float(j)) for p, j in zip(self.poses, jaw, strict=True)])

    def draw(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """Paint the person into each picture (H, W, 3), in place."""
        canvases = self.face.frontal(self.mouth, self.motion)
        for picture, canvas, pose in zip(pictures, canvases, self.poses, strict=False):
            view = view_of(self.face, pose, (picture.shape[1], picture.shape[0]))
            if self.face.back is not None:
                view.place(picture, self.face.back)
            self.place_body(picture, pose)
            view.place(picture, canvas)
            yield picture

    def place_body(self, picture: Picture, pose: Pose) -> None:
        """Paint the body, which follows the head half way."""
        import cv2

        at = self.placement
        x = at.x + 0.5 * (pose.x - at.x) + self.body_x[0] * at.scale
        y = at.y + 0.3 * (pose.y - at.y) + (self.body_y[0] - PIVOT_Y) * at.scale
        left, top = int(np.floor(x)), int(np.floor(y))
        height, width = self.body.shape[:2]
        first_row, first_column = max(0, top), max(0, left)
        part = picture[first_row : top + height + 1, first_column : left + width + 1]
        if part.size == 0:
            return
        shift = np.array([[1, 0, x - first_column], [0, 1, y - first_row]])
        paint(part, cv2.warpAffine(self.body, shift, (part.shape[1], part.shape[0])))


def body_part(
    placement: Placement, size: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges in x and y of a body, in face units, that may come into a picture of a size."""
    slack = 0.5
    left, right = -placement.x / placement.scale, (size[0] - placement.x) / placement.scale
    bottom = (size[1] - placement.y) / placement.scale + PIVOT_Y
    return (
        (max(BODY_X[0], left - slack), min(BODY_X[1], right + slack)),
        (BODY_Y[0], max(BODY_Y[0] + slack, min(BODY_Y[1], bottom + slack))),
    )


class SensorNoise:
    """Grain of a camera: independent noise on every picture, from a supply made once.

    Args:
        rng: Source.
        size: Width and height of the pictures.
        sigma: Standard deviation in grey levels.

    Examples:
        >>> from pushpull.synthetic.scene import SensorNoise
        >>> noise = SensorNoise(np.random.default_rng(0), (64, 48), sigma=3.0)
        >>> noisy = noise.on(np.full((48, 64, 3), 128, np.uint8))
        >>> round(noisy.mean()), round(noisy.std())
        (128, 3)
    """

    MARGIN = 61

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], sigma: float) -> None:
        self.rng, self.size = rng, size
        shape = (size[1] + self.MARGIN, size[0] + self.MARGIN, 3)
        grain = np.rint(sigma * rng.standard_normal(shape, np.float32))
        self.lighter = np.clip(grain, 0, 255).astype(np.uint8)
        self.darker = np.clip(-grain, 0, 255).astype(np.uint8)

    def on(self, picture: Picture) -> Picture:
        """The picture (H, W, 3) with noise."""
        import cv2

        row, column = self.rng.integers(self.MARGIN, size=2)
        part = (slice(row, row + self.size[1]), slice(column, column + self.size[0]))
        noisy: Picture = cv2.subtract(cv2.add(picture, self.lighter[part]), self.darker[part])
        return noisy


def room_sound(
    rng: np.random.Generator, spoken: Sequence[tuple[Tract, Voice]]
) -> NDArray[np.float32]:
    """What a microphone in the room records of several tracts with their voices.

    Examples:
        >>> from pushpull.synthetic import babble, draw_voice
        >>> from pushpull.synthetic.scene import room_sound
        >>> rng = np.random.default_rng(0)
        >>> room_sound(rng, [(babble(rng, 1.0).tract, draw_voice(rng))]).shape
        (16000,)
    """
    return mixed(rng, [synthesize(tract, voice, rng) for tract, voice in spoken])
