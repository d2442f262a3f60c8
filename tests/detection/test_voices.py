"""When a voice is heard, and when it is nobody's on screen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.detection import Turn, off_screen_turns, voiced, voices
from pushpull.synthetic import babble, draw_voice, synthesize

RNG = np.random.default_rng(4)
TALK = babble(RNG, 8.0, ((1.0, 7.0),))
SOUND = synthesize(TALK.tract, draw_voice(RNG), RNG)
NOISE = (0.01 * RNG.standard_normal(8 * 16_000)).astype(np.float32)


def test_voice_is_found_where_it_is() -> None:
    rng = np.random.default_rng(4)
    talk = babble(rng, 4.0, ((1.0, 3.0),))
    sound = synthesize(talk.tract, draw_voice(rng), rng)
    sound = (sound + rng.normal(0, 3e-4, len(sound))).astype(np.float32)
    times_s = np.arange(100) / 25 + 0.02
    found = voiced(sound, times_s)
    spoken = np.zeros(100, bool)
    for start_s, end_s in talk.utterances:
        spoken |= (times_s >= start_s) & (times_s < end_s)
    assert (found == spoken).mean() > 0.85
    assert not found[times_s < 0.8].any()
    assert not voiced(np.zeros(16000, np.float32), times_s[:25]).any()
    # Beyond the sound's end the last step counts.
    assert voiced(sound[:3000], np.array([5.0])).shape == (1,)


def seconds(turns) -> float:
    return sum(turn.end_s - turn.start_s for turn in turns)


def test_a_voice_without_a_face_is_off_screen() -> None:
    found = off_screen_turns(SOUND, [])
    assert seconds(found) == pytest.approx(6.0, abs=0.8)
    assert found[0].start_s > 0.8
    assert found[-1].end_s < 7.4


@pytest.mark.parametrize("hz", [(150,), (440,), (220, 440, 660), (1000,)])
def test_a_tone_is_no_voice(hz) -> None:
    times_s = np.arange(4 * 16_000) / 16_000
    tone = sum(0.2 * np.sin(2 * np.pi * one * times_s) for one in hz)
    assert off_screen_turns(tone.astype(np.float32), []) == []


def test_noise_and_silence_are_no_voice() -> None:
    assert off_screen_turns(NOISE, []) == []
    assert off_screen_turns(np.zeros(16_000, np.float32), []) == []
    assert off_screen_turns(np.zeros(0, np.float32), []) == []


@given(st.floats(0, 7), st.floats(0.3, 4), st.floats(0, 1000))
@settings(max_examples=30)
def test_a_turn_on_screen_is_never_off_it(start_s: float, length_s: float, first_s: float) -> None:
    turn = Turn(first_s + start_s, first_s + start_s + length_s)
    found = off_screen_turns(SOUND, [turn], start_s=first_s)
    assert all(one.end_s <= turn.start_s or one.start_s >= turn.end_s for one in found)
    assert seconds(off_screen_turns(SOUND, [])) >= seconds(found) - 1e-6


def test_times_are_those_of_the_video() -> None:
    early, late = (off_screen_turns(SOUND, [], start_s=start_s) for start_s in (0.0, 900.0))
    assert [turn.start_s + 900 for turn in early] == pytest.approx([t.start_s for t in late])
    assert [turn.end_s + 900 for turn in early] == pytest.approx([t.end_s for t in late])


@pytest.mark.parametrize("at_once", [1, 7, 100])
@pytest.mark.parametrize("samples", [100, 480 * 100, 480 * 100 + 7, len(SOUND)])
def test_a_long_sound_is_judged_in_parts_as_a_whole(monkeypatch, at_once, samples) -> None:
    sound, times_s = SOUND[:samples], np.arange(0, 8, 0.03)
    whole = voiced(sound, times_s)
    monkeypatch.setattr(voices, "AT_ONCE", at_once)
    assert np.array_equal(voiced(sound, times_s), whole)
