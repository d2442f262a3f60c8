"""A video changed so that the face finder before the detector loses faces, or finds one too many.

A detector never sees a face that was not found. What is changed, the luma of pixels around faces,
is found with the gradients of one face finder's network, YuNet's, at the scales at which face
finders look and at random places of its grids; what it is worth is measured on the written files,
by any face finder and the tracker behind it, as `detect` runs them. A pattern stays the same over
many frames, and moves with its face: it is found from a few of them, and H.264 keeps more of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pushpull.detection import Stopwatch
from pushpull.detection.face_finders import choose_face_finder, overlap
from pushpull.detection.face_finders.finder import FINEST_FACE_PX, SMALLEST_FACE_PX
from pushpull.detection.face_finders.scaled import (
    COARSE_SIDE_PX,
    FINE_FACE_PX,
    LARGEST_PIXELS,
    NEAR_FACE_PX,
)
from pushpull.detection.tracking import find_tracks
from pushpull.errors import ConfigError, MediaError, UnknownName
from pushpull.media import WHOLE, Frame, Part, VideoInfo, VideoWriter, probe, read_frames
from pushpull.metrics.imperceptibility import ssim
from pushpull.runtime.files import readable
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import write_json
from pushpull.schema import Track
from pushpull.video_attacks.codec import LOSSLESS, Codec
from pushpull.video_attacks.face_network import STRIDE_PX, FaceNetwork, face_network

__all__ = [
    "GOALS",
    "HIDDEN_FILES",
    "FoundFaces",
    "HiddenFaces",
    "faces_in",
    "found_again",
    "hide_faces",
    "hiding_origin",
]

GOALS = ("hide", "invent")
"""What is wanted: that faces are lost, or that one is found where there is none."""

WAYS = {"lossless": "hidden.mkv", "h264": "hidden.mp4"}
HIDDEN_FILES = (*WAYS.values(), "results.json")
"""Files that are written for each video."""
SAME = 0.5
"""Overlap from which two boxes are of one face."""
HIDDEN, SEEN = -3.0, 3.0
"""Log-odds of scores that are wanted: face finders take 0.5 or more for a face, log-odds 0."""
PATCH_HEIGHTS = 2.2
"""Side of what is changed around a face, in its heights: what is looked at near a known face."""
MOST_STEPS = 10_000
AT_ONCE_PX = 40_000_000
MOST_AT_ONCE = 50
"""Pixels and frames that are changed at once."""
LOOKED_AT = 3
"""Frames of them that a gradient is of."""
CONTENT = 5
"""Looks in a row at which nothing is wanted any more, until a search ends."""
STANDING_HEIGHTS = 0.04
"""A pattern stays where it is until its face has moved by so many of its heights."""
LARGEST_SEEN_PX = 640
SIZES_JITTER = 0.05
DECAY = 0.9
INVENTED_PLACES, NEATNESS = 5, 2.0
"""Of the network that are to see an invented face, and what it costs them to see it elsewhere."""
INVENTED_HEIGHTS = (0.15, 0.45)
"""Of an invented face, in heights of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFaces:
    """What a face finder and the tracker find in a file, against the faces of the clean video.

    Attributes:
        faces: Tracks.
        known: Frames of clean tracks, summed over faces, in which the face is found again.
        others: Frames of tracks where the clean video has no face.

    Examples:
        >>> from pushpull.video_attacks.hiding import FoundFaces
        >>> FoundFaces(faces=1, known=10, others=0).as_dict(of=40)["share"]
        0.25
    """

    faces: int
    known: int
    others: int

    def as_dict(self, *, of: int) -> dict[str, Any]:
        """Plain values for JSON; `share` is that of the clean face's frames."""
        return {
            "faces": self.faces,
            "frames": self.known,
            "share": self.known / max(of, 1),
            "frames_elsewhere": self.others,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HiddenFaces:
    """A video whose faces are hidden, and what is still found in its files.

    Attributes:
        name: Of the video in outputs.
        tracks: Faces of the clean video.
        found: What is found again in each file, by "lossless" and "h264".
        linf: Largest change of a pixel's luma in the lossless file, in grey levels.
        changed: Share of the picture's pixels that are changed.
        psnr_db: Of what lies under the boxes of the faces, lossless file; infinite if unchanged.
        ssim: Mean structural similarity of luma, whole pictures, lossless file.
        settings: Everything that was asked for.
        seconds: Wall time by stage.
        outputs: Files by name.

    Examples:
        >>> from pushpull.detection.face_finders import YuNet
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks import hide_faces
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> if YuNet.is_here():
        ...     found = hide_faces("talk.mp4", "out", levels=16, steps=6, face_finder="yunet")
        ...     assert found.linf <= 16 and found.found["lossless"].known < found.frames == 10
    """

    name: str
    tracks: tuple[Track, ...]
    found: Mapping[str, FoundFaces]
    linf: int
    changed: float
    psnr_db: float
    ssim: float
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    outputs: Mapping[str, Path]

    @property
    def frames(self) -> int:
        """Frames of all faces of the clean video."""
        return sum(len(track) for track in self.tracks)

    def as_dict(self) -> dict[str, Any]:
        """Everything measured, as plain values for JSON."""
        return {
            "name": self.name,
            "settings": dict(self.settings),
            "clean": {"faces": len(self.tracks), "frames": self.frames},
            **{way: found.as_dict(of=self.frames) for way, found in self.found.items()},
            "change": {
                "linf": self.linf,
                "pixels": self.changed,
                "psnr_db": self.psnr_db if math.isfinite(self.psnr_db) else None,
                "ssim": self.ssim,
            },
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "outputs": {name: str(path) for name, path in self.outputs.items()},
        }


def hide_faces(
    video: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    levels: int = 8,
    steps: int = 150,
    goal: str = "hide",
    crf: int = 23,
    face_finder: str = "auto",
    name: str | None = None,
    part: Part = WHOLE,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> HiddenFaces:
    """Write a video in which faces are no longer found, and measure what is found in it.

    Writes OUT/NAME/hidden.mkv (lossless), hidden.mp4 (H.264) and results.json; both videos have the
    sound of the original.

    Args:
        video: Any video that PyAV reads.
        out: Folder of results.
        levels: Grey levels by which the luma of a pixel may change.
        steps: Gradients of each pattern, of which there is one for each face and some seconds.
        goal: One of `GOALS`.
        crf: Quality of H.264, from 0 (best) to 51.
        face_finder: Who looks for faces before and after; as for `detect`.
        name: Name of the video in outputs; the file name without suffix by default.
        part: Which part of the video; what is written begins with it.
        seed: Of the places and sizes at which pictures are looked at.
        overwrite: Whether files of any other making may be replaced.
        progress: Called with stage, frames done and frames expected.

    Raises:
        MediaError: If the video cannot be read, or shows no face that could be hidden.
        ConfigError: If a setting cannot be.
        UnknownName: If there is no such goal or face finder.
        CheckpointError: If YuNet's model is not here and cannot be fetched.
        OutputError: If a file cannot be written or may not be replaced.

    Examples:
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks import hide_faces
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> hide_faces("talk.mp4", "out", levels=0)
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: levels is 0; expected a whole number, 1 to 255
    """
    origin = hiding_origin(
        video,
        levels=levels,
        steps=steps,
        goal=goal,
        crf=crf,
        face_finder=face_finder,
        name=name,
        part=part,
        seed=seed,
    )
    path, codec, clock = Path(video), Codec(crf=crf), Stopwatch()
    named = origin.settings["name"]
    outputs = Outputs(folder=Path(out) / named, origin=origin, inputs=(path,), overwrite=overwrite)
    outputs.check(HIDDEN_FILES)
    info = probe(path)
    with clock("load"):
        network = face_network()
        chosen = choose_face_finder(face_finder)
    with clock("faces"):
        tracks = faces_in(path, chosen.finder.name, part=part)
        if goal == "hide" and not tracks:
            raise MediaError(f"{path}: no face was found by {chosen.finder.name}; nothing to hide")
    with outputs.writing(HIDDEN_FILES) as paths:
        search = _Search(network, info, levels, steps, goal, torch.Generator().manual_seed(seed))
        with clock("search"), _writer(paths[WAYS["lossless"]], LOSSLESS, path, info, part) as file:
            pictures = search.pictures(read_frames(path, part=part), tracks)
            for n, (frame, picture) in enumerate(pictures):
                file.write(picture, frame.time_s - part.start_s)
                progress("search", n + 1, info.n_frames if part == WHOLE else None)
        lossless = paths[WAYS["lossless"]]
        with clock("files"), _writer(paths[WAYS["h264"]], codec, path, info, part) as file:
            for frame in read_frames(lossless):
                file.write(frame.ycc(), frame.time_s)
        with clock("measure"):
            change = _change(path, lossless, tracks, part)
            found = {
                way: found_again(paths[file], tracks, chosen.finder.name)
                for way, file in WAYS.items()
            }
        result = HiddenFaces(
            name=named,
            tracks=tracks,
            found=found,
            **change,
            settings={
                **origin.settings,
                "video": readable(str(path)),
                "face_finder": chosen.finder.name,
            },
            seconds=clock.seconds,
            outputs={one: outputs.folder / one for one in HIDDEN_FILES},
        )
        write_json(paths["results.json"], result.as_dict(), kind="face-hiding")
    return result


def hiding_origin(
    video: str | os.PathLike[str],
    *,
    levels: int = 8,
    steps: int = 150,
    goal: str = "hide",
    crf: int = 23,
    face_finder: str = "auto",
    name: str | None = None,
    part: Part = WHOLE,
    seed: int = 0,
) -> Origin:
    """What decides the files of `hide_faces`, before they are made; arguments as for that.

    Raises:
        ConfigError: If a setting cannot be.
        UnknownName: If there is no such goal.

    Examples:
        >>> from pushpull.video_attacks import hiding_origin
        >>> hiding_origin("talk.mp4", levels=4).settings["levels"]
        4
    """
    for said, value, most in (("levels", levels, 255), ("steps", steps, MOST_STEPS)):
        if value != int(value) or not 1 <= value <= most:
            raise ConfigError(f"{said} is {value}; expected a whole number, 1 to {most}")
    if goal not in GOALS:
        raise UnknownName("goal", goal, GOALS)
    path, codec = Path(video), Codec(crf=crf)
    return Origin(
        command="hide-faces",
        inputs=(path,),
        settings={
            "name": readable(path.stem if name is None else name),
            "levels": levels,
            "steps": steps,
            "goal": goal,
            "crf": codec.crf,
            "face_finder": face_finder,
            "part_s": None if part == WHOLE else [part.start_s, part.end_s],
            "seed": seed,
        },
    )


def faces_in(
    video: str | os.PathLike[str], face_finder: str = "auto", *, part: Part = WHOLE
) -> tuple[Track, ...]:
    """The faces of a video as `detect` finds and follows them; frames count from the first read.

    Examples:
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.hiding import faces_in
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> [len(track) for track in faces_in("talk.mp4", "dlib")]
        [10]
    """
    finder = choose_face_finder(face_finder).finder
    frames = read_frames(video, part=part, on_damage=lambda line: None)
    numbered = (replace(frame, index=number) for number, frame in enumerate(frames))
    return tuple(find_tracks(numbered, finder))


def found_again(
    video: str | os.PathLike[str], tracks: Sequence[Track], face_finder: str = "auto"
) -> FoundFaces:
    """Which frames of known faces a face finder and the tracker find in a written video.

    Args:
        video: Has the frames that the tracks are of.
        tracks: Faces of the clean video, as `faces_in` gives them.
        face_finder: As for `detect`.

    Examples:
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.hiding import faces_in, found_again
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found_again("talk.mp4", faces_in("talk.mp4", "dlib"), "dlib")
        FoundFaces(faces=1, known=10, others=0)
    """
    found = faces_in(video, face_finder)
    there = _boxes_by_frame(found)
    here = _boxes_by_frame(tracks)
    none = np.zeros((0, 4))
    return FoundFaces(
        faces=len(found),
        known=_overlapping(here, there, none),
        others=sum(map(len, there.values())) - _overlapping(there, here, none),
    )


def _overlapping(
    boxes: Mapping[int, NDArray[np.float64]],
    others: Mapping[int, NDArray[np.float64]],
    none: NDArray[np.float64],
) -> int:
    """How many boxes lie on one of the others in the same frame."""
    return sum(
        bool(len(rest) and overlap(box, rest).max() >= SAME)
        for frame, of in boxes.items()
        for rest in (others.get(frame, none),)
        for box in of
    )


def _boxes_by_frame(tracks: Iterable[Track]) -> dict[int, NDArray[np.float64]]:
    found: dict[int, list[NDArray[np.float64]]] = {}
    for track in tracks:
        for frame, box in zip(track.frames.tolist(), track.boxes, strict=True):
            found.setdefault(frame, []).append(box)
    return {frame: np.array(boxes) for frame, boxes in found.items()}


def _writer(path: Path, codec: Codec, source: Path, info: VideoInfo, part: Part) -> VideoWriter:
    """A file with the sound of the original."""
    size: dict[str, Any] = {"width": info.width, "height": info.height, "fps": info.fps}
    sound: dict[str, Any] = {"audio": source, "audio_part": part, "matrix": info.matrix}
    if codec.crf is None:
        return VideoWriter(path, **size, **sound, codec="ffv1-colour")
    return VideoWriter(path, **size, **sound, codec="h264", crf=codec.crf)


def _change(path: Path, written: Path, tracks: Sequence[Track], part: Part) -> dict[str, Any]:
    """How far the pixels of a written file are from those of the original."""
    boxes = _boxes_by_frame(tracks)
    largest, changed, pixels, squares, under = 0, 0, 0, 0.0, 0
    alike: list[float] = []
    pairs = zip(
        read_frames(path, part=part, on_damage=lambda line: None), read_frames(written), strict=True
    )
    for number, (before, after) in enumerate(pairs):
        clean, moved = before.ycc(), after.ycc()
        change = moved.astype(np.int16) - clean
        largest = max(largest, int(np.abs(change).max()))
        changed += int(np.count_nonzero(change[0]))
        pixels += change[0].size
        for x1, y1, x2, y2 in boxes.get(number, np.zeros((0, 4))).round().astype(int).tolist():
            patch = change[0, max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)].astype(np.float64)
            squares += float((patch**2).sum())
            under += patch.size
        both = [torch.from_numpy(one[0]).float()[None] for one in (clean, moved)]
        alike.append(float(ssim(*both)))
    return {
        "linf": largest,
        "changed": changed / max(pixels, 1),
        "psnr_db": 10 * math.log10(255**2 * under / squares) if squares else math.inf,
        "ssim": float(np.mean(alike)),
    }


def _log_odds(surely: Tensor) -> Tensor:
    """Of logs of scores: unlike these, they do not get flat where a face is plain."""
    odds: Tensor = surely - torch.log1p(-surely.exp().clamp(max=1 - 1e-6))
    return odds


def _standing(box: NDArray[np.float64], begin: int, n: int) -> Track:
    """A face that stays where it is, for some frames."""
    return Track(
        track_id=0,
        frames=np.arange(begin, begin + n),
        timestamps_s=np.arange(n) / 25,
        boxes=np.repeat(box[None], n, 0),
        detected=np.zeros(n, bool),
    )


@dataclass(slots=True, eq=False)
class _Pattern:
    """The change of the square around one face, the same in some frames, which moves with the face.

    `change` is (S, S) in whole levels, `height` the face's, `corners` the first row and column of
    the square by frame.
    """

    change: Tensor
    height: float
    corners: dict[int, tuple[int, int]]

    @classmethod
    def of(cls, track: Track, width: int, height: int) -> _Pattern:
        """Nothing yet, around a face in a picture of this size; squares are all inside it."""
        boxes = track.boxes
        high = float(np.max(boxes[:, 3] - boxes[:, 1]))
        side = min(math.ceil(PATCH_HEIGHTS * high), height, width)
        wanted = ((boxes[:, 1::-1] + boxes[:, :1:-1]) / 2 - side / 2).round().astype(int)
        wanted = wanted.clip(0, [height - side, width - side])
        corners, at = {}, wanted[0]
        for frame, corner in zip(track.frames.tolist(), wanted, strict=True):
            # What stands still costs an encoder little, so it is not worn away.
            at = corner if np.abs(corner - at).max() > STANDING_HEIGHTS * high else at
            corners[frame] = (int(at[0]), int(at[1]))
        return cls(torch.zeros(side, side), high, corners)

    def place(self, frame: int) -> tuple[slice, slice]:
        """Rows and columns of the square in a frame."""
        (top, left), side = self.corners[frame], len(self.change)
        return slice(top, top + side), slice(left, left + side)


class _Search:
    """Goes through a video and changes its luma."""

    def __init__(
        self,
        network: FaceNetwork,
        info: VideoInfo,
        levels: int,
        steps: int,
        goal: str,
        generator: torch.Generator,
    ) -> None:
        self.network, self.levels, self.steps, self.goal = network, levels, steps, goal
        self.generator = generator
        self.sides = info.width, info.height
        coarse = COARSE_SIDE_PX / max(self.sides)
        pixels = math.prod(self.sides)
        finest = min(FINE_FACE_PX / FINEST_FACE_PX, (LARGEST_PIXELS / pixels) ** 0.5)
        usual = max(FINE_FACE_PX / SMALLEST_FACE_PX, coarse)
        # At which whole pictures are searched.
        self.scales = sorted({coarse, usual, max(finest, coarse)})
        self.at_once = min(MOST_AT_ONCE, max(1, AT_ONCE_PX // pixels))

    def pictures(
        self, frames: Iterator[Frame], tracks: Sequence[Track]
    ) -> Iterator[tuple[Frame, NDArray[np.uint8]]]:
        """Each frame with its luma and colour (3, H, W), as written."""
        patterns = [_Pattern.of(track, *self.sides) for track in tracks]
        begin, box = 0, None
        while some := list(islice(frames, self.at_once)):
            if self.goal == "invent":
                box = self.place(some[0], tracks) if box is None else box
                standing = _Pattern.of(_standing(box, begin, len(some)), *self.sides)
                standing.change = patterns[0].change if begin else standing.change
                patterns = [standing]
            numbers = range(begin, begin + len(some))
            for pattern in patterns:
                seen = [
                    some[n - begin].rgb()[pattern.place(n)] for n in numbers if n in pattern.corners
                ]
                if seen:
                    self.improve(pattern, np.stack(seen))
            for number, frame in zip(numbers, some, strict=True):
                picture = frame.ycc()
                yield frame, self.painted(picture, number, patterns)
            begin += len(some)

    def painted(
        self, picture: NDArray[np.uint8], number: int, patterns: Sequence[_Pattern]
    ) -> NDArray[np.uint8]:
        """Luma and colour (3, H, W) with the change of every face in this frame."""
        change = np.zeros(picture.shape[1:], np.int16)
        for pattern in patterns:
            if number in pattern.corners:
                change[pattern.place(number)] += pattern.change.numpy().astype(np.int16)
        moved = picture[0] + change.clip(-self.levels, self.levels)
        picture[0] = moved.clip(0, 255)
        return picture

    def improve(self, pattern: _Pattern, seen: NDArray[np.uint8]) -> None:
        """Change a pattern by what squares (N, S, S, 3) look like with it."""
        colours = torch.from_numpy(seen).permute(0, 3, 1, 2)
        change, momentum = pattern.change, torch.zeros_like(pattern.change)
        still = 0
        for step in range(self.steps):
            drawn = torch.randperm(len(colours), generator=self.generator)[:LOOKED_AT]
            gradient = self.gradient(colours[drawn].float(), change, pattern.height)
            # Each look is at other frames and places: one that is content says little.
            still = 0 if gradient.any() else still + 1
            if still > CONTENT:
                break
            momentum = DECAY * momentum + gradient
            alpha = max(1.0, float(self.levels // (4 if step < self.steps / 2 else 8)))
            change = (change - alpha * momentum.sign()).clamp(-self.levels, self.levels)
        pattern.change = change

    def gradient(self, pictures: Tensor, change: Tensor, height: float) -> Tensor:
        """Which way squares (N, 3, S, S) get farther from what is wanted (S, S); 0 at no way.

        Every look counts as much, or the sharpest would decide alone.
        """
        total = torch.zeros_like(change)
        for size in self.sizes(len(change), height):
            moved = change.clone().requires_grad_()
            with torch.enable_grad():
                short = self.missed((pictures + moved).clamp(0, 255), size, height)
                (gradient,) = torch.autograd.grad(short, moved)
            norm = gradient.abs().mean()
            total += gradient / norm if norm else gradient
        return total

    def sizes(self, side: int, height: float) -> list[int]:
        """Sides at which squares are seen this time: near a known face, and in a whole picture."""
        drawn = torch.rand(3, generator=self.generator, dtype=torch.float64).tolist()
        whole = self.scales[int(drawn[0] * len(self.scales))]
        found = []
        for scale, jitter in ((NEAR_FACE_PX / height, drawn[1]), (whole, drawn[2])):
            size = side * scale * (1 + SIZES_JITTER * (2 * jitter - 1))
            found.append(int(min(max(size, STRIDE_PX), LARGEST_SEEN_PX)))
        return found

    def missed(self, pictures: Tensor, size: int, height: float) -> Tensor:
        """How far what the network sees in squares (N, 3, S, S) is from what is wanted."""
        shown = F.interpolate(
            pictures, size=(size, size), mode="bilinear", antialias=True, align_corners=False
        )
        drawn = torch.rand(2, generator=self.generator, dtype=torch.float64) * STRIDE_PX
        left, top = drawn.long().tolist()
        right, bottom = (-(size + start) % STRIDE_PX for start in (left, top))
        shown = F.pad(shown, (left, right, top, bottom), mode="replicate")
        surely, boxes = self.network(shown)
        if self.goal == "hide":
            hidden: Tensor = (_log_odds(surely) - HIDDEN).relu().sum()
            return hidden
        expected = height * size / pictures.shape[2]
        heights = (boxes[..., 3] - boxes[..., 1]).clamp(min=1e-3)
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2 - torch.tensor(
            [left + size / 2, top + size / 2]
        )
        beside = middle.norm(dim=2) / expected + (heights / expected).log().abs()
        best: Tensor = (_log_odds(surely) - NEATNESS * beside).topk(INVENTED_PLACES, 1).values
        return (SEEN - best).relu().sum()

    def place(self, frame: Frame, tracks: Sequence[Track]) -> NDArray[np.float64]:
        """Box (4,) of what most looks like a face in a picture and is none that is known."""
        size = np.array([frame.width, frame.height] * 2)
        picture = torch.tensor(frame.rgb()).permute(2, 0, 1)[None].float()
        scale = self.scales[0]
        small = F.interpolate(
            picture, scale_factor=scale, mode="bilinear", antialias=True, align_corners=False
        )
        right, bottom = (-side % STRIDE_PX for side in (small.shape[3], small.shape[2]))
        surely, found = self.network(F.pad(small, (0, right, 0, bottom), mode="replicate"))
        boxes = found[0].double().numpy() / scale
        heights = (boxes[:, 3] - boxes[:, 1]) / frame.height
        low, high = INVENTED_HEIGHTS
        fits = (heights >= low) & (heights <= high)
        fits &= (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= size[2:]).all(1)
        for track in tracks:
            taken = np.concatenate([track.boxes[:, :2].min(0), track.boxes[:, 2:].max(0)])
            fits &= overlap(taken, boxes) == 0
        if not fits.any():
            raise MediaError("there is no place in the picture for another face")
        return np.asarray(boxes[np.argmax(np.where(fits, surely[0].numpy(), -np.inf))])
