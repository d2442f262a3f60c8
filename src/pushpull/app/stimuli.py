"""Clips for listening tests, of what an attack left: every pixel and sample as it was, no codec.

Pictures go into one png, frame beside frame, and sound into a wav of int16, so that what a listener
compares is the adversary and not a compression of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.errors import MediaError
from pushpull.runtime.files import plain_path
from pushpull.runtime.progress import Progress
from pushpull.schema import SAMPLE_RATE_HZ

__all__ = ["prepare"]

LONGEST_S = 6.0
MOST_CLIPS = 40
INT16 = 32768


def prepare(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    """Write clean and adversarial pictures and sound of each track of some attacks.

    Args:
        asked: `folder` to make; `sources`, each with `tensors` (a path of adversarial.safetensors),
            `name`, and `fps` by track.
        report: Told how many sources are done.

    Returns:
        `clips`: for each its `key` (files are KEY-clean.png, KEY-adversarial.wav and so on), name,
        frames, columns of the png, fps, and whether anything that can be seen or heard differs.

    Raises:
        MediaError: If the files hold no clip.

    Examples:
        >>> from pathlib import Path
        >>> from safetensors.numpy import save_file
        >>> from pushpull.app.stimuli import prepare
        >>> faces, sound = np.zeros((4, 112, 112), np.float32), np.zeros(2560, np.float32)
        >>> save_file(
        ...     {
        ...         "track-0.clean.faces": faces,
        ...         "track-0.clean.waveform": sound,
        ...         "track-0.adversarial.faces": faces + 2,
        ...         "track-0.adversarial.waveform": sound,
        ...     },
        ...     "adversarial.safetensors",
        ... )
        >>> source = {"tensors": "adversarial.safetensors", "name": "talk", "fps": {"0": 25.0}}
        >>> [clip] = prepare({"folder": "clips", "sources": [source]}, print)["clips"]
        clips 0 1
        >>> clip["visual"], clip["audio"], sorted(path.name for path in Path("clips").iterdir())[0]
        (True, False, '0-adversarial.png')
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(asked["folder"])
    folder.mkdir()
    clips: list[dict[str, Any]] = []
    for n, source in enumerate(asked["sources"]):
        report("clips", n, len(asked["sources"]))
        try:
            with (
                plain_path(source["tensors"]) as plain,
                safe_open(plain, framework="numpy") as tensors,
            ):
                keys = set(tensors.keys())
                for track, fps in source["fps"].items():
                    if f"track-{track}.clean.faces" not in keys or len(clips) >= MOST_CLIPS:
                        continue
                    values = {
                        (kind, what): tensors.get_tensor(f"track-{track}.{kind}.{what}")
                        for kind in ("clean", "adversarial")
                        for what in ("faces", "waveform")
                    }
                    clips.append(write_clip(folder, len(clips), source["name"], track, fps, values))
        except (OSError, SafetensorError, ValueError) as e:
            raise MediaError(f"{source['name']}: its adversarial.safetensors cannot be read") from e
    if not clips:
        raise MediaError("these attacks hold no clip; expected folders made by `pushpull attack`")
    return {"clips": clips}


def write_clip(
    folder: Path,
    number: int,
    name: str,
    track: str,
    fps: float,
    values: Mapping[tuple[str, str], NDArray[np.float32]],
) -> dict[str, Any]:
    """Four files of one track."""
    import cv2

    from pushpull.media import write_wav

    n_frames = max(1, min(len(values["clean", "faces"]), round(LONGEST_S * fps)))
    n_samples = round(n_frames / fps * SAMPLE_RATE_HZ)
    columns = math.ceil(math.sqrt(n_frames))
    faces, sounds = {}, {}
    for kind in ("clean", "adversarial"):
        faces[kind] = np.clip(np.rint(values[kind, "faces"][:n_frames]), 0, 255).astype(np.uint8)
        sounds[kind] = values[kind, "waveform"][:n_samples]
        written, png = cv2.imencode(".png", sheet(faces[kind], columns))
        if not written:
            raise MediaError(f"{name}: its pictures cannot be written")
        (folder / f"{number}-{kind}.png").write_bytes(png.tobytes())
        write_wav(folder / f"{number}-{kind}.wav", sounds[kind], sample_format="int16")
    heard, changed = (np.rint(sounds[kind] * INT16) for kind in ("clean", "adversarial"))
    return {
        "key": str(number),
        "name": name,
        "track": track,
        "frames": n_frames,
        "columns": columns,
        "fps": fps,
        "size": int(faces["clean"].shape[1]),
        "visual": not np.array_equal(faces["clean"], faces["adversarial"]),
        "audio": not np.array_equal(heard, changed),
    }


def sheet(faces: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Pictures (T, H, W) as one, row by row."""
    n, height, width = faces.shape
    rows = math.ceil(n / columns)
    padded = np.zeros((rows * columns, height, width), np.uint8)
    padded[:n] = faces
    grid = padded.reshape(rows, columns, height, width).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width))
