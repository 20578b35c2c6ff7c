"""One layer by itself, fed with what its sources were recorded to send; and many variants of it as one network.

What reaches the layer from outside is turned into a current per neuron and step beforehand, so that a simulation holds
neurons and no synapses but the layer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alade_brian.spec import (
    Identity,
    NetworkSpec,
    NeuronEquations,
    Operator,
    Parameter,
    Population,
    Projection,
    Readout,
    Shape,
    Sparse,
    Stimulus,
    constant,
)
from alade_brian.spec.synapses import placed_synapses
from alade_brian.verification.currents import apply, shifted


@dataclass(frozen=True, eq=False)
class Feed:
    """A projection from outside.

    values    what its source sends, ``(images, steps, source size)``
    current   what arrives of it without its delay, ``(images, steps, neurons kept of the target)``
    shape     of the source
    origins   the populations whose spikes it brings: the source, or those whose spikes a maximum is taken of; none if
              it brings nothing but stimuli
    rows      the target's neurons that are kept
    """

    projection: Projection
    values: np.ndarray
    current: np.ndarray
    shape: Shape
    origins: tuple[str, ...]
    rows: np.ndarray
    target_size: int
    delay: int

    def through(self, operator: Operator, values: np.ndarray | None = None, shape: Shape | None = None) -> Feed:
        """The same feed with another operator, or with another source."""
        values, shape = self.values if values is None else values, shape or self.shape
        made = apply(operator, values, shape)
        whole = np.zeros((*values.shape[:2], self.target_size))
        whole[:, :, self.projection.target_offset : self.projection.target_offset + made.shape[2]] = made
        return replace(self, current=whole[:, :, self.rows])


@dataclass(frozen=True, eq=False)
class Isolated:
    """A layer, the populations without spikes that it reads, the projections between these, and its feeds.

    channel   by neuron of the layer its channel (first axis), numbered without gaps
    """

    layer: str
    channel: np.ndarray
    populations: tuple[Population, ...]
    inner: tuple[Projection, ...]
    feeds: tuple[Feed, ...]
    images: int
    steps: int
    dt: float

    def population(self, name: str) -> Population:
        """The population of that name."""
        return next(p for p in self.populations if p.name == name)

    @property
    def neuron(self) -> NeuronEquations:
        """The neuron of the layer."""
        return self.population(self.layer).neuron

    def with_population(self, name: str, **changes: object) -> Isolated:
        """The same layer with some fields of one population changed."""
        changed = tuple(replace(p, **changes) if p.name == name else p for p in self.populations)  # type: ignore[arg-type]
        return replace(self, populations=changed)

    def with_neuron(self, **changes: object) -> Isolated:
        """The same layer with some fields of its neuron changed."""
        return self.with_population(self.layer, neuron=replace(self.neuron, **changes))  # type: ignore[arg-type]

    def with_values(self, values: Mapping[str, np.ndarray], name: str = "") -> Isolated:
        """The same layer with other values of its neuron's parameters (or of those of the population `name`)."""
        owner = name or self.layer
        parameters = dict(self.population(owner).neuron.parameters)
        for key, value in values.items():
            parameters[key] = Parameter(value, parameters[key].unit if key in parameters else "1")
        return self.with_population(owner, neuron=replace(self.population(owner).neuron, parameters=parameters))

    def with_feeds(self, feeds: Mapping[int, Feed]) -> Isolated:
        """The same layer with the feeds of these numbers replaced."""
        return replace(self, feeds=tuple(feeds.get(k, feed) for k, feed in enumerate(self.feeds)))

    def scaled(self, factor: np.ndarray, bias: bool = True) -> Isolated:
        """The same layer with all that it takes in (or all but its bias) multiplied, ``()`` or ``(neurons,)``."""
        population = self.population(self.layer)
        feeds = [replace(f, current=f.current * factor) if f.projection.target == self.layer else f for f in self.feeds]
        inner = [self._scaled_inner(p, factor) if p.target == self.layer else p for p in self.inner]
        changed = replace(self, feeds=tuple(feeds), inner=tuple(inner))
        if population.bias is None or not bias:
            return changed
        return changed.with_population(self.layer, bias=population.bias * np.reshape(factor, _like(factor, population)))

    def _scaled_inner(self, projection: Projection, factor: np.ndarray) -> Projection:
        rows, columns, weights = self.synapses(projection)
        gain = np.broadcast_to(factor, self.population(self.layer).size)[rows]
        shape = self.population(self.layer).shape
        return replace(projection, operator=Sparse(rows, columns, weights * gain, shape), target_offset=0)

    def synapses(self, projection: Projection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, columns and weights of a projection between the populations here."""
        found = placed_synapses(projection, self.population(projection.source).shape)
        return found.post, found.pre, found.weights(projection.operator)

    def current(self, name: str) -> np.ndarray:
        """All that comes from outside into a population, delays applied, ``(images, steps, neurons)``."""
        total = np.zeros((self.images, self.steps, self.population(name).size))
        for feed in self.feeds:
            if feed.projection.target == name:
                total += shifted(feed.current, feed.delay)
        return total


def _like(factor: np.ndarray, population: Population) -> Shape:
    return population.shape if np.ndim(factor) else ()


def isolate(spec: NetworkSpec, sent: Mapping[str, np.ndarray], layer: str, neurons: np.ndarray | None) -> Isolated:
    """A layer of a network by itself.

    sent      by source what it sends, ``(images, steps, size)``: all stimuli, the spikes (0 or 1) of all populations
              that spike, and `held_values`
    neurons   the layer's neurons that are kept; None (all) where they reach each other, see `alone`
    """
    names = _inside(spec, layer)
    kept = {name: np.arange(spec.population(name).size) for name in names}
    populations = tuple(p for p in spec.populations if p.name in names)
    if neurons is not None:
        kept[layer] = neurons
        populations = tuple(_some(p, neurons) if p.name == layer else p for p in populations)
    inner = tuple(p for p in spec.projections if p.source in names and p.target in names)
    outside = [p for p in spec.projections if p.target in names and p.source not in names]
    feeds = tuple(_feed(spec, p, sent[p.source], kept[p.target]) for p in outside)
    images, steps = next(iter(sent.values())).shape[:2]
    size, channels = spec.population(layer).size, spec.shape(layer)[0]
    channel = np.unique(kept[layer] // (size // channels), return_inverse=True)[1]
    return Isolated(layer, channel, populations, inner, feeds, images, steps, spec.dt)


def held_values(spec: NetworkSpec, sent: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the populations without memory send, by name, each ``(images, steps, size)``; those are left out that a
    membrane with memory reaches.

    sent   by source what it sends: all stimuli, and the spikes (0 or 1) of all populations that spike
    """
    values, (images, steps) = dict(sent), next(iter(sent.values())).shape[:2]
    for population in _without_memory(spec):
        total = np.zeros((images, steps, population.size))
        for projection in spec.inputs(population.name):
            feed = _feed(spec, projection, values[projection.source], np.arange(population.size))
            total += shifted(feed.current, feed.delay)
        values[population.name] = total if population.bias is None else total + population.bias.ravel()
    return {name: array for name, array in values.items() if name not in sent}


def _without_memory(spec: NetworkSpec) -> list[Population]:
    """The populations that hold what reaches them in a step: stimuli, spikes or others of their kind, in step order."""
    made: list[Population] = []
    found = {*(s.name for s in spec.stimuli), *(p.name for p in spec.spiking)}
    for population in spec.populations:
        if _forgets(population.neuron) and all(p.source in found for p in spec.inputs(population.name)):
            found.add(population.name)
            made.append(population)
    return made


def _forgets(neuron: NeuronEquations) -> bool:
    """Whether a membrane is the input of its step, and nothing else."""
    v, x = neuron.membrane, neuron.input_variable
    plain = set(neuron.states) == {v, x} and "/dt" not in neuron.model
    return plain and not neuron.spiking and neuron.update.splitlines() == [f"{v} = {x}", f"{x} = 0"]


def can_isolate(spec: NetworkSpec, layer: str) -> bool:
    """Whether all is known that reaches a layer from outside: no maximum is taken of membranes with a memory, nor of
    those that reach it in another way too."""
    names = _inside(spec, layer)
    if any(not p.operator.linear and p.source in names for name in names for p in spec.inputs(name)):
        return False
    outside = {p.source for name in names for p in spec.inputs(name)} - names
    known = {p.name for p in (*_without_memory(spec), *spec.spiking)}
    return all(spec.is_stimulus(name) or name in known for name in outside)


def _takes_maximum(spec: NetworkSpec, name: str) -> bool:
    return any(not p.operator.linear for p in spec.inputs(name))


def alone(spec: NetworkSpec, layer: str) -> bool:
    """Whether the neurons of a layer neither reach each other nor read anything but stimuli, spikes and maxima."""
    return _inside(spec, layer) == {layer} and all(p.source != layer for p in spec.inputs(layer))


def _inside(spec: NetworkSpec, layer: str) -> set[str]:
    """The layer and all populations whose membranes reach it without passing a spike or a maximum."""
    names, new = {layer}, [layer]
    while new:
        into = [p for name in new for p in spec.inputs(name) if p.operator.linear and not spec.is_stimulus(p.source)]
        passive = sorted({p.source for p in into} - names)
        new = [name for name in passive if not spec.sends_spikes(name) and not _takes_maximum(spec, name)]
        names |= set(new)
    return names


def _some(population: Population, neurons: np.ndarray) -> Population:
    def some(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, population.shape).ravel()[neurons] if values.size > 1 else values.reshape(())

    parameters = {key: Parameter(some(p.value), p.unit) for key, p in population.neuron.parameters.items()}
    bias = None if population.bias is None else population.bias.ravel()[neurons]
    return Population(population.name, (len(neurons),), replace(population.neuron, parameters=parameters), bias)


def _origins(spec: NetworkSpec, source: str) -> tuple[str, ...]:
    """The populations whose spikes a source brings."""
    found: list[str] = []
    waiting, seen = [source], set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen or spec.is_stimulus(name):
            continue
        seen.add(name)
        if spec.sends_spikes(name):
            found.append(name)
        else:
            waiting += [p.source for p in spec.inputs(name)]
    return tuple(found)


def _feed(spec: NetworkSpec, projection: Projection, values: np.ndarray, rows: np.ndarray) -> Feed:
    values = values.astype(np.float64)
    if spec.sends_spikes(projection.source):
        values = values * spec.population(projection.source).amplitude.ravel()
    size = spec.population(projection.target).size
    shape, origins = spec.shape(projection.source), _origins(spec, projection.source)
    feed = Feed(projection, values, values, shape, origins, rows, size, projection.delay)
    return feed.through(projection.operator)


# Names that no neuron of a network is likely to use.
_KEEP, _SHIFT, _LATER, _OWES, _ARRIVING = "reset_keep", "reset_shift", "reset_later", "owes_reset", "arriving"


def general(neuron: NeuronEquations) -> NeuronEquations:
    """The same neuron in a form in which kind, amount and moment of the reset and the comparison are parameters.

    A reset is ``v = keep*v + shift``, at once or in the next step behind the leak; ``>=`` is ``>`` against the next
    smaller number. Both are exact in floating point.
    """
    if not neuron.spiking:
        return neuron
    v, parameters = neuron.membrane, dict(neuron.parameters)
    amount = parameters.setdefault("v_reset", constant(0.0)).value
    parameters.setdefault("v_initial", constant(0.0))
    keep, shift = {"value": (0.0, amount), "subtract": (1.0, -amount), "none": (1.0, 0.0)}[neuron.reset]
    parameters |= {_KEEP: constant(keep), _SHIFT: constant(shift), _LATER: constant(neuron.leak == "before_reset")}
    comparison = neuron.comparison
    if neuron.threshold == "v_threshold" and comparison == ">=":
        level, comparison = parameters["v_threshold"].value, ">"
        parameters["v_threshold"] = constant(np.nextafter(level, -np.inf))
    done = f"({_KEEP}*{v} + {_SHIFT})"
    late = [f"{v} = {v}*(1 - {_OWES}) + {_OWES}*{done}", f"{_OWES} = 0"]
    takes = [f"{neuron.input_variable} += {_ARRIVING}", f"{_ARRIVING} = 0"]
    at_once = [f"{_OWES} = {_LATER}", f"{v} = {v}*{_LATER} + (1 - {_LATER})*{done}"]
    return replace(
        neuron,
        model=f"{neuron.model}\n{_OWES} : 1\n{_ARRIVING} : 1",
        parameters=parameters,
        comparison=comparison,
        reset="none",
        leak="after_reset",
        input=_ARRIVING,
        update="\n".join([*late, *takes, *neuron.update.splitlines()]),
        on_spike="\n".join([*at_once, *neuron.on_spike.splitlines()]),
    )


def structure(layer: Isolated) -> tuple[object, ...]:
    """What variants must share to be stacked: all of their code."""
    parts: list[object] = []
    for population in layer.populations:
        neuron = general(population.neuron)
        units = tuple(sorted((key, p.unit) for key, p in neuron.parameters.items()))
        code = (neuron.model, neuron.comparison, neuron.method, neuron.update, neuron.threshold, neuron.on_spike)
        parts.append((population.name, units, code, population.bias is None))
    return tuple(parts)


def stack(layers: Sequence[Isolated]) -> tuple[NetworkSpec, dict[str, np.ndarray]]:
    """Variants of one structure side by side as one network, and the images it takes.

    In every population the neurons of the variants follow each other.
    """
    stimuli, populations, projections = [], [], []
    images: dict[str, np.ndarray] = {}
    for index, population in enumerate(layers[0].populations):
        joined = _join([layer.populations[index] for layer in layers])
        stimulus = Stimulus(joined.shape, f"into {population.name}", "sequence")
        images[stimulus.name] = np.concatenate([layer.current(population.name) for layer in layers], axis=2)
        stimuli.append(stimulus)
        populations.append(joined)
        projections.append(Projection(stimulus.name, population.name, Identity()))
    sizes = {p.name: p.size for p in layers[0].populations}
    ways = {(p.source, p.target, p.delay) for layer in layers for p in layer.inner}
    projections += [_join_inner(layers, sizes, *way) for way in sorted(ways)]
    layer = layers[0]
    readout = Readout(layer.layer, "every_step")
    spec = NetworkSpec(tuple(stimuli), tuple(populations), tuple(projections), readout, layer.steps, layer.dt)
    return spec, images


def _join(populations: Sequence[Population]) -> Population:
    neurons = [general(p.neuron) for p in populations]
    size = sum(p.size for p in populations)
    parameters = {}
    for key, first in neurons[0].parameters.items():
        parts = [
            np.broadcast_to(n.parameters[key].value, p.shape).ravel() for n, p in zip(neurons, populations, strict=True)
        ]
        whole = np.concatenate(parts)
        parameters[key] = Parameter(whole[:1].reshape(()) if np.all(whole == whole[0]) else whole, first.unit)
    bias = None
    if populations[0].bias is not None:
        bias = np.concatenate([p.bias.ravel() for p in populations if p.bias is not None])
    return Population(populations[0].name, (size,), replace(neurons[0], parameters=parameters), bias)


def _join_inner(
    layers: Sequence[Isolated], sizes: Mapping[str, int], source: str, target: str, delay: int
) -> Projection:
    parts = []
    for number, layer in enumerate(layers):
        for p in layer.inner:
            if (p.source, p.target, p.delay) == (source, target, delay):
                rows, columns, weights = layer.synapses(p)
                parts.append((rows + number * sizes[target], columns + number * sizes[source], weights))
    rows, columns, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Projection(source, target, Sparse(rows, columns, weights, (len(layers) * sizes[target],)), delay)
