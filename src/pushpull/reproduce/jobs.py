"""What the stages of a reproduction do: each reads folders, works, and writes its own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.attacks import attack
from pushpull.auditing import AuditConfig, audit
from pushpull.data import SynthConfig, Tracks, describe, open_tracks, splits_of, write_synth
from pushpull.errors import DatasetError
from pushpull.evaluation import Perturb, attacker, pooled, score_tracks
from pushpull.losses import Avil, log_odds, training_loss
from pushpull.metrics.imperceptibility import imperceptibility
from pushpull.models.detector import Detector
from pushpull.models.weights import resolve_detector
from pushpull.runtime.files import written_whole
from pushpull.runtime.progress import Progress
from pushpull.runtime.records import write_json
from pushpull.schema import Batch, Output
from pushpull.training import train
from pushpull.training.config import build_config

__all__ = ["audit_row", "embeddings", "geometry", "make_data", "sample", "score", "train_row"]

Settings = Mapping[str, Any]
Needs = Mapping[str, Path]

MODEL = "model.safetensors"
SHOWN_FRAMES = 8
EMBEDDED_FRAMES = 2000


def make_data(settings: Settings, needs: Needs, folder: Path, report: Progress) -> None:
    """The synthetic set, in `data`, and its numbers in stats.json.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import splits_of
        >>> from pushpull.reproduce.jobs import make_data
        >>> from pushpull.runtime.progress import no_progress
        >>> settings = {"tracks": 4, "seed": 7, "held_out": 0.3, "min_frames": 6, "max_frames": 6}
        >>> Path("made").mkdir()
        >>> make_data(settings, {}, Path("made"), no_progress)
        >>> splits_of(Path("made/data"))
        ['train', 'val', 'test']
    """
    config = SynthConfig(**{k: v for k, v in settings.items() if k != "workers"})
    root = folder / "data"
    write_synth(
        root,
        config,
        workers=int(settings.get("workers", 1)),
        progress=report,
    )
    stats = {split: describe(open_tracks(root, split)) for split in splits_of(root)}
    text = {
        split: {"tracks": s.tracks, "frames": s.frames, "speaking": s.speaking, "cases": s.cases}
        for split, s in stats.items()
    }
    write_json(folder / "stats.json", text, kind="stage-result")


def train_row(settings: Settings, needs: Needs, folder: Path, report: Progress) -> None:
    """A detector in model.safetensors; a killed training goes on at its last checkpoint."""
    values = {k: dict(v) for k, v in settings["config"].items()}
    # The weights that other stages read: those of the best epoch, or of the last.
    kept = {"best": "best.safetensors", "final": "final.safetensors"}[settings["keep"]]
    values.setdefault("data", {})["root"] = str(_data(settings, needs))
    values.setdefault("run", {})["out"] = str(folder)
    if "init" in needs:
        values["run"]["init"] = str(needs["init"] / MODEL)
    done = train(build_config(values), resume=True, progress=report)
    write_json(
        folder / "training.json",
        {
            "val_average_precision": done.progress.best,
            "best_epoch": done.progress.best_epoch,
            "epochs": done.progress.epoch,
            "seconds": done.seconds,
            "frames": done.frames,
        },
        kind="stage-result",
    )
    with written_whole(folder / MODEL) as temporary:
        temporary.write_bytes((folder / kept).read_bytes())
    # The state is for resuming only, and is three times the size of the weights.
    (folder / "last.ckpt").unlink(missing_ok=True)


def score(settings: Settings, needs: Needs, folder: Path, report: Progress) -> None:
    """Scores of chosen tracks in scores.npz, as they are or under the attack in `attack`.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.reproduce.jobs import make_data, score
        >>> from pushpull.runtime.progress import no_progress
        >>> synth = {"tracks": 4, "seed": 7, "held_out": 0.3, "min_frames": 6, "max_frames": 6}
        >>> for folder in ("made", "scored"):
        ...     Path(folder).mkdir()
        >>> make_data(synth, {}, Path("made"), no_progress)
        >>> settings = {"model": {"weights": "synthetic-a"}, "split": "test", "tracks": 1}
        >>> settings |= {"balanced": False, "seed": 0, "batch_frames": 600, "attack": None}
        >>> score(settings, {"data": Path("made")}, Path("scored"), no_progress)
        >>> with np.load("scored/scores.npz") as found:
        ...     found["score"].shape
        (6,)
    """
    detector = _detector(settings, needs, "model")
    tracks, numbers = _chosen(settings, needs)
    perturb = _perturb(settings, needs)
    rows = []
    for row in score_tracks(
        detector,
        tracks,
        batch_frames=settings["batch_frames"],
        numbers=numbers,
        perturb=perturb,
        device=detector.device,
    ):
        rows.append(row)
        report("tracks", len(rows), len(numbers))
    found = pooled(rows)
    with written_whole(folder / "scores.npz") as temporary:
        np.savez_compressed(
            temporary,
            score=found.score.astype(np.float32),
            speaking=found.truth,
            track=found.track.astype(np.int32),
        )


def geometry(settings: Settings, needs: Needs, folder: Path, report: Progress) -> None:
    """How embeddings of clean frames lie, in geometry.json: AVIL's terms, each with weight 1.

    L1 is high where the classes lie in one direction (inter-class), L2 where each class is compact
    (intra-class).
    """
    detector = _detector(settings, needs, "model")
    tracks, numbers = _chosen(settings, needs)
    parts: dict[str, list[Tensor]] = {"e_a": [], "e_v": [], "logits": [], "speaking": []}
    for k, batch in enumerate(_batches(tracks, numbers, settings["batch_frames"], detector.device)):
        with torch.no_grad():
            output = detector(**batch.inputs)
        for name, of in parts.items():
            of.append(getattr(batch if name == "speaking" else output, name)[output.mask])
        report("batches", k + 1, None)
    e_a, e_v, logits, speaking = (torch.cat(of)[None] for of in parts.values())
    whole = Output(
        logits=logits, mask=torch.ones_like(speaking, dtype=torch.bool), e_a=e_a, e_v=e_v
    )
    terms = training_loss(whole, speaking, Avil(l1=1, l2=1, l3=1, l4=1))
    kept = ("l1", "l2", "l3", "l4", "norm_a", "norm_v", "margin")
    found = {name: float(terms[name]) for name in kept}
    write_json(folder / "geometry.json", found, kind="stage-result")


def embeddings(settings: Settings, needs: Needs, folder: Path, report: Progress) -> None:
    """e_a and e_v of frames, clean and attacked, in embeddings.npz; norms and margins too."""
    detector = _detector(settings, needs, "model")
    tracks, numbers = _chosen(settings, needs)
    perturb = attacker(seed=settings["seed"], **settings["attack"])
    kept: dict[str, list[NDArray[Any]]] = {}
    for k, batch in enumerate(_batches(tracks, numbers, settings["batch_frames"], detector.device)):
        assert batch.speaking is not None  # noqa: S101
        for kind, one in (("clean", batch), ("attacked", perturb(detector, batch, k))):
            with torch.no_grad():
                output = detector(**one.inputs)
            assert output.e_a is not None  # noqa: S101
            assert output.e_v is not None  # noqa: S101
            values = {"audio": output.e_a, "visual": output.e_v, "score": log_odds(output.logits)}
            for name, value in values.items():
                kept.setdefault(f"{kind}_{name}", []).append(_valid(value, output.mask))
        kept.setdefault("speaking", []).append(_valid(batch.speaking, output.mask))
        report("batches", k + 1, None)
    arrays = {name: np.concatenate(parts) for name, parts in kept.items()}
    rng = np.random.default_rng(settings["seed"])
    n = len(arrays["speaking"])
    some = np.sort(rng.permutation(n)[:EMBEDDED_FRAMES])
    with written_whole(folder / "embeddings.npz") as temporary:
        np.savez(temporary, allow_pickle=False, **{name: a[some] for name, a in arrays.items()})
    label = np.where(arrays["speaking"] == 1, 1.0, -1.0)
    write_json(
        folder / "norms.json",
        {
            kind: {
                "audio_norm": float(np.linalg.norm(arrays[f"{kind}_audio"], axis=1).mean()),
                "visual_norm": float(np.linalg.norm(arrays[f"{kind}_visual"], axis=1).mean()),
                "pair_distance": float(
                    np.linalg.norm(
                        arrays[f"{kind}_audio"] - arrays[f"{kind}_visual"], axis=1
                    ).mean()
                ),
                "margin": float((label * arrays[f"{kind}_score"]).mean()),
                "margin_99": float(np.quantile(np.abs(arrays[f"{kind}_score"]), 0.99)),
            }
            for kind in ("clean", "attacked")
        },
        kind="stage-result",
    )


def sample(settings: Settings, needs: Needs, folder: Path, report: Progress) -> None:
    """A few clips and their adversaries, to look at and listen to: sample-K.npz, samples.json."""
    detector = _detector(settings, needs, "model")
    tracks, numbers = _chosen(settings, needs)
    rows = []
    for k, number in enumerate(numbers):
        example = tracks[number]
        batch = Batch.from_clips([example.clip]).to(detector.device)
        asked = dict(settings["attack"])
        found = attack(detector, batch, asked.pop("attack"), seed=settings["seed"], **asked)
        with torch.no_grad():
            clean = log_odds(detector(**found.clean.inputs).logits)[0]
        measured = imperceptibility(found.clean, found.batch)
        with written_whole(folder / f"sample-{k}.npz") as temporary:
            np.savez(
                temporary,
                clean_waveform=found.clean.waveform[0].cpu().numpy(),
                waveform=found.waveform[0].cpu().numpy(),
                clean_faces=_spread(found.clean.faces[0]),
                faces=_spread(found.faces[0]),
                clean_score=clean.cpu().numpy(),
                score=found.score[0].cpu().numpy(),
                speaking=found.speaking[0].cpu().numpy(),
            )
        rows.append(
            {
                "track_id": example.track_id,
                "case": example.case,
                "fps": example.clip.fps,
                "snr_db": float(measured.snr_db[0]),
                "psnr_db": float(measured.psnr_db[0]),
                "ssim": float(measured.ssim[0]),
            }
        )
        report("clips", k + 1, len(numbers))
    write_json(folder / "samples.json", {"clips": rows}, kind="stage-result")


def audit_row(settings: Settings, needs: Needs, folder: Path, report: Progress) -> None:
    """An audit of the model in `audit`, with the surrogates to transfer from."""
    # Settings have been through JSON, where tuples become lists.
    how: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in settings["how"].items()
    }
    audit(
        _detector(settings, needs, "model"),
        _data(settings, needs),
        out=folder / "audit",
        split=settings["split"],
        eps=settings["eps"],
        config=AuditConfig(**how),
        surrogates=[_detector(settings, needs, role) for role in settings["surrogates"]],
        progress=report,
    )


def _data(settings: Settings, needs: Needs) -> Path:
    """Folder of the data: made by a stage, or given."""
    return needs["data"] / "data" if "data" in needs else Path(settings["root"])


def _detector(settings: Settings, needs: Needs, role: str) -> Detector:
    """The detector of a role: trained by a stage, or a file or name."""
    source = needs[role] / MODEL if role in needs else settings[role]["weights"]
    return resolve_detector(source, device=settings.get("device", "auto"))


def _chosen(settings: Settings, needs: Needs) -> tuple[Tracks, list[int]]:
    tracks = open_tracks(_data(settings, needs), settings["split"])
    numbers = chosen_tracks(
        tracks, settings["tracks"], seed=settings["seed"], balanced=settings["balanced"]
    )
    return tracks, numbers


def chosen_tracks(tracks: Tracks, count: int, *, seed: int, balanced: bool) -> list[int]:
    """Some tracks, by lot, or all; balanced: half of them mostly speaking, as far as there are.

    Args:
        tracks: Those to choose from.
        count: How many; 0 for all.
        seed: Of the lot.
        balanced: Whether half of them should mostly speak.

    Raises:
        DatasetError: If there are none.
    """
    if count == 0 and len(tracks):
        return list(range(len(tracks)))
    order = np.random.default_rng(seed).permutation(len(tracks))
    if balanced:
        talk: dict[bool, list[int]] = {True: [], False: []}
        for i in map(int, order):
            speaking = tracks[i].clip.speaking
            assert speaking is not None  # noqa: S101
            talk[bool(speaking.float().mean() > 0.5)].append(i)
            if all(len(found) >= count // 2 for found in talk.values()):
                break
        chosen = talk[True][: count // 2] + talk[False][: count // 2]
    else:
        chosen = [int(i) for i in order[:count]]
    if not chosen:
        raise DatasetError("the split has no tracks to choose from; expected at least one")
    return sorted(chosen)


def _perturb(settings: Settings, needs: Needs) -> Perturb | None:
    if settings["attack"] is None:
        return None
    white_box = attacker(seed=settings["seed"], **settings["attack"])
    if "surrogate" not in settings and "surrogate" not in needs:
        return white_box
    surrogate = _detector(settings, needs, "surrogate")

    def black_box(detector: Detector, batch: Batch, number: int) -> Batch:
        return white_box(surrogate, batch, number)

    return black_box


def _batches(
    tracks: Tracks, numbers: Sequence[int], batch_frames: int, device: torch.device
) -> list[Batch]:
    batches, members, frames = [], [], 0
    for number in numbers:
        example = tracks[number]
        members.append(example.clip)
        frames += len(example.clip.faces)
        if frames >= batch_frames:
            batches.append(Batch.from_clips(members))
            members, frames = [], 0
    if members:
        batches.append(Batch.from_clips(members))
    return [replace(batch, speaking=batch.speaking).to(device) for batch in batches]


def _valid(values: Tensor, mask: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values[mask].cpu().numpy()
    return found


def _spread(faces: Tensor) -> NDArray[np.float32]:
    """A few frames of a clip, evenly spread."""
    at = torch.linspace(0, len(faces) - 1, min(SHOWN_FRAMES, len(faces))).round().long()
    picked: NDArray[np.float32] = faces[at.to(faces.device)].float().cpu().numpy()
    return picked
