"""Exported files against the detectors that they came from."""

import json
import shutil
import sys
import warnings

import pytest
import torch

from pushpull.defences import defend
from pushpull.detection.clips import CROPS, crop_tracks
from pushpull.detection.face_finders import build_face_finder
from pushpull.detection.tracking import find_tracks
from pushpull.errors import CheckpointError, ConfigError, OutputError, UnknownName
from pushpull.media import read_frames, read_waveform
from pushpull.models import MODELS, build, export
from pushpull.models.checkpoints import load, read_state, save
from pushpull.models.export import FORMATS, METADATA_FILE, ScoreGraph, export_detector
from pushpull.models.features import Window, cepstra, log_power, log_power_spectrogram, mfcc
from pushpull.models.weights import resolve_detector
from pushpull.runtime.version import __version__
from pushpull.schema import Clip

every_format = pytest.mark.parametrize("format", FORMATS)
RATES = (10.0, 12.5, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 50.0, 59.94, 60.0, 64.0)


@pytest.fixture(scope="module")
def real_clip(shared) -> Clip:
    """A person who speaks one sentence, 3 s at 25 fps."""
    path = shared / "clips" / "grid_s31_bgiq6p.mpg"
    track = max(find_tracks(read_frames(path), build_face_finder("dlib")), key=len)
    cut = crop_tracks(read_frames(path), [track], CROPS["ava"])
    faces = torch.stack([torch.from_numpy(face) for _, _, face in cut])
    start = round(float(track.timestamps_s[0]) * 16000)
    waveform = torch.from_numpy(read_waveform(path))[start : start + 640 * len(faces)]
    return Clip(waveform=waveform, faces=faces, fps=25.0)


def inputs_of(clip: Clip):
    return clip.waveform[None], clip.faces[None].float(), torch.tensor([clip.fps])


def random_clip(n_frames: int, fps: float, n_samples: int | None = None):
    n_samples = round(n_frames / fps * 16000) if n_samples is None else n_samples
    return (
        0.1 * torch.randn(1, n_samples),
        255 * torch.rand(1, n_frames, 112, 112),
        torch.tensor([fps]),
    )


def scores(detector, waveform, faces, fps):
    with torch.no_grad():
        return detector(waveform, faces, fps=fps.double()).score


@pytest.mark.parametrize("weights", ["light-asd-ava", "lr-asd-ava"])
@every_format
def test_published_weights_score_a_real_clip_as_before(
    weights, format, shared, real_clip, tmp_path, monkeypatch
):
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    loaded = resolve_detector(weights, device="cpu")
    path = export_detector(loaded, format, tmp_path / f"it{FORMATS[format].suffix}").path
    run = FORMATS[format].read(path)
    for n_frames in (len(real_clip.faces), 30):
        clip = Clip(
            waveform=real_clip.waveform[: 640 * n_frames],
            faces=real_clip.faces[:n_frames],
            fps=25.0,
        )
        want = scores(loaded, *inputs_of(clip))
        with torch.no_grad():
            got = run(*inputs_of(clip))
        assert got.shape == want.shape == (1, n_frames)
        assert want.abs().max() > 1
        assert (got - want).abs().max() <= 1e-3


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_graph_of_any_model_takes_any_length_and_rate(name, format, tmp_path):
    detector = build(name).eval()
    save(detector, tmp_path / "random.safetensors")
    out = tmp_path / f"graph{FORMATS[format].suffix}"
    result = export_detector(tmp_path / "random.safetensors", format, out)
    assert max(result.differences.values()) <= 1e-3
    assert result.n_bytes == out.stat().st_size
    run = FORMATS[format].read(out)
    # Sound that is too short by far, too long, and as long as the picture.
    for clip in (random_clip(6, 30.0, 300), random_clip(2, 25.0, 9000), random_clip(20, 23.976)):
        with torch.no_grad():
            torch.testing.assert_close(run(*clip), scores(detector, *clip), rtol=0, atol=1e-3)


@pytest.mark.parametrize("fps", RATES)
def test_the_graph_rounds_windows_as_the_front_end_does(fps):
    rate = torch.tensor(fps)
    found = [int(export._whole_samples(s, rate)) for s in (0.025, 0.010)]
    assert found == [Window.at(fps).length, Window.at(fps).step]


@pytest.mark.parametrize(
    ("of_power", "front_end"), [(cepstra, mfcc), (log_power, log_power_spectrogram)]
)
@pytest.mark.parametrize("n_samples", [1, 100, 400, 401, 3999, 9000])
@pytest.mark.parametrize("fps", [15.0, 25.0, 30.0])
def test_the_graphs_features_are_those_of_the_front_end(of_power, front_end, n_samples, fps):
    graph = ScoreGraph(build("light_asd"), of_power)
    waveform, n_frames = 0.3 * torch.randn(1, n_samples), torch.tensor([5])
    found = of_power(graph.power(waveform[0], n_frames, torch.tensor(fps)))
    expected = front_end(
        waveform,
        n_samples=torch.tensor([n_samples]),
        n_frames=n_frames,
        fps=torch.tensor([fps], dtype=torch.float64),
    )[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)


def test_silence_has_finite_scores(checkpoint, tmp_path):
    result = export_detector(checkpoint, "onnx", tmp_path / "it.onnx")
    _, faces, fps = random_clip(4, 25.0)
    clip = (torch.zeros(1, 2560), faces, fps)
    got = FORMATS["onnx"].read(result.path)(*clip)
    torch.testing.assert_close(got, scores(load(checkpoint), *clip), rtol=0, atol=1e-3)


def test_files_say_what_is_in_them(checkpoint, tmp_path):
    import onnx

    export_detector(checkpoint, "onnx", tmp_path / "it.onnx")
    model = onnx.load(tmp_path / "it.onnx")
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    export_detector(checkpoint, "torchscript", tmp_path / "it.pt")
    files = {METADATA_FILE: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.load(tmp_path / "it.pt", _extra_files=files)
    assert json.loads(files[METADATA_FILE]) == said
    assert said["detector"] == checkpoint.name
    assert said["model"] == "lr_asd"
    assert said["pushpull"] == __version__
    assert len(said["sha256"]) == 64
    export_detector(checkpoint, "safetensors", tmp_path / "it.safetensors")
    header = read_state(tmp_path / "it.safetensors")[1]
    assert header["metadata"]["sha256"] == said["sha256"]


def test_a_graph_that_scores_otherwise_is_not_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(export.OF_POWER, "lr_asd", log_power)
    with pytest.raises(OutputError, match=r"it.pt: the exported graph is off by .* nothing was"):
        export_detector(checkpoint, "torchscript", tmp_path / "it.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_fails_is_not_written(checkpoint, tmp_path, monkeypatch):
    def fixed(path):
        def run(*inputs):
            raise RuntimeError("Expected 2 elements\nbut found 3")

        return run

    monkeypatch.setitem(
        FORMATS, "torchscript", export.Format(".pt", (), export._write_torchscript, fixed)
    )
    with pytest.raises(OutputError, match="fails on a clip of 12 frames \\(Expected 2 elements\\)"):
        export_detector(checkpoint, "torchscript", tmp_path / "it.pt")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said_before_anything_is_loaded(tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match="unknown export format 'tflite': choose one of onnx"):
        export_detector(tmp_path / "absent", "tflite")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"onnxruntime.*pip install 'pushpull-asd\[export\]'"):
        export_detector(tmp_path / "absent", "onnx")


def test_the_checkpoint_itself_is_never_replaced(checkpoint, tmp_path):
    mine = shutil.copy(checkpoint, tmp_path / "mine.safetensors")
    with pytest.raises(ConfigError, match="is the checkpoint that is exported"):
        export_detector(mine, "safetensors", mine)


def test_a_defence_is_not_exported_as_the_detector_in_it(checkpoint, tmp_path):
    loaded = resolve_detector(checkpoint, device="cpu")
    defended = defend(loaded, "purified")
    with pytest.raises(CheckpointError, match="a Purified is none of the models"):
        export_detector(defended, "onnx", tmp_path / "it.onnx")


def test_the_command_names_the_file_after_the_weights(pushpull, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = pushpull("export", checkpoint, "--format", "torchscript")
    assert code == 0
    assert out.startswith("random.pt: random.safetensors as torchscript, ")
    assert (tmp_path / "random.pt").is_file()
    code, out, _ = pushpull("export", checkpoint, "-f", "onnx", "-o", "here.onnx", "--json")
    record = json.loads(out)
    assert (code, record["path"], record["format"]) == (0, "here.onnx", "onnx")
    assert max(record["differences"].values()) <= 1e-3
    code, _, err = pushpull("export", checkpoint, "--format", "coreml")
    assert (code, err.count("\n")) == (1, 1)
    assert "unknown export format 'coreml'" in err
