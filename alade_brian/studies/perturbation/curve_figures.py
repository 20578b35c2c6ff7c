"""Accuracy, or of values R2, against the strength of a perturbation, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from alade_brian.analysis.figures import style
from alade_brian.analysis.problems import problem_of
from alade_brian.studies.perturbation.curves import curve


def plot_perturbation(results: Mapping[str, Any], name: str, ax: Axes) -> Axes:
    """Means over repeats with their 95 % bands: all images in black, tasks from the oldest (dark) to the newest
    (light); chance as a dotted line."""
    colours, problem = matplotlib.colormaps["viridis"], problem_of(results)
    tasks = results["tasks"]
    for number, task in enumerate(tasks):
        line = curve(results, name, task)
        colour = colours(0.9 * number / max(1, len(tasks) - 1))
        ax.plot(line.strengths, line.mean, color=colour, marker="o", markersize=3, label=f"task {task}")
        ax.fill_between(line.strengths, *line.band(), color=colour, alpha=0.2, linewidth=0)
    whole = curve(results, name)
    ax.plot(whole.strengths, whole.mean, color=style.BLACK, linewidth=2, marker="s", markersize=4, label="all")
    ax.fill_between(whole.strengths, *whole.band(), color=style.BLACK, alpha=0.15, linewidth=0)
    ax.axhline(problem.chance(results), color=style.GREY, linestyle=":", label=problem.measure.chance)
    ax.set_ylim(problem.measure.low, 1.02)
    ax.set_xlabel(results["perturbations"][name]["unit"])
    ax.set_ylabel(problem.measure.title)
    style.legend_above(ax, columns=4)
    return style.tidy(ax)


def write_figures(results: Mapping[str, Any], folder: Path) -> None:
    """One figure per perturbation, PNG and SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in results["perturbations"]:
        figure, ax = style.new_axes(6.0, 4.0)
        plot_perturbation(results, name, ax)
        for kind in ("png", "svg"):
            figure.savefig(folder / f"{name}.{kind}", dpi=150)
