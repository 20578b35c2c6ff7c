"""The look of every figure: colours that colour-blind readers can tell apart, plain axes, figures without pyplot."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alade_brian.files import write_bytes

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
# Where vermillion is kept for what disagrees.
CALM = tuple(colour for colour in SERIES if colour != ALARM)

_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Above this many marks a vector file would be slower to open than a picture.
RASTERIZE_ABOVE = 10_000


def new_axes(width: float = 7.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches with one Axes, on an Agg canvas and unknown to pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def axes_or_new(ax: Axes | None, width: float = 7.0, height: float = 4.0) -> Axes:
    """The Axes given, or those of a new figure."""
    return new_axes(width, height)[1] if ax is None else ax


def new_row(width: float, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    """As `new_axes`, with `panels` Axes side by side that share both axes."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, panels, sharex=True, sharey=True, squeeze=False).ravel())


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
    """A legend over the axes, where no bar or line can lie under it; of at most so many columns, and no more than fit.

    The layout makes room for a legend above the axes, but what reaches beyond the figure's right end is cut off.
    """
    for count in range(columns, 0, -1):
        legend = ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=count, borderaxespad=0.2)
        # Before the layout, which may move the axes to the right a little, but not make them narrower than that.
        if legend.get_window_extent().width <= ax.get_window_extent().width:
            return


def time_axis(ax: Axes, steps: int, dt: float, above: Axes | None = None) -> None:
    """x from the first to the last of `steps` steps of `dt` seconds: ms below, steps on top (of `above`)."""
    step_ms = dt * 1e3
    margin = 0.03 * steps + 0.2
    ax.set_xlim(-margin * step_ms, (steps - 1 + margin) * step_ms)
    ax.set_xlabel("time (ms)")

    def to_steps(time: Any) -> Any:
        return time / step_ms

    def to_ms(step: Any) -> Any:
        return step * step_ms

    top = (above or ax).secondary_xaxis("top", functions=(to_steps, to_ms))
    top.set_xlabel("step")
    top.xaxis.set_major_locator(MaxNLocator(integer=True))
    if steps <= 12:
        top.set_ticks(range(steps))
        ax.set_xticks(np.arange(steps) * step_ms)
    top.spines["top"].set_visible(False)
    ax.spines[["top", "right"]].set_visible(False)


def write_cells(ax: Axes, grid: NDArray[Any], low: float, high: float, texts: Sequence[Sequence[str]]) -> None:
    """Write `texts` into the cells of a cividis heat map, light on dark and dark on light; NaN cells stay empty."""
    cell = ax.get_window_extent().width * 72 / ax.figure.dpi / len(grid)
    size = max(4.5, min(10.0, 0.36 * cell))
    brightness = Normalize(low, high)
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value):
            colour = "black" if brightness(value) > 0.5 else "white"
            ax.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=size)


def number_cells(ax: Axes, size: int, numbers: Sequence[int] | None = None) -> None:
    """Number the rows and columns of a square heat map, by default from 1, at most twenty of them."""
    places = range(0, size, max(1, -(-size // 20)))
    names = [str(place + 1 if numbers is None else numbers[place]) for place in places]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(list(places), names)


def literal(text: object) -> str:
    """A name from data (of a class, a layer, a row) as a label: matplotlib draws it as it stands, and never as
    mathematics. What XML does not allow, and an SVG would be ill-formed with, is replaced."""
    return _NOT_IN_XML.sub("\ufffd", str(text)).replace("$", r"\$")


def note(ax: Axes, text: str) -> Axes:
    """Say in the middle of an empty Axes why there is nothing to see."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
    return ax


def write_figure(ax: Axes, path: Path, dpi: int = 150) -> tuple[Path, Path]:
    """Write the figure of `ax` to `path` with the endings .png (of `dpi`) and .svg added; OSError as the file system
    raises it.

    Returns both paths. What lies there is replaced, each file as a whole.
    """
    figure = ax.figure if isinstance(ax.figure, Figure) else ax.figure.figure
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    write_bytes(png, png_bytes(figure, dpi))
    write_bytes(svg, svg_bytes(figure))
    return png, svg


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
