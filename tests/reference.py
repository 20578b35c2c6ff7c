"""A specification simulated a second time, by numpy alone, one neuron array at a time: what Brian2 is held against."""

from __future__ import annotations

import re

import numpy as np

from alade_brian.spec import MaxPooling, NetworkSpec, NeuronEquations, Population
from alade_brian.spec.synapses import projection_synapses


class ReferenceLayer:
    """One population and its state, for one image."""

    def __init__(self, spec: NetworkSpec, population: Population) -> None:
        self.neuron, self.size = population.neuron, population.size
        self.parameters = {
            key: np.broadcast_to(p.value * (spec.dt if p.unit == "step" else 1), population.shape).ravel().copy()
            for key, p in self.neuron.parameters.items()
        }
        self.state = {name: np.zeros(self.size) for name in self.neuron.states}
        self.state[self.neuron.membrane] += self.parameters.get("v_initial", 0.0)
        self.bias = None if population.bias is None else population.bias.ravel()
        self.fired = np.zeros(self.size, dtype=bool)
        self.sent = np.zeros(self.size)

    def run(self, code: str, where: np.ndarray | None = None) -> None:
        """Brian2 code on the state: assignments and sums of plain arithmetic."""
        for line in code.splitlines():
            name, sign, expression = re.fullmatch(r"(\w+)\s*([-+]?=)\s*(.+)", line.strip()).groups()  # type: ignore[union-attr]
            value = np.broadcast_to(eval(expression, {}, self.state | self.parameters), self.size)
            old = self.state[name]
            new = {"=": value, "+=": old + value, "-=": old - value}[sign]
            self.state[name] = np.array(new if where is None else np.where(where, new, old), dtype=float)

    def follow(self, dt: float) -> None:
        """One step of the model: forward Euler, or the solution of `dx/dt = a - x / tau`."""
        slopes = dict(re.findall(r"d(\w+)/dt\s*=\s*(.+?)\s*:", self.neuron.model))
        old = {name: value.copy() for name, value in self.state.items()}
        for name, slope in slopes.items():

            def at(values: np.ndarray, name: str = name, slope: str = slope) -> np.ndarray:
                return eval(slope, {}, old | self.parameters | {name: values})

            if self.neuron.method == "euler":
                self.state[name] = old[name] + dt * at(old[name])
            else:
                rest = at(np.zeros(self.size))
                rate = at(np.ones(self.size)) - rest
                self.state[name] = old[name] * np.exp(rate * dt) + rest / rate * (np.exp(rate * dt) - 1)

    def late_reset(self) -> None:
        if self.neuron.leak == "before_reset":
            self.reset(self.fired)

    def reset(self, where: np.ndarray) -> None:
        rules = {"value": "{v} = v_reset", "subtract": "{v} -= v_reset", "none": ""}
        self.run(rules[self.neuron.reset].format(v=self.neuron.membrane), where)

    def fire(self, presenting: bool) -> None:
        neuron: NeuronEquations = self.neuron
        membrane = self.state[neuron.membrane]
        if not neuron.spiking:
            self.sent = membrane.copy()
            return
        level = eval(neuron.threshold, {}, self.state | self.parameters)
        self.fired = (membrane > level if neuron.comparison == ">" else membrane >= level) & presenting
        self.sent = self.fired * self.parameters.get("amplitude", 1.0)
        if neuron.leak == "after_reset":
            self.reset(self.fired)
        self.run(neuron.on_spike, self.fired)


def reference(spec: NetworkSpec, images: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Spikes bool and membranes at the end of every step, by population: both ``(images, steps, neurons)``."""
    count = len(next(iter(images.values())))
    shape = {p.name: (count, spec.steps, p.size) for p in spec.populations}
    spikes = {name: np.zeros(shape[name], dtype=bool) for name in shape}
    membranes = {name: np.zeros(shape[name]) for name in shape}
    for image in range(count):
        layers = {p.name: ReferenceLayer(spec, p) for p in spec.populations}
        history: dict[str, list[np.ndarray]] = {name: [] for name in layers}
        for step in range(spec.steps):
            _step(spec, layers, history, {name: values[image] for name, values in images.items()}, step)
            for name, layer in layers.items():
                spikes[name][image, step] = layer.fired
                membranes[name][image, step] = layer.state[layer.neuron.membrane]
    return spikes, membranes


def _step(
    spec: NetworkSpec,
    layers: dict[str, ReferenceLayer],
    history: dict[str, list[np.ndarray]],
    image: dict[str, np.ndarray],
    t: int,
) -> None:
    for layer in layers.values():
        layer.follow(spec.dt)
        layer.late_reset()
        if layer.bias is not None:
            layer.state[layer.neuron.input_variable] += layer.bias
    for name, layer in layers.items():
        for projection in spec.inputs(name):
            if spec.is_stimulus(projection.source):
                shown = image[projection.source]
                sent = (shown if spec.stimulus.coding == "direct" else shown[t]).ravel()
            elif t >= projection.delay:
                sent = history[projection.source][t - projection.delay]
            else:
                continue
            found = projection_synapses(spec, projection)
            if isinstance(projection.operator, MaxPooling):
                largest = np.full(layer.size, -np.inf)
                np.maximum.at(largest, found.post, sent[found.pre])
                layer.state[layer.neuron.input_variable] += largest
                continue
            weights = found.weights(projection.operator)
            np.add.at(layer.state[layer.neuron.input_variable], found.post, weights * sent[found.pre])
        layer.run(layer.neuron.update)
        layer.fire(presenting=True)
        history[name].append(layer.sent)
