"""SpikingJelly's neurons and containers (read from version 2.0.0) as equations.

A neuron charges by a step of forward Euler, fires where ``v >= v_threshold``, and is reset at once: to `v_reset`, or,
where that is None, by subtraction of the threshold. Its membrane begins at `v_reset` (0 where that is None).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from spikingjelly.activation_based import layer, neuron
from torch import nn

from alade_brian.conversion.lowering import Lowering, Refuse, Value, apply_operator
from alade_brian.conversion.neuron_equations import NeuronEquations, constant
from alade_brian.conversion.spec import Dense
from alade_brian.conversion.torch_foreign import NeuronDoor, numbers
from alade_brian.conversion.torch_layers import lowerings
from alade_brian.conversion.torch_time import Neuron

# Layers that are torch's own but for the axis of steps.
_WRAPPED = (
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Conv1d",
    "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "Flatten", "Linear", "MaxPool1d", "MaxPool2d",
)  # fmt: skip


def neurons() -> Mapping[type[nn.Module], NeuronDoor]:
    """By class, how a layer of it is understood."""
    return {
        neuron.IFNode: _integrating,
        neuron.LIFNode: _leaking,
        neuron.ParametricLIFNode: _parametric,
        layer.LinearRecurrentContainer: _recurrent,
    }


def layers() -> Mapping[type[nn.Module], Callable[..., Value]]:
    """By class, how its other layers are lowered; those that wrap torch's own are lowered as these."""
    plain = lowerings()
    # The threshold scales its weights when it is made; from then on it is one batch norm for all steps.
    norms = (layer.ThresholdDependentBatchNorm1d, layer.ThresholdDependentBatchNorm2d)
    return {
        layer.VotingLayer: _lower_voting,
        layer.Dropout: plain[nn.Dropout],
        layer.Dropout2d: plain[nn.Dropout],
        **dict.fromkeys(norms, plain[nn.BatchNorm2d]),
        **{getattr(layer, name): plain[getattr(nn, name)] for name in _WRAPPED},
    }


def containers() -> tuple[type[nn.Module], ...]:
    """Its containers."""
    return layer.SeqToANNContainer, layer.MultiStepContainer, layer.StepModeContainer


def container(module: Any) -> str:
    """How a container calls its layers: with steps and images folded into one axis, step by step, or once."""
    if type(module) is layer.StepModeContainer:
        return "chain" if module.step_mode == "s" else "driven" if module.stateful else "folded"
    return "folded" if type(module) is layer.SeqToANNContainer else "driven"


def _lower_voting(lowering: Lowering, name: str, module: Any, value: Value) -> Value:
    """Neighbouring outputs vote together: their mean."""
    if len(value.shape) != 1 or value.shape[0] % module.voting_size:
        raise Refuse("voting_size", module.voting_size, f"does not divide the outputs, {value.shape}")
    groups = np.eye(value.shape[0] // module.voting_size)
    return apply_operator(lowering, Dense(np.repeat(groups, module.voting_size, axis=1) / module.voting_size), value)


def _integrating(module: Any) -> Neuron:
    return _neuron(module, NeuronEquations("v : 1", *_reset(module), **_conventions(module)))


def _leaking(module: Any) -> Neuron:
    return _neuron(module, _leaky(module, np.asarray(1 / module.tau)))


def _parametric(module: Any) -> Neuron:
    return _neuron(module, _leaky(module, numbers(module.w.double().sigmoid())))


def _recurrent(module: Any) -> Neuron:
    """A neuron behind a linear layer that reads the input and the neuron's own spikes of the step before."""
    known = neurons().get(type(module.sub_module))
    if known is None:
        raise Refuse(
            "sub_module", type(module.sub_module).__name__, "is no neuron that is known; use LIFNode or IFNode"
        )
    whole, inputs = module.rc, module.rc.in_features - module.sub_module_out_features
    enters = nn.Linear(inputs, whole.out_features, bias=whole.bias is not None)
    enters.weight.data = whole.weight.data[:, :inputs]
    if whole.bias is not None:
        enters.bias.data = whole.bias.data
    returns = nn.Linear(whole.in_features - inputs, whole.out_features, bias=False)
    returns.weight.data = whole.weight.data[:, inputs:]
    inside = known(module.sub_module)
    return replace(inside, enters=enters, recurrent=returns, over_steps=module.step_mode == "m")


def _leaky(module: Any, part: np.ndarray) -> NeuronEquations:
    """``v += part * (x - (v - v_rest))``, the input inside or outside the bracket."""
    (parameters,) = _reset(module)
    rest = 0.0 if module.v_reset is None else float(module.v_reset)
    parameters |= {"tau": constant(1 / part, "step"), "v_rest": constant(rest)}
    model = "dv/dt = (v_rest - v)/tau : 1"
    if not module.decay_input:
        return NeuronEquations(model, parameters, method="euler", **_conventions(module))
    parameters["gain"] = constant(part)
    return NeuronEquations(
        f"{model}\ndrive : 1",
        parameters,
        method="euler",
        input="drive",
        update="v += gain*drive\ndrive = 0",
        **_conventions(module),
    )


def _reset(module: Any) -> tuple[dict[str, Any]]:
    level = float(module.v_threshold)
    soft = module.v_reset is None
    parameters = {"v_threshold": constant(level), "v_reset": constant(level if soft else float(module.v_reset))}
    if not soft and module.v_reset != 0:
        parameters["v_initial"] = constant(float(module.v_reset))
    return (parameters,)


def _conventions(module: Any) -> dict[str, Any]:
    if not getattr(module.surrogate_function, "spiking", True):
        raise Refuse("surrogate_function.spiking", False, "makes the output analogue; use spiking=True")
    return {"comparison": ">=", "reset": "subtract" if module.v_reset is None else "value"}


def _neuron(module: Any, equations: NeuronEquations) -> Neuron:
    return Neuron(equations, over_steps=module.step_mode == "m", when="after_reset")
