import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from audit_detectors import EPS, PLANTED, people
from typer.testing import CliRunner

from pushpull.attacks import attack
from pushpull.audit import (
    FAST,
    FIGURES,
    TESTS,
    Audit,
    Claim,
    Finding,
    Standing,
    Victims,
    examine,
    judged,
)
from pushpull.cli import app
from pushpull.dataset import SynthConfig, write_synth
from pushpull.losses import log_odds
from pushpull.models.detector import Detector
from pushpull.schema import Batch
from pushpull.weights import load_weights

SMALL = replace(
    FAST,
    steps=(1, 5, 10),
    apgd_steps=8,
    square_queries=20,
    noise_draws=2,
    probe_clips=3,
    directions=3,
    grid=5,
    draws=100,
)


@pytest.fixture(scope="module")
def victims() -> Victims:
    return Victims.of(people(12))


@pytest.fixture(scope="module")
def plain() -> Detector:
    """Row A: no defence."""
    return load_weights("synthetic-a", device="cpu").detector


@pytest.fixture(scope="module")
def honest() -> Detector:
    """Row B3: trained against PGD, nothing hidden."""
    return load_weights("synthetic-b3", device="cpu").detector


@pytest.fixture(scope="module")
def honest_audit(honest: Detector, plain: Detector, victims: Victims) -> Audit:
    return examine(honest, victims, eps=EPS, config=SMALL, surrogates={"plain": plain})


def flagged(found: Audit, *signs: str) -> set[str]:
    return {
        f.test for f in found.findings if f.verdict == "flag" and (not signs or f.sign in signs)
    }


def test_an_honest_detector_is_not_called_masked(honest_audit: Audit) -> None:
    assert flagged(honest_audit, "masking", "evaluation") == set()
    assert honest_audit.verdict.word != "masked"
    assert {f.test for f in honest_audit.findings} == set(TESTS)
    assert honest_audit.standing.worst <= honest_audit.standing.strongest_map + 1e-9
    assert honest_audit.standing.worst_by_track >= honest_audit.standing.worst - 1e-9


def test_an_undefended_detector_is_broken_and_not_masked(plain: Detector, victims: Victims) -> None:
    found = examine(plain, victims, eps=EPS, config=SMALL, tests=["gradients", "apgd", "noise"])
    assert flagged(found, "masking", "evaluation") == set()
    assert found.verdict.word == "broken"


@pytest.mark.parametrize("name", PLANTED)
def test_planted_masks_are_flagged(name: str, plain: Detector, victims: Victims) -> None:
    mask, test = PLANTED[name]
    found = examine(mask(plain), victims, eps=EPS, config=SMALL, tests=[test])
    assert flagged(found, "masking") == {test}
    assert found.verdict.word == "masked"
    assert test in found.verdict.sentence
    # The test is about the mask: it says nothing of the detector inside.
    bare = examine(plain, victims, eps=EPS, config=SMALL, tests=[test])
    assert flagged(bare) == set()


def outside(detector: Detector, batch: Batch, number: int) -> Batch:
    """An attack that leaves its ball."""
    found = attack(detector, batch, "pgd", eps=EPS, steps=3, seed=number).batch
    return replace(found, faces=(found.faces + 3).clamp(0, 255))


def early(detector: Detector, batch: Batch, number: int) -> Batch:
    """An evaluation that stops at the first wrong frame of a clip."""
    current = batch
    for steps in (1, 2, 4, 8):
        found = attack(detector, batch, "bim", eps=EPS, steps=steps, alpha=EPS / 16).batch
        with torch.no_grad():
            right = (log_odds(detector(**current.inputs).logits) > 0) == (batch.speaking == 1)
        whole = (right | ~batch.mask).all(1)
        current = replace(
            current,
            waveform=torch.where(whole[:, None], found.waveform, current.waveform),
            faces=torch.where(whole[:, None, None, None], found.faces, current.faces),
        )
    return current


@pytest.mark.parametrize(("perturb", "test"), [(outside, "budget"), (early, "full-run")])
def test_planted_evaluations_are_flagged(
    perturb: Any, test: str, plain: Detector, victims: Victims
) -> None:
    claim = Claim(method="bim", settings={"steps": 8}, perturb=perturb)
    found = examine(plain, victims, eps=EPS, config=SMALL, claim=claim, tests=[test])
    assert test in flagged(found, "evaluation")
    assert found.verdict.word != "robust"


def test_a_claim_that_is_too_high_does_not_hold(plain: Detector, victims: Victims) -> None:
    claim = Claim(map=100.0)
    found = examine(plain, victims, eps=EPS, config=SMALL, claim=claim, tests=["steps"])
    assert found.verdict.word == "broken"
    assert "the claim does not hold" in found.verdict.sentence


STANDING = Standing(
    claimed=90.0,
    clean=99.0,
    chance=50.0,
    worst=88.0,
    worst_by_track=89.0,
    strongest="apgd",
    strongest_map=89.0,
)


def finding(verdict: str, sign: str) -> Finding:
    return Finding(
        test="t", title="", verdict=verdict, sign=sign, figures={}, threshold="", reference="",
        explanation="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("findings", "standing", "word"),
    [
        ([finding("pass", "masking")], STANDING, "robust"),
        ([finding("flag", "strength")], STANDING, "robust"),
        ([finding("flag", "masking")], STANDING, "masked"),
        ([finding("flag", "evaluation")], STANDING, "broken"),
        ([], replace(STANDING, worst=84.9), "broken"),
        ([], replace(STANDING, claimed=75.0, worst=74.0), "broken"),
        ([finding("flag", "masking")], replace(STANDING, worst=10.0), "masked"),
    ],
)
def test_the_rule_of_the_verdict(findings: list[Finding], standing: Standing, word: str) -> None:
    verdict = judged(findings, standing)
    assert verdict.word == word
    assert f"{standing.worst:.1f}" in verdict.sentence


def test_results_are_kept_and_only_what_changed_is_done_again(
    tmp_path: Path, plain: Detector, victims: Victims
) -> None:
    def run(**changes: Any) -> Audit:
        return examine(
            plain,
            victims,
            eps=EPS,
            config=replace(SMALL, **changes),
            folder=tmp_path,
            identity={"sha256": "x"},
            tests=["steps", "noise", "square"],
        )

    first, again, changed = run(), run(), run(square_queries=30)
    assert first.cost["stages_made"] > 0
    assert again.cost["stages_made"] == 0
    assert [f.as_dict() for f in again.findings] == [f.as_dict() for f in first.findings]
    assert changed.cost["stages_made"] == 1


def test_the_command_writes_what_programs_and_people_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_synth(data, SynthConfig(tracks=16, seed=2, min_frames=8, max_frames=8, held_out=0.4))
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["audit", "synthetic-a", str(data), "--fast", "--limit", "4", "--out", str(out)],
    )
    assert done.exit_code == 0, done.output
    record = json.loads((out / "audit.json").read_text())
    assert record["verdict"]["word"] in done.output
    assert {t["test"] for t in record["tests"]} == set(TESTS)
    assert (out / "audit.csv").read_text().count("\n") > len(TESTS)
    assert record["verdict"]["sentence"] in (out / "audit.md").read_text()
    assert {p.stem for p in out.glob("*.png")} == set(FIGURES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.safetensors", "DATA"], "no such file"),
        (["synthetic-a", "DATA", "--split", "later"], "later"),
        (["synthetic-a", "DATA", "--eps", "-1"], "eps"),
        (["synthetic-a", "DATA", "--claim", "120"], "claimed mAP is 120"),
        (["synthetic-a", "DATA", "--method", "magic"], "unknown attack 'magic'"),
        (["synthetic-a", "gone"], "gone"),
    ],
)
def test_bad_input_is_said(tmp_path: Path, arguments: list[str], says: str) -> None:
    data = tmp_path / "data"
    if "DATA" in arguments:
        write_synth(data, SynthConfig(tracks=16, seed=2, min_frames=4, max_frames=4, held_out=0.4))
    given = [str(data) if a == "DATA" else a for a in arguments]
    done = CliRunner().invoke(app, ["audit", *given, "--fast", "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert says in str(done.output) + str(done.exception)
    assert "Traceback" not in done.output
