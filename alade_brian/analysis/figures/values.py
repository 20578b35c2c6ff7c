"""Figures of values that a network gives: each against its target, and fields beside their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alade_brian.analysis.figures import style
from alade_brian.errors import UserError

Array = NDArray[Any]

# Outputs of both networks by their titles; a ring around a dot stays visible where both agree.
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "PyTorch": {"color": style.TORCH, "marker": "o", "markersize": 3},
    "Brian2": {"color": style.BRIAN2, "marker": "o", "markersize": 7, "fillstyle": "none", "markeredgewidth": 0.7},
}


def plot_predicted(targets: Array, torch: Array, brian2: Array, ax: Axes | None = None) -> Axes:
    """Output values against their targets, PyTorch's as dots, Brian2's as rings around them; on the dashed line a value
    is right. Nothing is averaged.

    All three of one shape, of which every entry is one value. UserError where they are not.
    """
    ax = style.axes_or_new(ax, 4.8, 4.8)
    _check_shapes(targets, torch, brian2)
    picture = targets.size > style.RASTERIZE_ABOVE
    for (name, look), values in zip(_LOOKS.items(), (torch, brian2), strict=True):
        ax.plot(targets.ravel(), values.ravel(), linestyle="none", label=name, rasterized=picture, **look)
    ends = [min(targets.min(), torch.min(), brian2.min()), max(targets.max(), torch.max(), brian2.max())]
    ax.plot(ends, ends, color=style.GREY, linestyle="--", linewidth=1)
    ax.set_xlabel("target")
    ax.set_ylabel("output")
    style.legend_above(ax, columns=2)
    return style.tidy(ax, grid="both")


def plot_fields(
    targets: Array, torch: Array, brian2: Array, ax: Axes | None = None, images: Sequence[int] | None = None
) -> Axes:
    """Fields as grey pictures, a column per image: on top the target, below it PyTorch's output and Brian2's, all on
    one scale; channels one below the other.

    All three ``(fields, channels, height, width)``. `images`: the numbers written under the columns (default: from 0).
    UserError where the shapes differ or are no fields.
    """
    ax = style.axes_or_new(ax, 9.0, 4.0)
    _check_shapes(targets, torch, brian2)
    if targets.ndim != 4:
        raise UserError(f"Fields must be (fields, channels, height, width), not {targets.shape}.")
    count, _, _, width = targets.shape
    tall = targets.shape[1] * targets.shape[2]
    # One empty row or column between two fields.
    mosaic = np.full((3 * (tall + 1) - 1, count * (width + 1) - 1), np.nan)
    for row, fields in enumerate((targets, torch, brian2)):
        for column, field in enumerate(fields.reshape(count, tall, width)):
            top, left = row * (tall + 1), column * (width + 1)
            mosaic[top : top + tall, left : left + width] = field
    picture = ax.imshow(mosaic, cmap="gray", interpolation="nearest")
    middles = np.arange(3) * (tall + 1) + (tall - 1) / 2
    ax.set_yticks(middles, ["target", *_LOOKS])
    names = range(count) if images is None else images
    ax.set_xticks(np.arange(count) * (width + 1) + (width - 1) / 2, [str(name) for name in names])
    ax.set_xlabel("image")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(picture, ax=ax, label="value", shrink=0.8)
    return ax


def _check_shapes(targets: Array, torch: Array, brian2: Array) -> None:
    if not targets.size or not targets.shape == torch.shape == brian2.shape:
        raise UserError(
            f"Targets and outputs must be as many values, at least one, not {targets.shape}, {torch.shape} and "
            f"{brian2.shape}."
        )
