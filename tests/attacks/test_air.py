"""Sound through rooms: the acoustics, what may not leak, and whether an attack survives it."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, lfilter
from support.small_detectors import ConvDetector, LinearDetector, random_batch

from pushpull.attacks import attack
from pushpull.attacks.air import (
    AirSpace,
    OverTheAir,
    Playback,
    Room,
    Rooms,
    convolved,
    heard,
    impulse_response,
    over_the_air,
)
from pushpull.attacks.threat import Threat
from pushpull.errors import ConfigError, ShapeError
from pushpull.models.weights import resolve_detector
from pushpull.schema import Batch
from pushpull.synthetic import Case, draw_clip

SMALL = Room(
    size_m=(3.1, 2.7, 2.4), absorption=0.5, source_m=(0.9, 1.1, 1.3), microphone_m=(2.2, 1.9, 1.0)
)
LIVE = replace(SMALL, absorption=0.2)
SHORT = Rooms(response_s=0.03, delay_s=(0.0, 0.01))
"""Rooms that take no time."""


def images_of(room, reach_m):
    """Distance and strength of every image of the loudspeaker, one by one as the paper writes."""
    reflection = math.sqrt(1 - room.absorption)
    found = []
    most = [math.ceil(reach_m / (2 * size)) + 1 for size in room.size_m]
    for n in itertools.product(*(range(-m, m + 1) for m in most)):
        for q in itertools.product((0, 1), repeat=3):
            place = [
                (1 - 2 * q[i]) * room.source_m[i] + 2 * n[i] * room.size_m[i] for i in range(3)
            ]
            d = math.dist(place, room.microphone_m)
            if d < reach_m:
                walls = sum(abs(n[i] - q[i]) + abs(n[i]) for i in range(3))
                found.append((d, reflection**walls / (4 * math.pi * d)))
    return found


def test_a_room_is_the_sum_of_its_images():
    length_s = 0.03
    response = impulse_response(SMALL, length_s)
    # Images that begin within the response but are cut by its end do not count on either side.
    images = images_of(SMALL, (length_s - 20 / 16_000) * 343)
    cut = response[: round(length_s * 16_000) - 36]
    frequencies_hz = np.array([0.0, 150.0, 500.0, 1700.0, 4000.0, 6000.0])
    samples = np.arange(len(response))
    spread = np.zeros(len(response))
    for d, strength in images:
        apart = samples - d / 343 * 16_000
        window = np.where(abs(apart) < 16, 0.5 + 0.5 * np.cos(np.pi * apart / 16), 0)
        spread += strength * np.sinc(apart) * window
    assert len(images) > 100
    assert np.allclose(cut, spread[: len(cut)], atol=1e-9, rtol=0)
    # A single image is as strong at all frequencies, and as late as its way is long.
    dry = impulse_response(replace(SMALL, absorption=1.0), length_s)
    d = SMALL.distance_m
    for f_hz in frequencies_hz:
        got = np.sum(dry * np.exp(-2j * np.pi * f_hz * samples / 16_000))
        wanted = np.exp(-2j * np.pi * f_hz * d / 343) / (4 * math.pi * d)
        assert abs(got - wanted) < 5e-3 * abs(wanted)


def test_a_bare_room_is_loud_long_and_the_more_absorption_the_less():
    energies = [
        float((impulse_response(replace(SMALL, absorption=a), 0.1) ** 2).sum())
        for a in (0.1, 0.3, 0.6, 1.0)
    ]
    assert energies == sorted(energies, reverse=True)
    # What a loudspeaker plays dies away at the rate of Eyring's formula.
    response = lfilter(*butter(2, 200, "highpass", fs=16_000), impulse_response(LIVE, 0.2))
    x, y, z = LIVE.size_m
    surface, volume = 2 * (x * y + y * z + x * z), x * y * z
    t60_s = -0.161 * volume / (surface * math.log(1 - LIVE.absorption))
    early, late = (float((response[a:b] ** 2).sum()) for a, b in ((800, 1600), (2400, 3200)))
    assert 10 * math.log10(early / late) == pytest.approx(60 * 0.1 / t60_s, rel=0.15)


def test_the_way_back_is_the_same():
    there = impulse_response(SMALL, 0.05)
    back = replace(SMALL, source_m=SMALL.microphone_m, microphone_m=SMALL.source_m)
    assert np.allclose(there, impulse_response(back, 0.05), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 300), taps=st.integers(1, 400), seed=st.integers(0, 1000))
def test_a_convolution_is_numpys(n, taps, seed):
    rng = np.random.default_rng(seed)
    sound, kernel = rng.standard_normal((2, n)), rng.standard_normal((2, taps))
    found = convolved(torch.from_numpy(sound), torch.from_numpy(kernel))
    wanted = [np.convolve(a, b)[:n] for a, b in zip(sound, kernel, strict=True)]
    assert np.allclose(found, wanted, atol=1e-10, rtol=0)


def test_a_convolution_can_be_differentiated():
    sound, kernel = torch.randn(2, 7, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    sound.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: convolved(x, kernel), (sound,))


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    late=st.integers(0, 4000),
    seed=st.integers(0, 100),
)
def test_nothing_is_heard_before_a_delay_or_behind_the_end(lengths, late, seed):
    batch = random_batch(tuple(lengths), seed=seed, dtype=torch.float64)
    kernel = np.concatenate([np.zeros(late), Rooms().draw(np.random.default_rng(seed)).kernel])
    played = torch.randn_like(batch.waveform) * 1e-3
    played[~batch.audio_mask] = 0
    after = heard(batch, played, [Playback(kernel=kernel)] * len(lengths)).waveform
    for row, clean, n in zip(after, batch.waveform, batch.n_samples.tolist(), strict=True):
        assert torch.equal(row[n:], clean[n:])
        assert torch.allclose(row[:late], clean[:late], atol=1e-12, rtol=0)
        assert -1 <= float(row.min()) <= float(row.max()) <= 1


def test_only_the_change_goes_through_the_room():
    batch = random_batch((3, 2), dtype=torch.float64)
    playback = Rooms(noise_db=(-40.0, -40.0)).draw(np.random.default_rng(0))
    still = heard(batch, torch.zeros_like(batch.waveform), [playback] * 2).waveform
    noise = (still - batch.waveform)[0, :1920]
    loud = batch.waveform[0, :1920].abs() > 0.9
    assert float(noise[~loud].std()) == pytest.approx(0.01, rel=0.1)
    # The same noise in a batch with a longer clip.
    longer = random_batch((3, 5), dtype=torch.float64)
    again = heard(longer, torch.zeros_like(longer.waveform), [playback] * 2).waveform
    assert torch.equal((again - longer.waveform)[0, :1920][~loud], noise[~loud])


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    modality=st.sampled_from(("audio", "both")),
    listeners=st.integers(1, 3),
    log_eps=st.floats(-2, 3),
    seed=st.integers(0, 50),
)
def test_what_is_played_keeps_its_budget(lengths, modality, listeners, log_eps, seed):
    batch = random_batch(tuple(lengths), seed=seed, on_grid=False)
    eps = 10**log_eps
    found = over_the_air(
        ConvDetector(), batch, "mim", air=OverTheAir(rooms=SHORT, listeners=listeners, seed=seed),
        held_out=2, eps=eps, modality=modality, steps=2,
    )  # fmt: skip
    sounds = found.attack.points["audio"]
    assert sounds.shape == batch.waveform.shape
    change = sounds.double() - batch.waveform.double()
    assert float(change.abs().max()) <= eps / 10_000
    assert -1 <= float(sounds.min()) <= float(sounds.max()) <= 1
    for i, n in enumerate(batch.n_samples.tolist()):
        assert not change[i, n:].any()
        assert torch.equal(found.adversary.waveform[i, n:], batch.waveform[i, n:])
    moved = found.adversary.faces.double() - batch.faces.double()
    assert float(moved.abs().max()) <= (eps / 10 if modality == "both" else 0)
    assert found.heard.shape == (2, *batch.speaking.shape)


def test_rooms_are_new_at_every_gradient_and_none_of_them_judges():
    air = OverTheAir(rooms=SHORT, listeners=2)
    batch = random_batch((2,))
    pair = Batch(
        waveform=batch.waveform.repeat(2, 1),
        faces=batch.faces.repeat(2, 1, 1, 1),
        n_samples=batch.n_samples.repeat(2),
        n_frames=batch.n_frames.repeat(2),
        fps=batch.fps.repeat(2),
    )
    space = AirSpace(pair, Threat.of(50, modality="audio"), air)
    region = space.regions["audio"]
    points = {"audio": region.place(region.noise(torch.Generator()))}
    sounds = [space.smooth(points).waveform for _ in range(3)]
    judged = [space.to_batch(points).waveform for _ in range(2)]
    assert torch.equal(*judged)
    rows = [row for sound in (*sounds, judged[0]) for row in sound]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(rows, 2))
    held_out, _ = air.draw(2, 2)
    known, _ = air.draw(2, 1)
    kernels = [one.kernel for one in (*held_out, *known)]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(kernels, 2))


def test_the_same_seed_finds_the_same_sound():
    batch = random_batch((3, 2))
    air = OverTheAir(rooms=SHORT, listeners=2)
    first, again = (over_the_air(ConvDetector(), batch, air=air, steps=3) for _ in range(2))
    assert torch.equal(first.played, again.played)
    assert torch.equal(first.heard, again.heard)
    other = over_the_air(ConvDetector(), batch, air=replace(air, seed=1), steps=3)
    assert not torch.equal(first.played, other.played)


def test_without_a_room_it_is_the_attack_itself():
    """A room without echo, delay or noise, a loudspeaker at the microphone: nothing between."""

    class Direct(Rooms):
        def draw(self, rng):
            return Playback(kernel=np.ones(1))

    batch, detector = random_batch((3, 2)), LinearDetector(scale=0.02)
    found = over_the_air(
        detector, batch, "bim", air=OverTheAir(rooms=Direct(), listeners=3), held_out=2, steps=3
    )
    plain = attack(detector, batch, "bim", modality="audio", steps=3)
    torch.testing.assert_close(found.played, plain.waveform - batch.waveform, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.heard[0], plain.score, atol=1e-3, rtol=1e-4)


def test_a_sound_made_for_rooms_does_more_in_others_than_one_that_was_not():
    detector = resolve_detector("synthetic-a")
    rng = np.random.default_rng(5)
    batch = Batch.from_clips([draw_clip(rng, Case.SPEAKING, n_frames=15) for _ in range(2)])
    how = {"eps": 100, "steps": 25, "targeted": "silent"}
    air = OverTheAir(rooms=Rooms(response_s=0.1), listeners=3)
    found = over_the_air(detector, batch, air=air, held_out=6, **how)
    plain = attack(detector, batch, "mim", modality="audio", **how)
    rooms, _ = air.draw(6, 2)
    with torch.no_grad():
        dry = torch.stack(
            [
                detector(**heard(batch, plain.waveform - batch.waveform, [one] * 2).inputs).score
                for one in rooms
            ]
        )
    assert float(plain.score.mean()) < 0 < float(dry.mean())
    assert float(found.heard.mean()) < min(float(dry.mean()), float(found.noise.mean())) - 0.5
    assert float(found.noise.mean()) < float(found.silent.mean())


def test_what_cannot_be_is_refused():
    batch = random_batch((3, 2))
    with pytest.raises(ConfigError, match="expects audio or both"):
        over_the_air(ConvDetector(), batch, modality="visual")
    with pytest.raises(ShapeError, match="2 clips for 2 listeners each"):
        attack(ConvDetector(), batch, modality="audio", space=OverTheAir(listeners=2))
    with pytest.raises(ConfigError, match="listeners is 0"):
        OverTheAir(listeners=0)
    with pytest.raises(ConfigError, match="expected a place inside"):
        replace(SMALL, source_m=(4.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="absorption is 2"):
        replace(SMALL, absorption=2.0)
    with pytest.raises(ConfigError, match=r"0\.10 m apart"):
        replace(SMALL, microphone_m=(0.9, 1.1, 1.2))
