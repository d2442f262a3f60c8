"""Audio features against python_speech_features 0.6, and what holds for every batch of clips."""

import logging

import numpy as np
import pytest
import python_speech_features as psf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from python_speech_features import sigproc

from pushpull.errors import ShapeError
from pushpull.models import features
from pushpull.models.features import Window, log_power_spectrogram, mfcc

EXTRACTORS = {"mfcc": mfcc, "log_power_spectrogram": log_power_spectrogram}
ALL_FPS = (15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 60.0)


# Below 19.53 fps the library says once per call, in a deprecated way, that it truncates.
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' function is deprecated")


@pytest.fixture(autouse=True)
def _no_log_of_the_library():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def int16_audio(n: int, seed: int = 0) -> np.ndarray:
    """Noise under a slow envelope with digital silence in it, from loud to one bit."""
    g = np.random.default_rng(seed)
    envelope = 10 ** (4.4 * np.abs(np.sin(np.arange(n) / 3000)))
    audio = np.round(np.clip(g.standard_normal(n) * envelope, -32768, 32767))
    audio[n // 3 : n // 2] = 0
    return audio.astype(np.int16)


def wrapped(rows: np.ndarray, n_frames: int) -> np.ndarray:
    missing = 4 * n_frames - len(rows)
    if missing > 0:
        rows = np.pad(rows, ((0, missing), (0, 0)), "wrap")
    return rows[: 4 * n_frames]


def library_mfcc(audio: np.ndarray, fps: float, n_frames: int) -> np.ndarray:
    rows = psf.mfcc(audio, 16000, numcep=13, winlen=0.025 * 25 / fps, winstep=0.010 * 25 / fps)
    return wrapped(rows, n_frames)


def of_clip(extract, audio, fps: float, n_frames: int, dtype=torch.float64) -> torch.Tensor:
    """Features of int16 samples or of a waveform."""
    if isinstance(audio, np.ndarray):
        audio = torch.tensor(audio / 32768, dtype=dtype)
    return extract(
        audio[None],
        n_samples=torch.tensor([len(audio)]),
        n_frames=torch.tensor([n_frames]),
        fps=torch.tensor([fps], dtype=torch.float64),
    )[0]


def difference(ours: torch.Tensor, reference: np.ndarray) -> float:
    assert ours.shape == reference.shape
    return np.abs(ours.double().numpy() - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize("fps", ALL_FPS)
@pytest.mark.parametrize("extra_samples", [-700, 0, 1, 4000])
def test_mfcc_equals_the_library_at_every_frame_rate(fps, extra_samples):
    n_frames = 40
    audio = int16_audio(round(n_frames / fps * 16000) + extra_samples)
    expected = library_mfcc(audio, fps, n_frames)
    assert difference(of_clip(mfcc, audio, fps, n_frames), expected) < 1e-10
    assert difference(of_clip(mfcc, audio, fps, n_frames, torch.float32), expected) < 2e-5


@pytest.mark.parametrize("n_samples", [1, 100, 400, 401, 560, 561, 2000])
def test_mfcc_of_audio_much_too_short_repeats_from_its_start_as_numpy_wraps(n_samples):
    audio = int16_audio(6000)[-n_samples:]
    expected = library_mfcc(audio, 25.0, 12)
    assert difference(of_clip(mfcc, audio, 25.0, 12), expected) < 1e-10


def test_mfcc_of_digital_silence_equals_the_library():
    audio = np.zeros(16000, np.int16)
    ours = of_clip(mfcc, audio, 25.0, 25)
    assert difference(ours, library_mfcc(audio, 25.0, 25)) < 1e-10
    assert ours[0, 0].item() == pytest.approx(np.log(np.finfo(float).eps))


@pytest.mark.parametrize("fps", [15.0, 25.0, 29.97])
def test_spectrogram_is_the_logarithm_of_the_library_power_spectrum(fps):
    audio = int16_audio(16000)
    window = Window.at(fps)
    frames = sigproc.framesig(sigproc.preemphasis(audio, 0.97), window.length, window.step)
    power = sigproc.powspec(frames, 512)
    expected = wrapped(np.log(np.maximum(power, np.finfo(float).eps)), 12)
    assert difference(of_clip(log_power_spectrogram, audio, fps, 12), expected) < 1e-10


def test_windows_follow_the_frame_rate_and_round_half_up():
    assert Window.at(25.0) == Window(length=400, step=160)
    assert Window.at(50.0) == Window(length=200, step=80)
    assert Window.at(16.0) == Window(length=625, step=250)
    # 10 000 / fps and 4000 / fps samples: 312.5 rounds up.
    assert Window.at(32.0) == Window(length=313, step=125)


def test_last_window_reaches_past_the_end():
    window = Window(length=400, step=160)
    assert [window.rows(n) for n in (1, 400, 401, 560, 561)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_gradient_of_the_waveform_is_right(name):
    g = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(2, 90, generator=g, dtype=torch.float64)
    waveform[1, 40:] = 0

    def extract(x):
        return EXTRACTORS[name](
            x,
            n_samples=torch.tensor([90, 60]),
            n_frames=torch.tensor([2, 1]),
            fps=torch.tensor([250.0, 300.0], dtype=torch.float64),
        )

    assert torch.autograd.gradcheck(
        extract, waveform.requires_grad_(), eps=1e-7, atol=1e-3, rtol=1e-3, fast_mode=True
    )


@pytest.mark.parametrize("name", EXTRACTORS)
@pytest.mark.parametrize("loudness", [0.0, 1e-30, 1e-20, 1e-10, 1e-5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_stay_finite_down_to_silence(name, loudness, dtype):
    g = torch.Generator().manual_seed(0)
    waveform = (loudness * (2 * torch.rand(4000, generator=g) - 1)).to(dtype).requires_grad_()
    of_clip(EXTRACTORS[name], waveform, 25.0, 6).square().sum().backward()
    assert torch.isfinite(waveform.grad).all()
    assert loudness < 1e-9 or waveform.grad.abs().min() > 0


@given(data=st.data())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", EXTRACTORS)
def test_rows_of_a_clip_depend_on_its_own_valid_samples_only(name, data):
    clips = data.draw(
        st.lists(
            st.tuples(st.integers(1, 3000), st.integers(1, 6), st.sampled_from(ALL_FPS)),
            min_size=1,
            max_size=4,
        )
    )
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    n_samples, n_frames, fps = (torch.tensor(column) for column in zip(*clips, strict=True))
    # Noise, not zeros, lies behind the end of each clip.
    waveform = torch.rand(
        len(clips), int(n_samples.max()) + 50, generator=g, dtype=torch.float64
    ).sub_(0.5)
    batch = EXTRACTORS[name](waveform, n_samples=n_samples, n_frames=n_frames, fps=fps.double())
    assert batch.shape[:2] == (len(clips), 4 * int(n_frames.max()))
    for i, (samples, frames, rate) in enumerate(clips):
        alone = of_clip(EXTRACTORS[name], waveform[i, :samples], float(fps[i]), frames)
        assert rate == pytest.approx(float(fps[i]))
        torch.testing.assert_close(batch[i, : 4 * frames], alone, rtol=1e-10, atol=1e-10)
        assert not batch[i, 4 * frames :].any()


@pytest.mark.parametrize("name", EXTRACTORS)
def test_long_audio_in_parts_gives_the_same_rows(name, monkeypatch):
    audio = int16_audio(20_000)
    whole = of_clip(EXTRACTORS[name], audio, 29.97, 37)
    monkeypatch.setattr(features, "ROWS_AT_ONCE", 7)
    parts = of_clip(EXTRACTORS[name], audio, 29.97, 37)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


def test_mixed_precision_does_not_reach_the_features():
    audio = torch.tensor(int16_audio(4000) / 32768, dtype=torch.float32)
    expected = of_clip(mfcc, audio, 25.0, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(of_clip(mfcc, audio, 25.0, 6), expected)
    assert of_clip(mfcc, audio.bfloat16(), 25.0, 6).dtype == torch.float32


def test_features_made_without_gradient_do_not_spoil_later_gradients():
    features._matrices.cache_clear()
    waveform = torch.rand(2000)
    with torch.inference_mode():
        of_clip(mfcc, waveform, 25.0, 3)
    of_clip(mfcc, waveform.requires_grad_(), 25.0, 3).sum().backward()
    assert waveform.grad.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"waveform": torch.zeros(100)}, r"waveform is \(100,\).*expected \(B, S\)"),
        ({"waveform": torch.zeros(1, 100, dtype=torch.int16)}, "int16; expected"),
        ({"n_samples": torch.tensor([101])}, r"n_samples is \[101\]; the waveform has 100"),
        ({"n_samples": torch.tensor([0])}, "expected 1 positive numbers"),
        ({"n_frames": torch.tensor([2, 2])}, "expected 1 positive numbers"),
        ({"fps": torch.tensor([-25.0])}, "expected 1 positive numbers"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, message):
    arguments = {
        "waveform": torch.zeros(1, 100),
        "n_samples": torch.tensor([100]),
        "n_frames": torch.tensor([2]),
        "fps": torch.tensor([25.0]),
    } | change
    with pytest.raises(ShapeError, match=message):
        mfcc(arguments.pop("waveform"), **arguments)
