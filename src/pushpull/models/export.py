"""Detectors as files for other programs: one graph from waveform and faces to scores.

    export_detector("light-asd-ava", "onnx", Path("light-asd-ava.onnx"))

ONNX and TorchScript files hold the detector with its front end, for one clip of any length at any
frame rate:

    waveform (1, S) float32 in [-1, 1] at 16 kHz
    faces    (1, T, 112, 112) float32 grey levels 0..255
    fps      (1,) float32 frames per second
    score    (1, T) float32 log-odds of speaking

A safetensors file holds weights only, for this package. Every file is read again and compared with
the detector on clips of several lengths and rates before it takes its name.

Spectra are taken by a matrix, since a graph's own transforms of real signals differ from one
runtime to the next; what rounding that costs is in docs/guide/export.md.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pushpull.errors import ConfigError, MissingExtra, OutputError, UnknownName
from pushpull.models import checkpoints
from pushpull.models.detector import Card, Detector, in_eval_mode
from pushpull.models.features import (
    INT16_SCALE,
    N_FFT,
    PRE_EMPHASIS,
    ROWS_PER_FRAME,
    SPECTRUM_BINS,
    cepstra,
    log_power,
)
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.version import __version__
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ

__all__ = ["FORMATS", "METADATA_FILE", "TOLERANCE", "Exported", "ScoreGraph", "export_detector"]

TOLERANCE = 1e-3
"""Largest difference of a score, in log-odds, with which a file is accepted."""

CHECKED = ((12, 25.0), (1, 25.0), (41, 29.97))
"""Frames and rates of the clips that every file is compared on; the first one is recorded."""

OPSET = 17
METADATA_FILE = "pushpull.json"
"""Where the metadata lies in a TorchScript archive."""

INPUTS = ("waveform", "faces", "fps")

Run = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scores (1, T) of waveform (1, S), faces (1, T, 112, 112) and fps (1,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A file that was written.

    Attributes:
        path: The file.
        format: A name in `FORMATS`.
        detector: Name of the detector in it.
        n_bytes: Its size.
        differences: Largest difference from the detector's scores in log-odds, by the number of
            frames of the clip.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.models.export import Exported
        >>> exported = Exported(
        ...     path=Path("mine.onnx"),
        ...     format="onnx",
        ...     detector="mine",
        ...     n_bytes=4_000_000,
        ...     differences={1: 2e-6, 12: 4e-6},
        ... )
        >>> max(exported.differences.values())
        4e-06
    """

    path: Path
    format: str
    detector: str
    n_bytes: int
    differences: dict[int, float]


@dataclass(frozen=True, slots=True)
class Format:
    """How a kind of file is written and read.

    Attributes:
        suffix: Of the file, unless its name is given.
        needs: Packages of the extra `export`.
        write: Called with the detector, the file and what to remember.
        read: The scores that the file gives.
    """

    suffix: str
    needs: tuple[str, ...]
    write: Callable[[Detector, Path, dict[str, Any]], None]
    read: Callable[[Path], Run]


def export_detector(
    detector: DetectorSource,
    format: str = "onnx",
    out: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write a detector for another program, read the file again and compare.

    Args:
        detector: A known name, a checkpoint, or a detector on the CPU.
        format: A name in `FORMATS`.
        out: File to write; the detector's name with the format's suffix, here, by default.
        overwrite: Whether a file of any other making may be replaced.

    Raises:
        UnknownName: If there is no such format or detector.
        MissingExtra: If a package that the format needs is not installed.
        ConfigError: If the detector is on another device, or the file would replace the
            checkpoint.
        CheckpointError: If the weights cannot be loaded, or the detector is none of `MODELS`.
        OutputError: If the file cannot be written, may not be replaced, or gives other scores than
            the detector.

    Examples:
        >>> from pushpull.models.export import export_detector
        >>> exported = export_detector("synthetic-a", "safetensors", "mine.safetensors")
        >>> exported.path.is_file(), max(exported.differences.values()) < 1e-3
        (True, True)
    """
    if format not in FORMATS:
        raise UnknownName("export format", format, FORMATS)
    how = FORMATS[format]
    for package in how.needs:
        _check_installed(package, format)
    chosen = None if isinstance(detector, Detector) else "cpu"
    model = resolve_detector(detector, device=chosen)
    if model.device.type != "cpu":
        raise ConfigError(
            f"the detector is on {model.device}; load it with device='cpu' to export it"
        )
    # A defence around a model is refused here: its front end is not the model's.
    checkpoints.model_name(model)
    card = model.card
    path = Path(Path(card.name).stem + how.suffix if out is None else out)
    if path.exists() and card.path is not None and path.samefile(card.path):
        raise ConfigError(f"{path}: is the checkpoint that is exported; give another --out")
    outputs = Outputs(
        folder=path.parent,
        origin=Origin(command="export", settings={"detector": card.as_dict(), "format": format}),
        overwrite=overwrite,
    )
    outputs.check([path.name])
    with outputs.writing([path.name]) as paths:
        temporary = paths[path.name]
        with in_eval_mode(model):
            with _quietly():
                how.write(model, temporary, _metadata(card))
            differences = _compared(how.read(temporary), model, path)
        n_bytes = temporary.stat().st_size
    return Exported(
        path=path, format=format, detector=card.name, n_bytes=n_bytes, differences=differences
    )


class ScoreGraph(nn.Module):
    """A detector and its front end in operations that a graph of any length can hold.

    Args:
        detector: In eval mode, on the CPU.
        of_power: Features of power spectra (A, 257).

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.export import ScoreGraph
        >>> from pushpull.models.features import cepstra
        >>> graph = ScoreGraph(build("light_asd").eval(), cepstra)
        >>> waveform, faces = torch.randn(1, 3200) / 10, 255 * torch.rand(1, 5, 112, 112)
        >>> graph(waveform, faces, torch.tensor([25.0])).shape
        torch.Size([1, 5])
    """

    dft: Tensor

    def __init__(self, detector: Detector, of_power: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.detector = detector
        self.of_power = of_power
        self.register_buffer("dft", _fourier_matrix())

    def forward(self, waveform: Tensor, faces: Tensor, fps: Tensor) -> Tensor:
        """Log-odds (1, T); shapes, ranges and units as the module says."""
        n_frames = torch.ones_like(faces[:, :, 0, 0], dtype=torch.int64).sum(1)
        features = self.of_power(self.power(waveform[0], n_frames, fps[0]))[None]
        e_a = self.detector.encode_audio(features, n_frames)
        e_v = self.detector.encode_visual(faces, n_frames)
        return self.detector.fuse(e_a, e_v, n_frames).score

    def power(self, waveform: Tensor, n_frames: Tensor, fps: Tensor) -> Tensor:
        """Power spectra (4T, 257) as in `pushpull.models.features`, with lengths that stay tensors.

        Args:
            waveform: (S,) in [-1, 1].
            n_frames: T as (1,) int64.
            fps: Frames per second, a single number.
        """
        length, step = (_whole_samples(seconds, fps) for seconds in (0.025, 0.010))
        n_samples = torch.ones_like(waveform, dtype=torch.int64).sum()
        wanted = ROWS_PER_FRAME * n_frames
        # Windows that cover the clip: 1 + max(0, ceil((S - length) / step)), and no more than 4T.
        reach = (n_samples - length).clamp(min=0) + step - 1
        rows = torch.minimum(1 + reach.div(step, rounding_mode="floor"), wanted)
        # A number would be fixed in the graph, a tensor is not.
        row = torch.arange(wanted[0]) % rows  # type: ignore[call-overload]
        tap = torch.arange(N_FFT)
        place = (row * step)[:, None] + tap
        inside = (tap < length) & (place < n_samples)
        x = waveform * INT16_SCALE
        emphasised = torch.cat((x[:1], x[1:] - PRE_EMPHASIS * x[:-1]))
        windows = torch.where(inside, emphasised[torch.minimum(place, n_samples - 1)], 0.0)
        spectrum: Tensor = windows @ self.dft
        real, imaginary = spectrum[:, :SPECTRUM_BINS], spectrum[:, SPECTRUM_BINS:]
        return (real.square() + imaginary.square()) / N_FFT


def _whole_samples(seconds: float, fps: Tensor) -> Tensor:
    """A time at 25 fps in samples, in proportion at another rate, rounded half up."""
    return (seconds * 25 / fps.double() * SAMPLE_RATE_HZ + 0.5).floor().long()


def _fourier_matrix() -> Tensor:
    """Real and imaginary parts of the first 257 bins of 512 samples, (512, 2 * 257)."""
    # Whole turns are taken off while the product is an integer.
    turns = torch.outer(torch.arange(N_FFT), torch.arange(SPECTRUM_BINS)) % N_FFT
    angle = turns.double() * (2 * math.pi / N_FFT)
    return torch.cat((angle.cos(), -angle.sin()), 1).float()


OF_POWER = {"spec_talknet": log_power}
"""What a model makes of power spectra, where it is not `cepstra`. If a model were missing here,
its file would not pass the comparison."""


def _graph(detector: Detector) -> ScoreGraph:
    graph = ScoreGraph(detector, OF_POWER.get(checkpoints.model_name(detector), cepstra))
    return graph.eval()


def _metadata(card: Card) -> dict[str, Any]:
    known = {
        "detector": card.name,
        "sha256": card.sha256,
        "licence": card.licence,
        "trained_on": card.trained_on,
        "crop": card.crop,
        "pushpull": __version__,
    }
    return {name: value for name, value in known.items() if value is not None}


def _write_onnx(detector: Detector, path: Path, metadata: dict[str, Any]) -> None:
    import onnx

    # The exporter that follows torch.export fixes the number of frames in recurrent layers.
    torch.onnx.export(
        _graph(detector),
        _clip(*CHECKED[0]),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=list(INPUTS),
        output_names=["score"],
        dynamic_axes={"waveform": {1: "S"}, "faces": {1: "T"}, "score": {1: "T"}},
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(
        model, {k: str(v) for k, v in _described(detector, metadata).items()}
    )
    onnx.save(model, path)


def _read_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    def run(*inputs: Tensor) -> Tensor:
        named = {name: x.numpy() for name, x in zip(INPUTS, inputs, strict=True)}
        return torch.from_numpy(session.run(["score"], named)[0])

    return run


def _write_torchscript(detector: Detector, path: Path, metadata: dict[str, Any]) -> None:
    graph = _graph(detector)
    with torch.no_grad():
        traced = torch.jit.trace(graph, _clip(*CHECKED[0]), check_trace=False)  # type: ignore[no-untyped-call]
    text = json.dumps(_described(detector, metadata))
    # Opened here, as torch takes no name that is no UTF-8.
    with path.open("wb") as file:
        torch.jit.save(traced, file, _extra_files={METADATA_FILE: text})


def _read_torchscript(path: Path) -> Run:
    with _quietly(), path.open("rb") as file:
        module: Run = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
    return module


def _write_safetensors(detector: Detector, path: Path, metadata: dict[str, Any]) -> None:
    checkpoints.save(detector, path, **metadata)


def _read_safetensors(path: Path) -> Run:
    return _run_of(checkpoints.load(path))


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxruntime"), _write_onnx, _read_onnx),
    "torchscript": Format(".pt", (), _write_torchscript, _read_torchscript),
    "safetensors": Format(".safetensors", (), _write_safetensors, _read_safetensors),
}
"""What can be written, by name."""


def _described(detector: Detector, metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata with what a user of the graph must know."""
    return metadata | {
        "model": checkpoints.model_name(detector),
        "waveform": f"(1, S) float32 in [-1, 1], {SAMPLE_RATE_HZ} Hz",
        "faces": f"(1, T, {FACE_SIZE}, {FACE_SIZE}) float32, grey levels 0..255",
        "fps": "(1,) float32, video frames per second",
        "score": "(1, T) float32, log-odds of speaking",
    }


def _run_of(detector: Detector) -> Run:
    def run(waveform: Tensor, faces: Tensor, fps: Tensor) -> Tensor:
        return detector(waveform, faces, fps=fps.double()).score  # type: ignore[no-any-return]

    return run


def _compared(run: Run, detector: Detector, path: Path) -> dict[int, float]:
    """Largest difference for each clip of `CHECKED`, if it is small."""
    expected = _run_of(detector)
    differences = {}
    for n_frames, fps in CHECKED:
        clip = _clip(n_frames, fps)
        with torch.no_grad():
            want = expected(*clip)
            try:
                got = run(*clip)
            except Exception as e:
                # Runtimes raise errors of many kinds.
                raise OutputError(
                    f"{path}: the exported graph fails on a clip of {n_frames} frames "
                    f"({str(e).splitlines()[0]}); nothing was written: choose another --format"
                ) from e
        worst = math.inf if got.shape != want.shape else float((got - want).abs().max())
        if not worst <= TOLERANCE:
            raise OutputError(
                f"{path}: the exported graph is off by {worst:.3g} in log-odds on a clip of "
                f"{n_frames} frames, expected at most {TOLERANCE:g}; nothing was written: choose "
                "another --format"
            )
        differences[n_frames] = worst
    return differences


def _clip(n_frames: int, fps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sound with loud, faint and silent parts under faces of noise; a little short of sound."""
    generator = torch.Generator().manual_seed(n_frames)
    n_samples = max(1, round(n_frames / fps * SAMPLE_RATE_HZ) - 99)
    loudness = torch.logspace(-5, -0.5, n_samples) * (torch.arange(n_samples) % 4000 < 3000)
    waveform = (torch.randn(n_samples, generator=generator) * loudness).clamp(-1, 1)
    grey = torch.rand(1, n_frames, FACE_SIZE, FACE_SIZE, generator=generator) * 255
    return waveform[None], grey, torch.tensor([fps])


def _check_installed(package: str, format: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as e:
        raise MissingExtra.of(f"--format {format}", e, "export") from e


@contextmanager
def _quietly() -> Iterator[None]:
    """Without warnings: recording has them for every decision, `_compared` for a wrong one.

    torch also calls TorchScript and the exporter that follows it deprecated.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
