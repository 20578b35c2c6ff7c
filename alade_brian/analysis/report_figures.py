"""Which figures a report shows, with their captions: every caption says what is averaged over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alade_brian.analysis import figures
from alade_brian.analysis.records import LayerRecord, TaskRecord
from alade_brian.analysis.style import new_axes, new_stack, png_bytes, svg_bytes

Metrics = Mapping[str, Any]

# A raster is read, not counted: more layers or neurons than this make bands too thin to look at.
_RASTER_LAYERS = 6
_RASTER_NEURONS = 40
# Entries per layer unpacked for the histogram of intervals: bounds memory and time of a report.
_ISI_ENTRIES = 100_000_000


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
    if metrics["tasks"][-1].get("confusion_brian2"):
        pictures.append(_confusion_picture(metrics))
    return pictures


def training_pictures(metrics: Metrics) -> list[Picture]:
    """What the epochs recorded, and logits before and after alignment; empty where nothing was recorded."""
    pictures = []
    if figures.has_epochs(metrics):
        pictures.append(_training_picture(metrics))
    if any((task.get("training") or {}).get("logits_before_alignment") for task in metrics["tasks"]):
        caption = (
            "Mean true-class logit by task before and after alignment, in the last task that was aligned. Averaged over"
            " the training images of each task (exemplars for old ones). Equal bars mean no bias towards new classes."
        )
        alt = "Grouped bars: mean true-class logit per task, before and after alignment."
        pictures.append(_draw("logits", lambda ax: figures.plot_logits(metrics, ax), caption, alt, (9.0, 3.6)))
    return pictures


def rate_picture(metrics: Metrics) -> Picture:
    """Rates of all layers after the last task."""
    layers = metrics["tasks"][-1]["layers"]
    caption = (
        "Mean rate per layer in Brian2 after the last task, averaged over test images, steps and all neurons of the"
        " layer, silent ones included."
    )
    alt = "Bars: " + "; ".join(f"{layer['name']} {layer['mean_rate_hz'] or 0:.3g} Hz" for layer in layers[:12]) + "."
    height = min(9.0, max(3.4, 1.0 + 0.3 * len(layers)))
    return _draw("rates", lambda ax: figures.plot_rates(metrics, ax), caption, alt, (4.8, height))


def spike_pictures(record: TaskRecord, divergence: Mapping[str, Any] | None) -> list[Picture]:
    """Interspike intervals and the raster of one image, from the recorded spikes of one task."""
    return [_isi_picture(record), _raster_picture(record, divergence)]


def time_picture(metrics: Metrics) -> Picture:
    """Where the time went."""
    caption = "Wall-clock time of each task for training, building the simulation, simulating and comparing."
    alt = "Stacked bars: time per task spent in training, building, simulating and comparing."
    return _draw("time", lambda ax: figures.plot_time(metrics, ax), caption, alt, (9.0, 3.4))


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
        pictures.append(_draw("energy", lambda ax: figures.plot_energy(energy, ax), caption, alt, (4.8, height)))
    if sum(bool(task.get("energy")) for task in metrics["tasks"]) > 1:
        caption = (
            "Energy of one image after each task, averaged over the simulated images. Solid: the image goes through the"
            " first weights once; dashed: in every step, as on hardware that keeps no currents."
        )
        alt = "Lines: energy per image over the tasks, of the spiking and of the ReLU network."
        draw = figures.plot_energy_tasks
        pictures.append(_draw("energy_tasks", lambda ax: draw(metrics, ax), caption, alt, (4.8, 3.8)))
    return pictures


def _draw(name: str, plot: Callable[[Axes], object], caption: str, alt: str, size: tuple[float, float]) -> Picture:
    figure, ax = new_axes(*size)
    plot(ax)
    return Picture(name, caption, alt, svg_bytes(figure), png_bytes(figure), wide=size[0] > 6)


def _training_picture(metrics: Metrics) -> Picture:
    caption = (
        "Training, epoch by epoch. Loss: mean over the training images of an epoch; what it is made of differs between"
        " stages. Gap: mean true-class logit over the new classes' training images minus that over the exemplars of old"
        " classes; gamma: the offset that training adds to the new classes' logits to close it, where the method does"
        " so. Rows: mean L2 norm of the classifier's weights of one class. Vertical lines part the tasks. Quantities"
        " that the method does not record have no line."
    )
    alt = "Lines over the epochs of all tasks: loss, gap between new and old classes' logits, norms of classifier rows."
    figure, axes = new_stack(9.0, 2.5, figures.training_panels(metrics))
    figures.plot_training(metrics, axes)
    return Picture("training", caption, alt, svg_bytes(figure), png_bytes(figure), wide=True)


def _accuracy_picture(metrics: Metrics) -> Picture:
    caption = (
        "Accuracy on all classes seen after each task, averaged over the test images of these classes, without task"
        " identity; blue dots and line: PyTorch, black rings: Brian2. The legend's averages are over tasks."
    )
    last = metrics["tasks"][-1]
    alt = (
        f"Line: accuracy of both networks over {len(metrics['tasks'])} tasks; after the last one PyTorch"
        f" {100 * last['accuracy_torch']:.2f} %, Brian2 {100 * last['accuracy_brian2']:.2f} %."
    )
    draw = figures.plot_incremental_accuracy
    return _draw("incremental_accuracy", lambda ax: draw(metrics, ax), caption, alt, (9.0, 4.2))


def _matrix_picture(metrics: Metrics) -> Picture:
    caption = (
        "Brian2's accuracy on each task's classes (columns) after each task (rows), averaged over the test images of"
        " the task's classes, predicted among all classes seen. Reading down a column shows forgetting."
    )
    alt = "Heat map: accuracy on every task after every task."
    return _draw("accuracy_matrix", lambda ax: figures.plot_accuracy_matrix(metrics, ax), caption, alt, (4.8, 4.8))


def _confusion_picture(metrics: Metrics) -> Picture:
    task = metrics["tasks"][-1]
    matrix = task["confusion_brian2"]
    names = [str(name) for name in metrics.get("class_names") or metrics.get("class_order") or range(len(matrix))]
    borders = list(accumulate(len(each["classes"]) for each in metrics["tasks"]))
    caption = (
        "Brian2's answers after the last task: counts of test images by true and predicted class in class order, shaded"
        " by the share of the true class. White lines part the tasks. Nothing averaged."
    )
    alt = f"Heat map: confusion matrix over {len(matrix)} classes."
    draw = figures.plot_confusion
    size = (4.8, 4.8) if len(matrix) <= 12 else (8.0, 8.0)
    return _draw("confusion", lambda ax: draw(matrix, names[: len(matrix)], ax, borders), caption, alt, size)


def _raster_picture(record: TaskRecord, divergence: Mapping[str, Any] | None) -> Picture:
    image = int(divergence["image"]) if divergence else 0
    names = _raster_layers(record, str(divergence["layer"]) if divergence else None)
    torch = {name: record.layers[name].torch(image) for name in names}
    brian2 = {name: record.layers[name].brian2(image) for name in names}
    why = "the one with the first diverging spike" if divergence else "the first of the test images"
    part = "" if len(names) == len(record.layers) else f" {len(names)} of {len(record.layers)} layers are shown."
    caption = (
        f"Spikes of one presentation, image {image} ({why}; label {record.labels[image]}, PyTorch's answer"
        f" {record.predictions_torch[image]}, Brian2's {record.predictions_brian2[image]}). A ring around a dot: both"
        f" networks spiked. Vermillion: only one did. At most {_RASTER_NEURONS} neurons of a layer are drawn, those"
        f" that disagree first; the count in the title covers all neurons of the layers shown.{part} Nothing averaged."
    )
    alt = f"Raster plot of image {image}: spikes of both networks in layers {', '.join(names)}."
    draw = figures.plot_raster
    shown = sum(min(torch[name].shape[1], _RASTER_NEURONS) for name in names)
    size = (9.0, float(np.clip(1.5 + 0.055 * shown, 3.5, 10.0)))
    return _draw("raster", lambda ax: draw(torch, brian2, record.dt, ax, _RASTER_NEURONS), caption, alt, size)


def _raster_layers(record: TaskRecord, wanted: str | None) -> list[str]:
    """At most six layers in the order of the network, evenly spaced, among them the one `wanted`."""
    names = list(record.layers)
    places = set(np.linspace(0, len(names) - 1, min(len(names), _RASTER_LAYERS)).astype(int).tolist())
    if wanted in names and names.index(wanted) not in places:
        places.discard(max(places - {0, len(names) - 1}))
        places.add(names.index(wanted))
    return [names[place] for place in sorted(places)]


def _isi_picture(record: TaskRecord) -> Picture:
    lazy = _FirstImages(record.layers)
    fewest = min(lazy.images(name) for name in lazy)
    of = f"the first {fewest:,}" if fewest < len(record.labels) else f"all {fewest:,}"
    caption = (
        f"Interspike intervals in Brian2, per layer: pooled over the neurons and over {of} test images; intervals lie"
        " within one presentation, so none is as long as the presentation."
    )
    alt = "Lines: share of interspike intervals by length, per layer."
    return _draw("isi", lambda ax: figures.plot_isi(lazy, record.dt, ax), caption, alt, (4.8, 3.4))


class _FirstImages(Mapping[str, NDArray[np.bool_]]):
    """Brian2's spikes by layer, unpacked only while one layer is looked at, of as many images as memory allows."""

    def __init__(self, layers: Mapping[str, LayerRecord]) -> None:
        self._layers = layers

    def images(self, name: str) -> int:
        images, steps, neurons = self._layers[name].shape
        return min(images, max(1, _ISI_ENTRIES // max(1, steps * neurons)))

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        return self._layers[name].brian2(slice(0, self.images(name)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)
