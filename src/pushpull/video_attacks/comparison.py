"""An adversary to look at beside its clean video: both annotated, and what differs, amplified."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pushpull.detection import Overlay
from pushpull.errors import OutputError
from pushpull.media import VideoWriter, rgb_of
from pushpull.runtime.files import written_whole
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import SAMPLE_RATE_HZ
from pushpull.video_attacks.results import (
    WIDEST,
    VideoAttack,
    adversarial_sound,
    changed,
    frames_of,
    scored,
    time_in,
)

__all__ = ["spectrogram_db", "write_views"]

WINDOW, HOP = 512, 160
RANGE_DB = 80.0
GREY = 128.0


def write_views(
    result: VideoAttack,
    folder: Path,
    *,
    amplify: float = 20.0,
    progress: Progress = no_progress,
) -> dict[str, Path]:
    """Write what is looked at side by side.

    Args:
        result: The attack.
        folder: An existing folder.
        amplify: Times that the change of a pixel is drawn.
        progress: Called with stage, frames done and frames expected.

    Returns:
        `clean` and `adversarial`: annotated videos of one size and length, each with its sound.
        `difference`: the change of luma before rounding, times `amplify`, around middle grey, with
        the change of the sound, amplified until it is heard. `clean_sound`, `adversarial_sound`,
        `sound_change`: spectrograms as png, all on one scale.

    Raises:
        OutputError: If something cannot be written; then none of the videos is there.
    """
    names = {
        "clean": "view-clean.mp4",
        "adversarial": "view-adversarial.mp4",
        "difference": "view-difference.mp4",
        "clean_sound": "view-clean.png",
        "adversarial_sound": "view-adversarial.png",
        "sound_change": "view-change.png",
    }
    paths = {kind: folder / name for kind, name in names.items()}
    before, after = result.clips.waveform, adversarial_sound(result)
    sounds = {"clean": before, "adversarial": after, "difference": audible(after - before)}
    write_videos(result, {kind: paths[kind] for kind in sounds}, sounds, amplify, progress)
    top_db = float(spectrogram_db(before).max())
    for kind, sound in (
        ("clean_sound", before),
        ("adversarial_sound", after),
        ("sound_change", after - before),
    ):
        write_spectrogram(paths[kind], sound, top_db)
    return paths


def write_videos(
    result: VideoAttack,
    paths: dict[str, Path],
    sounds: dict[str, NDArray[np.float32]],
    amplify: float,
    progress: Progress,
) -> None:
    """All three in one pass over the clean video."""
    info = result.clips.footage.info
    shrink = min(1.0, WIDEST / info.width)
    width, height = round(info.width * shrink), round(info.height * shrink)
    overlays = {
        "clean": Overlay(scored(result, result.clean["as found"]), info.height),
        "adversarial": Overlay(scored(result, result.adversary.scores["as found"]), info.height),
    }
    with ExitStack() as stack:
        writers = {
            kind: stack.enter_context(
                VideoWriter(
                    stack.enter_context(written_whole(path)),
                    width=width,
                    height=height,
                    fps=info.fps,
                    audio=sounds[kind],
                )
            )
            for kind, path in paths.items()
        }
        for frame in frames_of(result, "pictures to compare", progress):
            clean, found = frame.ycc(), changed(result, frame)
            change = change_of_luma(result, frame.index, clean[0])
            luma = np.clip(GREY + amplify * change, 0, 255)
            images = {
                "clean": overlays["clean"].draw(rgb_of(clean, info.matrix), frame.index),
                "adversarial": overlays["adversarial"].draw(
                    rgb_of(found, info.matrix), frame.index
                ),
                "difference": np.repeat(luma.astype(np.uint8)[:, :, None], 3, 2),
            }
            for kind, image in images.items():
                writers[kind].write(shrunk(image, width, height), time_in(result, frame))


def change_of_luma(result: VideoAttack, frame: int, luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """All changes of a clean picture (H, W), before any rounding."""
    total = np.zeros(luma.shape, np.float32)
    for files, points in zip(result.files, result.adversary.points, strict=True):
        total += files.change(points, frame, luma)
    return total


def shrunk(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of that size."""
    import cv2

    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def audible(change: NDArray[np.float32]) -> NDArray[np.float32]:
    """A change of sound, as loud as it can be."""
    peak = float(np.abs(change).max())
    return change if peak == 0 else (change * (0.9 / peak)).astype(np.float32)


def spectrogram_db(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power (257, windows) of Hann windows of 32 ms every 10 ms, in decibels, from -160 on."""
    padded = np.pad(waveform.astype(np.float64), (0, max(0, WINDOW - len(waveform))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW))) ** 2
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(power.T, 1e-16))
    return decibels


def write_spectrogram(path: Path, waveform: NDArray[np.float32], top_db: float) -> None:
    """Draw a spectrogram, low tones below, from `top_db` down to 80 dB less."""
    import cv2

    levels = (spectrogram_db(waveform)[::-1] - top_db + RANGE_DB) / RANGE_DB
    image = cv2.applyColorMap((np.clip(levels, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    # A minute has 6000 windows: more than a page is wide.
    seconds = len(waveform) / SAMPLE_RATE_HZ
    width = int(np.clip(100 * seconds, 200, 1600))
    image = cv2.resize(np.asarray(image), (width, 257), interpolation=cv2.INTER_AREA)
    written, png = cv2.imencode(".png", image)
    if not written:
        raise OutputError(f"{path}: cannot be drawn")
    with written_whole(path) as temporary:
        temporary.write_bytes(png.tobytes())
