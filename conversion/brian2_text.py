"""A specification in Brian2's words: equations, thresholds, resets, schedule, numbers. Strings and arrays, no Brian2.

Within a time step: all states follow their equations, then input that is held (bias, stimulus) is added, then spikes
that were delayed arrive, then layer by layer threshold, synapses, reset, so that a layer sees the spikes of the layer
before it in the same step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, count

import numpy as np

from alade_brian.conversion.connectivity import projection_synapses
from alade_brian.conversion.spec import NetworkSpec, Parameter, Population, Projection

# Brian2's own slot names must stay in a schedule, even where nothing of ours uses them.
_BEFORE = ("start", "groups", "inputs", "delayed")
_STANDARD = ("thresholds", "synapses", "resets")


@dataclass(frozen=True)
class GroupText:
    """One population: what its `NeuronGroup` is made of, and the operations beside it.

    equations, threshold, reset   as `NeuronGroup` takes them (the last two None for a readout)
    input                         code of the slot ``inputs`` in every step, or empty
    rest                          code that begins a presentation
    threshold_slot, reset_slot    where in the schedule
    """

    name: str
    equations: str
    threshold: str | None
    reset: str | None
    input: str
    rest: str
    threshold_slot: str
    reset_slot: str


@dataclass(frozen=True)
class SynapsesText:
    """One projection between populations; `delay` is Brian2's own, in steps."""

    name: str
    on_pre: str
    slot: str
    delay: int


def period_steps(spec: NetworkSpec) -> int:
    """Steps from one presentation to the next: its length, and a silent gap in which delayed spikes run out."""
    return spec.steps + max((p.delay for p in spec.projections), default=0)


def schedule(spec: NetworkSpec) -> list[str]:
    """The order of all operations within one time step."""
    layers = [slot for index in range(len(spec.populations)) for slot in _slots(index)]
    return [*_BEFORE, *layers, *_STANDARD, "end"]


def _slots(index: int) -> tuple[str, str, str]:
    return f"threshold_{index}", f"synapses_{index}", f"reset_{index}"


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


def projection_name(spec: NetworkSpec, index: int) -> str:
    """Name of the Brian2 object of a projection."""
    return f"{'stimulus' if is_held(spec, spec.projections[index]) else 'projection'}_{index}"


def is_held(spec: NetworkSpec, projection: Projection) -> bool:
    """Whether a projection brings the stimulus: a current instead of spikes."""
    return projection.source == spec.stimulus.name


def group_text(spec: NetworkSpec, index: int) -> GroupText:
    """The population of that number in Brian2's words."""
    population = spec.populations[index]
    neuron = population.neuron
    late = neuron.spiking and neuron.reset != "none" and neuron.leak == "before_reset"
    currents = [
        f"current_{k}" for k, p in enumerate(spec.projections) if is_held(spec, p) and p.target == population.name
    ]
    lines = [neuron.model, *(f"{c} : 1" for c in currents)]
    lines += [_declaration(key, parameter) for key, parameter in neuron.parameters.items()]
    lines += ["bias : 1 (constant)"] * (population.bias is not None) + ["fired : 1"] * late
    threshold, _, reset = _slots(index)
    return GroupText(
        name=group_names(spec)[population.name],
        equations="\n".join(lines),
        threshold=_threshold(spec, population) if neuron.spiking else None,
        reset=_reset(population, late) if neuron.spiking else None,
        input=_input(spec, population, currents, late),
        rest=f"{neuron.membrane} = 0" + "\nfired = 0" * late,
        threshold_slot=threshold,
        reset_slot=reset,
    )


def current_text(index: int) -> str:
    """Equations of the synapses that bring the stimulus: a sum, taken once per presentation."""
    return f"w : 1 (constant)\ncurrent_{index}_post = w * x_pre : 1 (summed)"


def synapses_text(spec: NetworkSpec, index: int) -> SynapsesText:
    """The projection of that number, between two populations, in Brian2's words."""
    projection = spec.projections[index]
    target = spec.population(projection.target)
    on_pre = f"{target.neuron.membrane}_post += w"
    if not target.neuron.spiking and _presenting(spec):
        on_pre += f" * int({_presenting(spec)})"
    source = [p.name for p in spec.populations].index(projection.source)
    return SynapsesText(
        name=projection_name(spec, index),
        on_pre=on_pre,
        slot="delayed" if projection.delay else _slots(source)[1],
        # The slot for delayed spikes stands before the thresholds: what it delivers is already one step old.
        delay=max(0, projection.delay - 1),
    )


def network_values(spec: NetworkSpec, copies: int = 1) -> dict[tuple[str, str], np.ndarray]:
    """All numbers of a network, float64, by (name of the Brian2 object, variable), in SI units.

    These are what a compiled network takes anew in every run; everything else is structure. Arrays are repeated for
    each of the `copies` of the network that stand side by side.
    """
    values, names = {}, group_names(spec)
    for population in spec.populations:
        owner = names[population.name]
        for key, parameter in population.neuron.parameters.items():
            value = parameter.value * (spec.dt if parameter.unit == "step" else 1.0)
            whole = np.broadcast_to(value, population.shape).ravel()
            values[owner, key] = value.reshape(()) if value.size == 1 else np.tile(whole, copies)
        if population.bias is not None:
            values[owner, "bias"] = np.tile(population.bias.ravel(), copies)
    for index, projection in enumerate(spec.projections):
        weights = projection_synapses(spec, projection).weights(projection.operator)
        values[projection_name(spec, index), "w"] = np.tile(weights, copies)
    return values


def _presenting(spec: NetworkSpec) -> str:
    """The condition that a presentation is going on; empty where there is no gap between presentations."""
    period = period_steps(spec)
    return f"t_in_timesteps % {period} < {spec.steps}" if period > spec.steps else ""


def _declaration(key: str, parameter: Parameter) -> str:
    flags = "shared, constant" if parameter.value.size == 1 else "constant"
    return f"{key} : {'second' if parameter.unit == 'step' else '1'} ({flags})"


def _threshold(spec: NetworkSpec, population: Population) -> str:
    condition = f"{population.neuron.membrane} {population.neuron.comparison} v_threshold"
    return f"{condition} and {_presenting(spec)}" if _presenting(spec) else condition


def _reset(population: Population, late: bool) -> str:
    neuron = population.neuron
    if late:
        return "fired = 1"
    rules = {"value": f"{neuron.membrane} = v_reset", "subtract": f"{neuron.membrane} -= v_reset", "none": ""}
    return rules[neuron.reset]


def _input(spec: NetworkSpec, population: Population, currents: list[str], late: bool) -> str:
    """What enters in every step without a spike: a reset put off to behind the leak, the bias, held currents."""
    neuron, v, code = population.neuron, population.neuron.membrane, []
    if late:
        code.append(
            f"{v} = {v} * (1 - fired) + fired * v_reset" if neuron.reset == "value" else f"{v} -= fired * v_reset"
        )
        code.append("fired = 0")
    held = " + ".join([*(["bias"] if population.bias is not None else []), *currents])
    if held and not neuron.spiking and _presenting(spec):
        # A readout must not go on adding up its bias in the gap.
        held = f"({held}) * int({_presenting(spec)})"
    return "\n".join([*code, *([f"{v} += {held}"] if held else [])])
