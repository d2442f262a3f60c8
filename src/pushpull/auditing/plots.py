"""Pictures of an audit, as figures made of its record, to be saved or shown elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "budget_sweep", "loss_landscape", "loss_swap", "step_sweep"]

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
    parts = [_data(record, name) for name in ("losses", "adaptive")]
    bars: dict[str, float] = {}
    for part in parts:
        if part is not None:
            bars |= zip(part["losses"], _percent(part["average_precision"]), strict=True)
    if not bars:
        return None
    figure, axes = _axes()
    axes.barh(list(bars), list(bars.values()))
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
