"""Packed tracks come back bit for bit; what is unfinished, damaged or foreign is said."""

import multiprocessing
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pushpull.data import (
    PackedTracks,
    SynthConfig,
    faults,
    open_tracks,
    splits_of,
    write_synth,
)
from pushpull.data.storage import read_about, shard_path, write_about, write_index, write_shard
from pushpull.data.synth import synth_example
from pushpull.errors import DatasetError, OutputExists, UnknownName

CONFIG = SynthConfig(tracks=14, seed=3, min_frames=6, max_frames=12)


def same(a, b) -> bool:
    return (
        (a.track_id, a.video_id, a.person, a.case, a.clip.fps)
        == (b.track_id, b.video_id, b.person, b.case, b.clip.fps)
        and torch.equal(a.clip.faces, b.clip.faces)
        and torch.equal(a.clip.waveform, b.clip.waveform)
        and torch.equal(a.clip.speaking, b.clip.speaking)
        and np.array_equal(a.timestamps_s, b.timestamps_s)
        and np.array_equal(a.boxes, b.boxes)
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_what_is_read_is_what_was_rendered(dataset, split) -> None:
    tracks = open_tracks(dataset, split)
    assert len(tracks) == CONFIG.counts[split]
    for i in reversed(range(len(tracks))):
        assert same(tracks[i], synth_example(CONFIG, split, i))
        assert tracks.n_frames[i] == len(tracks[i].clip.faces)
        assert tracks.track_ids[i] == tracks[i].track_id


def test_a_reader_can_be_sent_to_another_process(dataset) -> None:
    tracks = open_tracks(dataset, "train")
    assert same(pickle.loads(pickle.dumps(tracks))[3], tracks[3])


def test_tensors_do_not_write_into_the_file(dataset) -> None:
    tracks = open_tracks(dataset, "val")
    before = tracks[0].clip.faces.clone()
    tracks[0].clip.faces.fill_(7)
    assert torch.equal(tracks[0].clip.faces, before)


def written(root, examples):
    (root / "train").mkdir(parents=True)
    write_about(root, {"by": "a test"})
    write_shard(shard_path(root, "train", 0), examples)
    return root


def test_a_clip_on_the_mapped_file_is_the_track_and_never_written_back(dataset) -> None:
    tracks = PackedTracks(dataset, "train")
    before = shard_path(dataset, "train", 0).read_bytes()
    whole, clip = tracks[0].clip, tracks.clip(0)
    assert torch.equal(clip.faces, whole.faces)
    assert torch.equal(clip.waveform, whole.waveform)
    assert torch.equal(clip.speaking, whole.speaking)
    assert clip.fps == whole.fps
    clip.faces.fill_(7)
    assert shard_path(dataset, "train", 0).read_bytes() == before
    assert torch.equal(PackedTracks(dataset, "train").clip(0).faces, whole.faces)
    # The mapping lives as long as what lies on it.
    del tracks
    assert int(clip.faces.sum()) == 7 * clip.faces.numel()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_no_file_stays_open_behind_a_shard(dataset) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    readers = [PackedTracks(dataset, "train") for _ in range(20)]
    assert all(len(reader.clip(0).faces) for reader in readers)
    assert open_files() == before


def test_two_tracks_of_one_name_are_refused(tmp_path) -> None:
    example = synth_example(CONFIG, "train", 0)
    root = written(tmp_path, [example, example])
    with pytest.raises(DatasetError, match="two tracks are named 'train-000000:1'"):
        write_index(root, "train", [0])


def test_a_split_without_an_index_is_unfinished(tmp_path) -> None:
    root = written(tmp_path, [synth_example(CONFIG, "train", 0)])
    with pytest.raises(DatasetError, match="'train' is not finished"):
        open_tracks(root, "train")
    with pytest.raises(DatasetError, match="'val' is not there; there is no split at all"):
        open_tracks(root, "val")
    with pytest.raises(DatasetError, match="holds no finished split"):
        splits_of(root)
    write_index(root, "train", [0])
    assert splits_of(root) == ["train"]
    with pytest.raises(UnknownName, match="unknown split 'dev'"):
        PackedTracks(root, "dev")


def test_a_missing_or_damaged_shard_is_named(tmp_path) -> None:
    root = written(tmp_path, [synth_example(CONFIG, "train", i) for i in range(2)])
    write_index(root, "train", [0])
    path = shard_path(root, "train", 0)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"shard-00000\.arrow: is missing or damaged"):
        open_tracks(root, "train")[0]
    path.unlink()
    with pytest.raises(DatasetError, match=r"shard-00000\.arrow: is missing or damaged"):
        open_tracks(root, "train")[1]


def test_a_folder_that_is_no_data_set_is_said(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"holds no data set; expected dataset\.json"):
        open_tracks(tmp_path, "train")
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match="is no record of kind 'dataset'"):
        read_about(tmp_path)
    (tmp_path / "dataset.json").write_text('{"kind": "dataset", "schema_version": 99}')
    with pytest.raises(DatasetError, match="has schema version 99"):
        read_about(tmp_path)


def test_a_stopped_rendering_goes_on_and_another_one_is_refused(tmp_path) -> None:
    config = SynthConfig(tracks=5, seed=1, min_frames=2, max_frames=4)
    write_synth(tmp_path, config)
    kept, lost = shard_path(tmp_path, "train", 0), shard_path(tmp_path, "val", 0)
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / "val" / "index.arrow").unlink()
    counts = []
    write_synth(tmp_path, config, workers=2, progress=lambda _, done, total: counts.append(done))
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == stamp
    assert counts == [4, 5]
    with pytest.raises(OutputExists, match="holds a data set made otherwise"):
        write_synth(tmp_path, replace(config, seed=2))


def test_one_process_per_core_starts_none_for_few_tracks(tmp_path) -> None:
    config = SynthConfig(tracks=6, seed=1, min_frames=2, max_frames=4)
    begun = []
    for workers in (0, 2):
        write_synth(
            tmp_path / str(workers),
            config,
            workers=workers,
            progress=lambda *_: begun.append(len(multiprocessing.active_children())),
        )
    assert begun[:4] == [0, 0, 0, 0]
    assert begun[5] > 0
    one, two = (shard_path(tmp_path / str(workers), "train", 0) for workers in (0, 2))
    assert one.read_bytes() == two.read_bytes()


def flip(path, at, *, bit=0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def small(tmp_path, n=3):
    root = written(tmp_path, [synth_example(CONFIG, "train", i) for i in range(n)])
    write_index(root, "train", [0])
    return root, shard_path(root, "train", 0)


def test_a_value_that_changed_is_told_by_its_checksum(tmp_path) -> None:
    root, path = small(tmp_path)
    tracks = open_tracks(root, "train")
    assert tracks.has_checksums
    assert tracks.damaged() == {}
    # One grey level of one face: all can still be read.
    face = tracks[1].clip.faces[2].numpy().tobytes()
    flip(path, path.read_bytes().index(face) + 5000, bit=6)
    assert list(faults(open_tracks(root, "train"))) == []
    assert open_tracks(root, "train").damaged() == {
        path: "has another checksum than when it was made"
    }
    path.unlink()
    assert "cannot be read" in open_tracks(root, "train").damaged()[path]


@pytest.mark.parametrize("file", ["shard-00000.arrow", "index.arrow"])
def test_no_damage_ends_the_process_or_raises_anything_else(tmp_path, file) -> None:
    """Bits of headers, where Arrow keeps lengths and places; each in a process of its own."""
    root, _ = small(tmp_path)
    path = root / "train" / file
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    ends = np.concatenate([np.arange(2000), len(whole) - 1 - np.arange(2000)])
    for at in rng.choice(ends[ends < len(whole)], 60, replace=False):
        flip(path, at, bit=int(rng.integers(8)))
        child = os.fork()
        if not child:
            code = 1
            try:
                tracks = open_tracks(root, "train")
                tracks.damaged()
                list(faults(tracks))
                code = 0
            except DatasetError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, at
        path.write_bytes(whole)


def test_an_index_that_says_something_else_than_the_shard_is_damage(tmp_path) -> None:
    root, path = small(tmp_path)
    other, _ = small(tmp_path / "other", n=2)
    (root / "train" / "index.arrow").write_bytes((other / "train" / "index.arrow").read_bytes())
    assert list(open_tracks(root, "train").damaged()) == [path]
    write_shard(path, [synth_example(CONFIG, "train", i) for i in (1, 0, 2)])
    with pytest.raises(DatasetError, match=r"shard-00000\.arrow: is damaged \(track_id is"):
        open_tracks(root, "train")[0]


def test_an_index_without_checksums_is_read_as_ever(tmp_path) -> None:
    root, _ = small(tmp_path)
    index = root / "train" / "index.arrow"
    table = pa.ipc.open_file(str(index)).read_all().replace_schema_metadata(None)
    with pa.ipc.new_file(str(index), table.schema) as writer:
        writer.write_table(table)
    tracks = open_tracks(root, "train")
    assert not tracks.has_checksums
    assert tracks.damaged() == {}
    assert same(tracks[0], synth_example(CONFIG, "train", 0))
