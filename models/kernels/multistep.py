"""Integrate-and-fire neurons over all time steps in one operation, alone and with batch norm in front of them.

Forwards it is what a loop over the steps computes, to the last bit; backwards it is the same gradient, but instead of
every intermediate result of the loop one tensor is kept. It runs in a C++ kernel where there is one, else in torch's
operations.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from alade_brian.models.coding import HoldCurrent
from alade_brian.models.kernels import kernels


@dataclass(frozen=True)
class LeakyConstants:
    """A neuron with nothing but a membrane, and numbers for constants: ``v[t] = decay * v'[t-1] + gain * x[t]``.

    to_zero   whether the reset goes to zero; otherwise it subtracts `drop`
    """

    steps: int
    decay: float
    gain: float
    threshold: float
    drop: float
    to_zero: bool
    inclusive: bool
    initial: float


class FusableNeuron(Protocol):
    """What this module asks of a neuron module."""

    steps: int

    def fusable(self) -> LeakyConstants | None:
        """The neuron's constants if it does nothing but leak, fire and reset; else None."""
        ...

    def output(self, spikes: Tensor) -> Tensor:
        """What the neuron sends for its spikes."""
        ...

    def __call__(self, current: Tensor) -> Tensor: ...


def spikes_of(current: Tensor, neuron: LeakyConstants) -> Tensor:
    """Spikes (0 or 1) of a plain neuron; current and spikes are ``(steps * images, ...)``."""
    return _Spikes.apply(current, neuron)


def normalised_spikes(
    x: Tensor,
    norm: nn.Module,
    neuron: FusableNeuron,
    *,
    hold: HoldCurrent | None = None,
    added: Tensor | None = None,
) -> Tensor:
    """What a neuron sends whose current is ``norm(x)``, held by `hold` or with `added` beside it.

    x       ``(steps * images, channels, ...)``, with `hold` ``(images, channels, ...)``
    added   as the current; not together with `hold`

    In training, batch norm and neuron are one operation where they can be; the spikes are channels last then.
    """
    constants = neuron.fusable()
    if constants is not None and _joins(x, norm, neuron, hold, added):
        return neuron.output(
            _NormalisedSpikes.apply(x, norm.weight, norm.bias, added, norm, constants, hold is not None)
        )
    current = norm(x)
    current = hold(current) if hold is not None else current
    return neuron(current if added is None else current + added)


def bare(*modules: nn.Module | None) -> bool:
    """Whether these modules have no hooks and may be bypassed."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any(vars(module)[name] for module in modules if module is not None for name in hooks)


def _joins(x: Tensor, norm: nn.Module, neuron: FusableNeuron, hold: HoldCurrent | None, added: Tensor | None) -> bool:
    if not isinstance(norm, _BatchNorm) or type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d):
        return False
    if not (norm.training and bare(norm, cast(nn.Module, neuron), hold)):
        return False
    if not (norm.affine and norm.track_running_stats) or norm.momentum is None:
        return False
    if not kernels.usable(x, added, norm.weight) or x.dtype != norm.weight.dtype or x.ndim not in (2, 4):
        return False
    if hold is None and len(x) % neuron.steps:
        return False
    # What batch norm refuses, it says itself.
    return bool(norm.num_features == x.shape[1] < x.numel()) and _library() is not None


def _library() -> ctypes.CDLL | None:
    # A product and a sum joined in one instruction would round once where torch rounds twice.
    return kernels.kernel("neurons", "-ffp-contract=off")


class _Layer(ctypes.Structure):
    """As in neurons.cpp."""

    _fields_ = (
        *[(name, ctypes.c_int64) for name in ("steps", "count", "channels", "threads", "held", "to_zero", "inclusive")],
        *[(name, ctypes.c_double) for name in ("decay", "gain", "threshold", "drop", "initial")],
    )


def _layer(neuron: LeakyConstants, spikes: Tensor, channels: int = 1, held: bool = False) -> _Layer:
    return _Layer(
        neuron.steps, spikes.numel() // neuron.steps, channels, torch.get_num_threads(), held, neuron.to_zero,
        neuron.inclusive, neuron.decay, neuron.gain, neuron.threshold, neuron.drop, neuron.initial,
    )  # fmt: skip


class _Spikes(Function):
    """A layer of plain neurons; keeps its current (kernel) or its membranes (torch)."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: LeakyConstants) -> Tensor:
        current = _dense(current)
        ctx.library = _library() if kernels.usable(current) else None
        ctx.neuron, ctx.layout = neuron, _layout(current)
        spikes = torch.empty_like(current)
        if ctx.library is None:
            ctx.save_for_backward(_membranes(current, neuron, spikes))
        else:
            kernels.run(ctx.library, "spikes", _layer(neuron, spikes), current, None, None, spikes)
            ctx.save_for_backward(current)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_spikes: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        if ctx.library is None:
            return _through_time(kept, ctx.neuron, of_spikes), None
        of_spikes, of_current = of_spikes.contiguous(memory_format=ctx.layout), torch.empty_like(kept)
        layer = _layer(ctx.neuron, kept)
        kernels.run(ctx.library, "gradient", layer, kept, None, None, of_spikes, of_current, None, None)
        return of_current, None


def _membranes(current: Tensor, neuron: LeakyConstants, spikes: Tensor) -> Tensor:
    """Membranes before the reset in torch's operations, one by one as the loop has them; fills the spikes in."""
    kept = torch.empty_like(current)
    left = torch.zeros_like(_by_step(current, neuron)[0]) + neuron.initial
    for x, v, s in zip(*(_by_step(t, neuron) for t in (current, kept, spikes)), strict=True):
        v.copy_(neuron.decay * left + (x if neuron.gain == 1 else neuron.gain * x))
        distance = v - neuron.threshold
        s.copy_(distance >= 0 if neuron.inclusive else distance > 0)
        left = (1 - s) * v if neuron.to_zero else v - neuron.drop * s
    return kept


def _through_time(membranes: Tensor, neuron: LeakyConstants, of_spikes: Tensor) -> Tensor:
    """Gradient of the current from that of the spikes, through the reset and the surrogate (`triangle_spike`)."""
    of_current = torch.empty_like(membranes)
    steps = list(zip(*(_by_step(t, neuron) for t in (membranes, of_spikes, of_current)), strict=True))
    back = torch.zeros_like(steps[0][0])
    for v, g, out in reversed(steps):
        distance = v - neuron.threshold
        slope = (1 - distance.abs()).clamp_(min=0)
        reset = v if neuron.to_zero else neuron.drop
        stays = ~(distance >= 0 if neuron.inclusive else distance > 0) if neuron.to_zero else 1
        of_membrane = back * stays + (g - back * reset) * slope
        out.copy_(of_membrane if neuron.gain == 1 else neuron.gain * of_membrane)
        back = neuron.decay * of_membrane
    return of_current


def _by_step(x: Tensor, neuron: LeakyConstants) -> Tensor:
    return x.unflatten(0, (neuron.steps, -1))


def _layout(x: Tensor) -> torch.memory_format:
    plain_order = x.ndim != 4 or x.is_contiguous()
    return torch.contiguous_format if plain_order else torch.channels_last


def _dense(x: Tensor) -> Tensor:
    """The tensor with its steps one behind the other in memory."""
    ordered = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return x if ordered else x.contiguous()


class _NormalisedSpikes(Function):
    """Batch norm in training, and a layer of plain neurons behind it; keeps what came in."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        added: Tensor | None,
        norm: _BatchNorm,
        neuron: LeakyConstants,
        held: bool,
    ) -> Tensor:
        ctx.order = torch.channels_last if x.ndim == 4 else torch.contiguous_format
        x = x.contiguous(memory_format=ctx.order)
        added = None if added is None else added.contiguous(memory_format=ctx.order)
        images = neuron.steps * len(x) if held else len(x)
        spikes = torch.empty((images, *x.shape[1:]), dtype=x.dtype, memory_format=ctx.order)
        ctx.library, ctx.layer = _library(), _layer(neuron, spikes, x.shape[1], held)
        mean, variance = torch.empty(2, x.shape[1], dtype=torch.float64)
        kernels.run(ctx.library, "statistics", ctx.layer, x, mean, variance)
        _remember(norm, mean, variance, x.numel() // x.shape[1])
        inverse = (variance + norm.eps).rsqrt()
        scale = weight.double() * inverse
        numbers = torch.stack([scale, bias.double() - mean * scale, mean, inverse])
        kernels.run(ctx.library, "spikes", ctx.layer, x, added, numbers, spikes)
        ctx.save_for_backward(x, added, numbers)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_spikes: Tensor) -> tuple[Tensor | None, ...]:
        x, added, numbers = ctx.saved_tensors
        of_spikes = of_spikes.contiguous(memory_format=ctx.order)
        of_x, of_added = torch.empty_like(x), None if added is None else torch.empty_like(added)
        of_bias, of_weight = sums = torch.empty(2, x.shape[1], dtype=torch.float64)
        kernels.run(ctx.library, "gradient", ctx.layer, x, added, numbers, of_spikes, of_x, of_added, sums)
        return of_x, of_weight.to(x.dtype), of_bias.to(x.dtype), of_added, None, None, None


def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor, number: int) -> None:
    """The running statistics, as torch's batch norm keeps them."""
    unbiased = variance * (number / (number - 1))
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    assert norm.momentum is not None
    for running, now in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.lerp_(now.to(running.dtype), norm.momentum)
    norm.num_batches_tracked.add_(1)
