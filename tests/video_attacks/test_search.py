"""Each segment is attacked once for every variant that is wanted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pushpull.attacks import AttackSettings
from pushpull.detection import Stopwatch
from pushpull.detection.clips import CROPS
from pushpull.errors import BudgetWarning
from pushpull.models import LRASD
from pushpull.models.weights import resolve_detector
from pushpull.runtime.progress import no_progress
from pushpull.video_attacks.codec import Codec
from pushpull.video_attacks.labels import labelled
from pushpull.video_attacks.search import search
from pushpull.video_attacks.task import Task


@pytest.fixture(scope="module")
def detector(checkpoint):
    return resolve_detector(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def segment(crop_segment, detector):
    (found,) = labelled([crop_segment], detector)
    return found


def task_of(detector, surrogate=None, *, survive=False, **settings):
    return Task(
        detector=detector,
        surrogate=surrogate,
        attack=AttackSettings.of("bim", **{"steps": 2, **settings}),
        space="crop",
        survive=survive,
        codec=Codec(crf=30),
        labels=None,
        crop=CROPS["ava"],
    )


def test_the_clean_video_comes_first_and_what_was_asked_for_last(segment, detector):
    clock = Stopwatch()
    task = task_of(detector, quantise=True, survive=True, eps=15)
    clean, floats, quantised, through = search([segment], task, no_progress, clock)
    assert list(clock.seconds) == ["float", "quantised", "through codec"]
    assert (clean.points, clean.batches, clean.forwards) == (({},), (segment.batch,), 0)
    # Points on the grid of files, and off it.
    for variant, on_grid in ((floats, False), (quantised, True), (through, True)):
        faces = variant.points[0]["visual"]
        assert torch.equal(faces, faces.round()) == on_grid
        assert (variant.forwards, variant.backwards) == (3, 2)
        assert 0 < float((faces - segment.batch.faces).abs().max()) <= 1.5
    # Budgets hold for what goes into files.
    assert torch.equal(through.batches[0].faces, through.points[0]["visual"])


def test_one_sound_serves_all_faces_on_screen(segment, detector):
    _, found = search([segment], task_of(detector), no_progress, Stopwatch())
    (points,), (batch,) = found.points, found.batches
    assert len(points["audio"]) == 1
    assert len(points["visual"]) == 2
    for row, start in enumerate(segment.sound.starts.tolist()):
        n = int(batch.n_samples[row])
        assert torch.equal(batch.waveform[row, :n], points["audio"][0, start : start + n])


def test_segments_are_searched_apart_and_progress_says_which(segment, detector):
    told = []
    later = replace(segment, clips=segment.clips.subset([0, 1]))
    _, found = search(
        [segment, later], task_of(detector), lambda *report: told.append(report), Stopwatch()
    )
    assert [stage for stage, done, _ in told if done == 1] == [
        "float, part 1 of 2", "float, part 2 of 2",
    ]  # fmt: skip
    assert {total for _, _, total in told} == {3}
    assert (found.forwards, found.backwards) == (6, 4)
    assert torch.equal(found.points[0]["visual"], found.points[1]["visual"])


def test_a_budget_below_one_step_becomes_a_note_and_no_warning(segment, detector, recwarn):
    task = task_of(detector, eps=1.0, quantise=True)
    _, floats, quantised = search([segment], task, no_progress, Stopwatch())
    assert (floats.vanished, floats.notes) == ((), ())
    assert quantised.vanished == ("visual",)
    (note,) = quantised.notes
    assert "eps of visual is 0.1, below one step of what a file holds" in note
    assert not [w for w in recwarn if issubclass(w.category, BudgetWarning)]


def test_a_surrogate_is_moved_against_and_the_detector_kept_out_of_it(segment, detector):
    torch.manual_seed(5)
    other = LRASD().eval()
    moved = [
        search([segment], task, no_progress, Stopwatch())[-1].points[0]["visual"]
        for task in (task_of(detector), task_of(detector, other), task_of(other))
    ]
    assert torch.equal(moved[1], moved[2])
    assert not torch.equal(moved[0], moved[1])


def test_losses_are_those_of_each_face_at_each_evaluation(segment, detector):
    _, found = search([segment], task_of(detector, eps=60), no_progress, Stopwatch())
    assert found.losses[0].shape == (3, 2)
    assert np.shape(found.curves) == (2, 3)
    assert found.curves[1] == found.losses[0][:, 1].tolist()
