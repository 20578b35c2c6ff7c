"""A specification as Brian2 objects that share kernels: one fused pass per population, images in, packed spikes out.

The order within a time step is that of `brian2_text`; a layer's delayed input is gathered in its pass from the lists
that its source left some steps ago, so presentations need no pause between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import brian2 as b2
import numpy as np
from brian2.core.base import BrianObject
from brian2.core.variables import Variables

from alade_brian.conversion.to_brian2.text import GroupText, group_text, schedule, slots
from alade_brian.simulation.fused.layer import Current, FusedLayer, GivenSpikes, Input, Rows
from alade_brian.simulation.gather import aligned, channels_last, gather, is_list, kernel, pixels
from alade_brian.simulation.synaptic_events import sends
from alade_brian.spec import NetworkSpec, Parameter, Population, Projection
from alade_brian.spec.presentation import pixel_offset
from alade_brian.spec.synapses import live_projections, out_degrees, weighted_projections


@dataclass(frozen=True, eq=False)
class FusedNetwork:
    """The objects of a network; `answers` is the record of the readout's membrane, None where it spikes."""

    network: b2.Network
    images: Images
    layers: dict[str, FusedLayer]
    answers: str | None
    traces: tuple[str, ...]


class Images(b2.Group):
    """What is shown in one presentation: numbers ``(batch, rows, pixels)``, a row per step or one that is held, or
    spikes, image by image and stimulus by stimulus as in packed.py."""

    def __init__(self, size: int, dtype: type, clock: b2.Clock) -> None:
        BrianObject.__init__(self, clock=clock, name="images")
        self.variables = Variables(self)
        self.variables.create_clock_variables(clock)
        self.variables.add_array("values", size=size, dtype=dtype)
        # Whether spikes are written, set when the program starts.
        self.variables.add_array("record", size=1, dtype=np.int32)


def rows_of(population: Population, batch: int) -> Rows:
    """How a population is laid out."""
    return Rows(batch, pixels(population.shape), population.shape[0])


def build_fused(spec: NetworkSpec, batch: int, traces: tuple[str, ...] = ()) -> FusedNetwork:
    """The Brian2 network of a specification. Names are those of places, not of the specification, so that equal
    structures make equal code."""
    return Builder(spec, batch, traces).build()


class Builder:
    """Makes the objects of a network one after the other."""

    layer: type[FusedLayer] = FusedLayer
    current: type[Current] = Current

    def __init__(self, spec: NetworkSpec, batch: int, traces: tuple[str, ...]) -> None:
        self.spec, self.batch, self.traces = spec, batch, traces
        self.clock = b2.Clock(spec.dt * b2.second, name="step")
        self.rows = 1 if spec.stimulus.coding == "direct" else spec.steps
        self.shown = sum(s.size for s in spec.stimuli)
        self.images = self._images()
        self.groups: dict[str, b2.NeuronGroup] = {}
        self.texts: dict[str, GroupText] = {}
        self.layers: dict[str, FusedLayer] = {}
        self.given: dict[str, Any] = {}
        self.currents: list[Current] = []
        self.indices = {p.name: k for k, p in enumerate(spec.populations)}
        readout = spec.readout
        self.answers = None if spec.answers_in_spikes else readout.population

    def build(self) -> FusedNetwork:
        """All of them."""
        spec = self.spec
        if spec.stimulus.coding == "spikes":
            for index in range(len(spec.stimuli)):
                self.add_given(index)
        for index in range(len(spec.populations)):
            self.add_group(index)
        for index in range(len(spec.populations)):
            self.add_layer(index)
        for population in spec.populations:
            self.connect(population.name)
        for index, projection in live_projections(spec):
            if not sends(spec, projection.source):
                self.add_current(index, projection)
        return self.finish()

    def _images(self) -> Images:
        if self.spec.stimulus.coding == "spikes":
            return Images(self.batch * sum(spike_bytes(self.spec)), np.int8, self.clock)
        return Images(self.batch * self.rows * self.shown, b2.prefs.core.default_float_dtype, self.clock)

    def add_given(self, index: int) -> None:
        """A stimulus of spikes: something that sends as a layer does."""
        stimulus, sizes = self.spec.stimuli[index], spike_bytes(self.spec)
        rows = Rows(self.batch, pixels(stimulus.shape), stimulus.shape[0])
        self.given[stimulus.name] = self.make_given(rows, sum(sizes), sum(sizes[:index]), f"given_{index}")

    def make_given(self, rows: Rows, bytes_per_image: int, start: int, name: str) -> Any:
        """A source of the spikes that lie from `start` on among those of an image."""
        return GivenSpikes(self.images, rows, bytes_per_image, start, self.clock, name)

    def add_group(self, index: int) -> None:
        population, text = self.spec.populations[index], group_text(self.spec, index, fused=True)
        self.texts[population.name] = text
        self.groups[population.name] = b2.NeuronGroup(
            population.size * self.batch, text.equations, threshold=text.threshold, reset=text.reset,
            method=text.method, clock=self.clock, name=f"layer_{index}",
        )  # fmt: skip

    def add_layer(self, index: int) -> None:
        population = self.spec.populations[index]
        neuron, text = population.neuron, self.texts[population.name]
        threshold = f"_cond = {text.threshold}" if neuron.spiking else ""
        records = [("_answers", self.spec.readout.sampled == "after_reset")] * (population.name == self.answers)
        records += [("_trace", True)] * (population.name in self.traces)
        code = {
            "rest": text.rest,
            "update": text.input,
            "threshold": f"{text.update}\n{threshold}",
            "reset": text.reset or "",
        }
        self.layers[population.name] = self.layer(
            self.groups[population.name], rows_of(population, self.batch), code, neuron.membrane,
            self.spec.steps, self._slots(population.name), records, slots(index).update, f"pass_{index}",
        )  # fmt: skip

    def _slots(self, source: str) -> int:
        """For how many steps the spikes of a population are kept: its own step's, and those still under way."""
        return 1 + max((p.delay for p in self.spec.projections if p.source == source), default=0)

    def connect(self, target: str) -> None:
        """What a layer gathers, in the order in which it would arrive: first what was delayed, then by source."""
        self.layers[target].connect([
            Input(
                (self.layers | self.given)[p.source],
                gather(self.spec, p),
                p.delay,
                p.target_variable or self.spec.population(target).neuron.input_variable,
                self.degrees(p),
            )
            for _, p in gathered(self.spec, target)
        ])  # fmt: skip

    def degrees(self, projection: Projection) -> np.ndarray | None:
        """Synapses of every neuron of a projection's source, where the pass cannot tell."""
        return out_degrees(self.spec, projection) if is_list(self.spec, projection) else None

    def add_current(self, index: int, projection: Projection) -> None:
        spec = self.spec
        rows = rows_of(spec.population(projection.target), self.batch)
        shape = spec.shape(projection.source)
        if spec.is_stimulus(projection.source):
            values, slot = (self.images, "values"), "start"
            geometry = {"from_image": self.rows * self.shown, "from_step": self.shown * (self.rows > 1)}
            geometry["start"] = pixel_offset(spec, projection.source)
        else:
            source = spec.population(projection.source)
            values, slot = (self.groups[source.name], source.neuron.membrane), slots(self.indices[source.name]).synapses
            geometry = {"from_image": source.size, "from_step": 0, "start": 0}
        held = spec.is_stimulus(projection.source) and self.rows == 1
        self.currents.append(self.current(
            self.groups[projection.target], rows, f"current_{index}", gather(spec, projection), values, shape[0],
            geometry, held, not projection.operator.linear, slot, f"current_{index}",
        ))  # fmt: skip

    def finish(self) -> FusedNetwork:
        network = b2.Network(
            self.images,
            *(given for given in self.given.values() if isinstance(given, BrianObject)),
            *self.groups.values(),
            *self.layers.values(),
            *self.currents,
            name="simulation",
        )
        network.schedule = schedule(self.spec)
        return FusedNetwork(network, self.images, self.layers, self.answers, self.traces)


def gathered(spec: NetworkSpec, target: str) -> list[tuple[int, Projection]]:
    """The projections that bring spikes to a population, with their numbers, in the order of their sums: first what
    was delayed."""
    names = [*(s.name for s in spec.stimuli), *(p.name for p in spec.populations)]
    bring = [(k, p) for k, p in live_projections(spec) if p.target == target and sends(spec, p.source)]
    return sorted(bring, key=lambda found: (found[1].delay == 0, names.index(found[1].source) * (found[1].delay == 0)))


def spike_bytes(spec: NetworkSpec) -> list[int]:
    """Bytes of one image's spikes, stimulus by stimulus."""
    return [spec.steps * pixels(s.shape) * -(-s.shape[0] // 8) for s in spec.stimuli]


def fused_values(spec: NetworkSpec, batch: int, dtype: type) -> dict[str, np.ndarray]:
    """All numbers of a network by the variable that takes them, in the layout and type of the compiled program."""
    values, itemsize = {}, np.dtype(dtype).itemsize
    for index, population in enumerate(spec.populations):
        for key, parameter in population.neuron.parameters.items():
            value = _in_seconds(parameter, spec.dt)
            values[f"layer_{index}.{key}"] = (
                value.reshape(1) if parameter.shared else _per_neuron(population, value, batch)
            )
        if population.bias is not None:
            values[f"layer_{index}.bias"] = _per_neuron(population, population.bias, batch)
        for number, (_, projection) in enumerate(gathered(spec, population.name)):
            values[f"pass_{index}.in{number}_kernel"] = aligned(kernel(spec, projection), itemsize)
    for index, projection in weighted_projections(spec):
        if not sends(spec, projection.source):
            values[f"current_{index}.in0_kernel"] = aligned(kernel(spec, projection), itemsize)
    return {name: np.ascontiguousarray(array, dtype=dtype) for name, array in values.items()}


def _in_seconds(parameter: Parameter, dt: float) -> np.ndarray:
    return parameter.value * (dt if parameter.unit == "step" else 1.0)


def _per_neuron(population: Population, value: np.ndarray, batch: int) -> np.ndarray:
    """A number per neuron and image, in rows of channels."""
    whole = np.broadcast_to(value, population.shape).reshape(-1)
    return np.tile(channels_last(whole, population.shape).ravel(), batch)
