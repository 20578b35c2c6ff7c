"""How pooling is lowered: averages and sums as weights, the maximum of spikes as neurons, any other as an analogue
stage. Layers, and torch's functions that do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from alade_brian.conversion.from_torch.lowerings import lowers
from alade_brian.conversion.from_torch.shapes import Pair, along, check_axes
from alade_brian.conversion.lowering import (
    AffineInput,
    CannotLower,
    SpecBuilder,
    apply_operator,
    is_plain,
    source_value,
    spike_heights,
)
from alade_brian.models.layers.linear import SumPool1d, SumPool2d
from alade_brian.spec import (
    Convolution,
    MaxPooling,
    NeuronEquations,
    Operator,
    Pooling,
    Population,
    Projection,
    constant,
    memoryless,
    same_operator,
)

AvgPool = nn.AvgPool1d | nn.AvgPool2d
MaxPool = nn.MaxPool1d | nn.MaxPool2d
AdaptiveAvgPool = nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d
AdaptiveMaxPool = nn.AdaptiveMaxPool1d | nn.AdaptiveMaxPool2d


def _window(module: Any, axes: int) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding."""
    stride = module.kernel_size if module.stride is None else module.stride
    return along(axes, module.kernel_size, 1), along(axes, stride, 1), along(axes, module.padding, 0)


def _cuts_windows(module: Any, value: AffineInput, axes: int, dilation: Pair = (1, 1)) -> bool:
    """Whether ceil_mode adds windows that the image's end cuts off."""
    kernel, stride, padding = _window(module, axes)
    sizes = (1, *value.shape[1:])[-2:]
    rest = [
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, k, s, d in zip(sizes, padding, kernel, stride, dilation, strict=True)
    ]
    return bool(module.ceil_mode) and any(rest)


@lowers(nn.AvgPool1d, nn.AvgPool2d, linear=True)
def lower_avg_pool(lowering: SpecBuilder, name: str, module: AvgPool, value: AffineInput) -> AffineInput:
    """The average of a window; another divisor is a gain."""
    axes = 2 if isinstance(module, nn.AvgPool2d) else 1
    check_axes(value, axes)
    if _cuts_windows(module, value, axes):
        raise CannotLower("ceil_mode", True, f"cuts windows off an image of {value.shape[1:]}; use ceil_mode=False")
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
    window = along(axes, _adaptive_kernel(module, value, axes, "nn.AvgPool"), 1)
    return apply_operator(lowering, Pooling(window, window), value)


def _adaptive_kernel(module: Any, value: AffineInput, axes: int, instead: str) -> tuple[int, ...]:
    """The windows, which do not overlap, by which an image is pooled to a given size."""
    check_axes(value, axes)
    given = module.output_size if isinstance(module.output_size, tuple | list) else (module.output_size,) * axes
    wanted = [size if n is None else int(n) for n, size in zip(given, value.shape[1:], strict=True)]
    if any(size % n for n, size in zip(wanted, value.shape[1:], strict=True)):
        raise CannotLower(
            "output_size",
            module.output_size,
            f"does not divide the image of {value.shape[1:]}; use {instead} with a kernel",
        )
    return tuple(size // n for n, size in zip(wanted, value.shape[1:], strict=True))


@lowers(
    nn.MaxPool1d,
    nn.MaxPool2d,
    limits={"return_indices": False},
    condition="of spikes as their OR, of anything else as a maximum of currents",
)
def lower_max_pool(lowering: SpecBuilder, name: str, module: MaxPool, value: AffineInput) -> AffineInput:
    """Of the spikes of neurons right before it, neurons that spike; of anything else, the maximum of currents."""
    axes = 2 if isinstance(module, nn.MaxPool2d) else 1
    check_axes(value, axes)
    dilation = along(axes, module.dilation, 1)
    height = _spike_height(lowering, value)
    again = any(p.name.startswith(f"{name}.maximum") for p in lowering.populations)
    if height is None or again or _cuts_windows(module, value, axes, dilation):
        return _maximum_of_currents(lowering, name, module, value)
    return _maximum_of_spikes(lowering, name, module, value, height)


@lowers(
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    limits={"return_indices": False},
    condition="where the output divides the input",
)
def lower_adaptive_max_pool(
    lowering: SpecBuilder, name: str, module: AdaptiveMaxPool, value: AffineInput
) -> AffineInput:
    """A maximum to a given size, where that divides the image."""
    axes, plain = (2, nn.MaxPool2d) if isinstance(module, nn.AdaptiveMaxPool2d) else (1, nn.MaxPool1d)
    kernel = _adaptive_kernel(module, value, axes, "nn.MaxPool")
    return lower_max_pool(lowering, name, plain(kernel if axes == 2 else kernel[0]), value)


def _maximum_of_currents(lowering: SpecBuilder, name: str, module: MaxPool, value: AffineInput) -> AffineInput:
    """An analogue stage: a population without memory holds the values, and another takes the maximum of each window
    in the same step and passes it on as a current."""
    axes = 2 if isinstance(module, nn.MaxPool2d) else 1
    kernel, stride, padding = _window(module, axes)
    window = MaxPooling(kernel, stride, padding, along(axes, module.dilation, 1), bool(module.ceil_mode))
    shape = window.output_shape(value.shape)
    source = _sending(lowering, value) or lowering.hold(f"{name}.input", value)
    for known in lowering.projections:
        if known.source == source and same_operator(known.operator, window):
            return source_value(known.target, shape)
    target = lowering.free_name(f"{name}.maximum")
    lowering.populations.append(Population(target, shape, memoryless()))
    lowering.projections.append(Projection(source, target, window))
    return source_value(target, shape)


def _sending(lowering: SpecBuilder, value: AffineInput) -> str | None:
    """The population without spikes whose output a value is, unchanged and in its own shape."""
    if not is_plain(value) or lowering.is_stimulus(value.terms[0].source):
        return None
    population = lowering.population(value.terms[0].source)
    return None if population.neuron.spiking or population.shape != value.shape else population.name


def _maximum_of_spikes(
    lowering: SpecBuilder, name: str, module: MaxPool, value: AffineInput, height: np.ndarray
) -> AffineInput:
    """The maximum of binary spikes is their OR: neurons without leak that fire at the first spike of their window."""
    axes = 2 if isinstance(module, nn.MaxPool2d) else 1
    dilation = along(axes, module.dilation, 1)
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


def _spike_height(lowering: SpecBuilder, value: AffineInput) -> np.ndarray | None:
    """What a spike counts: one number, or one per channel ``(C, 1, ...)``. None for values that are not spikes of one
    layer or of several side by side, and for spikes whose maximum is not their OR."""
    heights = spike_heights(lowering, value)
    return None if heights is None or value.bias.any() else _height_per_channel(heights)


def _height_per_channel(height: np.ndarray) -> np.ndarray | None:
    channel = height.reshape(len(height), -1)
    if np.any(height <= 0) or np.any(channel != channel[:, :1]):
        return None
    if np.all(channel == channel[0, 0]):
        return np.asarray(channel[0, 0])
    return channel[:, 0].reshape(-1, *[1] * (height.ndim - 1))


def _max_pooled(axes: int) -> Callable[..., AffineInput]:
    """torch.nn.functional.max_pool1d or max_pool2d. No layer puts out what it makes, so that its spikes are currents
    too. With indices torch calls another function."""
    kind = nn.MaxPool2d if axes == 2 else nn.MaxPool1d

    def function(
        lowering: SpecBuilder,
        value: AffineInput,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> AffineInput:
        check_axes(value, axes)
        module = kind(kernel_size, _stride(stride), padding, dilation, ceil_mode=ceil_mode)
        return _maximum_of_currents(lowering, f"max_pool{axes}d", module, value)

    return function


def _adaptive_max_pooled(axes: int) -> Callable[..., AffineInput]:
    """torch.nn.functional.adaptive_max_pool1d or adaptive_max_pool2d, see `_max_pooled`."""
    kind = nn.AdaptiveMaxPool2d if axes == 2 else nn.AdaptiveMaxPool1d

    def function(
        lowering: SpecBuilder, value: AffineInput, output_size: Any, return_indices: bool = False
    ) -> AffineInput:
        kernel = _adaptive_kernel(kind(output_size), value, axes, "max_pool")
        plain = nn.MaxPool2d(kernel) if axes == 2 else nn.MaxPool1d(kernel[0])
        return _maximum_of_currents(lowering, f"max_pool{axes}d", plain, value)

    return function


def _avg_pooled(axes: int) -> Callable[..., AffineInput]:
    """torch.nn.functional.avg_pool1d or avg_pool2d."""
    kind = nn.AvgPool2d if axes == 2 else nn.AvgPool1d

    def function(
        lowering: SpecBuilder, value: AffineInput, kernel_size: Any, stride: Any = None, *more: Any, **named: Any
    ) -> AffineInput:
        return lower_avg_pool(lowering, "avg_pool", kind(kernel_size, _stride(stride), *more, **named), value)

    return function


def _adaptive_avg_pooled(axes: int) -> Callable[..., AffineInput]:
    """torch.nn.functional.adaptive_avg_pool1d or adaptive_avg_pool2d."""
    kind = nn.AdaptiveAvgPool2d if axes == 2 else nn.AdaptiveAvgPool1d

    def function(lowering: SpecBuilder, value: AffineInput, output_size: Any) -> AffineInput:
        return lower_adaptive_pool(lowering, "adaptive_avg_pool", kind(output_size), value)

    return function


def _stride(stride: Any) -> Any:
    """A stride as a layer takes it: torch's functions also write an empty one for the kernel's size."""
    return None if isinstance(stride, tuple | list) and not stride else stride


# The lowering function of every torch function that pools.
POOLING_FUNCTIONS: Mapping[Any, Callable[..., AffineInput]] = MappingProxyType(
    {
        functional.max_pool1d: _max_pooled(1),
        functional.max_pool2d: _max_pooled(2),
        torch.max_pool1d: _max_pooled(1),
        torch.max_pool2d: _max_pooled(2),
        functional.adaptive_max_pool1d: _adaptive_max_pooled(1),
        functional.adaptive_max_pool2d: _adaptive_max_pooled(2),
        functional.avg_pool1d: _avg_pooled(1),
        functional.avg_pool2d: _avg_pooled(2),
        functional.adaptive_avg_pool1d: _adaptive_avg_pooled(1),
        functional.adaptive_avg_pool2d: _adaptive_avg_pooled(2),
    }
)
