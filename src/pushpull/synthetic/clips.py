"""One face of one person with sound, cut out as a detector sees it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Clip
from pushpull.synthetic.ambience import draw_ambience
from pushpull.synthetic.background import draw_background
from pushpull.synthetic.scene import Actor, Placement, SensorNoise, draw_person, room_sound
from pushpull.synthetic.scripts import Case, draw_script
from pushpull.synthetic.shading import draw_light
from pushpull.synthetic.voice import draw_voice

__all__ = ["draw_clip"]

SMOOTHING = 13
"""Frames over which boxes are averaged, since a tracker's box does not follow every opening."""


def draw_clip(
    rng: np.random.Generator,
    case: Case,
    *,
    n_frames: int = 75,
    fps: float = 25.0,
    ambience: bool = False,
) -> Clip:
    """A random person seen through a face box as in AVA: the whole box, stretched to a square.

    Args:
        rng: Source of every choice; the same state gives the same clip, bit for bit.
        case: What the person does.
        n_frames: Length.
        fps: Frames per second.
        ambience: Add noise, music or a crowd, now and then louder than the voice.

    Returns:
        Faces (n_frames, 112, 112) uint8, sound of the same length, labels.

    Examples:
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=5)
        >>> clip.faces.shape, clip.faces.dtype, clip.waveform.shape
        (torch.Size([5, 112, 112]), torch.uint8, torch.Size([3200]))
        >>> clip.speaking
        tensor([1, 1, 1, 1, 1])
    """
    import cv2

    times_s = np.asarray((np.arange(n_frames) + 0.5) / fps, np.float64)
    script = draw_script(rng, case, n_frames / fps)
    person, light = draw_person(rng), draw_light(rng)
    # Faces of 60 to 130 pixels, then scaled to 112.
    scale = float(np.exp(rng.uniform(np.log(24.0), np.log(52.0))))
    size = (round(3.1 * scale), round(3.4 * scale))
    placement = Placement(
        x=size[0] / 2, y=0.47 * size[1], scale=scale, facing=float(rng.normal(0, 0.12))
    )
    actor = Actor(person, script, placement, light, times_s, size, rng)
    boxes = smoothed(actor.boxes() + rng.normal(0, 0.04 * scale, 4))
    noise = SensorNoise(rng, size, sigma=float(rng.uniform(1.0, 5.0)))
    background = draw_background(rng, size)
    sound = room_sound(rng, [(script.own, person.voice), (script.other, draw_voice(rng))])
    if ambience:
        sound = np.tanh(sound + draw_ambience(rng, len(sound)))
    faces = np.empty((n_frames, FACE_SIZE, FACE_SIZE), np.uint8)
    pictures = actor.draw(background.copy() for _ in times_s)
    for face, picture, box in zip(faces, pictures, boxes, strict=True):
        grey = cv2.cvtColor(noise.on(picture), cv2.COLOR_RGB2GRAY)
        cv2.warpAffine(
            grey,
            box_to_square(box),
            (FACE_SIZE, FACE_SIZE),
            dst=face,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    n_samples = round(n_frames / fps * SAMPLE_RATE_HZ)
    return Clip(
        waveform=torch.from_numpy(sound[:n_samples]),
        faces=torch.from_numpy(faces),
        fps=fps,
        speaking=torch.from_numpy(script.speaking(times_s).astype(np.int64)),
    )


def smoothed(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (T, 4) averaged over neighbouring frames."""
    half = SMOOTHING // 2
    padded = np.pad(boxes, ((half, half), (0, 0)), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING, axis=0)
    return np.asarray(views.mean(-1))


def box_to_square(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine map (2, 3) from pixels of the face square to pixels of the picture."""
    x1, y1, x2, y2 = box
    across, down = (x2 - x1) / FACE_SIZE, (y2 - y1) / FACE_SIZE
    return np.array([[across, 0, x1 + across / 2 - 0.5], [0, down, y1 + down / 2 - 0.5]])
