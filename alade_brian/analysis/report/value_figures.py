"""What a report shows of values that were learnt: errors of both networks, and outputs beside their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alade_brian.analysis import figures
from alade_brian.analysis.figures.style import new_axes, new_row, png_bytes, svg_bytes
from alade_brian.analysis.report import html
from alade_brian.analysis.report.figures import Picture
from alade_brian.analysis.report.naming import Naming
from alade_brian.spikes.task_record import TaskRecord

Metrics = Mapping[str, Any]

# Fields beside each other that can still be looked at.
_FIELDS = 10
# A vector of more values than that is drawn as one cloud.
_PANELS = 4


def score_table(metrics: Metrics) -> str:
    """Errors of both networks after the last task."""
    task = metrics["tasks"][-1]
    rows = [
        [title, *(html.number(task[f"{key}_{network}"], 6) for network in ("torch", "brian2"))]
        for title, key in (("R2", "r2"), ("Mean squared error", "mean_squared_error"))
    ]
    caption = (
        f"Over {task['images']:,} {Naming.of(metrics).kind} images and all values of each. R2: 1 - sum of squared"
        " errors / sum of squared deviations of the targets from their mean over images; 1: every value is right, 0: as"
        " good as the mean target, whatever the image."
    )
    return html.table(["", "PyTorch", "Brian2"], rows, caption)


def output_picture(record: TaskRecord, naming: Naming) -> Picture:
    """Outputs of both networks beside their targets: fields as pictures, vectors as a cloud for each value."""
    targets = _targets(record)
    figure = plot_outputs(record).get_figure(root=True)
    assert figure is not None
    count, values = len(targets), int(np.prod(targets.shape[1:]))
    if targets.ndim == 4:
        some = len(_shown_fields(count))
        caption = (
            f"{some} of {count:,} {naming.kind} images, evenly spaced: the field to be learnt and what both networks"
            " gave, on one scale. Nothing averaged."
        )
        alt = f"Grey pictures of {some} fields: target, PyTorch's output and Brian2's."
    else:
        panels = f", a panel for each of {values} values" if 1 < values <= _PANELS else ""
        caption = (
            f"Outputs against their targets for all {count:,} {naming.kind} images{panels}; blue dots: PyTorch, black"
            " rings: Brian2. On the dashed line a value is right. Nothing averaged."
        )
        alt = f"Clouds of points: {values} output values against their targets."
    return Picture("outputs", caption, alt, svg_bytes(figure), png_bytes(figure), wide=True)


def plot_outputs(record: TaskRecord) -> Axes:
    """Draw what `output_picture` shows; the first Axes of a new figure."""
    targets = _targets(record)
    torch, brian2 = (each.reshape(targets.shape) for each in (record.logits_torch, record.logits_brian2))
    if targets.ndim == 4:
        shown = _shown_fields(len(targets))
        height = min(9.0, 1.0 + 7.5 / len(shown) * 3 * targets.shape[1] * targets.shape[2] / targets.shape[3])
        _, ax = new_axes(9.0, max(2.5, height))
        return figures.plot_fields(targets[shown], torch[shown], brian2[shown], ax, shown.tolist())
    values = targets.shape[1]
    if values > _PANELS:
        return figures.plot_predicted(targets, torch, brian2)
    _, axes = new_row(1.0 + 4.0 * values, 4.4, values)
    for value, ax in enumerate(axes):
        figures.plot_predicted(targets[:, value], torch[:, value], brian2[:, value], ax)
        ax.set_xlabel(f"target {value}" if values > 1 else "target")
    for ax in axes[1:]:
        ax.set_ylabel("")
    return axes[0]


def _targets(record: TaskRecord) -> NDArray[Any]:
    assert record.targets is not None, "outputs are shown beside targets"
    return record.targets


def _shown_fields(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, _FIELDS)).round().astype(np.int64))
