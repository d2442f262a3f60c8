"""Who attacks what: white-box, transfer, one modality, clips of one video, files, bad requests."""

import math
from dataclasses import replace

import pytest
import torch
from support.small_detectors import SAMPLES_PER_FRAME, ConvDetector, LinearDetector, random_batch
from torch import Tensor, nn

from pushpull.attacks import ATTACKS, Soundtracks, attack, transfer
from pushpull.attacks.registry import is_suite
from pushpull.errors import BudgetError, BudgetWarning, ConfigError, ShapeError, UnknownName
from pushpull.losses import Centres
from pushpull.schema import Batch, Clip


def test_both_modalities_together_are_at_least_as_strong_as_either() -> None:
    batch = random_batch()
    loss = {
        modality: attack(ConvDetector(), batch, "bim", eps=50, modality=modality).loss
        for modality in ("audio", "visual", "both")
    }
    assert bool((loss["both"] > loss["audio"]).all())
    assert bool((loss["both"] > loss["visual"]).all())


def test_without_labels_the_detectors_own_decisions_are_attacked() -> None:
    detector, batch = LinearDetector(scale=0.02), random_batch((3, 2))
    decisions = (detector(**batch.inputs).score > 0).long()
    unlabelled = replace(batch, speaking=None)
    attacked = attack(detector, unlabelled, "bim")
    expected = attack(detector, replace(batch, speaking=decisions), "bim")
    assert torch.equal(attacked.speaking[batch.mask], decisions[batch.mask])
    assert torch.equal(attacked.faces, expected.faces)
    assert attacked.batch.speaking is None


def test_a_transferred_adversary_is_the_surrogates_scored_by_the_target() -> None:
    surrogate, target, batch = LinearDetector(1, 0.02), LinearDetector(2, 0.02), random_batch()
    moved = transfer(surrogate, target, batch, "mim", eps=20)
    on_surrogate = attack(surrogate, batch, "mim", eps=20)
    assert torch.equal(moved.faces, on_surrogate.faces)
    assert torch.equal(moved.curve, on_surrogate.curve)
    scored = target(**moved.batch.inputs)
    torch.testing.assert_close(moved.score, scored.score)
    assert batch.speaking is not None
    lost = torch.where(batch.speaking == 1, -scored.score, scored.score)
    expected = lost.masked_fill(~batch.mask, 0.0).sum(1) / batch.n_frames
    torch.testing.assert_close(moved.loss, expected)


def test_transfer_to_itself_is_white_box_and_to_another_is_weaker() -> None:
    first, other, batch = LinearDetector(1, 0.02), LinearDetector(2, 0.02), random_batch()
    white = transfer(first, first, batch, "bim", eps=20)
    black = transfer(other, first, batch, "bim", eps=20)
    clean = attack(first, batch, "noise", eps=0, objective="margin")
    assert bool((white.loss > clean.loss + 10 * (black.loss - clean.loss).abs()).all())


def test_transfer_without_labels_attacks_the_targets_decisions() -> None:
    surrogate, target = LinearDetector(1, 0.02), LinearDetector(2, 0.02)
    batch = replace(random_batch(), speaking=None)
    moved = transfer(surrogate, target, batch, "bim")
    decisions = (target(**batch.inputs).score > 0).long()
    assert torch.equal(moved.speaking[batch.mask], decisions[batch.mask])


def test_each_frame_is_driven_to_the_class_that_it_is_not() -> None:
    detector, batch = ConvDetector(), random_batch()
    flipped = attack(detector, batch, "bim", objective="margin", targeted=True)
    away = attack(detector, batch, "bim", objective="margin")
    # With two classes the margin knows no difference.
    assert torch.equal(flipped.faces, away.faces)
    silent = attack(detector, batch, "apgd", eps=400, targeted="silent", steps=30)
    speaking = attack(detector, batch, "apgd", eps=400, targeted="speaking", steps=30)
    assert bool((silent.score < speaking.score)[batch.mask].all())


def test_given_centres_are_used() -> None:
    detector, batch = LinearDetector(scale=0.02), random_batch((3, 2))
    ends = torch.tensor([[-1e3], [1e3]])
    centres = Centres(audio=ends, visual=ends)
    attacked = attack(detector, batch, "bim", objective="feature", centres=centres)
    expected = attack(detector, batch, "bim", objective="margin")
    assert torch.equal(attacked.faces, expected.faces)


# --- several tracks of one video

STARTS = (0, 1 * SAMPLES_PER_FRAME)


def two_faces() -> tuple[Batch, Tensor]:
    """Two tracks of 3 and 2 frames over a sound of 4 frames; they hear frames 1 and 2 together."""
    generator = torch.Generator().manual_seed(3)
    sound = (torch.randn(4 * SAMPLES_PER_FRAME, generator=generator) * 0.3).clamp(-1, 1)
    clips = [
        Clip(
            waveform=sound[start : start + n * SAMPLES_PER_FRAME],
            faces=torch.rand(n, 112, 112, generator=generator) * 255,
            fps=25.0,
            speaking=torch.full((n,), label),
        )
        for start, n, label in zip(STARTS, (3, 2), (1, 0), strict=True)
    ]
    return Batch.from_clips(clips), sound


@pytest.mark.parametrize("method", ATTACKS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_faces_of_one_video_hear_the_same_adversarial_sound(method: str, norm: str) -> None:
    batch, sound = two_faces()
    eps = {"linf": {"audio": 5e-4, "visual": 0.5}, "l2": {"audio": 0.02, "visual": 20.0}}[norm]
    steps = {} if is_suite(method) or method in ("fgsm", "noise") else {"steps": 4}
    tracks = Soundtracks.of_one(sound, torch.tensor(STARTS))
    attacked = attack(ConvDetector(), batch, method, eps=eps, norm=norm, space=tracks, **steps)
    heard = attacked.points["audio"][0]
    for i, start in enumerate(STARTS):
        n = int(batch.n_samples[i])
        assert torch.equal(attacked.waveform[i, :n], heard[start : start + n])
    change = heard.double() - sound.double()
    measured = change.abs().max() if norm == "linf" else change.norm()
    assert 0 < float(measured) <= eps["audio"]
    # Nobody hears the last frame: a gradient leaves it alone.
    if method in ("fgsm", "bim", "mim"):
        assert torch.equal(heard[3 * SAMPLES_PER_FRAME :], sound[3 * SAMPLES_PER_FRAME :])
    assert float(attacked.linf["visual"].min()) > 0


def test_where_two_faces_hear_the_same_their_gradients_add_up() -> None:
    batch, sound = two_faces()
    # One speaks and one is silent. On a linear detector the sound that hides the one shows the
    # other, so with a margin nothing is gained where both hear it, and everything elsewhere.
    detector = LinearDetector(scale=0.02)
    tracks = Soundtracks.of_one(sound, torch.tensor(STARTS))
    attacked = attack(
        detector, batch, "bim", space=tracks, modality="audio", objective="margin", eps=5
    )
    moved = (attacked.points["audio"][0] - sound).view(4, -1).abs().amax(1)
    assert moved[1:].tolist() == [0.0, 0.0, 0.0]
    assert float(moved[0]) == pytest.approx(5e-4, rel=1e-3)


def test_the_best_point_of_a_video_is_best_for_all_its_tracks_together() -> None:
    batch, sound = two_faces()
    tracks = Soundtracks.of_one(sound, torch.tensor(STARTS))
    attacked = attack(ConvDetector(), batch, "bim", space=tracks, eps=200, alpha=400, steps=8)
    together = (attacked.curve * batch.n_frames).sum(1)
    at_best = attacked.curve[int(together.argmax())]
    assert torch.equal(attacked.loss, at_best)


def test_two_videos_in_one_batch_have_a_sound_each() -> None:
    batch, sound = two_faces()
    other = Batch(
        waveform=batch.waveform.flip(0),
        faces=batch.faces.flip(0),
        n_samples=batch.n_samples.flip(0),
        n_frames=batch.n_frames.flip(0),
        fps=batch.fps,
        speaking=None if batch.speaking is None else batch.speaking.flip(0),
    )
    assert batch.speaking is not None
    assert other.speaking is not None
    both = Batch(
        waveform=torch.cat((batch.waveform, other.waveform)),
        faces=torch.cat((batch.faces, other.faces)),
        n_samples=torch.cat((batch.n_samples, other.n_samples)),
        n_frames=torch.cat((batch.n_frames, other.n_frames)),
        fps=torch.cat((batch.fps, other.fps)),
        speaking=torch.cat((batch.speaking, other.speaking)),
    )
    tracks = Soundtracks(
        waveform=torch.stack((sound, sound)),
        n_samples=torch.tensor([len(sound), len(sound)]),
        video=torch.tensor([0, 0, 1, 1]),
        starts=torch.tensor([*STARTS, *reversed(STARTS)]),
    )
    attacked = attack(ConvDetector(), both, "mim", space=tracks, steps=4)
    torch.testing.assert_close(attacked.points["audio"][0], attacked.points["audio"][1])
    torch.testing.assert_close(attacked.faces[:2], attacked.faces[2:].flip(0))


def test_faces_alone_are_attacked_clip_by_clip_in_a_video_too() -> None:
    batch, sound = two_faces()
    tracks = Soundtracks.of_one(sound, torch.tensor(STARTS))
    in_video = attack(ConvDetector(), batch, "bim", modality="visual", space=tracks)
    as_clips = attack(ConvDetector(), batch, "bim", modality="visual")
    assert torch.equal(in_video.faces, as_clips.faces)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ((0, 3 * SAMPLES_PER_FRAME), "clip 1 hears samples 1920..3200; its video has 2560"),
        ((0, 5), "waveform of clip 1 is not its part of the soundtrack"),
        ((0,), r"expected \(V, S\), \(2,\), \(2,\)"),
    ],
)
def test_clips_that_are_not_of_the_soundtrack_are_refused(
    starts: tuple[int, ...], message: str
) -> None:
    batch, sound = two_faces()
    with pytest.raises(ShapeError, match=message):
        attack(ConvDetector(), batch, space=Soundtracks.of_one(sound, torch.tensor(starts)))


# --- what a file can hold


def test_a_quantised_attack_starts_from_the_clean_file_and_ends_on_the_grid() -> None:
    batch = random_batch(on_grid=False)
    attacked = attack(ConvDetector(), batch, "apgd", eps=20, steps=20, quantise=True)
    for tensor, step in ((attacked.clean.waveform, 2**-15), (attacked.waveform, 2**-15)):
        assert torch.equal(tensor / step, (tensor / step).round())
    assert torch.equal(attacked.clean.faces, batch.faces.round())
    assert attacked.linf["visual"].tolist() == [2.0, 2.0]
    assert attacked.vanished == ()
    clean = attack(ConvDetector(), attacked.clean, "noise", eps=0)
    assert bool((attacked.loss > clean.loss).all())


def test_a_budget_that_vanishes_on_the_grid_is_said_to() -> None:
    with pytest.warns(BudgetWarning, match=r"eps of visual is 0\.5, below one step .* \(1\)"):
        attacked = attack(ConvDetector(), random_batch(), "bim", eps=5, quantise=True)
    assert attacked.vanished == ("visual",)
    assert float(attacked.linf["visual"].max()) == 0.0
    assert float(attacked.linf["audio"].min()) > 0.0


# --- requests that cannot be


@pytest.mark.parametrize("eps", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("method", ATTACKS)
def test_a_budget_that_is_none_is_refused(method: str, eps: float) -> None:
    with pytest.raises(ConfigError, match=f"eps of audio is {eps / 10_000}; expected a finite"):
        attack(ConvDetector(), random_batch(), method, eps=eps)


@pytest.mark.parametrize("steps", [0, -1, 2.5])
@pytest.mark.parametrize("method", sorted(m for m in ATTACKS if m != "fgsm" and not is_suite(m)))
def test_no_steps_are_refused(method: str, steps: int) -> None:
    with pytest.raises(ConfigError, match=f"steps is {steps}; expected a whole number, 1 or more"):
        attack(ConvDetector(), random_batch(), method, steps=steps)


def test_restarts_from_the_same_point_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_restarts is 3 with random_start=False"):
        attack(ConvDetector(), random_batch(), "bim", n_restarts=3)


def test_a_step_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="alpha of audio is -"):
        attack(ConvDetector(), random_batch(), "bim", alpha=-1)
    with pytest.raises(
        ConfigError, match="alpha is given for sound; expected it for audio, visual"
    ):
        attack(ConvDetector(), random_batch(), "bim", alpha={"sound": 1e-4})


def test_an_unknown_attack_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="unknown attack 'pdg': choose one of apgd, bim, fgsm"):
        attack(ConvDetector(), random_batch(), "pdg")


def test_an_unknown_setting_lists_those_of_the_method() -> None:
    with pytest.raises(ConfigError, match="apgd has no setting alpha, momentum: it has n_restarts"):
        attack(ConvDetector(), random_batch(), "apgd", alpha=1, momentum=1)


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="unknown target 'quiet': choose one of silent, speaking"):
        attack(ConvDetector(), random_batch(), targeted="quiet")


def test_a_model_of_other_inputs_is_refused() -> None:
    pictures_only = nn.Conv2d(3, 8, 3)
    with pytest.raises(ConfigError, match="the detector is a Conv2d; expected a Detector"):
        attack(pictures_only, random_batch())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the surrogate is a Conv2d"):
        transfer(pictures_only, ConvDetector(), random_batch())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the detector is a Conv2d"):
        transfer(ConvDetector(), pictures_only, random_batch())  # type: ignore[arg-type]


def test_a_clip_out_of_range_is_refused() -> None:
    batch = random_batch()
    with pytest.raises(ShapeError, match=r"audio of the clean input has values in .*\.\.1\.5"):
        attack(ConvDetector(), replace(batch, waveform=batch.waveform.clamp(max=0) + 1.5))
    with pytest.raises(ShapeError, match="visual of the clean input"):
        attack(ConvDetector(), replace(batch, faces=batch.faces + 300))


def test_one_class_has_no_centre_to_be_driven_to() -> None:
    batch = random_batch()
    assert batch.speaking is not None
    silent = replace(batch, speaking=torch.zeros_like(batch.speaking))
    with pytest.raises(ConfigError, match="5 silent and 0 speaking frames"):
        attack(ConvDetector(), silent, objective="feature")


def test_what_was_asked_for_is_in_the_result() -> None:
    attacked = attack(ConvDetector(), random_batch(), "mim", eps=2, alpha=1, seed=7)
    assert attacked.settings.as_dict() == {
        "attack": "mim",
        "eps": {"audio": 2e-4, "visual": 0.2},
        "modality": "both",
        "norm": "linf",
        "objective": "all",
        "targeted": False,
        "quantise": False,
        "seed": 7,
        "steps": 5,
        "alpha": {"audio": 1e-4, "visual": 0.1},
        "decay": 1.0,
        "random_start": False,
        "n_restarts": 1,
        "schedule": "constant",
        "draws": 1,
        "radius": 0.0,
    }


def test_budget_errors_are_not_value_errors() -> None:
    # A ConfigError is the user's, a BudgetError the attack's: they must not be mixed up.
    assert not issubclass(BudgetError, ValueError)
