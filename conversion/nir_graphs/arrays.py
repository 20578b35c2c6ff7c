"""Inputs and outputs of a NIR graph as files of arrays, one array per node."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alade_brian.conversion.nir_graphs.read import NirNetwork
from alade_brian.errors import UserError
from alade_brian.files import replacing
from alade_brian.numpy_files import open_npz
from alade_brian.spec import Shape
from alade_brian.spikes.responses import Responses


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file (UserError where it is none)."""
    try:
        with open_npz(path) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}: check the path") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is no readable .npz file ({reason}); write it with numpy.savez") from None


def match_inputs(
    network: NirNetwork, shown: Mapping[str, np.ndarray], path: Path
) -> tuple[dict[str, np.ndarray], bool]:
    """Every stimulus's array ``(batch, time, ...)``, and whether the file's had a batch axis."""
    nodes = list(network.inputs)
    names = {node: "input" if len(nodes) == 1 and node not in shown else node for node in nodes}
    if not set(names.values()) <= set(shown):
        wanted, held = (", ".join(f"'{name}'" for name in some) for some in (names.values(), shown))
        raise UserError(f"{path} holds {held or 'nothing'}; the graph takes {wanted}: name the arrays so")
    found = {node: _fitted(node, shown[name], network, path) for node, name in names.items()}
    arrays = {node: array for node, (array, _) in found.items()}
    batched = {node: has_batch for node, (_, has_batch) in found.items()}
    if len(set(batched.values())) > 1:
        raise UserError(f"{path}: some inputs have a batch axis and some have none; give all of them one, or none")
    with_batch = {node: array if batched[node] else array[None] for node, array in arrays.items()}
    if len({array.shape[:2] for array in with_batch.values()}) > 1:
        listed = ", ".join(f"'{node}' {array.shape}" for node, array in arrays.items())
        raise UserError(f"{path}: the inputs differ in batch or time ({listed}); give all as many")
    return {network.inputs[n]: a.astype(np.float64) for n, a in with_batch.items()}, next(iter(batched.values()))


def _fitted(node: str, array: np.ndarray, network: NirNetwork, path: Path) -> tuple[np.ndarray, bool]:
    """An input in the stimulus's shape, and whether it has a batch axis; UserError where it is not what the node takes.

    A graph may declare leading axes of 1 that the stimulus has not: the array may have them or not.
    """
    taken = network.spec.shape(network.inputs[node])
    shapes = [*dict.fromkeys((network.declared[node], taken))]
    fits = [s for s in shapes if array.ndim - len(s) in (1, 2) and array.shape[array.ndim - len(s) :] == s]
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: the input '{node}' has the type {array.dtype}; write real numbers")
    if not fits:
        axes = ", ".join(map(str, shapes[0]))
        raise UserError(
            f"{path}: the input '{node}' has the shape {array.shape}; give it (time, {axes}) or (batch, time, {axes})"
        )
    if 0 in array.shape:
        raise UserError(f"{path}: the input '{node}' of shape {array.shape} is empty; give it at least one step")
    if not np.all(np.isfinite(array)):
        raise UserError(f"{path}: the input '{node}' holds values that are not finite; remove them")
    leading = array.shape[: array.ndim - len(fits[0])]
    return array.reshape(*leading, *taken), len(leading) == 2


def named_answers(network: NirNetwork, responses: Responses, membranes: bool) -> dict[str, np.ndarray]:
    """What is written, by name: ``(batch, time, ...)``."""
    spec = network.spec
    found: dict[str, np.ndarray] = {}

    def add(name: str, values: np.ndarray, shape: Shape) -> None:
        if name in found:
            raise UserError(f"two arrays would be called '{name}'; rename the node '{name}' of the graph")
        found[name] = values.reshape(*values.shape[:2], *shape)

    for node, population in network.neurons.items():
        if spec.population(population).neuron.spiking:
            add(node, responses.spikes[population], spec.shape(population))
    if membranes:
        for node, population in network.neurons.items():
            add(f"v:{node}", responses.traces[population], spec.shape(population))
    for node, population in network.outputs.items():
        at_once = population == spec.readout.population
        values = responses.logits if at_once else responses.traces[population]
        if len(network.outputs) > 1 and node != "output":
            add(node, values, spec.shape(population))
        if node == "output" or (at_once and "output" not in network.outputs):
            add("output", values, spec.shape(population))
    return found


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz file, whole or not at all; numpy's own writer cannot take every name."""
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
