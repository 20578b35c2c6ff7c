"""A NIR graph's structure and shapes: what every node reads and makes, and everything that is wrong with it.

Exporters that trace a batch of one leave its axis, and a time axis of one, in the shapes of Input and Output. Where the
nodes do not take them, leading axes of length 1 are left out: the numbers are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import product

import nir
import numpy as np

from alade_brian.conversion.lowering import CannotLower
from alade_brian.conversion.nir_graphs.file import FlatGraph
from alade_brian.conversion.nir_graphs.linear import (
    Linear,
    counts_batch,
    linear,
    linear_faults,
    without_leading_ones,
)
from alade_brian.conversion.nir_graphs.neurons import is_neuron, neuron_faults, neuron_shape
from alade_brian.conversion.nir_graphs.order import cycle_among, reached
from alade_brian.conversion.refusals import Refusal
from alade_brian.spec import Shape

# How far from a whole number of steps a delay may be, in steps: time in a file is rounded.
STEP_TOLERANCE = 1e-6

logger = logging.getLogger(__name__)


def check_graph(graph: FlatGraph, dt: float) -> tuple[Shapes, list[Refusal]]:
    """The shapes of a graph for a time step of `dt` seconds, and everything that is wrong in it."""
    refusals = [*_structure(graph), *_number_refusals(graph)]
    shapes = Shapes(graph)
    if not any(r.argument in ("inputs", "cycle") for r in refusals):
        shapes = _inferred(graph, {r.layer for r in refusals})
    return shapes, [*refusals, *shapes.refusals, *_delay_refusals(shapes.linear, dt)]


def _inferred(graph: FlatGraph, broken: set[str]) -> Shapes:
    """All shapes, read with the fewest refusals: as NIR says, else with leading axes of 1 left out of the inputs', else
    with a Flatten that counts a batch axis which its graph does not have, as PyTorch's does."""
    counts = (0, 1) if any(counts_batch(node) for node in graph.nodes.values()) else (0,)
    best = Shapes(graph)
    best.infer(broken)
    for batch_axes, left_out in product(counts, range(_leading_ones(graph) + 1)):
        if best.refusals and (batch_axes or left_out):
            shapes = Shapes(graph, left_out, batch_axes)
            shapes.infer(broken)
            best = min(best, shapes, key=Shapes.misfit)
    if best.batch_axes and not best.refusals:
        for name, node in graph.nodes.items():
            if counts_batch(node):
                logger.warning(
                    "%s: start_dim = %d counts a batch axis, as PyTorch does, since nothing else fits; write %d",
                    _at(name), int(node.start_dim), int(node.start_dim) - 1,
                )  # fmt: skip
    return best


def _leading_ones(graph: FlatGraph) -> int:
    """How many leading axes of 1 can be left out of at least one input's shape."""
    counts = [0]
    for name in graph.inputs:
        try:
            shape = declared_shape(graph.nodes[name])
        except CannotLower:
            continue
        if shape is not None:
            counts.append(len(shape) - len(without_leading_ones(shape, 1)))
    return max(counts)


def _at(name: str) -> str:
    return f"node '{name}'"


def _structure(graph: FlatGraph) -> list[Refusal]:
    """What is wrong with nodes and edges, whatever their numbers."""
    found = []
    if not graph.inputs:
        found.append(Refusal("the graph", "inputs", "none", "leave nothing to show it; add an Input node"))
    if not graph.outputs:
        found.append(Refusal("the graph", "outputs", "none", "leave nothing to read; add an Output node"))
    sources, targets = {a for a, _ in graph.edges}, {b for _, b in graph.edges}
    linear = {name for name, node in graph.nodes.items() if not is_neuron(node)}
    heard = reached(graph.inputs, graph.edges)
    for name in graph.nodes:
        if name in graph.inputs and name in targets:
            found.append(Refusal(_at(name), "edges", "into an Input", "have no meaning; remove them"))
        if name in graph.outputs and name in sources:
            found.append(Refusal(_at(name), "edges", "out of an Output", "have no meaning; remove them"))
        if name not in targets and name not in sources:
            found.append(Refusal(_at(name), "edges", "none", "leave it unconnected; connect it, or remove it"))
        elif graph.inputs and name not in heard:
            found.append(Refusal(_at(name), "input", "none", "reaches it; lead an edge to it, or remove it"))
        elif name in linear and name not in sources and name not in graph.outputs:
            found.append(Refusal(_at(name), "edges", "none", "lead on from it; connect it, or remove it"))
    cycle = cycle_among(linear, graph.edges)
    if cycle:
        found.append(
            Refusal(_at(cycle[0]), "cycle", " -> ".join([*cycle, cycle[0]]), "has no neuron in it; put one into it")
        )
    return found


def _number_refusals(graph: FlatGraph) -> list[Refusal]:
    return [
        Refusal(_at(name), fault.argument, str(fault.value), fault.remedy)
        for name, node in graph.nodes.items()
        for fault in (neuron_faults(node) if is_neuron(node) else linear_faults(node))
    ]


class Shapes:
    """The shape of what every node sends, from what is known at the inputs and at the neurons.

    left_out     how many leading axes of 1 are left out of the shape of an input that has as many
    batch_axes   how many axes before the first one a Flatten counts
    linear       every linear node, with the shape of its input known
    """

    def __init__(self, graph: FlatGraph, left_out: int = 0, batch_axes: int = 0) -> None:
        self.graph, self.left_out, self.batch_axes = graph, left_out, batch_axes
        self.made: dict[str, Shape] = {}
        self.linear: dict[str, Linear] = {}
        self.refusals: list[Refusal] = []
        self.sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for start, end in graph.edges:
            self.sources[end].append(start)

    def misfit(self) -> tuple[bool, int]:
        """How badly the graph fits these shapes: whether an input itself does not, and the number of refusals."""
        inputs = {_at(name) for name in self.graph.inputs}
        return any(refusal.layer in inputs for refusal in self.refusals), len(self.refusals)

    def infer(self, broken: set[str]) -> None:
        """Fill in all shapes; nodes behind a refused one stay unknown, and are not refused for that."""
        given = {name for name in self.graph.nodes if _at(name) in broken}
        for name in self.graph.inputs:
            self._try(name, None)
        for name in given:
            self._guess(name)
        waiting = [n for n in self.graph.nodes if n not in self.graph.inputs and n not in given]
        done = waiting
        while done:
            done = [name for name in waiting if self._settle(name)]
            waiting = [name for name in waiting if name not in done]
        refused = {r.layer for r in self.refusals}
        self._check_edges(given | {name for name in self.graph.nodes if _at(name) in refused})

    def _settle(self, name: str) -> bool:
        """Work out a node's shape, if enough is known for it; whether it is settled."""
        known = [self.made[source] for source in self.sources[name] if source in self.made]
        if not known and not is_neuron(self.graph.nodes[name]):
            return False
        return self._try(name, known[0] if known else None)

    def _guess(self, name: str) -> None:
        """The shape that a refused node itself says, so that what stands behind it can be judged too."""
        node = self.graph.nodes[name]
        if is_neuron(node) or isinstance(node, nir.Affine | nir.Linear | nir.Scale | nir.Delay):
            try:
                shape = _declared(node.output_type, "output")
            except CannotLower:
                return
            if shape:
                self.made[name] = shape

    def _try(self, name: str, incoming: Shape | None) -> bool:
        node = self.graph.nodes[name]
        made: Shape | None
        try:
            if name in self.graph.inputs:
                made = declared_shape(node)
                if made is None:
                    raise CannotLower("input_type", None, "says no shape; write the shape of the input")
                made = without_leading_ones(made, len(made) - self.left_out)
            elif is_neuron(node):
                made = neuron_shape(node, incoming)
            else:
                assert incoming is not None
                self.linear[name] = linear(node, incoming, self.batch_axes)
                made = self.linear[name].shape
                self._check_port(node, made)
            if made is None:
                return False
            if (name in self.graph.inputs or is_neuron(node)) and not 1 <= len(made) <= 3:
                raise CannotLower("shape", made, "has not one, two or three axes (channels first); write it with these")
            self.made[name] = made
        except CannotLower as refusal:
            self.refusals.append(Refusal(_at(name), refusal.argument, str(refusal.value), refusal.remedy))
            return True
        except (ValueError, OverflowError, MemoryError) as error:  # SpecError, and what numpy says of absurd sizes
            self.refusals.append(Refusal(_at(name), "input", str(incoming), f"does not fit: {error}"))
            return True
        return True

    @staticmethod
    def _check_port(node: nir.NIRNode, made: Shape) -> None:
        if not isinstance(node, nir.Input | nir.Output):
            return
        declared = _declared(node.output_type, "output")
        if declared is not None and without_leading_ones(declared) != without_leading_ones(made):
            raise CannotLower("shape", declared, f"contradicts the {made} that comes in; make the two fit")

    def _check_edges(self, refused: set[str]) -> None:
        """All edges into a node must bring the same shape; a linear node was worked out from its first."""
        for name, sources in self.sources.items():
            if name in refused:
                continue
            brought = {source: self.made[source] for source in sources if source in self.made}
            if name in self.made and len(set(brought.values())) > 1:
                listed = ", ".join(f"{shape} from '{source}'" for source, shape in brought.items())
                self.refusals.append(Refusal(_at(name), "input", listed, "cannot be added up; make the shapes equal"))
            elif name in self.made and is_neuron(self.graph.nodes[name]) and brought:
                source, shape = next(iter(brought.items()))
                if shape != self.made[name]:
                    self.refusals.append(
                        Refusal(
                            _at(name),
                            "shape",
                            str(self.made[name]),
                            f"contradicts the {shape} from '{source}'; make the two fit",
                        )
                    )


def declared_shape(node: nir.NIRNode) -> Shape | None:
    """The shape that an Input node says; None where it says none."""
    return _declared(node.input_type, "input")


def _declared(types: Mapping[str, object] | None, key: str) -> Shape | None:
    shape = (types or {}).get(key)
    if shape is None:
        return None
    array = np.atleast_1d(np.asarray(shape))
    whole = array.dtype.kind in "iuf" and array.ndim == 1 and bool(np.all((array >= 1) & (array < 2**31)))
    if not whole or np.any(array != np.round(array)):
        raise CannotLower("shape", shape, "is no shape; write whole numbers from 1 on, channels first")
    return tuple(int(n) for n in array)


def _delay_refusals(nodes: Mapping[str, Linear], dt: float) -> list[Refusal]:
    found = []
    for name, node in nodes.items():
        if node.delay is not None:
            steps = node.delay / dt
            wrong = node.delay[np.abs(steps - np.round(steps)) > STEP_TOLERANCE]
            if wrong.size:
                found.append(
                    Refusal(
                        _at(name),
                        "delay",
                        f"{wrong.flat[0]:g} s",
                        f"is no multiple of the time step of {dt:g} s; use a time step that divides all delays",
                    )
                )
    return found
