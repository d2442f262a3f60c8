"""Faces encoded while they are followed: the same scores, whatever was guessed."""

import itertools
import os
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushpull as pp
from pushpull.detection import ahead as module
from pushpull.detection import encode_tracks, find_faces, score_tracks
from pushpull.detection.ahead import Ahead, Encoders, Left, missing_spans, nearby, prefetched
from pushpull.detection.clips import CROPS, clip_grid
from pushpull.errors import MediaError
from pushpull.media import Part, VideoWriter, probe, read_frames, read_waveform
from pushpull.schema import Track


@pytest.fixture(scope="module")
def detector():
    return pp.load("synthetic-a")


@pytest.fixture
def again(monkeypatch):
    """How many places were encoded again, and of how many."""
    counted = []
    finish = Ahead.finish

    def counting(self, parts):
        known = finish(self, parts)
        counted.append((sum(int((~k.good).sum()) for k in known), sum(len(k.good) for k in known)))
        return known

    monkeypatch.setattr(Ahead, "finish", counting)
    return counted


def afterwards(path, detector, finder="dlib", **asked):
    """Scores of the same faces, all encoded when they are known."""
    footage = find_faces(path, face_finder=finder, allow_silent=True, **asked)
    crop, n_frames = CROPS[detector.card.crop], footage.n_frames
    part = asked.get("part", footage.part)
    encoded = encode_tracks(path, footage.tracks, detector, crop, n_frames, part=part)
    return score_tracks(encoded, footage.waveform, detector, start_s=part.start_s)


def assert_same(found, expected):
    assert len(found.tracks) == len(expected)
    for one, other in zip(found.tracks, expected, strict=True):
        np.testing.assert_array_equal(one.track.boxes, other.track.boxes)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def retimed(source, path, fps, stamp=lambda k, fps: k / fps):
    """The pictures of a video at another rate."""
    info = probe(source)
    sound = read_waveform(source)
    with VideoWriter(path, width=info.width, height=info.height, fps=fps, audio=sound) as video:
        for frame in read_frames(source):
            video.write(frame.rgb(), stamp(frame.index, fps))
    return path


@pytest.mark.parametrize("fps", [12.5, 25, 30000 / 1001, 50, 60])
@pytest.mark.parametrize("threads", [2])
def test_scores_are_those_of_encoding_afterwards(talking, tmp_path, detector, again, fps, threads):
    """At rates that a detector sees as they are, and at others; nothing has to be done again."""
    path = retimed(talking, tmp_path / "video.mp4", fps)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = pp.detect(path, detector, face_finder="dlib", allow_silent=True)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_same(found, afterwards(path, detector))
    ((missing, total),) = again
    assert total > 0
    assert missing <= 0.2 * total


def test_a_part_and_a_hole_and_uneven_stamps(talking, tmp_path, detector):
    hole = retimed(talking, tmp_path / "hole.mp4", 25, stamp=lambda k, fps: k / fps + 3 * (k >= 20))
    uneven = retimed(
        talking, tmp_path / "uneven.mp4", 25, stamp=lambda k, fps: (k + 0.4 * (k % 3)) / fps
    )
    for path in (hole, uneven):
        found = pp.detect(path, detector, face_finder="dlib", allow_silent=True)
        assert_same(found, afterwards(path, detector))
    part = Part(0.4, 1.5)
    found = pp.detect(talking, detector, face_finder="dlib", part=part)
    assert_same(found, afterwards(talking, detector, part=part))


@pytest.mark.parametrize("guess", ["pictures gone", "boxes differ", "half known"])
def test_what_was_guessed_wrongly_is_done_again(talking, detector, again, monkeypatch, guess):
    if guess == "pictures gone":
        monkeypatch.setattr(module, "KEPT_BYTES", 5 * 320 * 240)
    elif guess == "boxes differ":
        right = Ahead.boxes
        monkeypatch.setattr(Ahead, "boxes", lambda *a: right(*a) + 5)
    else:
        right = Ahead.boxes

        def half(self, trail, times_s, frames):
            boxes = right(self, trail, times_s, frames)
            boxes[np.array(frames) % 40 >= 20] += 5
            return boxes

        monkeypatch.setattr(Ahead, "boxes", half)
    found = pp.detect(talking, detector, face_finder="dlib")
    assert_same(found, afterwards(talking, detector))
    ((missing, total),) = again
    assert 0 < missing <= total
    assert (missing == total) == (guess != "half known")


def test_a_window_that_fails_ends_the_work():
    with Encoders(1) as encoders:

        def fail():
            raise MemoryError("no room")

        first = encoders.run(fail)
        with pytest.raises(MemoryError):
            first.result(5)
        with pytest.raises(MemoryError, match="no room"):
            encoders.run(lambda: torch.zeros(1))
    assert torch.get_num_threads() == encoders.threads


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only processes have a niceness")
def test_encoders_let_what_follows_faces_go_first(detector):
    def niceness() -> torch.Tensor:
        return torch.tensor(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    ours = niceness()
    torch.set_num_threads(2)
    try:
        with Encoders.beside(detector) as pool:
            assert pool.run(niceness).result() > ours
    finally:
        torch.set_num_threads(1)
    # Live, who is late is late for all: there none goes first.
    with Encoders(1) as pool:
        assert pool.run(niceness).result() == ours
    assert niceness() == ours


def test_encoders_are_never_far_behind():
    go, begun = threading.Event(), []
    with Encoders(2) as encoders:

        def wait():
            go.wait(30)
            return torch.zeros(1)

        def push():
            for k in range(12):
                encoders.run(wait)
                begun.append(k)

        pusher = threading.Thread(target=push)
        pusher.start()
        pusher.join(0.5)
        assert len(begun) == 8
        go.set()
        pusher.join(30)
        assert len(begun) == 12


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(0, 8))
def test_spans_hold_all_that_is_missing_and_are_apart(good, context):
    spans = missing_spans(np.array(good), context)
    inside = np.zeros(len(good), bool)
    for begin, end in spans:
        assert not good[begin]
        assert not good[end - 1]
        inside[begin:end] = True
    assert not (~inside & ~np.array(good)).any()
    assert all(b - a > 2 * context for (_, a), (b, _) in itertools.pairwise(spans))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 50)), max_size=12))
def test_passes_hold_each_stretch_once(stretches):
    def left(start, n):
        track = Track(
            track_id=0,
            frames=np.arange(start, start + n),
            timestamps_s=np.arange(start, start + n) / 25,
            boxes=np.array([[40.0, 20.0, 90.0, 85.0]] * n),
            detected=np.ones(n, bool),
        )
        return Left(track, clip_grid(track.timestamps_s), (0, n), of=0, context=6)

    groups = nearby([left(*one) for one in stretches])
    assert sorted(k for group in groups for k in group) == list(range(len(stretches)))


def test_pictures_are_decoded_ahead_in_order_and_errors_come_through(talking, tmp_path):
    plain = [(f.index, f.time_s, f.rgb().sum(), f.gray().sum()) for f in read_frames(talking)]
    ahead = prefetched(read_frames(talking))
    assert [(f.index, f.time_s, f.rgb().sum(), f.gray().sum()) for f in ahead] == plain
    before = threading.active_count()
    some = prefetched(read_frames(talking))
    next(some)
    some.close()
    assert threading.active_count() == before
    with pytest.raises(MediaError, match="no such file"):
        list(prefetched(read_frames(tmp_path / "gone.mp4")))
