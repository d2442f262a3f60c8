"""Encoding window by window: the same features and gradients, in memory that does not grow."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.attacks import attack
from pushpull.models import build
from pushpull.models import detector as detector_module
from pushpull.models.windows import local_by_windows
from pushpull.schema import Batch, Clip

DETECTORS = {
    "light_asd": lambda: build("light_asd"),
    "lr_asd": lambda: build("lr_asd"),
    "talknet": lambda: build("talknet", width=0.0625, face_step=4),
}


@pytest.mark.parametrize("name", DETECTORS)
@settings(max_examples=3, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 34), min_size=1, max_size=2),
    window=st.integers(14, 50),
    seed=st.integers(0, 99),
)
def test_features_and_gradients_are_those_of_the_whole_clip(name, lengths, window, seed):
    torch.manual_seed(seed)
    detector = DETECTORS[name]().double().eval()
    n_frames = torch.tensor(lengths)
    faces = 255 * torch.rand(len(lengths), max(lengths), 112, 112, dtype=torch.float64)
    inside = torch.arange(max(lengths)) < n_frames[:, None]
    found = {}
    for way in ("whole", "windows"):
        shown = faces.clone().requires_grad_()
        if way == "whole":
            local = detector.visual_local(shown, n_frames)
        else:
            local = local_by_windows(
                detector.visual_local,
                shown,
                n_frames,
                context=detector.visual_context,
                window=window,
            )
        local = local.masked_fill(~inside[..., None], 0.0)
        (gradient,) = torch.autograd.grad(local.square().mean(), shown)
        found[way] = local.detach(), gradient
    for whole, windows in zip(found["whole"], found["windows"], strict=True):
        assert torch.allclose(whole, windows, rtol=1e-10, atol=1e-10 * float(whole.abs().max()))
    assert float(found["whole"][1].abs().max()) > 0


def test_the_adversary_of_a_clip_is_the_same(monkeypatch):
    torch.manual_seed(0)
    detector = build("light_asd").double().eval()
    clips = [
        Clip(waveform=0.1 * torch.randn(640 * n), faces=255 * torch.rand(n, 112, 112), fps=25.0)
        for n in (30, 21)
    ]
    batch = Batch.from_clips(clips)
    batch.waveform.data, batch.faces.data = batch.waveform.double(), batch.faces.double()
    whole = attack(detector, batch, "pgd", eps=5, steps=2)
    monkeypatch.setattr(detector_module, "WHOLE_FRAMES", 20)
    windows = attack(detector, batch, "pgd", eps=5, steps=2)
    for moved in whole.points:
        assert torch.equal(whole.points[moved], windows.points[moved])


GRADIENT = """
import resource, sys, torch
from pushpull.models import build
detector, n = build("light_asd").eval().requires_grad_(False), int(sys.argv[1])
faces = torch.rand(1, n, 112, 112).mul_(255).requires_grad_()
detector(torch.randn(1, 640 * n) / 10, faces).logits.sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, faces.grad.count_nonzero().item())
"""


def test_memory_does_not_grow_with_the_clip():
    peak_mib = []
    for n in (300, 900):
        line = [sys.executable, "-c", GRADIENT, str(n)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        peak, moved = map(int, done.stdout.split())
        assert moved > n * 100
        peak_mib.append(peak)
    # Faces and their gradient are 0.1 MB a frame; what the encoder keeps of a whole clip, 8.
    assert peak_mib[1] - peak_mib[0] < 600 * 0.6
