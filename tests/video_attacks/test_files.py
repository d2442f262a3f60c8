"""What a codec makes of adversaries, and searching through it."""

import pytest
import torch
from support.spaces import noisy

from pushpull.attacks import attack
from pushpull.attacks.threat import Threat
from pushpull.models import LRASD
from pushpull.models.weights import resolve_detector
from pushpull.video_attacks.codec import LOSSLESS, Codec
from pushpull.video_attacks.files import ThroughFiles, measured, reread
from pushpull.video_attacks.labels import labelled
from pushpull.video_attacks.variants import Variant


def test_a_codec_changes_little_and_less_with_better_quality(crop_segment):
    clean = crop_segment.batch
    errors = []
    for crf in (5, 40):
        back = reread(crop_segment, {}, Codec(crf=crf))
        errors.append(float((back.faces - clean.faces).abs().mean()))
    assert 0 < errors[0] < errors[1] < 12
    n = int(clean.n_samples[0])
    before, coded = clean.waveform[0, :n], back.waveform[0, :n]
    # Aligned to the sample: AAC's delay does not come back.
    shifts = [float((before[50 + s : n - 50 + s] - coded[50 : n - 50]).square().sum())
              for s in (-32, -1, 0, 1, 32)]  # fmt: skip
    assert min(shifts) == shifts[2]


def test_gradients_are_taken_halfway_to_the_files(crop_segment):
    codec = Codec(crf=30)
    inner = crop_segment.space(crop_segment.batch, Threat.of(5.0))
    space = ThroughFiles(inner, crop_segment, codec)
    points = {name: x.requires_grad_() for name, x in noisy(inner).items()}
    back = reread(crop_segment, points, codec)
    assert torch.equal(space.to_batch(points).faces, back.faces)
    went_in, between = inner.to_batch(points), space.smooth(points)
    assert torch.allclose(between.faces, (went_in.faces + back.faces) / 2, atol=1e-3)
    assert torch.allclose(between.waveform, (went_in.waveform + back.waveform) / 2, atol=1e-6)
    between.faces.sum().backward()
    assert torch.equal(points["visual"].grad, torch.ones_like(points["visual"]))


def test_another_point_is_written_again(crop_segment):
    inner = crop_segment.space(crop_segment.batch, Threat.of(100.0))
    space = ThroughFiles(inner, crop_segment, Codec(crf=10))
    clean = {name: region.clean for name, region in inner.regions.items()}
    first = space.to_batch(clean).faces
    assert not torch.equal(space.to_batch(noisy(inner)).faces, first)
    assert torch.equal(space.to_batch(clean).faces, first)


@pytest.mark.parametrize("modality", ["both", "audio", "visual"])
def test_an_attack_through_a_codec_is_judged_by_what_comes_back(crop_segment, modality):
    detector = LRASD().eval()
    codec = Codec(crf=40)

    def build(batch, threat):
        return ThroughFiles(crop_segment.space(batch, threat), crop_segment, codec)

    found = attack(
        detector, crop_segment.batch, "bim", eps=40.0, steps=2, modality=modality, space=build
    )
    back = reread(crop_segment, dict(found.points), codec)
    with torch.no_grad():
        again = detector(**back.inputs).score
    valid = crop_segment.batch.mask
    # The input that stays is heard and seen as files give it.
    assert torch.allclose(found.score[valid], again[valid], atol=1e-4)
    assert all(
        float(found.linf[name].max()) <= eps
        for name, eps in found.settings.as_dict()["eps"].items()
    )


def test_scores_are_those_of_what_the_files_give(crop_segment, checkpoint):
    detector, codec = resolve_detector(checkpoint, device="cpu"), Codec(crf=40)
    (segment,) = labelled([crop_segment], detector)
    points = noisy(segment.space(segment.batch, Threat.of(40.0)))
    batch = segment.space(segment.batch, Threat.of(40.0)).to_batch(points)
    variant = Variant(name="noise", segments=(segment,), points=(points,), batches=(batch,))
    scores = measured(variant, detector, codec).scores
    assert list(scores) == ["as found", "lossless", codec.name]
    for way, seen in (
        ("as found", batch),
        ("lossless", reread(segment, points, LOSSLESS)),
        (codec.name, reread(segment, points, codec)),
    ):
        with torch.no_grad():
            rows = segment.rows(detector(**seen.inputs).score)
        assert scores[way].score.tolist() == [v for row in rows for v in row.tolist()]
    truth = [v for row in segment.rows(segment.batch.speaking) for v in row.tolist()]
    assert scores["lossless"].truth.tolist() == [bool(v) for v in truth]


def test_a_clean_video_loses_nothing_in_lossless_files(crop_segment, checkpoint):
    detector = resolve_detector(checkpoint, device="cpu")
    clean = Variant(
        name="clean", segments=(crop_segment,), points=({},), batches=(crop_segment.batch,)
    )
    scores = measured(clean, detector, Codec(crf=40)).scores
    with torch.no_grad():
        read = detector(**reread(crop_segment, {}, LOSSLESS).inputs).score
    rows = [v for row in crop_segment.rows(read) for v in row.tolist()]
    assert scores["lossless"].score.tolist() == scores["as found"].score.tolist() == rows
    assert scores["lossless"].score.tolist() != scores["h264 crf 40 + aac"].score.tolist()
    assert scores["as found"].speaking is None
