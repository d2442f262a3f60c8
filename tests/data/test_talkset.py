"""Sets of talking-head clips: voice where it is heard, people held out, what fails is named."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushpull.data import open_tracks
from pushpull.data.talkset import (
    KINDS,
    Source,
    TalksetConfig,
    read_sources,
    sources_in,
    split_people,
    write_talkset,
)
from pushpull.errors import ConfigError, DatasetError
from pushpull.media import VideoWriter, probe, read_frames, read_waveform
from pushpull.synthetic import Case, one_face_video


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    for k, person in enumerate(("ann", "bob", "cem", "dia")):
        (folder / person).mkdir()
        one_face_video(
            folder / person / f"{person}.mp4", seed=k, duration_s=1.6, size=(320, 240),
            case=Case.SPEAKING,
        )  # fmt: skip
    return folder


def test_a_folder_becomes_a_set_with_people_held_out(clips, tmp_path, pushpull) -> None:
    root = tmp_path / "set"
    arguments = ("data", "talkset", clips, "--out", root, "--face-finder", "dlib", "--negatives", 3)
    code, out, err = pushpull(*arguments)
    assert code == 0, err
    people = {}
    kinds = set()
    for split in ("train", "val", "test"):
        tracks = open_tracks(root, split)
        for i in range(len(tracks)):
            example = tracks[i]
            people.setdefault(example.person, set()).add(split)
            kinds.add(example.case)
            if example.case != "own":
                assert not example.clip.speaking.any()
            else:
                assert example.clip.speaking.float().mean() > 0.3
            if example.case == "silence":
                assert float(example.clip.waveform.abs().max()) < 1e-3
                assert bool(example.clip.waveform.any())
    assert set(people) == {"ann", "bob", "cem", "dia"}
    assert all(len(splits) == 1 for splits in people.values())
    assert kinds == set(KINDS)
    # A second run finds everything done.
    before = {p: p.stat().st_mtime_ns for p in root.rglob("shard-*")}
    assert pushpull(*arguments)[:2] == (0, out)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("shard-*")} == before
    code, _, err = pushpull(*arguments, "--seed", 1)
    assert code == 2
    assert "made otherwise" in err
    code, text, _ = pushpull("data", "verify", root)
    assert code == 0, text


def delayed(path, target, delay_s):
    """The same pictures and sound, that much later; the sound begins at 0 with silence."""
    info, sound = probe(path), read_waveform(path)
    before = np.zeros(round(delay_s * 16_000), np.float32)
    with VideoWriter(
        target,
        width=info.width,
        height=info.height,
        fps=info.fps,
        audio=np.concatenate([before, sound]),
        codec="ffv1-colour",
        matrix=info.matrix,
    ) as writer:
        for frame in read_frames(path):
            writer.write(frame.ycc(), frame.time_s + delay_s)


def test_a_picture_that_begins_late_has_the_same_sound_and_labels(clips, tmp_path) -> None:
    found = {}
    for name, delay_s in (("at once", 0.0), ("late", 1.5)):
        sources = []
        for person in ("ann", "bob", "cem"):
            target = tmp_path / name / f"{person}.mkv"
            target.parent.mkdir(exist_ok=True)
            delayed(clips / person / f"{person}.mp4", target, delay_s)
            sources.append(Source(path=target, person=person))
        root = tmp_path / f"set {name}"
        write_talkset(sources, root, TalksetConfig(negatives=0, face_finder="dlib"))
        tracks = [open_tracks(root, split)[0] for split in ("train", "val", "test")]
        found[name] = {track.person: track for track in tracks}
    for person, early in found["at once"].items():
        late = found["late"][person]
        assert torch.equal(early.clip.faces, late.clip.faces)
        assert torch.equal(early.clip.waveform, late.clip.waveform)
        assert torch.equal(early.clip.speaking, late.clip.speaking)
        assert late.timestamps_s == pytest.approx(early.timestamps_s + 1.5, abs=2e-3)


def test_negatives_keep_the_faces_of_their_clip(clips, tmp_path) -> None:
    sources = sources_in(clips, {".mp4"})
    write_talkset(sources, tmp_path, TalksetConfig(negatives=2, face_finder="dlib"))
    tracks = open_tracks(tmp_path, "train")
    by_name = {tracks.track_ids[i]: tracks[i] for i in range(len(tracks))}
    own = {n.rsplit(":", 1)[0]: e for n, e in by_name.items() if e.case == "own"}
    assert len(by_name) == 3 * len(own)
    for name, example in by_name.items():
        mine = own[name.rsplit(":", 1)[0]]
        assert torch.equal(example.clip.faces, mine.clip.faces)
        if example.case == "shifted":
            a, b = example.clip.waveform, mine.clip.waveform
            assert not torch.equal(a, b)
            assert torch.equal(a.sort().values, b.sort().values)


def test_a_clip_that_cannot_be_used_is_named_and_the_rest_is_done(
    clips, tmp_path, pushpull
) -> None:
    folder = tmp_path / "clips"
    for path in clips.rglob("*.mp4"):
        (folder / path.parent.name).mkdir(parents=True)
        (folder / path.parent.name / path.name).symlink_to(path)
    (folder / "ann" / "broken.mp4").write_bytes(b"no video")
    root = tmp_path / "set"
    code, out, err = pushpull("data", "talkset", folder, "--out", root, "--face-finder", "dlib")
    assert code == 1
    assert "broken.mp4" in err
    assert "1 of 5 clips could not be used" in err
    assert "train" in out
    assert open_tracks(root, "train")


def test_people_come_from_a_csv(clips, tmp_path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("file,person,speaks\nann/ann.mp4,A,no\nbob/bob.mp4,B,yes\n")
    assert read_sources(table, clips) == [
        Source(path=clips / "ann/ann.mp4", person="A", speaks=False),
        Source(path=clips / "bob/bob.mp4", person="B"),
    ]
    for text, says in (
        ("file,person\nnone.mp4,A\n", r"line 2: .*none\.mp4 is not there"),
        ("file,person,speaks\nann/ann.mp4,A,maybe\n", "line 2: got .* with yes or no"),
        ("name\nx\n", "line 2: got .*expected the columns file, person"),
    ):
        table.write_text(text)
        with pytest.raises(DatasetError, match=says):
            read_sources(table, clips)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_sources(tmp_path / "none.csv", clips)


@given(st.integers(3, 40), st.floats(0.01, 0.49), st.integers(0, 99))
def test_every_split_has_people_and_nobody_is_in_two(n, held_out, seed) -> None:
    people = [f"p{i}" for i in range(n)]
    splits = split_people(people, TalksetConfig(seed=seed, held_out=held_out))
    assert set(splits) == set(people)
    counts = [list(splits.values()).count(s) for s in ("train", "val", "test")]
    assert min(counts) >= 1
    assert counts[1] == counts[2]


def test_what_cannot_be_is_refused(tmp_path, pushpull) -> None:
    two = [Source(path=tmp_path / f"{p}.mp4", person=p) for p in "ab"]
    with pytest.raises(ConfigError, match="2 people; expected at least 3"):
        write_talkset(two, tmp_path / "out", TalksetConfig())
    same = [Source(path=tmp_path / p / "x.mp4", person=p) for p in "abc"]
    with pytest.raises(ConfigError, match=r"two clips are named 'x\.mp4'"):
        write_talkset(same, tmp_path / "out", TalksetConfig())
    for settings in ({"negatives": 4}, {"held_out": 0.7}, {"max_frames": 3}, {"crop": "none"}):
        with pytest.raises(ConfigError):
            TalksetConfig(**settings)
    code, _, err = pushpull("data", "talkset", tmp_path, "--out", tmp_path / "out")
    assert code == 1
    assert "holds no video" in err
