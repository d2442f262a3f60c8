"""What comes back from files is what went in, or what a codec made of it."""

import pytest
import torch

from pushpull.attacks import attack
from pushpull.attacks.threat import Threat
from pushpull.errors import ConfigError
from pushpull.models import LRASD
from pushpull.schema import GRID
from pushpull.video_attacks.files import (
    LOSSLESS,
    Codec,
    CropFiles,
    PixelFiles,
    ThroughFiles,
)
from pushpull.video_attacks.pixels import PixelSpace, read_pixels
from pushpull.video_attacks.segments import segments_of


@pytest.fixture(scope="module")
def segment(two_people):
    (found,) = segments_of(two_people)
    return found


def noisy(space, eps=20.0):
    """Points of the full budget on the grid of files."""
    generator = torch.Generator().manual_seed(0)
    return {name: region.place(region.noise(generator)) for name, region in space.regions.items()}


def test_quantised_crops_and_sound_come_back_exactly(two_people, segment):
    space = segment.sound(segment.batch, Threat.of(20.0, quantise=True))
    points = noisy(space)
    back = CropFiles(two_people, segment).again(points, LOSSLESS)
    wanted = space.to_batch(points)
    assert torch.equal(back.faces, wanted.faces)
    assert torch.equal(back.waveform, wanted.waveform)
    assert not torch.equal(back.faces, segment.batch.faces)


def test_float_crops_come_back_rounded(two_people, segment):
    space = segment.sound(segment.batch, Threat.of(3.0))
    points = noisy(space)
    back = CropFiles(two_people, segment).again(points, LOSSLESS)
    wanted = space.to_batch(points)
    # 0.3 grey levels vanish on an 8-bit grid.
    assert torch.equal(back.faces, segment.batch.faces)
    assert (back.waveform - wanted.waveform).abs().max() <= GRID["audio"] / 2


def test_quantised_pixels_come_back_as_painted(two_people, segment):
    pixels = read_pixels(two_people, segment)
    space = PixelSpace(segment.batch, Threat.of(40.0, quantise=True), segment.sound, pixels)
    points = noisy(space)
    files = PixelFiles(two_people, segment, pixels)
    back = files.again(points, LOSSLESS)
    wanted = space.to_batch(points)
    assert torch.equal(back.waveform, wanted.waveform)
    # Crops are rounded once more, and OpenCV places them to 1/32 of a pixel.
    valid = segment.batch.mask[..., None, None]
    apart = ((back.faces - wanted.faces).abs() * valid).flatten(2)
    assert float(apart.mean()) < 0.4
    assert float(apart.max()) <= 2.0
    moved = ((wanted.faces - segment.batch.faces).abs() * valid).mean()
    assert float(apart.mean()) < 0.5 * float(moved)


def test_clean_files_are_the_clean_video(two_people, segment):
    files = PixelFiles(two_people, segment, read_pixels(two_people, segment))
    back = files.again({}, LOSSLESS)
    assert torch.equal(back.faces, segment.batch.faces)
    assert torch.equal(back.waveform, segment.batch.waveform)


def test_a_codec_changes_little_and_less_with_better_quality(two_people, segment):
    files = CropFiles(two_people, segment)
    errors = []
    for crf in (5, 40):
        back = files.again({}, Codec(crf=crf))
        errors.append(float((back.faces - segment.batch.faces).abs().mean()))
    assert 0 < errors[0] < errors[1] < 12
    n = int(segment.batch.n_samples[0])
    clean, coded = segment.batch.waveform[0, :n], back.waveform[0, :n]
    # Aligned to the sample: AAC's delay does not come back.
    shifts = [float((clean[50 + s : n - 50 + s] - coded[50 : n - 50]).square().sum())
              for s in (-32, -1, 0, 1, 32)]  # fmt: skip
    assert min(shifts) == shifts[2]


def test_gradients_are_taken_halfway_to_the_files(two_people, segment):
    inner = segment.sound(segment.batch, Threat.of(5.0))
    files = CropFiles(two_people, segment)
    space = ThroughFiles(inner, files, Codec(crf=30))
    points = {name: x.requires_grad_() for name, x in noisy(inner).items()}
    back = files.again(points, Codec(crf=30))
    assert torch.equal(space.to_batch(points).faces, back.faces)
    went_in, between = inner.to_batch(points), space.smooth(points)
    assert torch.allclose(between.faces, (went_in.faces + back.faces) / 2, atol=1e-3)
    assert torch.allclose(between.waveform, (went_in.waveform + back.waveform) / 2, atol=1e-6)
    between.faces.sum().backward()
    assert torch.equal(points["visual"].grad, torch.ones_like(points["visual"]))


def test_another_point_is_written_again(two_people, segment):
    inner = segment.sound(segment.batch, Threat.of(100.0))
    space = ThroughFiles(inner, CropFiles(two_people, segment), Codec(crf=10))
    clean = {name: region.clean for name, region in inner.regions.items()}
    first = space.to_batch(clean).faces
    assert not torch.equal(space.to_batch(noisy(inner)).faces, first)
    assert torch.equal(space.to_batch(clean).faces, first)


def test_an_attack_through_a_codec_is_judged_by_what_comes_back(two_people, segment):
    detector = LRASD().eval()
    codec = Codec(crf=30)
    files = CropFiles(two_people, segment)

    def build(batch, threat):
        return ThroughFiles(segment.sound(batch, threat), files, codec)

    found = attack(detector, segment.batch, "bim", eps=40.0, steps=2, space=build)
    with torch.no_grad():
        again = detector(**files.again(dict(found.points), codec).inputs).score
    valid = segment.batch.mask
    assert torch.allclose(found.score[valid], again[valid], atol=1e-3)
    assert float(found.linf["visual"].max()) <= 4.0


def test_crf_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"crf is 60; expected a whole number in 0\.\.51"):
        Codec(crf=60)


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_the_modality_that_stays_is_heard_and_seen_as_files_give_it(two_people, segment, modality):
    detector = LRASD().eval()
    codec, files = Codec(crf=40), CropFiles(two_people, segment)

    def build(batch, threat):
        return ThroughFiles(segment.sound(batch, threat), files, codec)

    found = attack(
        detector, segment.batch, "bim", eps=40.0, steps=2, modality=modality, space=build
    )
    with torch.no_grad():
        again = detector(**files.again(dict(found.points), codec).inputs).score
    valid = segment.batch.mask
    assert torch.allclose(found.score[valid], again[valid], atol=1e-4)
