"""The server says what can be asked for without importing the tables, so they are compared here."""

import typing

import pytest

from pushpull.app.validation import CHOICES, STEPS, attack_request
from pushpull.attacks import ATTACKS, AttackSettings
from pushpull.cli.options import ModalityChoice, NormChoice, TargetChoice
from pushpull.losses import OBJECTIVES
from pushpull.video_attacks import SPACES


def test_choices_are_those_of_the_package():
    assert set(CHOICES["attack"]) == set(ATTACKS) == set(STEPS)
    assert set(CHOICES["objective"]) == set(OBJECTIVES)
    assert set(CHOICES["space"]) == set(SPACES)
    kinds: dict[str, typing.Any] = {
        "modality": ModalityChoice, "norm": NormChoice, "target": TargetChoice,
    }  # fmt: skip
    for name, kind in kinds.items():
        assert set(CHOICES[name]) == {value.value for value in kind}


@pytest.mark.parametrize("name", CHOICES["attack"])
def test_every_attack_takes_what_a_form_sends(name):
    settings = attack_request({"attack": name, "eps": 5, "steps": 3})
    for ours in ("space", "quantise", "survive"):
        settings.pop(ours)
    AttackSettings.of(settings.pop("attack"), **settings)
