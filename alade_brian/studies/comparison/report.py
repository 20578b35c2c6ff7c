"""The files of a comparison: results.json, table.md, table.csv, paired.md, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from alade_brian.analysis.figures import style
from alade_brian.analysis.figures.comparison import plot_cost, plot_curves, plot_forgetting
from alade_brian.files import write_bytes, write_json, write_text
from alade_brian.studies.comparison import paired
from alade_brian.studies.comparison.grid import FIGURES
from alade_brian.studies.comparison.table import csv_text, markdown

Results = Mapping[str, Any]


def write_comparison(results: Results, out: Path) -> None:
    """Write all files of a comparison to its folder."""
    write_json(out / "results.json", results)
    write_text(out / "table.md", markdown(results))
    write_text(out / "table.csv", csv_text(results))
    pairs = paired.markdown(results)
    if pairs is not None:
        write_text(out / "paired.md", pairs)
    high = max(3.0, 1.0 + 0.35 * len(results["rows"]))
    figures: dict[str, tuple[Callable[[Results, Axes], Axes], float]] = {
        "accuracy": (plot_curves, max(4.5, high)),
        "forgetting": (plot_forgetting, high),
        "cost-training": (partial(plot_cost, cost="train_seconds"), max(4.0, high)),
        "cost-events": (partial(plot_cost, cost="synaptic_events_per_image"), max(4.0, high)),
    }
    for name, (plot, height) in figures.items():
        figure, ax = style.new_axes(8.5, height)
        plot(results, ax)
        write_bytes(out / FIGURES / f"{name}.png", style.png_bytes(figure))
        write_bytes(out / FIGURES / f"{name}.svg", style.svg_bytes(figure))
