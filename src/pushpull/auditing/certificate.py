"""Decisions that no small change can turn over, proved: randomised smoothing with two radii.

    found = certify(detector, batch, sigma={"audio": 0.01, "visual": 16.0}, n=1000, alpha=1e-3)
    found.share(visual=20.0)    # of frames: right, and certified for 20 grey levels in L2

What is certified is the smoothed detector g: for each frame the decision that f takes most often on
sound x_a + N(0, sigma_a^2) and faces x_v + N(0, sigma_v^2). In units of each modality's own sigma
that noise is isotropic, so the theorem of Cohen et al. holds there: if f takes the decision with
probability p > 1/2, then so does g for every change with

    |d_a|^2 / sigma_a^2 + |d_v|^2 / sigma_v^2 < Phi^-1(p)^2

in L2 norms over the whole clip. p is bounded from below by one-sided Clopper-Pearson on `n` noisy
copies; `n0` others choose the decision. The copies are shared by the frames of a track, whose level
`alpha` is split over them (Bonferroni): with probability 1 - alpha over the noise all certified
frames of the track are truly so. Where the bound is not above 1/2, the frame abstains.

Sources: Cohen et al., "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019;
Clopper and Pearson, Biometrika 1934.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks.threat import MODALITIES, per_modality
from pushpull.auditing.clips import AuditClips, choose_clips
from pushpull.data import open_tracks, read_about
from pushpull.errors import ConfigError, UnknownName
from pushpull.metrics import bootstrap_share
from pushpull.metrics.binomial import lower_bound
from pushpull.models.detector import Detector
from pushpull.models.weights import DetectorSource, resolve_detector
from pushpull.report.tables import html_table, percent
from pushpull.runtime.files import readable
from pushpull.runtime.kept import Store
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import write_json
from pushpull.schema import Batch, FrameScores, Output

__all__ = ["Certificate", "CertificateSettings", "certify", "certify_tracks"]

BLOCK = 250
"""Copies whose votes are counted, and kept, together."""

POINTS = 11
"""Radii of a curve."""

BUDGETS = (0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Push-Pull's eps_av, and below, of which it is said how much is certified."""

FILES = ("certificate.csv", "certificate.json")
COLUMNS = (
    "track", "frame", "speaking", "score", "decision", "votes", "n", "bound", "radius",
    "radius_audio", "radius_visual", "eps_av",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSettings:
    """How a certificate is made.

    Attributes:
        sigma: Standard deviation of the noise of each modality: samples of [-1, 1] and grey levels
            of 0..255. A modality with 0 has none, and may then not be changed at all.
        n: Noisy copies by which the probability is bounded.
        n0: Copies, others, by which the decision is chosen.
        alpha: Probability that a track has a frame that is certified wrongly; at most.
        seed: Of the noise.

    Examples:
        >>> from pushpull.auditing import CertificateSettings
        >>> settings = CertificateSettings(sigma={"audio": 0.01, "visual": 16.0}, n=1000)
        >>> settings.ceiling(frames=25)  # where all copies agree
        2.324
        >>> CertificateSettings(sigma={"audio": 0.0, "visual": 0.0})
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: sigma is 0 for audio and visual; expected noise in one of them
        or both
    """

    sigma: Mapping[str, float]
    n: int = 1000
    n0: int = 100
    alpha: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        given = per_modality("sigma", self.sigma, MODALITIES["both"])
        if not any(given.values()):
            raise ConfigError(
                "sigma is 0 for audio and visual; expected noise in one of them or both"
            )
        for name in ("n", "n0"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha is {self.alpha}; expected a number between 0 and 1")
        if not 0 <= self.seed < 1 << 31:
            raise ConfigError(f"seed is {self.seed}; expected 0..{(1 << 31) - 1}")

    def ceiling(self, frames: int) -> float:
        """The greatest radius that a frame of a track of so many can have, in sigmas.

        Raises:
            ConfigError: If none can be certified with so few copies.
        """
        level = self.alpha / frames
        if level ** (1 / self.n) <= 0.5:
            least = math.floor(math.log2(1 / level)) + 1
            raise ConfigError(
                f"n is {self.n}: no frame can be certified at alpha {self.alpha:g} in a track of "
                f"{frames} frames; expected at least {least}"
            )
        return float(_quantile(lower_bound(self.n, self.n, level)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        named = {name: getattr(self, name) for name in ("n", "n0", "alpha", "seed")}
        return {"sigma": dict(self.sigma), **named, "alpha_is_of": "a track, split over its frames"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """What is certified of each frame.

    Attributes:
        settings: How it was made.
        speaks: Decision of the smoothed detector (N,) bool, where it does not abstain.
        votes: Copies of `n` that take that decision (N,).
        bound: Probability of it (N,) that is not below this.
        plain: Scores of the detector without noise, with truth and tracks.
        names: Of the tracks.
        sizes: Samples ("audio") and pixels ("visual") of each track, over which norms are.
        cost: Evaluations (copies, and frames in them) and seconds.
        detector: Name, checksum and model of the detector.
        data: Name of the data set, its split, and how it was made; empty for clips from elsewhere.
        group: What each frame is drawn with for intervals (N,): the number of its person or video;
            None where its track is.
        interval_over: What that is: "people", "videos" or "tracks".
        origin: What decides it, by which files are told that the same certificate left; None where
            that is not known.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import certify
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=6)
        >>> batch = Batch.from_clips([clip])
        >>> sigma = {"audio": 1e-3, "visual": 4.0}
        >>> found = certify(pp.load("synthetic-a"), batch, sigma=sigma, n=60, n0=10)
        >>> found.radii["visual"].shape, bool((found.radius <= 1.2).all())
        ((6,), True)
        >>> found.share() >= found.share(visual=2.0) >= found.share(audio=5e-4, visual=2.0)
        True
        >>> sorted(found.save("certificate"))
        ['certificate.csv', 'certificate.json']
    """

    settings: CertificateSettings
    speaks: NDArray[np.bool_]
    votes: NDArray[np.int64]
    bound: NDArray[np.float64]
    plain: FrameScores
    names: tuple[str, ...]
    sizes: Mapping[str, NDArray[np.int64]]
    cost: Mapping[str, float]
    detector: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    group: NDArray[np.int64] | None = None
    interval_over: str = "tracks"
    origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.bound)

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Frames (N,) that do not abstain."""
        found: NDArray[np.bool_] = self.bound > 0.5
        return found

    @property
    def right(self) -> NDArray[np.bool_]:
        """Frames (N,) that do not abstain and are on the side of their truth.

        Raises:
            ShapeError: If the truth is not known.
        """
        found: NDArray[np.bool_] = self.decided & (self.speaks == self.plain.truth)
        return found

    @property
    def radius(self) -> NDArray[np.float64]:
        """Phi^-1 of the bound (N,), in sigmas of whatever changes; 0 where a frame abstains."""
        return np.where(self.decided, _quantile(self.bound), 0.0)

    @property
    def radii(self) -> dict[str, NDArray[np.float64]]:
        """How far each modality may change in L2 (N,) while the other does not."""
        return {name: sigma * self.radius for name, sigma in self.settings.sigma.items()}

    @property
    def eps_av(self) -> NDArray[np.float64]:
        """Push-Pull's budget (N,) of which the whole box, both modalities at once, is certified.

        A box of half side eps in n numbers reaches eps sqrt(n) in L2. It is 0 where a modality has
        no noise.
        """
        unit = per_modality("eps", 1.0, MODALITIES["both"])
        norms = {name: unit[name] * np.sqrt(size) for name, size in self.sizes.items()}
        reach = self._sigmas(norms)[self.plain.track]
        return self.radius / reach

    def certified(self, *, audio: float = 0.0, visual: float = 0.0) -> NDArray[np.bool_]:
        """Frames (N,) whose decision holds for changes below these L2 norms, both at once.

        Args:
            audio: Norm over all samples of the clip.
            visual: Norm over all pixels of all its frames, in grey levels.
        """
        norms = {"audio": np.array(audio), "visual": np.array(visual)}
        found: NDArray[np.bool_] = self._sigmas(norms) < self.radius
        return found

    def share(self, *, audio: float = 0.0, visual: float = 0.0) -> float:
        """Share of all frames that are right and certified at these norms: a lower bound.

        No attack within them leaves the smoothed detector a smaller accuracy, but for what the
        confidence allows.

        Raises:
            ShapeError: If the truth is not known.
        """
        return float((self.right & self.certified(audio=audio, visual=visual)).mean())

    def curve(self, modality: str, *, draws: int = 0) -> list[dict[str, float]]:
        """Share of frames right and certified against the radius of one modality.

        Args:
            modality: "audio" or "visual".
            draws: Of `interval_over`, for an interval of 95 %; 0 for none.

        Raises:
            UnknownName: If there is no such modality.
            ShapeError: If the truth is not known.
        """
        if modality not in self.settings.sigma:
            raise UnknownName("modality", modality, self.settings.sigma)
        shortest = int(np.bincount(self.plain.track).min())
        top = self.settings.sigma[modality] * self.settings.ceiling(shortest)
        return [
            {"radius": float(r), **self._share_with_interval({modality: float(r)}, draws)}
            for r in np.linspace(0.0, top, POINTS)
        ]

    def as_dict(self, *, draws: int = 1000) -> dict[str, Any]:
        """Plain values for JSON; shares need the truth, intervals are of 95 %."""
        known = self.plain.speaking is not None
        reach = self.eps_av
        return {
            "detector": dict(self.detector),
            "data": dict(self.data),
            "settings": self.settings.as_dict(),
            "plain": self.plain.as_dict(),
            "decided": float(self.decided.mean()),
            "interval_over": self.interval_over,
            "right": self._share_with_interval({}, draws) if known else None,
            "sizes": {name: sizes.tolist() for name, sizes in self.sizes.items()},
            "radius": _spread(self.radius),
            "radii": {name: _spread(values) for name, values in self.radii.items()},
            "eps_av": _spread(reach),
            "curves": {m: self.curve(m, draws=draws) for m in self.settings.sigma} if known else {},
            "pairs": self._pairs() if known else [],
            "budgets": self._budgets() if known else [],
            "cost": dict(self.cost),
        }

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Path]:
        """Write certificate.csv, a row for each frame, and certificate.json.

        Args:
            folder: Made if it is not there.
            overwrite: Whether files of any other making may be replaced.

        Returns:
            Files by name.

        Raises:
            OutputError: If a file cannot be written or may not be replaced.
        """
        said = {k: v for k, v in self.as_dict(draws=0).items() if k != "cost"}
        votes = self.votes.tolist()
        origin = self.origin or Origin.of_result("certify", {**said, "votes": votes})
        outputs = Outputs(folder=Path(folder), origin=origin, overwrite=overwrite)
        with outputs.writing(FILES) as paths:
            with paths["certificate.csv"].open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows(self._rows())
            write_json(paths["certificate.json"], self.as_dict(), kind="certificate")
        return {name: outputs.folder / name for name in FILES}

    def _rows(self) -> Iterator[list[Any]]:
        """A row of text for each frame."""
        truth = self.plain.speaking
        number, radii, reach = self.plain.track, self.radii, self.eps_av
        for i in range(len(self)):
            first = int(np.flatnonzero(number == number[i])[0])
            word = "speaking" if self.speaks[i] else "silent"
            figures = (self.bound[i], self.radius[i], radii["audio"][i], radii["visual"][i])
            yield [
                self.names[number[i]],
                i - first,
                "" if truth is None else int(truth[i]),
                f"{self.plain.score[i]:.6g}",
                word if self.decided[i] else "abstain",
                int(self.votes[i]),
                self.settings.n,
                *(f"{value:.6g}" for value in (*figures, reach[i])),
            ]

    def _sigmas(self, norms: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Length of changes of these L2 norms, in sigmas; infinite where there is no noise."""
        squares = []
        for name, sigma in self.settings.sigma.items():
            size = np.asarray(norms[name], np.float64)
            none = np.where(size > 0, math.inf, 0.0)
            squares.append(np.square(size / sigma) if sigma else none)
        found: NDArray[np.float64] = np.sqrt(np.add(*squares))
        return found

    def _share_with_interval(self, norms: Mapping[str, float], draws: int) -> dict[str, Any]:
        kept = self.right & self.certified(**norms)
        found: dict[str, Any] = {"share": float(kept.mean())}
        if draws:
            of = self.plain.track if self.group is None else self.group
            found["interval"] = list(bootstrap_share(kept, of, draws=draws))
        return found

    def _pairs(self) -> list[dict[str, float]]:
        """Shares on a grid of both radii, in quarters of the greatest."""
        top = self.settings.ceiling(int(np.bincount(self.plain.track).min()))
        quarter = {name: top * sigma / 4 for name, sigma in self.settings.sigma.items()}
        norms = [
            {"audio": a * quarter["audio"], "visual": v * quarter["visual"]}
            for a, v in np.ndindex(5, 5)
        ]
        return [{**one, "share": self.share(**one)} for one in norms]

    def _budgets(self) -> list[dict[str, float]]:
        """Shares at Push-Pull's boxes, with the L2 norms of their corners in the median track."""
        reach, right = self.eps_av, self.right
        found = []
        for eps in BUDGETS:
            of = per_modality("eps", eps, MODALITIES["both"])
            corner = {m: of[m] * float(np.sqrt(np.median(size))) for m, size in self.sizes.items()}
            found.append({"eps_av": eps, **corner, "share": float((right & (reach > eps)).mean())})
        return found

    def _repr_html_(self) -> str:
        title = f"{self.detector.get('name', 'detector')}, smoothed; {len(self)} frames"
        table = []
        for name in self.settings.sigma:
            points = self.curve(name) if self.plain.speaking is not None else []
            table += [(name, f"{p['radius']:.4g}", percent(p["share"])) for p in points]
        return html_table(title, ("modality", "L2 radius", "right and certified"), table)


def certify(
    detector: DetectorSource,
    batch: Batch,
    *,
    sigma: float | Mapping[str, float],
    n: int = 1000,
    n0: int = 100,
    alpha: float = 1e-3,
    seed: int = 0,
    batch_frames: int = 1000,
    progress: Progress = no_progress,
) -> Certificate:
    """Certify the decisions of a smoothed detector on clips.

    The noise is added to the valid samples and pixels as they are; nothing is clipped. Noise hangs
    on the seed, the clip's place and the copy alone, so neither `batch_frames` nor the device
    changes a certificate, rounding aside.

    Args:
        detector: Name, path, `FILE.py:FACTORY` or a detector; it works in eval mode and comes back
            as it was.
        batch: Clips, float; with labels where shares of right frames are wanted.
        sigma: Of the noise: for "audio" and "visual" in their units, or one number in units of
            eps_av, as budgets.
        n: Copies by which probabilities are bounded.
        n0: Copies by which decisions are chosen.
        alpha: Probability, for each clip, that one of its frames is certified wrongly; at most.
        seed: Of the noise.
        batch_frames: Frames run at once.
        progress: Called with "certify", copies done and in all.

    Raises:
        ConfigError: If a setting cannot be, or no frame could be certified with so few copies.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.auditing import certify
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> rng, cases = np.random.default_rng(0), (Case.SPEAKING, Case.SILENT)
        >>> batch = Batch.from_clips([draw_clip(rng, case, n_frames=4) for case in cases])
        >>> found = certify("synthetic-a", batch, sigma=10, n=60, n0=10)
        >>> {name: sigma for name, sigma in found.settings.sigma.items()}
        {'audio': 0.001, 'visual': 1.0}
        >>> found.decided.shape, found.cost["copies"]
        ((8,), 140)
    """
    settings = _settings(sigma, n=n, n0=n0, alpha=alpha, seed=seed)
    batch = batch.as_float()
    pieces = [
        _Piece(name=str(i), number=i, identity="", clip=_one(batch, i))
        for i in range(len(batch.faces))
    ]
    return _certified(
        resolve_detector(detector), pieces, settings, Store(None, {}), batch_frames, progress
    )


def certify_tracks(
    detector: DetectorSource,
    root: str | os.PathLike[str],
    *,
    sigma: float | Mapping[str, float],
    n: int = 1000,
    n0: int = 100,
    alpha: float = 1e-3,
    seed: int = 0,
    split: str = "test",
    limit: int = 0,
    frames: int = 0,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    batch_frames: int = 1000,
    device: str | None = None,
    progress: Progress = no_progress,
) -> Certificate:
    """Certify on tracks of a data set: those that an audit with this seed takes.

    With `out` votes are kept there as they are counted: what was stopped goes on, and a greater `n`
    counts only further copies. Settle `n` before the result is known: adding copies until a frame
    is certified voids its confidence.

    Args:
        detector: As `certify`.
        root: Folder of the data set.
        sigma: As `certify`, and so `n`, `n0`, `alpha`, `batch_frames` and `progress`.
        n: See there.
        n0: See there.
        alpha: See there.
        seed: Of the noise, and of the choice of tracks and windows.
        split: "train", "val" or "test".
        limit: How many tracks, half of them mostly speaking where there are such; 0 for all.
        frames: Tracks are cut to a window of so many frames; 0 leaves them whole.
        out: Folder to save the certificate in; see `Certificate.save`.
        overwrite: Whether files of any other making may be replaced there.
        batch_frames: See `certify`.
        device: Where the model runs; a GPU if there is one by default.
        progress: See `certify`.

    Raises:
        DatasetError: If the split cannot be used.
        ConfigError: If a setting cannot be.
        OutputError: If nothing can be written, or a file may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.auditing import certify_tracks
        >>> from pushpull.data import SynthConfig, write_synth
        >>> write_synth(Path("data"), SynthConfig(tracks=14, min_frames=6, max_frames=8))
        >>> asked = {"split": "train", "limit": 2, "frames": 4, "out": "out"}
        >>> found = certify_tracks("synthetic-a", "data", sigma=10, n=60, n0=10, **asked)
        >>> len(found), Path("out/certificate.json").is_file()
        (8, True)
    """
    settings = _settings(sigma, n=n, n0=n0, alpha=alpha, seed=seed)
    root = Path(root)
    model = resolve_detector(detector, device=device)
    clips = choose_clips(open_tracks(root, split), count=limit, frames=frames, seed=seed)
    about = read_about(root)
    data = {
        # Its name only: where it lies says something of the machine, not of the result.
        "name": readable(root.resolve().name),
        "split": split,
        "made": None if about is None else about["made"],
    }
    identity = {**model.card.as_dict(), "class": type(model).__qualname__}
    origin = Origin(
        command="certify",
        settings={
            "detector": identity,
            "clips": clips.identity,
            "data": data,
            "certificate": settings.as_dict(),
        },
    )
    if out is not None:
        Outputs(folder=Path(out), origin=origin, overwrite=overwrite).check(FILES)
    # The name is not part of it: the same weights are the same wherever they lie.
    kept = {"detector": {k: v for k, v in identity.items() if k != "name"}, "seed": seed}
    store = Store(None if out is None else Path(out) / "stages", kept)
    found = _certified(model, list(_pieces(clips)), settings, store, batch_frames, progress)
    found = replace(found, data=data, origin=origin, group=clips.group, interval_over=clips.drawn)
    if out is not None:
        found.save(out, overwrite=overwrite)
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """A clip: its name, the number that its noise hangs on, and what its votes are kept by."""

    name: str
    number: int
    identity: str
    clip: Batch


def _settings(sigma: float | Mapping[str, float], **more: Any) -> CertificateSettings:
    both = per_modality("sigma", sigma, MODALITIES["both"])
    return CertificateSettings(sigma=both, **more)


def _pieces(clips: AuditClips) -> Iterator[_Piece]:
    """The clips one by one, without their padding; noise hangs on the name of the track."""
    names = iter(clips.names)
    for batch in clips.batches:
        for i in range(len(batch.faces)):
            name, clip = next(names), _one(batch, i)
            digest = hashlib.sha256(f"{name} {float(clip.fps[0])} {clip.faces.dtype}".encode())
            for tensor in (clip.waveform, clip.faces):
                digest.update(tensor.contiguous().numpy().tobytes())
            number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
            yield _Piece(
                name=name, number=number, identity=digest.hexdigest(), clip=clip.as_float()
            )


def _one(batch: Batch, i: int) -> Batch:
    """One clip of a batch, without padding."""
    t, s = int(batch.n_frames[i]), int(batch.n_samples[i])
    return Batch(
        waveform=batch.waveform[i : i + 1, :s],
        faces=batch.faces[i : i + 1, :t],
        n_samples=batch.n_samples[i : i + 1],
        n_frames=batch.n_frames[i : i + 1],
        fps=batch.fps[i : i + 1],
        speaking=None if batch.speaking is None else batch.speaking[i : i + 1, :t],
    )


def _certified(
    detector: Detector,
    pieces: Sequence[_Piece],
    settings: CertificateSettings,
    store: Store,
    batch_frames: int,
    progress: Progress,
) -> Certificate:
    start = time.perf_counter()
    lengths = [piece.clip.faces.shape[1] for piece in pieces]
    # What cannot come to anything is refused before any work.
    settings.ceiling(max(lengths))
    each = settings.n0 + settings.n
    modes = [(part, part.training) for part in detector.modules()]
    chosen, votes, scores = [], [], []
    try:
        detector.eval()
        for k, piece in enumerate(pieces):
            noisy = _Noisy.of(detector, piece, settings)
            scores.append(noisy.clean.score[0].double().cpu().numpy())

            def tell(copies: int, before: int = k * each) -> None:
                progress("certify", before + copies, len(pieces) * each)

            counts = _counted(noisy, piece, settings, store, batch_frames, tell)
            speaks = 2 * counts["choose"] > settings.n0
            chosen.append(speaks)
            votes.append(np.where(speaks, counts["bound"], settings.n - counts["bound"]))
    finally:
        for part, training in modes:
            part.training = training
    bounds = [lower_bound(of, settings.n, settings.alpha / len(of)) for of in votes]
    labels = [p.clip.speaking[0].cpu().numpy() for p in pieces if p.clip.speaking is not None]
    return Certificate(
        settings=settings,
        speaks=np.concatenate(chosen),
        votes=np.concatenate(votes),
        bound=np.concatenate(bounds),
        plain=FrameScores.of_tracks(scores, labels if len(labels) == len(pieces) else None),
        names=tuple(piece.name for piece in pieces),
        sizes={
            "audio": np.array([piece.clip.waveform.numel() for piece in pieces]),
            "visual": np.array([piece.clip.faces.numel() for piece in pieces]),
        },
        cost={
            "copies": each * len(pieces),
            "frames": each * sum(lengths),
            "seconds": round(time.perf_counter() - start, 3),
            "stages_made": store.made,
            "stages_reused": store.reused,
        },
        detector=detector.card.as_dict(),
    )


def _counted(
    noisy: _Noisy,
    piece: _Piece,
    settings: CertificateSettings,
    store: Store,
    batch_frames: int,
    tell: Callable[[int], None],
) -> dict[str, NDArray[np.int64]]:
    """Copies that speak in each frame (T,), of those that choose and those that bound."""
    found = {name: np.zeros(piece.clip.faces.shape[1], np.int64) for name in STAGES}
    done = 0
    for stage, count in zip(STAGES, (settings.n0, settings.n), strict=True):
        for first in range(0, count, BLOCK):
            copies = range(first, min(first + BLOCK, count))
            decides = {
                "clip": piece.identity,
                "number": piece.number,
                "sigma": dict(settings.sigma),
                "stage": stage,
                "copies": [copies.start, copies.stop],
            }
            kept = store.get(
                f"votes-{stage}", decides, partial(noisy.votes, stage, copies, batch_frames)
            )
            found[stage] += np.asarray(kept["speaking"], np.int64)
            done += len(copies)
            tell(done)
    return found


STAGES = ("choose", "bound")
"""What noisy copies are for: to choose a decision, or to bound its probability."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Noisy:
    """A clip with noise, and what a detector decides on its copies."""

    detector: Detector
    clip: Batch
    clean: Output
    sigma: Mapping[str, float]
    key: tuple[int, int]

    @classmethod
    def of(cls, detector: Detector, piece: _Piece, settings: CertificateSettings) -> _Noisy:
        clip = piece.clip.to(detector.device)
        with torch.no_grad():
            clean = detector(**clip.inputs)
        key = (settings.seed, piece.number)
        return cls(detector=detector, clip=clip, clean=clean, sigma=settings.sigma, key=key)

    def votes(self, stage: str, copies: range, batch_frames: int) -> dict[str, list[int]]:
        """How many of the copies speak in each frame, as plain values."""
        t = self.clip.faces.shape[1]
        size = max(batch_frames // t, 1)
        found = torch.zeros(t, dtype=torch.int64)
        for first in range(copies.start, copies.stop, size):
            part = range(first, min(first + size, copies.stop))
            found += self._decisions(stage, part).sum(0).cpu()
        return {"speaking": found.tolist()}

    def _decisions(self, stage: str, copies: range) -> Tensor:
        """Whether each copy speaks in each frame (K, T)."""
        k = len(copies)
        inputs = {
            name: value.expand(k, *value.shape[1:]) for name, value in self.clip.inputs.items()
        }
        places = {"audio": ("waveform", "e_a"), "visual": ("faces", "e_v")}
        for modality, (name, embedding) in places.items():
            clean = getattr(self.clean, embedding)
            if self.sigma[modality]:
                inputs[name] = self._noised(inputs[name], modality, stage, copies)
            elif clean is not None:
                # What has no noise is encoded once.
                inputs[embedding] = clean.expand(k, *clean.shape[1:])
        with torch.no_grad():
            decided: Tensor = self.detector(**inputs).score > 0
        return decided

    def _noised(self, x: Tensor, modality: str, stage: str, copies: range) -> Tensor:
        """Inputs (K, ...) with the noise of each copy, drawn on the CPU, as devices differ."""
        found = torch.empty(x.shape, dtype=x.dtype)
        for row, copy in zip(found, copies, strict=True):
            # Mixed, since neighbouring seeds of a generator need not give independent numbers.
            of = (*self.key, STAGES.index(stage), int(modality == "audio"), copy)
            seed = int(np.random.SeedSequence(of).generate_state(1, np.uint64)[0] >> 1)
            row.normal_(generator=torch.Generator().manual_seed(seed))
        return x + self.sigma[modality] * found.to(x.device)


def _quantile(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Phi^-1."""
    from scipy.special import ndtri

    found: NDArray[np.float64] = ndtri(probability)
    return found


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Median and greatest of some frames."""
    return {"median": float(np.median(values)), "largest": float(values.max())}
