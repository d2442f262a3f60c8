import math
import os
import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile
from support.media_files import DEFAULT_CODECS, clicks, flashes, make_video, onsets_s, tone

from pushpull.errors import ConfigError, MediaError, OutputError, ShapeError
from pushpull.media import (
    Part,
    read_frames,
    read_sound,
    read_waveform,
    slice_audio,
    write_wav,
)
from pushpull.media.audio import CANCELLED, Placement

SIZE = (64, 48)
RATE = 16_000


def flash_times_s(path):
    return [frame.time_s for frame in read_frames(path) if frame.gray().mean() > 128]


def flash_and_click(path, **options):
    """3 s at 25 fps with a flash and a click at 1 s and at 2 s."""
    return make_video(
        path,
        size=SIZE,
        n_frames=75,
        picture=flashes(SIZE, [25, 50]),
        sound=clicks([1.0, 2.0]),
        options={"bf": "0"},
        **options,
    )


def assert_aligned(path, offset_s=0.0, tolerance_s=0.002):
    """Clicks sound with the flashes, or offset_s after them."""
    heard = onsets_s(read_waveform(path), RATE, threshold=0.2)
    seen = flash_times_s(path)
    assert len(seen) == 2
    assert np.subtract(heard, seen) == pytest.approx([offset_s] * 2, abs=tolerance_s)


@pytest.mark.parametrize("suffix", DEFAULT_CODECS)
def test_a_click_sounds_with_its_flash_in_every_container(tmp_path, suffix):
    assert_aligned(flash_and_click(tmp_path / f"video{suffix}"))


@pytest.mark.parametrize(
    ("codec", "suffix", "rate", "channels", "sample_format"),
    [
        ("aac", ".mp4", 8_000, 1, None),
        ("aac", ".mp4", 11_025, 2, None),
        ("aac", ".mp4", 44_100, 2, None),
        ("aac", ".mp4", 48_000, 6, None),
        ("libmp3lame", ".mp4", 44_100, 2, None),
        ("ac3", ".mp4", 48_000, 6, None),
        ("libopus", ".mkv", 48_000, 2, None),
        ("flac", ".mkv", 44_100, 2, "s16"),
        ("flac", ".mkv", 44_100, 1, "s32"),
        ("alac", ".mp4", 48_000, 2, None),
        ("mp2", ".mpg", 48_000, 2, None),
        ("pcm_u8", ".avi", 11_025, 1, None),
        ("pcm_s16le", ".mov", 48_000, 2, None),
        ("pcm_s24le", ".mkv", 48_000, 2, None),
        ("pcm_s32le", ".mkv", 96_000, 1, None),
        ("pcm_f32le", ".mkv", 48_000, 6, None),
        ("pcm_f64le", ".mkv", 22_050, 2, None),
    ],
)
def test_a_click_sounds_with_its_flash_in_every_codec(
    tmp_path, codec, suffix, rate, channels, sample_format
):
    assert_aligned(
        flash_and_click(
            tmp_path / f"video{suffix}",
            audio_codec=codec,
            audio_rate=rate,
            channels=channels,
            sample_format=sample_format,
        )
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mpg", ".ts", ".flv"])
def test_sound_that_starts_late_or_has_a_hole_stays_in_place(tmp_path, suffix):
    late = flash_and_click(tmp_path / f"late{suffix}", audio_start_s=0.5)
    assert_aligned(late)
    assert np.abs(read_waveform(late)[: int(0.4 * RATE)]).max() == 0
    assert_aligned(flash_and_click(tmp_path / f"hole{suffix}", audio_gaps_s=[(1.2, 1.7)]))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mpg", ".ts"])
def test_sound_before_the_first_frame_is_heard(tmp_path, suffix):
    # The picture starts 0.4 s late, so that its flash comes 0.4 s after the click.
    path = flash_and_click(tmp_path / f"late{suffix}", video_start_s=0.4)
    assert_aligned(path, offset_s=-0.4)
    delay_s = 0.0 if suffix == ".mp4" else pytest.approx(0.03, abs=0.04)
    assert onsets_s(read_waveform(path), RATE, threshold=0.2)[0] - 1.0 == delay_s


def voiced(tmp_path, mix, *, codec="pcm_s16le", name="voice.mkv"):
    """A voice in some channels (rows of `mix`, times), as a video."""
    voice = tone(300.0, 0.4)(np.arange(3 * RATE) / RATE)
    return make_video(
        tmp_path / name,
        size=SIZE,
        n_frames=75,
        sound=np.outer(mix, voice),
        channels=len(mix),
        audio_codec=codec,
        audio_rate=48_000 if codec == "ac3" else RATE,
    )


MIXES = {
    "mono": [1.0],
    "stereo": [1.0, 1.0],
    "opposite": [1.0, -1.0],
    "nearly opposite": [1.0, -0.8],
    "opposite, weaker right": [1.0, -0.6],
    "left": [1.0, 0.0],
    "right": [0.0, 1.0],
    "centre of 5.1": [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    "opposite fronts of 5.1": [1.0, -1.0, 0.0, 0.0, 0.0, 0.0],
    "opposite rears of 5.1": [0.0, 0.0, 0.0, 0.0, 1.0, -1.0],
    "one rear of quad": [0.0, 0.0, 1.0, 0.0],
}


@pytest.mark.parametrize("name", MIXES)
def test_a_voice_is_heard_in_whatever_channels_it_is(tmp_path, name):
    sound = read_sound(voiced(tmp_path, MIXES[name]))
    assert sound.waveform.std() > 0.02
    voice = tone(300.0)(np.arange(len(sound.waveform)) / RATE)
    assert abs(np.corrcoef(sound.waveform[1600:-1600], voice[1600:-1600])[0, 1]) > 0.99
    assert any("opposite phase" in note for note in sound.notes) == ("opposite" in name)


@given(st.floats(0.05, 1.0), st.floats(-1.0, 1.0))
def test_no_balance_of_two_channels_loses_a_voice(left, right):
    # By the rule alone: what is heard has at least a tenth of the power of the channels.
    middle, side = ((left + right) / 2) ** 2, ((left - right) / 2) ** 2
    power = (left**2 + right**2) / 2
    assert (side if middle < CANCELLED * power else middle) >= CANCELLED * power


def tracks_of(tmp_path, *sounds, default=0, first_s=0.0):
    """A video with some sound tracks, each (S,) at 16 kHz."""
    path = tmp_path / "tracks.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        streams = [container.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in sounds]
        for k, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if k == default else 0
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream, sound in zip(streams, sounds, strict=True):
            samples = (np.asarray(sound) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_a_silent_track_is_passed_over_and_the_choice_is_said(tmp_path):
    voice = tone(300.0)(np.arange(2 * RATE) / RATE)
    sound = read_sound(tracks_of(tmp_path, np.zeros(2 * RATE), voice))
    assert (sound.track, sound.is_silent) == (2, False)
    assert "sound track 2" in sound.notes[0]
    assert "since sound track 1 is silent" in sound.notes[0]
    assert "--audio-track" in sound.notes[0]


def test_a_track_can_be_chosen_and_its_number_is_checked(tmp_path):
    path = tracks_of(tmp_path, *(np.full(RATE, level) for level in (0.1, 0.2, 0.3)), default=1)
    levels = [float(read_sound(path, audio_track=n).waveform[100]) for n in (None, 1, 2, 3)]
    assert levels == pytest.approx([0.2, 0.1, 0.2, 0.3], abs=1e-3)
    assert "others: 1 (pcm_s16le, 1 channel); 3" in read_sound(path).notes[0]
    assert read_sound(path, audio_track=3).notes == ()
    with pytest.raises(ConfigError, match="has no sound track 4; expected one of 1"):
        read_sound(path, audio_track=4)


def test_silence_is_silence_where_no_track_is_heard(tmp_path):
    sound = read_sound(tracks_of(tmp_path, np.zeros(RATE), np.zeros(RATE)))
    assert (sound.track, sound.is_silent) == (1, True)


def test_a_part_of_the_sound_is_that_of_the_whole(tmp_path):
    path = flash_and_click(tmp_path / "video.mp4")
    whole = read_waveform(path)
    for start_s, end_s in ((0.5, 1.5), (0.0, 0.7), (2.5, math.inf)):
        piece = read_sound(path, part=Part(start_s, end_s)).waveform
        stop = len(whole) if math.isinf(end_s) else round(end_s * RATE)
        assert np.array_equal(piece, whole[round(start_s * RATE) : stop])


def test_a_part_without_sound_is_named(tmp_path):
    path = flash_and_click(tmp_path / "video.mp4")
    for part, said in (
        (Part(1e300), "from 1e\\+300 s to the end"),
        (Part(0, 1e-9), "from 0 s to 1e-09 s"),
    ):
        with pytest.raises(MediaError, match=f"has no sound {said}; expected a part of it"):
            read_sound(path, part=part)


def float_wav(path, samples):
    write_wav(path, np.zeros(len(samples), np.float32))
    data = path.read_bytes()
    path.write_bytes(data[: -4 * len(samples)] + np.asarray(samples, "<f4").tobytes())
    return path


def test_samples_that_are_no_numbers_are_left_out_or_refused(tmp_path):
    few = np.full(1000, 0.5)
    few[::50] = np.nan
    sound = read_sound(float_wav(tmp_path / "few.wav", few))
    assert np.isfinite(sound.waveform).all()
    assert sound.waveform.max() == pytest.approx(0.5)
    assert sound.notes == ("20 of 1000 samples of the sound are not numbers and were left out",)
    few[::50] = 1e30
    sound = read_sound(float_wav(tmp_path / "loud.wav", few))
    assert sound.waveform.max() == 1.0
    assert sound.notes == ("20 of 1000 samples of the sound are beyond full scale and were cut",)
    for name, level, message in (
        ("nan", np.nan, "are not numbers"),
        ("inf", np.inf, "are not numbers"),
        ("huge", 1e30, "are beyond full scale"),
        ("int16", 12345.0, "are beyond full scale"),
    ):
        with pytest.raises(MediaError, match=message):
            read_sound(float_wav(tmp_path / f"{name}.wav", np.full(1000, level)))


def test_a_stated_length_is_not_believed(tmp_path):
    path = make_video(tmp_path / "long.mkv", size=SIZE, n_frames=50, audio_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    # The duration of matroska, a double in milliseconds.
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 1e14)
    path.write_bytes(data)
    with pytest.raises(MediaError, match="is cut off or damaged"):
        read_waveform(path)


def test_stamps_far_from_0_need_no_memory(tmp_path):
    path = make_video(
        tmp_path / "far.mkv", size=SIZE, n_frames=5, audio_codec="pcm_s16le", audio_start_s=0.0
    )
    with av.open(str(path)) as old, av.open(str(tmp_path / "moved.mkv"), "w") as new:
        streams = [new.add_stream_from_template(s) for s in old.streams]
        for packet in old.demux():
            if packet.dts is not None:
                late = round(1e8 / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    assert len(read_waveform(tmp_path / "moved.mkv")) == 0.2 * RATE
    with pytest.raises(MediaError, match="expected no pause above an hour"):
        placed(sounds([0, 3_000_000, 6_000_000, 9_000_000, 12_000_000]))


def test_sound_may_end_before_or_after_the_picture(tmp_path):
    for seconds in (1.0, 5.0):
        path = make_video(
            tmp_path / f"{seconds}.mkv",
            size=SIZE,
            n_frames=75,
            sound=np.full(int(seconds * RATE), 0.1),
            audio_codec="pcm_s16le",
        )
        assert len(read_waveform(path)) == seconds * RATE


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_a_sine_stays_a_sine(tmp_path, rate, codec):
    path = make_video(
        tmp_path / "sine.mkv",
        size=SIZE,
        n_frames=50,
        sound=tone(1000.0, 0.5),
        audio_codec=codec,
        audio_rate=rate,
    )
    waveform = read_waveform(path).astype(np.float64)
    assert len(waveform) == pytest.approx(2 * RATE, abs=2)
    t = np.arange(len(waveform)) / RATE
    expected = 0.5 * np.sin(2 * np.pi * 1000.0 * t)
    # The resampler's window reaches over both ends.
    inside = slice(800, len(t) - 800)
    noise = waveform[inside] - expected[inside]
    snr_db = 10 * np.log10(np.mean(expected[inside] ** 2) / np.mean(noise**2))
    assert snr_db > 75


def test_what_16_khz_cannot_hold_is_removed(tmp_path):
    path = make_video(
        tmp_path / "high.mkv",
        size=SIZE,
        n_frames=50,
        sound=tone(10_000.0, 0.5),
        audio_codec="pcm_f32le",
        audio_rate=48_000,
    )
    inside = read_waveform(path)[800:-800]
    assert np.sqrt(np.mean(inside**2)) < 0.5 / np.sqrt(2) * 1e-3


def test_channels_are_mixed_within_full_scale(tmp_path):
    def mixed(samples, name, channels):
        path = make_video(
            tmp_path / name,
            size=SIZE,
            n_frames=25,
            sound=samples,
            audio_codec="pcm_f32le",
            audio_rate=RATE,
            channels=channels,
        )
        return read_waveform(path)

    loud = np.full(RATE, 0.9, np.float32)
    assert mixed(loud, "mono.mkv", 1) == pytest.approx(0.9)
    assert mixed(loud, "stereo.mkv", 2) == pytest.approx(0.9)
    assert mixed(loud, "surround.mkv", 6) == pytest.approx(0.9, abs=0.01)
    left = np.stack([loud, np.zeros_like(loud)])
    assert mixed(left, "left.mkv", 2) == pytest.approx(0.45)


def test_samples_beyond_full_scale_are_clipped(tmp_path):
    path = tmp_path / "loud.wav"
    write_wav(path, np.array([0.5, 1.7, -3.0], np.float32))
    assert read_waveform(path).tolist() == [0.5, 1.0, -1.0]


def test_an_empty_sound_stream_is_an_error(tmp_path):
    path = tmp_path / "none.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    with pytest.raises(MediaError, match="no sound that can be decoded"):
        read_waveform(path)


def test_slices_are_padded_with_silence():
    waveform = np.arange(1, 11, dtype=np.float32)
    assert slice_audio(waveform, -0.2, 0.3, rate_hz=10).tolist() == [0, 0, 1, 2, 3]
    assert slice_audio(waveform, 0.8, 1.2, rate_hz=10).tolist() == [9, 10, 0, 0]
    assert slice_audio(waveform, 3.0, 3.2, rate_hz=10).tolist() == [0, 0]
    assert slice_audio(waveform, -2.0, -1.8, rate_hz=10).tolist() == [0, 0]
    assert slice_audio(waveform, 0.5, 0.5, rate_hz=10).tolist() == []


@given(
    st.integers(0, 300),
    st.lists(st.floats(-2, 5), min_size=3, max_size=3).map(sorted),
)
def test_neighbouring_slices_join_to_the_whole(n, cuts):
    waveform = np.arange(n, dtype=np.float32)
    a, b, c = cuts
    parts = [slice_audio(waveform, a, b, rate_hz=100), slice_audio(waveform, b, c, rate_hz=100)]
    assert np.array_equal(np.concatenate(parts), slice_audio(waveform, a, c, rate_hz=100))


def test_a_slice_is_a_copy_of_what_it_was_given():
    waveform = np.ones(10, np.float32)
    slice_audio(waveform, 0, 1, rate_hz=10)[:] = 0
    assert waveform.all()
    with pytest.raises(ConfigError, match="expected stop after start"):
        slice_audio(waveform, 1.0, 0.5)
    with pytest.raises(ShapeError, match=r"expected \(S,\)"):
        slice_audio(np.ones((1, 10), np.float32), 0, 1)


def test_a_float_wav_keeps_every_bit(tmp_path):
    waveform = np.random.default_rng(0).uniform(-1, 1, 12_345).astype(np.float32)
    write_wav(tmp_path / "a.wav", waveform)
    assert np.array_equal(read_waveform(tmp_path / "a.wav"), waveform)
    rate, samples = wavfile.read(tmp_path / "a.wav")
    assert rate == RATE
    assert np.array_equal(samples, waveform)


def test_an_int16_wav_rounds_to_the_nearest_step(tmp_path):
    waveform = np.array([0, 1, -1, 0.25, 1.4 / 32768, -1.6 / 32768], np.float32)
    write_wav(tmp_path / "a.wav", waveform, rate_hz=8_000, sample_format="int16")
    rate, samples = wavfile.read(tmp_path / "a.wav")
    assert rate == 8_000
    assert samples.tolist() == [0, 32767, -32768, 8192, 1, -2]
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 8_000, 6)
    again = read_waveform(tmp_path / "a.wav", rate_hz=8_000)
    assert (again * 32768).tolist() == samples.tolist()


def test_a_wav_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_wav(tmp_path / "none" / "a.wav", np.zeros(10, np.float32))
    with pytest.raises(ShapeError, match="finite"):
        write_wav(tmp_path / "a.wav", np.array([np.nan], np.float32))
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_said_so():
    with pytest.raises(OutputError, match="No space left on device"):
        write_wav("/dev/full", np.zeros(10_000, np.float32))


def sounds(starts_ms, *, length=1600, rate=16_000):
    """Frames of ones, 100 ms each, that begin at the given times."""
    for start in starts_ms:
        frame = av.AudioFrame.from_ndarray(
            np.ones((1, length), np.float32), format="flt", layout="mono"
        )
        frame.sample_rate, frame.time_base = rate, Fraction(1, 1000)
        frame.pts = start
        yield frame


def placed(*runs):
    place = Placement(Path("v.mp4"), 0.0, RATE, "mono")
    pieces = [piece for run in runs for frame in run for piece in place.push(frame)]
    pieces += place.finish()
    out = np.zeros(max(start + p.shape[1] for start, p in pieces), np.float32)
    for start, piece in pieces:
        assert not out[start : start + piece.shape[1]].any(), "pieces overlap"
        out[start : start + piece.shape[1]] = piece[0]
    return out


def test_timestamps_that_tremble_make_no_holes():
    assert placed(sounds([0, 103, 198, 305, None])).tolist() == [1.0] * 8000


def test_a_lost_packet_is_silence_of_its_length():
    out = placed(sounds([0, 100, 300]))
    assert np.array_equal(np.flatnonzero(out == 0), np.arange(3200, 4800))
    assert len(out) == 6400


def test_drift_is_followed():
    # A clock that is 1 % slow: the last of 60 frames is 0.6 s later than its samples say.
    out = placed(sounds([101 * i for i in range(60)]))
    assert len(out) == pytest.approx((59 * 0.101 + 0.1) * RATE, abs=0.02 * RATE)


def test_sound_that_starts_anew_goes_on():
    assert placed(sounds([5000, 5100]), sounds([0, 100])).tolist()[-6400:] == [1.0] * 6400


def test_overlapping_sound_is_not_doubled():
    assert len(placed(sounds([0, 50, 150]))) == 4000


def test_a_change_of_rate_is_followed():
    out = placed(sounds([0, 100]), sounds([200, 300], length=800, rate=8_000))
    assert len(out) == pytest.approx(6400, abs=1)
    inside = out[200:3000], out[3400:6200]
    assert np.concatenate(inside) == pytest.approx(1.0, abs=1e-3)


def test_sound_that_jumps_by_more_than_an_hour_is_an_error():
    with pytest.raises(MediaError, match=r"sound jump from 0\.10 s to 4000\.00 s"):
        placed(sounds([0, 4_000_000]))
