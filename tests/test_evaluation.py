"""Scores of a split: what is pooled, by case, under attack, and as files that `score` accepts."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import pushpull as pp
from pushpull.attacks.air import OverTheAir, Rooms
from pushpull.attacks.threat import Threat
from pushpull.attacks.universal import UniversalPattern
from pushpull.data import open_tracks
from pushpull.errors import ConfigError, DatasetError, PushPullError
from pushpull.evaluation import (
    Evaluation,
    TrackInfo,
    TrackScores,
    attacker,
    evaluate,
    pooled,
    score_tracks,
)
from pushpull.models.checkpoints import load
from pushpull.schema import Batch, FrameScores


def track(number, score, speaking, case="", video="v", person="") -> TrackScores:
    n = len(score)
    info = TrackInfo(
        number=number,
        track_id=f"t{number}",
        video_id=video,
        case=case,
        person=person,
        timestamps_s=np.arange(n) / 25,
        boxes=np.tile([0.0, 0.0, 1.0, 1.0], (n, 1)),
    )
    return TrackScores(
        info=info, scores=FrameScores.of_tracks([score], [speaking], numbers=[number])
    )


def evaluation(rows, attacked=None) -> Evaluation:
    return Evaluation(
        tracks=tuple(sorted((t.info for t in rows), key=lambda info: info.number)),
        clean=pooled(rows),
        adversarial=None if attacked is None else pooled(attacked),
        detector={"name": "a <b>"},
    )


ROWS = [
    track(4, [-1.0, -2.0], [0, 0], "silent"),
    track(0, [3.0, 1.0, -0.5], [1, 0, 1], "turns"),
]


def test_frames_are_pooled_in_the_order_of_the_split_and_cases_told_apart() -> None:
    found = evaluation(ROWS)
    assert found.clean.score.tolist() == [3.0, 1.0, -0.5, -1.0, -2.0]
    assert found.clean.track.tolist() == [0, 0, 0, 4, 4]
    # Ranked: speaking, silent, speaking, and two silent: precision 1 and 2/3.
    assert found.clean.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found.clean.accuracy == 0.6
    cases = found.by_case()
    assert list(cases) == ["silent", "turns"]
    assert (cases["silent"].average_precision, cases["silent"].accuracy) == (None, 1)
    assert cases["turns"].speaking_share == pytest.approx(2 / 3)
    assert evaluation([track(0, [1.0], [1])]).by_case() == {}


def test_a_record_holds_shares_and_intervals() -> None:
    record = evaluation(ROWS, [track(4, [1.0, 2.0], [0, 0]), track(0, [-3.0] * 3, [1, 0, 1])])
    record = record.as_dict(draws=50)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    low, high = record["clean"]["interval"]
    assert 0 <= low <= record["clean"]["average_precision"] <= high <= 1
    assert record["clean"]["by_case"]["silent"] == {
        "tracks": 1, "frames": 2, "speaking": 0, "accuracy": 1, "average_precision": None,
    }  # fmt: skip
    assert record["adversarial"]["accuracy"] == pytest.approx(1 / 5)
    assert "adversarial" not in evaluation(ROWS).as_dict(draws=0)


def test_intervals_are_over_what_is_independent() -> None:
    def rows(videos, people):
        scores = np.random.default_rng(0).normal(size=(4, 8))
        named = zip(videos, people, strict=True)
        return [
            track(k, scores[k] + [1, 0] * 4, [1, 0] * 4, video=video, person=person)
            for k, (video, person) in enumerate(named)
        ]

    for videos, people, unit in (
        ("abcd", "abcd", "tracks"),
        ("aabb", "abcd", "videos"),
        ("abcd", "aabb", "people"),
        ("aabb", ["a", "a", "b", ""], "videos"),
        ("aaaa", "aaaa", "tracks"),
        ("aaaa", ["", "", "", ""], "tracks"),
    ):
        found = evaluation(rows(videos, people))
        assert found.drawn == unit
        record = found.as_dict(draws=50)["clean"]
        assert record["interval_over"] == unit
        names = {"people": people, "videos": videos, "tracks": "abcd"}[unit]
        groups = np.repeat([*names], 8)
        assert tuple(record["interval"]) == found.clean.interval(draws=50, groups=groups)


def test_a_notebook_shows_escaped_percent() -> None:
    text = evaluation(ROWS)._repr_html_()
    assert "<b>" not in text
    assert "a &lt;b&gt;" in text
    assert "<td>60.0 %</td>" in text


def test_a_notebook_shows_the_result_first() -> None:
    found = evaluation(ROWS)
    clean = f"{100 * found.clean.average_precision:.1f} %"
    assert f": average precision {clean}</caption>" in found._repr_html_()
    fallen = FrameScores(
        score=-found.clean.score, speaking=found.clean.speaking, track=found.clean.track
    )
    attacked = replace(found, adversarial=fallen, attack={"attack": "<i>pgd</i>"})
    left = f"{100 * fallen.average_precision:.1f} %"
    shown = attacked._repr_html_()
    assert f"{clean}, under &lt;i&gt;pgd&lt;/i&gt; {left}</caption>" in shown


def test_each_track_gets_what_it_gets_alone(dataset, checkpoint) -> None:
    detector, tracks = load(checkpoint), open_tracks(dataset, "train")
    scored = {s.info.number: s for s in score_tracks(detector, tracks, batch_frames=40)}
    assert sorted(scored) == list(range(len(tracks)))
    for number in (0, 3, 9):
        example = tracks[number]
        with torch.no_grad():
            output = detector(**Batch.from_clips([example.clip]).inputs)
        found = scored[number]
        assert found.scores.score == pytest.approx(output.score[0].numpy(), abs=1e-4)
        assert found.scores.truth.tolist() == example.clip.speaking.tolist()
        assert set(found.scores.track.tolist()) == {number}
        assert found.info.case == example.case


def test_an_attack_lowers_what_it_attacks(dataset, checkpoint) -> None:
    detector, tracks = load(checkpoint), open_tracks(dataset, "val")

    def loss(perturb) -> float:
        scores = pooled(score_tracks(detector, tracks, perturb=perturb))
        return float(np.logaddexp(0, -scores.margin).mean())

    assert loss(attacker("bim", eps=20, steps=3)) > loss(None)


def test_a_pattern_is_in_every_track_and_rooms_are_held_out(dataset, checkpoint) -> None:
    detector, tracks = load(checkpoint), open_tracks(dataset, "val")
    pattern = UniversalPattern.random(Threat.of(100))
    example = tracks[0]
    batch = Batch.from_clips([example.clip])
    with torch.no_grad():
        wanted = detector(**pattern.apply(batch).inputs).score[0].numpy()
    scored = {s.info.number: s for s in score_tracks(detector, tracks, perturb=attacker(pattern))}
    assert scored[0].scores.score == pytest.approx(wanted, abs=1e-4)
    rooms = OverTheAir(rooms=Rooms(response_s=0.02), listeners=2)
    moved = attacker("fgsm", air=rooms, modality="audio", eps=100)(detector, batch, 0)
    assert torch.equal(moved.faces, batch.faces)
    assert not torch.equal(moved.waveform, batch.waveform)
    assert torch.equal(moved.speaking, batch.speaking)
    for wrong in ({"air": rooms}, {"eps": 5}):
        with pytest.raises(ConfigError, match="is given beside a universal pattern"):
            attacker(pattern, **wrong)
    with pytest.raises(ConfigError, match="air is given without an attack"):
        evaluate(detector, dataset, air=rooms)


def test_the_command_and_the_official_score_agree(dataset, checkpoint, pushpull, tmp_path) -> None:
    out = tmp_path / "out"
    code, _, err = pushpull(
        "evaluate", checkpoint, dataset, "--out", out, "--split", "train",
        "--attack", "pgd", "--steps", 2, "--limit", 4, "--json",
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((out / "results.json").read_text())
    asked = {"attack": "pgd", "seed": 0, "modality": "both", "objective": "all", "steps": 2}
    assert asked.items() <= record["attack"].items()
    assert record["attack"]["eps"] == {"audio": 0.0005, "visual": 0.5}
    assert record["data"]["made"]["by"] == "data synth"
    for kind in ("clean", "adversarial"):
        assert record[kind]["tracks"] == 4
        code, text, _ = pushpull("score", out / "truth.csv", out / f"{kind}.csv", "--json")
        assert code == 0
        score = json.loads(text)["average_precision"]
        assert score == pytest.approx(record[kind]["average_precision"], abs=1e-11)
    assert record["data"]["name"] == dataset.name
    assert str(dataset) not in (out / "results.json").read_text()
    code, text, _ = pushpull("evaluate", checkpoint, dataset, "--out", tmp_path / "whole")
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


class Drawn(torch.nn.Module):
    """Adds a number of Python's own generator."""

    def forward(self, waveform, faces):
        return faces.mean((2, 3)) - 128 + random.gauss(0, 1)


def test_scores_of_a_random_model_are_said_to_be_of_one_draw(dataset, checkpoint) -> None:
    found = pp.evaluate(pp.Detector.wrap(Drawn()), dataset, split="train", limit=2)
    assert [note.startswith("Drawn gives other scores") for note in found.notes] == [True]
    assert not pp.evaluate(checkpoint, dataset, split="train", limit=2).notes


@pytest.mark.parametrize("crop", ["ava", "demo"])
def test_who_shows_weights_another_crop_than_theirs_is_told(
    dataset, checkpoint, pushpull, tmp_path, crop
) -> None:
    root = tmp_path / "set"
    shutil.copytree(dataset, root)
    about = json.loads((root / "dataset.json").read_text())
    about["made"]["crop"] = crop
    (root / "dataset.json").write_text(json.dumps(about))
    code, text, _ = pushpull("evaluate", checkpoint, root, "--limit", 2, "--out", tmp_path / "out")
    assert code == 0
    notes = json.loads((tmp_path / "out/results.json").read_text())["notes"]
    assert ("note: faces of the set are cut as 'demo'" in text) == (crop == "demo")
    assert [f"does best with '{load(checkpoint).card.crop}'" in note for note in notes] == (
        [True] if crop == "demo" else []
    )
