"""Tracks from detections: with a detector of coloured discs, and with a real one on a face."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    sure = sure_large = 0.5

    def detect(self, image, *, smallest_px=40.0):
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


class EveryTime(Discs):
    """The same, looking at every picture."""

    scan_interval_s = 0.0


def noise(seed):
    """Blobs, in no colour of a disc."""
    coarse = np.random.default_rng(seed).integers(60, 160, (9, 12), np.uint8)
    grey = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    return np.repeat(grey[..., None], 3, axis=2)


def scene(n, discs, *, fps=25, background=lambda i: 128):
    """Frames with discs: name -> (frame -> (x, y, radius) or None)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for i in range(n):
        image = np.empty((*SIZE, 3), np.uint8)
        image[:] = background(i)
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


def spans(tracks):
    return [(int(t.frames[0]), int(t.frames[-1])) for t in tracks]


def test_neighbouring_faces_stay_apart():
    discs = {
        "red": lambda i: (80, 80, 28),
        "green": lambda i: (240, 90, 25),
        "blue": lambda i: (160, 190, 30),
    }
    tracks = find_tracks(scene(40, discs), Discs())
    assert [t.track_id for t in tracks] == [0, 1, 2]
    assert spans(tracks) == [(0, 39)] * 3
    assert [round(centre(t)[20, 0], -1) for t in tracks] == [80, 160, 240]


@pytest.mark.parametrize("speed", [80, 140, 200])
def test_crossing_faces_keep_their_numbers(speed):
    n = round(25 * 240 / speed)
    discs = {
        "red": lambda i: (40 + speed * i / 25, 120, 26),
        "green": lambda i: (280 - speed * i / 25, 122, 26),
    }
    first, second = find_tracks(scene(n, discs), Discs())
    assert spans([first, second]) == [(0, n - 1)] * 2
    assert centre(first)[-1, 0] == pytest.approx(discs["red"](n - 1)[0], abs=3)
    assert centre(second)[-1, 0] == pytest.approx(discs["green"](n - 1)[0], abs=3)


def test_tracks_begin_and_end_with_what_is_seen():
    discs = {"red": lambda i: (100, 120, 30) if 23 <= i < 58 else None}
    (track,) = find_tracks(scene(90, discs), Discs())
    assert abs(int(track.frames[0]) - 23) <= 1
    assert 52 <= track.frames[-1] <= 57


@pytest.mark.parametrize("speed", [200, 300, 400])
def test_who_walks_in_fast_is_followed_from_the_first_frame(speed):
    discs = {"red": lambda i: (10 + speed * (i - 13) / 25, 120, 25) if i >= 13 else None}
    n = 13 + round(25 * 270 / speed)
    (track,) = find_tracks(scene(n, discs), Discs())
    assert spans([track]) == [(13, n - 1)]
    way = 10 + speed * (track.frames - 13) / 25
    inside = way > 80
    assert np.abs(centre(track)[inside, 0] - way[inside]).max() < 4


@pytest.mark.parametrize("rate_hz", [1.5, 2.5, 3.5])
def test_a_face_that_shakes_is_one_and_boxes_stay_on_it(rate_hz):
    def where(i):
        angle = 2 * np.pi * rate_hz * i / 25
        return 160 + 30 * np.sin(angle), 120 + 20 * np.cos(angle), 25

    (track,) = find_tracks(scene(75, {"red": where}), Discs())
    assert spans([track]) == [(0, 74)]
    places = np.array([where(i)[:2] for i in range(75)])
    assert np.abs(centre(track) - places).max() < 12


def test_no_track_crosses_a_scene_cut():
    backgrounds = [noise(0), noise(1)]
    discs = {"red": lambda i: (100 if i < 31 else 210, 120, 30)}
    frames = scene(60, discs, background=lambda i: backgrounds[i >= 31])
    assert spans(find_tracks(frames, Discs())) == [(0, 30), (31, 59)]


@pytest.mark.parametrize(("fps", "length"), [(25, 8), (30, 9), (60, 18), (12, 4)])
def test_shots_of_a_third_of_a_second_are_tracks(fps, length):
    backgrounds = [noise(seed) for seed in range(3)]
    names = list(COLOURS)
    n = 9 * length

    def where(k):
        return lambda i: (100 + 40 * k, 120, 30) if i // length % 3 == k else None

    discs = {name: where(k) for k, name in enumerate(names)}
    frames = scene(n, discs, fps=fps, background=lambda i: backgrounds[i // length % 3])
    assert spans(find_tracks(frames, Discs())) == [
        (k * length, (k + 1) * length - 1) for k in range(9)
    ]


@pytest.mark.parametrize("level", [255, 0])
def test_a_flash_is_no_cut(level):
    background = noise(0)
    frames = scene(
        75,
        {"red": lambda i: None if 30 <= i < 33 else (120, 120, 30)},
        background=lambda i: level if 30 <= i < 33 else background,
    )
    assert spans(find_tracks(frames, Discs())) == [(0, 74)]


def test_a_zoom_is_no_cut():
    wide = next(iter(scene(1, {"red": lambda i: (150, 110, 22)}, background=lambda i: noise(2))))
    image = wide.rgb()

    def zoomed(i):
        factor = 1 + 0.8 * np.clip((i - 20) / 3, 0, 1)
        affine = np.array(
            [[1 / factor, 0, 150 - 150 / factor], [0, 1 / factor, 110 - 110 / factor]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, affine, SIZE[::-1], flags=flags)

    frames = [Frame.from_rgb(i, i / 25, zoomed(i)) for i in range(50)]
    (track,) = find_tracks(frames, Discs())
    assert spans([track]) == [(0, 49)]
    heights = track.boxes[:, 3] - track.boxes[:, 1]
    assert heights[45] / heights[5] == pytest.approx(1.8, abs=0.05)


@pytest.mark.parametrize(("gap", "expected"), [(5, 1), (12, 1), (23, 1), (28, 2), (40, 2)])
def test_a_face_unseen_for_up_to_a_second_is_the_same(gap, expected):
    discs = {"red": lambda i: None if 40 <= i < 40 + gap else (100, 120, 30)}
    assert len(find_tracks(scene(110, discs), Discs())) == expected


def test_another_face_in_the_same_place_is_another():
    discs = {
        "red": lambda i: (100, 120, 30) if i < 40 else None,
        "green": lambda i: (100, 120, 30) if i >= 55 else None,
    }
    assert spans(find_tracks(scene(100, discs), Discs())) == [(0, 39), (55, 99)]


def test_what_is_seen_for_less_than_a_quarter_of_a_second_is_dropped():
    discs = {"red": lambda i: (100, 120, 30) if 20 <= i < 25 else None}
    assert find_tracks(scene(60, discs), EveryTime()) == []
    discs = {"red": lambda i: (100, 120, 30) if 20 <= i < 28 else None}
    assert len(find_tracks(scene(60, discs), EveryTime())) == 1


class Unsure(EveryTime):
    """Half sure of discs whose diameter is 60 pixels or more."""

    sure_large = 0.6

    def detect(self, image, *, smallest_px=40.0):
        found = super().detect(image)
        return FaceBoxes(found.boxes, np.full(len(found), 0.55))


@pytest.mark.parametrize(("radius", "expected"), [(24, 1), (29, 1), (32, 0), (50, 0)])
def test_a_large_face_must_be_clearer(radius, expected):
    """Hands near the camera are taken for faces, but never clearly."""
    discs = {"red": lambda i: (100, 120, radius)}
    assert len(find_tracks(scene(60, discs), Unsure())) == expected


class Halves(EveryTime):
    """Loses a face now and then and sees its lower half instead."""

    def detect(self, image, *, smallest_px=40.0):
        self.n = getattr(self, "n", 0) + 1
        boxes = super().detect(image).boxes
        if 40 <= self.n < 75:
            boxes[:, 1] = (boxes[:, 1] + boxes[:, 3]) / 2 + 4
        return FaceBoxes(boxes, np.ones(len(boxes)))

    def detect_near(self, image, box):
        return FaceBoxes(np.zeros((0, 4)), np.zeros(0))


def test_half_a_face_is_no_other_face():
    tracks = find_tracks(scene(120, {"red": lambda i: (100, 120, 40)}), Halves())
    for k, one in enumerate(tracks):
        for other in tracks[k + 1 :]:
            assert not np.intersect1d(one.frames, other.frames).size


def test_the_reason_why_nothing_was_found_is_told():
    reasons = []
    find_tracks(scene(30, {}), Discs(), on_nothing=reasons.append)
    discs = {"red": lambda i: (100, 120, 30) if 20 <= i < 24 else None}
    find_tracks(scene(60, discs), EveryTime(), on_nothing=reasons.append)
    find_tracks(iter(()), Discs(), on_nothing=reasons.append)
    assert "in any of the 30 frames" in reasons[0]
    assert "the longest was seen for 0.16 s" in reasons[1]
    assert "no pictures" in reasons[2]


def test_nothing_seen_and_no_frames_give_no_tracks():
    assert find_tracks(scene(30, {}), Discs()) == []
    assert find_tracks(iter(()), Discs()) == []


@given(
    start=st.tuples(st.integers(90, 120), st.integers(80, 120)),
    speed=st.tuples(st.floats(-40, 100), st.floats(-30, 60)),
    growth=st.floats(-4, 8),
    fps=st.sampled_from([12, 25, 30]),
)
@settings(max_examples=10, deadline=None)
def test_tracks_follow_any_steady_way(start, speed, growth, fps):
    def where(i):
        x, y = np.array(start) + np.array(speed) * i / fps
        return x, y, 25 + growth * i / fps

    n = round(1.2 * fps)
    (track,) = find_tracks(scene(n, {"red": where}, fps=fps), Discs())
    assert spans([track]) == [(0, n - 1)]
    assert np.abs(centre(track) - np.array([where(i)[:2] for i in range(n)])).max() < 3.5


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
