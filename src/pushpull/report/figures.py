"""Drawings of an experiment's results, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "draw_beyond",
    "draw_embeddings",
    "draw_figure3",
    "draw_figure4",
    "draw_map",
    "draw_sample",
]

INK, GREY, RED, BLUE, GREEN = "#222222", "#9a9a9a", "#c0392b", "#1f6fb2", "#2e8b57"
PANELS = {
    "(a) white-box and black-box, PGD": {
        "white-box": ("pgd", RED), "from nc": ("from nc", BLUE), "from spec": ("from spec", GREEN),
    },
    "(b) one modality and both, PGD": {
        "audio": ("audio", BLUE), "visual": ("visual", GREEN), "both": ("pgd", RED),
    },
    "(c) methods, both modalities": {
        "bim": ("bim", BLUE), "mim": ("mim", GREEN), "pgd": ("pgd", RED),
    },
}  # fmt: skip
"""Panels of Figure 3: each curve's name in the paper's numbers, in ours, and its colour."""

PAPER_EPS = (1, 2, 3, 4, 5)
AMPLIFIED = 50
ROW = 12.5
"""Faces that a figure is wide: fewer are spread over it, as they are over time."""


def draw_figure3(figure: Mapping[str, Any]) -> Figure:
    """Bars at eps_av 1 to 5 as in the paper: ours filled, the paper's as outlines.

    Examples:
        >>> from pushpull.report.figures import PANELS, draw_figure3
        >>> point = {"eps": 5, "average_precision": 0.6, "interval": [0.5, 0.7], "accuracy": 0.6}
        >>> published = [name for curves in PANELS.values() for name in curves]
        >>> paper = {name: [0.9, 0.8, 0.7, 0.65, 0.6] for name in published}
        >>> figure = draw_figure3({"curves": {"pgd": [point]}, "paper": paper, "floor": 0.4})
        >>> len(figure.axes)
        3
    """
    fig, axes = _axes(1, 3, (13, 3.8))
    for ax, (title, curves) in zip(axes, PANELS.items(), strict=True):
        width = 0.8 / len(curves)
        for k, (published, (ours, colour)) in enumerate(curves.items()):
            at = {p["eps"]: p for p in figure["curves"].get(ours, [])}
            eps = [e for e in PAPER_EPS if e in at and at[e]["average_precision"] is not None]
            x = np.array(eps, float) + (k - 1) * width
            heights = [100 * at[e]["average_precision"] for e in eps]
            error = np.array(
                [
                    [h - 100 * at[e]["interval"][0], 100 * at[e]["interval"][1] - h]
                    for e, h in zip(eps, heights, strict=True)
                ]
            ).T.clip(min=0)
            ax.bar(x, heights, width, color=colour, alpha=0.75, label=published,
                   yerr=error if eps else None, ecolor=INK, capsize=2)  # fmt: skip
            paper = 100 * np.array(figure["paper"][published])
            ax.bar(np.arange(1, 6) + (k - 1) * width, paper, width, fill=False, edgecolor=INK,
                   linewidth=0.8, linestyle="--")  # fmt: skip
        ax.axhline(100 * figure["floor"], color=GREY, linewidth=0.8, linestyle=":")
        ax.set(title=title, xlabel="eps_av", ylabel="mAP (%)", ylim=(0, 104))
        ax.legend(loc="lower left", fontsize=8, framealpha=0.9)
    fig.suptitle("ours: filled, with 95 % interval; paper (AVA): dashed outline; dotted: chance")
    return fig


def draw_beyond(figure: Mapping[str, Any]) -> Figure:
    """All budgets, until nothing is left.

    Examples:
        >>> from pushpull.report.figures import draw_beyond
        >>> points = [{"eps": eps, "average_precision": 1 / eps} for eps in (1, 5, 20)]
        >>> figure = draw_beyond({"curves": {"pgd": points}, "floor": 0.4})
        >>> figure.axes[0].get_title()
        "Beyond the paper's budgets"
    """
    fig, axes = _axes(1, 1, (8, 4))
    ax = axes[0]
    names = {"pgd": "joint, PGD", "audio": "audio only", "visual": "visual only",
             "from spec": "from specTalkNet", "from nc": "from ncTalkNet"}  # fmt: skip
    for curve, label in names.items():
        points = {p["eps"]: p["average_precision"] for p in figure["curves"].get(curve, [])}
        known = {eps: 100 * ap for eps, ap in points.items() if ap is not None}
        if known:
            ax.plot(list(known), list(known.values()), "o-", label=label)
    ax.axhline(100 * figure["floor"], color=GREY, linestyle=":", label="chance (share of speech)")
    ax.set(xscale="log", xlabel="eps_av (log scale)", ylabel="mAP (%)", ylim=(0, 104))
    ax.set_title("Beyond the paper's budgets")
    ax.legend(fontsize=8)
    return fig


def draw_figure4(figure: Mapping[str, Any]) -> Figure:
    """For each attack, rows under training-aware and inference-aware attacks.

    Examples:
        >>> from pushpull.report.figures import draw_figure4
        >>> two = {"training-aware": {"A": 0.5}, "inference-aware": {"A": 0.4}}
        >>> figure = draw_figure4({"rows": ["A"], "bars": {"pgd": two}})
        >>> figure.axes[0].get_title()
        'PGD'
    """
    fig, axes = _axes(1, len(figure["bars"]), (13, 3.6))
    rows = figure["rows"]
    for ax, (attack, two) in zip(axes, figure["bars"].items(), strict=True):
        for k, (kind, colour) in enumerate((("training-aware", RED), ("inference-aware", BLUE))):
            heights = [100 * (two[kind][r] or 0.0) for r in rows]
            ax.bar(np.arange(len(rows)) + (k - 0.5) * 0.4, heights, 0.4, color=colour, alpha=0.8,
                   label=kind)  # fmt: skip
        ax.set(title=attack.upper(), ylabel="mAP (%)", ylim=(0, 104))
        ax.set_xticks(range(len(rows)), rows)
        ax.legend(fontsize=8, loc="lower left")
    return fig


def draw_map(weights: Mapping[str, Any]) -> Figure:
    """What is left for each pair of weights of L1 and L4: clean, under PGD, under the suite.

    Cells that have not learnt are crossed out; the one chosen on validation is framed.

    Examples:
        >>> from pushpull.report.figures import draw_map
        >>> left = {"average_precision": 0.8, "interval": [0.7, 0.9]}
        >>> cell = {"l1": 0, "l4": 0, "learnt": True, "clean": left, "pgd": left, "suite": None}
        >>> figure = draw_map({"weights": [0], "best": [0, 0], "cells": [cell]})
        >>> [ax.get_title() for ax in figure.axes][:2]
        ['clean', 'PGD, 5 steps']
    """
    names = {"clean": "clean", "pgd": "PGD, 5 steps", "suite": "standard attack"}
    fig, axes = _axes(1, len(names), (13, 4.6))
    at = {weight: k for k, weight in enumerate(weights["weights"])}
    for ax, (name, title) in zip(axes, names.items(), strict=True):
        values = np.full((len(at), len(at)), np.nan)
        for c in weights["cells"]:
            if c[name] is None:
                continue
            row, column = at[c["l1"]], at[c["l4"]]
            values[row, column] = 100 * c[name]["average_precision"]
            low, high = (100 * end for end in c[name]["interval"])
            ax.text(column, row, f"{values[row, column]:.0f}\n{low:.0f} to {high:.0f}",
                    ha="center", va="center", fontsize=7, color=INK)  # fmt: skip
            if not c["learnt"]:
                ax.plot([column - 0.4, column + 0.4], [row - 0.4, row + 0.4], color=GREY)
            if [c["l1"], c["l4"]] == weights["best"]:
                ax.plot(np.array([-1, 1, 1, -1, -1]) * 0.48 + column,
                        np.array([-1, -1, 1, 1, -1]) * 0.48 + row, color=INK)  # fmt: skip
        ax.imshow(
            values, cmap="RdYlGn", vmin=20, vmax=100, origin="lower", alpha=0.6, aspect="auto"
        )
        ticks = [f"{weight:g}" for weight in at]
        ax.set_xticks(range(len(at)), ticks)
        ax.set_yticks(range(len(at)), ticks)
        ax.set(title=title, xlabel="weight of L4", ylabel="weight of L1")
    fig.suptitle("mAP (%) on all frames, with 95 % interval; crossed out: has not learnt")
    return fig


def draw_embeddings(rows: Mapping[str, Mapping[str, NDArray[Any]]]) -> Figure:
    """e_a and e_v of each row by class, on their two main axes, clean and attacked.

    Args:
        rows: By row, the arrays of embeddings.npz: clean_audio, attacked_audio, ... and speaking.

    Examples:
        >>> from pushpull.report.figures import draw_embeddings
        >>> rng = np.random.default_rng(0)
        >>> kinds = ("clean_audio", "clean_visual", "attacked_audio", "attacked_visual")
        >>> arrays = {kind: rng.standard_normal((20, 8)) for kind in kinds}
        >>> arrays["speaking"] = np.arange(20) % 2
        >>> [ax.get_title() for ax in draw_embeddings({"A": arrays}).axes][:2]
        ['A: audio, clean', 'A: audio, attacked']
    """
    fig, axes = _axes(len(rows), 4, (13, 3.1 * len(rows)))
    for r, (row, arrays) in enumerate(rows.items()):
        speaking = arrays["speaking"] == 1
        for m, modality in enumerate(("audio", "visual")):
            clean, attacked = arrays[f"clean_{modality}"], arrays[f"attacked_{modality}"]
            centre, axes_of = _main_axes(clean)
            for k, (kind, values) in enumerate((("clean", clean), ("attacked", attacked))):
                ax = axes[4 * r + 2 * m + k]
                flat = (values - centre) @ axes_of.T
                for mask, colour, label in (
                    (~speaking, BLUE, "silent"),
                    (speaking, RED, "speaking"),
                ):
                    ax.scatter(flat[mask, 0], flat[mask, 1], 4, color=colour, alpha=0.4,
                               label=label, linewidths=0)  # fmt: skip
                ax.set_title(f"{row}: {modality}, {kind}", fontsize=9)
                ax.set_xticks([])
                ax.set_yticks([])
                if r == m == k == 0:
                    ax.legend(fontsize=7, markerscale=3)
    return fig


def draw_sample(arrays: Mapping[str, NDArray[Any]], title: str) -> Figure:
    """Faces as they were, attacked, and their difference amplified; sound; scores.

    Examples:
        >>> from pushpull.report.figures import draw_sample
        >>> faces, sound, score = np.zeros((2, 112, 112)), np.zeros(1280), np.array([2.0, 2.0])
        >>> arrays = {"clean_faces": faces, "faces": faces + 1, "speaking": np.array([1, 1])}
        >>> arrays |= {"clean_waveform": sound, "waveform": sound}
        >>> arrays |= {"clean_score": score, "score": -score}
        >>> draw_sample(arrays, "a talk").savefig("sample.png")
    """
    faces, clean = arrays["faces"], arrays["clean_faces"]
    fig = _figure((13, 6.2))
    grid = fig.add_gridspec(5, height_ratios=(1, 1, 1, 0.9, 1.1))
    difference = 127.5 + AMPLIFIED * (faces - clean)
    for r, (label, pictures) in enumerate(
        (("clean", clean), ("attacked", faces), (f"difference x {AMPLIFIED}", difference))
    ):
        ax = fig.add_subplot(grid[r], frame_on=False, anchor="W")
        ax.imshow(_in_a_row(pictures), cmap="gray", vmin=0, vmax=255)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_ylabel(label, fontsize=8)
    ax = fig.add_subplot(grid[3])
    time_s = np.arange(len(arrays["waveform"])) / 16_000
    ax.plot(time_s, arrays["clean_waveform"], color=GREY, linewidth=0.5, label="clean")
    change = arrays["waveform"] - arrays["clean_waveform"]
    ax.plot(time_s, AMPLIFIED * change, color=RED, linewidth=0.4, alpha=0.7,
            label=f"change x {AMPLIFIED}")  # fmt: skip
    ax.set(ylabel="sound", xlim=(0, time_s[-1]))
    ax.legend(fontsize=7, loc="upper right")
    ax = fig.add_subplot(grid[4])
    frames = np.arange(len(arrays["score"]))
    ax.fill_between(frames, 0, 1, where=arrays["speaking"] == 1, color=GREEN, alpha=0.15,
                    transform=ax.get_xaxis_transform(), label="speaking", step="mid")  # fmt: skip
    ax.plot(frames, arrays["clean_score"], color=GREEN, label="score, clean")
    ax.plot(frames, arrays["score"], color=RED, label="score, attacked")
    ax.axhline(0, color=INK, linewidth=0.6)
    ax.set(xlabel="frame", ylabel="log-odds", xlim=(0, max(1, len(frames) - 1)))
    ax.legend(fontsize=7, loc="upper right")
    fig.suptitle(title, fontsize=10)
    return fig


def _in_a_row(pictures: NDArray[Any]) -> NDArray[np.float64]:
    """Pictures (T, H, W) as one (H, W'), NaN between them: axes for each take long to draw."""
    n, _, width = pictures.shape
    gap = round(width * max(0.06, (ROW - n) / max(1, n - 1)))
    padded = np.pad(pictures.astype(float), ((0, 0), (0, 0), (0, gap)), constant_values=np.nan)
    return np.concatenate(list(padded), axis=1)[:, :-gap]


def _main_axes(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and two principal axes (2, D)."""
    centre = values.mean(0)
    _, _, axes = np.linalg.svd(values - centre, full_matrices=False)
    return centre, axes[:2]


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def _axes(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    fig = _figure(size)
    return fig, list(np.atleast_1d(fig.subplots(rows, columns)).ravel())
