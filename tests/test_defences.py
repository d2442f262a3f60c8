"""Defences are detectors: laws of both, and what an attacker who knows them can do."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from support.small_detectors import ConvDetector, random_batch

from pushpull import defences
from pushpull.attacks import attack
from pushpull.attacks.threat import Threat
from pushpull.defences import (
    DEFENCES,
    Purification,
    Purified,
    Smoothed,
    Smoothing,
    defend,
)
from pushpull.detection import detect
from pushpull.errors import CheckpointError, ConfigError, ShapeError, UnknownName
from pushpull.models import LRASD, MODELS, build
from pushpull.models.checkpoints import save
from pushpull.models.streaming import detect_clip
from pushpull.models.weights import resolve_detector
from pushpull.schema import Batch, Clip

every_defence = pytest.mark.parametrize("name", DEFENCES)

IDENTITY = {
    "smoothed": {"sigma_audio": 0.0, "sigma_visual": 0.0},
    "purified": {
        "visual_bits": None,
        "jpeg_quality": None,
        "visual_blur": 0.0,
        "audio_bits": None,
        "audio_cutoff_hz": None,
    },
}


def small(name: str, **settings):
    return defend(ConvDetector().eval(), name, **settings)


def logits(detector, batch: Batch):
    with torch.no_grad():
        return detector(**batch.inputs).logits


def padded(batch: Batch, more: int) -> Batch:
    """The batch with `more` frames of noise behind its end."""
    noise = torch.Generator().manual_seed(9)
    b = len(batch.faces)
    return replace(
        batch,
        waveform=torch.cat(
            (batch.waveform, torch.randn(b, 640 * more, generator=noise).clamp(-1, 1)), 1
        ),
        faces=torch.cat((batch.faces, 255 * torch.rand(b, more, 112, 112, generator=noise)), 1),
        speaking=None,
    )


@pytest.mark.parametrize("model", MODELS)
@every_defence
def test_settings_that_change_nothing_give_the_detectors_output(name, model):
    detector, batch = build(model).eval(), random_batch((3, 2))
    with torch.no_grad():
        bare = detector(**batch.inputs)
        found = defend(detector, name, **IDENTITY[name])(**batch.inputs)
    for field in ("logits", "logits_a", "logits_v", "e_a", "e_v", "z_a", "z_v", "mask"):
        assert (getattr(found, field) is None) == (getattr(bare, field) is None)
        if getattr(bare, field) is not None:
            assert torch.equal(getattr(found, field), getattr(bare, field))


@every_defence
def test_by_default_something_changes(name):
    batch = random_batch((3, 2), on_grid=False)
    change = logits(small(name), batch) - logits(ConvDetector().eval(), batch)
    assert change.abs().max() > 1e-4


@every_defence
def test_no_clip_influences_another_and_padding_changes_nothing(name):
    detector, batch = defend(LRASD().eval(), name), random_batch((5, 2, 4), on_grid=False)
    together = logits(detector, padded(batch, 2))
    for i, n in enumerate((5, 2, 4)):
        alone = Batch.from_clips(
            [Clip(waveform=batch.waveform[i, : 640 * n], faces=batch.faces[i, :n], fps=25.0)]
        )
        torch.testing.assert_close(together[i, :n], logits(detector, alone)[0], rtol=0, atol=1e-4)


@every_defence
def test_a_defence_says_the_same_at_every_call(name):
    batch = random_batch((3, 2))
    assert torch.equal(logits(small(name), batch), logits(small(name), batch))


def test_the_noise_is_that_of_the_seed():
    batch = random_batch((3,))
    one, other = (logits(small("smoothed", seed=seed), batch) for seed in (0, 1))
    assert not torch.equal(one, other)


def test_noise_has_its_deviation_and_differs_by_copy_frame_and_sample():
    smoothed = small("smoothed", copies=3, sigma_audio=0.01, sigma_visual=2.0)
    sound = torch.stack(smoothed._noisy(torch.zeros(1, 40_000), 0.01, "audio"))[:, 0]
    faces = torch.stack(smoothed._noisy(torch.zeros(1, 4, 112, 112), 2.0, "visual"))[:, 0]
    for noise, sigma in ((sound, 0.01), (faces, 2.0)):
        assert noise.std() == pytest.approx(sigma, rel=0.02)
        assert abs(noise.mean()) < 0.02 * sigma
    rows = torch.cat((faces.flatten(0, 1).flatten(1)[:, :12_000], sound[:, :12_000]))
    rows = torch.cat((rows, sound[:, 16_000:28_000]))
    assert torch.corrcoef(rows).fill_diagonal_(0).abs().max() < 0.05


def test_smoothing_is_the_mean_over_copies():
    batch, settings = random_batch((3, 2)), Smoothing(copies=4, sigma_audio=0.05, sigma_visual=9.0)
    detector = ConvDetector().eval()
    smoothed = Smoothed(detector, settings)
    sounds = smoothed._noisy(batch.waveform, 0.05, "audio")
    faces = smoothed._noisy(batch.faces, 9.0, "visual")
    expected = torch.stack(
        [
            logits(detector, replace(batch, waveform=w, faces=f))
            for w, f in zip(sounds, faces, strict=True)
        ]
    )
    torch.testing.assert_close(logits(smoothed, batch), expected.mean(0))
    assert expected.std(0).max() > 1e-3


def test_one_modality_without_noise_is_encoded_once():
    smoothed = small("smoothed", copies=3, sigma_audio=0.0)
    with torch.no_grad():
        output = smoothed(**random_batch((3,)).inputs)
    assert (output.e_a.shape[-1], output.e_v.shape[-1]) == (8, 24)


@every_defence
def test_kept_embeddings_give_the_same_output(name):
    detector, batch = small(name), random_batch((3, 2))
    with torch.no_grad():
        first = detector(**batch.inputs)
        again = detector(**batch.inputs, e_a=first.e_a, e_v=first.e_v)
    assert torch.equal(first.logits, again.logits)


@every_defence
def test_gradients_reach_both_inputs_and_only_valid_parts(name):
    batch = padded(random_batch((3, 2), on_grid=False), 1)
    waveform, faces = batch.waveform.requires_grad_(), batch.faces.requires_grad_()
    output = defend(LRASD().eval(), name)(**replace(batch, waveform=waveform, faces=faces).inputs)
    output.score[1, :2].sum().backward()
    for gradient, valid in ((waveform.grad, batch.audio_mask), (faces.grad, batch.mask)):
        assert gradient.isfinite().all()
        assert not gradient[0].any()
        assert gradient[1][valid[1]].any()
        assert not gradient[1][~valid[1]].any()


def test_roundings_end_gradients_unless_they_are_passed_straight():
    batch = random_batch((2,), on_grid=False)
    for straight, there in ((True, True), (False, False)):
        purified = small("purified", straight_through=straight)
        faces = batch.faces.clone().requires_grad_()
        purified(**replace(batch, faces=faces).inputs).score.sum().backward()
        assert bool(faces.grad.any()) is there
    values = [
        logits(small("purified", straight_through=straight), batch) for straight in (True, False)
    ]
    assert torch.equal(*values)


@pytest.mark.parametrize("modality", ["both", "audio", "visual"])
@every_defence
def test_an_attack_that_knows_the_defence_raises_the_loss_within_its_budget(name, modality):
    batch = random_batch((3, 2))
    settings = {"copies": 3} if name == "smoothed" else {}
    found = attack(small(name, **settings), batch, "pgd", eps=20, steps=4, modality=modality)
    assert bool((found.loss > found.curve[0]).any())
    for which, eps in (("audio", 2e-3), ("visual", 2.0)):
        if modality in ("both", which):
            assert 0 < float(found.linf[which].max()) <= eps
    threat = Threat.of(20, modality=modality)
    assert found.threat.balls == threat.balls
    again = small(name, **settings)(**found.batch.inputs).score
    mask = batch.mask
    torch.testing.assert_close(found.score[mask], again[mask])


@every_defence
def test_modes_parameters_and_context_are_the_detectors(name):
    detector = ConvDetector().train()
    detector.picture_norm.eval()
    defended = defend(detector, name)
    assert defended.training
    assert not detector.picture_norm.training
    assert set(defended.parameters()) == set(detector.parameters())
    real = LRASD()
    contexts = (defend(real, name).visual_context, defend(real, name).audio_context)
    assert contexts == (real.visual_context, real.audio_context)


def test_a_purified_clip_is_scored_in_windows_as_in_one_pass():
    batch = random_batch((70,))
    clip = Clip(waveform=batch.waveform[0], faces=batch.faces[0], fps=25.0)
    detector = defend(LRASD().eval(), "purified")
    torch.testing.assert_close(
        detect_clip(detector, clip).score, logits(detector, batch).diff()[..., 0], rtol=0, atol=1e-4
    )


def test_a_defence_goes_where_a_detector_goes(talking, checkpoint):
    loaded = resolve_detector(checkpoint, device="cpu")
    scored = {}
    for name, detector in (
        ("bare", loaded),
        ("purified", defend(loaded, "purified")),
    ):
        result = detect(talking, detector, face_finder="dlib")
        assert result.settings["crop"] == loaded.card.crop
        scored[name] = result.tracks[0].scores
    assert defend(loaded, "purified").card.name == f"purified {loaded.card.name}"
    assert defend(loaded, "purified").card.sha256 != loaded.card.sha256
    assert len(scored["bare"]) == len(scored["purified"])
    assert np.abs(scored["bare"] - scored["purified"]).max() > 1e-6


def test_a_defence_can_be_defended_but_not_saved(tmp_path):
    twice = defend(small("purified"), "smoothed", copies=2)
    assert logits(twice, random_batch((2,))).isfinite().all()
    with pytest.raises(CheckpointError, match="save the detector inside it"):
        save(twice, tmp_path / "it.safetensors")


def test_grey_levels_and_samples_are_rounded_to_their_bits():
    purified = small("purified", **IDENTITY["purified"] | {"visual_bits": 2, "audio_bits": 3})
    faces = purified.purify_faces(torch.linspace(0, 255, 112).expand(1, 1, 112, 112))
    assert faces.unique().tolist() == [0.0, 85.0, 170.0, 255.0]
    sound = purified.purify_audio(torch.linspace(-1, 1, 101)[None], torch.tensor([101]))
    assert sound.unique().tolist() == [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_rounding_in_blocks_is_what_a_jpeg_file_does(quality):
    purified = small("purified", **IDENTITY["purified"] | {"jpeg_quality": quality})
    noise = np.random.default_rng(0).normal(0, 20, (112, 112))
    grid = np.arange(112)
    picture = 128 + 60 * np.sin(grid / 9)[:, None] * np.cos(grid / 7) + noise
    picture = picture.clip(0, 255).round().astype(np.uint8)
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    theirs = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    ours = purified.purify_faces(torch.tensor(picture)[None, None].double())[0, 0].numpy()
    steps = defences._jpeg_steps(quality).numpy()
    levels = [np.round(coefficients(x) / steps) for x in (ours, theirs, picture)]
    # libjpeg's whole-number transform takes a coefficient near a border to the other side.
    off = np.abs(levels[0] - levels[1])
    assert off.max() <= 1
    assert off.mean() < 0.02
    assert np.abs(theirs - picture.astype(float)).mean() > 1


def coefficients(picture):
    """Cosine transforms of the blocks of 8 x 8 pixels."""
    blocks = (picture - 128.0).reshape(14, 8, 14, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    return np.stack([cv2.dct(block) for block in blocks])


def test_the_low_passes_keep_what_is_slow_and_drop_what_is_fast():
    purified = small(
        "purified", **IDENTITY["purified"] | {"audio_cutoff_hz": 4000.0, "visual_blur": 2.0}
    )
    time = torch.arange(16_000) / 16_000
    for hz, low, high in ((1000, 0.99, 1.01), (4000, 0.45, 0.55), (6000, 0.0, 0.01)):
        tone = 0.5 * torch.sin(2 * math.pi * hz * time + 0.3)[None]
        passed = purified.purify_audio(tone, torch.tensor([16_000]))[:, 1000:-1000]
        assert low <= passed.std() / tone.std() <= high
    flat = torch.full((1, 1, 112, 112), 100.0)
    torch.testing.assert_close(purified.purify_faces(flat), flat)
    checks = 255.0 * (torch.arange(112)[:, None] + torch.arange(112)).remainder(2)
    assert purified.purify_faces(checks[None, None])[..., 10:-10, 10:-10].std() < 0.1


@pytest.mark.parametrize("sigma", [0.3, 0.7, 2.0, 16.0])
def test_faces_are_blurred_as_scipy_blurs_pictures(sigma):
    pictures = 255 * torch.rand(1, 2, 112, 112, dtype=torch.float64)
    purified = small("purified", **IDENTITY["purified"] | {"visual_blur": sigma})
    radius = math.ceil(3 * sigma)
    expected = [
        gaussian_filter(picture, sigma, mode="nearest", radius=radius)
        for picture in pictures[0].numpy()
    ]
    found = purified.purify_faces(pictures)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_names_and_settings_that_cannot_be_are_said():
    with pytest.raises(UnknownName, match="unknown defence 'prayer': choose one of purified"):
        small("prayer")
    with pytest.raises(ConfigError, match="no setting sigma: choose of copies, sigma_audio"):
        small("smoothed", sigma=1.0)
    for wrong in ({"copies": 0}, {"sigma_audio": -1.0}, {"sigma_visual": math.inf}, {"seed": -1}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*; expected"):
            Smoothing(**wrong)
    for wrong in (
        {"visual_bits": 0},
        {"jpeg_quality": 101},
        {"visual_blur": -0.1},
        {"audio_bits": 1},
        {"audio_cutoff_hz": 9000.0},
    ):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*; expected"):
            Purification(**wrong)


def test_features_of_one_copy_are_refused_where_there_are_more():
    smoothed = Smoothed(LRASD().eval())
    with pytest.raises(ShapeError, match=r"\(1, 8, 13\) does not hold 8 copies"):
        smoothed.from_features(torch.zeros(1, 8, 13), torch.zeros(1, 2, 112, 112))


def test_purified_without_settings_has_the_default_ones():
    assert Purified(ConvDetector()).settings == Purification()
