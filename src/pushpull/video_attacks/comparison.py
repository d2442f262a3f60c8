"""An adversary to look at beside its clean video: both annotated, and what differs, amplified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pushpull.detection import Footage, Overlay, counted
from pushpull.errors import OutputError
from pushpull.media import Frame, VideoInfo, VideoWriter, read_frames, rgb_of
from pushpull.runtime.files import written_whole
from pushpull.runtime.progress import Progress, no_progress
from pushpull.schema import SAMPLE_RATE_HZ
from pushpull.video_attacks.variants import Variant

__all__ = ["frames_of", "spectrogram_db", "time_in", "write_side_by_side", "write_views"]

WIDEST = 960
"""Pixels of one picture."""

WINDOW, HOP = 512, 160
RANGE_DB = 80.0
GREY = 128.0


def write_side_by_side(
    path: Path,
    clean: Variant,
    found: Variant,
    caption: str,
    *,
    hurry: bool = True,
    progress: Progress = no_progress,
) -> None:
    """Both in one picture, with scores and captions, and the adversarial sound.

    Args:
        path: The file.
        clean: The clean video.
        found: The adversary.
        caption: What was done, in a few words.
        hurry: Whether large pictures are compressed faster, into a larger file.
        progress: Called with stage, frames done and frames expected.

    Raises:
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.media import probe
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.comparison import write_side_by_side
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", face_finder="dlib")
        >>> write_side_by_side(Path("both.mp4"), found.clean, found.asked, "fgsm, eps 5")
        >>> info = probe("both.mp4")
        >>> info.width, info.height
        (320, 120)
    """
    info = clean.clips.info
    sides = [("clean", clean, overlay_of(clean)), (caption, found, overlay_of(found))]
    width, height = size_of(info)
    with VideoWriter(
        path, width=2 * width, height=height, fps=info.fps, audio=found.sound(), hurry=hurry
    ) as writer:
        for frame in frames_of(clean.clips, "side by side", progress):
            halves = [
                captioned(shrunk(drawn(variant, overlay, frame, info), info), words)
                for words, variant, overlay in sides
            ]
            writer.write(np.concatenate(halves, 1), time_in(clean.clips, frame))


def write_views(
    folder: Path,
    clean: Variant,
    found: Variant,
    *,
    amplify: float = 20.0,
    progress: Progress = no_progress,
) -> dict[str, Path]:
    """What is looked at one beside the other: three videos and three spectrograms.

    Args:
        folder: An existing folder.
        clean: The clean video.
        found: The adversary.
        amplify: Times that the change of a pixel is drawn.
        progress: Called with stage, frames done and frames expected.

    Returns:
        `clean` and `adversarial`: annotated videos of one size and length, each with its sound.
        `difference`: the change of luma before rounding, times `amplify`, around middle grey, with
        the change of the sound, amplified until it is heard. `clean_sound`, `adversarial_sound`,
        `sound_change`: spectrograms as png, all on one scale.

    Raises:
        OutputError: If something cannot be written; then none of the videos is there.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.comparison import write_views
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", face_finder="dlib")
        >>> paths = write_views(Path("."), found.clean, found.asked, amplify=50.0)
        >>> paths["difference"].name, paths["sound_change"].name
        ('view-difference.mp4', 'view-change.png')
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
    before, after = clean.sound(), found.sound()
    sounds = {"clean": before, "adversarial": after, "difference": audible(after - before)}
    info = clean.clips.info
    overlays = {"clean": overlay_of(clean), "adversarial": overlay_of(found)}
    with ExitStack() as stack:
        writers = view_writers(stack, paths, sounds, info)
        for frame in frames_of(clean.clips, "pictures to compare", progress):
            change = np.clip(GREY + amplify * found.change_of_luma(frame), 0, 255)
            images = {
                "clean": drawn(clean, overlays["clean"], frame, info),
                "adversarial": drawn(found, overlays["adversarial"], frame, info),
                "difference": np.repeat(change.astype(np.uint8)[:, :, None], 3, 2),
            }
            for kind, image in images.items():
                writers[kind].write(shrunk(image, info), time_in(clean.clips, frame))
    top_db = float(spectrogram_db(before).max())
    write_spectrogram(paths["clean_sound"], before, top_db)
    write_spectrogram(paths["adversarial_sound"], after, top_db)
    write_spectrogram(paths["sound_change"], after - before, top_db)
    return paths


def frames_of(video: Footage, stage: str, progress: Progress) -> Iterator[Frame]:
    """Frames of a video, counted.

    Examples:
        >>> from pushpull.detection import find_faces
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.comparison import frames_of
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.48, size=(160, 120))
        >>> video = find_faces("talk.mp4", face_finder="dlib")
        >>> times_s = [frame.time_s for frame in frames_of(video, "writing", progress=print)]
        writing 10 12
        writing 12 12
        >>> times_s[:3]
        [0.0, 0.04, 0.08]
    """
    frames = read_frames(video.path, part=video.part, on_damage=lambda line: None)
    return counted(frames, stage, video.n_frames, progress)


def time_in(video: Footage, frame: Frame) -> float:
    """When a frame is shown in what is written: files begin where the part does.

    Examples:
        >>> from dataclasses import replace
        >>> from pushpull.detection import find_faces
        >>> from pushpull.media import Part, read_frames
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.comparison import time_in
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.6, size=(160, 120))
        >>> video = find_faces("talk.mp4", face_finder="dlib")
        >>> frame = list(read_frames("talk.mp4"))[10]
        >>> frame.time_s, time_in(replace(video, part=Part(0.2, 0.6)), frame)
        (0.4, 0.2)
    """
    return frame.time_s - video.part.start_s


def overlay_of(variant: Variant) -> Overlay:
    """What draws its scores on the video."""
    info = variant.clips.info
    return Overlay(variant.scored, width=info.width, height=info.height)


def drawn(variant: Variant, overlay: Overlay, frame: Frame, info: VideoInfo) -> NDArray[np.uint8]:
    """A frame of the video (H, W, 3) as it is in a variant, with its scores."""
    return overlay.draw(rgb_of(variant.picture(frame), info.matrix), frame.index)


def size_of(info: VideoInfo) -> tuple[int, int]:
    """Width and height of one picture."""
    shrink = min(1.0, WIDEST / info.width)
    return round(info.width * shrink), round(info.height * shrink)


def shrunk(image: NDArray[np.uint8], info: VideoInfo) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of the size of one."""
    import cv2

    if image.shape[1::-1] == size_of(info):
        return image
    return np.asarray(cv2.resize(image, size_of(info), interpolation=cv2.INTER_AREA), np.uint8)


def captioned(image: NDArray[np.uint8], words: str) -> NDArray[np.uint8]:
    """Words at the lower left of a picture, in place."""
    import cv2

    scale = image.shape[0] / 480
    font, size, weight = cv2.FONT_HERSHEY_SIMPLEX, max(0.3, 0.5 * scale), max(1, round(scale))
    (width, height), base = cv2.getTextSize(words, font, size, weight)
    bottom, pad = image.shape[0], max(2, round(4 * scale))
    corner = (width + 2 * pad, bottom - height - base - 2 * pad)
    cv2.rectangle(image, (0, bottom), corner, (20, 20, 20), cv2.FILLED)
    origin = (pad, bottom - base - pad)
    cv2.putText(image, words, origin, font, size, (255, 255, 255), weight, cv2.LINE_AA)
    return image


def view_writers(
    stack: ExitStack,
    paths: Mapping[str, Path],
    sounds: Mapping[str, NDArray[np.float32]],
    info: VideoInfo,
) -> dict[str, VideoWriter]:
    """A writer for each sound; all files appear together or not at all."""
    width, height = size_of(info)
    return {
        kind: stack.enter_context(
            VideoWriter(
                stack.enter_context(written_whole(paths[kind])),
                width=width,
                height=height,
                fps=info.fps,
                audio=sound,
            )
        )
        for kind, sound in sounds.items()
    }


def audible(change: NDArray[np.float32]) -> NDArray[np.float32]:
    """A change of sound, as loud as it can be."""
    peak = float(np.abs(change).max())
    return change if peak == 0 else (change * (0.9 / peak)).astype(np.float32)


def spectrogram_db(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power (257, windows) of Hann windows of 32 ms every 10 ms, in decibels, from -160 on.

    Examples:
        >>> from pushpull.video_attacks.comparison import spectrogram_db
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
        >>> levels = spectrogram_db(tone)
        >>> levels.shape, int(levels[:, 0].argmax()) * 16_000 / 512  # in Hz
        ((257, 97), 1000.0)
    """
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
