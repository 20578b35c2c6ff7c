"""NetworkSpec -> Brian2 objects: `NeuronGroup`s and `Synapses` with one weight per synapse.

Many images stand side by side: a group holds `batch` copies of its population, image by image, and synapses stay within
a copy. `presentations` batches follow each other in time; every state variable starts each presentation at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import brian2 as b2
import numpy as np

from alade_brian.conversion.brian2_text import (
    current_text,
    group_text,
    is_held,
    network_values,
    period_steps,
    projection_name,
    schedule,
    synapses_text,
)
from alade_brian.conversion.connectivity import projection_synapses
from alade_brian.conversion.spec import NetworkSpec, Projection


@dataclass(frozen=True)
class Layout:
    """How images are spread: `batch` side by side, `presentations` one after the other."""

    batch: int
    presentations: int

    @property
    def images(self) -> int:
        return self.batch * self.presentations


@dataclass(frozen=True, eq=False)
class BrianNetwork:
    """The Brian2 objects of a network, by the names of the specification; `stimulus` holds the images."""

    network: b2.Network
    groups: dict[str, b2.NeuronGroup]
    spikes: dict[str, b2.SpikeMonitor]
    readout: b2.StateMonitor
    stimulus: b2.TimedArray
    period: int
    dt: float

    @property
    def duration(self) -> float:
        """Seconds to run: all presentations, and one more step in which the last readout is recorded."""
        return (len(self.stimulus.values) * self.period + 1) * self.dt


def stimulus_values(images: np.ndarray, layout: Layout) -> np.ndarray:
    """Images ``(n, ...)`` as the stimulus ``(presentations, batch * pixels)``, filled up with empty images."""
    pixels = prod(images.shape[1:])
    values = np.zeros((layout.images, pixels))
    values[: len(images)] = images.reshape(len(images), pixels)
    return values.reshape(layout.presentations, layout.batch * pixels)


def build_network(spec: NetworkSpec, images: np.ndarray, layout: Layout) -> BrianNetwork:
    """The Brian2 network of a specification, for at most ``layout.images`` images ``(n, *stimulus shape)``.

    The floating-point type is Brian2's preference `core.default_float_dtype`; equal specifications of one layout give
    equal code.
    """
    builder = _Builder(spec, layout)
    builder.add_stimulus(stimulus_values(images, layout))
    for index in range(len(spec.populations)):
        builder.add_population(index)
    for index, projection in enumerate(spec.projections):
        builder.add_projection(index, projection)
    return builder.finish()


class _Builder:
    def __init__(self, spec: NetworkSpec, layout: Layout) -> None:
        self.spec, self.layout = spec, layout
        self.dt = spec.dt * b2.second
        self.period = period_steps(spec)
        self.presentation = self.period * self.dt
        self.groups: dict[str, b2.NeuronGroup] = {}
        self.spikes: dict[str, b2.SpikeMonitor] = {}
        self.parts: list[b2.BrianObject] = []
        self.values = network_values(spec, layout.batch)

    def set_values(self, owner: b2.Group) -> None:
        """Give an object the numbers that belong to it."""
        for (name, variable), array in self.values.items():
            if name == owner.name:
                value = array.astype(b2.prefs.core.default_float_dtype) if array.ndim else float(array)
                # The underscore is Brian2's way to give a number without its unit.
                setattr(owner, f"{variable}_", value)

    def add_stimulus(self, values: np.ndarray) -> None:
        self.stimulus = b2.TimedArray(values, dt=self.presentation, name="stimulus")
        size = prod(self.spec.stimulus.shape) * self.layout.batch
        self.pixels = b2.NeuronGroup(size, "x : 1", namespace={"stimulus": self.stimulus}, dt=self.dt, name="pixels")
        self.pixels.run_regularly("x = stimulus(t, i)", dt=self.presentation, when="start", name="pixels_image")
        self.parts.append(self.pixels)

    def add_population(self, index: int) -> None:
        population, text = self.spec.populations[index], group_text(self.spec, index)
        group = b2.NeuronGroup(
            population.size * self.layout.batch,
            text.equations,
            threshold=text.threshold,
            reset=text.reset,
            method="exact",
            dt=self.dt,
            name=text.name,
        )
        for part, slot in ((group.thresholder, text.threshold_slot), (group.resetter, text.reset_slot)):
            if "spike" in part:
                part["spike"].when = slot
        if text.input:
            group.run_regularly(text.input, when="inputs", name=f"{text.name}_input")
        group.run_regularly(text.rest, dt=self.presentation, when="start", name=f"{text.name}_rest")
        self.set_values(group)
        self.groups[population.name] = group
        self.parts.append(group)

    def add_projection(self, index: int, projection: Projection) -> None:
        target = self.groups[projection.target]
        if is_held(self.spec, projection):
            name = projection_name(self.spec, index)
            synapses = b2.Synapses(self.pixels, target, current_text(index), dt=self.presentation, name=name)
        else:
            text = synapses_text(self.spec, index)
            synapses = b2.Synapses(
                self.groups[projection.source],
                target,
                "w : 1 (constant)",
                on_pre=text.on_pre,
                delay=text.delay * self.dt,
                dt=self.dt,
                name=text.name,
            )
            synapses.pre.when = text.slot
        pre, post = self._endpoints(projection)
        synapses.connect(i=pre, j=post)
        self.set_values(synapses)
        self.parts.append(synapses)

    def _endpoints(self, projection: Projection) -> tuple[np.ndarray, np.ndarray]:
        """Pre and post index (int32) of the synapses of all copies."""
        found = projection_synapses(self.spec, projection)
        sizes = [prod(self.spec.shape(name)) for name in (projection.source, projection.target)]
        copies = np.arange(self.layout.batch)[:, None]
        pre, post = (
            (index + copies * size).ravel().astype(np.int32)
            for index, size in zip((found.pre, found.post), sizes, strict=True)
        )
        return pre, post

    def finish(self) -> BrianNetwork:
        for population in self.spec.spiking:
            group = self.groups[population.name]
            self.spikes[population.name] = b2.SpikeMonitor(group, when="end", name=f"{group.name}_spikes")
        readout = self.groups[self.spec.readout.population]
        membrane = self.spec.population(self.spec.readout.population).neuron.membrane
        # Recorded where a presentation begins, before the reset: what the one before it left.
        answer = b2.StateMonitor(
            readout, membrane, record=True, dt=self.presentation, when="before_start", name="answer"
        )
        network = b2.Network(*self.parts, *self.spikes.values(), answer)
        network.schedule = schedule(self.spec)
        return BrianNetwork(network, self.groups, self.spikes, answer, self.stimulus, self.period, self.spec.dt)
