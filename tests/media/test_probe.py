import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from support.media_files import DEFAULT_CODECS, make_video

from pushpull.errors import MediaError
from pushpull.media import Orientation, probe
from pushpull.media.probe import UPRIGHT

SIZE = (64, 48)


@pytest.mark.parametrize("suffix", DEFAULT_CODECS)
def test_every_container_tells_its_size_rate_and_length(tmp_path, suffix):
    info = probe(make_video(tmp_path / f"video{suffix}", size=SIZE, n_frames=50))
    assert (info.width, info.height) == SIZE
    assert info.fps == pytest.approx(25)
    # Some containers state the longest stream, which is the padded sound.
    assert info.duration_s == pytest.approx(2.0, abs=0.12)
    assert info.n_frames == pytest.approx(50, abs=3)
    assert info.has_audio
    assert info.channels == 1
    assert info.rotation_deg == 0


@pytest.mark.parametrize("fps", [15, 23.976, 24, 25, 29.97, 30, 50, 60])
def test_frame_rates_are_exact(tmp_path, fps):
    info = probe(make_video(tmp_path / "video.mp4", size=SIZE, fps=fps, n_frames=40))
    assert info.fps == pytest.approx(fps, rel=5e-5)
    assert info.n_frames == 40


def test_codecs_and_rates_are_named(tmp_path):
    info = probe(
        make_video(
            tmp_path / "video.mkv",
            size=SIZE,
            n_frames=5,
            codec="mjpeg",
            audio_codec="libmp3lame",
            audio_rate=44_100,
            channels=2,
        )
    )
    assert (info.video_codec, info.audio_codec) == ("mjpeg", "mp3")
    assert (info.audio_rate_hz, info.channels) == (44_100, 2)


class Pipe:
    """A file that can only be written on, as a browser's recorder has it."""

    def __init__(self, file):
        self.file = file

    def write(self, data):
        return self.file.write(data)


@pytest.mark.parametrize("times", ["constant", "variable"])
def test_a_recording_that_states_no_length_is_counted(tmp_path, times):
    timestamps_s = [i / 20 for i in range(60)]
    if times == "variable":
        timestamps_s = [t for i, t in enumerate(timestamps_s) if i % 3]
    source = make_video(
        tmp_path / "source.mkv", size=SIZE, timestamps_s=timestamps_s, has_sound=False
    )
    path = tmp_path / "recorded.webm"
    with (
        path.open("wb") as file,
        av.open(str(source)) as old,
        av.open(Pipe(file), "w", format="matroska") as new,
    ):
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    with av.open(str(path)) as container:
        assert container.duration is None
    info = probe(path)
    n = len(timestamps_s)
    span_s = timestamps_s[-1] - timestamps_s[0]
    assert info.n_frames == n
    assert info.fps == pytest.approx((n - 1) / span_s, rel=1e-3)
    assert info.duration_s == pytest.approx(span_s * n / (n - 1), rel=1e-3)


def test_one_frame_is_a_video(tmp_path):
    info = probe(make_video(tmp_path / "one.mp4", size=SIZE, n_frames=1))
    assert info.n_frames == 1
    assert info.fps > 0


def test_a_cover_picture_is_not_a_video(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        samples = av.AudioFrame.from_ndarray(
            np.zeros((1, 16_000), np.float32), format="fltp", layout="mono"
        )
        samples.sample_rate = 16_000
        for stream, frame in ((cover, picture), (sound, samples)):
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="has no video stream"):
        probe(path)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_orientation_is_read_as_the_player_shows_it(tmp_path, rotation, mirrored):
    path = make_video(
        tmp_path / "turned.mp4", size=SIZE, n_frames=2, rotation=rotation, mirrored=mirrored
    )
    info = probe(path)
    assert info.rotation_deg == rotation
    assert info.orientation.mirrored == mirrored
    turned = rotation in {90, 270}
    assert (info.width, info.height) == (SIZE[::-1] if turned else SIZE)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("vflip", [False, True])
def test_orientation_agrees_with_ffmpegs_own_writer(tmp_path, degrees, hflip, vflip):
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48)
        stream.pix_fmt = "yuv420p"
        # Counter-clockwise, then flipped.
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
        image = np.zeros((48, 64, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    marked = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = np.rot90(marked, degrees // 90)
    expected = expected[:, ::-1] if hflip else expected
    expected = expected[::-1] if vflip else expected
    assert probe(path).orientation.apply(marked).tolist() == expected.tolist()


def test_an_angle_that_is_no_quarter_turn_goes_to_the_nearest():
    def turned(degrees):
        a, b = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        matrix = (a, b, 0, -b, a, 0, 0, 0, 1)
        return Orientation.from_matrix(tuple(round(65536 * v) for v in matrix))

    assert turned(3) == UPRIGHT
    assert turned(88).rotation_deg == 90
    assert turned(-80).rotation_deg == 270
    assert turned(170).rotation_deg == 180


def test_old_tags_in_another_encoding_do_no_harm(tmp_path):
    path = make_video(tmp_path / "tagged.avi", size=SIZE, n_frames=5)
    data = path.read_bytes()
    at = data.find(b"ISFT")
    (length,) = struct.unpack("<I", data[at + 4 : at + 8])
    path.write_bytes(data[: at + 8] + b"\xe9" * (length - 1) + data[at + 8 + length - 1 :])
    assert probe(path).n_frames == 5


def test_a_length_stated_too_short_is_not_believed(tmp_path):
    path = make_video(tmp_path / "short.mkv", size=SIZE, n_frames=100, audio_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    # The duration of matroska, a double in milliseconds.
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 200.0)
    path.write_bytes(data)
    info = probe(path)
    assert info.duration_s == pytest.approx(4, abs=0.1)
    assert info.n_frames == pytest.approx(100, abs=1)
