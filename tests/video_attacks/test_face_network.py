import numpy as np
import pytest
import torch
from torch import Tensor

from pushpull.detection.face_finders import YuNet
from pushpull.errors import CheckpointError, ShapeError
from pushpull.media import read_frames
from pushpull.video_attacks.face_network import FaceNetwork, _fields, face_network

pytestmark = pytest.mark.skipif(not YuNet.is_here(), reason="YuNet's model is not here")


@pytest.fixture(scope="module")
def picture(shared):
    path = shared / "clips" / "sadtalker_hill.mp4"
    return next(read_frames(path)).rgb()


def opencv(picture):
    """The highest score and box by OpenCV, of the picture as it is."""
    found = YuNet().run(picture, 0.3)
    return found.scores[0], found.boxes[0]


@pytest.mark.parametrize("size", [(512, 512), (320, 256), (96, 160)])
def test_it_says_what_the_face_finder_says(picture, size):
    import cv2

    small = cv2.resize(picture, size)
    surely, boxes = seen(small)
    best = int(surely.argmax())
    score, box = opencv(small)
    assert score > 0.6
    assert float(surely[best].exp()) == pytest.approx(score, abs=1e-3)
    np.testing.assert_allclose(boxes[best].numpy(), box, atol=0.05)


def seen(picture) -> tuple[Tensor, Tensor]:
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    surely, boxes = face_network()(tensor)
    return surely[0], boxes[0]


def test_scores_are_no_more_than_one_and_gradients_reach_every_pixel_of_a_face(picture):
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float().requires_grad_()
    surely, boxes = face_network()(x)
    assert float(surely.detach().max()) <= 0
    best = int(surely.argmax())
    x1, y1, x2, y2 = boxes[0, best].detach().round().int().tolist()
    surely[0, best].backward()
    inside = x.grad[0, :, y1:y2, x1:x2]
    assert float((inside != 0).float().mean()) > 0.95


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError, match=r"has weights \(0,\); expected \(16, 3, 3, 3\)"):
        FaceNetwork([])


def test_a_picture_off_the_grid_is_refused():
    with pytest.raises(ShapeError, match="sides that are multiples of 32"):
        face_network()(torch.zeros(1, 3, 100, 96))


def test_fields_of_a_protocol_buffer_are_read_as_its_documentation_says():
    # 150 in field 1, "testing" in field 2: the examples of developers.google.com/protocol-buffers.
    data = bytes.fromhex("089601") + bytes.fromhex("120774657374696e67")
    assert [(n, v, bytes(c)) for n, v, c in _fields(memoryview(data))] == [
        (1, 150, b""),
        (2, 0, b"testing"),
    ]
