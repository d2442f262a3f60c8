"""AVIL: by hand, by finite differences, and the same for any padding, order and process count."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushpull.errors import ConfigError, UnknownName
from pushpull.losses import cross_entropy_all
from pushpull.losses.avil import DISTANCES, L3_READINGS, Avil, interaction_terms, training_loss
from pushpull.schema import Output

EVERY = Avil(l1=1, l2=1, l3=1, l4=1)


def output_of(e_a, e_v, mask=None) -> Output:
    mask = torch.ones(e_a.shape[:2], dtype=torch.bool) if mask is None else mask
    logits = torch.stack((e_a.sum(-1), e_v.sum(-1)), -1)
    return Output(logits=logits, mask=mask, logits_a=logits / 2, logits_v=-logits, e_a=e_a, e_v=e_v)


def random_output(seed=0, shape=(3, 5, 4), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    e_a, e_v = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    labels = torch.randint(0, 2, shape[:2], generator=generator)
    labels[0, :2] = torch.tensor([0, 1])
    return output_of(e_a, e_v), labels


def test_worked_by_hand() -> None:
    # Two silent frames and one that speaks, in the plane.
    e_a = torch.tensor([[[2.0, 0.0], [0.0, 2.0], [3.0, 0.0]]], dtype=torch.float64)
    e_v = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    labels = torch.tensor([[0, 0, 1]])
    # Centres: audio silent (1, 1), speaking (3, 0); visual silent (1, 0), speaking (0, 4).
    terms = interaction_terms(output_of(e_a, e_v), labels, EVERY)
    half = math.sqrt(0.5)
    assert float(terms["l1"]) == pytest.approx(half + 0)
    assert float(terms["l2"]) == pytest.approx((half + half + 1) / 3 + 1)
    assert float(terms["l3"]) == pytest.approx(half + 0)
    assert float(terms["l4"]) == pytest.approx((1 + math.sqrt(5) + 5) / 3)
    other = replace(EVERY, l3_reading="distance", l4_distance="squared")
    terms = interaction_terms(output_of(e_a, e_v), labels, other)
    assert float(terms["l3"]) == pytest.approx((1 - half) + 1)
    assert float(terms["l4"]) == pytest.approx((1 + 5 + 25) / 3)
    terms = interaction_terms(output_of(e_a, e_v), labels, replace(EVERY, l4_distance="cosine"))
    assert float(terms["l4"]) == pytest.approx((0 + 1 + 1) / 3)


def test_the_total_has_the_directions_of_the_paper() -> None:
    output, labels = random_output()
    weights = Avil(l1=0.5, l2=2.0, l3=3.0, l4=0.25)
    terms = training_loss(output, labels, weights)
    ce_all = cross_entropy_all(output, labels).mean()
    signed = 0.5 * terms["l1"] - 2 * terms["l2"] - 3 * terms["l3"] + 0.25 * terms["l4"]
    assert float(terms["ce_all"]) == pytest.approx(float(ce_all))
    assert float(terms["total"]) == pytest.approx(float(ce_all + signed))
    alone = training_loss(output, labels, Avil())
    assert float(alone["total"]) == pytest.approx(float(ce_all))
    assert not {"l1", "l2", "l3", "l4"} & set(alone)
    assert float(terms["norm_a"]) == pytest.approx(float(output.e_a.norm(dim=-1).mean()))


@pytest.mark.parametrize("term", ["l1", "l2", "l3", "l4"])
@pytest.mark.parametrize("reading", L3_READINGS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_gradients_are_those_of_finite_differences(term, reading, distance) -> None:
    output, labels = random_output(1, (2, 3, 3))
    weights = replace(Avil(l3_reading=reading, l4_distance=distance), **{term: 1.0})

    def value(e_a, e_v):
        return interaction_terms(output_of(e_a, e_v), labels, weights)[term]

    inputs = (output.e_a.requires_grad_(), output.e_v.requires_grad_())
    assert torch.autograd.gradcheck(value, inputs)


@given(st.integers(0, 1000), st.integers(0, 4), st.permutations([0, 1, 2]))
def test_padding_and_order_of_clips_change_nothing(seed, padding, order) -> None:
    output, labels = random_output(seed)
    expected = training_loss(output, labels, EVERY)
    generator = torch.Generator().manual_seed(seed)
    junk = 100 * torch.randn((3, padding, 4), generator=generator, dtype=torch.float64)
    mask = torch.cat((output.mask, torch.zeros(3, padding, dtype=torch.bool)), 1)
    more = torch.randint(0, 2, (3, padding), generator=generator)
    padded = output_of(
        torch.cat((output.e_a, junk), 1)[order],
        torch.cat((output.e_v, -junk), 1)[order],
        mask[order],
    )
    found = training_loss(padded, torch.cat((labels, more), 1)[order], EVERY)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-9), name


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_l1_and_half_of_l3(label) -> None:
    output, _ = random_output()
    labels = torch.full((3, 5), label)
    output.e_a.requires_grad_()
    terms = training_loss(output, labels, EVERY)
    assert float(terms["l1"].detach()) == 0
    centres = (output.e_a.mean((0, 1)), output.e_v.mean((0, 1)))
    expected = torch.cosine_similarity(*centres, 0)
    assert torch.allclose(terms["l3"], expected)
    terms["total"].backward()
    assert bool(output.e_a.grad.isfinite().all())


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_the_length_of_embeddings_does_not_matter_where_it_is_one(seed, factor) -> None:
    output, labels = random_output(seed)
    unit = replace(EVERY, embeddings="unit")
    expected = interaction_terms(output, labels, unit)
    longer = output_of(factor * output.e_a, output.e_v / factor)
    for name, value in interaction_terms(longer, labels, unit).items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-9), name
    # L4 cannot be met by shrinking: of unit vectors it is the angle between them.
    shrunk = output_of(output.e_a / 1e3, output.e_v / 1e3)
    assert float(interaction_terms(shrunk, labels, EVERY)["l4"]) < 0.01
    assert float(interaction_terms(shrunk, labels, unit)["l4"]) > 0.1


@given(st.integers(0, 5), st.integers(0, 5))
def test_terms_begin_and_rise_as_asked(start, ramp) -> None:
    avil = Avil(l1=0.5, l4=2.0, start_epochs=start, ramp_epochs=ramp)
    weights = [avil.at(epoch).l4 for epoch in range(1, 13)]
    assert weights == sorted(weights)
    assert all(w == 0 for w in weights[:start])
    assert weights[start] > 0
    assert weights[start + max(ramp, 1) - 1 :] == [2.0] * (13 - start - max(ramp, 1))
    assert avil.at(12) == Avil(l1=0.5, l4=2.0)
    assert Avil(l1=0.5).at(1) == Avil(l1=0.5)


def test_equal_embeddings_have_a_finite_gradient() -> None:
    e = torch.ones(1, 2, 3, requires_grad=True)
    interaction_terms(output_of(e, e), torch.tensor([[0, 1]]), EVERY)["l4"].backward()
    assert bool(e.grad.isfinite().all())


def test_half_precision_is_summed_in_float32() -> None:
    output, labels = random_output(2, (4, 50, 8), torch.float32)
    half = output_of(output.e_a.bfloat16(), output.e_v.bfloat16())
    assert interaction_terms(half, labels, EVERY)["l2"].dtype == torch.float32


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the weight of l2 is -1\.0"):
        Avil(l2=-1.0)
    with pytest.raises(UnknownName, match="unknown reading of L3 'both'"):
        Avil(l3_reading="both")
    with pytest.raises(UnknownName, match="unknown distance of L4 'manhattan'"):
        Avil(l4_distance="manhattan")
    with pytest.raises(UnknownName, match="unknown embeddings 'whitened'"):
        Avil(embeddings="whitened")
    with pytest.raises(ConfigError, match="ramp_epochs is -1"):
        Avil(ramp_epochs=-1)
    output, labels = random_output()
    with pytest.raises(ConfigError, match="gives no embeddings"):
        training_loss(replace(output, e_a=None), labels, EVERY)
