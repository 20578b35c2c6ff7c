"""How a specification is laid out as a NIR graph: which nodes, which edges, and which node holds which numbers.

Per population a neuron node, per projection its linear nodes in front of it. Whatever decides the layout is in the
specification's structure, so the same specification with other numbers has the same layout: that is how the reader
finds the numbers again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain as joined
from itertools import count, pairwise
from math import prod

import nir
import numpy as np

from alade_brian.conversion.nir_graphs.chain import LARGEST_MATRIX, Chain, chain, is_matrix, keeps_axes
from alade_brian.conversion.nir_graphs.metadata import Place
from alade_brian.conversion.nir_graphs.neurons import NotInNIR, is_neuron, neuron_nodes
from alade_brian.conversion.nir_graphs.order import cycle_among, late_edges, reached
from alade_brian.spec import Identity, NetworkSpec, Pooling, Population, Projection, Shape


@dataclass(frozen=True)
class Carrier:
    """The node and the attribute that hold an array's numbers as they are."""

    node: str
    attribute: str
    per_channel: bool = False


@dataclass
class _Path:
    """A projection's way through the graph, from its source's node to its target's, both included."""

    projection: Projection
    nodes: list[str]

    @property
    def edges(self) -> list[tuple[str, str]]:
        return list(pairwise(self.nodes))


def _check_linear(spec: NetworkSpec) -> None:
    for projection in spec.projections:
        if not projection.operator.linear:
            raise NotInNIR(
                f"the projection {projection.name} takes the maximum of every window, for which NIR has no node (it "
                "has averages and sums); write an .npz specification or a Brian2 script instead"
            )


class NirLayout:
    """The nodes and edges of a specification. NotInNIR where NIR has no words for a part of it.

    node       by stimulus and population: the node that stands for it
    carriers   by the place of an array in the specification
    notes      what a reader that ignores the metadata will not see as it is
    """

    def __init__(self, spec: NetworkSpec) -> None:
        _check_linear(spec)
        self.spec = spec
        self.nodes: dict[str, nir.NIRNode] = {}
        self.carriers: dict[Place, Carrier] = {}
        self.notes: list[str] = []
        self.node: dict[str, str] = {}
        self._entry: dict[str, str] = {}
        self._exit: dict[str, str] = {}
        self._inner: dict[str, list[tuple[str, str]]] = {}
        self._paths: list[_Path] = []
        self._chains: dict[int, Chain] = {}
        self._fed = _unfed(spec)
        self._flat = _flat(spec, self._fed)
        for name in ("output", *(["input"] if len(spec.stimuli) == 1 else [])):
            self.nodes[name] = nir.Output({"output": np.zeros(0, int)})
        self._add_ends()
        for index in range(len(spec.populations)):
            self._add_population(index)
        for number, projection in enumerate(spec.projections):
            if projection.target_variable or projection.release is not None:
                raise NotInNIR(
                    f"the projection {projection.name} names a variable of its target or has synapses that fail by "
                    "chance, for which NIR has no words"
                )
            self._add_projection(number)
        for index, population in enumerate(spec.populations):
            self._feed(population)
            if population.bias is not None:
                self._add_bias(index, population)
        self.edges = self._all_edges()
        self._delay()
        self._end()
        self._check_cycles()

    def shape(self, name: str) -> Shape:
        """The shape of the node that stands for a stimulus or a population."""
        shape = self.spec.shape(name)
        return (prod(shape),) if name in self._flat else shape

    def _new(self, name: str, node: nir.NIRNode) -> str:
        """Add a node under that name, or one like it that is free. HDF5 takes a slash for a folder."""
        plain = name.replace("/", "_") or "node"
        free = next(n for n in joined([plain], (f"{plain}_{k}" for k in count(2))) if n not in self.nodes)
        self.nodes[free] = node
        return free

    def _add_ends(self) -> None:
        for stimulus in self.spec.stimuli:
            node = nir.Input({"input": np.array(stimulus.shape)})
            if len(self.spec.stimuli) == 1:
                self.nodes["input"] = node
                self.node[stimulus.name] = "input"
            else:
                self.node[stimulus.name] = self._new(stimulus.name, node)
            self._exit[stimulus.name] = self.node[stimulus.name]
        shape = self.shape(self.spec.readout.population)
        self.nodes["output"] = nir.Output({"output": np.array(shape)})

    def _add_population(self, index: int) -> None:
        population, shape = self.spec.populations[index], self.shape(self.spec.populations[index].name)
        made = neuron_nodes(population, shape, self.spec.dt)
        names = {suffix: "" for suffix, _ in made.nodes}
        for suffix, node in reversed(made.nodes):
            names[suffix] = self._new(f"{population.name}.{suffix}" if suffix else population.name, node)
        way = [names[suffix] for suffix, _ in made.nodes]
        self.node[population.name] = names[""]
        for key, (suffix, attribute) in made.carriers.items():
            place: Place = ("populations", index, "neuron", "parameters", key, "value")
            self.carriers[place] = Carrier(names[suffix], attribute)
        if population.neuron.spiking and "amplitude" in population.neuron.parameters:
            whole = population.amplitude.reshape(shape).copy()
            way.append(self._new(f"{population.name}.amplitude", nir.Scale(whole)))
        self._entry[population.name], self._exit[population.name] = way[0], way[-1]
        self._inner[population.name] = list(pairwise(way))

    def _add_projection(self, number: int) -> None:
        spec, projection = self.spec, self.spec.projections[number]
        found = chain(spec, projection, projection.source in self._flat, projection.target in self._flat)
        ends = (self._exit[projection.source], self._entry[projection.target])
        if not found.nodes and any(path.nodes == [*ends] for path in self._paths):
            # Two edges between the same nodes are forbidden.
            found.append(nir.Scale(np.ones(found.shape)), found.shape)
        index = sum(path.projection.target == projection.target for path in self._paths)
        names = [self._new(f"{projection.target}.in{index}.{k}", node) for k, node in enumerate(found.nodes)]
        self._paths.append(_Path(projection, [ends[0], *names, ends[1]]))
        self._chains[len(self._paths) - 1] = found
        if found.carrier is not None:
            values = "gain" if isinstance(projection.operator, Pooling | Identity) else "weight"
            self.carriers["projections", number, "operator", values] = Carrier(
                names[found.carrier[0]], found.carrier[1]
            )
        if is_matrix(spec, projection, projection.source in self._flat):
            kind = type(projection.operator).__name__.lower()
            size = prod(next(n for n in reversed(found.nodes) if isinstance(n, nir.Linear)).weight.shape)
            self.notes.append(f"the projection {projection.name} ({kind}) stands there as a matrix of {size:,} numbers")

    def _feed(self, population: Population) -> None:
        """An edge from an input, with weight zero, for a population that no input reaches."""
        if population.name not in self._fed:
            return
        stimulus, size = self.spec.stimuli[0], prod(self.shape(population.name))
        if size * stimulus.size > LARGEST_MATRIX:
            raise NotInNIR(f"population '{population.name}': no input reaches it, and NIR needs one; connect it")
        found = Chain([], stimulus.shape)
        if len(stimulus.shape) > 1:
            found.append(nir.Flatten({"input": np.array(stimulus.shape)}, 0, -1), (stimulus.size,))
        found.append(nir.Linear(np.zeros((size, stimulus.size))), (size,))
        names = [self._new(f"{population.name}.none.{k}", node) for k, node in enumerate(found.nodes)]
        silent = Projection(stimulus.name, population.name, Identity())
        self._paths.append(_Path(silent, [self.node[stimulus.name], *names, self._entry[population.name]]))
        self._chains[len(self._paths) - 1] = found

    def _add_bias(self, index: int, population: Population) -> None:
        assert population.bias is not None
        shape, place = self.shape(population.name), ("populations", index, "bias")
        bias = population.bias.reshape(shape)
        late = late_edges([self.node[s.name] for s in self.spec.stimuli], self._all_edges())
        into = [k for k, path in enumerate(self._paths) if path.projection.target == population.name]
        prompt = [k for k in into if not late.intersection(self._paths[k].edges)] or into
        channels = bias.reshape(shape[0], -1)
        if np.array_equal(channels, np.broadcast_to(channels[:, :1], channels.shape)):
            holder = next((k for k in prompt if self._chains[k].takes_bias), None)
            if holder is not None:
                name = self._paths[holder].nodes[-2]
                attribute = self._chains[holder].add_bias(channels[:, 0].copy())
                self.nodes[name] = self._chains[holder].nodes[-1]
                self.carriers[place] = Carrier(name, attribute, per_channel=len(shape) > 1)
                return
        self._add_constant(population, bias, self._paths[prompt[0]].nodes[-2], place)

    def _add_constant(self, population: Population, bias: np.ndarray, beside: str, place: Place) -> None:
        """A bias that no node in front of the neuron can hold: a threshold that is always passed, times the bias."""
        name, shape = population.name, bias.shape
        parts = {
            "zero": nir.Scale(np.zeros(shape)),
            "one": nir.Threshold(np.full(shape, -1.0)),
            "": nir.Scale(bias.copy()),
        }
        names = [self._new(f"{name}.bias.{key}" if key else f"{name}.bias", node) for key, node in parts.items()]
        self._inner[name] += pairwise([beside, *names, self._entry[name]])
        self.carriers[place] = Carrier(names[-1], "scale")

    def _all_edges(self) -> list[tuple[str, str]]:
        """The edges, population by population in step order: a walk along them meets the forward ones first."""
        edges: list[tuple[str, str]] = []
        for population in self.spec.populations:
            for path in self._paths:
                if path.projection.target == population.name:
                    edges += path.edges
            edges += self._inner[population.name]
        edges.append((self._exit[self.spec.readout.population], "output"))
        return list(dict.fromkeys(edges))

    def _delay(self) -> None:
        """Delay nodes, where an edge does not by itself act as late as the projection says."""
        late = late_edges([self.node[s.name] for s in self.spec.stimuli], self.edges)
        for path in self._paths:
            missing = path.projection.delay - len(late.intersection(path.edges))
            if missing < 0:
                self.notes.append(f"the projection {path.projection.name} acts one step late: it closes a cycle")
            if missing > 0:
                source = path.projection.source
                seconds = np.full(self.shape(source), missing * self.spec.dt)
                name = self._new(f"{path.nodes[1]}.delay", nir.Delay(seconds))
                place = self.edges.index((path.nodes[0], path.nodes[1]))
                self.edges[place : place + 1] = [(path.nodes[0], name), (name, path.nodes[1])]
                path.nodes.insert(1, name)

    def _end(self) -> None:
        """An Output behind every node that leads nowhere: nir would add one when it reads the file."""
        leading = {start for start, _ in self.edges}
        for name, node in list(self.nodes.items()):
            if name not in leading and not isinstance(node, nir.Output):
                shape = np.array(next(iter(node.output_type.values())))
                self.edges.append((name, self._new(f"output_{name}", nir.Output({"output": shape}))))

    def _check_cycles(self) -> None:
        linear = {name for name, node in self.nodes.items() if not is_neuron(node)}
        cycle = cycle_among(linear, self.edges)
        if cycle:
            owner = next(p.name for p in self.spec.populations if self.node[p.name] in cycle)
            raise NotInNIR(
                f"population '{owner}': it is in a cycle without a neuron ({' -> '.join(cycle)}), which NIR does not "
                "allow; put a neuron into it"
            )

    @property
    def flat(self) -> list[str]:
        """Populations that are written without their axes, since no node would give them these."""
        return [p.name for p in self.spec.populations if p.name in self._flat]


def _unfed(spec: NetworkSpec) -> set[str]:
    """Populations that need an edge from an input: none reaches them, or none in the same step and they have a bias."""
    order = [*(s.name for s in spec.stimuli), *(p.name for p in spec.populations)]
    ways = [(p.source, p.target) for p in spec.projections]
    found: set[str] = set()
    known = reached([s.name for s in spec.stimuli], ways)
    for population in spec.populations:
        forward = any(order.index(p.source) < order.index(population.name) for p in spec.inputs(population.name))
        if population.name not in known or (population.bias is not None and not forward):
            found.add(population.name)
            known |= reached([population.name], ways)
    return found


def _flat(spec: NetworkSpec, fed: Iterable[str]) -> set[str]:
    """Populations that lose their axes: a matrix leads to them, and from there it goes on in matrices."""
    flat = {name for name in fed if len(spec.shape(name)) > 1}
    while True:
        more = {
            p.target for p in spec.projections if p.target not in flat and not keeps_axes(spec, p, p.source in flat)
        }
        if not more:
            return flat
        flat |= more
