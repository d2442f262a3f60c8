"""A data set that is written shard by shard."""

import pickle
from pathlib import Path

import pytest

from pushpull.data import DatasetWriter, SynthConfig, open_tracks, synth_examples
from pushpull.errors import DatasetError, OutputExists

MADE = {"by": "a test", "seed": 3}
EXAMPLES = list(synth_examples(SynthConfig(tracks=6, min_frames=3, max_frames=4), "train"))


def test_shards_come_in_any_order_and_those_that_are_there_are_indexed(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, MADE)
    assert writer.write("train", 2, EXAMPLES[2:]) == 2
    assert writer.write("train", 0, EXAMPLES[:2]) == 2
    assert [writer.has("train", n) for n in range(3)] == [True, False, True]
    assert writer.finish({"train": range(3)}) == {"train": 4}
    assert open_tracks(tmp_path, "train").track_ids == [e.track_id for e in EXAMPLES]


def test_a_split_that_was_not_finished_cannot_be_opened(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, MADE)
    writer.write("train", 0, EXAMPLES)
    with pytest.raises(DatasetError, match="the split 'train' is not finished"):
        open_tracks(tmp_path, "train")
    writer.finish({"train": [0]})
    with pytest.raises(DatasetError, match="the split 'val' is not there; there is train"):
        open_tracks(tmp_path, "val")


def test_a_shard_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, MADE)

    def broken():
        yield EXAMPLES[0]
        raise DatasetError("no more")

    with pytest.raises(DatasetError, match="no more"):
        writer.write("train", 0, broken())
    assert not writer.has("train", 0)
    assert list((tmp_path / "train").iterdir()) == []


def test_it_travels_and_says_the_same_from_elsewhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    writer = DatasetWriter("mine", MADE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickle.loads(pickle.dumps(writer)).write("val", 0, EXAMPLES)
    assert writer.has("val", 0)
    assert (tmp_path / "mine/val/shard-00000.arrow").is_file()


def test_a_folder_made_of_anything_else_is_refused(tmp_path: Path) -> None:
    DatasetWriter(tmp_path, MADE)
    DatasetWriter(tmp_path, MADE)
    with pytest.raises(OutputExists, match=r"\(seed is 3 there and 4 here\); choose another"):
        DatasetWriter(tmp_path, {**MADE, "seed": 4})


@pytest.mark.parametrize(
    "name", ["dataset.json", "val/index.arrow", "test/shard-00007.arrow", "notes.json"]
)
def test_files_of_others_stay_unless_that_is_asked_for(tmp_path: Path, name) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(OutputExists, match=f"{name}: is there already and is of no data set"):
        DatasetWriter(tmp_path, MADE, more=["notes.json"])
    assert path.read_text() == "mine"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    DatasetWriter(tmp_path, MADE, more=["notes.json"], overwrite=True)
    assert not path.exists() or name == "dataset.json"


def test_a_data_set_begun_anew_holds_nothing_of_the_old_one(tmp_path: Path) -> None:
    old = DatasetWriter(tmp_path, MADE)
    old.write("train", 0, EXAMPLES)
    old.finish({"train": [0]})
    (tmp_path / "remarks.txt").write_text("mine")
    new = DatasetWriter(tmp_path, {**MADE, "seed": 4}, overwrite=True)
    assert not new.has("train", 0)
    assert (tmp_path / "remarks.txt").read_text() == "mine"
