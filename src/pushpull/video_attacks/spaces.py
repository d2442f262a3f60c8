"""The two spaces of an attack on a video: the crops that a detector sees, or the video's pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.attacks.space import Points, Space
from pushpull.attacks.threat import Threat
from pushpull.detection import VideoClips, gathered
from pushpull.media import read_frames, read_waveform
from pushpull.schema import Batch
from pushpull.video_attacks.codec import Codec
from pushpull.video_attacks.pixels import (
    Pixels,
    PixelSpace,
    frames_with_faces,
    overlapping,
    read_pixels,
)
from pushpull.video_attacks.segments import Place, Segment

__all__ = ["SPACES", "CropSegment", "FrameSegment"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropSegment(Segment):
    """Crops are moved, as in Push-Pull; files are a grey video for each track, and the sound.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.codec import LOSSLESS
        >>> from pushpull.video_attacks.spaces import CropSegment
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> segment = CropSegment.of(clips)
        >>> paths = segment.write({}, Path("."), LOSSLESS)  # nothing was moved
        >>> [path.name for path in paths]
        ['sound.wav', 'track-0.mkv']
        >>> torch.equal(segment.read(paths).faces, segment.batch.faces)
        True
    """

    @classmethod
    def of(cls, clips: VideoClips) -> CropSegment:
        """From all faces of a video that hear each other's sound."""
        return cls(clips=clips, batch=_batch(clips))

    def space(self, batch: Batch, threat: Threat) -> Space:
        """The crops of each face and the sound of the segment."""
        return self.sound(batch, threat)

    def write(self, points: Points, folder: Path, codec: Codec) -> list[Path]:
        """`sound` first, then `track-N` in order."""
        paths = [folder / f"sound{codec.sound_suffix}"]
        codec.write_sound(paths[0], self.heard(points))
        faces = points.get("visual", self.batch.faces)
        lengths, rates = self.batch.n_frames.tolist(), self.batch.fps.tolist()
        for i, track in enumerate(self.clips.tracks):
            paths.append(folder / f"track-{track.track_id}{codec.video_suffix}")
            codec.write_faces(paths[-1], faces[i, : lengths[i]], rates[i])
        return paths

    def read(self, paths: list[Path]) -> Batch:
        """Sound and crops as they are."""
        faces = [np.stack([frame.gray() for frame in read_frames(path)]) for path in paths[1:]]
        return self.seen(read_waveform(paths[0]), faces)

    def patches(
        self, points: Points, frame: int, luma: NDArray[Any]
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """The change of each crop, brought to the size of its window; only to be looked at."""
        import cv2

        if "visual" not in points:
            return
        for i, (track, grid) in enumerate(zip(self.clips.tracks, self.clips.grids, strict=True)):
            t = frame - int(track.frames[0])
            if not 0 <= t < len(track):
                continue
            at = int(grid.grid_of_frame[t])
            change = points["visual"][i, at] - self.batch.faces[i, at].to(points["visual"])
            window = self.clips.window.windows(track.boxes[t : t + 1])[0].round().astype(int)
            x1, y1, x2, y2 = window.tolist()
            sides = (max(1, y2 - y1), max(1, x2 - x1))
            here, there = overlapping((y1, x1), sides, luma.shape)
            wide = cv2.resize(change.detach().float().cpu().numpy(), sides[::-1])
            yield here, luma[here] + wide[there]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameSegment(Segment):
    """Pixels of the video are moved; the file is the video, from its first face to its last.

    Attributes:
        pixels: What is moved.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.codec import LOSSLESS
        >>> from pushpull.video_attacks.spaces import FrameSegment
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> segment = FrameSegment.of(clips)
        >>> paths = segment.write({}, Path("."), LOSSLESS)  # nothing was moved
        >>> [path.name for path in paths]
        ['video.mkv']
        >>> torch.equal(segment.read(paths).faces, segment.batch.faces)
        True
    """

    pixels: Pixels

    @classmethod
    def of(cls, clips: VideoClips) -> FrameSegment:
        """From all faces of a video that hear each other's sound; the video is read again."""
        return cls(clips=clips, batch=_batch(clips), pixels=read_pixels(clips))

    def space(self, batch: Batch, threat: Threat) -> Space:
        """The pixels around each face and the sound of the segment."""
        return PixelSpace(batch, threat, self.sound, self.pixels)

    def write(self, points: Points, folder: Path, codec: Codec) -> list[Path]:
        """One video."""
        path = folder / f"video{codec.video_suffix}"
        codec.write_video(path, self._pictures(points), self.heard(points), self.clips.info)
        return [path]

    def read(self, paths: list[Path]) -> Batch:
        """Crops of the known boxes."""
        first = min(int(track.frames[0]) for track in self.clips.tracks)
        tracks = [replace(track, frames=track.frames - first) for track in self.clips.tracks]
        faces = gathered(read_frames(paths[0]), tracks, self.clips.window)
        shown = [f[g.frame_of_grid] for f, g in zip(faces, self.clips.grids, strict=True)]
        return self.seen(read_waveform(paths[0]), shown)

    def patches(
        self, points: Points, frame: int, luma: NDArray[Any]
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """The pixels that are moved."""
        if "visual" not in points:
            return
        for i, track in enumerate(self.clips.tracks):
            t = frame - int(track.frames[0])
            if not 0 <= t < len(track):
                continue
            here, there = self.pixels.place(i, t, luma.shape)
            new = points["visual"][i, t].detach().float().cpu().numpy()
            inside = self.pixels.inside[i, t].numpy()
            yield here, np.where(inside[there], new[there], luma[here])

    def _pictures(self, points: Points) -> Iterator[tuple[NDArray[np.uint8], float]]:
        start_s = min(float(track.timestamps_s[0]) for track in self.clips.tracks)
        for frame in frames_with_faces(self.clips):
            picture = frame.ycc()
            self.paint(points, frame.index, picture[0])
            yield picture, frame.time_s - start_s


SPACES: Mapping[str, Callable[[VideoClips], Segment]] = {
    "crop": CropSegment.of,
    "frame": FrameSegment.of,
}
"""What makes a segment of faces, by the name of what is moved in it."""


def _batch(clips: VideoClips) -> Batch:
    return Batch.from_clips([clips.clip(i) for i in range(len(clips.tracks))])
