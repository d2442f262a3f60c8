"""Window by window, an encoder gives the features and the gradient of one pass."""

import subprocess
import sys
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_detectors import with_lively_norms

from pushpull.attacks import attack
from pushpull.defences import Smoothed, Smoothing
from pushpull.models import MODELS, build, windows
from pushpull.models.windows import Kept, graph_bytes, pieces
from pushpull.schema import Batch, Clip


@cache
def detector(name):
    """In eval mode and float64, with batch norms that do something."""
    torch.manual_seed(0)
    options = {"width": 0.125} if name.endswith("talknet") else {}
    model = build(name, **options).double().eval().requires_grad_(False)
    return with_lively_norms(model)


def windows_of(patch, frames):
    """Have everything encoded in windows of so many frames."""
    patch.setattr(windows, "ALWAYS_WHOLE_FRAMES", 0)
    patch.setattr(windows, "GRAPH_BYTES", 0)
    patch.setattr(windows, "WINDOW_BYTES", 0)
    patch.setattr(windows, "SHORTEST_FRAMES", frames)


def passed(model, faces, n_frames):
    """Scores of the valid frames and their gradient in the faces, each frame weighted otherwise."""
    faces = faces.clone().requires_grad_()
    waveform = torch.linspace(-0.5, 0.5, 640 * faces.shape[1], dtype=faces.dtype).sin()
    output = model(waveform.expand(len(faces), -1), faces, n_frames=n_frames)
    weights = torch.arange(1.0, 1 + output.score.numel()).view_as(output.score).to(faces)
    total = (output.score * weights).masked_fill(~output.mask, 0.0).sum()
    return output.score.detach()[output.mask], torch.autograd.grad(total, faces)[0]


@pytest.mark.parametrize("name", sorted(MODELS))
@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=2),
    window=st.integers(3, 30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=4, deadline=None)
def test_the_gradient_is_that_of_one_pass(name, lengths, window, seed):
    model, n_frames = detector(name), torch.tensor(lengths)
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths) + 1, 112, 112)
    faces = 255 * torch.rand(shape, generator=generator, dtype=torch.float64)
    score, gradient = passed(model, faces, n_frames)
    with pytest.MonkeyPatch.context() as patch:
        windows_of(patch, window)
        bounded_score, bounded_gradient = passed(model, faces, n_frames)
    torch.testing.assert_close(bounded_score, score, rtol=1e-10, atol=1e-10)
    largest = float(gradient.abs().max())
    assert largest > 0
    assert float((bounded_gradient - gradient).abs().max()) <= 1e-10 * largest


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    window=st.integers(1, 70),
    context=st.integers(0, 9),
)
def test_every_valid_frame_is_kept_once_with_its_context(lengths, window, context):
    kept = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for piece in pieces(lengths, max(lengths), window=window, context=context):
        rows = range(*piece.rows.indices(len(lengths)))
        assert len(rows) * (piece.kept.stop - piece.kept.start) <= max(window, 1)
        kept[piece.rows, piece.kept] += 1
        for row in rows:
            assert piece.seen.start <= max(0, piece.kept.start - context)
            assert piece.seen.stop >= min(lengths[row], piece.kept.stop + context)
    for row, n in enumerate(lengths):
        assert bool((kept[row, :n] == 1).all())


@pytest.mark.parametrize("name", ["light_asd", "lr_asd", "talknet"])
def test_what_a_frame_keeps_is_what_a_long_clip_keeps(name):
    """The measure is of a few frames; the clip that it speaks for is longer."""
    model = detector(name)
    like = torch.zeros(1, 1, 112, 112, dtype=torch.float64)
    kept = Kept(besides=model)
    with kept:
        graph = model.visual_local(
            torch.zeros(1, 48, 112, 112, dtype=torch.float64).requires_grad_(), torch.tensor([48])
        )
    assert graph.requires_grad
    assert graph_bytes(model, model.visual_local, like) == pytest.approx(
        kept.n_bytes / 48, rel=0.05
    )


def test_less_is_kept_in_windows(monkeypatch):
    model = detector("light_asd")
    faces = torch.zeros(1, 44, 112, 112, dtype=torch.float64).requires_grad_()

    def kept():
        counted = Kept(besides=model)
        with counted:
            graph = model.encode_visual(faces, torch.tensor([44]))
        assert graph.requires_grad
        return counted.n_bytes

    whole = kept()
    windows_of(monkeypatch, 20)
    assert kept() <= faces.nbytes * 1.1 < whole / 10


def test_parameters_that_want_a_gradient_get_it(monkeypatch):
    model = build("light_asd").eval()
    windows_of(monkeypatch, 20)
    model.encode_visual(torch.rand(1, 40, 112, 112), torch.tensor([40])).sum().backward()
    assert all(p.grad is not None for p in model.visualEncoder.parameters())


def test_half_precision_of_the_forward_pass_holds_in_the_backward_pass(monkeypatch):
    """A window is encoded again outside of the autocast that it was first encoded in."""
    model, seen = build("light_asd").eval().requires_grad_(False), []
    model.visualEncoder.register_forward_pre_hook(
        lambda module, args: seen.append(torch.is_autocast_enabled("cpu"))
    )
    faces = torch.rand(1, 40, 112, 112).requires_grad_()
    windows_of(monkeypatch, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
        local = model.encode_visual(faces, torch.tensor([40]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        local.sum().backward()
    assert len(seen) >= 4
    assert not any(seen)


def test_noise_of_a_defence_is_that_of_the_whole_clip(monkeypatch):
    """It is drawn by the number of a frame in its clip, which a window does not know."""
    defended = Smoothed(detector("light_asd"), Smoothing(copies=2, sigma_visual=20.0)).eval()
    faces = 255 * torch.rand(1, 44, 112, 112, dtype=torch.float64)
    whole = defended.visual_local(faces, torch.tensor([44]))
    windows_of(monkeypatch, 20)
    torch.testing.assert_close(
        defended.encode_visual(faces, torch.tensor([44])), whole, rtol=1e-9, atol=1e-9
    )


def test_the_adversary_of_a_clip_is_the_same(monkeypatch):
    torch.manual_seed(0)
    detector = build("light_asd").double().eval()
    clips = [
        Clip(waveform=0.1 * torch.randn(640 * n), faces=255 * torch.rand(n, 112, 112), fps=25.0)
        for n in (22, 5)
    ]
    batch = Batch.from_clips(clips)
    batch.waveform.data, batch.faces.data = batch.waveform.double(), batch.faces.double()
    whole = attack(detector, batch, "pgd", eps=5, steps=2)
    windows_of(monkeypatch, 20)
    bounded = attack(detector, batch, "pgd", eps=5, steps=2)
    for moved in whole.points:
        assert torch.equal(whole.points[moved], bounded.points[moved])


GRADIENT = """
import sys, torch
from pathlib import Path
from pushpull.models import build
detector, n = build("light_asd").eval().requires_grad_(False), int(sys.argv[1])
faces = torch.rand(1, n, 112, 112).mul_(255).requires_grad_()
detector(torch.randn(1, 640 * n) / 10, faces).logits.sum().backward()
# Of this process alone: what getrusage says begins with the peak of its parent.
peak_kib = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(int(peak_kib) // 1024, faces.grad.count_nonzero().item())
"""


def test_memory_does_not_grow_with_the_clip():
    peak_mib = []
    for n in (300, 600):
        line = [sys.executable, "-c", GRADIENT, str(n)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        peak, moved = map(int, done.stdout.split())
        assert moved > n * 100
        peak_mib.append(peak)
    # Faces and their gradient are 0.1 MB a frame; what the encoder keeps of a whole clip, 8.
    assert peak_mib[1] - peak_mib[0] < 300 * 0.6
