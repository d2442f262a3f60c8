"""ABX: two clips A and B, one of them attacked, and X, which is one of the two. Which?

The order is drawn by the server and leaves it only when all answers are there. What is fetched is
named by its place in the test, so no address and no name tells which is which.
"""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pushpull.errors import ConfigError, MediaError
from pushpull.metrics.binomial import guessing_p, interval

__all__ = ["MODALITIES", "MOST_TRIALS", "Test", "Trial", "draw_trials"]

MODALITIES = ("both", "audio", "visual")
MOST_TRIALS = 100
PLACES = ("x", "a", "b")
COLUMNS = ("trial", "clip", "track", "modality", "a_was", "x_was", "answer", "right", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One question.

    Attributes:
        clip: What `pushpull.app.stimuli` says of the clip.
        a_is_clean: Whether A is the clean one.
        x_is_a: Whether X is A.

    Examples:
        >>> from pushpull.app.abx import Trial
        >>> trial = Trial(clip={"name": "talk"}, a_is_clean=False, x_is_a=True)
        >>> trial.kind("a"), trial.kind("b"), trial.kind("x")
        ('adversarial', 'clean', 'adversarial')
    """

    clip: Mapping[str, Any]
    a_is_clean: bool
    x_is_a: bool

    def kind(self, place: str) -> str:
        """What stands at `x`, `a` or `b`: clean or adversarial."""
        is_a = self.x_is_a if place == "x" else place == "a"
        return "clean" if is_a == self.a_is_clean else "adversarial"


def draw_trials(
    clips: Sequence[Mapping[str, Any]], modality: str, trials: int, rng: random.Random
) -> list[Trial]:
    """Questions in random order: every clip about equally often, sides and X by fair coins.

    Raises:
        MediaError: If no clip differs in what the listener is given.

    Examples:
        >>> import random
        >>> from pushpull.app.abx import draw_trials
        >>> one = {"name": "one", "audio": True, "visual": False}
        >>> two = {"name": "two", "audio": False, "visual": False}
        >>> trials = draw_trials([one, two], "both", 4, random.Random(0))
        >>> [trial.clip["name"] for trial in trials]  # nothing differs in the second
        ['one', 'one', 'one', 'one']
    """
    parts = ("audio", "visual") if modality == "both" else (modality,)
    usable = [clip for clip in clips if any(clip[part] for part in parts)]
    if not usable:
        what = {"both": "pictures and sounds", "audio": "sounds", "visual": "pictures"}[modality]
        raise MediaError(
            f"the {what} of these clips are equal once they are 8-bit pixels and int16 samples, so "
            "there is nothing to find; take another modality or a larger eps"
        )
    order: list[Mapping[str, Any]] = []
    while len(order) < trials:
        order += rng.sample(usable, len(usable))
    return [
        Trial(clip=clip, a_is_clean=rng.random() < 0.5, x_is_a=rng.random() < 0.5)
        for clip in order[:trials]
    ]


@dataclass(slots=True, kw_only=True)
class Test:
    """A test that somebody is taking.

    Attributes:
        id: Made by the server.
        folder: Where the files of its clips lie.
        modality: What the listener is given.
        trials: All questions.
        answers: For each answer so far, whether it said A, and after how many seconds.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.abx import Test, Trial
        >>> clip = {"name": "talk", "track": "0", "key": "0"}
        >>> trials = [Trial(clip=clip, a_is_clean=True, x_is_a=True) for _ in range(5)]
        >>> test = Test(id="abc", folder=Path(), modality="both", trials=trials)
        >>> for number in range(5):
        ...     test.answer(number, says_a=True)
        >>> result = test.result()
        >>> result["right"], result["p"]
        (5, 0.03125)
    """

    # Not a test of ours, whatever its name looks like to pytest.
    __test__ = False

    id: str
    folder: Path
    modality: str
    trials: Sequence[Trial]
    answers: list[tuple[bool, float]] = field(default_factory=list)
    asked_s: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> bool:
        """Whether all is answered."""
        return len(self.answers) == len(self.trials)

    def answer(self, trial: int, says_a: bool) -> None:
        """Take the answer to the question that is open.

        Raises:
            ConfigError: If it is not the one that is open.
        """
        if self.done or trial != len(self.answers):
            raise ConfigError(f"question {trial + 1} is not open; reload the page")
        now_s = time.monotonic()
        self.answers.append((says_a, now_s - self.asked_s))
        self.asked_s = now_s

    def stimulus(self, trial: int, place: str, suffix: str) -> Path:
        """The file at a place of a question that has been asked.

        Raises:
            ConfigError: If there is none, or the modality has none.
        """
        wanted = {"both": ("png", "wav"), "audio": ("wav",), "visual": ("png",)}[self.modality]
        asked = 0 <= trial <= min(len(self.answers), len(self.trials) - 1)
        if not asked or place not in PLACES or suffix not in wanted:
            raise ConfigError("there is no such clip in this test")
        at = self.trials[trial]
        return self.folder / f"{at.clip['key']}-{at.kind(place)}.{suffix}"

    def question(self) -> dict[str, Any]:
        """What the listener is told of the open question."""
        clip = self.trials[len(self.answers)].clip
        return {
            "trial": len(self.answers),
            "trials": len(self.trials),
            "modality": self.modality,
            **{key: clip[key] for key in ("frames", "columns", "fps", "size")},
        }

    def result(self) -> dict[str, Any]:
        """What came out, when all is answered."""
        right = sum(row["right"] for row in self.rows())
        low, high = interval(right, len(self.trials))
        return {
            "trials": len(self.trials),
            "right": right,
            "modality": self.modality,
            "interval": [low, high],
            "p": guessing_p(right, len(self.trials)),
            "rows": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row per answer, by `COLUMNS`."""
        return [
            {
                "trial": n + 1,
                "clip": trial.clip["name"],
                "track": trial.clip["track"],
                "modality": self.modality,
                "a_was": trial.kind("a"),
                "x_was": trial.kind("x"),
                "answer": "A" if says_a else "B",
                "right": int(says_a == trial.x_is_a),
                "seconds": round(seconds, 2),
            }
            for n, (trial, (says_a, seconds)) in enumerate(
                zip(self.trials, self.answers, strict=False)
            )
        ]

    def as_csv(self) -> str:
        """The rows as a table."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return out.getvalue()
