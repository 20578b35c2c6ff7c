"""Every spike of a task's test images: `spikes/task-NN.npz`, written by a run and read for figures.

Both networks are stored: Brian2's spikes as bits, and the few entries in which PyTorch's differ. Keys of the file:
`dt` (seconds), `labels`, `tasks`, `predictions_torch`, `predictions_brian2` (n,), `logits_torch`, `logits_brian2`
(n, classes), `layer_names`, and for layer number i `spikes_i` (uint8, bits of steps * neurons, padded per image),
`shape_i` (images, steps, neurons) and `mismatches_i` (m, 3). If values were learnt in place of classes, `targets`
(n, ...) replaces `labels`, `predictions_torch` and `predictions_brian2`, and the logits (n, values) are the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alade_brian.errors import UserError
from alade_brian.spikes.archive import reading_archive, write_archive

_OF_CLASSES = ("labels", "predictions_torch", "predictions_brian2")
_OUTPUTS = ("tasks", "logits_torch", "logits_brian2")
# The order in which they are written.
_PER_IMAGE = ("labels", "tasks", "predictions_torch", "predictions_brian2", "logits_torch", "logits_brian2")
# The class of an image that has target values instead, and what is predicted of it.
NO_CLASS = -1
_ALL_IMAGES = slice(None)


@dataclass(frozen=True)
class LayerRecord:
    """The spikes of one layer in both networks, one bit per (image, step, neuron).

    `packed`: uint8 (images, ceil(steps * neurons / 8)), Brian2's spikes. `shape`: (images, steps, neurons).
    `mismatches`: int64 (m, 3), the (image, step, neuron) entries in which exactly one of the two networks spiked.
    """

    packed: NDArray[np.uint8]
    shape: tuple[int, int, int]
    mismatches: NDArray[np.int64]

    def __post_init__(self) -> None:
        images, steps, neurons = self.shape
        if self.packed.dtype != np.uint8 or self.packed.shape != (images, (steps * neurons + 7) // 8):
            raise UserError(f"Packed spikes of shape {self.packed.shape} do not hold a layer of shape {self.shape}.")
        rows = self.mismatches
        if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind not in "iu":
            raise UserError(f"Mismatches must be integers of shape (m, 3), not {rows.dtype} {rows.shape}.")
        if rows.size and ((rows < 0).any() or (rows >= np.array(self.shape)).any()):
            raise UserError(f"A mismatch lies outside the layer's shape {self.shape}.")

    @classmethod
    def from_spikes(cls, torch: NDArray[np.bool_], brian2: NDArray[np.bool_]) -> LayerRecord:
        """Pack two bool arrays of shape (images, steps, neurons); UserError if the shapes differ."""
        if torch.shape != brian2.shape or torch.ndim != 3 or torch.dtype != np.bool_ or brian2.dtype != np.bool_:
            raise UserError(
                "Both networks' spikes must be bool arrays of one shape (images, steps, neurons), "
                f"not {torch.dtype} {torch.shape} and {brian2.dtype} {brian2.shape}."
            )
        images, steps, neurons = brian2.shape
        packed = np.packbits(brian2.reshape(images, steps * neurons), axis=-1)
        return cls(packed, (images, steps, neurons), np.argwhere(torch ^ brian2).astype(np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[LayerRecord]) -> LayerRecord:
        """Concatenate the batches `parts` of one layer, in order; UserError if they do not fit together."""
        if not parts or any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            raise UserError("Only batches of one layer, with equal steps and neurons, can be put together.")
        offsets = np.cumsum([0, *(part.shape[0] for part in parts)])
        rows = [part.mismatches + np.array([offset, 0, 0]) for part, offset in zip(parts, offsets, strict=False)]
        packed = np.concatenate([part.packed for part in parts])
        return cls(packed, (int(offsets[-1]), *parts[0].shape[1:]), np.concatenate(rows).astype(np.int64))

    def brian2(self, images: slice | int = _ALL_IMAGES) -> NDArray[np.bool_]:
        """Brian2's spikes: bool (chosen images, steps, neurons), or (steps, neurons) for one image number.

        Only the chosen images are unpacked. Raises IndexError for an image that is not there.
        """
        if isinstance(images, slice):
            return self._unpack(self.packed[images])
        return self._unpack(self.packed[images][np.newaxis])[0]

    def torch(self, images: slice | int = _ALL_IMAGES) -> NDArray[np.bool_]:
        """PyTorch's spikes, which are Brian2's with the mismatches flipped; shapes and errors as in `brian2`."""
        if not isinstance(images, slice):
            number = range(self.shape[0])[images]
            return self.torch(slice(number, number + 1))[0]
        spikes = self.brian2(images)
        place = np.full(self.shape[0], -1, dtype=np.int64)
        place[images] = np.arange(spikes.shape[0])
        rows = self.mismatches[place[self.mismatches[:, 0]] >= 0]
        spikes[place[rows[:, 0]], rows[:, 1], rows[:, 2]] ^= True
        return spikes

    def _unpack(self, packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
        _, steps, neurons = self.shape
        bits = np.unpackbits(packed, axis=-1, count=steps * neurons)
        return bits.view(np.bool_).reshape(packed.shape[0], steps, neurons)


@dataclass(frozen=True)
class TaskRecord:
    """Spikes and predictions of both networks for the test images after one task; n images, classes in class order.

    `dt`: seconds per step. `labels`, `tasks` (the task an image's class belongs to), `predictions_*`: (n,).
    `logits_*`: (n, classes), averaged over steps. `layers`: by name, in the order of the network. `targets`: None, or
    (n, ...) values that were learnt in place of classes; labels and predictions are all `NO_CLASS` then.
    """

    dt: float
    labels: NDArray[Any]
    tasks: NDArray[Any]
    predictions_torch: NDArray[Any]
    predictions_brian2: NDArray[Any]
    logits_torch: NDArray[Any]
    logits_brian2: NDArray[Any]
    layers: Mapping[str, LayerRecord]
    targets: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        images = {name: len(getattr(self, name)) for name in (*_PER_IMAGE, *_of_values(self.targets))}
        images |= {f"layer {name}": layer.shape[0] for name, layer in self.layers.items()}
        if len(set(images.values())) > 1:
            raise UserError(f"The parts of a spike record differ in their number of images: {images}.")
        flat = ("labels", "tasks", "predictions_torch", "predictions_brian2")
        wrong = [name for name in flat if getattr(self, name).ndim != 1 or getattr(self, name).dtype.kind not in "iu"]
        if wrong:
            raise UserError(f"The {wrong[0]} of a spike record must be whole numbers, one per image.")
        if not self.dt > 0:
            raise UserError(f"The time step of a spike record must be a positive number of seconds, not {self.dt}.")


def save_record(path: Path, record: TaskRecord) -> None:
    """Write `record` to `path` (.npz, compressed), atomically; OSError from the file system is passed on."""
    absent = () if record.targets is None else _OF_CLASSES
    kept = [name for name in _PER_IMAGE if name not in absent]
    arrays: dict[str, Any] = {name: getattr(record, name) for name in (*kept, *_of_values(record.targets))}
    arrays["dt"] = np.float64(record.dt)
    arrays["layer_names"] = np.array(list(record.layers), dtype=np.str_)
    for number, layer in enumerate(record.layers.values()):
        arrays[f"spikes_{number}"] = layer.packed
        arrays[f"shape_{number}"] = np.array(layer.shape, dtype=np.int64)
        arrays[f"mismatches_{number}"] = layer.mismatches
    write_archive(Path(path), arrays)


def load_record(path: Path) -> TaskRecord:
    """Read the record in `path`; spikes stay packed in memory. UserError if the file is missing or damaged."""
    with reading_archive(path, "spike record") as file:
        names = [str(name) for name in file["layer_names"]]
        layers = {name: _load_layer(file, number) for number, name in enumerate(names)}
        outputs = {name: file[name] for name in _OUTPUTS}
        if "targets" in file:
            nothing = np.full(len(outputs["tasks"]), NO_CLASS)
            classes = {**dict.fromkeys(_OF_CLASSES, nothing), "targets": file["targets"]}
        else:
            classes = {name: file[name] for name in _OF_CLASSES}
        return TaskRecord(dt=float(file["dt"]), layers=layers, **outputs, **classes)


def _of_values(targets: NDArray[Any] | None) -> tuple[str, ...]:
    """Names of what a record of values has beside that of classes."""
    return () if targets is None else ("targets",)


def _load_layer(file: Mapping[str, NDArray[Any]], number: int) -> LayerRecord:
    images, steps, neurons = (int(size) for size in file[f"shape_{number}"])
    return LayerRecord(file[f"spikes_{number}"], (images, steps, neurons), file[f"mismatches_{number}"])
