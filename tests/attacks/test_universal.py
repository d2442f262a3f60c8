"""One pattern for all clips: its budget, its loop, what it hangs on, and whether it works."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.small_detectors import ConvDetector, LinearDetector, random_batch

from pushpull.attacks.threat import Threat
from pushpull.attacks.universal import PatternSpace, UniversalPattern, universal
from pushpull.errors import BudgetError, CheckpointError, ConfigError, ShapeError, UnknownName
from pushpull.losses import margin
from pushpull.models.weights import resolve_detector
from pushpull.schema import Batch
from pushpull.synthetic import Case, draw_clip

FRAME_S = 640 / 16_000


def pattern_of(eps, *, modality="both", period_s=0.07, n_faces=2, seed=0):
    """A pattern that is not all of its budget: uniform noise."""
    threat = Threat.of(eps, modality=modality)
    full = UniversalPattern.random(threat, period_s=period_s, n_faces=n_faces, seed=seed)
    shares = torch.rand(len(full.waveform), generator=torch.Generator().manual_seed(seed))
    return UniversalPattern(waveform=full.waveform * shares, faces=full.faces, threat=threat)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    dtype=st.sampled_from((torch.float16, torch.float32, torch.float64)),
    modality=st.sampled_from(("audio", "visual", "both")),
    log_eps=st.floats(-3, 3),
    start_s=st.floats(0, 100),
    seed=st.integers(0, 100),
)
def test_budget_range_and_padding_hold_for_any_clip(
    lengths, dtype, modality, log_eps, start_s, seed
):
    batch = random_batch(tuple(lengths), seed=seed, dtype=dtype, on_grid=False)
    pattern = pattern_of(10**log_eps, modality=modality, seed=seed)
    moved = pattern.apply(batch, starts_s=torch.full((len(lengths),), start_s))
    # Measured here, not by the package.
    for name, x, after, n_valid, low, high in (
        ("audio", batch.waveform, moved.waveform, batch.n_samples, -1, 1),
        ("visual", batch.faces, moved.faces, batch.n_frames, 0, 255),
    ):
        change = after.double() - x.double()
        ball = pattern.threat.balls.get(name)
        assert float(change.abs().max()) <= (0 if ball is None else ball.eps)
        assert low <= float(after.min()) <= float(after.max()) <= high
        for row, n in zip(change, n_valid.tolist(), strict=True):
            assert not row[n:].any()


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 3000), period=st.integers(1, 3000), n_faces=st.integers(1, 4))
def test_a_clip_gets_the_loop_from_where_it_begins(start, period, n_faces):
    batch = random_batch((4, 2), dtype=torch.float64)
    # Grey and quiet: no change is cut by the range.
    batch = Batch(
        waveform=batch.waveform * 0,
        faces=batch.faces * 0 + 100,
        n_samples=batch.n_samples,
        n_frames=batch.n_frames,
        fps=batch.fps,
    )
    pattern = pattern_of(10, period_s=period / 16_000, n_faces=n_faces)
    starts = torch.tensor([start, 0]) / 16_000
    moved = pattern.apply(batch, starts_s=starts)
    sound = pattern.waveform.double().numpy()
    assert np.array_equal(moved.waveform[0], np.resize(np.roll(sound, -start), 2560))
    assert np.array_equal(moved.waveform[1, :1280], np.resize(sound, 1280))
    first = round(start / 640)
    shown = pattern.faces.double()[[(first + t) % n_faces for t in range(4)]]
    assert np.allclose(moved.faces[0] - 100, shown, atol=1e-12, rtol=0)


def test_the_best_pattern_of_a_linear_detector_is_found():
    detector = LinearDetector(scale=0.02)
    batches = [random_batch((3, 2), seed=seed) for seed in range(3)]
    found = universal(
        detector, batches, eps=5, steps=40, targeted="speaking", objective="margin",
        period_s=FRAME_S,
    )  # fmt: skip
    # Any place of the loop may meet any sample; pictures do not move.
    assert torch.equal(found.faces[0], 0.5 * detector.w_v.detach().sign())
    clean = torch.cat([detector(**b.inputs).score[b.mask] for b in batches])
    moved = torch.cat([detector(**found.apply(b).inputs).score[b.mask] for b in batches])
    assert bool((moved > clean).all())


def test_sound_in_step_with_its_clips_is_found_exactly():
    """With clips that all begin at 0 the optimum of a loop of one frame is known."""
    detector = LinearDetector(scale=0.02)
    batch = random_batch((3, 2))
    space = PatternSpace(batch, Threat.of(5, modality="audio"), period_s=FRAME_S)
    best = 5e-4 * detector.w_a.detach().sign()
    region = space.regions["audio"]
    points = {"audio": region.place(best[None])}
    with torch.no_grad():
        clean, moved = (detector(**b.inputs).score for b in (batch, space.to_batch(points)))
    gained = 5e-4 * float(detector.w_a.detach().abs().sum())
    # Where loud samples reach the range, the change is cut.
    assert float((moved - clean)[batch.mask].mean()) == pytest.approx(gained, rel=0.01)


def test_a_pattern_of_the_search_is_the_one_that_is_applied():
    batch = random_batch((3, 2), dtype=torch.float64)
    pattern = pattern_of(20)
    starts = torch.tensor([0.03, 0.5])
    space = PatternSpace(batch, pattern.threat, period_s=0.07, n_faces=2, starts_s=starts)
    seen = space.to_batch({"audio": pattern.waveform[None], "visual": pattern.faces[None]})
    applied = pattern.apply(batch, starts_s=starts)
    torch.testing.assert_close(seen.waveform, applied.waveform, atol=1e-12, rtol=0)
    torch.testing.assert_close(seen.faces, applied.faces, atol=1e-12, rtol=0)


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(4)), targeted=st.sampled_from((True, False, "silent")))
def test_the_order_of_batches_changes_nothing(order, targeted):
    batches = [random_batch((3, 2), seed=seed) for seed in range(4)]
    how = {"eps": 5, "steps": 6, "targeted": targeted, "period_s": 0.1}
    first = universal(ConvDetector(), batches, **how)
    again = universal(ConvDetector(), [batches[i] for i in order], **how)
    assert torch.equal(first.waveform, again.waveform)
    assert torch.equal(first.faces, again.faces)


def test_a_seed_and_a_goal_make_another_pattern():
    batches = [random_batch((3, 2))]
    first = universal(ConvDetector(), batches, steps=4)
    other = universal(ConvDetector(), batches, steps=4, seed=1)
    assert not torch.equal(other.waveform, first.waveform)
    silent = universal(ConvDetector(), batches, steps=4, targeted="silent")
    assert not torch.equal(silent.faces, first.faces)


def test_one_modality_leaves_the_other_alone():
    batch = random_batch((3, 2))
    found = universal(ConvDetector(), [batch], steps=3, modality="audio")
    assert not found.faces.any()
    assert torch.equal(found.apply(batch).faces, batch.faces)
    assert float(found.waveform.abs().max()) > 0


def test_without_labels_the_detectors_own_decisions_are_attacked():
    detector, batch = ConvDetector().eval(), random_batch((3, 2))
    decisions = (detector(**batch.inputs).score > 0).long()
    labelled = Batch(**{k: getattr(batch, k) for k in Batch.__slots__} | {"speaking": decisions})
    unlabelled = Batch(**{k: getattr(batch, k) for k in Batch.__slots__} | {"speaking": None})
    one, other = (universal(detector, [b], steps=3) for b in (labelled, unlabelled))
    assert torch.equal(one.faces, other.faces)


def test_the_detector_comes_back_as_it_was():
    detector = ConvDetector().train()
    before = {k: v.clone() for k, v in detector.state_dict().items()}
    universal(detector, [random_batch((2,))], steps=2)
    assert detector.training
    assert all(p.requires_grad and p.grad is None for p in detector.parameters())
    assert all(torch.equal(v, before[k]) for k, v in detector.state_dict().items())


def test_people_not_seen_before_are_misjudged_and_noise_does_not_do_that():
    detector = resolve_detector("synthetic-a")

    def people(seed):
        rng = np.random.default_rng(seed)
        cases = (Case.SPEAKING, Case.SPEAKING)
        return Batch.from_clips([draw_clip(rng, case, n_frames=12) for case in cases])

    found = universal(
        detector, [people(seed) for seed in range(3)], eps=20, steps=40, targeted="silent",
        period_s=0.2, n_faces=5,
    )  # fmt: skip
    control = UniversalPattern.random(found.threat, period_s=0.2, n_faces=5)
    others = people(99)
    with torch.no_grad():
        scores = {
            name: detector(**batch.inputs).score.mean()
            for name, batch in (
                ("clean", others),
                ("found", found.apply(others)),
                ("control", control.apply(others)),
            )
        }
    harm = {name: float(scores["clean"] - scores[name]) for name in ("found", "control")}
    assert harm["found"] > 0.5 > harm["control"]


def test_the_loss_of_every_step_is_said():
    said = []
    detector, batch = LinearDetector(scale=0.02), random_batch((3, 2))
    universal(
        detector, [batch], steps=3, objective="margin", watch=lambda step, loss: said.append(loss)
    )
    with torch.no_grad():
        output = detector(**batch.inputs)
    # The target is what each frame is not.
    clean = -margin(output.logits, batch.speaking).masked_fill(~batch.mask, 0).sum() / 5
    assert said[0] == pytest.approx(float(clean), rel=1e-5)
    assert said == sorted(said)


def test_what_is_saved_is_read_back(tmp_path):
    path = tmp_path / "pattern.safetensors"
    pattern = pattern_of(5, modality="both")
    pattern.save(path)
    again = UniversalPattern.load(path)
    assert torch.equal(again.waveform, pattern.waveform)
    assert torch.equal(again.faces, pattern.faces)
    assert again.threat == pattern.threat
    assert again.as_dict() == pattern.as_dict()


def test_files_that_are_no_patterns_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    with pytest.raises(CheckpointError, match="cannot be read as a universal pattern"):
        UniversalPattern.load(path)
    save_file({"waveform": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="is no universal pattern"):
        UniversalPattern.load(path)
    rows = {"waveform": torch.zeros(3), "faces": torch.zeros(1, 112, 112)}
    for eps in ("3", "[" * 100_000, '{"smell": 1}', '{"audio": "much"}', "{"):
        save_file(rows, path, metadata={"kind": "universal-pattern", "eps": eps})
        with pytest.raises((CheckpointError, UnknownName, ConfigError)):
            UniversalPattern.load(path)


def test_what_cannot_be_is_refused():
    batch, threat = random_batch((2,)), Threat.of(5)
    with pytest.raises(ConfigError, match="no batches"):
        universal(ConvDetector(), [])
    with pytest.raises(UnknownName, match="target"):
        universal(ConvDetector(), [batch], targeted="loud")
    with pytest.raises(ConfigError, match="steps is 0"):
        universal(ConvDetector(), [batch], steps=0)
    with pytest.raises(ConfigError, match="period_s is 0"):
        UniversalPattern.random(threat, period_s=0)
    with pytest.raises(ConfigError, match="n_faces is 0"):
        UniversalPattern.random(threat, n_faces=0)
    with pytest.raises(ConfigError, match="expected linf"):
        UniversalPattern.random(Threat.of(5, norm="l2"))
    zeros = {"waveform": torch.zeros(8), "faces": torch.zeros(1, 112, 112), "threat": threat}
    with pytest.raises(BudgetError, match=r"expected -0\.0005\.\.0\.0005"):
        UniversalPattern(**zeros | {"waveform": torch.full((8,), 1e-3)})
    with pytest.raises(ShapeError, match=r"expected \(P,\) samples"):
        UniversalPattern(**zeros | {"faces": torch.zeros(112, 112)})
    small = UniversalPattern(**zeros | {"faces": torch.zeros(1, 64, 64)})
    with pytest.raises(ShapeError, match="as the pattern"):
        small.apply(batch)
    with pytest.raises(ShapeError, match="expected 1 seconds"):
        UniversalPattern(**zeros).apply(batch, starts_s=torch.zeros(2))
