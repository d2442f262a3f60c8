"""Scores of a split: what is pooled, by case, under attack, and as files that `score` accepts."""

import json

import numpy as np
import pytest
import torch

from pushpull.data import open_tracks
from pushpull.errors import DatasetError, PushPullError
from pushpull.evaluation import TrackScore, attacker, score_tracks, summarised
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
        assert 100 * json.loads(text)["average_precision"] == pytest.approx(
            record[kind]["map"], abs=1e-9
        )
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
