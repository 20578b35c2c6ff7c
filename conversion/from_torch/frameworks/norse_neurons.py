"""Norse's cells (read from version 1.1.0) as equations.

A cell takes a step of forward Euler. With few exceptions (said where they are) input is added to the synaptic current,
the membrane moves by the new current, then the current decays. It fires where ``v > v_th`` and is reset at once; the
membrane begins at `v_leak`. A cell named ``Recurrent`` is the same behind weights of its own, and with its spikes of
the step before through others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import nn

from alade_brian.conversion.from_torch.frameworks.registry import NeuronAdapter, linear_layer, numbers, parameter
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.spec import NeuronEquations, Parameter, constant

_METHODS = ("heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc")
_LEAK = "dv/dt = (v_leak - v)/tau : 1"
_CURRENT = "dsyn/dt = -syn/tau_syn : 1"
_EXPONENTIAL = "delta_T*exp((v - v_threshold)/delta_T)"


def _lif(module: Any) -> ForeignNeuron:
    return _cell(_charged(module, module.p, f"{_LEAK}\n{_CURRENT}"))


def _integrating(module: Any) -> ForeignNeuron:
    """Without a leak and without a current; the membrane begins at its reset."""
    p = module.p
    level = parameter(p.v_reset)
    constants = {"v_threshold": parameter(p.v_th), "v_reset": level, "v_initial": level}
    return _cell(NeuronEquations("v : 1", _of_method(p, constants)))


def _lif_box(module: Any) -> ForeignNeuron:
    p = module.p
    rules = {reset_value: "value", reset_subtract: "subtract"}
    if p.reset_method not in rules:
        raise CannotLower("reset_method", p.reset_method, "has no lowering; use reset_value or reset_subtract")
    rule = rules[p.reset_method]
    level = parameter(p.v_th if rule == "subtract" else p.v_reset)
    constants = {**_membrane(module, p), "v_threshold": parameter(p.v_th), "v_reset": level}
    return _cell(_driven(_LEAK, _of_method(p, constants), reset=rule))


def _exponential(module: Any) -> ForeignNeuron:
    model = f"dv/dt = (v_leak - v + {_EXPONENTIAL})/tau : 1\n{_CURRENT}"
    return _cell(_charged(module, module.p, model, delta_T=parameter(module.p.delta_T)))


def _adaptive_exponential(module: Any) -> ForeignNeuron:
    return _cell(_adex(module, module.p))


def _adex(module: Any, p: Any) -> NeuronEquations:
    model = [
        f"dv/dt = (v_leak - v + {_EXPONENTIAL} - a)/tau : 1",
        _CURRENT,
        "da/dt = (coupling*(v - v_leak) - a)/tau_a : 1",
    ]
    constants = {
        "delta_T": parameter(p.delta_T),
        "coupling": parameter(p.adaptation_current),
        "jump": parameter(p.adaptation_spike),
        "tau_a": _time(module, p.tau_ada_inv),
    }
    return replace(_charged(module, p, "\n".join(model), **constants), on_spike="a += jump")


def _refractory(module: Any) -> ForeignNeuron:
    return _cell(_held(module, _charged(module, module.p.lif, f"{_LEAK}\n{_CURRENT}")))


def _refractory_adex(module: Any) -> ForeignNeuron:
    """While a neuron is held, what would have been its spike moves the adaptation all the same, as written in Norse."""
    early = "a += int(rho > 0)*int(v > v_threshold)*jump"
    return _cell(_held(module, _adex(module, module.p.lif_adex), early))


def _held(module: Any, equations: NeuronEquations, *first: str) -> NeuronEquations:
    """The same neuron, whose membrane stays where a reset left it for `rho_reset` steps; `first` is done before."""
    constants = {
        **equations.parameters,
        "rho_reset": parameter(module.p.rho_reset),
        "kept_initial": equations.parameters["v_initial"],
    }
    if np.any(constants["v_reset"].value > constants["v_threshold"].value):
        raise CannotLower("v_reset", constants["v_reset"].value.tolist(), "lies above the threshold; use a lower one")
    hold = ["v = int(rho <= 0)*v + int(rho > 0)*kept", "kept = v", "rho = clip(rho - 1, 0, inf)"]
    return replace(
        equations,
        model=f"{equations.model}\nrho : 1\nkept : 1",
        parameters=constants,
        update="\n".join([equations.update, *first, *hold]),
        on_spike="\n".join([*equations.on_spike.splitlines(), "kept = v_reset", "rho = rho_reset"]),
    )


def _adaptive_threshold(module: Any) -> ForeignNeuron:
    """LSNN: the threshold b jumps at a spike. Here the membrane moves by the current of the step before."""
    p = module.p
    model = ["dv/dt = (v_leak - v + syn)/tau : 1", _CURRENT, "db/dt = (v_threshold - b)/tau_b : 1", "drive : 1"]
    plain = _charged(module, p, "\n".join(model), tau_b=_time(module, p.tau_adapt_inv), jump=parameter(p.beta))
    constants = {**plain.parameters, "b_initial": parameter(p.v_th)}
    update = "syn += drive\ndrive = 0"
    return _cell(
        replace(plain, parameters=constants, input="drive", update=update, threshold="b", on_spike="b += jump")
    )


def _izhikevich(module: Any) -> ForeignNeuron:
    p, begin = module.p, module.spiking_method.s
    part = numbers(module.p.tau_inv * module.dt)
    constants = {
        "tau": constant(1 / part, "step"),
        "gain": constant(part),
        "quadratic": parameter(p.sq),
        "linear": parameter(p.mn),
        "offset": parameter(p.bias),
        "rate": parameter(p.a),
        "coupling": parameter(p.b),
        "jump": parameter(p.d),
        "v_threshold": parameter(p.v_th),
        "v_reset": parameter(p.c),
        "v_initial": parameter(begin.v),
        "u_initial": parameter(begin.u),
    }
    model = "dv/dt = (quadratic*v**2 + linear*v + offset - u)/tau : 1\ndu/dt = rate*(coupling*v - u)/tau : 1"
    return _cell(replace(_driven(model, _of_method(p, constants)), on_spike="u += jump"))


def _li(module: Any) -> ForeignNeuron:
    """A leaky integrator: it passes its membrane on, and is read."""
    constants = {**_membrane(module, module.p), "tau_syn": _time(module, module.p.tau_syn_inv)}
    return _read(NeuronEquations(f"{_LEAK}\n{_CURRENT}", constants, input="syn", update="v += gain*syn", **_PASSIVE))


def _li_linear(module: Any) -> ForeignNeuron:
    return replace(_li(module), enters=linear_layer(module.input_weights))


def _li_box(module: Any) -> ForeignNeuron:
    """The same without a synaptic current."""
    return _read(_driven(_LEAK, _membrane(module, module.p), reset="none", spiking=False))


_PASSIVE: dict[str, Any] = {"spiking": False, "reset": "none", "method": "euler"}


def _charged(module: Any, p: Any, model: str, **more: Parameter) -> NeuronEquations:
    """A neuron whose synaptic current `syn` charges its membrane; `more` are constants of its model."""
    constants = {
        **_membrane(module, p),
        "tau_syn": _time(module, p.tau_syn_inv),
        "v_threshold": parameter(p.v_th),
        "v_reset": parameter(p.v_reset),
        **more,
    }
    return NeuronEquations(model, _of_method(p, constants), method="euler", input="syn", update="v += gain*syn")


def _driven(model: str, constants: Mapping[str, Parameter], **conventions: Any) -> NeuronEquations:
    """A neuron whose input charges its membrane at once."""
    return NeuronEquations(
        f"{model}\ndrive : 1",
        constants,
        method="euler",
        input="drive",
        update="v += gain*drive\ndrive = 0",
        **conventions,
    )


def _membrane(module: Any, p: Any) -> dict[str, Parameter]:
    part = _part(module, p.tau_mem_inv)
    level = parameter(p.v_leak)
    return {"tau": constant(1 / part, "step"), "gain": constant(part), "v_leak": level, "v_initial": level}


def _time(module: Any, inverse: Any) -> Parameter:
    return constant(1 / _part(module, inverse), "step")


def _part(module: Any, inverse: Any) -> np.ndarray:
    """``dt / tau`` as Norse itself multiplies it, in the precision of its parameters."""
    part = numbers(module.dt * inverse)
    if np.any(part <= 0):
        raise CannotLower("tau_inv", np.unique(part).tolist(), "is not positive; use a positive time constant")
    return part


def _of_method(p: Any, constants: dict[str, Parameter]) -> dict[str, Parameter]:
    """The constants, if the neuron's threshold function is a step."""
    if p.method not in _METHODS:
        raise CannotLower("method", p.method, f"is no plain threshold; use one of {', '.join(_METHODS)}")
    return constants


def _cell(equations: NeuronEquations) -> ForeignNeuron:
    return ForeignNeuron(equations, ("spikes", "state"), passes_state=True)


def _read(equations: NeuronEquations) -> ForeignNeuron:
    return ForeignNeuron(equations, ("spikes", "state"), sampled="after_reset", passes_state=True)


def _recurrent(adapter: NeuronAdapter) -> NeuronAdapter:
    """The adapter of the recurrent class of a neuron."""

    def made(module: Any) -> ForeignNeuron:
        alone = adapter(module)
        return replace(
            alone, enters=linear_layer(module.input_weights), recurrent=linear_layer(module.recurrent_weights)
        )

    return made


def _over_time(adapter: NeuronAdapter) -> NeuronAdapter:
    """The adapter of the layer over a whole sequence that steps as a cell does."""

    def made(module: Any) -> ForeignNeuron:
        if module.record_states:
            raise CannotLower("record_states", True, "returns every state; use record_states=False")
        return replace(adapter(module), over_steps=True)

    return made


_LAYERS: dict[type[nn.Module], NeuronAdapter] = {
    norse.LIF: _lif,
    norse.LIFRecurrent: _recurrent(_lif),
    norse.IAF: _integrating,
    norse.LIFEx: _exponential,
    norse.LIFExRecurrent: _recurrent(_exponential),
    norse.LIFAdEx: _adaptive_exponential,
    norse.LIFAdExRecurrent: _recurrent(_adaptive_exponential),
    norse.LIFRefracRecurrent: _recurrent(_refractory),
    norse.LIFAdExRefracRecurrent: _recurrent(_refractory_adex),
    norse.LSNN: _adaptive_threshold,
    norse.LSNNRecurrent: _recurrent(_adaptive_threshold),
    norse.Izhikevich: _izhikevich,
    norse.IzhikevichRecurrent: _recurrent(_izhikevich),
    norse.LI: _li,
}

NEURONS: Mapping[type[nn.Module], NeuronAdapter] = MappingProxyType(
    {
        **{layer: _over_time(adapter) for layer, adapter in _LAYERS.items()},
        norse.LIFCell: _lif,
        norse.LIFRecurrentCell: _recurrent(_lif),
        norse.LIFBoxCell: _lif_box,
        norse.IAFCell: _integrating,
        norse.LIFExCell: _exponential,
        norse.LIFExRecurrentCell: _recurrent(_exponential),
        norse.LIFAdExCell: _adaptive_exponential,
        norse.LIFAdExRecurrentCell: _recurrent(_adaptive_exponential),
        norse.LIFRefracCell: _refractory,
        norse.LIFRefracRecurrentCell: _recurrent(_refractory),
        norse.LIFAdExRefracCell: _refractory_adex,
        norse.LIFAdExRefracRecurrentCell: _recurrent(_refractory_adex),
        norse.LSNNCell: _adaptive_threshold,
        norse.LSNNRecurrentCell: _recurrent(_adaptive_threshold),
        norse.IzhikevichCell: _izhikevich,
        norse.IzhikevichRecurrentCell: _recurrent(_izhikevich),
        norse.LICell: _li,
        norse.LILinearCell: _li_linear,
        norse.LIBoxCell: _li_box,
    }
)

_STOCHASTIC = "draws its spikes at random; encode the images before, and give the network a sequence"
_ENCODER = "encodes images outside of neurons and weights; encode them before, and give the network a sequence"
_COUPLED = "lets membranes charge each other at once, without spikes; use {}"
_WEIGHTS = "makes its kernels anew in every call; copy them into nn.Conv2d"

REFUSED: Mapping[type[nn.Module], str] = MappingProxyType(
    {
        norse.RecurrentSequential: "feeds its output back to its input; use a recurrent cell",
        norse.CobaLIFCell: "leaves out its input in Norse 1.1 itself, by overwriting it; use LIFRecurrentCell",
        norse.LIFMCRecurrentCell: _COUPLED.format("LIFRecurrentCell"),
        norse.LIFMCRefracRecurrentCell: _COUPLED.format("LIFRefracRecurrentCell"),
        norse.LIFCorrelation: "takes its weights as arguments of the call and learns in it; use LIFRecurrentCell",
        norse.LConv2d: "is a convolution over time as well; use nn.Conv2d in a loop over x[step]",
        norse.PoissonEncoder: _STOCHASTIC,
        norse.SignedPoissonEncoder: _STOCHASTIC,
        norse.ConstantCurrentLIFEncoder: _ENCODER,
        norse.PopulationEncoder: _ENCODER,
        norse.SpikeLatencyEncoder: _ENCODER,
        norse.SpikeLatencyLIFEncoder: _ENCODER,
        norse.SpikesToTimesDecoder: "sorts the spikes of all steps by their times; use a readout of spikes",
        norse.RegularizationCell: "counts spikes for a loss of training; take it out of the forward",
        norse.SpatialReceptiveField2d: _WEIGHTS,
        norse.SampledSpatialReceptiveField2d: _WEIGHTS,
        norse.ParameterizedSpatialReceptiveField2d: _WEIGHTS,
        norse.TemporalReceptiveField: "runs over all steps in one call; use LICell in a loop over x[step]",
    }
)


def in_double(module: Any) -> None:
    """Let an Izhikevich neuron begin in float64; its first step would be one of float32 whatever comes in."""
    behaviour = getattr(module, "spiking_method", None)
    if behaviour is not None:
        begin = behaviour.s._replace(v=behaviour.s.v.detach().double(), u=torch.as_tensor(behaviour.s.u).double())
        module.spiking_method = behaviour._replace(s=begin)
