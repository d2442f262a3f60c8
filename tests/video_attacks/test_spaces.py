"""In both spaces, what comes back from lossless files is what went in."""

import numpy as np
import pytest
import torch
from support.spaces import noisy

from pushpull.attacks.threat import Threat
from pushpull.media import read_frames
from pushpull.schema import GRID
from pushpull.video_attacks.codec import LOSSLESS
from pushpull.video_attacks.files import reread


def test_quantised_crops_and_sound_come_back_exactly(crop_segment):
    space = crop_segment.space(crop_segment.batch, Threat.of(20.0, quantise=True))
    points = noisy(space)
    back = reread(crop_segment, points, LOSSLESS)
    wanted = space.to_batch(points)
    assert torch.equal(back.faces, wanted.faces)
    assert torch.equal(back.waveform, wanted.waveform)
    assert not torch.equal(back.faces, crop_segment.batch.faces)


def test_float_crops_come_back_rounded(crop_segment):
    space = crop_segment.space(crop_segment.batch, Threat.of(3.0))
    points = noisy(space)
    back = reread(crop_segment, points, LOSSLESS)
    wanted = space.to_batch(points)
    # 0.3 grey levels vanish on an 8-bit grid.
    assert torch.equal(back.faces, crop_segment.batch.faces)
    assert (back.waveform - wanted.waveform).abs().max() <= GRID["audio"] / 2


def test_quantised_pixels_come_back_as_painted(frame_segment):
    space = frame_segment.space(frame_segment.batch, Threat.of(40.0, quantise=True))
    points = noisy(space)
    back = reread(frame_segment, points, LOSSLESS)
    wanted = space.to_batch(points)
    assert torch.equal(back.waveform, wanted.waveform)
    # Crops are rounded once more, and OpenCV places them to 1/32 of a pixel.
    valid = frame_segment.batch.mask[..., None, None]
    apart = ((back.faces - wanted.faces).abs() * valid).flatten(2)
    assert float(apart.mean()) < 0.4
    assert float(apart.max()) <= 2.0
    moved = ((wanted.faces - frame_segment.batch.faces).abs() * valid).mean()
    assert float(apart.mean()) < 0.5 * float(moved)


@pytest.mark.parametrize("space", ["crop", "frame"])
def test_clean_files_are_the_clean_video(request, space):
    segment = request.getfixturevalue(f"{space}_segment")
    back = reread(segment, {}, LOSSLESS)
    assert torch.equal(back.faces, segment.batch.faces)
    assert torch.equal(back.waveform, segment.batch.waveform)


@pytest.mark.parametrize("space", ["crop", "frame"])
def test_only_faces_are_painted_and_as_far_as_they_moved(request, space):
    segment = request.getfixturevalue(f"{space}_segment")
    points = noisy(segment.space(segment.batch, Threat.of(40.0, quantise=True)))
    luma = next(f for f in read_frames(segment.clips.path) if f.index == 12).gray()
    assert not segment.change({}, 12, luma).any()
    assert not segment.change(points, 1000, luma).any()
    change = segment.change(points, 12, luma)
    assert 3.0 < np.abs(change).max() <= 4.0
    outside = np.ones(luma.shape, bool)
    faces = [track.boxes for track in segment.clips.tracks]
    # What is moved around each face has the size of the largest of the segment.
    side = int(max((boxes[:, 2:] - boxes[:, :2]).max() for boxes in faces)) + 8
    for x, y in (boxes[12, :2].astype(int) for boxes in faces):
        outside[y - 2 : y + side, x - 2 : x + side] = False
    assert outside.any()
    assert not change[outside].any()
    segment.paint(points, 12, painted := luma.copy())
    assert np.abs(painted - (luma + change)).max() <= 0.5
