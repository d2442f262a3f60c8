"""What memory an attack on some faces takes, measured on a few frames of the step that takes most.

A step of an attack keeps what its gradient needs of the detector, and some tensors of the size of
the faces. The first is counted here on clips of three short lengths, of which it is a polynomial;
the heavy visual encoder is never kept for more than a window (`pushpull.models.windows`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pushpull.errors import ConfigError
from pushpull.models.detector import Detector
from pushpull.models.windows import GRAPH_BYTES, WINDOW_BYTES, Kept
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ

__all__ = ["available_bytes", "check_memory", "needed_bytes"]

PROBES = (8, 16, 24)
COPIES = 14
"""Tensors of the size of all faces that live at once, measured on PGD of three faces."""
BESIDES = 300_000_000
"""Codecs, the face finder, what other stages have left."""
GIB = 2**30


def check_memory(what: str, detector: Detector, clips: int, frames: int) -> None:
    """Refuse an attack that memory does not hold, before any work.

    Args:
        what: Named in the message.
        detector: What gradients are taken of.
        clips: Faces that are attacked together.
        frames: Of the longest.

    Raises:
        ConfigError: If it takes more than there is.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.video_attacks.footprint import check_memory
        >>> check_memory("talk.mp4", pp.load("synthetic-a"), clips=1, frames=50)
    """
    free = available_bytes(detector.device)
    if free is None:
        return
    needed = needed_bytes(detector, clips, frames)
    if needed > free:
        raise ConfigError(
            f"{what}: {clips} faces hear one sound for up to {frames} frames; to attack them "
            f"together takes about {needed / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free; "
            "attack parts of the video one after the other: --start and --end"
        )


def needed_bytes(detector: Detector, clips: int, frames: int) -> int:
    """Memory of a step of an attack on so many clips of so many frames.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.video_attacks.footprint import needed_bytes
        >>> detector = pp.load("synthetic-a")
        >>> needed_bytes(detector, 3, 1000) < 2 * needed_bytes(detector, 3, 500)
        True
    """
    kept = [kept_bytes(detector, n) for n in PROBES]
    fitted = np.polyfit(PROBES, [others for _, others in kept], len(PROBES) - 1)
    others = clips * max(0.0, float(np.polyval(fitted, frames)))
    encoder = clips * frames * kept[-1][0] / PROBES[-1]
    if encoder > GRAPH_BYTES:
        # On the way back through a layer its gradient is there beside what is kept.
        encoder = 2 * WINDOW_BYTES
    itemsize = torch.finfo(detector.dtype).bits // 8
    faces = COPIES * clips * frames * FACE_SIZE**2 * itemsize
    return int(encoder + others + faces + BESIDES)


def kept_bytes(detector: Detector, frames: int) -> tuple[int, int]:
    """What a gradient keeps of a clip: of the heavy visual encoder, and of everything else."""
    device, dtype = detector.device, detector.dtype
    generator = torch.Generator().manual_seed(0)
    n_samples = frames * SAMPLE_RATE_HZ // 25
    waveform = 0.1 * torch.randn(1, n_samples, generator=generator)
    faces = 255 * torch.rand(1, frames, FACE_SIZE, FACE_SIZE, generator=generator)
    shown = faces.to(device, dtype).requires_grad_()
    heard = waveform.to(device, dtype).requires_grad_()
    lengths = torch.tensor([frames], device=device)
    encoder, others = Kept(), Kept()
    with torch.inference_mode(False), torch.enable_grad():
        with encoder:
            local = detector.visual_local(shown, lengths)
        with others:
            features = detector.front_end(
                heard,
                torch.tensor([n_samples], device=device),
                lengths,
                torch.tensor([25.0], dtype=torch.float64),
            )
            e_a = detector.encode_audio(features, lengths)
            e_v = detector.visual_global(local.detach().requires_grad_(), lengths)
            detector.fuse(e_a, e_v, lengths)
    return encoder.n_bytes, others.n_bytes


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device, within the limits of a container; None if nobody says.

    Examples:
        >>> from pushpull.video_attacks.footprint import available_bytes
        >>> free = available_bytes(torch.device("cpu"))  # not said by macOS and Windows
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [free for free in (_of_machine(), _of_container()) if free is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    said = dict(line.split(":", 1) for line in lines)
    return int(said["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in said else None


def _of_container() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        most = (root / "memory.max").read_text().strip()
        taken = (root / "memory.current").read_text().strip()
    except OSError:
        return None
    return None if most == "max" else int(most) - int(taken)
