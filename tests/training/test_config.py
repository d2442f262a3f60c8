"""Settings of training: files and changes are read, and nothing unknown passes."""

import re
from contextlib import suppress
from dataclasses import fields
from typing import get_type_hints

import pytest

from pushpull.errors import ConfigError, PushPullError, UnknownName
from pushpull.training.config import CONFIGS, TrainConfig, read_config, title_of

TEXT = """
[data]
root = "set"
[model]
name = "light_asd"
[avil]
l1 = 1
l4 = 0.5
[optim]
lr = 1e-3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(TEXT)
    return path


def test_a_file_with_changes(file) -> None:
    config = read_config(
        file, ["optim.lr=3e-4", "run.out=some/where", "data.augment=false", "harden.regime=mix"]
    )
    assert (config.data.root, config.model.name) == ("set", "light_asd")
    assert (config.optim.lr, config.optim.decay, config.optim.epochs) == (3e-4, 0.95, 25)
    assert config.avil.signed == {"l1": 1.0, "l4": 0.5}
    assert (config.run.out, config.data.augment, config.harden.regime) == (
        "some/where",
        False,
        "mix",
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_of_the_package_are_read_by_name(name) -> None:
    config = read_config(name, ["run.seed=3"])
    assert config.model.name == re.sub("-(small|hardened)$", "", name).replace("-", "_")
    assert config.run.seed == 3
    assert config == read_config(CONFIGS[name], ["run.seed=3"])
    assert len(title_of(name)) > 20


def test_every_file_of_the_package_has_a_name() -> None:
    folder = CONFIGS["talknet"].parent
    assert sorted(CONFIGS.values()) == sorted(folder.iterdir())


@pytest.mark.parametrize("name", ["talknet", "light-asd"])
def test_recipes_of_the_authors(name) -> None:
    config = read_config(name)
    assert (config.optim.decay, config.model.options) == (0.95, {})


def test_a_name_that_is_neither_known_nor_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UnknownName, match=r"'talknt': choose one of light-asd, light-asd-hardened, talknet"
    ):
        read_config("talknt")
    (tmp_path / "mine").write_text(TEXT)
    assert read_config("mine").model.name == "light_asd"
    (tmp_path / "talknet").write_text(TEXT)
    assert read_config("talknet").model.name == "talknet"
    assert read_config("./talknet").model.name == "light_asd"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("optim.rate=1", "optim: unknown key 'rate'; it knows accumulate, clip_norm, decay"),
        ("optimiser.lr=1", "unknown key 'optimiser'; it knows avil, data"),
        ("optim.lr=fast", "optim, lr: got 'fast'; expected float"),
        ("optim.epochs=true", "optim, epochs: got True; expected int"),
        ("optim.epochs=0", r"optim\.epochs is 0; expected at least 1"),
        ("optim.lr=nan", r"optim\.lr is nan"),
        ("optim=3", "optim: got 3; expected a section of keys"),
        ("optim.lr.x=3", "lr is no section"),
        ("optim.lr", "'optim.lr' is no change; expected section.key=value"),
        ("model.name=talknot", "unknown model 'talknot': choose one of"),
        ("run.precision=16", "run, precision: got 16; expected str"),
        ("run.precision=fp8", "unknown precision 'fp8'"),
        ("avil.l3_reading=no", "unknown reading of L3 'no'"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(file, change, says) -> None:
    with pytest.raises(PushPullError, match=says):
        read_config(file, [change])


def test_a_file_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[data\n")
    with pytest.raises(ConfigError, match=r"bad\.toml: cannot be read as TOML"):
        read_config(tmp_path / "bad.toml")
    (tmp_path / "empty.toml").write_text("[data]\n")
    with pytest.raises(ConfigError, match=r"empty\.toml, data: 'root' is missing"):
        read_config(tmp_path / "empty.toml")


@pytest.mark.parametrize(
    "change",
    [
        *("optim.clip_norm=-1", "optim.clip_norm=nan", "optim.lr=1e-320", "optim.lr=inf"),
        *("optim.decay=1e300", "run.checkpoint_s=nan", "run.checkpoint_s=-1"),
        *('run.out=""', 'data.root=""', 'run.out="a\\u0000b"', 'run.init="a\\u0000b"'),
        *("run.device=meta", "data.train=../else", "harden.attack=none", "harden.steps=0"),
        *("harden.eps=1e30", "harden.eps=-1", "harden.mix=2", "harden.beta=nan"),
        *(f"run.seed={2**64}", f"data.limit={2**63}", f"optim.epochs={10**25}"),
        *(
            "run.seed=" + "9" * 10_000,
            "optim.lr=" + "9" * 400,
            "optim.lr=" + "[" * 5000,
            "harden.modality=none",
        ),
        *("data.workers=99999999", "harden.objective=none"),
    ],
    ids=lambda change: change[:24],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(file, change) -> None:
    with pytest.raises(ConfigError):
        read_config(file, [change])


NUMBERS = ("9" * 400, "-" + "9" * 400, "1e308", "-1e308", "inf", "-inf", "nan", "-1", "0", "0.5")
SETTINGS = [
    f"{section.name}.{setting.name}"
    for section in fields(TrainConfig)
    for setting in fields(get_type_hints(TrainConfig)[section.name])
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_number_is_too_odd_for_any_setting(file, setting) -> None:
    for number in NUMBERS:
        with suppress(PushPullError):
            read_config(file, [f"{setting}={number}"])


def test_what_is_too_large_is_shown_in_short(file) -> None:
    with pytest.raises(ConfigError, match=r"run\.processes is 99999999; expected at most 65536"):
        read_config(file, ["run.processes=99999999"])
    with pytest.raises(ConfigError, match=r"optim\.epochs is 9{20}\.\.\. \(400 digits\); expected"):
        read_config(file, ["optim.epochs=" + "9" * 400])


@pytest.mark.parametrize(
    "text",
    ["optim.lr = " + "[" * 5000, "[optim]\nlr = " + "9" * 10_000, "\0", "[data]\nroot = 3"],
    ids=lambda text: text[:16],
)
def test_a_file_that_no_parser_likes_is_refused(tmp_path, text) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.toml"):
        read_config(path)


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"/dev/zero: cannot be read as TOML \(is larger than"):
        read_config("/dev/zero")


def test_the_budget_rises_and_what_it_ends_at_is_the_budget() -> None:
    harden = read_config("light-asd-hardened", ["data.root=set"]).harden
    budgets = [harden.at(epoch).eps for epoch in range(1, 10)]
    assert budgets == sorted(budgets)
    assert budgets[0] == pytest.approx(harden.eps / harden.ramp_epochs)
    assert set(budgets[harden.ramp_epochs - 1 :]) == {harden.eps}


def test_an_attack_to_validate_with_is_checked_before_any_work(file) -> None:
    with pytest.raises(UnknownName, match="unknown attack 'pdg'"):
        read_config(file, ["harden.validate=pdg"])
