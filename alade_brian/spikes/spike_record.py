"""Sparse spike records: the neuron, step and image of every spike. Exports to other tools use them.

A presentation lasts `steps` steps of `dt` seconds; a spike of step t happens at t * dt. Images and neurons keep their
numbers when some are chosen: neuron 7 of a layer is the same neuron in every selection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alade_brian.errors import UserError
from alade_brian.spikes.archive import reading_archive, write_archive
from alade_brian.spikes.class_names import names_of
from alade_brian.spikes.task_record import NO_CLASS, LayerRecord, TaskRecord

Network = Literal["brian2", "torch"]
Integers = NDArray[np.int64]

_PER_IMAGE = ("images", "labels", "tasks")
_PER_SPIKE = ("image", "step", "layer", "neuron")
# Entries of a packed layer that are unpacked at one time: bounds the extra memory to some tens of megabytes.
_BLOCK_ENTRIES = 50_000_000


@dataclass(frozen=True, eq=False)
class SpikeRecord:
    """Spikes of one network, sorted on construction by image, step, layer and neuron.

    `dt`: seconds per step. `steps`: of one presentation. `layers`: by name, numbers of its recorded neurons, rising.
    `images`, `labels`, `tasks` (images,): the number of each presented image, rising; its class (`NO_CLASS`, -1, if
    target values were learnt in place of classes); its class's task.
    `image`, `step`, `layer`, `neuron` (spikes,) int32: of every spike the number of its image, its step, the place of
    its layer in `layers` and the number of its neuron there. `class_names`: in class order, in which `labels` count;
    empty if they are not known. Raises UserError where these contradict each other.
    """

    dt: float
    steps: int
    layers: Mapping[str, Integers]
    images: Integers
    labels: Integers
    tasks: Integers
    image: NDArray[np.int32]
    step: NDArray[np.int32]
    layer: NDArray[np.int32]
    neuron: NDArray[np.int32]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.dt) and self.dt > 0 and self.steps >= 1):
            raise UserError(
                f"A spike record needs a time step above 0 s and at least one step, not {self.dt} s and {self.steps}."
            )
        layers = {name: _numbers(f"the neurons of layer {name}", array) for name, array in self.layers.items()}
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "images", _numbers("the images", self.images))
        if not layers:
            raise UserError("A spike record needs at least one layer.")
        for name in ("labels", "tasks", *_PER_SPIKE):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        for name in ("labels", "tasks"):
            self._check_length(name, "images")
        for name in ("step", "layer", "neuron"):
            self._check_length(name, "image")
        object.__setattr__(self, "class_names", tuple(map(str, self.class_names)))
        if (
            self.class_names
            and self.labels.size
            and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names)
        ):
            raise UserError(
                f"A spike record holds {len(self.class_names)} class names, but the class {self.labels.max()}."
            )
        self._check_ranges()
        self._sort()

    def _check_length(self, name: str, other: str) -> None:
        length, wanted = len(getattr(self, name)), len(getattr(self, other))
        if length != wanted:
            raise UserError(f"A spike record holds {wanted} entries of '{other}' and {length} of '{name}'.")

    def _check_ranges(self) -> None:
        for name, end in (("step", self.steps), ("layer", len(self.layers))):
            values = getattr(self, name)
            if values.size and not (values.min() >= 0 and values.max() < end):
                raise UserError(f"A spike's {name} lies outside of 0 to {end - 1}.")
        if not np.isin(self.image, self.images).all():
            raise UserError("A spike belongs to an image that the spike record does not list.")
        for number, (name, neurons) in enumerate(self.layers.items()):
            if not np.isin(self.neuron[self.layer == number], neurons).all():
                raise UserError(f"A spike belongs to a neuron that layer {name} of the spike record does not list.")

    def _sort(self) -> None:
        order = np.lexsort((self.neuron, self.layer, self.step, self.image))
        columns = [getattr(self, name)[order] for name in _PER_SPIKE]
        if np.logical_and.reduce([column[1:] == column[:-1] for column in columns]).any():
            raise UserError("A spike record holds one spike twice.")
        for name, column in zip(_PER_SPIKE, columns, strict=True):
            object.__setattr__(self, name, column.astype(np.int32))

    @classmethod
    def of(
        cls,
        record: TaskRecord,
        network: Network = "brian2",
        layers: Collection[str] | None = None,
        images: ArrayLike | None = None,
        class_names: Sequence[str] = (),
    ) -> SpikeRecord:
        """The spikes of `network` in a task's record; only the requested `layers` and `images` are unpacked.

        Memory: 16 bytes a spike, and as much again while it is sorted. UserError where a name or number is unknown.
        """
        if network not in get_args(Network):
            raise UserError(f"There is no network '{network}' in a spike record; choose brian2 or torch.")
        numbers = _chosen("image", images, np.arange(len(record.labels)))
        chosen = {name: record.layers[name] for name in _chosen_names(layers, record.layers)}
        lengths = {layer.shape[1] for layer in chosen.values()}
        if len(lengths) > 1:
            raise UserError(f"The layers of a spike record differ in their number of steps: {sorted(lengths)}.")
        found = [_spikes(place, layer, network, numbers) for place, layer in enumerate(chosen.values())]
        neurons = {name: np.arange(layer.shape[2]) for name, layer in chosen.items()}
        labels, tasks = record.labels[numbers], record.tasks[numbers]
        columns = dict(zip(_PER_SPIKE, np.concatenate(found, axis=1), strict=True))
        return cls(
            record.dt, lengths.pop(), neurons, numbers, labels, tasks, **columns, class_names=tuple(class_names)
        )  # fmt: skip

    @classmethod
    def from_rasters(
        cls, rasters: Mapping[str, NDArray[np.bool_]], dt: float, labels: ArrayLike, tasks: ArrayLike
    ) -> SpikeRecord:
        """The spikes of bool arrays (images, steps, ...) by layer, as `simulate` returns them; neurons in C order."""
        if not rasters or any(raster.dtype != np.bool_ or raster.ndim < 3 for raster in rasters.values()):
            raise UserError("Spikes must be bool arrays (images, steps, neurons), at least one layer of them.")
        if len({raster.shape[:2] for raster in rasters.values()}) > 1:
            raise UserError("The layers of a spike record must have equally many images and steps.")
        images, steps = next(iter(rasters.values())).shape[:2]
        flat = {name: raster.reshape(images, steps, -1) for name, raster in rasters.items()}
        found = [_columns(i, t, j, place) for place, (i, t, j) in enumerate(map(np.nonzero, flat.values()))]
        neurons = {name: np.arange(raster.shape[2]) for name, raster in flat.items()}
        columns = dict(zip(_PER_SPIKE, np.concatenate(found, axis=1), strict=True))
        return cls(dt, steps, neurons, np.arange(images), np.asarray(labels), np.asarray(tasks), **columns)

    def __len__(self) -> int:
        """Number of spikes."""
        return len(self.image)

    @property
    def has_classes(self) -> bool:
        """Whether classes were learnt, and not values."""
        return bool((self.labels != NO_CLASS).any())

    @property
    def shown(self) -> list[str]:
        """Name of each image's class, (images,), or its position in the class order if names are not known."""
        return names_of(self.class_names, self.labels)

    @property
    def duration(self) -> float:
        """Duration of one presentation in seconds."""
        return self.steps * self.dt

    @property
    def within(self) -> NDArray[np.floating]:
        """Time of each spike since the onset of its image, step * dt in seconds, (spikes,)."""
        return self.step * self.dt

    def starts(self, gap: float) -> NDArray[np.floating]:
        """Onset of each image in seconds, (images,), with `gap` seconds between two presentations."""
        if not (np.isfinite(gap) and gap >= 0):
            raise UserError(f"The gap between presentations must be 0 s or more, not {gap}.")
        return np.arange(len(self.images)) * (self.duration + gap)

    def times(self, gap: float) -> NDArray[np.floating]:
        """Time of each spike in seconds on a common time axis, (spikes,), with `gap` seconds between images."""
        return self.starts(gap)[self.presentation] + self.within

    @property
    def presentation(self) -> Integers:
        """Index of each spike's image in `images`, (spikes,)."""
        return np.searchsorted(self.images, self.image)

    @cached_property
    def units(self) -> tuple[Integers, Integers]:
        """Layer index and number in the layer of every recorded neuron (two arrays), including silent neurons."""
        sizes = [len(neurons) for neurons in self.layers.values()]
        return np.repeat(np.arange(len(sizes)), sizes), np.concatenate([*self.layers.values()])

    @property
    def unit(self) -> Integers:
        """Index of each spike's neuron in `units`, (spikes,)."""
        place, offset = np.empty(len(self), dtype=np.int64), 0
        for number, neurons in enumerate(self.layers.values()):
            here = self.layer == number
            place[here] = offset + np.searchsorted(neurons, self.neuron[here])
            offset += len(neurons)
        return place

    def raster(self, layer: str) -> NDArray[np.bool_]:
        """The spikes of one layer as bool (images, steps, recorded neurons)."""
        (name,) = _chosen_names([layer], self.layers)
        neurons = self.layers[name]
        dense = np.zeros((len(self.images), self.steps, len(neurons)), dtype=np.bool_)
        here = self.layer == list(self.layers).index(name)
        dense[self.presentation[here], self.step[here], np.searchsorted(neurons, self.neuron[here])] = True
        return dense

    def select(
        self,
        layers: Collection[str] | None = None,
        images: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        neurons: Mapping[str, ArrayLike] | None = None,
    ) -> SpikeRecord:
        """Select the spikes that match all criteria: layers, image numbers, classes, and neuron numbers by layer.

        None leaves all; so does a layer that `neurons` does not name. The order stays. UserError for what is not there.
        """
        names = _chosen_names(layers, self.layers)
        wanted = dict(neurons or {})
        _chosen_names(wanted.keys() or None, names)
        kept = {name: _chosen(f"neuron of layer {name}", wanted.get(name), self.layers[name]) for name in names}
        if classes is not None and not self.has_classes:
            raise UserError("The images of this record have no classes: values were learnt; leave out the classes.")
        shown = np.isin(self.images, _chosen("image", images, self.images))
        shown &= np.isin(self.labels, _chosen("class", classes, np.unique(self.labels)))
        if not shown.any():
            raise UserError("None of the images chosen shows one of the classes chosen; choose others.")
        place = {number: names.index(name) for number, name in enumerate(self.layers) if name in names}
        stays = np.isin(self.image, self.images[shown])
        for number, name in enumerate(self.layers):
            stays &= (self.layer != number) | np.isin(self.neuron, kept.get(name, np.empty(0, dtype=np.int64)))
        columns = {name: getattr(self, name)[stays] for name in _PER_SPIKE}
        columns["layer"] = np.array([place.get(n, -1) for n in range(len(self.layers))])[columns["layer"]]
        return replace(self, layers=kept, **{name: getattr(self, name)[shown] for name in _PER_IMAGE}, **columns)


def save_spikes(path: Path, record: SpikeRecord) -> None:
    """Write `record` to `path` (.npz, compressed), atomically; OSError from the file system is passed on."""
    arrays: dict[str, Any] = {name: getattr(record, name) for name in (*_PER_IMAGE, *_PER_SPIKE)}
    arrays |= {"dt": np.float64(record.dt), "steps": np.int64(record.steps)}
    arrays["layers"] = np.array(list(record.layers), dtype=np.str_)
    arrays |= {f"neurons_{number}": neurons for number, neurons in enumerate(record.layers.values())}
    if record.class_names:
        arrays["class_names"] = np.array(record.class_names, dtype=np.str_)
    write_archive(Path(path), arrays)


def load_spikes(path: Path) -> SpikeRecord:
    """Read a file of `save_spikes`; UserError if it is missing, damaged or of another kind."""
    with reading_archive(path, "spike record", lacking="incomplete or of another kind") as file:
        layers = {str(name): file[f"neurons_{number}"] for number, name in enumerate(file["layers"])}
        columns = {name: file[name] for name in (*_PER_IMAGE, *_PER_SPIKE)}
        names = tuple(file["class_names"]) if "class_names" in file else ()
        return SpikeRecord(float(file["dt"]), int(file["steps"]), layers, **columns, class_names=names)


def _integers(name: str, values: ArrayLike) -> Integers:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UserError(f"In a spike record, '{name}' must be a list of integers, not {array.dtype} {array.shape}.")
    return array.astype(np.int64)


def _numbers(name: str, values: ArrayLike) -> Integers:
    array = _integers(name, values)
    # Numbers of spikes are kept in 32 bits.
    if not array.size or array[0] < 0 or array[-1] > np.iinfo(np.int32).max or (np.diff(array) <= 0).any():
        raise UserError(f"In a spike record, {name} must be numbers from 0 in rising order, at least one.")
    return array


def _chosen(what: str, wanted: ArrayLike | None, known: Integers) -> Integers:
    """The requested numbers, unique and ascending, or all; UserError if one is unknown."""
    if wanted is None:
        return known
    numbers = np.unique(_integers(f"{what} numbers", wanted))
    missing = np.setdiff1d(numbers, known)
    if missing.size or not numbers.size:
        which = f"no {what} {missing[0]}" if missing.size else f"no {what} chosen"
        raise UserError(f"There is {which}; the record has {len(known)}, from {known.min()} to {known.max()}.")
    return numbers


def _chosen_names(wanted: Collection[str] | None, known: Collection[str]) -> list[str]:
    """The requested layers, in the order of the network, or all; UserError if one is unknown."""
    missing = [name for name in wanted or () if name not in known]
    if missing or not known or (wanted is not None and not wanted):
        which = f"no layer '{missing[0]}'" if missing else "no layer chosen"
        raise UserError(f"There is {which}; the record has {', '.join(known) or 'none'}.")
    return [name for name in known if wanted is None or name in wanted]


def _spikes(place: int, layer: LayerRecord, network: Network, numbers: Integers) -> NDArray[np.int32]:
    """Spikes of one layer for the chosen images, as an array (4, spikes), unpacked block by block."""
    _, steps, neurons = layer.shape
    length = max(1, _BLOCK_ENTRIES // max(1, steps * neurons))
    unpack = layer.brian2 if network == "brian2" else layer.torch
    found = []
    for start in range(int(numbers[0]), int(numbers[-1]) + 1, length):
        here = numbers[(numbers >= start) & (numbers < start + length)]
        if here.size:
            few = 8 * len(here) < length
            chosen = (
                np.stack([unpack(int(k)) for k in here]) if few else unpack(slice(start, start + length))[here - start]
            )
            image, step, neuron = np.nonzero(chosen)
            found.append(_columns(here[image], step, neuron, place))
    return np.concatenate(found, axis=1)


def _columns(image: Integers, step: Integers, neuron: Integers, place: int) -> NDArray[np.int32]:
    return np.stack([image, step, np.full_like(image, place), neuron]).astype(np.int32)
