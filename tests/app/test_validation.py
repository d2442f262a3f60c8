"""The server says what can be asked for without importing the tables, so they are compared here."""

import inspect
import typing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.app.validation import CHOICES, STEPS, USUAL, attack_request, turns_request
from pushpull.attacks import ATTACKS, AttackSettings
from pushpull.attacks.registry import options_of
from pushpull.cli import videos
from pushpull.cli.options import ModalityChoice, NormChoice, SurviveChoice, TargetChoice
from pushpull.errors import ConfigError
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


def test_defaults_are_those_of_the_command_line():
    usual = inspect.signature(videos.attack).parameters
    assert usual["eps"].default == f"{USUAL['eps']:g}"
    for name in ("attack", "modality", "norm", "objective", "target", "space"):
        value = usual[name].default
        assert CHOICES[name][0] == getattr(value, "value", value), name
    assert usual["quantise"].default is False
    assert usual["survive"].default is SurviveChoice.nothing
    assert usual["steps"].default is None, "then each attack has its own"
    assert {name: options_of(name).get("steps") for name in ATTACKS} == STEPS


@pytest.mark.parametrize(
    "faces",
    [
        None, [], [[], []], [[[0, 1, 2]]], [[[1, 0]]], [[[0, 99]]], [[[-1, 2]]], [["ab"]],
        [[[True, 2]]], [{"0": 1}], [[[0.1, 0.2]] * 3000], [[[float("nan"), 1]]],
    ],
)  # fmt: skip
def test_what_are_no_turns_is_refused(faces):
    with pytest.raises(ConfigError):
        turns_request({"faces": faces}, faces=1, duration_s=4.0)


@given(
    st.lists(
        st.tuples(st.floats(0, 9), st.floats(0.01, 1)).map(lambda t: [t[0], t[0] + t[1]]),
        max_size=20,
    )
)
def test_turns_that_were_sent_are_in_order_apart_and_cover_the_same(turns):
    (found,) = turns_request({"faces": [turns]}, faces=1, duration_s=10.0)
    assert all(a[1] < b[0] for a, b in pairwise(found))
    for at in [t for turn in turns for t in (turn[0], sum(turn) / 2)]:
        covered = any(start <= at <= end for start, end in turns)
        assert any(start <= at <= end for start, end in found) == covered


@pytest.mark.parametrize("name", CHOICES["attack"])
def test_every_attack_takes_what_a_form_sends(name):
    settings = attack_request({"attack": name, "eps": 5, "steps": 3})
    for ours in ("space", "quantise", "survive"):
        settings.pop(ours)
    AttackSettings.of(settings.pop("attack"), **settings)
