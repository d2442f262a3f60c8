"""The limit of an attack, against what the attack that it guards takes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pushpull as pp
from pushpull.attacks.registry import ATTACKS, options_of
from pushpull.errors import ConfigError
from pushpull.models import Detector, build
from pushpull.video_attacks import SPACES, footprint
from pushpull.video_attacks.footprint import (
    BESIDES,
    GIB,
    Alive,
    Graph,
    Light,
    Step,
    check_memory,
    kept_bytes,
    needed_bytes,
)
from pushpull.video_attacks.search import moved
from pushpull.video_attacks.task import Task

WHOLE_ATTACKS = """
import ctypes, sys
from pathlib import Path
from pushpull.detection import Stopwatch, find_faces, read_clips
from pushpull.detection.clips import CROPS
from pushpull.media import Part
from pushpull.models import build
from pushpull.runtime.progress import no_progress
from pushpull.video_attacks import SPACES
from pushpull.video_attacks.files import measured
from pushpull.video_attacks.footprint import BESIDES, needed_bytes
from pushpull.video_attacks.labels import labelled
from pushpull.video_attacks.search import search
from pushpull.video_attacks.segments import groups_of
from pushpull.video_attacks.task import Task

def said(key):
    return int(Path("/proc/self/status").read_text().split(key)[1].split()[0]) * 1024

def taken_and_needed(space, survive):
    task = Task.of(
        detector, "pgd", eps=5, steps=1, surrogate=None, labels=None, space=space,
        survive=survive, crf=23, crop="ava", device="cpu",
    )
    needed = needed_bytes(task, groups) - BESIDES
    # What earlier stages have freed would be taken first, and their peak be the peak.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = said("VmRSS:")
    segments = labelled([task.make(group) for group in groups], task.detector)
    for variant in search(segments, task, no_progress, Stopwatch()):
        measured(variant, task.detector, task.codec)
    return said("VmHWM:") - before, needed

detector = build("light_asd").eval()
clips = read_clips(find_faces(sys.argv[1], part=Part(0.0, 1.2)), CROPS["ava"])
groups = groups_of(clips)
for space in SPACES:
    for survive in (False, True):
        print(space, survive, *taken_and_needed(space, survive))
"""


@pytest.fixture(scope="module")
def taken_and_needed(shared):
    """Bytes that attacks on a real clip have taken and were expected to, by space and survival."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("asks Linux what a process has taken")
    line = [sys.executable, "-c", WHOLE_ATTACKS, str(shared / "clips/clearervoice_002.avi")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    rows = [row.split() for row in done.stdout.splitlines()]
    return {(space, survive): (int(t), int(n)) for space, survive, t, n in rows}


def task_of(space, attack="pgd", *, detector, survive=False, surrogate=None, **settings):
    return Task.of(
        detector,
        attack,
        surrogate=surrogate,
        labels=None,
        space=space,
        survive=survive,
        crf=23,
        crop="ava",
        device="cpu",
        **settings,
    )


@pytest.mark.parametrize("survive", ["False", "True"])
@pytest.mark.parametrize("space", SPACES)
def test_what_is_expected_is_what_an_attack_takes(taken_and_needed, space, survive):
    taken, needed = taken_and_needed[space, survive]
    assert 0.65 * needed < taken < 1.35 * needed


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"suite"}))  # as suite-fast, for longer
def test_a_few_frames_tell_of_all(two_people, space, name):
    """For every attack, tensors of a search of 25 frames are what those of 8 let expect."""
    steps = {"steps": 6} if "steps" in options_of(name) else {}
    task = task_of(space, name, detector=Light(), **steps)
    with Alive() as alive:
        segment = task.make(two_people)
        speaking = torch.zeros(segment.batch.faces.shape[:2], dtype=torch.int64)
        segment = replace(segment, batch=replace(segment.batch, speaking=speaking))
        moved([segment], task, task.plans[0])
    expected = needed_bytes(task, [two_people]) - BESIDES
    assert expected == pytest.approx(alive.peak_bytes, rel=0.1)


def test_searches_add_up(two_people):
    """What each leaves is there while the next is made."""
    how = {"detector": Light()}
    free, both, also = (
        needed_bytes(task_of("crop", **how, **more), [two_people]) - BESIDES
        for more in ({}, {"quantise": True}, {"quantise": True, "survive": True})
    )
    points = 2 * 25 * 112**2 * 4
    assert both >= free + points
    assert also >= both + points


def test_many_segments_keep_what_they_found(two_people):
    task = task_of("frame", detector=Light())
    apart = [two_people.subset([i]) for i in range(2)]
    one = needed_bytes(task, apart[:1]) - BESIDES
    two = needed_bytes(task, apart) - BESIDES
    together = needed_bytes(task, [two_people]) - BESIDES
    assert 1.3 * one < two < 0.9 * together


def test_a_module_of_ones_own_is_counted_whole(two_people):
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
    step = Step(held=0, peak=0, left=0, gradients=True, faces=True)
    assert Graph.of(detector).n_bytes(1, 6000, step) > 6000 * 8 * 112**2 * 4


@pytest.mark.parametrize(
    ("space", "advice"),
    [("crop", "--start and --end$"), ("frame", r"about 0\.\d GiB: --space crop")],
)
def test_memory_that_is_not_there_is_said_before_any_work(
    monkeypatch, talking, two_people, space, advice
):
    how = {"face_finder": "dlib", "space": space}
    monkeypatch.setattr(footprint, "available_bytes", lambda device: GIB // 10)
    with pytest.raises(
        ConfigError, match=rf"talking\.mp4: 1 faces .* 25 frames; .* 0\.1 .*{advice}"
    ):
        pp.attack_video(talking, "synthetic-a", "fgsm", **how)
    monkeypatch.setattr(footprint, "available_bytes", lambda device: None)
    check_memory("x.mp4", task_of(space, detector=build("light_asd")), [two_people] * 10**6)
