"""A sound that is to work after it was played in a room: attacks over the air.

    found = over_the_air(detector, batch, "mim", eps=50, steps=100)
    found.played, found.heard, found.noise

A loudspeaker plays the change of the sound, a microphone records it among what it records anyway:
only the change goes through the room, since the speaker's own voice is in the recording as it came
through the room already. Gradients are averaged over some rooms, gains and delays, drawn anew for
each gradient (expectation over transformations); the best iterate is the one that does most harm
in rooms of their own, and what is reported is from rooms that neither has seen.

Rooms are boxes whose walls reflect all frequencies alike, and a loudspeaker plays nothing of the
lowest. A budget is of what is played. The loudspeaker is turned up until its direct sound arrives
as strong as it is played, give or take a gain.

Source: Allen and Berkley, "Image method for efficiently simulating small-room acoustics", J.
Acoust. Soc. Am. 65, 1979; delays between samples by windowed sinc as in Peterson, 1986; Athalye et
al., "Synthesizing robust adversarial examples", ICML 2018; Qin et al., "Imperceptible, robust, and
targeted adversarial examples for automatic speech recognition", ICML 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks.results import AttackResult
from pushpull.attacks.running import attack as run_attack
from pushpull.attacks.search import at_least_one, held_still
from pushpull.attacks.settings import AttackSettings
from pushpull.attacks.space import CropSpace, Points
from pushpull.attacks.threat import Threat
from pushpull.errors import ConfigError, ShapeError
from pushpull.losses import log_odds
from pushpull.models.detector import Detector
from pushpull.schema import SAMPLE_RATE_HZ, Batch

__all__ = [
    "AirResult",
    "AirSpace",
    "OverTheAir",
    "Playback",
    "Room",
    "Rooms",
    "convolved",
    "heard",
    "impulse_response",
    "over_the_air",
]

SOUND_M_PER_S = 343.0

HALF_WIDTH = 16
"""Samples on each side of an echo that it is spread over, for delays between samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A box, a loudspeaker and a microphone in it.

    Attributes:
        size_m: Length, width and height.
        absorption: Share of the energy that a wall takes, 0..1.
        source_m: Place of the loudspeaker.
        microphone_m: Place of the microphone.

    Raises:
        ConfigError: If one of the two is not in the room, or both are closer than 0.4 m.

    Examples:
        >>> from pushpull.attacks.air import Room
        >>> room = Room(
        ...     size_m=(4.0, 3.0, 2.5),
        ...     absorption=0.4,
        ...     source_m=(1.0, 1.0, 1.2),
        ...     microphone_m=(3.0, 1.0, 1.2),
        ... )
        >>> room.distance_m
        2.0
    """

    size_m: tuple[float, float, float]
    absorption: float
    source_m: tuple[float, float, float]
    microphone_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        for name in ("source_m", "microphone_m"):
            place = getattr(self, name)
            if not all(0 < x < size for x, size in zip(place, self.size_m, strict=True)):
                raise ConfigError(f"{name} is {place}; expected a place inside {self.size_m}")
        if not 0 <= self.absorption <= 1:
            raise ConfigError(f"absorption is {self.absorption}; expected 0 to 1")
        # Below that an echo would begin before the sound does.
        if self.distance_m < 0.4:
            raise ConfigError(
                f"loudspeaker and microphone are {self.distance_m:.2f} m apart; expected 0.4 m"
            )

    @property
    def distance_m(self) -> float:
        """From loudspeaker to microphone."""
        return math.dist(self.source_m, self.microphone_m)


def impulse_response(room: Room, length_s: float = 0.2) -> NDArray[np.float64]:
    """Pressure at the microphone (L,) for an impulse from the loudspeaker, at 16 kHz.

    Each image of the loudspeaker at distance d adds r^k / (4 pi d), d / c late, where k counts its
    reflections and r^2 = 1 - absorption.

    Args:
        room: A box.
        length_s: What comes later is left out.

    Examples:
        >>> from pushpull.attacks.air import Room, impulse_response
        >>> places = {"source_m": (1.0, 1.0, 1.0), "microphone_m": (1.0, 1.0, 2.0)}
        >>> dry = Room(size_m=(3.0, 3.0, 3.0), absorption=1.0, **places)  # no echo
        >>> response = impulse_response(dry)
        >>> len(response), int(response.argmax()), float(response.sum())  # 1 m: 47, 1 / 4 pi
        (3200, 47, 0.08)
    """
    n_taps = round(length_s * SAMPLE_RATE_HZ)
    reach_m = n_taps / SAMPLE_RATE_HZ * SOUND_M_PER_S
    squares: Any = 0.0
    counts: Any = 0
    for axis in range(3):
        size, at, ear = room.size_m[axis], room.source_m[axis], room.microphone_m[axis]
        most = math.ceil(reach_m / (2 * size)) + 1
        n = np.arange(-most, most + 1)
        # The source and its mirror image, again and again at twice the length of the room.
        away = np.concatenate([2 * n * size + at, 2 * n * size - at]) - ear
        reflections = np.concatenate([2 * abs(n), abs(n) + abs(n - 1)])
        near = abs(away) < reach_m
        squares = np.add.outer(squares, away[near] ** 2)
        counts = np.add.outer(counts, reflections[near])
    near = squares < reach_m**2
    distance_m, k = np.sqrt(squares[near]), counts[near]
    strength = math.sqrt(1 - room.absorption) ** k / (4 * math.pi * distance_m)
    audible = strength > 0
    return _spread(strength[audible], distance_m[audible] / SOUND_M_PER_S, n_taps)


def _spread(
    strength: NDArray[np.float64], delay_s: NDArray[np.float64], n_taps: int
) -> NDArray[np.float64]:
    """Impulses between samples, band-limited: (L,)."""
    late = delay_s * SAMPLE_RATE_HZ
    first = np.floor(late).astype(np.int64)
    places = first[:, None] + np.arange(1 - HALF_WIDTH, 1 + HALF_WIDTH)
    apart = places - late[:, None]
    window = 0.5 + 0.5 * np.cos(math.pi * apart / HALF_WIDTH)
    taps = strength[:, None] * np.sinc(apart) * window
    inside = (places >= 0) & (places < n_taps)
    return np.bincount(places[inside], taps[inside], n_taps).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Playback:
    """One way from what is played to what is heard.

    Attributes:
        kernel: Impulse response (L,) float64, gain, delay and room in one.
        noise_rms: Of the microphone's noise.
        seed: Of that noise.

    Examples:
        >>> from pushpull.attacks.air import Rooms
        >>> playback = Rooms().draw(np.random.default_rng(0))
        >>> len(playback.kernel) > 3200
        True
    """

    kernel: NDArray[np.float64]
    noise_rms: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Ranges that rooms, gains, delays and noise are drawn from, each evenly.

    Attributes:
        length_m: Length and width of the rooms, from and to.
        height_m: Their height.
        absorption: Share of the energy that walls take.
        gain_db: How much stronger the direct sound arrives than it is played.
        delay_s: How late playing begins, beside the way through the room.
        lowest_hz: Where the loudspeaker loses half of its power; below that it falls by 12 dB an
            octave. Images of one sign add up to a pressure that stays, which no loudspeaker makes.
        noise_db: Level of the microphone's noise, relative to full scale.
        response_s: Length of impulse responses.

    Examples:
        >>> from pushpull.attacks.air import Rooms
        >>> dry = Rooms(absorption=(1.0, 1.0), delay_s=(0.0, 0.0), gain_db=(0.0, 0.0))
        >>> kernel = dry.draw(np.random.default_rng(0)).kernel
        >>> spectrum = np.abs(np.fft.rfft(kernel))
        >>> float(spectrum[500]), float(spectrum[0])  # 2500 Hz as it is played, 0 Hz not at all
        (1.0, 0.0)
    """

    length_m: tuple[float, float] = (3.0, 8.0)
    height_m: tuple[float, float] = (2.3, 3.5)
    absorption: tuple[float, float] = (0.2, 0.7)
    gain_db: tuple[float, float] = (-3.0, 3.0)
    delay_s: tuple[float, float] = (0.0, 0.05)
    lowest_hz: tuple[float, float] = (80.0, 200.0)
    noise_db: tuple[float, float] = (-80.0, -65.0)
    response_s: float = 0.2

    def draw(self, rng: np.random.Generator) -> Playback:
        """A playback at random."""
        # Half a second that no other command has to wait for.
        from scipy.signal import butter, lfilter

        sizes = [rng.uniform(*self.length_m), rng.uniform(*self.length_m)]
        sizes.append(rng.uniform(*self.height_m))
        while True:
            # Half a metre from all walls, and from each other.
            source, ear = ([rng.uniform(0.5, size - 0.5) for size in sizes] for _ in range(2))
            if math.dist(source, ear) >= 0.5:
                break
        room = Room(
            size_m=(sizes[0], sizes[1], sizes[2]),
            absorption=rng.uniform(*self.absorption),
            source_m=(source[0], source[1], source[2]),
            microphone_m=(ear[0], ear[1], ear[2]),
        )
        gain = 10 ** (rng.uniform(*self.gain_db) / 20) * 4 * math.pi * room.distance_m
        silence = np.zeros(round(rng.uniform(*self.delay_s) * SAMPLE_RATE_HZ))
        loudspeaker = butter(2, rng.uniform(*self.lowest_hz), "highpass", fs=SAMPLE_RATE_HZ)
        response = lfilter(*loudspeaker, impulse_response(room, self.response_s))
        return Playback(
            kernel=np.concatenate([silence, gain * response]),
            noise_rms=10 ** (rng.uniform(*self.noise_db) / 20),
            seed=int(rng.integers(1 << 31)),
        )


def convolved(sound: Tensor, kernel: Tensor) -> Tensor:
    """Sounds (B, S) through kernels (B, L), cut to S samples; differentiable in both.

    Examples:
        >>> from pushpull.attacks.air import convolved
        >>> convolved(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.5]]))
        tensor([[0.0000, 0.5000, 1.0000]])
    """
    n = sound.shape[1]
    # A power of two, and room for all that comes late: nothing of it wraps to the beginning.
    size = 1 << (n + kernel.shape[1] - 1).bit_length()
    spectrum = torch.fft.rfft(sound, size) * torch.fft.rfft(kernel, size)
    through: Tensor = torch.fft.irfft(spectrum, size)[:, :n]
    return through


def heard(batch: Batch, played: Tensor, playbacks: Sequence[Playback]) -> Batch:
    """What the microphone has of clips while a loudspeaker plays.

    Args:
        batch: Clips without the loudspeaker, float.
        played: What it plays during each (B, S).
        playbacks: One for each clip.

    Returns:
        The batch with other waveforms; what lies behind the end of a clip is as it was.

    Examples:
        >>> from pushpull.attacks.air import Playback, heard
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> late = Playback(kernel=np.array([0.0, 0.0, 1.0]))
        >>> impulse = torch.eye(1, 640)
        >>> heard(Batch.from_clips([clip]), impulse, [late]).waveform[0, :4].round(decimals=3).abs()
        tensor([0., 0., 1., 0.])
    """
    waveform = batch.waveform
    kernels = np.zeros((len(playbacks), max(len(one.kernel) for one in playbacks)))
    for row, one in zip(kernels, playbacks, strict=True):
        row[: len(one.kernel)] = one.kernel
    arrived = convolved(played, torch.from_numpy(kernels).to(waveform))
    noise = torch.stack([_noise(one, waveform.shape[1]) for one in playbacks]).to(waveform)
    mixed = (waveform + arrived + noise).clamp(-1.0, 1.0)
    return replace(batch, waveform=torch.where(batch.audio_mask, mixed, waveform))


def _noise(playback: Playback, size: int) -> Tensor:
    # Of a generator of numpy: its first samples do not hang on how many there are.
    samples = np.random.default_rng(playback.seed).standard_normal(size)
    return torch.from_numpy(playback.noise_rms * samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTheAir:
    """The space of sounds that are played in rooms, for `attack(..., space=OverTheAir())`.

    Attributes:
        rooms: What rooms are drawn from.
        listeners: Rooms of each gradient, and rooms that iterates are compared in. With more than
            one, each clip of the batch stands in it so many times in a row, and all of them hear
            the same sound in rooms of their own; `over_the_air` sees to that.
        seed: Of the rooms.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks.air import OverTheAir
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=8)
        >>> batch = Batch.from_clips([clip])
        >>> found = pp.attack(
        ...     pp.load("synthetic-a"), batch, "mim", modality="audio", space=OverTheAir(), steps=3
        ... )
        >>> played = found.points["audio"] - batch.waveform
        >>> float(played.abs().max()) <= 5e-4, torch.equal(found.waveform, batch.waveform + played)
        (True, False)
    """

    rooms: Rooms = field(default_factory=Rooms)
    listeners: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one("listeners", self.listeners)

    def __call__(self, batch: Batch, threat: Threat) -> AirSpace:
        """The space of `batch`: a `SpaceBuilder`."""
        return AirSpace(batch, threat, self)

    def as_dict(self) -> dict[str, Any]:
        """What it is, as plain values for JSON."""
        return asdict(self)

    def draw(self, count: int, stream: int) -> tuple[list[Playback], np.random.Generator]:
        """So many playbacks, the same at every call, and the source of further ones."""
        rng = np.random.default_rng([self.seed, stream])
        return [self.rooms.draw(rng) for _ in range(count)], rng


FOR_GRADIENTS, FOR_JUDGING, HELD_OUT = range(3)
"""Streams of random rooms, none of which another has."""


class AirSpace:
    """The sound that is played moves; each clip hears it through a room.

    What `attack` calls a point is the clean sound with the change as it is played. Faces that are
    attacked too are seen as they are.

    Args:
        batch: Clips, float; each `air.listeners` times in a row.
        threat: Budgets and ranges of the modalities that are moved.
        air: Rooms and how many.

    Raises:
        ConfigError: If the sound is not attacked.
        ShapeError: If the clips of a row of listeners differ, or an input is no float, or out of
            range.

    Examples:
        >>> from pushpull.attacks.air import AirSpace, OverTheAir
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> batch = Batch.from_clips([clip] * 4)
        >>> space = AirSpace(batch, Threat.of(5, modality="audio"), OverTheAir(listeners=2))
        >>> space.regions["audio"].clean.shape, space.clip_groups  # two sounds, two rooms each
        (torch.Size([2, 640]), tensor([0, 0, 1, 1]))
    """

    def __init__(self, batch: Batch, threat: Threat, air: OverTheAir) -> None:
        if "audio" not in threat.balls:
            raise ConfigError("the sound is not attacked; over the air expects audio or both")
        self.clean, self._each = batch, air.listeners
        self._check(batch)
        self.regions = CropSpace(_rows(batch, slice(None, None, self._each)), threat).regions
        rows = torch.arange(len(batch.faces) // self._each, device=batch.faces.device)
        self.clip_groups = rows.repeat_interleave(self._each)
        self.row_groups = dict.fromkeys(self.regions, rows)
        self._rooms = air.rooms
        self._judges, _ = air.draw(self._each, FOR_JUDGING)
        _, self._rng = air.draw(0, FOR_GRADIENTS)

    def to_batch(self, points: Points) -> Batch:
        """What is heard in the rooms that iterates are compared in: the same at every call."""
        return self._heard(points, self._judges)

    def smooth(self, points: Points) -> Batch | None:
        """What is heard in other rooms, drawn anew at every call."""
        return self._heard(points, [self._rooms.draw(self._rng) for _ in range(self._each)])

    def _heard(self, points: Points, playbacks: Sequence[Playback]) -> Batch:
        played = (points["audio"] - self.regions["audio"].clean).repeat_interleave(self._each, 0)
        batch = heard(self.clean, played, [*playbacks] * len(self.regions["audio"].clean))
        if "visual" not in points:
            return batch
        return replace(batch, faces=points["visual"].repeat_interleave(self._each, 0))

    def _check(self, batch: Batch) -> None:
        each, b = self._each, len(batch.faces)
        firsts = torch.arange(b, device=batch.faces.device) // each * each
        if b % each or not torch.equal(batch.waveform, batch.waveform[firsts]):
            raise ShapeError(
                f"{b} clips for {each} listeners each; expected every clip {each} times in a row"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AirResult:
    """A sound that was found through rooms, heard in others.

    Attributes:
        attack: What the attack found; its scores are from the rooms that iterates are compared in.
        played: What the loudspeaker plays during each clip (B, S).
        heard: Scores (R, B, T) in R rooms that the attack has not seen.
        silent: Scores in the same rooms while it plays nothing: the microphone's noise.
        noise: Scores in the same rooms while it plays noise of the whole budget: the control.
        adversary: The clips (B) as they are heard in the first of these rooms.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks.air import over_the_air
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=8)
        >>> detector, batch = pp.load("synthetic-a"), Batch.from_clips([clip])
        >>> found = over_the_air(detector, batch, "fgsm", eps=5, held_out=3)
        >>> found.heard.shape, found.played.shape, found.adversary.waveform.shape
        (torch.Size([3, 1, 8]), torch.Size([1, 5120]), torch.Size([1, 5120]))
    """

    attack: AttackResult
    played: Tensor
    heard: Tensor
    silent: Tensor
    noise: Tensor
    adversary: Batch


def over_the_air(
    detector: Detector,
    batch: Batch,
    attack: str | AttackSettings = "mim",
    *,
    air: OverTheAir | None = None,
    held_out: int = 8,
    **settings: Any,
) -> AirResult:
    """Find a sound for each clip that works in any room, and hear it in rooms not seen before.

    Args:
        detector: What is attacked; it comes back as it was.
        batch: Clips; without labels the detector's own decisions are attacked.
        attack: A name from `ATTACKS`, or settings, which leave nothing else to be set. MIM adds
            gradients up, so that it sees more rooms than those of one step.
        air: Rooms; four listeners by default.
        held_out: Rooms that the result is heard in.
        **settings: As for `attack`; the sound alone is moved by default.

    Raises:
        ConfigError: If a setting cannot be, or the sound is not attacked.
        UnknownName: If a name is in no table.
        GradientError: If a loss or gradient is not finite.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.attacks.air import OverTheAir, Rooms, over_the_air
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=10)
        >>> detector, batch = pp.load("synthetic-a"), Batch.from_clips([clip])
        >>> air = OverTheAir(rooms=Rooms(response_s=0.05), listeners=2)
        >>> found = over_the_air(detector, batch, air=air, eps=100, steps=8, held_out=3)
        >>> bool(found.heard.mean() < found.silent.mean())
        True
    """
    at_least_one("held_out", held_out)
    air = air or OverTheAir(listeners=4)
    if isinstance(attack, str):
        settings = {"modality": "audio", **settings}
    asked = AttackSettings.of(attack, **settings)
    every = torch.arange(len(batch.faces), device=batch.faces.device)
    repeated = _rows(batch, every.repeat_interleave(air.listeners))
    found = run_attack(detector, repeated, asked, space=air)
    clean = _rows(found.clean, slice(None, None, air.listeners))
    played = found.points["audio"] - clean.waveform
    shown = replace(clean, faces=found.points.get("visual", clean.faces))
    control = _control(clean, asked)
    rooms, _ = air.draw(held_out, HELD_OUT)
    with torch.no_grad(), held_still(detector):
        return AirResult(
            attack=found,
            played=played,
            heard=_scores(detector, shown, played, rooms),
            silent=_scores(detector, clean, torch.zeros_like(played), rooms),
            noise=_scores(
                detector,
                replace(clean, faces=control["visual"]),
                control["audio"] - clean.waveform,
                rooms,
            ),
            adversary=heard(shown, played, rooms[:1] * len(played)),
        )


def _scores(
    detector: Detector, batch: Batch, played: Tensor, playbacks: Sequence[Playback]
) -> Tensor:
    """Scores (R, B, T) of clips in each of some rooms; faces are encoded once."""
    found = []
    kept: dict[str, Tensor] = {}
    for one in playbacks:
        output = detector(**heard(batch, played, [one] * len(played)).inputs, **kept)
        if output.e_v is not None:
            kept["e_v"] = output.e_v
        found.append(log_odds(output.logits))
    return torch.stack(found)


def _control(clean: Batch, asked: AttackSettings) -> dict[str, Tensor]:
    """Both inputs with noise of the whole budget, where they are attacked."""
    generator = torch.Generator().manual_seed(asked.seed)
    regions = CropSpace(clean, asked.threat).regions
    noise = {name: region.place(region.noise(generator)) for name, region in regions.items()}
    return {"audio": clean.waveform, "visual": clean.faces, **noise}


def _rows(batch: Batch, rows: slice | Tensor) -> Batch:
    return Batch(
        waveform=batch.waveform[rows],
        faces=batch.faces[rows],
        n_samples=batch.n_samples[rows],
        n_frames=batch.n_frames[rows],
        fps=batch.fps[rows.cpu() if isinstance(rows, Tensor) else rows],
        speaking=None if batch.speaking is None else batch.speaking[rows],
    )
