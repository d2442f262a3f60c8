"""The pixels of a video as the tensor that an attack moves.

Crops are a linear function of the picture: sampled between pixels and averaged over areas, as
`crop_faces` does. So the change of a crop is the same function of the change of the pixels, and
gradients reach them. Boxes are held fixed. A pixel that two faces share belongs to the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks import Soundtracks
from pushpull.attacks.space import Points, VideoSpace
from pushpull.attacks.threat import Region, Threat
from pushpull.detection import VideoClips
from pushpull.media import Frame, Part, read_frames
from pushpull.schema import FACE_SIZE, Batch

BLOCK_FRAMES = 16
"""Frames whose pixels become crops at once."""

__all__ = [
    "PixelSpace",
    "Pixels",
    "frames_with_faces",
    "overlapping",
    "read_pixels",
    "sampling_weights",
]


def sampling_weights(
    low: float, high: float, shrink: int, origin: int, size: int
) -> NDArray[np.float32]:
    """How one side of a crop is made of pixels: (112, size) for pixels origin..origin + size.

    Args:
        low: Edge of the window.
        high: Other edge.
        shrink: How many samples are averaged to one pixel of the crop.
        origin: First pixel.
        size: Pixels.

    Examples:
        >>> from pushpull.video_attacks.pixels import sampling_weights
        >>> weights = sampling_weights(10.0, 234.0, shrink=2, origin=9, size=226)
        >>> weights.shape, weights[0, :4]  # the first of 112: mean of pixels 10 and 11
        ((112, 226), array([0. , 0.5, 0.5, 0. ], dtype=float32))
    """
    fine = FACE_SIZE * shrink
    step = (high - low) / fine
    place = low + step * (np.arange(fine) + 0.5) - 0.5 - origin
    left = np.floor(place).astype(int)
    share = place - left
    weights = np.zeros((fine, size), np.float32)
    rows = np.arange(fine)
    for column, weight in ((left, 1 - share), (left + 1, share)):
        inside = (column >= 0) & (column < size)
        weights[rows[inside], column[inside]] += weight[inside]
    mean: NDArray[np.float32] = weights.reshape(FACE_SIZE, shrink, size).mean(1)
    return mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pixels:
    """The part of the picture around each face, for each frame of its track.

    Attributes:
        luma: Grey levels (B, N, h, w) float32, zeros behind a track's last frame.
        inside: True where a pixel lies in the picture and belongs to this face.
        n_frames: Frames of each track (B,).
        origins: First row and column of each part (B, N, 2).
        rows: Sampling weights (B, N, 112, h).
        columns: Sampling weights (B, N, 112, w).
        frame_of_grid: Track frame that each grid frame shows (B, T).

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.pixels import read_pixels
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> pixels = read_pixels(clips)
        >>> change = pixels.crops_of(torch.full_like(pixels.luma, 2.0))  # 2 levels brighter
        >>> change.shape, float(change[0, 0, 56, 56])
        (torch.Size([1, 10, 112, 112]), 2.0)
    """

    luma: Tensor
    inside: Tensor
    n_frames: Tensor
    origins: NDArray[np.int64]
    rows: Tensor
    columns: Tensor
    frame_of_grid: Tensor

    def crops_of(self, change: Tensor) -> Tensor:
        """Change of the crops on the grid (B, T, 112, 112) for one of the pixels (B, N, h, w)."""
        crops: Tensor = _Cut.apply(change, self)  # type: ignore[no-untyped-call]
        index = self.frame_of_grid[..., None, None].expand(-1, -1, FACE_SIZE, FACE_SIZE)
        return crops.gather(1, index)

    @property
    def blocks(self) -> Iterator[tuple[int, slice]]:
        """Clip and frames of parts that are cut at once."""
        b, n = self.luma.shape[:2]
        for clip in range(b):
            for first in range(0, n, BLOCK_FRAMES):
                yield clip, slice(first, first + BLOCK_FRAMES)

    def to(self, device: torch.device) -> Pixels:
        """The tensors on a device."""
        names = ("luma", "inside", "rows", "columns", "n_frames", "frame_of_grid")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def place(
        self, clip: int, frame: int, picture: tuple[int, ...]
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the part of one frame lies in a picture (H, W): there, and in the part."""
        y, x = self.origins[clip, frame].tolist()
        return overlapping((y, x), self.luma.shape[2:], picture)


class _Cut(torch.autograd.Function):
    """Change of the crops of all frames for one of the pixels; being linear it keeps nothing.

    Block by block, since a picture has some ten times the pixels of a crop, and what lies between
    is as large.
    """

    @staticmethod
    def forward(ctx: Any, change: Tensor, pixels: Pixels) -> Tensor:
        ctx.pixels = pixels
        crops = change.new_empty(*change.shape[:2], FACE_SIZE, FACE_SIZE)
        for at in pixels.blocks:
            moved = change[at] * pixels.inside[at]
            crops[at] = pixels.rows[at] @ moved @ pixels.columns[at].mT
        return crops

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        pixels = ctx.pixels
        found = grad.new_empty(pixels.luma.shape)
        for at in pixels.blocks:
            moved = pixels.rows[at].mT @ (grad[at] @ pixels.columns[at])
            torch.mul(moved, pixels.inside[at], out=found[at])
        return found, None


def read_pixels(clips: VideoClips) -> Pixels:
    """Cut the pixels around all faces out of their video.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.pixels import read_pixels
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> pixels = read_pixels(clips)
        >>> pixels.n_frames, pixels.luma.shape[:2], pixels.rows.shape[2]
        (tensor([10]), torch.Size([1, 10]), 112)
    """
    tracks = clips.tracks
    windows = [clips.window.windows(track.boxes) for track in tracks]
    origins = [np.floor(w[:, [1, 0]]).astype(np.int64) - 1 for w in windows]
    sides = np.concatenate([w[:, [3, 2]] - w[:, [1, 0]] for w in windows]).max(0)
    height, width = (int(np.ceil(side)) + 3 for side in sides)
    b, n = len(tracks), max(len(track) for track in tracks)
    luma = np.zeros((b, n, height, width), np.uint8)
    inside = np.zeros((b, n, height, width), bool)
    rows = np.zeros((b, n, FACE_SIZE, height), np.float32)
    columns = np.zeros((b, n, FACE_SIZE, width), np.float32)
    placed = np.zeros((b, n, 2), np.int64)
    for frame in frames_with_faces(clips):
        picture = frame.gray()
        taken = np.zeros(picture.shape, bool)
        for i, track in enumerate(tracks):
            t = frame.index - int(track.frames[0])
            if not 0 <= t < len(track):
                continue
            y, x = placed[i, t] = origins[i][t]
            here, there = overlapping((y, x), (height, width), picture.shape)
            luma[i, t][there] = picture[here]
            inside[i, t][there] = ~taken[here]
            taken[here] = True
            x1, y1, x2, y2 = windows[i][t]
            shrink = max(1, int(np.ceil(max(x2 - x1, y2 - y1) / FACE_SIZE)))
            rows[i, t] = sampling_weights(y1, y2, shrink, int(y), height)
            columns[i, t] = sampling_weights(x1, x2, shrink, int(x), width)
    grids = [grid.frame_of_grid for grid in clips.grids]
    longest = max(len(grid) for grid in grids)
    return Pixels(
        luma=torch.from_numpy(luma).float(),
        inside=torch.from_numpy(inside),
        n_frames=torch.tensor([len(track) for track in tracks]),
        origins=placed,
        rows=torch.from_numpy(rows),
        columns=torch.from_numpy(columns),
        frame_of_grid=torch.tensor(
            np.stack([np.pad(grid, (0, longest - len(grid)), mode="edge") for grid in grids])
        ),
    )


def frames_with_faces(clips: VideoClips) -> Iterator[Frame]:
    """The frames of a video from its first face to its last; what is before is not decoded.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.pixels import frames_with_faces
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> [frame.index for frame in frames_with_faces(clips)] == list(range(10))
        True
    """
    first_s = min(float(track.timestamps_s[0]) for track in clips.tracks)
    last_s = max(float(track.timestamps_s[-1]) for track in clips.tracks)
    end_s = math.nextafter(last_s, math.inf)
    here = Part(max(clips.part.start_s, first_s), end_s)
    size = (clips.info.width, clips.info.height)
    for frame in read_frames(clips.path, part=here, on_damage=lambda line: None):
        if (frame.width, frame.height) != size:
            # Pictures are scaled to the first: it has to be the one that faces were found in.
            break
        yield frame
    else:
        return
    whole = replace(clips.part, end_s=end_s)
    for frame in read_frames(clips.path, part=whole, on_damage=lambda line: None):
        if frame.time_s >= first_s:
            yield frame


class PixelSpace:
    """The pixels around each face and the sound that all of them hear.

    Examples:
        >>> from pushpull.attacks.threat import Threat
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.detection.clips import CROPS
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.pixels import PixelSpace
        >>> from pushpull.video_attacks.spaces import FrameSegment
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), CROPS["ava"])
        >>> segment = FrameSegment.of(clips)
        >>> space = PixelSpace(segment.batch, Threat.of(5), segment.sound, segment.pixels)
        >>> points = {"visual": space.regions["visual"].clean + 0.5}
        >>> moved = space.to_batch(points).faces - space.clean.faces
        >>> list(space.regions), float(moved[0, 0, 56, 56])
        (['audio', 'visual'], 0.5)
    """

    def __init__(self, batch: Batch, threat: Threat, sound: Soundtracks, pixels: Pixels) -> None:
        heard = {name: ball for name, ball in threat.balls.items() if name == "audio"}
        self._sound = VideoSpace(batch, Threat(balls=heard), sound)
        self._pixels = pixels = pixels.to(batch.faces.device)
        self.clean = batch
        self.regions = dict(self._sound.regions)
        self.row_groups = dict(self._sound.row_groups)
        self.clip_groups = self._sound.clip_groups
        if "visual" in threat.balls:
            ball = threat.balls["visual"]
            self.regions["visual"] = Region("visual", pixels.luma, pixels.n_frames, ball)
            self.row_groups["visual"] = self.clip_groups

    def to_batch(self, points: Points) -> Batch:
        """Each clip with its part of the sound and its faces cut from the pixels."""
        batch = self._sound.to_batch({k: v for k, v in points.items() if k == "audio"})
        if "visual" not in points:
            return batch
        change = self._pixels.crops_of(points["visual"] - self._pixels.luma)
        return replace(batch, faces=(self.clean.faces + change).clamp(0.0, 255.0))

    def smooth(self, points: Points) -> Batch | None:
        """None."""
        return None


def overlapping(
    origin: tuple[int, int], size: tuple[int, ...], picture: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a rectangle that lies in the picture: in the picture, and in the rectangle.

    Examples:
        >>> from pushpull.video_attacks.pixels import overlapping
        >>> here, there = overlapping((-2, 5), (4, 4), picture=(6, 8))
        >>> here  # rows and columns in the picture
        (slice(0, 2, None), slice(5, 8, None))
        >>> there  # the same, in the rectangle
        (slice(2, 4, None), slice(0, 3, None))
    """
    here, there = [], []
    for low, length, whole in zip(origin, size, picture, strict=True):
        first, stop = min(max(low, 0), whole), min(max(low + length, 0), whole)
        here.append(slice(first, stop))
        there.append(slice(first - low, stop - low))
    return (here[0], here[1]), (there[0], there[1])
