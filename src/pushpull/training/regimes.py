"""What a step minimises of a batch: its loss, that of adversaries of it, or both.

A regime is called with the model, the bare detector, the batch and a seed, and gives the terms to
log and the total to minimise. The training loop knows no attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pushpull.errors import ConfigError, UnknownName
from pushpull.evaluation import Perturb, attacker
from pushpull.losses import log_odds
from pushpull.losses.avil import Avil, training_loss
from pushpull.models.detector import Detector
from pushpull.runtime.parallel import sum_over_processes
from pushpull.schema import Batch, Output
from pushpull.training.config import HardenConfig

__all__ = ["REGIMES", "Regime", "build_regime"]

Model = Callable[..., Output]
Regime = Callable[[Model, Detector, Batch, int], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """The loss of the batch as it is."""

    avil: Avil

    def __call__(
        self, model: Model, detector: Detector, batch: Batch, seed: int
    ) -> dict[str, Tensor]:
        """Terms of the training loss."""
        return training_loss(model(**batch.inputs), _labels(batch), self.avil)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """(1 - mix) loss(clean) + mix loss(adversarial), after Goodfellow et al. 2015.

    With mix 1 the clean batch is not run at all.
    """

    avil: Avil
    perturb: Perturb
    mix: float

    def __call__(
        self, model: Model, detector: Detector, batch: Batch, seed: int
    ) -> dict[str, Tensor]:
        """Terms of the clean loss, those of the adversarial one under "adv_*", and the total."""
        labels = _labels(batch)
        adversarial = self.perturb(detector, batch, seed)
        hard = training_loss(model(**adversarial.inputs), labels, self.avil)
        terms = {f"adv_{name}": value for name, value in hard.items()}
        if self.mix == 1:
            return {"total": hard["total"], **terms}
        clean = training_loss(model(**batch.inputs), labels, self.avil)
        total = (1 - self.mix) * clean["total"] + self.mix * hard["total"]
        return {**clean, **terms, "total": total}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trades:
    """loss(clean) + beta KL(clean || adversarial), after Zhang et al. 2019.

    The adversary is the configured attack's, on the labels; with the two classes here, what lowers
    the clean class's probability most is what raises the divergence.
    """

    avil: Avil
    perturb: Perturb
    beta: float

    def __call__(
        self, model: Model, detector: Detector, batch: Batch, seed: int
    ) -> dict[str, Tensor]:
        """Terms of the clean loss, the mean divergence "kl", and the total."""
        adversarial = self.perturb(detector, batch, seed)
        clean_output = model(**batch.inputs)
        clean = training_loss(clean_output, _labels(batch), self.avil)
        kl = divergence(clean_output, model(**adversarial.inputs))
        return {**clean, "kl": kl, "total": clean["total"] + self.beta * kl}


def divergence(clean: Output, adversarial: Output) -> Tensor:
    """Mean over the valid frames of KL(clean || adversarial) of the two classes."""
    p, q = log_odds(clean.logits), log_odds(adversarial.logits)
    terms = sum(
        F.logsigmoid(sign * p).exp() * (F.logsigmoid(sign * p) - F.logsigmoid(sign * q))
        for sign in (1, -1)
    )
    assert isinstance(terms, Tensor)  # noqa: S101
    total = terms.masked_fill(~clean.mask, 0.0).sum()
    return sum_over_processes(total) / sum_over_processes(clean.mask.sum().to(total.dtype))


def _clean(config: HardenConfig, avil: Avil) -> Regime:
    return Clean(avil=avil)


def _mix(config: HardenConfig, avil: Avil) -> Regime:
    if not 0 < config.mix <= 1:
        raise ConfigError(f"harden.mix is {config.mix}; expected more than 0, at most 1")
    return Mixed(avil=avil, perturb=_perturb(config), mix=config.mix)


def _trades(config: HardenConfig, avil: Avil) -> Regime:
    if not 0 < config.beta < float("inf"):
        raise ConfigError(f"harden.beta is {config.beta}; expected a finite number above 0")
    return Trades(avil=avil, perturb=_perturb(config), beta=config.beta)


REGIMES: dict[str, Callable[[HardenConfig, Avil], Regime]] = {
    "none": _clean,
    "mix": _mix,
    "trades": _trades,
}
"""Regimes by name."""


def build_regime(config: HardenConfig, avil: Avil) -> Regime:
    """The regime of a configuration.

    Raises:
        UnknownName: If there is no such regime, attack or objective.
        ConfigError: If a number cannot be.

    Examples:
        >>> from pushpull.losses import Avil
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> from pushpull.training.config import HardenConfig
        >>> from pushpull.training.regimes import build_regime
        >>> batch = Batch.from_clips([draw_clip(np.random.default_rng(0), Case.TURNS, n_frames=2)])
        >>> detector = build("light_asd")
        >>> regime = build_regime(HardenConfig(regime="mix", steps=1), Avil())
        >>> terms = regime(detector, detector, batch, 0)
        >>> terms["total"].requires_grad, "adv_total" in terms
        (True, True)
    """
    if config.regime not in REGIMES:
        raise UnknownName("regime", config.regime, REGIMES)
    return REGIMES[config.regime](config, avil)


def _perturb(config: HardenConfig) -> Perturb:
    settings: dict[str, Any] = {
        "eps": config.eps, "modality": config.modality, "objective": config.objective,
    }  # fmt: skip
    if config.attack == "fgsm" and config.random_start:
        # One long step from a random place is PGD with one step.
        settings |= {"attack": "pgd", "steps": 1}
    elif config.attack == "fgsm":
        settings |= {"attack": "fgsm"}
    else:
        settings |= {"attack": config.attack, "steps": config.steps}
    return attacker(**settings)


def _labels(batch: Batch) -> Tensor:
    if batch.speaking is None:
        raise ConfigError("the batch has no labels; training needs them")
    return batch.speaking
