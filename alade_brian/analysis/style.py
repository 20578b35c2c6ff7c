"""The look of every figure: colours that colour-blind readers can tell apart, plain axes, figures without pyplot."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design, 2008.
BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#767676"

TORCH = BLUE
BRIAN2 = BLACK
ALARM = VERMILLION
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK, GREY)


def new_axes(width: float = 7.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches with one Axes, on an Agg canvas and unknown to pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def new_stack(width: float, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    """As `new_axes`, with `panels` Axes one below the other that share their x; `height` is that of one."""
    figure = Figure(figsize=(width, height * panels), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(panels, 1, sharex=True, squeeze=False).ravel())


def new_grid(width: float, height: float, panels: int, columns: int) -> tuple[Figure, list[Axes]]:
    """As `new_axes`, with `panels` Axes in rows of `columns`, each of `width` x `height` inches."""
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * min(columns, panels), height * rows), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    every = list(figure.subplots(rows, min(columns, panels), squeeze=False).ravel())
    for ax in every[panels:]:
        ax.set_axis_off()
    return figure, every[:panels]


def tidy(ax: Axes, grid: str | None = "y") -> Axes:
    """Take away the frame's upper and right side and draw a faint grid along `grid` ("x", "y", "both" or None)."""
    ax.spines[["top", "right"]].set_visible(False)
    if grid is not None:
        options: dict[str, Any] = {"axis": grid, "color": "#DDDDDD", "linewidth": 0.6}
        ax.grid(visible=True, **options)
    ax.set_axisbelow(True)
    return ax


def whole_ticks(ax: Axes, count: int, first: int = 1) -> None:
    """Ticks of x at `count` whole numbers from `first` on, at most twenty of them."""
    ax.set_xticks(range(first, first + count, max(1, -(-count // 20))))


def legend_above(ax: Axes, columns: int) -> None:
    """A legend over the axes, where no bar or line can lie under it."""
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, borderaxespad=0.2)


def note(ax: Axes, text: str) -> Axes:
    """Say in the middle of an empty Axes why there is nothing to see."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
    return ax


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG; the same figure gives the same bytes, without a date and without addresses in metadata."""
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context({"svg.hashsalt": "alade_brian", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=nothing, dpi=150)
    return buffer.getvalue()


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, dpi=dpi)
    return buffer.getvalue()
