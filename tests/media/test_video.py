import gc
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.media_files import DEFAULT_CODECS, frame_rate, make_video

from pushpull.errors import ConfigError, MediaError
from pushpull.media import Frame, Part, VideoWriter, planes_of, probe, read_frames
from pushpull.media.clock import Clock

SIZE = (64, 48)


def times_s(path):
    return [frame.time_s for frame in read_frames(path)]


def corners(i):
    """Red, green, blue and white, clockwise from the top left."""
    image = np.full((48, 64, 3), 128, np.uint8)
    image[:16, :16] = (255, 0, 0)
    image[:16, -16:] = (0, 255, 0)
    image[-16:, -16:] = (0, 0, 255)
    image[-16:, :16] = 255
    return image


@pytest.mark.parametrize("fps", [15, 23.976, 24, 25, 29.97, 30, 50, 60])
def test_constant_rates_keep_time_without_drift(tmp_path, fps):
    path = make_video(tmp_path / "video.mp4", size=SIZE, fps=fps, n_frames=100)
    exact = [float(i / frame_rate(fps)) for i in range(100)]
    assert times_s(path) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("suffix", DEFAULT_CODECS)
def test_every_container_gives_all_frames_at_their_times(tmp_path, suffix):
    # Timestamps of matroska, flash and windows media are whole milliseconds.
    path = make_video(tmp_path / f"video{suffix}", size=SIZE, n_frames=40, options={"bf": "0"})
    frames = [(f.index, f.time_s, f.width, f.height) for f in read_frames(path)]
    assert [f[0] for f in frames] == list(range(40))
    assert [f[1] for f in frames] == pytest.approx([i / 25 for i in range(40)], abs=1e-3)
    assert {f[2:] for f in frames} == {SIZE}


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", ".mp4"),
        ("libx265", ".mp4"),
        ("mpeg4", ".mp4"),
        ("mpeg2video", ".mpg"),
        ("mpeg1video", ".mpg"),
        ("libvpx", ".webm"),
        ("libvpx-vp9", ".webm"),
        ("libsvtav1", ".mkv"),
        ("mjpeg", ".avi"),
        ("huffyuv", ".avi"),
        ("ffv1", ".mkv"),
        ("prores", ".mov"),
    ],
)
def test_every_codec_shows_the_picture_that_was_drawn(tmp_path, codec, suffix):
    formats = {"prores": "yuv422p10le", "huffyuv": "yuv422p"}
    path = make_video(
        tmp_path / f"video{suffix}",
        size=SIZE,
        n_frames=3,
        codec=codec,
        picture=corners,
        pixel_format=formats.get(codec),
    )
    frames = list(read_frames(path))
    assert len(frames) == 3
    image = frames[1].rgb().astype(int)
    for (y, x), colour in zip(
        [(6, 6), (6, -6), (-6, -6), (-6, 6)],
        [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)],
        strict=True,
    ):
        assert image[y, x] == pytest.approx(colour, abs=16)


def test_variable_frame_times_are_kept(tmp_path):
    stamps = np.cumsum(np.random.default_rng(0).uniform(0.005, 0.4, 60))
    stamps = np.round((stamps - stamps[0]) * 90_000) / 90_000
    for suffix, tolerance in ((".mp4", 1e-5), (".mkv", 5e-4 + 1e-9)):
        path = make_video(tmp_path / f"vfr{suffix}", size=SIZE, timestamps_s=stamps.tolist())
        assert times_s(path) == pytest.approx(stamps, abs=tolerance)


def first_picture_s(path):
    """When the picture begins, by the header: some containers hold the encoder's delay of sound."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        zero_s = min(float(s.start_time * s.time_base) for s in container.streams)
        return float(video.start_time * video.time_base) - zero_s


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".ts", ".mpg", ".flv"])
def test_a_picture_that_starts_late_is_late(tmp_path, suffix):
    path = make_video(
        tmp_path / f"late{suffix}", size=SIZE, n_frames=10, video_start_s=0.4, options={"bf": "0"}
    )
    # Beside the delay of the sound's encoder, where the container has no word for it.
    delay_s = first_picture_s(path) - 0.4
    assert -0.002 < delay_s < 0.07
    assert times_s(path) == pytest.approx([0.4 + delay_s + i / 25 for i in range(10)], abs=1e-3)
    info = probe(path)
    assert info.start_s - info.zero_s == pytest.approx(0.4 + delay_s, abs=1e-3)


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_stamps_that_all_begin_late_begin_at_0(tmp_path, suffix):
    path = make_video(
        tmp_path / f"late{suffix}", size=SIZE, n_frames=10, video_start_s=10.0, has_sound=False
    )
    assert times_s(path) == pytest.approx([i / 25 for i in range(10)], abs=1e-3)
    info = probe(path)
    assert (info.start_s, info.zero_s) == (pytest.approx(10.0, abs=1e-3),) * 2
    assert info.duration_s == pytest.approx(0.4, abs=1e-3)


def test_a_part_has_the_frames_of_the_whole(tmp_path):
    path = make_video(
        tmp_path / "video.mp4", size=SIZE, n_frames=100, options={"bf": "2", "g": "12"}
    )
    whole = list(read_frames(path))
    for start_s, end_s in ((0.0, 1.0), (1.0, 2.0), (1.99, 2.05), (3.9, math.inf), (0.48, 0.52)):
        wanted = [f for f in whole if start_s <= f.time_s < end_s]
        found = list(read_frames(path, part=Part(start_s, end_s)))
        assert [(f.index, f.time_s) for f in found] == [(f.index, f.time_s) for f in wanted]
        assert all(np.array_equal(a.rgb(), b.rgb()) for a, b in zip(found, wanted, strict=True))


def test_a_part_of_a_joined_recording_has_the_frames_of_the_whole(tmp_path):
    part = make_video(tmp_path / "part.ts", size=SIZE, n_frames=50, options={"bf": "0", "g": "10"})
    path = tmp_path / "joined.ts"
    path.write_bytes(part.read_bytes() * 2)
    whole = [(f.index, f.time_s) for f in read_frames(path)]
    found = [(f.index, f.time_s) for f in read_frames(path, part=Part(2.5, 3.0))]
    assert found == [(i, t) for i, t in whole if 2.5 <= t < 3.0]


def test_a_part_that_shows_nothing_is_an_error(tmp_path):
    path = make_video(tmp_path / "video.mp4", size=SIZE, n_frames=10)
    with pytest.raises(MediaError, match="shows nothing from 5 s to 6 s; expected a part of it"):
        list(read_frames(path, part=Part(5.0, 6.0)))
    with pytest.raises(MediaError, match="shows nothing from 5 s to the end"):
        list(read_frames(path, part=Part(5.0)))
    with pytest.raises(ConfigError, match="expected a start of 0 s or more"):
        Part(2.0, 1.0)


@pytest.mark.parametrize(("aspect", "size"), [(2, (128, 48)), (Fraction(1, 2), (64, 96))])
def test_pixels_that_are_not_square_become_square(tmp_path, aspect, size):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[12:36, 16:48] = 255
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = probe(path)
    (frame,) = read_frames(path)
    assert (info.width, info.height) == (frame.width, frame.height) == size
    assert info.pixel_aspect == aspect
    for image in (frame.gray(), frame.rgb()[..., 0], frame.ycc()[0]):
        assert image.shape == size[::-1]
        inside = image > 128
        assert np.flatnonzero(inside.any(0))[[0, -1]] == pytest.approx(
            [size[0] / 4, size[0] * 3 / 4 - 1], abs=1
        )
        assert np.flatnonzero(inside.any(1))[[0, -1]] == pytest.approx(
            [size[1] / 4, size[1] * 3 / 4 - 1], abs=1
        )


def test_two_passes_give_the_same_frames(tmp_path):
    path = make_video(tmp_path / "video.mp4", size=SIZE, n_frames=30, options={"bf": "3"})
    first, second = list(read_frames(path)), list(read_frames(path))
    for one, other in zip(first, second, strict=True):
        assert (one.index, one.time_s) == (other.index, other.time_s)
        assert np.array_equal(one.rgb(), other.rgb())


def test_reading_can_stop_early_and_frames_outlive_it(tmp_path):
    path = make_video(tmp_path / "video.mp4", size=SIZE, n_frames=30, picture=corners)
    frames = read_frames(path)
    frame = next(frames)
    frames.close()
    assert frame.rgb().shape == (48, 64, 3)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_come_upright(tmp_path, rotation, mirrored):
    path = make_video(
        tmp_path / "turned.mp4",
        size=SIZE,
        n_frames=2,
        picture=corners,
        rotation=rotation,
        mirrored=mirrored,
        options={"crf": "4"},
    )
    expected = corners(0)[:, ::-1] if mirrored else corners(0)
    expected = np.rot90(expected, -rotation // 90).astype(int)
    frame = next(read_frames(path))
    assert (frame.height, frame.width) == expected.shape[:2]
    assert frame.rgb().flags.c_contiguous
    assert np.array_equal(frame.bgr(), frame.rgb()[:, :, ::-1])
    # In the middle of the corner squares: at edges colours have half the resolution.
    image, inside = frame.rgb().astype(int), np.ix_((7, -8), (7, -8))
    assert image[inside] == pytest.approx(expected[inside], abs=12)
    weights = np.array([0.299, 0.587, 0.114])
    grey = expected @ weights
    assert frame.gray()[inside].astype(int) == pytest.approx(grey[inside], abs=8)


@pytest.mark.parametrize("colour_range", ["tv", "pc", None])
def test_black_is_0_and_white_is_255_whatever_the_range_of_the_file(tmp_path, colour_range):
    pixel_format = "yuvj420p" if colour_range == "pc" else "yuv420p"
    options = {"crf": "0", **({"color_range": colour_range} if colour_range else {})}
    path = make_video(
        tmp_path / "video.mp4",
        size=SIZE,
        n_frames=2,
        pixel_format=pixel_format,
        options=options,
        picture=lambda i: np.full((48, 64, 3), 255 * i, np.uint8),
    )
    black, white = read_frames(path)
    for image in (black.gray(), black.rgb()):
        assert image.max() <= 2
    for image in (white.gray(), white.rgb()):
        assert image.min() >= 253


def test_grey_is_the_luma_of_the_colours(tmp_path):
    path = make_video(tmp_path / "video.mp4", size=SIZE, n_frames=1, picture=corners)
    frame = next(read_frames(path))
    luma = frame.rgb() @ np.array([0.299, 0.587, 0.114])
    # Away from edges, where colours have half the resolution.
    assert frame.gray()[6::12, 6::12].astype(int) == pytest.approx(luma[6::12, 6::12], abs=4)


@pytest.mark.parametrize("matrix", [1, 2, 6], ids=["hd", "unsaid", "sd"])
def test_luma_and_colour_are_what_is_stored_whatever_the_matrix(tmp_path, matrix):
    """Converted by way of colours, luma would be 3 levels lower here."""
    stored = np.array([68, 156, 104], np.uint8)
    path = tmp_path / "stored.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 1
        planes = np.broadcast_to(stored[:, None, None], (3, 48, 64))
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
        picture.colorspace, picture.color_range = matrix, 1
        container.mux([*stream.encode(picture), *stream.encode(None)])
    frame = next(read_frames(path))
    full = [(68 - 16) * 255 / 219, *(128 + (c - 128) * 255 / 224 for c in (156.0, 104.0))]
    assert np.abs(frame.ycc().mean((1, 2)) - full).max() < 1
    assert np.array_equal(frame.gray(), frame.ycc()[0])


def test_a_frame_can_be_made_of_a_picture():
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    frame = Frame.from_rgb(7, 0.28, image)
    assert (frame.index, frame.time_s, frame.width, frame.height) == (7, 0.28, 41, 30)
    assert np.array_equal(frame.rgb(), image)
    assert np.array_equal(frame.bgr(), image[:, :, ::-1])
    assert frame.gray().astype(int) == pytest.approx(image @ np.array([0.299, 0.587, 0.114]), abs=2)


def test_a_stream_that_changes_size_keeps_the_first(tmp_path):
    path = tmp_path / "joined.ts"
    parts = [
        make_video(tmp_path / f"{w}.ts", size=(w, h), n_frames=25, picture=scaled(corners, w, h))
        for w, h in (SIZE, (128, 96))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(read_frames(path))
    assert {(f.width, f.height) for f in frames} == {SIZE}
    assert frames[-1].rgb()[6::12, 6::12].astype(int) == pytest.approx(
        corners(0)[6::12, 6::12], abs=24
    )


def scaled(picture, width, height):
    def larger(i):
        image = picture(i)
        return image.repeat(height // 48, axis=0).repeat(width // 64, axis=1)

    return larger


def test_times_go_on_where_a_joined_recording_starts_anew(tmp_path):
    part = make_video(tmp_path / "part.ts", size=SIZE, n_frames=50, options={"bf": "0"})
    path = tmp_path / "joined.ts"
    path.write_bytes(part.read_bytes() * 2)
    times = times_s(path)
    assert len(times) == 100
    assert np.diff(times).min() > 0
    assert times[:50] == pytest.approx([i / 25 for i in range(50)])
    assert times[-1] == pytest.approx(99 / 25, abs=0.2)


def ticked(stamps, *, dts=None):
    """Frames with the given timestamps in milliseconds."""
    for i, stamp in enumerate(stamps):
        frame = av.VideoFrame(16, 16, "gray")
        frame.time_base = Fraction(1, 1000)
        frame.pts = stamp
        frame.dts = None if dts is None else dts[i]
        yield frame


def clocked(stamps, *, dts=None, period_s=0.04):
    clock = Clock(Path("v.mp4"), period_s)
    return [clock.time_s(frame) for frame in ticked(stamps, dts=dts)]


def test_a_missing_timestamp_is_one_period_after_the_one_before():
    assert clocked([10, 50, None, 130, None]) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert clocked([None, None, None]) == pytest.approx([0, 0.04, 0.08])


def test_a_doubled_timestamp_is_half_a_period_after_the_one_before():
    assert clocked([0, 40, 40, 80, 120]) == pytest.approx([0, 0.04, 0.06, 0.08, 0.12])


def test_a_jump_back_goes_on_and_a_pause_stays():
    assert clocked([5000, 5040, 0, 40]) == pytest.approx([0, 0.04, 0.08, 0.12])
    assert clocked([0, 40, 60_000]) == pytest.approx([0, 0.04, 60.0])


def test_decoding_times_are_used_where_presentation_times_fall_back():
    times = clocked([40, 120, 160, 80, 200, 280], dts=[80, 120, 160, 200, 240, 280])
    assert times == pytest.approx([0, 0.08, 0.12, 0.16, 0.2, 0.24])


def test_a_jump_of_more_than_an_hour_is_an_error():
    with pytest.raises(MediaError, match=r"v\.mp4: timestamps jump from 0\.04 s to 4000\.00 s"):
        clocked([0, 40, 4_000_000])


stamps_ms = st.one_of(st.none(), st.integers(-100_000, 3_000_000))


@given(st.lists(stamps_ms, min_size=1, max_size=40), st.sampled_from([0.01, 0.04, 0.1]))
def test_times_always_increase_from_zero(stamps, period_s):
    times = clocked(stamps, period_s=period_s)
    assert times[0] == 0.0
    assert np.all(np.diff(times) > 0)


@given(st.lists(st.integers(1, 60_000), max_size=40), st.integers(-10_000, 10_000))
def test_times_that_increase_are_kept_exactly(steps, start):
    stamps = np.cumsum([start, *steps]).tolist()
    assert clocked(stamps) == [(stamp - start) / 1000 for stamp in stamps]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_stored_colours_are_upright_and_survive_being_written(tmp_path, rotation, mirrored):
    """What `yuv` gives is the picture that `rgb` gives, and a video of it shows the same."""
    path = make_video(
        tmp_path / "turned.mp4",
        size=SIZE,
        n_frames=2,
        picture=corners,
        rotation=rotation,
        mirrored=mirrored,
    )
    first = next(read_frames(path))
    info, rgb = probe(path), first.rgb()
    with VideoWriter(
        tmp_path / "copy.mp4",
        width=first.width,
        height=first.height,
        fps=25,
        crf=4,
        matrix=info.matrix,
    ) as video:
        for frame in read_frames(path):
            video.write(frame.yuv())
    luma, blue, red = planes_of(first.yuv())
    assert luma.shape == (first.height, first.width)
    assert blue.shape == red.shape == (first.height // 2, first.width // 2)
    copied = next(read_frames(tmp_path / "copy.mp4")).rgb()
    assert np.abs(copied.astype(int) - rgb).mean() < 3


@pytest.mark.parametrize(
    ("range_of_levels", "levels"),
    [(None, 200), (1, 200), (2, 188)],
    ids=["unsaid", "16-235", "all"],
)
def test_levels_as_stored_are_those_of_the_file_in_the_range_that_players_expect(
    tmp_path, range_of_levels, levels
):
    """200 of 0..255 is 16 + 200 * 219 / 255 of 16..235."""
    path = tmp_path / "levels.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if range_of_levels is not None:
            stream.codec_context.color_range = range_of_levels
        for _ in range(3):
            picture = av.VideoFrame.from_ndarray(np.full((72, 64), 200, np.uint8), "yuv420p")
            if range_of_levels is not None:
                picture.color_range = range_of_levels
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    for frame in read_frames(path):
        luma, *_ = planes_of(frame.yuv())
        assert np.abs(luma.astype(int) - levels).max() <= 1
        # To be drawn on: what was decoded stays as it is.
        luma[...] = 0
        assert planes_of(frame.yuv())[0].min() >= levels - 1


def test_odd_sizes_have_no_halved_colour():
    assert Frame.from_rgb(0, 0.0, np.zeros((48, 63, 3), np.uint8)).yuv() is None
    assert Frame.from_rgb(0, 0.0, np.zeros((47, 64, 3), np.uint8)).yuv() is None


def test_grey_levels_are_made_once():
    frame = Frame.from_rgb(0, 0.0, np.full((48, 64, 3), 90, np.uint8))
    assert frame.gray() is frame.gray()


def alive():
    return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())


@pytest.mark.parametrize("source", ["a picture", "a file"])
def test_a_picture_is_freed_with_its_last_user(tmp_path, source):
    path = make_video(tmp_path / "video.mp4", size=SIZE, n_frames=5, rotation=90)
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for _ in range(5):
            if source == "a picture":
                Frame.from_rgb(0, 0.0, corners(0)).gray()
            else:
                assert probe(path).rotation_deg == 90
                assert len([frame.gray() for frame in read_frames(path)]) == 5
        assert alive() == before
    finally:
        gc.enable()
