"""A narrower picture that follows who speaks: what it shows, and that it is calm."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushpull.detection import ScoredTrack, plan_windows
from pushpull.detection.reframe import aspect_of, window_size
from pushpull.errors import ConfigError
from pushpull.media import probe, read_frames
from pushpull.schema import Track

FPS = 25
SIZE = {"width": 1280, "height": 720}


def face(number, left, spans, *, frames=range(250), size=100.0):
    """A face at one place, or at one for each frame, that speaks in some spans of seconds."""
    frames = np.array(frames)
    left = np.broadcast_to(np.asarray(left, float), len(frames))
    times_s = frames / FPS
    speaks = np.zeros(len(frames), bool)
    for a, b in spans:
        speaks |= (times_s >= a - 1e-9) & (times_s < b - 1e-9)
    track = Track(
        track_id=number,
        frames=frames,
        timestamps_s=times_s,
        boxes=np.stack([left, left * 0 + 200, left + size, left * 0 + 200 + size], 1),
        detected=np.ones(len(frames), bool),
    )
    return ScoredTrack(track=track, scores=np.where(speaks, 3.0, -3.0))


def shown(windows, faces, frame):
    """Which of some faces lie whole inside what is shown."""
    width, height = window_size(SIZE["width"], SIZE["height"], (9, 16))
    x, y = windows[frame]
    inside = []
    for one in faces:
        place = frame - int(one.track.frames[0])
        if 0 <= place < len(one.track):
            x1, y1, x2, y2 = one.track.boxes[place]
            if x <= x1 and x2 <= x + width and y <= y1 and y2 <= y + height:
                inside.append(one.track.track_id)
    return inside


def cuts_s(windows):
    frames = sorted(windows)
    return [
        b / FPS for a, b in itertools.pairwise(frames) if abs(windows[b][0] - windows[a][0]) > 100
    ]


@pytest.mark.parametrize(
    ("size", "aspect", "part"),
    [
        ((1920, 1080), (9, 16), (606, 1080)),
        ((1080, 1920), (9, 16), (1080, 1920)),
        ((720, 1280), (1, 1), (720, 720)),
        ((640, 360), (16, 9), (640, 360)),
        ((641, 361), (4, 5), (288, 360)),
        ((64, 48), (1, 1000), (2, 48)),
    ],
)
def test_the_window_is_the_largest_of_its_shape(size, aspect, part):
    assert window_size(*size, aspect) == part


def test_it_shows_who_speaks_and_after_the_turn_still_that_one():
    faces = [face(0, 100, [(0, 3)]), face(1, 1000, [(4, 7)])]
    windows = plan_windows(faces, **SIZE)
    assert sorted(windows) == list(range(250))
    assert [shown(windows, faces, round(t * FPS)) for t in (0.5, 2.9, 3.5, 4.1, 6.5, 9)] == [
        [0], [0], [0], [1], [1], [1]
    ]  # fmt: skip
    assert cuts_s(windows) == [4.0]


def test_it_does_not_cut_for_a_word_between_nor_for_the_end_of_a_turn():
    faces = [face(0, 100, [(0, 3), (3.4, 9)]), face(1, 1000, [(3.02, 3.34)])]
    assert cuts_s(plan_windows(faces, **SIZE)) == []
    # Both speak; when the first ends, the second has a moment left.
    faces = [face(0, 100, [(0, 5), (6, 9)]), face(1, 1000, [(3, 5.2)])]
    assert cuts_s(plan_windows(faces, **SIZE)) == []


def test_quick_exchanges_are_cut_at_most_every_two_seconds():
    first = [(k, k + 0.8) for k in range(0, 10, 2)]
    second = [(k + 1, k + 1.8) for k in range(0, 10, 2)]
    found = cuts_s(plan_windows([face(0, 100, first), face(1, 1000, second)], **SIZE))
    assert 2 <= len(found) <= 5
    assert min(np.diff(found)) >= 2


def test_where_a_face_is_gone_it_goes_on_at_once_with_who_speaks_next_or_the_largest():
    faces = [
        face(0, 100, [(0, 4)], frames=range(100)),
        face(1, 500, [], frames=range(100, 250), size=150.0),
        face(2, 1000, [(5, 9)], frames=range(100, 250)),
    ]
    windows = plan_windows(faces, **SIZE)
    assert cuts_s(windows) == [4.0]
    assert shown(windows, faces, 101) == [2]
    windows = plan_windows([*faces[:2], face(2, 1000, [], frames=range(100, 250))], **SIZE)
    assert shown(windows, faces, 101) == [1]


def test_a_face_that_wavers_leaves_the_window_still_and_one_that_walks_moves_it_slowly():
    rng = np.random.default_rng(0)
    wavering = face(0, 600 + rng.uniform(-60, 60, 250), [(0, 10)])
    assert len({*plan_windows([wavering], **SIZE).values()}) == 1
    walking = face(0, np.linspace(50, 1100, 250) + rng.normal(0, 6, 250), [(0, 10)])
    windows = plan_windows([walking], **SIZE)
    x = np.array([windows[k][0] for k in range(250)])
    assert np.abs(np.diff(x)).max() <= 8
    assert all(shown(windows, [walking], k) == [0] for k in range(250))
    # It does not tremble: a step back is no more than rounding.
    assert np.diff(x).min() >= -1


def test_without_faces_there_is_nothing_to_follow():
    assert plan_windows([], **SIZE) == {}


@given(
    st.integers(0, 10_000),
    st.sampled_from([(9, 16), (1, 1), (4, 5), (16, 9)]),
    st.sampled_from([(1280, 720), (720, 1280), (321, 241)]),
)
@example(seed=243, aspect=(9, 16), size=(321, 241))
def test_windows_lie_in_the_picture_and_a_mirrored_picture_has_mirrored_ones(seed, aspect, size):
    rng = np.random.default_rng(seed)
    width, height = size
    tracks, mirrored = [], []
    for number in range(rng.integers(1, 4)):
        n, first = int(rng.integers(1, 80)), int(rng.integers(0, 40))
        left = rng.uniform(-20, width - 20) + np.cumsum(rng.normal(0, 3, n))
        boxes = np.stack([left, left * 0 + 30, left + 60, left * 0 + 90], 1)
        for target, flipped in ((tracks, False), (mirrored, True)):
            there = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
            track = Track(
                track_id=number,
                frames=np.arange(first, first + n),
                timestamps_s=np.arange(first, first + n) / FPS,
                boxes=there if flipped else boxes,
                detected=np.ones(n, bool),
            )
            scores = np.repeat(np.random.default_rng([seed, number]).normal(0, 3, n // 10 + 1), 10)
            target.append(ScoredTrack(track=track, scores=scores[:n]))
    part = window_size(width, height, aspect)
    windows = plan_windows(tracks, width=width, height=height, aspect=aspect)
    assert windows.keys() == {int(f) for t in tracks for f in t.track.frames}
    for x, y in windows.values():
        assert 0 <= x <= width - part[0]
        assert 0 <= y <= height - part[1]
    other = plan_windows(mirrored, width=width, height=height, aspect=aspect)
    assert all(abs(other[k][0] - (width - part[0] - windows[k][0])) <= 1 for k in windows)
    assert all(other[k][1] == windows[k][1] for k in windows)


@pytest.mark.parametrize("text", ["", "9", "9:0", "00:16", "9:16:1", "-9:16", "9.5:16", "a:b"])
def test_a_shape_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="expected WIDTH:HEIGHT, such as 9:16"):
        aspect_of(text)


def test_the_command_writes_a_narrow_video_with_sound(pushpull, talking, tmp_path):
    out = tmp_path / "out"
    line = (
        "detect",
        talking,
        "-d",
        "synthetic-a",
        "--face-finder",
        "dlib",
        "--video",
        "none",
        "--json",
    )
    line += ("--out", out)
    code, text, err = pushpull(*line, "--reframe", "9:16")
    assert code == 0, err
    (record,) = json.loads(text)["videos"]
    path = out / "talking.reframed.mp4"
    assert record["outputs"]["reframed.mp4"] == str(path)
    info = probe(path)
    assert (info.width, info.height, info.n_frames) == (134, 240, 25)
    assert info.audio_codec == "aac"
    # The face is at 160 of 320 pixels, so the middle of the picture is what is shown.
    whole, part = (next(iter(read_frames(p))).rgb().astype(int) for p in (talking, path))
    errors = [np.abs(whole[:, x : x + 134] - part).mean() for x in range(187)]
    assert 80 <= int(np.argmin(errors)) <= 106
    assert min(errors) < 6
    code, _, err = pushpull(*line, "--reframe", "1:1")
    assert code == 2
    assert "talking.reframed.mp4: is there already, made with other settings (reframe" in err
    assert pushpull(*line, "--reframe", "narrow")[0] == 1
