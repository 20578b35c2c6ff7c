"""Figures of what was learnt and what it cost, drawn from the contents of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike

from alade_brian.analysis import style
from alade_brian.errors import UserError

Metrics = Mapping[str, Any]

_TIME_PARTS = (
    ("train", style.BLUE),
    ("build", style.ORANGE),
    ("simulate", style.GREEN),
    ("compare", style.PURPLE),
)


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
    _write_cells(ax, grid, 0, 100, [[f"{value:.1f}" for value in line] for line in grid])
    _number_ticks(ax, size)
    ax.set_xlabel("task tested")
    ax.set_ylabel("after task")
    ax.set_title("accuracy (%), Brian2", fontsize=10)
    return style.tidy(ax, grid=None)


def plot_confusion(
    matrix: ArrayLike, class_names: Sequence[str], ax: Axes, borders: Sequence[int] | None = None
) -> Axes:
    """Heat map of image counts: true class in rows, predicted in columns, shaded by the share of the true class.

    `matrix`: (classes, classes) counts in the order of `class_names`. `borders`: number of classes seen after each
    task, drawn as lines. Names and counts are written where they can be read. UserError when the shapes differ.
    """
    counts = np.asarray(matrix)
    size = len(class_names)
    if counts.shape != (size, size):
        raise UserError(f"A confusion matrix of shape {counts.shape} does not fit {size} class names.")
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="cividis", vmin=0, vmax=100)
    if size <= 20:
        _write_cells(ax, share, 0, 100, [[str(count) for count in line] for line in counts])
    for border in (borders or [])[:-1]:
        ax.axhline(border - 0.5, color="white", linewidth=1)
        ax.axvline(border - 0.5, color="white", linewidth=1)
    if size <= 40:
        names = [str(name) for name in class_names]
        short = max(map(len, names)) <= 2
        ax.set_xticks(range(size), names, rotation=0 if short else 90)
        ax.set_yticks(range(size), names)
        ax.tick_params(labelsize=9 if size <= 20 else 6)
    ax.set_xlabel("predicted class" if size <= 40 else "predicted class (position in the class order)")
    ax.set_ylabel("true class" if size <= 40 else "true class (position in the class order)")
    return style.tidy(ax, grid=None)


def has_alignment(metrics: Metrics) -> bool:
    """Whether any epoch of the run measured the logit gap between old and new classes."""
    return any(_gap(epoch) is not None for _, epoch in _epochs(metrics))


def plot_logits(metrics: Metrics, ax: Axes) -> Axes:
    """Mean true-class logit of each task's training images before and after alignment, in the last task (bars).

    Averaged over the training images (exemplars for old tasks) of each task. UserError when the run did not record it.
    """
    recorded = [task for task in metrics["tasks"] if _training(task).get("logits_before_alignment")]
    if not recorded:
        raise UserError("This run recorded no logits before and after alignment.")
    task = recorded[-1]
    before, after = (task["training"][f"logits_{when}_alignment"] or [] for when in ("before", "after"))
    for values, offset, colour, name in (
        (before, -0.2, style.ORANGE, "before alignment"),
        (after, 0.2, style.BLUE, "after alignment"),
    ):
        ax.bar(np.arange(1, len(values) + 1) + offset, values, width=0.38, color=colour, label=name)
    ax.axhline(0, color=style.BLACK, linewidth=0.8)
    _whole_ticks(ax, len(before))
    ax.set_xlabel(f"task of the images (after learning task {task['task']})")
    ax.set_ylabel("mean true-class logit")
    _legend_above(ax, columns=2)
    return style.tidy(ax)


def plot_alignment(metrics: Metrics, ax: Axes) -> Axes:
    """Gamma and the gap (new minus old mean true-class logit) over the epochs of all tasks; both are in logit units.

    Grey background: stage 2, the classifier alone. Epochs that measured no gap leave a hole in its line.
    """
    epochs = _epochs(metrics)
    if not epochs:
        return style.note(ax, "no epochs recorded")
    place = np.arange(1, len(epochs) + 1)
    # A float array turns what was not measured (None) into NaN, which leaves a hole.
    gaps = np.array([_gap(epoch) for _, epoch in epochs], dtype=np.float64)
    gammas = np.array([epoch.get("gamma") for _, epoch in epochs], dtype=np.float64)
    marker = "o" if len(epochs) <= 150 else None
    ax.plot(place, gaps, color=style.ORANGE, marker=marker, markersize=3, label="gap, new - old logit")
    ax.step(place, gammas, color=style.BLUE, where="mid", linewidth=1.8, label="gamma")
    ax.axhline(0, color=style.BLACK, linewidth=0.8)
    _mark_tasks(ax, epochs)
    ax.set_xlim(0.5, len(epochs) + 0.5)
    ax.set_xlabel("epoch, counted over all tasks (grey: stage 2)")
    ax.set_ylabel("logit")
    _legend_above(ax, columns=2)
    return style.tidy(ax)


def plot_time(metrics: Metrics, ax: Axes) -> Axes:
    """Where the time went in each task: training, building, simulating and comparing, stacked (wall-clock)."""
    tasks = metrics["tasks"]
    totals = [sum(task["seconds"].get(part, 0.0) for part, _ in _TIME_PARTS) for task in tasks]
    unit, scale = ("min", 60.0) if max(totals) > 600 else ("s", 1.0)
    place = [task["task"] for task in tasks]
    bottom = np.zeros(len(tasks))
    for part, colour in _TIME_PARTS:
        height = np.array([task["seconds"].get(part, 0.0) for task in tasks]) / scale
        ax.bar(place, height, bottom=bottom, width=0.7, color=colour, label=part)
        bottom += height
    _whole_ticks(ax, len(tasks), first=place[0])
    ax.set_xlabel("task")
    ax.set_ylabel(f"wall-clock time ({unit})")
    _legend_above(ax, columns=4)
    return style.tidy(ax)


def _training(task: Metrics) -> Metrics:
    return task.get("training") or {}


def _epochs(metrics: Metrics) -> list[tuple[int, Metrics]]:
    """All epochs of the run in order, each with the number of its task."""
    return [(task["task"], epoch) for task in metrics["tasks"] for epoch in _training(task).get("epochs") or []]


def _gap(epoch: Metrics) -> float | None:
    old, new = epoch.get("logit_old"), epoch.get("logit_new")
    return None if old is None or new is None else new - old


def _mark_tasks(ax: Axes, epochs: list[tuple[int, Metrics]]) -> None:
    """Shade stage 2, and write each task's number above its epochs, with a line before it."""
    numbers = np.array([task for task, _ in epochs])
    stages = np.array([epoch.get("stage", 1) for _, epoch in epochs])
    present = list(dict.fromkeys(numbers.tolist()))
    for task in present:
        own = np.flatnonzero(numbers == task) + 1
        second = own[stages[own - 1] == 2]
        if second.size:
            ax.axvspan(second[0] - 0.5, second[-1] + 0.5, color="#EEEEEE", linewidth=0)
        if own[0] > 1:
            ax.axvline(own[0] - 0.5, color=style.GREY, linewidth=0.8)
        label = f"task {task}" if len(present) <= 8 else str(task)
        ax.text(own.mean(), 0.985, label, transform=ax.get_xaxis_transform(), ha="center", va="top", fontsize=9)
    ax.margins(y=0.15)


def _write_cells(ax: Axes, grid: np.ndarray, low: float, high: float, texts: list[list[str]]) -> None:
    """Write `texts` into the cells of a cividis heat map, light on dark and dark on light; NaN cells stay empty."""
    cell = ax.get_window_extent().width * 72 / ax.figure.dpi / len(grid)
    size = max(4.5, min(10.0, 0.36 * cell))
    brightness = Normalize(low, high)
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value):
            colour = "black" if brightness(value) > 0.5 else "white"
            ax.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=size)


def _number_ticks(ax: Axes, size: int) -> None:
    step = -(-size // 20)
    numbers = range(1, size + 1, step)
    ax.set_xticks([number - 1 for number in numbers], [str(number) for number in numbers])
    ax.set_yticks([number - 1 for number in numbers], [str(number) for number in numbers])


def _whole_ticks(ax: Axes, count: int, first: int = 1) -> None:
    ax.set_xticks(range(first, first + count, max(1, -(-count // 20))))


def _legend_above(ax: Axes, columns: int) -> None:
    """Over the axes, where no bar or line can lie under it."""
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, borderaxespad=0.2)
