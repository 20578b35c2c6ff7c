"""Figures of what a run cost, in time and in energy, drawn from the contents of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alade_brian.analysis.figures import style

Metrics = Mapping[str, Any]

_TIME_PARTS = (
    ("train", style.BLUE),
    ("build", style.ORANGE),
    ("simulate", style.GREEN),
    ("compare", style.PURPLE),
)


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
    style.whole_ticks(ax, len(tasks), first=place[0])
    ax.set_xlabel("task")
    ax.set_ylabel(f"wall-clock time ({unit})")
    style.legend_above(ax, columns=4)
    return style.tidy(ax)


def plot_energy(energy: Metrics, ax: Axes) -> Axes:
    """Energy of one image by layer, first layer on top: accumulates and multiply-accumulates of the spiking network
    (stacked), and the ReLU network's below them.

    `energy` as `energy.energy_metrics` gives it; averaged over images.
    """
    layers = energy["layers"]
    place = np.arange(len(layers))
    joule = {key: np.array([layer[key] for layer in layers], dtype=np.float64) for key in _LAYER_COUNTS}
    added = joule["accumulates_per_image"] * energy["joule_per_synaptic_event"]
    multiplied = joule["macs_per_image"] * energy["joule_per_mac"]
    unit, scale = _unit(max((added + multiplied).max(), joule["joule_per_image_relu"].max()))
    ax.barh(place - 0.19, added / scale, height=0.36, color=style.BLUE, label="spiking, accumulates")
    ax.barh(
        place - 0.19,
        multiplied / scale,
        height=0.36,
        left=added / scale,
        color=style.SKY,
        label="spiking, multiply-accumulates",
    )
    ax.barh(place + 0.19, joule["joule_per_image_relu"] / scale, height=0.36, color=style.ORANGE, label="ReLU")
    shown = place[:: max(1, -(-len(layers) // 40))]
    ax.set_yticks(shown, [style.literal(layers[number]["name"]) for number in shown])
    ax.invert_yaxis()
    ax.set_xlabel(f"energy of one image ({unit})")
    ax.set_ylabel("layer")
    style.legend_above(ax, columns=1)
    return style.tidy(ax, grid="x")


def plot_energy_tasks(metrics: Metrics, ax: Axes) -> Axes:
    """Energy of one image after each task: the spiking network, its image sent once or in every step, and ReLU."""
    tasks = [task for task in metrics["tasks"] if task.get("energy")]
    lines = {key: np.array([task["energy"][key] for task in tasks], dtype=np.float64) for key in _LINES}
    unit, scale = _unit(max(values.max() for values in lines.values()))
    place = [task["task"] for task in tasks]
    for key, values in lines.items():
        ax.plot(place, values / scale, marker="o", markersize=4, **_LINES[key])
    style.whole_ticks(ax, len(tasks), first=place[0])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("task")
    ax.set_ylabel(f"energy of one image ({unit})")
    style.legend_above(ax, columns=1)
    return style.tidy(ax)


_LAYER_COUNTS = ("accumulates_per_image", "macs_per_image", "joule_per_image_relu")
_LINES: dict[str, dict[str, Any]] = {
    "joule_per_image_relu": {"color": style.ORANGE, "label": "ReLU"},
    "joule_per_image_input_every_step": {"color": style.BLUE, "linestyle": "--", "label": "spiking, image every step"},
    "joule_per_image_input_once": {"color": style.BLUE, "label": "spiking, image once"},
}


def _unit(largest: float) -> tuple[str, float]:
    """The unit in which a number of joule is written with few digits, and its size."""
    units = (("J", 1.0), ("mJ", 1e-3), ("\u00b5J", 1e-6), ("nJ", 1e-9))
    return next(((name, size) for name, size in units if largest >= size), ("pJ", 1e-12))
