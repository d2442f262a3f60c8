"""Pictures of an audit's record, to be saved or shown elsewhere; in words and in rows too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "PICTURED",
    "Pictured",
    "budget_sweep",
    "loss_landscape",
    "loss_swap",
    "step_sweep",
]

Record = Mapping[str, Any]


def step_sweep(record: Record) -> Figure | None:
    """MAP against steps of PGD, with intervals; None where it was not run.

    Examples:
        >>> from pushpull.auditing.plots import step_sweep
        >>> found = [{"average_precision": a, "interval": [a - 0.1, a]} for a in (0.9, 0.6)]
        >>> data = {"steps": [1, 10], "found": found, "claim": 0.7}
        >>> record = {
        ...     "tests": [{"test": "steps", "data": data}],
        ...     "standing": {"clean": 0.95, "chance": 0.45},
        ... }
        >>> step_sweep(record).savefig("step-sweep.png")
    """
    data = _data(record, "steps")
    if data is None:
        return None
    figure, axes = _axes()
    rows = data["found"]
    left = _percent([row["average_precision"] for row in rows])
    axes.plot(data["steps"], left, "o-", label="PGD")
    low, high = (_percent([row["interval"][end] for row in rows]) for end in (0, 1))
    axes.fill_between(data["steps"], low, high, alpha=0.2)
    _lines(axes, record)
    axes.axhline(100 * data["claim"], ls="--", color="tab:orange", label="the claim's attack")
    axes.set(xscale="log", xlabel="steps", ylabel="mAP, %", title="more steps", ylim=(0, 103))
    axes.legend()
    return figure


def budget_sweep(record: Record) -> Figure | None:
    """MAP and accuracy against the budget, up to the whole valid range.

    Examples:
        >>> from pushpull.auditing.plots import budget_sweep
        >>> data = {
        ...     "factors": ["1", "range"],
        ...     "average_precision": [0.6, 0.4],
        ...     "accuracy": [0.5, 0.1],
        ... }
        >>> record = {
        ...     "tests": [{"test": "budgets", "data": data}],
        ...     "standing": {"clean": 0.95, "chance": 0.45},
        ... }
        >>> budget_sweep(record).savefig("budget-sweep.png")
    """
    data = _data(record, "budgets")
    if data is None:
        return None
    figure, axes = _axes()
    names = [f"{name} x" if name != "range" else "whole range" for name in data["factors"]]
    axes.plot(names, _percent(data["average_precision"]), "o-", label="mAP")
    axes.plot(names, _percent(data["accuracy"]), "s:", label="frames right")
    _lines(axes, record)
    axes.set(xlabel="budget", ylabel="%", title="larger budgets", ylim=(0, 103))
    axes.tick_params(axis="x", rotation=45)
    axes.legend()
    return figure


def loss_landscape(record: Record) -> Figure | None:
    """Margin lost over the plane of the gradient's signs and random ones.

    Examples:
        >>> from pushpull.auditing.plots import loss_landscape
        >>> record = {"tests": [{"test": "landscape", "data": {"loss": np.eye(3)}}]}
        >>> loss_landscape(record).savefig("landscape.png")
        >>> loss_landscape({"tests": []}) is None
        True
    """
    data = _data(record, "landscape")
    if data is None:
        return None
    figure, axes = _axes()
    drawn = axes.imshow(data["loss"], origin="lower", extent=(-1, 1, -1, 1), cmap="viridis")
    axes.set(
        xlabel="along the gradient's signs, budgets",
        ylabel="along random signs, budgets",
        title="margin lost, log-odds",
    )
    figure.colorbar(drawn, ax=axes)
    return figure


def loss_swap(record: Record) -> Figure | None:
    """What attacks of equal cost leave with each objective.

    Examples:
        >>> from pushpull.auditing.plots import loss_swap
        >>> data = {"losses": ["all", "margin"], "average_precision": [0.6, 0.5]}
        >>> record = {"tests": [{"test": "losses", "data": data}], "standing": {"chance": 0.45}}
        >>> loss_swap(record).savefig("losses.png")
    """
    bars = _swaps(record)
    if not bars:
        return None
    figure, axes = _axes()
    axes.barh(list(bars), _percent(list(bars.values())))
    axes.axvline(100 * record["standing"]["chance"], ls=":", color="grey")
    axes.set(xlabel="mAP left, %", title="other objectives, equal cost", xlim=(0, 103))
    return figure


FIGURES: dict[str, Callable[[Record], Figure | None]] = {
    "step-sweep": step_sweep,
    "budget-sweep": budget_sweep,
    "losses": loss_swap,
    "landscape": loss_landscape,
}
"""Pictures by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictured:
    """What a picture shows, for those who do not see it and those who go on with its numbers.

    Attributes:
        caption: How it is read, in a sentence.
        alt: Its numbers in words.
        rows: Its numbers, below a header.

    Examples:
        >>> from pushpull.auditing.plots import PICTURED
        >>> data = {"losses": ["all"], "average_precision": [0.6]}
        >>> record = {"tests": [{"test": "losses", "data": data}]}
        >>> PICTURED["losses"].alt(record)
        'Bars of the mAP that attacks of equal cost leave: all 60.0 %.'
        >>> list(PICTURED["losses"].rows(record))
        [('objective', 'average_precision'), ('all', 0.6)]
    """

    caption: str
    alt: Callable[[Record], str]
    rows: Callable[[Record], Iterable[tuple[Any, ...]]]


def _step_words(record: Record) -> str:
    data = _known(record, "steps")
    left = [row["average_precision"] for row in data["found"]]
    names = [f"{n} steps" for n in data["steps"]]
    return f"Curve of the mAP that PGD leaves: {_listed(names, left)}; {_levels(record)}."


def _step_rows(record: Record) -> Iterator[tuple[Any, ...]]:
    data = _known(record, "steps")
    yield ("steps", "average_precision", "low", "high", "accuracy")
    for n, row in zip(data["steps"], data["found"], strict=True):
        yield (n, row["average_precision"], *row["interval"], row["accuracy"])


def _budget_words(record: Record) -> str:
    data = _known(record, "budgets")
    names = [n if n == "range" else f"{n} budgets" for n in data["factors"]]
    return (
        f"Curves of what attacks with other budgets leave, mAP: "
        f"{_listed(names, data['average_precision'])}; frames right: "
        f"{_listed(names, data['accuracy'])}."
    )


def _budget_rows(record: Record) -> Iterator[tuple[Any, ...]]:
    data = _known(record, "budgets")
    yield ("budgets", "average_precision", "accuracy")
    yield from zip(data["factors"], data["average_precision"], data["accuracy"], strict=True)


def _swaps(record: Record) -> dict[str, float]:
    """What each objective leaves, of both tests that try others."""
    found: dict[str, float] = {}
    for name in ("losses", "adaptive"):
        data = _data(record, name)
        if data is not None:
            found |= zip(data["losses"], data["average_precision"], strict=True)
    return found


def _swap_words(record: Record) -> str:
    swaps = _swaps(record)
    return f"Bars of the mAP that attacks of equal cost leave: {_listed(swaps, swaps.values())}."


def _swap_rows(record: Record) -> Iterator[tuple[Any, ...]]:
    yield ("objective", "average_precision")
    yield from _swaps(record).items()


def _slice_words(record: Record) -> str:
    loss = _known(record, "landscape")["loss"]
    middle = len(loss) // 2
    ahead, centre = loss[middle][-1], loss[middle][middle]
    aside = (loss[0][middle] + loss[-1][middle]) / 2
    return (
        f"Heat map of the margin lost around the clips: to the edge of the budget it rises by "
        f"{ahead - centre:.2f} log-odds along the gradient's signs and by {aside - centre:.2f} "
        "along random ones."
    )


def _slice_rows(record: Record) -> Iterator[tuple[Any, ...]]:
    loss = _known(record, "landscape")["loss"]
    half = (len(loss) - 1) / 2
    yield ("random_signs_budgets", "gradient_signs_budgets", "margin_lost_log_odds")
    for i, row in enumerate(loss):
        for j, value in enumerate(row):
            yield (i / half - 1, j / half - 1, value)


PICTURED: dict[str, Pictured] = {
    "step-sweep": Pictured(
        caption="Where more steps find more, the claim's attack was too weak.",
        alt=_step_words,
        rows=_step_rows,
    ),
    "budget-sweep": Pictured(
        caption="A larger budget has to break more; the whole valid range leaves no more than "
        "chance of an honest detector.",
        alt=_budget_words,
        rows=_budget_rows,
    ),
    "losses": Pictured(
        caption="Where another objective finds more at equal cost, the claim's loss hides it.",
        alt=_swap_words,
        rows=_swap_rows,
    ),
    "landscape": Pictured(
        caption="Smooth, and rising to the right: the gradient says where to go. A jagged slice is "
        "a sign of masking.",
        alt=_slice_words,
        rows=_slice_rows,
    ),
}
"""What each of `FIGURES` shows."""


def _known(record: Record, test: str) -> Mapping[str, Any]:
    data = _data(record, test)
    if data is None:
        raise KeyError(test)
    return data


def _listed(names: Iterable[str], shares: Iterable[float]) -> str:
    return ", ".join(f"{n} {100 * share:.1f} %" for n, share in zip(names, shares, strict=True))


def _levels(record: Record) -> str:
    standing = record["standing"]
    return f"clean {100 * standing['clean']:.1f} %, chance {100 * standing['chance']:.1f} %"


def _data(record: Record, test: str) -> Mapping[str, Any] | None:
    for finding in record["tests"]:
        if finding["test"] == test and finding["data"]:
            data: Mapping[str, Any] = finding["data"]
            return data
    return None


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]


def _axes() -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it would keep every figure, and choose a screen where there is one.
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _lines(axes: Axes, record: Record) -> None:
    standing = record["standing"]
    axes.axhline(100 * standing["clean"], ls="-", color="grey", lw=0.8, label="clean")
    axes.axhline(100 * standing["chance"], ls=":", color="grey", label="chance")
