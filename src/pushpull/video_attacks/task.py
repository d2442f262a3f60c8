"""What is asked of an attack on a video: everything that decides it but the video."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pushpull.annotations import read_table
from pushpull.attacks import AttackSettings
from pushpull.detection import VideoClips, crop_of
from pushpull.detection.clips import Crop
from pushpull.errors import UnknownName
from pushpull.models.detector import Detector
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.video_attacks.codec import Codec
from pushpull.video_attacks.segments import Segment
from pushpull.video_attacks.spaces import SPACES

__all__ = ["Plan", "Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One search.

    Attributes:
        name: Of the variant that it finds.
        attack: How it searches.
        codec: What it searches through; None for tensors.

    Examples:
        >>> from pushpull.attacks import AttackSettings
        >>> from pushpull.video_attacks.codec import Codec
        >>> from pushpull.video_attacks.task import Plan
        >>> attack = AttackSettings.of("pgd", eps=5, steps=10)
        >>> plan = Plan(name="through codec", attack=attack, codec=Codec(crf=23))
        >>> plan.attack.attack, plan.codec.name
        ('pgd', 'h264 crf 23 + aac')
    """

    name: str
    attack: AttackSettings
    codec: Codec | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """An attack on a video as it is asked for: checked, its detectors loaded.

    Attributes:
        detector: What is attacked.
        surrogate: What adversaries are made on instead; None for the detector itself.
        attack: Attack and budgets.
        space: Name of what is moved, from `SPACES`.
        survive: Whether to search through the codec too.
        codec: What survival is measured with.
        labels: AVA csv with the truth; None for the detector's own decisions.
        crop: Which part of a face the detector sees.

    Examples:
        >>> from pushpull.video_attacks.task import Task
        >>> task = Task.of(
        ...     "synthetic-a",
        ...     "pgd",
        ...     eps=5,
        ...     quantise=True,
        ...     surrogate=None,
        ...     labels=None,
        ...     space="crop",
        ...     survive=True,
        ...     crf=23,
        ...     crop="auto",
        ...     device="cpu",
        ... )
        >>> [plan.name for plan in task.plans]
        ['float', 'quantised', 'through codec']
        >>> task.crop.name, task.as_dict()["labels"]
        ('ava', "the detector's own decisions")
    """

    detector: Detector
    surrogate: Detector | None
    attack: AttackSettings
    space: str
    survive: bool
    codec: Codec
    labels: Path | None
    crop: Crop

    @classmethod
    def of(
        cls,
        detector: DetectorSource,
        attack: str | AttackSettings,
        *,
        surrogate: DetectorSource | None,
        labels: str | os.PathLike[str] | None,
        space: str,
        survive: bool,
        crf: int,
        crop: str,
        device: str | None,
        **settings: Any,
    ) -> Task:
        """Check settings, then load; arguments and errors as for `attack_video`."""
        if space not in SPACES:
            raise UnknownName("space", space, SPACES)
        asked, codec = AttackSettings.of(attack, **settings), Codec(crf=crf)
        if labels is not None:
            # What cannot be read is said before minutes of work.
            read_table(labels)
        target = resolve_detector(detector, device=device)
        return cls(
            detector=target,
            surrogate=None if surrogate is None else resolve_detector(surrogate, device=device),
            attack=asked,
            space=space,
            survive=survive,
            codec=codec,
            labels=None if labels is None else Path(labels),
            crop=crop_of(crop, target),
        )

    @property
    def make(self) -> Callable[[VideoClips], Segment]:
        """What makes a segment of faces."""
        return SPACES[self.space]

    @property
    def plans(self) -> list[Plan]:
        """Every search, from the freest to the one that was asked for."""
        plans = [Plan(name="float", attack=replace(self.attack, quantise=False))]
        if self.attack.quantise:
            plans.append(Plan(name="quantised", attack=self.attack))
        if self.survive:
            plans.append(Plan(name="through codec", attack=self.attack, codec=self.codec))
        return plans

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON."""
        card, other = self.detector.card, self.surrogate and self.surrogate.card
        return {
            "detector": card.name,
            "detector_sha256": card.sha256,
            "model": card.model,
            "surrogate": other and other.name,
            "surrogate_sha256": other and other.sha256,
            "labels": str(self.labels or "the detector's own decisions"),
            "space": self.space,
            "survive": self.survive,
            "codec": self.codec.name,
            "crf": self.codec.crf,
            "crop": self.crop.name,
            "device": str(self.detector.device),
            **self.attack.as_dict(),
        }
