"""How a synthetic set is divided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.data import SynthConfig
from pushpull.errors import ConfigError


@given(st.integers(3, 2000), st.floats(0.001, 0.499))
def test_every_split_has_a_track_and_all_are_used(tracks, held_out):
    counts = SynthConfig(tracks=tracks, held_out=held_out).counts
    assert min(counts.values()) >= 1
    assert sum(counts.values()) == tracks
    assert counts["val"] == counts["test"]


def test_fewer_tracks_than_splits_are_refused():
    with pytest.raises(ConfigError, match="at least 3 tracks"):
        SynthConfig(tracks=2)
