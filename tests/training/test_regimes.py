"""Regimes: what a step minimises, in worked examples on a small detector."""

from dataclasses import replace

import pytest
import torch
from support.small_detectors import ConvDetector, LinearDetector, random_batch

from pushpull.attacks import attack
from pushpull.errors import ConfigError, UnknownName
from pushpull.losses.avil import Avil, training_loss
from pushpull.schema import Output
from pushpull.training.config import HardenConfig
from pushpull.training.regimes import build_regime, divergence

PGD = HardenConfig(regime="mix", attack="pgd", eps=40, steps=2)


def total_of(config, detector, batch, seed=3):
    with torch.no_grad():
        return build_regime(config, Avil())(detector, detector, batch, seed)


def adversarial_of(detector, batch, **settings):
    found = attack(detector, batch, eps=40, seed=3, **settings)
    return replace(found.batch, speaking=batch.speaking)


def loss_of(detector, batch) -> float:
    with torch.no_grad():
        return float(training_loss(detector(**batch.inputs), batch.speaking, Avil())["total"])


def test_the_mix_is_of_clean_and_adversarial_losses() -> None:
    detector, batch = LinearDetector(scale=0.02), random_batch()
    clean = loss_of(detector, batch)
    hard = loss_of(detector, adversarial_of(detector, batch, attack="pgd", steps=2))
    assert hard > clean
    for mix in (0.25, 1.0):
        terms = total_of(replace(PGD, mix=mix), detector, batch)
        assert float(terms["total"]) == pytest.approx((1 - mix) * clean + mix * hard)
        assert float(terms["adv_ce_all"]) == pytest.approx(hard)
    assert "ce_all" not in total_of(replace(PGD, mix=1.0), detector, batch)
    alone = total_of(HardenConfig(), detector, batch)
    assert float(alone["total"]) == pytest.approx(clean)


def test_a_one_step_attack_may_start_at_random() -> None:
    detector, batch = LinearDetector(scale=0.02), random_batch()
    config = HardenConfig(regime="mix", attack="fgsm", eps=40, mix=1.0)
    plain = total_of(config, detector, batch)
    assert float(plain["total"]) == pytest.approx(
        loss_of(detector, adversarial_of(detector, batch, attack="fgsm"))
    )
    random = total_of(replace(config, random_start=True), detector, batch)
    assert float(random["total"]) == pytest.approx(
        loss_of(detector, adversarial_of(detector, batch, attack="pgd", steps=1))
    )


def test_divergence_is_that_of_two_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(2, 3, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([[True, True, False], [True, True, True]])
    expected = torch.nn.functional.kl_div(
        q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)[mask]
    found = divergence(Output(logits=p, mask=mask), Output(logits=q, mask=mask))
    assert float(found) == pytest.approx(float(expected.mean()), rel=1e-10)


def test_trades_adds_what_an_adversary_changes() -> None:
    detector, batch = LinearDetector(scale=0.02), random_batch()
    config = replace(PGD, regime="trades", beta=2.0)
    terms = total_of(config, detector, batch)
    assert float(terms["kl"]) > 0
    clean = loss_of(detector, batch)
    assert float(terms["total"]) == pytest.approx(clean + 2 * float(terms["kl"]))


def test_a_detector_in_training_stays_in_training_and_learns() -> None:
    detector, batch = ConvDetector().train(), random_batch()
    terms = build_regime(PGD, Avil())(detector, detector, batch, 3)
    assert detector.training
    assert all(p.grad is None for p in detector.parameters())
    terms["total"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in detector.parameters())


def test_what_cannot_be_is_refused() -> None:
    for config, error, says in (
        (HardenConfig(regime="free"), UnknownName, "unknown regime 'free'"),
        (replace(PGD, attack="cw"), UnknownName, "unknown attack 'cw'"),
        (replace(PGD, objective="dlr"), UnknownName, "unknown objective 'dlr'"),
        (replace(PGD, mix=0.0), ConfigError, r"harden\.mix is 0\.0"),
        (replace(PGD, regime="trades", beta=0.0), ConfigError, r"harden\.beta is 0\.0"),
    ):
        with pytest.raises(error, match=says):
            build_regime(config, Avil())
    detector, batch = LinearDetector(), random_batch()
    with pytest.raises(ConfigError, match="has no labels"):
        total_of(HardenConfig(), detector, replace(batch, speaking=None))
