"""Attacks on the detectors of the package, with fresh weights and few frames."""

from dataclasses import replace

import pytest
import torch
from support.small_detectors import random_batch

from pushpull.attacks import attack, transfer
from pushpull.attacks.search import Search, held_still
from pushpull.attacks.space import CropSpace
from pushpull.attacks.threat import Threat
from pushpull.losses import Goal, build_objective
from pushpull.models import MODELS, build


@pytest.mark.parametrize("name", MODELS)
def test_one_modality_alone_has_the_gradient_that_it_has_in_both(name: str) -> None:
    detector, batch = build(name), random_batch((4, 3))
    assert batch.speaking is not None
    aim = build_objective("all", Goal(labels=batch.speaking))
    gradients = {}
    with held_still(detector):
        for modality in ("both", "audio", "visual"):
            search = Search(detector, CropSpace(batch, Threat.of(5, modality=modality)), aim)
            # The second gradient is the one with the kept embeddings.
            search.gradient(search.start)
            _, gradients[modality] = search.gradient(search.start)
    for modality in ("audio", "visual"):
        alone, together = gradients[modality][modality], gradients["both"][modality]
        scale = float(together.abs().max())
        assert scale > 0
        torch.testing.assert_close(alone, together, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("name", MODELS)
def test_a_joint_attack_raises_the_loss_of_every_detector(name: str) -> None:
    batch = random_batch((4, 3))
    attacked = attack(build(name), batch, "bim", eps=5, steps=2)
    assert bool((attacked.loss > attacked.curve[0]).all())
    assert float(attacked.linf["audio"].max()) <= 5e-4
    assert float(attacked.linf["visual"].max()) <= 0.5


def test_adversaries_go_from_one_detector_to_another_with_other_features() -> None:
    batch = replace(random_batch((4,)), speaking=None)
    target = build("talknet")
    moved = transfer(build("spec_talknet"), target, batch, "fgsm", eps=5)
    expected = target.eval()(**moved.batch.inputs)
    torch.testing.assert_close(moved.score, expected.score)
