"""Phones as targets: what the lips do, what the vocal tract lets through, how long it lasts.

Formants of vowels are those of adult men in Peterson and Barney 1952 (J. Acoust. Soc. Am. 24),
table II, rounded. Loci of consonants and places of frication follow Klatt 1980 (J. Acoust. Soc.
Am. 67), tables II and III, coarsely. Lip shapes are the usual viseme classes.

Units: lip gap, width, rounding and tongue in 0..1 of a speaker's range (width in -1..1, a negative
gap presses the lips together); frequencies in Hz of a vocal tract of 17.5 cm.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CODAS", "NUCLEI", "ONSETS", "PHONES", "REST", "Phone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """Targets of one phone.

    Attributes:
        duration_s: Usual length.
        gap: Opening between the lips; negative presses them together.
        width: Distance of the mouth corners, -1 drawn in, 1 spread.
        rounding: Protrusion and rounding of the lips.
        tongue: Height of the tongue tip as seen between the teeth.
        lips: How much the lips insist on their target against the neighbours' (dominance).
        formants_hz: First three resonances.
        mouth: How much the formants insist on their targets.
        voicing: Amplitude of the glottal pulses.
        aspiration: Amplitude of breath noise through the whole tract.
        frication: Amplitude of noise made at a narrowing.
        frication_hz: Centre of that noise.
        nasality: Share of sound through the nose.
        release_s: For stops: how long before the end the closure opens; 0 for other phones.

    Examples:
        >>> from pushpull.synthetic.phones import PHONES, Phone
        >>> PHONES["b"].gap < 0  # lips pressed together
        True
        >>> PHONES["u"].rounding > PHONES["i"].rounding
        True
        >>> Phone(duration_s=0.1, gap=0.3, voicing=1.0).formants_hz
        (500.0, 1500.0, 2500.0)
    """

    duration_s: float
    gap: float
    width: float = 0.0
    rounding: float = 0.0
    tongue: float = 0.3
    lips: float = 1.0
    formants_hz: tuple[float, float, float] = (500.0, 1500.0, 2500.0)
    mouth: float = 1.0
    voicing: float = 0.0
    aspiration: float = 0.0
    frication: float = 0.0
    frication_hz: float = 4000.0
    nasality: float = 0.0
    release_s: float = 0.0


def vowel(
    formants_hz: tuple[float, float, float],
    gap: float,
    width: float,
    rounding: float = 0.0,
    tongue: float = 0.3,
) -> Phone:
    return Phone(
        duration_s=0.12,
        gap=gap,
        width=width,
        rounding=rounding,
        tongue=tongue,
        lips=1.6,
        formants_hz=formants_hz,
        voicing=1.0,
    )


VOWELS = {
    "i": vowel((270, 2290, 3010), 0.30, 0.8, tongue=0.6),
    "I": vowel((390, 1990, 2550), 0.42, 0.5, tongue=0.5),
    "E": vowel((530, 1840, 2480), 0.60, 0.4),
    "ae": vowel((660, 1720, 2410), 0.85, 0.5, tongue=0.2),
    "a": vowel((730, 1090, 2440), 1.00, 0.1, tongue=0.1),
    "O": vowel((570, 840, 2410), 0.72, -0.5, 0.6, 0.1),
    "U": vowel((440, 1020, 2240), 0.38, -0.5, 0.6),
    "u": vowel((300, 870, 2240), 0.20, -0.9, 1.0),
    "A": vowel((640, 1190, 2390), 0.68, 0.0, tongue=0.2),
    "@": vowel((500, 1400, 2400), 0.45, 0.0),
}

BILABIAL = {"gap": -0.30, "width": -0.05, "lips": 9.0, "mouth": 1.5}
LABIODENTAL = {"gap": 0.03, "width": 0.1, "lips": 6.0, "mouth": 1.2}
ALVEOLAR = {"gap": 0.22, "width": 0.2, "tongue": 0.9, "lips": 1.2, "mouth": 1.5}
VELAR = {"gap": 0.30, "width": 0.0, "lips": 0.5, "mouth": 1.2}
STOP = {"duration_s": 0.085, "release_s": 0.025}

CONSONANTS = {
    "p": Phone(**BILABIAL, **STOP, formants_hz=(250, 850, 2200), aspiration=0.35, frication=0.25,
               frication_hz=1200),
    "b": Phone(**BILABIAL, **STOP, formants_hz=(250, 850, 2200), voicing=0.25, frication=0.12,
               frication_hz=1000),
    "m": Phone(**BILABIAL, duration_s=0.075, formants_hz=(270, 1000, 2200), voicing=0.55,
               nasality=1.0),
    "f": Phone(**LABIODENTAL, duration_s=0.095, formants_hz=(340, 1100, 2080), frication=0.30,
               frication_hz=6000),
    "v": Phone(**LABIODENTAL, duration_s=0.065, formants_hz=(280, 1100, 2080), voicing=0.5,
               frication=0.12, frication_hz=6000),
    "t": Phone(**ALVEOLAR, **STOP, formants_hz=(350, 1750, 2600), aspiration=0.3, frication=0.5,
               frication_hz=5000),
    "d": Phone(**ALVEOLAR, **STOP, formants_hz=(300, 1700, 2600), voicing=0.25, frication=0.25,
               frication_hz=4500),
    "n": Phone(**ALVEOLAR, duration_s=0.07, formants_hz=(300, 1600, 2500), voicing=0.6,
               nasality=1.0),
    "s": Phone(duration_s=0.11, gap=0.16, width=0.5, tongue=0.8, lips=2.5,
               formants_hz=(320, 1500, 2530), mouth=1.5, frication=0.55, frication_hz=6500),
    "z": Phone(duration_s=0.08, gap=0.16, width=0.5, tongue=0.8, lips=2.5,
               formants_hz=(280, 1500, 2530), mouth=1.5, voicing=0.4, frication=0.3,
               frication_hz=6300),
    "S": Phone(duration_s=0.11, gap=0.25, width=-0.5, rounding=0.7, tongue=0.6, lips=3.5,
               formants_hz=(320, 1700, 2600), mouth=1.5, frication=0.6, frication_hz=3200),
    "k": Phone(**VELAR, **STOP, formants_hz=(300, 1950, 2400), aspiration=0.35, frication=0.4,
               frication_hz=2200),
    "g": Phone(**VELAR, **STOP, formants_hz=(270, 1950, 2400), voicing=0.25, frication=0.2,
               frication_hz=2000),
    "l": Phone(duration_s=0.065, gap=0.38, width=0.1, tongue=1.0, lips=1.0,
               formants_hz=(340, 1100, 2800), mouth=1.5, voicing=0.75),
    "r": Phone(duration_s=0.065, gap=0.25, width=-0.4, rounding=0.5, lips=2.0,
               formants_hz=(330, 1150, 1500), mouth=2.0, voicing=0.75),
    "w": Phone(duration_s=0.07, gap=0.06, width=-1.0, rounding=1.0, lips=5.0,
               formants_hz=(290, 650, 2150), mouth=2.0, voicing=0.7),
    "j": Phone(duration_s=0.06, gap=0.22, width=0.6, tongue=0.7, lips=1.5,
               formants_hz=(270, 2150, 2950), mouth=2.0, voicing=0.75),
    "h": Phone(duration_s=0.06, gap=0.5, lips=0.2, mouth=0.1, aspiration=0.45),
}  # fmt: skip

PHONES = {**VOWELS, **CONSONANTS}

REST = Phone(duration_s=0.3, gap=-0.02, width=0.0, tongue=0.2, lips=1.2, mouth=0.5)

# Shares of what begins, carries and ends a syllable: open syllables and labials come often, as in
# babbling and in most languages.
ONSETS = {
    "": 2, "b": 3, "p": 2, "m": 3, "d": 2, "t": 3, "n": 2, "s": 2, "k": 2, "g": 1, "l": 2, "r": 1,
    "w": 2, "f": 1, "v": 1, "S": 1, "h": 1, "j": 1, "z": 1,
}  # fmt: skip
NUCLEI = {"a": 4, "ae": 2, "E": 3, "i": 2, "I": 2, "O": 2, "u": 2, "U": 1, "A": 2, "@": 2}
CODAS = {"": 14, "n": 2, "m": 1, "t": 1, "s": 1, "l": 1, "k": 1, "r": 1}
