"""How each kind of torch layer is lowered: one small function per kind, registered by `lowers`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS
from alade_brian.conversion.from_torch.functions import flattened, unflattened
from alade_brian.conversion.from_torch.lowerings import LOWERINGS, lowers
from alade_brian.conversion.from_torch.shapes import along, check_axes, per_channel, to_numpy
from alade_brian.conversion.lowering import (
    AffineInput,
    CannotLower,
    LinearTerm,
    SpecBuilder,
    apply_operator,
    same_value,
    scale,
    source_value,
)
from alade_brian.models.coding import Frames, HoldCurrent, Impulse
from alade_brian.models.layers.linear import Recurrent, Scale
from alade_brian.models.neurons.neuron import Neuron, numbers
from alade_brian.spec import Convolution, Dense, Identity, NeuronEquations, TransposedConvolution

Conv = nn.Conv1d | nn.Conv2d
TransposedConv = nn.ConvTranspose1d | nn.ConvTranspose2d

# Batch norms of frameworks with statistics or weights of their own for every step, by the beginning of their name.
_NORMS_OF_STEPS = ("BatchNormTT", "BatchNormThroughTime", "BNTT", "TemporalEffectiveBatchNorm", "TEBN", "NeuNorm")


def is_refused_class(kind: type) -> bool:
    """Whether a framework's class of layers is known by its name to have no exact counterpart."""
    return any(
        c.__name__.startswith(_NORMS_OF_STEPS) and c.__module__.split(".")[0] in FRAMEWORKS for c in kind.__mro__
    )


def refuse_class(module: nn.Module) -> None:
    """Refuse layers that are known by the name of their class to have no exact counterpart."""
    if is_refused_class(type(module)):
        name = type(module).__name__
        raise CannotLower("class", name, "differs from step to step, weights do not; use one batch norm for all steps")


@lowers(Neuron)
def _lower_neuron(lowering: SpecBuilder, name: str, module: Neuron, value: AffineInput) -> AffineInput:
    return lowering.add_population(name, value, _equations(module), module.steps)


def _equations(module: Neuron) -> NeuronEquations:
    try:
        return module.equations()
    except ValueError as error:
        raise CannotLower("parameters", str(error).split(":")[0], str(error).split(":")[-1].strip()) from None


@lowers(Recurrent)
def _lower_recurrent(lowering: SpecBuilder, name: str, module: Recurrent, value: AffineInput) -> AffineInput:
    """Neurons with a projection onto themselves that takes one step."""
    sent = lowering.add_population(name, value, _equations(module.neuron), module.steps)
    before = replace(sent, terms=(replace(sent.terms[0], delay=1),))
    fed = lower_chain(lowering, f"{name}.connection", module.connection, before)
    if fed.shape != value.shape:
        raise CannotLower("connection", fed.shape, f"does not make the neurons' own shape {value.shape}")
    lowering.connect(name, fed)
    lowering.set_bias(name, value.bias + fed.bias)
    return sent


def lower_chain(lowering: SpecBuilder, name: str, module: nn.Module, value: AffineInput) -> AffineInput:
    """A linear layer, or several in an nn.Sequential, that stand inside another module."""
    if isinstance(module, nn.Sequential):
        for key, layer in module.named_children():
            value = lower_chain(lowering, f"{name}.{key}", layer, value)
        return value
    known = LOWERINGS.for_class(type(module))
    if known is None or not known.linear:
        raise CannotLower(name, type(module).__name__, "is no linear layer; use nn.Linear, nn.Conv2d or Scale")
    return known(lowering, name, module, value)


@lowers(HoldCurrent, Frames)
@lowers(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, linear=True)
def _lower_pass(lowering: SpecBuilder, name: str, module: nn.Module, value: AffineInput) -> AffineInput:
    return value


@lowers(Impulse)
def _lower_impulse(lowering: SpecBuilder, name: str, module: Impulse, value: AffineInput) -> AffineInput:
    return lowering.add_population(name, value, module.equations(), module.steps)


@lowers(nn.Conv1d, nn.Conv2d, limits={"padding_mode": "zeros"}, linear=True)
def _lower_conv(lowering: SpecBuilder, name: str, module: Conv, value: AffineInput) -> AffineInput:
    axes = 2 if isinstance(module, nn.Conv2d) else 1
    check_axes(value, axes)
    stride, dilation = along(axes, module.stride, 1), along(axes, module.dilation, 1)
    weight = _planar_kernel(module)
    if module.padding == "same":
        whole = same_padding(weight, dilation, module.groups)
    else:
        padding = (0, 0) if module.padding == "valid" else along(axes, module.padding, 0)
        whole = Convolution(weight, stride, padding, module.groups, dilation=dilation)
    return _with_bias(apply_operator(lowering, whole, value), module)


def _planar_kernel(module: Conv | TransposedConv) -> np.ndarray:
    """A kernel with two spatial axes."""
    weight = to_numpy(module.weight)
    return weight if weight.ndim == 4 else weight[:, :, None, :]


def same_padding(weight: np.ndarray, dilation: tuple[int, int], groups: int) -> Convolution:
    """A convolution that keeps the image's size.

    Where the number of pixels to add is odd, torch pads one more behind than in front; a kernel with a zero in front
    makes both sides equal.
    """
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    odd = [t % 2 for t in total]
    if any(odd):
        wide = np.zeros((*weight.shape[:2], total[0] + 1 + odd[0], total[1] + 1 + odd[1]))
        wide[:, :, odd[0] :: dilation[0], odd[1] :: dilation[1]] = weight
        weight, dilation = wide, (1, 1)
    return Convolution(weight, (1, 1), (-(-total[0] // 2), -(-total[1] // 2)), groups, dilation=dilation)


@lowers(nn.ConvTranspose1d, nn.ConvTranspose2d, linear=True)
def _lower_transposed_conv(lowering: SpecBuilder, name: str, module: TransposedConv, value: AffineInput) -> AffineInput:
    axes = 2 if isinstance(module, nn.ConvTranspose2d) else 1
    check_axes(value, axes)
    whole = TransposedConvolution(
        _planar_kernel(module),
        along(axes, module.stride, 1),
        along(axes, module.padding, 0),
        along(axes, module.output_padding, 0),
        module.groups,
        along(axes, module.dilation, 1),
    )
    return _with_bias(apply_operator(lowering, whole, value), module)


def _with_bias(value: AffineInput, module: Any) -> AffineInput:
    """A value with the bias of a layer, one number per channel, added."""
    if module.bias is None:
        return value
    return replace(value, bias=value.bias + per_channel(to_numpy(module.bias), value))


@lowers(nn.Linear, linear=True)
def _lower_linear(lowering: SpecBuilder, name: str, module: nn.Linear, value: AffineInput) -> AffineInput:
    if len(value.shape) != 1:
        raise CannotLower("input", value.shape, "is not flat; put nn.Flatten before the linear layer")
    return _with_bias(apply_operator(lowering, Dense(to_numpy(module.weight)), value), module)


@lowers(nn.BatchNorm1d, nn.BatchNorm2d, condition="with running statistics", linear=True)
def _lower_batch_norm(
    lowering: SpecBuilder, name: str, module: nn.modules.batchnorm._BatchNorm, value: AffineInput
) -> AffineInput:
    if module.running_mean is None or module.running_var is None:
        raise CannotLower("track_running_stats", False, "leaves nothing to fold; train with running statistics")
    if module.num_features != value.shape[0]:
        raise CannotLower("num_features", module.num_features, f"is not the number of channels, {value.shape[0]}")
    gain = 1 / np.sqrt(to_numpy(module.running_var) + module.eps)
    if module.weight is not None:
        gain = gain * to_numpy(module.weight)
    shift = -to_numpy(module.running_mean) * gain
    if module.bias is not None:
        shift = shift + to_numpy(module.bias)
    return scale(lowering, value, per_channel(gain, value), per_channel(shift, value))


@lowers(Scale, linear=True)
def _lower_scale(lowering: SpecBuilder, name: str, module: Scale, value: AffineInput) -> AffineInput:
    gain = numbers(module.gain)
    try:
        np.broadcast_to(gain, value.shape)
    except ValueError:
        raise CannotLower(
            "gain", gain.shape, f"does not fit the input, {value.shape}; use (C, 1, 1) for channels"
        ) from None
    return scale(lowering, value, gain)


def check_delay(module: nn.Module, over_steps: bool, folded: bool) -> None:
    """Refuse a layer that delays a signal and takes steps for something else.

    over_steps   whether it is given all steps at once
    folded       whether it stands in a container that folds the steps into the images
    """
    if not hasattr(module, "delay_steps"):
        return
    if folded:
        raise CannotLower(
            "container", "folded steps", "hides the steps from a delay; put the delay behind the container"
        )
    mode = getattr(module, "step_mode", "s")
    if over_steps != (mode == "m"):
        said = "is given all steps; use step_mode='m'" if over_steps else "is given one step; use step_mode='s'"
        raise CannotLower("step_mode", repr(mode), said)


def lower_delay(lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
    """A layer that passes on what it was given `delay_steps` steps ago, and zeros before: a delay of the projections
    that spikes take. Currents, and a bias, which begin only then, go step by step through populations without memory.
    """
    first = lowering.delayed.setdefault(name, value)
    if not same_value(first, value):
        raise CannotLower("module", name, "holds one signal and is given two; give each place a delay of its own")
    steps = int(module.delay_steps)
    spikes = all(
        not lowering.is_stimulus(t.source) and lowering.population(t.source).neuron.spiking for t in value.terms
    )
    if steps == 0 or (spikes and not value.bias.any()):
        return replace(value, terms=tuple(replace(t, delay=t.delay + steps) for t in value.terms))
    source = lowering.hold(f"{name}.input", value)
    for ago in range(1, steps + 1):
        # A current takes a step to a population that stands before its source in the step order.
        before = replace(
            source_value(source, value.shape), terms=(LinearTerm(source, Identity(), value.shape, delay=1),)
        )
        source = lowering.hold(f"{name}.{ago}_ago", before, before=source)
    return source_value(source, value.shape)


@lowers(nn.Flatten, linear=True)
def _lower_flatten(lowering: SpecBuilder, name: str, module: nn.Flatten, value: AffineInput) -> AffineInput:
    return flattened(lowering, value, module.start_dim, module.end_dim)


@lowers(nn.Unflatten, linear=True)
def _lower_unflatten(lowering: SpecBuilder, name: str, module: nn.Unflatten, value: AffineInput) -> AffineInput:
    if not isinstance(module.dim, int):
        raise CannotLower("dim", module.dim, "is a name; use the axis' number")
    return unflattened(lowering, value, module.dim, module.unflattened_size)
