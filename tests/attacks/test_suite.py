"""The standard attack keeps the best that exists, only gets lower, and can be stopped."""

import hashlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audit_detectors import Behind, Detached, Ripple, people, trained

from pushpull.attacks import (
    ATTACKS,
    SUITES,
    AttackSettings,
    attack,
    gradient_agreement,
    gradient_progress,
)
from pushpull.attacks.registry import options_of
from pushpull.attacks.search import held_still
from pushpull.attacks.suite import RUN, SETTLED
from pushpull.errors import ConfigError, UnknownName
from pushpull.losses import Goal, build_objective, log_odds
from pushpull.schema import Batch, Output

EPS = 4.0
FIRST = "bb04d82ffc88"
"""Checksum of what `suite-1` does."""


@pytest.fixture(scope="module")
def detector():
    return trained(hardened=True, steps=15)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Batch.from_clips([clip for _, clip in people(6, seed=3)])


def wrong(detector, batch, found) -> torch.Tensor:
    with torch.no_grad(), held_still(detector):
        score = log_odds(detector(**found.inputs).logits)
    return (((score > 0).long() != batch.speaking) & batch.mask).sum(1)


def test_it_leaves_no_more_than_any_member_by_itself(detector, batch) -> None:
    found = attack(detector, batch, "suite-fast", eps=EPS)
    ran = [m["name"] for m in found.members if not m["passed_over"]]
    assert ran == ["pgd-ce", "pgd-margin", "apgd-margin", "feature", "smoothed", "square", "refine"]
    goal = Goal(labels=batch.speaking, scale=_scale(detector, batch))
    judge = build_objective("flips", goal).judge

    def worth(score) -> torch.Tensor:
        output = Output(logits=torch.stack((-score / 2, score / 2), -1), mask=batch.mask)
        return judge(output).masked_fill(~batch.mask, 0).sum(1)

    for name, score in found.member_scores.items():
        assert bool((worth(found.score) >= worth(score) - 1e-5).all()), name
    # What was kept is what is returned: the scores are those of the batch.
    with torch.no_grad(), held_still(detector):
        again = log_odds(detector(**found.batch.inputs).logits)
    assert torch.allclose(again[batch.mask], found.score[batch.mask], atol=1e-5)


def _scale(detector, batch) -> float:
    with torch.no_grad():
        return float(log_odds(detector(**batch.inputs).logits)[batch.mask].abs().median())


def test_what_is_left_only_falls_while_it_runs(detector, batch) -> None:
    found = attack(detector, batch, "suite-fast", eps=EPS)
    reached = [m["reached"] for m in found.members]
    assert reached == sorted(reached)
    assert reached[-1] > float(found.curve[0].mean())


@pytest.mark.parametrize("after", [1, 3, 6])
def test_it_goes_on_where_it_was_stopped(detector, batch, tmp_path, after) -> None:
    whole = attack(detector, batch, "suite-fast", eps=EPS, seed=1)
    evaluations = sum(m["forwards"] for m in whole.members[:after]) + 2

    class Stopped(Exception):
        pass

    def stop(done: int) -> None:
        if done > evaluations:
            raise Stopped

    with pytest.raises(Stopped):
        attack(detector, batch, "suite-fast", eps=EPS, seed=1, keep=tmp_path, watch=stop)
    seen = []
    again = attack(detector, batch, "suite-fast", eps=EPS, seed=1, keep=tmp_path, watch=seen.append)
    assert torch.equal(again.faces, whole.faces)
    assert torch.equal(again.waveform, whole.waveform)
    assert again.members == whole.members
    assert len(seen) < whole.forwards
    # Another attack does not go on from it.
    other = attack(detector, batch, "suite-fast", eps=EPS / 2, seed=1, keep=tmp_path)
    assert float(other.linf["visual"].max()) <= EPS / 20 + 1e-12


def test_a_broken_file_of_a_stopped_one_is_no_obstacle(detector, batch, tmp_path) -> None:
    first = attack(detector, batch, "suite-fast", eps=EPS, keep=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(attack(detector, batch, "suite-fast", eps=EPS, keep=tmp_path).faces,
                       first.faces)  # fmt: skip


def test_without_any_gradient_scores_are_enough(detector, batch) -> None:
    found = attack(Detached(detector), batch, "suite-fast", eps=20.0)
    passed = {m["name"]: m["passed_over"] for m in found.members}
    assert "does not depend" in passed["pgd-margin"]
    assert not passed["square"]
    assert "no surrogate" in passed["transfer"]
    clean = wrong(detector, batch, batch)
    assert int(wrong(Detached(detector), batch, found.batch).sum()) > int(clean.sum())


def test_surrogates_are_used(detector, batch) -> None:
    hidden = Detached(detector)
    alone = attack(hidden, batch, "suite-fast", eps=EPS)
    helped = attack(hidden, batch, "suite-fast", eps=EPS, surrogates={"twin": detector})
    assert "transfer" in helped.member_scores
    assert float(helped.loss.sum()) > float(alone.loss.sum())


def test_lost_clips_are_not_attacked_further(batch) -> None:
    easy = trained(hardened=False, steps=15)
    asked = []
    handle = easy.register_forward_hook(lambda m, i, o: asked.append(len(o.logits)))
    found = attack(easy, batch, "suite-fast", eps=100.0)
    handle.remove()
    assert max(asked) == len(batch.faces)
    assert found.members[-1]["passed_over"] == "all clips are lost already"
    assert int(wrong(easy, batch, found.batch).sum()) == int(batch.n_frames.sum())


def test_modules_in_front_are_passed(detector, batch) -> None:
    rippled = Behind(detector, visual=Ripple(0.3, 60.0), audio=Ripple(3e-4, 6e4))
    found = attack(rippled, batch, "suite-fast", eps=EPS)
    names = [m["name"] for m in found.members if not m["passed_over"]]
    assert "bypass" in names
    plain = attack(rippled, batch, "pgd", eps=EPS, steps=10)
    named = attack(
        rippled, batch, "pgd", eps=EPS, steps=10, bypass=("on_visual", "on_audio"),
    )  # fmt: skip
    assert int(wrong(rippled, batch, named.batch).sum()) >= int(
        wrong(rippled, batch, plain.batch).sum()
    )
    with pytest.raises(UnknownName, match="module"):
        attack(rippled, batch, "pgd", eps=EPS, bypass=("nothing",))


PLACES = {
    "visual": lambda ripple: {"visual": ripple(1.0, 1.0)},
    "audio": lambda ripple: {"audio": ripple(1e-3, 1e3)},
    "embeddings": lambda ripple: {"embeddings": ripple(0.1, 30.0)},
    "logits": lambda ripple: {"logits": ripple(0.5, 10.0)},
}
"""Where ripples are, with a scale of amplitudes and of frequencies of its own."""


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.1, 0.3),
    st.floats(60, 600),
    st.sampled_from(["sine", "drift"]),
    st.sampled_from(sorted(PLACES)),
)
def test_gradients_of_ripples_say_nothing_of_the_next_step(amplitude, frequency, shape, place):
    detector, batch = _small()
    planted = Behind(
        detector, **PLACES[place](lambda a, w: Ripple(a * amplitude, w * frequency, shape))
    )
    found = gradient_agreement(planted, batch, eps=5)
    names = [place] if place in found.cosine else ["audio", "visual"]
    ruined = [
        float(found.cosine[name][i].median()) < limit
        for name in names
        for i, limit in enumerate((0.7, 0.5, 0.2))
    ]
    ruined += [float(found.gain[name][0].median()) < 0.3 for name in names]
    assert any(ruined)
    for name in {"audio", "visual"} - set(names):
        assert float(found.cosine[name].median()) > 0.9


def test_a_falling_saw_leads_backwards_everywhere() -> None:
    detector, batch = _small()
    planted = Behind(detector, visual=Ripple(0.2, -100.0, "saw"))
    found = gradient_agreement(planted, batch, eps=5)
    # All gradients agree, and all are wrong: only steps of some length tell.
    assert float(found.cosine["visual"][0].median()) > 0.9
    assert float(found.gain["visual"][0].median()) < 0
    step = gradient_progress(planted, batch, eps=5, modality="visual")
    assert float(step.plain.mean(1).max()) < 0


def test_honest_gradients_agree_and_lead(detector, batch) -> None:
    found = gradient_agreement(detector, batch, eps=5)
    for name in ("audio", "visual"):
        assert float(found.cosine[name][0].median()) > 0.9
        assert float(found.gain[name][0].median()) == pytest.approx(1, abs=0.2)
        step = gradient_progress(detector, batch, eps=5, modality=name)
        assert bool((step.plain > 0).all())
        assert float((step.averaged / step.plain.mean(1)).max()) < 1.5


_SMALL = {}


def _small():
    if not _SMALL:
        _SMALL["detector"] = trained(hardened=False, steps=15)
        _SMALL["batch"] = Batch.from_clips([clip for _, clip in people(4, seed=5)])
    return _SMALL["detector"], _SMALL["batch"]


class Lucky(Behind):
    """Noise on the log-odds at every evaluation: some draws are wrong without any attack."""

    def fuse(self, e_a, e_v, n_frames) -> Output:
        output = super().fuse(e_a, e_v, n_frames)
        noise = 4.0 * torch.randn_like(output.logits[..., :1])
        return replace(output, logits=output.logits + torch.cat((-noise, noise), -1))


def test_luck_counts_for_neither_side(detector, batch) -> None:
    torch.manual_seed(0)
    lucky = Lucky(detector)
    found = attack(lucky, batch, "noise", eps=0.01, steps=30)
    assert found.draws > 1
    with torch.no_grad(), held_still(detector):
        true = log_odds(detector(**found.batch.inputs).logits)
    gone = (found.score - true)[batch.mask].mean()
    # The luckiest of 30 single draws would stand some two spreads below.
    assert abs(float(gone)) < 1.0


def test_the_objective_is_the_suites_own() -> None:
    with pytest.raises(ConfigError, match="members have their own"):
        AttackSettings(attack="suite", objective="margin")
    with pytest.raises(ConfigError, match="does not transfer"):
        AttackSettings(attack="pgd", surrogates={"twin": trained(hardened=False, steps=1)})
    with pytest.raises(UnknownName, match="suite-0"):
        attack(*_small(), "suite", version="suite-0")


def test_versions_are_frozen_and_known() -> None:
    assert set(SUITES) == {"suite-1", "suite-1-fast", "suite-2"}
    for members in SUITES.values():
        assert {m.kind for m in members} <= set(RUN)
        assert len({m.name for m in members}) == len(members)
    for whole in (SUITES["suite-1"], SUITES["suite-2"]):
        for member in whole:
            if member.kind == "square":
                assert member.settings["steps"] >= 1000
            else:
                assert member.settings["steps"] * member.settings.get("draws", 1) >= 100
    # What was published under the first is under these numbers.
    parts = ("name", "kind", "objective", "settings")
    text = repr([[getattr(m, part) for part in parts] for m in SUITES["suite-1"]])
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == FIRST
    assert options_of("suite")["version"] == "suite-2"
    assert {"suite", "suite-fast"} <= set(ATTACKS)


def test_long_members_are_for_clips_of_which_a_frame_is_right(monkeypatch, detector, batch) -> None:
    short = {"steps": 3, "schedule": "decayed", "random_start": True}
    long = [
        replace(m, settings=short)
        for m in SUITES["suite-2"]
        if m.unless_lost and m.kind == "gradient"
    ]
    (first,) = (m for m in SUITES["suite-1-fast"] if m.name == "pgd-margin")
    monkeypatch.setitem(SUITES, "tried", (first, *long))
    seen = []
    handle = detector.register_forward_hook(lambda m, i, o: seen.append(len(o.logits)))
    weak, some, strong = (
        attack(detector, batch, "suite", eps=eps, version="tried") for eps in (0.5, 60.0, 200.0)
    )
    handle.remove()
    assert not any(m["passed_over"] for m in weak.members)
    assert [m["passed_over"] for m in strong.members[1:]] == ["all clips are lost already"] * 2
    # Lost, but not so surely that the other members would leave them.
    assert float(strong.members[0]["reached"]) < SETTLED
    lost = (wrong(detector, batch, some.batch) == batch.n_frames).sum()
    assert 0 < int(lost) < len(batch.faces)
    assert not any(m["passed_over"] for m in some.members)
    assert min(seen) < len(batch.faces)


def test_decayed_steps_get_shorter(detector, batch) -> None:
    two = {"eps": EPS, "steps": 2, "objective": "margin"}
    decayed = attack(detector, batch, "bim", schedule="decayed", **two)
    # Half of the budget, then half of that, along the same signs.
    assert float(decayed.linf["visual"].max()) == pytest.approx(0.75 * EPS / 10, rel=1e-3)
    assert float(decayed.linf["audio"].max()) == pytest.approx(0.75 * EPS / 1e4, rel=1e-3)
    with pytest.raises(UnknownName, match="schedule"):
        attack(detector, batch, "bim", eps=EPS, schedule="rising")
    with pytest.raises(ConfigError, match="radius"):
        attack(detector, batch, "bim", eps=EPS, draws=4)
