"""Which figures of spikes a report shows, with their captions: every caption says what is averaged over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alade_brian.analysis import figures
from alade_brian.analysis.figures.style import literal, new_row, new_stack, png_bytes, svg_bytes
from alade_brian.analysis.report.figures import Picture, draw_picture
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.raster import spread_over_classes
from alade_brian.analysis.statistics.similarity import RDM, correlation_distance, representational_drift
from alade_brian.analysis.statistics.tuning import ClassResponses, class_responses, class_selectivity
from alade_brian.spikes.spike_record import SpikeRecord
from alade_brian.spikes.state_record import StateRecord
from alade_brian.spikes.task_record import TaskRecord

# A raster is read, not counted: more layers or neurons than this make bands too thin to look at.
_RASTER_LAYERS = 6
_RASTER_NEURONS = 40
# Side by side there is less room, and about so many steps are shown.
_PAIR_NEURONS = 20
_PAIR_STEPS = 8
_MEMBRANE_LAYERS = 4
# Entries per layer unpacked for what is read of all images: bounds memory and time of a report.
_ENTRIES = 100_000_000


def spike_pictures(record: TaskRecord, divergence: Mapping[str, Any] | None, naming: Naming) -> list[Picture]:
    """Interspike intervals, the raster of one image, and both networks side by side, from the spikes of one task."""
    return [
        _isi_picture(record, naming),
        _raster_picture(record, divergence, naming),
        _pair_picture(record, divergence, naming),
    ]


def answer_pictures(record: TaskRecord, layers: Collection[str], naming: Naming) -> list[Picture]:
    """Tuning of the neurons that the answer is read from, the `layers`, and selectivity of all layers."""
    return [_tuning_picture(record, layers, naming), _selectivity_picture(record)]


def drift_picture(rdms: Sequence[RDM], tasks: Sequence[int], naming: Naming) -> Picture:
    """How the representation moves from task to task, from its RDM after each of these tasks."""
    caption = (
        "Drift of the representation between tasks: 1 - Spearman correlation of the distances between classes, over the"
        " pairs of classes that both tasks know; 0: their order has not changed. A distance is 1 - the correlation over"
        f" neurons of the mean spike counts for two classes, averaged over the {naming.kind} images of each; neurons:"
        " all that"
        " the answer is read from. Empty where fewer than three classes are known to both."
    )
    alt = "Heat map: drift of the representation between every two tasks."
    drift = representational_drift(rdms)
    return draw_picture("drift", lambda ax: figures.plot_drift(drift, ax, tasks), caption, alt, (4.8, 4.8))


def membrane_picture(record: StateRecord, naming: Naming) -> Picture:
    """Membranes of the recorded neurons of a few layers at the first recorded image, a panel for each layer."""
    shown = [record.states[place] for place in _evenly_spaced(len(record.states), _MEMBRANE_LAYERS)]
    figure, axes = new_stack(9.0, 2.7, len(shown))
    for state, ax in zip(shown, axes, strict=True):
        figures.plot_inner_state(state, 0, record.dt, ax)
        ax.set_title(literal(state.layer), loc="left", fontsize=10)
    for ax in axes[:-1]:
        # The panels share their time; its numbers stand under the last.
        ax.set_xlabel("")
    part = _shown_of(len(shown), len(record.states))
    shows = naming.shown(int(record.labels[0]))
    image = f"image {record.images[0]} ({shows})" if shows else f"image {record.images[0]}"
    caption = (
        f"Membranes in one presentation, {image}, as the threshold test"
        " sees them: lines PyTorch, rings Brian2, filled where the neuron spikes, dashed the threshold. Of each layer"
        " the neuron that fires most, of those that fire the one that fires least, and of the silent ones that which"
        f" comes closest to its threshold.{part} Nothing averaged."
    )
    alt = f"Lines: membranes of a few neurons in layers {', '.join(state.layer for state in shown)}."
    return Picture("membranes", caption, alt, svg_bytes(figure), png_bytes(figure), wide=True)


def responses_of(record: TaskRecord, layers: Collection[str]) -> ClassResponses:
    """Mean spike counts by class of the neurons of these layers, or of all where none of them is in the record."""
    some = _SpreadImages(record)
    names = [name for name in record.layers if name in layers] or list(record.layers)
    found = [class_responses(some[name], some.labels(name)) for name in names]
    classes = sorted(set.intersection(*(set(each.classes.tolist()) for each in found)))
    counts = [each.mean_counts[np.isin(each.classes, classes)] for each in found]
    images = found[0].images[np.isin(found[0].classes, classes)]
    return ClassResponses(np.array(classes), images, np.concatenate(counts, axis=1))


def rdm_of(record: TaskRecord, layers: Collection[str]) -> RDM:
    """RDM of the neurons of these layers together, see `responses_of`."""
    responses = responses_of(record, layers)
    return RDM(responses.classes, correlation_distance(responses.mean_counts))


def _tuning_picture(record: TaskRecord, layers: Collection[str], naming: Naming) -> Picture:
    responses = responses_of(record, layers)
    caption = (
        "Tuning of the neurons that the answer is read from: mean spike count for each class in Brian2, averaged over"
        f" the {naming.kind} images of the class, as a part of the neuron's largest. Columns are neurons, sorted by"
        " the class"
        " that they prefer and by how much; silent neurons are left out."
    )
    alt = f"Heat map: responses of {responses.mean_counts.shape[1]:,} neurons to {len(responses.classes)} classes."
    names = naming.names(responses.classes)
    height = float(np.clip(1.4 + 0.2 * len(responses.classes), 2.6, 8.0))
    return draw_picture("tuning", lambda ax: figures.plot_tuning(responses, ax, names), caption, alt, (9.0, height))


def _selectivity_picture(record: TaskRecord) -> Picture:
    some = _SpreadImages(record)
    values = {name: class_selectivity(some[name], some.labels(name)) for name in some}
    caption = (
        "Class selectivity in Brian2, per layer: (m - o) / (m + o) with m a neuron's largest mean response to a class"
        " and o the mean of those to the others; 0: no class stands out, 1: it answers to one class only. Share of the"
        " neurons that fired."
    )
    alt = "Outlines: share of neurons by class selectivity index, per layer."
    return draw_picture("selectivity", lambda ax: figures.plot_selectivity(values, ax), caption, alt, (4.8, 4.0))


def _pair_picture(record: TaskRecord, divergence: Mapping[str, Any] | None, naming: Naming) -> Picture:
    steps = next(iter(record.layers.values())).shape[1]
    images = spread_over_classes(record.labels, max(1, _PAIR_STEPS // steps))
    if divergence:
        images = np.union1d(images[: len(images) - 1], [int(divergence["image"])])
    names = _raster_layers(record, str(divergence["layer"]) if divergence else None)
    torch, brian2 = (SpikeRecord.of(record, network, names, images) for network in ("torch", "brian2"))
    figure, axes = new_row(12.0, 6.5, 2)
    figures.plot_spikes_pair(torch, brian2, axes, _PAIR_NEURONS, naming.classes)
    caption = (
        f"Both networks side by side: spikes for the {naming.kind} images {', '.join(map(str, images))}, one after"
        " the other, at"
        f" most {_PAIR_NEURONS} neurons of a layer, those that disagree first. Above: mean rate of each layer by step,"
        " over all its neurons. At the side: spikes of each drawn neuron. The counts in the titles cover all neurons of"
        " the layers shown."
    )
    alt = f"Two raster plots side by side, PyTorch and Brian2: layers {', '.join(names)}."
    return Picture("raster_pair", caption, alt, svg_bytes(figure), png_bytes(figure), wide=True)


def _raster_picture(record: TaskRecord, divergence: Mapping[str, Any] | None, naming: Naming) -> Picture:
    image = int(divergence["image"]) if divergence else 0
    names = _raster_layers(record, str(divergence["layer"]) if divergence else None)
    torch = {name: record.layers[name].torch(image) for name in names}
    brian2 = {name: record.layers[name].brian2(image) for name in names}
    why = "the one with the first diverging spike" if divergence else f"the first of the {naming.kind} images"
    part = _shown_of(len(names), len(record.layers))
    caption = (
        f"Spikes of one presentation, image {image} ({why}{_class_and_answers(record, image, naming)}). A ring around a"
        " dot: both"
        f" networks spiked. Vermillion: only one did. At most {_RASTER_NEURONS} neurons of a layer are drawn, those"
        f" that disagree first; the count in the title covers all neurons of the layers shown.{part} Nothing averaged."
    )
    alt = f"Raster plot of image {image}: spikes of both networks in layers {', '.join(names)}."
    plot = figures.plot_raster
    drawn = sum(min(torch[name].shape[1], _RASTER_NEURONS) for name in names)
    size = (9.0, float(np.clip(1.5 + 0.055 * drawn, 3.5, 10.0)))
    return draw_picture("raster", lambda ax: plot(torch, brian2, record.dt, ax, _RASTER_NEURONS), caption, alt, size)


def _class_and_answers(record: TaskRecord, image: int, naming: Naming) -> str:
    """The class of an image and both networks' predictions, as the end of a sentence; empty where there is none."""
    shows = naming.shown(int(record.labels[image]))
    answers = naming.names(each[image] for each in (record.predictions_torch, record.predictions_brian2))
    return f"; {shows}, PyTorch's answer {answers[0]}, Brian2's {answers[1]}" if shows else ""


def _raster_layers(record: TaskRecord, wanted: str | None) -> list[str]:
    """At most six layers in the order of the network, evenly spaced, among them the one `wanted`."""
    names = list(record.layers)
    places = set(_evenly_spaced(len(names), _RASTER_LAYERS))
    if wanted in names and names.index(wanted) not in places:
        places.discard(max(places - {0, len(names) - 1}))
        places.add(names.index(wanted))
    return [names[place] for place in sorted(places)]


def _evenly_spaced(count: int, most: int) -> list[int]:
    """At most so many of the places from 0 to count - 1, first and last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).astype(int).tolist()))


def _shown_of(shown: int, count: int) -> str:
    """A sentence where not all layers are shown."""
    return "" if shown == count else f" {shown} of {count} layers are shown."


def _isi_picture(record: TaskRecord, naming: Naming) -> Picture:
    lazy = _SpreadImages(record)
    fewest = min(lazy.images(name) for name in lazy)
    of = f"{fewest:,} evenly spaced" if fewest < len(record.labels) else f"all {fewest:,}"
    caption = (
        f"Interspike intervals in Brian2, per layer: pooled over the neurons and over {of} {naming.kind} images;"
        " intervals lie"
        " within one presentation, so none is as long as the presentation."
    )
    alt = "Lines: share of interspike intervals by length, per layer."
    return draw_picture("isi", lambda ax: figures.plot_isi(lazy, record.dt, ax), caption, alt, (4.8, 3.4))


class _SpreadImages(Mapping[str, NDArray[np.bool_]]):
    """Brian2's spikes by layer, unpacked only while one layer is looked at, of as many images as memory allows.

    Where that is not all, every n-th of them: a record has its images task by task.
    """

    def __init__(self, record: TaskRecord) -> None:
        self._layers, self._labels = record.layers, record.labels

    def images(self, name: str) -> int:
        """How many images of a layer are looked at."""
        return len(self.labels(name))

    def labels(self, name: str) -> NDArray[np.int64]:
        """(images,): their classes."""
        return self._labels[self._part(name)]

    def _part(self, name: str) -> slice:
        images, steps, neurons = self._layers[name].shape
        return slice(0, images, max(1, -(-images * steps * neurons // _ENTRIES)))

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        return self._layers[name].brian2(self._part(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)
