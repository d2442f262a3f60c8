"""What an attack on tensors found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from pushpull.attacks.settings import AttackSettings
from pushpull.attacks.threat import Threat
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.records import write_json
from pushpull.schema import Batch, FrameScores, brief

__all__ = ["AttackResult"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttackResult:
    """An attack's best adversary, measured.

    Attributes:
        batch: The adversarial batch: waveform and faces in float32, or float64 if they came so.
        clean: What it was made from and is measured against (on the grid if quantised).
        points: What was moved: as in `batch`, but for the sound of whole videos.
        speaking: Labels (B, T) that were attacked.
        score: Log-odds (B, T) of the attacked detector on `batch`.
        loss: Mean of the objective over the valid frames of each clip (B,).
        curve: The same (E, B) at each evaluation of a candidate, in order.
        linf: Largest change of each moved row, for each modality (N,) float64.
        l2: Euclidean norm of the change, likewise.
        vanished: Modalities whose budget is below one step of the grid, so that nothing changed.
        forwards: Evaluations of the whole batch during the attack.
        backwards: Those of them with a gradient.
        threat: Budgets and ranges.
        settings: Everything that was asked for.
        draws: Evaluations of a random detector to each gradient and comparison; 1 where the same
            input has the same score. `score` is then a mean over further ones.
        members: Of a suite: what each attack did, its name, why it was passed over if it was, its
            evaluations and gradients, and the mean objective reached when it had ended.
        member_scores: Scores (B, T) of the best adversaries that each member found by itself.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models.weights import resolve_detector
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(1), Case.SPEAKING, n_frames=10)
        >>> batch = Batch.from_clips([clip])
        >>> found = attack(resolve_detector("synthetic-a"), batch, "fgsm", eps=5)
        >>> found.faces.shape, found.score.shape, found.curve.shape
        (torch.Size([1, 10, 112, 112]), torch.Size([1, 10]), torch.Size([2, 1]))
        >>> {name: float(size) for name, size in found.linf.items()}
        {'audio': 0.0005, 'visual': 0.5}
    """

    batch: Batch
    clean: Batch
    points: Mapping[str, Tensor]
    speaking: Tensor
    score: Tensor
    loss: Tensor
    curve: Tensor
    linf: Mapping[str, Tensor]
    l2: Mapping[str, Tensor]
    vanished: tuple[str, ...]
    forwards: int
    backwards: int
    threat: Threat
    settings: AttackSettings
    draws: int = 1
    members: tuple[Mapping[str, Any], ...] = ()
    member_scores: Mapping[str, Tensor] = field(default_factory=dict)

    __repr__ = brief

    @property
    def waveform(self) -> Tensor:
        """Adversarial waveforms (B, S)."""
        return self.batch.waveform

    @property
    def faces(self) -> Tensor:
        """Adversarial faces (B, T, H, W)."""
        return self.batch.faces

    @property
    def frame_scores(self) -> FrameScores:
        """Scores of all valid frames with the labels that were attacked; a track for each clip."""
        rows = zip(self.score, self.speaking, self.batch.n_frames.tolist(), strict=True)
        pairs = [(score[:n].cpu().double(), speaking[:n].cpu()) for score, speaking, n in rows]
        return FrameScores.of_tracks([s.numpy() for s, _ in pairs], [y.numpy() for _, y in pairs])

    def as_dict(self) -> dict[str, Any]:
        """What was measured, as plain values for JSON; rates are shares."""
        return {
            "attack": self.settings.as_dict(),
            **self.frame_scores.as_dict(),
            "linf": {name: sizes.tolist() for name, sizes in self.linf.items()},
            "l2": {name: sizes.tolist() for name, sizes in self.l2.items()},
            "loss": self.loss.tolist(),
            "curve": self.curve.tolist(),
            "vanished": list(self.vanished),
            "forwards": self.forwards,
            "backwards": self.backwards,
            "draws": self.draws,
            "members": [dict(member) for member in self.members],
        }

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Path]:
        """Write results.json, and both batches with scores and labels as adversarial.safetensors.

        Args:
            folder: Made if it is not there.
            overwrite: Whether files of any other making may be replaced.

        Returns:
            Files by name.

        Raises:
            OutputError: If a file cannot be written or may not be replaced.
        """
        tensors = {
            f"{kind}.{name}": getattr(of, name)
            for kind, of in (("clean", self.clean), ("adversarial", self.batch))
            for name in ("waveform", "faces")
        } | {name: getattr(self.batch, name) for name in ("n_samples", "n_frames", "fps")}
        tensors |= {"score": self.score, "speaking": self.speaking}
        # Copies, since an input that was not attacked is the clean one itself.
        kept = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
        seen = hashlib.sha256()
        for name in sorted(kept):
            seen.update(name.encode())
            seen.update(kept[name].numpy().tobytes())
        # The adversary itself: who would save another has made it otherwise.
        origin = Origin(command="attack", settings={"tensors": seen.hexdigest()})
        outputs = Outputs(folder=Path(folder), origin=origin, overwrite=overwrite)
        names = ["adversarial.safetensors", "results.json"]
        with outputs.writing(names) as paths:
            save_file(kept, paths["adversarial.safetensors"])
            write_json(paths["results.json"], self.as_dict(), kind="batch-attack")
        return {name: outputs.folder / name for name in names}

    @property
    def queries(self) -> int:
        """Times that the detector was asked about each clip."""
        return self.forwards
