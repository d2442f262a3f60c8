import os
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support.lists import write_lists
from support.media_files import make_video
from support.watched_files import WatchedFile

from pushpull.errors import MediaError
from pushpull.media import probe, read_frames, read_waveform

SIZE = (64, 48)


def a_folder(path):
    path.mkdir()


def text(path):
    path.write_text("this is no video\n" * 100)


def mp4_without_its_end(path):
    make_video(path, size=SIZE, n_frames=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sound_alone(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))


BAD_FILES = {
    "missing": (lambda path: None, "no such file"),
    "folder": (a_folder, "is a folder; expected a video file"),
    "empty": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "text": (text, "is text; expected a video"),
    "noise": (
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(50_000)),
        "no media file that FFmpeg reads",
    ),
    "zeros": (lambda path: path.write_bytes(bytes(50_000)), "no media file that FFmpeg reads"),
    "cut": (mp4_without_its_end, "an mp4 whose index is missing or damaged"),
    "sound": (sound_alone, r"has no video stream \(it has: audio\)"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_what_is_no_video_is_one_line_that_names_the_file(tmp_path, kind, capfd):
    make, message = BAD_FILES[kind]
    path = tmp_path / "bad.mp4"
    make(path)
    for use in (probe, lambda p: list(read_frames(p))):
        with pytest.raises(MediaError, match=message) as error:
            use(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_text_file_is_not_drawn_as_a_video(tmp_path):
    text(tmp_path / "notes.txt")
    with pytest.raises(MediaError, match="is text"):
        probe(tmp_path / "notes.txt")


def test_a_device_is_not_read():
    with pytest.raises(MediaError, match="not a regular file"):
        probe(Path(os.devnull))


def test_no_sound_is_an_error_only_where_sound_is_needed(tmp_path):
    path = make_video(tmp_path / "mute.mp4", size=SIZE, n_frames=5, has_sound=False)
    assert not probe(path).has_audio
    assert len(list(read_frames(path))) == 5
    with pytest.raises(MediaError, match="has no audio stream"):
        read_waveform(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".flv"])
@pytest.mark.parametrize("read", [lambda p: list(read_frames(p)), read_waveform])
def test_a_file_shorter_than_its_header_says_is_cut_off(tmp_path, suffix, read):
    # An index at the front lets an mp4 open without its end.
    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    path = make_video(tmp_path / f"cut{suffix}", size=SIZE, n_frames=150, container_options=options)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    with pytest.raises(MediaError, match=r"cut off or damaged: it can be read up to [2-5]\.\d\d s"):
        read(path)


@pytest.mark.parametrize("suffix", [".mpg", ".ts"])
def test_streams_without_a_stated_length_end_where_they_end(tmp_path, suffix):
    path = make_video(tmp_path / f"cut{suffix}", size=SIZE, n_frames=150)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    assert 50 < len(list(read_frames(path, on_damage=lambda line: None))) < 150


def with_hole(path: Path, share: float) -> Path:
    """A video whose middle is overwritten with zeros, headers and index left alone."""
    make_video(
        path,
        size=SIZE,
        n_frames=100,
        picture=lambda i: np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8),
        options={"g": "1"},
        container_options={"movflags": "+faststart"},
    )
    data = bytearray(path.read_bytes())
    begin = data.find(b"mdat") + len(data) // 3
    length = int(share * len(data))
    data[begin : begin + length] = bytes(length)
    path.write_bytes(data)
    return path


def test_damaged_packets_are_skipped_and_said_once(tmp_path, capfd):
    path = with_hole(tmp_path / "hole.mp4", 0.04)
    said = []
    frames = [(f.index, f.time_s) for f in read_frames(path, on_damage=said.append)]
    assert 90 <= len(frames) < 100
    assert [index for index, _ in frames] == list(range(len(frames)))
    assert len(said) == 1
    assert said[0].startswith(f"{path}: ")
    assert "of 100 video packets are damaged, the first at " in said[0]
    # A second pass agrees with the first, since boxes are matched to frames by number.
    assert [(f.index, f.time_s) for f in read_frames(path, on_damage=said.append)] == frames
    # Times are the real ones: the gap stays a gap.
    assert max(np.diff([t for _, t in frames])) > 0.06
    assert frames[-1][1] == pytest.approx(99 / 25)
    assert capfd.readouterr().err == ""


def test_damage_is_logged_where_nobody_listens(tmp_path, caplog):
    path = with_hole(tmp_path / "hole.mp4", 0.04)
    list(read_frames(path))
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "video packets are damaged" in caplog.text


def test_a_video_damaged_by_a_third_is_refused(tmp_path):
    path = with_hole(tmp_path / "hole.mp4", 0.3)
    with pytest.raises(MediaError, match=r"packets are damaged.*expected at most one in 10"):
        list(read_frames(path))


@pytest.mark.parametrize("name", ["12:30 talk.mp4", "100%03d.mp4", "böse 名前.mp4", "-x.mp4"])
def test_odd_file_names_are_only_names(tmp_path, name):
    path = make_video(tmp_path / "plain.mp4", size=SIZE, n_frames=5).rename(tmp_path / name)
    assert probe(path).n_frames == 5
    assert len(list(read_frames(path))) == 5


@pytest.fixture
def lists(tmp_path):
    """Films and texts that name another film, and that film."""
    (tmp_path / "in").mkdir()
    secret = make_video(tmp_path / "in" / "secret.mkv", size=SIZE, n_frames=5)
    return write_lists(tmp_path / "in", secret), secret


def test_a_list_of_other_files_opens_none_of_them(lists):
    paths, secret = lists
    *texts, film = paths
    with WatchedFile(secret) as watched:
        for path in texts:
            for use in (probe, read_waveform, lambda p: list(read_frames(p))):
                with pytest.raises(MediaError, match="is text; expected a video"):
                    use(path)
        with pytest.raises(MediaError, match="cut off or damaged"):
            probe(film)
        assert watched.times_opened() == 0


def test_the_lists_of_these_tests_would_be_followed(lists):
    paths, secret = lists
    of = {path.name: path for path in paths}
    with WatchedFile(secret) as watched:
        for name, options in (
            ("list.m3u8", {}),
            ("list.ffconcat", {}),
            ("concat.mp4", {}),
            ("reference.mov", {"enable_drefs": "1", "use_absolute_path": "1"}),
        ):
            before = watched.times_opened()
            options["allowed_extensions"] = options["allowed_segment_extensions"] = "ALL"
            try:
                with av.open(str(of[name]), container_options=options) as container:
                    list(container.demux())
            except av.error.FFmpegError:
                pass
            assert watched.times_opened() > before, name


def test_a_name_that_means_a_series_of_pictures_is_one_file(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"im{number}.jpg"), np.full((48, 64, 3), 80 * number, np.uint8))
    with pytest.raises(MediaError, match="no such file"):
        probe(tmp_path / "im%d.jpg")
    (tmp_path / "im%d.jpg").write_bytes((tmp_path / "im1.jpg").read_bytes())
    with pytest.raises(MediaError, match="is a picture; expected a video"):
        probe(tmp_path / "im%d.jpg")


@pytest.mark.parametrize("name", ["subfile,,start,0,end,9,,:x.mkv", "concat:a|b.mkv", "http:x.mkv"])
def test_a_name_that_means_a_protocol_is_only_a_name(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError, match="no such file"):
        probe(name)
    make_video(tmp_path / "plain.mkv", size=SIZE, n_frames=5).rename(tmp_path / name)
    assert probe(name).n_frames == 5


def test_a_loop_of_links_is_no_file(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    for use in (probe, read_waveform, lambda p: list(read_frames(p))):
        with pytest.raises(MediaError, match=r"a\.mp4: "):
            use(tmp_path / "a.mp4")
