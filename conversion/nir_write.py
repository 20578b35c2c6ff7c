"""NetworkSpec -> NIR (Neuromorphic Intermediate Representation) file.

NIR says neurons as differential equations in seconds and leaves the step to the reader. What it cannot say (comparison
sign, subtraction reset, order of leak and reset, length of a presentation, coding, readout) travels as JSON in the
graph's metadata under ``alade_brian``; a reader that ignores it still gets a valid graph.
"""

from __future__ import annotations

import json
from itertools import pairwise
from math import prod
from pathlib import Path

import nir
import numpy as np

from alade_brian.conversion.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Pooling,
    Population,
    Projection,
)
from alade_brian.files import replacing


class NotInNIR(ValueError):
    """A specification that NIR has no words for."""


def write_nir(spec: NetworkSpec, path: Path) -> None:
    """Write the network as a NIR graph, whole or not at all. NotInNIR where NIR has no node for a part of it."""
    graph = to_nir(spec)
    with replacing(path) as file:
        nir.write(file, graph)


def to_nir(spec: NetworkSpec) -> nir.NIRGraph:
    """The network as a NIR graph: per population a neuron node, per projection its linear nodes in front of it.

    The stimulus is the node ``input``; a readout is an integrator ``I`` whose value after a presentation, divided by
    the number of steps, is the mean logit.
    """
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input({"input": np.array(spec.stimulus.shape)})}
    edges: list[tuple[str, str]] = []
    ends = {spec.stimulus.name: "input"}
    for population in spec.populations:
        ends[population.name] = population.name
        nodes[population.name] = _neuron(spec, population)
        for index, projection in enumerate(spec.inputs(population.name)):
            bias = _channel_bias(population) if index == 0 else None
            chain = _linear(spec, projection, population, bias)
            names = [f"{population.name}.in{index}.{step}" for step in range(len(chain))]
            nodes.update(zip(names, chain, strict=True))
            path = [ends[projection.source], *names, population.name]
            edges += list(pairwise(path))
    readout = spec.population(spec.readout.population)
    nodes["output"] = nir.Output({"output": np.array(readout.shape)})
    edges.append((readout.name, "output"))
    return nir.NIRGraph(nodes, edges, metadata={"alade_brian": json.dumps(_conventions(spec))}, type_check=False)


def _neuron(spec: NetworkSpec, population: Population) -> nir.NIRNode:
    neuron = population.neuron

    def full(name: str) -> np.ndarray:
        return np.broadcast_to(neuron.parameters[name].value, population.shape).copy()

    ones = np.ones(population.shape)
    if not neuron.spiking:
        return nir.I(r=ones / spec.dt)
    reset = full("v_reset") if neuron.reset == "value" else np.zeros(population.shape)
    if neuron.model == "v : 1":
        return nir.IF(r=ones / spec.dt, v_threshold=full("v_threshold"), v_reset=reset)
    if neuron.model == "dv/dt = -v/tau : 1":
        tau = full("tau") * spec.dt
        # A current held for one step adds r * (1 - decay) of itself to the membrane: the whole of it, for this r.
        resistance = 1 / -np.expm1(-spec.dt / tau)
        return nir.LIF(
            tau=tau, r=resistance, v_leak=np.zeros(population.shape), v_threshold=full("v_threshold"), v_reset=reset
        )
    raise NotInNIR(f"population '{population.name}': NIR has no neuron for '{neuron.model}'")


def _channel_bias(population: Population) -> np.ndarray | None:
    """The bias as one number per channel, or None; NotInNIR where it differs within a channel."""
    if population.bias is None:
        return None
    flat = population.bias.reshape(population.shape[0], -1)
    if not np.array_equal(flat, np.broadcast_to(flat[:, :1], flat.shape)):
        raise NotInNIR(f"population '{population.name}': its bias differs within a channel")
    return flat[:, 0].copy()


def _linear(
    spec: NetworkSpec, projection: Projection, population: Population, bias: np.ndarray | None
) -> list[nir.NIRNode]:
    operator, source = projection.operator, spec.shape(projection.source)
    if projection.delay or projection.first:
        raise NotInNIR(f"the projection {projection.name} has a delay or fills a part of its target")
    if isinstance(operator, Convolution):
        if operator.extent is not None:
            raise NotInNIR(f"the projection {projection.name} leaves out pixels at the border")
        offset = np.zeros(operator.weight.shape[0]) if bias is None else bias
        return [
            nir.Conv2d(
                source[1:],
                operator.weight.copy(),
                operator.stride,
                operator.padding,
                operator.dilation,
                operator.groups,
                offset,
            )
        ]
    if isinstance(operator, Dense):
        weight = operator.weight.copy()
        full_bias = None if population.bias is None or bias is None else population.bias.ravel().copy()
        last = nir.Linear(weight) if full_bias is None else nir.Affine(weight, full_bias)
        return [last] if len(source) == 1 else [nir.Flatten({"input": np.array(source)}, 0, -1), last]
    if bias is not None:
        raise NotInNIR(f"population '{population.name}': a bias behind pooling or a one-to-one projection")
    gain = np.broadcast_to(
        operator.gain.reshape(-1, *[1] * (len(source) - 1)) if operator.gain.ndim else operator.gain, source
    )
    scale = [] if np.all(gain == 1) else [nir.Scale(gain.copy())]
    if isinstance(operator, Identity):
        return list(scale)
    assert isinstance(operator, Pooling)
    return [*scale, nir.AvgPool2d(np.array(operator.kernel), np.array(operator.stride), np.zeros(2, int))]


def _conventions(spec: NetworkSpec) -> dict[str, object]:
    """What NIR cannot say, JSON-ready."""

    def neuron(equations: NeuronEquations) -> dict[str, object]:
        return {
            "spiking": equations.spiking,
            "comparison": equations.comparison,
            "reset": equations.reset,
            "leak": equations.leak,
            "v_reset": np.unique(equations.parameters["v_reset"].value).tolist()
            if "v_reset" in equations.parameters
            else None,
        }

    return {
        "format": 1,
        "dt": spec.dt,
        "steps": spec.steps,
        "coding": spec.stimulus.coding,
        "readout": {"population": spec.readout.population, "decoding": spec.readout.decoding},
        "step_order": [p.name for p in spec.populations],
        "neurons": {p.name: neuron(p.neuron) for p in spec.populations},
        "synapses": {
            p.name: int(sum(prod(i.operator.output_shape(spec.shape(i.source))) for i in spec.inputs(p.name)))
            for p in spec.populations
        },
    }
