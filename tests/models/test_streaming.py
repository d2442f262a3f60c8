"""Windowed encoding against one pass over the whole clip."""

import pytest
import torch

from pushpull.errors import ShapeError
from pushpull.models import MODELS
from pushpull.models.streaming import VisualStream, detect_clip, score_track
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
