"""NetworkSpec -> Brian2: `NeuronGroup`s, `Synapses` with one weight per synapse, and the schedule that keeps torch's
order.

Many images stand side by side: a group holds `batch` copies of its population, image by image, and synapses stay within
a copy. `presentations` batches follow each other in time; every state variable starts each presentation at zero.

Within a time step: all states follow their equations, then input that is held (bias, stimulus) is added, then spikes
that were delayed arrive, then layer by layer threshold, synapses, reset, so that a layer sees the spikes of the layer
before it in the same step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, count
from math import prod

import brian2 as b2
import numpy as np

from alade_brian.conversion.connectivity import projection_synapses
from alade_brian.conversion.spec import NetworkSpec, Parameter, Population, Projection

# Brian2's own slot names must stay in a schedule, even where nothing of ours uses them.
_BEFORE = ("start", "groups", "inputs", "delayed")
_STANDARD = ("thresholds", "synapses", "resets")


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


def period_steps(spec: NetworkSpec) -> int:
    """Steps from one presentation to the next: its length, and a silent gap in which delayed spikes run out."""
    return spec.steps + max((p.delay for p in spec.projections), default=0)


def group_names(spec: NetworkSpec) -> dict[str, str]:
    """Names of the populations as Brian2 identifiers, each its own: ``stages.0.lif`` becomes ``stages_0_lif``."""
    taken = {"pixels", "answer"}
    names = {}
    for population in spec.populations:
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in population.name)
        plain = plain if plain[:1].isalpha() else f"layer_{plain}"
        name = next(n for n in chain([plain], (f"{plain}_{k}" for k in count(2))) if n not in taken)
        taken.add(name)
        names[population.name] = name
    return names


def schedule(spec: NetworkSpec) -> list[str]:
    """The order of all operations within one time step."""
    layers = [slot for index in range(len(spec.populations)) for slot in _slots(index)]
    return [*_BEFORE, *layers, *_STANDARD, "end"]


def _slots(index: int) -> tuple[str, str, str]:
    return f"threshold_{index}", f"synapses_{index}", f"reset_{index}"


def stimulus_values(images: np.ndarray, layout: Layout) -> np.ndarray:
    """Images ``(n, ...)`` as the stimulus ``(presentations, batch * pixels)``, filled up with empty images."""
    pixels = prod(images.shape[1:])
    values = np.zeros((layout.images, pixels))
    values[: len(images)] = images.reshape(len(images), pixels)
    return values.reshape(layout.presentations, layout.batch * pixels)


def projection_name(spec: NetworkSpec, index: int) -> str:
    """Name of the Brian2 object of a projection."""
    held = spec.projections[index].source == spec.stimulus.name
    return f"{'stimulus' if held else 'projection'}_{index}"


def network_values(spec: NetworkSpec, layout: Layout) -> dict[tuple[str, str], np.ndarray]:
    """All numbers of a network, float64, by (name of the Brian2 object, variable): weights, parameters in SI units,
    biases.

    These are what a compiled network takes anew in every run; everything else is structure.
    """
    values, names = {}, group_names(spec)
    for population in spec.populations:
        owner = names[population.name]
        for key, parameter in population.neuron.parameters.items():
            value = parameter.value * (spec.dt if parameter.unit == "step" else 1.0)
            values[owner, key] = (
                value.reshape(())
                if value.size == 1
                else np.tile(np.broadcast_to(value, population.shape).ravel(), layout.batch)
            )
        if population.bias is not None:
            values[owner, "bias"] = np.tile(population.bias.ravel(), layout.batch)
    for index, projection in enumerate(spec.projections):
        weights = projection_synapses(spec, projection).weights(projection.operator)
        values[projection_name(spec, index), "w"] = np.tile(weights, layout.batch)
    return values


def build_network(spec: NetworkSpec, images: np.ndarray, layout: Layout) -> BrianNetwork:
    """The Brian2 network of a specification, for at most ``layout.images`` images ``(n, *stimulus shape)``.

    The floating-point type is Brian2's preference `core.default_float_dtype`; equal specifications of one layout give
    equal code.
    """
    builder = _Builder(spec, layout)
    builder.add_stimulus(stimulus_values(images, layout))
    for index, population in enumerate(spec.populations):
        builder.add_population(index, population)
    for index, projection in enumerate(spec.projections):
        if projection.source == spec.stimulus.name:
            builder.add_current(projection, index)
        else:
            builder.add_synapses(projection, index)
    return builder.finish()


class _Builder:
    def __init__(self, spec: NetworkSpec, layout: Layout) -> None:
        self.spec, self.layout = spec, layout
        self.dt = spec.dt * b2.second
        self.names = group_names(spec)
        self.period = period_steps(spec)
        self.groups: dict[str, b2.NeuronGroup] = {}
        self.spikes: dict[str, b2.SpikeMonitor] = {}
        self.parts: list[b2.BrianObject] = []
        self.values = network_values(spec, layout)
        # Only in a silent gap are spikes held back; without one the condition would cost time for nothing.
        gap = self.period > spec.steps
        self.presenting = f"t_in_timesteps % {self.period} < {spec.steps}" if gap else ""

    def set_values(self, owner: b2.Group) -> None:
        """Give an object the numbers that belong to it."""
        for (name, variable), array in self.values.items():
            if name == owner.name:
                # The underscore is Brian2's way to give a number without its unit.
                setattr(
                    owner,
                    f"{variable}_",
                    array.astype(b2.prefs.core.default_float_dtype) if array.ndim else float(array),
                )

    def add_stimulus(self, values: np.ndarray) -> None:
        self.stimulus = b2.TimedArray(values, dt=self.period * self.dt, name="stimulus")
        size = prod(self.spec.stimulus.shape) * self.layout.batch
        self.pixels = b2.NeuronGroup(size, "x : 1", namespace={"stimulus": self.stimulus}, dt=self.dt, name="pixels")
        self.pixels.run_regularly("x = stimulus(t, i)", dt=self.period * self.dt, when="start", name="pixels_image")
        self.parts.append(self.pixels)

    def add_population(self, index: int, population: Population) -> None:
        neuron, name = population.neuron, self.names[population.name]
        late = neuron.spiking and neuron.reset != "none" and neuron.leak == "before_reset"
        currents = [f"current_{k}" for k, p in enumerate(self.spec.projections) if self._held(p, population)]
        lines = [neuron.model, *(f"{c} : 1" for c in currents)]
        lines += [_declaration(key, parameter) for key, parameter in neuron.parameters.items()]
        lines += ["bias : 1 (constant)"] * (population.bias is not None) + ["fired : 1"] * late
        group = b2.NeuronGroup(
            population.size * self.layout.batch,
            "\n".join(lines),
            threshold=self._threshold(population) if neuron.spiking else None,
            reset=_reset(population, late) if neuron.spiking else None,
            method="exact",
            dt=self.dt,
            name=name,
        )
        self._place(index, group, neuron.spiking)
        self._add_input(group, population, currents, late)
        group.run_regularly(
            f"{neuron.membrane} = 0" + "\nfired = 0" * late, dt=self.period * self.dt, when="start", name=f"{name}_rest"
        )
        self.set_values(group)
        self.groups[population.name] = group
        self.parts.append(group)

    def _held(self, projection: Projection, population: Population) -> bool:
        return projection.source == self.spec.stimulus.name and projection.target == population.name

    def _threshold(self, population: Population) -> str:
        condition = f"{population.neuron.membrane} {population.neuron.comparison} v_threshold"
        return f"{condition} and {self.presenting}" if self.presenting else condition

    def _place(self, index: int, group: b2.NeuronGroup, spiking: bool) -> None:
        threshold, _, reset = _slots(index)
        if spiking:
            group.thresholder["spike"].when = threshold
            if "spike" in group.resetter:
                group.resetter["spike"].when = reset

    def _add_input(self, group: b2.NeuronGroup, population: Population, currents: list[str], late: bool) -> None:
        """What enters in every step without a spike: held currents, the bias, and a reset put off to behind the
        leak."""
        v = population.neuron.membrane
        code = []
        if late:
            value = "fired * v_reset"
            code.append(
                f"{v} = {v} * (1 - fired) + {value}" if population.neuron.reset == "value" else f"{v} -= {value}"
            )
            code.append("fired = 0")
        held = [*(["bias"] if population.bias is not None else []), *currents]
        if held:
            code.append(f"{v} += {' + '.join(held)}")
        if code:
            group.run_regularly("\n".join(code), when="inputs", name=f"{group.name}_input")

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

    def add_current(self, projection: Projection, index: int) -> None:
        """The stimulus through its weights, once per presentation: a current that is held."""
        pre, post = self._endpoints(projection)
        equations = f"w : 1 (constant)\ncurrent_{index}_post = w * x_pre : 1 (summed)"
        current = b2.Synapses(
            self.pixels,
            self.groups[projection.target],
            equations,
            dt=self.period * self.dt,
            name=projection_name(self.spec, index),
        )
        current.connect(i=pre, j=post)
        self.set_values(current)
        self.parts.append(current)

    def add_synapses(self, projection: Projection, index: int) -> None:
        pre, post = self._endpoints(projection)
        target = self.spec.population(projection.target)
        gate = f" * int({self.presenting})" if self.presenting and not target.neuron.spiking else ""
        synapses = b2.Synapses(
            self.groups[projection.source],
            self.groups[projection.target],
            "w : 1 (constant)",
            on_pre=f"{target.neuron.membrane}_post += w{gate}",
            # The slot for delayed spikes stands before the thresholds: what it delivers is already one step old.
            delay=max(0, projection.delay - 1) * self.dt,
            dt=self.dt,
            name=projection_name(self.spec, index),
        )
        source = [p.name for p in self.spec.populations].index(projection.source)
        synapses.pre.when = "delayed" if projection.delay else _slots(source)[1]
        synapses.connect(i=pre, j=post)
        self.set_values(synapses)
        self.parts.append(synapses)

    def finish(self) -> BrianNetwork:
        for population in self.spec.spiking:
            group = self.groups[population.name]
            self.spikes[population.name] = b2.SpikeMonitor(group, when="end", name=f"{group.name}_spikes")
        readout = self.groups[self.spec.readout.population]
        membrane = self.spec.population(self.spec.readout.population).neuron.membrane
        # Recorded where a presentation begins, before the reset: what the one before it left.
        answer = b2.StateMonitor(
            readout, membrane, record=True, dt=self.period * self.dt, when="before_start", name="answer"
        )
        network = b2.Network(*self.parts, *self.spikes.values(), answer)
        network.schedule = schedule(self.spec)
        return BrianNetwork(network, self.groups, self.spikes, answer, self.stimulus, self.period, self.spec.dt)


def _declaration(key: str, parameter: Parameter) -> str:
    flags = "shared, constant" if parameter.value.size == 1 else "constant"
    return f"{key} : {'second' if parameter.unit == 'step' else '1'} ({flags})"


def _reset(population: Population, late: bool) -> str:
    neuron = population.neuron
    if late:
        return "fired = 1"
    rules = {"value": f"{neuron.membrane} = v_reset", "subtract": f"{neuron.membrane} -= v_reset", "none": ""}
    return rules[neuron.reset]
