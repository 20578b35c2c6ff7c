"""Figures of spikes: rates, interspike intervals, and one image's raster with both networks laid over each other.

Spike arrays are bool; `dt` is seconds per step. A spike of step t is drawn at t * dt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from alade_brian.analysis.figures import style
from alade_brian.analysis.figures.raster import choose
from alade_brian.analysis.statistics.rates import isi_histogram
from alade_brian.errors import UserError

Spikes = NDArray[np.bool_]


def plot_rates(metrics: Mapping[str, Any], ax: Axes) -> Axes:
    """Mean rate (Hz) of each layer after the last task, in Brian2, first layer on top.

    Averaged over images, steps and all neurons of the layer, silent ones included.
    """
    task = metrics["tasks"][-1]
    names = [style.literal(layer["name"]) for layer in task["layers"]]
    place = np.arange(len(names))
    ax.barh(place, [layer["mean_rate_hz"] or 0.0 for layer in task["layers"]], color=style.BLUE, height=0.7)
    shown = place[:: max(1, -(-len(names) // 40))]
    ax.set_yticks(shown, [names[number] for number in shown])
    ax.invert_yaxis()
    ax.set_xlabel(f"mean rate after task {task['task']} (Hz)")
    ax.set_ylabel("layer")
    return style.tidy(ax, grid="x")


def plot_isi(spikes: Mapping[str, Spikes], dt: float, ax: Axes | None = None) -> Axes:
    """Share (%) of the interspike intervals by length (ms), one line per layer; `spikes`: (images, steps, neurons).

    Pooled over images and neurons of a layer, intervals within one presentation only. With more than eight layers the
    lines are grey and all intervals pooled are black. Layers are looked up one by one, so `spikes` may unpack lazily.
    """
    ax = style.axes_or_new(ax)
    histograms = {name: isi_histogram(spikes[name]) for name in spikes}
    counted = {name: histogram for name, histogram in histograms.items() if histogram.sum()}
    longest = max((int(np.flatnonzero(histogram)[-1]) for histogram in counted.values()), default=1)
    many = len(counted) > len(style.SERIES)
    for number, (name, histogram) in enumerate(counted.items()):
        look: dict[str, Any] = {"color": style.SERIES[number % len(style.SERIES)], "label": style.literal(name)}
        if many:
            look = {"color": "#BBBBBB", "label": f"each of {len(counted)} layers" if number == 0 else None}
        _plot_share(ax, histogram, longest, dt, look)
    if many:
        # Layers of one network have equally many steps, but the figure need not insist on it.
        pooled = np.zeros(longest + 1, dtype=np.int64)
        for histogram in counted.values():
            pooled[: histogram.size] += histogram[: longest + 1]
        _plot_share(ax, pooled, longest, dt, {"color": style.BLACK, "label": "all layers"})
    ax.set_ylim(bottom=0)
    if longest <= 12:
        ax.set_xticks(np.arange(1, longest + 1) * dt * 1e3)
    ax.set_xlabel("interspike interval (ms)")
    ax.set_ylabel("share of the layer's intervals (%)")
    style.tidy(ax)
    if not counted:
        return style.note(ax, "no neuron fired twice in one presentation")
    ax.legend(frameon=False)
    return ax


def _plot_share(ax: Axes, histogram: NDArray[np.int64], longest: int, dt: float, look: Mapping[str, Any]) -> None:
    share = np.zeros(longest)
    share[: min(longest, histogram.size - 1)] = histogram[1 : longest + 1]
    marker = "o" if longest <= 40 else None
    ax.plot(np.arange(1, longest + 1) * dt * 1e3, 100 * share / histogram.sum(), marker=marker, markersize=4, **look)


def plot_raster(
    spikes_torch: Mapping[str, Spikes],
    spikes_brian2: Mapping[str, Spikes],
    dt: float,
    ax: Axes | None = None,
    max_neurons: int = 200,
) -> Axes:
    """Spikes of both networks for one image: PyTorch as dots, Brian2 as rings around them, disagreements vermillion.

    Both map layer names to bool arrays (steps, neurons). The title counts disagreements over all neurons. Of a layer
    with more than `max_neurons`, the neurons that disagree and otherwise evenly spaced ones are drawn, and its label
    says how many. Bottom axis ms, top axis steps. UserError when layers or shapes differ.
    """
    ax = style.axes_or_new(ax, 9.0, 7.0)
    bands = _bands(spikes_torch, spikes_brian2, max_neurons)
    rows = bands[-1].start + len(bands[-1].neurons)
    _draw_spikes(ax, spikes_torch, spikes_brian2, bands, dt, rows)
    _label_bands(ax, bands, rows)
    steps = next(iter(spikes_torch.values())).shape[0]
    style.time_axis(ax, steps, dt)
    fired = sum(int(np.count_nonzero(spikes_torch[band.name] | spikes_brian2[band.name])) for band in bands)
    wrong = sum(band.mismatches for band in bands)
    colour = style.ALARM if wrong else style.BLACK
    ax.set_title(f"{wrong:,} of {fired:,} spikes disagree", color=colour, fontsize=11, fontweight="bold")
    return ax


@dataclass(frozen=True)
class _Band:
    """The rows of one layer: the first row, the neurons drawn, how many there are, how many spikes disagree."""

    name: str
    start: int
    neurons: NDArray[np.int64]
    total: int
    mismatches: int


def _bands(torch: Mapping[str, Spikes], brian2: Mapping[str, Spikes], max_neurons: int) -> list[_Band]:
    if not torch or list(torch) != list(brian2):
        raise UserError("A raster needs the same layers, at least one, from both networks.")
    bands: list[_Band] = []
    start = 0
    for name in torch:
        if torch[name].shape != brian2[name].shape or torch[name].ndim != 2:
            raise UserError(f"The spikes of layer {name} must have one shape (steps, neurons) in both networks.")
        wrong: Spikes = np.logical_xor(torch[name], brian2[name])
        chosen = choose(np.arange(wrong.shape[1]), max_neurons, np.flatnonzero(np.any(wrong, axis=0)))
        bands.append(_Band(name, start, chosen, wrong.shape[1], int(np.count_nonzero(wrong))))
        start += len(chosen)
    return bands


def _draw_spikes(
    ax: Axes, torch: Mapping[str, Spikes], brian2: Mapping[str, Spikes], bands: Sequence[_Band], dt: float, rows: int
) -> None:
    """One Line2D per kind of mark, named by its gid, so that a reader of the figure can count them."""
    left = np.concatenate([torch[band.name][:, band.neurons] for band in bands], axis=1)
    right = np.concatenate([brian2[band.name][:, band.neurons] for band in bands], axis=1)
    points = ax.get_window_extent().height * 72 / ax.figure.dpi
    dot = float(np.clip(0.75 * points / max(rows, 1), 1.2, 6.0))
    ring = {"fillstyle": "none", "markersize": 1.8 * dot, "markeredgewidth": max(0.4, 0.14 * dot)}
    loud = {"fillstyle": "none", "markeredgewidth": 1.6}
    filled = {"markersize": dot, "markeredgewidth": 0.0}
    kinds: list[tuple[str, str, Spikes, str, dict[str, Any]]] = [
        ("torch", "PyTorch", left & right, style.TORCH, filled),
        ("brian2", "Brian2", left & right, style.BRIAN2, ring),
        ("torch only", "PyTorch only", left & ~right, style.ALARM, {**filled, "markersize": dot + 3}),
        ("brian2 only", "Brian2 only", right & ~left, style.ALARM, {**loud, "markersize": dot + 4}),
    ]
    many = 2 * np.count_nonzero(left & right) + np.count_nonzero(left ^ right) > style.RASTERIZE_ABOVE
    for gid, label, marks, colour, look in kinds:
        step, row = np.nonzero(marks)
        (line,) = ax.plot(step * dt * 1e3, row, "o", color=colour, label=label, gid=gid, rasterized=bool(many), **look)
        line.set_visible(len(step) > 0)
    ax.legend(handles=_legend_marks(), loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _legend_marks() -> list[Line2D]:
    """Legend marks of a size to be seen, whatever the size in the raster."""
    marks = []
    for label, colour, full in (
        ("PyTorch", style.TORCH, True),
        ("Brian2", style.BRIAN2, False),
        ("PyTorch only", style.ALARM, True),
        ("Brian2 only", style.ALARM, False),
    ):
        look: dict[str, Any] = {"markersize": 5} if full else {"markersize": 8, "fillstyle": "none"}
        marks.append(Line2D([], [], color=colour, marker="o", linestyle="none", label=label, **look))
    return marks


def _label_bands(ax: Axes, bands: Sequence[_Band], rows: int) -> None:
    labels = []
    for band in bands:
        drawn = len(band.neurons)
        count = f"{drawn} of {band.total}" if drawn < band.total else f"{drawn}"
        labels.append(style.literal(f"{band.name}\n({count})"))
        if band.start:
            ax.axhline(band.start - 0.5, color=style.GREY, linewidth=0.6)
    ax.set_yticks([band.start + (len(band.neurons) - 1) / 2 for band in bands], labels, fontsize=9)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(rows - 0.5 + 0.01 * rows, -0.5 - 0.01 * rows)
    subsampled = any(len(band.neurons) < band.total for band in bands)
    ax.set_ylabel("layer (neurons drawn: disagreeing, then evenly spaced ones)" if subsampled else "layer (neurons)")
