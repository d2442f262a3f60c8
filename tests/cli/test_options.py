"""One vocabulary: an option of one name is the same everywhere, and every command has the usual."""

from collections import defaultdict
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.models import OptionInfo

from pushpull.attacks import ATTACKS
from pushpull.cli import app
from pushpull.cli.options import (
    ATTACK,
    VIDEO_SUFFIXES,
    VideoChoice,
    attack_settings,
    budget_of,
    videos_in,
)
from pushpull.detection import VIDEOS
from pushpull.errors import ConfigError, MediaError, UnknownName

SHARED = {
    "--attack": "-a", "--detector": "-d", "--device": "", "--eps": "", "--face-finder": "",
    "--json": "", "--limit": "", "--out": "-o", "--quiet": "-q", "--seed": "", "--steps": "",
    "--workers": "",
}  # fmt: skip
"""The vocabulary, and what stands for it."""
ANOTHER_WORD = {"--weights", "--method", "--duration", "--output", "--samples", "-n"}
"""Words that once stood beside the vocabulary, or would."""


def leaves(typed=app, name=""):
    """The function of every command that does something, by the command's name."""
    for command in typed.registered_commands:
        word = command.name or command.callback.__name__
        yield f"{name} {word}".strip(), command.callback
    for group in typed.registered_groups:
        yield from leaves(group.typer_instance, f"{name} {group.name}".strip())


COMMANDS = dict(leaves())


def plain(kind):
    """A type without None and without what says that there may be several."""
    if get_origin(kind) in (UnionType, Union):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    return get_args(kind)[0] if get_origin(kind) is list else kind


def words_of(said):
    """What an option is called, where it is not left to the name of the parameter."""
    declared = (said.default, *(said.param_decls or ()))
    given = [text for text in declared if isinstance(text, str) and text.startswith("-")]
    return [word for text in given for word in text.split("/")]


def parameters():
    """Command, words, type and what typer was told, of every argument and option."""
    for command, function in COMMANDS.items():
        for name, hint in get_type_hints(function, include_extras=True).items():
            if name != "return":
                kind, said = get_args(hint)
                yield command, words_of(said) or [f"--{name.replace('_', '-')}"], plain(kind), said


def options_by_word():
    """Where each option is, what typer was told of it there, and its type."""
    found = defaultdict(dict)
    for command, words, kind, said in parameters():
        for word in words if isinstance(said, OptionInfo) else ():
            found[word][command] = (said, kind)
    return found


def test_there_are_commands():
    assert {"detect", "attack", "train", "evaluate", "audit", "data synth"} <= set(COMMANDS)


@pytest.mark.parametrize("word", ["--json", "--quiet", "-q"])
def test_every_command_has_json_and_quiet(word):
    assert set(options_by_word()[word]) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_parameter_says_what_it_is(name):
    summary = COMMANDS[name].__doc__.splitlines()[0]
    assert len(summary) <= 66
    assert summary.endswith(".")
    assert all(said.help for command, *_, said in parameters() if command == name)


@pytest.mark.parametrize("word", options_by_word())
def test_an_option_of_one_name_is_the_same_everywhere(word):
    found = options_by_word()[word]
    assert len({id(said) for said, _ in found.values()}) == 1, list(found)
    assert len({kind for _, kind in found.values()}) == 1, list(found)


@pytest.mark.parametrize("word", SHARED)
def test_the_vocabulary_is_in_use(word):
    found = options_by_word()[word]
    assert len(found) > 1
    for said, _ in found.values():
        assert set(words_of(said)) == {word, SHARED[word]} - {""}


@pytest.mark.parametrize("word", ["--seed", "--steps", "--seeds", "--n", "--n0"])
def test_what_counts_work_or_makes_seeds_has_an_end(word, pushpull):
    found = options_by_word()[word]
    assert found
    for command, (said, _) in found.items():
        assert said.max is not None, command
    code, _, err = pushpull(*next(iter(found)).split(), word, 10**30)
    assert code == 2
    assert f"Invalid value for '{word}': Input should be less than or equal to" in err


def test_there_is_no_second_word_for_anything():
    assert set(options_by_word()) & ANOTHER_WORD == set()


def test_the_help_of_attack_names_every_attack():
    said = set(ATTACK.help.rstrip(".").replace(" or ", ", ").split(", "))
    assert said == set(ATTACKS)
    assert len(ATTACK.help) < 120


@given(st.floats(0.01, 1e3), st.floats(1e-6, 1))
def test_budgets_are_numbers_or_one_of_each_modality(visual, audio):
    assert budget_of(repr(visual)) == visual
    assert budget_of(f"audio={audio!r}, visual={visual!r}") == {"audio": audio, "visual": visual}


@pytest.mark.parametrize("text", ["", "much", "audio=", "audio=1,visual", "1,2"])
def test_what_is_no_budget_is_named(text):
    with pytest.raises(ConfigError, match=r"--eps is .*; expected a number, or audio=NUMBER"):
        budget_of(text)


def test_attacks_take_the_options_of_a_command():
    settings = attack_settings("pgd", "3", 7, modality="audio", seed=5)
    assert (settings.attack, settings.eps, settings.options) == ("pgd", 3.0, {"steps": 7})
    assert (settings.modality, settings.seed) == ("audio", 5)
    assert attack_settings("pgd", "3", None).options == {}
    with pytest.raises(UnknownName, match="choose one of apgd, bim"):
        attack_settings("pdg", "3", None)


def test_videos_are_files_and_those_of_folders_by_name(tmp_path):
    for name in ("b.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).touch()
    other = Path("elsewhere.bin")
    assert videos_in([other, tmp_path]) == [other, tmp_path / "a.MKV", tmp_path / "b.mp4"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MediaError, match=r"holds no video \(\.avi, .*\); expected at least one"):
        videos_in([empty])
    assert ".mp4" in VIDEO_SUFFIXES


def test_ways_of_making_a_video_are_those_of_the_library():
    assert [choice.value for choice in VideoChoice] == list(VIDEOS)
