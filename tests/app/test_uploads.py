"""Files of strangers: nothing that they state is believed, and nothing that they name is opened."""

import struct

import av
import numpy as np
import pytest
from support.lists import write_lists
from support.media_files import make_video
from support.watched_files import WatchedFile

from pushpull.app.uploads import look_at
from pushpull.errors import MediaError
from pushpull.media import read_waveform

SIZE = (64, 48)


def looked(path, longest_s=60.0):
    asked = {"path": str(path), "shown": "talk.mp4", "longest_s": longest_s, "most_pixels": 10**7}
    return look_at(asked, print)


def squeezed(path, *, of_s, into_s):
    """A film of so many seconds of sound whose stamps, and header, say that it is shorter."""
    whole = make_video(
        path.with_name("whole.mkv"), size=SIZE, n_frames=25 * into_s, audio_codec="pcm_s16le",
        sound=np.sin(np.arange(16_000 * of_s) / 9).astype(np.float32) / 4,
    )  # fmt: skip
    with av.open(str(whole)) as old, av.open(str(path), "w") as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        packets = [packet for packet in old.demux() if packet.dts is not None]
        for packet in packets:
            if packet.stream.type == "audio":
                packet.pts = packet.dts = round(packet.pts * into_s / of_s)
                packet.duration = 1
            packet.stream = streams[packet.stream.index]
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            new.mux(packet)
    return path


def test_forty_seconds_of_sound_do_not_pass_as_two(tmp_path):
    path = squeezed(tmp_path / "short.mkv", of_s=40, into_s=2)
    with av.open(str(path)) as film:
        assert film.duration / 1e6 < 3
    # What is let in is what is heard later: no more than the stamps have room for.
    assert looked(path, longest_s=3.0)["duration_s"] < 3
    assert len(read_waveform(path)) < 3 * 16_000


def test_a_length_stated_too_short_is_not_believed(tmp_path):
    path = make_video(tmp_path / "film.mkv", size=SIZE, n_frames=125, audio_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 200.0)
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"talk\.mp4: is 5 s long; expected at most 3 s"):
        looked(path, longest_s=3.0)


def test_pictures_are_counted_and_not_their_stamps(tmp_path):
    times_s = (np.arange(60) / 1000).tolist()
    path = make_video(tmp_path / "fast.mkv", size=SIZE, timestamps_s=times_s)
    with pytest.raises(MediaError, match=r"talk\.mp4: has 60 pictures; expected at most 0 s"):
        looked(path, longest_s=0.2)
    assert looked(path, longest_s=0.5)["duration_s"] < 0.2


@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf, 1e30])
def test_sound_that_is_no_number_is_refused(tmp_path, level):
    path = make_video(
        tmp_path / "odd.mkv", size=SIZE, n_frames=25, audio_codec="pcm_f32le",
        sound=np.full(16_000, level, np.float32),
    )  # fmt: skip
    why = "are beyond full scale" if level == 1e30 else "are not numbers"
    with pytest.raises(MediaError, match=rf"talk\.mp4: 16000 of 16000 samples of the sound {why}"):
        looked(path)


def test_what_names_another_file_opens_it_not(tmp_path):
    secret = make_video(tmp_path / "secret.mkv", size=SIZE, n_frames=5)
    with WatchedFile(secret) as watched:
        for path in write_lists(tmp_path, secret):
            with pytest.raises(MediaError, match=r"talk\.mp4: is (text|cut off)"):
                looked(path)
        assert watched.times_opened() == 0


@pytest.mark.parametrize("late", ["all", "part"])
def test_stamps_of_years_are_no_years(tmp_path, late):
    film = make_video(
        tmp_path / "film.mkv", size=SIZE, n_frames=25, options={"bf": "0"}, audio_codec="pcm_s16le"
    )
    with av.open(str(film)) as old, av.open(str(tmp_path / "late.mkv"), "w") as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        for packet in old.demux():
            if packet.dts is not None:
                if late == "all" or packet.pts * packet.time_base > 0.5:
                    packet.pts += round(1e8 / packet.time_base)
                    packet.dts = packet.pts
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    if late == "all":
        assert looked(tmp_path / "late.mkv")["duration_s"] == pytest.approx(1, abs=0.1)
    else:
        with pytest.raises(MediaError, match="expected at most 60 s"):
            looked(tmp_path / "late.mkv")
