"""Which faces are attacked together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pushpull.detection.clips import clip_grid
from pushpull.errors import ConfigError
from pushpull.schema import Track
from pushpull.video_attacks import segments
from pushpull.video_attacks.segments import segments_of


def moved(track, by_s, number):
    frames = round(by_s * 25)
    return Track(
        track_id=number,
        frames=track.frames + frames,
        timestamps_s=track.timestamps_s + by_s,
        boxes=track.boxes,
        detected=track.detected,
    )


def at_times(clips, starts_s):
    """The first face of a video, again and again from these times on."""
    tracks = tuple(moved(clips.footage.tracks[0], s, i) for i, s in enumerate(starts_s))
    sound = np.arange(round(16_000 * (max(starts_s) + 3)), dtype=np.float32)
    return replace(
        clips,
        footage=replace(clips.footage, tracks=tracks),
        grids=tuple(clip_grid(track.timestamps_s) for track in tracks),
        faces=(clips.faces[0],) * len(tracks),
        waveform=sound / 2**22,
    )


def test_people_on_screen_together_share_one_sound(two_people):
    (segment,) = segments_of(two_people)
    assert segment.tracks == (0, 1)
    assert len(segment.sound.waveform) == 1
    assert segment.batch.faces.shape[0] == 2


def test_faces_that_share_no_sample_are_apart_and_in_order_of_time(two_people):
    clips = at_times(two_people, [4.0, 0.0, 0.6, 8.0])
    found = segments_of(clips)
    assert [s.tracks for s in found] == [(1, 2), (0,), (3,)]
    for segment in found:
        for row, track in enumerate(segment.tracks):
            start, stop = clips.span(track)
            heard = segment.batch.waveform[row, : int(segment.batch.n_samples[row])]
            assert torch.equal(heard, torch.from_numpy(clips.waveform[start:stop]))
            assert int(segment.sound.starts[row]) == start - segment.first_sample


def test_a_face_between_two_that_never_meet_joins_them(two_people):
    clips = at_times(two_people, [0.0, 0.8, 1.6])
    assert [s.tracks for s in segments_of(clips)] == [(0, 1, 2)]


def test_sound_is_on_the_grid_of_int16(two_people):
    steps = two_people.waveform * 32768
    assert np.array_equal(steps, np.round(steps))
    assert two_people.waveform.max() < 1.0


def test_labels_stand_with_their_clips(two_people):
    labels = [np.full(len(g.frame_of_grid), i) for i, g in enumerate(two_people.grids)]
    (segment,) = [s.labelled(labels) for s in segments_of(two_people)]
    assert segment.batch.speaking is not None
    for row in range(2):
        n = int(segment.batch.n_frames[row])
        assert set(segment.batch.speaking[row, :n].tolist()) == {row}


def test_a_segment_beyond_memory_is_refused_with_advice(two_people, monkeypatch):
    monkeypatch.setattr(segments, "MOST_FRAMES", 10)
    with pytest.raises(ConfigError, match="attack a part: ffmpeg"):
        segments_of(two_people)
