"""Rasters of spike records: images one after the other, one colour per layer, rates above and counts at the side.

A spike of step t of the k-th image is drawn at (k * steps + t) * dt: images follow each other without a pause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alade_brian.analysis.figures import style
from alade_brian.errors import UserError
from alade_brian.spikes.class_names import class_name
from alade_brian.spikes.spike_record import SpikeRecord
from alade_brian.spikes.task_record import NO_CLASS

Numbers = NDArray[np.int64]
NETWORKS = ("PyTorch", "Brian2")


def plot_spikes(
    record: SpikeRecord, ax: Axes | None = None, max_neurons: int = 100, class_names: Sequence[str] = ()
) -> Axes:
    """Spikes of the record's images one after the other, a mark each; bottom axis ms, top axis steps.

    Above: mean rate (Hz) of every layer in each step, over all its recorded neurons. At the side: spikes of each drawn
    neuron in all these images. Of a layer with more than `max_neurons`, evenly spaced ones are drawn, and its label
    says how many. Above 10,000 marks they are a picture in vector files. The Axes above and at the side are
    `child_axes` of the one returned, labelled "rates" and "counts". `class_names`: in class order; default: the numbers
    of the classes. UserError when `max_neurons` is below 1.
    """
    ax = style.axes_or_new(ax, 9.0, 6.0)
    rows = _Rows.of(record, max_neurons)
    _draw(record, rows, ax, class_names)
    if not len(record):
        style.note(ax, "no neuron fired")
    return ax


def plot_spikes_pair(
    torch: SpikeRecord,
    brian2: SpikeRecord,
    axes: Sequence[Axes] | None = None,
    max_neurons: int = 100,
    class_names: Sequence[str] = (),
) -> list[Axes]:
    """Both networks' spikes of the same images side by side, each as `plot_spikes`; vermillion where only one spiked.

    `axes`: two that share both axes (default: a new figure). Of a layer with more than `max_neurons`, the neurons that
    disagree and otherwise evenly spaced ones are drawn; the titles count over all neurons. Returns both Axes.
    UserError when the records differ in images, steps, time step, layers or neurons.
    """
    _check_same(torch, brian2)
    if axes is None:
        _, axes = style.new_row(12.0, 6.0, 2)
    only = _only(torch, brian2), _only(brian2, torch)
    differing = {
        name: np.unique(
            np.concatenate([r.neuron[o & (r.layer == k)] for r, o in zip((torch, brian2), only, strict=True)])
        )
        for k, name in enumerate(torch.layers)
    }
    rows = _Rows.of(torch, max_neurons, differing)
    wrong = sum(int(np.count_nonzero(each)) for each in only)
    for ax, record, alone, name in zip(axes, (torch, brian2), only, NETWORKS, strict=True):
        _draw(record, rows, ax, class_names, alone)
        colour = style.ALARM if wrong else style.BLACK
        # Over the strip's own axis of steps, which a title of `ax` would cross.
        above = ax.child_axes[0]
        assert isinstance(above, Axes)
        above.set_title(f"{name}: {len(record):,} spikes, {wrong:,} differ", color=colour, fontsize=10)
    axes[1].set_ylabel("")
    axes[1].tick_params(labelleft=False)
    return list(axes)


@dataclass(frozen=True)
class _Rows:
    """Which neurons of each layer are drawn, in which rows: layer by layer, from row `starts[k]` on."""

    names: list[str]
    neurons: list[Numbers]
    totals: list[int]

    @classmethod
    def of(cls, record: SpikeRecord, limit: int, first: Mapping[str, Numbers] | None = None) -> _Rows:
        """At most `limit` neurons of each layer, those of `first` before evenly spaced ones."""
        if limit < 1:
            raise UserError(f"A raster needs at least one neuron of each layer, not {limit}.")
        chosen = [choose(neurons, limit, (first or {}).get(name)) for name, neurons in record.layers.items()]
        return cls(list(record.layers), chosen, [len(neurons) for neurons in record.layers.values()])

    @property
    def starts(self) -> Numbers:
        return np.cumsum([0, *(len(neurons) for neurons in self.neurons)])

    def place(self, layer: int, neuron: NDArray[np.int32]) -> tuple[NDArray[np.bool_], Numbers]:
        """Which of these neurons of a layer are drawn, and the rows of those that are."""
        drawn = self.neurons[layer]
        place = np.minimum(np.searchsorted(drawn, neuron), len(drawn) - 1)
        there = drawn[place] == neuron
        return there, self.starts[layer] + place[there]


def choose(neurons: Numbers, limit: int, first: Numbers | None = None) -> Numbers:
    """At most `limit` of these rising numbers: those of `first`, then evenly spaced others; rising."""
    if len(neurons) <= limit:
        return neurons
    wanted = np.empty(0, dtype=np.int64) if first is None else first[:limit]
    others = np.setdiff1d(neurons, wanted)
    even = others[np.linspace(0, others.size - 1, min(limit - wanted.size, others.size)).astype(np.int64)]
    return np.sort(np.concatenate([wanted, even]))


def _draw(
    record: SpikeRecord, rows: _Rows, ax: Axes, class_names: Sequence[str], alone: NDArray[np.bool_] | None = None
) -> None:
    """Marks, strips and labels; spikes that stand `alone` in the alarm colour."""
    above = ax.inset_axes((0.0, 1.02, 1.0, 0.16), sharex=ax, label="rates")
    beside = ax.inset_axes((1.025, 0.0, 0.12, 1.0), sharey=ax, label="counts")
    alone = np.zeros(len(record), dtype=np.bool_) if alone is None else alone
    at = record.presentation * record.steps + record.step
    shown = [rows.place(k, record.neuron[record.layer == k]) for k in range(len(rows.names))]
    many = sum(len(row) for _, row in shown) > style.RASTERIZE_ABOVE
    steps = len(record.images) * record.steps
    edges = (np.arange(steps + 1) - 0.5) * record.dt * 1e3
    width = float(np.clip(0.2 * ax.get_window_extent().width * 72 / ax.figure.dpi / steps, 0.8, 2.5))
    for k, name in enumerate(rows.names):
        colour = style.CALM[k % len(style.CALM)]
        here, (there, row) = record.layer == k, shown[k]
        times, loud = at[here][there] * record.dt * 1e3, alone[here][there]
        _marks(ax, times[~loud], row[~loud], colour, name, many, width)
        if loud.any():
            _marks(ax, times[loud], row[loud], style.ALARM, f"{name}, only here", many, 2 * width)
        rate = np.bincount(at[here], minlength=steps) / (rows.totals[k] * record.dt)
        above.stairs(rate, edges, color=colour, linewidth=1.0, baseline=None)
        drawn = len(rows.neurons[k])
        counts = np.bincount(row - rows.starts[k], minlength=drawn)
        places = rows.starts[k] + np.arange(drawn + 1) - 0.5
        beside.stairs(counts, places, orientation="horizontal", fill=True, color=colour)
    _label_layers(ax, rows)
    style.time_axis(ax, steps, record.dt, above)
    _label_images(record, ax, above, class_names)
    _label_strips(above, beside)


def _marks(
    ax: Axes, times: NDArray[np.float64], rows: Numbers, colour: str, gid: str, picture: bool, width: float
) -> None:
    """One upright line per spike, all in one path, which keeps vector files small; named, so that it can be counted."""
    x = np.repeat(times, 3)
    y = (rows[:, None] + np.array([-0.45, 0.45, np.nan])).ravel()
    ax.plot(x, y, color=colour, linewidth=width, gid=gid, rasterized=picture, solid_capstyle="butt")


def _label_layers(ax: Axes, rows: _Rows) -> None:
    starts = rows.starts
    labels = []
    for name, neurons, total in zip(rows.names, rows.neurons, rows.totals, strict=True):
        drawn = len(neurons)
        labels.append(style.literal(f"{name}\n({drawn} of {total})" if drawn < total else f"{name}\n({drawn})"))
    ax.hlines(starts[1:-1] - 0.5, 0, 1, transform=ax.get_yaxis_transform(), color=style.GREY, linewidth=0.6)
    ax.set_yticks((starts[:-1] + starts[1:] - 1) / 2, labels, fontsize=9)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(starts[-1] - 0.5, -0.5)
    ax.set_ylabel("layer (neurons drawn)")


def _label_images(record: SpikeRecord, ax: Axes, above: Axes, class_names: Sequence[str]) -> None:
    """A line between two images, and what each shows, where there is room for it."""
    if len(record.images) == 1:
        return
    starts = (np.arange(len(record.images)) * record.steps - 0.5) * record.dt * 1e3
    for each in (ax, above):
        each.vlines(
            starts[1:], 0, 1, transform=each.get_xaxis_transform(), color="#BBBBBB", linewidth=0.6, linestyle=":"
        )
    if len(record.images) <= 12:
        for start, label, image in zip(starts, record.labels, record.images, strict=True):
            # An image without a class goes by its number.
            what, known = ("image", image) if label == NO_CLASS else ("class", class_name(class_names, label))
            name = style.literal(known)
            above.text(
                start, 1.0, f" {what} {name}" if start == starts[0] else f" {name}", va="top", fontsize=7,
                color=style.GREY, transform=above.get_xaxis_transform(),
            )  # fmt: skip


def _label_strips(above: Axes, beside: Axes) -> None:
    above.set_ylim(bottom=0)
    above.margins(y=0.25)
    above.set_ylabel("rate (Hz)", fontsize=8)
    beside.set_xlabel("spikes", fontsize=8)
    beside.set_xlim(left=0)
    for each, axis in ((above, "x"), (beside, "y")):
        each.tick_params(axis=axis, labelbottom=axis != "x", labelleft=axis != "y", length=0)  # type: ignore[arg-type]
        each.tick_params(labelsize=8)
        each.spines[["top", "right"]].set_visible(False)


def _only(record: SpikeRecord, other: SpikeRecord) -> NDArray[np.bool_]:
    """(spikes,): which spikes of `record` are not in `other`."""
    return ~np.isin(_key(record), _key(other))


def _key(record: SpikeRecord) -> Numbers:
    """A number for every spike; the same in records of the same layers, neurons, images and steps."""
    units = sum(len(neurons) for neurons in record.layers.values())
    return (record.presentation * record.steps + record.step) * units + record.unit


def _check_same(torch: SpikeRecord, brian2: SpikeRecord) -> None:
    same = torch.dt == brian2.dt and torch.steps == brian2.steps and list(torch.layers) == list(brian2.layers)
    same = same and np.array_equal(torch.images, brian2.images)
    same = same and all(np.array_equal(torch.layers[name], brian2.layers[name]) for name in torch.layers)
    if not same:
        raise UserError(
            "Two networks can be drawn side by side where both records hold the same images, steps, layers and neurons."
        )
