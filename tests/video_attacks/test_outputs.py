"""Files of an adversary hold what the detector saw."""

import json

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pushpull.media import read_frames, read_waveform
from pushpull.video_attacks.codec import LOSSLESS
from pushpull.video_attacks.outputs import write_files, write_sound, write_tensors


def test_tensors_are_those_of_the_attack_with_labels_and_settings(attacked, tmp_path):
    write_tensors(attacked.asked, tmp_path, json.dumps({"eps": 20}))
    tensors = load_file(tmp_path / "adversarial.safetensors")
    (segment,), (batch,) = attacked.asked.segments, attacked.asked.batches
    wanted = {
        "track-0.clean.waveform": segment.batch.waveform[0],
        "track-0.clean.faces": segment.batch.faces[0],
        "track-0.adversarial.waveform": batch.waveform[0],
        "track-0.adversarial.faces": batch.faces[0],
        "track-0.speaking": segment.batch.speaking[0],
    }
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    with safe_open(tmp_path / "adversarial.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"]) == {"eps": 20}


def test_the_sound_is_written_as_found_and_as_files_hold_it(attacked, tmp_path):
    write_sound(attacked.asked, tmp_path)
    sound = attacked.asked.sound()
    assert np.array_equal(read_waveform(tmp_path / "adversarial.wav"), sound)
    rounded = read_waveform(tmp_path / "adversarial-int16.wav")
    assert np.abs(rounded - sound).max() <= 0.5 / 32768


def test_pictures_are_written_as_the_space_has_them(attacked, tmp_path):
    write_files(attacked.asked, tmp_path, [LOSSLESS])
    names = [path.name for path in tmp_path.iterdir()]
    frames = list(read_frames(tmp_path / names[0]))
    if attacked.settings["space"] == "crop":
        assert names == ["track-0.mkv"]
        wanted = attacked.asked.batches[0].faces[0].round().byte().numpy()
        assert np.array_equal(np.stack([frame.gray() for frame in frames]), wanted)
    else:
        assert names == ["adversarial.mkv"]
        clean = list(read_frames(attacked.clips.path))
        wanted = np.stack([attacked.asked.picture(frame) for frame in clean])
        assert np.array_equal(np.stack([frame.ycc() for frame in frames]), wanted)
