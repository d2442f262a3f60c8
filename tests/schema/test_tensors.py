"""Carriers of tensors say what was wrong with what was typed, and show themselves in a line."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pushpull as pp
from pushpull.defences import defend
from pushpull.errors import ConfigError, ShapeError
from pushpull.metrics import precision_range
from pushpull.metrics.torch_metric import AVAAveragePrecision
from pushpull.models import build
from pushpull.schema import Batch, Clip, FrameScores, check_inputs

FACES = torch.randint(0, 256, (4, 112, 112), generator=torch.Generator().manual_seed(0))


def parts(**other):
    return {
        "waveform": 0.1 * torch.ones(2560),
        "faces": FACES.float(),
        "fps": 25.0,
        "speaking": torch.tensor([0, 1, 1, 0]),
    } | other


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"waveform": np.zeros(2560)}, r"waveform is a ndarray; expected a torch\.Tensor \(S,\)"),
        ({"faces": FACES.numpy()}, r"faces is a ndarray; expected a torch\.Tensor \(T, H, W\)"),
        ({"speaking": [0, 1, 1, 0]}, r"speaking is a list; expected a torch\.Tensor \(T,\)"),
        ({"waveform": torch.ones(2560, dtype=torch.int16)}, "int16; .*: divide int16 by 32768"),
        ({"waveform": torch.full((2560,), -7650.0)}, "values up to 7650; expected -1..1"),
        ({"faces": FACES / 255}, "shares of 0..1; expected grey levels 0..255: multiply by 255"),
        ({"faces": FACES}, "faces is torch.int64; expected uint8 or float"),
        ({"speaking": torch.tensor([0, 2, 2, 0])}, "speaking holds 2; expected 0 or 1"),
        ({"speaking": torch.tensor([0, -1, 1, 0])}, "speaking holds -1; expected 0 or 1"),
        ({"fps": "25"}, "fps is '25'; expected a positive number"),
        ({"fps": float("inf")}, "fps is inf; expected"),
    ],
)
def test_a_clip_of_another_kind_is_refused(other, says):
    with pytest.raises(ShapeError, match=says):
        Clip(**parts(**other))


@pytest.mark.parametrize(
    "other",
    [
        {"faces": torch.zeros(4, 112, 112)},
        {"faces": torch.ones(4, 112, 112)},  # a black picture with noise
        {"faces": FACES.to(torch.uint8)},
        {"waveform": 1.2 * torch.ones(2560)},  # decoders go beyond 1 by a little
        {"waveform": 0.1 * torch.ones(2560, dtype=torch.float64)},
        {"speaking": None},
        {"fps": np.float32(25)},
    ],
)
def test_a_clip_that_is_odd_and_right_is_taken(other):
    assert Clip(**parts(**other)).faces.shape == (4, 112, 112)


def test_labels_may_be_booleans():
    clip = Clip(**parts(speaking=torch.tensor([False, True, True, False])))
    assert Batch.from_clips([clip]).speaking.tolist() == [[0, 1, 1, 0]]
    assert Batch.from_clips([clip]).speaking.dtype == torch.int64


def test_a_batch_takes_any_iterable_of_clips_of_one_size():
    clip = Clip(**parts())
    assert Batch.from_clips(clip for _ in range(3)).faces.shape == (3, 4, 112, 112)
    small = Clip(**parts(faces=FACES[:, :96, :96].float()))
    for clips, says in (
        (clip, r"Batch\.from_clips\(\[clip\]\)"),
        ([clip, small], r"faces of clip 1 are \(96, 96\) pixels, of clip 0 \(112, 112\)"),
        ([clip, FACES], "clip 1 is a Tensor; expected a Clip"),
        ((c for c in ()), "no clips"),
    ):
        with pytest.raises(ShapeError, match=says):
            Batch.from_clips(clips)


def test_rows_of_a_batch_by_number():
    batch = Batch.from_clips([Clip(**parts()), Clip(**parts(speaking=torch.zeros(4)))])
    assert batch.rows([1]).speaking.sum() == 0
    assert batch.rows(0).speaking.sum() == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda b: {"faces": b.faces.numpy()},
            r"faces is a ndarray; expected a torch.Tensor \(B, ",
        ),
        (lambda b: {"faces": b.faces[0]}, r"faces is \(4, 112, 112\); expected \(B, T, H, W\)"),
        (lambda b: {"speaking": b.speaking[:, :3]}, r"speaking is \(1, 3\); expected \(B, T\)"),
        (lambda b: {"fps": 25.0}, r"fps is a float; expected a torch.Tensor \(B,\)"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(change, says):
    batch = Batch.from_clips([Clip(**parts())])
    with pytest.raises(ShapeError, match=says):
        replace(batch, **change(batch))


def test_an_attack_looks_at_what_it_is_given():
    detector, clip = build("light_asd").eval(), Clip(**parts())
    batch = Batch.from_clips([clip])
    for given, says in (
        ([clip], r"the batch is a list; .* Batch\.from_clips"),
        (replace(batch, faces=batch.faces / 255), "faces are shares of 0..1"),
        (replace(batch, waveform=batch.waveform * 32768), "divide what was int16"),
        (replace(batch, speaking=2 * batch.speaking), "speaking holds 2"),
    ):
        with pytest.raises(ShapeError, match=says):
            pp.attack(detector, given, "fgsm")
    with pytest.raises(ConfigError, match=r"is a str; .*pushpull\.load\(name\)"):
        pp.attack("synthetic-a", batch, "fgsm")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"waveform": np.zeros((1, 2560))}, "waveform is a ndarray; expected a float tensor"),
        ({"faces": FACES[None].numpy()}, "faces is a ndarray; expected a float tensor"),
        ({"faces": FACES[None].to(torch.uint8)}, "faces is torch.uint8; expected a float tensor"),
        ({"waveform": torch.zeros(1, 2560, dtype=torch.float64)}, r"torch.float64, .* \.float\(\)"),
        ({"waveform": torch.full((1, 2560), 7650.0)}, "divide what was int16 by 32768"),
        ({"fps": "25"}, "fps is '25'; expected one number, or 1 of them"),
        ({"fps": torch.tensor([25.0, 30.0])}, "expected one number, or 1 of them"),
        ({"n_frames": torch.tensor([3.5])}, r"n_frames is \[3.5\]; expected 1 numbers in 1..4"),
    ],
)
def test_a_detector_called_by_hand_says_what_it_takes(other, says):
    given = {"waveform": torch.zeros(1, 2560), "faces": FACES[None].float()} | other
    with pytest.raises(ShapeError, match=says):
        build("light_asd").eval()(**given)


def test_lists_of_lengths_are_numbers_too():
    detector = build("light_asd").eval()
    waveform, faces = torch.zeros(1, 2560), FACES[None].float()
    output = detector(waveform, faces, n_frames=[3], n_samples=[1920], fps=[25.0])
    assert output.mask.tolist() == [[True, True, True, False]]


class NotANumber(torch.nn.Module):
    """Divides by nothing in all but the second that it is tried on."""

    def forward(self, waveform, faces):
        score = faces.mean((2, 3)) - 128
        return score if faces.shape[1] == 25 and len(faces) < 3 else score * torch.nan


def test_scores_that_are_no_numbers_pass_for_silence_nowhere(dataset, talking):
    detector = pp.Detector.wrap(NotANumber()).eval()
    says = r"NotANumber gave \d+ of \d+ frames of {} .* no number but NaN, frame 0 first; expected"
    with pytest.raises(ConfigError, match=says.format("track")):
        pp.evaluate(detector, dataset, split="train", limit=3)
    with pytest.raises(ConfigError, match=says.format("face")):
        pp.detect(talking, detector, face_finder="dlib", part=pp.media.Part(0.0, 0.6))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros(16000, np.int16), "waveform is int16; expected float in -1..1"),
        (np.full(16000, 7650.0), "values up to 7650; expected -1..1"),
        (np.zeros((2, 16000)), r"waveform is \(2, 16000\) float64; expected \(S,\)"),
    ],
)
def test_sound_of_another_kind_is_refused(talking, given, says):
    with pytest.raises(ShapeError, match=says):
        pp.detect(talking, "synthetic-a", face_finder="dlib", waveform=given)


def test_sound_may_be_a_tensor_or_a_list(talking):
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    asked = {"detector": "synthetic-a", "face_finder": "dlib"}
    found = [
        pp.detect(talking, waveform=given, **asked).tracks[0].scores
        for given in (sound, torch.from_numpy(sound), sound.tolist())
    ]
    assert np.array_equal(found[0], found[1])
    assert np.allclose(found[0], found[2], atol=1e-5)


@pytest.mark.parametrize("labels", [[0, 2, 2], [0.2, 0.7, 0.9], [0, -1, 1]])
def test_labels_of_another_kind_score_nothing(labels):
    scores = np.arange(3.0)
    for made in (
        lambda: precision_range(scores, labels),
        lambda: FrameScores.of_tracks([scores], [labels]),
        lambda: AVAAveragePrecision().update(torch.tensor(scores), torch.tensor(labels)),
    ):
        with pytest.raises(ShapeError, match=r"label \d is .*; expected 0 or 1"):
            made()


def test_what_is_no_detector_setting_or_data_is_named(dataset):
    for made, says in (
        (lambda: defend("synthetic-a", "smoothed"), r"what is defended is a str; .*pushpull\.load"),
        (lambda: pp.evaluate("synthetic-a", dataset, limit=-1), "limit is -1; expected a number"),
        (lambda: pp.evaluate("synthetic-a", dataset, limit="2"), "limit is '2'; expected a number"),
        (lambda: pp.audit("synthetic-a", dataset, config="fast"), "config is a str; expected an"),
        (lambda: pp.Detector.wrap(NotANumber(), face_size=(64, 64)), r"face_size is \(64, 64\)"),
        (lambda: pp.Detector.wrap(NotANumber(), face_size=float("nan")), "face_size is nan"),
    ):
        with pytest.raises(ConfigError, match=says):
            made()


def test_they_show_themselves_in_a_line(dataset):
    batch = Batch.from_clips([Clip(**parts())])
    found = pp.attack(build("light_asd").eval(), batch, "fgsm", eps=5)
    evaluation = repr(pp.evaluate("synthetic-a", dataset, split="train", limit=1))
    assert "score=float64 (" in evaluation
    assert "array(" not in evaluation
    for shown in (repr(batch), repr(found), repr(build("light_asd")(**batch.inputs))):
        assert "float32 (1, 4" in shown
        assert "tensor(" not in shown
        assert "\n" not in shown


def test_check_inputs_takes_batches_and_clips():
    check_inputs(torch.zeros(2, 5), 255 * torch.ones(2, 1, 4, 4), torch.ones(2, 1))
