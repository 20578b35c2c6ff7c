"""The comparison of a NIR graph's run in Brian2 with each framework's own run, and with closed forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from alade_brian.conversion.nir_graphs.neurons import Method
from alade_brian.conversion.nir_graphs.paper_networks import PaperNetwork, random_spikes
from alade_brian.conversion.nir_graphs.read import Reset, ResetTiming, as_sequences, open_nir
from alade_brian.simulation import SimulationSettings, simulate
from alade_brian.verification.conformance.closed_form import exact_spikes
from alade_brian.verification.conformance.frameworks import (
    FRAMEWORKS,
    CannotRun,
    Deviation,
    NirFramework,
    recorded_spikes,
    silent,
)
from alade_brian.verification.conformance.own_networks import OwnNetwork


@dataclass(frozen=True)
class ConformanceRow:
    """One graph in Brian2 and elsewhere.

    graph                title of the graph
    reference            what it was compared with
    entries              (presentation, step, neuron) compared
    spikes               fired in Brian2, and `spikes_reference` in the other run
    mismatched           entries in which exactly one of the two fired; None where the reference does not run the graph
    note                 why not, or which conventions of the reference were asked for
    """

    graph: str
    reference: str
    entries: int
    spikes: int
    spikes_reference: int | None
    mismatched: int | None
    note: str

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, eq=False)
class ShownGraph:
    """A graph, its step in seconds, the input ``(presentations, steps, *shape)`` by Input node, and how it is read."""

    title: str
    graph: Any
    dt: float
    inputs: Mapping[str, np.ndarray]
    reset: Reset = "model"
    reset_timing: ResetTiming | None = None


def spikes_in_brian2(shown: ShownGraph, discretisation: Method, settings: SimulationSettings) -> dict[str, np.ndarray]:
    """The spikes of the graph's spiking nodes, bool ``(presentations, steps, neurons)``."""
    steps = next(iter(shown.inputs.values())).shape[1]
    read = open_nir(shown.graph, 1, shown.dt, discretisation, shown.reset, shown.reset_timing)
    network = as_sequences(read, steps)
    inputs = {network.inputs[node]: array for node, array in shown.inputs.items()}
    found = simulate(network.spec, inputs, settings).spikes
    spiking = {node: name for node, name in network.neurons.items() if network.spec.population(name).neuron.spiking}
    return {node: found[name].reshape(*found[name].shape[:2], -1) for node, name in spiking.items()}


def compared_with_frameworks(
    shown: ShownGraph,
    ours: Mapping[str, np.ndarray],
    settings: SimulationSettings,
    frameworks: Sequence[NirFramework] = FRAMEWORKS,
) -> Iterator[ConformanceRow]:
    """A row for each installed framework, which discretises as Euler does.

    ours   the graph's spikes in Brian2, discretised so too
    """
    (array,) = shown.inputs.values()
    changed: dict[Deviation, dict[str, np.ndarray] | None] = {}
    for framework in frameworks:
        if framework.version is None:
            continue
        name = f"{framework.name} {framework.version}, graph imported"
        try:
            theirs, dtype = framework.run(shown.graph, shown.dt, array, [*ours])
        except CannotRun as error:
            yield conformance_row(shown.title, name, ours, None, f"not run: {error}")
            continue
        row = conformance_row(shown.title, name, ours, theirs, "" if dtype == torch.float64 else "computes in float32")
        if row.mismatched:
            for deviation in framework.deviations:
                if deviation not in changed:
                    changed[deviation] = _as_imported(shown, deviation, settings)
            explained = (_explained(changed[deviation], theirs, deviation) for deviation in framework.deviations)
            row = dataclasses.replace(row, note="; ".join(filter(None, [row.note, *explained])))
        yield row


def _as_imported(shown: ShownGraph, deviation: Deviation, settings: SimulationSettings) -> dict[str, np.ndarray] | None:
    """The spikes in Brian2 of what an import makes of the graph; None where it makes nothing else."""
    graph = deviation.changed(shown.graph, shown.dt)
    return None if graph is None else spikes_in_brian2(dataclasses.replace(shown, graph=graph), "euler", settings)


def _explained(ours: Mapping[str, np.ndarray] | None, theirs: Mapping[str, np.ndarray], deviation: Deviation) -> str:
    """How many spikes differ from those of `_as_imported`; "" where there are none."""
    if ours is None:
        return ""
    return f"{conformance_row('', '', ours, theirs).mismatched:,} mismatched if {deviation.text}"


def conformance_row(
    graph: str, reference: str, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray] | None, note: str = ""
) -> ConformanceRow:
    """The spikes of two runs, node by node."""
    entries = sum(array.size for array in ours.values())
    spikes = sum(int(array.sum()) for array in ours.values())
    if theirs is None:
        return ConformanceRow(graph, reference, entries, spikes, None, None, note)
    differing = sum(int(np.sum(ours[node] != theirs[node])) for node in ours)
    fired = sum(int(np.sum(array)) for array in theirs.values())
    return ConformanceRow(graph, reference, entries, spikes, fired, differing, note)


def compared_with_own_run(
    network: OwnNetwork, presentations: int, steps: int, seed: int, settings: SimulationSettings
) -> ConformanceRow:
    """A framework's run of its own network against the graph that it exported."""
    draw = np.random.default_rng(seed)
    array = random_spikes(draw, (presentations, steps, *network.shape), network.rate)
    ((node, _),) = network.graph.inputs.items()
    shown = ShownGraph(network.title, network.graph, network.dt, {node: array}, network.reset, network.reset_timing)
    ours = spikes_in_brian2(shown, "euler", settings)
    # A recurrent layer is one module there and a sub-graph here; SpikingJelly's exporter puts "_" before a number.
    modules = {name.partition(".")[0].removeprefix("_"): name for name in ours}
    module, time_first = network.module.to(network.dtype), np.moveaxis(array, 1, 0)
    with silent():
        found = recorded_spikes(module, network.step, time_first, [*modules], presentations)
    theirs = {name: found[module] for module, name in modules.items()}
    version = next(f"{f.name} {f.version}" for f in FRAMEWORKS if f.package == network.package)
    return conformance_row(network.title, f"{version}, own network exported ({network.neurons})", ours, theirs)


def compared_with_closed_form(
    network: PaperNetwork, presentations: int, steps: int, seed: int, settings: SimulationSettings
) -> ConformanceRow:
    """The single neuron with NIR's exact solution, against the sum over its inputs."""
    array = network.spikes(presentations, steps, seed)
    shown = ShownGraph(network.title, network.graph, network.dt, {"input": array})
    ours = spikes_in_brian2(shown, "exact", settings)
    (node,) = ours
    neuron = network.graph.nodes[node]
    weight = float(network.graph.nodes["0"].weight[0, 0])
    tau, r, threshold = (float(value[0]) for value in (neuron.tau, neuron.r, neuron.v_threshold))
    theirs = exact_spikes(array[..., 0] * weight, tau, r, threshold, network.dt)[..., None]
    return conformance_row(network.title, "closed form (exact solution)", ours, {node: theirs})
