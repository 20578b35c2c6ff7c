"""How each kind of torch layer is lowered: one small function per kind.

Each takes the network so far, the layer's name, the layer, and its input, and gives its output. What it cannot lower
exactly it refuses, with the argument, its value and the remedy.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from alade_brian.conversion.lowering import (
    Lowering,
    Refuse,
    Value,
    add,
    apply_operator,
    concatenate,
    reshape,
    scale,
)
from alade_brian.conversion.spec import (
    Convolution,
    Dense,
    Identity,
    NeuronEquations,
    Operator,
    Pooling,
    Readout,
    constant,
)
from alade_brian.models.neurons import SpikingNeuron
from alade_brian.models.time import HoldCurrent, MeanOverSteps

LowerFunction = Callable[[Lowering, str, Any, Value], Value]


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """float64 copy of a tensor."""
    return tensor.detach().double().cpu().numpy()


def pair(value: Any) -> tuple[int, int]:
    """A number for both axes, or one for each."""
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else (int(value), int(value))


def _lower_neuron(lowering: Lowering, name: str, module: SpikingNeuron, value: Value) -> Value:
    return lowering.add_population(name, value, module.equations(), module.steps)


def _lower_mean_over_steps(lowering: Lowering, name: str, module: MeanOverSteps, value: Value) -> Value:
    if lowering.readout is not None:
        raise Refuse("module", name, "is a second readout; a network has one")
    passed = next((term.source for term in value.terms if lowering.is_stimulus(term.source)), None)
    if passed is not None:
        raise Refuse("input", passed, "reaches the readout without passing a neuron; put a neuron layer between")
    lowering.add_population(name, value, NeuronEquations("v : 1", spiking=False, reset="none"), module.steps)
    lowering.readout = Readout(name)
    return value


def _lower_pass(lowering: Lowering, name: str, module: nn.Module, value: Value) -> Value:
    return value


def _lower_conv2d(lowering: Lowering, name: str, module: nn.Conv2d, value: Value) -> Value:
    if module.padding_mode != "zeros":
        raise Refuse("padding_mode", module.padding_mode, "is not exact as synapses yet; use 'zeros'")
    weight = to_numpy(module.weight)
    whole = Convolution(weight, pair(module.stride), _padding(module), module.groups, dilation=pair(module.dilation))
    return _with_bias(apply_operator(lowering, whole, value), module)


def _padding(module: nn.Conv2d) -> tuple[int, int]:
    if not isinstance(module.padding, str):
        return pair(module.padding)
    if module.padding == "valid":
        return 0, 0
    # "same": torch pads one more pixel at the end where the number to add is odd.
    total = [d * (k - 1) for d, k in zip(pair(module.dilation), pair(module.kernel_size), strict=True)]
    if any(t % 2 for t in total):
        raise Refuse("padding", module.padding, "is uneven for this kernel; use an odd kernel or pad with numbers")
    return total[0] // 2, total[1] // 2


def _with_bias(value: Value, module: Any) -> Value:
    """A value with the bias of a layer, one number per channel, added."""
    if module.bias is None:
        return value
    return replace(value, bias=value.bias + _per_channel(to_numpy(module.bias), value))


def _per_channel(numbers: np.ndarray, value: Value) -> np.ndarray:
    """One number per channel, arranged to meet a value's shape."""
    return numbers.reshape(-1, *[1] * (len(value.shape) - 1))


def _lower_linear(lowering: Lowering, name: str, module: nn.Linear, value: Value) -> Value:
    if len(value.shape) != 1:
        raise Refuse("input", value.shape, "is not flat; put nn.Flatten before the linear layer")
    return _with_bias(apply_operator(lowering, Dense(to_numpy(module.weight)), value), module)


def _lower_batch_norm(lowering: Lowering, name: str, module: nn.modules.batchnorm._BatchNorm, value: Value) -> Value:
    if module.running_mean is None or module.running_var is None:
        raise Refuse("track_running_stats", False, "leaves nothing to fold; train with running statistics")
    gain = 1 / np.sqrt(to_numpy(module.running_var) + module.eps)
    if module.affine:
        gain = gain * to_numpy(module.weight)
    shift = -to_numpy(module.running_mean) * gain
    if module.affine:
        shift = shift + to_numpy(module.bias)
    return scale(lowering, value, _per_channel(gain, value), _per_channel(shift, value))


def _lower_avg_pool(lowering: Lowering, name: str, module: nn.AvgPool2d, value: Value) -> Value:
    if pair(module.padding) != (0, 0):
        raise Refuse("padding", module.padding, "is not lowered; pool without padding")
    if module.ceil_mode:
        raise Refuse("ceil_mode", True, "is not lowered; use ceil_mode=False")
    if module.divisor_override:
        raise Refuse("divisor_override", module.divisor_override, "is not lowered; leave it out")
    stride = module.stride if module.stride is not None else module.kernel_size
    return apply_operator(lowering, Pooling(pair(module.kernel_size), pair(stride)), value)


def _lower_global_pool(lowering: Lowering, name: str, module: nn.AdaptiveAvgPool2d, value: Value) -> Value:
    if module.output_size not in (1, (1, 1)):
        raise Refuse("output_size", module.output_size, "is not lowered; use 1, or nn.AvgPool2d")
    return apply_operator(lowering, Pooling(pair(value.shape[1:]), pair(value.shape[1:])), value)


def _lower_max_pool(lowering: Lowering, name: str, module: nn.MaxPool2d, value: Value) -> Value:
    """The maximum of binary spikes is their OR: neurons without leak that fire at the first spike of their window."""
    if module.ceil_mode:
        raise Refuse("ceil_mode", True, "is not lowered; use ceil_mode=False")
    if module.return_indices:
        raise Refuse("return_indices", True, "is not lowered; leave it out")
    if not _are_spikes(lowering, value):
        raise Refuse(
            "input", value.shape, "is no layer of spikes, whose maximum would be exact; pool right behind a neuron"
        )
    stride = module.stride if module.stride is not None else module.kernel_size
    window: Operator = Pooling(pair(module.kernel_size), pair(stride), padding=pair(module.padding), average=False)
    if pair(module.dilation) != (1, 1):
        ones = np.ones((value.shape[0], 1, *pair(module.kernel_size)))
        window = Convolution(ones, pair(stride), pair(module.padding), value.shape[0], dilation=pair(module.dilation))
    either = NeuronEquations("v : 1", {"v_threshold": constant(0.5), "v_reset": constant(0.0)})
    return lowering.add_population(name, apply_operator(lowering, window, value), either)


def _are_spikes(lowering: Lowering, value: Value) -> bool:
    """Whether a value is nothing but spikes: of one layer, or of several side by side."""
    plain = all(
        not lowering.is_stimulus(term.source)
        and lowering.population(term.source).neuron.spiking
        and isinstance(term.operator, Identity)
        and np.all(term.operator.gain == 1)
        for term in value.terms
    )
    side_by_side = sum(prod(term.shape) for term in value.terms) == prod(value.shape)
    places = {term.first for term in value.terms}
    return plain and side_by_side and len(places) == len(value.terms) and not value.bias.any()


def _lower_flatten(lowering: Lowering, name: str, module: nn.Flatten, value: Value) -> Value:
    return _flatten(value, module.start_dim, module.end_dim)


def _flatten(value: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    if start_dim != 1 or end_dim not in (-1, len(value.shape)):
        raise Refuse("start_dim, end_dim", (start_dim, end_dim), "must flatten everything but the batch: use 1 and -1")
    return reshape(value, (prod(value.shape),))


def _cat(values: list[Value] | tuple[Value, ...], dim: int = 0) -> Value:
    if dim != 1:
        raise Refuse("dim", dim, "must concatenate channels or features: use dim=1")
    return concatenate(values)


def _add(left: Any, right: Any) -> Value:
    if not (isinstance(left, Value) and isinstance(right, Value)):
        raise Refuse("+", f"{left}, {right}", "adds only two tensors of the same shape")
    return add(left, right)


def function_lowerings() -> Mapping[Any, Callable[..., Value]]:
    """The lowering function of every torch function that may stand in a `forward`."""
    return {
        torch.cat: _cat,
        torch.flatten: _flatten,
        torch.add: _add,
        python_operator.add: _add,
        python_operator.iadd: _add,
    }


def lowerings() -> dict[type[nn.Module], LowerFunction]:
    """The built-in lowering function of every layer kind; a subclass is lowered like its base."""
    return {
        SpikingNeuron: _lower_neuron,
        HoldCurrent: _lower_pass,
        MeanOverSteps: _lower_mean_over_steps,
        nn.Conv2d: _lower_conv2d,
        nn.Linear: _lower_linear,
        nn.BatchNorm1d: _lower_batch_norm,
        nn.BatchNorm2d: _lower_batch_norm,
        nn.AvgPool2d: _lower_avg_pool,
        nn.AdaptiveAvgPool2d: _lower_global_pool,
        nn.MaxPool2d: _lower_max_pool,
        nn.Flatten: _lower_flatten,
        nn.Dropout: _lower_pass,
        nn.Identity: _lower_pass,
    }
