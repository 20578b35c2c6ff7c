"""A specification in Brian2's words: equations, thresholds, resets, schedule, numbers. Strings and arrays, no Brian2.

Within a time step: all states follow their equations, then what is held comes in (bias, stimulus), then spikes that
were delayed arrive, then layer by layer the neuron's own update, threshold, synapses, reset, so that a layer sees the
spikes of the layer before it in the same step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count
from math import prod

import numpy as np

from alade_brian.spec import MaxPooling, NetworkSpec, Parameter, Population, Projection
from alade_brian.spec.presentation import period_steps, pixel_offset
from alade_brian.spec.synapses import projection_synapses, weighted_projections

# Brian2's own slot names must stay in a schedule, even where nothing of ours uses them.
_BEFORE = ("start", "groups", "inputs", "delayed")
_STANDARD = ("thresholds", "synapses", "resets")
# Variables and objects that belong to every population, by the ends of their names.
_OWNED = (
    "i", "N", "t", "dt", "t_in_timesteps", "bias", "fired", "lastspike", "not_refractory", "clock", "stateupdater",
    "spike_thresholder", "spike_resetter", "thresholder", "resetter", "run_regularly", "run_regularly_1",
    "run_regularly_2", "subexpression_update", "input", "update", "rest", "spikes",
)  # fmt: skip


@dataclass(frozen=True)
class GroupText:
    """One population: what its `NeuronGroup` is made of, and the operations beside it.

    equations, threshold, reset   as `NeuronGroup` takes them (the last two None where nothing spikes)
    method                        Brian2's integration method
    input                         code of the slot ``inputs`` in every step, or empty
    update                        code of the slot `slots.update` in every step, or empty
    rest                          code that begins a presentation
    """

    name: str
    equations: str
    method: str
    threshold: str | None
    reset: str | None
    input: str
    update: str
    rest: str
    slots: Slots


@dataclass(frozen=True)
class Slots:
    """A population's places in the schedule, in their order."""

    update: str
    threshold: str
    synapses: str
    reset: str


@dataclass(frozen=True)
class SynapsesText:
    """One projection: its equations and what a spike does (empty where a current flows instead of spikes).

    `delay` is Brian2's own, in steps; `current` names the target's variable that a current is summed into; `held` says
    that it is summed once per presentation.
    """

    name: str
    equations: str
    on_pre: str
    slot: str
    delay: int
    current: str = ""
    held: bool = False


@dataclass(frozen=True)
class MaximumText:
    """A projection that sends the largest value of every window: a group of its own, which reads and writes others.

    places     names of its linked variables for the places of a window; each reads the source's `variable`
    written    name of its linked variable for the target's, as which the largest value comes in
    code       done in every step, in that slot
    """

    name: str
    equations: str
    places: tuple[str, ...]
    variable: str
    written: str
    code: str
    slot: str


def schedule(spec: NetworkSpec) -> list[str]:
    """The order of all operations within one time step."""
    layers = [slot for index in range(len(spec.populations)) for slot in vars(slots(index)).values()]
    return [*_BEFORE, *layers, *_STANDARD, "end"]


def slots(index: int) -> Slots:
    """The slots of the population of that number."""
    return Slots(*(f"{what}_{index}" for what in ("update", "threshold", "synapses", "reset")))


def readout_slot(spec: NetworkSpec) -> str:
    """Where in a step the readout's membrane is taken: behind the update of its population, or at the end."""
    if spec.readout.sampled == "after_reset":
        return "end"
    index = [p.name for p in spec.populations].index(spec.readout.population)
    return f"after_{slots(index).update}"


def group_names(spec: NetworkSpec) -> dict[str, str]:
    """Names of the populations as Brian2 identifiers, each its own: ``stages.0.lif`` becomes ``stages_0_lif``.

    Brian2 and its generated code join names with underscores, so no name may be what another one and a part of it
    make together: beside a ``lif`` with the variable ``x_v`` there is no ``lif_x`` with a ``v``.
    """
    taken = {"pixels", "answer", *(projection_name(spec, index) for index in range(len(spec.projections)))}
    taken |= {f"states_{index}" for index in range(len(spec.populations))}
    names = {}
    for population in spec.populations:
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in population.name)
        plain = plain if plain[:1].isalpha() else f"layer_{plain}"
        parts = _parts(spec, population)
        for name in chain([plain], (f"{plain}_{k}" for k in count(2))):
            joined = {name, *(f"{name}_{part}" for part in parts)}
            if not joined & taken:
                break
        taken |= joined
        names[population.name] = name
    return names


def _parts(spec: NetworkSpec, population: Population) -> list[str]:
    """What is named after a population by joining: its variables, and the objects that Brian2 makes beside it."""
    currents = [f"current_{k}" for k, p in enumerate(spec.projections) if p.target == population.name]
    return [*_OWNED, *currents, *population.neuron.states, *population.neuron.parameters]


def projection_name(spec: NetworkSpec, index: int) -> str:
    """Name of the Brian2 object of a projection."""
    return f"{'stimulus' if spec.is_stimulus(spec.projections[index].source) else 'projection'}_{index}"


def group_text(spec: NetworkSpec, index: int, fused: bool = False) -> GroupText:
    """The population of that number in Brian2's words.

    fused   for a pass that does everything of a layer at once: no pause between presentations, and a presentation
            begins in the layer's pass, behind the currents that earlier layers sent in the same step
    """
    population = spec.populations[index]
    neuron = population.neuron
    late = neuron.spiking and neuron.reset != "none" and neuron.leak == "before_reset"
    into = [(f"current_{k}", p) for k, p in enumerate(spec.projections) if p.target == population.name]
    given = fused and spec.stimulus.coding == "spikes"
    shown = [name for name, p in into if spec.is_stimulus(p.source) and not given]
    flowing = [name for name, p in into if not spec.is_stimulus(p.source) and not spec.sends_spikes(p.source)]
    earlier = {p.name for p in spec.populations[:index]}
    late_currents = [name for name, p in into if name in flowing and p.source not in earlier]
    lines = [neuron.model, *(f"{c} : 1" for c in (*shown, *flowing))]
    lines += [_declaration(key, parameter) for key, parameter in neuron.parameters.items()]
    lines += ["bias : 1 (constant)"] * (population.bias is not None) + ["fired : 1"] * late
    return GroupText(
        name=group_names(spec)[population.name],
        equations="\n".join(line.strip() for line in "\n".join(lines).splitlines()),
        method=neuron.method,
        threshold=_threshold(population, "" if fused else _presenting(spec)) if neuron.spiking else None,
        reset=_reset(population, late) if neuron.spiking else None,
        input="\n".join([*_late_reset(population, late), *_takes(population, shown, bias=True)]),
        update="\n".join([*_takes(population, flowing), *neuron.update.splitlines()]),
        rest=_rest(population, late_currents if fused else flowing, late),
        slots=slots(index),
    )


def synapses_text(spec: NetworkSpec, index: int) -> SynapsesText:
    """The projection of that number in Brian2's words."""
    projection = spec.projections[index]
    name = projection_name(spec, index)
    if spec.is_stimulus(projection.source):
        return _current_text(name, index, "x", "groups", spec.stimulus.coding == "direct")
    source = [p.name for p in spec.populations].index(projection.source)
    sender, target = spec.populations[source].neuron, spec.population(projection.target).neuron
    if not sender.spiking:
        return _current_text(name, index, sender.membrane, slots(source).synapses, held=False)
    counts = " * amplitude_pre" if "amplitude" in sender.parameters else ""
    fails = "" if projection.release is None else "\nrelease : 1 (shared, constant)"
    return SynapsesText(
        name=name,
        equations=f"w : 1 (constant){fails}",
        on_pre=f"{projection.target_variable or target.input_variable}_post += w{counts}{_passes(spec, projection)}",
        slot="delayed" if projection.delay else slots(source).synapses,
        # The slot for delayed spikes stands before the thresholds: what it delivers is already one step old.
        delay=max(0, projection.delay - 1),
    )


def maximum_text(spec: NetworkSpec, index: int) -> MaximumText:
    """The projection of that number, a maximum, in Brian2's words.

    Brian2 takes no group with variables that are read elsewhere for the ends of `Synapses`.
    """
    projection = spec.projections[index]
    assert isinstance(projection.operator, MaxPooling)
    places = tuple(f"place_{place}" for place in range(prod(projection.operator.kernel)))
    source = [p.name for p in spec.populations].index(projection.source)
    return MaximumText(
        name=projection_name(spec, index),
        equations="\n".join(f"{name} : 1 (linked)" for name in (*places, "largest")),
        places=places,
        variable=spec.populations[source].neuron.membrane,
        written=f"current_{index}",
        code=f"largest = {_largest(places)}",
        slot=slots(source).synapses,
    )


def _largest(names: Sequence[str]) -> str:
    """The largest of some variables as an expression, nested no deeper than it must be."""
    if len(names) == 1:
        return names[0]
    half = len(names) // 2
    return f"clip({_largest(names[:half])}, {_largest(names[half:])}, inf)"


def maximum_places(spec: NetworkSpec, index: int, copies: int = 1) -> np.ndarray:
    """The source's neurons whose values a maximum compares, int64 ``(places of a window, target's neurons)``, for that
    many copies of the network side by side."""
    projection = spec.projections[index]
    assert isinstance(projection.operator, MaxPooling)
    source = spec.shape(projection.source)
    taps = projection.operator.taps(source)
    return (taps[:, None] + np.arange(copies)[:, None] * prod(source)).reshape(len(taps), -1)


def _passes(spec: NetworkSpec, projection: Projection) -> str:
    """What a spike's effect is multiplied by where synapses fail: 1 or 0."""
    if projection.release is None:
        return ""
    source, target = prod(spec.shape(projection.source)), prod(spec.shape(projection.target))
    pixel = f"(i // {source}) * {sum(s.size for s in spec.stimuli)} + {pixel_offset(spec, projection.release.ticket)}"
    return f" * int(chance(stimulus(t, {pixel}), i % {source}, j % {target}) < release)"


def _current_text(name: str, index: int, variable: str, slot: str, held: bool) -> SynapsesText:
    """A current from a stimulus or from neurons that do not spike: a sum over the sources, taken in that slot."""
    current = f"current_{index}"
    equations = f"w : 1 (constant)\n{current}_post = w * {variable}_pre : 1 (summed)"
    return SynapsesText(name, equations, "", slot, 0, f"{current}_post", held)


def network_values(
    spec: NetworkSpec, copies: int = 1, leave_out: Collection[str] = ()
) -> dict[tuple[str, str], np.ndarray]:
    """All numbers of a network, float64, by (name of the Brian2 object, variable), in SI units.

    These are what a compiled network takes anew in every run; everything else is structure. Arrays are repeated for
    each of the `copies` of the network that stand side by side. Projections whose objects have a name in `leave_out`
    are left out.
    """
    values = neuron_values(spec, copies)
    for index, projection in weighted_projections(spec):
        name = projection_name(spec, index)
        if name not in leave_out:
            values[name, "w"] = synapse_weights(spec, projection, copies)
        if projection.release is not None:
            values[name, "release"] = np.array(projection.release.probability)
    return values


def neuron_values(spec: NetworkSpec, copies: int = 1) -> dict[tuple[str, str], np.ndarray]:
    """The numbers of the populations, see `network_values`."""
    values, names = {}, group_names(spec)
    for population in spec.populations:
        owner = names[population.name]
        for key, parameter in population.neuron.parameters.items():
            value = parameter.value * (spec.dt if parameter.unit == "step" else 1.0)
            whole = np.broadcast_to(value, population.shape).ravel()
            values[owner, key] = value.reshape(()) if parameter.shared else np.tile(whole, copies)
        if population.bias is not None:
            values[owner, "bias"] = np.tile(population.bias.ravel(), copies)
    return values


def synapse_weights(spec: NetworkSpec, projection: Projection, copies: int = 1) -> np.ndarray:
    """The weight of every synapse of a projection, float64."""
    return np.tile(projection_synapses(spec, projection).weights(projection.operator), copies)


def _presenting(spec: NetworkSpec) -> str:
    """The condition that a presentation is going on; empty where there is no gap between presentations."""
    period = period_steps(spec)
    return f"t_in_timesteps % {period} < {spec.steps}" if period > spec.steps else ""


def _declaration(key: str, parameter: Parameter) -> str:
    flags = "shared, constant" if parameter.shared else "constant"
    return f"{key} : {'second' if parameter.unit == 'step' else '1'} ({flags})"


def _threshold(population: Population, presenting: str) -> str:
    neuron = population.neuron
    level = neuron.threshold if neuron.threshold.isidentifier() else f"({neuron.threshold})"
    condition = f"{neuron.membrane} {neuron.comparison} {level}"
    return f"{condition} and {presenting}" if presenting else condition


def _reset(population: Population, late: bool) -> str:
    neuron = population.neuron
    rules = {"value": f"{neuron.membrane} = v_reset", "subtract": f"{neuron.membrane} -= v_reset", "none": ""}
    return "\n".join(line for line in ("fired = 1" if late else rules[neuron.reset], neuron.on_spike) if line)


def _late_reset(population: Population, late: bool) -> list[str]:
    """A reset delayed until after the leak."""
    if not late:
        return []
    v = population.neuron.membrane
    if population.neuron.reset == "value":
        return [f"{v} = {v} * (1 - fired) + fired * v_reset", "fired = 0"]
    return [f"{v} -= fired * v_reset", "fired = 0"]


def _takes(population: Population, currents: list[str], bias: bool = False) -> list[str]:
    """Code by which a population takes its currents (and its bias) in."""
    held = [*(["bias"] if bias and population.bias is not None else []), *currents]
    return [f"{population.neuron.input_variable} += {' + '.join(held)}"] if held else []


def _rest(population: Population, flowing: list[str], late: bool) -> str:
    """All state of a population at the beginning of a presentation."""
    neuron = population.neuron
    begins = {name: "0" for name in (*neuron.states, *flowing, *(["fired"] if late else []))}
    begins |= {name: f"{name}_initial" for name in neuron.states if f"{name}_initial" in neuron.parameters}
    if "v_initial" in neuron.parameters:
        begins[neuron.membrane] = "v_initial"
    return "\n".join(f"{name} = {value}" for name, value in begins.items())
