import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pushpull import attack, load
from pushpull.attacks import threat
from pushpull.attacks.threat import MOST_EPS, Ball, Region, Threat
from pushpull.attacks.threat import NORMS as NORM_NAMES
from pushpull.data import open_tracks
from pushpull.errors import BudgetError, ConfigError, ShapeError, UnknownName
from pushpull.schema import GRID, Batch

MODALITIES = st.sampled_from(("audio", "visual"))
NORMS = st.sampled_from(("linf", "l2"))
DTYPES = st.sampled_from((torch.float32, torch.float64))


def clean_tensor(modality: str, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows with values of all sizes: at the borders, 0, near them, and ordinary."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 40) if modality == "audio" else (3, 5, 4, 2)
    low, high = (-1.0, 1.0) if modality == "audio" else (0.0, 255.0)
    x = torch.rand(shape, generator=generator, dtype=dtype) * (high - low) + low
    kind = torch.randint(5, shape, generator=generator)
    x[kind == 0], x[kind == 1], x[kind == 2] = low, high, 0.0
    return torch.where(kind == 3, x * 10 ** (-12 * torch.rand(shape, generator=generator)), x)


def region(
    modality: str, clean: Tensor, eps: float, norm: str, *, quantise: bool = False
) -> Region:
    ball = Ball.of(modality, eps, norm, quantise=quantise)
    size = clean.shape[1]
    if quantise:
        clean = ((clean / GRID[modality]).round() * GRID[modality]).clamp(ball.low, ball.high)
    return Region(modality, clean, torch.tensor([size, size - 2, 1]), ball)


@settings(max_examples=200, deadline=None)
@given(
    modality=MODALITIES,
    norm=NORMS,
    dtype=DTYPES,
    quantise=st.booleans(),
    log_eps=st.floats(-9, 3),
    log_size=st.floats(-4, 4),
    seed=st.integers(0, 2**31),
)
def test_a_projected_change_keeps_budget_range_grid_and_padding_exactly(
    modality: str,
    norm: str,
    dtype: torch.dtype,
    quantise: bool,
    log_eps: float,
    log_size: float,
    seed: int,
) -> None:
    eps = 10**log_eps
    space = region(modality, clean_tensor(modality, seed, dtype), eps, norm, quantise=quantise)
    clean, lengths = space.clean, space.lengths
    generator = torch.Generator().manual_seed(seed)
    anything = torch.randn(clean.shape, generator=generator, dtype=dtype) * eps * 10**log_size
    for delta in (space.project(anything), space.start(generator), space.noise(generator)):
        x = space.place(delta)
        space.verify(x)
        assert x.dtype == dtype
        for row in range(3):
            n = int(lengths[row])
            assert torch.equal(x[row, n:], clean[row, n:])
            for precision in (dtype, torch.float64):
                change = x[row].to(precision) - clean[row].to(precision)
                measured = change.abs().max() if norm == "linf" else change.double().norm()
                assert float(measured) <= eps
        assert float(x.min()) >= (-1 if modality == "audio" else 0)
        assert float(x.max()) <= (1 if modality == "audio" else 255)
        if quantise:
            assert torch.equal(x / GRID[modality], (x / GRID[modality]).round())


@settings(max_examples=50, deadline=None)
@given(modality=MODALITIES, log_eps=st.floats(-6, 2), seed=st.integers(0, 2**31))
def test_linf_projection_is_the_nearest_allowed_point(
    modality: str, log_eps: float, seed: int
) -> None:
    eps = 10**log_eps
    clean = clean_tensor(modality, seed, torch.float64)
    space = region(modality, clean, eps, "linf")
    delta = torch.randn(clean.shape, dtype=torch.float64) * 2 * eps
    low, high = (-1, 1) if modality == "audio" else (0, 255)
    nearest = (clean + delta.clamp(-eps, eps)).clamp(low, high)
    inside = torch.arange(clean.shape[1]) < space.lengths[:, None]
    nearest = torch.where(inside.view(*inside.shape, *[1] * (clean.dim() - 2)), nearest, clean)
    torch.testing.assert_close(space.place(space.project(delta)), nearest, rtol=1e-14, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(modality=MODALITIES, norm=NORMS, quantise=st.booleans(), seed=st.integers(0, 2**31))
def test_what_was_projected_and_placed_stays_where_it_is(
    modality: str, norm: str, quantise: bool, seed: int
) -> None:
    eps = 3.0 if norm == "linf" else 10.0
    eps = eps if modality == "visual" else eps / 10_000
    space = region(
        modality, clean_tensor(modality, seed, torch.float64), eps, norm, quantise=quantise
    )
    x = space.place(space.project(torch.randn(space.clean.shape, dtype=torch.float64) * eps * 3))
    again = space.place(space.project(x - space.clean))
    torch.testing.assert_close(again, x, rtol=0, atol=1e-5 * eps)
    torch.testing.assert_close(space.place(torch.zeros_like(x)), space.clean, rtol=0, atol=0)


def test_what_is_held_of_small_inputs_changes_nothing(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(3, 50, generator=generator) * 2 - 1
    delta = torch.randn(3, 50, generator=generator)
    up = delta > 0

    def found() -> list[torch.Tensor]:
        region = Region("audio", clean, torch.tensor([50, 1, 20]), Ball.of("audio", 0.3))
        return [region.project(delta), region.to_edge(up), region.project(-delta)]

    held = found()
    monkeypatch.setattr(threat, "HELD_BYTES", -1)
    for one, other in zip(held, found(), strict=True):
        assert torch.equal(one, other)


def test_many_small_steps_are_not_lost_to_rounding() -> None:
    clean = torch.full((1, 4), 0.9)
    space = Region("audio", clean, torch.tensor([4]), Ball.of("audio", 1e-4))
    delta = torch.zeros_like(clean)
    for _ in range(1000):
        delta = space.project(delta + 1e-7)
    # A tenth of one float32 step at 0.9 is all that may be missing.
    torch.testing.assert_close(
        space.place(delta) - clean, torch.full_like(clean, 1e-4), atol=6e-8, rtol=0
    )


def test_a_long_l2_change_on_the_grid_keeps_its_largest_elements() -> None:
    clean = torch.full((1, 100, 1, 1), 100.0)
    space = Region(
        "visual", clean, torch.tensor([100]), Ball.of("visual", 2.0, "l2", quantise=True)
    )
    # Every element moves by less than half a grey level, and rounding each would leave nothing.
    delta = space.project(torch.linspace(0.1, 0.3, 100).view(1, 100, 1, 1))
    changed = (space.place(delta) - clean).flatten()
    assert changed[-4:].tolist() == [1.0] * 4
    assert float(changed.abs().sum()) == 4.0


def test_push_pull_budgets_are_the_floats_one_would_write() -> None:
    for eps_av, audio, visual in ((1, 1e-4, 0.1), (3, 3e-4, 0.3), (5, 5e-4, 0.5)):
        balls = Threat.of(eps_av).balls
        assert (balls["audio"].eps, balls["visual"].eps) == (audio, visual)
        assert (balls["audio"].low, balls["audio"].high) == (-1.0, 1.0)
        assert (balls["visual"].low, balls["visual"].high) == (0.0, 255.0)


def test_one_modality_is_attacked_alone() -> None:
    assert Threat.of(5, modality="audio").modalities == ("audio",)
    assert Threat.of({"visual": 2.0}, modality="visual", norm="L2").balls["visual"].norm == "l2"


def test_a_quantised_waveform_has_no_plus_one() -> None:
    assert Threat.of(5, quantise=True).balls["audio"].high == 1 - 2**-15


@pytest.mark.parametrize("eps", [-1.0, math.nan, math.inf, 1e300, {"audio": -1e-4, "visual": 1.0}])
def test_a_budget_that_is_no_budget_is_refused(eps: float) -> None:
    with pytest.raises(ConfigError, match="expected a finite number, 0 or more"):
        Threat.of(eps)


@pytest.mark.parametrize("norm", NORM_NAMES)
def test_the_largest_budget_of_all_is_one_that_attacks_use(dataset, norm) -> None:
    """Steps that were no numbers left the clip as it was and every frame right."""
    tracks = open_tracks(dataset, "test")
    batch = Batch.from_clips([tracks[i].clip for i in range(len(tracks))])
    eps = {"audio": MOST_EPS, "visual": MOST_EPS}
    found = attack(load("synthetic-a"), batch, "pgd", eps=eps, steps=3, norm=norm)
    for now, before, far in (
        (found.waveform, batch.waveform, 0.1),
        (found.faces, batch.faces, 10.0),
    ):
        assert now.isfinite().all()
        assert float((now - before).abs().max()) > far


def test_budgets_for_other_modalities_than_those_attacked_are_refused() -> None:
    with pytest.raises(ConfigError, match="given for audio; expected it for audio, visual"):
        Threat.of({"audio": 1e-4})


def test_unknown_words_list_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="audio, both, visual"):
        Threat.of(5, modality="video")
    with pytest.raises(UnknownName, match="l2, linf"):
        Threat.of(5, norm="l1")


def test_a_clean_input_out_of_range_is_refused() -> None:
    ball = Ball.of("audio", 1e-4)
    with pytest.raises(ShapeError, match=r"values in .*1\.5; expected -1\.\.1"):
        Region("audio", torch.tensor([[0.0, 1.5]]), torch.tensor([2]), ball)
    with pytest.raises(ShapeError, match="nan"):
        Region("audio", torch.tensor([[0.0, math.nan]]), torch.tensor([2]), ball)
    with pytest.raises(ShapeError, match="float16"):
        Region("audio", torch.zeros(1, 2, dtype=torch.float16), torch.tensor([2]), ball)


def test_a_clean_input_off_the_grid_is_refused_for_a_quantised_attack() -> None:
    with pytest.raises(ShapeError, match="off the grid"):
        Region(
            "visual",
            torch.full((1, 1, 1, 1), 0.5),
            torch.tensor([1]),
            Ball.of("visual", 2.0, quantise=True),
        )


def test_a_budget_below_a_grid_step_vanishes() -> None:
    clean = torch.zeros(1, 1, 1, 1)
    small, large = (
        Region("visual", clean, torch.tensor([1]), Ball.of("visual", eps, quantise=True))
        for eps in (0.9, 1.0)
    )
    assert small.vanished
    assert not large.vanished
    assert torch.equal(small.place(small.noise(torch.Generator())), clean)


class TestVerify:
    """The verifier sees each way out of the threat model."""

    clean = torch.tensor([[0.5, 0.25, 0.0], [0.5, 0.25, 0.0]])

    def region(self, norm: str = "linf", *, quantise: bool = False) -> Region:
        ball = Ball.of("audio", 1e-3, norm, quantise=quantise)
        return Region("audio", self.clean, torch.tensor([3, 2]), ball)

    def with_change(self, row: int, column: int, change: float) -> Tensor:
        x = self.clean.clone()
        x[row, column] += change
        return x

    def test_the_clean_input_is_allowed(self) -> None:
        self.region().verify(self.clean)

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_one_float_above_the_budget_is_seen(self, norm: str) -> None:
        x = self.clean.clone()
        x[1, 1] = torch.nextafter(torch.tensor(0.251), torch.tensor(1.0))
        with pytest.raises(BudgetError, match=f"row 1 has {norm} norm 0.00100.*budget is 0.001"):
            self.region(norm).verify(x)

    def test_padding_is_seen(self) -> None:
        with pytest.raises(BudgetError, match="padding of row 1; expected only its first 2"):
            self.region().verify(self.with_change(1, 2, 1e-9))

    def test_range_is_seen(self) -> None:
        ball = Ball.of("audio", 1.0)
        wide = Region("audio", self.clean, torch.tensor([3, 3]), ball)
        with pytest.raises(BudgetError, match=r"values in .*expected -1\.\.1"):
            wide.verify(self.with_change(0, 0, 0.75))

    def test_nan_is_seen(self) -> None:
        with pytest.raises(BudgetError, match="nan"):
            self.region().verify(self.with_change(0, 0, math.nan))

    def test_off_the_grid_is_seen(self) -> None:
        with pytest.raises(BudgetError, match="off the grid"):
            self.region(quantise=True).verify(self.with_change(0, 0, 1e-5))

    def test_another_type_or_shape_is_seen(self) -> None:
        with pytest.raises(BudgetError, match="float64; expected"):
            self.region().verify(self.clean.double())
        with pytest.raises(BudgetError, match=r"\(1, 3\)"):
            self.region().verify(self.clean[:1])
