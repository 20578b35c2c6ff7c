"""Figures of a study of many networks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.ticker import PercentFormatter

from alade_brian.analysis.figures import style
from alade_brian.analysis.metrics.seeds import interval, leaves_out_0
from alade_brian.files import write_bytes
from alade_brian.studies.perturbation.ages import retained
from alade_brian.studies.perturbation.curves import Curve, curve
from alade_brian.studies.perturbation.trend_tables import (
    CONTROL,
    above_control,
    all_broken,
    compared,
    names_of,
    points,
    trends_of,
)

Results = Mapping[str, Any]
COLUMNS = 4


def plot_methods(results: Results, name: str, ax: Axes) -> Axes:
    """Accuracy on all images over the strength, one line per row of the grid: mean over seeds (of the mean over
    repeats), and a band of one standard deviation over seeds."""
    for number, (row, seeds) in enumerate(results["rows"].items()):
        lines = [curve(study, name) for study in seeds.values() if name in study["perturbations"]]
        if lines:
            _line(ax, lines, [line.mean for line in lines], style.SERIES[number], style.literal(row))
    ax.axhline(1 / _any(results)["classes"], color=style.GREY, linestyle=":", linewidth=1)
    ax.set_ylim(0, 1.02)
    return _labelled(results, name, ax, "accuracy")


def plot_ages(results: Results, name: str, row: str, ax: Axes) -> Axes:
    """Margin above chance left of each task, the oldest dark, the newest light; mean over seeds and a band of
    one standard deviation."""
    studies = [study for study in results["rows"][row].values() if name in study["perturbations"]]
    if not studies:
        return style.note(ax, f"{style.literal(row)} cannot have it")
    tasks, colours = studies[0]["tasks"], matplotlib.colormaps["viridis"]
    for number, task in enumerate(tasks):
        lines = [curve(study, name, task) for study in studies]
        left = [retained(line, 1 / studies[0]["classes"]) for line in lines]
        _line(ax, lines, left, colours(0.9 * number / max(1, len(tasks) - 1)), f"task {task}")
    ax.axhline(0.5, color=style.GREY, linestyle=":", linewidth=1)
    return _labelled(results, name, ax, "margin left")


def plot_trends(results: Results, ax: Axes) -> Axes:
    """Margin left of the newest task minus that of the oldest when half of the margin is lost: a cell for every
    perturbation and row of the grid, and beside them every row minus the control. In bold with a star if the 95 %
    confidence interval over seeds excludes 0."""
    names, columns, found = names_of(results), trend_columns(results), []
    for rows in all_broken(results).values():
        trends = trends_of(rows)
        own = [interval(list(each.values())) for each in trends.values()]
        found.append([*own, *(interval(above_control(trends, row)) for row in compared(results))])
    values = np.array([[mean for mean, _, _ in line] for line in found])
    reach = max(0.01, float(np.nanmax(np.abs(values))))
    picture = ax.imshow(values, cmap="PuOr", norm=TwoSlopeNorm(0, -reach, reach), aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            sure = leaves_out_0(found[y][x])
            look: dict[str, Any] = {
                "weight": "bold" if sure else "normal",
                "color": "white" if abs(value) > 0.6 * reach else style.BLACK,
            }
            ax.text(x, y, f"{points(value)}{'*' * sure}", ha="center", va="center", fontsize=8, **look)
    if compared(results):
        ax.axvline(len(results["rows"]) - 0.5, color="white", linewidth=6)
    ax.set_xticks(range(len(columns)), [style.literal(column) for column in columns])
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    assert ax.figure is not None
    bar = ax.figure.colorbar(picture, ax=ax, shrink=0.6, format=PercentFormatter(1.0, symbol=""))
    bar.set_label("newest - oldest (% of margin): above 0 the old breaks first")
    return ax


def trend_columns(results: Results) -> list[str]:
    """Titles of the columns of `plot_trends`."""
    return [*results["rows"], *(f"{row}\n- {CONTROL}" for row in compared(results))]


def write_figures(results: Results, folder: Path) -> None:
    """The overview of methods, the trends, and for every perturbation the tasks by their age; PNG and SVG."""
    names, rows = names_of(results), list(results["rows"])
    figure, panels = style.new_grid(3.0, 2.5, len(names), COLUMNS)
    for name, ax in zip(names, panels, strict=True):
        plot_methods(results, name, ax)
    panels[0].legend(frameon=False, fontsize=8)
    _write(figure, folder / "methods")
    figure, ax = style.new_axes(2.6 + 0.9 * len(trend_columns(results)), 1.2 + 0.3 * len(names))
    _write(plot_trends(results, ax).figure, folder / "trends")
    for name in names:
        figure, panels = style.new_grid(3.0, 2.5, len(rows), len(rows))
        for row, ax in zip(rows, panels, strict=True):
            plot_ages(results, name, row, ax).set_title(style.literal(row), fontsize=10)
        panels[0].legend(frameon=False, fontsize=7)
        _write(figure, folder / f"ages-{name}")


def _write(figure: Any, path: Path) -> None:
    write_bytes(path.with_suffix(".png"), style.png_bytes(figure))
    write_bytes(path.with_suffix(".svg"), style.svg_bytes(figure))


def _line(ax: Axes, lines: Sequence[Curve], values: Sequence[np.ndarray], colour: Any, label: str) -> None:
    """Mean and standard deviation over seeds with values, at the strengths that were measured for all of them."""
    known = [number for number, found in enumerate(values) if np.isfinite(found).all()]
    if not known:
        return
    strengths = reduce(np.intersect1d, (lines[number].strengths for number in known))
    each = np.array([values[number][np.isin(lines[number].strengths, strengths)] for number in known])
    mean = each.mean(axis=0)
    ax.plot(strengths, mean, color=colour, marker="o", markersize=3, linewidth=1.4, label=label)
    if len(each) > 1:
        spread = each.std(axis=0, ddof=1)
        ax.fill_between(strengths, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)


def _labelled(results: Results, name: str, ax: Axes, what: str) -> Axes:
    unit = next(s["perturbations"][name]["unit"] for seeds in results["rows"].values() for s in seeds.values()
                if name in s["perturbations"])  # fmt: skip
    ax.set_title(name, fontsize=10)
    ax.set_xlabel(textwrap.fill(unit, 36), fontsize=8)
    ax.set_ylabel(what, fontsize=8)
    ax.tick_params(labelsize=8)
    return style.tidy(ax)


def _any(results: Results) -> Any:
    return next(study for seeds in results["rows"].values() for study in seeds.values())
