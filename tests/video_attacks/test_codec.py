"""Files hold what was written into them, or what their codec leaves of it."""

import numpy as np
import pytest
import torch

from pushpull.errors import ConfigError
from pushpull.media import probe, read_frames, read_waveform
from pushpull.schema import GRID
from pushpull.video_attacks.codec import LOSSLESS, Codec


@pytest.mark.parametrize("crf", [-1, 60])
def test_crf_out_of_range_is_refused(crf):
    with pytest.raises(ConfigError, match=rf"crf is {crf}; expected a whole number in 0\.\.51"):
        Codec(crf=crf)


def test_lossless_faces_are_those_written_rounded(tmp_path):
    faces = torch.randint(0, 256, (4, 112, 112)).float() + 0.2
    LOSSLESS.write_faces(tmp_path / "faces.mkv", faces, 25.0)
    kept = np.stack([frame.gray() for frame in read_frames(tmp_path / "faces.mkv")])
    assert np.array_equal(kept, faces.round().byte().numpy())


def test_a_lossless_video_keeps_luma_and_sound(talking, tmp_path):
    pictures = [(frame.ycc(), frame.time_s) for frame in read_frames(talking)][:5]
    step = GRID["audio"]
    waveform = (np.arange(3200) % 200 - 100).astype(np.float32) * np.float32(step)
    LOSSLESS.write_video(tmp_path / "v.mkv", pictures, waveform, probe(talking))
    kept = [frame.ycc() for frame in read_frames(tmp_path / "v.mkv")]
    assert np.array_equal(np.stack(kept), np.stack([picture for picture, _ in pictures]))
    assert np.array_equal(read_waveform(tmp_path / "v.mkv")[:3200], waveform)


def test_sound_alone_is_exact_or_close(tmp_path):
    tone = (0.5 * np.sin(np.arange(8000) / 8)).astype(np.float32)
    errors = {}
    for codec in (LOSSLESS, Codec(crf=20)):
        path = tmp_path / f"s{codec.sound_suffix}"
        codec.write_sound(path, tone)
        heard = read_waveform(path)[1000:7000]
        errors[codec.name] = float(np.abs(heard - tone[1000:7000]).max())
    assert errors["lossless"] <= GRID["audio"] / 2
    assert GRID["audio"] < errors["h264 crf 20 + aac"] < 0.05
