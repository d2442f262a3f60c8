"""Which faces are attacked together."""

from dataclasses import replace

import numpy as np
import torch

from pushpull.detection.clips import clip_grid
from pushpull.schema import Track
from pushpull.video_attacks import SPACES
from pushpull.video_attacks.segments import by_face, segments_of


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
    tracks = tuple(moved(clips.tracks[0], s, i) for i, s in enumerate(starts_s))
    sound = np.arange(round(16_000 * (max(starts_s) + 3)), dtype=np.float32)
    return replace(
        clips,
        tracks=tracks,
        grids=tuple(clip_grid(track.timestamps_s) for track in tracks),
        faces=(clips.faces[0],) * len(tracks),
        waveform=sound / 2**22,
    )


def numbers_of(found):
    return [tuple(track.track_id for track in segment.clips.tracks) for segment in found]


def test_people_on_screen_together_share_one_sound(crop_segment):
    assert numbers_of([crop_segment]) == [(0, 1)]
    assert len(crop_segment.sound.waveform) == 1
    assert crop_segment.batch.faces.shape[0] == 2


def test_faces_that_share_no_sample_are_apart_and_in_order_of_time(two_people):
    clips = at_times(two_people, [4.0, 0.0, 0.6, 8.0])
    found = segments_of(clips, SPACES["crop"])
    assert numbers_of(found) == [(1, 2), (0,), (3,)]
    for segment in found:
        first, stop = segment.span
        sound = clips.waveform[first:stop]
        assert torch.equal(segment.sound.waveform, torch.from_numpy(sound)[None])
        assert np.array_equal(segment.heard({}), sound)
        for row, track in enumerate(segment.clips.tracks):
            start, stop = clips.span(track.track_id)
            heard = segment.batch.waveform[row, : int(segment.batch.n_samples[row])]
            assert torch.equal(heard, torch.from_numpy(clips.waveform[start:stop]))
            assert int(segment.sound.starts[row]) == start - first


def test_a_face_between_two_that_never_meet_joins_them(two_people):
    clips = at_times(two_people, [0.0, 0.8, 1.6])
    assert numbers_of(segments_of(clips, SPACES["crop"])) == [(0, 1, 2)]


def test_what_faces_have_comes_in_the_order_of_the_video(two_people):
    found = segments_of(at_times(two_people, [4.0, 0.0, 0.6, 8.0]), SPACES["crop"])
    assert by_face(found, [["b", "c"], ["a"], ["d"]]) == ["a", "b", "c", "d"]


def test_sound_is_on_the_grid_of_int16(two_people):
    steps = two_people.waveform * 32768
    assert np.array_equal(steps, np.round(steps))
    assert two_people.waveform.max() < 1.0


def test_valid_values_are_told_from_padding(two_people):
    track = two_people.tracks[1]
    short = replace(
        track,
        frames=track.frames[:10],
        timestamps_s=track.timestamps_s[:10],
        boxes=track.boxes[:10],
        detected=track.detected[:10],
    )
    clips = replace(
        two_people,
        tracks=(two_people.tracks[0], short),
        grids=(two_people.grids[0], clip_grid(short.timestamps_s)),
        faces=(two_people.faces[0], two_people.faces[1][:10]),
    )
    (segment,) = segments_of(clips, SPACES["crop"])
    rows = segment.rows(segment.batch.mask.double())
    assert [len(row) for row in rows] == [25, 10]
    assert all(row.all() for row in rows)
