"""SpikingJelly's neurons (read from version 2.0.0) as equations.

A neuron charges by a step of forward Euler, fires where ``v >= v_threshold``, and is reset at once: to `v_reset`, or,
where that is None, by subtraction of the threshold. Its membrane begins at `v_reset` (0 where that is None).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from spikingjelly.activation_based import neuron
from torch import nn

from alade_brian.conversion.from_torch.frameworks import spikingjelly_research as research
from alade_brian.conversion.from_torch.frameworks.registry import NeuronAdapter, numbers
from alade_brian.conversion.from_torch.frameworks.spikingjelly_equations import (
    as_neuron,
    charged,
    decoded,
    leaky,
    own_comparison,
)
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.spec import NeuronEquations, Parameter, constant


def _integrating(module: Any) -> ForeignNeuron:
    return as_neuron(module, charged(module, "v : 1"))


def _half_threshold(module: Any) -> ForeignNeuron:
    """It begins at half its threshold."""
    return as_neuron(module, charged(module, "v : 1", v_initial=constant(module.v_threshold / 2)))


def _simple_integrating(module: Any) -> ForeignNeuron:
    return as_neuron(module, charged(module, "v : 1", v_initial=constant(0.0)))


def _simple_leaking(module: Any) -> ForeignNeuron:
    if module.v_reset is None:
        raise CannotLower("v_reset", None, "fails in SpikingJelly itself; use LIFNode")
    return as_neuron(module, leaky(module, np.asarray(1 / module.tau), v_initial=constant(0.0)))


def _activation_aware(module: Any) -> ForeignNeuron:
    """An offset is added to the membrane for the threshold test alone."""
    threshold, offset = _of_channels(module, module.v_threshold), _of_channels(module, module.v_offset)
    parameters = {"v_threshold": threshold, "offset": offset}
    if module.v_reset is not None:
        parameters |= {"level": constant(module.v_reset), "v_initial": constant(module.v_reset)}
    equations = NeuronEquations(
        "v : 1\nshifted : 1",
        parameters,
        membrane="shifted",
        comparison=own_comparison(module),
        reset="none",
        input="v",
        update="shifted = v + offset",
        on_spike="v -= v_threshold" if module.v_reset is None else "v = level",
    )
    return as_neuron(module, equations)


def _of_channels(module: Any, values: Any) -> Parameter:
    """Numbers along one axis, as a parameter that meets the neurons' shape from the right."""
    found = numbers(values)
    if found.ndim and module.channel_dim >= 0:
        raise CannotLower("channel_dim", module.channel_dim, "is counted from the front; count from the back, as in -3")
    return constant(found.reshape(found.shape + (1,) * (-1 - module.channel_dim)) if found.ndim else found)


def _leaking(module: Any) -> ForeignNeuron:
    return as_neuron(module, leaky(module, np.asarray(1 / module.tau)))


def _parametric(module: Any) -> ForeignNeuron:
    return as_neuron(module, leaky(module, numbers(module.w.double().sigmoid())))


def _quadratic(module: Any) -> ForeignNeuron:
    model = "dv/dt = a0*(v - v_rest)*(v - v_c)/tau : 1"
    return as_neuron(module, _nonlinear(module, model, ("a0", "v_rest", "v_c")))


def _exponential(module: Any) -> ForeignNeuron:
    model = "dv/dt = (v_rest - v + delta_T*exp((v - theta_rh)/delta_T))/tau : 1"
    return as_neuron(module, _nonlinear(module, model, ("v_rest", "delta_T", "theta_rh")))


def _izhikevich(module: Any) -> ForeignNeuron:
    """A recovery variable that follows the charged membrane of the same step."""
    model = "dv/dt = (a0*(v - v_rest)*(v - v_c) - recovery)/tau : 1\nrecovery : 1"
    plain = _nonlinear(module, model, ("a0", "v_rest", "v_c"))
    more = {
        "coupling": constant(module.a),
        "jump": constant(module.b),
        "recovery_part": constant(1 / module.tau_w),
        "recovery_initial": constant(module.w_rest),
    }
    equations = replace(
        plain,
        parameters={**plain.parameters, **more},
        update=f"{plain.update}\nrecovery += recovery_part*(coupling*(v - v_rest) - recovery)",
        on_spike="recovery += jump",
    )
    return as_neuron(module, equations)


def _nonlinear(module: Any, model: str, names: tuple[str, ...]) -> NeuronEquations:
    """A membrane with the time constant tau, whose input is divided by tau too; `names` are constants of the model."""
    constants: dict[str, Any] = {name: constant(getattr(module, name)) for name in names}
    constants |= {"tau": constant(module.tau, "step"), "gain": constant(1 / module.tau)}
    return charged(module, f"{model}\ndrive : 1", input="drive", update="v += gain*drive\ndrive = 0", **constants)


def _resonating(module: Any) -> ForeignNeuron:
    """A damped oscillation, turned by the angle ``omega*dt`` in a step; the input comes to `u`, `v` is compared."""
    angle = module.omega * module.dt
    constants: dict[str, Any] = {
        "damping": constant(math.exp(module.b * module.dt)),
        "cosine": constant(math.cos(angle)),
        "sine": constant(math.sin(angle)),
    }
    update = [
        "turned = damping*(u*cosine - v*sine) + x",
        "v = damping*(u*sine + v*cosine)",
        "u = turned",
        "x = 0",
    ]
    equations = charged(
        module,
        "u : 1\nv : 1\nturned : 1\nx : 1",
        input="x",
        update="\n".join(update),
        **constants,
    )
    return as_neuron(module, equations)


def _sliding(module: Any) -> ForeignNeuron:
    """A weighted sum of the last k inputs, without memory of its own."""
    k, weights = module.k, numbers(module.weight.reshape(-1, 1)).ravel()
    # The weight number j belongs to the input j steps ago.
    parameters = {f"weight_{j}": constant(weights[k - 1 - j]) for j in range(k)}
    parameters |= {"offset": constant(numbers(module.bias)), "v_threshold": constant(0.0)}
    names = ["x", *(f"x_{j}" for j in range(1, k))]
    sums = ["v = offset", *(f"v += weight_{j}*{name}" for j, name in enumerate(names))]
    moves = [f"{names[j]} = {names[j - 1]}" for j in range(k - 1, 0, -1)]
    equations = NeuronEquations(
        "\n".join(f"{name} : 1" for name in ("v", *names)),
        parameters,
        comparison=own_comparison(module),
        input="x",
        update="\n".join([*sums, *moves, "x = 0"]),
        reset="none",
    )
    return as_neuron(module, equations)


def _passive(module: Any) -> ForeignNeuron:
    return decoded(module, NeuronEquations("v : 1", spiking=False, reset="none"))


def _passive_leaking(module: Any) -> ForeignNeuron:
    equations = NeuronEquations(
        "dv/dt = -v/tau : 1\ndrive : 1",
        {"tau": constant(module.tau, "step"), "gain": constant(1 / module.tau)},
        spiking=False,
        reset="none",
        method="euler",
        input="drive",
        update="v += gain*drive\ndrive = 0",
    )
    return decoded(module, equations)


NEURONS: Mapping[type[nn.Module], NeuronAdapter] = MappingProxyType(
    {
        neuron.IFNode: _integrating,
        neuron.SimpleIFNode: _simple_integrating,
        neuron.HalfThresholdIFNode: _half_threshold,
        neuron.ActivationAwareIFNode: _activation_aware,
        neuron.NonSpikingIFNode: _passive,
        neuron.LIFNode: _leaking,
        neuron.SimpleLIFNode: _simple_leaking,
        neuron.NonSpikingLIFNode: _passive_leaking,
        neuron.ParametricLIFNode: _parametric,
        neuron.SLTTLIFNode: research.online,
        neuron.OTTTLIFNode: research.online,
        neuron.KLIFNode: research.rectified,
        neuron.ComplementaryLIFNode: research.complementary,
        neuron.CUBALIFNode: research.current_based,
        neuron.GatedLIFNode: research.gated,
        neuron.MPBNLIFNode: research.batch_normed,
        neuron.QIFNode: _quadratic,
        neuron.EIFNode: _exponential,
        neuron.IzhikevichNode: _izhikevich,
        neuron.RAFNode: _resonating,
        neuron.SlidingPSN: _sliding,
        neuron.DSRIFNode: research.differentiable,
        neuron.DSRLIFNode: research.differentiable_leaky,
        neuron.ILCIFNode: research.connected_integrating,
        neuron.ILCLIFNode: research.connected_leaking,
        neuron.ILCCUBALIFNode: research.connected_current,
        neuron.NoisyCUBALIFNode: research.noisy,
        neuron.NoisyILCCUBALIFNode: research.noisy_connected,
        neuron.NoisyNonSpikingIFNode: research.noisy_passive,
    }
)

_BASE = "is a base class without a step of its own; use one of the neurons that derive from it"
_AT_ONCE = "computes the output of a step from the inputs of later steps too; use SlidingPSN"
_FEW_SPIKES = "needs the sum of all inputs before its first spike; use IFNode"
_BOTH_SIGNS = "sends spikes of both signs, and a neuron of Brian2 sends one kind; use {} instead"

REFUSED: Mapping[type[nn.Module], str] = MappingProxyType(
    {
        neuron.BaseNode: _BASE,
        neuron.SimpleBaseNode: _BASE,
        neuron.NonSpikingBaseNode: _BASE,
        neuron.AdaptBaseNode: _BASE,
        neuron.MPBNBaseNode: _BASE,
        neuron.ILCBaseNode: _BASE,
        neuron.NoisyBaseNode: _BASE,
        neuron.NoisyILCBaseNode: _BASE,
        neuron.NoisyNonSpikingBaseNode: _BASE,
        neuron.PSN: _AT_ONCE,
        neuron.MaskedPSN: "has weights of its own for every step, equations do not; use SlidingPSN",
        neuron.FewSpikeNode: _FEW_SPIKES,
        neuron.HGNode: _FEW_SPIKES,
        neuron.OutlierAwareThresholdNode: _FEW_SPIKES,
        neuron.FlexSN: "steps by a function of the user's own; give convert a function for it with extra=",
        neuron.ILIFNode: "sends up to several spikes in one step, as a number; use LIFNode",
        neuron.LIAFNode: "passes a function of its membrane on, an analogue output beside its spikes; use LIFNode",
        neuron.STBIFNode: _BOTH_SIGNS.format("IFNode"),
        neuron.TernaryIFNode: _BOTH_SIGNS.format("IFNode"),
        neuron.TernaryLIFNode: _BOTH_SIGNS.format("LIFNode"),
    }
)


def in_double(module: Any) -> None:
    """Let a neuron's spikes have the precision of its input; DSR's are float32 whatever comes in."""
    if isinstance(module, neuron.DSRIFNode | neuron.DSRLIFNode):
        module.register_forward_hook(lambda module, inputs, output: output.to(inputs[0].dtype))
