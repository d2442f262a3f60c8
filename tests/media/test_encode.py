"""Files that were written, read again."""

import av
import numpy as np
import pytest
from support.media_files import make_video

from pushpull.errors import ConfigError, OutputError, ShapeError
from pushpull.media import (
    VideoWriter,
    probe,
    read_frames,
    read_waveform,
    rgb_of,
    write_sound,
    write_wav,
)

RNG = np.random.default_rng(0)
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)


def pictures(*shape, n=5):
    """Smooth pictures, as codecs like them."""
    ramp = np.linspace(0, 200, np.prod(shape)).reshape(shape)
    return [(ramp + 10 * i).astype(np.uint8) for i in range(n)]


def written(path, images, height, width, **options):
    with VideoWriter(path, width=width, height=height, fps=25, **options) as writer:
        for image in images:
            writer.write(image)
    return path


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_lossless_colour_and_sound_come_back_to_the_bit(tmp_path, size):
    images = list(RNG.integers(0, 256, (4, 3, *size), dtype=np.uint8))
    sound = (RNG.integers(-32768, 32768, 2560) / 32768).astype(np.float32)
    path = written(tmp_path / "v.mkv", images, *size, codec="ffv1-colour", audio=sound)
    assert all(np.array_equal(f.ycc(), i) for f, i in zip(read_frames(path), images, strict=True))
    assert np.array_equal(read_waveform(path), sound)


def test_lossless_grey_comes_back_to_the_bit(tmp_path):
    images = list(RNG.integers(0, 256, (4, 33, 47), dtype=np.uint8))
    path = written(tmp_path / "v.mkv", images, 33, 47, codec="ffv1")
    assert all(np.array_equal(f.gray(), i) for f, i in zip(read_frames(path), images, strict=True))


def test_luma_of_a_frame_is_its_grey_in_every_range(tmp_path):
    for pixel_format in ("yuv420p", "yuvj420p"):
        path = make_video(
            tmp_path / f"{pixel_format}.mkv", n_frames=3, size=(64, 48), pixel_format=pixel_format
        )
        for frame in read_frames(path):
            assert np.array_equal(frame.ycc()[0], frame.gray())


@pytest.mark.parametrize("kind", ["rgb", "grey", "planes"])
def test_h264_is_near_whatever_the_picture_is_given_as(tmp_path, kind):
    shapes = {"rgb": (48, 64, 3), "grey": (48, 64), "planes": (3, 48, 64)}
    images = pictures(*shapes[kind])
    path = written(tmp_path / "v.mp4", images, 48, 64, crf=5)
    for frame, image in zip(read_frames(path), images, strict=True):
        got = {"rgb": frame.rgb, "grey": frame.gray, "planes": frame.ycc}[kind]().astype(float)
        got, image = (got[0], image[0]) if kind == "planes" else (got, image)
        assert np.abs(got - image).mean() < 4


@pytest.mark.parametrize("shape", [(48, 64), (3, 48, 64)], ids=["grey", "planes"])
def test_h264_shifts_no_level_of_luma_or_colour(tmp_path, shape):
    levels = np.array([[16, 128, 128], [64, 100, 150], [128, 128, 128], [200, 90, 140]], np.uint8)
    images = [np.broadcast_to(one[:, None, None], (3, 48, 64)) for one in levels]
    images = [np.ascontiguousarray(i if len(shape) == 3 else i[0]) for i in images]
    path = written(tmp_path / "v.mp4", images, 48, 64, crf=1)
    for frame, image in zip(read_frames(path), images, strict=True):
        got = frame.ycc() if len(shape) == 3 else frame.gray()
        assert np.abs(got.astype(int) - image).max() <= 1


@pytest.mark.parametrize("matrix", [1, 2, 6], ids=["hd", "unsaid", "sd"])
@pytest.mark.parametrize("codec", ["h264", "ffv1-colour"])
def test_colours_are_shown_by_the_matrix_that_their_planes_are_of(tmp_path, codec, matrix):
    image = np.broadcast_to(np.array([180, 120, 90], np.uint8), (48, 64, 3)).copy()
    source = written(tmp_path / "s.mp4", [image], 48, 64, crf=1, matrix=matrix)
    info, frame = probe(source), next(read_frames(source))
    assert info.matrix == matrix
    assert np.abs(rgb_of(frame.ycc(), matrix).astype(int) - image).max() <= 4
    options = {"codec": codec, "matrix": matrix} | ({"crf": 1} if codec == "h264" else {})
    copy = written(tmp_path / "c.mkv", [frame.ycc()], 48, 64, **options)
    assert probe(copy).matrix == matrix
    assert np.abs(next(read_frames(copy)).rgb().astype(int) - image).max() <= 5


@pytest.mark.parametrize("shape", [(72, 96, 3), (72, 96), (3, 72, 96), (108, 96)])
def test_a_picture_may_be_used_again_once_it_is_written(tmp_path, shape):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(16, 236, shape, np.uint8) for _ in range(40)]
    for name in ("kept", "used"):
        scratch = np.empty(shape, np.uint8)
        with VideoWriter(tmp_path / f"{name}.mp4", width=96, height=72, fps=25) as video:
            for picture in pictures:
                scratch[...] = picture
                video.write(picture if name == "kept" else scratch)
                scratch[...] = 0
    kept, used = (list(read_frames(tmp_path / f"{name}.mp4")) for name in ("kept", "used"))
    assert len(kept) == len(used) == len(pictures)
    assert all(np.array_equal(a.ycc(), b.ycc()) for a, b in zip(kept, used, strict=True))


def test_a_lower_crf_is_a_better_picture(tmp_path):
    noise = list(RNG.integers(0, 256, (5, 48, 64), dtype=np.uint8))
    errors = []
    for crf in (1, 20, 45):
        path = written(tmp_path / f"{crf}.mp4", noise, 48, 64, crf=crf)
        frames = [f.gray().astype(float) for f in read_frames(path)]
        errors.append(np.mean([np.abs(f - n).mean() for f, n in zip(frames, noise, strict=True)]))
    assert errors == sorted(errors)
    assert errors[0] < 3 < errors[2]


def test_aac_comes_back_aligned(tmp_path):
    path = tmp_path / "s.m4a"
    write_sound(path, TONE)
    back = read_waveform(path)[: len(TONE)]
    inner = slice(2000, 14_000)
    assert np.abs(back[inner] - TONE[inner]).max() < 0.02
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name.startswith("aac")


def test_sound_that_is_no_waveform_is_refused(tmp_path):
    with pytest.raises(ShapeError, match="waveform is"):
        write_sound(tmp_path / "s.m4a", np.zeros((2, 100), np.float32))
    with pytest.raises(OutputError, match="cannot be written"):
        write_sound(tmp_path / "missing" / "s.m4a", TONE)


@pytest.mark.parametrize("level", [np.nan, np.inf, 1e30])
def test_sound_of_a_file_that_is_no_number_can_be_written(tmp_path, level):
    source = tmp_path / "odd.wav"
    write_wav(source, TONE)
    samples = TONE.copy()
    samples[::50] = level
    source.write_bytes(source.read_bytes()[: -TONE.nbytes] + samples.astype("<f4").tobytes())
    path = tmp_path / "v.mp4"
    with VideoWriter(path, width=64, height=48, fps=25, audio=source) as writer:
        for _ in range(5):
            writer.write(np.zeros((48, 64), np.uint8))
    assert 0 < np.abs(read_waveform(path)).max() <= 1


def test_a_failed_block_leaves_no_file(tmp_path):
    path = tmp_path / "v.mp4"
    images = [np.zeros((48, 64), np.uint8), np.zeros((1, 1), np.uint8)]
    with pytest.raises(ShapeError):
        written(path, images, 48, 64)
    assert not path.exists()


def test_requests_that_cannot_be_are_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"ffv1 video goes into \.mkv"):
        VideoWriter(tmp_path / "v.mp4", width=64, height=48, fps=25, codec="ffv1")
    with pytest.raises(ConfigError, match="expected numbers above 0"):
        VideoWriter(tmp_path / "v.mp4", width=64, height=48, fps=0)
    with VideoWriter(tmp_path / "w.mp4", width=64, height=48, fps=25) as writer:
        with pytest.raises(ShapeError, match="expected uint8 of"):
            writer.write(np.zeros((64, 48), np.uint8))
        writer.write(np.zeros((48, 64), np.uint8), 1.0)
        with pytest.raises(ConfigError, match="expected times that increase"):
            writer.write(np.zeros((48, 64), np.uint8), 0.5)
    assert probe(tmp_path / "w.mp4").n_frames == 1
    with (
        pytest.raises(OutputError, match="no picture was written"),
        VideoWriter(tmp_path / "e.mp4", width=64, height=48, fps=25),
    ):
        pass


def test_pictures_of_any_rate_are_written(tmp_path):
    rates = {"slow": (1 / 3600, [0.0, 3600.0]), "fast": (1e6, [n * 1e-6 for n in range(200)])}
    for name, (fps, times_s) in rates.items():
        path = tmp_path / f"{name}.mp4"
        with VideoWriter(path, width=64, height=48, fps=fps) as video:
            for time_s in times_s:
                video.write(np.zeros((48, 64), np.uint8), time_s)
            with pytest.raises(ConfigError, match="expected times that increase"):
                video.write(np.zeros((48, 64), np.uint8), times_s[-1])
        found = [frame.time_s for frame in read_frames(path)]
        assert found == pytest.approx(times_s, abs=3e-3)
