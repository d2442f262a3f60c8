"""Windowed encoding against one pass over the whole clip."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pushpull.errors import ShapeError, UnknownName
from pushpull.models import MODELS
from pushpull.models.factorised import _FOLDED, TimeMemory
from pushpull.models.streaming import PRECISIONS, VisualStream, detect_clip, score_track
from pushpull.schema import Batch, Clip


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("n_frames", [1, 7, 41])
def test_scores_in_windows_equal_one_pass(name, n_frames):
    detector = MODELS[name]().eval()
    faces = torch.randint(0, 256, (n_frames, 112, 112), dtype=torch.uint8)
    waveform = 0.1 * torch.randn(640 * n_frames)
    with torch.no_grad():
        whole = detector(**Batch.from_clips([Clip(waveform=waveform, faces=faces, fps=25)]).inputs)
    stream = VisualStream(detector, window=10)
    for part in faces.split(3):
        stream.push(part)
    windowed = score_track(detector, waveform, stream.finish(), fps=25.0, audio_window=8)
    assert windowed.score.shape == (1, n_frames)
    assert (windowed.score - whole.score).abs().max() <= 1e-5 * max(1, whole.score.abs().max())


def test_a_clip_is_scored_as_a_batch_of_one():
    detector = MODELS["lr_asd"]().eval()
    clip = Clip(
        waveform=0.1 * torch.randn(16000 * 3), faces=torch.rand(75, 112, 112) * 255, fps=25.0
    )
    with torch.no_grad():
        whole = detector(**Batch.from_clips([clip]).inputs)
    assert torch.allclose(detect_clip(detector, clip).score, whole.score, atol=1e-5)


def test_the_stream_keeps_no_more_than_a_window_of_faces():
    stream = VisualStream(MODELS["light_asd"]().eval(), window=4)
    most = 0
    for _ in range(30):
        stream.push(torch.zeros(1, 112, 112, dtype=torch.uint8))
        most = max(most, sum(len(f) for f in stream.waiting))
    assert most <= 4 + 2 * stream.detector.visual_context


def test_what_was_pushed_may_be_changed_afterwards():
    detector = MODELS["light_asd"]().eval()
    buffer = torch.full((5, 112, 112), 90, dtype=torch.uint8)
    kept, reused = VisualStream(detector), VisualStream(detector)
    kept.push(buffer.clone())
    reused.push(buffer)
    buffer.zero_()
    assert torch.equal(kept.finish(), reused.finish())


def test_an_empty_track_says_so():
    with pytest.raises(ShapeError, match="no faces were pushed"):
        VisualStream(MODELS["light_asd"]().eval()).finish()


@pytest.mark.parametrize("name", sorted(MODELS))
@given(sizes=st.lists(st.integers(1, 14), min_size=1, max_size=4), window=st.integers(1, 20))
@settings(max_examples=5, deadline=None)
def test_pieces_of_any_sizes_give_what_one_pass_gives(name, sizes, window):
    detector = small(name)
    faces = torch.rand(sum(sizes), 112, 112, dtype=torch.float64) * 255
    with torch.no_grad():
        whole = detector.visual_local(faces[None], torch.tensor([len(faces)]))
    stream = VisualStream(detector, window=window)
    for part in faces.split(sizes):
        stream.push(part)
    assert stream.finish().shape == whole.shape
    torch.testing.assert_close(stream.finish(), whole, rtol=1e-9, atol=1e-9)


@cache
def small(name):
    return MODELS[name]().eval().double()


@pytest.mark.parametrize("name", ["light_asd", "lr_asd"])
def test_nothing_is_encoded_twice(name):
    """Frames that go through the encoder are those that were pushed."""
    detector = MODELS[name]().eval()
    seen = []
    detector.visualEncoder.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape[1]))
    stream = VisualStream(detector)
    stream.push(torch.zeros(150, 112, 112, dtype=torch.uint8))
    assert stream.finish().shape[1] == 150
    assert sum(seen) == 150


@pytest.mark.parametrize("name", ["light_asd", "lr_asd"])
def test_norms_are_folded_into_convolutions_once_for_a_clip(name):
    detector = MODELS[name]().eval()
    norms = [m for m in detector.visualEncoder.modules() if isinstance(m, nn.BatchNorm3d)]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as done:
        stream = VisualStream(detector)
        stream.push(torch.zeros(100, 112, 112, dtype=torch.uint8))
        stream.finish()
    counts = {event.key: event.count for event in done.key_averages()}
    assert counts["aten::rsqrt"] == len(norms)


@pytest.mark.parametrize("name", ["light_asd", "lr_asd"])
def test_clips_share_what_was_folded_and_see_new_weights(name):
    detector = MODELS[name]().eval()
    conv = detector.visualEncoder.block1.get_submodule("s_3" if name == "light_asd" else "s_1")
    faces = 255 * torch.rand(1, 20, 112, 112)

    def encoded():
        with torch.inference_mode():
            return detector.visual_in_pieces()(faces, True)

    first, held = encoded(), _FOLDED[conv]
    assert torch.equal(encoded(), first)
    assert _FOLDED[conv] is held
    # As optimizers of others do it, past PyTorch's own count of changes.
    conv.weight.data.mul_(2)
    changed = encoded()
    with torch.no_grad():
        whole = detector.visual_local(faces, torch.tensor([20]))
    assert (changed - first).abs().max() > 1e-3
    torch.testing.assert_close(changed, whole, rtol=1e-4, atol=1e-4)


def test_nothing_is_kept_of_a_clip_that_has_ended():
    memory, conv = TimeMemory(), nn.Conv2d(4, 4, 3)
    with torch.inference_mode():
        memory.extended(conv, torch.rand(1, 4, 10, 6), 1)
        assert memory.seen
        memory.last = True
        memory.extended(conv, torch.rand(1, 4, 10, 6), 1)
    assert not memory.seen


@pytest.mark.parametrize("last", [False, True])
def test_frames_are_extended_alike_with_gradients_and_without(last):
    pieces = torch.randn(2, 1, 4, 10, 6)
    found = []
    for grad in (False, True):
        memory, conv = TimeMemory(), nn.Conv2d(4, 4, 3)
        with torch.set_grad_enabled(grad):
            first = memory.extended(conv, pieces[0], 1, later=1)
            memory.last = last
            found.append((first, memory.extended(conv, pieces[1], 1, later=1)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert found[0][0].min() == 0


def test_windows_of_others_overlap_by_a_tenth():
    detector = MODELS["talknet"]().eval()
    assert 2 * detector.visual_context <= 0.11 * VisualStream(detector).window + 1


def test_a_model_that_encodes_otherwise_is_taken_at_its_word():
    class Darker(MODELS["light_asd"]):
        def visual_local(self, faces, n_frames):
            return super().visual_local(faces / 2, n_frames)

    detector = Darker().eval()
    faces = 255 * torch.rand(40, 112, 112)
    with torch.no_grad():
        whole = detector.visual_local(faces[None], torch.tensor([40]))
    stream = VisualStream(detector, window=10)
    stream.push(faces)
    assert torch.allclose(stream.finish(), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_half_precision_moves_scores_a_little_and_gives_whole_precision(name):
    # What published weights do is in docs/measurements/benchmarks.md; here, that it is done.
    torch.manual_seed(0)
    detector = MODELS[name]().eval()
    faces = torch.randint(0, 256, (30, 112, 112), dtype=torch.uint8)
    local = {}
    for precision in PRECISIONS:
        stream = VisualStream(detector, window=10, precision=precision)
        for part in faces.split(7):
            stream.push(part)
        local[precision] = stream.finish()
    whole, half = local["float32"], local["bfloat16"]
    assert whole.dtype == half.dtype == torch.float32
    assert not torch.equal(whole, half)
    # Of bfloat16's 8 bits, some are lost over the layers.
    assert (whole - half).norm() < 0.1 * whole.norm()


def test_an_unknown_precision_says_which_there_are():
    with pytest.raises(UnknownName, match=r"unknown precision 'int8'.*bfloat16, float32"):
        VisualStream(MODELS["light_asd"]().eval(), precision="int8")
