"""NetworkSpec -> NIR (Neuromorphic Intermediate Representation) file.

NIR says neurons as differential equations in seconds and leaves the step to the reader. What it cannot say (comparison
sign, subtraction reset, order of leak and reset, step order, what a cycle delays, length of a presentation, coding,
readout) travels as JSON in the graph's metadata under ``alade_brian``; a reader that ignores it still gets a valid
graph, and `reader_warnings` says what it will get wrong. With the metadata nothing is lost, and numbers that were
changed in the file's nodes count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np

from alade_brian.conversion.nir_graphs.file import METADATA_KEY
from alade_brian.conversion.nir_graphs.layout import NirLayout
from alade_brian.conversion.nir_graphs.metadata import (
    CYCLE_DELAY,
    FORMAT,
    Place,
    describe,
    marks,
    rebuild,
    same_bits,
    taken,
)
from alade_brian.conversion.nir_graphs.neurons import NotInNIR
from alade_brian.files import replacing
from alade_brian.spec import NetworkSpec, Population

__all__ = ["NotInNIR", "reader_warnings", "same_graph", "to_nir", "write_nir", "written_spec"]


def write_nir(spec: NetworkSpec, path: Path | str) -> None:
    """Write the network as a NIR graph, whole or not at all. NotInNIR where NIR has no node for a part of it.

    >>> from torch import nn
    >>> from alade_brian import convert, write_nir
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> import nir
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> write_nir(convert(model, (6,)), "model.nir")
    >>> type(nir.read("model.nir")).__name__
    'NIRGraph'
    """
    graph = to_nir(spec)
    with replacing(Path(path)) as file:
        nir.write(file, graph)


def to_nir(spec: NetworkSpec) -> nir.NIRGraph:
    """The network as a NIR graph that passes nir's own type check; see `NirLayout` for its nodes.

    The only stimulus is the node ``input`` (several keep their names), the readout's population feeds ``output``.
    """
    layout = NirLayout(spec)
    said = {
        "format": FORMAT,
        "cycle_delay": CYCLE_DELAY,
        "network": describe(spec, _recoverable(spec, layout)),
        "nodes": {p.name: layout.node[p.name] for p in spec.populations},
    }
    metadata = {METADATA_KEY: json.dumps(said, default=lambda number: number.item())}
    return nir.NIRGraph(layout.nodes, layout.edges, metadata=metadata, type_check=False)


def _recoverable(spec: NetworkSpec, layout: NirLayout) -> dict[Place, bool]:
    """The places of the arrays that can be taken from the graph's nodes to the last bit, tried out on each of them."""
    carried = {place: carrier.per_channel for place, carrier in layout.carriers.items()}
    marked = rebuild(describe(spec, carried), lambda _, shape, per_channel: marks(shape, per_channel))
    markers = NirLayout(marked)

    def survives(place: Place) -> bool:
        carrier = layout.carriers[place]
        if markers.carriers.get(place) != carrier:
            return False
        original, mark = (np.asarray(_at(owner, place)) for owner in (spec, marked))
        arrays = (getattr(owner.nodes[carrier.node], carrier.attribute) for owner in (markers, layout))
        found = taken(mark, *arrays)
        return found is not None and same_bits(found, original)

    return {place: flag for place, flag in carried.items() if survives(place)}


def _at(spec: NetworkSpec, place: Place) -> Any:
    """What stands at a place of a specification."""
    value: Any = spec
    for step in place:
        if isinstance(value, tuple):
            value = value[int(step)]
        else:
            value = value[step] if hasattr(value, "keys") else getattr(value, str(step))
    return value


def written_spec(graph: nir.NIRGraph) -> NetworkSpec | None:
    """The specification from which this program wrote the graph, with the numbers that its nodes hold now.

    None where the metadata are not ours, or the graph is no longer what writing that specification gives: nodes or
    edges were changed, or numbers in a way that the specification's structure does not allow.
    """
    try:
        said = json.loads((graph.metadata or {})[METADATA_KEY])
        if said["format"] != FORMAT:
            return None
        markers = NirLayout(rebuild(said["network"], lambda _, shape, per_channel: marks(shape, per_channel)))

        def numbers(place: Place, shape: tuple[int, ...], per_channel: bool) -> np.ndarray:
            carrier = markers.carriers[place]
            held = np.asarray(getattr(graph.nodes[carrier.node], carrier.attribute))
            found = taken(marks(shape, per_channel), getattr(markers.nodes[carrier.node], carrier.attribute), held)
            if found is None:
                raise ValueError(f"node '{carrier.node}' holds other numbers")
            return found

        spec = rebuild(said["network"], numbers)
        layout = NirLayout(spec)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, NotInNIR):
        return None
    try:
        return spec if same_graph(nir.NIRGraph(layout.nodes, layout.edges, type_check=False), graph) else None
    except (TypeError, ValueError):  # something in the graph is no number
        return None


def same_graph(left: nir.NIRGraph, right: nir.NIRGraph) -> bool:
    """Whether two graphs have the same nodes, edges and numbers, to the last bit."""
    if set(left.nodes) != set(right.nodes) or sorted(map(tuple, left.edges)) != sorted(map(tuple, right.edges)):
        return False
    return all(_same_node(node, right.nodes[name]) for name, node in left.nodes.items())


def _same_node(left: nir.NIRNode, right: nir.NIRNode) -> bool:
    if type(left) is not type(right):
        return False
    ours, theirs = left.to_dict(), right.to_dict()
    keys = (set(ours) | set(theirs)) - {"metadata"}
    return all(key in ours and key in theirs and _same_value(ours[key], theirs[key]) for key in keys)


def _same_value(left: Any, right: Any) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and isinstance(right, str) and left == right
    return same_bits(np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64))


def reader_warnings(spec: NetworkSpec) -> list[str]:
    """What a reader that ignores the metadata will get wrong, sentence by sentence. NotInNIR as `to_nir`."""
    layout = NirLayout(spec)
    found = [*layout.notes]
    found += [f"population '{p}' stands there without its axes" for p in layout.flat]
    for population in spec.populations:
        found += [f"population '{population.name}' {what}" for what in _unsaid(population)]
    leaky = sorted({p.neuron.method for p in spec.populations if "/dt" in p.neuron.model})
    if leaky:
        found.append(f"resistances and weights fit the {' and the '.join(leaky)} step of {spec.dt:g} s, no other")
    if spec.stimulus.coding == "direct":
        found.append(f"every input is held for {spec.steps} steps, then all state begins anew")
    readout = spec.readout
    if readout.decoding != "every_step":
        group = f" in groups of {readout.neurons_per_output}" if readout.neurons_per_output > 1 else ""
        found.append(f"the answer is the {readout.decoding} of '{readout.population}'{group} over {spec.steps} steps")
    return found


def _unsaid(population: Population) -> list[str]:
    """What NIR's node for a population does not say."""
    neuron = population.neuron
    if not neuron.spiking:
        return ["begins at v_initial, not at 0"] if "v_initial" in neuron.parameters else []
    resets = {
        "subtract": "subtracts v_reset at a spike; NIR says a reset to 0",
        "none": "has no reset; NIR says one to 0",
    }
    memory = "v : 1\ndrive : 1" != neuron.model or "+=" in neuron.update
    found = [resets[neuron.reset]] if neuron.reset in resets and memory else []
    if neuron.comparison == ">=":
        found.append("spikes at v >= v_threshold; NIR says v > v_threshold")
    if neuron.leak == "before_reset" and neuron.reset != "none":
        found.append("is reset one step late, behind the leak; NIR resets it at once")
    if "v_initial" in neuron.parameters:
        found.append("begins at v_initial, not at 0")
    return found
