import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.fileserver import FileServer, file_server

from pushpull.errors import CheckpointError, ConfigError, UnknownName
from pushpull.models import MODELS, build, weights
from pushpull.models.checkpoints import published_state, save
from pushpull.models.weights import (
    HARDENED,
    KNOWN,
    SHIPPED,
    KnownWeights,
    choose_device,
    list_weights,
    resolve_detector,
    weights_file,
)
from pushpull.runtime.files import KnownFile

FETCHABLE = [name for name, known in KNOWN.items() if known.sha256 is not None]
BY_PATH = [name for name in KNOWN if name not in FETCHABLE]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "guide" / "detectors.md"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUSHPULL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PUSHPULL_WEIGHTS_PATH", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def published(shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published files, on the search path, with an empty cache."""
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    return shared / "weights"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def small(
    server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> KnownWeights:
    """Weights known by name whose file the local server has."""
    path = tmp_path / "served.model"
    torch.save(published_state(build("lr_asd")), path)
    known = replace(
        KNOWN["lr-asd-ava"],
        name="small",
        file="small/served.model",
        url=f"{server.url}/served.model",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    server.files["served.model"] = path.read_bytes()
    monkeypatch.setitem(KNOWN, "small", known)
    monkeypatch.setitem(weights.BY_SHA256, known.sha256, known)
    return known


# The table


def test_every_entry_stands_under_its_name_and_names_a_model() -> None:
    for name, known in KNOWN.items():
        assert known.name == name
        assert known.model in MODELS
        assert known.crop in {"ava", "demo"}
        assert known.licence == "MIT"
        assert known.url.startswith("https://")


@pytest.mark.parametrize("name", FETCHABLE)
def test_what_is_fetched_is_pinned_to_a_commit_and_a_checksum(name: str) -> None:
    known = KNOWN[name]
    assert re.fullmatch(
        rf"https://raw\.githubusercontent\.com/{known.source.removeprefix('https://github.com/')}"
        rf"/[0-9a-f]{{40}}/weight/{Path(known.file).name}",
        known.url,
    )
    assert known.fetchable == KnownFile(known.file, known.url, known.sha256 or "")
    assert re.fullmatch("[0-9a-f]{64}", known.sha256 or "")


def test_no_two_entries_share_a_file() -> None:
    assert len({known.file for known in KNOWN.values()}) == len(KNOWN)
    assert len({known.url for known in KNOWN.values()}) == len(KNOWN)
    assert len({KNOWN[name].sha256 for name in FETCHABLE}) == len(FETCHABLE)


@pytest.mark.parametrize("name", FETCHABLE)
def test_checksums_are_those_of_the_published_files(name: str, shared: Path) -> None:
    path = shared / "weights" / KNOWN[name].file
    assert hashlib.sha256(path.read_bytes()).hexdigest() == KNOWN[name].sha256


def test_the_documentation_lists_exactly_the_table() -> None:
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert [row[:5] for row in rows] == [
        [known.name, known.model, known.trained_on, known.licence, known.crop]
        for known in KNOWN.values()
    ]
    for row in rows:
        assert f"({KNOWN[row[0]].source})" in row[5]
        assert row[5].startswith("by path only") == (row[0] in BY_PATH)


@pytest.mark.parametrize("name", BY_PATH)
def test_the_documentation_links_what_is_not_fetched(name: str) -> None:
    assert f"[`{Path(KNOWN[name].file).name}`]({KNOWN[name].url})" in DOCS.read_text("utf-8")


# Finding the file


@pytest.mark.parametrize("name", FETCHABLE)
def test_known_weights_on_the_search_path_are_used_where_they_lie(
    name: str, published: Path, cache: Path
) -> None:
    assert weights_file(name) == (published / KNOWN[name].file).resolve()
    assert not cache.exists()


def test_known_weights_are_fetched_once_into_the_cache(
    small: KnownWeights, cache: Path, server: FileServer
) -> None:
    assert weights_file("small") == cache / "small" / "served.model"
    assert weights_file("small") == cache / "small" / "served.model"
    assert server.requests == ["served.model"]


@pytest.mark.parametrize("name", BY_PATH)
def test_weights_without_a_checksum_are_not_fetched_but_told_where_to_get(
    name: str, cache: Path
) -> None:
    with pytest.raises(CheckpointError) as error:
        weights_file(name)
    assert str(error.value) == (
        f"{name}: is not fetched, since no checksum of it is published; download it in a browser "
        f"from {KNOWN[name].url} and give the path of the file in place of the name (see "
        "docs/guide/detectors.md)"
    )
    assert not cache.exists()


@pytest.mark.parametrize("path", ["mine.model", "./mine", "runs/mine", Path("light-asd-ava")])
def test_what_is_no_name_is_a_path(path: str | Path) -> None:
    assert weights_file(path) == Path(path)


def test_a_file_without_a_suffix_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").touch()
    monkeypatch.chdir(tmp_path)
    assert weights_file("mine") == Path("mine")


def test_a_known_name_wins_over_a_file_of_that_name(
    small: KnownWeights, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").touch()
    monkeypatch.chdir(tmp_path)
    assert weights_file("small").is_relative_to(cache)
    assert weights_file("./small") == Path("small")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown weights 'light-asd': choose one of light-asd-ava, .*talknet"
    ):
        weights_file("light-asd")


# Loading


@pytest.mark.parametrize("name", FETCHABLE)
def test_known_weights_load_with_what_is_known_of_them(name: str, published: Path) -> None:
    known = KNOWN[name]
    loaded = resolve_detector(name, device="cpu")
    raw = torch.load(published / known.file, map_location="cpu", weights_only=True)
    state = published_state(loaded)
    assert state.keys() == raw.keys()
    assert all(torch.equal(state[key], raw[key]) for key in raw)
    assert not loaded.training
    card = loaded.card
    assert (card.name, card.model, card.sha256) == (name, known.model, known.sha256)
    assert (loaded.card.licence, loaded.card.trained_on) == ("MIT", known.trained_on)
    assert loaded.card.crop == known.crop
    assert loaded.card.path == (published / known.file).resolve()
    assert loaded.device == torch.device("cpu")


def test_a_known_file_given_by_path_is_recognised(small: KnownWeights, tmp_path: Path) -> None:
    loaded = resolve_detector(tmp_path / "served.model", device="cpu")
    assert (loaded.card.name, loaded.card.licence) == ("small", "MIT")


def test_weights_by_path_take_what_their_header_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save(build("lr_asd"), path, licence="CC0-1.0", trained_on="mine", crop="demo")
    loaded = resolve_detector(str(path), device="cpu")
    assert (loaded.card.name, loaded.card.model) == ("mine.safetensors", "lr_asd")
    assert (loaded.card.licence, loaded.card.trained_on, loaded.card.crop) == (
        "CC0-1.0",
        "mine",
        "demo",
    )
    assert loaded.card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_unknown_weights_by_path_claim_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save(published_state(build("lr_asd")), path)
    loaded = resolve_detector(path, device="cpu")
    assert (loaded.card.name, loaded.card.licence, loaded.card.trained_on) == (
        "mine.pt",
        None,
        None,
    )
    assert loaded.card.crop == "ava"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path / 'no.pt'}: no such file")):
        resolve_detector(tmp_path / "no.pt", device="cpu")


# Devices


def test_auto_is_cuda_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_an_error(small: KnownWeights, server: FileServer) -> None:
    with pytest.raises(ConfigError, match="device 'cuda': torch finds no CUDA device here; use"):
        resolve_detector("small", device="cuda")
    assert server.requests == []


@pytest.mark.parametrize("name", ["meta", "mps", "xpu", "cuda:99", "cpu:x"])
def test_a_device_on_which_nothing_can_run_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{name}'"):
        choose_device(name)


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(ConfigError, match="device 'tpux' is unknown; expected auto, cpu or cuda"):
        choose_device("tpux")


# The list


def test_the_list_says_where_each_file_is(
    small: KnownWeights, cache: Path, server: FileServer
) -> None:
    def where() -> dict[str, str]:
        return {row["name"]: row["where"] for row in list_weights()}

    assert list(where()) == [*KNOWN, *SHIPPED]
    assert where()["small"] == "not here, fetched on first use"
    assert where()["talknet-ava"] == "by path only, see docs/guide/detectors.md"
    assert server.requests == []
    weights_file("small")
    assert where()["small"] == str(cache / "small" / "served.model")


def test_the_list_is_text_for_tables_and_json() -> None:
    for row in list_weights():
        assert list(row) == ["name", "model", "licence", "trained_on", "source", "where"]
        assert all(isinstance(value, str) for value in row.values())


@pytest.mark.parametrize("name", SHIPPED)
def test_detectors_of_the_package_work_offline_and_say_what_they_are(name: str) -> None:
    loaded = resolve_detector(name, device="cpu")
    assert loaded.card.name == name
    real = "AVA-ActiveSpeaker, then adversaries of clips of eight people under free licences"
    known = real if name == HARDENED else "synthetic talking faces only"
    assert (loaded.card.trained_on, loaded.card.licence) == (known, "MIT")
    assert loaded.card.path.stat().st_size < (2_200_000 if name == HARDENED else 2_000_000)
    with torch.no_grad():
        output = loaded(torch.zeros(1, 3200), torch.zeros(1, 5, 112, 112))
    assert output.logits.shape == (1, 5, 2)
    assert output.logits.isfinite().all()


def test_detectors_of_the_package_are_small_together() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.values()) < 10_000_000


def test_there_is_a_card_for_each_detector_in_the_package(monkeypatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setattr(sys, "path", [str(root / "scripts"), *sys.path])
    from model_cards import PAGE, page

    assert PAGE.read_text().splitlines() == page()
    for name in SHIPPED:
        assert f"## {name}" in page()
