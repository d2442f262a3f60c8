"""Adversaries written to files and read again: what is left of them is what counts.

`LOSSLESS` keeps 8-bit pixels and int16 samples; H.264 with AAC is what videos go through. An attack
can search through a codec: it is then judged by what the real encoder and decoder make of each
iterate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks.space import Points, Space
from pushpull.detection import VideoClips, gathered
from pushpull.errors import ConfigError
from pushpull.media import (
    VideoInfo,
    VideoWriter,
    read_frames,
    read_waveform,
    write_sound,
    write_wav,
)
from pushpull.schema import Batch
from pushpull.video_attacks.pixels import Pixels, overlapping
from pushpull.video_attacks.segments import Segment

__all__ = [
    "LOSSLESS",
    "Codec",
    "CropFiles",
    "Files",
    "PixelFiles",
    "ThroughFiles",
    "write_pictures",
]

Place = tuple[slice, slice]
"""Rows and columns of a picture."""

CRF_RANGE = (0, 51)


@dataclass(frozen=True, slots=True)
class Codec:
    """What a file is written with.

    Attributes:
        crf: Quality of H.264 (lower is better) beside AAC at 96 kbit/s; None for lossless files.
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

    def options(self, *, colour: bool) -> dict[str, Any]:
        """What `VideoWriter` is told."""
        if self.crf is None:
            return {"codec": "ffv1-colour" if colour else "ffv1"}
        return {"codec": "h264", "crf": self.crf}


LOSSLESS = Codec(crf=None)


class Files:
    """How the adversaries of a segment become files, and how these are read.

    Args:
        clips: The video.
        segment: The segment.
    """

    def __init__(self, clips: VideoClips, segment: Segment) -> None:
        self.clips, self.segment = clips, segment

    def write(self, points: Points, folder: Path, codec: Codec) -> list[Path]:
        """Write what the points stand for; clean inputs where there are none."""
        raise NotImplementedError

    def read(self, paths: list[Path]) -> Batch:
        """The batch that a detector sees of the files."""
        raise NotImplementedError

    def patches(
        self, points: Points, frame: int, luma: NDArray[Any]
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Windows of a picture (H, W) of the video with their new values, before any rounding.

        Each is asked for after the one before was put in: windows may overlap.
        """
        raise NotImplementedError

    def paint(self, points: Points, frame: int, luma: NDArray[np.uint8]) -> None:
        """Put what was changed of the faces into a picture (H, W) of the video, rounded."""
        for here, values in self.patches(points, frame, luma):
            luma[here] = np.clip(np.rint(values), 0, 255).astype(np.uint8)

    def change(self, points: Points, frame: int, luma: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What was changed of a clean picture (H, W) of the video, before any rounding."""
        moved = luma.astype(np.float32)
        for here, values in self.patches(points, frame, moved):
            moved[here] = values
        return moved - luma

    def again(self, points: Points, codec: Codec) -> Batch:
        """Written and read."""
        with tempfile.TemporaryDirectory(prefix="pushpull-") as folder:
            return self.read(self.write(points, Path(folder), codec))

    def _sound(self, points: Points) -> NDArray[np.float32]:
        """Sound of the segment (S,)."""
        waveform = points.get("audio", self.segment.sound.waveform)
        samples: NDArray[np.float32] = waveform[0].detach().float().cpu().numpy()
        return samples

    def _batch(self, waveform: NDArray[np.float32], faces: list[NDArray[np.uint8]]) -> Batch:
        """The clean batch with a sound of the segment and faces (T, 112, 112) of each clip."""
        clean = self.segment.batch
        heard, seen = torch.zeros_like(clean.waveform), torch.zeros_like(clean.faces)
        for i, (start, n) in enumerate(
            zip(self.segment.sound.starts.tolist(), clean.n_samples.tolist(), strict=True)
        ):
            piece = torch.from_numpy(waveform[start : start + n])
            heard[i, : len(piece)] = piece.to(heard)
            seen[i, : len(faces[i])] = torch.from_numpy(faces[i]).to(seen)
        return replace(clean, waveform=heard, faces=seen)


class CropFiles(Files):
    """One grey video for the crops of each track, and one file for the sound."""

    def write(self, points: Points, folder: Path, codec: Codec) -> list[Path]:
        """`sound` first, then `track-N` in order."""
        paths = [folder / f"sound{codec.sound_suffix}"]
        if codec.crf is None:
            write_wav(paths[0], self._sound(points), sample_format="int16")
        else:
            write_sound(paths[0], self._sound(points))
        faces = points.get("visual", self.segment.batch.faces)
        lengths, rates = self.segment.batch.n_frames.tolist(), self.segment.batch.fps.tolist()
        for i, track in enumerate(self.segment.tracks):
            number = self.clips.footage.tracks[track].track_id
            paths.append(folder / f"track-{number}{codec.video_suffix}")
            write_faces(paths[-1], faces[i, : lengths[i]], rates[i], codec)
        return paths

    def patches(
        self, points: Points, frame: int, luma: NDArray[Any]
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """The change of each crop, brought to the size of its window; only to be looked at."""
        import cv2

        if "visual" not in points:
            return
        for i, number in enumerate(self.segment.tracks):
            track = self.clips.footage.tracks[number]
            t = frame - int(track.frames[0])
            if not 0 <= t < len(track):
                continue
            at = int(self.clips.grids[number].grid_of_frame[t])
            change = points["visual"][i, at] - self.segment.batch.faces[i, at].to(points["visual"])
            window = self.clips.window.windows(track.boxes[t : t + 1])[0].round().astype(int)
            x1, y1, x2, y2 = window.tolist()
            sides = (max(1, y2 - y1), max(1, x2 - x1))
            here, there = overlapping((y1, x1), sides, luma.shape)
            wide = cv2.resize(change.detach().float().cpu().numpy(), sides[::-1])
            yield here, luma[here] + wide[there]

    def read(self, paths: list[Path]) -> Batch:
        """Sound and crops as they are."""
        faces = [np.stack([frame.gray() for frame in read_frames(path)]) for path in paths[1:]]
        return self._batch(read_waveform(paths[0]), faces)


class PixelFiles(Files):
    """The video itself, from the first to the last frame of the segment.

    Args:
        clips: The video.
        segment: The segment.
        pixels: Pixels that are moved.
    """

    def __init__(self, clips: VideoClips, segment: Segment, pixels: Pixels) -> None:
        super().__init__(clips, segment)
        self.pixels = pixels
        tracks = [clips.footage.tracks[i] for i in segment.tracks]
        self.first = min(int(track.frames[0]) for track in tracks)
        self.last = max(int(track.frames[-1]) for track in tracks)
        self.start_s = min(float(track.timestamps_s[0]) for track in tracks)

    def write(self, points: Points, folder: Path, codec: Codec) -> list[Path]:
        """One video."""
        path = folder / f"video{codec.video_suffix}"
        pictures = self._pictures(points)
        write_pictures(path, pictures, self.clips.footage.info, self._sound(points), codec)
        return [path]

    def _pictures(self, points: Points) -> Iterator[tuple[NDArray[np.uint8], float]]:
        footage = self.clips.footage
        for frame in read_frames(footage.path, part=footage.part, on_damage=lambda line: None):
            if frame.index < self.first:
                continue
            if frame.index > self.last:
                return
            picture = frame.ycc()
            self.paint(points, frame.index, picture[0])
            yield picture, frame.time_s - self.start_s

    def patches(
        self, points: Points, frame: int, luma: NDArray[Any]
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """The pixels that are moved."""
        if "visual" not in points:
            return
        for i, number in enumerate(self.segment.tracks):
            t = frame - int(self.clips.footage.tracks[number].frames[0])
            if not 0 <= t < int(self.pixels.n_frames[i]):
                continue
            here, there = self.pixels.place(i, t, luma.shape)
            new = points["visual"][i, t].detach().float().cpu().numpy()
            inside = self.pixels.inside[i, t].numpy()
            yield here, np.where(inside[there], new[there], luma[here])

    def read(self, paths: list[Path]) -> Batch:
        """Crops of the known boxes."""
        tracks = [
            replace(track, frames=track.frames - self.first)
            for track in (self.clips.footage.tracks[i] for i in self.segment.tracks)
        ]
        faces = gathered(read_frames(paths[0]), tracks, self.clips.window)
        grids = [self.clips.grids[i].frame_of_grid for i in self.segment.tracks]
        return self._batch(
            read_waveform(paths[0]), [f[grid] for f, grid in zip(faces, grids, strict=True)]
        )


class ThroughFiles:
    """A space seen through files: what the detector gets was written, encoded and read again.

    The points stay what goes into the file, and are what budgets hold for. Encoders have no
    gradient: it is taken halfway between what goes in and what comes out, as if they changed
    nothing. At what comes out alone, bands of the sound that AAC has emptied have the largest
    gradients and the least use (measured on a real clip through crf 10, eps_av 20, 8 steps of BIM:
    mean margin -0.4 there, -0.7 at what goes in, -1.5 halfway).
    """

    def __init__(self, space: Space, files: Files, codec: Codec) -> None:
        self._space, self._files, self._codec = space, files, codec
        self.clean, self.regions = space.clean, space.regions
        self.row_groups, self.clip_groups = space.row_groups, space.clip_groups
        self._last: tuple[Points, Batch] | None = None

    def to_batch(self, points: Points) -> Batch:
        """What comes back from the files."""
        if self._last is not None and _same(self._last[0], points):
            return self._last[1]
        with torch.no_grad():
            back = self._files.again(points, self._codec)
        # A search asks for the gradient at a point and then for its score.
        self._last = ({name: x.detach().clone() for name, x in points.items()}, back)
        return back

    def smooth(self, points: Points) -> Batch:
        """Halfway to the files; its gradient is that of what went in."""
        went_in, back = self._space.to_batch(points), self.to_batch(points)
        return replace(
            went_in,
            waveform=_halfway(went_in.waveform, back.waveform),
            faces=_halfway(went_in.faces, back.faces),
        )


def write_pictures(
    path: Path,
    pictures: Iterable[tuple[NDArray[np.uint8], float]],
    info: VideoInfo,
    waveform: NDArray[np.float32],
    codec: Codec,
) -> None:
    """Luma and colour (3, H, W) with their times, and a sound (S,), as a video."""
    with VideoWriter(
        path,
        width=info.width,
        height=info.height,
        fps=info.fps,
        audio=waveform,
        matrix=info.matrix,
        **codec.options(colour=True),
    ) as writer:
        for picture, time_s in pictures:
            writer.write(picture, time_s)


def write_faces(path: Path, faces: Tensor, fps: float, codec: Codec) -> None:
    """Crops (T, 112, 112) as a grey video, rounded."""
    height, width = faces.shape[1:]
    with VideoWriter(
        path, width=width, height=height, fps=fps, **codec.options(colour=False)
    ) as writer:
        for face in faces.detach().round().byte().cpu().numpy():
            writer.write(face)


def _halfway(x: Tensor, value: Tensor) -> Tensor:
    return x + 0.5 * (value - x).detach()


def _same(a: Points, b: Points) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
