"""NetworkSpec -> Brian2 objects: `NeuronGroup`s and `Synapses` with one weight per synapse.

Many images stand side by side: a group holds `batch` copies of its population, image by image, and synapses stay within
a copy. `presentations` batches follow each other in time; every state variable starts each presentation at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import brian2 as b2
import numpy as np

from alade_brian.conversion.to_brian2.chance import chance_function
from alade_brian.conversion.to_brian2.text import (
    group_text,
    maximum_places,
    maximum_text,
    neuron_values,
    readout_slot,
    schedule,
    synapse_weights,
    synapses_text,
)
from alade_brian.spec import NetworkSpec, Projection
from alade_brian.spec.presentation import period_steps, pixel_offset
from alade_brian.spec.synapses import live_projections, projection_synapses


@dataclass(frozen=True)
class BatchLayout:
    """How images are spread: `batch` side by side, `presentations` one after the other."""

    batch: int
    presentations: int

    @property
    def images(self) -> int:
        return self.batch * self.presentations


@dataclass(frozen=True, eq=False)
class BrianNetwork:
    """The Brian2 objects of a network, by the names of the specification; `stimulus` holds the images.

    `membrane` is the readout's in every step, None where spikes alone are the answer; `traces` are membranes at the
    end of every step.
    """

    network: b2.Network
    groups: dict[str, b2.NeuronGroup]
    spikes: dict[str, b2.SpikeMonitor]
    membrane: b2.StateMonitor | None
    traces: dict[str, b2.StateMonitor]
    stimulus: b2.TimedArray
    duration: float


# Makes the synapses between two groups for the projection of that number, or gives None for plain `Synapses`.
Connect = Callable[[NetworkSpec, int, b2.NeuronGroup, b2.NeuronGroup], b2.BrianObject | None]


def stimulus_values(spec: NetworkSpec, pixels: np.ndarray, layout: BatchLayout) -> np.ndarray:
    """Pixels ``(n, rows, pixels)`` (one row per step, or one held for all) as the stimulus
    ``(presentations * rows, batch * pixels)``, filled up with empty images.

    Of a sequence the gap between presentations is empty too.
    """
    count, rows, size = pixels.shape
    period = 1 if spec.stimulus.coding == "direct" else period_steps(spec)
    values = np.zeros((layout.presentations, layout.batch, period, size))
    values.reshape(layout.images, period, size)[:count, :rows] = pixels
    return values.transpose(0, 2, 1, 3).reshape(layout.presentations * period, layout.batch * size)


def build_network(
    spec: NetworkSpec,
    pixels: np.ndarray,
    layout: BatchLayout,
    traces: Sequence[str] = (),
    connect: Connect | None = None,
    from_spike: bool = False,
) -> BrianNetwork:
    """The Brian2 network of a specification, for at most ``layout.images`` images: `pixels` ``(n, rows, pixels)``.

    `traces` names populations whose membrane is recorded. The floating-point type is Brian2's preference
    `core.default_float_dtype`; equal specifications of one layout give equal code.

    connect      makes the objects that deliver spikes, in the place of plain `Synapses`
    from_spike   delays count from the step in which a neuron fired, as on CUDA, not from that in which synapses see it
    """
    builder = _Builder(spec, layout, connect, from_spike)
    builder.add_stimulus(stimulus_values(spec, pixels, layout))
    for index in range(len(spec.populations)):
        builder.add_population(index)
    for index, projection in live_projections(spec):
        if projection.operator.linear:
            builder.add_projection(index, projection)
        else:
            builder.add_maximum(index, projection)
    return builder.finish(traces)


class _Builder:
    def __init__(self, spec: NetworkSpec, layout: BatchLayout, connect: Connect | None, from_spike: bool) -> None:
        self.spec, self.layout, self.connect, self.from_spike = spec, layout, connect, from_spike
        self.dt = spec.dt * b2.second
        self.presentation = period_steps(spec) * self.dt
        self.groups: dict[str, b2.NeuronGroup] = {}
        self.parts: list[b2.BrianObject] = []
        self.values = neuron_values(spec, layout.batch)

    def set_values(self, owner: b2.Group) -> None:
        """Give an object the numbers that belong to it."""
        for (name, variable), array in self.values.items():
            if name == owner.name:
                value = array.astype(b2.prefs.core.default_float_dtype) if array.ndim else float(array)
                # The underscore is Brian2's way to give a number without its unit.
                setattr(owner, f"{variable}_", value)

    def add_stimulus(self, values: np.ndarray) -> None:
        """One group for the pixels of all stimuli; its values change once per presentation, or in every step."""
        every = self.presentation if self.spec.stimulus.coding == "direct" else self.dt
        self.stimulus = b2.TimedArray(values, dt=every, name="stimulus")
        self.pixels = b2.NeuronGroup(
            values.shape[1], "x : 1", namespace={"stimulus": self.stimulus}, dt=self.dt, name="pixels"
        )
        self.pixels.run_regularly("x = stimulus(t, i)", dt=every, when="start", name="pixels_image")
        self.parts.append(self.pixels)

    def add_population(self, index: int) -> None:
        population, text = self.spec.populations[index], group_text(self.spec, index)
        group = b2.NeuronGroup(
            population.size * self.layout.batch,
            text.equations,
            threshold=text.threshold,
            reset=text.reset,
            method=text.method,
            dt=self.dt,
            name=text.name,
        )
        for part, slot in ((group.thresholder, text.slots.threshold), (group.resetter, text.slots.reset)):
            if "spike" in part:
                part["spike"].when = slot
        for code, slot, what in ((text.input, "inputs", "input"), (text.update, text.slots.update, "update")):
            if code:
                group.run_regularly(code, when=slot, name=f"{text.name}_{what}")
        group.run_regularly(text.rest, dt=self.presentation, when="start", name=f"{text.name}_rest")
        self.set_values(group)
        self.groups[population.name] = group
        self.parts.append(group)

    def add_projection(self, index: int, projection: Projection) -> None:
        target, text = self.groups[projection.target], synapses_text(self.spec, index)
        shown = self.spec.is_stimulus(projection.source)
        source = self.pixels if shown else self.groups[projection.source]
        made = None if text.current or self.connect is None else self.connect(self.spec, index, source, target)
        if made is not None:
            self.parts.append(made)
            return
        every = self.presentation if text.held else self.dt
        if text.current:
            synapses = b2.Synapses(source, target, text.equations, dt=every, name=text.name)
            synapses.summed_updaters[text.current].when = text.slot
        else:
            delay = (projection.delay if self.from_spike else text.delay) * self.dt
            synapses = b2.Synapses(
                source, target, text.equations, on_pre=text.on_pre, delay=delay, dt=every, name=text.name,
                namespace={"stimulus": self.stimulus, "chance": chance_function()},
            )  # fmt: skip
            synapses.pre.when = text.slot
        pre, post = self._endpoints(projection)
        synapses.connect(i=pre, j=post)
        if projection.release is not None:
            synapses.release_ = projection.release.probability
        synapses.w_ = synapse_weights(self.spec, projection, self.layout.batch).astype(
            b2.prefs.core.default_float_dtype
        )
        self.parts.append(synapses)

    def add_maximum(self, index: int, projection: Projection) -> None:
        """A group that reads the windows of the source and gives the target the largest value of each."""
        source, target, text = (
            self.groups[projection.source],
            self.groups[projection.target],
            maximum_text(self.spec, index),
        )
        windows = b2.NeuronGroup(len(target), text.equations, dt=self.dt, name=text.name)
        for place, read in zip(text.places, maximum_places(self.spec, index, self.layout.batch), strict=True):
            setattr(windows, place, b2.linked_var(source, text.variable, index=read))
        windows.largest = b2.linked_var(target, text.written)
        windows.run_regularly(text.code, when=text.slot, name=f"{text.name}_largest")
        self.parts.append(windows)

    def _endpoints(self, projection: Projection) -> tuple[np.ndarray, np.ndarray]:
        """Pre and post index (int32) of the synapses of all copies."""
        found = projection_synapses(self.spec, projection)
        first, sizes = pixel_offset(self.spec, projection.source), self._sizes(projection)
        copies = np.arange(self.layout.batch)[:, None]
        pre, post = (
            (index + copies * size).ravel().astype(np.int32)
            for index, size in zip((found.pre + first, found.post), sizes, strict=True)
        )
        return pre, post

    def _sizes(self, projection: Projection) -> tuple[int, int]:
        """Neurons (or pixels) of one copy of both ends."""
        shown = self.spec.is_stimulus(projection.source)
        source = sum(s.size for s in self.spec.stimuli) if shown else prod(self.spec.shape(projection.source))
        return source, prod(self.spec.shape(projection.target))

    def finish(self, traces: Sequence[str]) -> BrianNetwork:
        spikes = {
            p.name: b2.SpikeMonitor(self.groups[p.name], when="end", name=f"{self.groups[p.name].name}_spikes")
            for p in self.spec.spiking
        }
        membrane = None if self.spec.answers_in_spikes else self._record(self.spec.readout.population, "answer")
        recorded = {
            name: self._record(name, f"trace_{number}", "end") for number, name in enumerate(dict.fromkeys(traces))
        }
        monitors = [*spikes.values(), *recorded.values(), *([membrane] if membrane is not None else [])]
        network = b2.Network(*self.parts, *monitors)
        network.schedule = schedule(self.spec)
        duration = self.layout.presentations * period_steps(self.spec) * self.spec.dt
        return BrianNetwork(network, self.groups, spikes, membrane, recorded, self.stimulus, duration)

    def _record(self, population: str, name: str, when: str | None = None) -> b2.StateMonitor:
        variable = self.spec.population(population).neuron.membrane
        slot = when or readout_slot(self.spec)
        return b2.StateMonitor(self.groups[population], variable, record=True, dt=self.dt, when=slot, name=name)
