"""The AVA score where names and boxes are somebody else's: faces are matched by where they are.

In every frame that the ground truth has rows for, its boxes and those of the predictions are paired
one to one, so that as many pairs as possible overlap by half or more (intersection over union), and
among such pairings by as much as possible. As in AVA's protocols for detections, a speaking face
without a partner is missed: it stays in the denominator of recall and is never found. A prediction
without one is a false alarm. Predictions at times that the ground truth says nothing of are left
out, since nobody looked there.

With n positives that have a partner and m that have none,

    AP = n / (n + m) AP(pairs and false alarms).

Source: the matching of AVA v2.2's detection protocol (Gu et al., CVPR 2018; overlap of 0.5), on the
score of AVA-ActiveSpeaker (Roth et al., ICASSP 2020).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations import AvaTable, read_table
from pushpull.errors import AnnotationError
from pushpull.metrics import precision_range
from pushpull.metrics.scoring import check_predictions

__all__ = ["FARTHEST_S", "LEAST_OVERLAP", "BoxScore", "Pairs", "paired", "score_boxes"]

LEAST_OVERLAP = 0.5
"""Intersection over union of boxes that are one face."""

FARTHEST_S = 0.02
"""Between times of one frame: half a frame at 25 per second; AVA rounds to 0.01 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScore:
    """A score with faces matched by their boxes; rates are shares 0..1.

    Attributes:
        average_precision: Missed faces and false alarms counted; tied scores in the order of the
            ground truth file, false alarms last.
        low: Smallest value over all orders of tied scores.
        high: Largest value over all orders of tied scores.
        matched_average_precision: Of the pairs alone, as if faces had been given; None where none
            of them speaks.
        rows: Pairs.
        positives: Ground truth rows whose label is SPEAKING_AUDIBLE, missed ones too.
        missed: Ground truth rows without a partner.
        missed_positives: Those of them that speak.
        false_alarms: Predictions without a partner, in frames that the ground truth has rows for.
        unlabelled: Predictions in other frames, left out.

    Examples:
        >>> from pushpull.metrics.box_scoring import BoxScore
        >>> score = BoxScore(
        ...     average_precision=0.45, low=0.45, high=0.45, matched_average_precision=0.9,
        ...     rows=100, positives=60, missed=50, missed_positives=30, false_alarms=0,
        ...     unlabelled=0,
        ... )
        >>> score.matched_average_precision * (1 - score.missed_positives / score.positives)
        0.45
    """  # fmt: skip

    average_precision: float
    low: float
    high: float
    matched_average_precision: float | None
    rows: int
    positives: int
    missed: int
    missed_positives: int
    false_alarms: int
    unlabelled: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    r"""Which rows of two tables are of one face in one frame.

    Attributes:
        truth: Rows of the ground truth that have a partner (N,), rising.
        guess: Their partners (N,).
        false_alarms: Predictions without one, in labelled frames (M,), rising.
        unlabelled: Predictions in other frames (K,), rising.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import read_table
        >>> from pushpull.metrics.box_scoring import paired
        >>> row = "vid,{},{},0.1,{},0.4,SPEAKING_AUDIBLE,{}\n"
        >>> _ = Path("truth.csv").write_text(
        ...     row.format(1.0, 0.1, 0.3, "ada") + row.format(1.0, 0.6, 0.8, "bob")
        ... )
        >>> _ = Path("guess.csv").write_text(
        ...     row.format(1.0, 0.62, 0.82, "face 0") + row.format(2.0, 0.1, 0.3, "face 1")
        ... )
        >>> pairs = paired(read_table("truth.csv"), read_table("guess.csv"))
        >>> pairs.truth, pairs.guess, pairs.unlabelled
        (array([1]), array([0]), array([1]))
    """

    truth: NDArray[np.int64]
    guess: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    unlabelled: NDArray[np.int64]


def score_boxes(
    ground_truth: str | os.PathLike[str],
    predictions: str | os.PathLike[str],
    *,
    least_overlap: float = LEAST_OVERLAP,
) -> BoxScore:
    r"""Score a predictions csv against anybody's ground truth.

    Args:
        ground_truth: Csv in AVA's columns; entity names are its own.
        predictions: Csv in AVA's columns with a score, such as `pushpull detect` writes.
        least_overlap: Intersection over union of boxes that are one face.

    Raises:
        AnnotationError: If a file cannot be read, a box is none or twice there, no video is in
            both, or nothing speaks.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.metrics.box_scoring import score_boxes
        >>> row = "vid,{},{},0.1,{},0.4,{},{}{}\n"
        >>> _ = Path("truth.csv").write_text(
        ...     row.format(1.0, 0.1, 0.3, "SPEAKING_AUDIBLE", "ada", "")
        ...     + row.format(1.0, 0.6, 0.8, "SPEAKING_AUDIBLE", "bob", "")
        ... )
        >>> _ = Path("guess.csv").write_text(
        ...     row.format(1.0, 0.61, 0.8, "SPEAKING_AUDIBLE", "face 0", ",2.5")
        ... )
        >>> score = score_boxes("truth.csv", "guess.csv")  # ada was not found
        >>> score.average_precision, score.matched_average_precision, score.missed
        (0.5, 1.0, 1)
    """
    # Parsing leaves Python free, so two files take little longer than one.
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_table, os.fspath(ground_truth))
        also_reading = pool.submit(read_table, os.fspath(predictions), need_score=True)
        truth, guess = reading.result(), also_reading.result()
    check_predictions(guess)
    for table in (truth, guess):
        table.check_boxes(np.arange(len(table)))
    truth.check_once(np.arange(len(truth)))
    if not truth.speaking.any():
        raise AnnotationError(
            f"{truth.source}: none of {len(truth)} rows is SPEAKING_AUDIBLE; average precision "
            "needs at least one"
        )
    pairs = paired(truth, guess, least_overlap=least_overlap)
    assert guess.score is not None  # noqa: S101
    speaking = truth.speaking[pairs.truth]
    positives, hits = int(truth.speaking.sum()), int(speaking.sum())
    score = guess.score[np.concatenate([pairs.guess, pairs.false_alarms])]
    flags = np.concatenate([speaking, np.zeros(len(pairs.false_alarms), bool)])
    share = hits / positives
    found = precision_range(score, flags) if hits else None
    alone = precision_range(guess.score[pairs.guess], speaking) if hits else None
    return BoxScore(
        average_precision=share * found.average_precision if found else 0.0,
        low=share * found.low if found else 0.0,
        high=share * found.high if found else 0.0,
        matched_average_precision=alone.average_precision if alone else None,
        rows=len(pairs.truth),
        positives=positives,
        missed=len(truth) - len(pairs.truth),
        missed_positives=positives - hits,
        false_alarms=len(pairs.false_alarms),
        unlabelled=len(pairs.unlabelled),
    )


def paired(truth: AvaTable, guess: AvaTable, *, least_overlap: float = LEAST_OVERLAP) -> Pairs:
    r"""Pair the rows of two tables by frame and box, one to one.

    Frames are told by video and time; where each table is of one video only, its name does not
    matter. Of two frames of the predictions that one of the ground truth could be, the nearer is.

    Args:
        truth: The ground truth.
        guess: The predictions.
        least_overlap: Intersection over union of boxes that are one face.

    Raises:
        AnnotationError: If no video is in both.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import read_table
        >>> from pushpull.metrics.box_scoring import paired
        >>> row = "vid,{},0.1,0.1,0.3,{},SPEAKING_AUDIBLE,{}\n"
        >>> _ = Path("truth.csv").write_text(row.format(1.0, 0.4, "ada"))
        >>> _ = Path("guess.csv").write_text(
        ...     row.format(1.01, 0.41, "face 0") + row.format(1.01, 0.9, "face 1")
        ... )
        >>> pairs = paired(read_table("truth.csv"), read_table("guess.csv"))
        >>> pairs.truth, pairs.guess, pairs.false_alarms
        (array([0]), array([0]), array([1]))
    """
    videos = _common_videos(truth, guess)
    rows: list[NDArray[np.int64]] = []
    partners: list[NDArray[np.int64]] = []
    lonely = np.ones(len(guess), bool)
    labelled = np.zeros(len(guess), bool)
    for ours, theirs in videos:
        of_truth = _frames(truth, ours)
        of_guess = _frames(guess, theirs)
        for at, other in _same_frames(of_truth.times_s, of_guess.times_s):
            a, b = of_truth.rows(at), of_guess.rows(other)
            labelled[b] = True
            first, second = _assigned(truth.boxes[a], guess.boxes[b], least_overlap)
            rows.append(a[first])
            partners.append(b[second])
            lonely[b[second]] = False
    row = np.concatenate([*rows, np.zeros(0, np.int64)])
    partner = np.concatenate([*partners, np.zeros(0, np.int64)])
    order = np.argsort(row)
    return Pairs(
        truth=row[order],
        guess=partner[order],
        false_alarms=np.flatnonzero(lonely & labelled),
        unlabelled=np.flatnonzero(~labelled),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Frames:
    """Rows of one video by time: those of frame i are `order[first[i] : first[i + 1]]`."""

    times_s: NDArray[np.float64]
    order: NDArray[np.int64]
    first: NDArray[np.int64]

    def rows(self, i: int) -> NDArray[np.int64]:
        return self.order[self.first[i] : self.first[i + 1]]


def _frames(table: AvaTable, video: int) -> _Frames:
    of_video = np.flatnonzero(table.video == video)
    times_s, which = np.unique(table.timestamps_s[of_video], return_inverse=True)
    order = np.argsort(which, kind="stable")
    return _Frames(
        times_s=times_s,
        order=of_video[order],
        first=np.searchsorted(which[order], np.arange(len(times_s) + 1)),
    )


def _common_videos(truth: AvaTable, guess: AvaTable) -> list[tuple[int, int]]:
    """Numbers of each video in both tables; names do not matter where both have one."""
    if len(truth.videos) == len(guess.videos) == 1:
        return [(0, 0)]
    theirs = {name: i for i, name in enumerate(guess.videos)}
    common = [(i, theirs[name]) for i, name in enumerate(truth.videos) if name in theirs]
    if not common:
        raise AnnotationError(
            f"{truth.source} and {guess.source} have no video in common (it has "
            f"{', '.join(truth.videos[:3])}, the predictions {', '.join(guess.videos[:3])}); "
            "video_id must be the same"
        )
    return common


def _same_frames(
    times_s: NDArray[np.float64], others_s: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Places of equal times in two rising series, each used once, the nearest first."""
    if not len(others_s):
        return []
    after = np.searchsorted(others_s, times_s)
    near = []
    for side in (after - 1, after):
        i = np.flatnonzero((side >= 0) & (side < len(others_s)))
        apart = np.abs(others_s[side[i]] - times_s[i])
        # Rounding of decimals must not decide.
        close = apart <= FARTHEST_S + 1e-9
        near.append(np.stack([apart[close], i[close], side[i][close]]))
    every = np.concatenate(near, axis=1)
    found: list[tuple[int, int]] = []
    taken: set[int] = set()
    taken_there: set[int] = set()
    for k in np.lexsort(every[::-1]).tolist():
        one, other = int(every[1, k]), int(every[2, k])
        if one not in taken and other not in taken_there:
            taken.add(one)
            taken_there.add(other)
            found.append((one, other))
    return found


def _assigned(
    boxes: NDArray[np.float64], others: NDArray[np.float64], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of boxes (N, 4) and (M, 4) of one frame: most pairs first, then most overlap."""
    overlap = _overlaps(boxes, others)
    good = overlap >= least
    if good.sum(0).max() <= 1 and good.sum(1).max() <= 1:
        # Nobody has a choice.
        first, second = np.nonzero(good)
        return first, second
    from scipy.optimize import linear_sum_assignment

    # More than any overlap can bring, for every pair.
    worth = np.where(good, overlap + len(boxes) + 1, 0)
    first, second = linear_sum_assignment(worth, maximize=True)
    kept = good[first, second]
    return first[kept], second[kept]


def _overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union (N, M); 0 for empty boxes."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    area, area_there = (np.clip(b[:, 2:] - b[:, :2], 0, None).prod(-1) for b in (boxes, others))
    union = area[:, None] + area_there[None] - common
    found: NDArray[np.float64] = np.divide(
        common, union, out=np.zeros_like(common), where=union > 0
    )
    return found
