"""The frames that an audit attacks: the same ones in every test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.data import Example, Tracks
from pushpull.errors import DatasetError
from pushpull.metrics import drawn_over
from pushpull.schema import Batch, Clip, FrameScores

__all__ = ["AuditClips", "choose_clips"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditClips:
    """Labelled clips in batches of similar length.

    Attributes:
        batches: Faces as bytes, where the clips have them so.
        names: Of the tracks, in the order of the batches.
        speaking: Truth of all valid frames, in that order (N,).
        track: Number of each frame's track (N,).
        identity: Checksum of everything that a detector sees of them, and of the truth.
        people: Who is seen in each track, where that is known.
        videos: Video that each is from, likewise.

    Examples:
        >>> from pushpull.auditing import AuditClips
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> clips = AuditClips.of((c.value, draw_clip(rng, c, n_frames=4)) for c in cases)
        >>> clips.names, clips.about()["frames"], clips.about()["speaking"]
        (('silent', 'speaking'), 8, 0.5)
        >>> clips.drawn, clips.about()["drawn"]
        ('tracks', 2)
    """

    batches: tuple[Batch, ...]
    names: tuple[str, ...]
    speaking: NDArray[np.bool_]
    track: NDArray[np.int64]
    identity: str
    people: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        clips: Iterable[tuple[str, Clip]],
        *,
        batch_frames: int = 1500,
        people: Mapping[str, str] | None = None,
        videos: Mapping[str, str] | None = None,
    ) -> AuditClips:
        """Named clips, longest first.

        Args:
            clips: With their names, each of its own.
            batch_frames: Frames of a batch.
            people: Who is seen in each, by its name, where that is known.
            videos: Video that each is from, likewise.

        Raises:
            DatasetError: If there are fewer than two, one has no labels, or all frames are of one
                class.
        """
        named = sorted(clips, key=lambda pair: (-len(pair[1].faces), pair[0]))
        if len(named) < 2:
            raise DatasetError(f"{len(named)} tracks; expected at least 2 to audit with")
        labels = []
        for name, clip in named:
            if clip.speaking is None:
                raise DatasetError(f"track {name}: has no labels, which an audit needs")
            labels.append(clip.speaking.numpy().astype(bool))
        speaking = np.concatenate(labels)
        if speaking.all() or not speaking.any():
            raise DatasetError(
                f"all {len(speaking)} frames are {'speaking' if speaking.all() else 'silent'}; "
                "expected both classes: take more tracks or another split"
            )
        digest = hashlib.sha256()
        for name, clip in named:
            digest.update(f"{name} {clip.fps} {clip.faces.dtype}".encode())
            for tensor in (clip.waveform, clip.faces, clip.speaking):
                assert tensor is not None  # noqa: S101
                digest.update(tensor.contiguous().numpy().tobytes())
        batches, at = [], 0
        while at < len(named):
            size = max(batch_frames // len(named[at][1].faces), 1)
            members = [clip for _, clip in named[at : at + size]]
            batches.append(Batch.from_clips(members, keep_bytes=True))
            at += size
        return cls(
            batches=tuple(batches),
            names=tuple(name for name, _ in named),
            speaking=speaking,
            track=np.repeat(np.arange(len(named)), [len(one) for one in labels]),
            identity=digest.hexdigest(),
            people=tuple((people or {}).get(name, "") for name, _ in named),
            videos=tuple((videos or {}).get(name, "") for name, _ in named),
        )

    @property
    def drawn(self) -> str:
        """What intervals are over: "people", "videos" or "tracks"."""
        return drawn_over(self.people, self.videos)

    @property
    def group(self) -> NDArray[np.int64]:
        """Number of what each frame (N,) is drawn with: its person, video or track."""
        names: Mapping[str, tuple[str, ...]] = {"people": self.people, "videos": self.videos}
        if self.drawn not in names:
            return self.track
        of = np.unique(np.array(names[self.drawn]), return_inverse=True)[1].astype(np.int64)
        return np.asarray(of[self.track])

    def flat(self, values: Sequence[Tensor]) -> NDArray[np.float64]:
        """Values (B, T) of each batch as one array over the valid frames (N,)."""
        pairs = zip(values, self.batches, strict=True)
        return np.concatenate([v.detach().cpu()[b.mask].double().numpy() for v, b in pairs])

    def scores(self, values: NDArray[np.float64]) -> FrameScores:
        """Log-odds of all frames (N,) with their truth and tracks."""
        return FrameScores(score=values, speaking=self.speaking, track=self.track)

    def probes(self, count: int) -> Batch:
        """The first so many clips of the batch that has most of them, as floats.

        Both classes are among them where the batch has them.
        """
        batch = max(self.batches, key=lambda b: len(b.faces))
        assert batch.speaking is not None  # noqa: S101
        share = batch.speaking.float().sum(1) / batch.n_frames
        order = torch.argsort(share, stable=True)
        half = count // 2
        chosen = order if len(order) <= count else torch.cat((order[: count - half], order[-half:]))
        return batch.as_float().rows(chosen[:count])

    def about(self) -> dict[str, Any]:
        """Sizes, for a report."""
        shares = [self.speaking[self.track == i].mean() for i in range(len(self.names))]
        return {
            "tracks": len(self.names),
            "mostly_speaking": int(np.sum(np.array(shares) >= 0.5)),
            "frames": len(self.speaking),
            "speaking": float(self.speaking.mean()),
            "interval_over": self.drawn,
            "drawn": len(np.unique(self.group)),
            "identity": self.identity,
        }


def choose_clips(
    tracks: Tracks, *, count: int = 0, frames: int = 0, seed: int = 0, batch_frames: int = 1500
) -> AuditClips:
    """Tracks drawn by the seed, half of them mostly speaking as far as there are such.

    Args:
        tracks: A split.
        count: How many; 0 for all.
        frames: Each is cut to a window of so many frames at a random place; 0 for whole tracks.
        seed: Of the draw and the windows.
        batch_frames: Frames of a batch.

    Raises:
        DatasetError: If the split has too few tracks, or frames of one class only.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.auditing import choose_clips
        >>> from pushpull.data import SynthConfig, open_tracks, write_synth
        >>> write_synth(Path("synthetic"), SynthConfig(tracks=12, min_frames=6, max_frames=6))
        >>> clips = choose_clips(open_tracks(Path("synthetic"), "train"), count=4, frames=5)
        >>> len(clips.names), clips.about()["frames"]
        (4, 20)
    """
    count = min(count or len(tracks), len(tracks))
    rng = np.random.default_rng(seed)
    chosen: list[list[Example]] = [[], []]
    spare: list[int] = []
    for i in rng.permutation(len(tracks)).tolist():
        cut = _cut(tracks, i, frames, seed)
        assert cut.clip.speaking is not None  # noqa: S101
        group = chosen[int(cut.clip.speaking.float().mean() >= 0.5)]
        if len(group) < (count + 1) // 2:
            group.append(cut)
        else:
            spare.append(i)
        if len(chosen[0]) + len(chosen[1]) >= count:
            break
    kept = chosen[0] + chosen[1]
    kept += [_cut(tracks, i, frames, seed) for i in spare[: count - len(kept)]]
    kept = kept[:count]
    return AuditClips.of(
        ((example.track_id, example.clip) for example in kept),
        batch_frames=batch_frames,
        people={example.track_id: example.person for example in kept},
        videos={example.track_id: example.video_id for example in kept},
    )


def _cut(tracks: Tracks, number: int, frames: int, seed: int) -> Example:
    example = tracks[number]
    return example.window(frames, (seed, number)) if frames else example
