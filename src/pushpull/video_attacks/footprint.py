"""What memory an attack on a video takes, measured on a few of its frames before any work.

The search is run as it was asked for, with its space, its attack and its codec, on a few frames and
with a detector that keeps nothing, and the tensors that are alive are counted. What the gradient of
the real detector keeps is counted apart, on clips of three short lengths, of which it is a
polynomial: the heavy visual encoder is never kept for more than a window
(`pushpull.models.windows`).
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pushpull.attacks import AttackSettings
from pushpull.attacks.registry import is_suite, options_of
from pushpull.detection import VideoClips
from pushpull.detection.clips import clip_grid
from pushpull.errors import ConfigError
from pushpull.models.detector import Detector, in_eval_mode
from pushpull.models.windows import GRAPH_BYTES, WINDOW_BYTES, Kept
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Output, Track, length_mask
from pushpull.video_attacks.search import moved
from pushpull.video_attacks.task import Plan, Task

__all__ = ["available_bytes", "check_memory", "needed_bytes"]

PROBES = (8, 16, 24)
"""Frames of the clips on which the detector is measured."""
FRAMES, FACES, STEPS = 8, 2, 3
"""Of the search that is run: APGD halves its steps at the second of three."""
QUERIES = 8
"""Steps where no gradient is taken: each moves one modality."""
BESIDES = 300_000_000
"""Codecs, the face finder, what other stages have left."""
BACKWARDS = 1.25
"""Times that what is kept of an encoder in one pass lives at once on the way back, measured."""
PASSING = 1 / 3
"""Share of what a gradient would keep that lives at once where none is taken."""
READ_BYTES = 2
"""Of each pixel of a crop that comes back from a file, before it is a float."""
GIB = 2**30


def check_memory(what: str, task: Task, groups: Sequence[VideoClips]) -> None:
    """Refuse an attack that memory does not hold, before any work.

    Args:
        what: Named in the message.
        task: What is asked.
        groups: The faces that are attacked together, in each segment of the video.

    Raises:
        ConfigError: If it takes more than there is.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.footprint import check_memory
        >>> from pushpull.video_attacks.task import Task
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> task = Task.of(
        ...     "synthetic-a",
        ...     "pgd",
        ...     surrogate=None,
        ...     labels=None,
        ...     space="crop",
        ...     survive=False,
        ...     crf=23,
        ...     crop="auto",
        ...     device="cpu",
        ... )
        >>> clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), task.crop)
        >>> check_memory("talk.mp4", task, [clips])
    """
    free = available_bytes(task.detector.device)
    if free is None:
        return
    needed = needed_bytes(task, groups)
    if needed <= free:
        return
    largest = max(groups, key=_face_frames)
    advice = "attack parts of the video one after the other: --start and --end"
    if task.space != "crop":
        instead = needed_bytes(replace(task, space="crop"), groups)
        advice += f"; or crops in the place of pixels, about {instead / GIB:.1f} GiB: --space crop"
    raise ConfigError(
        f"{what}: {len(largest.tracks)} faces hear one sound for up to {_longest(largest)} frames; "
        f"to attack them together takes about {needed / GIB:.1f} GiB, and {free / GIB:.1f} GiB are "
        f"free; {advice}"
    )


def needed_bytes(task: Task, groups: Sequence[VideoClips]) -> int:
    """Memory of an attack on a video whose faces are attacked in these groups.

    Examples:
        >>> from pushpull.detection import find_faces, read_clips
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.footprint import needed_bytes
        >>> from pushpull.video_attacks.task import Task
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> def needed(survive):
        ...     task = Task.of(
        ...         "synthetic-a",
        ...         "pgd",
        ...         surrogate=None,
        ...         labels=None,
        ...         space="crop",
        ...         survive=survive,
        ...         crf=23,
        ...         crop="auto",
        ...         device="cpu",
        ...     )
        ...     clips = read_clips(find_faces("talk.mp4", face_finder="dlib"), task.crop)
        ...     return needed_bytes(task, [clips])
        >>> needed(survive=True) > needed(survive=False)
        True
    """
    most = max(groups, key=_face_frames)
    small = _few(most)
    in_small = _face_frames(small)
    shares = [_face_frames(group) / in_small for group in groups]
    graph = Graph.of(task.surrogate or task.detector)

    def graph_of(group: VideoClips, step: Step) -> float:
        frames = max(len(grid.frame_of_grid) for grid in group.grids)
        return graph.n_bytes(len(group.tracks), frames, step)

    needed, left = 0.0, 0.0
    for plan in task.plans:
        step = _measured(task, plan, small)
        # The largest group is worked on when all others have left their results.
        largest = max(
            (step.peak - step.left) * share + graph_of(group, step)
            for group, share in zip(groups, shares, strict=True)
        )
        held = (step.held + left + step.left) * sum(shares)
        needed = max(needed, held + largest)
        left += step.left
    return int(needed + BESIDES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a search of a few frames takes.

    Attributes:
        held: Bytes of the segment itself.
        peak: Bytes at most beside it, during the search.
        left: Bytes of what it has found.
        gradients: Whether it takes gradients.
        faces: Whether it moves faces.
    """

    held: int
    peak: int
    left: int
    gradients: bool
    faces: bool


def _measured(task: Task, plan: Plan, small: VideoClips) -> Step:
    """One search, run on a few frames for a few steps, with a detector that keeps nothing."""
    attack, stand_in = plan.attack, Light()
    asked = replace(task, detector=stand_in, surrogate=None if task.surrogate is None else stand_in)
    for steps in (STEPS, QUERIES):
        with Alive() as alive:
            segment = task.make(small)
            speaking = torch.zeros(segment.batch.faces.shape[:2], dtype=torch.int64)
            segment = replace(segment, batch=replace(segment.batch, speaking=speaking))
            held = alive.n_bytes
            found = moved([segment], asked, replace(plan, attack=_shorter(attack, steps)))
            left = alive.n_bytes - held
        if found.backwards:
            break
    read = 0 if plan.codec is None else READ_BYTES * segment.batch.faces.numel()
    return Step(
        held=held,
        peak=alive.peak_bytes - held + read,
        left=left,
        gradients=found.backwards > 0,
        faces="visual" in attack.threat.balls,
    )


def _shorter(attack: AttackSettings, steps: int) -> AttackSettings:
    """The attack in at most so many steps; of a suite, the fast one."""
    if is_suite(attack.attack):
        others = {name: Light() for name in attack.surrogates}
        return replace(attack, attack="suite-fast", centres=None, surrogates=others, options={})
    own = options_of(attack.attack)
    fewer = {
        name: min(int(attack.options.get(name, own[name])), most)
        for name, most in (("steps", steps), ("n_restarts", 2))
        if name in own
    }
    # What is maximised holds values per frame, and might ask for what there is not here.
    return replace(attack, objective="av", centres=None, options={**attack.options, **fewer})


def _few(clips: VideoClips) -> VideoClips:
    """The first frames of the longest face, as often as there are faces, in the largest boxes."""
    which = max(range(len(clips.tracks)), key=lambda i: len(clips.tracks[i]))
    track, n = clips.tracks[which], min(FRAMES, len(clips.tracks[which]))
    boxes = np.concatenate([one.boxes for one in clips.tracks])
    half = (boxes[:, 2:] - boxes[:, :2]).max(0) / 2
    centres = (track.boxes[:n, :2] + track.boxes[:n, 2:]) / 2
    grid = clip_grid(track.timestamps_s[:n])
    count = min(FACES, len(clips.tracks))
    return replace(
        clips,
        tracks=tuple(
            Track(
                track_id=i,
                frames=track.frames[:n],
                timestamps_s=track.timestamps_s[:n],
                boxes=np.concatenate([centres - half, centres + half], 1),
                detected=track.detected[:n],
            )
            for i in range(count)
        ),
        grids=(grid,) * count,
        faces=(clips.faces[which][:n],) * count,
    )


def _longest(clips: VideoClips) -> int:
    return max(len(track) for track in clips.tracks)


def _face_frames(clips: VideoClips) -> int:
    """Frames of a batch of all faces: the shorter ones are padded."""
    return len(clips.tracks) * _longest(clips)


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the tensors that are alive of those made or used inside a block.

    Examples:
        >>> from pushpull.video_attacks.footprint import Alive
        >>> with Alive() as alive:
        ...     x = torch.zeros(1000)
        ...     y = (x + 1).exp()  # what was between is gone
        >>> alive.n_bytes, alive.peak_bytes
        (8000, 12000)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_bytes = self.peak_bytes = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else a compiler is imported, for seconds, that nothing here asks.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves((args, result)):
            if isinstance(one, Tensor):
                self._count(one.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known[key] = weakref.ref(storage, partial(self._gone, key, size))
        self.n_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.n_bytes)

    def _gone(self, key: int, size: int, _: object) -> None:
        del self._known[key]
        self.n_bytes -= size


class Light(Detector):
    """Mean level of faces and sound: all that an attack needs, and nothing that is kept."""

    visual_context = 0

    def front_end(
        self, waveform: Tensor, n_samples: Tensor, n_frames: Tensor, fps: Tensor
    ) -> Tensor:
        return waveform.mean(1)[:, None, None].expand(-1, 4 * int(n_frames.max()), 1)

    def encode_audio(self, features: Tensor, n_frames: Tensor) -> Tensor:
        return features[:, ::4]

    def visual_local(self, faces: Tensor, n_frames: Tensor) -> Tensor:
        return faces.mean((2, 3))[..., None]

    def visual_global(self, local: Tensor, n_frames: Tensor) -> Tensor:
        return local

    def fuse(self, e_a: Tensor, e_v: Tensor, n_frames: Tensor) -> Output:
        score = e_a + e_v
        mask = length_mask(n_frames, e_v.shape[1])
        return Output(logits=torch.cat([-score, score], 2), mask=mask, e_a=e_a, e_v=e_v)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What the gradient of a detector keeps.

    Attributes:
        encoder: Bytes of each frame of a clip in the heavy visual encoder.
        others: Coefficients of the bytes of a clip in everything else, by its frames.
    """

    encoder: float
    others: tuple[float, ...]

    @classmethod
    def of(cls, detector: Detector) -> Graph:
        """Measured on short clips."""
        kept = [kept_bytes(detector, n) for n in PROBES]
        others = np.polyfit(PROBES, [others for _, others in kept], len(PROBES) - 1)
        return cls(encoder=kept[-1][0] / PROBES[-1], others=tuple(others.tolist()))

    def n_bytes(self, clips: int, frames: int, step: Step) -> float:
        """What is kept of so many clips of so many frames."""
        encoder = clips * frames * self.encoder
        # On the way back through a layer its gradient is there beside what is kept.
        encoder = encoder * BACKWARDS if encoder <= GRAPH_BYTES else 2 * WINDOW_BYTES
        others = clips * max(0.0, float(np.polyval(self.others, frames)))
        if not (step.gradients and step.faces):
            encoder *= PASSING
        return encoder + (others if step.gradients else PASSING * others)


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
    with torch.inference_mode(False), torch.enable_grad(), in_eval_mode(detector):
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
