"""How far neurons are from what a learning rule takes them for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from alade_brian.analysis.figures import style


def plot_representation(found: Mapping[str, Any], ax: Axes) -> Axes:
    """The mean error of each layer's representation, in thresholds, against the number of steps, both logarithmic; a
    dashed line falls as one over the steps. `found` as `systems.dsr.measure` gives it."""
    steps = found["steps"]
    for colour, (name, errors) in zip(_colours(len(found["layers"])), found["layers"].items(), strict=True):
        ax.plot(steps, errors, marker="o", color=colour, label=name.removeprefix("extractors.0."))
    first = max(errors[0] for errors in found["layers"].values())
    ax.plot(steps, [first * steps[0] / t for t in steps], "--", color=style.GREY, label="1 / steps")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(steps, [str(t) for t in steps])
    ax.set_xlabel("steps")
    ax.set_ylabel("mean error (thresholds)")
    ax.legend(fontsize="small")
    return style.tidy(ax)


def _colours(count: int) -> list[str]:
    return [style.SERIES[k % len(style.SERIES)] for k in range(count)]
