"""What an attacker may do: a norm, a budget and a valid range for each modality.

A waveform lives in [-1, 1], faces in 0..255. The budget is written either for each modality in its
own units, or as one number `eps_av` as in Push-Pull: eps_a = eps_av * 1e-4 and
eps_v = eps_av * 1e-1. An L2 budget bounds the norm of a whole row of a tensor: one clip's waveform
or faces, padding not counted.

Budgets hold exactly, with no tolerance: an adversary x' of x has |x' - x| <= eps as a difference of
the returned numbers, whether it is measured in their own precision or in float64. Adding a change
to x rounds, so x' is put back by one float where that led out. L2 norms are sums in float64, and
kept one millionth below the budget for the rounding of their elements; a sum of as many squares in
float32 may itself be off by more.

Attacks add up their steps as changes, not as values: near 1, float32 has a spacing of 6e-8, and a
hundred steps of 1e-6 on a waveform itself would lose some per cent of their length.

Source: the threat model of Chen et al., "Push-Pull", SLT 2022, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pushpull.errors import BudgetError, ConfigError, PushPullError, ShapeError, UnknownName
from pushpull.schema import GRID, length_mask

__all__ = ["MODALITIES", "NORMS", "Ball", "Region", "Size", "Threat", "per_modality"]

MODALITIES = {"audio": ("audio",), "visual": ("visual",), "both": ("audio", "visual")}
"""What a user calls a modality -> the inputs that are attacked."""

NORMS = ("linf", "l2")

# Divisors, not factors: 3 / 10_000 is the float that "3e-4" is, 3 * 1e-4 is not.
EPS_AV_DIVISOR = {"audio": 10_000, "visual": 10}

RANGE = {"audio": (-1.0, 1.0), "visual": (0.0, 255.0)}
MOST_EPS = 1e9
"""No norm of any clip's whole range is as large, and steps of it are still numbers in float32."""

HELD_BYTES = 16 * 2**20
"""Inputs up to this size have the room around them held, which takes twice as much again."""

L2_MARGIN = 1e-6
BISECTIONS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """What one modality may become.

    Attributes:
        eps: Budget, in the units of the modality.
        norm: "linf" or "l2".
        low: Least valid value.
        high: Greatest valid value.
        grid: Adversaries are multiples of this; None if they may be any float.

    Examples:
        >>> from pushpull.attacks.threat import Ball
        >>> Ball.of("visual", 0.5)
        Ball(eps=0.5, norm='linf', low=0.0, high=255.0, grid=None)
    """

    eps: float
    norm: str
    low: float
    high: float
    grid: float | None = None

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise UnknownName("norm", self.norm, NORMS)
        if not 0 <= self.eps <= MOST_EPS:
            raise ConfigError(
                f"eps is {self.eps}; expected a finite number, 0 or more (at most {MOST_EPS:g})"
            )

    @classmethod
    def of(cls, modality: str, eps: float, norm: str = "linf", *, quantise: bool = False) -> Ball:
        """The ball of a modality, in its valid range, on the grid of a file if `quantise`.

        Examples:
            >>> from pushpull.attacks.threat import Ball
            >>> Ball.of("audio", 5e-4, quantise=True).high  # int16 has no +1.0
            0.999969482421875
        """
        low, high = RANGE[modality]
        if not quantise:
            return cls(eps=eps, norm=norm, low=low, high=high)
        step = GRID[modality]
        # int16 has no +1.0.
        return cls(
            eps=eps, norm=norm, low=low, high=min(high, 1 - step) if low else high, grid=step
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """The balls of the attacked modalities; an input that is not named stays as it is.

    Examples:
        >>> from pushpull.attacks.threat import Ball, Threat
        >>> Threat(balls={"audio": Ball.of("audio", 5e-4)}).modalities
        ('audio',)
    """

    balls: Mapping[str, Ball]

    @classmethod
    def of(
        cls,
        eps: float | Mapping[str, float],
        *,
        modality: str = "both",
        norm: str = "linf",
        quantise: bool = False,
    ) -> Threat:
        """The threat that users describe with a few words.

        Args:
            eps: Push-Pull's eps_av, or a budget for each attacked modality in its own units.
            modality: "audio", "visual" or "both".
            norm: "linf" or "l2" (or "Linf", "L2").
            quantise: Adversaries are what int16 samples and 8-bit pixels can hold.

        Raises:
            UnknownName: If there is no such modality or norm.
            ConfigError: If eps is negative, not finite, or not given for just the modalities.

        Examples:
            >>> from pushpull.attacks.threat import Threat
            >>> threat = Threat.of(5)  # Push-Pull's eps_av
            >>> {name: ball.eps for name, ball in threat.balls.items()}
            {'audio': 0.0005, 'visual': 0.5}
            >>> Threat.of({"visual": 2.0}, modality="visual", norm="l2").balls["visual"].norm
            'l2'
        """
        if modality not in MODALITIES:
            raise UnknownName("modality", modality, MODALITIES)
        if norm.lower() not in NORMS:
            raise UnknownName("norm", norm, NORMS)
        budgets = per_modality("eps", eps, MODALITIES[modality])
        return cls(
            balls={
                name: Ball.of(name, budget, norm.lower(), quantise=quantise)
                for name, budget in budgets.items()
            }
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """The attacked modalities."""
        return tuple(self.balls)


def per_modality(
    what: str, value: float | Mapping[str, float], modalities: Iterable[str]
) -> dict[str, float]:
    """A setting for each modality; a single number is in units of eps_av.

    Raises:
        ConfigError: If a number is negative or not finite, or a mapping names other modalities.

    Examples:
        >>> from pushpull.attacks.threat import per_modality
        >>> per_modality("eps", 5, ["audio", "visual"])
        {'audio': 0.0005, 'visual': 0.5}
        >>> per_modality("eps", {"audio": 0.01}, ["audio"])
        {'audio': 0.01}
    """
    names = tuple(modalities)
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise ConfigError(
                f"{what} is given for {', '.join(sorted(value)) or 'nothing'}; "
                f"expected it for {', '.join(names)}"
            )
        numbers = {name: _float(f"{what} of {name}", value[name]) for name in names}
    else:
        number = _float(what, value)
        numbers = {name: number / EPS_AV_DIVISOR[name] for name in names}
    for name, number in numbers.items():
        if not 0 <= number <= MOST_EPS:
            raise ConfigError(
                f"{what} of {name} is {number}; expected a finite number, 0 or more "
                f"(at most {MOST_EPS:g})"
            )
    return numbers


def _float(what: str, value: object) -> float:
    try:
        # Words are no numbers, and whole numbers may be larger than any float.
        return float("no" if isinstance(value, str) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as e:
        raise ConfigError(f"{what} is {str(value)[:24]}; expected a finite number") from e


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Size:
    """How far a tensor is from the clean one, row by row.

    Attributes:
        linf: Largest change (N,) float64.
        l2: Euclidean norm of the change (N,) float64.

    Examples:
        >>> from pushpull.attacks.threat import Ball, Region
        >>> clean = torch.zeros(1, 4)
        >>> region = Region("audio", clean, torch.tensor([4]), Ball.of("audio", 0.5))
        >>> size = region.size(torch.tensor([[0.25, 0.0, 0.0, 0.0]]))
        >>> size.linf, size.l2
        (tensor([0.2500], dtype=torch.float64), tensor([0.2500], dtype=torch.float64))
    """

    linf: Tensor
    l2: Tensor


class Region:
    """The tensors that one clean tensor may become, row by row.

    Attributes:
        name: Modality, for messages.
        clean: (N, L, ...) float32 or float64; axis 1 is time.
        lengths: Valid elements of each row along axis 1 (N,); what lies behind is never changed.
        ball: Budget and range of each row.
        lower: Least value of every element (in an L2 ball: by the range alone).
        upper: Greatest value of every element.

    Raises:
        ShapeError: If the clean tensor is of another type, or out of range or off the grid.

    Examples:
        >>> from pushpull.attacks.threat import Ball, Region
        >>> faces = torch.full((1, 3, 2, 2), 254.0)  # one clip of three frames
        >>> region = Region("visual", faces, torch.tensor([2]), Ball.of("visual", 4.0))
        >>> region.lower[0, 0, 0, 0], region.upper[0, 0, 0, 0]  # up to white
        (tensor(250.), tensor(255.))
        >>> region.upper[0, 2, 0, 0]  # the third frame is padding
        tensor(254.)
    """

    def __init__(self, name: str, clean: Tensor, lengths: Tensor, ball: Ball) -> None:
        if clean.dtype not in (torch.float32, torch.float64):
            raise ShapeError(f"{name} is {clean.dtype}; expected float32 or float64")
        self.name, self.clean, self.lengths, self.ball = name, clean, lengths, ball
        inside = length_mask(lengths, clean.shape[1])
        self._inside = None if bool(inside.all()) else _over(inside, clean)
        self._check_values(clean, ShapeError, "the clean input")
        self.lower, self.upper = self._bounds()
        self._held: list[tuple[Tensor, Tensor]] = []

    @property
    def vanished(self) -> bool:
        """True if nothing but the clean input is allowed, though there is a budget."""
        ball = self.ball
        return ball.eps > 0 and ball.grid is not None and ball.eps < ball.grid

    def project(self, delta: Tensor) -> Tensor:
        """An allowed change near `delta`: the nearest for L_inf, clamped and then scaled for L2.

        Examples:
            >>> from pushpull.attacks.threat import Ball, Region
            >>> ball = Ball.of("audio", 0.5)
            >>> region = Region("audio", torch.zeros(1, 3), torch.tensor([3]), ball)
            >>> region.project(torch.tensor([[2.0, 0.1, -2.0]]))
            tensor([[ 0.5000,  0.1000, -0.5000]])
        """
        near = torch.empty_like(delta)
        for one, row, (below, above) in zip(near, delta, self._rooms(), strict=True):
            torch.clamp(row, below, above, out=one)
        if self.ball.norm == "linf":
            return near
        norms = _norms(near)
        radius = self.ball.eps * (1 - L2_MARGIN)
        factor = torch.where(norms > radius, radius / norms, 1.0)
        return near * _over(factor.to(near.dtype), near)

    def place(self, delta: Tensor) -> Tensor:
        """The clean tensor with an allowed change, rounded so that it keeps to the budget.

        On a grid, what is returned is on it. In an L2 ball that is the longest rounded change along
        `delta` that is no longer than `delta`: rounding each element alone would leave nothing of a
        change of many small elements.

        Examples:
            >>> from pushpull.attacks.threat import Ball, Region
            >>> ball = Ball.of("visual", 2.0, quantise=True)
            >>> region = Region("visual", torch.full((1, 1, 1, 2), 100.0), torch.tensor([1]), ball)
            >>> region.place(torch.tensor([[[[1.6, -1.4]]]]))
            tensor([[[[102.,  99.]]]])
        """
        grid = self.ball.grid
        if self.ball.norm == "l2":
            x = _towards(self.clean, delta) if grid is None else self._longest(delta, grid)
            return x.clamp_(self.lower, self.upper)
        x = self.clean + delta
        if grid is not None:
            x = (x / grid).round_().mul_(grid)
        return x.clamp_(self.lower, self.upper)

    def start(self, generator: torch.Generator) -> Tensor:
        """A random change: uniform in the ball, then put into the range."""
        if self.ball.norm == "linf":
            noise = torch.rand(self.clean.shape, generator=generator, dtype=self.clean.dtype)
            return self.project(noise.sub_(0.5).mul_(2 * self.ball.eps).to(self._device))
        # The share of a ball in n dimensions within radius r is r^n.
        share = torch.rand(len(self.clean), generator=generator, dtype=torch.float64)
        sizes = self.lengths * math.prod(self.clean.shape[2:])
        return self._gaussian(generator, self.ball.eps * share ** (1 / sizes.cpu()))

    def noise(self, generator: torch.Generator) -> Tensor:
        """A random change that takes all of the budget: a corner, or a point of the L2 sphere."""
        if self.ball.norm == "linf":
            signs = torch.rand(self.clean.shape, generator=generator) < 0.5
            return self.to_edge(signs.to(self._device))
        return self._gaussian(generator, torch.tensor(self.ball.eps, dtype=torch.float64))

    def to_edge(self, up: Tensor) -> Tensor:
        """The greatest change of each element of an L_inf ball, upwards where `up`."""
        edge = torch.empty_like(self.clean)
        for one, row, (below, above) in zip(edge, up, self._rooms(), strict=True):
            torch.where(row, above, below, out=one)
        return edge

    def edge_of(self, row: int, window: tuple[slice, ...], up: Tensor) -> Tensor:
        """The same in a window of one row: `up` and what is returned are of its shape.

        Examples:
            >>> from pushpull.attacks.threat import Ball, Region
            >>> region = Region(
            ...     "audio", torch.zeros(1, 4), torch.tensor([4]), Ball.of("audio", 0.5)
            ... )
            >>> region.edge_of(0, (slice(1, 3),), torch.tensor([True, False]))
            tensor([ 0.5000, -0.5000])
        """
        clean = self.clean[row][window]
        bounds = torch.where(up, self.upper[row][window], self.lower[row][window])
        return bounds - clean

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length 1 in this norm that the loss rises most along; 0 where it is flat."""
        if self.ball.norm == "linf":
            return gradient.sign()
        gradient = self.valid(gradient)
        # Gradients of a confident model are far too small to be squared.
        largest = gradient.flatten(1).abs().amax(1)
        gradient = gradient / _over(largest.where(largest > 0, 1.0), gradient)
        norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return gradient / _over(norms.where(norms > 0, 1.0), gradient)

    def valid(self, x: Tensor) -> Tensor:
        """`x` with zeros behind the end of each row."""
        return x if self._inside is None else x.masked_fill(~self._inside, 0.0)

    def size(self, x: Tensor) -> Size:
        """How far `x` is from the clean tensor."""
        changes = [(_largest(delta), _length(delta)) for delta in self._changes(x)]
        largest, lengths = zip(*changes, strict=True)
        return Size(linf=torch.stack(largest), l2=torch.stack(lengths))

    def verify(self, x: Tensor) -> Size:
        """How far `x` is from the clean tensor, measured anew.

        Raises:
            BudgetError: If `x` is outside the ball, the range or the grid, changes what lies behind
                the end of a row, or is of another shape or type than the clean tensor.

        Examples:
            >>> from pushpull.attacks.threat import Ball, Region
            >>> ball = Ball.of("audio", 0.5)
            >>> region = Region("audio", torch.zeros(1, 3), torch.tensor([3]), ball)
            >>> region.verify(torch.full((1, 3), 0.5)).linf
            tensor([0.5000], dtype=torch.float64)
            >>> region.verify(torch.full((1, 3), 0.6))
            Traceback (most recent call last):
                ...
            pushpull.errors.BudgetError: the adversarial audio of row 0 has linf norm
            0.600000024; the budget is 0.5
        """
        clean = self.clean
        if x.shape != clean.shape or x.dtype != clean.dtype:
            raise BudgetError(
                f"the adversarial {self.name} is {tuple(x.shape)} {x.dtype}; "
                f"expected {tuple(clean.shape)} {clean.dtype}, as the clean one"
            )
        self._check_values(x, BudgetError, "the adversary")
        for row, n in enumerate(self.lengths.tolist()):
            if not torch.equal(x[row, n:], clean[row, n:]):
                raise BudgetError(
                    f"the adversarial {self.name} changes the padding of row {row}; "
                    f"expected only its first {n} to change"
                )
        size = self.size(x)
        norms = size.linf if self.ball.norm == "linf" else size.l2
        if bool((norms > self.ball.eps).any()):
            row = _first(norms > self.ball.eps)
            raise BudgetError(
                f"the adversarial {self.name} of row {row} has {self.ball.norm} norm "
                f"{float(norms[row]):.9g}; the budget is {self.ball.eps:.9g}"
            )
        return size

    @property
    def _device(self) -> torch.device:
        return self.clean.device

    def _bounds(self) -> tuple[Tensor, Tensor]:
        clean, ball = self.clean, self.ball
        if ball.norm == "linf":
            # Rounded down to the type of the tensor, so that a measured difference cannot exceed it
            # by being rounded itself.
            eps = _at_most(ball.eps, clean.dtype)
            if ball.grid is not None:
                eps = math.floor(eps / ball.grid) * ball.grid
            lower, upper = _around(clean, eps)
            lower.clamp_(min=ball.low)
            upper.clamp_(max=ball.high)
        else:
            lower = torch.full_like(clean, ball.low)
            upper = torch.full_like(clean, ball.high)
        for row, n in enumerate(self.lengths.tolist()):
            lower[row, n:] = upper[row, n:] = clean[row, n:]
        return lower, upper

    def _rooms(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Least and greatest change of each row; where they are large, made anew each time."""
        if self.clean.nbytes > HELD_BYTES:
            return self._made_rooms()
        if not self._held:
            self._held = list(self._made_rooms())
        return self._held

    def _made_rooms(self) -> Iterator[tuple[Tensor, Tensor]]:
        for lower, upper, clean in zip(self.lower, self.upper, self.clean, strict=True):
            yield lower - clean, upper - clean

    def _gaussian(self, generator: torch.Generator, radius: Tensor) -> Tensor:
        noise = torch.randn(self.clean.shape, generator=generator, dtype=self.clean.dtype)
        noise = self.valid(noise.to(self._device))
        scale = radius.to(self._device) / _norms(noise)
        return self.project(noise * _over(scale.to(noise.dtype), noise))

    def _longest(self, delta: Tensor, grid: float) -> Tensor:
        def rounded(scale: Tensor) -> Tensor:
            steps = (delta * _over(scale.to(delta.dtype), delta) / grid).round_()
            return steps.mul_(grid).add_(self.clean).clamp_(self.lower, self.upper)

        # The length of a projected change may be short of the budget by the margin.
        longest = (_norms(delta) * (1 + 2 * L2_MARGIN)).clamp(max=self.ball.eps)
        largest = delta.flatten(1).abs().amax(1).double()
        low = torch.zeros_like(largest)
        high = torch.where(largest > 0, (0.5 * grid + longest) / largest, 0.0)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            lengths = [_length(delta) for delta in self._changes(rounded(middle))]
            fits = torch.stack(lengths) <= longest
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
        return rounded(low)

    def _changes(self, x: Tensor) -> Iterator[Tensor]:
        """Change of each row, float64: row by row, as copies of whole batches are large."""
        for one, clean in zip(x, self.clean, strict=True):
            yield one.to(torch.float64, copy=True).sub_(clean)

    def _check_values(self, x: Tensor, error: type[PushPullError], what: str) -> None:
        ball = self.ball
        for row, n in zip(x, self.lengths.tolist(), strict=True):
            valid = row[:n]
            if not valid.numel():
                continue
            low, high = (float(end) for end in torch.aminmax(valid))
            # Comparisons with NaN are false, so this asks for what is right.
            if not (low >= ball.low and high <= ball.high):
                raise error(
                    f"{self.name} of {what} has values in {low:.9g}..{high:.9g}; "
                    f"expected {ball.low:.9g}..{ball.high:.9g}"
                )
            if ball.grid is not None and not torch.equal(
                valid / ball.grid, (valid / ball.grid).round()
            ):
                raise error(
                    f"{self.name} of {what} is off the grid; expected multiples of {ball.grid:.9g}"
                )


def _over(rows: Tensor, like: Tensor) -> Tensor:
    """`rows` (N,) or (N, L) with axes added behind, to be broadcast over `like` (N, L, ...)."""
    return rows.view(*rows.shape, *[1] * (like.dim() - rows.dim()))


def _norms(delta: Tensor) -> Tensor:
    """L2 norm of each row (N,) float64."""
    norms: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1, dtype=torch.float64)
    return norms


def _largest(delta: Tensor) -> Tensor:
    low, high = torch.aminmax(delta)
    return torch.maximum(-low, high)


def _length(delta: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(delta)
    return length


def _first(rows: Tensor) -> int:
    return int(rows.nonzero()[0, 0])


def _at_most(value: float, dtype: torch.dtype) -> float:
    """The greatest number of this type that does not exceed `value`."""
    rounded = torch.tensor(value, dtype=dtype)
    if float(rounded) > value:
        rounded = torch.nextafter(rounded, torch.zeros_like(rounded))
    return float(rounded)


def _around(clean: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`clean - eps` and `clean + eps`, rounded so that neither is farther than eps away."""
    lower, upper = clean - eps, clean + eps
    for *sums, centre in zip(lower, upper, clean, strict=True):
        # A sum's difference from its larger term, and from 0, is a float: no need of float64.
        size = centre.abs()
        exact = bool(size.masked_fill_(size == 0, torch.inf).amin() >= eps)
        for one in sums:
            if exact and float(_largest(one - centre)) <= eps:
                continue
            beyond = one.to(torch.float64, copy=True).sub_(centre).abs_() > eps
            if bool(beyond.any()):
                one.copy_(torch.where(beyond, torch.nextafter(one, centre), one))
    return lower, upper


def _towards(clean: Tensor, delta: Tensor) -> Tensor:
    """Sum of both, rounded towards `clean`."""
    x = clean + delta
    beyond = (x.double() - clean.double()).abs() > delta.double().abs()
    return torch.where(beyond, torch.nextafter(x, clean), x)
