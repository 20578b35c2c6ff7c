"""Figures of what was learnt, drawn from the contents of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from alade_brian.analysis.figures import style
from alade_brian.errors import UserError

Metrics = Mapping[str, Any]


def plot_incremental_accuracy(metrics: Metrics, ax: Axes) -> Axes:
    """Accuracy (%) on all classes seen after each task, PyTorch as a line, Brian2 as rings; averages in the legend.

    Averaged over the test images of all classes seen so far. x: number of classes seen.
    """
    tasks = metrics["tasks"]
    seen = [task["classes_seen"] for task in tasks]
    looks: dict[str, dict[str, Any]] = {
        "torch": {"color": style.TORCH, "marker": "o", "markersize": 4, "linewidth": 1.8},
        # A ring around the dot stays visible where both networks agree.
        "brian2": {"color": style.BRIAN2, "marker": "o", "markersize": 9, "fillstyle": "none", "linestyle": "none"},
    }
    for network, name in (("torch", "PyTorch"), ("brian2", "Brian2")):
        percent = 100 * np.array([task[f"accuracy_{network}"] for task in tasks])
        ax.plot(seen, percent, label=f"{name}: average {percent.mean():.2f} %", **looks[network])
    lowest, _ = ax.get_ylim()
    ax.set_ylim(max(0.0, 10 * np.floor(lowest / 10)), 101.0)
    ax.set_xticks(seen if len(seen) <= 15 else seen[:: -(-len(seen) // 15)])
    ax.set_xlabel("classes seen")
    ax.set_ylabel("accuracy on all classes seen (%)")
    ax.legend(frameon=False, loc="lower left")
    return style.tidy(ax)


def plot_accuracy_matrix(metrics: Metrics, ax: Axes) -> Axes:
    """Heat map of Brian2's accuracy (%) on each task's classes (columns) after each task (rows).

    Averaged over the test images of the classes of one task, predicted among all classes seen.
    """
    rows = metrics["accuracy_matrix_brian2"]
    size = len(rows)
    grid = np.full((size, size), np.nan)
    for number, row in enumerate(rows):
        grid[number, : len(row)] = 100 * np.asarray(row)
    ax.imshow(grid, cmap="cividis", vmin=0, vmax=100)
    style.write_cells(ax, grid, 0, 100, [[f"{value:.1f}" for value in line] for line in grid])
    style.number_cells(ax, size)
    ax.set_xlabel("task tested")
    ax.set_ylabel("after task")
    ax.set_title("accuracy (%), Brian2", fontsize=10)
    return style.tidy(ax, grid=None)


def plot_confusion(
    matrix: ArrayLike, class_names: Sequence[str], ax: Axes, borders: Sequence[int] | None = None
) -> Axes:
    """Heat map of image counts: true class in rows, predicted in columns, shaded by the share of the true class.

    `matrix`: (classes, classes) counts in the order of `class_names`. `borders`: number of classes seen after each
    task, drawn as lines. Counts are written where they can be read; of more than 40 classes every few are named.
    UserError when the shapes differ.
    """
    counts = np.asarray(matrix)
    size = len(class_names)
    if counts.shape != (size, size):
        raise UserError(f"A confusion matrix of shape {counts.shape} does not fit {size} class names.")
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="cividis", vmin=0, vmax=100)
    if size <= 20:
        style.write_cells(ax, share, 0, 100, [[str(count) for count in line] for line in counts])
    for border in (borders or [])[:-1]:
        ax.axhline(border - 0.5, color="white", linewidth=1)
        ax.axvline(border - 0.5, color="white", linewidth=1)
    # Of many classes every few are named.
    places = range(0, size, -(-size // 40))
    names = [style.literal(class_names[place]) for place in places]
    short = max(len(str(name)) for name in class_names) <= 2
    ax.set_xticks(places, names, rotation=0 if short else 90)
    ax.set_yticks(places, names)
    ax.tick_params(labelsize=9 if size <= 20 else 6)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    return style.tidy(ax, grid=None)
