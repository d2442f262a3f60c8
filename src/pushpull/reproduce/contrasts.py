"""What can be said of scores of several trainings: means, differences, and how sure they are.

Both tracks and seeds are drawn again, so an interval covers other people and other trainings; what
is compared is so on the same draws of tracks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pushpull.schema import FrameScores
from pushpull.schema.bootstrap import bootstrap_draws

__all__ = ["DECISIONS", "decide", "drawn_chance", "drawn_mean", "interval", "learnt", "mean_of"]

DRAWS = 500
LEARNT = 0.1
"""Average precision above chance that the low end of a detector's interval has to reach; one that
has not learnt keeps under attack all of the little it has, which says nothing."""

DECISIONS = ("yes", "no", "open")


def mean_of(scores: Sequence[FrameScores]) -> float | None:
    """Mean average precision over trainings; None where nothing speaks.

    Examples:
        >>> from pushpull.reproduce.contrasts import mean_of
        >>> from pushpull.schema import FrameScores
        >>> mean_of([FrameScores.of_tracks([[1.0, -1.0]], [[1, 0]])])
        1.0
    """
    values = [value for s in scores if (value := s.average_precision) is not None]
    return float(np.mean(values)) if values else None


def drawn_mean(scores: Sequence[FrameScores], *, seed: int = 0) -> NDArray[np.float64]:
    """Mean average precision over trainings, on draws of tracks and of trainings (D,).

    Args:
        scores: Of each training, on the same frames; some of them speak.
        seed: Of the trainings that are drawn; tracks are drawn alike for all.

    Raises:
        ShapeError: If no frame speaks.

    Examples:
        >>> from pushpull.reproduce.contrasts import drawn_mean
        >>> from pushpull.schema import FrameScores
        >>> one = FrameScores.of_tracks([[1.0, -1.0], [0.5, -2.0]], [[1, 0], [1, 0]])
        >>> drawn_mean([one, one]).tolist() == [1.0] * 500
        True
    """
    found = bootstrap_draws(
        {str(k): s.score for k, s in enumerate(scores)},
        scores[0].truth,
        scores[0].track,
        draws=DRAWS,
    )
    values = np.stack([found[str(k)] for k in range(len(scores))])
    n, draws = values.shape
    picked = np.random.default_rng([seed, n]).integers(n, size=(n, draws))
    mean: NDArray[np.float64] = np.take_along_axis(values, picked, 0).mean(0)
    return mean


def drawn_chance(scores: FrameScores) -> NDArray[np.float64]:
    """Share of speaking frames on the draws of `drawn_mean` (D,).

    Examples:
        >>> from pushpull.reproduce.contrasts import drawn_chance
        >>> from pushpull.schema import FrameScores
        >>> float(drawn_chance(FrameScores.of_tracks([[1.0, -1.0]] * 2, [[1, 0]] * 2)).mean())
        0.5
    """
    return bootstrap_draws({}, scores.truth, scores.track, draws=DRAWS)["chance"]


def interval(drawn: NDArray[np.float64], level: float = 0.95) -> list[float]:
    """Ends of the interval that holds a share of the draws.

    Examples:
        >>> from pushpull.reproduce.contrasts import interval
        >>> interval(np.linspace(0, 1, 101), level=0.9)
        [0.05, 0.95]
    """
    return [float(end) for end in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])]


def decide(ends: Sequence[float], threshold: float = 0.0) -> str:
    """Whether something is above a threshold: "yes", "no", or "open" where its interval holds it.

    Examples:
        >>> from pushpull.reproduce.contrasts import decide
        >>> decide([0.1, 0.3]), decide([-0.3, -0.1]), decide([-0.1, 0.3])
        ('yes', 'no', 'open')
    """
    low, high = ends
    return "yes" if low > threshold else "no" if high < threshold else "open"


def learnt(clean: Sequence[FrameScores]) -> bool:
    """Whether trainings have learnt: surely better than chance on frames as they are.

    Examples:
        >>> from pushpull.reproduce.contrasts import learnt
        >>> from pushpull.schema import FrameScores
        >>> truth = [[1, 0], [0, 1]]
        >>> right = FrameScores.of_tracks([[1.0, -1.0], [-1.0, 1.0]], truth)
        >>> constant = FrameScores.of_tracks([[-1.0, -1.0], [-1.0, -1.0]], truth)
        >>> learnt([right]), learnt([constant])
        (True, False)
    """
    if not clean[0].truth.any():
        return False
    above = drawn_mean(clean) - drawn_chance(clean[0])
    return interval(above)[0] > LEARNT
