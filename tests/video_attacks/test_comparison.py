import numpy as np
import pytest

from pushpull.media import probe, read_frames, read_waveform
from pushpull.video_attacks.comparison import spectrogram_db, write_side_by_side, write_views


def test_views_show_both_videos_and_what_differs(attacked, tmp_path):
    paths = write_views(tmp_path, attacked.clean, attacked.asked, amplify=10)
    shown = {kind: probe(paths[kind]) for kind in ("clean", "adversarial", "difference")}
    assert {(i.width, i.height, i.n_frames) for i in shown.values()} == {(320, 240, 25)}
    assert all(paths[kind].stat().st_size > 500 for kind in paths)
    # fgsm at eps_av 20 moves every pixel of a face by 2 levels, and nothing outside of it.
    frames = list(read_frames(paths["difference"]))
    middle = frames[12].gray().astype(float)
    assert abs(np.median(middle) - 128) < 4
    assert (np.abs(middle - 128) > 8).mean() > 0.02
    peak = np.abs(read_waveform(paths["difference"])).max()
    assert 0.5 < peak <= 1.0


def test_both_sides_stand_in_one_picture_with_the_adversarial_sound(attacked, tmp_path):
    path = tmp_path / "both.mp4"
    write_side_by_side(path, attacked.clean, attacked.asked, "fgsm")
    info = probe(path)
    assert (info.width, info.height, info.n_frames) == (640, 240, 25)
    heard, wanted = read_waveform(path), attacked.asked.sound()
    n = min(len(heard), len(wanted)) - 1000
    change = np.abs(heard[1000:n] - wanted[1000:n]).mean()
    assert change < np.abs(heard[1000:n] - np.roll(wanted, 500)[1000:n]).mean() / 2
    # The halves are of one video: they differ by captions, scores and a few levels.
    picture = list(read_frames(path))[12].gray().astype(float)
    left, right = picture[:200, :320], picture[:200, 320:]
    assert np.median(np.abs(left - right)) < 4


def test_a_tone_stands_at_its_place_in_a_spectrogram():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    levels = spectrogram_db(tone)
    # Bins are 16000 / 512 = 31.25 Hz wide.
    assert set(levels.argmax(0).tolist()) == {32}
    assert spectrogram_db(np.zeros(100, np.float32)).max() == pytest.approx(-160)
