"""NIR's neurons, both ways: a node as equations with their step, and equations as a node.

A step of NIR's equations with the current I held during it, keep = ``1 - exp(-dt/tau)`` (exact) or ``dt/tau`` (euler):

    LIF, LI          v += keep * (v_leak - v + r*I)
    IF, I            v += dt * r * I
    CubaLIF, CubaLI  syn += keep_syn * (w_in*S - syn), then v += keep * (v_leak - v + r*syn) with the new syn
    Threshold        v = I

A neuron that spikes does so where v > v_threshold, and is then reset. Source: the package nir 1.0.8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import nir
import numpy as np

from alade_brian.conversion.lowering import CannotLower
from alade_brian.conversion.nir_graphs.linear import fewer_axes, numbers, without_leading_ones
from alade_brian.errors import UserError
from alade_brian.spec import NeuronEquations, Parameter, Population, Shape, memoryless

Method = Literal["exact", "euler"]


class NotInNIR(UserError):
    """A specification that NIR has no words for."""


def is_neuron(node: nir.NIRNode) -> bool:
    """Whether a node has a state or makes spikes; all other nodes are linear."""
    return type(node).__name__ in neuron_kinds()


def attributes(kind: str) -> tuple[str, ...]:
    """Names of the numbers of a kind of neuron; none where the kind is no neuron."""
    return _attributes().get(kind, ())


def _attributes() -> Mapping[str, tuple[str, ...]]:
    return {
        "IF": ("r", "v_threshold", "v_reset"),
        "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
        "LI": ("tau", "r", "v_leak"),
        "I": ("r",),
        "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "w_in", "v_threshold", "v_reset"),
        "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
        "Threshold": ("threshold",),
    }


def neuron_kinds() -> tuple[str, ...]:
    """Names of the neurons that are read."""
    return tuple(_attributes())


def neuron_faults(node: nir.NIRNode) -> list[CannotLower]:
    """What is wrong with a neuron's own numbers."""
    faults = []
    for attribute in attributes(type(node).__name__):
        try:
            values = numbers(node, attribute)
            if attribute == "w_in":
                check_weight(values, numbers(node, "v_leak").shape)
            if attribute.startswith("tau") and np.any(values <= 0):
                faults.append(CannotLower(attribute, float(values.min()), "is no time constant; use more than 0 s"))
        except CannotLower as refusal:
            faults.append(refusal)
    return faults


def check_weight(w_in: np.ndarray, shape: Shape) -> None:
    """CannotLower where the input weight of a neuron of that shape is a matrix: NIR has it element by element."""
    inside = without_leading_ones(w_in.shape, len(shape))
    if prod(shape) > 1 and len(inside) > len(shape):
        raise CannotLower(
            "w_in",
            f"of shape {w_in.shape}",
            "is a matrix; put a Linear node with it in front and leave w_in one number per neuron",
        )


def neuron_shape(node: nir.NIRNode, incoming: Shape | None) -> Shape | None:
    """A neuron's shape: that of its numbers, or of its input where the numbers are one for all or one per channel.

    None while the input's shape is needed and not known. CannotLower where the two contradict each other.
    """
    shapes = [numbers(node, name).shape for name in attributes(type(node).__name__)]
    try:
        own = np.broadcast_shapes(*shapes)
    except ValueError:
        raise CannotLower("numbers", shapes, "differ in their shapes; give all the neuron's shape") from None
    if incoming is None:
        return own if prod(own) > 1 and 1 not in own else None
    own = without_leading_ones(own, len(incoming))
    fits = prod(own) == 1 or (
        len(own) == len(incoming) and all(a in (1, b) for a, b in zip(own, incoming, strict=True))
    )
    if not fits:
        raise CannotLower("numbers", f"of shape {own}", f"do not fit an input of shape {incoming}; make the two fit")
    return incoming


def read_neuron(node: nir.NIRNode, shape: Shape, dt: float, method: Method) -> NeuronEquations:
    """A NIR neuron of that shape as equations; `dt` in seconds."""
    if isinstance(node, nir.Threshold):
        return memoryless(spiking=True, v_threshold=_parameter(numbers(node, "threshold"), shape))
    own = {name: numbers(node, name) for name in attributes(type(node).__name__)}
    lines, parameters, update = _membrane(own, shape, dt, method)
    spikes = {name: _parameter(own[name], shape) for name in ("v_threshold", "v_reset") if name in own}
    return NeuronEquations(
        "\n".join(lines),
        spikes | parameters,
        spiking=bool(spikes),
        reset="value" if spikes else "none",
        method=method,
        input="drive",
        update="\n".join(update),
    )


def _membrane(
    own: Mapping[str, np.ndarray], shape: Shape, dt: float, method: Method
) -> tuple[list[str], dict[str, Parameter], list[str]]:
    """Model lines, parameters and update of a neuron with these numbers."""
    tau = own.get("tau_mem", own.get("tau"))
    if tau is None:
        gain = _parameter(own["r"] * dt, shape)
        return ["v : 1", "drive : 1"], {"gain": gain}, ["v += gain*drive", "drive = 0"]
    parameters = {
        "tau": _parameter(tau / dt, shape, "step"),
        "gain": _parameter(own["r"] * kept(tau / dt, method), shape),
    }
    lines = ["dv/dt = -v/tau : 1"]
    if np.any(own["v_leak"]):
        lines = ["dv/dt = (v_leak - v)/tau : 1"]
        parameters["v_leak"] = _parameter(own["v_leak"], shape)
    if "tau_syn" not in own:
        return [*lines, "drive : 1"], parameters, ["v += gain*drive", "drive = 0"]
    tau_syn = own["tau_syn"] / dt
    parameters["tau_syn"] = _parameter(tau_syn, shape, "step")
    parameters["gain_syn"] = _parameter(own["w_in"] * kept(tau_syn, method), shape)
    update = ["syn += gain_syn*drive", "drive = 0", "v += gain*syn"]
    return [*lines, "dsyn/dt = -syn/tau_syn : 1", "drive : 1"], parameters, update


def kept(tau: np.ndarray, method: Method) -> np.ndarray:
    """What a state with the time constant `tau` (in steps) takes of a held input in one step."""
    return -np.expm1(-1 / tau) if method == "exact" else 1 / tau


def _parameter(value: np.ndarray, shape: Shape, unit: Literal["1", "step"] = "1") -> Parameter:
    """One number where the file held one; else one per neuron."""
    if value.size == 1:
        return Parameter(value.reshape(()), unit)
    return Parameter(np.broadcast_to(fewer_axes(value, len(shape)), shape), unit)


@dataclass(frozen=True)
class _Form:
    """Equations that NIR has a node for; the fields name parameters.

    memoryless   the membrane is the input of the step
    late         the membrane sees the current as it was before the step's input arrived
    """

    memoryless: bool = False
    tau: str | None = None
    v_leak: str | None = None
    gain: str | None = None
    tau_syn: str | None = None
    gain_syn: str | None = None
    late: bool = False


@dataclass(frozen=True, eq=False)
class NeuronNodes:
    """A population as nodes one behind the other; the last has no suffix and is the neuron itself.

    carriers   by parameter: the suffix and the attribute of the node that holds its numbers as they are
    """

    nodes: Sequence[tuple[str, nir.NIRNode]]
    carriers: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def neuron_nodes(population: Population, shape: Shape, dt: float) -> NeuronNodes:
    """The population's neurons as NIR nodes of that shape (its own, or flat). NotInNIR where NIR has none."""
    neuron, form = population.neuron, _form(population)

    def full(key: str | None, without: float = 1.0) -> np.ndarray:
        value = without if key is None else neuron.parameters[key].value
        return np.broadcast_to(value, population.shape).reshape(shape).copy()

    front: list[tuple[str, nir.NIRNode]] = [("held", nir.Delay(np.full(shape, dt)))] if form.late else []
    threshold = {"v_threshold": full("v_threshold")} if neuron.spiking else {}
    carriers = {"v_threshold": ("", "v_threshold")} if neuron.spiking else {}
    if form.memoryless:
        node = nir.Threshold(threshold["v_threshold"]) if neuron.spiking else nir.Scale(np.ones(shape))
        return NeuronNodes([("", node)], {"v_threshold": ("", "threshold")} if neuron.spiking else {})
    if neuron.spiking:
        threshold["v_reset"] = full("v_reset") if neuron.reset == "value" else np.zeros(shape)
        carriers |= {"v_reset": ("", "v_reset")} if neuron.reset == "value" else {}
    carriers |= {} if form.v_leak is None else {form.v_leak: ("", "v_leak")}
    leak, gain = full(form.v_leak, 0.0), full(form.gain)
    weight = np.ones(shape)
    if form.tau_syn is not None:
        tau_syn = full(form.tau_syn)
        weight = full(form.gain_syn) / kept(tau_syn, neuron.method)
        if form.late:
            # The membrane sees the current after one step of decay, and the input one step later.
            gain = gain * (1 - kept(tau_syn, neuron.method))
    if form.tau is None:
        if form.tau_syn is not None:
            front.append(("syn", nir.LI(tau_syn * dt, weight, np.zeros(shape))))
        r = gain / dt
        return NeuronNodes([*front, ("", nir.IF(r, **threshold) if neuron.spiking else nir.I(r))], carriers)
    tau = full(form.tau)
    r = gain / kept(tau, neuron.method)
    node = (
        (nir.LIF(tau * dt, r, leak, **threshold) if neuron.spiking else nir.LI(tau * dt, r, leak))
        if form.tau_syn is None
        else nir.CubaLIF(tau_syn * dt, tau * dt, r, leak, w_in=weight, **threshold)
        if neuron.spiking
        else nir.CubaLI(tau_syn * dt, tau * dt, r, leak, w_in=weight)
    )
    return NeuronNodes([*front, ("", node)], carriers)


def _form(population: Population) -> _Form:
    """What the equations are in NIR's words; NotInNIR where they are something else."""
    neuron = population.neuron

    def refuse(what: str) -> NotInNIR:
        return NotInNIR(
            f"population '{population.name}': NIR has no neuron with {what}; write an .npz specification instead"
        )

    if neuron.spiking and neuron.threshold != "v_threshold":
        raise refuse(f"the threshold '{neuron.threshold}'")
    begins = [f"{name}_initial" for name in neuron.states if f"{name}_initial" in neuron.parameters]
    if begins and begins != ["v_initial"]:
        raise refuse(f"a variable that begins at '{', '.join(begins)}'")
    if neuron.on_spike:
        raise refuse(f"'{'; '.join(neuron.on_spike.splitlines())}' at every spike")
    equations = "; ".join(line.strip() for line in [*neuron.model.splitlines(), *neuron.update.splitlines()])
    form = _match(neuron)
    if form is None:
        raise refuse(f"the equations '{equations}'")
    units = {form.tau: "step", form.tau_syn: "step", form.gain: "1", form.gain_syn: "1", form.v_leak: "1"}
    for key, unit in units.items():
        if key is not None and (key not in neuron.parameters or neuron.parameters[key].unit != unit):
            raise refuse(f"the equations '{equations}', where '{key}' is no constant of the unit '{unit}'")
    return form


def _match(neuron: NeuronEquations) -> _Form | None:
    v, x = neuron.membrane, neuron.input_variable
    lines = {_of(line): line for line in "".join(neuron.model.split(" ")).split("\n") if line}
    if len(lines) != len(neuron.states):
        return None
    membrane = re.fullmatch(rf"{v}:1|d{v}/dt=(?:-{v}|\((\w+)-{v}\))/(\w+):1", lines.pop(v))
    if membrane is None:
        return None
    leak, tau = membrane.groups()
    decays = {name: re.fullmatch(rf"d{name}/dt=-{name}/(\w+):1", line) for name, line in lines.items()}
    currents = [name for name, found in decays.items() if found]
    plain = all(line == f"{name}:1" for name, line in lines.items() if not decays[name])
    update = "".join(neuron.update.split(" ")).strip().replace("\n", ";")
    if not plain or len(currents) > 1 or set(lines) - set(currents) - {x}:
        return None
    if not lines:
        return _Form(tau=tau, v_leak=leak) if x == v and not update else None
    if not currents:
        if tau is None and update == f"{v}={x};{x}=0":
            return _Form(memoryless=True)
        found = re.fullmatch(rf"{v}\+=(?:(\w+)\*)?{x};{x}=0", update)
        return _Form(tau=tau, v_leak=leak, gain=found[1]) if found and x != v else None
    syn = currents[0]
    tau_syn = decays[syn][1]  # type: ignore[index]
    if x == syn:
        found = re.fullmatch(rf"{v}\+=(?:(\w+)\*)?{syn}", update)
        return _Form(tau=tau, v_leak=leak, gain=found[1], tau_syn=tau_syn) if found else None
    return None if x == v else _driven(update, v, x, syn, _Form(tau=tau, v_leak=leak, tau_syn=tau_syn))


def _driven(update: str, v: str, x: str, syn: str, form: _Form) -> _Form | None:
    """A current that takes its input with a weight, before or after the membrane has seen it."""
    takes, charges = rf"{syn}\+=(?:(\w+)\*)?{x};{x}=0", rf"{v}\+=(?:(\w+)\*)?{syn}"
    if prompt := re.fullmatch(f"{takes};{charges}", update):
        return _Form(False, form.tau, form.v_leak, prompt[2], form.tau_syn, prompt[1])
    if late := re.fullmatch(f"{charges};{takes}", update):
        return _Form(False, form.tau, form.v_leak, late[1], form.tau_syn, late[2], late=True)
    return None


def _of(line: str) -> str:
    """The variable that a line of a model, without spaces, is about."""
    found = re.match(r"d(\w+)/dt=|(\w+):", line)
    return "" if found is None else found[1] or found[2]
