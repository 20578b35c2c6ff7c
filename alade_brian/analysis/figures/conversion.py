"""What converting an analogue network costs, layer by layer, and what learning behind each layer wins back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from alade_brian.analysis.figures import style


def plot_conversion(found: Mapping[str, Any], ax: Axes) -> Axes:
    """The accuracy against the number of converted layers, for every run that does not round its weights: with learning
    behind each layer (lines) and without any (dashed). `found` as `systems.tandem.prove` gives it."""
    runs = [run for run in found["runs"] if run["weight_bits"] is None]
    for number, run in enumerate(runs):
        colour = style.SERIES[number % len(style.SERIES)]
        learnt, at_once = run["accuracy"], run["accuracy_primitive"][:-1]
        ax.plot(range(len(learnt)), learnt, "o-", color=colour, label=f"{run['steps']} steps")
        ax.plot(range(len(at_once)), at_once, "s--", color=colour, markersize=4)
    ax.plot([], [], "s--", color=style.GREY, markersize=4, label="converted at once")
    count = len(found["layers"])
    ax.set_xticks(range(count + 2), ["analogue", *(f"{k} spiking" for k in range(1, count + 1)), "readout"])
    ax.set_ylabel(f"accuracy ({found['images']} test images)")
    ax.legend(fontsize="small")
    return style.tidy(ax)


def plot_weight_bits(found: Mapping[str, Any], ax: Axes) -> Axes:
    """The accuracy against the bits of the weights, of the runs that round them: learnt, and converted at once; a line
    for each number of steps. Behind the last number stand the runs that do not round."""
    rounded = with_bits(found)
    steps = sorted({run["steps"] for run in rounded})
    bits = sorted({run["weight_bits"] for run in rounded})
    for number, each in enumerate(steps):
        colour = style.SERIES[number % len(style.SERIES)]
        own = [run for run in found["runs"] if run["steps"] == each]
        places = [len(bits) if run["weight_bits"] is None else bits.index(run["weight_bits"]) for run in own]
        pairs = sorted(zip(places, own, strict=True), key=lambda pair: pair[0])
        where = [place for place, _ in pairs]
        ax.plot(where, [run["accuracy"][-1] for _, run in pairs], "o-", color=colour, label=f"{each} steps")
        ax.plot(where, [run["accuracy_primitive"][-2] for _, run in pairs], "s--", color=colour, markersize=4)
    ax.set_xticks(range(len(bits) + 1), [*(str(b) for b in bits), "as learnt"])
    ax.set_xlabel("bits of the weights")
    ax.set_ylabel(f"accuracy ({found['images']} test images)")
    ax.legend(fontsize="small")
    return style.tidy(ax)


def with_bits(found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The runs that round their weights."""
    return [run for run in found["runs"] if run["weight_bits"] is not None]
