"""Scores of a split: what is pooled, by case, under attack, and as files that `score` accepts."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushpull.data import open_tracks
from pushpull.errors import DatasetError, PushPullError, ShapeError
from pushpull.evaluation import TrackScore, attacker, score_tracks, summarised
from pushpull.metrics import average_precision, bootstrap_precision
from pushpull.models.checkpoints import load
from pushpull.schema import Batch


def track(number, score, speaking, case="") -> TrackScore:
    n = len(score)
    return TrackScore(
        number=number,
        track_id=f"t{number}",
        video_id="v",
        case=case,
        timestamps_s=np.arange(n) / 25,
        boxes=np.tile([0.0, 0.0, 1.0, 1.0], (n, 1)),
        speaking=np.array(speaking, bool),
        score=np.array(score, float),
    )


def test_frames_are_pooled_and_cases_told_apart() -> None:
    rows = [
        track(1, [-1.0, -2.0], [0, 0], "silent"),
        track(0, [3.0, 1.0, -0.5], [1, 0, 1], "turns"),
    ]
    found = summarised(rows)
    # Ranked: speaking, silent, speaking, and two silent: precision 1 and 2/3.
    assert found.map == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found.accuracy == pytest.approx(60)
    assert (found.tracks, found.frames) == (2, 5)
    assert found.by_case["silent"].map is None
    assert found.by_case["silent"].accuracy == 100
    assert found.by_case["turns"].speaking == pytest.approx(2 / 3)
    assert found.interval[0] <= found.map <= found.interval[1]
    alone = summarised(rows[:1])
    assert (alone.map, alone.interval, alone.accuracy) == (None, None, 100)


def test_each_track_gets_what_it_gets_alone(dataset, checkpoint) -> None:
    detector, tracks = load(checkpoint), open_tracks(dataset, "train")
    scored = {s.number: s for s in score_tracks(detector, tracks, batch_frames=40)}
    assert sorted(scored) == list(range(len(tracks)))
    for number in (0, 3, 9):
        example = tracks[number]
        with torch.no_grad():
            output = detector(**Batch.from_clips([example.clip]).inputs)
        assert scored[number].score == pytest.approx(output.score[0].numpy(), abs=1e-4)
        assert scored[number].speaking.tolist() == example.clip.speaking.tolist()
        assert scored[number].case == example.case


def test_an_attack_lowers_what_it_attacks(dataset, checkpoint) -> None:
    detector, tracks = load(checkpoint), open_tracks(dataset, "val")

    def loss(perturb) -> float:
        rows = list(score_tracks(detector, tracks, perturb=perturb))
        signed = [np.where(r.speaking, r.score, -r.score) for r in rows]
        return float(np.logaddexp(0, -np.concatenate(signed)).mean())

    assert loss(attacker("bim", eps=20, steps=3)) > loss(None)


def test_the_command_and_the_official_score_agree(dataset, checkpoint, pushpull, tmp_path) -> None:
    out = tmp_path / "out"
    code, _, err = pushpull(
        "evaluate", checkpoint, dataset, "--out", out, "--split", "train",
        "--attack", "pgd", "--steps", 2, "--limit", 4, "--json",
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((out / "results.json").read_text())
    assert record["attack"] == {
        "method": "pgd", "seed": 0, "eps": 5.0, "modality": "both", "norm": "linf",
        "objective": "all", "steps": 2,
    }  # fmt: skip
    assert record["data"]["made"]["by"] == "data synth"
    for kind in ("clean", "adversarial"):
        assert record[kind]["tracks"] == 4
        code, text, _ = pushpull("score", out / "truth.csv", out / f"{kind}.csv", "--json")
        assert code == 0
        assert json.loads(text)["map"] == pytest.approx(record[kind]["map"], abs=1e-9)
    code, text, _ = pushpull("evaluate", checkpoint, dataset, "--out", out)
    assert code == 0
    assert text.startswith("clean        accuracy ")
    assert "2 tracks" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--attack", "cw"], "unknown attack 'cw'"),
        (["--split", "dev"], "unknown split 'dev'"),
        (["--attack", "pgd", "--eps", "-1"], "eps of audio is -0.0001"),
        (["--attack", "pgd", "--objective", "dlr"], "unknown objective 'dlr'"),
    ],
)
def test_what_cannot_be_is_refused(
    dataset, checkpoint, pushpull, tmp_path, arguments, says
) -> None:
    code, _, err = pushpull("evaluate", checkpoint, dataset, "--out", tmp_path, *arguments)
    assert code in (1, 2)
    assert says in err
    assert "Traceback" not in err


def test_no_track_and_no_data_are_said(dataset, checkpoint, pushpull, tmp_path) -> None:
    with pytest.raises(DatasetError, match="has no tracks"):
        list(score_tracks(load(checkpoint), open_tracks(dataset, "val"), numbers=[]))
    code, _, err = pushpull("evaluate", checkpoint, tmp_path, "--out", tmp_path / "o")
    assert code == 1
    assert "holds no data set" in err
    assert issubclass(DatasetError, PushPullError)


@given(st.integers(0, 500), st.integers(2, 12))
def test_a_draw_of_every_track_once_is_the_score_itself(seed, n_tracks) -> None:
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(n_tracks), 6)
    score, speaking = rng.normal(size=len(of)), rng.uniform(size=len(of)) < 0.4
    speaking[:6] = True
    # All tracks alike: every draw of them is the same sample.
    score, speaking = np.tile(score[:6], n_tracks), np.tile(speaking[:6], n_tracks)
    score = score + np.repeat(np.arange(n_tracks), 6) * 1e-9
    low, high = bootstrap_precision(score, speaking, of, draws=20)
    assert low == high == pytest.approx(average_precision(score, speaking))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)

    def sample(n_tracks):
        # Frames of a track share most of their luck.
        luck = np.repeat(rng.normal(size=n_tracks), 10)
        speaking = np.repeat(rng.uniform(size=n_tracks) < 0.5, 10)
        score = 1.2 * speaking + 0.9 * luck + 0.4 * rng.normal(size=10 * n_tracks)
        return score, speaking, np.repeat(np.arange(n_tracks), 10)

    truth = average_precision(*sample(20_000)[:2])
    inside = 0
    for _ in range(100):
        low, high = bootstrap_precision(*sample(60), draws=200)
        inside += low <= truth <= high
    assert 85 <= inside <= 100
    # Frames taken for independent would be far too sure.
    score, speaking, of = sample(60)
    by_track = bootstrap_precision(score, speaking, of)
    by_frame = bootstrap_precision(score, speaking, np.arange(len(score)))
    assert by_track[1] - by_track[0] > 1.5 * (by_frame[1] - by_frame[0])


def test_bootstrap_refuses_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="expected"):
        bootstrap_precision([1.0, 2.0], [True, False], [0])
    with pytest.raises(ShapeError, match="is positive"):
        bootstrap_precision([1.0, 2.0], [False, False], [0, 1])
