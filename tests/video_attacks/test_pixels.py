"""Crops as a differentiable function of the pixels of a video."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.attacks.threat import Threat
from pushpull.detection.clips import CROPS, crop_faces
from pushpull.media import read_frames
from pushpull.video_attacks.pixels import (
    PixelSpace,
    frames_with_faces,
    overlapping,
    read_pixels,
    sampling_weights,
)


def crop_by_weights(image, window):
    x1, y1, x2, y2 = window
    shrink = max(1, int(np.ceil(max(x2 - x1, y2 - y1) / 112)))
    rows = sampling_weights(y1, y2, shrink, 0, image.shape[0])
    columns = sampling_weights(x1, x2, shrink, 0, image.shape[1])
    return rows @ image.astype(np.float32) @ columns.T


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(5, 120),
    y=st.floats(5, 60),
    width=st.floats(20, 170),
    aspect=st.floats(0.7, 1.4),
    seed=st.integers(0, 99),
)
def test_sampling_is_the_crop_that_detectors_see(x, y, width, aspect, seed):
    rng = np.random.default_rng(seed)
    # Smooth pictures, since OpenCV rounds places to 1/32 of a pixel.
    waves = rng.uniform(0.02, 0.12, 4)
    columns, rows = np.meshgrid(np.arange(420.0), np.arange(320.0))
    image = 127 + 60 * np.sin(waves[0] * columns + waves[1] * rows)
    image = (image + 60 * np.cos(waves[2] * columns - waves[3] * rows)).astype(np.uint8)
    box = np.array([[x, y, x + width, y + width * aspect]])
    window = CROPS["ava"].windows(box)[0]
    expected = crop_faces(image, box, CROPS["ava"])[0].astype(float)
    assert np.abs(crop_by_weights(image, window) - expected).max() <= 1.0


def test_weights_of_a_window_inside_the_picture_sum_to_one():
    for low, high, shrink in ((10.3, 60.9, 1), (0.5, 240.25, 3)):
        weights = sampling_weights(low, high, shrink, 0, 300)
        assert np.abs(weights.sum(1) - 1).max() < 1e-6
        assert weights.min() >= 0


def test_parts_outside_the_picture_are_left_out():
    here, there = overlapping((-3, 5), (10, 10), (6, 12))
    assert here == (slice(0, 6), slice(5, 12))
    assert there == (slice(3, 9), slice(0, 7))


def test_a_moved_pixel_moves_the_crop_that_the_detector_sees(frame_segment):
    segment = frame_segment
    space = PixelSpace(segment.batch, Threat.of(20.0), segment.sound, segment.pixels)
    generator = torch.Generator().manual_seed(0)
    change = space.regions["visual"].noise(generator)
    points = {"visual": space.regions["visual"].place(change)}
    assert torch.equal(space.to_batch({}).faces, segment.batch.faces)
    faces = space.to_batch(points).faces
    moved = (faces - segment.batch.faces).abs()
    assert 0 < float(moved.max()) <= 2.0 + 1e-4
    assert torch.equal(space.to_batch(points).waveform, segment.batch.waveform)


def test_gradients_reach_pixels_inside_the_window_only(frame_segment):
    segment, pixels = frame_segment, frame_segment.pixels
    space = PixelSpace(segment.batch, Threat.of(20.0), segment.sound, pixels)
    luma = pixels.luma.clone().requires_grad_()
    space.to_batch({"visual": luma}).faces.sum().backward()
    assert luma.grad is not None
    reached = luma.grad != 0
    assert bool(reached.any())
    assert not bool((reached & ~pixels.inside).any())
    lengths = pixels.n_frames.tolist()
    assert not any(bool(reached[i, n:].any()) for i, n in enumerate(lengths))


def test_block_by_block_is_as_at_once(frame_segment):
    """Crops and their gradient, against the same product of whole tensors."""
    pixels, generator = frame_segment.pixels, torch.Generator().manual_seed(0)
    assert len(list(pixels.blocks)) > len(pixels.luma)
    change = torch.randn(pixels.luma.shape, generator=generator).requires_grad_()
    weights = torch.randn(frame_segment.batch.faces.shape, generator=generator)
    crops = pixels.crops_of(change)
    (found,) = torch.autograd.grad((crops * weights).sum(), change)
    whole = pixels.rows @ (change * pixels.inside) @ pixels.columns.mT
    whole = torch.stack([one[at] for one, at in zip(whole, pixels.frame_of_grid, strict=True)])
    (expected,) = torch.autograd.grad((whole * weights).sum(), change)
    torch.testing.assert_close(crops, whole)
    torch.testing.assert_close(found, expected)


def test_frames_before_the_first_face_are_not_decoded_and_the_rest_are_the_same(two_people):
    late = [
        replace(
            track,
            frames=track.frames[9:20],
            timestamps_s=track.timestamps_s[9:20],
            boxes=track.boxes[9:20],
            detected=track.detected[9:20],
        )
        for track in two_people.tracks
    ]
    found = list(frames_with_faces(replace(two_people, tracks=tuple(late))))
    whole = list(read_frames(two_people.path))[9:20]
    assert [frame.index for frame in found] == [frame.index for frame in whole]
    for one, other in zip(found, whole, strict=True):
        assert np.array_equal(one.gray(), other.gray())
    # Where pictures are of another size than the first of the file, all are read.
    other_size = replace(two_people.info, width=two_people.info.width + 2)
    again = list(frames_with_faces(replace(two_people, tracks=tuple(late), info=other_size)))
    assert [frame.index for frame in again] == [frame.index for frame in whole]


def test_shared_pixels_belong_to_one_face(two_people):
    first = two_people.tracks[0]
    double = replace(first, track_id=1, boxes=first.boxes + 4.0)
    clips = replace(
        two_people,
        tracks=(first, double),
        grids=(two_people.grids[0],) * 2,
        faces=(two_people.faces[0],) * 2,
    )
    pixels = read_pixels(clips)
    owners = np.zeros((len(first), 480, 640), int)
    for i in range(2):
        for t in range(len(first)):
            here, there = pixels.place(i, t, owners[t].shape)
            owners[t][here] += pixels.inside[i, t].numpy()[there]
    assert owners.max() == 1


@pytest.mark.parametrize("modality", ["audio", "visual", "both"])
def test_only_attacked_modalities_have_regions(frame_segment, modality):
    segment, threat = frame_segment, Threat.of(5.0, modality=modality)
    space = PixelSpace(segment.batch, threat, segment.sound, segment.pixels)
    assert set(space.regions) == set(threat.modalities)
    assert set(space.row_groups) == set(threat.modalities)
