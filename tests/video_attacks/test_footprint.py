"""The limit of an attack, against what the step that it guards takes."""

import subprocess
import sys

import pytest
import torch

import pushpull as pp
from pushpull.errors import ConfigError
from pushpull.models import Detector, build
from pushpull.video_attacks import footprint
from pushpull.video_attacks.footprint import GIB, check_memory, kept_bytes, needed_bytes

STEP = """
import sys, torch
from pathlib import Path
from pushpull.attacks import attack
from pushpull.models import build
from pushpull.schema import Batch, Clip
from pushpull.video_attacks.footprint import BESIDES, needed_bytes
def peak():
    # Of this process alone: what getrusage says begins with the peak of its parent.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
n, detector = int(sys.argv[1]), build("light_asd").eval()
clip = Clip(waveform=torch.randn(640 * n) / 10, faces=torch.rand(n, 112, 112) * 255, fps=25.0)
needed = needed_bytes(detector, 2, n) - BESIDES
before = peak()
attack(detector, Batch.from_clips([clip, clip]), "pgd", eps=5, steps=1)
print(peak() - before, needed)
"""


def test_what_is_expected_is_what_a_step_takes():
    line = [sys.executable, "-c", STEP, "400"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    taken, needed = map(int, done.stdout.split())
    assert 0.6 * needed < taken < 1.4 * needed


def test_a_module_of_ones_own_is_counted_whole():
    class Deep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv3d(1, 8, 3, padding=1)

        def forward(self, waveform, faces):
            return self.layer(faces[:, None] / 255).relu().mean((1, 3, 4))

    detector = Detector.wrap(Deep()).eval()
    encoder, others = kept_bytes(detector, 10)
    assert encoder < 10 * 112**2 * 4 * 2
    # Eight channels, after the convolution or after the ReLU that follows in its place.
    assert others > 10 * 8 * 112**2 * 4
    # All of it is kept, however long the clip is.
    assert needed_bytes(detector, 1, 6000) > 6000 * 8 * 112**2 * 4


def test_memory_that_is_not_there_is_said_before_any_work(monkeypatch, talking):
    monkeypatch.setattr(footprint, "available_bytes", lambda device: GIB // 10)
    with pytest.raises(ConfigError, match=r"talking\.mp4: 1 faces .* 25 frames; .* 0\.1 GiB"):
        pp.attack_video(talking, "synthetic-a", "fgsm", face_finder="dlib")
    monkeypatch.setattr(footprint, "available_bytes", lambda device: None)
    check_memory("x.mp4", build("light_asd"), clips=1000, frames=10**6)
