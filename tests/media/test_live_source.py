"""Sources that come as they come."""

import time

import numpy as np
import pytest
from support.media_files import make_video

from pushpull.errors import MediaError
from pushpull.media.live_source import LiveSource


@pytest.fixture
def film(tmp_path):
    sound = 0.3 * np.sin(np.arange(16000) / 5)
    return str(make_video(tmp_path / "film.mp4", n_frames=25, size=(64, 48), sound=sound))


def test_a_file_comes_whole_and_in_time(film):
    began_s = time.monotonic()
    with LiveSource(film) as source:
        arrivals = list(source)
    assert source.has_sound
    pictures = [p for p in arrivals if p.image is not None]
    assert len(pictures) + source.left_out == 25
    samples = np.concatenate([p.samples for p in arrivals if p.samples is not None])
    assert abs(len(samples) - 16000) < 2100
    assert time.monotonic() - began_s > 0.9
    for arrival in arrivals:
        assert arrival.came_s - began_s >= arrival.time_s - 1e-3


def test_pictures_are_left_out_for_who_is_slow_and_sound_is_not(film):
    with LiveSource(film) as source:
        heard = seen = 0
        for arrival in source:
            time.sleep(0.06 if arrival.image is not None else 0)
            seen += arrival.image is not None
            heard += 0 if arrival.samples is None else len(arrival.samples)
    assert source.left_out > 0
    assert seen + source.left_out == 25
    assert abs(heard - 16000) < 2100


def test_who_leaves_early_leaves_nothing_behind(film):
    with LiveSource(film) as source:
        next(iter(source))
    assert not source.thread.is_alive()


def test_what_is_no_source_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    for name in (str(tmp_path / "gone.mp4"), str(tmp_path / "notes.txt"), "99"):
        with pytest.raises(MediaError, match="cannot be opened"):
            LiveSource(name)
