"""What is asked is checked before anything is read, and says which searches are made."""

import math

import pytest

from pushpull.attacks import AttackSettings
from pushpull.errors import AnnotationError, ConfigError, UnknownName
from pushpull.models.weights import resolve_detector
from pushpull.video_attacks.task import Task

ASKED = {
    "surrogate": None,
    "labels": None,
    "space": "crop",
    "survive": False,
    "crf": 23,
    "crop": "auto",
    "device": None,
}


def task_of(detector, attack="bim", **changed):
    return Task.of(detector, attack, **{**ASKED, **changed})


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"space": "sky"}, UnknownName, "unknown space 'sky'"),
        ({"crf": 52}, ConfigError, "crf is 52"),
        ({"attack": "fgsm", "steps": 3}, ConfigError, "fgsm has no setting steps"),
        ({"steps": 0}, ConfigError, "steps is 0; expected a whole number, 1 or more"),
        ({"steps": -1}, ConfigError, "steps is -1"),
        ({"steps": math.inf}, ConfigError, "steps is inf"),
        ({"n_restarts": math.nan}, ConfigError, "n_restarts is nan"),
        ({"labels": "/nowhere.csv"}, AnnotationError, "nowhere.csv: cannot be read"),
        ({"attack": "cw"}, UnknownName, "unknown attack 'cw'"),
    ],
)
def test_what_cannot_be_is_said_before_a_detector_is_loaded(changed, error, message):
    with pytest.raises(error, match=message):
        task_of("no-such-detector", **changed)


def test_searches_go_from_the_freest_to_the_one_that_was_asked_for(checkpoint):
    detector = resolve_detector(checkpoint, device="cpu")
    assert [plan.name for plan in task_of(detector).plans] == ["float"]
    plans = task_of(detector, quantise=True, survive=True, crf=30).plans
    assert [plan.name for plan in plans] == ["float", "quantised", "through codec"]
    assert [plan.attack.quantise for plan in plans] == [False, True, True]
    assert [plan.codec and plan.codec.crf for plan in plans] == [None, None, 30]
    (_, through) = task_of(detector, survive=True).plans
    assert not through.attack.quantise


def test_a_record_says_everything(checkpoint, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("vid,0,0.1,0.1,0.4,0.6,SPEAKING_AUDIBLE,vid:1\n")
    detector = resolve_detector(checkpoint, device="cpu")
    settings = AttackSettings.of("bim", eps=20, steps=2)
    record = task_of(detector, settings, surrogate=detector, labels=truth).as_dict()
    assert record == {
        **settings.as_dict(),
        "detector": checkpoint.name,
        "detector_sha256": detector.card.sha256,
        "model": "lr_asd",
        "surrogate": checkpoint.name,
        "surrogate_sha256": detector.card.sha256,
        "labels": str(truth),
        "space": "crop",
        "survive": False,
        "codec": "h264 crf 23 + aac",
        "crf": 23,
        "crop": detector.card.crop,
        "device": "cpu",
    }
    alone = task_of(detector).as_dict()
    assert (alone["surrogate"], alone["surrogate_sha256"]) == (None, None)
    assert alone["labels"] == "the detector's own decisions"
