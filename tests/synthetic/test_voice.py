"""Sound made from a vocal tract, measured with the tools of phonetics."""

from dataclasses import replace

import numpy as np
import pytest

from pushpull.schema import SAMPLE_RATE_HZ
from pushpull.synthetic.articulation import RATE_HZ, babble, silent_tract
from pushpull.synthetic.phones import PHONES
from pushpull.synthetic.room import mixed
from pushpull.synthetic.voice import Voice, draw_voice, synthesize

STEADY = Voice(pitch_hz=110.0, tract_cm=17.5, jitter=0.0, shimmer=0.0, breathiness=0.0)


def steady(name, seconds=1.0, **changes):
    """A tract that holds one phone."""
    n = round(seconds * RATE_HZ)
    phone = PHONES[name]
    tract = silent_tract(n)
    return replace(
        tract,
        voicing=np.full(n, phone.voicing),
        frication=np.full(n, phone.frication),
        frication_hz=np.full(n, phone.frication_hz),
        formants_hz=np.tile(phone.formants_hz, (n, 1)),
        **changes,
    )


def spectrum_db(sound):
    """Frequencies and smoothed power (dB)."""
    middle = sound[2000:-2000]
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    frequencies_hz = np.fft.rfftfreq(len(middle), 1 / SAMPLE_RATE_HZ)
    return frequencies_hz, 10 * np.log10(power + 1e-12)


@pytest.mark.parametrize("name", ["a", "i", "u", "E"])
def test_harmonics_are_loudest_at_the_formants(name):
    frequencies_hz, power_db = spectrum_db(
        synthesize(steady(name), STEADY, np.random.default_rng(0))
    )
    # Levels of harmonics, with the fall of the source (about 6 dB per octave and its tilt) undone.
    harmonics_hz = STEADY.pitch_hz * np.arange(1, 32)
    levels = np.array([power_db[np.abs(frequencies_hz - f) < 20].max() for f in harmonics_hz])
    levels += (6 + 2) * np.log2(harmonics_hz / harmonics_hz[0])
    for formant_hz in PHONES[name].formants_hz[:2]:
        near = np.abs(harmonics_hz - formant_hz) < 300
        loudest_hz = harmonics_hz[near][np.argmax(levels[near])]
        assert abs(loudest_hz - formant_hz) < STEADY.pitch_hz


@pytest.mark.parametrize("pitch_hz", [90.0, 140.0, 220.0])
def test_the_pitch_is_the_speakers(pitch_hz):
    voice = replace(STEADY, pitch_hz=pitch_hz)
    sound = synthesize(steady("a"), voice, np.random.default_rng(0)).astype(float)[4000:12000]
    correlation = np.correlate(sound, sound, "full")[len(sound) - 1 :]
    shortest = SAMPLE_RATE_HZ // 400
    period = shortest + np.argmax(correlation[shortest : SAMPLE_RATE_HZ // 60])
    assert SAMPLE_RATE_HZ / period == pytest.approx(pitch_hz, rel=0.02)


def test_a_shorter_tract_moves_formants_up():
    def centroid_hz(tract_cm):
        voice = replace(STEADY, tract_cm=tract_cm)
        frequencies_hz, power_db = spectrum_db(
            synthesize(steady("a"), voice, np.random.default_rng(0))
        )
        power = 10 ** (power_db / 10)
        return (frequencies_hz * power).sum() / power.sum()

    assert centroid_hz(14.0) > 1.1 * centroid_hz(17.5)


def test_hissing_is_high_and_the_voice_is_low():
    def share_above_3_khz(name):
        frequencies_hz, power_db = spectrum_db(
            synthesize(steady(name), STEADY, np.random.default_rng(0))
        )
        power = 10 ** (power_db / 10)
        return power[frequencies_hz > 3000].sum() / power.sum()

    assert share_above_3_khz("s") > 0.9
    assert share_above_3_khz("a") < 0.1


def test_speech_has_the_level_of_the_voice_and_fits_in_full_scale():
    speech = babble(np.random.default_rng(3), 5.0)
    voice = replace(STEADY, level_db=-26.0)
    sound = synthesize(speech.tract, voice, np.random.default_rng(0))
    assert sound.dtype == np.float32
    assert len(sound) == 5 * SAMPLE_RATE_HZ
    voiced = np.repeat(speech.tract.voicing > 0.1, SAMPLE_RATE_HZ // RATE_HZ)
    assert 20 * np.log10(np.std(sound[voiced])) == pytest.approx(-26.0, abs=1.0)
    assert np.abs(sound).max() < 1


def test_loudness_of_babble_rises_and_falls_at_the_rate_of_syllables():
    rng = np.random.default_rng(4)
    sound = synthesize(babble(rng, 40.0).tract, draw_voice(rng), rng).astype(float)
    envelope = np.sqrt((sound.reshape(-1, 160) ** 2).mean(1))
    blocks = np.lib.stride_tricks.sliding_window_view(envelope - envelope.mean(), 200)[::100]
    power = (np.abs(np.fft.rfft(blocks * np.hanning(200))) ** 2).mean(0)
    rates_hz = np.fft.rfftfreq(200, 0.01)
    # Energy per octave, as modulation spectra of speech are drawn.
    assert 2 <= rates_hz[np.argmax(power * rates_hz)] <= 7
    assert power[(rates_hz > 1) & (rates_hz < 9)].sum() > 2 * power[rates_hz >= 9].sum()


def test_a_silent_tract_makes_no_sound():
    assert not synthesize(silent_tract(100), STEADY, np.random.default_rng(0)).any()


def test_the_same_seed_gives_the_same_sound():
    tract = babble(np.random.default_rng(0), 1.0).tract
    first, same = (synthesize(tract, STEADY, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, same)


def test_a_room_adds_echo_and_noise_of_the_stated_levels():
    click = np.zeros(SAMPLE_RATE_HZ, np.float32)
    click[4000] = 0.5
    room = {"reverberation_db": -10.0, "noise_db": -90.0}
    sound = mixed(np.random.default_rng(0), [click, 0 * click], **room).astype(float)
    direct = np.tanh(0.5) ** 2
    assert sound[4000] ** 2 == pytest.approx(direct, rel=0.01)
    echo_db = 10 * np.log10((sound[4001:8000] ** 2).sum() / 0.25)
    assert echo_db == pytest.approx(-10.0, abs=0.5)
    quiet = mixed(np.random.default_rng(0), [0 * click], noise_db=-50.0)
    assert 20 * np.log10(np.std(quiet)) == pytest.approx(-50.0, abs=0.1)
