"""Sources that come as they come."""

import io
import os
import sys
import threading
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from support.fileserver import file_server
from support.lists import CONCAT, HLS, write_lists
from support.media_files import make_video
from support.watched_files import WatchedFile

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


def test_a_list_of_other_files_opens_none_of_them(tmp_path, monkeypatch):
    secret = make_video(tmp_path / "secret.mkv", size=(64, 48), n_frames=5)
    with WatchedFile(secret) as watched:
        for path in write_lists(tmp_path, secret):
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
            monkeypatch.chdir(tmp_path)
            for source in (str(path), "-"):
                with pytest.raises(MediaError), LiveSource(source, paced=False) as opened:
                    list(opened)
        assert watched.times_opened() == 0


@pytest.mark.parametrize("text", [HLS, CONCAT], ids=["hls", "concat"])
def test_a_list_of_a_stranger_opens_no_file_of_this_machine(tmp_path, text):
    secret = make_video(tmp_path / "secret.ts", size=(64, 48), n_frames=5)
    with file_server() as server, WatchedFile(secret) as watched:
        for name in (secret, f"file:{secret}", f"file://{secret}", f"concat:{secret}|{secret}"):
            server.files["list.m3u8"] = text.format(name).encode()
            with pytest.raises(MediaError), LiveSource(f"{server.url}/list.m3u8") as opened:
                list(opened)
        assert watched.times_opened() == 0
        server.files["part.ts"] = secret.read_bytes()
        server.files["list.m3u8"] = HLS.format("part.ts").encode()
        if text == HLS:
            with LiveSource(f"{server.url}/list.m3u8", paced=False) as opened:
                assert sum(one.image is not None for one in opened) == 5


@pytest.mark.parametrize("name", ["concat:a.mkv", "subfile,,start,0,end,9,,:a.mkv", "12:30 a.mkv"])
def test_a_name_that_means_a_protocol_is_only_a_name(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film = make_video(tmp_path / "a.mkv", size=(64, 48), n_frames=5)
    with pytest.raises(MediaError, match="cannot be opened"):
        LiveSource(name)
    film.rename(tmp_path / name)
    with LiveSource(name, paced=False) as source:
        assert sum(one.image is not None for one in source) == 5


def test_a_named_pipe_is_a_source(tmp_path):
    film = make_video(tmp_path / "a.ts", size=(64, 48), n_frames=5)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(film.read_bytes()))
    writer.start()
    with LiveSource(str(tmp_path / "pipe"), paced=False) as source:
        assert sum(one.image is not None for one in source) == 5
    writer.join()


def rewritten(old, new, change):
    """A copy of a film with other packets: `change` is told each, and gives it back or None."""
    with av.open(str(old)) as source, av.open(str(new), "w") as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None and (packet := change(packet)) is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return new


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_jump_of_years_is_not_waited_for(tmp_path, kind):
    def late(packet):
        if packet.stream.type == kind and packet.pts * packet.time_base >= 0.5:
            packet.pts += round(1e8 / packet.time_base)
            packet.dts = packet.pts
        return packet

    options = {"options": {"bf": "0"}, "audio_codec": "pcm_s16le"}
    film = make_video(tmp_path / "film.mkv", size=(64, 48), n_frames=25, **options)
    path = rewritten(film, tmp_path / "late.mkv", late)
    began_s = time.monotonic()
    with pytest.raises(MediaError, match="jump from"), LiveSource(str(path)) as source:
        list(source)
    assert time.monotonic() - began_s < 10


def test_stamps_that_start_anew_go_on(tmp_path):
    path = make_video(tmp_path / "film.ts", size=(64, 48), n_frames=50, has_sound=False)
    (tmp_path / "joined.ts").write_bytes(2 * path.read_bytes())
    with LiveSource(str(tmp_path / "joined.ts"), paced=False) as source:
        times_s = [one.time_s for one in source]
    assert len(times_s) == 100
    assert times_s[0] == 0
    assert all(0 < step < 0.1 for step in np.diff(times_s))


def test_pictures_that_change_their_size_keep_the_first(tmp_path):
    parts = []
    for size in ((64, 48), (128, 96)):
        path = make_video(tmp_path / f"{size[0]}.ts", size=size, n_frames=5, has_sound=False)
        parts.append(path.read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    with LiveSource(str(tmp_path / "both.ts"), paced=False) as source:
        shapes = [one.image.shape for one in source]
    assert len(shapes) == 10
    assert set(shapes) == {(48, 64, 3)}


def test_a_damaged_packet_is_left_out_and_said(tmp_path):
    numbers = iter(range(10_000))

    def spoilt(packet):
        if packet.stream.type != "video" or next(numbers) != 30:
            return packet
        broken = av.Packet(bytes(300))
        broken.stream, broken.time_base = packet.stream, packet.time_base
        broken.pts, broken.dts = packet.pts, packet.dts
        return broken

    film = make_video(
        tmp_path / "film.mkv", size=(64, 48), n_frames=60, options={"g": "1", "bf": "0"}
    )
    path = rewritten(film, tmp_path / "spoilt.mkv", spoilt)
    with LiveSource(str(path), paced=False) as source:
        assert sum(one.image is not None for one in source) == 59
    assert len(source.notes) == 1
    assert "1 of 60 video packets are damaged" in source.notes[0]


@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf, 1e30])
def test_sound_that_is_no_number_is_refused_or_put_right(tmp_path, level):
    sound = (0.3 * np.sin(np.arange(48_000) / 5)).astype(np.float32)
    for share, name in ((0.02, "few"), (1.0, "all")):
        spoilt = sound.copy()
        spoilt[: round(share * 16_000)] = level
        path = make_video(
            tmp_path / f"{name}.mkv", size=(64, 48), n_frames=75, sound=spoilt,
            audio_codec="pcm_f32le",
        )  # fmt: skip
        with LiveSource(str(path), paced=False) as source:
            if name == "all":
                with pytest.raises(MediaError, match=r"are not numbers|are beyond full scale"):
                    list(source)
                continue
            heard = np.concatenate([one.samples for one in source if one.samples is not None])
        assert np.isfinite(heard).all()
        assert np.abs(heard).max() <= 1
        (note,) = source.notes
        assert note.endswith("were left out" if not abs(level) < np.inf else "were cut")
