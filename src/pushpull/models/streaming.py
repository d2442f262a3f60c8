"""Long tracks in bounded memory: the heavy encoders window by window.

`visual_local` of a frame depends on `visual_context` frames around it, so windows that overlap by
that much give what one pass over the whole clip gives; where a model can go on from what it has
seen (`visual_in_pieces`), they need not overlap. So does `encode_audio` with `audio_context`, where
a model has one. What sees the whole clip (`visual_global`, `fuse`, TalkNet's audio encoder,
whose squeeze-and-excitation averages over it) is light and runs once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from pushpull.errors import ShapeError, UnknownName
from pushpull.models.detector import Detector
from pushpull.models.features import ROWS_PER_FRAME
from pushpull.schema import Clip, Output

__all__ = ["PRECISIONS", "Result", "VisualStream", "detect_clip", "half_of", "score_track"]

WINDOW_FRAMES = 14
WINDOW_CONTEXTS = 20
"""A window that overlaps with the next has so many times the context on each side: then a tenth of
what is encoded is encoded twice."""
# Audio is so light that only the overlap costs.
AUDIO_WINDOW_FRAMES = 500


PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""What faces are encoded in, by name; None for the detector's own type."""


class Result(Protocol):
    """What will be a window's features; `concurrent.futures.Future` is one.

    Examples:
        >>> from concurrent.futures import Future
        >>> from pushpull.models.streaming import Result
        >>> window: Result = Future()
    """

    def result(self) -> Tensor:
        """Wait for it."""

    def done(self) -> bool:
        """Whether it is there."""


class Done:
    """A result that is there."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self.made = make()

    def result(self) -> Tensor:
        """What was made."""
        return self.made

    def done(self) -> bool:
        """It is."""
        return True


class VisualStream:
    """Encodes the faces of one track as they come.

    Args:
        detector: In eval mode; its device and type are used.
        window: Frames encoded at once; by default 14, or more where windows overlap. Memory grows
            with it.
        run: Called with what encodes a window; gives what gives the result. By default windows are
            encoded at once; a pool's `submit` encodes them beside whatever pushes.
        precision: A name from `PRECISIONS`. "bfloat16" multiplies in half precision: up to three
            times as fast on processors with AMX, slower on those without, and scores move in the
            second digit.

    Raises:
        UnknownName: If there is no such precision.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.streaming import VisualStream
        >>> stream = VisualStream(build("light_asd").eval(), window=4)
        >>> for _ in range(3):
        ...     stream.push(torch.zeros(5, 112, 112, dtype=torch.uint8))
        >>> stream.finish().shape
        torch.Size([1, 15, 128])
    """

    def __init__(
        self,
        detector: Detector,
        *,
        window: int | None = None,
        run: Callable[[Callable[[], Tensor]], Result] | None = None,
        precision: str = "float32",
    ) -> None:
        self.detector = detector
        self.half = half_of(precision)
        self.run = run or Done
        self.pieces = detector.visual_in_pieces()
        context = detector.visual_context
        if self.pieces is not None:
            self.window, self.after = window or WINDOW_FRAMES, 0
            # Enough for some frame to be known.
            self.next = max(self.window, 2 * context + 1)
        else:
            self.window = window or max(WINDOW_FRAMES, WINDOW_CONTEXTS * context)
            self.next, self.after = self.window, context
        self.waiting: list[Tensor] = []
        self.n_waiting = 0
        self.encoded: list[Result] = []
        self.last_taken: Result | None = None
        # Frames before the first waiting one that are kept for context only.
        self.before = 0
        self.ended = False

    def push(self, faces: Tensor) -> None:
        """Take further faces (n, 112, 112), uint8 or float 0..255, which may be any number.

        Raises:
            ShapeError: If they have another number of axes.
        """
        if faces.dim() != 3:
            raise ShapeError(f"faces is {tuple(faces.shape)}; expected (n, H, W)")
        # A copy, since callers reuse or drop what they pushed.
        self.waiting.append(faces.clone())
        self.n_waiting += len(faces)
        # One more, so that the last piece is never empty.
        while self.n_waiting > self.before + self.next + self.after:
            self._encode(last=False)

    def finish(self) -> Tensor:
        """Encode what is left; the local visual features (1, T, D) of the whole track.

        Raises:
            ShapeError: If no faces were pushed.
        """
        if self.n_waiting > self.before and not self.ended:
            self._encode(last=True)
            self.ended = True
        if not self.encoded:
            raise ShapeError("no faces were pushed; expected at least one frame")
        return torch.cat([window.result() for window in self.encoded], 1)

    def taken(self) -> Iterator[Tensor]:
        """Features (1, N, D) that are there and have not been taken, in order.

        Once everything was pushed and `finish` called: all that is left. What has been taken,
        `finish` no longer gives.
        """
        while self.encoded and (self.ended or self.encoded[0].done()):
            self.last_taken = self.encoded.pop(0)
            yield self.last_taken.result()

    def _encode(self, *, last: bool) -> None:
        faces = torch.cat(self.waiting)
        stop = len(faces) if last else self.before + self.next
        self.next = self.window
        if self.pieces is not None:
            # Pieces come one after the other, whoever encodes them.
            earlier = self.encoded[-1] if self.encoded else self.last_taken
            encode = partial(
                _piece, self.detector, self.pieces, faces[:stop], last, earlier, self.half
            )
            self.encoded.append(self.run(encode))
            keep = stop
        else:
            # Frames before and after the window saw an end that is not the clip's.
            here = slice(self.before, stop)
            part = faces[: stop + self.after]
            self.encoded.append(self.run(partial(_local, self.detector, part, here, self.half)))
            keep = max(0, stop - self.after)
        self.waiting = [faces[keep:].clone()]
        self.n_waiting = len(faces) - keep
        self.before = stop - keep


def half_of(precision: str) -> torch.dtype | None:
    """The type that a precision multiplies in; None for the detector's own.

    Raises:
        UnknownName: If there is none of that name.

    Examples:
        >>> from pushpull.models.streaming import half_of
        >>> half_of("bfloat16"), half_of("float32")
        (torch.bfloat16, None)
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    return PRECISIONS[precision]


def _in(half: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    return nullcontext() if half is None else torch.autocast(device.type, dtype=half)


def _piece(
    detector: Detector,
    encode: Callable[[Tensor, bool], Tensor],
    faces: Tensor,
    last: bool,
    earlier: Result | None,
    half: torch.dtype | None,
) -> Tensor:
    """Further features (1, M, D) after an earlier piece's, of faces (N, H, W)."""
    if earlier is not None:
        earlier.result()
    with torch.inference_mode(), _in(half, detector.device):
        local = encode(faces.to(detector.device, detector.dtype)[None], last)
    return local.to(detector.dtype, copy=True)


def _local(detector: Detector, faces: Tensor, kept: slice, half: torch.dtype | None) -> Tensor:
    """Local visual features (1, T, D) of a part of some faces (N, H, W)."""
    batch = faces.to(detector.device, detector.dtype)[None]
    with torch.inference_mode(), _in(half, detector.device):
        local = detector.visual_local(batch, torch.tensor([len(faces)], device=batch.device))
    return local[:, kept].to(detector.dtype, copy=True)


def score_track(
    detector: Detector,
    waveform: Tensor,
    local: Tensor,
    *,
    fps: float,
    audio_window: int = AUDIO_WINDOW_FRAMES,
) -> Output:
    """Scores of one track from its sound and its local visual features.

    Args:
        detector: In eval mode; its device and type are used.
        waveform: (S,) in [-1, 1] at 16 kHz.
        local: (1, T, D), as `VisualStream` gives them.
        fps: Video frames per second.
        audio_window: Video frames whose sound is encoded at once, where a model is local in time.

    Returns:
        Of a batch of one, without gradients.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.streaming import VisualStream, score_track
        >>> detector = build("light_asd").eval()
        >>> stream = VisualStream(detector)
        >>> stream.push(255 * torch.rand(5, 112, 112))
        >>> score_track(detector, torch.randn(3200) / 10, stream.finish(), fps=25.0).score.shape
        torch.Size([1, 5])
    """
    device = detector.device
    n_frames = torch.tensor([local.shape[1]], device=device)
    sound = waveform.to(device, detector.dtype)[None]
    with torch.inference_mode():
        features = detector.front_end(
            sound,
            torch.tensor([sound.shape[1]], device=device),
            n_frames,
            torch.tensor([fps], dtype=torch.float64),
        )
        e_a = _encode_audio(detector, features, n_frames, audio_window)
        return detector.fuse(e_a, detector.visual_global(local, n_frames), n_frames)


def _encode_audio(detector: Detector, features: Tensor, n_frames: Tensor, window: int) -> Tensor:
    """`encode_audio` of one clip (1, 4T, M), window by window if the model is local."""
    context, n = detector.audio_context, int(n_frames)
    if context is None or n <= window:
        return detector.encode_audio(features, n_frames)
    parts = []
    for start in range(0, n, window):
        stop = min(start + window, n)
        first, last = max(0, start - context), min(n, stop + context)
        part = features[:, ROWS_PER_FRAME * first : ROWS_PER_FRAME * last]
        e_a = detector.encode_audio(part, torch.tensor([last - first], device=part.device))
        parts.append(e_a[:, start - first : stop - first].clone())
    return torch.cat(parts, 1)


def detect_clip(detector: Detector, clip: Clip) -> Output:
    """Scores of one clip of any length, as `detector(...)` gives them, in bounded memory.

    Args:
        detector: In eval mode; its device and type are used.
        clip: Faces (T, 112, 112) and sound; its labels are not looked at.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.streaming import detect_clip
        >>> from pushpull.schema import Clip
        >>> faces = 255 * torch.rand(5, 112, 112)
        >>> clip = Clip(waveform=torch.randn(3200) / 10, faces=faces, fps=25.0)
        >>> detect_clip(build("light_asd").eval(), clip).score.shape
        torch.Size([1, 5])
    """
    stream = VisualStream(detector)
    for faces in torch.split(clip.faces, stream.window):
        stream.push(faces)
    return score_track(detector, clip.waveform, stream.finish(), fps=clip.fps)
