"""A training run on disk: what it needs to go on as if it had never been stopped.

No state of a random generator is kept, since none has a history: every step seeds its own from the
run's seed, the epoch and the batch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pushpull.errors import CheckpointError, OutputError
from pushpull.models.detector import Detector
from pushpull.runtime.files import written_whole

__all__ = ["TrainingProgress", "read_state", "step_seed", "write_state"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """How far a run is.

    Attributes:
        epoch: Epoch under way, from 0.
        batch: Batches of it that are done.
        step: Steps of the optimiser so far.
        best: Best validation average precision so far, a share; below 0 before the first.
        best_epoch: Where it was.
        stopped: Whether patience ran out.

    Examples:
        >>> from pushpull.training.state import TrainingProgress
        >>> TrainingProgress().epoch
        0
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    stopped: bool = False


def step_seed(seed: int, epoch: int, batch: int, rank: int = 0) -> int:
    """The seed of everything random in a step.

    Examples:
        >>> from pushpull.training.state import step_seed
        >>> step_seed(0, epoch=1, batch=2) == step_seed(0, epoch=1, batch=2)
        True
        >>> step_seed(0, epoch=1, batch=2) == step_seed(0, epoch=1, batch=3)
        False
    """
    return int(np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint32)[0])


def write_state(
    path: Path,
    detector: Detector,
    optimiser: torch.optim.Optimizer,
    progress: TrainingProgress,
    config: dict[str, Any],
    data: str | None = None,
) -> None:
    """Write a run's state, whole or not at all: what was there stays until then.

    Args:
        path: Of the file.
        detector: With its weights.
        optimiser: With its moments.
        progress: How far the run is.
        config: Its settings.
        data: Checksum of what its data set says of itself, None where it says nothing.

    Raises:
        OutputError: If it cannot be written; the last state is still there.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.models import build
        >>> from pushpull.training.state import TrainingProgress, read_state, write_state
        >>> detector = build("talknet", width=0.125)
        >>> optimiser = torch.optim.Adam(detector.parameters())
        >>> write_state(Path("last.ckpt"), detector, optimiser, TrainingProgress(step=7), {})
        >>> read_state(Path("last.ckpt"), torch.device("cpu"))["progress"].step
        7
    """
    content = {
        "format": FORMAT,
        "config": config,
        "data": data,
        "progress": asdict(progress),
        "model": detector.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with written_whole(path) as temporary:
        try:
            torch.save(content, temporary)
        except (OSError, RuntimeError) as e:
            raise OutputError(
                f"{path}: cannot be written ({str(e).splitlines()[0]}); the last checkpoint there "
                "is whole: make room and go on with --resume"
            ) from e


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """What `write_state` wrote: config, data, progress, model and optimiser.

    Raises:
        CheckpointError: If it cannot be read or is no state of a run.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.training.state import read_state
        >>> _ = Path("last.ckpt").write_text("no state")
        >>> read_state(Path("last.ckpt"), torch.device("cpu"))
        Traceback (most recent call last):
            ...
        pushpull.errors.CheckpointError: last.ckpt: is no state of a training run (...
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: has format {content['format']}; expected {FORMAT}")
        for name in ("config", "model", "optimiser"):
            if not isinstance(content[name], dict):
                raise TypeError(f"{name} is no table")
        return {**content, "progress": TrainingProgress(**content["progress"])}
    except CheckpointError:
        raise
    except Exception as e:
        # A damaged pickle can make the reader fail in any way.
        said = next(iter(str(e).splitlines()), type(e).__name__)
        raise CheckpointError(
            f"{path}: is no state of a training run ({said}); start without --resume, or put back "
            "a copy"
        ) from e
