"""Graphs and recorded traces in a folder of the user's: the files of the NIR paper, for example."""

from __future__ import annotations

import glob
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from alade_brian.conversion.nir_graphs.arrays import match_inputs, read_arrays
from alade_brian.conversion.nir_graphs.file import load_graph
from alade_brian.conversion.nir_graphs.paper_networks import random_spikes
from alade_brian.conversion.nir_graphs.read import open_nir
from alade_brian.conversion.nir_graphs.step import frameworks_step
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings
from alade_brian.verification.conformance.compare import (
    ConformanceRow,
    ShownGraph,
    compared_with_frameworks,
    conformance_row,
    spikes_in_brian2,
)

# Probability of a spike in an element of the input and step, where no input lies beside a graph.
RATE = 0.2


def graph_files(folder: Path) -> list[Path]:
    """The NIR files in a folder and below it. UserError where there are none."""
    files = sorted(folder.rglob("*.nir"))
    if not files:
        raise UserError(f"--graphs {folder}: there is no file *.nir in it; name a folder of NIR graphs")
    return files


def compared_files(
    files: list[Path], presentations: int, steps: int, seed: int, settings: SimulationSettings
) -> Iterator[ConformanceRow]:
    """Each graph `NAME.nir` against every framework, and against what was recorded.

    Its input is `NAME.npz` beside it, or else random spikes. Recordings are `NAME.SOURCE.npz`, the spikes of some of
    its nodes by their names, as `run-nir` writes them; and `*.csv` for a graph of a single neuron: input, membrane,
    spikes, a row for each step.
    """
    for path in files:
        try:
            shown = _shown(path, presentations, steps, seed)
        except UserError as error:
            yield ConformanceRow(path.name, "none", 0, 0, None, None, str(error))
            continue
        ours = spikes_in_brian2(shown, "euler", settings)
        yield from compared_with_frameworks(shown, ours, settings)
        yield from _compared_recordings(path, shown.title, ours)
        (array,) = shown.inputs.values()
        if array[0, 0].size == 1:
            yield from _compared_traces(path, shown, settings)


def _shown(path: Path, presentations: int, steps: int, seed: int) -> ShownGraph:
    """A file's graph and its input. UserError where it cannot be read, or has several inputs."""
    graph = load_graph(path)
    dt = frameworks_step(graph)
    network = open_nir(graph, 1, dt, "euler")
    if len(network.inputs) > 1:
        raise UserError(f"{path}: the graph has {len(network.inputs)} inputs, and frameworks import only graphs of one")
    ((node, name),) = network.inputs.items()
    beside = path.with_suffix(".npz")
    if beside.is_file():
        inputs, _ = match_inputs(network, read_arrays(beside), beside)
        array = inputs[name]
    else:
        # The same graph gets the same input, whatever lies beside it.
        draw = np.random.default_rng([seed, zlib.crc32(path.name.encode())])
        size = (presentations, steps, *network.spec.shape(name))
        array = random_spikes(draw, size, RATE)
    return ShownGraph(path.name, graph, dt, {node: array})


def _compared_recordings(path: Path, title: str, ours: Mapping[str, np.ndarray]) -> Iterator[ConformanceRow]:
    """A row for each recording beside a graph; of the nodes that it holds."""
    for recording in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*.npz")):
        name = f"recorded in {recording.name}"
        try:
            arrays = read_arrays(recording)
        except UserError as error:
            yield conformance_row(title, name, {}, None, f"not compared: {error}")
            continue
        held = {node: spikes for node, spikes in ours.items() if node in arrays}
        wrong = [node for node, spikes in held.items() if arrays[node].size != spikes.size]
        if wrong or not held:
            shapes = ", ".join(f"'{node}' of shape {arrays[node].shape}" for node in wrong)
            note = f"not compared: it holds {shapes or 'none of the spiking nodes'}"
            yield conformance_row(title, name, held, None, note)
            continue
        theirs = {node: arrays[node].reshape(spikes.shape) > 0 for node, spikes in held.items()}
        yield conformance_row(title, name, held, theirs)


def _compared_traces(path: Path, shown: ShownGraph, settings: SimulationSettings) -> Iterator[ConformanceRow]:
    for trace in sorted(path.parent.glob("*.csv")):
        try:
            columns = np.loadtxt(trace, delimiter=",", ndmin=2)
        except ValueError:
            continue  # a table of something else
        if columns.shape[1] != 3:
            continue
        (node,) = shown.inputs
        own = ShownGraph(shown.title, shown.graph, shown.dt, {node: columns[None, :, :1]})
        ours = spikes_in_brian2(own, "euler", settings)
        if len(ours) == 1:
            theirs = {name: columns[None, :, 2:] > 0 for name in ours}
            yield conformance_row(shown.title, f"recorded in {trace.name}", ours, theirs, _shift(ours, theirs))


def _shift(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> str:
    """By how many steps a recording lies beside the run, where that is all that differs; "" where it is not."""
    (run,), (recorded,) = ours.values(), theirs.values()
    for steps in (1, -1):
        if not np.array_equal(run, recorded) and np.array_equal(np.roll(run, steps, 1), recorded):
            return f"0 mismatched if the recording is one step {'late' if steps > 0 else 'early'}"
    return ""
