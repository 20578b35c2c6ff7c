"""Figures of what neurons stand for: tuning to classes, selectivity, and how a representation drifts between tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alade_brian.analysis.figures import style
from alade_brian.analysis.statistics.input import Values
from alade_brian.analysis.statistics.tuning import ClassResponses
from alade_brian.errors import UserError

SELECTIVITY_BINS = 20


def plot_tuning(responses: ClassResponses, ax: Axes | None = None, class_names: Sequence[str] | None = None) -> Axes:
    """Heat map of mean responses, a column per neuron and a row per class, each neuron's largest being 1.

    Neurons are sorted by the class they prefer (the lowest of equals), then by how strongly: by their largest response
    over the sum of all. White lines part the classes preferred. Silent neurons are left out; the label counts them.
    `class_names`: one for each of `responses.classes`; default: their numbers. UserError when they are fewer or more.
    """
    ax = style.axes_or_new(ax, 9.0, 3.6)
    names = [style.literal(name) for name in (responses.classes if class_names is None else class_names)]
    if len(names) != len(responses.classes):
        raise UserError(f"There are {len(responses.classes)} classes and {len(names)} class names.")
    order, preferred = tuning_order(responses.mean_counts)
    silent = responses.mean_counts.shape[1] - order.size
    every = max(1, -(-len(names) // 20))
    ax.set_yticks(range(0, len(names), every), names[::every])
    ax.set_ylabel("class shown")
    ax.set_xlabel(
        f"{order.size:,} neurons by preferred class" + (f" ({silent:,} silent ones left out)" if silent else "")
    )
    style.tidy(ax, grid=None)
    if not order.size:
        return style.note(ax, "no neuron fired")
    means = responses.mean_counts[:, order]
    picture = ax.imshow(
        means / means.max(axis=0), cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    for border in np.flatnonzero(np.diff(preferred)) + 0.5:
        ax.axvline(border, color="white", linewidth=0.8)
    ax.figure.colorbar(picture, ax=ax, label="mean response / largest", pad=0.01)
    return ax


def tuning_order(mean_counts: Values) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the neurons that fired as `plot_tuning` sorts them, and the row of the class each prefers."""
    fired = np.flatnonzero(mean_counts.any(axis=0))
    means = mean_counts[:, fired]
    preferred = means.argmax(axis=0)
    order = np.lexsort((-means.max(axis=0, initial=0) / means.sum(axis=0), preferred))
    return fired[order], preferred[order]


def plot_selectivity(selectivity: Mapping[str, Values], ax: Axes | None = None) -> Axes:
    """Share (%) of a layer's neurons by selectivity index, 0 to 1 in twenty bins, one outline per layer.

    `selectivity`: by layer, (neurons,), as `class_selectivity` gives it; NaN (a silent neuron) is left out of the
    shares. With more than eight layers the outlines are grey and all neurons pooled are black.
    """
    ax = style.axes_or_new(ax, 4.8, 3.4)
    ax.set_xlim(0, 1)
    ax.set_xlabel("class selectivity index")
    ax.set_ylabel("share of the layer's neurons (%)")
    style.tidy(ax)
    defined = {name: values[~np.isnan(values)] for name, values in selectivity.items()}
    defined = {name: values for name, values in defined.items() if values.size}
    if not defined:
        return style.note(ax, "no neuron has a selectivity")
    many = len(defined) > len(style.SERIES)
    for number, (name, values) in enumerate(defined.items()):
        look: dict[str, Any] = {"color": style.SERIES[number % len(style.SERIES)], "label": style.literal(name)}
        if many:
            look = {"color": "#BBBBBB", "label": f"each of {len(defined)} layers" if number == 0 else None}
        _outline(ax, values, look)
    if many:
        _outline(ax, np.concatenate([*defined.values()]), {"color": style.BLACK, "label": "all layers", "linewidth": 2})
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _outline(ax: Axes, values: Values, look: Mapping[str, Any]) -> None:
    counts, edges = np.histogram(values, SELECTIVITY_BINS, (0.0, 1.0))
    # Upper neighbours of 0 to 1 may come out of rounding; they belong to the last bin.
    counts[-1] += np.count_nonzero(values > 1)
    ax.stairs(100 * counts / values.size, edges, **look)


def plot_drift(drift: Values, ax: Axes | None = None, tasks: Sequence[int] | None = None) -> Axes:
    """Heat map of `representational_drift`: how far the representation after each task is from that after each other.

    `drift`: (tasks, tasks), 0 where the order of the distances between classes has not changed, up to 2. Only classes
    that both tasks know count. Undefined entries stay empty. `tasks`: their numbers, by default from 1 on. UserError
    unless it is square.
    """
    ax = style.axes_or_new(ax, 4.8, 4.8)
    if drift.ndim != 2 or drift.shape[0] != drift.shape[1] or not drift.size:
        raise UserError(f"Drift is measured between all tasks: use an array (tasks, tasks), not one of {drift.shape}.")
    highest = 1.0 if np.isnan(drift).all() else max(1.0, float(np.nanmax(drift)))
    ax.imshow(drift, cmap="cividis", vmin=0, vmax=highest)
    if len(drift) <= 20:
        style.write_cells(ax, drift, 0, highest, [[f"{value:.2f}" for value in row] for row in drift])
    style.number_cells(ax, len(drift), tasks)
    ax.set_xlabel("after task")
    ax.set_ylabel("after task")
    ax.set_title("drift of the representation", fontsize=10)
    style.tidy(ax, grid=None)
    return style.note(ax, "fewer than three classes are\nknown to two tasks") if np.isnan(drift).all() else ax
