"""`pushpull configs` lists and copies what `pushpull train` takes by name."""

import json

import pytest

from pushpull.training.config import CONFIGS, read_config


def test_all_are_listed(pushpull) -> None:
    code, out, _ = pushpull("configs")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(CONFIGS)
    code, out, _ = pushpull("configs", "--json")
    assert list(json.loads(out)["configs"]) == list(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_copy_is_the_same_configuration(pushpull, tmp_path, name) -> None:
    copy = tmp_path / "mine.toml"
    code, out, _ = pushpull("configs", name, "--out", copy)
    assert (code, out) == (0, f"{copy}\n")
    assert read_config(copy) == read_config(name)
    assert pushpull("configs", name)[1] == copy.read_text()


def test_what_is_there_is_not_written_over(pushpull, tmp_path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("changed")
    code, _, err = pushpull("configs", "talknet", "--out", mine)
    assert code == 2
    assert "is there already" in err
    assert mine.read_text() == "changed"


def test_unknown_names_are_refused(pushpull) -> None:
    code, _, err = pushpull("configs", "talknt")
    assert code == 1
    assert "choose one of light-asd, light-asd-hardened, talknet" in err
