import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pushpull.app.stimuli import prepare
from pushpull.errors import MediaError
from pushpull.media import read_waveform


def tell(*progress):
    pass


def asked(tmp_path, tensors, fps=25.0):
    path = tmp_path / "adversarial.safetensors"
    save_file(tensors, path)
    source = {"tensors": str(path), "name": "clip", "fps": {"0": fps}}
    return {"kind": "clips", "folder": str(tmp_path / "out"), "sources": [source]}


def tensors(change=1.0):
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 255, (7, 12, 12), generator=generator).float()
    waveform = torch.randint(-9000, 9000, (4480,), generator=generator) / 32768
    return {
        "track-0.clean.faces": faces,
        "track-0.adversarial.faces": faces + change,
        "track-0.clean.waveform": waveform,
        "track-0.adversarial.waveform": waveform + change / 32768,
    }


def test_every_pixel_and_sample_arrives_as_it_was(tmp_path):
    values = tensors()
    (clip,) = prepare(asked(tmp_path, values), tell)["clips"]
    assert (clip["frames"], clip["columns"], clip["audio"], clip["visual"]) == (7, 3, True, True)
    for kind in ("clean", "adversarial"):
        sheet = cv2.imread(str(tmp_path / "out" / f"0-{kind}.png"), cv2.IMREAD_GRAYSCALE)
        for i in range(7):
            row, column = divmod(i, 3)
            seen = sheet[12 * row : 12 * row + 12, 12 * column : 12 * column + 12]
            assert np.array_equal(seen, values[f"track-0.{kind}.faces"][i].numpy())
        heard = read_waveform(tmp_path / "out" / f"0-{kind}.wav")
        assert np.array_equal(heard, values[f"track-0.{kind}.waveform"].numpy())


def test_a_change_below_one_step_is_said_to_be_none(tmp_path):
    (clip,) = prepare(asked(tmp_path, tensors(change=0.3)), tell)["clips"]
    assert (clip["audio"], clip["visual"]) == (False, False)


def test_long_clips_are_cut_to_six_seconds(tmp_path):
    faces = torch.zeros(200, 4, 4)
    values = {f"track-0.{kind}.faces": faces.clone() for kind in ("clean", "adversarial")}
    values |= {f"track-0.{k}.waveform": torch.zeros(128000) for k in ("clean", "adversarial")}
    (clip,) = prepare(asked(tmp_path, values), tell)["clips"]
    assert clip["frames"] == 150
    assert len(read_waveform(tmp_path / "out" / "0-clean.wav")) == 96000


def test_files_that_hold_no_clip_are_an_error(tmp_path):
    with pytest.raises(MediaError, match="hold no clip"):
        prepare(asked(tmp_path, {"other": torch.zeros(1)}), tell)
    spoilt = asked(tmp_path, tensors()) | {"folder": str(tmp_path / "again")}
    (tmp_path / "adversarial.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(MediaError, match="cannot be read"):
        prepare(spoilt, tell)
