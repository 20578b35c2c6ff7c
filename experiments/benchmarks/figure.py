"""Images per second over the firing rate, drawn from what `benchmark.py engine --json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from alade_brian.analysis.figures import style
from alade_brian.benchmarks.ratios import speed
from alade_brian.files import write_bytes

Result = Mapping[str, Any]


def plot_engine(result: Result, ax: Axes) -> Axes:
    """Medians with the range over the rounds, float32; a ring where the engine on all cores meets PyTorch."""
    table, cores = result["rates"], result["machine"]["cores_used"]
    many = {} if cores == 1 else {("shared_float32", cores): (f"engine, {cores} processes", style.BLACK, "o", "-")}
    looks: dict[tuple[str, int | None], tuple[str, str, str, str]] = {
        **many,
        ("shared_float32", 1): ("engine, one process", style.BLUE, "o", "-"),
        ("limit_float32", None): ("limit program, one core", style.GREY, "s", "--"),
        ("torch_eager", None): ("PyTorch eager, best", style.ORANGE, "^", "-"),
        ("torch_compile", None): ("torch.compile, best", style.VERMILLION, "v", "-"),
    }
    for (name, processes), look in looks.items():
        _line(ax, table, name, processes, look)
    _rings(ax, result, cores)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks([float(key) for key in table], list(table))
    ax.xaxis.set_minor_formatter(NullFormatter())
    for axis_format in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis_format(FuncFormatter(lambda value, _: f"{value:,.0f}" if f"{value:e}"[0] in "12357" else ""))
    ax.set_xlabel("firing rate of every layer (spikes per neuron and step)")
    ax.set_ylabel("images per second, float32")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
    return style.tidy(ax, grid="both")


def _line(ax: Axes, table: Result, name: str, processes: int | None, look: tuple[str, str, str, str]) -> None:
    """One competitor; nothing where it was not measured."""
    label, colour, marker, line = look
    points = [
        (float(key), value, row["range"][name] if processes is None else row["range"][name][str(processes)])
        for key, row in table.items()
        if (value := speed(row["images_per_second"], name, processes)) is not None
    ]
    if not points:
        return
    rates, medians, ranges = zip(*points, strict=True)
    ends = [
        [m - low for m, (low, _) in zip(medians, ranges, strict=True)],
        [high - m for m, (_, high) in zip(medians, ranges, strict=True)],
    ]
    ax.errorbar(rates, medians, ends, color=colour, marker=marker, linestyle=line, markersize=5, capsize=2, label=label)


def _rings(ax: Axes, result: Result, cores: int) -> None:
    """Where events stop beating tensors, with the rate beside the ring."""
    for name, rate in result["crossings"].items():
        if rate is None:
            continue
        height = _between(result["rates"], name, rate)
        ax.plot(rate, height, "o", color=style.BLACK, markersize=14, fillstyle="none", markeredgewidth=1.5, zorder=5)
        # Left below the ring is free: the engine comes from above, and PyTorch's line is flat.
        place: dict[str, Any] = {"xytext": (-7, -9), "textcoords": "offset points", "ha": "right", "va": "top"}
        ax.annotate(f"{rate:.3f}", (rate, height), **place)


def _between(table: Result, name: str, rate: float) -> float:
    """A competitor's speed between the measured rates, on the line that is drawn."""
    known = sorted((float(key), s) for key, row in table.items() if (s := speed(row["images_per_second"], name)))
    for (low, first), (high, second) in pairwise(known):
        if low <= rate <= high:
            share = np.log(rate / low) / np.log(high / low)
            return float(first * (second / first) ** share)
    return known[-1][1]


def write_figure(result: Result, path: Path) -> None:
    """The figure as PNG, and as SVG beside it."""
    figure, ax = style.new_axes(7.0, 4.8)
    plot_engine(result, ax)
    write_bytes(path, style.png_bytes(figure))
    write_bytes(path.with_suffix(".svg"), style.svg_bytes(figure))
