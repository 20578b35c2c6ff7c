"""Which figures a report shows, those of spikes apart, with captions that say what is averaged over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from alade_brian.analysis import figures
from alade_brian.analysis.figures.style import new_axes, new_stack, png_bytes, svg_bytes
from alade_brian.analysis.report import html
from alade_brian.analysis.report.naming import Naming

Metrics = Mapping[str, Any]

# The caption of the figure of training where classes are learnt.
TRAINING_OF_CLASSES = (
    "Loss: mean over the training images of an epoch; what it is made of differs between stages. Gap: mean true-class"
    " logit over the new classes' training images minus that over the exemplars of old classes; gamma: the offset that"
    " training adds to the new classes' logits to close it, where the method does so. Rows: mean L2 norm of the"
    " classifier's weights of one class. Vertical lines part the tasks. Quantities that the method does not record have"
    " no line."
)


@dataclass(frozen=True)
class Picture:
    """One drawn figure: its file name without ending, what stands under it, what is said to who cannot see it.

    `wide`: to be shown over the whole width of the page and not beside another.
    """

    name: str
    caption: str
    alt: str
    svg: bytes
    png: bytes
    wide: bool


def learning_pictures(metrics: Metrics) -> list[Picture]:
    """Accuracy over tasks; accuracy matrix and confusion matrix where metrics.json has them."""
    pictures = [_accuracy_picture(metrics)]
    if metrics.get("accuracy_matrix_brian2"):
        pictures.append(_matrix_picture(metrics))
    return pictures + confusion_pictures(metrics)


def confusion_pictures(metrics: Metrics) -> list[Picture]:
    """The confusion matrix after the last task where metrics.json has it."""
    return [_confusion_picture(metrics)] if metrics["tasks"][-1].get("confusion_brian2") else []


def show(picture: Picture) -> Markup:
    """A picture as a part of the page."""
    return html.figure(picture.svg, picture.alt, picture.caption)


def training_pictures(metrics: Metrics, caption: str) -> list[Picture]:
    """What the epochs recorded, with this caption, and logits before and after alignment; empty where nothing was
    recorded."""
    pictures = []
    if figures.has_epochs(metrics):
        pictures.append(_training_picture(metrics, caption))
    if any((task.get("training") or {}).get("logits_before_alignment") for task in metrics["tasks"]):
        caption = (
            "Mean true-class logit by task before and after alignment, in the last task that was aligned. Averaged over"
            " the training images of each task (exemplars for old ones). Equal bars mean no bias towards new classes."
        )
        alt = "Grouped bars: mean true-class logit per task, before and after alignment."
        pictures.append(draw_picture("logits", lambda ax: figures.plot_logits(metrics, ax), caption, alt, (9.0, 3.6)))
    return pictures


def rate_picture(metrics: Metrics) -> Picture:
    """Rates of all layers after the last task."""
    layers = metrics["tasks"][-1]["layers"]
    caption = (
        f"Mean rate per layer in Brian2 after the last task, averaged over {Naming.of(metrics).kind} images, steps"
        " and all neurons of the"
        " layer, silent ones included."
    )
    alt = "Bars: " + "; ".join(f"{layer['name']} {layer['mean_rate_hz'] or 0:.3g} Hz" for layer in layers[:12]) + "."
    height = min(9.0, max(3.4, 1.0 + 0.3 * len(layers)))
    return draw_picture("rates", lambda ax: figures.plot_rates(metrics, ax), caption, alt, (4.8, height))


def time_picture(metrics: Metrics) -> Picture:
    """Where the time went."""
    caption = "Wall-clock time of each task for training, building the simulation, simulating and comparing."
    alt = "Stacked bars: time per task spent in training, building, simulating and comparing."
    return draw_picture("time", lambda ax: figures.plot_time(metrics, ax), caption, alt, (9.0, 3.4))


def energy_pictures(metrics: Metrics) -> list[Picture]:
    """Energy by layer, and over the tasks where more than one has it; empty where none was calculated."""
    energy = metrics.get("energy") or {}
    pictures = []
    if energy.get("layers"):
        caption = (
            "Energy of one image by layer after the last task, averaged over the simulated images: additions for spikes"
            " that arrived, multiplications for what is not a spike, beside the same layers computed once with ReLU"
            f" units. The image goes through its weights {'in every step' if energy['input_every_step'] else 'once'}."
        )
        alt = f"Bars: energy per layer of the spiking and of the ReLU network, {len(energy['layers'])} layers."
        height = min(9.0, max(3.8, 1.6 + 0.4 * len(energy["layers"])))
        pictures.append(draw_picture("energy", lambda ax: figures.plot_energy(energy, ax), caption, alt, (4.8, height)))
    if sum(bool(task.get("energy")) for task in metrics["tasks"]) > 1:
        caption = (
            "Energy of one image after each task, averaged over the simulated images. Solid: the image goes through the"
            " first weights once; dashed: in every step, as on hardware that keeps no currents."
        )
        alt = "Lines: energy per image over the tasks, of the spiking and of the ReLU network."
        draw = figures.plot_energy_tasks
        pictures.append(draw_picture("energy_tasks", lambda ax: draw(metrics, ax), caption, alt, (4.8, 3.8)))
    return pictures


def draw_picture(
    name: str, plot: Callable[[Axes], object], caption: str, alt: str, size: tuple[float, float]
) -> Picture:
    """One Axes of `size` inches, drawn into by `plot`."""
    figure, ax = new_axes(*size)
    plot(ax)
    return Picture(name, caption, alt, svg_bytes(figure), png_bytes(figure), wide=size[0] > 6)


def _training_picture(metrics: Metrics, caption: str) -> Picture:
    alt = "Lines over the epochs of all tasks: the loss, and what else was recorded."
    figure, axes = new_stack(9.0, 2.5, figures.training_panels(metrics))
    figures.plot_training(metrics, axes)
    return Picture(
        "training", f"Training, epoch by epoch. {caption}", alt, svg_bytes(figure), png_bytes(figure), wide=True
    )


def _accuracy_picture(metrics: Metrics) -> Picture:
    caption = (
        f"Accuracy on all classes seen after each task, averaged over the {Naming.of(metrics).kind} images of these"
        " classes, without task"
        " identity; blue dots and line: PyTorch, black rings: Brian2. The legend's averages are over tasks."
    )
    last = metrics["tasks"][-1]
    alt = (
        f"Line: accuracy of both networks over {len(metrics['tasks'])} tasks; after the last one PyTorch"
        f" {100 * last['accuracy_torch']:.2f} %, Brian2 {100 * last['accuracy_brian2']:.2f} %."
    )
    draw = figures.plot_incremental_accuracy
    return draw_picture("incremental_accuracy", lambda ax: draw(metrics, ax), caption, alt, (9.0, 4.2))


def _matrix_picture(metrics: Metrics) -> Picture:
    caption = (
        "Brian2's accuracy on each task's classes (columns) after each task (rows), averaged over the"
        f" {Naming.of(metrics).kind} images of"
        " the task's classes, predicted among all classes seen. Reading down a column shows forgetting."
    )
    alt = "Heat map: accuracy on every task after every task."
    return draw_picture(
        "accuracy_matrix", lambda ax: figures.plot_accuracy_matrix(metrics, ax), caption, alt, (4.8, 4.8)
    )


def _confusion_picture(metrics: Metrics) -> Picture:
    task = metrics["tasks"][-1]
    matrix = task["confusion_brian2"]
    naming = Naming.of(metrics)
    names = naming.names(range(len(matrix)))
    borders = list(accumulate(len(each["classes"]) for each in metrics["tasks"]))
    caption = (
        f"Brian2's answers after the last task: counts of {naming.kind} images by true and predicted class in class"
        " order, shaded"
        " by the share of the true class. White lines part the tasks. Nothing averaged."
    )
    alt = f"Heat map: confusion matrix over {len(matrix)} classes."
    draw = figures.plot_confusion
    size = (4.8, 4.8) if len(matrix) <= 12 else (8.0, 8.0)
    return draw_picture("confusion", lambda ax: draw(matrix, names, ax, borders), caption, alt, size)
