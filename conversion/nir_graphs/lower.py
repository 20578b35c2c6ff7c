"""A flat NIR graph as stimuli, populations and projections, by NIR's own meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from scipy import sparse

from alade_brian.conversion.lowering import AffineInput, LinearTerm, SpecBuilder, add, is_plain, settled, source_value
from alade_brian.conversion.nir_graphs.file import FlatGraph, RefusedNodes
from alade_brian.conversion.nir_graphs.linear import apply
from alade_brian.conversion.nir_graphs.neurons import Method, is_neuron, read_neuron
from alade_brian.conversion.nir_graphs.order import late_edges, prompt_through, reached, step_order
from alade_brian.conversion.nir_graphs.shapes import Shapes, check_graph
from alade_brian.errors import UserError
from alade_brian.spec import Dense, Identity, Operator, Population, Projection, Sparse, Stimulus, memoryless
from alade_brian.spec.synapses import matrix

# A neuron is kept for each, and no network's spikes are on their way for longer.
MOST_DELAY_STEPS = 10_000


@dataclass
class Lowered:
    """The parts of a specification, in step order; `neurons` are the populations that are neuron nodes, `outputs` says
    for every Output node which population shows it."""

    stimuli: list[Stimulus]
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    neurons: set[str] = field(default_factory=set)
    outputs: dict[str, str] = field(default_factory=dict)


def lower_graph(graph: FlatGraph, dt: float, method: Method) -> Lowered:
    """The graph's parts for a time step of `dt` seconds. RefusedNodes with everything that is wrong in it."""
    shapes, refusals = check_graph(graph, dt)
    if refusals:
        raise RefusedNodes("the NIR graph", refusals)
    return _Lower(graph, shapes, dt, method).run()


class _Lower:
    """Builds the parts. Populations are there from the beginning, so that values can be worked out in any order; their
    biases and projections come last."""

    def __init__(self, graph: FlatGraph, shapes: Shapes, dt: float, method: Method) -> None:
        self.graph, self.shapes, self.dt, self.method = graph, shapes, dt, method
        self.late = late_edges(graph.inputs, graph.edges)
        prompt = prompt_through(graph.edges, self.late)
        self.order = step_order(list(graph.nodes), [*graph.edges, *sorted(prompt)], self.late)
        self.lowering = SpecBuilder([Stimulus(shapes.made[name], name, "sequence") for name in graph.inputs])
        self.values: dict[str, AffineInput] = {}
        self.one: str | None = None
        self.uneven = False

    def run(self) -> Lowered:
        neurons = [name for name in self.order if is_neuron(self.graph.nodes[name])]
        for name in neurons:
            shape = self.shapes.made[name]
            equations = read_neuron(self.graph.nodes[name], shape, self.dt, self.method)
            self.lowering.populations.append(Population(name, shape, equations))
        into = {name: self._input(name) for name in neurons}
        outputs = self._outputs(into)
        populations, projections = self._connected(into)
        return Lowered(self.lowering.stimuli, populations, projections, set(neurons), outputs)

    def _outputs(self, into: dict[str, AffineInput]) -> dict[str, str]:
        """By Output node the population that shows it: its only source, where that is a neuron, else a probe."""
        shown = {}
        for name in self.graph.outputs:
            value = self._input(name)
            source = value.terms[0].source if value.terms else ""
            direct = len(self.graph.outputs) == 1 and is_plain(value) and value.terms[0].delay == 0
            if direct and not self.lowering.is_stimulus(source) and self.lowering.shape(source) == value.shape:
                shown[name] = source
                continue
            if len(value.shape) > 3:
                value = AffineInput((prod(value.shape),), value.terms, value.bias.ravel())
            self.lowering.populations.append(Population(name, value.shape, memoryless()))
            into[name] = value
            shown[name] = name
        return shown

    def _input(self, name: str) -> AffineInput:
        """The sum of what comes into a node."""
        total: AffineInput | None = None
        for source in self.shapes.sources[name]:
            value = self._sent(source)
            if (source, name) in self.late:
                value = self._over_closing_edge(value, name)
            total = value if total is None else add(total, value)
        assert total is not None
        return _merged(self.lowering, total)

    def _over_closing_edge(self, value: AffineInput, end: str) -> AffineInput:
        """What arrives at a node over an edge that closes a cycle. What the neurons of the cycle send is one step old;
        biases on the way and sources outside the cycle act in the same step."""
        cycle = reached([end], self.graph.edges)
        terms = [replace(term, delay=term.delay + 1) if term.source in cycle else term for term in value.terms]
        return replace(value, terms=tuple(terms))

    def _sent(self, name: str) -> AffineInput:
        """What a node sends. Ends, since every cycle has a neuron in it, whose spikes need no working out."""
        if name in self.graph.inputs or is_neuron(self.graph.nodes[name]):
            return source_value(name, self.shapes.made[name])
        if name not in self.values:
            node = self.shapes.linear[name]
            value = apply(self.lowering, node, self._input(name))
            if node.delay is not None and np.max(node.delay) > MOST_DELAY_STEPS * self.dt:
                raise UserError(
                    f"node '{name}': delay {np.max(node.delay):g} s is more than {MOST_DELAY_STEPS} time steps of "
                    f"{self.dt:g} s; use a shorter delay or a longer step"
                )
            self.values[name] = value if node.delay is None else self._delayed(value, node.delay)
        return self.values[name]

    def _delayed(self, value: AffineInput, seconds: np.ndarray) -> AffineInput:
        """A value behind a Delay node; neurons of different delays become terms of their own."""
        steps = np.round(seconds / self.dt).astype(int)
        different = np.unique(steps)
        if len(different) == 1:
            return self._later(value, int(different[0]))
        self.uneven = True
        parts = [self._later(_some(self.lowering, value, steps == d), int(d)) for d in different]
        return AffineInput(
            value.shape, tuple(t for p in parts for t in p.terms), sum((p.bias for p in parts), np.zeros(()))
        )

    def _later(self, value: AffineInput, steps: int) -> AffineInput:
        """The value of some steps ago, behind a Delay. A constant becomes a current from a neuron that is always 1,
        since before the first step it was not there either."""
        if not steps:
            return value
        terms = tuple(replace(term, delay=term.delay + steps) for term in value.terms)
        if not value.bias.any():
            return AffineInput(value.shape, terms, value.bias)
        constant = LinearTerm(self._one(), Dense(value.bias.reshape(-1, 1)), value.shape, delay=steps)
        return AffineInput(value.shape, (*terms, constant), np.zeros(value.shape))

    def _one(self) -> str:
        if self.one is None:
            self.one = self._free("one")
            self.lowering.populations.insert(0, Population(self.one, (1,), memoryless(), np.ones(1)))
        return self.one

    def _free(self, name: str) -> str:
        """A name that no node has: of the names like it the shortest."""
        taken = {*self.graph.nodes, *(p.name for p in self.lowering.populations)}
        while name in taken:
            name += "_"
        return name

    def _connected(self, into: Mapping[str, AffineInput]) -> tuple[list[Population], list[Projection]]:
        """Populations with their biases, in step order, and all projections."""
        for name, value in into.items():
            self.lowering.set_bias(name, value.bias)
        populations = list(self.lowering.populations)
        order = [p.name for p in populations]
        relays = self._relays(into, order)
        projections = []
        for target, value in into.items():
            for term in value.terms:
                operator = settled(term.operator)
                operator = _thinned(operator) if self.uneven else operator
                source, delay = term.source, term.delay
                if self._needs_relay(term, target, order):
                    source, delay = relays[source][delay - 1].name, 1
                projections.append(Projection(source, target, operator, delay, term.first))
        for source, chain in relays.items():
            for k, relay in enumerate(chain):
                projections.append(Projection(chain[k - 1].name if k else source, relay.name, Identity(), int(k > 0)))
        # A relay of more steps stands before one of fewer, so that it takes what that held one step ago.
        last = [relay for chain in relays.values() for relay in reversed(chain)]
        return [*populations, *last], projections

    def _needs_relay(self, term: LinearTerm, target: str, order: list[str]) -> bool:
        """Whether a current is older than a projection can make it: backward one step, forward none."""
        if term.delay == 0:
            return False
        if self.lowering.is_stimulus(term.source):
            return True
        if self.lowering.population(term.source).neuron.spiking:
            return False
        return term.delay > 1 or order.index(term.source) < order.index(target)

    def _relays(self, into: Mapping[str, AffineInput], order: list[str]) -> dict[str, list[Population]]:
        """By source: populations that hold its current of 0, 1, 2 ... steps ago. They stand behind all others, and a
        target takes what a relay held one step ago."""
        longest: dict[str, int] = {}
        for target, value in into.items():
            for term in value.terms:
                if self._needs_relay(term, target, order):
                    longest[term.source] = max(longest.get(term.source, 0), term.delay)
        relays: dict[str, list[Population]] = {}
        for source, count in longest.items():
            shape = self.lowering.shape(source)
            relays[source] = []
            for k in range(1, count + 1):
                relay = Population(self._free(f"{source}.delayed{k}"), shape, memoryless())
                self.lowering.populations.append(relay)
                relays[source].append(relay)
        return relays


def _some(lowering: SpecBuilder, value: AffineInput, where: np.ndarray) -> AffineInput:
    """The value with zeros (and no connections) in all other places."""
    rows = sparse.diags_array(where.ravel().astype(float)).tocsr()
    terms = []
    for term in value.terms:
        part = rows[term.first : term.first + prod(term.shape)][:, term.first : term.first + prod(term.shape)]
        kept = sparse.coo_array(part @ matrix(term.operator, lowering.shape(term.source)))
        kept.eliminate_zeros()
        if kept.nnz:
            listed = Sparse(kept.coords[0], kept.coords[1], kept.data, term.shape)
            terms.append(replace(term, operator=listed))
    return AffineInput(value.shape, tuple(terms), np.where(where, value.bias, 0.0))


def _thinned(operator: Operator) -> Operator:
    """A matrix whose columns are mostly empty as a list of connections."""
    if not isinstance(operator, Dense) or np.count_nonzero(operator.weight.any(0)) * 2 > operator.weight.shape[1]:
        return operator
    rows, columns = np.nonzero(operator.weight)
    return Sparse(rows, columns, operator.weight[rows, columns], (len(operator.weight),))


def _merged(lowering: SpecBuilder, value: AffineInput) -> AffineInput:
    """The value with the terms of a source added up: sums of sums would double their number at every node."""
    if len(value.terms) <= 8:
        return value
    together: dict[tuple[str, int], list[LinearTerm]] = {}
    for term in value.terms:
        together.setdefault((term.source, term.delay), []).append(term)
    terms = []
    for (source, delay), some in together.items():
        if len(some) == 1:
            terms += some
            continue
        whole = sum(_in_place(lowering, term, prod(value.shape)) for term in some)
        entries = sparse.coo_array(whole)
        listed = Sparse(entries.coords[0], entries.coords[1], entries.data, value.shape)
        terms.append(LinearTerm(source, listed, value.shape, 0, delay))
    return replace(value, terms=tuple(terms))


def _in_place(lowering: SpecBuilder, term: LinearTerm, size: int) -> sparse.coo_array:
    entries = sparse.coo_array(matrix(term.operator, lowering.shape(term.source)))
    places = (entries.coords[0] + term.first, entries.coords[1])
    return sparse.coo_array((entries.data, places), shape=(size, entries.shape[1]))
