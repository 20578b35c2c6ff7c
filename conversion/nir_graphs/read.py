"""NIR -> NetworkSpec: every node of NIR 1.0.8, sub-graphs and recurrence included.

What a time step means: an input x at step t is a current of weight * x, held during the step. All nodes act in the same
step, in the order of `nir_order`. In a cycle the spikes that leave a spiking node (or the current of another neuron)
arrive one step later, over the edge that closes the cycle; an affine node in the cycle therefore gives its bias from
the first step on. Several edges into a node add up. A `Delay` of d steps shows what came d steps ago, a bias included,
and nothing before. See `nir_neurons` for the neurons.

A graph that this program wrote comes back as the specification that it was (see `written_spec`), unless another time
step or discretisation is asked for.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import nir

from alade_brian.conversion.nir_graphs.file import METADATA_KEY, FlatGraph, RefusedNodes, flatten, load_graph
from alade_brian.conversion.nir_graphs.lower import lower_graph
from alade_brian.conversion.nir_graphs.metadata import marks, rebuild
from alade_brian.conversion.nir_graphs.neurons import Method, is_neuron
from alade_brian.conversion.nir_graphs.shapes import declared_shape
from alade_brian.conversion.nir_graphs.step import check_step, step_of
from alade_brian.conversion.nir_graphs.write import written_spec
from alade_brian.errors import UserError
from alade_brian.spec import (
    Coding,
    NetworkSpec,
    NeuronEquations,
    Population,
    Readout,
    Shape,
    SpecError,
    Stimulus,
    constant,
)

__all__ = ["NirNetwork", "RefusedNodes", "open_nir", "read_nir"]

Reset = Literal["model", "zero", "subtract"]
ResetTiming = Literal["same-step", "next-step"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NirNetwork:
    """A specification, and what in it the graph's nodes are.

    inputs    by Input node: the stimulus
    declared  by Input node: its shape in the graph, which may have leading axes of 1 that the stimulus has not
    neurons   by neuron node: the population (the others serve them: relays of delayed currents, probes of outputs)
    outputs   by Output node: the population whose spikes or membrane it shows
    """

    spec: NetworkSpec
    inputs: Mapping[str, str]
    neurons: Mapping[str, str]
    outputs: Mapping[str, str]
    declared: Mapping[str, Shape]


def read_nir(
    source: Path | str | nir.NIRGraph,
    steps: int | None = None,
    dt: float | None = None,
    discretisation: Method | None = None,
    reset: Reset = "model",
    reset_timing: ResetTiming | None = None,
) -> NetworkSpec:
    """The network in a NIR file (or graph).

    steps            of one presentation; may be left out where the file was written by this program
    dt               one time step in seconds; by default what the file's metadata say, else what its constants show
                     (see `nir_step`), else 1 ms
    discretisation   ``exact`` (the solution for a held current) or ``euler``; by default the metadata's, else exact
    reset            ``model``: v_reset, or what the metadata say; ``zero``; ``subtract``: by v_threshold
    reset_timing     ``same-step``: the reset acts at the end of the step of its spike; ``next-step``: in the step
                     after, behind the leak and before the input, as snnTorch subtracts (``reset_delay=True``), which
                     its NIR files do not say. By default what the metadata say, else same-step

    The stimuli are sequences (one array per step), one per `Input`; the readout shows the first `Output` in every step.
    A file of this program keeps its own. A step longer than a time constant is logged as a warning if it was given as
    `dt`, and refused otherwise. Raises UserError, and RefusedNodes (one of them) with all faults at once.

    >>> from torch import nn
    >>> from alade_brian import convert, read_nir, write_nir
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> write_nir(convert(model, (6,)), "model.nir")
    >>> spec = read_nir("model.nir")
    >>> spec.steps, [population.size for population in spec.populations]
    (4, [8, 3])
    """
    return open_nir(source, steps, dt, discretisation, reset, reset_timing).spec


def open_nir(
    source: Path | str | nir.NIRGraph,
    steps: int | None = None,
    dt: float | None = None,
    discretisation: Method | None = None,
    reset: Reset = "model",
    reset_timing: ResetTiming | None = None,
) -> NirNetwork:
    """As `read_nir`, with the places of the graph's nodes in the specification."""
    _check_arguments(steps, dt, discretisation, reset, reset_timing)
    name = "the NIR graph" if isinstance(source, nir.NIRGraph) else str(source)
    graph = load_graph(source)
    said = _said(graph)
    ours = written_spec(graph) if said is not None else None
    if said is not None and ours is None:
        logger.warning("%s was changed since it was written: it is read like any other NIR graph", name)
    if ours is not None and _fits(ours, dt, discretisation):
        network = _as_written(graph, ours)
    else:
        try:
            flat = flatten(graph)
            network = _as_any_other(flat, said, dt, discretisation, steps, name)
        except RefusedNodes as error:
            raise RefusedNodes(name, error.refusals) from None
    spec = _with_reset_timing(_with_reset(network.spec, reset), reset_timing)
    return dataclasses.replace(network, spec=spec if steps is None else dataclasses.replace(spec, steps=steps))


def as_sequences(network: NirNetwork, steps: int) -> NirNetwork:
    """The same network, shown another input in every step and read in every step."""
    spec = network.spec
    stimuli = tuple(dataclasses.replace(s, coding="sequence") for s in spec.stimuli)
    readout = Readout(next(iter(network.outputs.values())), "every_step")
    return dataclasses.replace(network, spec=dataclasses.replace(spec, stimuli=stimuli, readout=readout, steps=steps))


# In seconds: no neuron's time is counted in less or more, and no result of a step beyond is a finite number.
SHORTEST_STEP, LONGEST_STEP = 1e-12, 1e6


def _check_arguments(
    steps: int | None, dt: float | None, discretisation: str | None, reset: str, reset_timing: str | None
) -> None:
    if steps is not None and steps < 1:
        raise UserError(f"a presentation of {steps} steps: use at least 1")
    if dt is not None and not SHORTEST_STEP <= dt <= LONGEST_STEP:
        raise UserError(f"a time step of {dt} s: use a positive one, from {SHORTEST_STEP:g} to {LONGEST_STEP:g} s")
    if discretisation is not None and discretisation not in get_args(Method):
        raise UserError(f"unknown discretisation '{discretisation}': use {' or '.join(get_args(Method))}")
    if reset not in get_args(Reset):
        raise UserError(f"unknown reset '{reset}': use {', '.join(get_args(Reset))}")
    if reset_timing is not None and reset_timing not in get_args(ResetTiming):
        raise UserError(f"unknown reset timing '{reset_timing}': use {' or '.join(get_args(ResetTiming))}")


def _said(graph: nir.NIRGraph) -> NetworkSpec | None:
    """What this program's metadata say of the network, with marks for the numbers that stand in the nodes."""
    try:
        said = json.loads((graph.metadata or {})[METADATA_KEY])
        return rebuild(said["network"], lambda _, shape, per_channel: marks(shape, per_channel))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _fits(spec: NetworkSpec, dt: float | None, discretisation: Method | None) -> bool:
    """Whether the specification, as it was written, has the step that is asked for."""
    methods = {p.neuron.method for p in spec.populations if "/dt" in p.neuron.model}
    same_step = dt is None or abs(dt / spec.dt - 1) < 1e-9
    return same_step and (discretisation is None or methods <= {discretisation})


def _as_written(graph: nir.NIRGraph, spec: NetworkSpec) -> NirNetwork:
    nodes = json.loads(graph.metadata[METADATA_KEY])["nodes"]
    single = len(spec.stimuli) == 1
    inputs = {"input" if single else s.name: s for s in spec.stimuli}
    return NirNetwork(
        spec,
        {node: s.name for node, s in inputs.items()},
        {nodes[p.name]: p.name for p in spec.populations if is_neuron(graph.nodes[nodes[p.name]])},
        {"output": spec.readout.population},
        {node: s.shape for node, s in inputs.items()},
    )


def _as_any_other(
    graph: FlatGraph,
    said: NetworkSpec | None,
    dt: float | None,
    discretisation: Method | None,
    steps: int | None,
    name: str,
) -> NirNetwork:
    """The graph read by NIR's own meaning; of the metadata, what still fits a node."""
    methods = [] if said is None else [p.neuron.method for p in said.populations if "/dt" in p.neuron.model]
    method = discretisation or (methods[0] if methods else "exact")
    step = dt or (said.dt if said else step_of(graph, name))
    steps = steps or (said.steps if said else None)
    if steps is None:
        raise UserError("a NIR graph does not say how long it is shown: say the number of steps (--steps)")
    found = lower_graph(graph, step, method)
    if dt is not None or said is None:
        check_step(graph, step, dt is not None, name)
    outputs = found.outputs
    readout = Readout(next(iter(outputs.values())), "every_step")
    coding: Coding = "sequence"
    populations = found.populations
    if said is not None:
        nodes = json.loads(graph.metadata[METADATA_KEY])["nodes"]
        by_node = {nodes[p.name]: p.neuron for p in said.populations if p.name in nodes}
        populations = [_with_conventions(p, by_node.get(p.name)) for p in populations]
        coding = said.stimulus.coding
        if nodes.get(said.readout.population) == readout.population:
            readout = dataclasses.replace(said.readout, population=readout.population)
    stimuli = tuple(Stimulus(s.shape, s.name, coding) for s in found.stimuli)
    try:
        spec = NetworkSpec(stimuli, tuple(populations), tuple(found.projections), readout, steps, step)
    except SpecError as error:
        raise UserError(f"the NIR graph makes no network: {error}") from None
    neurons = {name: name for name in graph.nodes if name in found.neurons}
    declared = {s.name: declared_shape(graph.nodes[s.name]) or s.shape for s in stimuli}
    return NirNetwork(spec, {s.name: s.name for s in stimuli}, neurons, outputs, declared)


def _with_conventions(population: Population, said: NeuronEquations | None) -> Population:
    """A neuron with the conventions of a spike that the metadata say of its node."""
    neuron = population.neuron
    if said is None or not (neuron.spiking and said.spiking and "v_reset" in neuron.parameters):
        return population
    changes: dict[str, Any] = {"comparison": said.comparison, "reset": said.reset, "leak": said.leak}
    parameters = dict(neuron.parameters)
    if said.reset == "subtract":
        parameters["v_reset"] = said.parameters["v_reset"]
    if "v_initial" in said.parameters:
        parameters["v_initial"] = said.parameters["v_initial"]
    return dataclasses.replace(population, neuron=dataclasses.replace(neuron, parameters=parameters, **changes))


def _with_reset(spec: NetworkSpec, reset: Reset) -> NetworkSpec:
    """The network with one reset for all neurons that have one; "model" leaves each its own."""
    if reset == "model":
        return spec
    rule: dict[str, Any] = {"reset": "value" if reset == "zero" else "subtract"}

    def changed(population: Population) -> Population:
        neuron = population.neuron
        if not neuron.spiking or "v_reset" not in neuron.parameters or "v_threshold" not in neuron.parameters:
            return population
        amount = constant(0.0) if reset == "zero" else neuron.parameters["v_threshold"]
        parameters = {**neuron.parameters, "v_reset": amount}
        return dataclasses.replace(population, neuron=dataclasses.replace(neuron, parameters=parameters, **rule))

    return dataclasses.replace(spec, populations=tuple(map(changed, spec.populations)))


def _with_reset_timing(spec: NetworkSpec, timing: ResetTiming | None) -> NetworkSpec:
    """The network with one moment of the reset for all neurons that have one; None leaves each its own."""
    if timing is None:
        return spec
    leak: Any = "after_reset" if timing == "same-step" else "before_reset"

    def changed(population: Population) -> Population:
        neuron = population.neuron
        if not neuron.spiking or neuron.reset == "none":
            return population
        return dataclasses.replace(population, neuron=dataclasses.replace(neuron, leak=leak))

    return dataclasses.replace(spec, populations=tuple(map(changed, spec.populations)))
