"""What every detector is: two encoders and a fusion, with the front end inside.

`detector(waveform, faces)` -> Output lets gradients reach both inputs. Embeddings that an input
did not change since an earlier call can be given back (an attack on one modality computes the
other's encoder once). The steps `encode_audio`, `encode_visual` and `fuse` are public because long
videos are encoded window by window.
"""

from __future__ import annotations

import hashlib
import json
import math
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pushpull.errors import ConfigError, PushPullError, ShapeError, UnknownName
from pushpull.models.features import ROWS_PER_FRAME, log_power_spectrogram, mfcc
from pushpull.models.windows import encoded
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Output, length_mask
from pushpull.schema.tensors import check_loudness

__all__ = ["SOUNDS", "Card", "Detector", "Wrapped", "fingerprint", "in_eval_mode", "raised_where"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known of a detector's weights.

    Attributes:
        name: Known name, else that of the file or class.
        model: Name in `pushpull.models.MODELS`, else the class.
        sha256: Checksum of the file, else of class, settings and weights.
        licence: SPDX name, None if not known.
        trained_on: Data set, None if not known.
        crop: Face crop that the weights do best with, `ava` or `demo`.
        path: File that was read, None if there is none.

    Examples:
        >>> from pushpull.models.weights import resolve_detector
        >>> card = resolve_detector("synthetic-a").card
        >>> card.name, card.model, card.licence, card.crop
        ('synthetic-a', 'talknet', 'MIT', 'ava')
    """

    name: str
    model: str
    sha256: str
    licence: str | None = None
    trained_on: str | None = None
    crop: str = "ava"
    path: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """What a result says of the detector that it is of: name, model, sha256."""
        return {"name": self.name, "model": self.model, "sha256": self.sha256}


def fingerprint(module: nn.Module, settings: Mapping[str, object] | None = None) -> str:
    """Checksum of a module's class, settings, parameters and buffers.

    Examples:
        >>> from pushpull.models.detector import fingerprint
        >>> layer = torch.nn.Linear(2, 2)
        >>> fingerprint(layer) == fingerprint(layer)
        True
        >>> fingerprint(layer) == fingerprint(torch.nn.Linear(2, 2))  # other random weights
        False
    """
    digest = hashlib.sha256(type(module).__qualname__.encode())
    digest.update(json.dumps(dict(settings or {}), sort_keys=True, default=repr).encode())
    for key, value in module.state_dict().items():
        kept = value.detach().cpu().contiguous()
        digest.update(f"{key} {kept.dtype} {tuple(kept.shape)}".encode())
        digest.update(kept.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Detector(nn.Module, ABC):
    """An active speaker detector over batches of face tracks with their audio.

    A model of one's own becomes one by `Detector.wrap(module)`, or by the five methods below.

    Examples:
        >>> from pushpull.models import Detector, build
        >>> detector = build("light_asd").eval()
        >>> isinstance(detector, Detector), detector.device, detector.card.name
        (True, device(type='cpu'), 'LightASD')
        >>> output = detector(torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112))
        >>> output.score.shape
        torch.Size([1, 5])
    """

    _card: Card | None = None

    visual_context: int
    """Frames on each side that `visual_local` of one frame depends on (receptive field)."""

    audio_context: int | None = None
    """Frames on each side that `encode_audio` of one frame depends on; None: on the whole clip."""

    @property
    def card(self) -> Card:
        """What is known of its weights; made of class and weights where nothing was said."""
        if self._card is not None:
            return self._card
        name = type(self).__name__
        return Card(name=name, model=name, sha256=fingerprint(self, self.config()))

    def with_card(self, card: Card) -> Detector:
        """The same detector, known by a card."""
        self._card = card
        return self

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU if it has none."""
        return self._example.device

    @property
    def dtype(self) -> torch.dtype:
        """In what it computes; float32 if it has no weights."""
        return self._example.dtype

    @property
    def _example(self) -> Tensor:
        """A floating-point parameter or buffer, by which device and type are known."""
        # One by one: to list all takes longer than to encode the sound of a second.
        held = chain(self.parameters(), self.buffers())
        return next((x for x in held if x.is_floating_point()), torch.zeros(()))

    @staticmethod
    def wrap(
        module: nn.Module,
        *,
        face_size: int = FACE_SIZE,
        colour: bool = False,
        sound: str = "waveform",
        takes_mask: bool = False,
        takes_fps: bool = False,
        name: str | None = None,
    ) -> Detector:
        """A detector of any module `(sound, faces) -> logits (B, T, 2) or log-odds (B, T)`.

        It goes wherever a detector goes: detection, attacks, evaluation, audit, defences, training.
        The module is called once on a second of noise here, so that one whose answer cannot be
        used is refused before any work. It takes faces in grey levels 0..255 and does its own
        scaling, is given copies in its own floating-point type, and may write into them. Without
        `takes_mask` clips of different lengths are shown to it one by one, so that padding changes
        nothing; so are all clips, but in training, where those beside it change a clip's scores.

        Args:
            module: What is wrapped; its mode and device are kept.
            face_size: Side of the faces it takes, in pixels; crops are resized differentiably.
            colour: It takes (B, T, 3, H, W); the three channels are equal, since crops are grey.
            sound: `waveform` (B, S) in [-1, 1] at 16 kHz, `mfcc` (B, 4T, 13) or `spectrogram`
                (B, 4T, 257), taken differentiably before the module.
            takes_mask: It is also given `mask=` (B, T) bool, true on valid frames.
            takes_fps: It is also given `fps=` (B,) float64.
            name: What results call it; the module's class by default.

        Raises:
            ConfigError: If a setting cannot be, or the module fails or returns something else.

        Examples:
            >>> import pushpull as pp
            >>> class Loudness(torch.nn.Module):
            ...     def forward(self, waveform, faces):
            ...         loud = waveform.unfold(1, 640, 640).square().mean(2)
            ...         return 100 * loud[:, : faces.shape[1]] - 1
            >>> detector = pp.Detector.wrap(Loudness())
            >>> detector(torch.zeros(1, 6400), torch.zeros(1, 10, 112, 112)).logits.shape
            torch.Size([1, 10, 2])
        """
        return Wrapped(
            module,
            face_size=face_size,
            colour=colour,
            sound=sound,
            takes_mask=takes_mask,
            takes_fps=takes_fps,
            name=name,
        )

    def config(self) -> dict[str, object]:
        """Keyword arguments that build this model again; stored in checkpoint headers."""
        return {}

    @abstractmethod
    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """Audio features (B, 4T, M) of waveforms (B, S), each clip by its own fps."""

    @abstractmethod
    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """Audio embeddings e_a (B, T, D) of features (B, 4T, M)."""

    @abstractmethod
    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """The heavy visual part (B, T, D_local): a frame sees `visual_context` frames around it."""

    def visual_in_pieces(self) -> Callable[[Tensor, bool], Tensor] | None:
        """Encodes one clip that comes in pieces, where a model can without doing anything twice.

        Returns:
            A function of further faces (1, N, H, W), at least `2 visual_context + 1` of them or the
            last, and whether they are the last, that gives further features (1, M, D_local): in all
            as many as there are faces, and those of `visual_local`. None for other models.

        Examples:
            >>> from pushpull.models import build
            >>> encode = build("light_asd").eval().visual_in_pieces()
            >>> encode(torch.rand(1, 20, 112, 112), False).shape  # it sees six frames ahead
            torch.Size([1, 14, 128])
            >>> encode(torch.rand(1, 5, 112, 112), True).shape
            torch.Size([1, 11, 128])
        """
        return None

    @abstractmethod
    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """Visual embeddings e_v (B, T, D) from `visual_local`; light, may see the whole clip."""

    @abstractmethod
    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """Scores and heads from the embeddings of both modalities."""

    def encode_visual(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Visual embeddings e_v (B, T, D) of faces (B, T, 112, 112) in grey levels 0..255.

        In eval mode what would keep too much is encoded window by window.
        """
        local = encoded(self, self.visual_local, faces, n_frames, context=self.visual_context)
        return self.visual_global(local, n_frames)

    def forward(
        self,
        waveform: Tensor,
        faces: Tensor,
        *,
        fps: float | Tensor = 25.0,
        n_samples: Tensor | None = None,
        n_frames: Tensor | None = None,
        e_a: Tensor | None = None,
        e_v: Tensor | None = None,
    ) -> Output:
        """Scores per frame from raw inputs.

        Autocast is followed where the processor can do it. A CPU without AVX-512 emulates bfloat16
        five to fifteen times slower than float32 (measured), and there float32 is kept.

        Args:
            waveform: (B, S) in [-1, 1] at 16 kHz.
            faces: (B, T, 112, 112) grey levels 0..255, float.
            fps: Frames per second, one for all or (B,).
            n_samples: Valid samples of each clip (B,); all by default.
            n_frames: Valid frames of each clip (B,); all by default.
            e_a: What an earlier call gave for this waveform; it is not encoded again.
            e_v: What an earlier call gave for these faces, likewise.

        Raises:
            ShapeError: If the shapes do not fit each other.

        Examples:
            >>> from pushpull.models import build
            >>> detector = build("light_asd").eval()
            >>> waveform, faces = torch.randn(2, 3200) / 10, 255 * torch.rand(2, 5, 112, 112)
            >>> output = detector(waveform, faces, n_frames=torch.tensor([5, 3]))
            >>> output.mask.sum(1)
            tensor([5, 3])
            >>> again = detector(waveform, faces, n_frames=torch.tensor([5, 3]), e_v=output.e_v)
            >>> torch.equal(output.score, again.score)  # the faces were not encoded again
            True
        """
        n_frames = self._check_faces(faces, n_frames)
        if not torch.is_tensor(waveform) or not waveform.is_floating_point():
            raise ShapeError(
                f"waveform is {_type_of(waveform)}; expected a float tensor (B, S) in -1..1"
            )
        if waveform.dim() != 2 or waveform.shape[0] != faces.shape[0]:
            raise ShapeError(
                f"waveform is {tuple(waveform.shape)}; expected (B, S) with B = {faces.shape[0]}"
            )
        b, s = waveform.shape
        if n_samples is None:
            n_samples = torch.full((b,), s, device=waveform.device)
        n_samples = torch.as_tensor(n_samples, device=waveform.device)
        try:
            fps_ = torch.as_tensor(fps, dtype=torch.float64).expand(b)
        except (TypeError, ValueError, RuntimeError) as e:
            raise ShapeError(f"fps is {fps!r}; expected one number, or {b} of them") from e
        for name, value in (("waveform", waveform), ("faces", faces)):
            # Half goes where autocast is; double goes nowhere but into double.
            if value.dtype == torch.float64 != self.dtype:
                raise ShapeError(
                    f"{name} is {value.dtype}, and the detector computes in {self.dtype}; expected "
                    "that: .float()"
                )
        with _no_emulated_bfloat16(faces.device):
            if e_a is None:
                features = self.front_end(waveform, n_samples, n_frames, fps_)
                check_loudness(torch.where(length_mask(n_samples, s), waveform, 0.0))
                # Faces may be padded beyond the longest clip.
                features = F.pad(features, (0, 0, 0, 4 * faces.shape[1] - features.shape[1]))
                e_a = self.encode_audio(features, n_frames)
            if e_v is None:
                e_v = self.encode_visual(faces, n_frames)
            return self.fuse(e_a, e_v, n_frames)

    def from_features(
        self, features: Tensor, faces: Tensor, *, n_frames: Tensor | None = None
    ) -> Output:
        """Scores per frame from ready audio features (B, 4T, M) and faces (B, T, 112, 112).

        Examples:
            >>> from pushpull.models import build
            >>> detector = build("light_asd").eval()
            >>> features, faces = torch.zeros(1, 20, 13), torch.zeros(1, 5, 112, 112)
            >>> detector.from_features(features, faces).score.shape
            torch.Size([1, 5])
        """
        n_frames = self._check_faces(faces, n_frames)
        b, t = faces.shape[:2]
        if features.dim() != 3 or features.shape[:2] != (b, 4 * t):
            raise ShapeError(
                f"features is {tuple(features.shape)}; expected (B, 4T, M) with B = {b}, T = {t}"
            )
        with _no_emulated_bfloat16(faces.device):
            e_a = self.encode_audio(features, n_frames)
            e_v = self.encode_visual(faces, n_frames)
            return self.fuse(e_a, e_v, n_frames)

    def _check_faces(self, faces: Tensor, n_frames: Tensor | None) -> Tensor:
        if not torch.is_tensor(faces) or not faces.is_floating_point():
            raise ShapeError(
                f"faces is {_type_of(faces)}; expected a float tensor (B, T, {FACE_SIZE}, "
                f"{FACE_SIZE}) in 0..255"
            )
        if faces.dim() != 4 or faces.shape[2:] != (FACE_SIZE, FACE_SIZE) or faces.shape[1] == 0:
            raise ShapeError(
                f"faces is {tuple(faces.shape)}; expected (B, T, {FACE_SIZE}, {FACE_SIZE}), T > 0"
            )
        b, t = faces.shape[:2]
        if n_frames is None:
            return torch.full((b,), t, device=faces.device)
        n_frames = torch.as_tensor(n_frames, device=faces.device)
        whole = not (n_frames.is_floating_point() or n_frames.dtype == torch.bool)
        if (
            not whole
            or n_frames.shape != (b,)
            or int(n_frames.max()) > t
            or int(n_frames.min()) < 1
        ):
            raise ShapeError(f"n_frames is {n_frames.tolist()}; expected {b} numbers in 1..{t}")
        return n_frames


def _type_of(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _no_emulated_bfloat16(device: torch.device) -> AbstractContextManager[object]:
    if device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("AVX2", "NO AVX"):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while, since a new module is in train mode; then each part as it was.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.detector import in_eval_mode
        >>> detector = build("light_asd").train()
        >>> with in_eval_mode(detector):
        ...     print(detector.training)
        False
        >>> detector.training
        True
    """
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training


def check_scores(scores: NDArray[np.float64], detector: Detector, what: str) -> None:
    """Refuse scores that are no numbers: not above 0, they would pass for silence.

    Raises:
        ConfigError: If one is NaN.

    Examples:
        >>> from pushpull.models.detector import check_scores
        >>> from pushpull.models import build
        >>> check_scores(np.array([1.0, np.nan]), build("light_asd"), "track 3")
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: LightASD gave 1 of 2 frames of track 3 no number but NaN, frame
        1 first; expected log-odds: look at its weights and at what it divides by
    """
    odd = np.flatnonzero(np.isnan(scores))
    if len(odd):
        raise ConfigError(
            f"{detector.card.name} gave {len(odd)} of {len(scores)} frames of {what} no number but "
            f"NaN, frame {odd[0]} first; expected log-odds: look at its weights and at what it "
            "divides by"
        )


def raised_where(error: Exception) -> str:
    """What was raised, and on which line of the user's code.

    Examples:
        >>> from pushpull.models.detector import raised_where
        >>> raised_where(ValueError("only  25 frames"))
        'ValueError: only 25 frames'
    """
    said = " ".join(str(error).split())
    line = f"line {error.lineno}" if isinstance(error, SyntaxError) else ""
    frames = traceback.extract_tb(error.__traceback__)
    # The user's line, not that of the library where it ended.
    own = [f for f in frames if not _is_of_library(Path(f.filename))]
    if own and not line:
        line = f"line {own[-1].lineno} of {Path(own[-1].filename).name}"
    return type(error).__name__ + (f": {said}" if said else "") + (f", {line}" if line else "")


def _is_of_library(path: Path) -> bool:
    """Whether a file is installed, or ours; a folder of the user's may have any name."""
    return "site-packages" in path.parts or path.is_relative_to(PACKAGE)


FrontEnd = Callable[..., Tensor]
"""Features (B, 4T, M) of waveforms (B, S), their n_samples, n_frames and fps (B,)."""


def waveform_rows(waveform: Tensor, *, n_samples: Tensor, n_frames: Tensor, fps: Tensor) -> Tensor:
    """The waveforms (B, S) themselves, cut into the rows (B, 4T, ceil(S / 4T)) of features.

    Examples:
        >>> from pushpull.models.detector import waveform_rows
        >>> sizes = {"n_samples": torch.tensor([6400]), "n_frames": torch.tensor([10])}
        >>> waveform_rows(torch.zeros(1, 6400), **sizes, fps=torch.tensor([25.0])).shape
        torch.Size([1, 40, 160])
    """
    rows = ROWS_PER_FRAME * int(n_frames.max())
    width = -(-waveform.shape[1] // rows)
    return F.pad(waveform, (0, rows * width - waveform.shape[1])).reshape(-1, rows, width)


SOUNDS: dict[str, FrontEnd] = {
    "waveform": waveform_rows,
    "mfcc": mfcc,
    "spectrogram": log_power_spectrogram,
}
"""What a module hears, by name."""

PROBE_FRAMES = 25
CARRIED = 2
"""Columns of the features that carry the number of samples and the frame rate."""

PACKAGE = Path(__file__).parents[1]

NAMES_OF_SOUNDS = {"waveform": "a waveform", "mfcc": "MFCC", "spectrogram": "a spectrogram"}

MIXED = 1e-3
"""Share of the largest score by which a batch may change one: other sums, no other clips."""

MOVES = {
    "Alias", "Clone", "Permute", "Reshape", "ReshapeAlias", "Select", "Slice", "Squeeze", "T",
    "ToCopy", "Transpose", "Unsqueeze", "UnsafeView", "View",
}  # fmt: skip
"""Operations that change no number."""

EXPECTED = "expected logits (B, T, 2), silent then speaking, or log-odds of speaking (B, T)"


class Wrapped(Detector):
    """A module that is no detector, as one. See `Detector.wrap`.

    A foreign module sees whole clips and has no embeddings, so the steps of a detector carry its
    inputs along: `encode_audio` hands on the sound, `encode_visual` the faces, and `fuse` calls the
    module. The last two columns of the audio features are the clip's number of samples and its
    frame rate.

    Examples:
        >>> from pushpull.models import Detector
        >>> class Loudness(torch.nn.Module):
        ...     def forward(self, waveform, faces):
        ...         loud = waveform.unfold(1, 640, 640).square().mean(2)
        ...         return 100 * loud[:, : faces.shape[1]] - 1
        >>> detector = Detector.wrap(Loudness(), name="loudness")
        >>> type(detector).__name__, detector.card.name
        ('Wrapped', 'loudness')
    """

    INSIDE = "module"
    """Attribute that holds the module, and so the prefix of its weights."""

    visual_context = 0

    def __init__(
        self,
        module: nn.Module,
        *,
        face_size: int = FACE_SIZE,
        colour: bool = False,
        sound: str = "waveform",
        takes_mask: bool = False,
        takes_fps: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise ConfigError(
                f"what is wrapped is a {type(module).__name__}; expected a torch.nn.Module that "
                "takes sound and faces"
            )
        if sound not in SOUNDS:
            raise UnknownName("sound", sound, SOUNDS)
        number = isinstance(face_size, (int, float, np.number))
        if not number or not 1 <= face_size < math.inf or face_size % 1:
            raise ConfigError(
                f"face_size is {face_size}; expected the pixels of one side, 1 or more"
            )
        self.module = module
        self.face_size, self.colour, self.sound = int(face_size), colour, sound
        self.takes_mask, self.takes_fps = takes_mask, takes_fps
        self.name = name or type(module).__name__
        self.training = module.training
        self.one_by_one = False
        self._probe()

    @property
    def dtype(self) -> torch.dtype:
        """Of what it is given: float64 where the module is, else float32, from which it is cast."""
        return torch.promote_types(self._example.dtype, torch.float32)

    @property
    def card(self) -> Card:
        """Name and checksum of class, settings and weights."""
        if self._card is not None:
            return self._card
        sha256 = fingerprint(self.module, self.config())
        return Card(name=self.name, model=type(self.module).__name__, sha256=sha256)

    def config(self) -> dict[str, object]:
        """The settings of the wrapping."""
        return {
            "face_size": self.face_size,
            "colour": self.colour,
            "sound": self.sound,
            "takes_mask": self.takes_mask,
            "takes_fps": self.takes_fps,
        }

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        """What the module hears (B, 4T, M), with samples and rate in two more columns."""
        inside = length_mask(n_samples, waveform.shape[1])
        waveform = torch.where(inside, waveform, 0.0)
        heard = SOUNDS[self.sound](waveform, n_samples=n_samples, n_frames=n_frames, fps=fps)
        carried = torch.stack([n_samples.to(heard), fps.to(heard)], 1)
        return torch.cat([heard, carried[:, None].expand(-1, heard.shape[1], -1)], 2)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        """The features (B, 4T, M) of each frame side by side (B, T, 4M)."""
        return features.reshape(len(features), -1, ROWS_PER_FRAME * features.shape[2])

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        """Faces (B, T, H, W) resized, one row a frame (B, T, face_size ** 2)."""
        if self.face_size == FACE_SIZE:
            return faces.flatten(2)
        size = (self.face_size, self.face_size)
        flat = faces.flatten(0, 1)[:, None]
        small = F.interpolate(flat, size, mode="bilinear", align_corners=False, antialias=True)
        return small.view(*faces.shape[:2], -1)

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        """The faces as they are."""
        return local

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        """What the module says, clip by clip where others or their padding would change it."""
        b, t = e_v.shape[:2]
        mask = length_mask(n_frames, t)
        rows = e_a.reshape(b, t, ROWS_PER_FRAME, -1)
        heard, carried = rows[..., :-CARRIED], rows[:, 0, 0, -CARRIED:].detach()
        n_samples, fps = carried[:, 0].round().long(), carried[:, 1].double()
        faces = e_v.reshape(b, t, self.face_size, self.face_size)
        equal = bool((n_frames == t).all()) and bool((n_samples == n_samples[0]).all())
        # In training the module has its batch: what mixes clips is its own way to learn.
        together = self.training or not self.one_by_one or b == 1
        if (equal or self.takes_mask) and together:
            scores = self._called(heard, faces, n_samples, fps, mask)
        else:
            clips = []
            for i in range(b):
                part = self._alone(i, heard, faces, n_samples, fps, mask)
                clips.append(F.pad(part, (0, 0, 0, t - part.shape[1])))
            scores = torch.cat(clips)
        return Output(logits=scores, mask=mask)

    def _alone(
        self,
        i: int,
        heard: Tensor,
        faces: Tensor,
        n_samples: Tensor,
        fps: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Logits (1, N, 2) of clip i without its padding, as if there were no other."""
        n, one = int(mask[i].sum()), slice(i, i + 1)
        # Rows of a waveform were cut for the whole batch, whatever the rate of a clip.
        sound = heard[one] if self.sound == "waveform" else heard[one, :n]
        return self._called(sound, faces[one, :n], n_samples[one], fps[one], mask[one, :n])

    def _called(
        self, heard: Tensor, faces: Tensor, n_samples: Tensor, fps: Tensor, mask: Tensor
    ) -> Tensor:
        """Logits (B, T, 2) of the module."""
        return as_logits(
            self._answer(heard, faces, n_samples, fps, mask), faces.shape[:2], self.name
        ).to(faces.dtype)

    def _answer(
        self, heard: Tensor, faces: Tensor, n_samples: Tensor, fps: Tensor, mask: Tensor
    ) -> Any:
        """Whatever the module returns, given copies in its own type: it may write into them."""
        sound = heard.flatten(1, 2)
        if self.sound == "waveform":
            sound = sound.flatten(1)[:, : int(n_samples.max())]
        if self.colour:
            faces = faces[:, :, None].expand(-1, -1, 3, -1, -1)
        more: dict[str, Any] = {"mask": mask.clone()} if self.takes_mask else {}
        if self.takes_fps:
            more["fps"] = fps
        held = chain(self.module.parameters(), self.module.buffers())
        kind = next((x.dtype for x in held if x.is_floating_point()), faces.dtype)
        sound = sound.to(kind, copy=True).contiguous()
        faces = faces.to(kind, copy=True).contiguous()
        try:
            return self.module(sound, faces, **more)
        except PushPullError:
            raise
        except Exception as e:
            told = f"{NAMES_OF_SOUNDS[self.sound]} {tuple(sound.shape)}"
            raise ConfigError(
                f"{self.name} failed on {told} and faces {tuple(faces.shape)}: {raised_where(e)}; "
                "expected a module (sound, faces) -> scores, for clips of any length; see "
                "face_size, colour and sound of Detector.wrap"
            ) from e

    def _probe(self) -> None:
        """Refuse a module whose answer cannot be used, before any work; see whether clips mix."""
        with in_eval_mode(self):
            # A sigmoid at the end is seen by its gradient alone.
            with torch.set_grad_enabled(not torch.is_inference_mode_enabled()):
                heard, faces, sizes = self._shown([PROBE_FRAMES])
                answer = self._answer(heard, faces, *sizes)
            as_logits(answer, faces.shape[:2], self.name)
            if last := _probabilities(answer.detach(), answer.grad_fn):
                raise ConfigError(
                    f"{self.name} returned probabilities{last}; {EXPECTED}: leave out what makes "
                    "probabilities, or return torch.logit of that of speaking"
                )
            with torch.no_grad():
                self.one_by_one = self._mixes()

    def _mixes(self) -> bool:
        """Whether the scores of a clip depend on what stands beside it, or on its padding."""
        lengths = [PROBE_FRAMES, PROBE_FRAMES // 2 if self.takes_mask else PROBE_FRAMES]
        heard, faces, sizes = self._shown(lengths)
        try:
            together, again = (self._called(heard, faces, *sizes) for _ in range(2))
            if not torch.equal(together, again):
                # A random one says something else alone too.
                return False
            for i, n in enumerate(lengths):
                alone = self._alone(i, heard, faces, *sizes)[0]
                # Written so that NaN is no agreement.
                if not (alone - together[i, :n]).abs().max() <= MIXED * alone.abs().max():
                    return True
        except ConfigError:
            # What cannot be asked together is asked one by one; what fails then says so.
            return True
        return False

    def _shown(self, lengths: list[int]) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Noise as the module is given it; then numbers of samples, rates and mask."""
        generator = torch.Generator().manual_seed(0)
        b, t, device = len(lengths), max(lengths), self.device
        n_frames = torch.tensor(lengths, device=device)
        n_samples = n_frames * (SAMPLE_RATE_HZ // 25)
        waveform = 0.1 * torch.randn(b, t * SAMPLE_RATE_HZ // 25, generator=generator)
        faces = 255 * torch.rand(b, t, FACE_SIZE, FACE_SIZE, generator=generator)
        waveform, faces = (
            x.to(device).requires_grad_(torch.is_grad_enabled()) for x in (waveform, faces)
        )
        fps = torch.full((b,), 25.0, dtype=torch.float64)
        features = self.front_end(waveform, n_samples, n_frames, fps)[..., :-CARRIED]
        small = self.visual_local(faces, n_frames).view(b, t, self.face_size, self.face_size)
        heard = features.reshape(b, t, ROWS_PER_FRAME, -1)
        return heard, small, (n_samples, fps.to(device), length_mask(n_frames, t))


def _probabilities(answer: Tensor, step: Any) -> str:
    """How it is known that an answer is probabilities: said in brackets; empty where it is not."""
    both = answer.dim() == 3 and bool((answer >= 0).all())
    if both and bool(((answer.sum(2) - 1).abs() < 1e-3).all()):
        return " (both classes sum to 1)"
    # The last operation but for those that only move numbers about.
    while step is not None and step.name().partition("Backward")[0] in MOVES:
        inputs = [of for of, _ in step.next_functions if of is not None]
        step = inputs[0] if len(inputs) == 1 else None
    last = "" if step is None else step.name().partition("Backward")[0].lower()
    return f" (its last step is a {last})" if last in ("sigmoid", "softmax") else ""


def as_logits(answer: object, frames: tuple[int, ...], name: str) -> Tensor:
    """Logits (B, T, 2) of what a module answered for B clips of T frames.

    Raises:
        ConfigError: If it is neither logits nor log-odds, or not finite.

    Examples:
        >>> from pushpull.models.detector import as_logits
        >>> as_logits(torch.tensor([[2.0, -4.0]]), (1, 2), "mine")
        tensor([[[-1.,  1.],
                 [ 2., -2.]]])
    """
    if not torch.is_tensor(answer):
        what = type(answer).__name__
        if isinstance(answer, (tuple, list)):
            what += f" of {len(answer)}"
        elif isinstance(answer, Mapping):
            what += f" of {', '.join(map(str, answer))}"
        raise ConfigError(f"{name} returned a {what}; {EXPECTED}: one tensor")
    b, t = frames
    shape = tuple(answer.shape)
    if not answer.is_floating_point():
        raise ConfigError(f"{name} returned {answer.dtype}; {EXPECTED}, floating point")
    if shape == (b, t, 2):
        logits = answer
    elif shape == (b, t):
        # Half each way: the cross-entropy of both classes is that of the log-odds.
        logits = torch.stack([-answer / 2, answer / 2], 2)
    else:
        hint = ""
        if math.prod(shape) == b * t and len(shape) > 1:
            hint = "; squeeze its last axis"
        elif shape in ((b * t, 2), (b * t,)):
            hint = "; keep clips and frames apart"
        raise ConfigError(
            f"{name} returned {shape} for B = {b} clips of T = {t} frames; {EXPECTED}{hint}"
        )
    return logits
