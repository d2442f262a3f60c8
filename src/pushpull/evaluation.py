"""A detector on a split of a data set, as it is or under attack: scores, mAP, accuracy, by case."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.annotations import write_predictions, write_truth
from pushpull.attacks import attack, check_settings
from pushpull.data import Tracks, open_tracks, read_about
from pushpull.data.loading import batches_of
from pushpull.errors import DatasetError
from pushpull.losses import log_odds
from pushpull.metrics import average_precision, bootstrap_precision
from pushpull.models.detector import Detector
from pushpull.models.weights import LoadedWeights
from pushpull.runtime.files import output_dir, written_whole
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.version import versions
from pushpull.schema import Batch

__all__ = [
    "CaseScore",
    "Evaluation",
    "Perturb",
    "TrackScore",
    "attacker",
    "evaluate",
    "score_tracks",
    "summarised",
    "write_scores",
]

Perturb = Callable[[Detector, Batch, int], Batch]
"""A batch, or an adversary of it; the number is that of the batch, for a seed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackScore:
    """Scores of one track.

    Attributes:
        number: Its place in the split.
        track_id: Its name.
        video_id: Video that it is from.
        case: Relation of mouth and sound, where that is known.
        timestamps_s: Time of each frame (T,).
        boxes: In shares of the picture (T, 4).
        speaking: Truth (T,) bool.
        score: Log-odds of speaking (T,).
    """

    number: int
    track_id: str
    video_id: str
    case: str
    timestamps_s: NDArray[np.float64]
    boxes: NDArray[np.float64]
    speaking: NDArray[np.bool_]
    score: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """The tracks of one case.

    Attributes:
        tracks: How many.
        frames: Their frames.
        speaking: Share of frames that speak.
        accuracy: Share of frames that are right, in percent.
        map: Average precision in percent; None where nothing speaks.
    """

    tracks: int
    frames: int
    speaking: float
    accuracy: float
    map: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a split's scores come to.

    Attributes:
        map: AVA's average precision over all frames, in percent; None where nothing speaks.
        interval: Its 95 % interval over tracks drawn again.
        accuracy: Share of frames that are right, in percent.
        tracks: How many.
        frames: Their frames.
        by_case: The same for each case, where cases are known.
    """

    map: float | None
    interval: tuple[float, float] | None
    accuracy: float
    tracks: int
    frames: int
    by_case: dict[str, CaseScore]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def attacker(method: str, *, seed: int = 0, **settings: Any) -> Perturb:
    """What makes adversaries of batches by `pushpull.attacks.attack`, on their labels.

    Raises:
        UnknownName: If there is no such attack or objective.
        ConfigError: If a setting of the attack cannot be.
    """
    check_settings(method, settings)

    def perturb(detector: Detector, batch: Batch, number: int) -> Batch:
        found = attack(detector, batch, method, seed=seed + number, **settings)
        return replace(found.batch, speaking=batch.speaking)

    return perturb


def score_tracks(
    detector: Detector,
    tracks: Tracks,
    *,
    batch_frames: int = 2500,
    numbers: Sequence[int] | None = None,
    perturb: Perturb | None = None,
    device: torch.device | None = None,
) -> Iterator[TrackScore]:
    """Scores of each track, longest first.

    Args:
        detector: In eval mode.
        tracks: A split.
        batch_frames: Frames run at once, padding counted.
        numbers: Places of the tracks to score; all by default.
        perturb: What is done to each batch first.
        device: Where the detector is.

    Raises:
        DatasetError: If there is no track, or one cannot be read.
    """
    chosen = np.arange(len(tracks)) if numbers is None else np.asarray(numbers, np.int64)
    if not len(chosen):
        raise DatasetError("the split has no tracks; expected at least one")
    lengths = tracks.n_frames[chosen]
    batches = batches_of(lengths, batch_frames, np.random.default_rng(0))
    # Seeds go with the batch's place before it is shuffled away, so order by length.
    batches.sort(key=lambda members: (-int(lengths[members[0]]), int(members[0])))
    for k, members in enumerate(batches):
        places = [int(chosen[m]) for m in members]
        examples = [tracks[i] for i in places]
        batch = Batch.from_clips([e.clip for e in examples])
        if device is not None:
            batch = batch.to(device)
        if perturb is not None:
            batch = perturb(detector, batch, k)
        with torch.no_grad():
            output = detector(**batch.inputs)
        scores = log_odds(output.logits).double().cpu().numpy()
        for place, example, score in zip(places, examples, scores, strict=True):
            assert example.clip.speaking is not None  # noqa: S101
            speaking = example.clip.speaking.numpy().astype(bool)
            yield TrackScore(
                number=place,
                track_id=example.track_id,
                video_id=example.video_id,
                case=example.case,
                timestamps_s=example.timestamps_s,
                boxes=example.boxes,
                speaking=speaking,
                score=score[: len(speaking)],
            )


def summarised(scores: Iterable[TrackScore], *, draws: int = 1000) -> Evaluation:
    """What the scores of a split come to; without draws there is no interval."""
    rows = sorted(scores, key=lambda s: s.number)
    score = np.concatenate([r.score for r in rows])
    speaking = np.concatenate([r.speaking for r in rows])
    track = np.repeat(np.arange(len(rows)), [len(r.score) for r in rows])
    some = bool(speaking.any())
    cases = sorted({r.case for r in rows if r.case})
    return Evaluation(
        map=100 * average_precision(score, speaking) if some else None,
        interval=percent(bootstrap_precision(score, speaking, track, draws=draws))
        if some and draws
        else None,
        accuracy=accuracy(score, speaking),
        tracks=len(rows),
        frames=len(score),
        by_case={case: _of_case([r for r in rows if r.case == case]) for case in cases},
    )


def evaluate(
    weights: LoadedWeights,
    root: Path,
    out: Path,
    *,
    split: str = "test",
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    limit: int = 0,
    batch_frames: int = 2500,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Score a detector on a split, as it is and under an attack, and write what came out.

    Writes into `out`: results.json, truth.csv, clean.csv and, under attack, adversarial.csv.

    Args:
        weights: The detector.
        root: Folder of the data set.
        out: Folder for results.
        split: Of the data set.
        method: Attack, a name from `pushpull.attacks.ATTACKS`; None for none.
        settings: Of the attack: eps, steps, modality, objective, ...
        limit: Score the first so many tracks; 0 for all.
        batch_frames: Frames run at once.
        seed: Of the attack.
        progress: Called with "clean" or "adversarial", tracks done and in all.

    Returns:
        What results.json holds: "clean" and "adversarial" (see `Evaluation`), settings, versions.

    Raises:
        DatasetError: If the data cannot be used.
        UnknownName: If there is no such split, attack or objective.
        ConfigError: If a setting of the attack cannot be.
        OutputError: If nothing can be written.
    """
    tracks = open_tracks(root, split)
    numbers = range(min(limit or len(tracks), len(tracks)))
    kinds: dict[str, Perturb | None] = {"clean": None}
    if method is not None:
        kinds["adversarial"] = attacker(method, seed=seed, **(settings or {}))
    output_dir(out)
    about = read_about(root)
    record: dict[str, Any] = {
        "weights": {"name": weights.name, "sha256": weights.sha256, "model": weights.model},
        "data": {
            "root": str(root),
            "split": split,
            "made": None if about is None else about["made"],
        },
        "attack": None if method is None else {"method": method, "seed": seed, **(settings or {})},
        "versions": versions(),
    }
    for kind, perturb in kinds.items():
        start = time.perf_counter()
        scores = []
        for scored in score_tracks(
            weights.detector,
            tracks,
            batch_frames=batch_frames,
            numbers=numbers,
            perturb=perturb,
            device=weights.device,
        ):
            scores.append(scored)
            progress(kind, len(scores), len(numbers))
        record[kind] = summarised(scores).as_dict()
        record[kind]["seconds"] = round(time.perf_counter() - start, 3)
        write_scores(scores, out / f"{kind}.csv", out / "truth.csv")
    with written_whole(out / "results.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    return record


def write_scores(scores: Iterable[TrackScore], predictions: Path, truth: Path) -> None:
    """Write the scores, and the truth that `pushpull score` compares them with, as AVA tables.

    Raises:
        OutputError: If a file cannot be written.
    """
    rows = sorted(scores, key=lambda s: s.number)
    columns: dict[str, Any] = {
        "video_id": [r.video_id for r in rows for _ in r.score],
        "entity_ids": [r.track_id for r in rows for _ in r.score],
        "timestamps_s": np.concatenate([r.timestamps_s for r in rows]),
        "boxes": np.concatenate([r.boxes for r in rows]),
    }
    with written_whole(predictions) as temporary:
        write_predictions(temporary, **columns, scores=np.concatenate([r.score for r in rows]))
    with written_whole(truth) as temporary:
        write_truth(temporary, **columns, speaking=np.concatenate([r.speaking for r in rows]))


def percent(interval: tuple[float, float]) -> tuple[float, float]:
    """An interval in percent."""
    return 100 * interval[0], 100 * interval[1]


def accuracy(score: NDArray[np.float64], speaking: NDArray[np.bool_]) -> float:
    """Share of frames whose decision is right, in percent."""
    return float(100 * np.mean((score > 0) == speaking))


def _of_case(rows: Sequence[TrackScore]) -> CaseScore:
    score = np.concatenate([r.score for r in rows])
    speaking = np.concatenate([r.speaking for r in rows])
    return CaseScore(
        tracks=len(rows),
        frames=len(score),
        speaking=float(speaking.mean()),
        accuracy=accuracy(score, speaking),
        map=100 * average_precision(score, speaking) if speaking.any() else None,
    )
