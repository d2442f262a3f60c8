"""Tracks from detections: with a detector of coloured discs, and with a real one on a face."""

import numpy as np
import pytest

from pushpull.detection.face_finders import DlibHog, FaceBoxes
from pushpull.detection.tracking import find_tracks
from pushpull.media import Frame, read_frames
from pushpull.schema import Track
from pushpull.synthetic import demo_video

SIZE = (240, 320)
COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


class Discs:
    """Finds discs of known colours, one of each: a detector without errors."""

    name = "discs"
    scan_interval_s = 0.6
    sure = 0.5

    def detect(self, image):
        boxes = []
        for colour in COLOURS.values():
            rows, columns = np.nonzero((np.abs(image.astype(int) - colour) < 60).all(-1))
            if len(rows) > 30:
                edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                boxes.append(edges)
        return FaceBoxes(np.array(boxes, float).reshape(-1, 4), np.ones(len(boxes)))

    def detect_near(self, image, box):
        found = self.detect(image)
        middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        side = box[3] - box[1]
        near = np.abs(middle - (box[:2] + box[2:]) / 2).max(1, initial=0) < 1.1 * side
        return FaceBoxes(found.boxes[near], found.scores[near])


def scene(n, discs, *, fps=25, background=lambda i: 128):
    """Frames with discs: name -> (frame -> (x, y, radius) or None)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for i in range(n):
        image = np.full((*SIZE, 3), background(i), np.uint8)
        for name, where in discs.items():
            if (place := where(i)) is not None:
                cx, cy, radius = place
                image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = COLOURS[name]
        yield Frame.from_rgb(i, i / fps, image)


def centre(track):
    return (track.boxes[:, :2] + track.boxes[:, 2:]) / 2


def test_a_moving_face_is_followed_within_a_pixel_or_two():
    frames = scene(60, {"red": lambda i: (60 + 3 * i, 120, 30)})
    (track,) = find_tracks(frames, Discs())
    assert isinstance(track, Track)
    assert track.frames.tolist() == list(range(60))
    assert np.abs(centre(track)[:, 0] - (60 + 3 * track.frames)).max() < 3
    assert track.detected.mean() < 0.5


def test_crossing_and_neighbouring_faces_stay_apart():
    discs = {
        "red": lambda i: (80, 80, 28),
        "green": lambda i: (240, 90, 25),
        "blue": lambda i: (160, 190, 30),
    }
    tracks = find_tracks(scene(40, discs), Discs())
    assert [t.track_id for t in tracks] == [0, 1, 2]
    assert [len(t) for t in tracks] == [40, 40, 40]
    assert [round(centre(t)[20, 0], -1) for t in tracks] == [80, 160, 240]


def test_tracks_begin_and_end_with_what_is_seen():
    discs = {"red": lambda i: (100, 120, 30) if 23 <= i < 58 else None}
    (track,) = find_tracks(scene(90, discs), Discs())
    assert abs(int(track.frames[0]) - 23) <= 1
    assert 52 <= track.frames[-1] <= 57


def test_no_track_crosses_a_scene_cut():
    discs = {"red": lambda i: (100 if i < 31 else 110, 120, 30)}
    tracks = find_tracks(scene(60, discs, background=lambda i: 40 if i < 31 else 230), Discs())
    assert [(t.frames[0], t.frames[-1]) for t in tracks] == [(0, 30), (31, 59)]


def test_short_gaps_are_bridged_and_long_ones_are_not():
    def blinks(gap):
        return {"red": lambda i: None if 40 <= i < 40 + gap else (100, 120, 30)}

    assert len(find_tracks(scene(100, blinks(5)), Discs())) == 1
    assert len(find_tracks(scene(100, blinks(30)), Discs())) == 2


def test_what_is_seen_for_less_than_ten_frames_is_dropped():
    discs = {"red": lambda i: (100, 120, 30) if 20 <= i < 28 else None}
    assert find_tracks(scene(60, discs), Discs()) == []


def test_nothing_seen_and_no_frames_give_no_tracks():
    assert find_tracks(scene(30, {}), Discs()) == []
    assert find_tracks(iter(()), Discs()) == []


@pytest.mark.parametrize("fps", [10, 15, 30, 60])
def test_looks_go_by_time_not_by_frames(fps):
    frames = scene(2 * fps, {"red": lambda i: (60 + 100 * i / fps, 120, 30)}, fps=fps)
    (track,) = find_tracks(frames, Discs())
    assert len(track) == 2 * fps
    assert np.abs(centre(track)[:, 0] - (60 + 100 * track.timestamps_s)).max() < 3


def test_two_passes_give_the_same_tracks():
    discs = {"red": lambda i: (60 + 2 * i, 120, 30), "blue": lambda i: (230, 60, 25)}
    first, second = (find_tracks(scene(40, discs), Discs()) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.boxes, b.boxes)


def test_dlib_follows_both_people_of_the_demo_video(tmp_path):
    scene = demo_video(tmp_path / "demo.mp4", seed=3, duration_s=2.0)
    tracks = find_tracks(read_frames(tmp_path / "demo.mp4"), DlibHog())
    assert [len(t) for t in tracks] == [50, 50]
    for track, boxes in zip(tracks, scene.boxes, strict=True):
        middle = centre(track)
        assert ((middle > boxes[:, :2]) & (middle < boxes[:, 2:])).all()
