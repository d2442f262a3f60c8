"""Whole audits: stopped and gone on with, as a command, and what cannot be audited."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.audit_detectors import EPS, Deciding, people

from pushpull.auditing import (
    FAST,
    FIGURES,
    TESTS,
    TINY,
    AuditClips,
    AuditConfig,
    Claim,
    audit,
    choose_clips,
    examine,
)
from pushpull.auditing.findings import Finding, Standing, judged
from pushpull.auditing.settings import claim_of
from pushpull.data import SynthConfig, open_tracks, write_synth
from pushpull.errors import ConfigError, DatasetError, OutputExists, PushPullError, UnknownName
from pushpull.models import TalkNet
from pushpull.models.checkpoints import save
from pushpull.runtime.records import unstamped

SOME = ["steps", "landscape", "restarts", "noise"]


@pytest.fixture(scope="session")
def talknet(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "narrow.safetensors"
    torch.manual_seed(0)
    save(TalkNet(width=0.0625, face_step=4).eval(), path)
    return path


class Stopped(Exception):
    pass


def plain_values(audit) -> str:
    """All of it but what it cost."""
    record = audit.as_dict()
    del record["cost"]
    return json.dumps([{k: v for k, v in r.items() if k != "seconds"} for r in record.pop("runs")]
                      + [record])  # fmt: skip


def test_a_stopped_audit_goes_on_with_the_same_numbers(plain, clips, small, tmp_path) -> None:
    said = {"eps": EPS, "config": small, "identity": {"is": "plain"}, "tests": SOME}
    whole = examine(plain, clips, folder=tmp_path / "whole", **said)
    seen = []

    def stop(stage, done, total) -> None:
        seen.append(stage)
        if len(seen) == 30:
            raise Stopped

    folder = tmp_path / "stopped"
    with pytest.raises(Stopped):
        examine(plain, clips, folder=folder, progress=stop, **said)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert 0 < len(before) < whole.cost["stages_made"]
    again = examine(plain, clips, folder=folder, **said)
    assert plain_values(again) == plain_values(whole)
    assert again.cost["stages_reused"] == len(before)
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}.items()


def test_the_number_of_workers_changes_no_figure(talknet, dataset, tmp_path) -> None:
    said = {"split": "train", "config": replace(TINY, tracks=2)}
    one = audit(talknet, dataset, out=tmp_path / "one", **said)
    two = audit(talknet, dataset, out=tmp_path / "two", workers=2, **said)
    assert plain_values(two) == plain_values(one)
    assert two.cost["stages_made"] == 0
    assert two.cost["stages_reused"] == one.cost["stages_made"]


def test_what_depends_on_a_change_is_run_again_and_no_more(plain, clips, small, tmp_path) -> None:
    said = {"eps": EPS, "folder": tmp_path, "identity": {"is": "plain"}, "tests": SOME}
    first = examine(plain, clips, config=small, **said)
    again = examine(plain, clips, config=small, **said)
    assert (again.cost["stages_made"], first.cost["stages_reused"]) == (0, 0)
    longer = examine(plain, clips, config=replace(small, noise_draws=4), **said)
    assert longer.cost["stages_made"] == 1
    other = examine(plain, AuditClips.of(people(12, seed=2)), config=small, **said)
    assert other.cost["stages_reused"] == 0
    damaged = next(tmp_path.glob("run-noise-*"))
    damaged.write_text(damaged.read_text()[:-20])
    mended = examine(plain, clips, config=replace(small, noise_draws=4), **said)
    assert mended.cost["stages_made"] <= 1
    assert plain_values(mended) == plain_values(longer)


def test_the_command_is_killed_and_goes_on(dataset, talknet, pushpull, tmp_path) -> None:
    out = tmp_path / "out"
    line = ["audit", talknet, dataset, "--fast", "--split", "train", "--limit", "2", "--out", out,
            "--surrogate", talknet]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "pushpull", *map(str, line)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(list(out.glob("stages/run-*"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p: p.stat().st_mtime_ns for p in out.glob("stages/[a-z]*.json")}
    assert len(kept) >= 3
    assert not (out / "audit.json").exists()

    code, text, err = pushpull(*line)
    assert code == 0, err
    record = json.loads((out / "audit.json").read_text())
    assert [f["test"] for f in record["tests"]] == list(TESTS)
    assert text.splitlines()[-3:-1] == [record["verdict"][k] for k in ("sentence", "advice")]
    assert record["clips"]["tracks"] == 2
    assert record["data"]["made"]["by"] == "data synth"
    assert record["cost"]["stages_reused"] >= len(kept)
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in out.glob("stages/*")}.items()
    with (out / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["test"] for row in rows} == set(TESTS)
    page = (out / "audit.md").read_text()
    assert record["verdict"]["sentence"] in page
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in page
        assert (out / f"{name}.csv").stat().st_size
    assert text.splitlines()[-1] == str(out / "audit.html")
    # A detector's own adversaries, called a transfer, are no better than its own.
    assert next(f for f in record["tests"] if f["test"] == "transfer")["verdict"] == "pass"

    code, text, _ = pushpull(*line, "--json")
    assert code == 0
    assert json.loads(text)["cost"]["stages_made"] == 0
    assert json.loads(text)["standing"] == record["standing"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mAP = " + "9" * 400, "mAP is above 100"),
        ("mAP = " + "9" * 5000, "cannot be read as a claim"),
        ("mAP = " + "[" * 5000, "cannot be read as a claim"),
        ("mAP = -" + "9" * 400, "average precision is -0.01"),
        ("mAP = nan", "average precision is nan"),
        ("mAP = 50\nbypass = 3", "bypass is 3; expected a list"),
        ("mAP = 50\nsettings = 3", "settings is 3; expected a dict"),
        ("mAP = 50\nobjective = 3", "objective is 3; expected a str"),
    ],
    ids=lambda text: text[:24],
)
def test_a_claim_in_a_file_that_makes_no_sense_is_refused(tmp_path, text, says) -> None:
    file = tmp_path / "table.toml"
    file.write_text(f"[D3]\n{text}\n")
    with pytest.raises(ConfigError, match=re.escape(says)):
        claim_of(f"{file}:D3")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-weights", "DATA"], "unknown weights 'no-such-weights'"),
        (["WEIGHTS", "nowhere"], "holds no data set"),
        (["WEIGHTS", "DATA", "--split", "dev"], "unknown split 'dev'"),
        (["WEIGHTS", "DATA", "--eps", "-1"], "eps of audio is -0.0001"),
        (["WEIGHTS", "DATA", "--eps", "much"], "--eps is 'much'"),
        (["WEIGHTS", "DATA", "--attack", "cw"], "unknown attack 'cw'"),
        (["WEIGHTS", "DATA", "--claim", "130"], "the claimed average precision is 1.3"),
        (["WEIGHTS", "DATA", "--limit", "1"], "tracks is 1; expected at least 2"),
        (["WEIGHTS", "DATA", "--surrogate", "gone.pt"], "gone.pt"),
    ],
)
def test_what_cannot_be_audited_is_said(
    dataset, talknet, pushpull, tmp_path, arguments, says
) -> None:
    places = {"WEIGHTS": talknet, "DATA": dataset}
    line = [places.get(word, word) for word in arguments]
    code, _, err = pushpull("audit", *line, "--fast", "--out", tmp_path / "out")
    assert code in (1, 2)
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "audit.json").exists()


def test_every_test_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "audit.md").read_text()
    assert {name for name in TESTS if f"\n| `{name}` |" not in page} == set()


def test_nothing_is_run_twice_nor_for_nobody(plain, clips, small) -> None:
    """The detector sees the whole clips once as they are, once for files, and else for attacks."""
    seen = []

    def count(module, inputs, output) -> None:
        seen.append(len(output.logits) == len(clips.names))

    handle = plain.register_forward_hook(count)
    config = replace(small, restarts=2, restart_steps=4)
    names = ["steps", "restarts", "modalities", "losses", "adaptive", "margins", "best-iterate"]
    found = examine(plain, clips, eps=EPS, config=config, tests=names)
    handle.remove()
    assert sum(seen) == found.cost["forwards"] + 2
    runs = {run["name"]: run for run in found.runs}
    same = [json.dumps([run["settings"], run["curve"]]) for run in runs.values()]
    assert runs["restart-0"]["curve"] == runs["pgd-4"]["curve"] == runs["loss-claim"]["curve"]
    made = {text: run["forwards"] for text, run in zip(same, runs.values(), strict=True)}
    assert found.cost["forwards"] == sum(made.values())


def test_a_suite_that_ends_with_some_clips_is_counted_over_all(plain, clips, small) -> None:
    # Short clips are lost before the last member begins; some long ones never are.
    found = examine(Deciding(plain), clips, eps=5 * EPS, config=small, tests=["suite"])
    suite = next(run for run in found.runs if run["name"] == "suite")
    assert 0 < suite["accuracy"] < 0.5


def test_what_a_suite_costs_is_counted_once(plain, clips, small) -> None:
    found = examine(plain, clips, eps=EPS, config=small, tests=["suite"])
    runs = {run["name"]: run for run in found.runs}
    assert found.cost["forwards"] == runs["claim"]["forwards"] + runs["suite"]["forwards"]
    assert found.cost["backwards"] == runs["claim"]["backwards"] + runs["suite"]["backwards"]


def test_a_fast_audit_plants_for_the_claim_alone(plain, clips, small, tmp_path) -> None:
    said = {"eps": EPS, "tests": ["unit-test"], "folder": tmp_path, "identity": {"is": "plain"}}
    fast = examine(plain, clips, config=small, **said)
    names = [path.name for path in tmp_path.iterdir()]
    assert not any(name.startswith("unit-test-suite") for name in names)
    found = {name: value for name, value in fast.findings[0].figures.items() if value is not None}
    assert list(found) == ["planted adversaries found by the claim's attack, share"]
    assert not any("planted" in what for what in fast.standing.missing)


def test_settings_that_cannot_be() -> None:
    for wrong in ({"restarts": 3}, {"grid": 4}, {"steps": (5, 2)}, {"loss_steps": 0}):
        with pytest.raises(ConfigError):
            AuditConfig(**wrong)
    with pytest.raises(PushPullError, match="no setting"):
        Claim(settings={"stepz": 5})


def test_runs_with_other_budgets_are_not_counted(plain, clips, small) -> None:
    found = examine(plain, clips, eps=EPS / 100, config=small, tests=["budgets"])
    made = {run["name"]: run for run in found.runs}
    assert {name for name, run in made.items() if run["counts"]} == {"claim", "eps-1"}
    left = found.standing.strongest_average_precision
    assert left == min(made[name]["average_precision"] for name in ("claim", "eps-1"))
    # What ten budgets and the whole range leave is less, and no part of the worst case.
    assert made["eps-range"]["average_precision"] < found.standing.worst


def test_an_audit_is_saved_and_shown(plain, clips, small, tmp_path) -> None:
    found = examine(plain, clips, eps=EPS, config=small, tests=["margins", "best-iterate"])
    found = replace(found, detector={"name": "a <b>"}, data={"name": "set", "split": "test"})
    paths = found.save(tmp_path / "new")
    assert {"audit.html", "audit.json", "audit.csv", "audit.md"} <= set(paths)
    record = json.loads(paths["audit.json"].read_text())
    assert unstamped(record) == json.loads(json.dumps(found.as_dict(), allow_nan=False))
    for run in record["runs"]:
        assert 0 <= run["interval"][0] <= run["interval"][1] <= 1
        assert 0 <= run["accuracy"] <= 1
    page = paths["audit.md"].read_text()
    assert "\n| best-iterate |" in page.split("| measurement |")[1]


def test_a_notebook_shows_the_verdict_and_what_it_rests_on(plain, clips, small) -> None:
    found = examine(plain, clips, eps=EPS, config=small, tests=["steps", "suite", "transfer"])
    found = replace(found, detector={"name": "a <b>"})
    shown = found._repr_html_()
    assert shown.startswith("<table><caption>a &lt;b&gt;: broken</caption>")
    s = found.standing
    low, high = (f"{100 * end:.1f}" for end in s.worst_interval)
    assert f"<td>{100 * s.worst:.1f} % ({low} to {high} % over 12 tracks)</td>" in shown
    assert "<tr><td>not run</td><td>transfer</td></tr>" in shown
    flagged = ", ".join(f.test for f in found.findings if f.verdict == "flag")
    assert f"<tr><td>flagged</td><td>{flagged or 'none'}</td></tr>" in shown
    assert shown.count("<tr>") <= 10


def test_the_command_says_how_many_tracks_it_takes(pushpull) -> None:
    _, text, _ = pushpull("audit", "--help")
    assert f"{FAST.tracks} with --fast" in " ".join(text.replace("│", " ").split())


def test_results_are_not_kept_without_a_name(plain, clips, small, tmp_path) -> None:
    with pytest.raises(ConfigError, match="identity"):
        examine(plain, clips, config=small, folder=tmp_path)


def test_an_audit_of_clips_from_anywhere_can_be_saved(plain, clips, small, tmp_path) -> None:
    found = examine(plain, clips, config=small, tests=["margins"])
    paths = found.save(tmp_path)
    assert all(path.is_file() for path in paths.values())
    assert paths["audit.md"].read_text().startswith(f"# Audit of {plain.card.name}")


def test_a_test_that_is_not_there_is_no_verdict(plain, clips, small) -> None:
    with pytest.raises(UnknownName, match="unknown test 'landscap'"):
        examine(plain, clips, config=small, tests=["landscap"])


def test_clips_are_balanced_fixed_and_cut(dataset) -> None:
    tracks = open_tracks(dataset, "train")
    one, two = (choose_clips(tracks, count=6, frames=4, seed=1) for _ in range(2))
    assert one.identity == two.identity != choose_clips(tracks, count=6, frames=5).identity
    about = one.about()
    assert (about["tracks"], about["frames"]) == (6, 24)
    shares = [tracks[i].clip.speaking.float().mean() >= 0.5 for i in range(len(tracks))]
    assert about["mostly_speaking"] >= min(2, sum(map(int, shares)) - 1)
    whole = choose_clips(tracks)
    assert whole.about()["frames"] == int(tracks.n_frames.sum())
    assert sum(int(b.n_samples.sum()) for b in one.batches) == pytest.approx(
        sum(4 / float(f) * 16000 for b in one.batches for f in b.fps), rel=0.01
    )


def test_clips_of_one_class_are_refused() -> None:
    clips = [(n, replace(c, speaking=torch.ones_like(c.speaking))) for n, c in people(4, seed=0)]
    with pytest.raises(DatasetError, match="are speaking; expected both"):
        AuditClips.of(clips)
    with pytest.raises(DatasetError, match="1 tracks"):
        AuditClips.of(people(1, seed=0))


def finding(verdict="pass", sign="masking", test="t") -> Finding:
    return Finding(test=test, title="", verdict=verdict, sign=sign, figures={}, threshold="",
                   reference="", explanation="")  # fmt: skip


def standing(claimed, worst, spread=0.02, missing=()) -> Standing:
    half = 0.7
    return Standing(
        claimed=claimed, clean=0.95, chance=0.45, worst=worst,
        worst_interval=(worst - spread, worst + spread), bound=worst - 0.05,
        above=(claimed - worst - spread, claimed - worst + spread),
        beyond_half=(worst - half - spread, worst - half + spread),
        strongest="suite", strongest_average_precision=worst, missing=missing,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "claimed", "worst", "spread", "missing", "word"),
    [
        (None, 0.8, 0.78, 0.02, (), "holds"),
        (None, 0.8, 0.82, 0.02, (), "holds"),
        ("strength", 0.8, 0.78, 0.02, (), "holds"),
        (None, 0.8, 0.78, 0.02, ("no surrogate",), "inconclusive"),
        (None, 0.8, 0.78, 0.04, (), "inconclusive"),  # the claim may be 6 above what is left
        (None, 0.8, 0.74, 0.02, (), "overstated"),  # 6 above it, surely above
        (None, 0.8, 0.74, 0.07, (), "inconclusive"),  # 6 above it, or not at all
        (None, 0.8, 0.74, 0.02, ("no surrogate",), "overstated"),
        ("evaluation", 0.8, 0.78, 0.02, (), "overstated"),
        (None, 0.9, 0.66, 0.02, (), "broken"),  # less than half of 0.45 to 0.95 is left
        (None, 0.66, 0.66, 0.02, (), "broken"),
        (None, 0.7, 0.69, 0.02, (), "inconclusive"),  # half, or less, or more
        (None, 0.9, 0.66, 0.05, (), "overstated"),
        ("evaluation", 0.9, 0.66, 0.02, (), "broken"),
        ("masking", 0.8, 0.78, 0.02, (), "masked"),
        ("masking", 0.8, 0.45, 0.02, (), "masked"),
    ],
)
def test_the_rule_of_the_verdict(flag, claimed, worst, spread, missing, word) -> None:
    found = [finding(), finding("not run", test="absent")]
    found += [finding("flag", flag, "odd")] if flag else []
    verdict = judged(found, standing(claimed, worst, spread, missing))
    assert verdict.word == word
    assert f"{100 * worst:.1f} %" in verdict.sentence
    assert "not run: absent" in verdict.sentence
    assert ("odd" in verdict.sentence) == bool(flag)
    assert all(what in verdict.sentence for what in missing if word == "inconclusive")
    assert "suite" in verdict.advice


def test_what_another_audit_found_is_not_replaced(plain, clips, small, tmp_path) -> None:
    found = examine(plain, clips, config=small, tests=["margins"])
    found.save(tmp_path)
    found.save(tmp_path)
    other = examine(plain, clips, config=small, tests=["best-iterate"])
    before = (tmp_path / "audit.json").read_bytes()
    with pytest.raises(OutputExists, match=r"audit\.json: is there already, made with other"):
        other.save(tmp_path)
    assert (tmp_path / "audit.json").read_bytes() == before
    other.save(tmp_path, overwrite=True)
    assert (tmp_path / "audit.json").read_bytes() != before


def test_an_evaluation_in_code_is_like_no_other(talknet, tmp_path) -> None:
    def theirs(detector, batch, number):
        return batch

    write_synth(tmp_path / "data", SynthConfig(tracks=14, min_frames=6, max_frames=8))
    claim = Claim(perturb=theirs)
    line = {"split": "train", "out": tmp_path / "out", "config": TINY}
    audit(talknet, tmp_path / "data", claim=claim, **line)
    with pytest.raises(OutputExists, match="made with other settings"):
        audit(talknet, tmp_path / "data", claim=claim, **line)
    audit(talknet, tmp_path / "data", claim=claim, overwrite=True, **line)
    before = (tmp_path / "out" / "audit.json").stat().st_mtime_ns
    with pytest.raises(OutputExists):
        audit(talknet, tmp_path / "data", **line)
    assert (tmp_path / "out" / "audit.json").stat().st_mtime_ns == before
