"""What an audit attacks, and what its intervals are over."""

from dataclasses import replace

import numpy as np
import pytest
from support.audit_detectors import EPS, people

from pushpull.auditing import AuditClips, Claim, choose_clips, examine
from pushpull.auditing.page import audit_page
from pushpull.auditing.runs import AttackRuns
from pushpull.data import DatasetWriter, Example, open_tracks
from pushpull.metrics import bootstrap_precision
from pushpull.runtime.kept import Store


def of_pairs(count: int) -> AuditClips:
    """Clips of which two and two are of one person, and all of one video each."""
    named = people(count, seed=1)
    owners = {name: f"person {k // 2}" for k, (name, _) in enumerate(named)}
    return AuditClips.of(named, people=owners, videos={name: name for name, _ in named})


def test_tracks_of_one_person_are_drawn_together() -> None:
    clips = of_pairs(8)
    assert clips.drawn == "people"
    groups = {
        clips.people[int(track)]: set(clips.group[clips.track == track].tolist())
        for track in np.unique(clips.track)
    }
    assert len(groups) == 4
    for person, group in groups.items():
        same = [i for i, one in enumerate(clips.people) if one == person]
        assert len(same) == 2
        assert set(clips.group[np.isin(clips.track, same)].tolist()) == group
    assert clips.about()["drawn"] == 4


@pytest.mark.parametrize("names", [{}, {"t000": "ann"}, {f"t{k:03}": "ann" for k in range(6)}])
def test_where_people_are_not_known_or_all_one_tracks_are_drawn(names) -> None:
    clips = AuditClips.of(people(6, seed=1), people=names)
    assert clips.drawn == "tracks"
    assert np.array_equal(clips.group, clips.track)


def test_who_is_seen_is_no_part_of_what_is_attacked() -> None:
    # So that results of stages are found again.
    assert of_pairs(6).identity == AuditClips.of(people(6, seed=1)).identity


def test_an_audit_says_what_its_intervals_are_over(plain, small) -> None:
    clips = of_pairs(12)
    config = replace(small, draws=200)
    found = examine(plain, clips, eps=EPS, config=config, tests=["one-step"])
    alone = examine(
        plain, AuditClips.of(people(12, seed=1)), eps=EPS, config=config, tests=["one-step"]
    )
    assert (found.standing.interval_over, found.standing.drawn) == ("people", 6)
    assert (alone.standing.interval_over, alone.standing.drawn) == ("tracks", 12)
    # The same scores; the claim's interval is that of draws of people.
    one, other = (next(r for r in a.runs if r["name"] == "claim") for a in (found, alone))
    assert one["average_precision"] == other["average_precision"]
    assert one["interval"] != other["interval"]
    assert "over 6 people)" in found.verdict.sentence
    assert "over 12 tracks)" in alone.verdict.sentence
    record = found.as_dict()
    assert record["clips"]["interval_over"] == "people"
    assert "95 % over 6 people" in audit_page(record)


def test_draws_are_of_people(plain, small) -> None:
    clips = of_pairs(8)
    runs = AttackRuns(plain, clips, eps=EPS, claim=Claim(), config=small, store=Store(None, {}))
    scores = clips.scores(np.linspace(-1, 1, len(clips.speaking)))
    expected = bootstrap_precision(scores.score, scores.truth, clips.group, draws=small.draws)
    assert tuple(runs.rates(scores)["interval"]) == expected


def test_people_and_videos_come_from_the_data_set(tmp_path) -> None:
    examples = [
        Example(
            track_id=name,
            video_id=f"video {k // 3}",
            clip=clip,
            timestamps_s=np.arange(len(clip.faces)) / 25,
            boxes=np.tile([0.1, 0.1, 0.5, 0.5], (len(clip.faces), 1)),
        )
        for k, (name, clip) in enumerate(people(6, seed=1))
    ]
    writer = DatasetWriter(tmp_path / "set", made={"by": "test"})
    writer.write("test", 0, examples)
    writer.finish({"test": [0]})
    clips = choose_clips(open_tracks(tmp_path / "set", "test"), frames=3)
    assert clips.drawn == "videos"
    assert set(clips.videos) == {"video 0", "video 1"}
    assert clips.people == ("",) * 6
