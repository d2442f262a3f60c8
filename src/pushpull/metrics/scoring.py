"""The AVA-ActiveSpeaker score of a predictions csv against a ground truth csv.

Rows are matched by video, entity and timestamp (as numbers). What the official tool passes over in
silence, rows that only one file has, is an error here unless it is allowed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations import AvaTable, read_table
from pushpull.errors import AnnotationError
from pushpull.metrics import precision_range

__all__ = ["ScoreResult", "score_files"]

BOX_TOLERANCE = 1e-9
"""Largest difference of matched boxes, the official tool's."""


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """A score, as shares 0..1, and what it was computed from.

    Attributes:
        average_precision: Tied scores in the order of the ground truth file.
        low: Smallest value over all orders of tied scores.
        high: Largest value over all orders of tied scores.
        rows: Matched rows.
        positives: Matched rows whose label is SPEAKING_AUDIBLE.
        missing_predictions: Ground truth rows without a prediction, left out.
        missing_ground_truth: Predictions without a ground truth row, left out.

    Examples:
        >>> from pushpull.metrics.scoring import ScoreResult
        >>> ScoreResult(0.9, 0.9, 0.9, 200, 80, 0, 0).average_precision
        0.9
    """

    average_precision: float
    low: float
    high: float
    rows: int
    positives: int
    missing_predictions: int
    missing_ground_truth: int


def score_files(
    ground_truth: str | PathLike[str],
    predictions: str | PathLike[str],
    *,
    allow_missing: bool = False,
) -> ScoreResult:
    r"""Score a predictions csv.

    Args:
        ground_truth: Official AVA csv, with or without header; labels of all three kinds.
        predictions: The same rows with label SPEAKING_AUDIBLE and a score.
        allow_missing: Leave out rows that only one file has, as the official tool does in silence.

    Raises:
        AnnotationError: If a file cannot be read, rows are doubled, do not match or have other
            boxes, or nothing speaks.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.metrics.scoring import score_files
        >>> row = "vid,{},0.1,0.1,0.4,0.6,{},vid:1{}\n"
        >>> _ = Path("truth.csv").write_text(
        ...     row.format(900.0, "NOT_SPEAKING", "") + row.format(900.04, "SPEAKING_AUDIBLE", "")
        ... )
        >>> _ = Path("scores.csv").write_text(
        ...     row.format(900.0, "SPEAKING_AUDIBLE", ",-1.5")
        ...     + row.format(900.04, "SPEAKING_AUDIBLE", ",2.0")
        ... )
        >>> result = score_files("truth.csv", "scores.csv")
        >>> result.average_precision, result.rows
        (1.0, 2)
    """
    # Parsing leaves Python free, so two files take little longer than one.
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_table, ground_truth)
        also_reading = pool.submit(read_table, predictions, need_score=True)
        truth, guess = reading.result(), also_reading.result()
    check_predictions(guess)
    rows, found = matched(truth, guess)
    missing_predictions = unmatched(len(truth), rows)
    missing_ground_truth = unmatched(len(guess), found)
    if not allow_missing:
        for table, missing, lacking in (
            (truth, missing_predictions, guess),
            (guess, missing_ground_truth, truth),
        ):
            if len(missing):
                raise AnnotationError(
                    f"{table.source}: {len(missing)} of {len(table)} rows have no row of the same "
                    f"video, entity and timestamp in {lacking.source}: {table.describe(missing)}; "
                    "complete the file, leave such rows out with --allow-missing, or pair faces "
                    "of other names with --match boxes"
                )
    if not len(rows):
        raise AnnotationError(f"{truth.source} and {guess.source} have no row in common")
    moved = np.flatnonzero(farther(truth, rows, guess, found))
    if len(moved):
        raise AnnotationError(
            f"{guess.source}: {len(moved)} of {len(rows)} boxes differ by more than "
            f"{BOX_TOLERANCE:g} from those in {truth.source}: {guess.describe(found[moved])}; "
            "predictions must keep the boxes"
        )
    speaking = truth.speaking[rows]
    if not speaking.any():
        raise AnnotationError(
            f"{truth.source}: none of {len(rows)} rows is SPEAKING_AUDIBLE; average precision "
            "needs at least one"
        )
    assert guess.score is not None  # noqa: S101
    score = precision_range(guess.score[found], speaking)
    return ScoreResult(
        average_precision=score.average_precision,
        low=score.low,
        high=score.high,
        rows=len(rows),
        positives=int(speaking.sum()),
        missing_predictions=len(missing_predictions),
        missing_ground_truth=len(missing_ground_truth),
    )


def farther(
    truth: AvaTable, rows: NDArray[np.int64], guess: AvaTable, found: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the boxes of each pair differ by more than the tolerance."""
    # Files in one order need no copies of their boxes.
    in_order = rows is found and len(rows) == len(truth) == len(guess)
    theirs, ours = (
        (truth.boxes, guess.boxes) if in_order else (truth.boxes[rows], guess.boxes[found])
    )
    if np.array_equal(theirs, ours):
        return np.zeros(len(rows), dtype=np.bool_)
    apart: NDArray[np.float64] = np.abs(theirs - ours).max(axis=1)
    return apart > BOX_TOLERANCE


def check_predictions(guess: AvaTable) -> None:
    """Refuse a score of anything but speaking.

    Raises:
        AnnotationError: If a row has another label.
    """
    other = np.flatnonzero(~guess.speaking)
    if len(other):
        raise AnnotationError(
            f"{guess.source}, {guess.describe(other)}: the label of a prediction must be "
            "SPEAKING_AUDIBLE; the score says how sure that is"
        )


def matched(truth: AvaTable, guess: AvaTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers in both tables of every pair with one key, in the order of the ground truth."""
    truth_key, guess_key = keys(truth, guess)
    tables = ((truth, truth_key), (guess, guess_key))
    # Files written from each other have one order: then no sort of millions of rows is needed.
    if (
        np.array_equal(truth_key, guess_key)
        and np.array_equal(truth.timestamps_s, guess.timestamps_s)
        and all(runs_upwards(key, table.timestamps_s) for table, key in tables)
    ):
        every = np.arange(len(truth))
        return every, every
    key = np.concatenate([truth_key, guess_key])
    time_s = np.concatenate([truth.timestamps_s, guess.timestamps_s])
    order = np.lexsort((time_s, key))
    equal = (key[order[1:]] == key[order[:-1]]) & (time_s[order[1:]] == time_s[order[:-1]])
    first, second = order[:-1][equal], order[1:][equal]
    # The sort is stable and the ground truth stands first, so a pair is one row of each.
    n = len(truth)
    for table, twice in (
        (truth, second[(first < n) & (second < n)]),
        (guess, second[(first >= n) & (second >= n)] - n),
    ):
        if len(twice):
            raise AnnotationError(
                f"{table.source}: {len(twice)} of {len(table)} rows repeat the video, entity and "
                f"timestamp of an earlier one: {table.describe(np.sort(twice))}; keep one of each"
            )
    in_order = np.argsort(first)
    return first[in_order], second[in_order] - n


def keys(truth: AvaTable, guess: AvaTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One integer per row for its video and entity, the same in both tables."""
    videos = {name: i for i, name in enumerate(truth.videos)}
    entities = {name: i for i, name in enumerate(truth.entities)}
    video = np.array([videos.setdefault(v, len(videos)) for v in guess.videos], np.int64)
    entity = np.array([entities.setdefault(e, len(entities)) for e in guess.entities], np.int64)
    n = len(entities)
    return truth.video * n + truth.entity, video[guess.video] * n + entity[guess.entity]


def runs_upwards(key: NDArray[np.int64], time_s: NDArray[np.float64]) -> bool:
    """Whether every key stands in one run of rising times, which rules out doubled rows."""
    changes = np.flatnonzero(key[1:] != key[:-1]) + 1
    heads = key[np.concatenate([[0], changes])]
    rising = time_s[1:] > time_s[:-1]
    rising[changes - 1] = True
    return bool(rising.all()) and len(np.unique(heads)) == len(heads)


def unmatched(n: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of 0..n that are not among `rows`."""
    left = np.ones(n, bool)
    left[rows] = False
    return np.flatnonzero(left)
