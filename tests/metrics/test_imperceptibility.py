from dataclasses import replace

import pytest
import torch
from support.small_detectors import random_batch
from torchmetrics.functional.image import structural_similarity_index_measure

from pushpull.errors import ShapeError
from pushpull.metrics.imperceptibility import imperceptibility, ssim


def test_ssim_equals_torchmetrics_inside_the_picture() -> None:
    clean = torch.rand(3, 112, 112, dtype=torch.float64) * 255
    noisy = (clean + 20 * torch.randn(3, 112, 112)).clamp(0, 255)
    _, published = structural_similarity_index_measure(
        noisy[:, None], clean[:, None], data_range=255.0, reduction="none", return_full_image=True
    )
    # Its borders, 5 pixels wide, look at a mirrored picture; Wang et al. leave them out.
    inside = published[:, 0, 5:-5, 5:-5].mean((1, 2))
    torch.testing.assert_close(ssim(clean, noisy), inside, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        ssim(clean.float(), noisy.float()), inside.float(), rtol=0, atol=1e-6
    )


def test_ssim_of_many_frames_is_that_of_each() -> None:
    clean = torch.rand(300, 16, 16) * 255
    noisy = clean + torch.randn_like(clean)
    torch.testing.assert_close(ssim(clean, noisy)[290:], ssim(clean[290:], noisy[290:]))


def test_a_change_a_tenth_as_loud_has_20_db() -> None:
    clean = random_batch()
    measured = imperceptibility(clean, replace(clean, waveform=clean.waveform * 1.1))
    torch.testing.assert_close(
        measured.snr_db, torch.full_like(measured.snr_db, 20.0), atol=1e-4, rtol=0
    )


def test_one_grey_level_everywhere_has_48_db() -> None:
    clean = random_batch()
    up = torch.where(clean.faces < 128, 1.0, -1.0)
    measured = imperceptibility(clean, replace(clean, faces=clean.faces + up))
    expected = 20 * torch.log10(torch.tensor(255.0, dtype=torch.float64))
    torch.testing.assert_close(measured.psnr_db, expected.expand(2), atol=1e-9, rtol=0)
    assert measured.visual_linf.tolist() == [1.0, 1.0]
    assert measured.audio_linf.tolist() == [0.0, 0.0]


def test_an_unchanged_clip_is_infinitely_close() -> None:
    clean = random_batch()
    measured = imperceptibility(clean, clean)
    assert measured.snr_db.tolist() == measured.psnr_db.tolist() == [torch.inf, torch.inf]
    assert measured.ssim.tolist() == pytest.approx([1.0, 1.0])


def test_padding_does_not_count() -> None:
    clean = random_batch((3, 2))
    changed = replace(clean, waveform=clean.waveform * 1.01, faces=clean.faces * 0.99)
    garbage = replace(changed, waveform=changed.waveform.clone(), faces=changed.faces.clone())
    garbage.waveform[1, 1280:] = 1.0
    garbage.faces[1, 2:] = 200.0
    a, b = imperceptibility(clean, changed), imperceptibility(clean, garbage)
    for name in ("snr_db", "psnr_db", "ssim", "audio_linf", "visual_linf"):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_batches_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="n_samples of the adversary"):
        imperceptibility(random_batch((3, 2)), random_batch((3, 3)))
