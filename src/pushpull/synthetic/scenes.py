"""Scenes in which drawn people move, cross and hide before a moving camera, with exact boxes.

They are for measuring face trackers: whose box is where is known in every frame, also of a face
that something hides. People are drawn once on a transparent ground, then placed by an affine map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import UnknownName
from pushpull.synthetic.background import draw_background
from pushpull.synthetic.scene import Actor, Placement, draw_person
from pushpull.synthetic.scripts import Case, draw_script
from pushpull.synthetic.shading import draw_light

__all__ = ["SCENES", "MovingScene", "draw_scene"]

Picture = NDArray[np.uint8]
Array = NDArray[np.float64]

SIZE = (640, 360)
SPRITE = (224, 256)
UNIT = 40.0
"""Pixels per face unit in a sprite: a face is 100 pixels high."""
LEAST_SEEN = 0.35
"""Share of a face that must lie in the picture for it to be counted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MovingScene:
    """Pictures of a scene and what is true about it.

    Attributes:
        fps: Frames per second.
        pictures: RGB (T, H, W, 3) uint8.
        boxes: Of each face in each frame (K, T, 4) in pixels, NaN where it is not in the picture.
            A face that comes again after a cut has another number.
        hidden: Share of each face that others hide (K, T).

    Examples:
        >>> from pushpull.synthetic.scenes import draw_scene
        >>> scene = draw_scene("crossing", seed=1, duration_s=0.2)
        >>> scene.pictures.shape, scene.boxes.shape
        ((5, 360, 640, 3), (2, 5, 4))
    """

    fps: float
    pictures: Picture
    boxes: Array
    hidden: Array


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A drawn person on a transparent ground.

    Attributes:
        pictures: RGB (T, h, w, 3) float32, times what covers.
        cover: How much of what is behind is covered (T, h, w), 0..1.
        boxes: Of the face (T, 4) in its pixels.
    """

    pictures: NDArray[np.float32]
    cover: NDArray[np.float32]
    boxes: Array


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """What happens between two cuts; all functions are of the time in seconds.

    Attributes:
        until: Its end, as a share of the scene.
        people: Way of each person: middle of the face in the room (x, y) and size, nearest last.
        camera: Corner of the view in the room (x, y) and how much larger things are seen.
        screen: Left and right edge of something that hides what is behind it, if anything.
    """

    until: float
    people: tuple[Callable[[float], tuple[float, float, float]], ...]
    camera: Callable[[float], tuple[float, float, float]] = lambda t: (0.0, 0.0, 1.0)
    screen: Callable[[float], tuple[float, float]] | None = None


def at(
    x: float, y: float, size: float = 1.0, *, speed: float = 0.0, grows: float = 0.0
) -> Callable[[float], tuple[float, float, float]]:
    """Someone who walks at a constant speed, pixels a second, and comes nearer."""
    return lambda t: (x + speed * t, y, size + grows * t)


def swing(depth: float, rate_hz: float) -> Callable[[float], tuple[float, float, float]]:
    """A camera that pans from side to side."""
    return lambda t: (160 + depth * float(np.sin(2 * np.pi * rate_hz * t)), 60.0, 1.0)


def pan(rng: np.random.Generator) -> list[Shot]:
    """Two people, a camera that swings fast."""
    depth, rate_hz = rng.uniform(90, 130), rng.uniform(0.5, 0.8)
    return [Shot(1.0, (at(360, 240), at(590, 250, 0.9)), swing(depth, rate_hz))]


def zoom(rng: np.random.Generator) -> list[Shot]:
    """Two people, and a camera that jumps nearer within a tenth of a second and back."""
    factor, in_s = rng.uniform(1.5, 2.0), rng.uniform(0.08, 0.2)

    def camera(t: float) -> tuple[float, float, float]:
        ramps = [np.clip((t - at_s) / in_s, 0, 1) for at_s in (1.0, 2.6)]
        much = 1 + (factor - 1) * (ramps[0] - ramps[1])
        return 470 - 320 / much, 250 - 180 / much, much

    return [Shot(1.0, (at(395, 240, 0.8), at(545, 255, 0.8)), camera)]


def shake(rng: np.random.Generator) -> list[Shot]:
    """Three people, and a camera in a hand that trembles."""
    rates, depth = rng.uniform(2, 3.5, 2), rng.uniform(25, 40)

    def camera(t: float) -> tuple[float, float, float]:
        x, y = depth * np.sin(2 * np.pi * rates * t)
        return 160 + x, 60 + 0.7 * y, 1.0

    return [Shot(1.0, (at(290, 240, 0.8), at(480, 230, 0.8), at(660, 240, 0.7)), camera)]


def crossing(rng: np.random.Generator) -> list[Shot]:
    """Two people pass each other; one hides the other for a moment."""
    speed = rng.uniform(110, 200)
    way = 4 * speed
    return [
        Shot(
            1.0,
            (
                at(480 + way / 2, 240, 0.9, speed=-speed),
                at(480 - way / 2, 250, 1.1, speed=speed),
            ),
            lambda t: (160.0, 60.0, 1.0),
        )
    ]


def occlusion(rng: np.random.Generator) -> list[Shot]:
    """Two people sit, and something passes before them."""
    speed = rng.uniform(250, 400)
    return [
        Shot(
            1.0,
            (at(360, 240), at(590, 250, 0.9)),
            lambda t: (160.0, 60.0, 1.0),
            lambda t: (40 + speed * (t - 0.5), 190 + speed * (t - 0.5)),
        )
    ]


def cuts(rng: np.random.Generator) -> list[Shot]:
    """Shots of a third of a second to a second; the same two people, near and far."""
    lengths = rng.uniform(0.7, 1.4, 7)
    shots = []
    for k, end in enumerate(np.cumsum(lengths) / lengths.sum()):
        x, size = rng.uniform(400, 560), rng.uniform(0.7, 1.3)
        view = at(x, rng.uniform(220, 260), size)
        both = at(x - 130, 240, size), at(x + 130, 240, size)
        people = both if k % 3 == 2 else (view,)
        shots.append(Shot(float(end), people, lambda t: (160.0, 60.0, 1.0)))
    return shots


def walking_in(rng: np.random.Generator) -> list[Shot]:
    """One sits; another walks in fast, through the picture and out."""
    speed = rng.uniform(250, 400)
    walker = at(0, 230, 1.0, speed=speed, grows=0.05)
    return [Shot(1.0, (at(560, 240, 0.8), walker), lambda t: (160.0, 60.0, 1.0))]


def five(rng: np.random.Generator) -> list[Shot]:
    """Five people, two of whom walk past the others, before a swinging camera."""
    speed = rng.uniform(90, 140)
    people = (
        at(330, 190, 0.6),
        at(480, 180, 0.6),
        at(640, 190, 0.6),
        at(250, 280, 0.8, speed=speed),
        at(250 + 4.5 * speed, 300, 0.9, speed=-speed),
    )
    return [Shot(1.0, people, swing(rng.uniform(40, 80), rng.uniform(0.4, 0.7)))]


SCENES: dict[str, Callable[[np.random.Generator], list[Shot]]] = {
    "pan": pan,
    "zoom": zoom,
    "shake": shake,
    "crossing": crossing,
    "occlusion": occlusion,
    "cuts": cuts,
    "walking-in": walking_in,
    "five": five,
}


def draw_scene(
    name: str, *, seed: int = 0, duration_s: float = 4.0, fps: float = 25.0
) -> MovingScene:
    """Draw a scene.

    Args:
        name: One of `SCENES`.
        seed: Everything follows from it.
        duration_s: Length in seconds.
        fps: Frames per second.

    Raises:
        UnknownName: If there is no such scene.

    Examples:
        >>> from pushpull.synthetic.scenes import SCENES, draw_scene
        >>> scene = draw_scene("pan", duration_s=0.2)
        >>> widths = scene.boxes[..., 2] - scene.boxes[..., 0]
        >>> bool((widths > 40).all())
        True
    """
    if name not in SCENES:
        raise UnknownName("scene", name, list(SCENES))
    rng = np.random.default_rng([seed, *name.encode()])
    shots = SCENES[name](rng)
    n = max(1, round(duration_s * fps))
    sprites = [draw_sprite(rng, n, fps) for _ in range(max(len(s.people) for s in shots))]
    ends = [0, *(round(n * shot.until) for shot in shots)]
    pictures = np.empty((n, SIZE[1], SIZE[0], 3), np.uint8)
    boxes, hidden = [], []
    for k, shot in enumerate(shots):
        chosen = np.roll(np.arange(len(sprites)), k)[: len(shot.people)]
        room = draw_background(rng, (SIZE[0] * 3 // 2, SIZE[1] * 4 // 3))
        there = np.full((len(shot.people), n, 4), np.nan)
        covered = np.zeros((len(shot.people), n))
        for i in range(ends[k], ends[k + 1]):
            picture, there[:, i], covered[:, i] = draw_frame(
                room, [sprites[j] for j in chosen], shot, i, fps
            )
            pictures[i] = picture
        boxes.append(there)
        hidden.append(covered)
    return MovingScene(
        fps=fps, pictures=pictures, boxes=np.concatenate(boxes), hidden=np.concatenate(hidden)
    )


def draw_sprite(rng: np.random.Generator, n: int, fps: float) -> Sprite:
    """A person who talks, n frames."""
    person, script = draw_person(rng), draw_script(rng, Case.TURNS, n / fps)
    placement = Placement(x=SPRITE[0] / 2, y=0.4 * SPRITE[1], scale=UNIT)
    actor = Actor(person, script, placement, draw_light(rng), np.arange(n) / fps, SPRITE, rng)

    def over(level: int) -> NDArray[np.float32]:
        ground = (np.full((SPRITE[1], SPRITE[0], 3), level, np.uint8) for _ in range(n))
        return np.stack(list(actor.draw(iter(ground)))).astype(np.float32)

    # What is drawn over black and over white says what is seen through.
    black, white = over(0), over(255)
    cover = 1 - (white - black).mean(-1) / 255
    return Sprite(black, np.clip(cover, 0, 1), actor.boxes())


def draw_frame(
    room: Picture, sprites: list[Sprite], shot: Shot, i: int, fps: float
) -> tuple[Picture, Array, Array]:
    """One picture, the boxes (K, 4) in it and the shares (K,) that are hidden."""
    import cv2

    left, top, much = shot.camera(i / fps)
    view = np.array([[much, 0, -left * much], [0, much, -top * much]])
    picture = cv2.warpAffine(room, view, SIZE, borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    boxes = np.full((len(sprites), 4), np.nan)
    covers: list[NDArray[np.float32]] = []
    for k, (sprite, way) in enumerate(zip(sprites, shot.people, strict=True)):
        x, y, size = way(i / fps)
        scale = size * much
        middle = (sprite.boxes[0, :2] + sprite.boxes[0, 2:]) / 2
        corner = (np.array([x, y]) - np.array([left, top])) * much - scale * middle
        place = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        cover = cv2.warpAffine(sprite.cover[i], place, SIZE)
        drawn = cv2.warpAffine(sprite.pictures[i], place, SIZE)
        picture = picture * (1 - cover[..., None]) + drawn
        covers.append(cover)
        box = sprite.boxes[i] * scale + np.tile(corner, 2)
        if seen_share(box) >= LEAST_SEEN:
            boxes[k] = box
    if shot.screen is not None:
        edges = np.clip((np.array(shot.screen(i / fps)) + 160 - left) * much, 0, SIZE[0])
        first, last = edges.round().astype(int)
        picture[:, first:last] = np.array([70.0, 80.0, 90.0])
        covers.append(np.zeros(SIZE[::-1], np.float32))
        covers[-1][:, first:last] = 1
    hidden = np.array([hidden_share(boxes[k], covers[k + 1 :]) for k in range(len(sprites))])
    return np.clip(picture, 0, 255).astype(np.uint8), boxes, hidden


def seen_share(box: Array) -> float:
    """Share of a box (4,) that lies in the picture."""
    inside = np.clip(box, 0, [*SIZE, *SIZE])
    return float(np.prod(inside[2:] - inside[:2]) / np.prod(box[2:] - box[:2]))


def hidden_share(box: Array, covers: list[NDArray[np.float32]]) -> float:
    """Share of a box (4,) before which something is."""
    if np.isnan(box).any() or not covers:
        return 0.0
    x1, y1, x2, y2 = np.clip(box.round(), 0, [*SIZE, *SIZE]).astype(int)
    part = np.max([cover[y1:y2, x1:x2] for cover in covers], axis=0)
    return float(part.mean()) if part.size else 0.0
