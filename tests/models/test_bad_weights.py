"""What a user sees who gives `pushpull detect` weights that cannot be used."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pushpull.cli import main
from pushpull.models import build
from pushpull.models.checkpoints import published_state, save

State = dict[str, Tensor]


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('was run')",)


def without_a_key(state: State, path: Path) -> None:
    torch.save({k: v for k, v in state.items() if k != "lossAV.FC.bias"}, path)


def cut_short(state: State, path: Path) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:100_000])


def own_cut_short(state: State, path: Path) -> None:
    save(build("lr_asd"), path)
    path.write_bytes(path.read_bytes()[:100_000])


# What lies at the path, and what the message says of it.
BAD: dict[str, tuple[Callable[[State, Path], object], str]] = {
    "nothing": (lambda _, path: None, "no such file; expected a published checkpoint"),
    "a folder": (lambda _, path: path.mkdir(), "is a folder; expected a published checkpoint"),
    "no bytes": (lambda _, path: path.touch(), "is empty (0 bytes); copy or download it again"),
    "text": (lambda _, path: path.write_text("hello"), "is no checkpoint (it starts with 'hello')"),
    "code": (
        lambda state, path: torch.save({**state, "x": Payload()}, path),
        "refused, since loading it would call",
    ),
    "half a file": (cut_short, "damaged, cut short or no checkpoint"),
    "half an own file": (own_cut_short, "safetensors, but damaged or cut short"),
    "no weights": (lambda _, path: torch.save({"epoch": 3}, path), "holds a dict whose 'epoch'"),
    "another network": (
        lambda _, path: torch.save(nn.Linear(2, 2).state_dict(), path),
        "its entries (weight, bias) fit none of the models talknet",
    ),
    "a key missing": (without_a_key, "does not fit lr_asd: of its 168 entries 1 missing (lossAV"),
    "a key too many": (
        lambda state, path: torch.save({**state, "model.more": torch.zeros(1)}, path),
        "does not fit lr_asd: of its 168 entries 1 unexpected (model.more)",
    ),
    "a key misshaped": (
        lambda state, path: torch.save({**state, "lossAV.FC.bias": torch.zeros(5)}, path),
        "does not fit lr_asd: of its 168 entries 1 of another shape (lossAV.FC.bias is 5, ",
    ),
    "NaN": (
        lambda state, path: torch.save(
            {**state, "lossAV.FC.bias": torch.tensor([0, torch.nan])}, path
        ),
        "NaN or infinity in 1 of 168 entries (lossAV.FC.bias)",
    ),
}


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return published_state(build("lr_asd"))


def detect(
    weights: str, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
) -> str:
    """Run `pushpull detect`; it must fail with one line on stderr, which is returned."""
    out = folder / "out"
    (folder / "talk.mp4").touch()
    arguments = ["detect", str(folder / "talk.mp4"), "--detector", weights, "--out", str(out)]
    patch.setattr(sys, "argv", ["pushpull", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert not out.exists() or list(out.iterdir()) == []
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("error: ")
    return said.err.removeprefix("error: ")


@pytest.mark.parametrize("case", BAD)
def test_bad_weights_end_in_one_line_and_exit_code_1(
    case: str,
    state: State,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, message = BAD[case]
    path = tmp_path / "bad.model"
    make(state, path)
    assert detect(str(path), tmp_path, capsys, monkeypatch).startswith(f"{path}: {message}")


def test_an_unknown_name_lists_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = detect("light-asd", tmp_path, capsys, monkeypatch)
    assert line.startswith("unknown weights 'light-asd': choose one of light-asd-ava, ")


def test_talknet_by_name_is_told_where_to_get(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = detect("talknet-ava", tmp_path, capsys, monkeypatch)
    assert "download it in a browser from https://drive.google.com/file/d/" in line
