"""Jobs of the reproduction by themselves."""

import pytest

from pushpull.data import open_tracks
from pushpull.reproduce.jobs import chosen_tracks


@pytest.mark.parametrize("balanced", [False, True])
def test_some_tracks_are_chosen_by_the_seed_or_all(dataset, balanced):
    tracks = open_tracks(dataset, "train")
    some = chosen_tracks(tracks, 4, seed=1, balanced=balanced)
    assert some == chosen_tracks(tracks, 4, seed=1, balanced=balanced)
    assert some == sorted(set(some))
    assert len(some) <= 4
    assert chosen_tracks(tracks, 0, seed=1, balanced=balanced) == list(range(len(tracks)))
