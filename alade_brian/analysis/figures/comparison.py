"""Figures of several methods side by side, over seeds, drawn from what `experiments/compare.py` keeps in results.json.

In all of them a row has the same colour and mark, and the error is the sample standard deviation (n - 1) over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from alade_brian.analysis.figures import style
from alade_brian.analysis.metrics.seeds import mean_std

Results = Mapping[str, Any]

COSTS = {
    "train_seconds": "training time (s, wall-clock, all tasks)",
    "synaptic_events_per_image": "synaptic events per image, after the last task",
}
_MARKS = "os^Dv<>P"
_LINES = ("-", "--", ":", "-.")


def plot_curves(results: Results, ax: Axes) -> Axes:
    """Accuracy (%) on all classes seen, over their number, one line per row; best average first in the legend.

    Line and band: PyTorch's mean and standard deviation over seeds. Rings: Brian2's mean.
    """
    names = sorted(results["rows"], key=lambda name: -mean_std(_of(results, name, _average("torch")))[0])
    for name in names:
        look, seen = _look(results, name), _of(results, name, "classes_seen")[0]
        torch, brian2 = (100 * np.array(_of(results, name, f"accuracy_{n}")) for n in ("torch", "brian2"))
        mean = torch.mean(0)
        if len(torch) > 1:
            spread = torch.std(0, ddof=1)
            ax.fill_between(seen, mean - spread, mean + spread, color=look["color"], alpha=0.15, linewidth=0)
        label = f"{style.literal(name)}: {_percent(results, name, _average('torch'))}"
        ax.plot(seen, mean, markersize=4, linewidth=1.6, label=label, **look)
        ring = {"color": look["color"], "marker": look["marker"], "linestyle": "none", "fillstyle": "none"}
        ax.plot(seen, brian2.mean(0), markersize=9, **ring)
    seen = sorted({count for name in names for count in _of(results, name, "classes_seen")[0]})
    ax.set_xticks(seen[:: -(-len(seen) // 15)])
    ax.set_ylim(None, 101)
    ax.set_xlabel("classes seen")
    ax.set_ylabel("accuracy on all classes seen (%)")
    _legend_right(ax, "average, PyTorch (%); rings: Brian2")
    return style.tidy(ax)


def plot_forgetting(results: Results, ax: Axes) -> Axes:
    """Forgetting (percentage points) of every row, first row on top: PyTorch's mean as a bar, each seed in Brian2 as a
    ring, the standard deviation as a line."""
    names = list(results["rows"])
    for place, name in enumerate(names):
        mean, deviation = mean_std([100 * value for value in _of(results, name, "forgetting_torch")])
        ax.barh(place, mean, height=0.6, color=_look(results, name)["color"], alpha=0.5)
        ax.errorbar(mean, place, xerr=deviation, color=style.BLACK, capsize=3, linewidth=1.2)
        seeds = [100 * value for value in _of(results, name, "forgetting_brian2")]
        ax.plot(seeds, [place] * len(seeds), "o", color=style.BLACK, fillstyle="none", markersize=5)
    ax.set_yticks(range(len(names)), [style.literal(name) for name in names])
    ax.invert_yaxis()
    ax.axvline(0, color=style.BLACK, linewidth=0.8)
    ax.set_xlabel("forgetting (percentage points; rings: each seed in Brian2)")
    return style.tidy(ax, grid="x")


def plot_cost(results: Results, ax: Axes, cost: str) -> Axes:
    """Average incremental accuracy in Brian2 (%) over a cost (a key of `COSTS`), means with standard deviations.

    Rows that lack the cost are left out.
    """
    for name in results["rows"]:
        found = _of(results, name, cost)
        if not found:
            continue
        (x, x_error), (y, y_error) = (
            mean_std(found),
            mean_std([100 * a for a in _of(results, name, _average("brian2"))]),
        )
        look = {**_look(results, name), "linestyle": "none", "label": style.literal(name)}
        ax.errorbar(x, y, xerr=x_error, yerr=y_error, markersize=7, capsize=3, elinewidth=1, **look)
    if not ax.has_data():
        return style.note(ax, "no run says what it cost")
    ax.set_xscale("log")
    for set_format in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
        set_format(FuncFormatter(lambda value, _: f"{value:,g}" if f"{value:e}"[0] in "1235" else ""))
    ax.set_xlabel(COSTS[cost])
    ax.set_ylabel("average incremental accuracy (%)")
    _legend_right(ax, None)
    return style.tidy(ax, grid="both")


def _of(results: Results, row: str, key: str) -> list[Any]:
    """A value of every seed of a row; empty where a seed lacks it."""
    seeds = results["rows"][row]["seeds"].values()
    return [found[key] for found in seeds] if all(key in found for found in seeds) else []


def _average(network: str) -> str:
    return f"average_incremental_accuracy_{network}"


def _percent(results: Results, row: str, key: str) -> str:
    mean, deviation = mean_std([100 * value for value in _of(results, row, key)])
    return f"{mean:.1f}" + (f" ± {deviation:.1f}" if deviation is not None else "")


def _look(results: Results, row: str) -> dict[str, Any]:
    """Colour, mark and line of a row, by its place in the grid; no two of the first 32 are the same."""
    turn, number = divmod(list(results["rows"]).index(row), len(style.SERIES))
    return {
        "color": style.SERIES[number],
        "marker": _MARKS[(number + turn) % len(_MARKS)],
        "linestyle": _LINES[turn % len(_LINES)],
    }


def _legend_right(ax: Axes, title: str | None) -> None:
    """Beside the axes: many rows would cover what is drawn."""
    ax.legend(
        frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, title=title, alignment="left"
    )
