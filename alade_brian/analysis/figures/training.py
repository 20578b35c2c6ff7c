"""Figures of training, epoch by epoch, drawn from the histories in metrics.json; what a method does not record is left
out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alade_brian.analysis.figures import style
from alade_brian.errors import UserError

Metrics = Mapping[str, Any]
Epochs = list[tuple[int, Metrics]]

# More epochs than this make a line of dots.
_MARKED_EPOCHS = 150
# Losses that differ by more than this factor are drawn on a logarithmic axis.
_RANGE = 100


def has_epochs(metrics: Metrics) -> bool:
    """Whether the run recorded any epoch of its training."""
    return bool(_epochs(metrics))


def has_gap(metrics: Metrics) -> bool:
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
    style.whole_ticks(ax, len(before))
    ax.set_xlabel(f"task of the images (after learning task {task['task']})")
    ax.set_ylabel("mean true-class logit")
    style.legend_above(ax, columns=2)
    return style.tidy(ax)


def training_panels(metrics: Metrics) -> int:
    """How many Axes `plot_training` needs."""
    return len(_panels(_epochs(metrics)))


def plot_training(metrics: Metrics, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Loss, logits and row norms over the epochs of all tasks, one panel below the other; those that were recorded.

    `axes`: as many as `training_panels` says, sharing their x. Grey background: stage 2.
    """
    epochs = _epochs(metrics)
    for place, (draw, ax) in enumerate(zip(_panels(epochs), axes, strict=True)):
        draw(epochs, ax)
        _frame(ax, epochs, top=place == 0, bottom=place == len(axes) - 1)
    return axes


def plot_alignment(metrics: Metrics, ax: Axes) -> Axes:
    """Gamma and the gap (new minus old mean true-class logit) over the epochs of all tasks; both are in logit units.

    Grey background: stage 2, the classifier alone. Epochs that measured no gap leave a hole in its line; a run that
    never added a gamma has no line of it.
    """
    epochs = _epochs(metrics)
    if not epochs:
        return style.note(ax, "no epochs recorded")
    _logits(epochs, ax)
    return _frame(ax, epochs)


def _panels(epochs: Epochs) -> list[Callable[[Epochs, Axes], None]]:
    panels: list[Callable[[Epochs, Axes], None]] = [_loss]
    if _measured(_gaps(epochs)) or _nonzero(_values(epochs, "gamma")):
        panels.append(_logits)
    if _measured(_values(epochs, "norm_new")):
        panels.append(_norms)
    return panels


def _loss(epochs: Epochs, ax: Axes) -> None:
    losses = _values(epochs, "loss")
    _line(ax, epochs, losses, style.BLACK)
    known = losses[np.isfinite(losses)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    if 0 < low < high / _RANGE:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.5, high * (high / low) ** 0.2)
    else:
        _from_zero(ax, losses)
    ax.set_ylabel("training loss")


def _logits(epochs: Epochs, ax: Axes) -> None:
    _line(ax, epochs, _gaps(epochs), style.ORANGE, "gap, new - old logit")
    gammas = _values(epochs, "gamma")
    if _nonzero(gammas):
        ax.step(np.arange(1, len(gammas) + 1), gammas, color=style.BLUE, where="mid", linewidth=1.8, label="gamma")
    ax.axhline(0, color=style.BLACK, linewidth=0.8)
    ax.set_ylabel("logit")
    style.legend_above(ax, columns=2)


def _norms(epochs: Epochs, ax: Axes) -> None:
    old, new = _values(epochs, "norm_old"), _values(epochs, "norm_new")
    _line(ax, epochs, old, style.GREEN, "rows of old classes")
    _line(ax, epochs, new, style.PURPLE, "rows of new classes")
    _from_zero(ax, np.concatenate([old, new]))
    ax.set_ylabel("mean norm of rows")
    style.legend_above(ax, columns=2)


def _line(ax: Axes, epochs: Epochs, values: NDArray[np.float64], colour: str, label: str | None = None) -> None:
    """A line that is broken where a task or stage begins: what is measured begins anew there."""
    stages = [(task, epoch.get("stage", 1)) for task, epoch in epochs]
    breaks = [place for place in range(1, len(stages)) if stages[place] != stages[place - 1]]
    across, up = (np.insert(each, breaks, np.nan) for each in (np.arange(1.0, len(values) + 1), values))
    marker = "o" if len(values) <= _MARKED_EPOCHS else None
    ax.plot(across, up, color=colour, marker=marker, markersize=3, linewidth=1.4, label=label)


def _from_zero(ax: Axes, values: NDArray[np.float64]) -> None:
    """An axis from 0 on, with room above the values for the tasks' numbers."""
    largest = np.max(values, where=np.isfinite(values), initial=0.0)
    ax.set_ylim(0, 1.2 * largest if largest > 0 else 1.0)


def _frame(ax: Axes, epochs: Epochs, top: bool = True, bottom: bool = True) -> Axes:
    """Tasks and stages behind the lines; the tasks' numbers on the top panel, the axis' name below the bottom one."""
    _mark_tasks(ax, epochs, named=top)
    ax.set_xlim(0.5, len(epochs) + 0.5)
    if bottom:
        ax.set_xlabel("epoch, counted over all tasks (grey: stage 2)")
    return style.tidy(ax)


def _training(task: Metrics) -> Metrics:
    return task.get("training") or {}


def _epochs(metrics: Metrics) -> Epochs:
    """All epochs of the run in order, each with the number of its task."""
    return [(task["task"], epoch) for task in metrics["tasks"] for epoch in _training(task).get("epochs") or []]


def _values(epochs: Epochs, key: str) -> NDArray[np.float64]:
    """What every epoch recorded under a name; a float array turns what was not measured (None) into NaN."""
    return np.array([epoch.get(key) for _, epoch in epochs], dtype=np.float64)


def _gaps(epochs: Epochs) -> NDArray[np.float64]:
    return np.array([_gap(epoch) for _, epoch in epochs], dtype=np.float64)


def _gap(epoch: Metrics) -> float | None:
    if epoch.get("gap") is not None:
        return float(epoch["gap"])
    old, new = epoch.get("logit_old"), epoch.get("logit_new")
    return None if old is None or new is None else new - old


def _nonzero(values: NDArray[np.float64]) -> bool:
    return bool(np.any(np.nan_to_num(values)))


def _measured(values: NDArray[np.float64]) -> bool:
    return bool(np.any(np.isfinite(values)))


def _mark_tasks(ax: Axes, epochs: Epochs, named: bool) -> None:
    """Shade stage 2, draw a line before each task, and where `named` write its number above its epochs."""
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
        if named:
            ax.text(own.mean(), 0.985, label, transform=ax.get_xaxis_transform(), ha="center", va="top", fontsize=9)
    ax.margins(y=0.15)
