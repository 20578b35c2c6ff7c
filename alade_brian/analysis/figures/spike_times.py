"""How far simulated spike times are from their closed form, and what becomes of the answers, by the step's length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from alade_brian.analysis.figures import style


def plot_time_errors(found: Mapping[str, Any], ax: Axes) -> Axes:
    """Differences of spike times (ms) against dt, both logarithmic: the largest of a layer for the input that it had,
    and the mean over the whole network. `found` as `systems.relpsp.prove` gives it."""
    windows = found["windows"]
    dt = [each["dt_ms"] for each in windows]
    layers = [max(of["max_error_steps"] for of in each["layers"].values()) * each["dt_ms"] for each in windows]
    ax.plot(dt, layers, marker="o", color=style.BLUE, label="largest, layer by layer")
    network = [each["mean_error_ms"] for each in windows]
    ax.plot(dt, network, marker="s", color=style.ORANGE, label=f"mean, whole network (slope {found['slope']:.2f})")
    ax.plot(dt, dt, "--", color=style.GREY, label="dt")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("time step dt (ms)")
    ax.set_ylabel("simulated - closed form (ms)")
    ax.legend(fontsize="small")
    return style.tidy(ax)


def plot_decisions(found: Mapping[str, Any], ax: Axes) -> Axes:
    """The part of the images that are answered correctly, simulated and in closed form, and of those that are answered
    otherwise than in closed form, against dt, each on its own number of images. `found` as `systems.relpsp.prove` gives
    it."""
    windows = found["windows"]
    dt = [each["dt_ms"] for each in windows]
    for key, name, colour, line in (
        ("accuracy", "accuracy, simulated", style.BLACK, "-"),
        ("accuracy_closed_form", "accuracy, closed form", style.BLUE, "--"),
        ("class_flips", "answered otherwise", style.ORANGE, "-"),
    ):
        ax.plot(dt, [each[key] for each in windows], line, marker="o", color=colour, label=name)
    ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("time step dt (ms)")
    ax.set_ylabel("part of the images")
    ax.legend(fontsize="small")
    return style.tidy(ax)


def plot_latencies(found: Mapping[str, Any], ax: Axes) -> Axes:
    """The mean time (ms) of the first output spike, simulated and in closed form, against dt. `found` as
    `systems.relpsp.prove` gives it."""
    windows = found["windows"]
    dt = [each["dt_ms"] for each in windows]
    for key, name, colour, line in (
        ("latency_ms", "simulated", style.BLACK, "-"),
        ("latency_closed_form_ms", "closed form", style.BLUE, "--"),
    ):
        ax.plot(dt, [each[key] for each in windows], line, marker="o", color=colour, label=name)
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("time step dt (ms)")
    ax.set_ylabel("first output spike (ms)")
    ax.legend(fontsize="small")
    return style.tidy(ax)
