"""Neurons that SpikingJelly keeps beside its core, from papers of their own, as equations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from alade_brian.conversion.from_torch.frameworks.registry import decaying, linear_layer, numbers
from alade_brian.conversion.from_torch.frameworks.spikingjelly_equations import (
    as_neuron,
    charged,
    conventions,
    decoded,
    leaky,
    levels,
    own_comparison,
)
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.spec import NeuronEquations, Parameter, constant


def online(module: Any) -> ForeignNeuron:
    """Outside of training a plain leaky neuron that fires at its threshold, whatever the surrogate."""
    equations = leaky(module, np.asarray(1 / module.tau), comparison=">=")
    return as_neuron(module, equations)


def rectified(module: Any) -> ForeignNeuron:
    """``relu(k * v)`` of a leaky membrane is compared with the threshold, and goes on in its place."""
    plain = leaky(module, np.asarray(1 / module.tau))
    parameters = {**plain.parameters, "k": constant(numbers(module.k))}
    soft = module.v_reset is None
    kept, fall = ("charged/k", "v_threshold/k") if module.scale_reset else ("charged", "v_threshold")
    equations = replace(
        plain,
        model=f"{plain.model}\ncharged : 1",
        parameters=parameters,
        membrane="charged",
        input=plain.input_variable,
        update=f"{plain.update}\ncharged = clip(k*v, 0, inf)\nv = {kept}".lstrip(),
        reset="none",
        on_spike=f"v -= {fall}" if soft else "v = v_reset",
    )
    return as_neuron(module, equations)


def complementary(module: Any) -> ForeignNeuron:
    """The more a neuron fired lately, the further a spike resets it."""
    equations = NeuronEquations(
        "dv/dt = -v/tau : 1\nm : 1",
        {
            "v_threshold": constant(module.v_threshold),
            "tau": constant(module.tau, "step"),
            "part": constant(1 / module.tau),
        },
        method="euler",
        comparison=">=" if module.surrogate_function.spiking else own_comparison(module),
        update="m = m/(1 + exp(-v*part))",
        reset="none",
        on_spike="m += 1\nv -= v_threshold + 1/(1 + exp(-m))",
    )
    return as_neuron(module, equations)


def current_based(module: Any) -> ForeignNeuron:
    """An exponential current charges an exponential membrane."""
    return as_neuron(module, _synaptic(module))


def _synaptic(module: Any) -> NeuronEquations:
    """An exponential current charges an exponential membrane."""
    decays = {"syn": np.asarray(module.c_decay), "v": np.asarray(module.v_decay)}
    plain = decaying(decays, levels(module), "c_decay, v_decay")
    return replace(plain, input="syn", update="v += syn", **conventions(module))


def gated(module: Any) -> ForeignNeuron:
    """Between a leak by a factor and one by an amount, and between two resets, as learned gates say."""
    conduct = module.conduct.double().sigmoid()
    if bool((conduct != conduct[:1]).any()):
        raise CannotLower("conduct", "learned", "differs from step to step, equations do not; keep it equal")
    gates = {name: _gate(getattr(module, name)) for name in ("alpha", "beta", "gamma", "tau", "v_subreset")}
    alpha, beta, gamma, tau = (gates[name] for name in ("alpha", "beta", "gamma", "tau"))
    parameters = {
        "v_threshold": _gate(module.v_threshold),
        "kept": 1 - alpha * (1 - tau),
        "lost": (1 - alpha) * _gate(module.linear_decay),
        "gain": 1 - beta * (1 - _gate(module.conduct[0])),
        "cut": gamma,
        "fall": (1 - gamma) * gates["v_subreset"],
    }
    equations = NeuronEquations(
        "v : 1\nx : 1\nlast : 1",
        {name: constant(value) for name, value in parameters.items()},
        comparison=own_comparison(module),
        input="x",
        update="v = kept*v - lost + gain*x - kept*v*cut*last - fall*last\nx = 0\nlast = 0",
        reset="none",
        on_spike="last = 1",
    )
    return replace(as_neuron(module, equations), steps=module.T)


def _gate(value: Any) -> np.ndarray:
    """A learned gate, one number or one per channel of an image."""
    return numbers(value.double().view(-1, 1, 1).sigmoid())


def batch_normed(module: Any) -> ForeignNeuron:
    """The charged membrane passes a batch norm, with running statistics, before the threshold test."""
    if module.fold_bn:
        said = "hides its statistics in the thresholds; convert before re_parameterize_v_threshold()"
        raise CannotLower("fold_bn", True, said)
    plain = leaky(module, np.asarray(1 / module.tau))
    axes = (1, 1) if isinstance(module.vbn, nn.BatchNorm2d) else ()
    more: dict[str, Parameter] = {}
    update = plain.update
    if isinstance(module.vbn, nn.BatchNorm1d | nn.BatchNorm2d):
        norm: Any = module.vbn
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * gain
        more = {name: constant(numbers(v.view(-1, *axes))) for name, v in (("scale", gain), ("shift", shift))}
        update = f"{update}\nv = scale*v + shift".lstrip()
    if module.learnable_vth:
        if not more:
            raise CannotLower("learnable_vth", True, "without batch norm leaves the neurons' axes open; use mpbn=True")
        more["v_threshold"] = constant(numbers(module.a.exp().view(-1, *axes)))
        # The reset takes off the threshold that the neuron was made with.
    return as_neuron(module, replace(plain, parameters={**plain.parameters, **more}, update=update))


def differentiable(module: Any) -> ForeignNeuron:
    """DSR's integrate-and-fire: a spike counts its threshold, and is fired at a part of it."""
    return _dsr(module, NeuronEquations("v : 1", _dsr_levels(module), comparison=">=", reset="subtract"), 1.0)


def differentiable_leaky(module: Any) -> ForeignNeuron:
    """DSR's leaky integrate-and-fire: a spike counts its threshold per unit of time."""
    decay = math.exp(-module.delta_t / module.tau)
    plain = decaying({"v": np.asarray(decay)}, {**_dsr_levels(module), "gain": constant(1 - decay)}, "tau")
    equations = replace(
        plain,
        model=f"{plain.model}\ndrive : 1",
        comparison=">=",
        input="drive",
        update="v += gain*drive\ndrive = 0",
        reset="subtract",
    )
    return _dsr(module, equations, module.delta_t)


def _dsr_levels(module: Any) -> dict[str, Parameter]:
    level = module.v_threshold.detach().clamp(min=module.v_threshold_lower_bound)
    return {"v_threshold": constant(numbers(module.alpha * level)), "v_reset": constant(numbers(level.float()))}


def _dsr(module: Any, equations: NeuronEquations, unit: float) -> ForeignNeuron:
    level = module.v_threshold.detach().clamp(min=module.v_threshold_lower_bound)
    # A spike is a float32, whatever comes in.
    parameters = {**equations.parameters, "amplitude": constant(numbers(level.float() / unit))}
    return ForeignNeuron(replace(equations, parameters=parameters), over_steps=True)


def _quiet(module: Any) -> None:
    """Refuse a noisy neuron that draws its noise."""
    if module.is_training:
        raise CannotLower("is_training", True, "adds noise that is drawn anew; use is_training=False")


def noisy_passive(module: Any) -> ForeignNeuron:
    """It adds its input up, without its noise."""
    _quiet(module)
    return replace(decoded(module, NeuronEquations("v : 1", spiking=False, reset="none")), steps=module.T)


def noisy(module: Any) -> ForeignNeuron:
    """The same as `current_based`, without its noise."""
    _quiet(module)
    return replace(_every_step(module, _synaptic(module)), steps=module.T)


def noisy_connected(module: Any) -> ForeignNeuron:
    """The same, with the spikes of the step before."""
    _quiet(module)
    return replace(_connected(module, _synaptic(module)), steps=module.T)


def connected_integrating(module: Any) -> ForeignNeuron:
    """A membrane without a leak, with the spikes of the step before."""
    return _connected(module, charged(module, "v : 1"))


def connected_leaking(module: Any) -> ForeignNeuron:
    """A leaky membrane, with the spikes of the step before."""
    plain = decaying({"v": np.asarray(module.v_decay)}, levels(module), "v_decay")
    return _connected(module, replace(plain, **conventions(module)))


def connected_current(module: Any) -> ForeignNeuron:
    """As `current_based`, with the spikes of the step before."""
    return _connected(module, _synaptic(module))


def _connected(module: Any, equations: NeuronEquations) -> ForeignNeuron:
    """Neurons whose spikes come back to the neurons of the same action, through a convolution, one step later."""
    made = _every_step(module, equations)
    conv, size = module.conn, module.dec_pop_dim
    weight = torch.zeros(conv.out_channels, conv.out_channels, dtype=conv.weight.dtype)
    for k in range(conv.out_channels):
        first = k // size * size
        weight[k, first : first + size] = conv.weight.detach()[k, 0]
    # Its bias comes in from the second step on, as the first has no spikes before it.
    v = equations.input_variable
    own = f"{v} += begun*later_bias\nbegun = 1"
    late = replace(
        equations,
        model=f"{equations.model}\nbegun : 1",
        parameters={**equations.parameters, "later_bias": constant(numbers(conv.bias))},
        update=f"{own}\n{equations.update}".rstrip(),
    )
    return replace(made, equations=late, recurrent=linear_layer(weight))


def _every_step(module: Any, equations: NeuronEquations) -> ForeignNeuron:
    """A class that takes all steps at once, whatever its mode, and begins at `v_reset`."""
    if module.v_reset is None:
        raise CannotLower("v_reset", None, "fails in SpikingJelly itself for this class; give a number")
    return ForeignNeuron(equations, over_steps=True, sampled="after_reset")
