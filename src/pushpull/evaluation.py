"""A detector on a split of a data set, as it is or under attack: scores, mAP, accuracy, by case."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.annotations import write_predictions, write_truth
from pushpull.attacks import AttackSettings
from pushpull.attacks import attack as find_adversary
from pushpull.attacks.air import OverTheAir, over_the_air
from pushpull.attacks.search import is_random
from pushpull.attacks.universal import UniversalPattern
from pushpull.data import Tracks, index_of, open_tracks, read_about
from pushpull.data.loading import batches_of
from pushpull.errors import ConfigError, DatasetError
from pushpull.losses import log_odds
from pushpull.metrics import drawn_over
from pushpull.models.detector import Card, Detector, check_scores, in_eval_mode
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.report.tables import html_table, percent
from pushpull.runtime.files import readable
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import write_json
from pushpull.schema import Batch, FrameScores, brief

__all__ = [
    "Evaluation",
    "Perturb",
    "TrackInfo",
    "TrackScores",
    "attacker",
    "evaluate",
    "pooled",
    "score_tracks",
]

Perturb = Callable[[Detector, Batch, int], Batch]
"""A batch, or an adversary of it; the number is that of the batch, for a seed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackInfo:
    """A track of a split, without its clip.

    Attributes:
        number: Its place in the split.
        track_id: Its name.
        video_id: Video that it is from.
        case: Relation of mouth and sound, where that is known.
        timestamps_s: Time of each frame (T,).
        boxes: In shares of the picture (T, 4).
        person: Who is seen, where that is known.

    Examples:
        >>> from pushpull.evaluation import TrackInfo
        >>> info = TrackInfo(
        ...     number=0,
        ...     track_id="talk:0",
        ...     video_id="talk",
        ...     case="speaking",
        ...     timestamps_s=np.arange(2) / 25,
        ...     boxes=np.array([[0.1, 0.2, 0.4, 0.6]] * 2),
        ... )
        >>> info.track_id, len(info.timestamps_s)
        ('talk:0', 2)
    """

    number: int
    track_id: str
    video_id: str
    case: str
    timestamps_s: NDArray[np.float64]
    boxes: NDArray[np.float64]
    person: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackScores:
    """A track of a split with its scores.

    Attributes:
        info: The track.
        scores: Of its frames; the track has the number of its place in the split.

    Examples:
        >>> from pathlib import Path
        >>> import pushpull as pp
        >>> from pushpull.data import SynthConfig, open_tracks, write_synth
        >>> from pushpull.evaluation import score_tracks
        >>> write_synth(Path("data"), SynthConfig(tracks=14, min_frames=6, max_frames=8))
        >>> detector, tracks = pp.load("synthetic-a"), open_tracks(Path("data"), "val")
        >>> one = next(score_tracks(detector, tracks, numbers=[1]))
        >>> one.info.number, one.scores.tracks, int(one.scores.track[0])
        (1, 1, 1)
    """

    info: TrackInfo
    scores: FrameScores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Scores of a detector on a split, as it is and under an attack.

    Attributes:
        tracks: What was scored, in the order of the split.
        clean: Scores of their frames, in that order.
        adversarial: Scores of the same frames under the attack; None without one.
        detector: Name, checksum and model of the detector.
        data: Name of the data set, its split, and how it was made.
        attack: Name and settings of the attack; None without one.
        seconds: Wall time, clean and adversarial.
        origin: What decides it, by which files are told that the same evaluation left; None where
            that is not known.
        notes: What a reader of the scores has to know.

    Examples:
        >>> from pathlib import Path
        >>> import pushpull as pp
        >>> from pushpull.data import SynthConfig, write_synth
        >>> write_synth(Path("data"), SynthConfig(tracks=14, min_frames=6, max_frames=8))
        >>> found = pp.evaluate("synthetic-a", "data", split="train", limit=4)
        >>> found.clean.tracks, found.clean.accuracy > 0.5
        (4, True)
        >>> sum(len(scores) for scores in found.by_case().values()) == len(found.clean)
        True
        >>> sorted(found.save("scores"))
        ['clean.csv', 'results.json', 'truth.csv']
    """

    tracks: tuple[TrackInfo, ...]
    clean: FrameScores
    adversarial: FrameScores | None = None
    detector: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    attack: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    origin: Origin | None = None
    notes: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, FrameScores]:
        """Clean and, under attack, adversarial scores by these names."""
        found = {"clean": self.clean}
        return found if self.adversarial is None else {**found, "adversarial": self.adversarial}

    def by_case(self, kind: str = "clean") -> dict[str, FrameScores]:
        """Scores of the tracks of each case, where cases are known."""
        scores = self.scores[kind]
        cases = sorted({t.case for t in self.tracks if t.case})
        numbers = {c: [t.number for t in self.tracks if t.case == c] for c in cases}
        return {c: scores.subset(np.isin(scores.track, of)) for c, of in numbers.items()}

    @property
    def drawn(self) -> str:
        """What intervals are over: "people" or "videos" with several tracks each, else "tracks".

        Tracks of one person, or of one video, are not independent.
        """
        return drawn_over([t.person for t in self.tracks], [t.video_id for t in self.tracks])

    def interval(self, kind: str = "clean", *, draws: int = 1000) -> tuple[float, float] | None:
        """Interval of 95 % of the average precision, over draws of `drawn`; None without one."""
        names: dict[str, dict[int, str | int]] = {
            "people": {t.number: t.person for t in self.tracks},
            "videos": {t.number: t.video_id for t in self.tracks},
            "tracks": {t.number: t.number for t in self.tracks},
        }
        of, scores = names[self.drawn], self.scores[kind]
        return scores.interval(draws=draws, groups=[of[number] for number in scores.track.tolist()])

    def as_dict(self, *, draws: int = 1000) -> dict[str, Any]:
        """Plain values for JSON; intervals of 95 % are over so many draws of `drawn`."""
        return {
            "detector": dict(self.detector),
            "data": dict(self.data),
            "attack": None if self.attack is None else dict(self.attack),
            **{
                kind: {
                    **scores.as_dict(),
                    **self._interval(kind, draws),
                    "seconds": self.seconds.get(kind),
                    "by_case": {c: s.as_dict() for c, s in self.by_case(kind).items()},
                }
                for kind, scores in self.scores.items()
            },
            "notes": list(self.notes),
        }

    def _interval(self, kind: str, draws: int) -> dict[str, Any]:
        if not draws:
            return {}
        ends = self.interval(kind, draws=draws)
        return {"interval": None if ends is None else list(ends), "interval_over": self.drawn}

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Path]:
        """Write results.json, and truth.csv with clean.csv and adversarial.csv for `score`.

        Args:
            folder: Made if it is not there.
            overwrite: Whether files of any other making may be replaced.

        Returns:
            Files by name.

        Raises:
            OutputError: If a file cannot be written or may not be replaced.
        """
        said = self.as_dict(draws=0) if self.origin is None else {}
        scores_of = {kind: scores.score for kind, scores in self.scores.items()}
        origin = self.origin or Origin.of_result("evaluate", {**said, "scores": scores_of})
        outputs = Outputs(folder=Path(folder), origin=origin, overwrite=overwrite)
        names = _files(self.scores)
        columns: dict[str, Any] = {
            "video_id": [t.video_id for t in self.tracks for _ in t.timestamps_s],
            "entity_ids": [t.track_id for t in self.tracks for _ in t.timestamps_s],
            "timestamps_s": np.concatenate([t.timestamps_s for t in self.tracks]),
            "boxes": np.concatenate([t.boxes for t in self.tracks]),
        }
        with outputs.writing(names) as paths:
            write_truth(paths["truth.csv"], **columns, speaking=self.clean.truth)
            for kind, scores in self.scores.items():
                write_predictions(paths[f"{kind}.csv"], **columns, scores=scores.score)
            write_json(paths["results.json"], self.as_dict(), kind="evaluation")
        return {name: outputs.folder / name for name in names}

    __repr__ = brief

    def _repr_html_(self) -> str:
        rows = []
        for kind, scores in self.scores.items():
            for case, of in {"all": scores, **self.by_case(kind)}.items():
                rates = (percent(of.accuracy), percent(of.average_precision))
                rows.append((kind, case, *rates, of.tracks, len(of)))
        what = f"{self.detector.get('name', 'detector')} on {self.data.get('name', 'data')}"
        title = f"{what}: average precision {percent(self.clean.average_precision)}"
        if self.adversarial is not None:
            attack = (self.attack or {}).get("attack", "attack")
            title += f", under {attack} {percent(self.adversarial.average_precision)}"
        header = ("scores", "case", "accuracy", "average precision", "tracks", "frames")
        return html_table(title, header, rows)


def _files(kinds: Iterable[str]) -> list[str]:
    return ["truth.csv", *(f"{kind}.csv" for kind in kinds), "results.json"]


def attacker(
    attack: str | AttackSettings | UniversalPattern = "pgd",
    *,
    air: OverTheAir | None = None,
    keep: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Perturb:
    """What makes adversaries of batches by `pushpull.attacks.attack`, on their labels.

    Each batch has a seed of its own, that of the settings and its number.

    Args:
        attack: A name from `pushpull.attacks.ATTACKS`, settings, or a pattern that all clips get.
        air: Rooms in which what is found is played; it is heard in a room not seen before.
        keep: A folder where a suite keeps what it has found, to go on from; None keeps nothing.
        **settings: Of the attack.

    Raises:
        UnknownName: If there is no such attack or objective.
        ConfigError: If a setting of the attack cannot be.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.evaluation import attacker
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=6)
        >>> batch = Batch.from_clips([clip])
        >>> moved = attacker("fgsm", eps=5)(pp.load("synthetic-a"), batch, 0)
        >>> float((moved.faces - batch.faces).abs().max())
        0.5
    """
    asked = _asked(attack, settings, air)

    def perturb(detector: Detector, batch: Batch, number: int) -> Batch:
        if isinstance(asked, UniversalPattern):
            return asked.apply(batch)
        own = replace(asked, seed=asked.seed + number)
        if air is not None:
            rooms = replace(air, seed=air.seed + number)
            found = over_the_air(detector, batch, own, air=rooms, held_out=1).adversary
        else:
            found = find_adversary(detector, batch, own, keep=keep).batch
        return replace(found, speaking=batch.speaking)

    return perturb


def _asked(
    attack: str | AttackSettings | UniversalPattern,
    settings: Mapping[str, Any],
    air: OverTheAir | None,
) -> AttackSettings | UniversalPattern:
    if not isinstance(attack, UniversalPattern):
        return AttackSettings.of(attack, **settings)
    if settings or air is not None:
        given = sorted(settings) or ["air"]
        raise ConfigError(f"{', '.join(given)} is given beside a universal pattern, which is fixed")
    return attack


def score_tracks(
    detector: Detector,
    tracks: Tracks,
    *,
    batch_frames: int = 2500,
    numbers: Sequence[int] | None = None,
    frames: int = 0,
    perturb: Perturb | None = None,
    device: torch.device | None = None,
) -> Iterator[TrackScores]:
    """Scores of each track, longest first.

    Args:
        detector: It works in eval mode and comes back as it was.
        tracks: A split.
        batch_frames: Frames run at once, padding counted.
        numbers: Places of the tracks to score; all by default.
        frames: Each is cut to a window of so many frames, always the same; 0 for whole tracks.
        perturb: What is done to each batch first.
        device: Where the detector is.

    Raises:
        DatasetError: If there is no track, or one cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> import pushpull as pp
        >>> from pushpull.data import SynthConfig, open_tracks, write_synth
        >>> from pushpull.evaluation import pooled, score_tracks
        >>> write_synth(Path("data"), SynthConfig(tracks=14, min_frames=6, max_frames=8))
        >>> tracks = open_tracks(Path("data"), "val")
        >>> pooled(score_tracks(pp.load("synthetic-a"), tracks)).tracks
        2
    """
    chosen = np.arange(len(tracks)) if numbers is None else np.asarray(numbers, np.int64)
    if not len(chosen):
        raise DatasetError("the split has no tracks; expected at least one")
    longest = frames or int(tracks.n_frames.max())
    lengths = np.minimum(tracks.n_frames[chosen], longest)
    batches = batches_of(lengths, batch_frames, np.random.default_rng(0))
    # Seeds go with the batch's place before it is shuffled away, so order by length.
    batches.sort(key=lambda members: (-int(lengths[members[0]]), int(members[0])))
    for k, members in enumerate(batches):
        places = [int(chosen[m]) for m in members]
        examples = [tracks[i].window(longest, (0, i)) for i in places]
        batch = Batch.from_clips([e.clip for e in examples])
        if device is not None:
            batch = batch.to(device)
        if perturb is not None:
            batch = perturb(detector, batch, k)
        with torch.no_grad(), in_eval_mode(detector):
            output = detector(**batch.inputs)
        scores = log_odds(output.logits).double().cpu().numpy()
        for place, example, score in zip(places, examples, scores, strict=True):
            assert example.clip.speaking is not None  # noqa: S101
            speaking = example.clip.speaking.numpy()
            check_scores(score[: len(speaking)], detector, f"track {example.track_id}")
            info = TrackInfo(
                number=place,
                track_id=example.track_id,
                video_id=example.video_id,
                case=example.case,
                timestamps_s=example.timestamps_s,
                boxes=example.boxes,
                person=example.person,
            )
            scored = FrameScores.of_tracks([score[: len(speaking)]], [speaking], numbers=[place])
            yield TrackScores(info=info, scores=scored)


def _other_crop(card: Card, made: Mapping[str, Any] | None) -> str:
    """What is to be said where weights see another part of the face than they do best with."""
    shown = (made or {}).get("crop", card.crop)
    if shown == card.crop:
        return ""
    return (
        f"faces of the set are cut as '{shown}', and {card.name} does best with '{card.crop}': its "
        "scores are lower than they need be; make the set with that --crop"
    )


def _random(detector: Detector, tracks: Tracks) -> str:
    """What is to be said of scores that another evaluation would not give."""
    first = Batch.from_clips([tracks[0].clip]).to(detector.device)
    with in_eval_mode(detector):
        if not is_random(detector, first):
            return ""
    return (
        f"{detector.card.name} gives other scores when it is asked again: these are of one draw; "
        "`pushpull audit` says whether that hides its gradient"
    )


def pooled(tracks: Iterable[TrackScores]) -> FrameScores:
    """The scores of some tracks together, in the order of the split.

    Examples:
        >>> from pushpull.evaluation import TrackInfo, TrackScores, pooled
        >>> from pushpull.schema import FrameScores, brief
        >>> rows = []
        >>> for number, score in ((1, [-1.0]), (0, [2.0, 0.5])):
        ...     frames = {"timestamps_s": np.arange(len(score)), "boxes": np.zeros((len(score), 4))}
        ...     info = TrackInfo(number=number, track_id="", video_id="", case="", **frames)
        ...     scores = FrameScores.of_tracks([score], [[True] * len(score)], numbers=[number])
        ...     rows.append(TrackScores(info=info, scores=scores))
        >>> pooled(rows).score.tolist()
        [2.0, 0.5, -1.0]
    """
    rows = sorted(tracks, key=lambda t: t.info.number)
    return FrameScores.concatenated([t.scores for t in rows])


def evaluate(
    detector: DetectorSource,
    root: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    split: str = "test",
    attack: str | AttackSettings | UniversalPattern | None = None,
    air: OverTheAir | None = None,
    limit: int = 0,
    batch_frames: int = 2500,
    device: str | None = None,
    progress: Progress = no_progress,
    **settings: Any,
) -> Evaluation:
    """Score a detector on a split, as it is and under an attack.

    Args:
        detector: A known name, a path, `FILE.py:FACTORY`, or a detector.
        root: Folder of the data set.
        out: Folder to save the results in; see `Evaluation.save`.
        overwrite: Whether files of any other making may be replaced there.
        split: Of the data set.
        attack: A name from `pushpull.attacks.ATTACKS`, settings, or a pattern that all clips get;
            None for none.
        air: Rooms in which an attack's sound is played; it is heard in a room not seen before.
        limit: Score the first so many tracks; 0 for all.
        batch_frames: Frames run at once.
        device: `auto`, `cpu` or `cuda`; where the detector is, or `auto` for a name, by default.
        progress: Called with "clean" or "adversarial", tracks done and in all.
        **settings: Of the attack: eps, steps, modality, objective, seed, ...

    Raises:
        DatasetError: If the data cannot be used.
        UnknownName: If there is no such split, attack or objective.
        ConfigError: If a setting of the attack cannot be.
        OutputError: If nothing can be written, or a file may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import SynthConfig, write_synth
        >>> write_synth(Path("data"), SynthConfig(tracks=14, min_frames=6, max_frames=8))
        >>> found = pp.evaluate("synthetic-a", "data", split="train", attack="fgsm", eps=5, limit=4)
        >>> found.clean.tracks, found.adversarial.accuracy <= found.clean.accuracy
        (4, True)
    """
    if not isinstance(limit, Integral) or limit < 0:
        raise ConfigError(f"limit is {limit!r}; expected a number of tracks, 0 for all")
    given = [*sorted(settings), *([] if air is None else ["air"])]
    if attack is None and given:
        raise ConfigError(f"{', '.join(given)} is given without an attack; name one")
    asked = None if attack is None else _asked(attack, settings, air)
    root = Path(root)
    tracks = open_tracks(root, split)
    numbers = range(min(limit or len(tracks), len(tracks)))
    kinds: dict[str, Perturb | None] = {"clean": None}
    kept = None if out is None else Path(out) / "suite"
    if asked is not None:
        kinds["adversarial"] = attacker(asked, air=air, keep=kept)
    model = resolve_detector(detector, device=device)
    about = read_about(root)
    made = None if about is None else about["made"]
    data = {
        # Its name only: where it lies says something of the machine, not of the result.
        "name": readable(root.resolve().name),
        "split": split,
        "made": made,
        "tracks": len(tracks),
    }
    attacked = None if asked is None else asked.as_dict()
    if attacked is not None and air is not None:
        attacked["air"] = air.as_dict()
    origin = Origin(
        command="evaluate",
        inputs=(index_of(root, split),),
        settings={
            "detector": model.card.as_dict(),
            "data": data,
            "attack": attacked,
            "limit": limit,
            "batch_frames": batch_frames,
        },
    )
    if out is not None:
        Outputs(folder=Path(out), origin=origin, overwrite=overwrite).check(_files(kinds))
    found: dict[str, list[TrackScores]] = {}
    seconds: dict[str, float] = {}
    for kind, perturb in kinds.items():
        start = time.perf_counter()
        rows = found[kind] = []
        for scored in score_tracks(
            model,
            tracks,
            batch_frames=batch_frames,
            numbers=numbers,
            perturb=perturb,
            device=model.device,
        ):
            rows.append(scored)
            progress(kind, len(rows), len(numbers))
        seconds[kind] = round(time.perf_counter() - start, 3)
    scores = {kind: pooled(rows) for kind, rows in found.items()}
    evaluation = Evaluation(
        tracks=tuple(sorted((t.info for t in found["clean"]), key=lambda info: info.number)),
        clean=scores["clean"],
        adversarial=scores.get("adversarial"),
        detector=model.card.as_dict(),
        data=data,
        attack=attacked,
        seconds=seconds,
        origin=origin,
        notes=tuple(filter(None, [_other_crop(model.card, made), _random(model, tracks)])),
    )
    if out is not None:
        evaluation.save(out, overwrite=overwrite)
    if kept is not None:
        # Adversaries in full; what they came to is saved.
        shutil.rmtree(kept, ignore_errors=True)
    return evaluation
