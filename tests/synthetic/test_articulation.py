"""Phones become motion of the mouth and of the vocal tract."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.synthetic.articulation import (
    RATE_HZ,
    Mouth,
    Segment,
    babble,
    blend,
    mouth_of,
    phrases,
    silent_tract,
    tract_of,
    with_rests,
)
from pushpull.synthetic.phones import CODAS, NUCLEI, ONSETS, PHONES

BILABIALS = ("p", "b", "m")


def word(*names, each_s=0.1, start_s=0.3):
    """Phones of equal length between rests, and the middle of each."""
    segments = [
        Segment(PHONES[name], start_s + i * each_s, start_s + (i + 1) * each_s)
        for i, name in enumerate(names)
    ]
    end_s = segments[-1].end_s + 0.3
    middles = [round((s.start_s + s.end_s) / 2 * RATE_HZ) for s in segments]
    return with_rests(segments, end_s), round(end_s * RATE_HZ), middles


@pytest.mark.parametrize("consonant", BILABIALS)
@pytest.mark.parametrize("vowel", [name for name, phone in PHONES.items() if phone.voicing == 1.0])
def test_lips_close_for_bilabials_between_any_vowels(consonant, vowel):
    segments, n, (_, middle, _) = word(vowel, consonant, vowel)
    mouth = mouth_of(segments, n)
    assert mouth.gap[middle] == 0
    assert mouth.press[middle] > 0.05


def test_open_vowels_open_the_mouth_more_than_closed_ones():
    opened = {}
    for name in ("a", "E", "i", "u"):
        segments, n, (_, middle, _) = word("d", name, "d")
        opened[name] = mouth_of(segments, n).gap[middle]
    assert opened["a"] > opened["E"] > opened["i"] > opened["u"] > 0


def test_lips_round_before_a_rounded_vowel_begins():
    segments, n, (_, middle, _) = word("i", "t", "u")
    before_u = mouth_of(segments, n).rounding[middle]
    segments, n, (_, middle, _) = word("i", "t", "i")
    assert before_u > mouth_of(segments, n).rounding[middle] + 0.05


def test_formants_of_a_long_vowel_reach_its_targets():
    segments, n, (middle,) = word("a", each_s=0.6)
    tract = tract_of(segments, n, np.ones(n))
    # The first formant follows the opening of the lips around its target.
    np.testing.assert_allclose(tract.formants_hz[middle, 1:], (1090, 2440), rtol=0.01)
    assert tract.formants_hz[middle, 0] == pytest.approx(730, rel=0.1)


def test_a_wider_mouth_has_a_higher_first_formant_and_is_louder():
    speech = babble(np.random.default_rng(0), 20.0)
    voiced = speech.tract.voicing > 0.2
    gap = speech.mouth.gap[voiced]
    assert np.corrcoef(gap, speech.tract.formants_hz[voiced, 0])[0, 1] > 0.6
    assert np.corrcoef(gap, speech.tract.voicing[voiced])[0, 1] > 0.4


def test_stops_are_silent_until_they_open():
    segments, n, (_, middle, _) = word("a", "t", "a", each_s=0.15)
    tract = tract_of(segments, n, np.ones(n))
    assert tract.frication[middle] == 0
    assert tract.voicing[middle] == 0
    burst = round((0.3 + 0.30 - 0.012) * RATE_HZ)
    assert tract.frication[burst] > 0.2


spans_strategy = st.lists(
    st.tuples(st.floats(0.05, 1.0), st.floats(0.3, 4.0)), min_size=0, max_size=4
)


@settings(max_examples=40, deadline=None)
@given(gaps_and_lengths=spans_strategy, seed=st.integers(0, 2**32 - 1))
def test_everything_stays_in_range_and_speech_stays_in_its_spans(gaps_and_lengths, seed):
    spans, at_s = [], 0.0
    for gap_s, length_s in gaps_and_lengths:
        spans.append((at_s + gap_s, at_s + gap_s + length_s))
        at_s = spans[-1][1]
    duration_s = at_s + 0.5
    n = round(duration_s * RATE_HZ)
    speech = babble(np.random.default_rng(seed), duration_s, spans)
    mouth, tract = speech.mouth, speech.tract
    for name in ("gap", "press", "jaw", "rounding", "tongue", "smile"):
        values = getattr(mouth, name)
        assert values.shape == (n,)
        assert values.min() >= 0
        assert values.max() <= 1
    assert np.abs(mouth.width).max() <= 1
    assert tract.formants_hz.shape == (n, 3)
    assert np.all(np.diff(tract.formants_hz, axis=1) > 0)
    assert tract.pitch.min() > 0.5
    assert tract.pitch.max() < 2
    times_s = np.arange(n) / RATE_HZ
    far = np.ones(n, bool)
    for start_s, end_s in spans:
        far &= (times_s < start_s - 0.03) | (times_s > end_s + 0.03)
    loudness = tract.voicing + tract.aspiration + tract.frication
    assert not loudness[far].any()
    assert speech.utterances == tuple(spans)
    inside = speech.speaking(times_s)
    assert inside.sum() == sum(
        ((times_s >= start_s) & (times_s < end_s)).sum() for start_s, end_s in spans
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length_s=st.floats(0.3, 12.0))
def test_phrases_fill_a_span_with_short_pauses(seed, length_s):
    made = list(phrases(np.random.default_rng(seed), 1.0, 1.0 + length_s, 1.0))
    assert made[0][0].start_s == 1.0
    assert made[-1][-1].end_s == pytest.approx(1.0 + length_s)
    for phrase in made:
        for first, second in itertools.pairwise(phrase):
            assert first.end_s == pytest.approx(second.start_s)
    for before, after in itertools.pairwise(made):
        assert 0 < after[0].start_s - before[-1].end_s <= 0.35 + 1e-9


def test_syllables_come_three_to_six_times_a_second():
    speech = babble(np.random.default_rng(1), 60.0)
    segments = [s for phrase in phrases(np.random.default_rng(1), 0.0, 60.0, 1.0) for s in phrase]
    nuclei = sum(s.phone.voicing == 1.0 for s in segments)
    assert 3 < nuclei / 60 < 6
    assert len(speech.utterances) == 1


def test_the_same_seed_gives_the_same_speech_and_another_seed_another():
    first, same, other = (babble(np.random.default_rng(seed), 3.0) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.mouth.gap, same.mouth.gap)
    np.testing.assert_array_equal(first.tract.formants_hz, same.tract.formants_hz)
    assert not np.array_equal(first.mouth.gap, other.mouth.gap)


def test_a_mouth_between_samples_is_interpolated():
    ramp = np.arange(5.0)
    values = dict.fromkeys(("press", "jaw", "width", "rounding", "tongue", "smile"), np.zeros(5))
    mouth = Mouth(gap=ramp, **values)
    np.testing.assert_allclose(mouth.at(np.array([0.0, 0.0125, 0.02])).gap, [0.0, 2.5, 4.0])
    half = blend(mouth, Mouth(gap=ramp + 2, **values), np.full(5, 0.5))
    np.testing.assert_allclose(half.gap, ramp + 1)


def test_every_name_in_the_syllable_tables_is_a_phone():
    assert {*ONSETS, *NUCLEI, *CODAS} - {""} <= set(PHONES)
    assert {name for name, phone in PHONES.items() if phone.voicing == 1.0} == set(NUCLEI)


def test_a_silent_tract_has_no_sources():
    tract = silent_tract(7)
    assert len(tract) == 7
    assert not np.any([tract.voicing, tract.aspiration, tract.frication])
