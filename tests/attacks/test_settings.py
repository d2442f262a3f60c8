"""One carrier for what decides an attack: what it refuses, and what it says of itself."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_detectors import ConvDetector, random_batch

from pushpull.attacks import ATTACKS, AttackSettings, attack
from pushpull.attacks.registry import is_suite, options_of
from pushpull.errors import ConfigError, UnknownName
from pushpull.losses import OBJECTIVES


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"attack": "cw"}, "unknown attack 'cw'"),
        ({"modality": "smell"}, "unknown modality 'smell'"),
        ({"norm": "l0"}, "unknown norm 'l0'"),
        ({"objective": "dlr"}, "unknown objective 'dlr'"),
        ({"targeted": "singing"}, "unknown target 'singing'"),
    ],
)
def test_a_name_in_no_table_is_refused(settings, says):
    with pytest.raises(UnknownName, match=says):
        AttackSettings.of(**settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"eps": -1}, "eps of audio is -0.0001"),
        ({"eps": float("nan")}, "eps of audio is nan"),
        ({"eps": {"audio": 1e-3}}, "eps is given for audio; expected it for audio, visual"),
        ({"alpha": -1.0}, "alpha of audio is -0.0001"),
        ({"attack": "fgsm", "steps": 3}, "fgsm has no setting steps: it has none"),
        ({"queries": 3, "step": 1}, "pgd has no setting queries, step: it has"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        AttackSettings.of(**settings)


ODD = (10**400, -(10**400), 1e308, float("inf"), float("nan"), 0.5, "x", None, [], {}, True)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_no_value_is_too_odd_for_any_setting(name):
    for option in options_of(name):
        for value in ODD:
            with suppress(ConfigError, UnknownName):
                AttackSettings.of(name, **{option: value})
        if option in ("steps", "alpha"):
            with pytest.raises(ConfigError, match=rf"{option}.* is 1000.*expected a"):
                AttackSettings.of(name, **{option: 10**400})
    with pytest.raises(ConfigError, match=r"eps is 1000.*expected a finite number"):
        AttackSettings.of(name, eps=10**400)


def test_ready_settings_leave_nothing_else_to_be_set():
    ready = AttackSettings.of("mim", eps=2)
    assert AttackSettings.of(ready) is ready
    with pytest.raises(ConfigError, match="steps is given beside ready settings of mim"):
        AttackSettings.of(ready, steps=3)


@given(
    name=st.sampled_from(sorted(ATTACKS)),
    eps=st.floats(0, 100),
    modality=st.sampled_from(["audio", "visual", "both"]),
    norm=st.sampled_from(["linf", "l2"]),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    targeted=st.sampled_from([False, True, "silent", "speaking"]),
    quantise=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_what_settings_say_of_themselves_makes_them_again(
    name, eps, modality, norm, objective, targeted, quantise, seed
):
    if is_suite(name):
        objective = "all"
    settings = AttackSettings.of(
        name, eps=eps, modality=modality, norm=norm, objective=objective, targeted=targeted,
        quantise=quantise, seed=seed,
    )  # fmt: skip
    said = json.loads(json.dumps(settings.as_dict()))
    again = AttackSettings.of(**said)
    assert again.as_dict() == settings.as_dict()
    assert again.threat == settings.threat
    assert set(options_of(name)) <= set(said)


def test_settings_and_keywords_make_the_same_adversary():
    batch = random_batch()
    settings = AttackSettings.of("pgd", eps=20, steps=3, seed=4)
    one = attack(ConvDetector(), batch, settings)
    two = attack(ConvDetector(), batch, "pgd", eps=20, steps=3, seed=4)
    other = attack(ConvDetector(), batch, replace(settings, seed=5))
    assert torch.equal(one.faces, two.faces)
    assert not torch.equal(one.faces, other.faces)
