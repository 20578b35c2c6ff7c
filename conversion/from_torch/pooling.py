"""How pooling layers are lowered: averages and sums as weights, the maximum of spikes as neurons."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch import nn

from alade_brian.conversion.from_torch.lowerings import lowers
from alade_brian.conversion.from_torch.shapes import Pair, along, check_axes
from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder, apply_operator
from alade_brian.models.layers.linear import SumPool1d, SumPool2d
from alade_brian.spec import Convolution, Identity, NeuronEquations, Operator, Pooling, constant

AvgPool = nn.AvgPool1d | nn.AvgPool2d
MaxPool = nn.MaxPool1d | nn.MaxPool2d
AdaptiveAvgPool = nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d


def _window(module: Any, axes: int) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding."""
    stride = module.kernel_size if module.stride is None else module.stride
    return along(axes, module.kernel_size, 1), along(axes, stride, 1), along(axes, module.padding, 0)


def _refuse_ceil(module: Any, value: AffineInput, axes: int, dilation: Pair = (1, 1)) -> None:
    """Refuse ceil_mode, unless the windows divide the image."""
    if not module.ceil_mode:
        return
    kernel, stride, padding = _window(module, axes)
    sizes = (1, *value.shape[1:])[-2:]
    rest = [
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, k, s, d in zip(sizes, padding, kernel, stride, dilation, strict=True)
    ]
    if any(rest):
        raise CannotLower("ceil_mode", True, f"cuts windows off an image of {value.shape[1:]}; use ceil_mode=False")


@lowers(nn.AvgPool1d, nn.AvgPool2d, linear=True)
def lower_avg_pool(lowering: SpecBuilder, name: str, module: AvgPool, value: AffineInput) -> AffineInput:
    """The average of a window; another divisor is a gain."""
    axes = 2 if isinstance(module, nn.AvgPool2d) else 1
    check_axes(value, axes)
    _refuse_ceil(module, value, axes)
    kernel, stride, padding = _window(module, axes)
    divisor = getattr(module, "divisor_override", None)
    if any(padding) and not module.count_include_pad and not divisor:
        raise CannotLower(
            "count_include_pad", False, "divides by another number at the border; use count_include_pad=True"
        )
    gain = np.asarray(1.0 if divisor is None else 1 / divisor)
    return apply_operator(lowering, Pooling(kernel, stride, gain, padding, average=divisor is None), value)


@lowers(SumPool1d, SumPool2d, linear=True)
def lower_sum_pool(lowering: SpecBuilder, name: str, module: SumPool1d | SumPool2d, value: AffineInput) -> AffineInput:
    """The sum of a window."""
    axes = 2 if isinstance(module, SumPool2d) else 1
    check_axes(value, axes)
    kernel, stride, padding = _window(module, axes)
    return apply_operator(lowering, Pooling(kernel, stride, padding=padding, average=False), value)


@lowers(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, condition="where the output divides the input", linear=True)
def lower_adaptive_pool(lowering: SpecBuilder, name: str, module: AdaptiveAvgPool, value: AffineInput) -> AffineInput:
    """An average to a given size, where that divides the image."""
    axes = 2 if isinstance(module, nn.AdaptiveAvgPool2d) else 1
    check_axes(value, axes)
    given = module.output_size if isinstance(module.output_size, tuple | list) else (module.output_size,) * axes
    wanted = [size if n is None else int(n) for n, size in zip(given, value.shape[1:], strict=True)]
    if any(size % n for n, size in zip(wanted, value.shape[1:], strict=True)):
        raise CannotLower(
            "output_size",
            module.output_size,
            f"does not divide the image of {value.shape[1:]}; use nn.AvgPool with a kernel",
        )
    kernel = tuple(size // n for n, size in zip(wanted, value.shape[1:], strict=True))
    window = along(axes, kernel, 1)
    return apply_operator(lowering, Pooling(window, window), value)


@lowers(nn.MaxPool1d, nn.MaxPool2d, limits={"return_indices": False}, condition="of spikes (an OR); refused elsewhere")
def lower_max_pool(lowering: SpecBuilder, name: str, module: MaxPool, value: AffineInput) -> AffineInput:
    """The maximum of binary spikes is their OR: neurons without leak that fire at the first spike of their window."""
    axes = 2 if isinstance(module, nn.MaxPool2d) else 1
    check_axes(value, axes)
    dilation = along(axes, module.dilation, 1)
    _refuse_ceil(module, value, axes, dilation)
    height = _spike_height(lowering, value)
    kernel, stride, padding = _window(module, axes)
    window: Operator = Pooling(kernel, stride, padding=padding, average=False)
    if dilation != (1, 1):
        ones = np.ones((value.shape[0], 1, *kernel))
        window = Convolution(ones, stride, padding, value.shape[0], dilation=dilation)
    parameters = {"v_threshold": constant(height / 2), "v_reset": constant(0.0)}
    if np.any(height != 1):
        parameters["amplitude"] = constant(height)
    either = NeuronEquations("v : 1", parameters)
    return lowering.add_population(name, apply_operator(lowering, window, value), either)


def _spike_height(lowering: SpecBuilder, value: AffineInput) -> np.ndarray:
    """What a spike counts: one number, or one per channel ``(C, 1, ...)``. Refused are values that are not spikes of
    one layer or of several side by side, and spikes whose maximum is not their OR."""
    if not value.terms:
        return np.ones(())  # behind a refusal
    flat = np.zeros(prod(value.shape))
    for term in value.terms:
        if lowering.is_stimulus(term.source) or not isinstance(term.operator, Identity):
            break
        source = lowering.population(term.source)
        if not source.neuron.spiking:
            break
        height = term.operator.per_neuron(source.shape) * source.amplitude
        place = slice(term.first, term.first + prod(term.shape))
        if np.any(flat[place]):
            break
        flat[place] = height.ravel()
    else:
        if not value.bias.any() and np.all(flat != 0):
            return _height_per_channel(flat.reshape(value.shape))
    raise CannotLower(
        "input", value.shape, "is no layer of spikes, whose maximum would be exact; pool right behind a neuron"
    )


def _height_per_channel(height: np.ndarray) -> np.ndarray:
    channel = height.reshape(len(height), -1)
    if np.any(height < 0) or np.any(channel != channel[:, :1]):
        raise CannotLower(
            "amplitude",
            "negative or unequal within a channel",
            "makes the maximum no OR of spikes; use a positive amplitude, one or one per channel",
        )
    if np.all(channel == channel[0, 0]):
        return np.asarray(channel[0, 0])
    return channel[:, 0].reshape(-1, *[1] * (height.ndim - 1))
