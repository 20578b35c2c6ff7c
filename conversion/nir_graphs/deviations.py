"""What other imports of NIR make of a recurrent layer, as graphs of their own."""

from __future__ import annotations

import nir
import numpy as np

from alade_brian.conversion.nir_graphs.file import flatten
from alade_brian.conversion.nir_graphs.order import late_edges


def with_late_biases(graph: nir.NIRGraph, dt: float) -> nir.NIRGraph | None:
    """The graph with the bias of every `Affine` whose edge closes a cycle one step later; None where there is none.

    dt   the step in seconds

    NIRTorch 2.6 hands on the whole output that a node of a cycle had one step before. The bias becomes a node of its
    own behind a `Delay`, which delays biases too.
    """
    flat = flatten(graph)
    closing = [(a, b) for a, b in late_edges(flat.inputs, flat.edges) if isinstance(flat.nodes[a], nir.Affine)]
    if not closing:
        return None
    nodes, edges = dict(flat.nodes), [*flat.edges]
    for name in dict.fromkeys(a for a, _ in closing):
        affine = nodes[name]
        alone, held = f"{name}.bias", f"{name}.held"
        nodes[name] = nir.Linear(affine.weight)
        nodes[alone] = nir.Affine(np.zeros_like(affine.weight), affine.bias)
        nodes[held] = nir.Delay(np.full(np.shape(affine.bias), dt))
        edges += [(a, alone) for a, b in flat.edges if b == name]
        edges += [(alone, held), *((held, b) for a, b in closing if a == name)]
    return nir.NIRGraph(nodes, edges, type_check=False)


def with_input_through_recurrence(graph: nir.NIRGraph, dt: float) -> nir.NIRGraph | None:
    """The graph with the input of a recurrent layer led through the layer's matrix; None where there is no such layer.

    snnTorch 1.0 puts a neuron and a matrix that form a cycle into a sub-graph whose Input leads to the matrix.
    """
    flat = flatten(graph)
    layers = {b: a for a, b in late_edges(flat.inputs, flat.edges) if (b, a) in flat.edges}
    changed = [(a, layers[b]) if b in layers and a != layers[b] else (a, b) for a, b in flat.edges]
    return nir.NIRGraph(dict(flat.nodes), changed, type_check=False) if layers else None
