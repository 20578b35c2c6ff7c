"""Figure of a few neurons' state over a presentation: both networks, threshold, spikes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from alade_brian.analysis.figures import style
from alade_brian.analysis.statistics.input import Spikes, Values
from alade_brian.errors import UserError
from alade_brian.spikes.states import InnerState


def plot_membrane(
    torch: Values | None,
    brian2: Values,
    dt: float,
    ax: Axes | None = None,
    *,
    threshold: ArrayLike | None = None,
    spikes: Spikes | None = None,
    neurons: Sequence[int] | None = None,
    variable: str = "v",
) -> Axes:
    """One variable of a few neurons, step by step: PyTorch as lines, Brian2 as rings, one colour per neuron.

    torch, brian2   (steps, neurons), a membrane as the threshold test sees it; or None where it is not known
    threshold       dashed: one number, one per neuron, or (steps, neurons)
    spikes          bool (steps, neurons): filled where the neuron fired
    neurons         their numbers, for the legend
    variable        what it is, for the axis

    `dt` is seconds per step. UserError when shapes differ.
    """
    ax = style.axes_or_new(ax, 7.0, 3.6)
    steps, count = _shape(torch, brian2, spikes)
    level = None if threshold is None else _level(threshold, steps, count)
    numbers = range(count) if neurons is None else neurons
    times = np.arange(steps, dtype=np.float64) * (dt * 1e3)
    if level is not None:
        _draw_level(ax, times, level)
    for column, number in enumerate(numbers):
        colour = style.CALM[column % len(style.CALM)]
        if torch is not None:
            ax.plot(
                times, torch[:, column], color=colour, linewidth=1.5, label=f"neuron {number}", gid=f"torch {number}"
            )
        ring = {"marker": "o", "markersize": 7, "fillstyle": "none", "linestyle": "none" if torch is not None else ":"}
        label = None if torch is not None else f"neuron {number}"
        ax.plot(times, brian2[:, column], color=colour, label=label, gid=f"brian2 {number}", **ring)  # type: ignore[arg-type]
        if spikes is not None:
            fired = spikes[:, column]
            ax.plot(times[fired], brian2[fired, column], "o", color=colour, markersize=5, gid=f"spikes {number}")
    style.time_axis(ax, steps, dt)
    ax.set_ylabel(style.literal(variable))
    _legend(ax, torch is not None, spikes is not None)
    return ax


def plot_inner_state(state: InnerState, row: int, dt: float, ax: Axes | None = None) -> Axes:
    """`plot_membrane` of what was recorded of some neurons at the image in that row."""
    torch, spikes, threshold = (None if a is None else a[row] for a in (state.torch, state.spikes, state.threshold))
    numbers = state.neurons.tolist()
    return plot_membrane(
        torch, state.brian2[row], dt, ax, threshold=threshold, spikes=spikes, neurons=numbers, variable=state.variable
    )


def _shape(torch: Values | None, brian2: Values, spikes: Spikes | None) -> tuple[int, int]:
    given = [array for array in (torch, brian2, spikes) if array is not None]
    if brian2.ndim != 2 or not brian2.size or any(array.shape != brian2.shape for array in given):
        raise UserError(
            "Traces and spikes must be arrays of one shape (steps, neurons) with something in them, not "
            f"{', '.join(str(array.shape) for array in given)}."
        )
    return brian2.shape[0], brian2.shape[1]


def _level(threshold: ArrayLike, steps: int, count: int) -> Values:
    try:
        return np.broadcast_to(np.asarray(threshold, dtype=np.float64), (steps, count))
    except ValueError:
        raise UserError(
            f"A threshold of shape {np.shape(threshold)} does not fit {steps} steps of {count} neurons."
        ) from None


def _draw_level(ax: Axes, times: Values, level: Values) -> None:
    """One line where all is one number, else one for each neuron in its colour."""
    if np.ptp(level) == 0:
        ax.axhline(level[0, 0], color=style.GREY, linestyle="--", linewidth=1, label="threshold", gid="threshold")
        return
    for column in range(level.shape[1]):
        colour = style.CALM[column % len(style.CALM)]
        label = "threshold" if column == 0 else None
        ax.plot(times, level[:, column], color=colour, linestyle="--", linewidth=1, label=label, gid="threshold")


def _legend(ax: Axes, both: bool, fired: bool) -> None:
    look = {"color": style.GREY, "linestyle": "none", "marker": "o"}
    if both:
        ax.plot([], [], fillstyle="none", markersize=7, label="Brian2", **look)  # type: ignore[arg-type]
    if fired:
        ax.plot([], [], markersize=5, label="spike", **look)  # type: ignore[arg-type]
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
