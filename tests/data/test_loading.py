"""Batches: every track once, measured in frames, the same for any number of processes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushpull.data import Plan, loader, open_tracks
from pushpull.data.loading import batches_of, in_batches
from pushpull.errors import ConfigError, DatasetError

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=60)


@given(lengths, st.integers(1, 300), st.integers(1, 4), st.integers(0, 9))
def test_every_track_is_in_one_batch_of_like_length(n, batch_frames, share, seed) -> None:
    n_frames = np.array(n)
    rng = np.random.default_rng(seed)
    if len(n) < share:
        with pytest.raises(ConfigError, match="use fewer processes"):
            batches_of(n_frames, batch_frames, rng, share=share)
        return
    batches = batches_of(n_frames, batch_frames, rng, share=share)
    assert sorted(i for b in batches for i in b.tolist()) == list(range(len(n)))
    ranges = sorted((n_frames[b].min(), n_frames[b].max()) for b in batches)
    assert all(low[1] <= high[0] for low, high in pairwise(ranges))
    for members in batches:
        assert len(members) >= share
        padded = len(members) * n_frames[members].max()
        # At most what processes need, and what was left over, on top.
        if len(members) >= 2 * share:
            assert padded - share * n_frames[members].max() < batch_frames


def test_a_whole_split_is_in_batches_once(dataset) -> None:
    tracks = open_tracks(dataset, "train")
    batches = in_batches(tracks, 30)
    assert sorted(n for b in batches for n in b.n_frames.tolist()) == sorted(tracks.n_frames)
    assert all(b.faces.dtype == torch.uint8 for b in batches)
    few = in_batches(tracks, 30, limit=3)
    assert sorted(n for b in few for n in b.n_frames.tolist()) == sorted(tracks.n_frames[:3])


def loaded(dataset, workers=0, batch_frames=30, **plan):
    tracks = open_tracks(dataset, "train")
    batches, total = loader(
        tracks, Plan(batch_frames=batch_frames, seed=5, **plan), workers=workers
    )
    return list(batches), total


def equal(a, b) -> bool:
    names = ("waveform", "faces", "n_samples", "n_frames", "fps", "speaking")
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


def test_an_epoch_is_the_same_again_and_another_epoch_is_not(dataset) -> None:
    first, total = loaded(dataset, epoch=1)
    again, _ = loaded(dataset, epoch=1)
    other, _ = loaded(dataset, epoch=2)
    assert len(first) == total
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(equal(a, b) for a, b in zip(first, other, strict=False))


def test_the_rest_of_an_epoch_and_loader_processes_change_nothing(dataset) -> None:
    whole, total = loaded(dataset)
    rest, same_total = loaded(dataset, first=2)
    assert same_total == total
    assert all(equal(a, b) for a, b in zip(whole[2:], rest, strict=True))
    ahead, _ = loaded(dataset, workers=1)
    assert all(equal(a, b) for a, b in zip(whole, ahead, strict=True))


def test_two_processes_share_the_batches_of_one(dataset) -> None:
    whole, _ = loaded(dataset, batch_frames=64)
    assert all(len(batch.n_frames) > 1 for batch in whole)
    parts = [loaded(dataset, batch_frames=64, rank=r, world=2)[0] for r in (0, 1)]
    for together, one, two in zip(whole, *parts, strict=True):
        assert together.n_frames.tolist()[0::2] == one.n_frames.tolist()
        assert together.n_frames.tolist()[1::2] == two.n_frames.tolist()
        t = int(one.n_frames[0])
        assert torch.equal(one.faces[0, :t], together.faces[0, :t])
        t = int(two.n_frames[0])
        assert torch.equal(two.faces[0, :t], together.faces[1, :t])


class NoTracks:
    n_frames = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return 0


def test_an_empty_split_is_said() -> None:
    with pytest.raises(DatasetError, match="has no tracks"):
        loader(NoTracks(), Plan(batch_frames=10))
