"""What sets one synthetic person apart, drawn at random.

Lengths are in half face widths (about 7 cm), x to the right, y down, the origin between the eyes.
Colours are sRGB in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["HAIR_STYLES", "Colour", "Looks", "draw_looks"]

Colour = tuple[float, float, float]

HAIR_STYLES = ("bald", "short", "side", "bob", "long", "tied")

SKIN = (
    (0.95, 0.80, 0.71),
    (0.88, 0.69, 0.56),
    (0.76, 0.56, 0.43),
    (0.60, 0.42, 0.31),
    (0.46, 0.31, 0.23),
)
HAIR = (
    (0.09, 0.07, 0.06),
    (0.18, 0.12, 0.08),
    (0.32, 0.21, 0.13),
    (0.50, 0.34, 0.18),
    (0.72, 0.57, 0.35),
    (0.48, 0.23, 0.12),
    (0.60, 0.59, 0.58),
)
IRIS = ((0.25, 0.15, 0.08), (0.35, 0.24, 0.12), (0.30, 0.38, 0.30), (0.35, 0.48, 0.58))
CLOTH = (
    (0.16, 0.20, 0.30),
    (0.45, 0.12, 0.14),
    (0.20, 0.33, 0.27),
    (0.75, 0.73, 0.70),
    (0.25, 0.25, 0.27),
    (0.52, 0.42, 0.30),
    (0.30, 0.40, 0.55),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """One person's appearance.

    Attributes:
        skin: Colour of the skin in plain light.
        lips: How much redder and darker the lips are than the skin, 0..1.
        hair: Colour of hair; brows are darker.
        hair_style: One of `HAIR_STYLES`.
        hair_volume: How far hair stands off the head, about 0.1..0.25.
        hairline: Height of the hairline above the eyes.
        brow_weight: Thickness of the brows, about 0.7..1.4.
        iris: Colour of the eyes.
        jaw_width: Width of the jaw, about 0.9..1.08.
        face_length: Length of the face, about 0.94..1.06.
        chin_width: Width of the chin, about 0.8..1.2.
        eye_size: Size of the eyes, about 0.9..1.15.
        eye_distance: Distance of the eyes, about 0.94..1.06.
        nose_width: Width of the nose, about 0.85..1.2.
        nose_length: Length of the nose, about 0.94..1.06.
        mouth_width: Width of the mouth, about 0.9..1.12.
        lip_fullness: Thickness of the lips, about 0.8..1.35.
        beard: Stubble (0.3) to full beard (1); 0 for none.
        glasses: Whether glasses are worn.
        age: Depth of folds, 0..1.
        cloth: Colour of the clothing.
        collar: Whether the clothing has a collar.
        texture_seed: Of hair strands, freckles and cloth.

    Examples:
        >>> from pushpull.synthetic import draw_looks
        >>> looks = draw_looks(np.random.default_rng(0))
        >>> looks.hair_style, looks.glasses
        ('bob', True)
    """

    skin: Colour
    lips: float
    hair: Colour
    hair_style: str
    hair_volume: float
    hairline: float
    brow_weight: float
    iris: Colour
    jaw_width: float
    face_length: float
    chin_width: float
    eye_size: float
    eye_distance: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_fullness: float
    beard: float
    glasses: bool
    age: float
    cloth: Colour
    collar: bool
    texture_seed: int


def draw_looks(rng: np.random.Generator, *, feminine: float | None = None) -> Looks:
    """A random adult.

    Args:
        rng: Source of every choice.
        feminine: 0..1; moves the chances of beards, hair styles and face shapes; random if None.

    Examples:
        >>> from dataclasses import replace
        >>> from pushpull.synthetic import draw_looks
        >>> looks = draw_looks(np.random.default_rng(0), feminine=1.0)
        >>> looks.beard
        0.0
        >>> bespectacled = replace(looks, glasses=True)
    """
    f = float(rng.uniform()) if feminine is None else feminine
    bald, short, side = 0.12 * (1 - f), 0.5 * (1 - f) + 0.02, 0.3 * (1 - f) + 0.08
    bob, long, tied = 0.35 * f + 0.02, 0.35 * f + 0.02, 0.25 * f
    chances = np.array([bald, short, side, bob, long, tied])
    tone = rng.uniform(0, len(SKIN) - 1)
    skin = between(SKIN, tone)
    # Dark hair goes with dark skin.
    shades = HAIR[:3] if tone > 2 else HAIR
    has_beard = rng.uniform() < 0.45 * (1 - f)
    return Looks(
        skin=skin,
        lips=float(rng.uniform(0.45, 0.7) + 0.3 * f * rng.uniform()),
        hair=shades[int(rng.integers(len(shades)))],
        hair_style=str(rng.choice(HAIR_STYLES, p=chances / chances.sum())),
        hair_volume=float(rng.uniform(0.10, 0.22)),
        hairline=float(rng.uniform(0.80, 1.02)),
        brow_weight=float(rng.uniform(0.85, 1.3) - 0.25 * f),
        iris=(IRIS[:2] if tone > 2 else IRIS)[int(rng.integers(2 if tone > 2 else len(IRIS)))],
        jaw_width=float(rng.uniform(0.96, 1.07) - 0.07 * f),
        face_length=float(rng.uniform(0.95, 1.05)),
        chin_width=float(rng.uniform(0.95, 1.2) - 0.2 * f),
        eye_size=float(rng.uniform(0.92, 1.06) + 0.08 * f),
        eye_distance=float(rng.uniform(0.95, 1.05)),
        nose_width=float(rng.uniform(0.9, 1.15) - 0.08 * f + 0.04 * tone),
        nose_length=float(rng.uniform(0.95, 1.05)),
        mouth_width=float(rng.uniform(0.92, 1.1)),
        lip_fullness=float(rng.uniform(0.85, 1.1) + 0.12 * f + 0.05 * tone),
        beard=float(rng.uniform(0.25, 0.95)) if has_beard else 0.0,
        glasses=bool(rng.uniform() < 0.25),
        age=float(rng.uniform(0.0, 1.0)),
        cloth=CLOTH[int(rng.integers(len(CLOTH)))],
        collar=bool(rng.uniform() < 0.4),
        texture_seed=int(rng.integers(2**31)),
    )


def between(colours: tuple[Colour, ...], at: float) -> Colour:
    """Colour between neighbours of a list, at a fractional place."""
    table = np.array(colours)
    r, g, b = (float(np.interp(at, np.arange(len(table)), table[:, k])) for k in range(3))
    return (r, g, b)
