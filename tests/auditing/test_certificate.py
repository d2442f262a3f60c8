"""Certificates against detectors whose smoothed decisions are known in closed form."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from support.small_detectors import ConvDetector, LinearDetector, random_batch

from pushpull.attacks import attack
from pushpull.auditing import Certificate, CertificateSettings, certify, certify_tracks
from pushpull.data import DatasetWriter, Example
from pushpull.defences import defend
from pushpull.errors import ConfigError, DatasetError, OutputExists, ShapeError, UnknownName
from pushpull.metrics import bootstrap_share
from pushpull.schema import FrameScores
from pushpull.schema.tensors import Batch
from pushpull.synthetic import Case, draw_clip

SURE = 1e-9
"""Level at which a claim that fails is a bug."""

sigmas = st.tuples(st.floats(0.1, 2.0), st.floats(30.0, 300.0))


def linear(seed=0) -> LinearDetector:
    return LinearDetector(seed).double().eval()


def scores_of(detector, batch: Batch):
    with torch.no_grad():
        return detector(**batch.inputs).score[batch.mask].numpy()


def exact_radius(detector, batch, sigma):
    """Distance of each frame to the boundary in sigmas: |s| over the spread of the noisy score."""
    w = {"audio": detector.w_a, "visual": detector.w_v}
    spread = math.hypot(*(s * float(w[name].detach().norm()) for name, s in sigma.items()))
    return np.abs(scores_of(detector, batch)) / spread


def both(audio, visual):
    return {"audio": audio, "visual": visual}


@given(st.integers(0, 1000), sigmas, st.sampled_from([(1,), (2, 1), (3,)]))
@settings(max_examples=25)
def test_a_radius_is_never_beyond_the_boundary(seed, sigma, lengths):
    detector, sigma = linear(seed), both(*sigma)
    batch = random_batch(lengths, seed=seed, dtype=torch.float64)
    found = certify(detector, batch, sigma=sigma, n=150, n0=15, alpha=SURE, seed=seed)
    exact = exact_radius(detector, batch, sigma)
    assert (found.radius <= exact).all()
    right_side = (scores_of(detector, batch) > 0) == found.speaks
    assert right_side[found.decided].all()
    # No pair of norms that is certified reaches the boundary in its worst direction.
    w = both(float(detector.w_a.detach().norm()), float(detector.w_v.detach().norm()))
    margin = np.abs(scores_of(detector, batch))
    for angle in np.linspace(0, np.pi / 2, 7):
        part = both(np.cos(angle), np.sin(angle))
        norms = {m: part[m] * found.radii[m] for m in w}
        assert (sum(w[m] * norms[m] for m in w) <= margin + 1e-9).all()


@pytest.mark.parametrize("loud", [0.01, 0.03, -0.02])
def test_a_radius_approaches_the_boundary_with_the_copies(loud):
    detector, sigma = linear(), both(0.3, 0.0)
    direction = detector.w_a.detach() / detector.w_a.detach().norm() ** 2
    batch = random_batch((1,), dtype=torch.float64)
    batch = replace(
        batch,
        waveform=batch.waveform * 0 + direction * 0.3 * loud * 25 * detector.w_a.detach().norm(),
        faces=torch.full_like(batch.faces, 127.5),
    )
    exact = exact_radius(detector, batch, sigma)[0]
    few, many = (
        certify(detector, batch, sigma=sigma, n=n, n0=50, alpha=0.01).radius[0]
        for n in (200, 20_000)
    )
    assert few < many <= exact
    assert many > exact - 0.04


@given(st.integers(0, 1000), sigmas)
@settings(max_examples=10)
def test_votes_are_as_likely_as_the_closed_form_says(seed, sigma):
    detector, sigma, n = linear(seed), both(*sigma), 400
    batch = random_batch((2,), seed=seed, dtype=torch.float64)
    found = certify(detector, batch, sigma=sigma, n=n, n0=1, seed=seed)
    signed = np.where(scores_of(detector, batch) > 0, 1, -1) * exact_radius(detector, batch, sigma)
    share = norm.cdf(np.where(found.speaks, signed, -signed))
    low, high = binom.ppf(1e-7, n, share), binom.isf(1e-7, n, share)
    assert ((low <= found.votes) & (found.votes <= high)).all()


@pytest.mark.parametrize(("frames", "alpha"), [(1, 0.2), (4, 0.3)])
def test_a_track_has_a_wrong_claim_no_more_often_than_alpha(frames, alpha):
    """Over seeds, where every frame has a chance of a claim that is too large."""
    detector, sigma, runs = linear(), both(0.3, 0.0), 300
    w = detector.w_a.detach()
    batch = random_batch((frames,), dtype=torch.float64)
    still = torch.full_like(batch.faces, 127.5)
    # Each frame's score is 0.8 of the spread of the noise.
    one = 0.8 * 0.3 * w / w.norm()
    batch = replace(batch, waveform=one.repeat(frames)[None], faces=still)
    exact = exact_radius(detector, batch, sigma)
    assert exact == pytest.approx(0.8)
    wrong = 0
    for seed in range(runs):
        found = certify(detector, batch, sigma=sigma, n=40, n0=5, alpha=alpha, seed=seed)
        claimed = np.where(found.speaks, found.radius <= exact, ~found.decided)
        wrong += not claimed.all()
    assert wrong <= binom.isf(1e-6, runs, alpha)
    # The shares themselves, without the bound, would be too large in half of the frames.
    assert binom.isf(1e-6, runs, alpha) < runs / 2


@pytest.mark.parametrize("seed", range(20))
def test_a_tie_abstains(seed):
    batch = random_batch((2,), dtype=torch.float64)
    tie = replace(batch, waveform=batch.waveform * 0, faces=torch.full_like(batch.faces, 127.5))
    found = certify(linear(), tie, sigma=both(0.1, 10.0), n=100, n0=10, alpha=SURE, seed=seed)
    assert not found.decided.any()
    assert (found.radius == 0).all()
    assert not found.certified().any()
    assert (found.share(), found.eps_av.tolist()) == (0, [0, 0])


@given(st.integers(-8, 8), st.integers(-8, 8), st.integers(0, 100))
@settings(max_examples=10)
def test_scaling_a_modality_with_its_sigma_changes_its_radius_alone(audio, visual, seed):
    """By powers of two, so that no rounding differs."""
    scale = both(2.0**audio, 2.0**visual)
    one, other = linear(seed), linear(seed)
    with torch.no_grad():
        other.w_a /= scale["audio"]
    batch = random_batch((2,), seed=seed, dtype=torch.float64)
    louder = replace(batch, waveform=batch.waveform * scale["audio"])
    sigma = both(0.3, 100.0)
    first = certify(one, batch, sigma=sigma, n=60, n0=5, seed=seed)
    second = certify(
        other, louder, sigma={**sigma, "audio": 0.3 * scale["audio"]}, n=60, n0=5, seed=seed
    )
    assert first.votes.tolist() == second.votes.tolist()
    assert (second.radii["audio"] == first.radii["audio"] * scale["audio"]).all()
    assert (second.radii["visual"] == first.radii["visual"]).all()


def made(bound, *, speaks=None, truth=None, sigma=None, track=None) -> Certificate:
    """A certificate of given bounds, of 640 samples and one face for each frame."""
    n = len(bound)
    number = np.zeros(n, np.int64) if track is None else np.array(track)
    lengths = np.bincount(number)
    speaking = np.ones(n, bool)
    return Certificate(
        settings=CertificateSettings(sigma=sigma or both(0.01, 8.0)),
        speaks=speaking if speaks is None else np.array(speaks, bool),
        votes=np.full(n, 900),
        bound=np.array(bound, float),
        plain=FrameScores(
            score=np.ones(n), speaking=speaking if truth is None else truth, track=number
        ),
        names=tuple(f"t{i}" for i in range(len(lengths))),
        sizes=both(640 * lengths, 112 * 112 * lengths),
        cost={},
    )


@given(st.floats(0.51, 0.999), st.floats(0, math.pi / 2), sigmas)
def test_pairs_of_radii_are_an_ellipse(bound, angle, sigma):
    found = made([bound], sigma=both(*sigma))
    radius = {m: float(r[0]) for m, r in found.radii.items()}
    edge = both(radius["audio"] * math.cos(angle), radius["visual"] * math.sin(angle))
    for factor, inside in ((1 - 1e-9, True), (1 + 1e-9, False)):
        norms = {m: factor * size for m, size in edge.items()}
        assert bool(found.certified(**norms)[0]) is inside
    # The box of eps_av has its corner on the ellipse.
    eps = float(found.eps_av[0])
    corner = both(eps * 1e-4 * math.sqrt(640), eps * 0.1 * 112)
    for factor, inside in ((1 - 1e-9, True), (1 + 1e-9, False)):
        assert bool(found.certified(**{m: factor * c for m, c in corner.items()})[0]) is inside


def test_shares_count_frames_that_are_right_and_certified():
    radius = norm.ppf(0.9)
    found = made([0.9, 0.9, 0.99, 0.4], speaks=[1, 0, 1, 1], truth=[True] * 4, track=[0, 0, 1, 1])
    assert found.decided.tolist() == [True, True, True, False]
    assert found.right.tolist() == [True, False, True, False]
    assert found.radius[:2] == pytest.approx([radius] * 2)
    assert found.share() == 0.5
    assert found.share(visual=8.0 * radius * 1.01) == 0.25
    assert found.share(audio=0.01 * radius, visual=8.0 * radius) == 0.25
    assert found.share(audio=0.01 * 10) == 0
    curve = found.curve("visual", draws=50)
    assert [p["share"] for p in curve] == sorted((p["share"] for p in curve), reverse=True)
    assert curve[0] == {"radius": 0, "share": 0.5, "interval": [0.5, 0.5]}
    assert curve[-1]["share"] == 0
    with pytest.raises(UnknownName, match="smell"):
        found.curve("smell")


def test_without_truth_radii_stand_and_shares_do_not():
    batch = replace(random_batch((2,), dtype=torch.float64), speaking=None)
    found = certify(linear(), batch, sigma=both(0.01, 1.0), n=50, n0=5)
    assert found.decided.any()
    record = found.as_dict()
    assert (record["right"], record["curves"], record["budgets"]) == (None, {}, [])
    with pytest.raises(ShapeError, match="no truth"):
        found.share()


def test_a_modality_without_noise_may_not_change_at_all():
    batch = random_batch((3,), dtype=torch.float64)
    found = certify(linear(), batch, sigma=both(0.05, 0.0), n=60, n0=5)
    assert found.decided.any()
    assert not found.radii["visual"].any()
    assert not found.eps_av.any()
    assert (found.certified(audio=1e-6) == found.decided).all()
    assert not found.certified(visual=1e-12).any()


@pytest.mark.parametrize("detector", [LinearDetector(), ConvDetector()])
def test_neither_batches_nor_other_clips_nor_padding_change_a_certificate(detector):
    batch = random_batch((4, 2))
    ask = {"sigma": both(0.05, 20.0), "n": 60, "n0": 5}
    together = certify(detector, batch, **ask)
    small = certify(detector, batch, **ask, batch_frames=1)
    assert together.votes.tolist() == small.votes.tolist()
    first = certify(detector, Batch.from_clips(clips_of(batch)[:1]), **ask)
    assert together.votes[:4].tolist() == first.votes.tolist()
    assert together.sizes["audio"].tolist() == [4 * 640, 2 * 640]
    assert together.plain.track.tolist() == [0] * 4 + [1] * 2


def clips_of(batch):
    from pushpull.schema import Clip

    return [
        Clip(waveform=w[:s], faces=f[:t], fps=25.0, speaking=y[:t])
        for w, f, y, s, t in zip(
            batch.waveform, batch.faces, batch.speaking, batch.n_samples.tolist(),
            batch.n_frames.tolist(), strict=True,
        )
    ]  # fmt: skip


def test_the_detector_comes_back_in_its_mode():
    detector = ConvDetector().train()
    detector.picture_norm.eval()
    before = {name: part.training for name, part in detector.named_modules()}
    certify(detector, random_batch((2,)), sigma=10, n=40, n0=2)
    assert {name: part.training for name, part in detector.named_modules()} == before


def test_an_attack_within_the_ellipse_turns_no_certified_frame():
    """By an attacker who averages gradients over noise; beyond the ellipse it does."""
    detector, sigma = ConvDetector().eval(), both(0.02, 8.0)
    batch = random_batch((4, 4, 4), on_grid=False)
    ask = {"sigma": sigma, "n": 300, "n0": 50, "alpha": SURE}
    found = certify(detector, batch, **ask)
    batch = replace(batch, speaking=labels(found.speaks, batch))
    known = defend(
        detector, "smoothed", copies=8, sigma_audio=sigma["audio"], sigma_visual=sigma["visual"]
    )

    def turned(factor, angle):
        """Frames that are certified for the norms, and those that an attack turned over."""
        reach = float(np.quantile(found.radius, 0.5)) * factor
        norms = both(
            reach * sigma["audio"] * math.cos(angle), reach * sigma["visual"] * math.sin(angle)
        )
        moved = attack(known, batch, "pgd", eps=norms, norm="l2", steps=15, seed=1)
        for modality, size in moved.l2.items():
            assert float(size.max()) <= norms[modality]
        again = certify(detector, moved.batch, **ask, seed=1)
        return found.certified(**norms), again.decided & (again.speaks != found.speaks)

    for angle in (0.2, 0.8, 1.3):
        certified, flipped = turned(0.999, angle)
        assert certified.sum() >= 6
        assert not (certified & flipped).any()
    assert any(turned(30.0, angle)[1].any() for angle in (0.8, 1.3))


def labels(speaks, batch):
    found = torch.zeros_like(batch.speaking)
    found[batch.mask] = torch.from_numpy(speaks).long()
    return found


class Stopped(Exception):
    pass


ASK = {"sigma": both(1e-3, 8.0), "n": 500, "n0": 20, "limit": 2, "frames": 4, "split": "train"}


def test_a_stopped_certificate_goes_on_and_more_copies_are_only_added(dataset, tmp_path):
    detector = ConvDetector()

    def stop(stage, done, total):
        if done > 300:
            raise Stopped

    with pytest.raises(Stopped):
        certify_tracks(detector, dataset, **ASK, out=tmp_path / "a", progress=stop)
    told = []
    found = certify_tracks(
        detector, dataset, **ASK, out=tmp_path / "a", progress=lambda *at: told.append(at)
    )
    assert found.cost["stages_reused"] >= 2
    assert told[-1] == ("certify", 2 * 520, 2 * 520)
    whole = certify_tracks(detector, dataset, **ASK)
    assert whole.cost["stages_reused"] == 0
    assert found.votes.tolist() == whole.votes.tolist()
    more = certify_tracks(detector, dataset, **ASK | {"n": 750}, out=tmp_path / "a", overwrite=True)
    assert (more.cost["stages_made"], more.cost["stages_reused"]) == (2, 6)
    assert (more.votes - found.votes >= 0).all()
    other = certify_tracks(detector, dataset, **ASK, seed=1)
    assert other.votes.tolist() != whole.votes.tolist() or other.names != whole.names


def test_files_say_what_was_found(dataset, tmp_path):
    found = certify_tracks(ConvDetector(), dataset, **ASK, out=tmp_path)
    record = json.loads((tmp_path / "certificate.json").read_text())
    assert record["kind"] == "certificate"
    assert record["settings"]["sigma"] == {"audio": 1e-3, "visual": 8.0}
    assert record["data"]["split"] == "train"
    assert record["right"]["share"] == found.share()
    assert record["curves"]["visual"][0]["share"] == found.share()
    assert {"eps_av", "audio", "visual", "share"} == set(record["budgets"][0])
    with (tmp_path / "certificate.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found) == 8
    assert [int(row["frame"]) for row in rows] == [0, 1, 2, 3] * 2
    assert {row["decision"] for row in rows} <= {"speaking", "silent", "abstain"}
    for row, decided, bound in zip(rows, found.decided, found.bound, strict=True):
        assert (row["decision"] != "abstain") == decided
        assert float(row["bound"]) == pytest.approx(bound, rel=1e-5)
        assert int(row["votes"]) <= int(row["n"]) == 500
    with pytest.raises(OutputExists, match="with other settings"):
        certify_tracks(ConvDetector(), dataset, **ASK | {"n": 100}, out=tmp_path)
    assert "<table>" in found._repr_html_()


def test_tracks_of_one_person_are_drawn_together(tmp_path):
    rng = np.random.default_rng(0)
    examples = [
        Example(
            track_id=f"t{k}",
            video_id=f"v{k}",
            clip=draw_clip(rng, list(Case)[k % 2], n_frames=4),
            timestamps_s=np.arange(4) / 25,
            boxes=np.tile([0.2, 0.2, 0.6, 0.8], (4, 1)),
            person=f"person {k // 3}",
        )
        for k in range(6)
    ]
    writer = DatasetWriter(tmp_path / "set", made={"by": "test"})
    writer.write("test", 0, examples)
    writer.finish({"test": [0]})
    ask = ASK | {"split": "test", "limit": 0, "n": 100}
    found = certify_tracks(ConvDetector(), tmp_path / "set", **ask)
    record = found.as_dict()
    assert record["interval_over"] == "people"
    assert len(np.unique(found.group)) == 2
    kept = found.right & found.certified()
    assert record["right"]["interval"] == list(bootstrap_share(kept, found.group))
    over_tracks = replace(found, group=None, interval_over="tracks").as_dict()
    assert over_tracks["right"]["interval"] == list(bootstrap_share(kept, found.plain.track))


def test_settings_that_cannot_be_are_said():
    for wrong, says in (
        ({"n": 0}, "n is 0; expected at least 1"),
        ({"n0": 0}, "n0 is 0"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"sigma": both(-1.0, 1.0)}, "sigma of audio is -1.0"),
        ({"sigma": {"audio": 1.0}}, "sigma is given for audio"),
        ({"sigma": both(0.0, 0.0)}, "sigma is 0 for audio and visual"),
    ):
        with pytest.raises(ConfigError, match=says):
            CertificateSettings(**{"sigma": both(1e-3, 1.0), **wrong})


@given(st.integers(1, 100), st.floats(1e-9, 0.4))
def test_the_least_n_is_the_least(frames, alpha):
    few = CertificateSettings(sigma=both(1e-3, 1.0), n=1, alpha=alpha)
    if alpha / frames > 0.5:
        return
    with pytest.raises(ConfigError, match=f"track of {frames} frames; expected at least") as found:
        few.ceiling(frames)
    least = int(str(found.value).split()[-1])
    assert replace(few, n=least).ceiling(frames) > 0
    if least > 1:
        with pytest.raises(ConfigError, match="no frame can be certified"):
            replace(few, n=least - 1).ceiling(frames)


def test_too_few_copies_are_refused_before_any_work(dataset):
    asked = []
    detector = ConvDetector()
    detector.register_forward_hook(lambda *_: asked.append(1))
    with pytest.raises(ConfigError, match="no frame can be certified"):
        certify(detector, random_batch((3,)), sigma=1, n=5)
    assert asked == []
    with pytest.raises(DatasetError, match="1 tracks"):
        certify_tracks(detector, dataset, sigma=1, limit=1)
