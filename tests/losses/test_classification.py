import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_detectors import ConvDetector, LinearDetector, random_batch
from torch.nn import functional as F

from pushpull.errors import ConfigError, UnknownName
from pushpull.losses import (
    OBJECTIVES,
    Centres,
    Goal,
    build_objective,
    class_centres,
    cross_entropy,
    cross_entropy_all,
    log_odds,
    margin,
    over_frames,
)
from pushpull.schema import Output


def output_of(logits: torch.Tensor, **heads: torch.Tensor) -> Output:
    return Output(logits=logits, mask=torch.ones(logits.shape[:2], dtype=torch.bool), **heads)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), log_scale=st.floats(-2, 2))
def test_cross_entropy_is_that_of_a_softmax(seed: int, log_scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64) * 10**log_scale
    labels = torch.randint(2, (2, 5), generator=generator)
    published = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    torch.testing.assert_close(
        cross_entropy(logits, labels).flatten(), published, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("confidence", [17.0, 40.0, 80.0])
def test_the_gradient_of_a_confident_frame_is_there_where_a_softmax_has_none(
    confidence: float,
) -> None:
    logits = torch.tensor([[[0.0, confidence]]], requires_grad=True)
    labels = torch.tensor([[1]])
    (ours,) = torch.autograd.grad(cross_entropy(logits, labels).sum(), logits)
    (softmax,) = torch.autograd.grad(F.cross_entropy(logits[0], labels[0]), logits)
    assert softmax[0, 0, 1] == 0
    # d/dm log(1 + exp(-m)) = -1 / (1 + exp(m))
    expected = -1 / (1 + torch.tensor(confidence, dtype=torch.float64).exp())
    assert float(ours[0, 0, 1]) == pytest.approx(float(expected), rel=1e-5)


def test_half_precision_logits_are_subtracted_in_float32() -> None:
    logits = torch.tensor([[[0.5, 256.0]]]).bfloat16()
    assert float(logits[..., 1] - logits[..., 0]) == 256.0
    assert log_odds(logits).tolist() == [[255.5]]
    assert cross_entropy(logits, torch.tensor([[0]])).tolist() == [[255.5]]


def test_the_margin_is_positive_on_the_side_of_the_label() -> None:
    logits = torch.tensor([[[1.0, 3.0], [1.0, 3.0]]])
    assert margin(logits, torch.tensor([[1, 0]])).tolist() == [[2.0, -2.0]]


def test_the_training_loss_weighs_heads_as_published() -> None:
    logits, labels = torch.randn(3, 1, 4, 2), torch.tensor([[0, 1, 1, 0]])
    av, a, v = (cross_entropy(one, labels) for one in logits)
    heads = {"logits_a": logits[1], "logits_v": logits[2]}
    talknet = output_of(logits[0], **heads)
    light_asd = output_of(logits[0], logits_v=logits[2])
    torch.testing.assert_close(cross_entropy_all(talknet, labels), av + 0.4 * a + 0.4 * v)
    torch.testing.assert_close(cross_entropy_all(light_asd, labels), av + 0.5 * v)
    torch.testing.assert_close(cross_entropy_all(output_of(logits[0]), labels), av)


def test_a_training_loss_is_the_mean_over_valid_frames() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0], [6.0, 100.0, 100.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert float(over_frames(values, mask)) == 3.0


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("targeted", [False, True])
def test_every_objective_rises_where_scores_go_the_wanted_way(name: str, targeted: bool) -> None:
    detector = LinearDetector()
    batch = random_batch((4,))
    output = detector(**batch.inputs)
    wanted = torch.tensor([[1, 1, 0, 0]])
    goal = Goal(
        labels=wanted if targeted else 1 - wanted,
        targeted=targeted,
        centres=Centres(audio=torch.tensor([[-9.0], [9.0]]), visual=torch.tensor([[-9.0], [9.0]])),
    )
    objective = build_objective(name, goal)
    step = torch.where(wanted == 1, 1.0, -1.0)[..., None]
    near = torch.zeros_like(output.logits[..., :1])

    def at(shift: float) -> Output:
        e = near + shift * step
        return detector.fuse(e, e, batch.n_frames)

    low, high = objective.ascend(at(0.0)), objective.ascend(at(1.0))
    assert low.shape == (1, 4)
    assert bool((high > low).all())
    assert bool((objective.judge(at(1.0)) > objective.judge(at(0.0))).all())


def test_centres_are_means_of_valid_frames_of_each_class() -> None:
    e = torch.tensor([[[1.0], [3.0], [100.0]], [[10.0], [20.0], [30.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    labels = torch.tensor([[0, 0, 0], [1, 1, 0]])
    output = Output(logits=torch.zeros(2, 3, 2), mask=mask, e_a=e, e_v=-e)
    centres = class_centres(output, labels)
    expected = torch.tensor([[34 / 3], [15.0]])
    torch.testing.assert_close(centres.audio, expected)
    torch.testing.assert_close(centres.visual, -expected)


def test_the_feature_objective_is_largest_at_the_other_centre() -> None:
    detector = ConvDetector().eval()
    batch = random_batch((4,))
    output = detector(**batch.inputs)
    assert batch.speaking is not None
    centres = class_centres(output, batch.speaking)
    objective = build_objective("feature", Goal(labels=batch.speaking, centres=centres))
    other = 1 - batch.speaking
    moved = Output(
        logits=output.logits, mask=output.mask, e_a=centres.audio[other], e_v=centres.visual[other]
    )
    assert objective.ascend(moved).tolist() == [[0.0] * 4]
    assert bool((objective.ascend(output) < 0).all())


def test_a_class_without_frames_has_no_centre() -> None:
    output = ConvDetector().eval()(**random_batch((2,)).inputs)
    with pytest.raises(ConfigError, match="2 silent and 0 speaking"):
        class_centres(output, torch.zeros(1, 2, dtype=torch.long))


def test_the_feature_objective_without_centres_is_refused() -> None:
    with pytest.raises(ConfigError, match="centres="):
        build_objective("feature", Goal(labels=torch.zeros(1, 1, dtype=torch.long)))


def test_an_unknown_objective_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="all, av, feature, flips, margin"):
        build_objective("ce", Goal(labels=torch.zeros(1, 1, dtype=torch.long)))
