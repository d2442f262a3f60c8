"""What the files of an adversary are written with.

`LOSSLESS` keeps 8-bit pixels and int16 samples; H.264 with AAC is what videos go through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pushpull.errors import ConfigError
from pushpull.media import VideoInfo, VideoWriter, write_sound, write_wav

__all__ = ["LOSSLESS", "Codec"]

CRF_RANGE = (0, 51)


@dataclass(frozen=True, slots=True)
class Codec:
    """What a file is written with.

    Attributes:
        crf: Quality of H.264 (lower is better) beside AAC at 96 kbit/s; None for lossless files.

    Raises:
        ConfigError: If there is no such quality.

    Examples:
        >>> from pushpull.video_attacks.codec import LOSSLESS, Codec
        >>> Codec(crf=23).name, Codec(crf=23).video_suffix
        ('h264 crf 23 + aac', '.mp4')
        >>> LOSSLESS.name, LOSSLESS.video_suffix, LOSSLESS.sound_suffix
        ('lossless', '.mkv', '.wav')
    """

    crf: int | None

    def __post_init__(self) -> None:
        low, high = CRF_RANGE
        if self.crf is not None and not low <= self.crf <= high:
            raise ConfigError(f"crf is {self.crf}; expected a whole number in {low}..{high}")

    @property
    def name(self) -> str:
        """For tables."""
        return "lossless" if self.crf is None else f"h264 crf {self.crf} + aac"

    @property
    def video_suffix(self) -> str:
        """Of files with pictures."""
        return ".mkv" if self.crf is None else ".mp4"

    @property
    def sound_suffix(self) -> str:
        """Of files with sound alone."""
        return ".wav" if self.crf is None else ".m4a"

    def write_sound(self, path: Path, waveform: NDArray[np.float32]) -> None:
        """A sound (S,) alone."""
        if self.crf is None:
            write_wav(path, waveform, sample_format="int16")
        else:
            write_sound(path, waveform)

    def write_faces(self, path: Path, faces: Tensor, fps: float) -> None:
        """Crops (T, 112, 112) as a grey video, rounded."""
        height, width = faces.shape[1:]
        options = self._options(colour=False)
        with VideoWriter(path, width=width, height=height, fps=fps, **options) as writer:
            for face in faces.detach().round().byte().cpu().numpy():
                writer.write(face)

    def write_video(
        self,
        path: Path,
        pictures: Iterable[tuple[NDArray[np.uint8], float]],
        waveform: NDArray[np.float32],
        info: VideoInfo,
    ) -> None:
        """Luma and colour (3, H, W) with their times in seconds, and a sound (S,), as a video.

        Args:
            path: The file.
            pictures: In order of time.
            waveform: The sound.
            info: Of the video that they are from.
        """
        with VideoWriter(
            path,
            width=info.width,
            height=info.height,
            fps=info.fps,
            audio=waveform,
            matrix=info.matrix,
            **self._options(colour=True),
        ) as writer:
            for picture, time_s in pictures:
                writer.write(picture, time_s)

    def _options(self, *, colour: bool) -> dict[str, Any]:
        """What `VideoWriter` is told."""
        if self.crf is None:
            return {"codec": "ffv1-colour" if colour else "ffv1"}
        return {"codec": "h264", "crf": self.crf}


LOSSLESS = Codec(crf=None)
