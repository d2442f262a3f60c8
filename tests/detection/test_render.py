"""What is drawn: where labels are, what they say, and that they can be read."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.detection import Overlay, ScoredTrack
from pushpull.detection.render import _corners
from pushpull.schema import Track


def face(number, boxes, score=2.0):
    boxes = np.atleast_2d(np.asarray(boxes, float))
    n = len(boxes)
    track = Track(
        track_id=number,
        frames=np.arange(n),
        timestamps_s=np.arange(n) / 25,
        boxes=boxes,
        detected=np.ones(n, bool),
    )
    return ScoredTrack(track=track, scores=np.broadcast_to(np.asarray(score, float), n).copy())


def grey(width, height):
    return np.full((height, width, 3), 128, np.uint8)


def apart(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


SIZES = [(320, 240), (640, 360), (360, 640), (1920, 1080), (3840, 2160)]
corner = st.floats(-0.2, 1.1)
boxes_in_shares = st.lists(
    st.tuples(corner, corner, st.floats(0.02, 0.6), st.floats(0.02, 0.6)), min_size=1, max_size=12
)


@given(st.sampled_from(SIZES), boxes_in_shares, st.integers(0, 10_000))
def test_labels_are_inside_the_picture_and_never_over_each_other(size, shares, seed):
    width, height = size
    scores = np.random.default_rng(seed).normal(0, 3, len(shares))
    faces = [
        face(k * 7, [x * width, y * height, (x + w) * width, (y + h) * height], score)
        for k, ((x, y, w, h), score) in enumerate(zip(shares, scores, strict=True))
    ]
    labels = Overlay(faces, width=width, height=height).labels(0)
    for label in labels:
        x1, y1, x2, y2 = label.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
    for k, one in enumerate(labels):
        assert all(apart(one.box, other.box) for other in labels[:k])
    speaking = {one.track.track_id: bool(one.speaking[0]) for one in faces}
    assert {label.track_id: label.speaking for label in labels}.items() <= speaking.items()
    assert len({label.track_id for label in labels}) == len(labels)


class WeighsAll(Overlay):
    """Looks at every place for every label."""

    def _in_nobodys_way(self, *arguments):
        return None


@given(st.sampled_from(SIZES), boxes_in_shares, st.integers(0, 10_000))
def test_a_label_left_where_it_was_is_where_all_places_weighed_would_have_it(size, shares, seed):
    width, height = size
    rng = np.random.default_rng(seed)
    faces = []
    for k, (x, y, w, h) in enumerate(shares):
        first = np.array([x * width, y * height, (x + w) * width, (y + h) * height])
        steps = rng.normal(0, 0.01 * width, (6, 4)).cumsum(0)
        faces.append(face(k, first + steps, rng.normal(0, 3, 6)))
    quick, whole = (made(faces, width=width, height=height) for made in (Overlay, WeighsAll))
    for frame in range(6):
        assert quick.labels(frame) == whole.labels(frame)


@pytest.mark.parametrize("size", SIZES)
def test_a_label_touches_its_face_and_can_be_read(size):
    width, height = size
    box = [0.4 * width, 0.4 * height, 0.55 * width, 0.6 * height]
    (label,) = Overlay([face(3, box)], width=width, height=height).labels(0)
    assert label.text == "3 speaking 0.88"
    assert label.box[3] == round(box[1])
    assert label.box[0] == round(box[0])
    letters = label.box[3] - label.box[1]
    # Of the shorter side; letters themselves are two thirds of it.
    assert letters >= max(14, 0.025 * min(size))
    assert letters <= 0.08 * min(size)
    assert label.box[2] - label.box[0] <= 0.6 * width


@pytest.mark.parametrize(
    "box", [(-20, -10, 50, 60), (300, 200, 340, 260), (5, 0, 20, 12), (250, -5, 330, 30)]
)
def test_letters_are_dark_on_the_colour_of_the_state_also_at_the_border(box):
    for score, channel in ((2.0, 1), (-2.0, 0)):
        overlay = Overlay([face(12, box, score)], width=320, height=240)
        (label,) = overlay.labels(0)
        picture = grey(320, 240)
        drawn = overlay.draw(picture, 0)
        x1, y1, x2, y2 = label.box
        inside = drawn[y1:y2, x1:x2].astype(int)
        assert (inside.max(-1) < 90).sum() > 20, "no letters are seen"
        ground = np.median(inside.reshape(-1, 3), axis=0)
        assert ground.argmax() == channel
        assert ground[channel] > 200
        assert (picture == 128).all()


def test_close_faces_keep_their_labels_beside_them():
    faces = [face(k, [300 + 10 * k, 150, 340 + 10 * k, 200]) for k in range(4)]
    labels = Overlay(faces, width=640, height=360).labels(0)
    assert [label.text for label in labels] == [f"{k} speaking 0.88" for k in range(4)]
    for label, one in zip(labels, faces, strict=True):
        box = one.track.boxes[0]
        x1, y1, x2, y2 = label.box
        gap = max(box[0] - x2, x1 - box[2], box[1] - y2, y1 - box[3])
        assert gap <= 2 * (y2 - y1)


def test_a_label_keeps_its_side_while_its_face_moves_a_little():
    # The second face wavers about the place where both sides are as good.
    steps = np.array([0, 3, -3, 2, -1, 0, 4, -4])
    moving = np.array([[300 + d, 154, 340 + d, 200] for d in steps])
    faces = [face(0, np.tile([300.0, 150, 340, 200], (8, 1))), face(1, moving)]
    kept = Overlay(faces, width=640, height=360)

    def changes(overlay_of):
        places = [overlay_of().labels(frame)[1].box for frame in range(8)]
        sides = [
            tuple(np.subtract(place[:2], np.round(box[:2])))
            for place, box in zip(places, moving, strict=True)
        ]
        return sum(one != other for one, other in itertools.pairwise(sides))

    assert changes(lambda: Overlay(faces, width=640, height=360)) > 2
    assert changes(lambda: kept) <= 1


def test_where_there_is_no_room_less_is_said():
    text = {
        size: [label.text for label in Overlay([face(7, [2, 2, 9, 9])], **size_of).labels(0)]
        for size, size_of in {
            width: {"width": width, "height": 40} for width in (200, 60, 24, 4)
        }.items()
    }
    assert text == {200: ["7 speaking 0.88"], 60: ["7 0.88"], 24: ["7"], 4: []}


def test_every_frame_has_its_own_boxes_and_others_have_none():
    overlay = Overlay([face(0, [[10.0, 50, 60, 100]] * 2)], width=320, height=240)
    assert (overlay.draw(grey(320, 240), 2) == 128).all()
    assert (overlay.draw(grey(320, 240), 1) != 128).any()


@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize("score", [3.0, -3.0])
def test_drawing_on_stored_colours_looks_like_drawing_on_rgb(matrix, score):
    """Boxes and labels in the same places and colours; halved colour is softer at edges."""
    from av import VideoFrame
    from av.video.reformatter import ColorRange

    faces = [face(0, [[40.0, 60, 120, 160]], score), face(1, [[200.0, 80, 280, 190]], -score)]
    rgb = Overlay(faces, width=320, height=240).draw(grey(320, 240), 0)
    level = round(16 + 219 * 128 / 255)
    packed = np.full((360, 320), 128, np.uint8)
    packed[:240] = level
    drawn = Overlay(faces, width=320, height=240).draw_yuv(packed, 0, matrix)
    frame = VideoFrame.from_ndarray(drawn, format="yuv420p")
    frame.colorspace, frame.color_range = matrix, ColorRange.MPEG
    seen = frame.reformat(format="rgb24", dst_color_range=ColorRange.JPEG).to_ndarray()
    difference = np.abs(seen.astype(int) - rgb).max(2)
    assert np.median(difference) <= 1
    assert (difference > 60).mean() < 0.02
    # Inside a label, beside its letters, and on the middle of a line.
    for label in Overlay(faces, width=320, height=240).labels(0):
        x1, y1, x2, _ = label.box
        assert difference[y1 + 1, x1 + 2 : x2 - 4].max() <= 12, label


def test_letters_are_measured_once_for_each_text():
    boxes = np.array([[40.0, 40.0, 90.0, 105.0]] * 20)
    overlay = Overlay([face(0, boxes)], width=320, height=240)
    for frame in range(20):
        overlay.draw(grey(320, 240), frame)
    assert set(overlay._sizes) == {label.text for label in overlay.labels(0)}


def test_places_for_a_label_are_beside_its_box_first():
    places = _corners(np.array([40.0, 50.0, 90.0, 105.0]), 30, 10)
    assert places.shape == (65, 2)
    assert places[:6].tolist() == [[40, 40], [60, 40], [50, 40], [10, 40], [90, 40], [40, 105]]
    assert places[-1].tolist() == [90, 72]
